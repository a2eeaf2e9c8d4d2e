//! `claviger leaver`: somebody leaves. Whatever they could pass with is revoked, and who still trusts something of theirs is named.
//!
//! One token after the other, each a commit of its own: a run that is cut short is run again and goes on where it stopped. What is
//! suspended, lost or not activated yet is among them, and sheets of recovery codes are.

use std::collections::BTreeSet;

use serde_json::json;
use zbus::Variant;

use crate::client::arguments::{LeaverArgs, exit};
use crate::client::failure::Failure;
use crate::client::render::{cell, clean};
use crate::client::session::{Session, no_options};
use crate::client::{bypass, follow, lookup, secret};
use crate::contract::options;
use crate::contract::proxy::{Options, Record, Tokens1Proxy};
use crate::types::{RevokeReason, TokenState};

/// Revokes all that a person has.
pub async fn run(session: &Session, args: &LeaverArgs) -> Result<u8, Failure> {
    let mut tokens = tokens_of(session, &args.subject).await?;
    let mut alive: Vec<Record> = tokens.iter().filter(|token| is_alive(token)).cloned().collect();
    if !args.yes && !alive.is_empty() {
        let question = format!(
            "Revoke all {} tokens of {}, for good? Type “yes”: ",
            alive.len(),
            clean(&args.subject)
        );
        if secret::ask_line(&question, "--yes")? != "yes" {
            return Err(Failure::Cancelled("not confirmed; nothing was done".to_owned()));
        }
    }
    let proxy = session.tokens().await?;
    let (mut revoked, mut left, mut obliged) = (Vec::new(), Vec::new(), false);
    while !alive.is_empty() {
        for token in &alive {
            let id = cell(token, "id");
            match end_token(session, &proxy, &id).await {
                Ok(owes) => {
                    session
                        .output
                        .say(&format!("Revoked the {} token {id}.", cell(token, "kind")))?;
                    obliged |= owes;
                    revoked.push(id);
                }
                // Whoever may not do it may not do the next one either.
                Err(failure @ (Failure::Denied(_) | Failure::Unreachable(_) | Failure::Cancelled(_))) => {
                    return Err(failure);
                }
                Err(failure) => left.push((id, failure.to_string())),
            }
        }
        // Somebody may have registered another meanwhile.
        tokens = tokens_of(session, &args.subject).await?;
        let tried = |token: &&Record| left.iter().any(|(id, _)| *id == cell(token, "id"));
        alive = tokens
            .iter()
            .filter(|token| is_alive(token) && !tried(token))
            .cloned()
            .collect();
    }
    // Whoever never had a token may have one, too. The last token's end has ended it already.
    let bypasses = bypass::end_all(session, &args.subject).await?;
    let trusting = trusting(&proxy, &tokens).await?;
    session.output.object(&json!({
        "subject": args.subject,
        "revoked": revoked,
        "left": left.iter().map(|(id, why)| json!({"token": id, "why": why})).collect::<Vec<_>>(),
        "bypasses": bypasses,
        "trusting": trusting,
    }))?;
    for case in &bypasses {
        session.output.say(&format!("Ended the bypass of case {case}."))?;
    }
    if tokens.is_empty() {
        session
            .output
            .say(&format!("{} never had a token.", clean(&args.subject)))?;
    }
    for (id, why) in &left {
        session
            .output
            .say(&format!("Not revoked: {id}: {why} Run this again."))?;
    }
    for party in &trusting {
        session.output.say(&format!(
            "{} may still trust a key of theirs: have it removed there.",
            clean(party)
        ))?;
    }
    if !left.is_empty() {
        return Ok(exit::REFUSED);
    }
    if obliged {
        session
            .output
            .say("Something is left to do on devices: “claviger obligations” tells what.")?;
        return Ok(exit::OBLIGED);
    }
    Ok(exit::DONE)
}

/// Ends one token. Where the device is does not matter now: what is left on it becomes an obligation. Whether there is one.
async fn end_token(session: &Session, proxy: &Tokens1Proxy<'_>, id: &str) -> Result<bool, Failure> {
    let mut given = session.options();
    given.insert(options::ABSENT, Variant::Bool(true));
    let ended = follow::run(session, proxy.revoke(id, RevokeReason::Leaver.as_str(), &given)).await?;
    Ok(ended.obliged)
}

/// Who accepts a key of theirs still, of the revoked ones, too: that a key is dead here is nothing to those who have its public half.
async fn trusting(proxy: &Tokens1Proxy<'_>, tokens: &[Record]) -> Result<BTreeSet<String>, Failure> {
    let mut parties = BTreeSet::new();
    for token in tokens {
        let record = proxy.get(&cell(token, "id"), &no_options()).await?;
        let trusted = record.get("trusted-by").cloned().map(Vec::<String>::try_from);
        parties.extend(trusted.and_then(Result::ok).into_iter().flatten());
    }
    Ok(parties)
}

async fn tokens_of(session: &Session, subject: &str) -> Result<Vec<Record>, Failure> {
    lookup::find(session, &Options::from([("subject", Variant::from(subject))])).await
}

fn is_alive(token: &Record) -> bool {
    cell(token, "state") != TokenState::Revoked.as_str()
}
