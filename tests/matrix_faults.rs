//! Every frame of every operation on hardware, struck by every kind of fault. The operation ends in time with an error that
//! has a name, the daemon serves the next request, nothing panics, the journal verifies, and whatever the device may hold is
//! either in use or owed.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus::PrivateBus;
use claviger::contract::error::ErrorName;
use claviger::contract::proxy::{Device1Proxy, Options};
use house::{End, Figures, House, PIN, none, path_of, presence, secret, text, token};
use hw_fixtures::fault::{Fault, FaultKind};
use hw_fixtures::{Plugged, Token};
use zbus::Variant;

const PASSWORD: &str = "correct horse";
const RENAMED: &str = "Claviger:desk";

/// More than cores: a cell that stalls only waits.
const WORKERS: usize = 6;
/// Cells that one house serves before it is built anew, so that its journal stays short.
const CELLS_PER_HOUSE: usize = 40;
/// An answer may be a frame longer or shorter from run to run; a cell that was not struck is tried again so often.
const TRIES: u64 = 8;

const KINDS: [FaultKind; 7] = [
    FaultKind::Unplug,
    FaultKind::Stall,
    FaultKind::Garbage,
    FaultKind::WrongChannel,
    FaultKind::WrongSequence,
    FaultKind::FalseLength,
    FaultKind::EndlessKeepalive,
];

fn figures() -> Figures {
    Figures {
        exchange: 200,
        touch: 200,
        lock: 200,
        grace: 200,
        ..Figures::default()
    }
}

/// The longest any operation here may take by its own deadlines: sixteen exchanges and two touches for a registration, the
/// lock before and the grace after; and a second because this machine does other things too.
fn limit() -> Duration {
    let figures = figures();
    Duration::from_millis(figures.lock + 16 * figures.exchange + 2 * figures.touch + figures.grace + 1000)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Face {
    Key,
    Card,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Describe,
    Register,
    Test,
    Revoke,
    /// The OATH applet's password, the name of a credential, and all of it.
    SetPassword,
    Rename,
    Reset,
}

type Subject = (Face, Verb);

const SUBJECTS: [Subject; 11] = [
    (Face::Key, Verb::Describe),
    (Face::Key, Verb::Register),
    (Face::Key, Verb::Test),
    (Face::Key, Verb::Revoke),
    (Face::Card, Verb::Describe),
    (Face::Card, Verb::Register),
    (Face::Card, Verb::Test),
    (Face::Card, Verb::Revoke),
    (Face::Card, Verb::SetPassword),
    (Face::Card, Verb::Rename),
    (Face::Card, Verb::Reset),
];

#[derive(Clone, Copy, Debug)]
struct Cell {
    subject: Subject,
    frame: u64,
    kind: FaultKind,
}

/// A house with a healthy card in it, whose test shows that others are served.
struct Bench {
    house: House,
    witness: String,
    reader: Plugged,
    served: usize,
    stale: bool,
}

impl Bench {
    async fn build(bus: &Arc<PrivateBus>) -> Self {
        let house = House::on_bus(bus.clone(), &figures()).await;
        let reader = house.plug(&token("oath-card", "witness", 99));
        let witness = loop {
            // The deadlines are short and the machine is busy: a registration that was too slow is repeated.
            let end = house.register_card(&reader, "witness").await;
            if end.is_done() {
                break text(&end.done(), "token");
            }
            println!("the witness: {end}");
        };
        Self {
            house,
            witness,
            reader,
            served: 0,
            stale: false,
        }
    }

    async fn others_are_served(&self) -> Result<(), String> {
        let mut said = String::new();
        for _ in 0..3 {
            let end = self.house.test_on(&self.witness, &self.reader, None).await;
            if end.is_done() {
                return Ok(());
            }
            said = end.to_string();
        }
        Err(format!("the healthy card was not served: {said}"))
    }
}

/// A device to strike, and the token on it where the operation wants one.
struct Prepared {
    body: Token,
    plugged: Plugged,
    id: String,
    subject: String,
}

async fn prepare(house: &House, (face, verb): Subject, seed: u64) -> Prepared {
    for again in 0.. {
        let name = format!("d{seed}-{again}");
        let body = token(if face == Face::Key { "nitrokey-3" } else { "oath-card" }, &name, seed);
        let plugged = house.plug(&body);
        let subject = format!("person-{name}");
        let id = match verb {
            Verb::Describe | Verb::Register => String::new(),
            Verb::Test | Verb::Revoke | Verb::SetPassword | Verb::Rename | Verb::Reset => {
                let end = match face {
                    Face::Key => house.register_key(&plugged, &subject).await,
                    Face::Card => house.register_card(&plugged, &subject).await,
                };
                assert!(again < 5, "a healthy device cannot be registered: {end}");
                if !end.is_done() {
                    continue;
                }
                text(&end.done(), "token")
            }
        };
        return Prepared {
            body,
            plugged,
            id,
            subject,
        };
    }
    unreachable!("the loop ends by returning")
}

async fn perform(house: &House, (face, verb): Subject, on: &Prepared) -> End {
    let pin = (face == Face::Key).then_some(PIN);
    match verb {
        Verb::Describe => describe(house, &on.plugged).await,
        Verb::Register if face == Face::Key => house.register_key(&on.plugged, &on.subject).await,
        Verb::Register => house.register_card(&on.plugged, &on.subject).await,
        Verb::Test => house.test_on(&on.id, &on.plugged, pin).await,
        Verb::Revoke => house.revoke_on(&on.id, &on.plugged, pin).await,
        Verb::SetPassword => {
            let device = house.device(&on.plugged).await;
            let new = zbus::Fd::from(secret(PASSWORD.as_bytes()));
            house.run(async |_| device.set_oath_password(new, &none()).await).await
        }
        Verb::Rename => {
            let device = house.device(&on.plugged).await;
            let old = text(&house.get(&on.id).await, "oath-name");
            house
                .run(async |_| device.rename_oath_credential(&old, RENAMED, &none()).await)
                .await
        }
        Verb::Reset => {
            let device = house.device(&on.plugged).await;
            // The bench has a healthy card of the same make beside it, so which is meant has to be said.
            let place = device.place().await.expect("a place");
            let word = Options::from([("reset", Variant::Bool(true)), ("place", Variant::from(place))]);
            house.run(async |_| device.reset_oath(&word).await).await
        }
    }
}

/// The token tests on its healthy device, with the password that the fault may or may not have let through, or without.
async fn tests_again(house: &House, body: &Token, id: &str) -> Result<(), String> {
    let mut said = String::new();
    for _ in 0..3 {
        let again = house.plug(body);
        let mut with = presence(&again, None);
        with.insert("password", Variant::Fd(zbus::Fd::from(secret(PASSWORD.as_bytes()))));
        for options in [presence(&again, None), with] {
            let end = house.run(async |tokens| tokens.test(id, &options).await).await;
            if end.is_done() {
                return Ok(());
            }
            said = end.to_string();
        }
    }
    Err(format!("healthy again, its test fails: {said}"))
}

async fn describe(house: &House, plugged: &Plugged) -> End {
    let device = Device1Proxy::builder(&house.client)
        .path(path_of(plugged))
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await
        .expect("a proxy");
    loop {
        match device.describe(&none()).await {
            Ok(details) => return End::Completed("done".to_owned(), details),
            // A device is welcomed before it is announced on the bus.
            Err(zbus::Error::FDO(error))
                if matches!(
                    *error,
                    zbus::fdo::Error::UnknownObject(_) | zbus::fdo::Error::UnknownInterface(_)
                ) =>
            {
                if !plugged.is_plugged() {
                    return End::Denied(ErrorName::UnknownDevice.as_str().to_owned(), error.to_string());
                }
                tokio::task::yield_now().await;
            }
            Err(zbus::Error::MethodError(name, sentence, _)) => {
                return End::Denied(name.to_string(), sentence.unwrap_or_default());
            }
            Err(other) => panic!("{other}"),
        }
    }
}

fn held(face: Face, body: &Token) -> usize {
    let held = match face {
        Face::Key => body.with_authenticator(|key| key.resident_count()),
        Face::Card => body.with_card(|card| card.credential_count()),
    };
    held.expect("a face")
}

/// How many frames a clean run takes.
async fn record(subject: Subject, bus: &Arc<PrivateBus>) -> u64 {
    let bench = Bench::build(bus).await;
    for seed in 0..5 {
        let on = prepare(&bench.house, subject, 1000 + seed).await;
        on.body.record();
        let end = perform(&bench.house, subject, &on).await;
        if end.is_done() {
            return on.body.frames().len() as u64;
        }
    }
    panic!("{subject:?}: no clean recording")
}

async fn visit(bench: &mut Bench, cell: Cell, seed: u64) -> Came {
    let (face, verb) = cell.subject;
    let on = prepare(&bench.house, cell.subject, seed).await;
    on.body.record();
    on.body.inject(Fault::at(cell.frame, cell.kind));
    let started = Instant::now();
    let end = perform(&bench.house, cell.subject, &on).await;
    let took = started.elapsed();
    let struck = on.body.faults().iter().any(|fault| fault.struck == Some(cell.frame));
    if took > limit() {
        return Err(format!("it took {took:?}, more than {:?}", limit()));
    }
    let outcome = name_of(&end)?;
    bench.others_are_served().await?;
    let house = &bench.house;
    house
        .manager()
        .await
        .status(&none())
        .await
        .map_err(|error| format!("Status: {error}"))?;

    let Prepared {
        body,
        plugged,
        id,
        subject,
    } = on;
    drop(plugged);
    body.clear_faults();
    let records = house.all().await;
    if let Some(pending) = records.iter().find(|record| text(record, "state") == "pending") {
        return Err(format!("half registered after {end}: {pending:?}"));
    }
    let owed = house.obligations().await;
    let record = records
        .iter()
        .find(|record| text(record, "id") == id || (id.is_empty() && text(record, "subject") == subject));
    match record {
        None if verb == Verb::Describe => {}
        // Who it is was still being asked: nothing was begun, and nothing is on it.
        None if verb == Verb::Register && outcome != "done" && held(face, &body) == 0 => {}
        None => return Err(format!("no record after {end}")),
        Some(record) => {
            let state = text(record, "state");
            let active = match (verb, outcome.as_str()) {
                (Verb::Register, "done") | (Verb::Test | Verb::SetPassword | Verb::Rename, _) => true,
                (Verb::Register, _) | (Verb::Revoke, _) | (Verb::Reset, "done") => false,
                (Verb::Describe | Verb::Reset, _) => state == "active",
            };
            if (state == "active") != active {
                let story = house.story_of(&text(record, "id")).await;
                return Err(format!("{state} after {end}\n{story}"));
            }
            let owes = owed.iter().find(|duty| text(duty, "token") == text(record, "id"));
            let holds = held(face, &body);
            if !active && holds > 0 && owes.is_none() {
                return Err(format!(
                    "the device holds {holds} of ours and nothing is owed after {end}"
                ));
            }
            if active && holds == 0 {
                return Err(format!("active, but the device holds nothing of ours after {end}"));
            }
            if matches!(verb, Verb::SetPassword | Verb::Rename) {
                tests_again(house, &body, &id).await?;
            }
            if let Some(duty) = owes
                && holds > 0
            {
                // The obligation is good for something: the healthy device settles it.
                // Deadlines are short here; a healthy device on a machine that is busy with six houses may miss one.
                let mut patience = 3;
                let settled = loop {
                    let again = house.plug(&body);
                    let settled = house
                        .discharge_on(&text(duty, "id"), &again, (face == Face::Key).then_some(PIN))
                        .await;
                    patience -= 1;
                    if patience == 0 || !settled.to_string().contains("DeviceTimeout") {
                        break settled;
                    }
                };
                if !settled.is_done() || held(face, &body) > 0 {
                    return Err(format!("its obligation cannot be settled: {settled}"));
                }
            }
        }
    }
    bench.stale = !house.obligations().await.is_empty();
    house.assert_intact().await;
    house.assert_no_panic();
    Ok(struck.then_some((outcome, took)))
}

/// The outcome, or the name of the error; anything else is a failure.
fn name_of(end: &End) -> Result<String, String> {
    let known = |error: &str| match ErrorName::parse(error) {
        Some(ErrorName::Internal) | None => Err(format!("an error without a name of ours: {end}")),
        Some(_) => Ok(error.rsplit('.').next().unwrap_or_default().to_owned()),
    };
    match end {
        End::Completed(outcome, details) => match outcome.as_str() {
            "done" => Ok("done".to_owned()),
            "obliged" => {
                known(&text(details, "error"))?;
                Ok("obliged".to_owned())
            }
            "refused" => known(&text(details, "error")),
            other => Err(format!("nobody cancelled, but it ended {other}")),
        },
        End::Denied(error, _) => known(error),
        End::Died => Err("the daemon died".to_owned()),
    }
}

/// What a cell came to: the outcome's name and the time it took, or `None` when the fault did not strike.
type Came = Result<Option<(String, Duration)>, String>;

#[derive(Default)]
struct Findings {
    visited: BTreeMap<Subject, usize>,
    outcomes: BTreeMap<String, BTreeMap<String, usize>>,
    failures: Vec<String>,
    slowest: Option<(Duration, String)>,
}

impl Findings {
    fn note(&mut self, cell: Cell, came: Came) {
        match came {
            Ok(Some((outcome, took))) => {
                *self.visited.entry(cell.subject).or_default() += 1;
                let outcomes = self.outcomes.entry(format!("{:?}", cell.kind)).or_default();
                *outcomes.entry(outcome.clone()).or_default() += 1;
                if self.slowest.as_ref().is_none_or(|(slowest, _)| took > *slowest) {
                    self.slowest = Some((took, format!("{cell:?}: {outcome}")));
                }
            }
            Ok(None) => self.failures.push(format!("{cell:?}: never struck")),
            Err(what) => self.failures.push(format!("{cell:?}: {what}")),
        }
    }
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

/// Takes cells from the queue until it is empty. What panics is a failure of its cell, and the house is built anew.
fn work(queue: &Mutex<VecDeque<Cell>>, findings: &Mutex<Findings>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let bus = Arc::new(PrivateBus::start());
    let mut bench = None;
    loop {
        let Some(cell) = queue.lock().unwrap().pop_front() else {
            return;
        };
        let mut came = Ok(None);
        for again in 0..TRIES {
            let kind = KINDS.iter().position(|kind| *kind == cell.kind).unwrap() as u64;
            let subject = SUBJECTS.iter().position(|subject| *subject == cell.subject).unwrap() as u64;
            let seed = again * 10_000_000 + subject * 1_000_000 + cell.frame * 100 + kind;
            let ran = catch_unwind(AssertUnwindSafe(|| runtime.block_on(one(&bus, &mut bench, cell, seed))));
            came = ran.unwrap_or_else(|panic| {
                bench = None;
                let what = panic.downcast_ref::<String>().cloned();
                Err(what.unwrap_or_else(|| "a panic".to_owned()))
            });
            if !matches!(came, Ok(None)) {
                break;
            }
        }
        findings.lock().unwrap().note(cell, came);
    }
}

async fn one(bus: &Arc<PrivateBus>, bench: &mut Option<Bench>, cell: Cell, seed: u64) -> Came {
    if bench
        .as_ref()
        .is_none_or(|bench| bench.stale || bench.served >= CELLS_PER_HOUSE)
    {
        drop(bench.take());
        *bench = Some(Bench::build(bus).await);
    }
    let bench = bench.as_mut().expect("a bench");
    bench.served += 1;
    let came = visit(bench, cell, seed).await;
    bench.stale |= came.is_err();
    came
}

#[test]
fn every_frame_of_every_operation_survives_every_fault() {
    let started = Instant::now();
    let bus = Arc::new(PrivateBus::start());
    let frames: Vec<(Subject, u64)> = on_runtime(async {
        let mut frames = Vec::new();
        for subject in SUBJECTS {
            frames.push((subject, record(subject, &bus).await));
        }
        frames
    });
    let mut cells = VecDeque::new();
    for (subject, count) in &frames {
        assert!(*count > 0, "{subject:?} sends nothing");
        for frame in 1..=*count {
            cells.extend(KINDS.map(|kind| Cell {
                subject: *subject,
                frame,
                kind,
            }));
        }
    }
    let wanted = cells.len();
    let (queue, findings) = (Mutex::new(cells), Mutex::new(Findings::default()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work(&queue, &findings));
        }
    });
    let findings = findings.into_inner().unwrap();
    for ((face, verb), count) in &frames {
        let visited = findings.visited.get(&(*face, *verb)).copied().unwrap_or_default();
        println!(
            "{face:?} {verb:?}: {count} frames x {} kinds, visited {visited}",
            KINDS.len()
        );
    }
    for (kind, outcomes) in &findings.outcomes {
        println!("{kind}: {outcomes:?}");
    }
    if let Some((took, cell)) = &findings.slowest {
        println!("slowest: {took:?}, {cell}");
    }
    let visited: usize = findings.visited.values().sum();
    let all: u64 = frames.iter().map(|(_, count)| count).sum();
    println!(
        "cells: frames x kinds x operations = {all} frames of {} operations x {} kinds = {wanted}, visited {visited}, in {:?}",
        SUBJECTS.len(),
        KINDS.len(),
        started.elapsed()
    );
    assert!(
        findings.failures.is_empty(),
        "{} cells failed:\n{}",
        findings.failures.len(),
        findings.failures.join("\n")
    );
    assert_eq!(visited, wanted, "cells were not visited");
}
