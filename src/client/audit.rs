//! `claviger audit`

use serde_json::{Value, json};

use crate::client::arguments::{AuditVerb, exit};
use crate::client::failure::Failure;
use crate::client::render::{cell, plain, record};
use crate::client::session::{Session, no_options};

/// How many entries are asked for at once.
const PAGE: u32 = 1000;

/// Verifies or shows the journal.
pub async fn run(session: &Session, what: &AuditVerb) -> Result<u8, Failure> {
    match what {
        AuditVerb::Verify => verify(session).await,
        AuditVerb::Log { after, limit } => log(session, *after, *limit).await,
    }
}

async fn verify(session: &Session) -> Result<u8, Failure> {
    let (intact, report) = session.manager().await?.verify_journal(&no_options()).await?;
    let mut object = record(&report);
    if let Some(members) = object.as_object_mut() {
        members.insert("intact".to_owned(), json!(intact));
    }
    session.output.object(&object)?;
    let entries = cell(&report, "entries");
    if intact {
        let tokens = cell(&report, "tokens");
        session.output.say(&format!(
            "The journal is intact: {entries} entries agree with {tokens} tokens."
        ))?;
        return Ok(exit::DONE);
    }
    session
        .output
        .text(&format!("The journal is NOT intact ({entries} entries):"))?;
    for finding in object.get("findings").and_then(Value::as_array).into_iter().flatten() {
        let member = |key: &str| finding.get(key).map(|value| plain(key, value)).unwrap_or_default();
        let token = match member("token") {
            token if token.is_empty() => token,
            token => format!(" token {token}:"),
        };
        session
            .output
            .text(&format!("  entry {}:{token} {}", member("seq"), member("what")))?;
    }
    Ok(exit::FINDINGS)
}

async fn log(session: &Session, mut after: u64, limit: Option<u64>) -> Result<u8, Failure> {
    let manager = session.manager().await?;
    let mut left = limit.unwrap_or(u64::MAX);
    let mut collected = Vec::new();
    while left > 0 {
        let page = u32::try_from(left.min(u64::from(PAGE))).unwrap_or(PAGE);
        let entries = manager.read_journal(after, page, &no_options()).await?;
        let last = entries
            .last()
            .and_then(|entry| entry.get("seq")?.downcast_ref::<u64>().ok());
        for entry in &entries {
            if session.output.json {
                collected.push(record(entry));
                continue;
            }
            let who = match cell(entry, "uid") {
                uid if uid.is_empty() => "daemon".to_owned(),
                uid => format!("uid {uid}"),
            };
            let columns = ["seq", "at-ms", "name", "token", "payload"].map(|key| cell(entry, key));
            let [seq, at, name, token, payload] = columns;
            session
                .output
                .text(&format!("{seq:>6}  {at}  {who:<9}  {name}  {token}  {payload}"))?;
        }
        left = left.saturating_sub(entries.len() as u64);
        // Numbers rise; anything else would have us read for ever.
        match last {
            Some(last) if last > after => after = last,
            _ => break,
        }
    }
    session.output.object(&json!({ "entries": collected }))?;
    Ok(exit::DONE)
}
