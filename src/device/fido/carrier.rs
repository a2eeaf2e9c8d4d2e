//! The carriers of CTAP: HID reports, and APDUs over NFC or a contact. Everything above sees one [`CtapTransport`].

use std::time::Instant;

use super::HostEntropy;
use super::ctap1::Ctap1;
use crate::codec::ctaphid::KeepAlive;
use crate::device::DeviceError;
use crate::device::ctap_card::CardChannel;
use crate::device::ctap_hid::HidChannel;
use crate::device::session::Session;
use crate::link::{Face, FaceKind};
use crate::types::Cancel;

/// What carries CTAP to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// CTAPHID (CTAP 2.1 section 11.2).
    Hid,
    /// APDUs over a contactless reader (section 11.3).
    Nfc,
    /// The same APDUs over a contact: a card, or the CCID interface of a USB key.
    Ccid,
}

impl Carrier {
    /// The way to a device with these faces, where it has FIDO at all: its HID face when there is one, else its card face.
    ///
    /// HID first because there a session survives whatever other programs do to the reader, a reset is allowed, and every key
    /// that has both has FIDO on HID, but not always on CCID.
    #[must_use]
    pub fn of(faces: &[Face]) -> Option<Self> {
        if faces.iter().any(|face| face.kind == FaceKind::Hid) {
            return Some(Self::Hid);
        }
        let card = faces.iter().find(|face| face.kind == FaceKind::Card)?;
        Some(if card.contactless { Self::Nfc } else { Self::Ccid })
    }

    /// The kind of face it needs.
    #[must_use]
    pub const fn face(self) -> FaceKind {
        match self {
            Self::Hid => FaceKind::Hid,
            Self::Nfc | Self::Ccid => FaceKind::Card,
        }
    }

    /// Its name on the bus: `hid`, `nfc`, `ccid`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hid => "hid",
            Self::Nfc => "nfc",
            Self::Ccid => "ccid",
        }
    }

    /// Its name in getInfo's `transportsForReset`.
    #[must_use]
    pub const fn transport(self) -> &'static str {
        match self {
            Self::Hid => "usb",
            Self::Nfc => "nfc",
            Self::Ccid => "smart-card",
        }
    }

    /// Whether laying the key on the reader is the one touch that there is (CTAP 2.1 section 11.3.1).
    #[must_use]
    pub const fn is_tap(self) -> bool {
        matches!(self, Self::Nfc)
    }
}

/// A way to exchange CTAP2 messages with an authenticator.
pub trait CtapTransport: Send {
    /// Sends a request (command byte and CBOR) and returns the response (status byte and CBOR).
    ///
    /// Returns by `deadline` whatever the key does, as far as the link below can be interrupted. `on_keepalive` is told of each
    /// keep-alive.
    ///
    /// # Errors
    /// [`DeviceError::Cancelled`], [`DeviceError::Deadline`], [`DeviceError::TouchTimeout`] (the deadline passed while the
    /// key was waiting for a touch), [`DeviceError::Gone`], [`DeviceError::Busy`], [`DeviceError::Protocol`]. A response that
    /// came in spite of a late cancel is returned: what the key did must not be forgotten.
    fn exchange(
        &mut self,
        request: &[u8],
        deadline: Instant,
        cancel: &Cancel,
        on_keepalive: &mut dyn FnMut(KeepAlive),
    ) -> Result<Vec<u8>, DeviceError>;

    /// Has the key show which one it is (CTAPHID_WINK): a light blinks, mostly. False when it cannot.
    ///
    /// # Errors
    /// As [`CtapTransport::exchange`].
    fn wink(&mut self, _deadline: Instant, _cancel: &Cancel) -> Result<bool, DeviceError> {
        Ok(false)
    }

    /// Whether the key has answered the last request, with whatever status, or never got one. After an error this tells a
    /// refusal, which leaves nothing behind, from an answer that was lost on its way.
    fn is_settled(&self) -> bool {
        false
    }

    /// What carries the messages.
    fn carrier(&self) -> Carrier {
        Carrier::Hid
    }
}

/// Opens the way to the key that a job is for, by [`Carrier::of`], and keeps it until it is dropped: over a reader one connection
/// serves one flow, since each power-up forgets how many wrong PINs came in a row.
///
/// # Errors
/// [`DeviceError::Unsupported`] when the device has no FIDO at all; as [`Session::open_hid`] and [`Session::open_card`].
pub fn open(session: &Session) -> Result<Box<dyn CtapTransport>, DeviceError> {
    let cancel = session.cancel();
    let deadlines = session.deadlines();
    let carrier = Carrier::of(session.faces()).ok_or(DeviceError::Unsupported("FIDO2"))?;
    match carrier {
        Carrier::Hid => {
            let link = session.open_hid()?;
            let first = first(session);
            let channel = HidChannel::open(link, Box::new(HostEntropy), deadlines.lock, first, cancel)?;
            if channel.init_reply().has_cbor() {
                return Ok(Box::new(channel));
            }
            Ok(Box::new(Ctap1::open(channel, first, cancel)?))
        }
        Carrier::Nfc | Carrier::Ccid => {
            let link = session.open_card()?;
            let mut channel = CardChannel::open(link, carrier, first(session), cancel)?;
            if channel.speaks_ctap2(first(session), cancel)? {
                return Ok(Box::new(channel));
            }
            Ok(Box::new(Ctap1::open(channel, first(session), cancel)?))
        }
    }
}

/// When the first exchange must be over.
fn first(session: &Session) -> Instant {
    let end = session.deadline();
    Instant::now()
        .checked_add(session.deadlines().exchange)
        .map_or(end, |until| until.min(end))
}
