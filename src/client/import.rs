//! `claviger import`

use std::fs::File;
use std::os::fd::OwnedFd;

use zbus::{Fd, Variant};

use crate::client::arguments::ImportArgs;
use crate::client::failure::Failure;
use crate::client::follow::{self, Ended};
use crate::client::new_file::NewFile;
use crate::client::session::Session;
use crate::client::{render, secret};
use crate::contract::options;
use crate::contract::proxy::Options;

/// Hands a seed file to the daemon, which reads it; tells what came of it, line by line for what was left.
pub async fn run(session: &Session, args: &ImportArgs) -> Result<u8, Failure> {
    let shown = args.file.display();
    let file = File::open(&args.file).map_err(|why| Failure::local(format!("cannot open {shown}: {why}")))?;
    let left = args.left.as_deref().map(NewFile::begin).transpose()?;
    let mut given = options(session, args)?;
    if let Some(left) = &left {
        given.insert(options::LEFT, Variant::Fd(left.descriptor()?));
    }
    let tokens = session.tokens().await?;
    let ended = follow::run(session, tokens.import(Fd::from(OwnedFd::from(file)), &given)).await?;
    let rejected = ended.number("rejected").unwrap_or_default();
    if let Some(left) = left.filter(|_| rejected > 0) {
        left.keep()?;
    }
    for line in lines(&ended) {
        render::warn(&format!("{shown}, {line}"));
    }
    ended.report(session, "import", &sentence(&ended, args, rejected))
}

fn options(session: &Session, args: &ImportArgs) -> Result<Options<'static>, Failure> {
    let mut given = session.options();
    let texts = [
        (options::FORMAT, args.format.as_ref()),
        (options::MAP, args.map.as_ref()),
        (options::BATCH, args.batch.as_ref()),
        (options::INTEGRITY, Some(&args.integrity)),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            given.insert(key, Variant::from(text.clone()));
        }
    }
    if args.dry_run {
        given.insert(options::DRY_RUN, Variant::from(true));
    }
    let secrets = [
        (options::PASSPHRASE, secret::passphrase(args.passphrase, args.piped)?),
        (
            options::KEY,
            args.key_file.as_deref().map(secret::key_file).transpose()?,
        ),
    ];
    for (key, secret) in secrets {
        if let Some(secret) = secret {
            given.insert(key, Variant::Fd(Fd::from(secret::sealed(&secret)?)));
        }
    }
    Ok(given)
}

/// What was left, each by its line and why.
fn lines(ended: &Ended) -> Vec<String> {
    let lines = ended.details.get("rejected-lines");
    let lines = lines.and_then(|value| value.try_clone().ok());
    lines
        .and_then(|value| Vec::<String>::try_from(value).ok())
        .unwrap_or_default()
}

fn sentence(ended: &Ended, args: &ImportArgs, rejected: i64) -> String {
    let imported = ended.number("imported").unwrap_or_default();
    let done = if args.dry_run { "Would import" } else { "Imported" };
    let rest = match (rejected, &args.left) {
        (0, _) => String::new(),
        (n, Some(left)) => format!(" {n} were left, and are in {}.", left.display()),
        (n, None) => format!(" {n} were left."),
    };
    format!(
        "{done} {imported} tokens ({}).{rest} The seeds came protected so: {}.",
        ended.text("format"),
        ended.text("protection")
    )
}
