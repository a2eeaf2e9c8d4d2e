//! The front for the daemon's virtual link: one stream connection is one plugged-in device.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::wire::Frame;
use super::{Plugged, Port, Pump, spawn};
use crate::SimError;
use crate::fido::ctaphid::Report;
use crate::token::{Event, Faces, Token};

/// How long the daemon may take to greet.
const GREETING: Duration = Duration::from_secs(10);

/// Plugs `token` into the daemon that listens on `socket`.
///
/// # Errors
/// When nobody listens there, or the daemon refuses the token; the error then carries the daemon's sentence.
pub fn plug_virtual(socket: &Path, token: &Token) -> Result<Plugged, SimError> {
    let what = format!("plugging {} into {}", token.name(), socket.display());
    let mut stream = UnixStream::connect(socket).map_err(SimError::io(&what))?;
    let id = greet(&mut stream, token, &what)?;
    let (events, receiver) = Pump::channel();
    token.attach(events.clone());
    let profile = token.profile();
    let gone = Arc::new(AtomicBool::new(false));
    let pump = Pump {
        token: token.clone(),
        faces: Faces {
            hid: profile.has_hid(),
            card: profile.has_card(),
        },
        events: receiver,
        gone: gone.clone(),
    };
    let mut reading = stream.try_clone().map_err(SimError::io(&what))?;
    let mut writing = stream.try_clone().map_err(SimError::io(&what))?;
    let to_pump = events.clone();
    let threads = vec![
        spawn("virtual-read", move || read_frames(&mut reading, &to_pump))?,
        spawn("virtual-pump", move || {
            pump.run(&mut writing);
            // The daemon closed or the token was pulled out: either way this device is gone.
            pump.gone.store(true, std::sync::atomic::Ordering::SeqCst);
            let _ = writing.shutdown(Shutdown::Both);
        })?,
    ];
    let hang_up = move || {
        let _ = stream.shutdown(Shutdown::Both);
    };
    Ok(Plugged {
        token: token.clone(),
        id,
        events,
        gone,
        hang_up: Box::new(hang_up),
        threads,
    })
}

/// HELLO and its answer: the device's number at the daemon.
fn greet(stream: &mut UnixStream, token: &Token, what: &str) -> Result<String, SimError> {
    let hello = hello(token).to_string().into_bytes();
    stream.set_read_timeout(Some(GREETING)).map_err(SimError::io(what))?;
    Frame::Hello(hello).write(stream).map_err(SimError::io(what))?;
    let answer = Frame::read(stream).map_err(SimError::io(what))?;
    stream.set_read_timeout(None).map_err(SimError::io(what))?;
    match answer {
        Some(Frame::Welcome(json)) => {
            let parsed: serde_json::Value = serde_json::from_slice(&json)
                .map_err(|error| SimError::Peer(format!("{what}: WELCOME is not JSON: {error}")))?;
            Ok(parsed
                .get("device")
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .to_owned())
        }
        Some(Frame::Refused(sentence)) => Err(SimError::Peer(format!("{what}: refused: {sentence}"))),
        other => Err(SimError::Peer(format!(
            "{what}: neither WELCOME nor REFUSED but {other:?}"
        ))),
    }
}

fn hello(token: &Token) -> serde_json::Value {
    let profile = token.profile();
    let mut faces = Vec::new();
    if profile.has_hid() {
        faces.push("hid");
    }
    if profile.has_card() {
        faces.push("card");
    }
    serde_json::json!({
        "protocol": 1,
        "name": profile.product,
        "manufacturer": profile.manufacturer,
        "vendor_id": profile.vendor_id,
        "product_id": profile.product_id,
        "serial": token.serial(),
        "place": format!("sim-{}", token.name()),
        "faces": faces,
        "contactless": profile.contactless,
    })
}

fn read_frames(stream: &mut UnixStream, events: &Sender<Event>) {
    loop {
        let event = match Frame::read(stream) {
            Ok(Some(Frame::HidOut(report))) => Event::Report(report),
            Ok(Some(Frame::CardConnect)) => Event::CardPower,
            Ok(Some(Frame::CardDisconnect)) => Event::CardRelease,
            Ok(Some(Frame::CardCommand(command))) => Event::Command(command),
            Ok(Some(Frame::HidOpen | Frame::HidClose)) => continue,
            // Everything else ends the connection, as the daemon's side does.
            Ok(_) | Err(_) => Event::HostGone,
        };
        let last = matches!(event, Event::HostGone);
        if events.send(event).is_err() || last {
            return;
        }
    }
}

impl Port for UnixStream {
    fn report(&mut self, report: &Report) -> io::Result<()> {
        Frame::HidIn(*report).write(self)
    }

    fn atr(&mut self, atr: &[u8]) -> io::Result<()> {
        Frame::CardAtr(atr.to_vec()).write(self)
    }

    fn response(&mut self, response: &[u8]) -> io::Result<()> {
        Frame::CardResponse(response.to_vec()).write(self)
    }
}
