//! The sealing key and what hangs on it: sealed seeds, the journal's MACs and the tags that stand for personal data.
//!
//! One key of 32 random bytes is held outside the ledger. HKDF-SHA-256 (RFC 5869) makes the subkeys from it: `seal` for the
//! seeds, `journal` for chain and head, `personal` for tags, `recovery` for recovery codes. MAC subkeys are 64 bytes, a whole SHA-256 block (RFC 2104
//! section 3).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::LedgerError;
use crate::types::{Secret, TokenId};

/// Length of the sealing key in bytes.
pub const KEY_LEN: usize = 32;
/// A keyed tag or MAC: HMAC-SHA-256, 32 bytes.
pub(crate) type Tag = [u8; 32];
/// Version of the sealing scheme, part of the associated data. A rotation raises it.
pub(crate) const KEY_VERSION: u32 = 1;
/// The column whose content is sealed, part of the associated data.
const SEALED_COLUMN: &[u8] = b"seeds.sealed";

/// Where the sealing key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A systemd credential, `$CREDENTIALS_DIRECTORY/claviger.key`. systemd guards owner and mode by itself (it may use an
    /// ACL that shows up as group bits), so only the length is checked; it is never created here.
    Credential(PathBuf),
    /// A key file of our own: ours, mode 0600 or stricter; made when it is absent and there is no ledger yet.
    File(PathBuf),
}

impl KeySource {
    fn path(&self) -> &Path {
        match self {
            Self::Credential(path) | Self::File(path) => path,
        }
    }
}

/// The subkeys and the key's id. No `Debug`, no `Clone`.
pub(crate) struct Keys {
    /// Names the key without telling anything about it; stands beside what was sealed with it.
    pub(crate) id: [u8; 8],
    seal: Zeroizing<[u8; 32]>,
    // Keyed once, and wiped on drop as the keys themselves would be.
    journal: Hmac<Sha256>,
    personal: Hmac<Sha256>,
    recovery: Hmac<Sha256>,
}

/// A seed as it is stored.
pub(crate) struct Sealed {
    pub(crate) key_id: Vec<u8>,
    pub(crate) key_version: u32,
    pub(crate) nonce: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
}

impl Keys {
    /// Reads the key, or makes it if `may_create` and the source is a file that is not there.
    ///
    /// # Errors
    /// [`LedgerError::Key`] with a sentence that says what is wrong with the key and what to do.
    pub(crate) fn load(source: &KeySource, may_create: bool) -> Result<Self, LedgerError> {
        let path = source.path();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(path);
        let file = match (opened, source) {
            (Ok(file), _) => file,
            (Err(why), KeySource::File(_)) if why.kind() == io::ErrorKind::NotFound && may_create => {
                let key = random::<KEY_LEN>()?;
                write_new(path, &*key).map_err(|why| creation(path, &why))?;
                return Self::derive(&key);
            }
            (Err(why), KeySource::File(_)) if why.kind() == io::ErrorKind::NotFound => {
                return Err(key_error(
                    path,
                    "is missing; the ledger was sealed with it: restore it from the backup",
                ));
            }
            (Err(why), _) => return Err(key_error(path, &format!("cannot be read: {why}"))),
        };
        if let KeySource::File(_) = source {
            check_mode(path, &file)?;
        }
        Self::derive(&*read_key(path, file)?)
    }

    fn derive(key: &[u8; KEY_LEN]) -> Result<Self, LedgerError> {
        let hkdf = Hkdf::<Sha256>::new(Some(b"claviger ledger 1"), key);
        let expand = |label: &[u8], key: &mut [u8]| {
            let too_long = |_| LedgerError::Key("cannot be expanded".to_owned());
            hkdf.expand(label, key).map_err(too_long)
        };
        let keyed = |label: &[u8]| {
            let mut key = Zeroizing::new([0; 64]);
            expand(label, &mut *key)?;
            Ok::<_, LedgerError>(Hmac::<Sha256>::new((&*key).into()))
        };
        let mut keys = Self {
            id: [0; 8],
            seal: Zeroizing::new([0; 32]),
            journal: keyed(b"journal")?,
            personal: keyed(b"personal")?,
            recovery: keyed(b"recovery")?,
        };
        expand(b"id", &mut keys.id)?;
        expand(b"seal", &mut *keys.seal)?;
        Ok(keys)
    }

    /// Seals a seed for one token under a fresh random nonce of 24 bytes.
    ///
    /// # Errors
    /// [`LedgerError::Key`] when the kernel gives no random bytes.
    pub(crate) fn seal(&self, token: TokenId, seed: &Secret) -> Result<Sealed, LedgerError> {
        let nonce = random::<24>()?;
        let aad = associated(token, KEY_VERSION);
        let message = Payload {
            msg: seed.expose(),
            aad: &aad,
        };
        let bytes = XChaCha20Poly1305::new((&*self.seal).into())
            .encrypt(&XNonce::from(*nonce), message)
            .map_err(|_| LedgerError::Storage("the seed is too long to be sealed".to_owned()))?;
        Ok(Sealed {
            key_id: self.id.to_vec(),
            key_version: KEY_VERSION,
            nonce: nonce.to_vec(),
            bytes,
        })
    }

    /// Opens a sealed seed; `None` when it was sealed for another token, by another key, or was changed.
    pub(crate) fn open(&self, token: TokenId, sealed: &Sealed) -> Option<Secret> {
        if sealed.key_id != self.id {
            return None;
        }
        let nonce: [u8; 24] = sealed.nonce.as_slice().try_into().ok()?;
        let aad = associated(token, sealed.key_version);
        let message = Payload {
            msg: &sealed.bytes,
            aad: &aad,
        };
        XChaCha20Poly1305::new((&*self.seal).into())
            .decrypt(&XNonce::from(nonce), message)
            .ok()
            .map(Secret::new)
    }

    /// MAC with the journal subkey over the bytes as they are; the caller sees to it that they parse in one way only.
    pub(crate) fn journal_mac(&self, parts: &[&[u8]]) -> Tag {
        let mut mac = self.journal.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// What is stored of a recovery code: HMAC-SHA-256 under a subkey, over the token's id and the code. A code has at least 64
    /// random bits, so that a slow hash would add nothing (NIST SP 800-63B-4 section 4.2.1.1), and without the sealing key the
    /// rows are worth nothing to who has them.
    pub(crate) fn recovery_mac(&self, token: TokenId, code: &Secret) -> Tag {
        let mut mac = self.recovery.clone();
        mac.update(token.as_bytes());
        mac.update(code.expose());
        mac.finalize().into_bytes().into()
    }

    /// The same of an emergency bypass, over the id of its case and the code. What is in front of the id keeps it apart from a
    /// recovery code's.
    pub(crate) fn bypass_mac(&self, case: &[u8; 16], code: &Secret) -> Tag {
        let mut mac = self.recovery.clone();
        mac.update(b"bypass");
        mac.update(case);
        mac.update(code.expose());
        mac.finalize().into_bytes().into()
    }

    /// Tag with the personal subkey over a label and parts, each preceded by its length (64 bits, big-endian).
    pub(crate) fn tag(&self, label: &'static str, parts: &[&[u8]]) -> Tag {
        let mut mac = self.personal.clone();
        for part in std::iter::once(&label.as_bytes()).chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Random bytes from the kernel.
///
/// # Errors
/// [`LedgerError::Key`] when there are none.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, LedgerError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|why| LedgerError::Key(format!("the kernel gives no random bytes: {why}")))?;
    Ok(bytes)
}

/// Token id (16 bytes), column name, key version (32 bits, big-endian). Only the middle one could vary in length, and it is a
/// constant.
fn associated(token: TokenId, version: u32) -> Vec<u8> {
    [token.as_bytes().as_slice(), SEALED_COLUMN, &version.to_be_bytes()].concat()
}

fn key_error(path: &Path, what: &str) -> LedgerError {
    LedgerError::Key(format!("{} {what}", path.display()))
}

fn creation(path: &Path, why: &io::Error) -> LedgerError {
    let place = || path.parent().unwrap_or(path).display().to_string();
    match why.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LedgerError::Full(place()),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => LedgerError::ReadOnly(place()),
        _ => key_error(path, &format!("cannot be created: {why}")),
    }
}

fn check_mode(path: &Path, file: &File) -> Result<(), LedgerError> {
    let meta = file
        .metadata()
        .map_err(|why| key_error(path, &format!("cannot be read: {why}")))?;
    if !meta.is_file() {
        return Err(key_error(path, "is not a regular file"));
    }
    let us = nix::unistd::geteuid().as_raw();
    if meta.uid() != us {
        let what = format!("belongs to uid {}; it must belong to uid {us}: chown it", meta.uid());
        return Err(key_error(path, &what));
    }
    if meta.mode() & 0o077 != 0 {
        let what = format!(
            "has mode {:04o}; nobody else may read it: chmod 0600",
            meta.mode() & 0o7777
        );
        return Err(key_error(path, &what));
    }
    Ok(())
}

fn read_key(path: &Path, file: File) -> Result<Zeroizing<[u8; KEY_LEN]>, LedgerError> {
    // One byte more than we want, allocated at once, so that a longer file is noticed and no copy is left behind by growth.
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_LEN + 1));
    file.take(KEY_LEN as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|why| key_error(path, &format!("cannot be read: {why}")))?;
    let key: [u8; KEY_LEN] = bytes.as_slice().try_into().map_err(|_| {
        let found = if bytes.len() > KEY_LEN {
            "more".to_owned()
        } else {
            bytes.len().to_string()
        };
        key_error(path, &format!("must hold exactly {KEY_LEN} bytes; it holds {found}"))
    })?;
    Ok(Zeroizing::new(key))
}

/// Writes the key beside its place and links it in: it appears whole or not at all, and never over another.
fn write_new(path: &Path, key: &[u8]) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let draft = parent.join(format!(".{name}.{}.new", std::process::id()));
    let _ = fs::remove_file(&draft);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(key).and_then(|()| file.sync_all()))
        .and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    written?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(first: u8) -> Keys {
        let mut key = [7; KEY_LEN];
        key[0] = first;
        Keys::derive(&key).unwrap()
    }

    #[test]
    fn a_seed_opens_for_its_token_its_key_and_its_version_only() {
        let (token, other) = (TokenId::generate(), TokenId::generate());
        let seed = Secret::new(b"twenty bytes of seed".to_vec());
        let sealed = |change: fn(&mut Sealed)| {
            let mut sealed = keys(1).seal(token, &seed).unwrap();
            change(&mut sealed);
            sealed
        };
        let plain = sealed(|_| ());
        assert_eq!(keys(1).open(token, &plain).unwrap().expose(), seed.expose());
        assert!(keys(1).open(other, &plain).is_none());
        assert!(keys(2).open(token, &plain).is_none());
        assert!(keys(1).open(token, &sealed(|sealed| sealed.key_version = 2)).is_none());
        assert!(keys(1).open(token, &sealed(|sealed| sealed.nonce[23] ^= 1)).is_none());
        assert!(keys(1).open(token, &sealed(|sealed| sealed.bytes[0] ^= 1)).is_none());
        assert!(keys(1).open(token, &sealed(|sealed| sealed.nonce.clear())).is_none());
        assert!(
            keys(1)
                .open(token, &sealed(|sealed| sealed.bytes.truncate(15)))
                .is_none()
        );
        let again = sealed(|_| ());
        assert_ne!(
            (again.nonce, again.bytes),
            (plain.nonce, plain.bytes),
            "a fresh nonce every time"
        );
    }

    #[test]
    fn subkeys_are_those_of_the_standard_and_differ() {
        // HKDF-SHA-256 with salt "claviger ledger 1" over 32 bytes of 7: computed with Python's hmac module after RFC 5869.
        let keys = keys(7);
        assert_eq!(super::super::journal::hex(&keys.id), "8dbb5f39a934a776");
        let of = |mac: &Hmac<Sha256>| mac.clone().finalize().into_bytes();
        assert_ne!(of(&keys.journal), of(&keys.personal));
        assert_ne!(keys.journal_mac(&[b"a"]), keys.tag("a", &[]));
        assert_ne!(
            keys.tag("a", &[b"bc", b""]),
            keys.tag("a", &[b"b", b"c"]),
            "parts do not run together"
        );
    }
}
