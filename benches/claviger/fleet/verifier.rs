//! What is compared: how a server decides on codes. One file's worth each of what the others do, written from their behaviour.
//!
//! A verifier is told the step that a code shows instead of the code: that a wrong step shows the same digits by chance has a
//! probability of 10⁻⁶ a step, and is counted apart.

use claviger::types::UnixMillis;

use super::fob::STEP_S;

/// A code as it reached the server.
#[derive(Debug, Clone, Copy)]
pub struct Typed {
    pub step: u64,
    pub at: UnixMillis,
}

/// What the server says to one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Passed,
    Refused,
    /// The next code, please.
    NextCode,
}

/// A server's mind about one fob.
pub trait Verifier {
    /// One code, and how many steps it was held against.
    fn login(&mut self, code: Typed) -> (Answer, u32);

    /// The second code of a login for which the next one was asked.
    fn second(&mut self, first: Typed, second: Typed) -> bool {
        self.resync(first, second)
    }

    /// Two codes read one after the other to the help desk.
    fn resync(&mut self, first: Typed, second: Typed) -> bool;

    /// The help desk looked at the reason for which two codes were refused, made sure of the person, and says so.
    fn confirm(&mut self, _first: Typed, _second: Typed) -> bool {
        false
    }

    /// Chance of a blind guess at one login, for that many steps tried.
    fn guess(&self, answer: Answer, tried: u32) -> f64 {
        match answer {
            Answer::NextCode => 0.0,
            Answer::Passed | Answer::Refused => f64::from(tried) * 1e-6,
        }
    }
}

fn seconds(at: UnixMillis) -> f64 {
    at.0 as f64 / 1000.0
}

fn index(at: UnixMillis) -> i64 {
    (seconds(at) / STEP_S).floor() as i64
}

fn as_signed(step: u64) -> i64 {
    i64::try_from(step).expect("a step of this era")
}

/// privacyIDEA: `range(counter - n, counter + n)` around the server's time plus the last shift, n = 180 s / 30 s; the shift is
/// the matched counter times the step less the time, on every success. Resync: two strictly consecutive codes within 1,000
/// steps, the shift from the middle of the second.
pub struct PrivacyIdea {
    pub half: i64,
    shift: f64,
    last: i64,
}

impl PrivacyIdea {
    pub const fn new(half: i64) -> Self {
        Self {
            half,
            shift: 0.0,
            last: -1,
        }
    }
}

impl Verifier for PrivacyIdea {
    fn login(&mut self, code: Typed) -> (Answer, u32) {
        let now = seconds(code.at);
        let counter = ((now + self.shift) / STEP_S).floor() as i64;
        let step = as_signed(code.step);
        let inside = (counter - self.half..counter + self.half).contains(&step) && step > self.last;
        if inside {
            self.last = step;
            self.shift = step as f64 * STEP_S - now;
        }
        let answer = if inside { Answer::Passed } else { Answer::Refused };
        (answer, (2 * self.half) as u32)
    }

    fn resync(&mut self, first: Typed, second: Typed) -> bool {
        let counter = index(second.at);
        let (one, two) = (as_signed(first.step), as_signed(second.step));
        let found = two == one + 1 && (one - counter).abs() <= 1_000 && one > self.last;
        if found {
            self.last = two;
            self.shift = (two as f64 + 0.5) * STEP_S - seconds(second.at);
        }
        found
    }
}

/// FreeIPA: ± 300 s (`i · step < 300`), nothing learned at a login. Resync: two consecutive codes within a day; the offset kept
/// is one step too high by the reading of its code.
pub struct FreeIpa {
    pub half: i64,
    offset: i64,
    last: i64,
}

impl FreeIpa {
    pub const fn new(half: i64) -> Self {
        Self {
            half,
            offset: 0,
            last: -1,
        }
    }
}

impl Verifier for FreeIpa {
    fn login(&mut self, code: Typed) -> (Answer, u32) {
        let centre = index(code.at) + self.offset;
        let step = as_signed(code.step);
        let inside = (step - centre).abs() <= self.half && step > self.last;
        if inside {
            self.last = step;
        }
        let answer = if inside { Answer::Passed } else { Answer::Refused };
        (answer, (2 * self.half + 1) as u32)
    }

    fn resync(&mut self, first: Typed, second: Typed) -> bool {
        let now = index(second.at);
        let (one, two) = (as_signed(first.step), as_signed(second.step));
        let found = two == one + 1 && (one - now).abs() <= 2_880 && one > self.last;
        if found {
            self.last = two;
            self.offset = one + 2 - now;
        }
        found
    }
}

/// OneSpan's dynamic window: `T + 8 s × days` in all, never less than the static window of `least` steps, around the last
/// shift in steps. First use and after a reset: one code within six hours.
pub struct OneSpan {
    pub least: i64,
    shift: i64,
    seen: Option<f64>,
    last: i64,
}

impl OneSpan {
    pub const fn new(least: i64) -> Self {
        Self {
            least,
            shift: 0,
            seen: None,
            last: -1,
        }
    }
}

/// Steps in six hours.
pub const ONESPAN_SYNC: i64 = 720;

impl Verifier for OneSpan {
    fn login(&mut self, code: Typed) -> (Answer, u32) {
        let now = seconds(code.at);
        let width = match self.seen {
            None => ONESPAN_SYNC,
            Some(seen) => {
                let days = ((now - seen) / super::fob::DAY_S).max(0.0);
                self.least.max(((STEP_S + 8.0 * days) / STEP_S).floor() as i64)
            }
        };
        let centre = index(code.at) + self.shift;
        let from = centre - width / 2;
        let step = as_signed(code.step);
        let inside = (from..from + width).contains(&step) && step > self.last;
        if inside {
            self.last = step;
            self.shift = step - index(code.at);
            self.seen = Some(now);
        }
        let answer = if inside { Answer::Passed } else { Answer::Refused };
        (answer, width as u32)
    }

    fn resync(&mut self, _: Typed, second: Typed) -> bool {
        self.shift = 0;
        self.seen = None;
        self.login(second).0 == Answer::Passed
    }
}
