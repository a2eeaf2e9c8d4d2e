//! What a seed file delivers: tokens that can be taken over, entries that cannot and why, and how the seeds were protected on
//! their way. The formats ([`pskc`](super::pskc), [`seedcsv`](super::seedcsv), [`otpauth`](super::otpauth)) all give this.

use std::fmt;
use std::ops::Range;

use super::oath::{MAX_DIGITS, MAX_PERIOD_S, MAX_SEED_LEN, MIN_DIGITS, MIN_PERIOD_S, MIN_SEED_LEN};
use crate::types::{OathAlgorithm, Secret, UnixMillis};

/// Largest seed file in bytes.
pub const MAX_FILE_LEN: usize = 64 << 20;
/// Most entries of one file.
pub const MAX_ENTRIES: usize = 100_000;
/// Longest serial, name or subject in bytes. Longer ones are not cut but refused.
pub const MAX_TEXT_LEN: usize = 256;
/// Most steps that a file may say a clock is off. At 30 s these are ten weeks; nothing drifts so far.
const MAX_DRIFT_STEPS: i64 = 200_000;

/// What moves a token on to its next code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moving {
    /// Time (TOTP, RFC 6238).
    Time {
        /// Time step in seconds.
        period_s: u32,
        /// By how many steps the token's clock is ahead (RFC 6030 section 4.2, `TimeDrift`: in intervals, not seconds).
        drift_steps: i64,
    },
    /// Events (HOTP, RFC 4226).
    Event {
        /// The counter of the next code.
        counter: u64,
    },
}

/// A token of a file, checked: its seed, digits, step and texts are what the ledger takes.
pub struct Delivered {
    /// Where its entry stands in the file, in bytes: what is cut out of the file of what was left.
    pub span: Range<usize>,
    /// Line it begins at, from 1.
    pub line: u32,
    /// What moves it.
    pub moving: Moving,
    /// Hash.
    pub algorithm: OathAlgorithm,
    /// Digits shown.
    pub digits: u8,
    /// Its seed.
    pub seed: Secret,
    /// Serial on its back.
    pub serial: Option<String>,
    /// Its maker.
    pub maker: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Whom the file gives it to.
    pub subject: Option<String>,
    /// Free text: issuer, friendly name.
    pub label: Option<String>,
    /// Not to be used before.
    pub valid_from: Option<UnixMillis>,
    /// Not to be used after.
    pub valid_until: Option<UnixMillis>,
}

/// An entry that cannot be taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Where it stands in the file, in bytes.
    pub span: Range<usize>,
    /// Line it begins at, from 1.
    pub line: u32,
    /// Its serial, if it could be read.
    pub serial: Option<String>,
    /// Why.
    pub why: Flaw,
}

/// Why an entry cannot be taken over. No seed is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A member that must be there is not.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// Seed in the wrong letters.
    #[error("the seed is not valid {0}: ask the maker for the file again, or check how it was edited")]
    Seed(&'static str),
    /// Seed too short or too long.
    #[error("the seed has {0} bytes; it must have {MIN_SEED_LEN} to {MAX_SEED_LEN}")]
    SeedLength(usize),
    /// Digits that no code has.
    #[error("a code has {MIN_DIGITS} to {MAX_DIGITS} digits, not {0}")]
    Digits(u64),
    /// No time step.
    #[error("a time step lasts {MIN_PERIOD_S} to {MAX_PERIOD_S} seconds, not {0}")]
    Period(u64),
    /// A hash that we do not compute.
    #[error("the hash is none of SHA-1, SHA-256 and SHA-512")]
    Algorithm,
    /// A type of key that is no one-time password.
    #[error("it is neither HOTP nor TOTP")]
    Type,
    /// Codes in another form than decimal digits.
    #[error("its codes are not decimal digits, or have a check digit")]
    Format,
    /// A policy that we do not know or cannot keep. RFC 6030 section 5: then the key must not be used.
    #[error("its policy cannot be kept: {0}")]
    Policy(&'static str),
    /// Something that must be a number is none, or too great.
    #[error("its {0} is not a number, or too great")]
    Number(&'static str),
    /// Something that must be a date is none.
    #[error("its {0} is not a date of the form 2026-01-31T00:00:00Z")]
    Date(&'static str),
    /// A text that is too long or has control characters in it.
    #[error("its {0} has control characters or more than {MAX_TEXT_LEN} bytes")]
    Text(&'static str),
    /// A row with too few columns.
    #[error("it has {0} columns; at least {1} are needed")]
    Columns(usize, usize),
    /// Something that is no URI of this scheme.
    #[error("it is not an otpauth:// URI")]
    Uri,
}

/// How the seeds of a file were protected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protection {
    /// Where the key came from.
    pub key: KeyOrigin,
    /// Cipher of the seeds, by its name in XML Encryption: “aes128-cbc”.
    pub cipher: Option<String>,
    /// MAC over them: “hmac-sha1”.
    pub mac: Option<String>,
    /// Seeds that stood there in plain.
    pub plain: u32,
    /// Seeds that were encrypted without anything that tells a change.
    pub unauthenticated: u32,
    /// There is a signature, which was not checked.
    pub signed: bool,
}

/// Where the key came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyOrigin {
    /// There was none: whoever saw the file has the seeds.
    #[default]
    Plain,
    /// A key agreed on beforehand.
    PreShared,
    /// A passphrase, stretched by PBKDF2.
    Passphrase {
        /// Its pseudo-random function: “hmac-sha256”.
        prf: &'static str,
        /// Its rounds.
        iterations: u32,
    },
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            KeyOrigin::Plain => f.write_str("plain: whoever saw the file has the seeds")?,
            KeyOrigin::PreShared => f.write_str("pre-shared key")?,
            KeyOrigin::Passphrase { prf, iterations } => write!(f, "passphrase, PBKDF2 {prf}, {iterations} rounds")?,
        }
        if let Some(cipher) = &self.cipher {
            write!(f, "; {cipher}")?;
        }
        if let Some(mac) = &self.mac {
            write!(f, "; {mac}")?;
        }
        Ok(())
    }
}

/// All of a file.
#[derive(Default)]
pub struct Delivery {
    /// What can be taken over, in the order of the file.
    pub tokens: Vec<Delivered>,
    /// What cannot, in the order of the file.
    pub rejected: Vec<Rejected>,
    /// How it was protected.
    pub protection: Protection,
}

impl Delivery {
    /// The file without the entries in `done`: what was left, in the format it came in, so that it can be corrected and read
    /// again. Holds seeds.
    #[must_use]
    pub fn left(file: &[u8], done: &[Range<usize>]) -> Secret {
        let mut done: Vec<&Range<usize>> = done.iter().collect();
        done.sort_by_key(|span| span.start);
        let mut left = Vec::with_capacity(file.len());
        let mut at = 0;
        for span in done {
            left.extend_from_slice(file.get(at..span.start).unwrap_or_default());
            at = at.max(span.end);
        }
        left.extend_from_slice(file.get(at..).unwrap_or_default());
        Secret::new(left)
    }
}

/// A text of a file: without blanks around it, `None` when nothing is left.
pub(super) fn text(what: &'static str, written: Option<&str>) -> Result<Option<String>, Flaw> {
    let Some(written) = written.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if written.len() > MAX_TEXT_LEN || written.chars().any(char::is_control) {
        return Err(Flaw::Text(what));
    }
    Ok(Some(written.to_owned()))
}

/// A number of a file; `None` when nothing stands there.
pub(super) fn number(what: &'static str, written: Option<&str>) -> Result<Option<u64>, Flaw> {
    let Some(written) = written.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    written.parse().map(Some).map_err(|_| Flaw::Number(what))
}

/// `xs:dateTime` in UTC; one without a zone is taken for UTC (RFC 6030 section 5 wants it so), and a bare date for its start.
pub(super) fn date(what: &'static str, written: Option<&str>) -> Result<Option<UnixMillis>, Flaw> {
    let Some(written) = written.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if written.len() > 64 {
        return Err(Flaw::Date(what));
    }
    let at = written.parse::<jiff::Timestamp>().or_else(|_| {
        let civil = written.parse::<jiff::civil::DateTime>()?;
        jiff::tz::TimeZone::UTC.to_timestamp(civil)
    });
    at.map(|at| Some(UnixMillis(at.as_millisecond())))
        .map_err(|_| Flaw::Date(what))
}

/// A hash by any of the names that files give it: “SHA1”, “hmac-sha-256”, “HmacSHA512”.
pub(super) fn algorithm(written: &str) -> Result<OathAlgorithm, Flaw> {
    if written.len() > MAX_TEXT_LEN {
        return Err(Flaw::Algorithm);
    }
    let name: String = written
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    match name.strip_prefix("hmac").unwrap_or(&name) {
        "sha1" | "sha" => Ok(OathAlgorithm::Sha1),
        "sha256" => Ok(OathAlgorithm::Sha256),
        "sha512" => Ok(OathAlgorithm::Sha512),
        _ => Err(Flaw::Algorithm),
    }
}

/// What every format checks in the end.
pub(super) fn checked(token: Delivered) -> Result<Delivered, (Flaw, Delivered)> {
    let flaw = if !(MIN_SEED_LEN..=MAX_SEED_LEN).contains(&token.seed.len()) {
        Some(Flaw::SeedLength(token.seed.len()))
    } else if !(MIN_DIGITS..=MAX_DIGITS).contains(&token.digits) {
        Some(Flaw::Digits(token.digits.into()))
    } else {
        match token.moving {
            Moving::Time { period_s, .. } if !(MIN_PERIOD_S..=MAX_PERIOD_S).contains(&period_s) => {
                Some(Flaw::Period(period_s.into()))
            }
            Moving::Time { drift_steps, .. } if !(-MAX_DRIFT_STEPS..=MAX_DRIFT_STEPS).contains(&drift_steps) => {
                Some(Flaw::Number("time drift"))
            }
            Moving::Event { counter } if i64::try_from(counter).is_err() => Some(Flaw::Number("counter")),
            _ => None,
        }
    };
    match flaw {
        None => Ok(token),
        Some(flaw) => Err((flaw, token)),
    }
}

/// Counts lines as it goes forward through a file, so that telling the line of every entry costs one pass.
pub(super) struct Lines<'a> {
    file: &'a [u8],
    at: usize,
    line: u32,
}

impl<'a> Lines<'a> {
    pub(super) fn new(file: &'a [u8]) -> Self {
        Self { file, at: 0, line: 1 }
    }

    /// The line, from 1, of a position that is not before the last one asked for.
    pub(super) fn at(&mut self, position: usize) -> u32 {
        let passed = self.file.get(self.at..position).unwrap_or_default();
        let breaks = passed.iter().filter(|byte| **byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX));
        self.at = self.at.max(position);
        self.line
    }
}
