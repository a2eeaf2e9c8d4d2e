//! Undo: what a resync taught is taken back, as long as nothing was learned since. Used codes stay used.

use serde_json::json;

use crate::grant::{Action, Object};
use crate::ledger::{LedgerError, Mutation};
use crate::lifecycle::Refusal;
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::types::{DriftSource, TokenId};

/// Restores the offset, and the time it was measured, from before the last resync of `token`. The watermark stays.
///
/// # Errors
/// [`Refusal::NothingToUndo`] when the last thing learned was no resync, or the first ever; storage.
pub async fn undo(act: &Act, token: TokenId) -> Result<Outcome, Refusal> {
    act.require(Action::Resync, &Object::Token(token))?;
    let record = act.token(token).await?;
    let history = act.house.ledger().drift(token, 1).await?;
    let last = history
        .last()
        .filter(|last| last.source == DriftSource::Resync && last.after_ms == record.offset_ms)
        .ok_or(Refusal::NothingToUndo)?;
    let (Some(before_ms), Some(seen_before)) = (last.before_ms, last.seen_before) else {
        return Err(Refusal::NothingToUndo);
    };
    act.phase(Phase::Committing, 80);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    let correct = Mutation::Correct {
        token,
        expect_ms: last.after_ms,
        offset_ms: before_ms,
        seen: Some(seen_before),
        source: DriftSource::Undo,
    };
    let detail = facts([
        ("offset_before_ms", json!(last.after_ms)),
        ("offset_after_ms", json!(before_ms)),
        ("resync", json!(last.seq)),
    ]);
    match act.commit("resync.undone", Some(token), detail, vec![correct]).await {
        // A code was accepted in between.
        Err(LedgerError::Stale(_)) => Err(Refusal::NothingToUndo),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(Outcome::Done(Details {
            token: Some(token),
            offset_s: Some(before_ms.div_euclid(1000)),
            shift_s: Some(before_ms.saturating_sub(last.after_ms).div_euclid(1000)),
            ..Details::default()
        })),
    }
}
