//! `claviger fido`

mod find;
mod pin;

use serde_json::{Value, json};
use zbus::{Fd, Variant};

use crate::client::arguments::{BlobsVerb, FidoVerb, FingerVerb, UnlockArgs};
use crate::client::failure::Failure;
use crate::client::follow::{self, Ended};
use crate::client::render::{cell, clean, table, variant};
use crate::client::session::{Session, no_options};
use crate::client::{lookup, secret};
use crate::contract::options;
use crate::contract::proxy::{Fido1Proxy, Options, Record};
use crate::types::Secret;

/// The word to type before a key is wiped.
const RESET_WORD: &str = "reset";

/// Looks after the FIDO2 application of a device.
pub async fn run(session: &Session, verb: &FidoVerb) -> Result<u8, Failure> {
    match verb {
        FidoVerb::Pin { what } => pin::run(session, what).await,
        FidoVerb::MinPin {
            device,
            length,
            rp_id,
            force_change,
            with,
        } => {
            let key = open(session, device).await?;
            let mut given = unlocking(session, &key, *with).await?;
            if !rp_id.is_empty() {
                let ids: Vec<&str> = rp_id.iter().map(String::as_str).collect();
                given.insert(options::RP_IDS, Variant::from(ids));
            }
            flag(&mut given, options::FORCE_CHANGE, *force_change);
            let ended = follow::run(session, key.set_min_pin_length(*length, &given)).await?;
            let forced = match is_true(&ended, "change-forced") {
                true => " The PIN must be changed before it is used.",
                false => "",
            };
            let sentence = format!("A PIN has {length} characters at least from now on.{forced}");
            ended.report(session, "configure", &sentence)
        }
        FidoVerb::AlwaysUv { device, state, with } => {
            let key = open(session, device).await?;
            let given = unlocking(session, &key, *with).await?;
            let on = state == "on";
            let ended = follow::run(session, key.set_always_uv(on, &given)).await?;
            let sentence = match on {
                true => "The key wants the PIN or a finger for every use.",
                false => "The key no longer wants the PIN or a finger for every use.",
            };
            ended.report(session, "configure", sentence)
        }
        FidoVerb::EnterpriseAttestation(at) => {
            let key = open(session, &at.device).await?;
            let given = unlocking(session, &key, at.with).await?;
            let ended = follow::run(session, key.enable_enterprise_attestation(&given)).await?;
            ended.report(session, "configure", "Enterprise attestation is on, until a reset.")
        }
        FidoVerb::LongTouch(at) => {
            let key = open(session, &at.device).await?;
            let given = unlocking(session, &key, at.with).await?;
            let ended = follow::run(session, key.enable_long_touch_for_reset(&given)).await?;
            ended.report(
                session,
                "configure",
                "A reset wants a touch of five seconds, until a reset.",
            )
        }
        FidoVerb::List(at) => list(session, &at.device, at.with).await,
        FidoVerb::Rename {
            device,
            credential,
            name,
            display_name,
            with,
        } => {
            let key = open(session, device).await?;
            let mut given = unlocking(session, &key, *with).await?;
            if let Some(display_name) = display_name {
                given.insert(options::DISPLAY_NAME, Variant::from(display_name.as_str()));
            }
            let ended = follow::run(session, key.rename_credential(credential, name, &given)).await?;
            let sentence = format!("The account is called “{}” now.", clean(name));
            ended.report(session, "configure", &sentence)
        }
        FidoVerb::Delete {
            device,
            credential,
            yes,
            with,
        } => {
            confirm(
                *yes,
                "Delete this passkey, for good? Nobody can sign in by it any more.",
            )?;
            let key = open(session, device).await?;
            let given = unlocking(session, &key, *with).await?;
            let ended = follow::run(session, key.delete_credential(credential, &given)).await?;
            ended.report(session, "erase", "Deleted the passkey.")
        }
        FidoVerb::Find => find::find(session).await,
        FidoVerb::Wink { device } => {
            let key = open(session, device).await?;
            let ended = follow::run(session, key.wink(&no_options())).await?;
            let sentence = match is_true(&ended, "winked") {
                true => "The key has blinked.",
                false => "The key cannot blink: “claviger fido find” tells keys apart by a touch.",
            };
            ended.report(session, "inspect", sentence)
        }
        FidoVerb::Finger { what } => finger(session, what).await,
        FidoVerb::Blobs { what } => blobs(session, what).await,
        FidoVerb::Reset { device, place, yes } => reset(session, device, place.as_deref(), *yes).await,
    }
}

async fn open(session: &Session, device: &str) -> Result<Fido1Proxy<'static>, Failure> {
    let device = lookup::device(session, Some(device), "hid").await?;
    session.fido(device.path).await
}

fn flag(given: &mut Options<'_>, key: &'static str, set: bool) {
    if set {
        given.insert(key, Variant::Bool(true));
    }
}

fn is_true(ended: &Ended, key: &str) -> bool {
    ended.details.get(key).map(|value| variant(value)) == Some(Value::Bool(true))
}

/// PIN, finger and the word for the last tries, as options. The PIN is asked for when it was not given and none but it will do; how
/// many tries are left is said before.
async fn unlocking(session: &Session, key: &Fido1Proxy<'_>, from: UnlockArgs) -> Result<Options<'static>, Failure> {
    let mut given = session.options();
    flag(&mut given, options::FINGER, from.finger);
    flag(&mut given, options::LAST_TRIES, from.last_tries);
    if let Some(pin) = present_pin(session, key, from).await? {
        given.insert(options::PIN, Variant::Fd(Fd::from(secret::sealed(&pin)?)));
    }
    Ok(given)
}

async fn present_pin(session: &Session, key: &Fido1Proxy<'_>, from: UnlockArgs) -> Result<Option<Secret>, Failure> {
    let status = key.pin_status(&no_options()).await?;
    let piped = secret::is_piped(from.pin_from);
    if !piped && (cell(&status, "state") == "not-set" || from.finger || status.contains_key("uv-tries-left")) {
        return Ok(None);
    }
    if !piped && !secret::has_terminal() {
        // The daemon says what is missing.
        return Ok(None);
    }
    let prompt = format!("PIN of the key{}: ", tries(session, &status)?);
    secret::pin(from.pin_from, &prompt).map(Some)
}

/// What is left, in words for a prompt; what stands against another try is said in full.
fn tries(session: &Session, status: &Record) -> Result<String, Failure> {
    if !matches!(cell(status, "state").as_str(), "ready" | "not-set" | "unsupported") && !session.output.quiet {
        crate::client::render::warn(&cell(status, "advice"));
    }
    Ok(match status.get("tries-left").map(|left| variant(left)) {
        Some(left) if left == json!(1) => " (1 try left)".to_owned(),
        Some(left) => format!(" ({left} tries left)"),
        None => String::new(),
    })
}

fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes || secret::ask_line(&format!("{question} Type “yes”: "), "--yes")? == "yes" {
        return Ok(());
    }
    Err(Failure::Cancelled("not confirmed; nothing was done".to_owned()))
}

/// Rows of a list among an operation's details.
fn rows(ended: &Ended, list: &str, columns: &[&str]) -> Vec<Vec<String>> {
    let listed = ended.details.get(list).map(|value| variant(value));
    let items = listed.as_ref().and_then(Value::as_array).into_iter().flatten();
    items
        .map(|item| {
            let text = |column: &&str| match item.get(*column) {
                Some(Value::String(text)) => clean(text),
                Some(other) => other.to_string(),
                None => String::new(),
            };
            columns.iter().map(text).collect()
        })
        .collect()
}

async fn list(session: &Session, device: &str, with: UnlockArgs) -> Result<u8, Failure> {
    let key = open(session, device).await?;
    let given = unlocking(session, &key, with).await?;
    let ended = follow::run(session, key.list_credentials(&given)).await?;
    let mut rows = rows(
        &ended,
        "credentials",
        &["rp-id", "user-name", "display-name", "token", "id"],
    );
    rows.sort();
    if !rows.is_empty() {
        let head = ["RELYING PARTY", "ACCOUNT", "NAME", "TOKEN", "PASSKEY"];
        session.output.text(&table(&head, &rows))?;
    }
    let room = ended.number("remaining").unwrap_or(0);
    let sentence = format!("{} passkeys, room for {room} more.", rows.len());
    ended.report(session, "inspect", &sentence)
}

async fn finger(session: &Session, what: &FingerVerb) -> Result<u8, Failure> {
    match what {
        FingerVerb::List(at) => {
            let key = open(session, &at.device).await?;
            let given = unlocking(session, &key, at.with).await?;
            let ended = follow::run(session, key.list_fingerprints(&given)).await?;
            let rows = rows(&ended, "fingerprints", &["id", "name"]);
            if !rows.is_empty() {
                session.output.text(&table(&["FINGER", "NAME"], &rows))?;
            }
            ended.report(session, "inspect", &format!("The key knows {} fingers.", rows.len()))
        }
        FingerVerb::Enrol { device, name, with } => {
            let key = open(session, device).await?;
            let mut given = unlocking(session, &key, *with).await?;
            if let Some(name) = name {
                given.insert(options::NAME, Variant::from(name.as_str()));
            }
            let ended = follow::run(session, key.enrol_fingerprint(&given)).await?;
            let sentence = format!("The key knows finger {}.", ended.text("fingerprint"));
            ended.report(session, "configure", &sentence)
        }
        FingerVerb::Rename {
            device,
            template,
            name,
            with,
        } => {
            let key = open(session, device).await?;
            let given = unlocking(session, &key, *with).await?;
            let ended = follow::run(session, key.rename_fingerprint(template, name, &given)).await?;
            ended.report(
                session,
                "configure",
                &format!("The finger is called “{}” now.", clean(name)),
            )
        }
        FingerVerb::Remove { device, template, with } => {
            let key = open(session, device).await?;
            let given = unlocking(session, &key, *with).await?;
            let ended = follow::run(session, key.remove_fingerprint(template, &given)).await?;
            ended.report(session, "erase", "The key has forgotten the finger.")
        }
    }
}

async fn blobs(session: &Session, what: &BlobsVerb) -> Result<u8, Failure> {
    let (ended, verb) = match what {
        BlobsVerb::Show { device } => {
            let key = open(session, device).await?;
            let ended = follow::run(session, key.measure_large_blobs(&no_options())).await?;
            (ended, "inspect")
        }
        BlobsVerb::Clear { device, yes, with } => {
            confirm(*yes, "Delete what programs stored on the key beside passkeys?")?;
            let key = open(session, device).await?;
            let given = unlocking(session, &key, *with).await?;
            let ended = follow::run(session, key.clear_large_blobs(&given)).await?;
            (ended, "erase")
        }
    };
    let entries = match ended.number("blobs-entries") {
        Some(entries) => format!("{entries} entries"),
        None => "a damaged array".to_owned(),
    };
    let size = ended.number("blobs-size").unwrap_or(0);
    let room = ended.number("blobs-room").map(|room| format!(" of {room}"));
    let sentence = format!("{entries}, {size}{} bytes.", room.unwrap_or_default());
    ended.report(session, verb, &sentence)
}

/// The daemon says what would be lost, the person types the word, then it is done.
async fn reset(session: &Session, device: &str, place: Option<&str>, yes: bool) -> Result<u8, Failure> {
    let key = open(session, device).await?;
    if !yes {
        let lost = match follow::run(session, key.reset(&session.options())).await {
            Err(Failure::Refused { name, message, .. }) if name.ends_with(".InvalidArgument") => message,
            Err(other) => return Err(other),
            Ok(_) => return Err(Failure::local("the daemon reset the key unasked".to_owned())),
        };
        let answer = secret::ask_line(&format!("{}\nType “{RESET_WORD}”: ", clean(&lost)), "--yes")?;
        if answer != RESET_WORD {
            return Err(Failure::Cancelled("not confirmed; nothing was done".to_owned()));
        }
    }
    let mut given = session.options();
    flag(&mut given, options::RESET, true);
    if let Some(place) = place {
        given.insert(options::PLACE, Variant::from(place));
    }
    let ended = follow::run(session, key.reset(&given)).await?;
    let proof = match ended.text("proof").as_str() {
        "assertion" => "it signed before and after the replug",
        _ => "known again by its looks and its place, since it signs nothing without its PIN",
    };
    ended.report(
        session,
        "erase",
        &format!("The key is empty; it was the same one ({proof})."),
    )
}
