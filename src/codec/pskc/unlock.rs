//! Keys, MACs and ciphers of a container (RFC 6030 section 6).

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use aes::{Aes128, Aes192, Aes256};
use aes_kw::{KwAes128, KwAes192, KwAes256, KwpAes128, KwpAes192, KwpAes256};
use data_encoding::BASE64;
use des::TdesEde3;
use hmac::{Hmac, KeyInit, Mac};
use roxmltree::Node;
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::package::{child, content};
use super::{Integrity, PskcError, Unlock};
use crate::codec::delivery::{KeyOrigin, Protection};
use crate::types::Secret;

/// Most rounds of PBKDF2 that are done for a file: a few seconds.
pub const MAX_ITERATIONS: u32 = 5_000_000;
/// Longest encrypted value in bytes, IV included.
const MAX_VALUE_LEN: usize = 1024;
/// Longest salt in bytes.
const MAX_SALT_LEN: usize = 1024;

/// Base64 with line breaks in it. No copy is left behind.
pub fn decode(written: &str) -> Option<Secret> {
    // Four characters for three bytes; blanks are not counted.
    let mut kept = Zeroizing::new(Vec::with_capacity(written.len().min(4 * MAX_VALUE_LEN)));
    for byte in written.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        if kept.len() == 2 * MAX_VALUE_LEN {
            return None;
        }
        kept.push(byte);
    }
    let mut bytes = Zeroizing::new(vec![0; BASE64.decode_len(kept.len()).ok()?]);
    let length = BASE64.decode_mut(&kept, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(Secret::new(std::mem::take(&mut *bytes)))
}

/// The last part of an algorithm's URI, in small letters.
fn name_of(node: Node<'_, '_>) -> String {
    let uri = node.attribute("Algorithm").unwrap_or_default();
    let name = uri.rsplit('#').next().unwrap_or_default().trim();
    name.chars().take(64).collect::<String>().to_ascii_lowercase()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cipher {
    AesCbc(usize),
    TripleDesCbc,
    KeyWrap(usize),
    KeyWrapPad(usize),
}

impl Cipher {
    fn parse(name: &str) -> Result<Self, PskcError> {
        Ok(match name {
            "aes128-cbc" => Self::AesCbc(16),
            "aes192-cbc" => Self::AesCbc(24),
            "aes256-cbc" => Self::AesCbc(32),
            "tripledes-cbc" => Self::TripleDesCbc,
            "kw-aes128" => Self::KeyWrap(16),
            "kw-aes192" => Self::KeyWrap(24),
            "kw-aes256" => Self::KeyWrap(32),
            "kw-aes-128-pad" => Self::KeyWrapPad(16),
            "kw-aes-192-pad" => Self::KeyWrapPad(24),
            "kw-aes-256-pad" => Self::KeyWrapPad(32),
            "rsa_1_5" | "rsa-1_5" | "rsa-oaep-mgf1p" | "rsa-oaep" => return Err(PskcError::Certificate),
            name => {
                return Err(PskcError::Unsupported {
                    what: "cipher",
                    name: name.to_owned(),
                });
            }
        })
    }

    const fn key_len(self) -> usize {
        match self {
            Self::AesCbc(length) | Self::KeyWrap(length) | Self::KeyWrapPad(length) => length,
            Self::TripleDesCbc => 24,
        }
    }

    /// Whether it tells a change by itself.
    const fn authenticates(self) -> bool {
        matches!(self, Self::KeyWrap(_) | Self::KeyWrapPad(_))
    }

    /// Decrypts; `None` when it does not.
    fn decrypt(self, key: &[u8], sealed: &[u8]) -> Option<Secret> {
        match self {
            Self::AesCbc(16) => cbc::<cbc::Decryptor<Aes128>>(key, sealed, 16),
            Self::AesCbc(24) => cbc::<cbc::Decryptor<Aes192>>(key, sealed, 16),
            Self::AesCbc(_) => cbc::<cbc::Decryptor<Aes256>>(key, sealed, 16),
            Self::TripleDesCbc => cbc::<cbc::Decryptor<TdesEde3>>(key, sealed, 8),
            Self::KeyWrap(_) | Self::KeyWrapPad(_) => self.unwrap(key, sealed),
        }
    }

    /// RFC 3394 and RFC 5649.
    fn unwrap(self, key: &[u8], sealed: &[u8]) -> Option<Secret> {
        let shortest = if matches!(self, Self::KeyWrap(_)) { 24 } else { 16 };
        if sealed.len() < shortest || !sealed.len().is_multiple_of(8) {
            return None;
        }
        let mut out = Zeroizing::new(vec![0; sealed.len() - 8]);
        let opened = match self {
            Self::KeyWrap(16) => KwAes128::new_from_slice(key).ok()?.unwrap_key(sealed, &mut out),
            Self::KeyWrap(24) => KwAes192::new_from_slice(key).ok()?.unwrap_key(sealed, &mut out),
            Self::KeyWrap(_) => KwAes256::new_from_slice(key).ok()?.unwrap_key(sealed, &mut out),
            Self::KeyWrapPad(16) => KwpAes128::new_from_slice(key).ok()?.unwrap_key(sealed, &mut out),
            Self::KeyWrapPad(24) => KwpAes192::new_from_slice(key).ok()?.unwrap_key(sealed, &mut out),
            _ => KwpAes256::new_from_slice(key).ok()?.unwrap_key(sealed, &mut out),
        };
        opened.ok().map(|bytes| Secret::new(bytes.to_vec()))
    }
}

/// CBC with the IV in front and the padding of XML Encryption (section 5.2.1): its last byte tells its length, the others may
/// be anything. What has a MAC was checked before, so that the padding tells an attacker nothing.
fn cbc<D: BlockModeDecrypt + KeyIvInit>(key: &[u8], sealed: &[u8], block: usize) -> Option<Secret> {
    let (iv, sealed) = sealed.split_at_checked(block)?;
    let cipher = D::new_from_slices(key, iv).ok()?;
    let mut plain = Zeroizing::new(sealed.to_vec());
    cipher.decrypt_padded::<NoPadding>(&mut plain).ok()?;
    let padding = usize::from(*plain.last()?);
    if !(1..=block).contains(&padding) {
        return None;
    }
    let length = plain.len().checked_sub(padding)?;
    plain.truncate(length);
    Some(Secret::new(std::mem::take(&mut *plain)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "hmac-sha1" => Self::Sha1,
            "hmac-sha224" => Self::Sha224,
            "hmac-sha256" => Self::Sha256,
            "hmac-sha384" => Self::Sha384,
            "hmac-sha512" => Self::Sha512,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "hmac-sha1",
            Self::Sha224 => "hmac-sha224",
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }

    /// Compares in constant time; a shortened MAC does not match.
    fn matches(self, key: &[u8], message: &[u8], mac: &[u8]) -> bool {
        fn matches<M: Mac + KeyInit>(key: &[u8], message: &[u8], mac: &[u8]) -> bool {
            <M as KeyInit>::new_from_slice(key).is_ok_and(|mut hmac| {
                hmac.update(message);
                hmac.verify_slice(mac).is_ok()
            })
        }
        match self {
            Self::Sha1 => matches::<Hmac<Sha1>>(key, message, mac),
            Self::Sha224 => matches::<Hmac<Sha224>>(key, message, mac),
            Self::Sha256 => matches::<Hmac<Sha256>>(key, message, mac),
            Self::Sha384 => matches::<Hmac<Sha384>>(key, message, mac),
            Self::Sha512 => matches::<Hmac<Sha512>>(key, message, mac),
        }
    }

    fn derive(self, passphrase: &[u8], salt: &[u8], rounds: u32, key: &mut [u8]) {
        match self {
            Self::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(passphrase, salt, rounds, key),
            Self::Sha224 => pbkdf2::pbkdf2_hmac::<Sha224>(passphrase, salt, rounds, key),
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(passphrase, salt, rounds, key),
            Self::Sha384 => pbkdf2::pbkdf2_hmac::<Sha384>(passphrase, salt, rounds, key),
            Self::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(passphrase, salt, rounds, key),
        }
    }
}

/// Opens the values of one file.
pub struct Opener {
    key: Option<Secret>,
    /// Why there is none: told when the first encrypted value comes.
    keyless: PskcError,
    mac: Option<(Hash, Option<Secret>)>,
    integrity: Integrity,
    protection: Protection,
}

impl Opener {
    /// Finds the key and the MAC key of a container.
    pub fn new(root: Node<'_, '_>, unlock: &Unlock, integrity: Integrity) -> Result<Self, PskcError> {
        let mut opener = Self {
            key: None,
            keyless: PskcError::NeedsKey,
            mac: None,
            integrity,
            protection: Protection::default(),
        };
        if let Some(node) = child(root, "EncryptionKey") {
            opener.find_key(node, unlock)?;
        } else if let Some(key) = &unlock.key {
            // Some makers leave it out.
            opener.take(key);
        }
        if let Some(node) = child(root, "MACMethod") {
            opener.find_mac(node)?;
        }
        Ok(opener)
    }

    /// How the values were protected, once they have been read.
    pub fn protection(&self) -> Protection {
        let mut protection = self.protection.clone();
        if protection.cipher.is_none() {
            protection.key = KeyOrigin::Plain;
            protection.mac = None;
        }
        protection
    }

    /// A seed stood there in plain.
    pub const fn saw_plain(&mut self) {
        self.protection.plain = self.protection.plain.saturating_add(1);
    }

    fn take(&mut self, key: &Secret) {
        // Exposed to copy it from one secret to another.
        self.key = Some(Secret::new(key.expose().to_vec()));
        self.protection.key = KeyOrigin::PreShared;
    }

    fn find_key(&mut self, node: Node<'_, '_>, unlock: &Unlock) -> Result<(), PskcError> {
        if let Some(derived) = child(node, "DerivedKey") {
            let Some(passphrase) = &unlock.passphrase else {
                self.keyless = PskcError::NeedsPassphrase;
                return Ok(());
            };
            return self.derive(derived, passphrase);
        }
        let certificate = ["X509Data", "EncryptedKey", "KeyValue"];
        if certificate.iter().any(|name| child(node, name).is_some()) {
            self.keyless = PskcError::Certificate;
        } else if let Some(key) = &unlock.key {
            self.take(key);
        }
        Ok(())
    }

    /// PBKDF2 (RFC 8018) with the parameters of XML Encryption 1.1 or of PKCS #5's own schema.
    fn derive(&mut self, derived: Node<'_, '_>, passphrase: &Secret) -> Result<(), PskcError> {
        let line = line_of(derived);
        let malformed = |what| PskcError::Malformed { what, line };
        let method = child(derived, "KeyDerivationMethod").ok_or_else(|| malformed("the key derivation method"))?;
        let name = name_of(method);
        if name != "pbkdf2" {
            return Err(PskcError::Unsupported {
                what: "key derivation",
                name,
            });
        }
        let parameters = child(method, "PBKDF2-params").ok_or_else(|| malformed("the parameters of PBKDF2"))?;
        let salt = child(parameters, "Salt").and_then(|salt| child(salt, "Specified"));
        let salt = salt
            .and_then(|salt| decode(content(salt)))
            .filter(|salt| salt.len() <= MAX_SALT_LEN)
            .ok_or_else(|| malformed("the salt of PBKDF2"))?;
        let number = |name| child(parameters, name).map(|node| content(node).trim().parse::<u64>());
        let rounds = number("IterationCount")
            .and_then(Result::ok)
            .ok_or_else(|| malformed("the rounds of PBKDF2"))?;
        let iterations = u32::try_from(rounds)
            .ok()
            .filter(|rounds| (1..=MAX_ITERATIONS).contains(rounds))
            .ok_or(PskcError::Iterations(rounds))?;
        let length = match number("KeyLength") {
            Some(Ok(length @ (16 | 24 | 32))) => usize::try_from(length).unwrap_or(0),
            Some(_) => return Err(malformed("the key length of PBKDF2")),
            // The cipher of the first value tells.
            None => first_cipher(derived).ok_or_else(|| malformed("the key length of PBKDF2"))?,
        };
        let prf = child(parameters, "PRF").map(name_of).filter(|name| !name.is_empty());
        let prf = match prf {
            None => Hash::Sha1,
            Some(name) => Hash::parse(&name).ok_or(PskcError::Unsupported {
                what: "pseudo-random function",
                name,
            })?,
        };
        let mut key = Zeroizing::new(vec![0; length]);
        // Exposed to derive the key.
        prf.derive(passphrase.expose(), salt.expose(), iterations, &mut key);
        self.key = Some(Secret::new(std::mem::take(&mut *key)));
        self.protection.key = KeyOrigin::Passphrase {
            prf: prf.name(),
            iterations,
        };
        Ok(())
    }

    fn find_mac(&mut self, node: Node<'_, '_>) -> Result<(), PskcError> {
        let name = name_of(node);
        let hash = Hash::parse(&name).ok_or(PskcError::Unsupported { what: "MAC", name })?;
        self.protection.mac = Some(hash.name().to_owned());
        let key = match child(node, "MACKey") {
            None => None,
            Some(value) if self.key.is_some() => Some(self.decrypt(value, line_of(node))?.0),
            // Without a key nothing is opened at all.
            Some(_) => return Ok(()),
        };
        self.mac = Some((hash, key));
        Ok(())
    }

    /// Cipher, key and sealed bytes of an `EncryptedDataType`.
    fn sealed(&self, value: Node<'_, '_>, line: u32) -> Result<(Cipher, String, Secret), PskcError> {
        let malformed = |what| PskcError::Malformed { what, line };
        let method = child(value, "EncryptionMethod").ok_or_else(|| malformed("an encryption method"))?;
        let name = name_of(method);
        let cipher = Cipher::parse(&name)?;
        let sealed = child(value, "CipherData")
            .and_then(|data| child(data, "CipherValue"))
            .and_then(|value| decode(content(value)))
            .filter(|sealed| sealed.len() <= MAX_VALUE_LEN)
            .ok_or_else(|| malformed("an encrypted value"))?;
        Ok((cipher, name, sealed))
    }

    fn key_for(&self, cipher: Cipher, name: &str) -> Result<&Secret, PskcError> {
        let key = self.key.as_ref().ok_or_else(|| self.keyless.clone())?;
        if key.len() == cipher.key_len() {
            Ok(key)
        } else {
            Err(PskcError::KeyLength {
                is: key.len(),
                needs: cipher.key_len(),
                cipher: name.to_owned(),
            })
        }
    }

    /// Decrypts without asking for a MAC: the MAC key itself.
    fn decrypt(&self, value: Node<'_, '_>, line: u32) -> Result<(Secret, Cipher, String), PskcError> {
        let (cipher, name, sealed) = self.sealed(value, line)?;
        let key = self.key_for(cipher, &name)?;
        // Exposed to decrypt.
        let plain = cipher
            .decrypt(key.expose(), sealed.expose())
            .ok_or(PskcError::Decrypt(line))?;
        Ok((plain, cipher, name))
    }

    /// Opens a value: the MAC over IV and ciphertext first, then the cipher.
    pub fn open(&mut self, value: Node<'_, '_>, mac: Option<Node<'_, '_>>, line: u32) -> Result<Secret, PskcError> {
        let (cipher, name, sealed) = self.sealed(value, line)?;
        let key = self.key_for(cipher, &name)?;
        let mut unauthenticated = false;
        match (mac, &self.mac) {
            (Some(written), Some((hash, mac_key))) => {
                // RFC 6030 section 6.1.1: without a key of its own the MAC takes the encryption key.
                let mac_key = mac_key.as_ref().unwrap_or(key);
                let written = decode(content(written)).ok_or(PskcError::Mac(line))?;
                // Exposed to key the MAC.
                if !hash.matches(mac_key.expose(), sealed.expose(), written.expose()) {
                    return Err(PskcError::Mac(line));
                }
            }
            _ if cipher.authenticates() => {}
            _ if self.integrity == Integrity::Lax => unauthenticated = true,
            _ => return Err(PskcError::NoMac(line)),
        }
        let plain = cipher
            .decrypt(key.expose(), sealed.expose())
            .ok_or(PskcError::Decrypt(line))?;
        self.protection.cipher.get_or_insert(name);
        self.protection.unauthenticated = self.protection.unauthenticated.saturating_add(unauthenticated.into());
        Ok(plain)
    }
}

/// Line of something that stands once in a file.
fn line_of(node: Node<'_, '_>) -> u32 {
    node.document().text_pos_at(node.range().start).row
}

/// Key length of the first cipher after the key's description.
fn first_cipher(derived: Node<'_, '_>) -> Option<usize> {
    let methods = derived
        .document()
        .descendants()
        .filter(|node| super::package::is(*node, "EncryptionMethod"));
    methods
        .map(name_of)
        .find_map(|name| Cipher::parse(&name).ok())
        .map(Cipher::key_len)
}
