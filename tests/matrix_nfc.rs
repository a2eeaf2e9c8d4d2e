//! `SIGKILL` at every frame and at every write to the ledger while a fob over NFC is registered, set, re-seeded and revoked; and
//! every frame of the same struck by every kind of fault. Afterwards the token is one of: in use, and what the fob shows passes, if
//! need be once its clock is set again; pending, and the same operation makes it usable; or revoked, and what is left on the fob is
//! owed and can be settled. The journal verifies each time.
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
use std::time::{Duration, Instant};

use bus::PrivateBus;
use claviger::contract::error::ErrorName;
use house::{End, Figures, House, none, path_of, presence, text};
use hw_fixtures::fault::{Fault, FaultKind};
use hw_fixtures::token::TokenSetup;
use hw_fixtures::{Plugged, Token};
use relay::Relay;
use shim::{Moment, Shim};
use zbus::Variant;

const T0: i64 = 1_800_000_015;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Register,
    /// Of a model that keeps its seed.
    SetClock,
    Reseed,
    Revoke,
}

const KINDS: [FaultKind; 7] = [
    FaultKind::Unplug,
    FaultKind::Stall,
    FaultKind::Garbage,
    FaultKind::WrongChannel,
    FaultKind::WrongSequence,
    FaultKind::FalseLength,
    FaultKind::EndlessKeepalive,
];
/// A fault may strike after the last frame that matters; a cell that was not struck is tried again so often.
const TRIES: u64 = 3;

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
        let mut scene = Self::open(bus, act, &Figures::default()).await;
        scene.furnish(act).await;
        scene
    }

    async fn open(bus: &Arc<PrivateBus>, act: Act, figures: &Figures) -> Self {
        let mut house = House::unstarted(bus.clone(), figures).await;
        let shim = Shim::into(&mut house);
        shim.set_clock(T0);
        house.restart().await;
        let relay = Relay::start(house.path().join("relay.sock"), house.socket());
        Self {
            house,
            shim,
            relay,
            fob: new_fob(act, 7),
            plugged: None,
            id: String::new(),
            now: T0,
        }
    }

    /// Everything but the act itself.
    async fn furnish(&mut self, act: Act) {
        self.plug();
        if act != Act::Register {
            self.id = text(&self.register().await.done(), "token");
            self.house.test_code(&self.id, &self.code()).await.done();
            self.pass(60);
        }
        if act == Act::SetClock {
            self.move_clock(-400);
        }
    }

    /// A day later another fob of the same make, whose clock is right. A day gives back the tries in hand that a clock which was not
    /// set has cost.
    fn take_another(&mut self, act: Act, seed: u64) {
        self.plugged = None;
        self.now += 86_400;
        self.shim.set_clock(self.now);
        self.fob = new_fob(act, seed);
        self.move_clock(self.now - T0);
    }

    fn move_clock(&self, seconds: i64) {
        self.fob.with_nfc_fob(|nfc| {
            let shown = nfc.fob().shows(T0);
            nfc.fob_mut().set_clock(shown + seconds, T0);
        });
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
        self.move_clock(seconds);
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

    async fn set_clock(&self, reseed: bool) -> End {
        let mut options = presence(self.at(), None);
        options.insert("reseed", Variant::Bool(reseed));
        self.house
            .run(async |tokens| tokens.set_clock(&self.id, &options).await)
            .await
    }

    async fn perform(&self, act: Act) -> End {
        match act {
            Act::Register => self.register().await,
            Act::SetClock => self.set_clock(false).await,
            Act::Reseed => self.set_clock(true).await,
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

fn new_fob(act: Act, seed: u64) -> Token {
    let profile = if act == Act::SetClock {
        "token2-c302"
    } else {
        "token2-c301"
    };
    let setup = TokenSetup {
        seed: Some(seed),
        clock_unix_s: Some(T0),
        ..TokenSetup::named("fob")
    };
    Token::of_profile(profile, setup).expect("a fob")
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
    assert!(!acknowledged);
    comes_right(&mut scene, act, &shown, &case).await;
    scene.house.assert_intact().await;
    scene.house.assert_no_panic();
    true
}

/// What was cut short is in one of the states it may be in, and from there comes to its end with a fob that is well.
async fn comes_right(scene: &mut Scene, act: Act, shown: &str, case: &str) {
    scene.plug();
    if act == Act::Register {
        let records = scene.house.all().await;
        let Some(live) = records.iter().find(|one| text(one, "state") == "pending") else {
            // Nothing, or abandoned: what may be on the fob is owed, and it can be registered anew.
            let owed = scene.house.obligations().await.len();
            assert!(owed == 1 || scene.code() == shown, "{case}: written, and nobody knows");
            scene.settle(case).await;
            scene.id = text(&scene.register().await.done(), "token");
            assert!(
                scene.usable().await,
                "{case}: registered again, and its code is refused"
            );
            return;
        };
        scene.id = text(live, "id");
    }
    let state = scene.house.state_of(&scene.id).await;
    match (act, state.as_str()) {
        (Act::Revoke, "revoked") => scene.settle(case).await,
        (Act::Revoke, "active") => {
            scene.house.revoke_on(&scene.id, scene.at(), None).await.done();
        }
        (Act::SetClock, "active") => {
            // Set or not, known or not: setting it once more makes it right.
            if !scene.usable().await {
                scene.set_clock(false).await.done();
                assert!(scene.usable().await, "{case}: set again, and its code is refused");
            }
        }
        (_, "active") => {
            assert_eq!(scene.code(), shown, "{case}: active, and the fob was changed");
            assert!(scene.usable().await, "{case}: active, and its code is refused");
        }
        (_, "pending") => {
            if !scene.usable().await {
                scene.set_clock(true).await.done();
                assert!(scene.usable().await, "{case}: re-seeded again, and its code is refused");
            }
            assert_eq!(scene.house.state_of(&scene.id).await, "active", "{case}");
        }
        (_, other) => panic!("{case}: it is {other}"),
    }
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

#[tokio::test]
async fn a_kill_while_a_fobs_clock_is_set() {
    matrix(Act::SetClock).await;
}

/// The longest any of these may take by its own deadlines: ten exchanges, the lock before and the grace after; and a second
/// because this machine does other things too.
fn limit(figures: &Figures) -> Duration {
    Duration::from_millis(figures.lock + 10 * figures.exchange + figures.grace + 1_000)
}

/// One frame struck by one fault: whether it was struck.
async fn strike(scene: &mut Scene, act: Act, (frame, kind): (u64, FaultKind), figures: &Figures) -> bool {
    let case = format!("{act:?} {kind:?} at frame {frame}");
    scene.furnish(act).await;
    let shown = scene.code();
    scene.fob.record();
    scene.fob.inject(Fault::at(frame, kind));
    let begun = Instant::now();
    let end = scene.perform(act).await;
    assert!(
        begun.elapsed() <= limit(figures),
        "{case}: it took {:?}",
        begun.elapsed()
    );
    let struck = scene.fob.faults().iter().any(|fault| fault.struck == Some(frame));
    let error = match &end {
        End::Completed(_, details) => text(details, "error"),
        End::Denied(error, _) => error.clone(),
        End::Died => panic!("{case}: the daemon died"),
    };
    let is_named = !matches!(ErrorName::parse(&error), None | Some(ErrorName::Internal));
    assert!(is_named || end.is_done(), "{case}: {end}");
    scene
        .house
        .manager()
        .await
        .status(&none())
        .await
        .expect("the next request");
    scene.plugged = None;
    scene.fob.clear_faults();
    if ErrorName::parse(&error) == Some(ErrorName::KeyRefused) {
        // A challenge or an answer that was spoilt looks like another key. For as long as the daemon runs that is believed, since
        // some fobs lock themselves for good.
        if act != Act::Revoke {
            scene.plug();
            scene.perform(act).await.refused("KeyRefused");
            scene.plugged = None;
        }
        scene.house.restart().await;
    }
    if end.is_done() {
        scene.plug();
        match act {
            Act::Revoke => assert_ne!(scene.code(), shown, "{case}: done, and the fob is as before"),
            Act::Register => {
                let records = scene.house.all().await;
                let made = records.iter().find(|one| text(one, "state") == "pending");
                scene.id = text(made.expect("registered"), "id");
                assert!(scene.usable().await, "{case}: done, and its code is refused");
            }
            Act::SetClock | Act::Reseed => assert!(scene.usable().await, "{case}: done, and its code is refused"),
        }
    } else {
        comes_right(scene, act, &shown, &case).await;
    }
    // The next cell finds nothing live here and nothing owed.
    for live in scene.house.all().await {
        if text(&live, "state") != "revoked" {
            let id = text(&live, "id");
            scene.house.revoke_on(&id, scene.at(), None).await.done();
        }
    }
    let owed = scene.house.obligations().await;
    assert!(owed.is_empty(), "{case}: {owed:?}");
    scene.house.assert_no_panic();
    struck
}

/// Every frame of every act, struck by every kind of fault.
#[tokio::test]
async fn every_frame_with_a_fob_over_nfc_survives_every_fault() {
    let figures = Figures {
        exchange: 300,
        touch: 300,
        lock: 300,
        grace: 300,
        ..Figures::default()
    };
    let bus = Arc::new(PrivateBus::start());
    let mut seed = 100;
    for act in [Act::Register, Act::SetClock, Act::Reseed, Act::Revoke] {
        let mut scene = Scene::open(&bus, act, &figures).await;
        scene.furnish(act).await;
        scene.fob.record();
        scene.perform(act).await.done();
        let frames = scene.fob.frames().len() as u64;
        assert!(frames > 0, "{act:?} sends nothing");
        for live in scene.house.all().await {
            if text(&live, "state") != "revoked" {
                scene.house.revoke_on(&text(&live, "id"), scene.at(), None).await.done();
            }
        }
        let (mut cells, mut hits) = (0, 0);
        for cell in (1..=frames).flat_map(|frame| KINDS.map(|kind| (frame, kind))) {
            cells += 1;
            for _ in 0..TRIES {
                seed += 1;
                scene.take_another(act, seed);
                if strike(&mut scene, act, cell, &figures).await {
                    hits += 1;
                    break;
                }
            }
        }
        scene.house.assert_intact().await;
        println!(
            "{act:?}: {frames} frames x {} kinds = {cells} cells, {hits} struck",
            KINDS.len()
        );
        assert_eq!(hits, cells, "{act:?}: cells were not visited");
    }
}
