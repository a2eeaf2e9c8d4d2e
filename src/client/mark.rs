//! `claviger mark`

use crate::client::arguments::{MarkArgs, Owner};
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::client::{follow, lookup};

/// Says whose key it is.
pub async fn run(session: &Session, args: &MarkArgs) -> Result<u8, Failure> {
    let id = lookup::token(session, &args.token).await?;
    let tokens = session.tokens().await?;
    let organisation = args.owner == Owner::Organisation;
    let ended = follow::run(session, tokens.mark_organisation(&id, organisation, &session.options())).await?;
    let sentence = match args.owner {
        Owner::Organisation => format!("The key of token {id} is the organisation's: it may be reset."),
        Owner::Person => format!("The key of token {id} is the person's own: it is never reset."),
    };
    ended.report(session, "configure", &sentence)
}
