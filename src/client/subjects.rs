//! `claviger subjects`, `coverage` and `defer`: whom tokens are for, and how far they have come.

use crate::client::arguments::{SubjectOnly, exit};
use crate::client::failure::Failure;
use crate::client::render::{self, cell, clean, sheet, table};
use crate::client::session::{Session, no_options};
use crate::contract::proxy::Record;

/// Shows who somebody is, what they have and what is required of them.
pub async fn show(session: &Session, args: &SubjectOnly) -> Result<u8, Failure> {
    let status = session.subjects().await?.status(&args.subject, &no_options()).await?;
    if session.output.json {
        session.output.object(&render::record(&status))?;
        return Ok(exit::DONE);
    }
    let first = [
        "subject",
        "role",
        "privilege",
        "account",
        "contact",
        "status",
        "active",
        "pending",
        "deferred",
    ];
    let shown: Record = status
        .iter()
        .filter(|(key, _)| first.contains(&key.as_str()))
        .filter_map(|(key, value)| Some((key.clone(), value.try_clone().ok()?)))
        .collect();
    session.output.text(&sheet(&shown, &first))?;
    session.output.say(&sentence(&status))?;
    Ok(exit::DONE)
}

/// Says “later” for somebody.
pub async fn defer(session: &Session, args: &SubjectOnly) -> Result<u8, Failure> {
    let now = session.subjects().await?.defer(&args.subject, &no_options()).await?;
    if session.output.json {
        session.output.object(&render::record(&now))?;
    } else {
        session.output.say(&format!(
            "Noted “later” for {}. {}",
            clean(&args.subject),
            sentence(&now)
        ))?;
    }
    Ok(exit::DONE)
}

/// Shows how the organisation has come along.
pub async fn coverage(session: &Session) -> Result<u8, Failure> {
    let report = session.subjects().await?.coverage(&no_options()).await?;
    if session.output.json {
        session.output.object(&render::record(&report))?;
        return Ok(exit::DONE);
    }
    let value = render::record(&report);
    let columns = ["role", "subjects", "off", "pending", "on", "required", "lacking"];
    let rows: Vec<Vec<String>> = value
        .get("roles")
        .and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten()
        .map(|row| {
            let plain = |key: &&str| match row.get(*key) {
                Some(serde_json::Value::String(text)) if text.is_empty() => "(unknown)".to_owned(),
                Some(serde_json::Value::String(text)) => clean(text),
                Some(other) => other.to_string(),
                None => String::new(),
            };
            columns.iter().map(plain).collect()
        })
        .collect();
    if rows.is_empty() {
        session.output.say("Nobody stands in the file of subjects.")?;
        return Ok(exit::DONE);
    }
    let head = ["ROLE", "SUBJECTS", "OFF", "PENDING", "ON", "REQUIRED", "LACKING"];
    session.output.text(&table(&head, &rows))?;
    for name in value
        .get("lacking")
        .and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_str)
    {
        session
            .output
            .say(&format!("Lacks a second factor that is required: {}", clean(name)))?;
    }
    Ok(exit::DONE)
}

fn sentence(enforcement: &Record) -> String {
    let sentence = cell(enforcement, "sentence");
    if sentence.is_empty() {
        "The directory does not know them, so nothing is required.".to_owned()
    } else {
        sentence
    }
}
