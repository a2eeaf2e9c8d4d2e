//! `claviger export`

use std::fs::File;
use std::path::Path;

use tempfile::NamedTempFile;
use zbus::{Fd, Variant};

use crate::client::arguments::ExportArgs;
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::client::{follow, secret, tokens};
use crate::contract::options;
use crate::types::ExportFormat;

/// Writes the seeds that the filters find into a file, which is there whole or not at all, and for its owner alone.
pub async fn run(session: &Session, args: &ExportArgs) -> Result<u8, Failure> {
    let mut options = tokens::filter(&args.filter);
    if args.format == ExportFormat::Pskc.as_str() {
        let passphrase = secret::new_passphrase(args.passphrase)?;
        options.insert(options::PASSPHRASE, Variant::Fd(Fd::from(secret::sealed(&passphrase)?)));
    }
    let shown = args.file.display();
    let failed = |why: std::io::Error| Failure::local(format!("cannot write {shown}: {why}"));
    let directory = match args.file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Made for us alone (0600), and renamed once it is whole.
    let file = NamedTempFile::new_in(directory).map_err(failed)?;
    let into = Fd::from(std::os::fd::OwnedFd::from(file.as_file().try_clone().map_err(failed)?));
    let tokens = session.tokens().await?;
    let ended = follow::run(session, tokens.export(&args.format, into, &options)).await?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&args.file).map_err(|error| failed(error.error))?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed)?;
    let (exported, left_out) = (
        ended.number("exported").unwrap_or_default(),
        ended.number("left-out").unwrap_or_default(),
    );
    let rest = match left_out {
        0 => String::new(),
        n => format!(" {n} that it has no words for were left out."),
    };
    ended.report(
        session,
        "export",
        &format!("Exported {exported} tokens to {shown}.{rest}"),
    )
}
