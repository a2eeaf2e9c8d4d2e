//! How strongly several codes speak for one place of a token's clock: posterior odds against everything else.
//!
//! The prior of an offset comes from the last offset and the time since then alone, never from a fitted rate
//! (`docs/adr/0005`): most of it is where crystals drift and where shelves and weak batteries leave a clock, and a little of it
//! anywhere at all, so that no place is impossible and each costs what it is worth. Every matching code multiplies the odds by
//! 10^digits. So two codes are enough where a clock may well be, and elsewhere it takes three, without a rule that says so.

use super::{DriftState, Policy};
use crate::codec::oath::OathParameters;
use crate::types::UnixMillis;

/// Share of the prior around the last offset, as wide as the window of one code.
const NEAR: f64 = 0.3;
/// Share spread evenly over what the soft bound of drift and the jump allowance reach: who asks for a resync has a clock that
/// left its window.
const BAND: f64 = 0.7;
/// Share spread evenly over the whole horizon.
const ANYWHERE: f64 = 1e-4;
/// The same when a person has looked at the reason and said that the clock may be anywhere.
const ANYWHERE_BY_WORD: f64 = 0.5;

/// What was found, as far as the odds are concerned.
pub(super) struct Finding {
    /// Offset found less offset expected, in milliseconds.
    pub(super) shift_ms: i128,
    /// Number of codes that match.
    pub(super) codes: usize,
    /// Ways in which their distances could have agreed with the times, all gaps multiplied.
    pub(super) ways: u64,
}

/// Decimal logarithm of the odds that the clock stands where the codes say, against everything else: a guess, another token,
/// any of the other explanations that were tried ([`Policy::hypotheses`]).
pub(super) fn log10_odds(
    finding: &Finding,
    state: &DriftState,
    parameters: &OathParameters,
    now: UnixMillis,
    policy: &Policy,
) -> f64 {
    let prior = prior(finding.shift_ms, state, parameters, now, policy);
    let evidence = f64::from(parameters.digits()) * finding.codes as f64;
    let chances = finding.ways.max(1) as f64 * f64::from(policy.hypotheses.max(1));
    prior.log10() + evidence - chances.log10()
}

/// Probability, before any code, that the clock stands in the one step that lies `shift_ms` from the expected one.
fn prior(shift_ms: i128, state: &DriftState, parameters: &OathParameters, now: UnixMillis, policy: &Policy) -> f64 {
    let (shift, step) = (shift_ms as f64, parameters.period_ms() as f64);
    let spread = policy.half_window_ms(state, parameters, now);
    // Two deviations to either side are the window; before the first code, half of what a shelf explains.
    let deviation = spread.unwrap_or(policy.jump_allowance_ms / 2).max(1) as f64 / 2.0;
    let near =
        NEAR * (step / deviation / std::f64::consts::TAU.sqrt()).min(1.0) * (-(shift / deviation).powi(2) / 2.0).exp();
    let even = |share: f64, half_ms: i64| {
        if shift.abs() <= half_ms as f64 + step {
            share / (2.0 * half_ms.max(0) as f64 / step + 1.0)
        } else {
            0.0
        }
    };
    let band = even(BAND, policy.likely_shift_ms(state, parameters, now));
    let anywhere = if policy.accept_implausible {
        ANYWHERE_BY_WORD
    } else {
        ANYWHERE
    };
    near + band + even(anywhere, policy.horizon_ms)
}
