//! The policy played through: what a guesser gets in a year, and what it costs to lock somebody out.

use super::*;
use crate::ledger::{CallerTries, Sweep};

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A standing that changes as the ledger changes it (`src/ledger/replay.rs`), without one.
#[derive(Default)]
struct Desk {
    standing: Standing,
    now: i64,
}

impl Desk {
    fn look(&self, caller: u32) -> Admission {
        let mut standing = self.standing.clone();
        if standing.sweep.is_none() {
            standing.sweep = None;
        }
        admission(&standing, caller, UnixMillis(self.now))
    }

    fn row(&mut self, caller: u32) -> &mut CallerTries {
        let now = UnixMillis(self.now);
        let at = self.standing.callers.iter().position(|tries| tries.caller == caller);
        let at = at.unwrap_or_else(|| {
            let new = CallerTries {
                caller,
                count: 0,
                share: 0,
                last: now,
            };
            self.standing.callers.push(new);
            self.standing.callers.len() - 1
        });
        &mut self.standing.callers[at]
    }

    fn miss(&mut self, caller: u32) {
        assert_eq!(self.look(caller), Admission::Open, "a guess that was not admitted");
        let now = UnixMillis(self.now);
        self.standing.spent = spent_after(&self.standing, now);
        let row = self.row(caller);
        row.count += 1;
        row.share += 1;
        row.last = now;
    }

    fn pass(&mut self, caller: u32) {
        assert_eq!(self.look(caller), Admission::Open, "a right code that was not admitted");
        for row in &mut self.standing.callers {
            row.share = 0;
        }
        self.row(caller).count = 0;
    }

    /// Guesses of `caller` until `until`, each as soon as it is admitted.
    fn guess_until(&mut self, caller: u32, until: i64) -> u32 {
        let mut guesses = 0;
        while self.now < until {
            match self.look(caller) {
                Admission::Open => {
                    self.miss(caller);
                    guesses += 1;
                }
                Admission::Later(ms) | Admission::SoftLocked(ms) => self.now += ms,
                Admission::HardLocked => break,
            }
        }
        self.now = self.now.max(until);
        guesses
    }
}

#[test]
fn the_wait_grows_to_a_lock_and_the_lock_to_a_day() {
    let waits: Vec<i64> = (1..=18).map(|count| wait_ms(count) / SECOND).collect();
    assert_eq!(
        waits,
        [
            0, 0, 0, 1, 2, 4, 8, 16, 32, 900, 1800, 3600, 7200, 14_400, 28_800, 57_600, 86_400, 86_400
        ]
    );
    assert_eq!(wait_ms(u32::MAX), DAY);
}

#[test]
fn ten_in_a_row_lock_softly_and_the_lock_ends_by_itself() {
    let mut desk = Desk::default();
    for _ in 0..SOFT_LIMIT {
        while let Admission::Later(ms) = desk.look(7) {
            desk.now += ms;
        }
        desk.miss(7);
    }
    assert_eq!(desk.look(7), Admission::SoftLocked(15 * 60 * SECOND));
    desk.now += 15 * 60 * SECOND - 1;
    assert_eq!(desk.look(7), Admission::SoftLocked(1));
    desk.now += 1;
    assert_eq!(desk.look(7), Admission::Open);
    desk.pass(7);
    assert_eq!(desk.look(7), Admission::Open);
}

#[test]
fn a_hundred_in_a_row_need_a_person_whatever_time_passes() {
    let mut desk = Desk::default();
    let guesses = desk.guess_until(7, 10 * 365 * DAY);
    assert_eq!(guesses, HARD_LIMIT);
    assert_eq!(desk.look(7), Admission::HardLocked);
    assert_eq!(desk.look(8), Admission::HardLocked);
    // So long does one caller need to do that to somebody who never comes.
    let mut desk = Desk::default();
    let mut guesses = 0;
    let mut days = 0;
    while guesses < HARD_LIMIT {
        days += 1;
        guesses += desk.guess_until(7, days * DAY);
    }
    assert!((80..=90).contains(&days), "{days} days");
}

#[test]
fn one_caller_never_locks_an_account_for_another() {
    // A locker who guesses as often as he may, for a year, while his victim comes once a week through another caller.
    let mut desk = Desk::default();
    for week in 1..=52 {
        desk.guess_until(7, week * 7 * DAY);
        assert_eq!(desk.look(8), Admission::Open, "week {week}");
        desk.pass(8);
        assert!(desk.standing.run() < HARD_LIMIT);
    }
    // His own lock stands all that time: the victim's passes are none of his.
    assert!(matches!(desk.look(7), Admission::SoftLocked(_)));
}

#[test]
fn several_callers_are_no_way_around_the_lock() {
    for callers in 2..=50 {
        let mut desk = Desk::default();
        let mut guesses = 0;
        // Everybody guesses as fast as possible for two minutes.
        for _ in 0..120 {
            for caller in 0..callers {
                while desk.look(caller) == Admission::Open {
                    desk.miss(caller);
                    guesses += 1;
                }
            }
            desk.now += SECOND;
        }
        assert!(guesses <= 2 * SOFT_LIMIT, "{callers} callers: {guesses} guesses");
        assert!(matches!(desk.look(callers + 1), Admission::SoftLocked(_)));
    }
}

/// Guesses in a year of a guesser who never rests, at a log-in through which his victim passes every `pass_every` ms.
fn guesses_in_a_year(guesser: u32, victim: u32, pass_every: i64) -> u32 {
    let mut desk = Desk::default();
    let mut guesses = 0;
    let mut next = 0;
    while desk.now < 365 * DAY {
        next += pass_every;
        guesses += desk.guess_until(guesser, next.min(365 * DAY));
        if desk.look(victim) == Admission::Open {
            desk.pass(victim);
        }
    }
    guesses
}

#[test]
fn a_year_of_guessing_stays_within_the_figures_of_the_record() {
    // The bound that holds whatever anybody does: those in hand at first, and those that grow again.
    let bound = u32::try_from(IN_HAND + 365 * DAY / REGROWTH_MS).unwrap();
    assert_eq!(bound, 1_125);
    for pass_every in [HOUR, DAY, 7 * DAY] {
        let same = guesses_in_a_year(7, 7, pass_every);
        let other = guesses_in_a_year(7, 8, pass_every);
        assert!(same <= bound + 1, "every {pass_every} ms, same log-in: {same}");
        assert!(other <= 365 + 20, "every {pass_every} ms, another caller: {other}");
    }
    assert_eq!(guesses_in_a_year(7, 8, 1_000 * DAY), HARD_LIMIT);
}

#[test]
fn tries_in_hand_are_counted_down_and_grow_again() {
    let mut desk = Desk::default();
    assert_eq!(in_hand(&desk.standing, UnixMillis(0)), 30);
    desk.miss(7);
    assert_eq!(in_hand(&desk.standing, UnixMillis(0)), 29);
    assert_eq!(in_hand(&desk.standing, UnixMillis(REGROWTH_MS)), 30);
}

#[test]
fn a_sweep_over_a_directory_is_slowed_but_never_by_more_than_half_a_minute() {
    let swept = |count, ago| {
        let standing = Standing {
            sweep: Some(Sweep {
                count,
                last: UnixMillis(0),
            }),
            ..Standing::default()
        };
        admission(&standing, 7, UnixMillis(ago))
    };
    assert_eq!(swept(CALLER_FREE - 1, 0), Admission::Open);
    assert_eq!(swept(CALLER_FREE, 0), Admission::Later(SECOND));
    assert_eq!(swept(CALLER_FREE + 3, 0), Admission::Later(8 * SECOND));
    assert_eq!(swept(u32::MAX, 0), Admission::Later(32 * SECOND));
    assert_eq!(swept(u32::MAX, 32 * SECOND), Admission::Open);
}

#[test]
fn a_clock_that_is_set_back_neither_ends_a_wait_nor_makes_it_endless() {
    let mut ticker = Ticker::default();
    let year = 365 * DAY;
    assert_eq!(ticker.at(UnixMillis(year), None), UnixMillis(year));
    // Back by a year: time goes on from where it was, at its own pace.
    assert_eq!(ticker.at(UnixMillis(5), None), UnixMillis(year));
    assert_eq!(ticker.at(UnixMillis(5 + SECOND), None), UnixMillis(year + SECOND));
    // Back again, and put right again.
    assert_eq!(ticker.at(UnixMillis(0), None), UnixMillis(year + SECOND));
    assert_eq!(ticker.at(UnixMillis(year + DAY), None), UnixMillis(year + DAY));
    // After a restart the latest time in the ledger is all that is known.
    let mut ticker = Ticker::default();
    assert_eq!(ticker.at(UnixMillis(5), Some(UnixMillis(year))), UnixMillis(year));
    assert_eq!(
        ticker.at(UnixMillis(5 + HOUR), Some(UnixMillis(year))),
        UnixMillis(year + HOUR)
    );
}

#[test]
fn a_lock_says_how_long_in_whole_seconds_that_are_never_too_few() {
    assert_eq!(Admission::Later(1).wait_s(), 1);
    assert_eq!(Admission::SoftLocked(1_001).wait_s(), 2);
    assert_eq!(Admission::HardLocked.wait_s(), 0);
    let words: Vec<_> = [
        Admission::Open,
        Admission::Later(1),
        Admission::SoftLocked(1),
        Admission::HardLocked,
    ]
    .map(Admission::as_str)
    .to_vec();
    assert_eq!(words, ["open", "waiting", "soft-locked", "locked"]);
}
