//! The YKOATH applet: OATH credentials on a card, as Yubico defined it and CanoKey, Nitrokey and SoloKeys took it over.
//!
//! Functions that make a command (`command.rs`), functions that read the data of its response (`response.rs`), and here what
//! both speak of. The card keeps the seeds; the host brings the time. Lengths are one byte in the protocol; longer BER forms are
//! read too, some cards use them.

mod command;
mod field;
mod response;

pub use command::{
    calculate, calculate_all, calculate_next, change_pin, clear_code, delete, list, put, rename, reset, select,
    set_code, set_pin, validate, verify_pin,
};
pub use response::{Applet, Calculated, Listed, card_is_genuine, parse_calculated, parse_calculated_all, parse_list};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use zeroize::Zeroizing;

use crate::codec::iso7816::StatusWord;
use crate::types::{OathAlgorithm, Secret};

/// Application identifier.
pub const AID: [u8; 7] = [0xA0, 0x00, 0x00, 0x05, 0x27, 0x21, 0x01];
/// Longest credential name in bytes.
pub const MAX_NAME: usize = 64;
/// Most credentials that are read from one listing; the largest card known holds 100.
pub const MAX_CREDENTIALS: usize = 1_024;
/// Bytes of a challenge of [`validate`] and [`set_code`].
pub const CHALLENGE_LEN: usize = 8;
/// Bytes of the access key.
pub const ACCESS_KEY_LEN: usize = 16;
/// Rounds that turn the password into the access key.
const PASSWORD_ROUNDS: u32 = 1_000;
/// The period that is not written into a name.
const USUAL_PERIOD_S: u32 = 30;

/// Why bytes are not YKOATH, or a request cannot be put into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum YkoathError {
    /// A tag, length or value ends early.
    #[error("an OATH response with a length that does not fit")]
    Truncated,
    /// A field that must be there is not.
    #[error("an OATH response without {0}")]
    Missing(&'static str),
    /// A field with a value nobody defined.
    #[error("an OATH response with an invalid {0}")]
    Invalid(&'static str),
    /// More than [`MAX_CREDENTIALS`].
    #[error("an OATH listing without end")]
    TooMany,
    /// Credential name empty or over 64 bytes.
    #[error("a credential name has 1 to 64 bytes")]
    Name,
    /// Seed empty or over 128 bytes.
    #[error("a seed has 1 to 128 bytes")]
    Seed,
}

impl YkoathError {
    /// The sentence as a constant, for errors that carry no allocation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "an OATH response with a length that does not fit",
            Self::Missing(_) => "an OATH response without a field it must have",
            Self::Invalid(_) => "an OATH response with an invalid field",
            Self::TooMany => "an OATH listing without end",
            Self::Name => "a credential name has 1 to 64 bytes",
            Self::Seed => "a seed has 1 to 128 bytes",
        }
    }
}

/// What a status word means to this applet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `6982`: VALIDATE first; of a credential with the touch property: nobody touched in time.
    AuthenticationRequired,
    /// `6984`: no such credential.
    NoSuchObject,
    /// `6A80`: malformed, or a wrong proof of the password.
    WrongData,
    /// `6A82`: no such application; of a Nitrokey 3: no such credential.
    NotFound,
    /// `6A84`: full.
    NoSpace,
    /// `6985`: not now; of a `CanoKey`: the name is taken.
    Conditions,
    /// `6D00`, `6E00`, `6A81`: the card does not know the command.
    NotSupported,
    /// `6581`: the card's memory failed.
    Memory,
    /// Anything else.
    Other(StatusWord),
}

impl Refusal {
    /// `None` for `9000`.
    #[must_use]
    pub const fn from_status(status: StatusWord) -> Option<Self> {
        Some(match status {
            StatusWord::SUCCESS => return None,
            StatusWord::SECURITY => Self::AuthenticationRequired,
            StatusWord::NO_OBJECT => Self::NoSuchObject,
            StatusWord::WRONG_DATA => Self::WrongData,
            StatusWord::NOT_FOUND => Self::NotFound,
            StatusWord::NO_SPACE => Self::NoSpace,
            StatusWord::CONDITIONS => Self::Conditions,
            StatusWord::NO_INSTRUCTION | StatusWord::NO_CLASS | StatusWord::NO_FUNCTION => Self::NotSupported,
            StatusWord::MEMORY_FAILURE => Self::Memory,
            other => Self::Other(other),
        })
    }
}

/// Event based or time based.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialType {
    /// The card counts.
    Hotp,
    /// The host brings the step.
    Totp,
}

/// Name of a credential on the card: 1 to 64 bytes, `[PERIOD/][ISSUER:]ACCOUNT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialName(Vec<u8>);

impl CredentialName {
    /// The name as it stands on the card.
    ///
    /// # Errors
    /// [`YkoathError::Name`] unless 1 to 64 bytes.
    pub fn new(name: impl Into<Vec<u8>>) -> Result<Self, YkoathError> {
        let name = name.into();
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(YkoathError::Name);
        }
        Ok(Self(name))
    }

    /// Period that the name tells to other programs: 30 s unless it begins with a number and a slash.
    #[must_use]
    pub fn period_s(&self) -> u32 {
        std::str::from_utf8(&self.0)
            .ok()
            .and_then(|name| name.split_once('/'))
            .and_then(|(period, _)| period.parse().ok())
            .filter(|period| *period > 0)
            .unwrap_or(USUAL_PERIOD_S)
    }

    /// The name of a TOTP credential: other programs learn a period other than 30 s from a prefix `60/`.
    ///
    /// # Errors
    /// [`YkoathError::Name`] when the whole has more than 64 bytes.
    pub fn totp(issuer: Option<&str>, account: &str, period_s: u32) -> Result<Self, YkoathError> {
        let mut name = String::new();
        if period_s != USUAL_PERIOD_S {
            name.push_str(&format!("{period_s}/"));
        }
        if let Some(issuer) = issuer {
            name.push_str(issuer);
            name.push(':');
        }
        name.push_str(account);
        Self::new(name)
    }

    /// The bytes; a card may hold any.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For a person: bytes that are not UTF-8 become replacement characters.
    #[must_use]
    pub fn display(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// Properties of a new credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties {
    /// A code only after a touch (firmware 4.2.4).
    pub touch: bool,
    /// Each challenge must be greater than the one before.
    pub only_increasing: bool,
    /// First value of an HOTP counter.
    pub initial_counter: Option<u32>,
}

/// The key that a password becomes. Wiped on drop, no `Debug`.
pub struct AccessKey(Zeroizing<[u8; ACCESS_KEY_LEN]>);

impl AccessKey {
    /// PBKDF2-HMAC-SHA-1, 1,000 rounds, salted with what SELECT told: the key is good for one card until its next reset.
    #[must_use]
    pub fn derive(password: &Secret, applet: &Applet) -> Self {
        let mut key = Zeroizing::new([0; ACCESS_KEY_LEN]);
        pbkdf2::pbkdf2_hmac::<Sha1>(password.expose(), &applet.salt, PASSWORD_ROUNDS, &mut *key);
        Self(key)
    }

    /// The key itself, for SET CODE.
    fn expose(&self) -> &[u8] {
        &*self.0
    }

    /// HMAC-SHA-1 over a challenge: what VALIDATE exchanges.
    fn prove(&self, challenge: &[u8]) -> [u8; 20] {
        // HMAC takes keys of any length; were it ever to refuse one, the proof would simply be wrong.
        Hmac::<Sha1>::new_from_slice(&*self.0).map_or([0; 20], |mac| {
            mac.chain_update(challenge).finalize().into_bytes().into()
        })
    }
}

fn type_byte(kind: CredentialType, algorithm: OathAlgorithm) -> u8 {
    let kind = match kind {
        CredentialType::Hotp => 0x10,
        CredentialType::Totp => 0x20,
    };
    kind | match algorithm {
        OathAlgorithm::Sha1 => 1,
        OathAlgorithm::Sha256 => 2,
        OathAlgorithm::Sha512 => 3,
    }
}

fn read_type_byte(byte: u8) -> Option<(CredentialType, OathAlgorithm)> {
    let kind = match byte & 0xF0 {
        0x10 => CredentialType::Hotp,
        0x20 => CredentialType::Totp,
        _ => return None,
    };
    let algorithm = match byte & 0x0F {
        1 => OathAlgorithm::Sha1,
        2 => OathAlgorithm::Sha256,
        3 => OathAlgorithm::Sha512,
        _ => return None,
    };
    Some((kind, algorithm))
}

#[cfg(test)]
#[path = "ykoath_tests.rs"]
mod tests;
