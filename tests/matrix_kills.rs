//! `SIGKILL` at every frame and at every write to the ledger of a recorded register, test, resync and revoke. After the
//! restart nothing that was acknowledged is lost, no code is accepted twice, the journal verifies, every act that was cut
//! short has come to an end, and whatever the device holds is either in use or owed, and what is owed can be settled.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;
#[path = "harness/relay.rs"]
mod relay;
#[path = "harness/shim.rs"]
mod shim;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus::PrivateBus;
use claviger::contract::proxy::Tokens1Proxy;
use house::{End, Figures, House, PIN, fob, none, number, text, token};
use hw_fixtures::fob::Fob;
use hw_fixtures::{Plugged, Token};
use relay::Relay;
use shim::{Moment, Shim};

const WORKERS: usize = 4;
/// Answers and rows vary in length by a few bytes from run to run; a cell that was not met is tried again so often.
const TRIES: u64 = 8;
/// The daemon's clock in these houses: the middle of a fob's step.
const NOON: i64 = 1_800_000_015;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Key,
    Card,
    Fob,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Register,
    Test,
    Resync,
    /// Take back what a resync taught.
    Undo,
    Revoke,
}

type Act = (Kind, Verb);

const ACTS: [Act; 11] = [
    (Kind::Key, Verb::Register),
    (Kind::Key, Verb::Test),
    (Kind::Key, Verb::Revoke),
    (Kind::Card, Verb::Register),
    (Kind::Card, Verb::Test),
    (Kind::Card, Verb::Revoke),
    (Kind::Fob, Verb::Register),
    (Kind::Fob, Verb::Test),
    (Kind::Fob, Verb::Resync),
    (Kind::Fob, Verb::Undo),
    (Kind::Fob, Verb::Revoke),
];

/// Where the daemon dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Death {
    Frame(u64),
    Write(u64, Moment),
    /// At this frame, and once more at this write of the start that follows.
    Recovery(u64, u64, Moment),
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    act: Act,
    death: Death,
}

/// What the act is done with.
enum Body {
    Device(Token),
    Fob(Fob),
}

/// A house in which everything but the act itself has been done.
struct Scene {
    house: House,
    shim: Shim,
    relay: Relay,
    act: Act,
    body: Body,
    plugged: Option<Plugged>,
    /// The token, where the act has one before it begins.
    id: String,
    /// The codes of the act, in the order they were read.
    codes: Vec<String>,
    clock: i64,
}

impl Scene {
    async fn set(bus: &Arc<PrivateBus>, act: Act, seed: u64) -> Self {
        let mut house = House::unstarted(bus.clone(), &Figures::default()).await;
        let shim = Shim::into(&mut house);
        shim.set_clock(NOON);
        house.restart().await;
        let relay = Relay::start(house.path().join("relay.sock"), house.socket());
        let body = match act.0 {
            Kind::Key => Body::Device(token("nitrokey-3", "key", seed)),
            Kind::Card => Body::Device(token("oath-card", "card", seed)),
            Kind::Fob => Body::Fob(fob("F-1", seed, 0.0)),
        };
        let mut scene = Self {
            house,
            shim,
            relay,
            act,
            body,
            plugged: None,
            id: String::new(),
            codes: Vec::new(),
            clock: NOON,
        };
        scene.plug();
        if act.1 != Verb::Register {
            scene.id = text(&scene.register("first").await.done(), "token");
        }
        match (&mut scene.body, act.1) {
            (Body::Fob(fob), Verb::Register) => scene.codes = vec![fob.code(NOON - 30), fob.code(NOON)],
            (Body::Fob(fob), Verb::Test) => scene.codes = vec![fob.code(NOON + 60)],
            (Body::Fob(fob), Verb::Resync | Verb::Undo) => {
                let later = NOON + 3600;
                fob.drift(-540.0, 0.0, later);
                scene.codes = vec![fob.code(later - 30), fob.code(later)];
            }
            _ => {}
        }
        match act.1 {
            Verb::Test => scene.pass_to(NOON + 60),
            Verb::Resync | Verb::Undo => scene.pass_to(NOON + 3600),
            Verb::Register | Verb::Revoke => {}
        }
        if act.1 == Verb::Undo {
            scene.resync().await.done();
        }
        scene
    }

    fn pass_to(&mut self, unix_s: i64) {
        self.clock = unix_s;
        self.shim.set_clock(unix_s);
    }

    fn plug(&mut self) {
        self.plugged = None;
        if let Body::Device(body) = &self.body {
            self.plugged = Some(self.house.plug_at(self.relay.path(), body));
        }
    }

    fn device(&self) -> &Plugged {
        self.plugged.as_ref().expect("a device")
    }

    fn pin(&self) -> Option<&'static str> {
        (self.act.0 == Kind::Key).then_some(PIN)
    }

    async fn register(&self, subject: &str) -> End {
        match (&self.body, self.act.0) {
            (Body::Fob(fob), _) => self.house.register_fob_at(fob, subject, self.clock).await,
            (_, Kind::Key) => self.house.register_key(self.device(), subject).await,
            _ => self.house.register_card(self.device(), subject).await,
        }
    }

    async fn test(&self, id: &str) -> End {
        match &self.body {
            Body::Fob(fob) => self.house.test_code(id, &fob.code(self.clock)).await,
            Body::Device(_) => self.house.test_on(id, self.device(), self.pin()).await,
        }
    }

    async fn resync(&self) -> End {
        let codes: Vec<&str> = self.codes.iter().map(String::as_str).collect();
        self.house.resync(&self.id, &codes).await
    }

    async fn undo(&self) -> End {
        let undo = async |tokens: &Tokens1Proxy<'static>| tokens.undo_resync(&self.id, &none()).await;
        self.house.run(undo).await
    }

    async fn revoke(&self, id: &str) -> End {
        match &self.body {
            Body::Fob(_) => self.house.revoke(id).await,
            Body::Device(_) => self.house.revoke_on(id, self.device(), self.pin()).await,
        }
    }

    async fn perform(&self) -> End {
        match self.act.1 {
            Verb::Register => self.register("alice").await,
            Verb::Test => self.test(&self.id).await,
            Verb::Resync => self.resync().await,
            Verb::Undo => self.undo().await,
            Verb::Revoke => self.revoke(&self.id).await,
        }
    }

    /// Credentials of ours that the device really holds.
    fn held(&self) -> usize {
        match (&self.body, self.act.0) {
            (Body::Device(body), Kind::Key) => body.with_authenticator(|key| key.resident_count()).unwrap_or(0),
            (Body::Device(body), _) => body.with_card(|card| card.credential_count()).unwrap_or(0),
            (Body::Fob(_), _) => 0,
        }
    }
}

fn ensure(so: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if so { Ok(()) } else { Err(what()) }
}

/// Frames and writes of a clean run.
async fn record(bus: &Arc<PrivateBus>, act: Act) -> (u64, u64) {
    let scene = Scene::set(bus, act, 1).await;
    scene.relay.count_from_here();
    scene.shim.count_from_here();
    let end = scene.perform().await;
    let wanted = if act == (Kind::Fob, Verb::Revoke) {
        "obliged"
    } else {
        "done"
    };
    end.expect(wanted);
    (scene.relay.counted(), scene.shim.counted())
}

/// Writes of the start that follows a death at this frame.
async fn record_recovery(bus: &Arc<PrivateBus>, act: Act, frame: u64) -> u64 {
    let mut scene = Scene::set(bus, act, 1).await;
    scene.relay.arm(frame, scene.house.pid());
    let end = scene.perform().await;
    assert!(matches!(end, End::Died), "{act:?} {frame}: {end}");
    assert!(scene.house.was_killed());
    scene.shim.count_from_here();
    scene.house.restart().await;
    let counted = scene.shim.counted();
    assert!(
        scene.house.log().contains("cut short"),
        "{act:?} {frame}: nothing had to be brought to an end"
    );
    counted
}

/// Whether the daemon died where it should have; an error says what was wrong afterwards.
async fn visit(bus: &Arc<PrivateBus>, cell: Cell, seed: u64) -> Result<bool, String> {
    let mut scene = Scene::set(bus, cell.act, seed).await;
    match cell.death {
        Death::Frame(frame) | Death::Recovery(frame, ..) => scene.relay.arm(frame, scene.house.pid()),
        Death::Write(nth, moment) => scene.shim.arm(nth, moment),
    }
    let end = scene.perform().await;
    if !matches!(end, End::Died) && !dies_soon(&mut scene).await {
        return Ok(false);
    }
    ensure(scene.house.was_killed(), || {
        "it ended otherwise than by the kill".to_owned()
    })?;
    scene.relay.disarm();
    scene.shim.disarm();
    if let Some(plugged) = &scene.plugged {
        ensure(plugged.wait_unplugged(Duration::from_secs(5)), || {
            "the token is still plugged in".to_owned()
        })?;
    }
    if let Death::Recovery(_, nth, moment) = cell.death {
        scene.shim.arm(nth, moment);
        if scene.house.try_start().is_ok() {
            return Ok(false);
        }
        scene.shim.disarm();
    }
    scene.house.restart().await;
    scene.house.assert_no_panic();
    scene.house.assert_intact().await;
    let done = end.is_done();
    match cell.act.1 {
        Verb::Register => after_register(&mut scene, done).await,
        Verb::Test => after_test(&mut scene, done).await,
        Verb::Resync => after_resync(&mut scene, done).await,
        Verb::Undo => after_undo(&mut scene, done).await,
        Verb::Revoke => after_revoke(&mut scene, &end).await,
    }
    .map_err(|what| format!("{what}; the act ended {end}"))?;
    nothing_is_left_open(&mut scene).await?;
    Ok(true)
}

/// The last frames and writes may come after the act was acknowledged.
async fn dies_soon(scene: &mut Scene) -> bool {
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        if scene.house.is_dead() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    false
}

async fn nothing_is_left_open(scene: &mut Scene) -> Result<(), String> {
    let records = scene.house.all().await;
    ensure(records.iter().all(|one| text(one, "state") != "pending"), || {
        format!("half registered: {records:?}")
    })?;
    scene.house.assert_intact().await;
    // What was open when it died was brought to an end by the first start, so a second one finds nothing.
    let before = scene.house.log().matches("cut short").count();
    scene.plugged = None;
    scene.house.restart().await;
    let after = scene.house.log().matches("cut short").count();
    ensure(before == after, || "an act was still open after the restart".to_owned())?;
    scene.house.assert_no_panic();
    Ok(())
}

/// Settles what a token owes on the healthy device; afterwards the device holds no more than `left`.
async fn settle(scene: &mut Scene, token: &str, left: usize) -> Result<bool, String> {
    let owed = scene.house.obligations().await;
    let Some(duty) = owed.iter().find(|duty| text(duty, "token") == token) else {
        return Ok(false);
    };
    let id = text(duty, "id");
    let end = match scene.act.0 {
        Kind::Fob => {
            let collected = claviger::contract::proxy::Options::from([("collected", true.into())]);
            scene
                .house
                .run(async |tokens| tokens.discharge(&id, &collected).await)
                .await
        }
        _ => scene.house.discharge_on(&id, scene.device(), scene.pin()).await,
    };
    ensure(end.is_done(), || {
        format!("what is owed ({}) cannot be settled: {end}", text(duty, "duty"))
    })?;
    ensure(scene.held() <= left, || {
        "it was settled and the device still holds ours".to_owned()
    })?;
    Ok(true)
}

async fn after_register(scene: &mut Scene, done: bool) -> Result<(), String> {
    let records = scene.house.all().await;
    let record = records.iter().find(|one| text(one, "subject") == "alice");
    let (id, state) = record.map_or_else(Default::default, |one| (text(one, "id"), text(one, "state")));
    ensure(!done || state == "active", || {
        format!("it was acknowledged and is {state:?}")
    })?;
    scene.plug();
    if state == "active" {
        ensure(scene.act.0 == Kind::Fob || scene.held() == 1, || {
            "active, and the device has nothing".to_owned()
        })?;
        for used in &scene.codes {
            let end = scene.house.test_code(&id, used).await;
            ensure(!end.is_done(), || {
                "a code of its registration was accepted again".to_owned()
            })?;
        }
        scene.pass_to(scene.clock + 30);
        let end = scene.test(&id).await;
        return ensure(end.is_done(), || format!("active, and its test failed: {end}"));
    }
    let held = scene.held();
    let owed = settle(scene, &id, 0).await?;
    ensure(held == 0 || owed, || {
        "the device holds a credential that nobody knows of".to_owned()
    })?;
    ensure(scene.held() == 0, || "the device still holds a credential".to_owned())?;
    // Nothing stands in the way of doing it again.
    let end = scene.register("alice").await;
    ensure(end.is_done(), || format!("it cannot be registered again: {end}"))
}

async fn after_test(scene: &mut Scene, done: bool) -> Result<(), String> {
    let id = scene.id.clone();
    let record = scene.house.get(&id).await;
    ensure(text(&record, "state") == "active", || {
        format!("a test made it {}", text(&record, "state"))
    })?;
    scene.plug();
    if let Some(code) = scene.codes.first().cloned() {
        let step = number(&record, "watermark").unwrap_or_default();
        let used = step >= scene.clock / 30;
        ensure(used || !done, || "an accepted code was forgotten".to_owned())?;
        if !used {
            let end = scene.house.test_code(&id, &code).await;
            ensure(end.is_done(), || {
                format!("a code that was never used is refused: {end}")
            })?;
        }
        let end = scene.house.test_code(&id, &code).await;
        ensure(!end.is_done(), || "a code was accepted twice".to_owned())?;
        scene.pass_to(scene.clock + 30);
    }
    let end = scene.test(&id).await;
    ensure(end.is_done(), || format!("the next test failed: {end}"))
}

async fn after_resync(scene: &mut Scene, done: bool) -> Result<(), String> {
    let id = scene.id.clone();
    let offset = number(&scene.house.get(&id).await, "offset-ms").unwrap_or_default();
    let applied = offset < -400_000;
    ensure(applied || !done, || "an acknowledged resync was forgotten".to_owned())?;
    if !applied {
        let end = scene.resync().await;
        ensure(end.is_done(), || format!("it cannot be resynced again: {end}"))?;
    }
    for used in scene.codes.clone() {
        let end = scene.house.test_code(&id, &used).await;
        ensure(!end.is_done(), || {
            "a code of the resync was accepted afterwards".to_owned()
        })?;
    }
    let end = scene.resync().await;
    ensure(!end.is_done(), || "the same codes resynced it twice".to_owned())?;
    scene.pass_to(scene.clock + 30);
    let end = scene.test(&id).await;
    ensure(end.is_done(), || format!("the next code failed: {end}"))
}

async fn after_undo(scene: &mut Scene, done: bool) -> Result<(), String> {
    let id = scene.id.clone();
    let offset = number(&scene.house.get(&id).await, "offset-ms").unwrap_or_default();
    let undone = offset > -400_000;
    ensure(undone || !done, || "an acknowledged undo was forgotten".to_owned())?;
    if !undone {
        let end = scene.undo().await;
        ensure(end.is_done(), || format!("it cannot be undone again: {end}"))?;
    }
    let end = scene.undo().await;
    ensure(!end.is_done(), || "it was undone twice".to_owned())?;
    // Used codes stay used: the same two teach nothing more, the next two do.
    let end = scene.resync().await;
    ensure(!end.is_done(), || {
        "the codes of the resync were accepted again".to_owned()
    })?;
    scene.pass_to(scene.clock + 60);
    if let Body::Fob(fob) = &scene.body {
        scene.codes = vec![fob.code(scene.clock - 30), fob.code(scene.clock)];
    }
    let end = scene.resync().await;
    ensure(end.is_done(), || format!("the next two codes failed: {end}"))?;
    scene.pass_to(scene.clock + 30);
    let end = scene.test(&id).await;
    ensure(end.is_done(), || format!("the next code failed: {end}"))
}

async fn after_revoke(scene: &mut Scene, end: &End) -> Result<(), String> {
    let id = scene.id.clone();
    let state = scene.house.state_of(&id).await;
    let acknowledged = matches!(end, End::Completed(..));
    ensure(state == "revoked" || (state == "active" && !acknowledged), || {
        format!("it is {state}")
    })?;
    scene.plug();
    if state == "active" {
        ensure(scene.act.0 == Kind::Fob || scene.held() == 1, || {
            "deleted although the binding lives".to_owned()
        })?;
        let end = scene.revoke(&id).await;
        ensure(matches!(end, End::Completed(..)), || {
            format!("it cannot be revoked again: {end}")
        })?;
    } else {
        scene.pass_to(scene.clock + 60);
        let end = scene.test(&id).await;
        ensure(!end.is_done(), || "a revoked token passed its test".to_owned())?;
    }
    let held = scene.held();
    let collected = scene.act.0 == Kind::Fob;
    let owed = settle(scene, &id, 0).await?;
    ensure(held == 0 || owed, || {
        "revoked, still on the device, and nothing is owed".to_owned()
    })?;
    ensure(owed || !collected, || "nobody is asked to collect the fob".to_owned())?;
    ensure(scene.held() == 0, || "the device still holds it".to_owned())?;
    ensure(scene.house.state_of(&id).await == "revoked", || {
        "it is not revoked".to_owned()
    })?;
    let left = scene.house.obligations().await;
    ensure(left.is_empty(), || format!("still owed: {left:?}"))?;
    Ok(())
}

#[derive(Default)]
struct Findings {
    hits: BTreeMap<(Act, &'static str), usize>,
    failures: Vec<String>,
}

fn phase(death: Death) -> &'static str {
    match death {
        Death::Frame(_) => "frame",
        Death::Write(_, Moment::Before) => "before write",
        Death::Write(_, Moment::Middle) => "inside write",
        Death::Write(_, Moment::After) => "after write",
        Death::Recovery(..) => "write of the recovery",
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn work(queue: &Mutex<VecDeque<Cell>>, findings: &Mutex<Findings>) {
    let runtime = runtime();
    let bus = Arc::new(PrivateBus::start());
    loop {
        let Some(cell) = queue.lock().unwrap().pop_front() else {
            return;
        };
        let mut came = Ok(false);
        for seed in 1..=TRIES {
            came =
                catch_unwind(AssertUnwindSafe(|| runtime.block_on(visit(&bus, cell, seed)))).unwrap_or_else(|panic| {
                    let what = panic.downcast_ref::<String>().cloned();
                    Err(what.unwrap_or_else(|| "a panic".to_owned()))
                });
            if came != Ok(false) {
                break;
            }
        }
        let mut findings = findings.lock().unwrap();
        match came {
            Ok(true) => *findings.hits.entry((cell.act, phase(cell.death))).or_default() += 1,
            Ok(false) => findings.failures.push(format!("{cell:?}: never met")),
            Err(what) => findings.failures.push(format!("{cell:?}: {what}")),
        }
    }
}

#[test]
fn a_kill_at_every_frame_and_every_write_loses_nothing() {
    let started = Instant::now();
    let bus = Arc::new(PrivateBus::start());
    let mut cells = VecDeque::new();
    runtime().block_on(async {
        for act in ACTS {
            let (frames, writes) = record(&bus, act).await;
            println!("{act:?}: {frames} frames, {writes} writes");
            assert_eq!(frames == 0, act.0 == Kind::Fob, "{act:?}: {frames} frames");
            assert!(writes > 0, "{act:?} writes nothing");
            cells.extend((1..=frames).map(|frame| Cell {
                act,
                death: Death::Frame(frame),
            }));
            if matches!(act, (Kind::Key | Kind::Card, Verb::Register | Verb::Revoke)) {
                // Late enough for something to be on the device that must be accounted for.
                let frame = frames * 3 / 4;
                let writes = record_recovery(&bus, act, frame).await;
                println!("{act:?}: {writes} writes of the recovery from frame {frame}");
                assert!(writes > 0);
                for moment in [Moment::Before, Moment::Middle, Moment::After] {
                    cells.extend((1..=writes).map(|nth| Cell {
                        act,
                        death: Death::Recovery(frame, nth, moment),
                    }));
                }
            }
            for moment in [Moment::Before, Moment::Middle, Moment::After] {
                cells.extend((1..=writes).map(|nth| Cell {
                    act,
                    death: Death::Write(nth, moment),
                }));
            }
        }
    });
    let mut wanted = BTreeMap::<(Act, &str), usize>::new();
    for cell in &cells {
        *wanted.entry((cell.act, phase(cell.death))).or_default() += 1;
    }
    let (queue, findings) = (Mutex::new(cells), Mutex::new(Findings::default()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work(&queue, &findings));
        }
    });
    let findings = findings.into_inner().unwrap();
    for ((act, phase), cells) in &wanted {
        let hits = findings.hits.get(&(*act, phase)).copied().unwrap_or_default();
        println!("{act:?} {phase}: {hits} hits of {cells}");
    }
    let hits: usize = findings.hits.values().sum();
    let all: usize = wanted.values().sum();
    println!("kills: {all} cells, {hits} hits, in {:?}", started.elapsed());
    assert!(
        findings.failures.is_empty(),
        "{} cells failed:\n{}",
        findings.failures.len(),
        findings.failures.join("\n")
    );
    assert_eq!(hits, all, "cells were not visited");
}
