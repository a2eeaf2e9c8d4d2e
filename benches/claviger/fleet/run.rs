//! The whole fleet under every verifier, on as many threads as there are processors.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::fob::{Fob, HABITS, Habit};
use super::life::{Tally, live};
use super::ours::{Checked, Claviger, Sample};
use super::random::{Random, USUAL_SPREAD};
use super::verifier::{FreeIpa, OneSpan, PrivacyIdea, Verifier};

/// Fobs of each habit.
pub const FOBS: u64 = 40_000;
/// Of the comparisons beside the main table.
pub const FEW: u64 = 8_000;

/// Whose way it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    PrivacyIdea,
    FreeIpa,
    OneSpan,
    Claviger,
}

impl Strategy {
    /// In the order of the table.
    pub const ALL: [Self; 4] = [Self::PrivacyIdea, Self::FreeIpa, Self::OneSpan, Self::Claviger];

    pub const fn name(self) -> &'static str {
        match self {
            Self::PrivacyIdea => "privacyidea",
            Self::FreeIpa => "freeipa",
            Self::OneSpan => "onespan",
            Self::Claviger => "claviger",
        }
    }

    /// Its window as it ships: steps to a side, for OneSpan in all.
    pub const fn shipped(self) -> i64 {
        match self {
            Self::PrivacyIdea => 6,
            Self::FreeIpa => 9,
            Self::OneSpan => 11,
            Self::Claviger => 0,
        }
    }
}

/// What one strategy came to with one habit.
#[derive(Debug, Clone, Default)]
pub struct Result {
    pub tally: Tally,
    pub checked: Checked,
}

/// How a fleet is run.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub strategy: Strategy,
    pub habit: Habit,
    /// As in [`Strategy::shipped`].
    pub window: i64,
    pub fobs: u64,
    /// Who is refused three times calls the help desk.
    pub desk: bool,
    /// How far typing delays spread.
    pub spread: f64,
    pub sample: Sample,
}

/// Runs it. The same fobs and the same people whatever the strategy.
pub fn fleet(setting: Setting) -> Result {
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut whole = Result::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| some(setting, &next))).collect();
        for worker in workers {
            let part = worker.join().expect("a part of the fleet");
            whole.tally.add(&part.tally);
            whole.checked.add(part.checked);
        }
    });
    whole
}

/// Sixty-four fobs at a time, until there are none.
fn some(setting: Setting, next: &AtomicU64) -> Result {
    const BATCH: u64 = 64;
    let mut part = Result::default();
    loop {
        let from = next.fetch_add(BATCH, Ordering::Relaxed);
        if from >= setting.fobs {
            return part;
        }
        for number in from..(from + BATCH).min(setting.fobs) {
            one(setting, number, &mut part);
        }
    }
}

fn one(setting: Setting, number: u64, part: &mut Result) {
    let habit = HABITS.iter().position(|habit| *habit == setting.habit).unwrap_or(0) as u64;
    let mut random = Random::new(super::SEED, number * 16 + habit).typing(setting.spread);
    let fob = Fob::draw(&mut random);
    let mut go = |verifier: &mut dyn Verifier| {
        live(
            &fob,
            setting.habit,
            verifier,
            &mut random,
            setting.desk,
            &mut part.tally,
        );
    };
    match setting.strategy {
        Strategy::PrivacyIdea => go(&mut PrivacyIdea::new(setting.window)),
        Strategy::FreeIpa => go(&mut FreeIpa::new(setting.window)),
        Strategy::OneSpan => go(&mut OneSpan::new(setting.window)),
        Strategy::Claviger => {
            let own = Random::new(super::SEED, number * 16 + 8 + habit);
            let mut ours = Claviger::new(own, setting.sample);
            go(&mut ours);
            part.checked.add(ours.checked);
        }
    }
}

/// The narrowest window with which a strategy refuses no more good codes than `at_most_pct`, and what it then comes to.
pub fn narrowest(strategy: Strategy, habit: Habit, at_most_pct: f64, sample: Sample) -> Option<(i64, Tally)> {
    let windows = match strategy {
        Strategy::PrivacyIdea => 1..=120,
        Strategy::FreeIpa => 1..=240,
        Strategy::OneSpan => 1..=30,
        Strategy::Claviger => return None,
    };
    let run = |window| {
        fleet(Setting {
            strategy,
            habit,
            window,
            fobs: FEW,
            desk: true,
            spread: USUAL_SPREAD,
            sample,
        })
        .tally
    };
    // The wider the fewer: halve the range.
    let (mut low, mut high) = (*windows.start(), *windows.end());
    let mut best = run(high);
    if best.false_rejects_pct() > at_most_pct {
        return None;
    }
    while low < high {
        let middle = (low + high) / 2;
        let tally = run(middle);
        if tally.false_rejects_pct() <= at_most_pct {
            (high, best) = (middle, tally);
        } else {
            low = middle + 1;
        }
    }
    Some((high, best))
}
