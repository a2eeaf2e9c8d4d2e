//! `claviger clock`

use zbus::Variant;

use crate::client::arguments::ClockArgs;
use crate::client::failure::Failure;
use crate::client::register::in_words;
use crate::client::session::Session;
use crate::client::{follow, lookup};
use crate::contract::options;

/// Sets the clock of a fob over NFC.
pub async fn run(session: &Session, args: &ClockArgs) -> Result<u8, Failure> {
    let id = lookup::token(session, &args.token).await?;
    let mut options = session.options();
    if args.reseed {
        options.insert(options::RESEED, Variant::Bool(true));
    }
    if args.unsynchronised {
        options.insert(options::UNSYNCHRONISED, Variant::Bool(true));
    }
    if let Some(device) = &args.device {
        let device = lookup::device(session, Some(device), "card").await?;
        options.insert(options::DEVICE, Variant::ObjectPath(device.path.clone()));
    }
    let tokens = session.tokens().await?;
    let ended = follow::run(session, tokens.set_clock(&id, &options)).await?;
    let clock = ended.number("offset-s").map(in_words).unwrap_or_default();
    let next = match args.reseed {
        true => " It has a new seed: test it with the code it shows now, which activates it.",
        false => "",
    };
    ended.report(
        session,
        "set-clock",
        &format!("Set the clock of token {id}; it {clock}.{next}"),
    )
}
