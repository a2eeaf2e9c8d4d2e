//! `claviger oath`

use serde_json::json;
use zbus::{Fd, Variant};

use crate::client::arguments::{OathVerb, PasswordArgs, exit};
use crate::client::failure::Failure;
use crate::client::lookup::{self, DeviceRecord};
use crate::client::render::{cell, clean, record, table};
use crate::client::session::Session;
use crate::client::{follow, secret};
use crate::contract::options;
use crate::contract::proxy::Options;

/// The word to type before an applet is wiped.
const RESET_WORD: &str = "reset";

/// Looks after the OATH applet of a device.
pub async fn run(session: &Session, verb: &OathVerb) -> Result<u8, Failure> {
    match verb {
        OathVerb::List { device, password } => list(session, device, *password).await,
        OathVerb::Password {
            device,
            remove,
            new_fd,
            password,
        } => {
            let options = with_password(session, *password)?;
            let device = find(session, device).await?;
            let proxy = session.device(device.path).await?;
            if *remove {
                let ended = follow::run(session, proxy.remove_oath_password(&options)).await?;
                return ended.report(session, "configure", "The applet has no password any more.");
            }
            let new = secret::new_password(*new_fd)?;
            let new = Fd::from(secret::sealed(&new)?);
            let ended = follow::run(session, proxy.set_oath_password(new, &options)).await?;
            ended.report(session, "configure", "The applet has its new password.")
        }
        OathVerb::Rename {
            device,
            from,
            to,
            password,
        } => {
            let options = with_password(session, *password)?;
            let device = find(session, device).await?;
            let proxy = session.device(device.path).await?;
            let ended = follow::run(session, proxy.rename_oath_credential(from, to, &options)).await?;
            let sentence = format!("Renamed “{}” to “{}”.", clean(from), clean(to));
            ended.report(session, "configure", &sentence)
        }
        OathVerb::Delete {
            device,
            name,
            place,
            password,
        } => {
            let mut options = with_password(session, *password)?;
            at_place(&mut options, place.as_deref());
            let device = find(session, device).await?;
            let proxy = session.device(device.path).await?;
            let ended = follow::run(session, proxy.delete_oath_credential(name, &options)).await?;
            ended.report(session, "erase", &format!("Deleted “{}”.", clean(name)))
        }
        OathVerb::Reset { device, place, yes } => reset(session, device, place.as_deref(), *yes).await,
    }
}

async fn find(session: &Session, device: &str) -> Result<DeviceRecord, Failure> {
    lookup::device(session, Some(device), "card").await
}

fn with_password(session: &Session, from: PasswordArgs) -> Result<Options<'static>, Failure> {
    let mut options = session.options();
    if let Some(password) = secret::password(from)? {
        options.insert(options::PASSWORD, Variant::Fd(Fd::from(secret::sealed(&password)?)));
    }
    Ok(options)
}

fn at_place<'p>(options: &mut Options<'p>, place: Option<&'p str>) {
    if let Some(place) = place {
        options.insert(options::PLACE, Variant::from(place));
    }
}

async fn list(session: &Session, device: &str, password: PasswordArgs) -> Result<u8, Failure> {
    let options = with_password(session, password)?;
    let device = find(session, device).await?;
    let listed = session
        .device(device.path)
        .await?
        .list_oath_credentials(&options)
        .await?;
    session
        .output
        .object(&json!({ "credentials": listed.iter().map(record).collect::<Vec<_>>() }))?;
    if listed.is_empty() {
        session.output.say("The applet is empty.")?;
        return Ok(exit::DONE);
    }
    let rows: Vec<Vec<String>> = listed
        .iter()
        .map(|one| {
            ["name", "algorithm", "period-s", "token"]
                .map(|key| cell(one, key))
                .to_vec()
        })
        .collect();
    session
        .output
        .text(&table(&["NAME", "HASH", "SECONDS", "TOKEN"], &rows))?;
    Ok(exit::DONE)
}

/// The daemon says what would be lost, the person types the word, then it is done.
async fn reset(session: &Session, device: &str, place: Option<&str>, yes: bool) -> Result<u8, Failure> {
    let device = find(session, device).await?;
    let proxy = session.device(device.path).await?;
    let mut unsaid = session.options();
    at_place(&mut unsaid, place);
    if !yes {
        let lost = match follow::run(session, proxy.reset_oath(&unsaid)).await {
            Err(Failure::Refused { name, message, .. }) if name.ends_with(".InvalidArgument") => message,
            Err(other) => return Err(other),
            Ok(_) => return Err(Failure::local("the daemon reset the applet unasked".to_owned())),
        };
        let answer = secret::ask_line(&format!("{}\nType “{RESET_WORD}”: ", clean(&lost)), "--yes")?;
        if answer != RESET_WORD {
            return Err(Failure::Cancelled("not confirmed; nothing was done".to_owned()));
        }
    }
    let mut options = unsaid;
    options.insert(options::RESET, Variant::Bool(true));
    let ended = follow::run(session, proxy.reset_oath(&options)).await?;
    ended.report(session, "erase", "The applet is empty and has no password.")
}
