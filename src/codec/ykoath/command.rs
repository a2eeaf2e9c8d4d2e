//! Requests to the applet, each as a [`Command`].

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

use super::field::{push_tlv, tag, tlv};
use super::{AID, AccessKey, CHALLENGE_LEN, CredentialName, CredentialType, Properties, YkoathError, type_byte};
use crate::codec::iso7816::Command;
use crate::codec::oath::{MAX_SEED_LEN, OathParameters};
use crate::types::{OathAlgorithm, Secret};

/// Shortest key the applet takes; shorter ones are padded with zeros, which changes nothing in an HMAC (RFC 2104).
const MIN_KEY: usize = 14;

/// Longest PIN that is sent; a longer one is wrong in any case.
const MAX_PIN: usize = 127;

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
    pub const VERIFY_PIN: u8 = 0xB2;
    pub const CHANGE_PIN: u8 = 0xB3;
    pub const SET_PIN: u8 = 0xB4;
}

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
    if seed.is_empty() || seed.len() > MAX_SEED_LEN {
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
    push_tlv(&mut data, tag::KEY, &[&[kind], key.expose()]);
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

/// VERIFY PIN of a Nitrokey 3, which has a PIN with eight tries where the others have a password.
#[must_use]
pub fn verify_pin(pin: &Secret) -> Command {
    with_pins(ins::VERIFY_PIN, &[(tag::PIN, pin)])
}

/// SET PIN of a Nitrokey 3 that has none.
#[must_use]
pub fn set_pin(pin: &Secret) -> Command {
    with_pins(ins::SET_PIN, &[(tag::PIN, pin)])
}

/// CHANGE PIN of a Nitrokey 3.
#[must_use]
pub fn change_pin(old: &Secret, new: &Secret) -> Command {
    with_pins(ins::CHANGE_PIN, &[(tag::PIN, old), (tag::NEW_PIN, new)])
}

fn with_pins(ins: u8, pins: &[(u8, &Secret)]) -> Command {
    // Large enough for two of the longest, so that no copy is left behind in a smaller buffer.
    let mut data = Vec::with_capacity(2 * (MAX_PIN + 3));
    for (tag, pin) in pins {
        let pin = pin.expose();
        push_tlv(&mut data, *tag, &[pin.get(..MAX_PIN).unwrap_or(pin)]);
    }
    Command {
        expects_data: false,
        ..Command::new(0x00, ins, 0, 0, data)
    }
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
