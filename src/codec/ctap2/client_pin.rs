//! authenticatorClientPIN (CTAP 2.1 section 6.5.5).

use zeroize::Zeroizing;

use super::pin_protocol::{IV_LEN, PinError, PinProtocol, PinUvAuthToken, SharedSecret};
use super::{Command, ResponseError, may, need, sha256, success_empty, success_map, to_bytes};
use crate::codec::cbor::{Map, Value};
use crate::types::Secret;

/// Bytes of a new PIN on the wire, before encryption: padded with zeros on the right.
const PADDED_PIN: usize = 64;

/// Longest PIN in bytes of UTF-8.
pub const MAX_PIN_BYTES: usize = 63;

/// Permissions of a `pinUvAuthToken` (CTAP 2.1 section 6.5.5.7), combined with `|`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions(pub u8);

impl Permissions {
    /// Make credentials; needs an RP ID.
    pub const MAKE_CREDENTIAL: Self = Self(0x01);
    /// Get assertions; needs an RP ID.
    pub const GET_ASSERTION: Self = Self(0x02);
    /// Manage credentials.
    pub const CREDENTIAL_MANAGEMENT: Self = Self(0x04);
    /// Enrol, rename and remove fingerprints.
    pub const BIO_ENROLLMENT: Self = Self(0x08);
    /// Write large blobs.
    pub const LARGE_BLOB_WRITE: Self = Self(0x10);
    /// Configure the authenticator.
    pub const AUTHENTICATOR_CONFIG: Self = Self(0x20);

    /// Whether all of `other` is in it.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Permissions {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Asks how many tries are left.
#[must_use]
pub fn retries_request() -> Vec<u8> {
    let mut map = Map::new();
    map.insert(2, 1);
    super::request(Command::ClientPin, map)
}

/// Tries left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinRetries {
    /// Before the PIN is blocked for good; 8 at most.
    pub left: u8,
    /// The key must be unplugged and plugged in before the next try.
    pub power_cycle_needed: bool,
}

impl PinRetries {
    /// Reads a response, status byte included.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn parse(response: &[u8]) -> Result<Self, ResponseError> {
        let mut map = success_map(response)?;
        let count = |v: &Value| v.as_u64().and_then(|n| u8::try_from(n).ok());
        Ok(Self {
            left: need(&mut map, 3, count, "clientPIN retries")?,
            power_cycle_needed: may(&mut map, 4, Value::as_bool, "clientPIN powerCycleState")?.unwrap_or(false),
        })
    }
}

/// Asks how many tries of built-in user verification are left.
#[must_use]
pub fn uv_retries_request() -> Vec<u8> {
    let mut map = Map::new();
    map.insert(2, 7);
    super::request(Command::ClientPin, map)
}

/// Reads the tries left of built-in user verification, status byte included.
///
/// # Errors
/// [`ResponseError`].
pub fn parse_uv_retries(response: &[u8]) -> Result<u8, ResponseError> {
    let count = |v: &Value| v.as_u64().and_then(|n| u8::try_from(n).ok());
    need(&mut success_map(response)?, 5, count, "clientPIN uvRetries")
}

/// Asks for the key's key-agreement key.
#[must_use]
pub fn key_agreement_request(protocol: PinProtocol) -> Vec<u8> {
    let mut map = Map::new();
    map.insert(1, protocol.number());
    map.insert(2, 2);
    super::request(Command::ClientPin, map)
}

/// Reads the key-agreement key, a COSE map. Whether it is a point on the curve is checked by [`SharedSecret::agree`].
///
/// # Errors
/// [`ResponseError`].
pub fn parse_key_agreement(response: &[u8]) -> Result<Map, ResponseError> {
    need(
        &mut success_map(response)?,
        1,
        |v| v.as_map().cloned(),
        "clientPIN keyAgreement",
    )
}

/// Sets the first PIN. The PIN is 4 to 63 bytes of UTF-8, checked by the caller, who knows the key's rules.
///
/// # Errors
/// [`PinError::BadLength`] with a PIN longer than 63 bytes.
pub fn set_pin_request(shared: &SharedSecret, pin: &Secret, iv: &[u8; IV_LEN]) -> Result<Vec<u8>, PinError> {
    let sealed = shared.encrypt(&*padded(pin)?, iv)?;
    let auth = shared.authenticate(&sealed)?;
    let mut map = header(shared, 3);
    map.insert(4, auth.bytes);
    map.insert(5, sealed);
    Ok(super::request(Command::ClientPin, map))
}

/// Changes the PIN. `ivs` are for the new PIN and for the hash of the old one.
///
/// # Errors
/// As [`set_pin_request`].
pub fn change_pin_request(
    shared: &SharedSecret,
    current: &Secret,
    new: &Secret,
    ivs: &[[u8; IV_LEN]; 2],
) -> Result<Vec<u8>, PinError> {
    let [new_iv, hash_iv] = ivs;
    let new_sealed = shared.encrypt(&*padded(new)?, new_iv)?;
    let hash_sealed = seal_pin_hash(shared, current, hash_iv)?;
    let auth = shared.authenticate(&[new_sealed.as_slice(), &hash_sealed].concat())?;
    let mut map = header(shared, 4);
    map.insert(4, auth.bytes);
    map.insert(5, new_sealed);
    map.insert(6, hash_sealed);
    Ok(super::request(Command::ClientPin, map))
}

/// What a `pinUvAuthToken` is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// Sub-command 0x05, for keys without the option `pinUvAuthToken`: the token is good for everything.
    Legacy,
    /// Sub-command 0x09.
    Permitted {
        /// Permissions.
        permissions: Permissions,
        /// RP ID, which some permissions need.
        rp_id: Option<&'a str>,
    },
}

/// Asks for a `pinUvAuthToken` in exchange for a PIN.
///
/// # Errors
/// None in practice: the PIN's hash is one block.
pub fn token_request(
    shared: &SharedSecret,
    pin: &Secret,
    iv: &[u8; IV_LEN],
    scope: Scope<'_>,
) -> Result<Vec<u8>, PinError> {
    let number = match scope {
        Scope::Legacy => 5,
        Scope::Permitted { .. } => 9,
    };
    let mut map = header(shared, number);
    map.insert(6, seal_pin_hash(shared, pin, iv)?);
    if let Scope::Permitted { permissions, rp_id } = scope {
        map.insert(9, permissions.0);
        map.insert_some(10, rp_id);
    }
    Ok(super::request(Command::ClientPin, map))
}

/// Asks for a `pinUvAuthToken` in exchange for built-in user verification (section 6.5.5.7.3): a finger, mostly.
#[must_use]
pub fn uv_token_request(shared: &SharedSecret, permissions: Permissions, rp_id: Option<&str>) -> Vec<u8> {
    let mut map = header(shared, 6);
    map.insert(9, permissions.0);
    map.insert_some(10, rp_id);
    super::request(Command::ClientPin, map)
}

/// Reads and decrypts a `pinUvAuthToken`.
///
/// # Errors
/// [`ResponseError`]; also when its length is not one the protocol allows.
pub fn parse_token(response: &[u8], shared: &SharedSecret) -> Result<PinUvAuthToken, ResponseError> {
    const WRONG: &str = "clientPIN pinUvAuthToken";
    let sealed = need(&mut success_map(response)?, 2, to_bytes, WRONG)?;
    let bytes = shared.decrypt(&sealed).map_err(|_| ResponseError::Malformed(WRONG))?;
    PinUvAuthToken::new(shared.protocol(), bytes).map_err(|_| ResponseError::Malformed(WRONG))
}

/// Reads the answer to a set or a change.
///
/// # Errors
/// [`ResponseError`].
pub fn parse_done(response: &[u8]) -> Result<(), ResponseError> {
    success_empty(response)
}

fn header(shared: &SharedSecret, number: u8) -> Map {
    let mut map = Map::new();
    map.insert(1, shared.protocol().number());
    map.insert(2, number);
    map.insert(3, shared.platform_key().clone());
    map
}

fn padded(pin: &Secret) -> Result<Zeroizing<[u8; PADDED_PIN]>, PinError> {
    if pin.len() > MAX_PIN_BYTES {
        return Err(PinError::BadLength);
    }
    let mut padded = Zeroizing::new([0; PADDED_PIN]);
    // Exposed to be encrypted for the key.
    for (place, byte) in padded.iter_mut().zip(pin.expose()) {
        *place = *byte;
    }
    Ok(padded)
}

/// `encrypt(LEFT(SHA-256(PIN), 16))`.
fn seal_pin_hash(shared: &SharedSecret, pin: &Secret, iv: &[u8; IV_LEN]) -> Result<Vec<u8>, PinError> {
    // Exposed to be hashed.
    let hash = Zeroizing::new(sha256(pin.expose()));
    shared.encrypt(hash.get(..16).unwrap_or_default(), iv)
}
