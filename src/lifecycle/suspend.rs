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
    let record = act.token(token).await?;
    let (event, from, to): (&'static str, &'static [TokenState], TokenState) = match act.step.verb {
        Verb::Suspend => ("token.suspended", &[Active], Suspended),
        Verb::Lost => ("token.lost", &[Active, Suspended], Lost),
        Verb::Resume => ("token.resumed", &[Suspended, Lost], Active),
        _ => return Err(Refusal::Internal("not a verb of this file")),
    };
    act.phase(Phase::Committing, 50);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    // Who resumes a token has looked at it, so its wrong codes are forgotten too; that is the way out of a lock-out.
    let locked = record.state == Active && record.failures > 0;
    let changes = match act.step.verb {
        Verb::Resume if locked => vec![
            Mutation::Require {
                token,
                states: &[Active],
            },
            Mutation::Pardon { token },
        ],
        Verb::Resume => vec![
            Mutation::Transition {
                token,
                from,
                to,
                reason: None,
            },
            Mutation::Pardon { token },
        ],
        _ => vec![Mutation::Transition {
            token,
            from,
            to,
            reason: None,
        }],
    };
    act.commit(event, Some(token), Facts::new(), changes).await?;
    if act.step.verb == Verb::Resume {
        act.house.attempts().forget(token).await;
    }
    Ok(Outcome::Done(Details {
        token: Some(token),
        ..Details::default()
    }))
}
