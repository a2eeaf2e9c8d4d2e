//! `make bench`: all figures of `docs/benchmarks.md` in one run, as a table and in `target/bench.json`.
//!
//! The daemon measured is the one that ships, in a process of its own; whoever calls it is another process under another
//! user. What a machine cannot measure is `null`, with a line that says why.
#![allow(missing_docs)]

mod appear;
mod bulk;
mod card;
mod crowd;
mod daemon;
mod durable;
mod engine;
mod fleet;
mod fobs;
mod full_ledger;
mod guarded;
mod harness;
mod idle;
mod listings;
mod million;
mod part;
mod pcscd;
mod report;
mod resync;
mod stage;

use std::process::ExitCode;

use report::{Figure, Measured};

/// Where programs find the figures.
const JSON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench.json");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads");
    if let [role, rest @ ..] = arguments.as_slice()
        && let Some(role) = part::Role::named(role)
    {
        return runtime.block_on(part::play(role, rest));
    }
    // `cargo test --all-targets` starts benchmarks too, without this word.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("run by “make bench” or “cargo bench --bench claviger”");
        return ExitCode::SUCCESS;
    }
    // `cargo bench --bench claviger -- fleet durable`: only the simulation, which needs neither bus nor device, and the figures whose
    // names begin so.
    let wanted: Vec<String> = arguments.into_iter().filter(|word| !word.starts_with("--")).collect();
    let all = wanted.is_empty();
    let wants_fleet = all || wanted.iter().any(|word| word == "fleet");
    let (mut figures, mut sound) = runtime.block_on(run(&wanted));
    print!("{}", report::table(&figures));
    if wants_fleet {
        say("40,000 fobs of each habit over five years");
        match std::panic::catch_unwind(fleet::run) {
            Ok(fleet) => {
                print!("{}", fleet.table);
                figures.extend(fleet.figures);
                sound &= fleet.sound;
            }
            Err(_) => sound = false,
        }
    }
    if !all {
        return ExitCode::from(u8::from(!sound));
    }
    let json = report::json(&figures);
    let written = std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/target"))
        .and_then(|()| std::fs::write(JSON, json));
    if let Err(error) = &written {
        eprintln!("{JSON}: {error}");
    }
    ExitCode::from(u8::from(written.is_err() || !sound))
}

/// All figures, or those whose names begin with one of `wanted`, and whether everything that could be tried went well.
async fn run(wanted: &[String]) -> (Vec<Figure>, bool) {
    let mut house = House {
        wanted,
        figures: Vec::new(),
        sound: true,
    };
    house
        .one("a Test over D-Bus against the bare exchange", card::ratio)
        .await;
    house.one("how soon a device is told", appear::appeared).await;
    house
        .several("10,000 tokens: start, memory, 30 s of rest", 3, idle::with_full_ledger)
        .await;
    let search = || async { tokio::task::spawn_blocking(resync::ratio).await.expect("joined") };
    house.one("two codes searched over 24 hours", search).await;
    house.one("a delivery of 10,000 tokens", bulk::ratio).await;
    house
        .several("tests against the disk's own syncs", 2, durable::ratios)
        .await;
    house
        .several("tests and finds with a million tokens", 2, million::ratios)
        .await;
    let engine = || async { tokio::task::spawn_blocking(engine::costs).await.expect("joined") };
    house.several("the CTAP engine apart from the link", 3, engine).await;
    house
        .one("sixteen keys listed, against fido2-token", listings::over_fido2_token)
        .await;
    house.one("two cards listed, against ykman", listings::over_ykman).await;
    house.one("sixteen keys tested at once", crowd::ratio).await;
    house.one("a Test in a case, with 10,000 open", guarded::ratio).await;
    (house.figures, house.sound)
}

/// What has been measured so far.
struct House<'a> {
    wanted: &'a [String],
    figures: Vec<Figure>,
    sound: bool,
}

impl House<'_> {
    async fn one<F>(&mut self, what: &str, job: impl FnOnce() -> F)
    where
        F: Future<Output = Result<Measured, String>> + Send + 'static,
    {
        let job = job();
        self.several(what, 1, || async { vec![job.await] }).await;
    }

    /// The next `count` figures of the list. What breaks off is told as such and does not take the others with it.
    async fn several<F, O>(&mut self, what: &str, count: usize, job: impl FnOnce() -> F)
    where
        F: Future<Output = O> + Send + 'static,
        O: IntoIterator<Item = Result<Measured, String>> + Send + 'static,
    {
        let definitions = report::FIGURES.iter().skip(self.figures.len()).take(count);
        let is_wanted =
            |name: &str| self.wanted.is_empty() || self.wanted.iter().any(|begin| name.starts_with(begin.as_str()));
        let outcomes: Vec<_> = if definitions.clone().any(|figure| is_wanted(figure.name)) {
            say(what);
            match tokio::spawn(job()).await {
                Ok(outcomes) => outcomes.into_iter().collect(),
                Err(error) => {
                    self.sound = false;
                    vec![Err(format!("failed: {error}")); count]
                }
            }
        } else {
            vec![Err("not asked for".to_owned()); count]
        };
        let figures = definitions.zip(outcomes);
        self.figures
            .extend(figures.map(|(&definition, outcome)| Figure { definition, outcome }));
    }
}

fn say(what: &str) {
    eprintln!("bench: {what}");
}
