//! `claviger fido pin`

use zbus::{Fd, Variant};

use super::{is_true, open, unlocking};
use crate::client::arguments::{PinVerb, exit};
use crate::client::failure::Failure;
use crate::client::qr::PrivateFile;
use crate::client::render::{cell, record, sheet, variant};
use crate::client::session::{Session, no_options};
use crate::client::{app, follow, secret};
use crate::contract::options;
use crate::contract::proxy::Record;
use crate::types::Secret;

/// Members of a PIN's status, the telling ones first.
const FIRST: &[&str] = &["state", "advice", "tries-left"];

pub(super) async fn run(session: &Session, verb: &PinVerb) -> Result<u8, Failure> {
    match verb {
        PinVerb::Status { device } => {
            let status = open(session, device).await?.pin_status(&no_options()).await?;
            session.output.object(&record(&status))?;
            session.output.text(&sheet(&status, FIRST))?;
            Ok(exit::DONE)
        }
        PinVerb::Set { device, new_fd } => {
            let key = open(session, device).await?;
            let new = new_pin(&key.pin_status(&no_options()).await?, *new_fd)?;
            let new = Fd::from(secret::sealed(&new)?);
            let ended = follow::run(session, key.set_pin(new, &session.options())).await?;
            let sentence = format!("The key has a PIN{}.", left(&ended));
            ended.report(session, "configure", &sentence)
        }
        PinVerb::Change { device, new_fd, with } => {
            let key = open(session, device).await?;
            let status = key.pin_status(&no_options()).await?;
            let mut given = unlocking(session, &key, *with).await?;
            let new = new_pin(&status, *new_fd)?;
            let new = Fd::from(secret::sealed(&new)?);
            given.remove(options::FINGER);
            let ended = follow::run(session, key.change_pin(new, &given)).await?;
            let sentence = format!("The key has its new PIN{}.", left(&ended));
            ended.report(session, "configure", &sentence)
        }
        PinVerb::Draw { .. } => draw(session, verb).await,
        PinVerb::Force(at) => {
            let key = open(session, &at.device).await?;
            let given = unlocking(session, &key, at.with).await?;
            let ended = follow::run(session, key.require_pin_change(&given)).await?;
            ended.report(session, "configure", "The PIN must be changed before it is used.")
        }
    }
}

fn left(ended: &follow::Ended) -> String {
    match ended.number("tries-left") {
        Some(left) => format!("; {left} tries are left"),
        None => String::new(),
    }
}

/// Draws a PIN and shows it once.
async fn draw(session: &Session, verb: &PinVerb) -> Result<u8, Failure> {
    let PinVerb::Draw {
        device,
        length,
        letters,
        keep,
        file,
        change,
        with,
    } = verb
    else {
        return Err(Failure::usage("nothing to draw"));
    };
    // Before anything is made: the PIN is handed out once.
    let file = file.as_deref().map(PrivateFile::begin).transpose()?;
    secret::need_terminal(file.is_none(), "a file (--file)")?;
    let key = open(session, device).await?;
    let mut given = match *change || secret::is_piped(with.pin_from) {
        true => unlocking(session, &key, *with).await?,
        false => session.options(),
    };
    given.remove(options::FINGER);
    if let Some(length) = length {
        given.insert(options::LENGTH, Variant::U32(*length));
    }
    given.insert(options::LETTERS, Variant::Bool(*letters));
    given.insert(options::FORCE_CHANGE, Variant::Bool(!keep));
    let (mut ours, theirs) = app::letter()?;
    let drawn = follow::run(session, key.draw_pin(Fd::from(theirs), &given)).await?;
    let pin = app::read(&mut ours)?;
    match file {
        Some(file) => file.write(pin.as_bytes())?,
        None => secret::tell(&zeroize::Zeroizing::new(format!("PIN of the key: {}\n", &*pin)))?,
    }
    let forced = match is_true(&drawn, "change-forced") {
        true => "It must be changed before it is used.",
        false => "The key cannot want it changed, or was not to: have it changed soon.",
    };
    let sentence = format!("The key has the PIN that was drawn; it is shown this once. {forced}");
    drawn.report(session, "configure", &sentence)
}

/// A PIN to be set, by the key's rules.
fn new_pin(status: &Record, from: Option<u32>) -> Result<Secret, Failure> {
    let min = status.get("min-length").and_then(|value| variant(value).as_u64());
    let min = min
        .and_then(|min| usize::try_from(min).ok())
        .unwrap_or(secret::PIN_CODE_POINTS);
    let from = crate::client::arguments::PinArgs {
        pin_stdin: false,
        pin_fd: from,
    };
    let state = cell(status, "state");
    if state == "unsupported" {
        return Err(Failure::local("the key has no PIN"));
    }
    secret::new_pin(from, &format!("New PIN, {min} characters at least: "), min)
}
