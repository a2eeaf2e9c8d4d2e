//! PIN/UV auth protocols one and two, the authenticator's side (CTAP 2.1 sections 6.5.6 and 6.5.7).

use ciborium::Value;
use p256::{PublicKey, SecretKey};

use super::cbor;
use crate::crypto;
use crate::entropy::Entropy;

/// One of the two protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinProtocol {
    /// SHA-256 key, zero IV, 16-byte tags.
    One,
    /// HKDF keys, random IV, 32-byte tags.
    Two,
}

/// What both sides derived from their key agreement.
#[derive(Clone)]
pub struct Shared {
    protocol: PinProtocol,
    mac_key: [u8; 32],
    aes_key: [u8; 32],
}

impl PinProtocol {
    /// The protocol with this number.
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }

    /// Verifies `tag` over `message` under a pinUvAuthToken or shared secret.
    pub fn verify(self, key: &[u8], message: &[&[u8]], tag: &[u8]) -> bool {
        let full = crypto::hmac_sha256(key, message);
        match self {
            Self::One => full.first_chunk::<16>().is_some_and(|short| crypto::same(short, tag)),
            Self::Two => crypto::same(&full, tag),
        }
    }

    /// Key agreement with the platform's COSE key.
    pub fn agree(self, own: &SecretKey, platform: &[(Value, Value)]) -> Option<Shared> {
        let coordinate = |key: i64| cbor::find(platform, &Value::from(key))?.as_bytes().cloned();
        let sec1 = [&[4][..], &coordinate(-2)?, &coordinate(-3)?].concat();
        let theirs = PublicKey::from_sec1_bytes(&sec1).ok()?;
        let z = own.diffie_hellman(&theirs);
        Some(self.derive(z.raw_secret_bytes()))
    }

    fn derive(self, z: &[u8]) -> Shared {
        match self {
            Self::One => {
                let key = crypto::sha256(z);
                Shared {
                    protocol: self,
                    mac_key: key,
                    aes_key: key,
                }
            }
            Self::Two => Shared {
                protocol: self,
                mac_key: crypto::hkdf_sha256(z, b"CTAP2 HMAC key"),
                aes_key: crypto::hkdf_sha256(z, b"CTAP2 AES key"),
            },
        }
    }
}

impl Shared {
    /// Decrypts what the platform sent; `None` when the length cannot be right.
    pub fn decrypt(&self, data: &[u8]) -> Option<Vec<u8>> {
        match self.protocol {
            PinProtocol::One => crypto::aes256_cbc_decrypt(&self.aes_key, &[0; 16], data),
            PinProtocol::Two => {
                let (iv, rest) = data.split_first_chunk::<16>()?;
                crypto::aes256_cbc_decrypt(&self.aes_key, iv, rest)
            }
        }
    }

    /// Encrypts for the platform; `plain` is whole blocks.
    pub fn encrypt(&self, plain: &[u8], entropy: &mut Entropy) -> Option<Vec<u8>> {
        match self.protocol {
            PinProtocol::One => crypto::aes256_cbc_encrypt(&self.aes_key, &[0; 16], plain),
            PinProtocol::Two => {
                let iv = entropy.bytes::<16>();
                let sealed = crypto::aes256_cbc_encrypt(&self.aes_key, &iv, plain)?;
                Some([iv.as_slice(), &sealed].concat())
            }
        }
    }

    /// Verifies `tag` over `message` under the shared secret.
    pub fn verify(&self, message: &[&[u8]], tag: &[u8]) -> bool {
        self.protocol.verify(&self.mac_key, message, tag)
    }
}

/// A public key as `COSE_Key` with the given algorithm (-25 for key agreement, -7 for ES256).
pub fn cose_key(key: &PublicKey, algorithm: i64) -> Value {
    let (x, y) = crypto::public_coordinates(key);
    cbor::int_map([
        (1, cbor::uint(2)),
        (3, Some(Value::from(algorithm))),
        (-1, cbor::uint(1)),
        (-2, cbor::bytes(&x)),
        (-3, cbor::bytes(&y)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5903 section 8.1: a published P-256 key agreement, here carried through both key derivations, whose steps
    /// are checked against SHA-256 and against HKDF done by hand with HMAC (RFC 5869).
    #[test]
    fn key_agreement_of_rfc_5903() {
        let hex = |text: &str| crypto::from_hex(text).unwrap();
        let own =
            SecretKey::from_slice(&hex("c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433")).unwrap();
        let x = hex("d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63");
        let y = hex("56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab");
        let peer = [(Value::from(-2), Value::Bytes(x)), (Value::from(-3), Value::Bytes(y))];
        let z = hex("d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de");

        let one = PinProtocol::One.agree(&own, &peer).unwrap();
        assert_eq!(one.mac_key, crypto::sha256(&z));
        assert_eq!(one.aes_key, one.mac_key);

        let two = PinProtocol::Two.agree(&own, &peer).unwrap();
        let prk = crypto::hmac_sha256(&[0; 32], &[&z]);
        assert_eq!(two.mac_key, crypto::hmac_sha256(&prk, &[b"CTAP2 HMAC key", &[1]]));
        assert_eq!(two.aes_key, crypto::hmac_sha256(&prk, &[b"CTAP2 AES key", &[1]]));
    }

    /// NIST SP 800-38A F.2.5, CBC-AES256: the IV travels in front under protocol two.
    #[test]
    fn decryption_of_sp_800_38a() {
        let hex = |text: &str| crypto::from_hex(text).unwrap();
        let aes_key: [u8; 32] = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
            .try_into()
            .unwrap();
        let shared = Shared {
            protocol: PinProtocol::Two,
            mac_key: [0; 32],
            aes_key,
        };
        let sent = hex("000102030405060708090a0b0c0d0e0ff58c4c04d6e5f1ba779eabfb5f7bfbd6");
        assert_eq!(shared.decrypt(&sent).unwrap(), hex("6bc1bee22e409f96e93d7e117393172a"));
        assert!(shared.decrypt(&sent[..20]).is_none());
        assert!(shared.decrypt(&sent[..9]).is_none());
    }

    #[test]
    fn tags_have_the_length_of_their_protocol() {
        let full = crypto::hmac_sha256(&[7; 32], &[b"message"]);
        assert!(PinProtocol::One.verify(&[7; 32], &[b"mess", b"age"], &full[..16]));
        assert!(!PinProtocol::One.verify(&[7; 32], &[b"message"], &full));
        assert!(PinProtocol::Two.verify(&[7; 32], &[b"message"], &full));
        assert!(!PinProtocol::Two.verify(&[7; 32], &[b"message"], &full[..16]));
    }
}
