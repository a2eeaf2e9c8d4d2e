//! Random attempts at a resync: ten million pairs of random digits against the codes that 64 fobs really show.
//!
//! Nothing of the chance is assumed: all codes of a horizon are computed, a pair of random digits is looked up in them by each
//! verifier's own rule, and what the tables let through is played to the real search again.

use claviger::codec::oath::Code;
use claviger::resync::{DriftState, Policy, Refusal, ResyncVerdict, search_codes};
use claviger::types::UnixMillis;

use super::fob::{STEP_S, stamp};
use super::ours::{Claviger, Sample};
use super::random::Random;
use super::verifier::ONESPAN_SYNC;

pub const ATTEMPTS: u64 = 10_000_000;
const FOBS: u64 = 64;
/// Steps of a day: the widest horizon of all.
const DAY: i64 = 2_880;
const CODES: usize = 1_000_000;
/// Attempts that go through the real search whatever the tables say.
const REAL: u64 = 400;

/// What ten million random attempts came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guesses {
    pub attempts: u64,
    /// The first of the two digits groups is shown somewhere in our horizon: how the tables are held against the arithmetic.
    pub first_hits: u64,
    pub privacyidea: u64,
    pub freeipa: u64,
    pub onespan: u64,
    pub claviger: u64,
    /// Chains that fit somewhere in our ± 24 h, though beyond what drift explains: refused.
    pub claviger_refused: u64,
    /// Played to the real search as well, and how often it said otherwise.
    pub real: u64,
    pub differences: u64,
}

impl Guesses {
    /// Expected number of attempts that succeed: attempts × steps × gaps ÷ 10^(6 k).
    pub fn expected(self, steps: f64, gaps: f64, codes: i32) -> f64 {
        self.attempts as f64 * steps * gaps / 10_f64.powi(6 * codes)
    }
}

/// One fob's codes from a day before now to a day after, and which digits are among them.
struct Table {
    fob: Claviger,
    now: UnixMillis,
    codes: Vec<u32>,
    shown: Vec<u64>,
}

impl Table {
    fn new(stream: u64) -> Self {
        let never = Sample {
            logins: u64::MAX,
            pairs: u64::MAX,
        };
        let mut fob = Claviger::new(Random::new(super::SEED, 1_000_000 + stream), never);
        let now = stamp(0.0);
        let step = (now.0 / 1000) as u64 / STEP_S as u64;
        // Seen yesterday, right to the second.
        fob.state = DriftState {
            offset_ms: 0,
            watermark_step: None,
            last_seen: Some(now.plus_ms(-86_400_000)),
        };
        let first = step - DAY as u64;
        let codes: Vec<u32> = (first..=step + DAY as u64)
            .map(|step| fob.shown(step).expose().parse().expect("digits"))
            .collect();
        let mut shown = vec![0; CODES / 64];
        for code in &codes {
            shown[*code as usize / 64] |= 1 << (code % 64);
        }
        Self { fob, now, codes, shown }
    }

    fn shows(&self, code: u32) -> bool {
        self.shown[code as usize / 64] >> (code % 64) & 1 == 1
    }

    /// Distances from now, in steps, at which a code is shown.
    fn places(&self, code: u32) -> impl Iterator<Item = i64> + '_ {
        let found = self.codes.iter().enumerate().filter(move |(_, shown)| **shown == code);
        found.map(|(at, _)| at as i64 - DAY)
    }

    fn shown_at(&self, place: i64, code: u32) -> bool {
        usize::try_from(place + DAY)
            .ok()
            .and_then(|at| self.codes.get(at))
            .is_some_and(|shown| *shown == code)
    }

    /// What the real search says to two codes that arrive half a minute apart, the second now.
    fn search(&self, first: u32, second: u32) -> ResyncVerdict {
        let code = |digits| Code::from_truncated(digits, 6).expect("six digits");
        let codes = [(code(first), self.now.plus_ms(-30_000)), (code(second), self.now)];
        search_codes(
            &self.fob.state,
            self.fob.generator(),
            &codes,
            self.now,
            &Policy::default(),
        )
    }

    fn attempt(&self, first: u32, second: u32, to_search: bool, out: &mut Guesses) {
        out.attempts += 1;
        // OneSpan after a reset looks at one code.
        if self.shows(second) {
            let near = |place: &i64| (-ONESPAN_SYNC / 2..ONESPAN_SYNC / 2).contains(place);
            out.onespan += u64::from(self.places(second).any(|place| near(&place)));
        }
        let mut chain = false;
        if self.shows(first) {
            out.first_hits += 1;
            for place in self.places(first) {
                if self.shown_at(place + 1, second) {
                    out.privacyidea += u64::from(place.abs() <= 1_000);
                    out.freeipa += 1;
                    chain = true;
                }
                // Half a minute apart as they arrived: one step or two.
                chain |= self.shown_at(place + 2, second);
            }
        }
        if chain || to_search {
            out.real += 1;
            match self.search(first, second) {
                ResyncVerdict::Accepted { .. } => {
                    out.claviger += 1;
                    out.differences += u64::from(!chain);
                }
                ResyncVerdict::Refused(Refusal::Implausible { .. }) => out.claviger_refused += 1,
                // The same digits twice are told so before anything is computed.
                ResyncVerdict::Refused(_) => out.differences += u64::from(chain && first != second),
            }
        }
    }
}

/// All of it.
pub fn attempts() -> Guesses {
    let tables: Vec<Table> = (0..FOBS).map(Table::new).collect();
    let mut random = Random::new(super::SEED, 999_999);
    let mut out = Guesses::default();
    for number in 0..ATTEMPTS {
        let table = &tables[(number % FOBS) as usize];
        let (first, second) = (random.below(CODES as u64) as u32, random.below(CODES as u64) as u32);
        table.attempt(first, second, number % (ATTEMPTS / REAL) == 0, &mut out);
    }
    // That the tables find what is there: a right pair of each fob goes through both.
    for table in &tables {
        let (first, second) = (table.codes[DAY as usize - 1], table.codes[DAY as usize]);
        let mut right = Guesses::default();
        table.attempt(first, second, true, &mut right);
        out.differences += u64::from(right.claviger != 1 || right.freeipa == 0);
        out.real += 1;
    }
    out
}

/// A state that no search changes, for the bound in the table: steps within what drift explains after a day.
pub fn plausible_steps() -> f64 {
    let table = Table::new(0);
    let bound = Policy::default().plausible_shift_ms(&table.fob.state, table.fob.generator().parameters(), table.now);
    2.0 * bound as f64 / (STEP_S * 1000.0) + 1.0
}
