//! What one plugged-in device can do.
//!
//! One thread, its *lane*, owns one physical device with all its faces. [`handle::DeviceHandle::run`] sends it a job and waits for
//! the answer; the job gets a [`session::Session`], which opens links when first needed and keeps them for the length of the job.

use std::time::Duration;

use crate::link::{Holder, LinkError};

/// Why a device could not do what was asked. Closed: every status of the standards lands in one of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// It was unplugged or taken from the reader.
    #[error("the device was removed")]
    Gone,
    /// It did not answer before the deadline.
    #[error("the device did not answer in time")]
    Deadline,
    /// The operation was cancelled before its point of no return.
    #[error("cancelled")]
    Cancelled,
    /// The lane is stuck in a call that cannot be interrupted.
    #[error("the device is unresponsive: unplug it and plug it in again")]
    Unresponsive,
    /// Another program has it.
    #[error("another program is using the device")]
    Busy(Option<Holder>),
    /// The daemon may not open it.
    #[error("the daemon may not open {0}")]
    Permission(String),
    /// pcscd is not running.
    #[error("the smart card service (pcscd) is not running")]
    NoCardService,
    /// The bytes are not what the standard allows. The text says what was wrong and never holds the bytes.
    #[error("the device broke its protocol: {0}")]
    Protocol(&'static str),
    /// It has no such application or feature.
    #[error("the device does not support {0}")]
    Unsupported(&'static str),
    /// Wrong PIN (CTAP2_ERR_PIN_INVALID, 0x31).
    #[error("wrong PIN")]
    PinInvalid {
        /// Tries left before the PIN is blocked for good, when the device told.
        tries_left: Option<u8>,
    },
    /// Three wrong PINs in a row (0x34): replug, then go on.
    #[error("PIN entry is blocked until the key is unplugged and plugged in again")]
    SoftBlocked {
        /// Tries left before the PIN is blocked for good.
        tries_left: Option<u8>,
    },
    /// The PIN is blocked for good (0x32): only a reset helps.
    #[error("the PIN is blocked for good")]
    PinBlocked,
    /// Built-in user verification is blocked (0x3C): use the PIN.
    #[error("fingerprint verification is blocked")]
    UvBlocked,
    /// The finger was not recognised (0x3F).
    #[error("the finger was not recognised")]
    UvInvalid {
        /// Tries left before only the PIN helps, when the device told.
        tries_left: Option<u8>,
    },
    /// No PIN is set (0x35).
    #[error("no PIN is set")]
    PinNotSet,
    /// A PIN is needed (0x36).
    #[error("a PIN is required")]
    PinRequired,
    /// The new PIN breaks the key's rules (0x37).
    #[error("the PIN does not meet the rules of the key: at least {min_length} characters")]
    PinPolicy {
        /// Least length in Unicode code points.
        min_length: u8,
    },
    /// Nobody touched it in time (0x2F, 0x3A).
    #[error("nobody touched the key in time")]
    TouchTimeout,
    /// The person declined (0x27).
    #[error("declined on the key")]
    Declined,
    /// Not allowed now (0x30); for a reset: too long after power-up.
    #[error("the key does not allow this now")]
    NotAllowed,
    /// A credential of the exclude list is on it (0x19).
    #[error("the key is already registered")]
    CredentialExcluded,
    /// No matching credential (0x2E, 0x22; card 6984).
    #[error("the device holds no such credential")]
    NoCredential,
    /// No room for another credential (0x28; card 6A84).
    #[error("the device is full")]
    StorageFull,
    /// The card's applet has a password, and none was given.
    #[error("the card is protected by a password")]
    CardLocked,
    /// The password given is not the applet's.
    #[error("wrong password")]
    PasswordInvalid,
    /// The fob does not take the key that its maker published.
    #[error(
        "the fob does not take its maker's published key: it has a key of its own, or has locked itself; nothing was written, and it was not tried twice"
    )]
    KeyRefused,
    /// This host failed, not the device: the kernel, a driver, pcscd. What it said.
    #[error("this host, not the device, is at fault: {0}")]
    Host(String),
    /// Any other status.
    #[error("the device refused with status 0x{0:04X}")]
    Status(u16),
}

impl From<LinkError> for DeviceError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Gone | LinkError::NotTheSame => Self::Gone,
            LinkError::Timeout => Self::Deadline,
            LinkError::Busy { holder } => Self::Busy(holder),
            LinkError::Permission { node } => Self::Permission(node),
            LinkError::NoService => Self::NoCardService,
            LinkError::Io(why) => Self::Host(why),
        }
    }
}

impl DeviceError {
    /// The kernel gives no random numbers, so nothing that must be unpredictable can be made.
    fn no_randomness() -> Self {
        Self::Host("it has no random numbers to give".to_owned())
    }
}

/// Deadlines of one device, from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// One exchange without a person (getInfo, an APDU).
    pub exchange: Duration,
    /// One exchange that waits for a touch.
    pub touch: Duration,
    /// How long to wait for another program to let go.
    pub lock: Duration,
    /// After an operation's deadline, how long until its lane is declared unresponsive.
    pub grace: Duration,
}

pub mod card_pump;
pub mod clock_fob;
pub mod ctap_card;
pub mod ctap_hid;
#[cfg(test)]
mod fake;
pub mod fido;
pub mod handle;
pub mod identify;
pub mod identity;
mod lane;
mod management;
pub mod oath;
pub mod registry;
pub mod session;
mod wards;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_host_is_not_blamed_on_the_key() {
        let error = DeviceError::from(LinkError::Io("/dev/hidraw3: Too many open files".to_owned()));
        let text = error.to_string();
        assert!(
            text.contains("this host, not the device") && text.contains("Too many open files"),
            "{text}"
        );
        assert!(matches!(error, DeviceError::Host(_)));
    }
}
