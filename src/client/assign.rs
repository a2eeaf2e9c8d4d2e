//! `claviger assign`

use crate::client::arguments::AssignArgs;
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::client::{follow, lookup, replace};

/// Gives a token of the inventory to a person.
pub async fn run(session: &Session, args: &AssignArgs) -> Result<u8, Failure> {
    let id = lookup::token(session, &args.token).await?;
    let tokens = session.tokens().await?;
    let mut options = session.options();
    replace::insert(session, &mut options, &args.place).await?;
    let ended = follow::run(session, tokens.assign(&id, &args.subject, &options)).await?;
    let sentence = format!(
        "Token {id} is for {} and pending. Its first two codes activate it: claviger resync {id}",
        args.subject
    );
    ended.report(session, "assign", &sentence)
}
