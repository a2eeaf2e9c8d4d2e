//! One code a person read off a token, judged: what every verb asks that takes such a code. Reads nothing and writes nothing;
//! the caller commits what a pass means, together with the journal entry.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::codec::oath::{Code, Generator, MAX_CODES, OathParameters};
use crate::ledger::{Factor, Mutation, TokenRecord};
use crate::lifecycle::Refusal;
use crate::resync::{
    CounterVerdict, DriftState, Policy, ResyncVerdict, TEST_LOOK_AHEAD, Verdict, accept_counter, accept_next,
    accept_one,
};
use crate::types::{DriftSource, Secret, TokenId, UnixMillis};

/// A code with the time at which it reached us.
pub type Received = (Code, UnixMillis);

/// What a code is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Judgement {
    /// It is right and unused. Make [`Pass::mutation`] durable before you answer.
    Passed(Pass),
    /// It is wrong, or used, or two places show it; nobody is told which.
    Rejected,
    /// One code cannot decide, whichever it is: the clock was not seen for too long. Keep it with its time of receipt and judge
    /// the next one with it.
    NextCode,
}

/// A pass, and what it teaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Step or counter of the code: the new watermark.
    pub to: u64,
    /// Token clock minus true time from now on, in milliseconds.
    pub offset_ms: i64,
    /// When that was measured.
    pub seen: UnixMillis,
    /// Whether the offset was measured by this code; false against a host clock that is not synchronised.
    pub measured: bool,
}

impl Pass {
    /// The change that uses the code up: conditional on a watermark below it.
    #[must_use]
    pub fn mutation(&self, token: TokenId) -> Mutation {
        Mutation::Advance {
            token,
            to: self.to,
            offset_ms: self.offset_ms,
            seen: self.seen,
            source: self.measured.then_some(DriftSource::Test),
        }
    }
}

/// Judges `code`, received at `now`. `earlier` are the codes of the same token that were answered with
/// [`Judgement::NextCode`], oldest first; they count only where one code cannot decide.
///
/// The number of HMACs depends on what is known of the token and on how many codes there are, never on what they are.
///
/// # Errors
/// [`Refusal::Internal`] when the record is none of a token with a display, or its seed is not one.
pub fn judge(
    record: &TokenRecord,
    seed: &Secret,
    code: &Code,
    earlier: &[Received],
    now: UnixMillis,
    synchronised: bool,
) -> Result<Judgement, Refusal> {
    let (parameters, factor) = parameters_of(record)?;
    let generator =
        Generator::new(seed, parameters).map_err(|_| Refusal::Internal("the sealed seed cannot be used"))?;
    if factor == Factor::Event {
        return Ok(count(record, &generator, code, now));
    }
    let (state, policy) = (drift_of(record), Policy::default());
    let (to, offset_ms) = match accept_one(&state, &generator, code, now, &policy) {
        Verdict::Accepted { step, new_offset_ms } => (step, new_offset_ms),
        Verdict::Rejected => return Ok(Judgement::Rejected),
        Verdict::NeedsSecondCode if earlier.is_empty() => return Ok(Judgement::NextCode),
        // The first offset is never taken from a clock that cannot be believed, and without one no later code would pass.
        Verdict::NeedsSecondCode if state.last_seen.is_none() && !synchronised => return Ok(Judgement::NextCode),
        Verdict::NeedsSecondCode => {
            let spare = earlier.len().saturating_sub(MAX_CODES - 1);
            let mut codes: Vec<Received> = earlier.iter().skip(spare).cloned().collect();
            codes.push((code.clone(), now));
            match accept_next(&state, &generator, &codes, now, &policy) {
                ResyncVerdict::Accepted {
                    steps, offset_after_ms, ..
                } => (steps.last().copied().unwrap_or(0), offset_after_ms),
                ResyncVerdict::Refused(_) => return Ok(Judgement::Rejected),
            }
        }
    };
    // A host clock that is not synchronised can tell that a code is right, not how far the token is off.
    let pass = if synchronised {
        Pass {
            to,
            offset_ms,
            seen: now,
            measured: true,
        }
    } else {
        Pass {
            to,
            offset_ms: record.offset_ms,
            seen: record.last_seen.unwrap_or(now),
            measured: false,
        }
    };
    Ok(Judgement::Passed(pass))
}

/// One code of a token that counts: no clock is involved, and none is learned.
fn count(record: &TokenRecord, generator: &Generator, code: &Code, now: UnixMillis) -> Judgement {
    match accept_counter(generator, next_counter(record), code, TEST_LOOK_AHEAD) {
        CounterVerdict::Accepted { counter, .. } => Judgement::Passed(Pass {
            to: counter,
            offset_ms: record.offset_ms,
            seen: now,
            measured: false,
        }),
        CounterVerdict::Rejected => Judgement::Rejected,
    }
}

/// The least counter that may be used: one past the last used one (RFC 4226 section 7.2).
#[must_use]
pub fn next_counter(record: &TokenRecord) -> u64 {
    record.watermark.map_or(0, |used| used.saturating_add(1))
}

/// Parameters and moving factor out of a record; a token that counts has a time step without meaning.
///
/// # Errors
/// [`Refusal::Internal`] when the record is none of a token with codes.
pub fn parameters_of(record: &TokenRecord) -> Result<(OathParameters, Factor), Refusal> {
    let oath = record
        .binding
        .oath()
        .ok_or(Refusal::Internal("not the record of a token with codes"))?;
    let period_s = match oath.factor {
        Factor::Time { period_s } => period_s,
        Factor::Event => OathParameters::default().period_s(),
    };
    let parameters = OathParameters::new(oath.algorithm, oath.digits, period_s)
        .map_err(|_| Refusal::Internal("the record's parameters are out of range"))?;
    Ok((parameters, oath.factor))
}

/// What is known of a token's clock.
#[must_use]
pub const fn drift_of(record: &TokenRecord) -> DriftState {
    DriftState {
        offset_ms: record.offset_ms,
        watermark_step: record.watermark,
        last_seen: record.last_seen,
    }
}

/// How long a code waits for the next one of its token, in milliseconds.
const PATIENCE_MS: i64 = 5 * 60_000;
/// Most tokens of which codes wait; the one that waited longest gives way.
const MAX_WAITING: usize = 4_096;

/// Codes that were answered with [`Judgement::NextCode`], until the next one comes. In memory alone: wiped when they are taken,
/// when they are too old, and when the daemon ends.
#[derive(Default)]
pub struct Waiting {
    codes: Mutex<HashMap<TokenId, Vec<Received>>>,
}

impl Waiting {
    /// Takes what waits for `token` and came at most five minutes before `now`.
    #[must_use]
    pub fn take(&self, token: TokenId, now: UnixMillis) -> Vec<Received> {
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|_, received| received.last().is_some_and(|(_, at)| is_recent(*at, now)));
        let mut taken = codes.remove(&token).unwrap_or_default();
        taken.retain(|(_, at)| is_recent(*at, now));
        taken
    }

    /// Keeps the newest codes of `token`, which came to no decision.
    pub fn keep(&self, token: TokenId, mut received: Vec<Received>) {
        let spare = received.len().saturating_sub(MAX_CODES);
        received.drain(..spare);
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        if codes.len() >= MAX_WAITING && !codes.contains_key(&token) {
            let oldest = codes
                .iter()
                .min_by_key(|(_, received)| received.last().map(|(_, at)| at.0))
                .map(|(token, _)| *token);
            oldest.and_then(|token| codes.remove(&token));
        }
        codes.insert(token, received);
    }
}

fn is_recent(at: UnixMillis, now: UnixMillis) -> bool {
    (0..=PATIENCE_MS).contains(&now.0.saturating_sub(at.0))
}
