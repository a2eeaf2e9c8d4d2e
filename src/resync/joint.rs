//! Several codes, searched jointly over a wide horizon.
//!
//! Accepting each code by itself and comparing afterwards would give a guesser the sum of the windows instead of the product
//! of the probabilities. Here a hypothesis is a whole chain of steps, one for each code, whose distances agree with the times
//! at which the codes reached us. With two codes of six digits and ±24 h a blind guess succeeds once in 10^8.

use std::ops::RangeInclusive;

use subtle::Choice;

use super::odds::{Finding, log10_odds};
use super::{DriftState, Policy, measured_offset_ms, saturate, steps_around};
use crate::codec::oath::{Code, Generator, MAX_CODES, MIN_CODES, Number, OathParameters};
use crate::types::UnixMillis;

/// Most steps of one search, against a policy with a horizon of years: about what ±24 h hold at one second a step.
const MAX_STEPS: u64 = 262_144;
/// Most steps between two codes of one call that any policy may allow: each multiplies a guesser's chance and our work.
const MAX_GAP: u32 = 16;

/// Odds that a test asks for; a change of what is believed asks for [`Policy::least_odds`].
const TEST_ODDS: u64 = 1_000_000;

/// What several codes are worth.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum ResyncVerdict {
    /// Exactly one chain of unused steps fits.
    Accepted {
        /// Step of each code; the last one is the new watermark.
        steps: Vec<u64>,
        /// Offset before, in milliseconds.
        offset_before_ms: i64,
        /// Offset now, in milliseconds: from the last code.
        offset_after_ms: i64,
        /// By how much the clock had moved, in seconds, rounded; negative when the token lost time.
        shift_s: i64,
    },
    /// No.
    Refused(Refusal),
}

/// Why codes did not resync a token. For the journal and the help desk; what may be told outward is [`Refusal::outward`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No chain fits.
    #[error("the codes do not belong together, or not to this token")]
    NoMatch,
    /// A chain fits, but was used before.
    #[error("codes that were used before")]
    Replayed,
    /// More than one chain fits.
    #[error("the codes fit more than one time: read one more code")]
    Ambiguous,
    /// The one chain that fits does not weigh enough for where it puts the clock: one more code would.
    #[error("the codes do not weigh enough for a clock {shift_s} seconds off: read one more code")]
    TooFew {
        /// Distance from the expected offset in seconds.
        shift_s: i64,
    },
    /// The chain fits at a time to which this clock cannot have drifted.
    #[error("the codes fit a clock {shift_s} seconds off, which drift does not explain")]
    Implausible {
        /// Distance from the expected offset in seconds.
        shift_s: i64,
    },
    /// The same code twice: the display had not moved on.
    #[error("the same code twice: wait until the display shows the next one")]
    SameCode,
    /// Fewer than 2 or more than [`MAX_CODES`].
    #[error("two to four codes are needed")]
    Count,
    /// The times of receipt run backwards, lie ahead of now, or are too far apart or ago.
    #[error("the codes were not entered in one go: start again with two fresh ones")]
    Times,
}

impl Refusal {
    /// The reason as it may be told to whoever typed the codes: that codes are right but used, or right but too few, is no
    /// business of a thief. Whoever gives two codes in vain is asked for three, whatever the reason.
    #[must_use]
    pub const fn outward(self) -> Self {
        match self {
            Self::Replayed | Self::TooFew { .. } => Self::NoMatch,
            other => other,
        }
    }
}

/// Looks for the one chain of steps that shows `codes`, each with the time it reached us, oldest first.
///
/// Codes with the same time (they came in one call) must be at most [`Policy::max_gap`] steps apart; for others the steps
/// between them must agree with the time between them to one step. Every step of the horizon is computed once, whatever
/// matches where.
pub fn search_codes(
    state: &DriftState,
    generator: &Generator,
    codes: &[(Code, UnixMillis)],
    now: UnixMillis,
    policy: &Policy,
) -> ResyncVerdict {
    match search(state, generator, codes, now, policy) {
        Ok(accepted) => accepted,
        Err(refusal) => ResyncVerdict::Refused(refusal),
    }
}

/// Judges the codes of one token that single codes could not settle, each with the time it reached us, oldest first: as
/// [`search_codes`], but no further than its clock can have drifted. A test believes in no reset clock.
pub fn accept_next(
    state: &DriftState,
    generator: &Generator,
    codes: &[(Code, UnixMillis)],
    now: UnixMillis,
    policy: &Policy,
) -> ResyncVerdict {
    let reach = policy.plausible_shift_ms(state, generator.parameters(), now);
    let near = Policy {
        horizon_ms: reach.min(policy.horizon_ms),
        accept_implausible: false,
        least_odds: TEST_ODDS,
        ..*policy
    };
    search_codes(state, generator, codes, now, &near)
}

fn search(
    state: &DriftState,
    generator: &Generator,
    codes: &[(Code, UnixMillis)],
    now: UnixMillis,
    policy: &Policy,
) -> Result<ResyncVerdict, Refusal> {
    let found = fit(state, generator, codes, now, policy)?;
    if !found.steps.first().is_some_and(|first| state.is_fresh(*first)) {
        return Err(Refusal::Replayed);
    }
    let shift_s = saturate((found.shift_ms + 500).div_euclid(1000));
    if !found.is_worth(policy.least_odds) {
        return Err(Refusal::TooFew { shift_s });
    }
    let bound = policy.plausible_shift_ms(state, generator.parameters(), now);
    let may_be_played_ahead = policy.settable_clock && found.shift_ms > 0;
    if found.shift_ms.abs() > i128::from(bound) && (may_be_played_ahead || !policy.accept_implausible) {
        return Err(Refusal::Implausible { shift_s });
    }
    Ok(ResyncVerdict::Accepted {
        steps: found.steps,
        offset_before_ms: state.offset_ms,
        offset_after_ms: found.offset_ms,
        shift_s,
    })
}

/// The one chain of steps that fits, used or not, wherever it puts the clock.
pub(super) struct Fit {
    /// Step of each code.
    pub(super) steps: Vec<u64>,
    /// The offset that the last code speaks for, in milliseconds.
    offset_ms: i64,
    /// That less the expected one.
    pub(super) shift_ms: i128,
    /// Decimal logarithm of the odds for it.
    log10_odds: f64,
}

impl Fit {
    pub(super) fn is_worth(&self, odds: u64) -> bool {
        self.log10_odds >= (odds.max(1) as f64).log10()
    }
}

/// Finds it.
pub(super) fn fit(
    state: &DriftState,
    generator: &Generator,
    codes: &[(Code, UnixMillis)],
    now: UnixMillis,
    policy: &Policy,
) -> Result<Fit, Refusal> {
    let received = check_input(codes, now, policy)?;
    let parameters = generator.parameters();
    let gaps = gaps_between(codes, parameters, policy);
    let horizon = Horizon::new(state, received, &gaps, parameters, policy).ok_or(Refusal::NoMatch)?;
    let matches = horizon.matches(generator, codes);

    let chains = horizon.chains(&matches, &gaps);
    let last = only(&horizon, chains.last().ok_or(Refusal::Count)?)?;
    let steps = horizon.trace(&chains, &gaps, last).ok_or(Refusal::NoMatch)?;
    let offset_ms = measured_offset_ms(last, parameters, received, policy);
    let finding = Finding {
        shift_ms: i128::from(offset_ms) - i128::from(state.offset_ms),
        codes: codes.len(),
        ways: gaps
            .iter()
            .map(|gap| (gap.end() - gap.start()).saturating_add(1))
            .fold(1, u64::saturating_mul),
    };
    Ok(Fit {
        steps,
        offset_ms,
        shift_ms: finding.shift_ms,
        log10_odds: log10_odds(&finding, state, parameters, now, policy),
    })
}

/// What can be said without the seed. Returns when the last code reached us.
fn check_input(codes: &[(Code, UnixMillis)], now: UnixMillis, policy: &Policy) -> Result<UnixMillis, Refusal> {
    let ([(_, first), ..], [.., (_, last)], MIN_CODES..=MAX_CODES) = (codes, codes, codes.len()) else {
        return Err(Refusal::Count);
    };
    let pairs = || codes.iter().zip(codes.iter().skip(1));
    let spread = i128::from(last.0) - i128::from(first.0);
    let age = i128::from(now.0) - i128::from(last.0);
    let limit = i128::from(policy.max_spread_ms);
    if age < 0 || age > limit || spread > limit || pairs().any(|((_, a), (_, b))| b < a) {
        return Err(Refusal::Times);
    }
    if pairs().any(|((a, _), (b, _))| a == b) {
        return Err(Refusal::SameCode);
    }
    Ok(*last)
}

/// For each code but the first: how many steps it may lie after the one before.
fn gaps_between(
    codes: &[(Code, UnixMillis)],
    parameters: &OathParameters,
    policy: &Policy,
) -> Vec<RangeInclusive<u64>> {
    let period = parameters.period_ms().unsigned_abs();
    let gap = |((_, a), (_, b)): (&(Code, UnixMillis), &(Code, UnixMillis))| match b.0.abs_diff(a.0) {
        0 => 1..=u64::from(policy.max_gap.clamp(1, MAX_GAP)),
        apart => (apart / period).saturating_sub(1).max(1)..=apart.div_ceil(period) + 1,
    };
    codes.iter().zip(codes.iter().skip(1)).map(gap).collect()
}

/// The last step of the only chain. Two chains that end in the same step say the same about the clock and count as one.
fn only(horizon: &Horizon, ends: &[u8]) -> Result<u64, Refusal> {
    let mut found = horizon
        .steps()
        .zip(ends)
        .filter(|(_, hit)| **hit != 0)
        .map(|(step, _)| step);
    let step = found.next().ok_or(Refusal::NoMatch)?;
    found.next().map_or(Ok(step), |_| Err(Refusal::Ambiguous))
}

/// The steps of one search.
struct Horizon {
    /// Earliest step that the first code may have.
    first: u64,
    /// Earliest step that the last code may have.
    first_end: u64,
    /// Latest step that the last code may have.
    last: u64,
}

impl Horizon {
    fn new(
        state: &DriftState,
        received: UnixMillis,
        gaps: &[RangeInclusive<u64>],
        parameters: &OathParameters,
        policy: &Policy,
    ) -> Option<Self> {
        let centre = state.token_clock(received, policy);
        let widest = i64::try_from(MAX_STEPS / 2 - 1)
            .unwrap_or(i64::MAX)
            .saturating_mul(parameters.period_ms());
        let (first_end, last) = steps_around(centre, policy.horizon_ms.clamp(0, widest), parameters)?;
        let before: u64 = gaps.iter().map(|gap| *gap.end()).fold(0, u64::saturating_add);
        // A policy with a spread of years must not make the run-up outgrow the search.
        Some(Self {
            first: first_end.saturating_sub(before.min(MAX_STEPS)),
            first_end,
            last,
        })
    }

    fn steps(&self) -> RangeInclusive<u64> {
        self.first..=self.last
    }

    /// For each step, one bit for each code: whether it shows it. The only place that computes HMACs: one a step.
    fn matches(&self, generator: &Generator, codes: &[(Code, UnixMillis)]) -> Vec<u8> {
        let numbers: Vec<Number> = codes.iter().map(|(code, _)| Number::from(code)).collect();
        self.steps().map(|step| generator.shows(step, &numbers)).collect()
    }

    /// For each code, for each step: 1 when a chain of the codes so far ends there. Takes every step and every gap, without
    /// a branch that depends on a match.
    fn chains(&self, matches: &[u8], gaps: &[RangeInclusive<u64>]) -> Vec<Vec<u8>> {
        let mut chains = vec![matches.iter().map(|bits| bits & 1).collect::<Vec<u8>>()];
        for (index, gap) in gaps.iter().enumerate() {
            let is_last = index + 1 == gaps.len();
            let before = chains.last().map_or(&[][..], Vec::as_slice);
            let reached = matches.iter().enumerate().map(|(at, bits)| {
                let follows = gap
                    .clone()
                    .fold(0, |any, distance| any | looking_back(before, at, distance));
                // Public arithmetic: where the last code may lie depends on no secret.
                let allowed = !is_last || self.first.saturating_add(at as u64) >= self.first_end;
                (bits >> (index + 1)) & follows & Choice::from(u8::from(allowed)).unwrap_u8()
            });
            let reached = reached.collect();
            chains.push(reached);
        }
        chains
    }

    /// The steps of a chain that ends in `last`, oldest first; of several the one with the smallest gaps.
    fn trace(&self, chains: &[Vec<u8>], gaps: &[RangeInclusive<u64>], last: u64) -> Option<Vec<u64>> {
        let mut steps = vec![last];
        let mut step = last;
        for (chain, gap) in chains.iter().zip(gaps).rev() {
            let at = usize::try_from(step.checked_sub(self.first)?).ok()?;
            let distance = gap.clone().find(|distance| looking_back(chain, at, *distance) != 0)?;
            step -= distance;
            steps.push(step);
        }
        steps.reverse();
        Some(steps)
    }
}

/// The entry `distance` places before `at`, 0 when that lies before the beginning.
fn looking_back(chain: &[u8], at: usize, distance: u64) -> u8 {
    usize::try_from(distance)
        .ok()
        .and_then(|distance| chain.get(at.checked_sub(distance)?))
        .copied()
        .unwrap_or(0)
}
