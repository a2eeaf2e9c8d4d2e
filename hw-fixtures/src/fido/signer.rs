//! The algorithms of credentials: keys derived, public halves as `COSE_Key`, signatures (RFC 9053 sections 2 and 7; WebAuthn section
//! 6.5.5).

use ciborium::Value;
use p256::ecdsa::SigningKey;

use super::Authenticator;
use super::cbor;
use super::pinprotocol::cose_key;
use crate::crypto;

/// An algorithm that a credential may have. Which one stands in its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// By COSE's number.
    pub fn of(number: i64) -> Option<Self> {
        match number {
            -7 => Some(Self::Es256),
            -35 => Some(Self::Es384),
            -8 => Some(Self::EdDsa),
            _ => None,
        }
    }

    /// COSE's number.
    pub fn number(self) -> i64 {
        match self {
            Self::Es256 => -7,
            Self::Es384 => -35,
            Self::EdDsa => -8,
        }
    }

    /// The upper half of an id's first byte.
    pub fn mark(self) -> u8 {
        match self {
            Self::Es256 => 0x00,
            Self::Es384 => 0x10,
            Self::EdDsa => 0x20,
        }
    }
}

impl Authenticator {
    /// The algorithm of a credential of ours.
    pub(super) fn algorithm_of(id: &[u8]) -> Algorithm {
        match id.first().map(|byte| byte & 0xf0) {
            Some(0x10) => Algorithm::Es384,
            Some(0x20) => Algorithm::EdDsa,
            _ => Algorithm::Es256,
        }
    }

    /// Signs as the credential `id`.
    pub(super) fn sign(&self, id: &[u8], message: &[u8]) -> Vec<u8> {
        match Self::algorithm_of(id) {
            Algorithm::Es256 => crypto::es256_sign(&SigningKey::from(&self.credential_key(id)), message),
            Algorithm::Es384 => crypto::es384_sign(&self.scalar384(id), message),
            Algorithm::EdDsa => crypto::ed25519_sign(&self.seed(id), message),
        }
    }

    /// The public key of a credential as `COSE_Key`.
    pub(super) fn credential_cose(&self, id: &[u8]) -> Value {
        match Self::algorithm_of(id) {
            Algorithm::Es256 => cose_key(&self.credential_key(id).public_key(), -7),
            Algorithm::Es384 => {
                let (x, y) = crypto::es384_public(&self.scalar384(id));
                cbor::int_map([
                    (1, cbor::uint(2)),
                    (3, Some(Value::from(-35))),
                    (-1, cbor::uint(2)),
                    (-2, cbor::bytes(&x)),
                    (-3, cbor::bytes(&y)),
                ])
            }
            Algorithm::EdDsa => cbor::int_map([
                (1, cbor::uint(1)),
                (3, Some(Value::from(-8))),
                (-1, cbor::uint(6)),
                (-2, cbor::bytes(&crypto::ed25519_public(&self.seed(id)))),
            ]),
        }
    }

    fn seed(&self, id: &[u8]) -> [u8; 32] {
        crypto::hmac_sha256(&self.memory.master, &[b"credential seed", id])
    }

    /// 48 bytes, of which all but one in 2^190 are a valid scalar.
    fn scalar384(&self, id: &[u8]) -> Vec<u8> {
        let mut wide = crypto::hmac_sha512(&self.memory.master, &[b"credential scalar".as_slice(), id].concat());
        wide.truncate(48);
        wide
    }
}
