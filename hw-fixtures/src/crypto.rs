//! The few primitives the models are built from, with infallible signatures.
//!
//! The crates below answer `Result` where a length is known to fit; each function says why its error cannot happen and
//! then answers something harmless instead of panicking.

use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

/// SHA-256.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// HMAC-SHA-256 over the concatenation of `parts`. HMAC takes keys of any length, so construction never fails.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// HMAC-SHA-1.
pub fn hmac_sha1(key: &[u8], data: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

/// HMAC-SHA-512.
pub fn hmac_sha512(key: &[u8], data: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha512>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

/// HKDF-SHA-256 with a salt of 32 zero bytes, 32 bytes out (CTAP 2.1 section 6.5.7).
pub fn hkdf_sha256(secret: &[u8], info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    // 32 bytes are far below HKDF's limit of 255 blocks.
    if hkdf::Hkdf::<Sha256>::new(Some(&[0; 32]), secret)
        .expand(info, &mut out)
        .is_err()
    {
        out = [0; 32];
    }
    out
}

/// AES-256-CBC without padding. `None` when `plain` is not whole blocks.
pub fn aes256_cbc_encrypt(key: &[u8; 32], iv: &[u8; 16], plain: &[u8]) -> Option<Vec<u8>> {
    if !plain.len().is_multiple_of(16) {
        return None;
    }
    Some(cbc::Encryptor::<aes::Aes256>::new(key.into(), iv.into()).encrypt_padded_vec::<NoPadding>(plain))
}

/// The inverse of [`aes256_cbc_encrypt`].
pub fn aes256_cbc_decrypt(key: &[u8; 32], iv: &[u8; 16], cipher: &[u8]) -> Option<Vec<u8>> {
    cbc::Decryptor::<aes::Aes256>::new(key.into(), iv.into())
        .decrypt_padded_vec::<NoPadding>(cipher)
        .ok()
}

/// An ES256 signature over `message`, DER encoded; deterministic (RFC 6979).
pub fn es256_sign(key: &SigningKey, message: &[u8]) -> Vec<u8> {
    let signature: Signature = key.sign(message);
    signature.to_der().as_bytes().to_vec()
}

/// An ES384 signature over `message`, DER encoded; deterministic (RFC 6979). Empty for bytes that are no scalar.
pub fn es384_sign(scalar: &[u8], message: &[u8]) -> Vec<u8> {
    let Ok(key) = p384::ecdsa::SigningKey::from_slice(scalar) else {
        return Vec::new();
    };
    let signature: p384::ecdsa::Signature = key.sign(message);
    signature.to_der().as_bytes().to_vec()
}

/// The affine coordinates of the public half. Empty for bytes that are no scalar.
pub fn es384_public(scalar: &[u8]) -> (Vec<u8>, Vec<u8>) {
    use p384::elliptic_curve::sec1::ToSec1Point;
    let Ok(key) = p384::SecretKey::from_slice(scalar) else {
        return (Vec::new(), Vec::new());
    };
    let point = key.public_key().to_sec1_point(false);
    let (x, y) = point.as_bytes().get(1..).unwrap_or_default().split_at(48);
    (x.to_vec(), y.to_vec())
}

/// An Ed25519 signature (RFC 8032).
pub fn ed25519_sign(seed: &[u8; 32], message: &[u8]) -> Vec<u8> {
    ed25519(seed).map_or_else(Vec::new, |key| key.sign(message).as_ref().to_vec())
}

/// The public half of an Ed25519 key.
pub fn ed25519_public(seed: &[u8; 32]) -> Vec<u8> {
    use ring::signature::KeyPair;
    ed25519(seed).map_or_else(Vec::new, |key| key.public_key().as_ref().to_vec())
}

/// Every 32 bytes are a seed.
fn ed25519(seed: &[u8; 32]) -> Option<ring::signature::Ed25519KeyPair> {
    ring::signature::Ed25519KeyPair::from_seed_unchecked(seed).ok()
}

/// The affine coordinates of the public half of `key`.
pub fn public_coordinates(key: &p256::PublicKey) -> ([u8; 32], [u8; 32]) {
    let point = key.to_sec1_bytes();
    let uncompressed = if point.len() == 65 {
        point.to_vec()
    } else {
        decompress(key)
    };
    let take = |from: usize| {
        uncompressed
            .get(from..from + 32)
            .and_then(|part| part.try_into().ok())
            .unwrap_or([0; 32])
    };
    (take(1), take(33))
}

fn decompress(key: &p256::PublicKey) -> Vec<u8> {
    use p256::elliptic_curve::sec1::ToSec1Point;
    key.to_sec1_point(false).as_bytes().to_vec()
}

/// Compares without telling by its duration where two strings differ.
pub fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0_u8, |acc, (a, b)| acc | (a ^ b)) == 0
}

/// Bytes as lower-case hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            use std::fmt::Write;
            // Writing to a String cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}

/// Hexadecimal text, spaces and dashes ignored, as bytes.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | ':' | '\n'))
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// SM4 (GM/T 0002-2012, GB/T 32907) of one block.
pub fn sm4_encrypt_block(key: &[u8; 16], block: &[u8; 16]) -> [u8; 16] {
    use sm4::cipher::BlockCipherEncrypt;
    let mut out = (*block).into();
    sm4::Sm4::new(key.into()).encrypt_block(&mut out);
    out.into()
}

/// The inverse of [`sm4_encrypt_block`].
pub fn sm4_decrypt_block(key: &[u8; 16], block: &[u8; 16]) -> [u8; 16] {
    use sm4::cipher::BlockCipherDecrypt;
    let mut out = (*block).into();
    sm4::Sm4::new(key.into()).decrypt_block(&mut out);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sm4_is_gm_t_0002_appendix_a() {
        let key: [u8; 16] = from_hex("0123456789abcdeffedcba9876543210")
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(
            to_hex(&sm4_encrypt_block(&key, &key)),
            "681edf34d206965e86b3e94f536e4246"
        );
        assert_eq!(sm4_decrypt_block(&key, &sm4_encrypt_block(&key, &key)), key);
        let mut block = key;
        for _ in 0..1_000_000 {
            block = sm4_encrypt_block(&key, &block);
        }
        assert_eq!(to_hex(&block), "595298c7c6fd271f0402f804c33d3f66");
    }
}
