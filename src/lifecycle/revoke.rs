//! Revoke. The binding dies first and durably, with the token's device present or not; what remains on the device is an
//! obligation from the same moment on. If the device is here it is settled at once.

use serde_json::json;

use crate::grant::{Action, Object};
use crate::ledger::{IntentEnd, Mutation, Obligation, TokenRecord};
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::recover::phase;
use crate::lifecycle::{Presence, Refusal};
use crate::lifecycle::{parties, settle};
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
/// no key. After the binding is dead there are no errors any more: what the device refuses is an obligation.
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
    let trusted_by: Vec<String> = parties::still_trusting(&act.house, &record)
        .await?
        .into_iter()
        .collect();
    act.phase(Phase::Committing, 20);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    kill(act, &record, reason, obligation.as_ref()).await?;
    let Some(obligation) = obligation else {
        return Ok(Outcome::Done(Details {
            token: Some(token),
            trusted_by,
            ..Details::default()
        }));
    };
    let settled = if extent.absent || record.kind == TokenKind::Fob {
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
        Ok(()) => Ok(Outcome::Done(Details {
            token: Some(token),
            trusted_by,
            ..Details::default()
        })),
        Err(refusal) => {
            tracing::info!(%token, obligation = %obligation.id, %refusal, "revoked; its device is still to be settled");
            act.conclude().await?;
            Ok(Outcome::Obliged(Details {
                token: Some(token),
                obligation: Some(obligation.id),
                trusted_by,
                unsettled: Some(Box::new(refusal)),
                ..Details::default()
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
