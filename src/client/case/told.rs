//! What is said of a case, for somebody with a person on the phone: what is missing, what is next, how long it still holds.

use zbus::Variant;

use crate::client::arguments::exit;
use crate::client::failure::Failure;
use crate::client::render::{self, cell, variant};
use crate::client::session::Session;
use crate::contract::options;
use crate::contract::proxy::{Options, Record};

/// Seconds in words.
pub fn for_so_long(seconds: u64) -> String {
    let (unit, name) = match seconds {
        0..=119 => (1, "second"),
        120..=7_199 => (60, "minute"),
        7_200..=172_799 => (3_600, "hour"),
        _ => (86_400, "day"),
    };
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

fn number(record: &Record, key: &str) -> Option<u64> {
    record.get(key).and_then(|value| variant(value).as_u64())
}

/// Says what is still missing before a tier; exit code 0 when nothing is.
pub async fn needs(session: &Session, id: &str, tier: Option<&str>) -> Result<u8, Failure> {
    let mut given = Options::new();
    if let Some(tier) = tier {
        given.insert(options::TIER, Variant::from(tier));
    }
    let (allowed, answer) = session.case(id).await?.needs(&given).await?;
    if session.output.json {
        let mut told = render::record(&answer);
        if let Some(told) = told.as_object_mut() {
            told.insert("allowed".to_owned(), allowed.into());
        }
        session.output.object(&told)?;
    } else {
        session.output.text(&sentences(id, allowed, &answer))?;
    }
    Ok(if allowed { exit::DONE } else { exit::REFUSED })
}

/// What is next, after something was done.
pub async fn next(session: &Session, id: &str) -> Result<u8, Failure> {
    if session.output.json || session.output.quiet {
        return Ok(exit::DONE);
    }
    let (allowed, answer) = session.case(id).await?.needs(&Options::new()).await?;
    session.output.say(&sentences(id, allowed, &answer))?;
    Ok(exit::DONE)
}

fn sentences(id: &str, allowed: bool, answer: &Record) -> String {
    let tier = cell(answer, "tier");
    if cell(answer, "policy") == "false" {
        return "No policy is in force here: no case is demanded.".to_owned();
    }
    if allowed {
        let holds = match number(answer, "holds-s") {
            Some(seconds) => format!(" This holds for {}.", for_so_long(seconds)),
            None => String::new(),
        };
        return format!("Nothing is missing before “{tier}”.{holds}\nAct with: --case {id}");
    }
    let mut told = format!("Before “{tier}”, this is missing:");
    if let Some(Variant::Array(needs)) = answer.get("needs").map(|needs| &**needs) {
        for need in needs.iter() {
            let need = variant(need);
            let sentence = need.get("sentence").and_then(serde_json::Value::as_str);
            told.push_str("\n  - ");
            told.push_str(&render::clean(sentence.unwrap_or_default()));
        }
    }
    told
}

/// A whole case as a page.
pub fn whole(case: &Record) -> String {
    let mut lines = vec![format!(
        "Case {} ({}, by {})",
        cell(case, "id"),
        cell(case, "kind"),
        cell(case, "channel")
    )];
    for (key, title) in [("subject", "About"), ("reason", "Matter"), ("ticket", "Ticket")] {
        let value = cell(case, key);
        if !value.is_empty() {
            lines.push(format!("{title}: {value}"));
        }
    }
    lines.push(format!(
        "Opened: {} by {}",
        cell(case, "opened-ms"),
        who(&cell(case, "opener-account"), &cell(case, "opener"))
    ));
    let outcome = cell(case, "outcome");
    if outcome.is_empty() {
        let left = match number(case, "left-s") {
            Some(0) => "; that is overdue".to_owned(),
            Some(seconds) => format!("; {} left for it", for_so_long(seconds)),
            None => String::new(),
        };
        lines.push(format!("Waits for: {}{left}", cell(case, "step")));
    } else {
        lines.push(format!("Closed: {} ({outcome})", cell(case, "closed-ms")));
    }
    if let Some(Variant::Array(half)) = case.get("replacing").map(|half| &**half) {
        lines.extend(half.iter().map(|half| half_done(&variant(half))));
    }
    if let Some(untold) = number(case, "untold") {
        lines.push(format!(
            "The person does not know yet: {untold} letter{} could not be delivered; it is tried again.",
            if untold == 1 { "" } else { "s" }
        ));
    }
    if let Some(Variant::Array(notes)) = case.get("notes").map(|notes| &**notes) {
        lines.extend(notes.iter().map(|note| line(&variant(note))));
    }
    lines.join("\n")
}

fn who(account: &str, uid: &str) -> String {
    if account.is_empty() {
        format!("uid {uid}")
    } else {
        account.to_owned()
    }
}

fn half_done(half: &serde_json::Value) -> String {
    let text = |key: &str| render::plain(key, half.get(key).unwrap_or(&serde_json::Value::Null));
    let (token, new) = (text("token"), text("new"));
    let next = if new.is_empty() {
        format!("register what takes its place (--replaces {token})")
    } else {
        format!("{new} takes its place once it has passed its first test")
    };
    let lost = if text("lost") == "true" { ", which is lost" } else { "" };
    format!("Half replaced: {token}{lost}; {next}")
}

fn line(note: &serde_json::Value) -> String {
    let text = |key: &str| render::plain(key, note.get(key).unwrap_or(&serde_json::Value::Null));
    let counts = match note.get("counts-s").and_then(serde_json::Value::as_u64) {
        Some(0) => " (no longer counts)".to_owned(),
        Some(seconds) => format!(" (counts for {} more)", for_so_long(seconds)),
        None => String::new(),
    };
    let what = match text("what").as_str() {
        "worked" => "attached to the case".to_owned(),
        "evidence" => {
            let token = text("token");
            let virtual_one = if text("reality") == "virtual" {
                ", virtual: no evidence"
            } else {
                ""
            };
            let of = if token.is_empty() {
                String::new()
            } else {
                format!(" of token {token}{virtual_one}")
            };
            format!("evidence: {}{of}", text("method"))
        }
        "approved" => format!("said yes, up to “{}”", text("tier")),
        "denied" => "said no".to_owned(),
        "bypass-issued" => "issued a bypass".to_owned(),
        "bypass-used" => "had the bypass's code verified: it was right".to_owned(),
        "bypass-reviewed" => "looked back at the bypass".to_owned(),
        "replacing" if text("lost") == "true" => format!("has token {} replaced, which is lost", text("token")),
        "replacing" => format!("has token {} replaced", text("token")),
        "replaced" => format!(
            "brought token {} in the place of {}, which is dead",
            text("new"),
            text("token")
        ),
        "closed" => format!("closed it: {}", text("outcome")),
        other => other.to_owned(),
    };
    let reference = text("reference");
    let reference = if reference.is_empty() {
        reference
    } else {
        format!(": {reference}")
    };
    let by = text("by");
    let by = if by.is_empty() {
        "the daemon".to_owned()
    } else {
        who(&text("account"), &by)
    };
    format!("  {}  {by} {what}{reference}{counts}", text("at-ms"))
}
