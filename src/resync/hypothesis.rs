//! When the codes do not fit: what would make them fit? Each answer is advice for a person; nothing here changes anything.
//!
//! Every hypothesis is one more way for a guesser to be right, so all of them are counted in the odds, and with more than ten
//! of them three codes are the least that says anything.

use super::joint::{Fit, fit};
use super::{DriftState, Policy};
use crate::codec::oath::{Code, Generator};
use crate::types::UnixMillis;

const HOUR_MS: i64 = 3_600_000;
/// Local times are whole, half and quarter hours from UTC.
const QUARTER_MS: i64 = HOUR_MS / 4;
/// UTC-12 to UTC+14.
const FARTHEST_ZONE_MS: i64 = 14 * HOUR_MS;
/// How far from a whole quarter of an hour a clock that was set by a wall clock may stand.
const ZONE_ERROR_MS: i64 = 90_000;
/// How far past its factory epoch a clock that lost its battery is looked for: 31 days.
const SINCE_RESET_MS: i64 = 31 * 24 * HOUR_MS;
/// Where clocks begin to count when they lost their power: 1970, 1980 and 2000, each on January 1.
const EPOCHS_MS: [i64; 3] = [0, 315_532_800_000, 946_684_800_000];
/// Least number of codes before anything but the clock itself is blamed.
const LEAST_CODES: usize = 3;
/// Odds that make a hypothesis worth telling.
const WORTH_TELLING: u64 = 1_000_000;

/// What may have happened to the clock of the token itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockFault {
    /// It shows a local time: so many minutes from where it was.
    LocalTime {
        /// Minutes, a multiple of 15.
        minutes: i32,
    },
    /// It is ahead of anything drift explains: set forward, or codes that were played ahead on a clock that can be set
    /// (CVE-2021-32033).
    Ahead,
    /// It is behind anything drift explains: it stood still, or was set back.
    Behind,
    /// It lost its power and began to count anew from this instant, in milliseconds since 1970.
    Reset {
        /// The instant.
        epoch_ms: i64,
    },
    /// It shows times that were used already: codes from before, or a clock that was set back.
    Used,
}

/// A way in which the record could be wrong: codes made by something else, believed to stand elsewhere.
pub struct Alternative {
    /// What would make the codes.
    pub generator: Generator,
    /// Where its clock would be believed to stand.
    pub state: DriftState,
    /// How far around that is looked, in milliseconds; the policy's own horizon when absent.
    pub horizon_ms: Option<i64>,
}

/// What fits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Faults of the clock.
    pub clock: Vec<ClockFault>,
    /// Alternatives, by their place in the list.
    pub alternatives: Vec<usize>,
}

/// Tries to explain codes that did not resync a token, each with the time it reached us. With two codes only the clock itself
/// is looked at. The work does not depend on the codes.
#[must_use]
pub fn explain(
    state: &DriftState,
    generator: &Generator,
    alternatives: &[Alternative],
    codes: &[(Code, UnixMillis)],
    now: UnixMillis,
    policy: &Policy,
) -> Explanation {
    let tried = 1 + EPOCHS_MS.len() + alternatives.len();
    let policy = Policy {
        accept_implausible: true,
        hypotheses: u32::try_from(tried).unwrap_or(u32::MAX),
        least_odds: WORTH_TELLING,
        ..*policy
    };
    let mut found = Explanation::default();
    found.clock.extend(own_clock(state, generator, codes, now, &policy));
    if codes.len() < LEAST_CODES {
        return found;
    }
    for epoch_ms in EPOCHS_MS {
        // As far behind today as the epoch is, and on average half of what is looked through past it.
        let reset = DriftState {
            offset_ms: (epoch_ms + SINCE_RESET_MS / 2).saturating_sub(now.0),
            ..DriftState::default()
        };
        let policy = Policy {
            horizon_ms: SINCE_RESET_MS / 2,
            ..policy
        };
        if fits(&reset, generator, codes, now, &policy) {
            found.clock.push(ClockFault::Reset { epoch_ms });
        }
    }
    for (index, other) in alternatives.iter().enumerate() {
        let policy = Policy {
            horizon_ms: other.horizon_ms.unwrap_or(policy.horizon_ms),
            ..policy
        };
        if fits(&other.state, &other.generator, codes, now, &policy) {
            found.alternatives.push(index);
        }
    }
    found
}

fn fits(
    state: &DriftState,
    generator: &Generator,
    codes: &[(Code, UnixMillis)],
    now: UnixMillis,
    policy: &Policy,
) -> bool {
    fit(state, generator, codes, now, policy).is_ok_and(|fit| fit.is_worth(policy.least_odds))
}

fn own_clock(
    state: &DriftState,
    generator: &Generator,
    codes: &[(Code, UnixMillis)],
    now: UnixMillis,
    policy: &Policy,
) -> Vec<ClockFault> {
    let Some(found) = fit(state, generator, codes, now, policy)
        .ok()
        .filter(|fit| fit.is_worth(policy.least_odds))
    else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    let bound = i128::from(policy.plausible_shift_ms(state, generator.parameters(), now));
    if found.shift_ms.abs() > bound {
        faults.extend(local_time(&found, policy.drifted_ms(state, now)));
        faults.push(if found.shift_ms > 0 {
            ClockFault::Ahead
        } else {
            ClockFault::Behind
        });
    }
    if !found.steps.first().is_some_and(|first| state.is_fresh(*first)) {
        faults.push(ClockFault::Used);
    }
    faults
}

/// Whether the shift is that of a time zone, but for what the clock may have drifted and its wall clock been wrong.
fn local_time(found: &Fit, drifted_ms: i64) -> Option<ClockFault> {
    let shift = i64::try_from(found.shift_ms).ok()?;
    let quarters = (shift + QUARTER_MS / 2).div_euclid(QUARTER_MS);
    let error = (shift - quarters * QUARTER_MS).abs();
    let minutes = i32::try_from(quarters * 15).ok()?;
    let near = error <= ZONE_ERROR_MS + drifted_ms.min(ZONE_ERROR_MS);
    (minutes != 0 && near && shift.abs() <= FARTHEST_ZONE_MS + ZONE_ERROR_MS)
        .then_some(ClockFault::LocalTime { minutes })
}
