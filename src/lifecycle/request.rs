//! What a client may ask for, once admitted and parsed.

use crate::lifecycle::Allowances;
use crate::lifecycle::operation::Verb;
use crate::types::{DeviceId, FactorKind, OathAlgorithm, ObligationId, RevokeReason, Secret, TokenId};

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
    /// Resync a token, or preview it.
    Resync {
        /// The token.
        token: TokenId,
        /// Consecutive codes, in order.
        codes: Vec<String>,
        /// Whether only to preview, and what is allowed beyond the ordinary.
        allowances: Allowances,
    },
    /// Take back what the last resync taught.
    UndoResync(TokenId),
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
        /// The device was collected and destroyed: a person's word.
        collected: bool,
        /// Reset the key, by name, where that is what is owed.
        reset: bool,
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
    /// Manufacturer: serials are unique to theirs only.
    pub maker: Option<String>,
    /// What moves the codes on; time when absent.
    pub factor: Option<FactorKind>,
    /// Counter of the next code of an event fob; 0 when absent.
    pub counter: Option<u64>,
}

impl Request {
    /// The verb it stands for.
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Self::RegisterFido2 { .. } | Self::RegisterOathCard { .. } | Self::RegisterFob { .. } => Verb::Register,
            Self::Test { .. } => Verb::Test,
            Self::Resync { .. } | Self::UndoResync(_) => Verb::Resync,
            Self::Suspend(_) => Verb::Suspend,
            Self::Lost(_) => Verb::Lost,
            Self::Resume(_) => Verb::Resume,
            Self::Revoke { .. } => Verb::Revoke,
            Self::Discharge { .. } => Verb::Discharge,
        }
    }
}
