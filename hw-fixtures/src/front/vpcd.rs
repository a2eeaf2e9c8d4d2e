//! The front for `pcscd` with vsmartcard's vpcd driver: a card is a TCP client of a reader's port.
//!
//! Messages go both ways as a 16-bit big-endian length and a payload. One byte from the driver is control (00 power
//! off, 01 power on, 02 reset, none answered; 04 asks for the answer to reset); anything longer is a command APDU.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Plugged, Port, Pump, spawn};
use crate::SimError;
use crate::fido::ctaphid::Report;
use crate::token::{Event, Faces, Token};

/// How soon a card looks again for a reader whose driver went away.
const RETRY: Duration = Duration::from_millis(100);

/// Where a reader is and how fast the card is.
#[derive(Clone, Debug)]
pub struct VpcdSetup {
    /// Host and port of the reader's driver, `127.0.0.1:35963`.
    pub address: String,
    /// Milliseconds every response takes longer, as a real card does.
    pub apdu_delay_ms: u64,
}

/// Puts `token` into the reader at `setup.address`. A card stays in its reader when the driver goes away, and is found
/// again when it comes back.
///
/// # Errors
/// When no driver listens there now, or the token has no card face.
pub fn plug_vpcd(setup: &VpcdSetup, token: &Token) -> Result<Plugged, SimError> {
    if !token.profile().has_card() {
        return Err(SimError::Invalid(format!(
            "{} has no card face to put into a reader",
            token.name()
        )));
    }
    let first = connect(&setup.address)?;
    let (events, receiver) = Pump::channel();
    token.attach(events.clone());
    let gone = Arc::new(AtomicBool::new(false));
    let current = Arc::new(Mutex::new(None));
    let pump = Pump {
        token: token.clone(),
        faces: Faces { hid: false, card: true },
        events: receiver,
        gone: gone.clone(),
    };
    let line = Line {
        setup: setup.clone(),
        current: current.clone(),
        events: events.clone(),
    };
    let threads = vec![spawn("vpcd-pump", move || serve(&pump, &line, first))?];
    let hang_up = move || {
        if let Some(stream) = &*current.lock().unwrap_or_else(PoisonError::into_inner) {
            hang_up(stream);
        }
    };
    Ok(Plugged {
        token: token.clone(),
        id: setup.address.clone(),
        events,
        gone,
        hang_up: Box::new(hang_up),
        threads,
    })
}

/// What a card needs to find its reader again.
struct Line {
    setup: VpcdSetup,
    current: Arc<Mutex<Option<TcpStream>>>,
    events: Sender<Event>,
}

fn connect(address: &str) -> Result<TcpStream, SimError> {
    let stream = TcpStream::connect(address).map_err(SimError::io(format!("putting a card into {address}")))?;
    stream
        .set_nodelay(true)
        .map_err(SimError::io(format!("setting up {address}")))?;
    acknowledge_quickly(&stream);
    Ok(stream)
}

/// Without this the driver's two small writes a message meet a delayed acknowledgement: 49 ms an APDU instead of 0.2.
/// The kernel forgets the setting, so it is made anew after every read.
fn acknowledge_quickly(stream: &TcpStream) {
    // Refusal costs time, nothing else.
    let _ = socket2::SockRef::from(stream).set_tcp_quickack(true);
}

fn hang_up(stream: &TcpStream) {
    // A stream that is down already may say so.
    let _ = stream.shutdown(Shutdown::Both);
}

fn serve(pump: &Pump, line: &Line, first: TcpStream) {
    let mut next = Some(first);
    loop {
        let stream = match next.take() {
            Some(stream) => stream,
            None => match connect(&line.setup.address) {
                Ok(stream) => stream,
                Err(_) => {
                    // No driver yet. Only an unplug ends the wait for it.
                    match pump.events.recv_timeout(RETRY) {
                        Ok(Event::Unplug) => return pump.gone.store(true, Ordering::SeqCst),
                        _ if pump.gone.load(Ordering::SeqCst) => return,
                        _ => continue,
                    }
                }
            },
        };
        if !serve_one(pump, line, stream) {
            return;
        }
        // The reader lost power, and with it the card.
        pump.token.power_cycle();
    }
}

/// Serves one connection; answers whether the card is still in its reader.
fn serve_one(pump: &Pump, line: &Line, stream: TcpStream) -> bool {
    let (Ok(mut reading), Ok(remembered)) = (stream.try_clone(), stream.try_clone()) else {
        return true;
    };
    *line.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(remembered);
    let events = line.events.clone();
    let Ok(reader) = spawn("vpcd-read", move || read_messages(&mut reading, &events)) else {
        return true;
    };
    let mut port = Reader {
        stream,
        delay: Duration::from_millis(line.setup.apdu_delay_ms),
    };
    let stays = pump.run(&mut port);
    hang_up(&port.stream);
    // The reader thread ends with its stream.
    let _ = reader.join();
    stays
}

fn read_messages(stream: &mut TcpStream, events: &Sender<Event>) {
    loop {
        let event = match read_message(stream).as_deref() {
            // The driver asks for the answer to reset again and again, to see whether the card is there.
            Ok([0x04]) => Event::CardThere,
            Ok([0x00..=0x02]) => Event::CardRelease,
            Ok([_]) => continue,
            Ok(command) => Event::Command(command.to_vec()),
            Err(_) => Event::HostGone,
        };
        let last = matches!(event, Event::HostGone);
        if events.send(event).is_err() || last {
            return;
        }
    }
}

fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    acknowledge_quickly(stream);
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    acknowledge_quickly(stream);
    Ok(message)
}

struct Reader {
    stream: TcpStream,
    delay: Duration,
}

impl Reader {
    fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        // A message of this protocol has no room for more; a fault may ask for it all the same.
        let payload = payload.get(..usize::from(u16::MAX)).unwrap_or(payload);
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
        self.stream.write_all(&[&length, payload].concat())
    }
}

impl Port for Reader {
    fn report(&mut self, _report: &Report) -> io::Result<()> {
        Ok(())
    }

    fn atr(&mut self, atr: &[u8]) -> io::Result<()> {
        self.send(atr)
    }

    fn response(&mut self, response: &[u8]) -> io::Result<()> {
        std::thread::sleep(self.delay);
        self.send(response)
    }
}
