//! Bytes in, bytes out. A link knows nothing of what the bytes mean.
//!
//! [`HidLink`] and [`CardLink`] are the byte seam: everything above is the same for a real key, an emulated one and a
//! simulated one. A [`Face`] is one way into a physical device; [`Opener`] turns a face into an open link for the length of
//! one operation.

pub mod card;
mod card_service;
mod descriptor;
pub mod hid;
mod holder;
pub mod trace;
pub mod virtual_;
pub mod watch;

use std::time::Duration;

use crate::types::Reality;

/// One CTAPHID report (CTAP 2.1 section 11.2.4: 64 bytes at full speed), without the report id.
pub const REPORT_LEN: usize = 64;

/// Who else has the device open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id, when the kernel tells.
    pub pid: u32,
    /// Program name (`/proc/PID/comm`).
    pub program: String,
    /// Whether it is known to be the one; else it only may be.
    pub sure: bool,
}

/// Why a link failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The device or card is no longer there.
    #[error("the device is gone")]
    Gone,
    /// Nothing came back in the time given.
    #[error("the device did not answer in time")]
    Timeout,
    /// Another program has it.
    #[error("another program has the device{}", .holder.as_ref().map(|h| format!(": {} (pid {})", h.program, h.pid)).unwrap_or_default())]
    Busy {
        /// Who, if it can be told.
        holder: Option<Holder>,
    },
    /// The daemon may not open the node.
    #[error("permission denied on {node}")]
    Permission {
        /// The node or reader.
        node: String,
    },
    /// pcscd is not running.
    #[error("the smart card service (pcscd) is not running")]
    NoService,
    /// Something else opened under the name we were given.
    #[error("the device node was reused by another device")]
    NotTheSame,
    /// The operating system said something else.
    #[error("input/output error: {0}")]
    Io(String),
}

/// What kind of bytes a face speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaceKind {
    /// CTAPHID reports.
    Hid,
    /// ISO 7816 APDUs.
    Card,
}

/// One way into a device, as found by coldplug or hotplug. Carries all that opening needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Face {
    /// Unique for the lifetime of the daemon: `hid:/sys/…#7`, `card:READER#8`, `virtual:3:hid`.
    pub key: String,
    /// Reports or APDUs.
    pub kind: FaceKind,
    /// Faces with the same value belong to one physical device: the USB bus and device number, the card in its reader, or
    /// the virtual connection.
    pub body: String,
    /// Where a person finds it: “USB port 1-4”, “reader ACME 00”, “sim-1”.
    pub place: String,
    /// Product name as the device tells it.
    pub name: String,
    /// USB ids, when there is a USB device behind it.
    pub usb: Option<UsbIds>,
    /// USB serial string. Names a person's key: only guarded methods may pass it on.
    pub serial: Option<String>,
    /// True when the card was presented to a contactless reader.
    pub contactless: bool,
    /// Matter or not.
    pub reality: Reality,
    /// What the opener of this kind of face needs to find it again.
    pub handle: FaceHandle,
}

/// USB vendor and product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsbIds {
    /// idVendor.
    pub vendor: u16,
    /// idProduct.
    pub product: u16,
}

/// The part of a [`Face`] that only its own link understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaceHandle {
    /// A hidraw node and the device number it had when it was found.
    Hidraw {
        /// `/dev/hidrawN`.
        node: std::path::PathBuf,
        /// Device number (`st_rdev`).
        rdev: u64,
    },
    /// A PC/SC reader with a card in it.
    Reader {
        /// Name as pcscd gives it.
        reader: String,
    },
    /// A connection of a simulated token.
    Virtual {
        /// Number of the connection.
        connection: u64,
    },
}

/// An open CTAPHID pipe. Closed (and the lock released) on drop.
pub trait HidLink: Send {
    /// Writes one report.
    ///
    /// # Errors
    /// [`LinkError::Gone`] when the device was unplugged; others as they come.
    fn write_report(&mut self, report: &[u8; REPORT_LEN]) -> Result<(), LinkError>;

    /// Waits at most `timeout` for one report; `Ok(None)` when none came. Callers wait in short slices, so that they can
    /// look at their cancel flag.
    ///
    /// # Errors
    /// As [`HidLink::write_report`].
    fn read_report(&mut self, timeout: Duration) -> Result<Option<[u8; REPORT_LEN]>, LinkError>;
}

/// An open, powered card. Disconnected without reset on drop.
pub trait CardLink: Send {
    /// Sends one command APDU and returns the response APDU, status word included.
    ///
    /// # Errors
    /// [`LinkError::Gone`] when the card was taken away; [`LinkError::NoService`] when pcscd died.
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError>;

    /// The card's answer to reset, at most 33 bytes; empty when it is not known.
    fn atr(&self) -> &[u8] {
        &[]
    }
}

/// Opens faces.
pub trait Opener: Send + Sync {
    /// Opens a CTAPHID face: lock, check that it is still the same node, open.
    ///
    /// # Errors
    /// [`LinkError::Busy`] when the lock is held beyond `patience`; [`LinkError::NotTheSame`], [`LinkError::Permission`],
    /// [`LinkError::Gone`].
    fn open_hid(&self, face: &Face, patience: Duration) -> Result<Box<dyn HidLink>, LinkError>;

    /// Connects to a card face.
    ///
    /// # Errors
    /// [`LinkError::NoService`], [`LinkError::Busy`] (a program holds the reader exclusively), [`LinkError::Gone`].
    fn open_card(&self, face: &Face, patience: Duration) -> Result<Box<dyn CardLink>, LinkError>;

    /// The same; whoever waits for another program to let go is asked again and again whether to `keep` waiting.
    ///
    /// # Errors
    /// As [`Opener::open_card`].
    fn open_card_while(
        &self,
        face: &Face,
        patience: Duration,
        keep: &mut dyn FnMut() -> bool,
    ) -> Result<Box<dyn CardLink>, LinkError> {
        let _ = keep;
        self.open_card(face, patience)
    }
}

/// What the watchers tell.
#[derive(Debug, Clone)]
pub enum LinkEvent {
    /// A face is there (coldplug and hotplug alike).
    Arrived(Face),
    /// The face with this key is gone.
    Left(String),
    /// Everything that was there at start has been reported.
    Settled,
    /// pcscd came or went.
    CardService {
        /// Whether calls to it work.
        running: bool,
    },
}
