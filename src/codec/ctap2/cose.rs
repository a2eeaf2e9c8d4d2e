//! COSE public keys (RFC 9052 section 7, RFC 9053 section 7.1; as used by WebAuthn section 5.8.5).

use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{DerSignature, VerifyingKey};
use p256::elliptic_curve::sec1::ToSec1Point;

use crate::codec::cbor::{self, Map, Value};

/// ECDSA with SHA-256 on P-256.
pub const ES256: i64 = -7;

/// Why a COSE key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CoseError {
    /// Members are not there, of the wrong type, or do not make a point on the curve.
    #[error("the public key is malformed")]
    Malformed,
    /// An algorithm we do not verify yet.
    #[error("the public key's algorithm {0} is not supported")]
    Unsupported(i64),
    /// The signature is not one of this key.
    #[error("the signature does not verify")]
    BadSignature,
}

/// A credential's public key, with the bytes it came in, which are what a ledger stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoseKey {
    encoded: Vec<u8>,
    alg: i64,
    es256: Option<VerifyingKey>,
}

impl CoseKey {
    /// Reads an encoded COSE key.
    ///
    /// # Errors
    /// [`CoseError::Malformed`]. A well-formed key of another algorithm is kept; only [`CoseKey::verify`] refuses it.
    pub fn parse(encoded: &[u8]) -> Result<Self, CoseError> {
        let value = cbor::decode(encoded, cbor::Limits::default()).map_err(|_| CoseError::Malformed)?;
        Self::from_value(&value, encoded.to_vec())
    }

    /// As [`CoseKey::parse`], from the decoded map and the bytes it was decoded from.
    pub(super) fn from_value(value: &Value, encoded: Vec<u8>) -> Result<Self, CoseError> {
        let map = value.as_map().ok_or(CoseError::Malformed)?;
        let alg = map.get(3).and_then(Value::as_i64).ok_or(CoseError::Malformed)?;
        let es256 = if alg == ES256 {
            let point = sec1_point(map)?;
            Some(VerifyingKey::from_sec1_bytes(&point).map_err(|_| CoseError::Malformed)?)
        } else {
            None
        };
        Ok(Self { encoded, alg, es256 })
    }

    /// The bytes, as the key gave them.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// COSE algorithm identifier.
    #[must_use]
    pub fn algorithm(&self) -> i64 {
        self.alg
    }

    /// Checks a signature, DER-encoded as WebAuthn section 6.5.5 says.
    ///
    /// # Errors
    /// [`CoseError::Unsupported`], [`CoseError::BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CoseError> {
        let key = self.es256.as_ref().ok_or(CoseError::Unsupported(self.alg))?;
        let signature = DerSignature::from_bytes(signature).map_err(|_| CoseError::BadSignature)?;
        key.verify(message, &signature).map_err(|_| CoseError::BadSignature)
    }
}

/// The uncompressed SEC 1 point of an EC2 key on P-256: members kty (1) = 2, crv (-1) = 1, x (-2), y (-3).
pub(super) fn sec1_point(map: &Map) -> Result<[u8; 65], CoseError> {
    let is = |key: i64, wanted: i64| map.get(key).and_then(Value::as_i64) == Some(wanted);
    let coordinate = |key: i64| map.get(key).and_then(Value::as_bytes).filter(|bytes| bytes.len() == 32);
    if !is(1, 2) || !is(-1, 1) {
        return Err(CoseError::Malformed);
    }
    let (Some(x), Some(y)) = (coordinate(-2), coordinate(-3)) else {
        return Err(CoseError::Malformed);
    };
    let mut point = [0; 65];
    for (place, byte) in point.iter_mut().zip([4].iter().chain(x).chain(y)) {
        *place = *byte;
    }
    Ok(point)
}

/// An EC2 key on P-256 with the given algorithm, as a COSE map.
pub(crate) fn from_public_key(key: &p256::PublicKey, alg: i64) -> Map {
    let point = key.to_sec1_point(false);
    let coordinates = point.as_bytes().get(1..).unwrap_or_default();
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    Map::from_iter([
        (1, Value::from(2)),
        (3, Value::from(alg)),
        (-1, Value::from(1)),
        (-2, Value::from(x)),
        (-3, Value::from(y)),
    ])
}
