//! `claviger revoke`

use zbus::Variant;

use crate::client::arguments::RevokeArgs;
use crate::client::failure::Failure;
use crate::client::presence::{PIN_PROMPT, Presence};
use crate::client::render::{cell, clean};
use crate::client::session::{Session, no_options};
use crate::client::{follow, lookup, secret};
use crate::contract::options;
use crate::contract::proxy::Record;
use crate::types::{TokenKind, TokenState};

/// The word to type before a key is reset.
const RESET_WORD: &str = "reset";

/// Revokes a token, for good, after the person has confirmed it.
pub async fn run(session: &Session, args: &RevokeArgs) -> Result<u8, Failure> {
    let id = lookup::token(session, &args.token).await?;
    let tokens = session.tokens().await?;
    let token = tokens.get(&id, &no_options()).await?;
    let kind = cell(&token, "kind");
    if args.reset && kind != TokenKind::Fido2.as_str() {
        return Err(Failure::usage(format!(
            "--reset is for FIDO2 keys; this token is a {kind}"
        )));
    }
    if !args.yes {
        confirm(&token, args.reset)?;
    }
    let mut presence = Presence::gather(&args.at)?;
    if wants_pin(&presence, args, &kind, &token) && any_key_here(session).await? {
        offer_pin(&mut presence)?;
    }
    let mut options = session.options();
    if args.reset {
        options.insert(options::RESET, Variant::Bool(true));
    }
    if args.absent {
        options.insert(options::ABSENT, Variant::Bool(true));
    }
    presence.insert_into(&mut options)?;
    let ended = follow::run(session, tokens.revoke(&id, &args.reason, &options)).await?;
    let mut sentence = format!("Revoked token {id} ({}).", args.reason);
    let parties = ended.text("trusted-by");
    if !parties.is_empty() {
        sentence.push_str(&format!(
            " Its key is still accepted by: {}. Delete it there, too.",
            clean(&parties)
        ));
    }
    ended.report(session, "revoke", &sentence)
}

fn confirm(token: &Record, reset: bool) -> Result<(), Failure> {
    let what = format!(
        "the {} token of {} (serial {})",
        cell(token, "kind"),
        cell(token, "subject"),
        match cell(token, "serial") {
            serial if serial.is_empty() => "unknown".to_owned(),
            serial => serial,
        }
    );
    let (prompt, wanted) = if reset {
        let warning = "Resetting the key deletes every credential on it, other services' passkeys too.";
        (
            format!("{warning}\nType “{RESET_WORD}” to reset and revoke {what}: "),
            RESET_WORD,
        )
    } else {
        (format!("Revoke {what}, for good? Type “yes”: "), "yes")
    };
    let answer = secret::ask_line(&prompt, "--yes")?;
    let agreed = answer == wanted || (!reset && answer.eq_ignore_ascii_case("y"));
    if agreed {
        Ok(())
    } else {
        Err(Failure::Cancelled("not confirmed; nothing was done".to_owned()))
    }
}

/// Deleting a credential from a key takes its PIN (CTAP 2.1 section 6.8); revoking does not.
fn wants_pin(presence: &Presence, args: &RevokeArgs, kind: &str, token: &Record) -> bool {
    !presence.has_pin()
        && !args.yes
        && !args.absent
        && !args.reset
        && kind == TokenKind::Fido2.as_str()
        && cell(token, "state") != TokenState::Revoked.as_str()
}

async fn any_key_here(session: &Session) -> Result<bool, Failure> {
    Ok(lookup::devices(session)
        .await?
        .iter()
        .any(|device| device.has_face("hid")))
}

fn offer_pin(presence: &mut Presence) -> Result<(), Failure> {
    let prompt =
        format!("To delete the credential from the key too, give its PIN (Enter: leave it there).\n{PIN_PROMPT}");
    if let Some(pin) = secret::optional_pin(&prompt)? {
        presence.set_pin(pin);
    }
    Ok(())
}
