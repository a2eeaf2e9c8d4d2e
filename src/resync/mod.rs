//! The drift engine: which step does a code come from, and what does that say about the token's clock?
//!
//! Pure: no clock, no I/O, no randomness. Everything is decided from the state, the codes and the times handed in, so the
//! same call is also the preview of itself; the caller makes it durable with [`DriftState::after`].
//!
//! The laws, each held by a test:
//! - The *watermark* is the last used step. It never goes down; nothing at or below it is ever accepted. So the next code on
//!   the display passes and every earlier one fails, after a test as after a resync.
//! - The offset comes from the middle of the step less the typing delay: on average right, never a step off.
//! - Acceptance knows the last offset and the time since then, never a fitted rate (`docs/adr/0005`).
//! - Several codes are searched jointly: their steps must agree with the time between them as we saw it.
//! - A search computes the same number of HMACs whatever it finds, and compares in constant time.
//!
//! | file | what |
//! |---|---|
//! | `single.rs` | one code of a token whose clock is known well enough |
//! | `joint.rs`  | several codes of a token whose clock is not |
//! | `odds.rs`   | how much several codes are worth |
//! | `hypothesis.rs` | what would explain codes that do not fit |
//! | `counter.rs`| event tokens: look-ahead and consecutive codes |
//!
//! Units: `offset_ms` is the token's clock minus true time in milliseconds, so a slow fob has a negative one. A step is the
//! number of whole periods since the epoch (RFC 6238 section 4.2).

mod counter;
mod hypothesis;
mod joint;
mod odds;
mod single;

pub use counter::{
    CounterVerdict, MAX_LOOK_AHEAD, RESYNC_LOOK_AHEAD, TEST_LOOK_AHEAD, accept_counter, search_counters,
};
pub use hypothesis::{Alternative, ClockFault, Explanation, explain};
pub use joint::{Refusal, ResyncVerdict, accept_next, search_codes};
pub use single::{Verdict, accept_one};

use std::ops::RangeInclusive;

use crate::codec::oath::OathParameters;
use crate::types::UnixMillis;

/// Milliseconds of a day.
const DAY_MS: i128 = 86_400_000;

/// What is known of one token's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DriftState {
    /// Token clock minus true time, in milliseconds, when last measured.
    pub offset_ms: i64,
    /// Last used step; `None` before the first.
    pub watermark_step: Option<u64>,
    /// When the offset was measured; `None` before the first code.
    pub last_seen: Option<UnixMillis>,
}

impl DriftState {
    /// The state after a code of `step` was accepted at `now`. Never lowers the watermark.
    #[must_use]
    pub fn after(&self, step: u64, offset_ms: i64, now: UnixMillis) -> Self {
        Self {
            offset_ms,
            watermark_step: self.watermark_step.max(Some(step)),
            last_seen: Some(now),
        }
    }

    /// Whether a step may still be used.
    #[must_use]
    pub fn is_fresh(&self, step: u64) -> bool {
        self.watermark_step.is_none_or(|watermark| step > watermark)
    }

    /// Milliseconds since the token was last seen; 0 when the host's clock went backwards. `None` before the first code.
    fn unseen_ms(&self, now: UnixMillis) -> Option<i128> {
        self.last_seen
            .map(|seen| (i128::from(now.0) - i128::from(seen.0)).max(0))
    }

    /// The best guess at the token's clock when a code that reached us at `now` was read off it, in milliseconds.
    fn token_clock(&self, now: UnixMillis, policy: &Policy) -> i128 {
        i128::from(now.0) - i128::from(policy.typing_delay_ms) + i128::from(self.offset_ms)
    }
}

/// How much is believed, and how far is searched. The defaults are the shipped behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Mean time between reading a code and its arrival here, in milliseconds.
    pub typing_delay_ms: i64,
    /// Half-width of the window of one code just after it was measured, in thousandths of a step. 1.5 steps: the offset is
    /// known to half a step and a typing delay, and both repeat.
    pub base_window_millisteps: u32,
    /// What the half-width gains per day unseen, in milliseconds. 2 s a day is 23 ppm, a consumer crystal.
    pub growth_ms_per_day: u32,
    /// Most steps that one code alone may come from. Each costs a guesser's chance of 10^-6; beyond it a second code costs
    /// an honest person less.
    pub max_candidates: u32,
    /// How far to either side a search of several codes looks, in milliseconds.
    pub horizon_ms: i64,
    /// Fastest drift that a crystal is believed capable of, in parts per million.
    pub drift_limit_ppm: u32,
    /// Fastest drift that is nothing out of the ordinary, in parts per million: the worst consumer grade.
    pub drift_likely_ppm: u32,
    /// What a clock may be off without an age to blame, in milliseconds: fobs leave the shelf up to ten minutes off, and a
    /// weak battery or a cold night costs minutes at once.
    pub jump_allowance_ms: i64,
    /// Most steps from one code to the next when several come in one call; 1 asks for consecutive ones.
    pub max_gap: u32,
    /// Longest time between the first and the last code of one search, and from the last to now, in milliseconds.
    pub max_spread_ms: i64,
    /// Accept a shift beyond the physical bound: a person has looked at the reason and said so.
    pub accept_implausible: bool,
    /// Whoever holds the token can set its clock: codes from a future that drift does not explain may have been played ahead
    /// (CVE-2021-32033), and no word makes them acceptable.
    pub settable_clock: bool,
    /// Least odds, to one, for changing what is believed of a clock.
    pub least_odds: u64,
    /// Explanations that are tried side by side: each is one more chance of a guesser.
    pub hypotheses: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            typing_delay_ms: 10_000,
            base_window_millisteps: 1_500,
            growth_ms_per_day: 2_000,
            max_candidates: 21,
            horizon_ms: 24 * 3_600_000,
            drift_limit_ppm: 100,
            drift_likely_ppm: 50,
            jump_allowance_ms: 20 * 60_000,
            max_gap: 1,
            max_spread_ms: 3_600_000,
            accept_implausible: false,
            settable_clock: false,
            least_odds: 1_000_000_000,
            hypotheses: 1,
        }
    }
}

impl Policy {
    /// Half-width of the window of one code, in milliseconds: `1.5 T + 2 s × days since last seen`. `None` before the first
    /// code, when there is nothing to centre a window on.
    #[must_use]
    pub fn half_window_ms(&self, state: &DriftState, parameters: &OathParameters, now: UnixMillis) -> Option<i64> {
        let base = i128::from(parameters.period_ms()) * i128::from(self.base_window_millisteps) / 1000;
        let growth = i128::from(self.growth_ms_per_day) * state.unseen_ms(now)? / DAY_MS;
        Some(saturate(base + growth))
    }

    /// The steps that one code received at `now` may come from, by [`Policy::half_window_ms`] and the cap.
    #[must_use]
    pub fn window(&self, state: &DriftState, parameters: &OathParameters, now: UnixMillis) -> Window {
        let Some(half) = self.half_window_ms(state, parameters, now) else {
            return Window::NextCode;
        };
        match steps_around(state.token_clock(now, self), half, parameters) {
            None => Window::Nothing,
            Some((first, last)) if last - first >= u64::from(self.max_candidates) => Window::NextCode,
            Some((first, last)) => Window::Steps(first..=last),
        }
    }

    /// The offset in milliseconds that a code of `step`, received at `received`, speaks for: the middle of the step less the
    /// time at which it was read, which is the time of receipt less the typing delay.
    #[must_use]
    pub fn measured_offset_ms(&self, step: u64, parameters: &OathParameters, received: UnixMillis) -> i64 {
        measured_offset_ms(step, parameters, received, self)
    }

    /// Largest shift of the offset, in milliseconds, that physics and a careless shelf explain: `100 ppm × age + 2 T` and the
    /// allowance. Of a token never seen the age is unknown and the allowance stands for it.
    #[must_use]
    pub fn plausible_shift_ms(&self, state: &DriftState, parameters: &OathParameters, now: UnixMillis) -> i64 {
        self.shift_ms(self.drift_limit_ppm, state, parameters, now)
    }

    /// The same for a clock with nothing out of the ordinary: `50 ppm × age + 2 T` and the allowance.
    fn likely_shift_ms(&self, state: &DriftState, parameters: &OathParameters, now: UnixMillis) -> i64 {
        self.shift_ms(self.drift_likely_ppm, state, parameters, now)
    }

    fn shift_ms(&self, ppm: u32, state: &DriftState, parameters: &OathParameters, now: UnixMillis) -> i64 {
        let drift = i128::from(ppm) * state.unseen_ms(now).unwrap_or(0) / 1_000_000;
        saturate(drift + 2 * i128::from(parameters.period_ms()) + i128::from(self.jump_allowance_ms))
    }

    /// What an ordinary clock may have drifted since it was seen, in milliseconds.
    fn drifted_ms(&self, state: &DriftState, now: UnixMillis) -> i64 {
        saturate(i128::from(self.drift_likely_ppm) * state.unseen_ms(now).unwrap_or(0) / 1_000_000)
    }
}

/// What one code alone can be held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Window {
    /// These steps, used ones among them.
    Steps(RangeInclusive<u64>),
    /// The clock is not known well enough: the next code must decide.
    NextCode,
    /// No step at all: the token's clock stands before 1970.
    Nothing,
}

/// See [`Policy::measured_offset_ms`].
fn measured_offset_ms(step: u64, parameters: &OathParameters, received: UnixMillis, policy: &Policy) -> i64 {
    let middle = i128::from(parameters.middle_of(step).0);
    saturate(middle - (i128::from(received.0) - i128::from(policy.typing_delay_ms)))
}

/// First and last step whose interval touches `centre ± half` (milliseconds of the token's clock). Steps before the epoch are
/// left out; `None` when nothing remains.
fn steps_around(centre: i128, half: i64, parameters: &OathParameters) -> Option<(u64, u64)> {
    let period = i128::from(parameters.period_ms());
    let last = u64::try_from((centre + i128::from(half)).div_euclid(period)).ok()?;
    let first = u64::try_from((centre - i128::from(half)).div_euclid(period).max(0)).ok()?;
    (first <= last).then_some((first, last))
}

/// Into the range of `i64`, at its ends if need be.
fn saturate(ms: i128) -> i64 {
    i64::try_from(ms).unwrap_or(if ms < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests;
