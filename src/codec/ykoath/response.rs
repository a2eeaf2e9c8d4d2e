//! What the applet answers. The data may come from anything that calls itself a card: every length is checked, every listing
//! bounded.

use data_encoding::BASE64;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::field::{Fields, tag};
use super::{
    AccessKey, CHALLENGE_LEN, CredentialName, CredentialType, MAX_CREDENTIALS, MAX_NAME, YkoathError, read_type_byte,
};
use crate::codec::oath::{Code, MAX_DIGITS, MIN_DIGITS, OathError};
use crate::types::OathAlgorithm;

/// What SELECT tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applet {
    /// Firmware of the applet: major, minor, patch.
    pub version: [u8; 3],
    /// Eight random bytes that change with every reset: salt of the password and source of the device id.
    pub salt: Vec<u8>,
    /// Present when a password is set: what [`super::validate`] must answer.
    pub challenge: Option<Vec<u8>>,
    /// Of a Nitrokey 3 with a PIN: tries left.
    pub pin_tries: Option<u8>,
    /// Whether SELECT told a serial number, as only a Nitrokey 3 does.
    pub tells_serial: bool,
}

impl Applet {
    /// Reads the response to SELECT. Unknown fields are skipped.
    ///
    /// # Errors
    /// [`YkoathError`] when version or salt are missing or have impossible lengths.
    pub fn parse(data: &[u8]) -> Result<Self, YkoathError> {
        let (mut version, mut salt, mut challenge) = (None, None, None);
        let (mut pin_tries, mut tells_serial) = (None, false);
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
                tag::PIN_TRIES => pin_tries = value.first().copied(),
                tag::SERIAL => tells_serial = true,
                _ => {}
            }
        }
        Ok(Self {
            pin_tries,
            tells_serial,
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
