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
use crate::client::session::Session;
use crate::client::{follow, lookup, secret};
use crate::contract::options;
use crate::contract::proxy::{Options, Record};
use crate::types::{RevokeReason, TokenState};

/// Revokes all that a person has.
pub async fn run(session: &Session, args: &LeaverArgs) -> Result<u8, Failure> {
    let tokens = tokens_of(session, &args.subject).await?;
    let alive: Vec<&Record> = tokens.iter().filter(|token| is_alive(token)).collect();
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
    for token in &alive {
        let id = cell(token, "id");
        // Where the device is does not matter now: what is left on it becomes an obligation.
        let mut given = session.options();
        given.insert(options::ABSENT, Variant::Bool(true));
        match follow::run(session, proxy.revoke(&id, RevokeReason::Leaver.as_str(), &given)).await {
            Ok(ended) => {
                session
                    .output
                    .say(&format!("Revoked the {} token {id}.", cell(token, "kind")))?;
                obliged |= ended.obliged;
                revoked.push(id);
            }
            // Whoever may not do it may not do the next one either.
            Err(failure @ (Failure::Denied(_) | Failure::Unreachable(_) | Failure::Cancelled(_))) => {
                return Err(failure);
            }
            Err(failure) => left.push((id, failure.to_string())),
        }
    }
    // Of the revoked ones, too: that the key is dead here is nothing to those who have its public half.
    let trusting: BTreeSet<String> = tokens
        .iter()
        .map(|token| cell(token, "rp-id"))
        .filter(|rp| !rp.is_empty())
        .collect();
    session.output.object(&json!({
        "subject": args.subject,
        "revoked": revoked,
        "left": left.iter().map(|(id, why)| json!({"token": id, "why": why})).collect::<Vec<_>>(),
        "trusting": trusting,
    }))?;
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

async fn tokens_of(session: &Session, subject: &str) -> Result<Vec<Record>, Failure> {
    lookup::find(session, &Options::from([("subject", Variant::from(subject))])).await
}

fn is_alive(token: &Record) -> bool {
    cell(token, "state") != TokenState::Revoked.as_str()
}
