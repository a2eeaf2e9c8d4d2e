//! Revoke. The binding dies first and durably, with the token's device present or not; what remains on the device is an
//! obligation from the same moment on. If the device is here it is settled at once.

use serde_json::json;

use crate::grant::{Action, Object};
use crate::ledger::{IntentEnd, Mutation, Obligation, TokenRecord};
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::mark::organisations;
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::recover::phase;
use crate::lifecycle::settle;
use crate::lifecycle::{Presence, Refusal};
use crate::types::{ObligationId, RevokeReason, TokenId, TokenKind, TokenState};

/// States from which a token can be revoked: all but the last.
pub(super) const ALIVE: &[TokenState] = &[
    TokenState::Inventory,
    TokenState::Pending,
    TokenState::Active,
    TokenState::Suspended,
    TokenState::Lost,
];

/// How far to go.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// `authenticatorReset`, which takes every other passkey with it.
    pub reset: bool,
    /// Do not look for the device.
    pub absent: bool,
}

/// Revokes `token`.
///
/// # Errors
/// [`Refusal::Ledger`] with `WrongState` when it is revoked already, [`Refusal::WrongKind`] for a reset of something that is
/// no key, [`Refusal::PersonalKey`] for one of a key that is not marked as the organisation's. After the binding is dead there are no errors any more: what the device refuses is an obligation.
pub async fn revoke(
    act: &Act,
    token: TokenId,
    reason: RevokeReason,
    at: Presence,
    extent: Extent,
) -> Result<Outcome, Refusal> {
    act.require(Action::Revoke, &Object::Token(token))?;
    let record = act.token(token).await?;
    if extent.reset && record.kind != TokenKind::Fido2 {
        return Err(Refusal::WrongKind {
            kind: record.kind,
            verb: "reset",
        });
    }
    if extent.reset {
        organisations(&record.binding)?;
    }
    let obligation = settle::duty_of(&act.house, &record, extent.reset)
        .await?
        .map(|duty| Obligation {
            id: ObligationId::generate(),
            token,
            duty,
            reality: record.reality,
            created: act.house.clock().now(),
            proven: None,
            discharged: None,
        });
    act.phase(Phase::Committing, 20);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    kill(act, &record, reason, obligation.as_ref()).await?;
    let mut revoked = record;
    revoked.state = TokenState::Revoked;
    // The binding is dead, and that stands: a list that cannot be read is no reason to say otherwise.
    let trusted_by = act.house.trusted_by(&revoked).await.unwrap_or_default();
    let told = Details {
        token: Some(token),
        trusted_by,
        ..Details::default()
    };
    let Some(obligation) = obligation else {
        return Ok(Outcome::Done(told));
    };
    let settled = if extent.absent || revoked.kind == TokenKind::Fob {
        Err(Refusal::DeviceAbsent)
    } else {
        settle::on_device(act, &obligation, at).await
    };
    let discharged = match settled {
        Ok(()) => {
            settle::discharged(
                act,
                &obligation,
                settle::Proof::Device,
                vec![act.end(IntentEnd::Completed)],
            )
            .await
        }
        Err(refusal) => Err(refusal),
    };
    match discharged {
        Ok(()) => Ok(Outcome::Done(told)),
        Err(refusal) => {
            tracing::info!(%token, obligation = %obligation.id, %refusal, "revoked; its device is still to be settled");
            act.conclude().await?;
            Ok(Outcome::Obliged(Details {
                obligation: Some(obligation.id),
                unsettled: Some(Box::new(refusal)),
                ..told
            }))
        }
    }
}

/// Ends the token: state, seed and everything that could accept it, in one commit.
async fn kill(
    act: &Act,
    record: &TokenRecord,
    reason: RevokeReason,
    obligation: Option<&Obligation>,
) -> Result<(), Refusal> {
    let token = record.id;
    let mut changes = vec![Mutation::Transition {
        token,
        from: ALIVE,
        to: TokenState::Revoked,
        reason: Some(reason),
    }];
    if record.has_seed || record.kind == TokenKind::RecoveryCodes {
        changes.push(Mutation::DestroySeed { token });
    }
    if let Some(obligation) = obligation {
        changes.push(Mutation::Oblige(obligation.clone()));
        changes.push(Mutation::Begin(act.intent(
            token,
            phase::DEAD,
            json!({"obligation": obligation.id}),
        )));
    }
    Ok(act
        .commit(
            "token.revoked",
            Some(token),
            facts([("reason", json!(reason))]),
            changes,
        )
        .await?)
}
