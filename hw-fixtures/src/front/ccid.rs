//! The front for QEMU's `ccid-card-passthru`: a card in the USB reader of a virtual machine, which its own kernel and libccid
//! drive.
//!
//! Messages go both ways over QEMU's character device: u32 type, u32 reader, u32 length, all big-endian, and a payload
//! (the protocol of libcacard's `vscclient`, version 0.0.2). QEMU tells nothing of power: a card that is put in has it.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;

use super::{Plugged, Port, Pump, spawn};
use crate::SimError;
use crate::fido::ctaphid::Report;
use crate::token::{Event, Faces, Token};

const ATR: u32 = 5;
const CARD_REMOVE: u32 = 6;
const APDU: u32 = 7;

/// The longest message QEMU sends; what says that it is longer is nonsense.
const LONGEST: usize = 65_544;

/// Puts `token` into the reader whose character device is this socket. One card at a time: QEMU takes the next connection when
/// this one is closed.
///
/// # Errors
/// When nobody listens there, or the token has no card face.
pub fn plug_ccid(socket: &Path, token: &Token) -> Result<Plugged, SimError> {
    if !token.profile().has_card() {
        return Err(SimError::Invalid(format!(
            "{} has no card face to put into a reader",
            token.name()
        )));
    }
    let failed = |what: &str| SimError::io(format!("{what} {}", socket.display()));
    let stream = UnixStream::connect(socket).map_err(failed("putting a card into"))?;
    let mut reading = stream.try_clone().map_err(failed("cloning"))?;
    let hanging = stream.try_clone().map_err(failed("cloning"))?;
    let (events, receiver) = Pump::channel();
    token.attach(events.clone());
    let gone = Arc::new(AtomicBool::new(false));
    let pump = Pump {
        token: token.clone(),
        faces: Faces { hid: false, card: true },
        events: receiver,
        gone: gone.clone(),
    };
    let mut reader = Reader { stream };
    reader
        .send(ATR, &token.profile().atr_bytes())
        .map_err(failed("putting a card into"))?;
    let telling = events.clone();
    let reads = spawn("ccid-read", move || read_all(&mut reading, &telling))?;
    let pumps = spawn("ccid-pump", move || {
        pump.run(&mut reader);
        pump.gone.store(true, std::sync::atomic::Ordering::SeqCst);
        // A machine that is gone has no reader either.
        let _ = reader.send(CARD_REMOVE, &[]);
        let _ = hanging.shutdown(Shutdown::Both);
    })?;
    Ok(Plugged {
        token: token.clone(),
        id: socket.display().to_string(),
        events,
        gone,
        hang_up: Box::new(|| {}),
        threads: vec![pumps, reads],
    })
}

fn read_all(stream: &mut UnixStream, events: &Sender<Event>) {
    loop {
        let event = match read_message(stream) {
            Ok((APDU, command)) => Event::Command(command),
            // Greetings and receipts.
            Ok(_) => continue,
            Err(_) => Event::HostGone,
        };
        let last = matches!(event, Event::HostGone);
        if events.send(event).is_err() || last {
            return;
        }
    }
}

fn read_message(stream: &mut UnixStream) -> io::Result<(u32, Vec<u8>)> {
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let [t0, t1, t2, t3, _, _, _, _, l0, l1, l2, l3] = head;
    let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok((u32::from_be_bytes([t0, t1, t2, t3]), payload))
}

struct Reader {
    stream: UnixStream,
}

impl Reader {
    fn send(&mut self, kind: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let head = [kind.to_be_bytes(), 0_u32.to_be_bytes(), length.to_be_bytes()].concat();
        self.stream.write_all(&[&head, payload].concat())
    }
}

impl Port for Reader {
    fn report(&mut self, _report: &Report) -> io::Result<()> {
        Ok(())
    }

    fn atr(&mut self, _atr: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn response(&mut self, response: &[u8]) -> io::Result<()> {
        self.send(APDU, response)
    }
}
