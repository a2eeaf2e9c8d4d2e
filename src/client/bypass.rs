//! `claviger bypass`: an emergency code, from its issue to its review. The code goes to the terminal or to a private file, once.

use zbus::Variant;

use crate::client::app::{letter, read};
use crate::client::arguments::{BypassVerb, CaseOnly, IssueArgs, exit};
use crate::client::case::for_so_long;
use crate::client::failure::Failure;
use crate::client::lookup;
use crate::client::qr::PrivateFile;
use crate::client::render::{cell, clean, record, table};
use crate::client::secret;
use crate::client::session::{Session, no_options};
use crate::contract::options;
use crate::contract::proxy::{Options, Record};

/// Does it.
pub async fn run(session: &Session, verb: &BypassVerb) -> Result<u8, Failure> {
    match verb {
        BypassVerb::Issue(args) => issue(session, args).await,
        BypassVerb::End(of) => end(session, of).await,
        BypassVerb::List { all, subject } => list(session, *all, subject.as_deref()).await,
        BypassVerb::Review { of, found } => review(session, of, found).await,
    }
}

async fn issue(session: &Session, args: &IssueArgs) -> Result<u8, Failure> {
    let mut given = session.options();
    if let Some(minutes) = args.minutes {
        given.insert(options::LASTS_S, Variant::U32(minutes.saturating_mul(60)));
    }
    if let Some(uses) = args.uses {
        given.insert(options::USES, Variant::U32(uses));
    }
    if let Some(choice) = &args.found_again {
        given.insert(options::FOUND_AGAIN, Variant::from(choice.as_str()));
    }
    // Before anything is issued: it is handed out once.
    let file = args.file.as_deref().map(PrivateFile::begin).transpose()?;
    secret::need_terminal(file.is_none(), "a file (--file)")?;
    let (mut ours, theirs) = letter()?;
    let bypasses = session.bypasses().await?;
    let terms = bypasses.issue(&args.subject, zbus::Fd::from(theirs), &given).await?;
    let code = read(&mut ours)?;
    match file {
        Some(file) => file.write(code.as_bytes())?,
        None => secret::tell(&code)?,
    }
    if session.output.json {
        session.output.object(&record(&terms))?;
        return Ok(exit::DONE);
    }
    let again = if cell(&terms, "found-again") == "end" {
        ", and until their token is back in use"
    } else {
        ""
    };
    session.output.say(&format!(
        "Issued a bypass for {}: good for {}, {} uses{again}. The code is shown this once.\nIts review is recorded with: claviger bypass review {} \"what was found\"",
        clean(&args.subject),
        for_so_long(cell(&terms, "lasts-s").parse().unwrap_or(0)),
        cell(&terms, "uses"),
        cell(&terms, "case"),
    ))?;
    Ok(exit::DONE)
}

async fn end(session: &Session, of: &CaseOnly) -> Result<u8, Failure> {
    let id = lookup::case(session, &of.id).await?;
    session.bypasses().await?.end(&id, &no_options()).await?;
    session
        .output
        .say(&format!("Ended the bypass of case {id}. It waits for its review."))?;
    Ok(exit::DONE)
}

async fn review(session: &Session, of: &CaseOnly, found: &str) -> Result<u8, Failure> {
    let id = lookup::case(session, &of.id).await?;
    session.bypasses().await?.review(&id, found, &no_options()).await?;
    session
        .output
        .say(&format!("Noted. Case {id} can be closed as far as its bypass goes."))?;
    Ok(exit::DONE)
}

async fn list(session: &Session, all: bool, subject: Option<&str>) -> Result<u8, Failure> {
    let mut filter = no_options();
    if !all {
        filter.insert("unreviewed", Variant::Bool(true));
    }
    if let Some(subject) = subject {
        filter.insert(options::SUBJECT, Variant::from(subject));
    }
    let found = find(session, &filter).await?;
    session
        .output
        .object(&serde_json::json!({ "bypasses": found.iter().map(record).collect::<Vec<_>>() }))?;
    if found.is_empty() {
        session.output.say("There is no bypass that waits for anything.")?;
        return Ok(exit::DONE);
    }
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    session.output.text(&table(
        &["CASE", "SUBJECT", "STATE", "USED", "WRONG", "ISSUED", "REVIEWED"],
        &rows,
    ))?;
    Ok(exit::DONE)
}

async fn find(session: &Session, filter: &Options<'_>) -> Result<Vec<Record>, Failure> {
    let bypasses = session.bypasses().await?;
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let (page, next) = bypasses.find(filter, &cursor, lookup::PAGE).await?;
        found.extend(page);
        // A cursor that stands still would keep us here for ever.
        if next.is_empty() || next == cursor {
            return Ok(found);
        }
        cursor = next;
    }
}

/// Ends what a person who leaves could still get in with. Answers with the cases whose bypass was ended.
pub(super) async fn end_all(session: &Session, subject: &str) -> Result<Vec<String>, Failure> {
    let filter = Options::from([
        ("unreviewed", Variant::Bool(true)),
        (options::SUBJECT, Variant::from(subject)),
    ]);
    let mut ended = Vec::new();
    for bypass in find(session, &filter).await? {
        if cell(&bypass, "state") == "live" {
            let case = cell(&bypass, "case");
            session.bypasses().await?.end(&case, &no_options()).await?;
            ended.push(case);
        }
    }
    Ok(ended)
}

fn row(bypass: &Record) -> Vec<String> {
    let state = match cell(bypass, "state").as_str() {
        "live" => format!(
            "live, {} left",
            for_so_long(cell(bypass, "left-s").parse().unwrap_or(0))
        ),
        "ended" => format!("ended ({})", cell(bypass, "why")),
        other => other.to_owned(),
    };
    let reviewed = cell(bypass, "reviewed-ms");
    vec![
        cell(bypass, "case"),
        cell(bypass, "subject"),
        state,
        format!("{} of {}", cell(bypass, "used"), cell(bypass, "uses")),
        cell(bypass, "wrong"),
        cell(bypass, "issued-ms"),
        if reviewed.is_empty() {
            "waits for it".to_owned()
        } else {
            reviewed
        },
    ]
}
