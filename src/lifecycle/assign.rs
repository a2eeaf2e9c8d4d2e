//! Assign: a token of the inventory finds its person.

use crate::grant::{Action, Object};
use crate::ledger::Mutation;
use crate::lifecycle::act::{Act, Facts};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::{Refusal, validity};
use crate::types::TokenId;

/// Gives the token to `subject`. It is pending then, and becomes active as one that was registered without codes does.
///
/// # Errors
/// [`Refusal::Ledger`] with `WrongState` when it is not in the inventory; [`Refusal::Expired`] for one that nobody could use. One
/// that is not valid yet may be handed out ahead of its time.
pub async fn assign(act: &Act, token: TokenId, subject: String) -> Result<Outcome, Refusal> {
    act.require(Action::Register, &Object::Token(token))?;
    validity::not_expired(&act.token(token).await?, act.house.clock().now())?;
    act.phase(Phase::Committing, 50);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    let change = Mutation::Assign { token, subject };
    act.commit("token.assigned", Some(token), Facts::new(), vec![change])
        .await?;
    Ok(Outcome::Done(Details {
        token: Some(token),
        ..Details::default()
    }))
}
