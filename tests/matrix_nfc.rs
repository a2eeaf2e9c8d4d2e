//! `SIGKILL` at every frame and at every write to the ledger while a fob over NFC is registered, re-seeded and revoked. After the
//! restart the token is one of: in use, and what the fob shows passes; pending, and the same operation makes it usable; or
//! revoked, and what is left on the fob is owed and can be settled. The journal verifies each time.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;
#[path = "harness/relay.rs"]
mod relay;
#[path = "harness/shim.rs"]
mod shim;

use std::sync::Arc;

use bus::PrivateBus;
use house::{End, Figures, House, none, path_of, presence, text};
use hw_fixtures::token::TokenSetup;
use hw_fixtures::{Plugged, Token};
use relay::Relay;
use shim::{Moment, Shim};
use zbus::Variant;

const T0: i64 = 1_800_000_015;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Register,
    Reseed,
    Revoke,
}

#[derive(Clone, Copy, Debug)]
enum Death {
    Frame(u64),
    Write(u64, Moment),
}

struct Scene {
    house: House,
    shim: Shim,
    relay: Relay,
    fob: Token,
    plugged: Option<Plugged>,
    id: String,
    now: i64,
}

impl Scene {
    async fn set(bus: &Arc<PrivateBus>, act: Act) -> Self {
        let mut house = House::unstarted(bus.clone(), &Figures::default()).await;
        let shim = Shim::into(&mut house);
        shim.set_clock(T0);
        house.restart().await;
        let relay = Relay::start(house.path().join("relay.sock"), house.socket());
        let setup = TokenSetup {
            seed: Some(7),
            clock_unix_s: Some(T0),
            ..TokenSetup::named("fob")
        };
        let fob = Token::of_profile("token2-c301", setup).expect("a fob");
        let mut scene = Self {
            house,
            shim,
            relay,
            fob,
            plugged: None,
            id: String::new(),
            now: T0,
        };
        scene.plug();
        if act != Act::Register {
            scene.id = text(&scene.register().await.done(), "token");
            scene.house.test_code(&scene.id, &scene.code()).await.done();
            scene.pass(60);
        }
        scene
    }

    fn plug(&mut self) {
        self.plugged = None;
        self.plugged = Some(self.house.plug_at(self.relay.path(), &self.fob));
    }

    fn at(&self) -> &Plugged {
        self.plugged.as_ref().expect("in its reader")
    }

    fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        self.shim.set_clock(self.now);
        self.fob.with_nfc_fob(|nfc| {
            let shown = nfc.fob().shows(T0);
            nfc.fob_mut().set_clock(shown + seconds, T0);
        });
    }

    fn code(&self) -> String {
        self.fob.with_nfc_fob(|nfc| nfc.fob().code(T0)).expect("a fob")
    }

    async fn register(&self) -> End {
        let path = path_of(self.at());
        self.house
            .run(async |tokens| tokens.register_nfc_fob(&path, "alice", &none()).await)
            .await
    }

    async fn reseed(&self) -> End {
        let mut options = presence(self.at(), None);
        options.insert("reseed", Variant::Bool(true));
        self.house
            .run(async |tokens| tokens.set_clock(&self.id, &options).await)
            .await
    }

    async fn perform(&self, act: Act) -> End {
        match act {
            Act::Register => self.register().await,
            Act::Reseed => self.reseed().await,
            Act::Revoke => self.house.revoke_on(&self.id, self.at(), None).await,
        }
    }

    /// What the fob shows makes it active, or keeps it so.
    async fn usable(&mut self) -> bool {
        self.pass(60);
        self.house.test_code(&self.id, &self.code()).await.is_done()
    }

    /// Everything owed is settled on the fob.
    async fn settle(&self, case: &str) {
        for duty in self.house.obligations().await {
            assert_eq!(text(&duty, "duty"), "overwrite-seed", "{case}");
            let before = self.code();
            let end = self.house.discharge_on(&text(&duty, "id"), self.at(), None).await;
            assert!(end.is_done(), "{case}: it cannot be settled: {end}");
            assert_ne!(self.code(), before, "{case}: settled, and the fob is as before");
        }
    }
}

/// Frames and writes of a clean run.
async fn record(bus: &Arc<PrivateBus>, act: Act) -> (u64, u64) {
    let scene = Scene::set(bus, act).await;
    scene.relay.count_from_here();
    scene.shim.count_from_here();
    scene.perform(act).await.done();
    (scene.relay.counted(), scene.shim.counted())
}

/// Whether the daemon died there.
async fn visit(bus: &Arc<PrivateBus>, act: Act, death: Death) -> bool {
    let case = format!("{act:?} {death:?}");
    let mut scene = Scene::set(bus, act).await;
    match death {
        Death::Frame(frame) => scene.relay.arm(frame, scene.house.pid()),
        Death::Write(nth, moment) => scene.shim.arm(nth, moment),
    }
    let shown = scene.code();
    let end = scene.perform(act).await;
    let acknowledged = end.is_done();
    scene.relay.disarm();
    scene.shim.disarm();
    if !matches!(end, End::Died) {
        // The last frames and writes may come after the answer.
        return false;
    }
    assert!(scene.house.was_killed(), "{case}");
    scene.plugged = None;
    scene.house.restart().await;
    scene.house.assert_intact().await;
    scene.plug();
    assert!(!acknowledged);
    if act == Act::Register {
        let records = scene.house.all().await;
        let Some(live) = records.iter().find(|one| text(one, "state") != "revoked") else {
            // Nothing, or abandoned: what may be on the fob is owed, and it can be registered anew.
            let owed = scene.house.obligations().await.len();
            assert!(owed == 1 || scene.code() == shown, "{case}: written, and nobody knows");
            scene.settle(&case).await;
            scene.id = text(&scene.register().await.done(), "token");
            assert!(
                scene.usable().await,
                "{case}: registered again, and its code is refused"
            );
            return true;
        };
        scene.id = text(live, "id");
    }
    let state = scene.house.state_of(&scene.id).await;
    match (act, state.as_str()) {
        (Act::Revoke, "revoked") => scene.settle(&case).await,
        (Act::Revoke, "active") => {
            scene.house.revoke_on(&scene.id, scene.at(), None).await.done();
        }
        (_, "active") => {
            assert_eq!(scene.code(), shown, "{case}: active, and the fob was changed");
            assert!(scene.usable().await, "{case}: active, and its code is refused");
        }
        (_, "pending") => {
            if !scene.usable().await {
                scene.reseed().await.done();
                assert!(scene.usable().await, "{case}: re-seeded again, and its code is refused");
            }
            assert_eq!(scene.house.state_of(&scene.id).await, "active", "{case}");
        }
        (_, other) => panic!("{case}: it is {other}"),
    }
    scene.house.assert_intact().await;
    scene.house.assert_no_panic();
    true
}

/// All cells of an act.
async fn matrix(act: Act) {
    let bus = Arc::new(PrivateBus::start());
    let (frames, writes) = record(&bus, act).await;
    assert!(frames > 0 && writes > 0);
    let at_writes = [Moment::Before, Moment::After]
        .into_iter()
        .flat_map(|moment| (1..=writes).map(move |nth| Death::Write(nth, moment)));
    let (mut hits, mut all) = (0, 0);
    for death in (1..=frames).map(Death::Frame).chain(at_writes) {
        all += 1;
        hits += usize::from(visit(&bus, act, death).await);
    }
    println!("{act:?}: {frames} frames, {writes} writes; {all} cells, {hits} hits");
    // The last frames and writes of an act may follow its answer.
    assert!(hits * 10 >= all * 8, "{hits} of {all} cells were met");
}

#[tokio::test]
async fn a_kill_while_a_fob_is_registered() {
    matrix(Act::Register).await;
}

#[tokio::test]
async fn a_kill_while_a_fob_is_re_seeded() {
    matrix(Act::Reseed).await;
}

#[tokio::test]
async fn a_kill_while_a_fob_is_revoked() {
    matrix(Act::Revoke).await;
}
