//! `make bench`: all figures of `docs/benchmarks.md` in one run, as a table and in `target/bench.json`.
//!
//! The daemon measured is the one that ships, in a process of its own; whoever calls it is another process under another
//! user. What a machine cannot measure is `null`, with a line that says why.
#![allow(missing_docs)]

mod appear;
mod card;
mod daemon;
mod fleet;
mod full_ledger;
mod harness;
mod idle;
mod part;
mod pcscd;
mod report;
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
    // `cargo bench --bench claviger -- fleet`: the simulation alone, which needs neither bus nor device.
    let only_fleet = arguments.iter().any(|argument| argument == "fleet");
    let (mut figures, mut sound) = if only_fleet {
        (Vec::new(), true)
    } else {
        runtime.block_on(run())
    };
    if !only_fleet {
        print!("{}", report::table(&figures));
    }
    say("40,000 fobs of each habit over five years");
    match std::panic::catch_unwind(fleet::run) {
        Ok(fleet) => {
            print!("{}", fleet.table);
            figures.extend(fleet.figures);
            sound &= fleet.sound;
        }
        Err(_) => sound = false,
    }
    if only_fleet {
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

/// All figures, and whether everything that could be tried went well.
async fn run() -> (Vec<Figure>, bool) {
    let mut sound = true;
    let mut outcomes = Vec::new();
    say("a Test over D-Bus against the bare exchange");
    outcomes.push(one(&mut sound, tokio::spawn(card::ratio())).await);
    say("how soon a device is told");
    outcomes.push(one(&mut sound, tokio::spawn(appear::appeared())).await);
    say("10,000 tokens: start, memory, 30 s of rest");
    match tokio::spawn(idle::with_full_ledger()).await {
        Ok(three) => outcomes.extend(three),
        Err(error) => {
            sound = false;
            outcomes.extend((0..3).map(|_| Err(format!("failed: {error}"))));
        }
    }
    let figures = report::FIGURES
        .iter()
        .zip(outcomes)
        .map(|(&definition, outcome)| Figure { definition, outcome })
        .collect();
    (figures, sound)
}

/// A part that breaks off is told as such and does not take the others with it.
async fn one(sound: &mut bool, task: tokio::task::JoinHandle<Result<Measured, String>>) -> Result<Measured, String> {
    task.await.unwrap_or_else(|error| {
        *sound = false;
        Err(format!("failed: {error}"))
    })
}

fn say(what: &str) {
    eprintln!("bench: {what}");
}
