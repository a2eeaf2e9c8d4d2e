//! Every frame of what is done to a FIDO2 application, over both carriers, struck by every kind of fault. The operation ends in
//! time with an error that has a name, the daemon serves the next request, nothing panics, the journal verifies, the PIN is the old
//! one or the new one, and no more than one try of it was spent.
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
use claviger::contract::proxy::Options;
use house::{End, Figures, House, PIN, none, secret, text, token};
use hw_fixtures::fault::{Fault, FaultKind};
use hw_fixtures::{Plugged, Token};
use zbus::Variant;

const WORKERS: usize = 6;
/// Cells that one house serves before it is built anew, so that its journal stays short.
const CELLS_PER_HOUSE: usize = 40;
/// An answer may be a frame longer or shorter from run to run; a cell that was not struck is tried again so often.
const TRIES: u64 = 6;
const NEW: &str = "another-9";

const KINDS: [FaultKind; 7] = [
    FaultKind::Unplug,
    FaultKind::Stall,
    FaultKind::Garbage,
    FaultKind::WrongChannel,
    FaultKind::WrongSequence,
    FaultKind::FalseLength,
    FaultKind::EndlessKeepalive,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Set,
    Change,
    Draw,
    Lengthen,
    List,
    ClearBlobs,
    AwaitTouch,
    Enrol,
}

/// Profile (HID; a contactless reader; HID with a sensor) and what is done.
type Subject = (&'static str, Deed);

const SUBJECTS: [Subject; 15] = [
    ("fido23", Deed::Set),
    ("fido23", Deed::Change),
    ("fido23", Deed::Draw),
    ("fido23", Deed::Lengthen),
    ("fido23", Deed::List),
    ("fido23", Deed::ClearBlobs),
    ("fido23", Deed::AwaitTouch),
    ("fido-nfc-fixed", Deed::Set),
    ("fido-nfc-fixed", Deed::Change),
    ("fido-nfc-fixed", Deed::Draw),
    ("fido-nfc-fixed", Deed::Lengthen),
    ("fido-nfc-fixed", Deed::List),
    ("fido-nfc-fixed", Deed::ClearBlobs),
    ("fido-nfc-fixed", Deed::AwaitTouch),
    ("bio-key", Deed::Enrol),
];

#[derive(Clone, Copy, Debug)]
struct Cell {
    subject: Subject,
    frame: u64,
    kind: FaultKind,
}

fn figures() -> Figures {
    Figures {
        exchange: 200,
        touch: 200,
        lock: 200,
        grace: 200,
        ..Figures::default()
    }
}

/// Every exchange in the budget of the longest of them, the lock before and the grace after, and two seconds because this machine
/// does other things too.
const LIMIT: Duration = Duration::from_millis(200 + 60 * 200 + 20 * 200 + 200 + 2000);

fn by(pin: &str) -> Options<'static> {
    Options::from([("pin", Variant::Fd(secret(pin.as_bytes()).into()))])
}

async fn prepare(house: &House, (profile, deed): Subject, seed: u64) -> (Token, Plugged) {
    let key = token(profile, &format!("k{seed}"), seed);
    let plugged = house.plug(&key);
    for _ in 0..5 {
        if deed == Deed::Set || key.with_authenticator(|own| own.has_pin(PIN)) == Some(true) {
            return (key, plugged);
        }
        let new = secret(PIN.as_bytes());
        house
            .run_fido(&plugged, async |key| key.set_pin(new.into(), &none()).await)
            .await;
    }
    panic!("a healthy key takes no PIN");
}

async fn perform(house: &House, deed: Deed, plugged: &Plugged) -> End {
    let new = || zbus::Fd::from(secret(NEW.as_bytes()));
    let (options, letter) = (by(PIN), tempfile::tempfile().expect("a file"));
    house
        .run_fido(plugged, async |key| match deed {
            Deed::Set => key.set_pin(new(), &none()).await,
            Deed::Change => key.change_pin(new(), &options).await,
            Deed::Draw => {
                let letter = zbus::Fd::from(std::os::fd::OwnedFd::from(letter));
                key.draw_pin(letter, &options).await
            }
            Deed::Lengthen => key.set_min_pin_length(6, &options).await,
            Deed::List => key.list_credentials(&options).await,
            Deed::ClearBlobs => key.clear_large_blobs(&options).await,
            Deed::AwaitTouch => key.await_touch(&none()).await,
            Deed::Enrol => key.enrol_fingerprint(&options).await,
        })
        .await
}

async fn record(subject: Subject, bus: &Arc<PrivateBus>) -> u64 {
    let house = House::on_bus(bus.clone(), &figures()).await;
    for seed in 0..5 {
        let (key, plugged) = prepare(&house, subject, 1000 + seed).await;
        house.fido(&plugged).await;
        key.record();
        if perform(&house, subject.1, &plugged).await.is_done() {
            return key.frames().len() as u64;
        }
    }
    panic!("{subject:?}: no clean recording")
}

type Came = Result<Option<String>, String>;

async fn visit(house: &House, cell: Cell, seed: u64) -> Came {
    let (key, plugged) = prepare(house, cell.subject, seed).await;
    house.fido(&plugged).await;
    key.record();
    key.inject(Fault::at(cell.frame, cell.kind));
    let started = Instant::now();
    let end = perform(house, cell.subject.1, &plugged).await;
    let took = started.elapsed();
    let struck = key.faults().iter().any(|fault| fault.struck == Some(cell.frame));
    if took > LIMIT {
        return Err(format!("it took {took:?}"));
    }
    let outcome = name_of(&end)?;
    drop(plugged);
    key.clear_faults();
    let (tries, old, new) = key
        .with_authenticator(|own| (own.pin_retries(), own.has_pin(PIN), own.has_pin(NEW)))
        .expect("a key");
    if tries < 7 {
        return Err(format!("{} tries were spent by {end}", 8 - tries));
    }
    let known = match cell.subject.1 {
        // One that was handed out, though it may not have been set: then the old one stands.
        Deed::Draw => true,
        Deed::Set if !end.is_done() => true,
        Deed::Set => new,
        Deed::Change => old || new,
        _ => old,
    };
    if !known {
        return Err(format!("nobody knows the PIN after {end}"));
    }
    // The healthy key is served.
    let again = house.plug(&key);
    let fido = house.fido(&again).await;
    let mut said = String::new();
    for _ in 0..3 {
        match fido.pin_status(&none()).await {
            Ok(_) => {
                said.clear();
                break;
            }
            Err(error) => said = error.to_string(),
        }
    }
    if !said.is_empty() {
        return Err(format!("healthy again, it is not served: {said}"));
    }
    house.assert_intact().await;
    house.assert_no_panic();
    Ok(struck.then_some(outcome))
}

fn name_of(end: &End) -> Result<String, String> {
    let known = |error: &str| match ErrorName::parse(error) {
        Some(ErrorName::Internal) | None => Err(format!("an error without a name of ours: {end}")),
        Some(_) => Ok(error.rsplit('.').next().unwrap_or_default().to_owned()),
    };
    match end {
        End::Completed(outcome, _) if outcome == "done" => Ok("done".to_owned()),
        End::Completed(outcome, details) if outcome == "refused" => known(&text(details, "error")),
        End::Completed(outcome, _) => Err(format!("nobody cancelled, but it ended {outcome}")),
        End::Denied(error, _) => known(error),
        End::Died => Err("the daemon died".to_owned()),
    }
}

#[derive(Default)]
struct Findings {
    visited: BTreeMap<Subject, usize>,
    outcomes: BTreeMap<String, BTreeMap<String, usize>>,
    failures: Vec<String>,
}

impl Findings {
    fn note(&mut self, cell: Cell, came: Came) {
        match came {
            Ok(Some(outcome)) => {
                *self.visited.entry(cell.subject).or_default() += 1;
                let outcomes = self.outcomes.entry(format!("{:?}", cell.kind)).or_default();
                *outcomes.entry(outcome).or_default() += 1;
            }
            Ok(None) => self.failures.push(format!("{cell:?}: never struck")),
            Err(what) => self.failures.push(format!("{cell:?}: {what}")),
        }
    }
}

fn work(queue: &Mutex<VecDeque<(u64, Cell)>>, findings: &Mutex<Findings>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let bus = Arc::new(PrivateBus::start());
    let mut house: Option<(House, usize)> = None;
    loop {
        let Some((number, cell)) = queue.lock().unwrap().pop_front() else {
            return;
        };
        let mut came = Ok(None);
        for again in 0..TRIES {
            let seed = again * 1_000_000 + number;
            let ran = catch_unwind(AssertUnwindSafe(|| {
                runtime.block_on(async {
                    if house.as_ref().is_none_or(|(_, served)| *served >= CELLS_PER_HOUSE) {
                        drop(house.take());
                        house = Some((House::on_bus(bus.clone(), &figures()).await, 0));
                    }
                    let (house, served) = house.as_mut().expect("a house");
                    *served += 1;
                    visit(house, cell, seed).await
                })
            }));
            came = ran.unwrap_or_else(|panic| {
                let what = panic.downcast_ref::<String>().cloned();
                Err(what.unwrap_or_else(|| "a panic".to_owned()))
            });
            if came.is_err() {
                house = None;
            }
            if !matches!(came, Ok(None)) {
                break;
            }
        }
        findings.lock().unwrap().note(cell, came);
    }
}

#[test]
fn every_frame_of_looking_after_a_key_survives_every_fault() {
    let started = Instant::now();
    let bus = Arc::new(PrivateBus::start());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let frames: Vec<(Subject, u64)> = runtime.block_on(async {
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
            for kind in KINDS {
                let number = 10_000 + cells.len() as u64;
                cells.push_back((
                    number,
                    Cell {
                        subject: *subject,
                        frame,
                        kind,
                    },
                ));
            }
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
    for (subject, count) in &frames {
        let visited = findings.visited.get(subject).copied().unwrap_or_default();
        println!("{subject:?}: {count} frames x {} kinds, visited {visited}", KINDS.len());
    }
    for (kind, outcomes) in &findings.outcomes {
        println!("{kind}: {outcomes:?}");
    }
    let visited: usize = findings.visited.values().sum();
    println!(
        "cells: {} operations, {wanted} cells, visited {visited}, in {:?}",
        SUBJECTS.len(),
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
