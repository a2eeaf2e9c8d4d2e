//! One code, when the token's clock is known well enough that its window holds few steps.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{DriftState, Policy, Window, measured_offset_ms};
use crate::codec::oath::{Code, Generator};
use crate::types::UnixMillis;

/// What one code is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is the code of one unused step of the window. Make it durable with [`DriftState::after`] before you answer.
    Accepted {
        /// The step: the new watermark.
        step: u64,
        /// The new offset in milliseconds.
        new_offset_ms: i64,
    },
    /// It is not; or it was used before, which nobody is told; or two steps show it, so that the next code must decide.
    Rejected,
    /// The clock is not known well enough for one code to decide: first use, or too long unseen. Says nothing about the code,
    /// which was not even looked at: keep it with its time of receipt, ask for the next one and call
    /// [`super::search_codes`] with both.
    NeedsSecondCode,
}

/// Judges one code received at `now`.
///
/// The window reaches `1.5 T + 2 s × days since last seen` to both sides of where the token's clock should have stood when
/// the code was read. All its steps are computed whatever matches.
pub fn accept_one(state: &DriftState, codes: &Generator, code: &Code, now: UnixMillis, policy: &Policy) -> Verdict {
    let parameters = codes.parameters();
    let steps = match policy.window(state, parameters, now) {
        Window::Steps(steps) => steps,
        Window::NextCode => return Verdict::NeedsSecondCode,
        Window::Nothing => return Verdict::Rejected,
    };
    let mut matches = 0_u32;
    let mut matched = 0_u64;
    for step in steps {
        let hit = codes.code(step).ct_eq(code) & Choice::from(u8::from(state.is_fresh(step)));
        matches += u32::from(hit.unwrap_u8());
        matched.conditional_assign(&step, hit);
    }
    if matches == 1 {
        let new_offset_ms = measured_offset_ms(matched, parameters, now, policy);
        Verdict::Accepted {
            step: matched,
            new_offset_ms,
        }
    } else {
        Verdict::Rejected
    }
}
