//! A credential's public key as SubjectPublicKeyInfo in DER (RFC 5280 section 4.1.2.7), which relying parties get beside COSE
//! (WebAuthn section 5.2.1.1, `getPublicKey()`) and which SSSD stores.

use super::cose::CoseKey;
use crate::codec::cbor::{self, Limits, Map, Value};

/// SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING of 66 bytes (RFC 5480 section 2).
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// The same with secp384r1 and 98 bytes.
const P384: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22, 0x03, 0x62, 0x00, 0x04,
];
/// id-Ed25519 (RFC 8410 section 4).
const ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// rsaEncryption with NULL (RFC 3279 section 2.3.1).
const RSA: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// The SubjectPublicKeyInfo; `None` for a key of an algorithm other than ES256, ES384, EdDSA and RS256, or one that is malformed.
#[must_use]
pub fn of(key: &CoseKey) -> Option<Vec<u8>> {
    let Ok(Value::Map(map)) = cbor::decode(key.encoded(), Limits::default()) else {
        return None;
    };
    match key.algorithm() {
        -7 => Some([P256, sized(&map, -2, 32)?, sized(&map, -3, 32)?].concat()),
        -35 => Some([P384, sized(&map, -2, 48)?, sized(&map, -3, 48)?].concat()),
        -8 => Some([ED25519, sized(&map, -2, 32)?].concat()),
        -257 => {
            let numbers = [integer(bytes(&map, -1)?)?, integer(bytes(&map, -2)?)?].concat();
            let key = [vec![0], tlv(0x30, &numbers)?].concat();
            tlv(0x30, &[RSA.to_vec(), tlv(0x03, &key)?].concat())
        }
        _ => None,
    }
}

/// The bare public key: `x` and `y` of ES256, or the 32 bytes of EdDSA, as `pam_u2f` writes it.
#[must_use]
pub fn bare(key: &CoseKey) -> Option<Vec<u8>> {
    let Ok(Value::Map(map)) = cbor::decode(key.encoded(), Limits::default()) else {
        return None;
    };
    match key.algorithm() {
        -7 => Some([sized(&map, -2, 32)?, sized(&map, -3, 32)?].concat()),
        -8 => sized(&map, -2, 32).map(<[u8]>::to_vec),
        _ => None,
    }
}

fn bytes(map: &Map, key: i64) -> Option<&[u8]> {
    map.get(key).and_then(Value::as_bytes)
}

fn sized(map: &Map, key: i64, size: usize) -> Option<&[u8]> {
    bytes(map, key).filter(|bytes| bytes.len() == size)
}

/// An unsigned number.
fn integer(number: &[u8]) -> Option<Vec<u8>> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..).filter(|digits| !digits.is_empty())?;
    let sign: &[u8] = if digits.first()? & 0x80 == 0 { &[] } else { &[0] };
    tlv(0x02, &[sign, digits].concat())
}

/// One DER element of at most 65,535 bytes.
fn tlv(tag: u8, value: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(value.len()).ok()?;
    let [high, low] = length.to_be_bytes();
    let head: &[u8] = match length {
        0..=0x7f => &[tag, low],
        0x80..=0xff => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    Some([head, value].concat())
}
