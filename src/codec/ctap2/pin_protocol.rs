//! PIN/UV auth protocols one and two (CTAP 2.1 sections 6.5.4 to 6.5.7).
//!
//! Randomness is handed in: the ephemeral secret and the initialization vectors come from the caller.

use aes::Aes256;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use p256::elliptic_curve::ecdh::diffie_hellman;
use p256::{PublicKey, SecretKey};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::cose;
use crate::codec::cbor::Map;
use crate::types::Secret;

/// Length of an AES block and of an initialization vector.
pub const IV_LEN: usize = 16;

/// Algorithm identifier in a key-agreement key: ECDH-ES + HKDF-256. It says so and means another derivation.
const ECDH_ES_HKDF_256: i64 = -25;

/// Why a step of a PIN protocol cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// The key's key-agreement key is not a point on P-256.
    #[error("the key-agreement key is malformed")]
    BadPeerKey,
    /// The ephemeral secret is 0 or not below the group's order; draw again.
    #[error("the ephemeral secret is out of range")]
    BadEphemeralSecret,
    /// A length that the protocol does not allow.
    #[error("an encrypted value has the wrong length")]
    BadLength,
}

/// The two protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PinProtocol {
    /// SHA-256 of the ECDH result for both purposes, zero IV, MAC cut to 16 bytes.
    One,
    /// HKDF into two keys, random IV, whole MAC.
    Two,
}

impl PinProtocol {
    /// Its number in requests.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// The better of those a key offers: two before one, since one reuses its IV and its key.
    #[must_use]
    pub fn choose(offered: &[u64]) -> Option<Self> {
        [Self::Two, Self::One]
            .into_iter()
            .find(|p| offered.contains(&u64::from(p.number())))
    }
}

/// `pinUvAuthParam` with the protocol it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthParam {
    /// Protocol.
    pub protocol: PinProtocol,
    /// 16 bytes with protocol one, 32 with two.
    pub bytes: Vec<u8>,
}

fn authenticate(protocol: PinProtocol, key: &[u8], message: &[u8]) -> Result<AuthParam, PinError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| PinError::BadLength)?;
    mac.update(message);
    let mut bytes = mac.finalize().into_bytes().to_vec();
    if protocol == PinProtocol::One {
        bytes.truncate(16);
    }
    Ok(AuthParam { protocol, bytes })
}

/// A `pinUvAuthToken`: what a PIN was exchanged for. Never a “token” in the sense of the ledger.
pub struct PinUvAuthToken {
    protocol: PinProtocol,
    bytes: Secret,
}

impl PinUvAuthToken {
    /// Takes the decrypted bytes. Protocol one allows 16 and 32 (CTAP 2.0 keys: 16), protocol two 32.
    ///
    /// # Errors
    /// [`PinError::BadLength`].
    pub fn new(protocol: PinProtocol, bytes: Secret) -> Result<Self, PinError> {
        match (protocol, bytes.len()) {
            (_, 32) | (PinProtocol::One, 16) => Ok(Self { protocol, bytes }),
            _ => Err(PinError::BadLength),
        }
    }

    /// The protocol it was got by.
    #[must_use]
    pub fn protocol(&self) -> PinProtocol {
        self.protocol
    }

    /// The proof for a message.
    ///
    /// # Errors
    /// None in practice; a MAC takes a key of any length.
    pub fn authenticate(&self, message: &[u8]) -> Result<AuthParam, PinError> {
        // Exposed to key the MAC.
        authenticate(self.protocol, self.bytes.expose(), message)
    }
}

/// A shared secret with one key, good until its next PIN error.
pub struct SharedSecret {
    protocol: PinProtocol,
    mac_key: Zeroizing<[u8; 32]>,
    aes_key: Zeroizing<[u8; 32]>,
    platform_key: Map,
}

impl SharedSecret {
    /// Agrees on a secret: `ephemeral` is a fresh random scalar, `peer` the COSE key from getKeyAgreement.
    ///
    /// # Errors
    /// [`PinError::BadEphemeralSecret`] (one in 2³²: draw again), [`PinError::BadPeerKey`].
    pub fn agree(protocol: PinProtocol, ephemeral: &[u8; 32], peer: &Map) -> Result<Self, PinError> {
        let secret = SecretKey::from_slice(ephemeral).map_err(|_| PinError::BadEphemeralSecret)?;
        let point = cose::sec1_point(peer).map_err(|_| PinError::BadPeerKey)?;
        let peer = PublicKey::from_sec1_bytes(&point).map_err(|_| PinError::BadPeerKey)?;
        let shared = diffie_hellman(secret.to_nonzero_scalar(), peer.as_affine());
        let mut mac_key = Zeroizing::new([0; 32]);
        let mut aes_key = Zeroizing::new([0; 32]);
        match protocol {
            PinProtocol::One => {
                let mut digest = Sha256::digest(shared.raw_secret_bytes());
                mac_key.copy_from_slice(&digest);
                aes_key.copy_from_slice(&digest);
                digest.as_mut_slice().zeroize();
            }
            PinProtocol::Two => {
                let hkdf = Hkdf::<Sha256>::new(Some(&[0; 32]), shared.raw_secret_bytes());
                hkdf.expand(b"CTAP2 HMAC key", mac_key.as_mut_slice())
                    .map_err(|_| PinError::BadLength)?;
                hkdf.expand(b"CTAP2 AES key", aes_key.as_mut_slice())
                    .map_err(|_| PinError::BadLength)?;
            }
        }
        Ok(Self {
            protocol,
            mac_key,
            aes_key,
            platform_key: cose::from_public_key(&secret.public_key(), ECDH_ES_HKDF_256),
        })
    }

    /// The protocol.
    #[must_use]
    pub fn protocol(&self) -> PinProtocol {
        self.protocol
    }

    /// Our public key, to be sent along (`keyAgreement` in requests).
    #[must_use]
    pub fn platform_key(&self) -> &Map {
        &self.platform_key
    }

    /// Encrypts whole blocks. Protocol one ignores `iv` and uses zeros; protocol two puts it in front.
    ///
    /// # Errors
    /// [`PinError::BadLength`] unless `plain` is a multiple of 16 bytes.
    pub fn encrypt(&self, plain: &[u8], iv: &[u8; IV_LEN]) -> Result<Vec<u8>, PinError> {
        if !plain.len().is_multiple_of(IV_LEN) {
            return Err(PinError::BadLength);
        }
        let (iv, mut out) = match self.protocol {
            PinProtocol::One => (&[0; IV_LEN], Vec::new()),
            PinProtocol::Two => (iv, iv.to_vec()),
        };
        let cipher = cbc::Encryptor::<Aes256>::new((&*self.aes_key).into(), iv.into());
        out.extend(cipher.encrypt_padded_vec::<NoPadding>(plain));
        Ok(out)
    }

    /// Decrypts what the key encrypted.
    ///
    /// # Errors
    /// [`PinError::BadLength`] unless it is whole blocks, with an initialization vector in front in protocol two.
    pub fn decrypt(&self, sealed: &[u8]) -> Result<Secret, PinError> {
        let (iv, sealed) = match self.protocol {
            PinProtocol::One => (&[0; IV_LEN], sealed),
            PinProtocol::Two => sealed.split_first_chunk::<IV_LEN>().ok_or(PinError::BadLength)?,
        };
        let cipher = cbc::Decryptor::<Aes256>::new((&*self.aes_key).into(), iv.into());
        cipher
            .decrypt_padded_vec::<NoPadding>(sealed)
            .map(Secret::new)
            .map_err(|_| PinError::BadLength)
    }

    /// The proof for a message, keyed by the shared secret.
    ///
    /// # Errors
    /// None in practice; a MAC takes a key of any length.
    pub fn authenticate(&self, message: &[u8]) -> Result<AuthParam, PinError> {
        authenticate(self.protocol, self.mac_key.as_slice(), message)
    }
}
