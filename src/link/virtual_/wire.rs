//! Frames and the greeting of the virtual link.
//!
//! A frame is `u32` big-endian length, then that many bytes: one byte of kind, then the payload.
//!
//! | kind | from | name | payload |
//! |---|---|---|---|
//! | 0x01 | simulator | HELLO | JSON [`Hello`]; must come first, within 2 s, at most 4 KiB |
//! | 0x02 | daemon | WELCOME | JSON `{"device":"7"}` |
//! | 0x03 | daemon | REFUSED | a sentence; the daemon closes |
//! | 0x10 | daemon | HID_OPEN | |
//! | 0x11 | daemon | HID_OUT | 64 bytes: a report to the token |
//! | 0x12 | simulator | HID_IN | 64 bytes: a report from the token |
//! | 0x13 | daemon | HID_CLOSE | |
//! | 0x20 | daemon | CARD_CONNECT | power up |
//! | 0x21 | daemon | CARD_COMMAND | command APDU |
//! | 0x22 | simulator | CARD_RESPONSE | response APDU with its status word |
//! | 0x23 | daemon | CARD_DISCONNECT | leave the card powered |
//! | 0x24 | simulator | CARD_ATR | answer to CARD_CONNECT |

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::link::watch::clean;
use crate::link::{Face, FaceHandle, FaceKind, UsbIds};
use crate::types::{DeviceId, Reality};

/// Longest frame, kind and payload: an extended APDU (ISO 7816-4 section 5.1: 65,535 bytes and its header) with room.
pub const MAX_FRAME: usize = 70_000;
/// Longest greeting.
pub const MAX_HELLO: usize = 4 * 1024;
/// How long a new connection has for its greeting.
const HELLO_TIME: Duration = Duration::from_secs(2);

const HELLO: u8 = 0x01;
pub(super) const WELCOME: u8 = 0x02;
pub(super) const REFUSED: u8 = 0x03;
pub(super) const HID_OPEN: u8 = 0x10;
pub(super) const HID_OUT: u8 = 0x11;
pub(super) const HID_IN: u8 = 0x12;
pub(super) const HID_CLOSE: u8 = 0x13;
pub(super) const CARD_CONNECT: u8 = 0x20;
pub(super) const CARD_COMMAND: u8 = 0x21;
pub(super) const CARD_RESPONSE: u8 = 0x22;
pub(super) const CARD_DISCONNECT: u8 = 0x23;
pub(super) const CARD_ATR: u8 = 0x24;

/// How a simulated device presents itself.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Hello {
    protocol: u32,
    name: String,
    #[serde(default)]
    manufacturer: String,
    vendor_id: u16,
    product_id: u16,
    #[serde(default)]
    serial: Option<String>,
    place: String,
    faces: Vec<FaceName>,
    #[serde(default)]
    contactless: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FaceName {
    Hid,
    Card,
}

#[derive(Serialize)]
struct Welcome {
    device: String,
}

/// The payload of WELCOME.
pub(super) fn welcome(device: DeviceId) -> Vec<u8> {
    serde_json::to_vec(&Welcome {
        device: device.to_string(),
    })
    .unwrap_or_default()
}

/// Waits for the greeting; the error is a sentence for the simulator.
pub(super) fn greet(stream: &UnixStream) -> Result<Hello, String> {
    let until = Instant::now() + HELLO_TIME;
    let frame = read_frame(stream, MAX_HELLO, Some(until)).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no greeting came in time".to_owned(),
        io::ErrorKind::InvalidData => format!("the greeting is empty or longer than {MAX_HELLO} bytes"),
        _ => format!("the greeting broke off: {error}"),
    })?;
    stream.set_read_timeout(None).map_err(|error| error.to_string())?;
    let Some((&HELLO, json)) = frame.split_first() else {
        return Err("the first frame is not a greeting".to_owned());
    };
    let hello: Hello =
        serde_json::from_slice(json).map_err(|error| format!("the greeting is not understood: {error}"))?;
    if hello.protocol != 1 {
        return Err(format!(
            "protocol {} is not known; this daemon speaks 1",
            hello.protocol
        ));
    }
    if hello.faces.is_empty() {
        return Err("a device needs at least one face".to_owned());
    }
    Ok(hello)
}

/// The faces of connection `number`.
pub(super) fn faces(number: u64, hello: &Hello) -> Vec<Face> {
    let name = clean(&hello.name, 64);
    let maker = clean(&hello.manufacturer, 64);
    let place = clean(&hello.place, 32);
    let full = if maker.is_empty() || name.starts_with(&maker) {
        name
    } else {
        format!("{maker} {name}")
    };
    [
        (FaceName::Hid, FaceKind::Hid, "hid"),
        (FaceName::Card, FaceKind::Card, "card"),
    ]
    .into_iter()
    .filter(|(face, _, _)| hello.faces.contains(face))
    .map(|(_, kind, word)| Face {
        key: format!("virtual:{number}:{word}"),
        kind,
        body: format!("virtual:{number}"),
        place: if place.is_empty() {
            format!("virtual {number}")
        } else {
            place.clone()
        },
        name: if full.is_empty() {
            "simulated token".into()
        } else {
            full.clone()
        },
        usb: Some(UsbIds {
            vendor: hello.vendor_id,
            product: hello.product_id,
        }),
        serial: hello
            .serial
            .as_deref()
            .map(|serial| clean(serial, 64))
            .filter(|serial| !serial.is_empty()),
        contactless: hello.contactless,
        reality: Reality::Virtual,
        handle: FaceHandle::Virtual { connection: number },
    })
    .collect()
}

/// Reads one frame of at most `most` bytes; `InvalidData` when it is empty or longer.
pub(super) fn read_frame(stream: &UnixStream, most: usize, until: Option<Instant>) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    read_all(stream, &mut length, until)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 || length > most {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length];
    read_all(stream, &mut frame, until)?;
    Ok(frame)
}

/// As `read_exact`, but `until` bounds the whole and not each piece.
fn read_all(mut stream: &UnixStream, mut buffer: &mut [u8], until: Option<Instant>) -> io::Result<()> {
    while !buffer.is_empty() {
        if let Some(until) = until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
        }
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => buffer = buffer.get_mut(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes one frame.
pub(super) fn write_frame(stream: &mut UnixStream, kind: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len() + 1).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut frame = zeroize::Zeroizing::new(Vec::with_capacity(payload.len() + 5));
    frame.extend_from_slice(&length.to_be_bytes());
    frame.push(kind);
    frame.extend_from_slice(payload);
    stream.write_all(&frame)
}
