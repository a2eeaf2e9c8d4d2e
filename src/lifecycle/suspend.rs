//! Suspend, report lost, resume: acts on the record alone.

use crate::grant::{Action, Object};
use crate::ledger::Mutation;
use crate::lifecycle::Refusal;
use crate::lifecycle::act::{Act, Facts};
use crate::lifecycle::operation::{Details, Outcome, Phase, Verb};
use crate::types::{TokenId, TokenState};

/// Moves the token as the act's verb says.
///
/// # Errors
/// [`Refusal::Ledger`] with `WrongState` when the token is not where the verb starts from.
pub async fn transfer(act: &Act, token: TokenId) -> Result<Outcome, Refusal> {
    use TokenState::{Active, Lost, Suspended};
    act.require(Action::Suspend, &Object::Token(token))?;
    act.token(token).await?;
    let (event, from, to): (&'static str, &'static [TokenState], TokenState) = match act.step.verb {
        Verb::Suspend => ("token.suspended", &[Active], Suspended),
        Verb::Lost => ("token.lost", &[Active, Suspended], Lost),
        Verb::Resume => ("token.resumed", &[Suspended, Lost], Active),
        _ => return Err(Refusal::Internal("not a verb of this file")),
    };
    act.phase(Phase::Committing, 50);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    let change = Mutation::Transition {
        token,
        from,
        to,
        reason: None,
    };
    act.commit(event, Some(token), Facts::new(), vec![change]).await?;
    Ok(Outcome::Done(Details {
        token: Some(token),
        ..Details::default()
    }))
}
