//! `claviger suspend`, `resume` and `lost`: changes of a token's standing that need no device.

use crate::client::arguments::TokenOnly;
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::client::{follow, lookup};

/// Which change.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    /// Out of use for a while.
    Suspend,
    /// Back in use.
    Resume,
    /// Reported lost.
    Lost,
}

/// Changes a token's standing.
pub async fn run(session: &Session, change: Change, args: &TokenOnly) -> Result<u8, Failure> {
    let id = lookup::token(session, &args.token).await?;
    let tokens = session.tokens().await?;
    let none = session.options();
    let (verb, ended, sentence) = match change {
        Change::Suspend => (
            "suspend",
            follow::run(session, tokens.suspend(&id, &none)).await?,
            format!("Suspended token {id}."),
        ),
        Change::Resume => (
            "resume",
            follow::run(session, tokens.resume(&id, &none)).await?,
            format!("Token {id} is back in use."),
        ),
        Change::Lost => (
            "lost",
            follow::run(session, tokens.report_lost(&id, &none)).await?,
            format!("Token {id} is noted as lost and no longer accepted."),
        ),
    };
    ended.report(session, verb, &sentence)
}
