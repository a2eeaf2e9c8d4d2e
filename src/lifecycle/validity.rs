//! The dates in a token's papers (RFC 6030 section 5, `StartDate` and `ExpiryDate`): outside them no code of it is looked at, by
//! any verb. No option lifts that: the dates are the issuer's word, and often the battery's. Whoever may register can revoke the
//! token and register it anew with other papers, which leaves a trail; a word on the way would leave a token that is valid for one
//! verb and not for the next.

use crate::ledger::TokenRecord;
use crate::lifecycle::Refusal;
use crate::types::UnixMillis;

/// Refuses a token before its first and after its last moment, both of which are valid. Nothing of a code is known here, and
/// nothing is counted: the answer is the same for a right one and a wrong one.
///
/// # Errors
/// [`Refusal::NotYetValid`], [`Refusal::Expired`].
pub fn require(record: &TokenRecord, now: UnixMillis) -> Result<(), Refusal> {
    match record.valid_from {
        Some(from) if now < from => Err(Refusal::NotYetValid { from }),
        _ => not_expired(record, now),
    }
}

/// Refuses a token after its last moment alone: one that is not valid yet may be handed out.
///
/// # Errors
/// [`Refusal::Expired`].
pub fn not_expired(record: &TokenRecord, now: UnixMillis) -> Result<(), Refusal> {
    match record.valid_until {
        Some(until) if until < now => Err(Refusal::Expired { until }),
        _ => Ok(()),
    }
}

/// A moment as a help desk reads it out, in UTC.
pub fn told(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(
        |_| format!("{} s", at.seconds()),
        |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}
