//! `claviger test`

use zbus::Variant;

use crate::client::arguments::TestArgs;
use crate::client::failure::Failure;
use crate::client::presence::Presence;
use crate::client::provider::Exchange;
use crate::client::register::{compact, in_words};
use crate::client::render::cell;
use crate::client::session::{Session, no_options};
use crate::client::{follow, lookup, replace, secret};
use crate::contract::options;
use crate::types::TokenKind;

/// Tests a token: a fob by the code it shows, the others by asking the device.
pub async fn run(session: &Session, args: &TestArgs) -> Result<u8, Failure> {
    let id = lookup::token(session, &args.token).await?;
    if let Some(exchange) = Exchange::begin(&args.exchange, None)? {
        return exchange.test(session, &id, &args.at).await;
    }
    let tokens = session.tokens().await?;
    let code = match &args.code {
        Some(code) => Some(compact(code)),
        None => {
            let token = tokens.get(&id, &no_options()).await?;
            let kind = cell(&token, "kind");
            let is_fob = [TokenKind::Fob, TokenKind::NfcFob, TokenKind::App]
                .iter()
                .any(|fob| kind == fob.as_str());
            let ask = || secret::ask_line("Type the code the fob shows now: ", "--code");
            is_fob.then(ask).transpose()?.map(|code| compact(&code))
        }
    };
    let mut presence = Presence::gather(&args.at)?;
    let ended = loop {
        let mut options = session.options();
        if let Some(code) = &code {
            options.insert(options::CODE, Variant::from(code.as_str()));
        }
        presence.insert_into(&mut options)?;
        match follow::run(session, tokens.test(&id, &options)).await {
            Ok(ended) => break ended,
            Err(refusal) => presence.supply(refusal)?,
        }
    };
    let clock = ended
        .number("offset-s")
        .map(|s| format!(" Its clock {}.", in_words(s)))
        .unwrap_or_default();
    ended.report(
        session,
        "test",
        &format!("Test passed: token {id}.{clock}{}", replace::told(&ended)),
    )
}
