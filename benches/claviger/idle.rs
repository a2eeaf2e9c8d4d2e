//! The daemon with 10,000 tokens in its ledger: how soon it starts, how much memory it holds, how quietly it rests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use claviger::contract::proxy::{Options, Tokens1Proxy};
use hw_fixtures::Profile;
use hw_fixtures::front::{Plugged, plug_virtual};
use hw_fixtures::token::{Token, TokenSetup};
use zbus::proxy::CacheProperties;

use crate::daemon::{Daemon, Setup, state_directory};
use crate::full_ledger::{TOKENS, build};
use crate::pcscd::{self, Pcscd};
use crate::report::{Measured, median, quantile};
use crate::stage::Stage;

const STARTS: usize = 11;
const PAGE: u32 = 1000;
const REST: Duration = Duration::from_secs(30);
/// At rest is who has done nothing for this long,
const QUIET: Duration = Duration::from_secs(2);
/// and who has not come to rest after this many such spans is counted all the same.
const SPANS: u64 = 10;

/// `start_to_name_ms_10k_tokens`, `resident_mib_10k_tokens`, `idle_context_switches_30s`.
pub async fn with_full_ledger() -> [Result<Measured, String>; 3] {
    let state = state_directory();
    build(state.path()).await;
    let stage = Stage::open().await;
    let (pcscd, cards) = match pcscd::missing() {
        None => (Some(Pcscd::start()), "a private pcscd with a card"),
        Some(_) => (None, "no pcscd of our own"),
    };
    let setup = Setup {
        hid: true,
        cards: true,
        environment: pcscd.iter().map(Pcscd::variable).collect(),
        ..Setup::default()
    };
    let (mut names, mut readies) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let daemon = Daemon::start(&stage, state.path(), &setup).await;
        names.push(daemon.to_name.as_secs_f64() * 1000.0);
        readies.push(daemon.to_ready.as_secs_f64() * 1000.0);
        daemon.stop().await;
    }
    let start = Measured {
        value: median(&names),
        notes: vec![format!(
            "{} mode, {STARTS} starts, files cached; the slowest {:.1} ms; ready after {:.1} ms",
            stage.mode(),
            quantile(&names, 1.0),
            median(&readies)
        )],
    };

    let daemon = Daemon::start(&stage, state.path(), &setup).await;
    let (ready, before) = (Memory::of(daemon.pid()), switches(daemon.pid()));
    find_a_page(&stage).await;
    let woken = between(&before, &switches(daemon.pid()));
    assert!(
        !woken.is_empty(),
        "nobody worked for a page of {PAGE}: the switches are counted wrong"
    );
    let memory = Memory::of(daemon.pid());
    let resident = Measured {
        value: memory.resident,
        notes: vec![
            format!(
                "VmRSS: {:.1} MiB of its own (RssAnon), {:.1} MiB of files mapped, most of them shared (RssFile)",
                memory.anonymous, memory.files
            ),
            format!(
                "before the Find: {:.1} MiB ({:.1} own, {:.1} files); {TOKENS} tokens, links hid, cards, virtual",
                ready.resident, ready.anonymous, ready.files
            ),
        ],
    };
    let plugged: Vec<Plugged> = pcscd
        .iter()
        .map(Pcscd::insert_card)
        .chain([plug_key(&daemon.socket).await])
        .collect();
    let rest = rest(&daemon, cards).await;
    drop(plugged);
    daemon.stop().await;
    [Ok(start), Ok(resident), Ok(rest)]
}

/// A simulated key on the virtual link.
async fn plug_key(socket: &Path) -> Plugged {
    let (socket, profile) = (socket.to_owned(), Profile::named("solo-2").expect("a profile"));
    let token = Token::new(&profile, TokenSetup::named("resting")).expect("a token");
    let plugged = tokio::task::spawn_blocking(move || plug_virtual(&socket, &token));
    plugged.await.expect("joined").expect("plugged in")
}

async fn find_a_page(stage: &Stage) {
    let tokens = Tokens1Proxy::builder(&stage.connection)
        .cache_properties(CacheProperties::No)
        .build()
        .await
        .expect("a proxy");
    let (records, next) = tokens.find(&Options::new(), "", PAGE).await.expect("records");
    assert_eq!(records.len(), PAGE as usize);
    assert!(!next.is_empty());
}

/// In MiB, as the kernel counts it (proc_pid_status(5)).
struct Memory {
    resident: f64,
    anonymous: f64,
    files: f64,
}

impl Memory {
    fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon");
        let mib = |name: &str| {
            let kib: u32 = field(&status, name).parse().expect("a number");
            f64::from(kib) / 1024.0
        };
        Self {
            resident: mib("VmRSS:"),
            anonymous: mib("RssAnon:"),
            files: mib("RssFile:"),
        }
    }
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).expect("a field")
}

/// Context switches of every thread so far, with its name.
type Switches = BTreeMap<u32, (String, u64)>;

fn switches(pid: u32) -> Switches {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the daemon");
    tasks
        .filter_map(|task| {
            let path = task.ok()?.path();
            let number = path.file_name()?.to_str()?.parse().ok()?;
            // A thread may end in between.
            let status = fs::read_to_string(path.join("status")).ok()?;
            let count = |name| field(&status, name).parse::<u64>().expect("a number");
            let all = count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:");
            Some((number, (field(&status, "Name:").to_owned(), all)))
        })
        .collect()
}

/// What each thread did between two looks; a thread that came in between counts whole.
fn between(before: &Switches, after: &Switches) -> Vec<(String, u64)> {
    let since = |number: &u32, count: u64| count - before.get(number).map_or(0, |(_, count)| *count);
    after
        .iter()
        .map(|(number, (name, count))| (name.clone(), since(number, *count)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

async fn rest(daemon: &Daemon, cards: &str) -> Measured {
    let mut settled = 0;
    for span in 1..=SPANS {
        let before = switches(daemon.pid());
        tokio::time::sleep(QUIET).await;
        settled = span;
        if between(&before, &switches(daemon.pid())).is_empty() {
            break;
        }
    }
    let before = switches(daemon.pid());
    tokio::time::sleep(REST).await;
    let after = switches(daemon.pid());
    let woken = between(&before, &after);
    let sum: u64 = woken.iter().map(|(_, count)| count).sum();
    let by_thread: Vec<String> = woken.iter().map(|(name, count)| format!("{name} {count}")).collect();
    Measured {
        value: f64::from(u32::try_from(sum).unwrap_or(u32::MAX)),
        notes: vec![
            format!(
                "{} threads; links hid, cards ({cards}), virtual with a key; counted after {} s",
                after.len(),
                settled * QUIET.as_secs()
            ),
            match by_thread.as_slice() {
                [] => "no thread was woken".to_owned(),
                some => format!("woken: {}", some.join(", ")),
            },
        ],
    }
}
