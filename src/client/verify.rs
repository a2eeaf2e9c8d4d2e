//! `claviger verify`, `standing` and `unlock`: a person's codes, and what wrong ones came to.

use crate::client::arguments::{SubjectOnly, VerifyArgs, exit};
use crate::client::failure::Failure;
use crate::client::render::{self, cell, clean};
use crate::client::secret;
use crate::client::session::{Session, no_options};
use crate::contract::options;

/// Checks a code: asked for at the terminal, or read from standard input. Never an argument, where others could read it.
pub async fn verify(session: &Session, args: &VerifyArgs) -> Result<u8, Failure> {
    let code = if args.stdin {
        secret::line_from_stdin()?
    } else {
        secret::ask_line("Type the code: ", "--stdin")?
    };
    let mut options = session.options();
    if args.virtual_too {
        options.insert(options::REAL_ONLY, zbus::Variant::Bool(false));
    }
    let proxy = session.verifier().await?;
    let (accepted, details) = proxy.verify(&args.subject, code.trim(), &options).await?;
    if session.output.json {
        let mut told = render::record(&details);
        if let Some(told) = told.as_object_mut() {
            told.insert("accepted".to_owned(), accepted.into());
        }
        session.output.object(&told)?;
    } else if accepted {
        let (kind, token) = (cell(&details, "kind"), cell(&details, "token"));
        let sentence = if kind == "bypass" {
            let uses = cell(&details, "uses-left");
            format!(
                "Accepted: bypass of case {}; uses left: {uses}.",
                cell(&details, "case")
            )
        } else {
            format!("Accepted: {kind} {token}.")
        };
        session.output.say(&sentence)?;
    } else {
        session.output.say("Not accepted.")?;
    }
    Ok(if accepted { exit::DONE } else { exit::REFUSED })
}

/// Shows wrong tries and locks.
pub async fn standing(session: &Session, args: &SubjectOnly) -> Result<u8, Failure> {
    let standing = session.verifier().await?.standing(&args.subject, &no_options()).await?;
    if session.output.json {
        session.output.object(&render::record(&standing))?;
    } else {
        let sheet = render::sheet(&standing, &["state", "wait-s", "failures", "in-hand"]);
        session.output.text(&sheet)?;
    }
    Ok(exit::DONE)
}

/// Lifts locks.
pub async fn unlock(session: &Session, args: &SubjectOnly) -> Result<u8, Failure> {
    session
        .verifier()
        .await?
        .unlock(&args.subject, &session.options())
        .await?;
    session.output.say(&format!("Unlocked {}.", clean(&args.subject)))?;
    Ok(exit::DONE)
}
