//! `claviger export`

use zbus::{Fd, Variant};

use crate::client::arguments::ExportArgs;
use crate::client::failure::Failure;
use crate::client::new_file::NewFile;
use crate::client::register::insert_text;
use crate::client::session::Session;
use crate::client::{follow, secret, tokens};
use crate::contract::options;
use crate::types::ExportFormat;

/// Writes the seeds that the filters find into a file, which is there whole or not at all, and for its owner alone.
pub async fn run(session: &Session, args: &ExportArgs) -> Result<u8, Failure> {
    let mut options = tokens::filter(&args.filter);
    options.extend(session.options());
    if args.format == ExportFormat::Pskc.as_str() {
        let passphrase = secret::new_passphrase(args.passphrase)?;
        options.insert(options::PASSPHRASE, Variant::Fd(Fd::from(secret::sealed(&passphrase)?)));
    }
    insert_text(&mut options, options::RP_ID, args.rp_id.as_deref());
    let file = NewFile::begin(&args.file)?;
    let tokens = session.tokens().await?;
    let ended = follow::run(session, tokens.export(&args.format, file.descriptor()?, &options)).await?;
    file.keep()?;
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
        &format!("Exported {exported} tokens to {}.{rest}", args.file.display()),
    )
}
