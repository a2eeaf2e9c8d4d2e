//! The verbs: register, test, resync, suspend, lost, resume, revoke, discharge. One file each.
//!
//! A verb gets a [`Grant`](crate::grant::Grant), talks to one device through its lane and to the ledger through the trait,
//! and tells what it does through its [`Step`](operation::Step). It knows neither bus nor polkit nor a concrete store.

pub mod operation;

use crate::device::DeviceError;
use crate::grant::GrantMismatch;
use crate::ledger::LedgerError;
use crate::types::{DeviceId, OathAlgorithm, ObligationId, RevokeReason, Secret, TokenId, TokenKind};

/// Why a verb did not do it. Nothing is half done when one of these comes back, except where the text says that an
/// obligation stands.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The device said no, or went away.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The ledger said no.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The grant was for something else: a fault of ours, never of the caller.
    #[error(transparent)]
    Grant(#[from] GrantMismatch),
    /// No device with this path.
    #[error("there is no such device; it may have been unplugged")]
    UnknownDevice,
    /// No token with this id.
    #[error("there is no token with this id")]
    UnknownToken,
    /// No such obligation, or it was discharged.
    #[error("there is no such open obligation")]
    UnknownObligation,
    /// The verb does not go with this kind of token.
    #[error("a {kind} token cannot be {verb}")]
    WrongKind {
        /// Kind of the token.
        kind: TokenKind,
        /// Past participle of the verb.
        verb: &'static str,
    },
    /// A value is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// The token's device is not plugged in.
    #[error("the token's device is not plugged in")]
    DeviceAbsent,
    /// More than one device could be meant.
    #[error("more than one plugged-in device could be meant: name one")]
    Ambiguous,
    /// The device is not the body of this token.
    #[error("this device is not the body of that token")]
    NotTheSameDevice,
    /// The code is wrong, used already, or out of the window; which of these is not told.
    #[error("the code was not accepted")]
    CodeRejected,
    /// The clock is further off than one code can settle: resync with two.
    #[error("one code is not enough for a token unseen for so long: resync it with two codes")]
    NeedsResync,
    /// No clock drifts that far.
    #[error("the codes fit an offset of {offset_s} s, which is more than a clock drifts; see “beyond-bound”")]
    OffsetImplausible {
        /// The offset they fit.
        offset_s: i64,
    },
    /// The host clock is not synchronised.
    #[error("the clock of this host is not synchronised, so drift cannot be measured against it")]
    ClockUnsynchronised,
    /// An assertion did not verify. The text says which check.
    #[error("the key's answer did not verify: {0}")]
    Unverified(&'static str),
    /// The signature counter went back: a copy of the key may exist.
    #[error("the key's signature counter went back: a copy of it may exist")]
    CounterWentBack,
    /// Too many wrong codes in a row.
    #[error("too many wrong codes: the token is locked until it is resynced or resumed")]
    Locked,
    /// Cancelled before the point of no return.
    #[error("cancelled")]
    Cancelled,
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// What a client may ask for, once admitted and parsed. Secrets are owned and wiped.
pub enum Request {
    /// Register a FIDO2 key.
    RegisterFido2 {
        /// The device.
        device: DeviceId,
        /// Who it is for.
        subject: String,
        /// The PIN to set or verify.
        pin: Secret,
        /// More.
        options: Fido2Options,
    },
    /// Register an OATH card.
    RegisterOathCard {
        /// The device.
        device: DeviceId,
        /// Who it is for.
        subject: String,
        /// More.
        options: OathOptions,
    },
    /// Register a display fob.
    RegisterFob {
        /// Who it is for.
        subject: String,
        /// Serial on its back.
        serial: String,
        /// Its seed, decoded.
        seed: Secret,
        /// Codes read off the display, in order.
        codes: Vec<String>,
        /// More.
        options: FobOptions,
    },
    /// Test a token.
    Test {
        /// The token.
        token: TokenId,
        /// Code read off a fob.
        code: Option<String>,
        /// Where and with what.
        at: Presence,
    },
    /// Resync a fob.
    Resync {
        /// The token.
        token: TokenId,
        /// Consecutive codes, in order.
        codes: Vec<String>,
        /// Accept an offset no clock drifts to.
        beyond_bound: bool,
        /// Measure although the host clock is not synchronised.
        unsynchronised: bool,
    },
    /// Suspend a token.
    Suspend(TokenId),
    /// Report it lost.
    Lost(TokenId),
    /// Put it back in use.
    Resume(TokenId),
    /// Revoke a token.
    Revoke {
        /// The token.
        token: TokenId,
        /// Why.
        reason: RevokeReason,
        /// Where and with what.
        at: Presence,
        /// `authenticatorReset`, asked for by name.
        reset: bool,
        /// Do not look for the device.
        absent: bool,
    },
    /// Settle an obligation.
    Discharge {
        /// Which.
        obligation: ObligationId,
        /// Where and with what.
        at: Presence,
        /// A fob was collected and destroyed.
        collected: bool,
    },
}

/// The device to talk to and what opens it.
#[derive(Default)]
pub struct Presence {
    /// The device, when named.
    pub device: Option<DeviceId>,
    /// PIN of a FIDO2 key.
    pub pin: Option<Secret>,
    /// Password of an OATH card.
    pub password: Option<Secret>,
}

/// Options of [`Request::RegisterFido2`].
#[derive(Default)]
pub struct Fido2Options {
    /// Free text.
    pub label: Option<String>,
    /// Serial, when the key does not tell it.
    pub serial: Option<String>,
    /// Relying party id; the configured one when absent.
    pub rp_id: Option<String>,
    /// Name shown on the key for the account; the subject when absent.
    pub user_name: Option<String>,
    /// Discoverable credential or not; the key decides when absent.
    pub discoverable: Option<bool>,
}

/// Options of [`Request::RegisterOathCard`].
#[derive(Default)]
pub struct OathOptions {
    /// Free text.
    pub label: Option<String>,
    /// Serial printed on the card.
    pub serial: Option<String>,
    /// Hash; SHA1 when absent.
    pub algorithm: Option<OathAlgorithm>,
    /// Digits; 6 when absent.
    pub digits: Option<u8>,
    /// Time step in seconds; 30 when absent.
    pub period_s: Option<u32>,
    /// Whether the card shall want a touch for each code.
    pub touch: bool,
    /// Password of the applet.
    pub password: Option<Secret>,
}

/// Options of [`Request::RegisterFob`].
#[derive(Default)]
pub struct FobOptions {
    /// Free text.
    pub label: Option<String>,
    /// Model name.
    pub model: Option<String>,
    /// Hash; SHA1 when absent.
    pub algorithm: Option<OathAlgorithm>,
    /// Digits; 6 when absent.
    pub digits: Option<u8>,
    /// Time step in seconds; 30 when absent.
    pub period_s: Option<u32>,
}
