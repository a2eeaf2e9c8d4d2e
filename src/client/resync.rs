//! `claviger resync`

use zbus::Variant;

use crate::client::arguments::ResyncArgs;
use crate::client::failure::Failure;
use crate::client::register::{codes, in_words};
use crate::client::session::Session;
use crate::client::{follow, lookup};
use crate::contract::options;
use crate::contract::proxy::Options;

/// Corrects what is believed about a fob's clock.
pub async fn run(session: &Session, args: &ResyncArgs) -> Result<u8, Failure> {
    let id = lookup::token(session, &args.token).await?;
    let codes = if args.nfc { Vec::new() } else { codes(&args.codes)? };
    let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
    let mut options = Options::new();
    if args.beyond_bound {
        options.insert(options::BEYOND_BOUND, Variant::Bool(true));
    }
    if args.unsynchronised {
        options.insert(options::UNSYNCHRONISED, Variant::Bool(true));
    }
    if let Some(device) = &args.device {
        let device = lookup::device(session, Some(device), "card").await?;
        options.insert(options::DEVICE, Variant::ObjectPath(device.path.clone()));
    }
    let tokens = session.tokens().await?;
    let ended = follow::run(session, tokens.resync(&id, &codes, &options)).await?;
    let shift = ended.number("shift-s").unwrap_or_default();
    let clock = ended
        .number("offset-s")
        .map(|s| format!(" Its clock {}.", in_words(s)))
        .unwrap_or_default();
    ended.report(
        session,
        "resync",
        &format!("Resynced token {id} by {shift:+} s.{clock}"),
    )
}
