//! `claviger resync`: with codes, at once; without, it asks for them, says what they mean, and asks before anything changes.

use zbus::Variant;

use crate::client::arguments::ResyncArgs;
use crate::client::failure::Failure;
use crate::client::follow::{self, Ended};
use crate::client::register::{codes, compact, in_words};
use crate::client::session::Session;
use crate::client::{lookup, render, replace, secret};
use crate::contract::error::ErrorName;
use crate::contract::options;
use crate::contract::proxy::Options;

/// Where to give codes when there is no terminal.
const INSTEAD: &str = "the codes as arguments";

/// Corrects what is believed about where a token's clock or counter stands.
pub async fn run(session: &Session, args: &ResyncArgs) -> Result<u8, Failure> {
    let id = lookup::token(session, &args.token).await?;
    if args.undo {
        return undo(session, &id).await;
    }
    if args.nfc {
        return read_clock(session, &id, args).await;
    }
    let given = codes(&args.codes)?;
    if args.preview {
        let ended = preview(session, &id, &given, args).await?;
        return ended.report(
            session,
            "preview-resync",
            &format!("Nothing has changed. {}", would(&ended)),
        );
    }
    let codes = if args.codes.is_empty() {
        let (codes, seen) = talk(session, &id, given, args).await?;
        render::warn(&would(&seen));
        confirm()?;
        codes
    } else {
        given
    };
    let tokens = session.tokens().await?;
    let options = options_of(session, args);
    let ended = follow::run(session, tokens.resync(&id, &borrowed(&codes), &options)).await?;
    let sentence = match (ended.number("shift-s"), ended.number("skipped")) {
        (Some(shift), _) => format!("Resynced token {id} by {shift:+} s.{}", clock(&ended)),
        (None, Some(skipped)) => format!("Resynced token {id}: {skipped} codes were skipped."),
        (None, None) => format!("Resynced token {id}."),
    };
    let sentence = sentence + &replace::told(&ended);
    ended.report(session, "resync", &sentence)
}

/// Without a code: the fob tells its clock over NFC.
async fn read_clock(session: &Session, id: &str, args: &ResyncArgs) -> Result<u8, Failure> {
    let mut options = options_of(session, args);
    if let Some(device) = &args.device {
        let device = lookup::device(session, Some(device), "card").await?;
        options.insert(options::DEVICE, Variant::ObjectPath(device.path.clone()));
    }
    let tokens = session.tokens().await?;
    let ended = follow::run(session, tokens.resync(id, &[], &options)).await?;
    let shift = ended.number("shift-s").unwrap_or_default();
    let sentence = format!("Read the clock of token {id}: {shift:+} s.{}", clock(&ended)) + &replace::told(&ended);
    ended.report(session, "resync", &sentence)
}

async fn undo(session: &Session, id: &str) -> Result<u8, Failure> {
    let tokens = session.tokens().await?;
    let options = session.options();
    let ended = follow::run(session, tokens.undo_resync(id, &options)).await?;
    let sentence = format!(
        "Took back the last resync of token {id}.{} Used codes stay used.",
        clock(&ended)
    );
    ended.report(session, "undo-resync", &sentence)
}

/// Previews; when two codes do not do, asks for three.
async fn talk(
    session: &Session,
    id: &str,
    mut codes: Vec<String>,
    args: &ResyncArgs,
) -> Result<(Vec<String>, Ended), Failure> {
    loop {
        match preview(session, id, &codes, args).await {
            Ok(ended) => return Ok((codes, ended)),
            Err(Failure::Refused { name, .. }) if codes.len() < 3 && name == ErrorName::CodeRejected.as_str() => {
                render::warn("These two codes do not settle it. Three in a row weigh more.");
                codes = three()?;
            }
            Err(other) => return Err(other),
        }
    }
}

fn three() -> Result<Vec<String>, Failure> {
    let first = secret::ask_line("Wait until it changes. Type the first code: ", INSTEAD)?;
    let second = secret::ask_line("Type the second: ", INSTEAD)?;
    let third = secret::ask_line("Type the third: ", INSTEAD)?;
    Ok([first, second, third].iter().map(|code| compact(code)).collect())
}

fn confirm() -> Result<(), Failure> {
    let answer = secret::ask_line("Correct it so? [y/N] ", INSTEAD)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::Cancelled("not confirmed; nothing has changed".to_owned()))
    }
}

async fn preview(session: &Session, id: &str, codes: &[String], args: &ResyncArgs) -> Result<Ended, Failure> {
    let tokens = session.tokens().await?;
    let options = options_of(session, args);
    follow::run(session, tokens.preview_resync(id, &borrowed(codes), &options)).await
}

/// What a preview found.
fn would(ended: &Ended) -> String {
    match (ended.number("shift-s"), ended.number("skipped")) {
        (Some(shift), _) => {
            let before = ended.number("offset-before-s");
            let before = before.map_or("was never measured".to_owned(), |s| format!("was believed {s:+} s off"));
            format!(
                "The codes fit. The clock {before}; a resync would move that by {shift:+} s.{}",
                clock(ended)
            )
        }
        (None, Some(skipped)) => format!("The codes fit. {skipped} codes were shown that nobody sent."),
        (None, None) => "The codes fit.".to_owned(),
    }
}

fn clock(ended: &Ended) -> String {
    let offset = ended.number("offset-s");
    offset
        .map(|s| format!(" Its clock {}.", in_words(s)))
        .unwrap_or_default()
}

fn borrowed(codes: &[String]) -> Vec<&str> {
    codes.iter().map(String::as_str).collect()
}

fn options_of(session: &Session, args: &ResyncArgs) -> Options<'static> {
    let mut options = session.options();
    if args.beyond_bound {
        options.insert(options::BEYOND_BOUND, Variant::Bool(true));
    }
    if args.unsynchronised {
        options.insert(options::UNSYNCHRONISED, Variant::Bool(true));
    }
    options
}
