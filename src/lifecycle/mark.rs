//! Mark: whose key it is, the organisation's or the person's. Only what is the organisation's is ever reset.

use serde_json::json;

use crate::grant::{Action, Object};
use crate::ledger::{Binding, Mutation};
use crate::lifecycle::Refusal;
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::revoke::ALIVE;
use crate::types::{TokenId, TokenKind};

/// Marks the key of `token` as the organisation's, or as the person's own.
///
/// # Errors
/// [`Refusal::WrongKind`] for what is no key; [`Refusal::Ledger`] with `WrongState` for a revoked one.
pub async fn mark(act: &Act, token: TokenId, organisation: bool) -> Result<Outcome, Refusal> {
    act.require(Action::Configure, &Object::Token(token))?;
    let record = act.token(token).await?;
    let mut binding = record.binding;
    let Binding::Fido2 {
        organisation: marked, ..
    } = &mut binding
    else {
        return Err(Refusal::WrongKind {
            kind: record.kind,
            verb: match record.kind {
                TokenKind::Fido2 => "marked before its credential is made",
                _ => "marked",
            },
        });
    };
    *marked = organisation;
    act.phase(Phase::Committing, 50);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    let changes = vec![
        Mutation::Require { token, states: ALIVE },
        Mutation::Bind {
            token,
            binding,
            unique: None,
        },
    ];
    let detail = facts([("organisation", json!(organisation))]);
    act.commit("token.marked", Some(token), detail, changes).await?;
    Ok(Outcome::Done(Details {
        token: Some(token),
        ..Details::default()
    }))
}

/// Passes for a key that is marked as the organisation's.
///
/// # Errors
/// [`Refusal::PersonalKey`].
pub fn organisations(binding: &Binding) -> Result<(), Refusal> {
    match binding {
        Binding::Fido2 { organisation: true, .. } => Ok(()),
        _ => Err(Refusal::PersonalKey),
    }
}
