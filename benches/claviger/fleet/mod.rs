//! Forty thousand fobs of each habit over five years: our engine beside what others do, on the same clocks and the same people.
//!
//! | file | what |
//! |---|---|
//! | `random.rs`, `fob.rs` | the generator: seeded streams, clocks, habits |
//! | `verifier.rs` | privacyIDEA, FreeIPA, OneSpan, by their behaviour |
//! | `ours.rs` | the engine that ships, asked for real on a sample |
//! | `life.rs`, `run.rs` | one fob's logins; all of them |
//! | `guess.rs` | random attempts at a resync |
//! | `stress.rs` | what breaks clocks, people and hosts |
//! | `table.rs` | what a person reads |
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

mod fob;
mod guess;
mod life;
mod ours;
mod random;
mod run;
mod stress;
mod table;
mod verifier;

use std::time::Instant;

use self::fob::HABITS;
use self::life::Tally;
use self::ours::{Checked, Sample};
use self::random::{USUAL_SPREAD, WIDE_SPREAD};
use self::run::{FEW, FOBS, Setting, Strategy, fleet, narrowest};
use crate::report::{Definition, Figure, Measured};

/// Of every stream of the simulation. Published in the table: the same seed gives the same figures everywhere.
pub const SEED: u64 = 0x2026_0D21_F705_0040;

/// The whole engine is asked at one login in 500, and for one pair of codes in 40.
const SAMPLE: Sample = Sample { logins: 500, pairs: 40 };

/// All that was found out.
pub struct Fleet {
    pub figures: Vec<Figure>,
    pub table: String,
    /// The engine never said otherwise than the arithmetic, and every stress case has its right answer.
    pub sound: bool,
}

/// One cell of the comparison.
pub struct Cell {
    pub strategy: Strategy,
    pub habit: &'static str,
    pub tally: Tally,
    /// Good codes refused when nobody ever calls the help desk, per cent of logins.
    pub alone_pct: f64,
    /// The narrowest window that refuses no more good codes than ours, and guesses per hundred tries with it.
    pub matched: Option<(i64, f64)>,
}

/// Runs everything. Takes both processors for about two minutes.
pub fn run() -> Fleet {
    let begun = Instant::now();
    let mut checked = Checked::default();
    let mut cells = Vec::new();
    let mut slower = Vec::new();
    for habit in HABITS {
        let setting = |strategy: Strategy, fobs, desk| Setting {
            strategy,
            habit,
            window: strategy.shipped(),
            fobs,
            desk,
            spread: USUAL_SPREAD,
            sample: SAMPLE,
        };
        let ours = fleet(setting(Strategy::Claviger, FEW, true)).tally.false_rejects_pct();
        let slow = fleet(Setting {
            spread: WIDE_SPREAD,
            ..setting(Strategy::Claviger, FEW, true)
        });
        checked.add(slow.checked);
        slower.push((habit.name, slow.tally));
        for strategy in Strategy::ALL {
            let whole = fleet(setting(strategy, FOBS, true));
            let alone = fleet(setting(strategy, FEW, false));
            checked.add(whole.checked);
            checked.add(alone.checked);
            cells.push(Cell {
                strategy,
                habit: habit.name,
                alone_pct: alone.tally.false_rejects_pct(),
                matched: narrowest(strategy, habit, ours, SAMPLE)
                    .map(|(window, tally)| (window, tally.guesses_per_hundred())),
                tally: whole.tally,
            });
        }
    }
    let guesses = guess::attempts();
    let cases = stress::cases();
    let sound = checked.differences == 0 && guesses.differences == 0 && cases.iter().all(|case| case.held);
    let table = table::Report {
        cells: &cells,
        slower: &slower,
        checked,
        guesses,
        cases: &cases,
        took_s: begun.elapsed().as_secs_f64(),
    }
    .text();
    Fleet {
        figures: cells.iter().flat_map(figures).collect(),
        table,
        sound,
    }
}

fn figures(cell: &Cell) -> [Figure; 3] {
    let name = |metric| -> &'static str {
        // Forty-eight names, made once in a process that ends.
        format!("drift_{}_{}_{metric}", cell.strategy.name(), cell.habit).leak()
    };
    let ours = cell.strategy == Strategy::Claviger;
    let aim = match cell.habit {
        "weekly" if ours => "steps that one code may come from; aim 5",
        "monthly" if ours => "steps that one code may come from; aim 8",
        _ => "steps that one code may come from",
    };
    let rejects = if ours {
        "logins at which a good code is refused; aim 0.1"
    } else {
        "logins at which a good code is refused"
    };
    let figure = |metric, unit, against, value| Figure {
        definition: Definition {
            name: name(metric),
            unit,
            against,
        },
        outcome: Ok(Measured {
            value,
            notes: Vec::new(),
        }),
    };
    [
        figure("false_rejects_pct", "%", rejects, cell.tally.false_rejects_pct()),
        figure("mean_codes", "steps", aim, cell.tally.mean_codes()),
        figure(
            "p95_codes",
            "steps",
            "19 logins in 20 take no more",
            cell.tally.p95_codes(),
        ),
    ]
}
