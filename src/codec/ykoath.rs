//! The YKOATH applet: OATH credentials on a card, as Yubico defined it and CanoKey, Nitrokey and SoloKeys took it over.
//!
//! Functions that make a [`Command`], functions that read the data of its response. The card keeps the seeds; the host
//! brings the time. Lengths are one byte in the protocol; longer BER forms are read too, some cards use them.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::codec::iso7816::{Command, StatusWord};
use crate::codec::oath::{Code, MAX_DIGITS, MIN_DIGITS, OathError, OathParameters};
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
/// Shortest key the applet takes; shorter ones are padded with zeros, which changes nothing in an HMAC (RFC 2104).
const MIN_KEY: usize = 14;
/// The period that is not written into a name.
const USUAL_PERIOD_S: u32 = 30;

mod ins {
    pub const PUT: u8 = 0x01;
    pub const DELETE: u8 = 0x02;
    pub const SET_CODE: u8 = 0x03;
    pub const RESET: u8 = 0x04;
    pub const RENAME: u8 = 0x05;
    pub const LIST: u8 = 0xA1;
    pub const CALCULATE: u8 = 0xA2;
    pub const VALIDATE: u8 = 0xA3;
    pub const CALCULATE_ALL: u8 = 0xA4;
}

mod tag {
    pub const NAME: u8 = 0x71;
    pub const LISTED: u8 = 0x72;
    pub const KEY: u8 = 0x73;
    pub const CHALLENGE: u8 = 0x74;
    pub const FULL: u8 = 0x75;
    pub const TRUNCATED: u8 = 0x76;
    pub const NO_RESPONSE: u8 = 0x77;
    pub const PROPERTY: u8 = 0x78;
    pub const VERSION: u8 = 0x79;
    pub const IMF: u8 = 0x7A;
    pub const ALGORITHM: u8 = 0x7B;
    pub const TOUCH: u8 = 0x7C;
}

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

// ---- Commands -------------------------------------------------------------------------------------------------------

/// SELECT of the applet.
#[must_use]
pub fn select() -> Command {
    Command::new(0x00, 0xA4, 0x04, 0x00, AID.to_vec())
}

/// PUT: stores a credential, replacing one of the same name (a `CanoKey` refuses with `6985`).
///
/// # Errors
/// [`YkoathError::Seed`] unless the seed has 1 to 128 bytes.
pub fn put(
    name: &CredentialName,
    kind: CredentialType,
    parameters: &OathParameters,
    seed: &Secret,
    properties: Properties,
) -> Result<Command, YkoathError> {
    if seed.is_empty() || seed.len() > crate::codec::oath::MAX_SEED_LEN {
        return Err(YkoathError::Seed);
    }
    let key = card_key(seed, parameters.algorithm());
    // Large enough for everything, so that the seed is not left behind in a smaller buffer.
    let mut data = Zeroizing::new(Vec::with_capacity(256));
    push_tlv(&mut data, tag::NAME, &[name.as_bytes()]);
    push_tlv(
        &mut data,
        tag::KEY,
        &[&[type_byte(kind, parameters.algorithm()), parameters.digits()], &key],
    );
    let bits = u8::from(properties.only_increasing) | u8::from(properties.touch) << 1;
    if bits != 0 {
        // The one field without a length byte.
        data.extend_from_slice(&[tag::PROPERTY, bits]);
    }
    if let Some(counter) = properties.initial_counter.filter(|counter| *counter != 0) {
        push_tlv(&mut data, tag::IMF, &[&counter.to_be_bytes()]);
    }
    let data = std::mem::take(&mut *data);
    Ok(Command {
        expects_data: false,
        ..Command::new(0x00, ins::PUT, 0, 0, data)
    })
}

/// DELETE.
#[must_use]
pub fn delete(name: &CredentialName) -> Command {
    Command {
        expects_data: false,
        ..Command::new(0x00, ins::DELETE, 0, 0, tlv(tag::NAME, name.as_bytes()))
    }
}

/// RENAME (firmware 5.3.1).
#[must_use]
pub fn rename(from: &CredentialName, to: &CredentialName) -> Command {
    let mut data = tlv(tag::NAME, from.as_bytes());
    push_tlv(&mut data, tag::NAME, &[to.as_bytes()]);
    Command {
        expects_data: false,
        ..Command::new(0x00, ins::RENAME, 0, 0, data)
    }
}

/// LIST.
#[must_use]
pub fn list() -> Command {
    Command::new(0x00, ins::LIST, 0, 0, Vec::new())
}

/// CALCULATE for a time step; `truncated` asks for four bytes instead of the whole HMAC.
#[must_use]
pub fn calculate(name: &CredentialName, step: u64, truncated: bool) -> Command {
    calculate_with(name, &step.to_be_bytes(), truncated)
}

/// CALCULATE of an HOTP credential, whose counter the card advances.
#[must_use]
pub fn calculate_next(name: &CredentialName) -> Command {
    calculate_with(name, &[], true)
}

fn calculate_with(name: &CredentialName, challenge: &[u8], truncated: bool) -> Command {
    let mut data = tlv(tag::NAME, name.as_bytes());
    push_tlv(&mut data, tag::CHALLENGE, &[challenge]);
    Command::new(0x00, ins::CALCULATE, 0, u8::from(truncated), data)
}

/// CALCULATE ALL, truncated, for a time step. HOTP and touch credentials come without a code.
#[must_use]
pub fn calculate_all(step: u64) -> Command {
    Command::new(0x00, ins::CALCULATE_ALL, 0, 1, tlv(tag::CHALLENGE, &step.to_be_bytes()))
}

/// VALIDATE: proves that we know the access key, and asks the card to prove the same with `ours`.
#[must_use]
pub fn validate(key: &AccessKey, card: &[u8], ours: &[u8; CHALLENGE_LEN]) -> Command {
    let mut data = Vec::with_capacity(32 + CHALLENGE_LEN);
    push_tlv(&mut data, tag::FULL, &[&key.prove(card)]);
    push_tlv(&mut data, tag::CHALLENGE, &[ours]);
    Command::new(0x00, ins::VALIDATE, 0, 0, data)
}

/// SET CODE: sets the access key. The card checks the proof over `challenge` before it takes the key.
#[must_use]
pub fn set_code(key: &AccessKey, challenge: &[u8; CHALLENGE_LEN]) -> Command {
    let mut data = Vec::with_capacity(64);
    let kind = type_byte(CredentialType::Totp, OathAlgorithm::Sha1);
    push_tlv(&mut data, tag::KEY, &[&[kind], &*key.0]);
    push_tlv(&mut data, tag::CHALLENGE, &[challenge]);
    push_tlv(&mut data, tag::FULL, &[&key.prove(challenge)]);
    Command {
        expects_data: false,
        ..Command::new(0x00, ins::SET_CODE, 0, 0, data)
    }
}

/// SET CODE with an empty key: removes the password.
#[must_use]
pub fn clear_code() -> Command {
    Command {
        expects_data: false,
        ..Command::new(0x00, ins::SET_CODE, 0, 0, tlv(tag::KEY, &[]))
    }
}

/// RESET: wipes all credentials and the password. Needs no password.
#[must_use]
pub fn reset() -> Command {
    Command {
        expects_data: false,
        ..Command::new(0x00, ins::RESET, 0xDE, 0xAD, Vec::new())
    }
}

// ---- Responses ------------------------------------------------------------------------------------------------------

/// What SELECT tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applet {
    /// Firmware of the applet: major, minor, patch.
    pub version: [u8; 3],
    /// Eight random bytes that change with every reset: salt of the password and source of the device id.
    pub salt: Vec<u8>,
    /// Present when a password is set: what [`validate`] must answer.
    pub challenge: Option<Vec<u8>>,
}

impl Applet {
    /// Reads the response to SELECT. Unknown fields are skipped.
    ///
    /// # Errors
    /// [`YkoathError`] when version or salt are missing or have impossible lengths.
    pub fn parse(data: &[u8]) -> Result<Self, YkoathError> {
        let (mut version, mut salt, mut challenge) = (None, None, None);
        for field in Fields(data) {
            let (tag, value) = field?;
            match tag {
                tag::VERSION => version = Some(value.try_into().map_err(|_| YkoathError::Invalid("version"))?),
                tag::NAME if (1..=MAX_NAME).contains(&value.len()) => salt = Some(value.to_vec()),
                tag::NAME => return Err(YkoathError::Invalid("salt")),
                tag::CHALLENGE if (1..=MAX_NAME).contains(&value.len()) => challenge = Some(value.to_vec()),
                tag::CHALLENGE => return Err(YkoathError::Invalid("challenge")),
                // Every card there is proves the password by HMAC-SHA-1.
                tag::ALGORITHM if value.first().is_none_or(|byte| byte & 0x0F != 1) => {
                    return Err(YkoathError::Invalid("algorithm"));
                }
                _ => {}
            }
        }
        Ok(Self {
            version: version.ok_or(YkoathError::Missing("a version"))?,
            salt: salt.ok_or(YkoathError::Missing("a salt"))?,
            challenge,
        })
    }

    /// Whether a password must be given before anything but RESET.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        self.challenge.is_some()
    }

    /// The applet's name for other programs: base64 of the first 16 bytes of SHA-256 of the salt, without padding.
    #[must_use]
    pub fn device_id(&self) -> String {
        let digest = Sha256::digest(&self.salt);
        let id: Vec<u8> = digest.iter().copied().take(16).collect();
        BASE64.encode(&id).trim_end_matches('=').to_owned()
    }
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name on the card.
    pub name: CredentialName,
    /// Event or time based.
    pub kind: CredentialType,
    /// Hash.
    pub algorithm: OathAlgorithm,
}

/// Reads the response to LIST. Credentials of types that are not OATH (Nitrokey has some) are left out.
///
/// # Errors
/// [`YkoathError`] for broken fields and for more than [`MAX_CREDENTIALS`].
pub fn parse_list(data: &[u8]) -> Result<Vec<Listed>, YkoathError> {
    let mut listed = Vec::new();
    for field in Fields(data) {
        let (tag::LISTED, value) = field? else { continue };
        let (first, name) = value.split_first().ok_or(YkoathError::Invalid("listing"))?;
        let Some((kind, algorithm)) = read_type_byte(*first) else {
            continue;
        };
        if listed.len() == MAX_CREDENTIALS {
            return Err(YkoathError::TooMany);
        }
        let name = CredentialName::new(name).map_err(|_| YkoathError::Invalid("name"))?;
        listed.push(Listed { name, kind, algorithm });
    }
    Ok(listed)
}

/// What the card computed.
#[derive(Clone, PartialEq, Eq)]
pub enum Calculated {
    /// A code.
    Code(Code),
    /// The whole HMAC, 20 to 64 bytes, and the digits to show.
    Full {
        /// Digits the credential was stored with.
        digits: u8,
        /// The HMAC.
        hmac: Zeroizing<Vec<u8>>,
    },
    /// CALCULATE ALL does not advance counters.
    Hotp,
    /// CALCULATE ALL does not wait for a touch.
    TouchRequired,
}

/// Reads the response to CALCULATE.
///
/// # Errors
/// [`YkoathError`] for broken fields, or digits outside 6 to 8.
pub fn parse_calculated(data: &[u8]) -> Result<Calculated, YkoathError> {
    for field in Fields(data) {
        let (tag, value) = field?;
        if let Some(calculated) = read_calculated(tag, value)? {
            return Ok(calculated);
        }
    }
    Err(YkoathError::Missing("a code"))
}

/// Reads the response to CALCULATE ALL: name and result in turn.
///
/// # Errors
/// [`YkoathError`] for broken fields, a result without a name, or more than [`MAX_CREDENTIALS`].
pub fn parse_calculated_all(data: &[u8]) -> Result<Vec<(CredentialName, Calculated)>, YkoathError> {
    let mut all = Vec::new();
    let mut name = None;
    for field in Fields(data) {
        let (tag, value) = field?;
        if tag == tag::NAME {
            name = Some(CredentialName::new(value).map_err(|_| YkoathError::Invalid("name"))?);
        } else if let Some(calculated) = read_calculated(tag, value)? {
            if all.len() == MAX_CREDENTIALS {
                return Err(YkoathError::TooMany);
            }
            all.push((name.take().ok_or(YkoathError::Missing("a name"))?, calculated));
        }
    }
    Ok(all)
}

fn read_calculated(tag: u8, value: &[u8]) -> Result<Option<Calculated>, YkoathError> {
    let digits = value.first().copied();
    let checked = || match digits {
        Some(digits) if (MIN_DIGITS..=MAX_DIGITS).contains(&digits) => Ok(digits),
        _ => Err(YkoathError::Invalid("number of digits")),
    };
    Ok(match (tag, value) {
        (tag::TRUNCATED, &[_, a, b, c, d]) => {
            let code = Code::from_truncated(u32::from_be_bytes([a, b, c, d]), checked()?);
            Some(Calculated::Code(
                code.map_err(|_: OathError| YkoathError::Invalid("number of digits"))?,
            ))
        }
        (tag::TRUNCATED, _) => return Err(YkoathError::Invalid("code")),
        (tag::FULL, [_, hmac @ ..]) if matches!(hmac.len(), 20 | 32 | 64) => Some(Calculated::Full {
            digits: checked()?,
            hmac: Zeroizing::new(hmac.to_vec()),
        }),
        (tag::FULL, _) => return Err(YkoathError::Invalid("HMAC")),
        (tag::NO_RESPONSE, _) => Some(Calculated::Hotp),
        (tag::TOUCH, _) => Some(Calculated::TouchRequired),
        _ => None,
    })
}

/// Whether the response to VALIDATE proves that the card knows the access key too. Compared in constant time.
#[must_use]
pub fn card_is_genuine(key: &AccessKey, ours: &[u8; CHALLENGE_LEN], data: &[u8]) -> bool {
    let proof = Fields(data).find_map(|field| field.ok().filter(|(tag, _)| *tag == tag::FULL));
    proof.is_some_and(|(_, value)| bool::from(value.ct_eq(&key.prove(ours))))
}

// ---- Password -------------------------------------------------------------------------------------------------------

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

    fn prove(&self, challenge: &[u8]) -> [u8; 20] {
        // HMAC takes keys of any length; were it ever to refuse one, the proof would simply be wrong.
        Hmac::<Sha1>::new_from_slice(&*self.0).map_or([0; 20], |mac| {
            mac.chain_update(challenge).finalize().into_bytes().into()
        })
    }
}

// ---- Fields ---------------------------------------------------------------------------------------------------------

/// Tag, length, value; ends after the first error.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u8, &'a [u8]), YkoathError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, rest) = self.0.split_first()?;
        let field = read_value(rest);
        self.0 = field.map_or(&[], |(_, rest)| rest);
        Some(field.map(|(value, _)| (*tag, value)).ok_or(YkoathError::Truncated))
    }
}

/// Length (one byte below 0x80, else `81 LL` or `82 LL LL`) and value; what is left after them.
fn read_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes {
        [length @ 0..=0x7F, rest @ ..] | [0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Appends a field. Every caller's value is shorter than 256 bytes: names have at most 64, keys 130.
fn push_tlv(data: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    data.push(tag);
    if length > 0x7F {
        data.push(0x81);
    }
    data.push(u8::try_from(length).unwrap_or(u8::MAX));
    parts.iter().for_each(|part| data.extend_from_slice(part));
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(value.len() + 3);
    push_tlv(&mut data, tag, &[value]);
    data
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

/// The key as the card takes it: hashed when longer than the hash's block, as HMAC does anyway (RFC 2104 section 2), and at
/// least 14 bytes.
fn card_key(seed: &Secret, algorithm: OathAlgorithm) -> Zeroizing<Vec<u8>> {
    let seed = seed.expose();
    let mut key = Zeroizing::new(Vec::with_capacity(seed.len().max(64)));
    match algorithm {
        OathAlgorithm::Sha1 if seed.len() > 64 => key.extend_from_slice(&Sha1::digest(seed)),
        OathAlgorithm::Sha256 if seed.len() > 64 => key.extend_from_slice(&Sha256::digest(seed)),
        OathAlgorithm::Sha512 if seed.len() > 128 => key.extend_from_slice(&Sha512::digest(seed)),
        _ => key.extend_from_slice(seed),
    }
    if key.len() < MIN_KEY {
        key.resize(MIN_KEY, 0);
    }
    key
}

#[cfg(test)]
#[path = "ykoath_tests.rs"]
mod tests;
