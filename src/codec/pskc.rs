//! Portable Symmetric Key Container (RFC 6030): reading and writing.
//!
//! Read in this order: the file is measured before it is parsed ([`scan`]), the key is found or derived and MACs are checked
//! before anything is decrypted ([`unlock`]), then every key package is read ([`package`]). What a file of one package
//! says wrongly rejects that package; a MAC that does not match refuses the whole file.

mod package;
mod policy;
mod scan;
mod unlock;
mod write;

use zeroize::Zeroizing;

use super::delivery::{
    Delivered, Delivery, Flaw, Lines, MAX_ENTRIES, MAX_FILE_LEN, Moving, Rejected, algorithm, checked, text,
};
use crate::types::{OathAlgorithm, Secret};

pub use package::{Algorithm, Encoding, PskcKey, ResponseFormat};
pub use policy::{KeyUsage, PinPolicy, PinUsage, Policy};
pub use unlock::MAX_ITERATIONS;
pub use write::{EXPORT_ITERATIONS, Outgoing, randomness_needed, write};

/// Namespace of PSKC 1.0.
pub(super) const NAMESPACE: &str = "urn:ietf:params:xml:ns:keyprov:pskc";

/// Default number of digits where a file says nothing.
const DEFAULT_DIGITS: u64 = 6;
/// Default step in seconds where a file says nothing (RFC 6238 section 4.1).
const DEFAULT_PERIOD_S: u64 = 30;

/// What may open a file.
#[derive(Default)]
pub struct Unlock {
    /// A key agreed on beforehand: its bytes.
    pub key: Option<Secret>,
    /// A passphrase, UTF-8.
    pub passphrase: Option<Secret>,
}

/// What is demanded of encrypted values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Integrity {
    /// What is encrypted by a cipher that does not tell a change (CBC) must have a MAC.
    #[default]
    Strict,
    /// It may lack one. A MAC that is there must match all the same.
    Lax,
}

/// Why a whole file is refused. No value of the file is repeated, except the names of algorithms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PskcError {
    /// Too large.
    #[error("the file is larger than {} MiB", MAX_FILE_LEN >> 20)]
    TooLarge,
    /// Deeper, wider or longer than any seed file is.
    #[error("the file is built deeper or wider than any seed file is, near line {0}")]
    TooComplex(u32),
    /// Too many packages.
    #[error("the file has more than {MAX_ENTRIES} key packages: split it")]
    TooMany,
    /// Not UTF-8.
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// Not XML.
    #[error("the file is not well-formed XML near line {0}")]
    Xml(u32),
    /// A document type declaration.
    #[error(
        "the file has a document type declaration, which no seed file needs; it is refused since it could make us read other files"
    )]
    Dtd,
    /// Another root element or version.
    #[error("the file is not a PSKC key container of version 1 (RFC 6030)")]
    NotPskc,
    /// Something of the container that is required and missing, or malformed.
    #[error("{what} is missing or malformed (line {line})")]
    Malformed {
        /// What, in words.
        what: &'static str,
        /// Where.
        line: u32,
    },
    /// A pre-shared key is needed.
    #[error("the seeds are encrypted to a pre-shared key: give it")]
    NeedsKey,
    /// A passphrase is needed.
    #[error("the seeds are encrypted to a passphrase: give it")]
    NeedsPassphrase,
    /// The key given has another length than the cipher's.
    #[error("the key has {is} bytes; {cipher} takes {needs}")]
    KeyLength {
        /// Of the key.
        is: usize,
        /// Of the cipher.
        needs: usize,
        /// Its name.
        cipher: String,
    },
    /// Encrypted to a certificate.
    #[error("the seeds are encrypted to a certificate: ask the maker for a file with a passphrase or a pre-shared key")]
    Certificate,
    /// Something we do not compute.
    #[error("the {what} “{name}” is not supported")]
    Unsupported {
        /// “cipher”, “MAC”, “key derivation”.
        what: &'static str,
        /// What the file calls it, cut.
        name: String,
    },
    /// Rounds beyond the cap, or none.
    #[error("the file asks for {0} rounds of PBKDF2; 1 to {MAX_ITERATIONS} are done")]
    Iterations(u64),
    /// Encrypted without a MAC.
    #[error(
        "the seed at line {0} is encrypted without a MAC, so that a change would go unnoticed; if you trust the way it came, ask for integrity “lax”"
    )]
    NoMac(u32),
    /// The MAC does not match.
    #[error("the MAC at line {0} does not match: the key or passphrase is wrong, or the file was changed")]
    Mac(u32),
    /// It does not decrypt.
    #[error("what is encrypted at line {0} does not decrypt: the key or passphrase is wrong, or the file was changed")]
    Decrypt(u32),
}

/// A file as it is written, nothing left out.
pub struct Container {
    /// Its packages' keys, in order; a package that cannot be read by its flaw.
    pub keys: Vec<Entry>,
    /// How the values were protected.
    pub protection: super::delivery::Protection,
}

/// One key package.
pub struct Entry {
    /// Where it stands in the file, in bytes.
    pub span: std::ops::Range<usize>,
    /// Line it begins at.
    pub line: u32,
    /// What it holds.
    pub key: Result<PskcKey, Flaw>,
}

/// Reads a container. `file` may begin with a byte order mark.
///
/// # Errors
/// [`PskcError`].
pub fn read(file: &[u8], unlock: &Unlock, integrity: Integrity) -> Result<Container, PskcError> {
    if file.len() > MAX_FILE_LEN {
        return Err(PskcError::TooLarge);
    }
    let mut bytes = Zeroizing::new(file.to_vec());
    // A carriage return would make the parser keep a normalised copy of every text, which nobody wipes. As a blank it means
    // the same in every place that PSKC has, and all positions stay.
    for byte in bytes.iter_mut().filter(|byte| **byte == b'\r') {
        *byte = b' ';
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| PskcError::NotUtf8)?;
    let mark = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let text = text.get(mark..).unwrap_or_default();
    scan::measure(text)?;
    let options = roxmltree::ParsingOptions {
        allow_dtd: false,
        nodes_limit: scan::MAX_NODES,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(text, options).map_err(|error| match error {
        roxmltree::Error::DtdDetected => PskcError::Dtd,
        roxmltree::Error::NodesLimitReached => PskcError::TooComplex(0),
        error => PskcError::Xml(error.pos().row),
    })?;
    let root = document.root_element();
    let version = root.attribute("Version").unwrap_or_default();
    if root.tag_name().name() != "KeyContainer" || !(version == "1" || version.starts_with("1.")) {
        return Err(PskcError::NotPskc);
    }
    let mut opener = unlock::Opener::new(root, unlock, integrity)?;
    let mut lines = Lines::new(text.as_bytes());
    let mut keys = Vec::new();
    for node in root.children().filter(|node| package::is(*node, "KeyPackage")) {
        if keys.len() == MAX_ENTRIES {
            return Err(PskcError::TooMany);
        }
        let span = node.range();
        let line = lines.at(span.start);
        keys.push(Entry {
            key: package::read(node, &mut opener, line)?,
            line,
            span: span.start + mark..span.end + mark,
        });
    }
    let mut protection = opener.protection();
    protection.signed = root.children().any(|node| package::is(node, "Signature"));
    Ok(Container { keys, protection })
}

/// Reads a container as a delivery of one-time password tokens.
///
/// # Errors
/// [`PskcError`].
pub fn deliver(file: &[u8], unlock: &Unlock, integrity: Integrity) -> Result<Delivery, PskcError> {
    let container = read(file, unlock, integrity)?;
    let mut delivery = Delivery {
        protection: container.protection,
        ..Delivery::default()
    };
    for Entry { span, line, key } in container.keys {
        let serial = key.as_ref().ok().and_then(|key| key.serial.clone());
        let token = key.and_then(|key| token(key, line, span.clone()));
        match token.and_then(|token| checked(token).map_err(|(flaw, _)| flaw)) {
            Ok(token) => delivery.tokens.push(token),
            Err(why) => delivery.rejected.push(Rejected {
                span,
                line,
                serial,
                why,
            }),
        }
    }
    Ok(delivery)
}

/// What a key is as a token.
fn token(key: PskcKey, line: u32, span: std::ops::Range<usize>) -> Result<Delivered, Flaw> {
    let default = match &key.algorithm {
        Algorithm::Hotp => Moving::Event {
            counter: u64::try_from(key.counter.unwrap_or(0)).map_err(|_| Flaw::Number("counter"))?,
        },
        Algorithm::Totp => {
            let period = key.time_interval.map_or(Ok(DEFAULT_PERIOD_S), u64::try_from);
            let period = period.map_err(|_| Flaw::Number("time interval"))?;
            Moving::Time {
                period_s: u32::try_from(period).map_err(|_| Flaw::Period(period))?,
                drift_steps: key.time_drift.unwrap_or(0),
            }
        }
        Algorithm::Pin | Algorithm::Other(_) => return Err(Flaw::Type),
    };
    key.policy.permits_otp().map_err(Flaw::Policy)?;
    let response = key.response.unwrap_or_default();
    if response.encoding != Encoding::Decimal || response.check_digits {
        return Err(Flaw::Format);
    }
    let digits = response.length.unwrap_or(DEFAULT_DIGITS);
    Ok(Delivered {
        span,
        line,
        moving: default,
        algorithm: key.suite.as_deref().map_or(Ok(OathAlgorithm::Sha1), algorithm)?,
        digits: u8::try_from(digits).map_err(|_| Flaw::Digits(digits))?,
        seed: key.secret.ok_or(Flaw::Missing("seed"))?,
        serial: text("serial", key.serial.as_deref())?,
        maker: text("manufacturer", key.manufacturer.as_deref())?,
        model: text("model", key.model.as_deref())?,
        subject: text("user id", key.user_id.as_deref().or(key.device_user_id.as_deref()))?,
        label: text("name", key.friendly_name.as_deref().or(key.issuer.as_deref()))?,
        valid_from: key.policy.start.max(key.device_start),
        valid_until: match (key.policy.expiry, key.device_expiry) {
            (Some(policy), Some(device)) => Some(policy.min(device)),
            (policy, device) => policy.or(device),
        },
    })
}

#[cfg(test)]
mod tests;
