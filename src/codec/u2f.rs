//! CTAP1, which is FIDO U2F (“FIDO U2F Raw Message Formats” 1.2), for keys that have nothing newer.
//!
//! Three commands as APDUs of class 00, with lengths of the extended form over HID (CTAP 2.1 section 11.2.9.1.1) and of either form over
//! a card. What they answer is given in the words of CTAP2, as CTAP 2.1 section 7 maps the one to the other: the relying party is
//! known by the hash of its id, and what a key signs is the same authenticator data.

pub mod ctap2;

use crate::codec::cbor::{self, Map, Value};
use crate::codec::iso7816::{Command, Response, StatusWord};

/// Bytes of a challenge and of a relying party's hash.
pub const HASH_LEN: usize = 32;
/// An uncompressed point on P-256.
const POINT_LEN: usize = 65;

const REGISTER: u8 = 0x01;
const AUTHENTICATE: u8 = 0x02;
const VERSION: u8 = 0x03;
/// Section 4.3: the byte that an answer to REGISTER begins with.
const RESERVED: u8 = 0x05;

/// How AUTHENTICATE is meant (section 5.1, P1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Only say whether the key made this credential; nothing is signed.
    CheckOnly = 0x07,
    /// Wait for a touch and sign.
    Touch = 0x03,
}

/// Why an answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum U2fError {
    /// It is shorter than what it must hold.
    #[error("a U2F answer that ends early")]
    Truncated,
    /// Its first byte, its public key or its certificate is not what the standard has there.
    #[error("a U2F answer that is malformed")]
    Malformed,
}

impl U2fError {
    /// The sentence as a constant, for errors that carry no allocation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "a U2F answer that ends early",
            Self::Malformed => "a U2F answer that is malformed",
        }
    }
}

/// What a key said, short of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Done,
    /// It wants to be touched; to [`Control::CheckOnly`] this says that the credential is its own (section 5.1).
    TouchNeeded,
    /// It did not make this credential.
    Unknown,
    /// It knows no such command.
    Unsupported,
    /// Something else.
    Other(StatusWord),
}

/// Sorts the status word of an answer (section 3.3).
#[must_use]
pub fn verdict(status: StatusWord) -> Verdict {
    match status {
        StatusWord::SUCCESS => Verdict::Done,
        StatusWord::CONDITIONS => Verdict::TouchNeeded,
        StatusWord::WRONG_DATA => Verdict::Unknown,
        StatusWord::NO_INSTRUCTION | StatusWord::NO_CLASS => Verdict::Unsupported,
        other => Verdict::Other(other),
    }
}

/// REGISTER (section 4.1).
#[must_use]
pub fn register(challenge: &[u8; HASH_LEN], application: &[u8; HASH_LEN]) -> Command {
    let data = [challenge.as_slice(), application].concat();
    Command::new(0x00, REGISTER, 0x00, 0x00, data)
}

/// AUTHENTICATE (section 5.1); `None` for a credential id that is longer than its length byte can say.
#[must_use]
pub fn authenticate(
    control: Control,
    challenge: &[u8; HASH_LEN],
    application: &[u8; HASH_LEN],
    credential: &[u8],
) -> Option<Command> {
    let length = u8::try_from(credential.len()).ok()?;
    let data = [challenge.as_slice(), application, &[length], credential].concat();
    Some(Command::new(0x00, AUTHENTICATE, control as u8, 0x00, data))
}

/// VERSION (section 6.1).
#[must_use]
pub fn version() -> Command {
    Command::new(0x00, VERSION, 0x00, 0x00, Vec::new())
}

/// Whether that is the answer of a U2F key.
#[must_use]
pub fn is_u2f(response: &Response) -> bool {
    response.status.is_success() && response.data.as_slice() == b"U2F_V2"
}

/// What REGISTER answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The credential id, which is the key handle.
    pub credential_id: Vec<u8>,
    /// Its public key as COSE has it.
    pub public_key: Vec<u8>,
    /// The attestation certificate.
    pub certificate: Vec<u8>,
    /// The signature over it all.
    pub signature: Vec<u8>,
}

/// Reads the answer to REGISTER (section 4.3).
///
/// # Errors
/// [`U2fError`].
pub fn parse_registered(data: &[u8]) -> Result<Registered, U2fError> {
    let (first, rest) = data.split_first().ok_or(U2fError::Truncated)?;
    if *first != RESERVED {
        return Err(U2fError::Malformed);
    }
    let (point, rest) = rest.split_at_checked(POINT_LEN).ok_or(U2fError::Truncated)?;
    let (length, rest) = rest.split_first().ok_or(U2fError::Truncated)?;
    let (handle, rest) = rest.split_at_checked(usize::from(*length)).ok_or(U2fError::Truncated)?;
    let (certificate, signature) = rest.split_at_checked(der_length(rest)?).ok_or(U2fError::Truncated)?;
    if handle.is_empty() || signature.is_empty() {
        return Err(U2fError::Truncated);
    }
    Ok(Registered {
        credential_id: handle.to_vec(),
        public_key: cose(point)?,
        certificate: certificate.to_vec(),
        signature: signature.to_vec(),
    })
}

/// The point as an ES256 key in COSE's words (CTAP 2.1 section 7.2.1).
fn cose(point: &[u8]) -> Result<Vec<u8>, U2fError> {
    let (head, coordinates) = point.split_first().ok_or(U2fError::Truncated)?;
    if *head != 0x04 {
        return Err(U2fError::Malformed);
    }
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    let key = Map::from_iter([
        (1, Value::from(2)),
        (3, Value::from(-7)),
        (-1, Value::from(1)),
        (-2, Value::from(x)),
        (-3, Value::from(y)),
    ]);
    Ok(cbor::encode(&Value::from(key)))
}

/// How long the DER sequence at the beginning is, head included: that is the only way to know where a certificate ends.
fn der_length(data: &[u8]) -> Result<usize, U2fError> {
    let body = |length: usize, head: usize| length.checked_add(head).ok_or(U2fError::Malformed);
    match data {
        [0x30, length @ 0..=0x7F, ..] => body(usize::from(*length), 2),
        [0x30, 0x81, length, ..] => body(usize::from(*length), 3),
        [0x30, 0x82, high, low, ..] => body(usize::from(u16::from_be_bytes([*high, *low])), 4),
        _ if data.len() < 4 => Err(U2fError::Truncated),
        _ => Err(U2fError::Malformed),
    }
}

/// What AUTHENTICATE answered: authenticator data as CTAP2 has it (CTAP 2.1 section 7.3), and the signature over it and the challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// Hash of the relying party, flags, counter.
    pub auth_data: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// Reads the answer to AUTHENTICATE (section 5.4) for the relying party that was asked about.
///
/// # Errors
/// [`U2fError`].
pub fn parse_authenticated(application: &[u8; HASH_LEN], data: &[u8]) -> Result<Authenticated, U2fError> {
    let (told, signature) = data.split_at_checked(5).ok_or(U2fError::Truncated)?;
    if signature.is_empty() {
        return Err(U2fError::Truncated);
    }
    Ok(Authenticated {
        auth_data: [application.as_slice(), told].concat(),
        signature: signature.to_vec(),
    })
}

#[cfg(test)]
mod tests;
