//! Signatures of the four COSE algorithms that attestations and credentials use (RFC 9053 section 2, RFC 8812 section 2).
//!
//! Keys come in as COSE maps or as what stands in a certificate. An algorithm goes with one type of key only, as WebAuthn
//! section 5.8.5 wants it: ES256 with P-256, ES384 with P-384, EdDSA with Ed25519, RS256 with RSA of 2048 to 8192 bits.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::codec::cbor::{self, Limits, Map, Value};

/// A COSE signature algorithm that we verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA with SHA-256 on P-256; −7.
    Es256,
    /// ECDSA with SHA-384 on P-384; −35.
    Es384,
    /// Ed25519; −8.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256; −257.
    Rs256,
}

impl Algorithm {
    /// The algorithm with this COSE identifier.
    #[must_use]
    pub const fn of(identifier: i64) -> Option<Self> {
        match identifier {
            -7 => Some(Self::Es256),
            -35 => Some(Self::Es384),
            -8 => Some(Self::EdDsa),
            -257 => Some(Self::Rs256),
            _ => None,
        }
    }

    /// Its name in the registry of COSE algorithms.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Members of the key are missing or of the wrong size.
    #[error("the public key is malformed")]
    MalformedKey,
    /// The key is of another type than the algorithm needs.
    #[error("the public key does not go with the algorithm {0}")]
    OtherKey(&'static str),
    /// The signature is not one of this key over these bytes.
    #[error("the signature is wrong")]
    Wrong,
}

/// A public key that can verify.
pub enum PublicKey {
    /// An uncompressed point (`04 x y`) or the 32 bytes of Ed25519.
    Plain {
        /// What the key is for.
        algorithm: Algorithm,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// RSA, both numbers big-endian.
    Rsa {
        /// Modulus.
        n: Vec<u8>,
        /// Exponent.
        e: Vec<u8>,
    },
}

impl PublicKey {
    /// A credential's key out of its COSE encoding (RFC 9053 section 7; RFC 8230 section 4 for RSA), with the algorithm it names.
    ///
    /// # Errors
    /// [`SignatureError::MalformedKey`]; [`SignatureError::OtherKey`] for an algorithm that is not one of ours or does not go
    /// with the type of key.
    pub fn from_cose(encoded: &[u8]) -> Result<(Self, i64), SignatureError> {
        let Ok(Value::Map(map)) = cbor::decode(encoded, Limits::default()) else {
            return Err(SignatureError::MalformedKey);
        };
        let number = |key: i64| map.get(key).and_then(Value::as_i64);
        let identifier = number(3).ok_or(SignatureError::MalformedKey)?;
        let algorithm = Algorithm::of(identifier).ok_or(SignatureError::OtherKey("of this key"))?;
        // Key type (1) and curve (-1): RFC 9053 tables 17 and 18.
        let (kind, curve) = match algorithm {
            Algorithm::Es256 => (2, Some(1)),
            Algorithm::Es384 => (2, Some(2)),
            Algorithm::EdDsa => (1, Some(6)),
            Algorithm::Rs256 => (3, None),
        };
        if number(1) != Some(kind) || (curve.is_some() && number(-1) != curve) {
            return Err(SignatureError::OtherKey(algorithm.name()));
        }
        let key = match algorithm {
            Algorithm::Es256 => Self::Plain {
                algorithm,
                bytes: point(&map, 32)?,
            },
            Algorithm::Es384 => Self::Plain {
                algorithm,
                bytes: point(&map, 48)?,
            },
            Algorithm::EdDsa => Self::Plain {
                algorithm,
                bytes: bytes(&map, -2, Some(32))?,
            },
            Algorithm::Rs256 => Self::Rsa {
                n: bytes(&map, -1, None)?,
                e: bytes(&map, -2, None)?,
            },
        };
        Ok((key, identifier))
    }

    /// What the key verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Plain { algorithm, .. } => *algorithm,
            Self::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// Verifies a signature; those of ECDSA are DER-encoded (WebAuthn section 6.5.5).
    ///
    /// # Errors
    /// [`SignatureError::OtherKey`] when the key is of another type, [`SignatureError::Wrong`].
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        self.verify_in(
            &ECDSA_P256_SHA256_ASN1,
            &ECDSA_P384_SHA384_ASN1,
            algorithm,
            message,
            signature,
        )
    }

    /// The same for a signature of a JWS, where those of ECDSA are two numbers of fixed length (RFC 7518 section 3.4).
    ///
    /// # Errors
    /// As [`PublicKey::verify`].
    pub fn verify_jose(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        self.verify_in(
            &ECDSA_P256_SHA256_FIXED,
            &ECDSA_P384_SHA384_FIXED,
            algorithm,
            message,
            signature,
        )
    }

    fn verify_in(
        &self,
        es256: &'static dyn VerificationAlgorithm,
        es384: &'static dyn VerificationAlgorithm,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        if self.algorithm() != algorithm {
            return Err(SignatureError::OtherKey(algorithm.name()));
        }
        let verified = match self {
            Self::Plain { algorithm, bytes } => {
                let verification: &'static dyn VerificationAlgorithm = match algorithm {
                    Algorithm::Es256 => es256,
                    Algorithm::Es384 => es384,
                    Algorithm::EdDsa => &ED25519,
                    Algorithm::Rs256 => return Err(SignatureError::OtherKey(algorithm.name())),
                };
                UnparsedPublicKey::new(verification, bytes).verify(message, signature)
            }
            Self::Rsa { n, e } => {
                // ring wants numbers without leading zeros.
                let (n, e) = (stripped(n), stripped(e));
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        };
        verified.map_err(|_| SignatureError::Wrong)
    }
}

/// Verifies a signature by a credential, whichever of the four algorithms it is of; COSE as [`PublicKey::from_cose`].
///
/// # Errors
/// As [`PublicKey::from_cose`] and [`PublicKey::verify`].
pub fn by_credential(cose: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    let (key, _) = PublicKey::from_cose(cose)?;
    key.verify(key.algorithm(), message, signature)
}

fn stripped(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn bytes(map: &Map, key: i64, length: Option<usize>) -> Result<Vec<u8>, SignatureError> {
    map.get(key)
        .and_then(Value::as_bytes)
        .filter(|bytes| length.is_none_or(|length| bytes.len() == length))
        .map(<[u8]>::to_vec)
        .ok_or(SignatureError::MalformedKey)
}

fn point(map: &Map, size: usize) -> Result<Vec<u8>, SignatureError> {
    let (x, y) = (bytes(map, -2, Some(size))?, bytes(map, -3, Some(size))?);
    Ok([&[4][..], &x, &y].concat())
}
