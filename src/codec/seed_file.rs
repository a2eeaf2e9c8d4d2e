//! A seed file of any format: which it is, and what it delivers.

use std::str::FromStr;

use super::delivery::Delivery;
pub use super::delivery::MAX_FILE_LEN;
use super::otpauth::{self, OtpauthError};
use super::pskc::{self, PskcError};
pub use super::pskc::{Integrity, Unlock};
use super::seedcsv::{self, ColumnMap, CsvError, CsvFormat};

/// The formats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// RFC 6030.
    Pskc,
    /// One key URI a line.
    Otpauth,
    /// Comma-separated values that we know.
    Csv(CsvFormat),
    /// Comma-separated values by a map.
    Map(ColumnMap),
}

/// The names of the formats, without the map, which has none.
const NAMES: &[(&str, Format)] = &[
    ("pskc", Format::Pskc),
    ("otpauth", Format::Otpauth),
    ("entra", Format::Csv(CsvFormat::Entra)),
    ("yubico", Format::Csv(CsvFormat::Yubico)),
    ("privacyidea", Format::Csv(CsvFormat::PrivacyIdea1)),
    ("privacyidea2", Format::Csv(CsvFormat::PrivacyIdea2)),
    ("linotp", Format::Csv(CsvFormat::LinOtp)),
    ("multiotp", Format::Csv(CsvFormat::MultiOtp)),
];

/// Why a file as a whole is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeedFileError {
    /// No format of this name.
    #[error("there is no format “{0}”: pskc, otpauth, entra, yubico, privacyidea, privacyidea2, linotp, multiotp")]
    UnknownFormat(String),
    /// More than one format fits, or none.
    #[error("which format the file has cannot be told for sure: name it, or give a column map")]
    Undetected,
    /// Of a PSKC file.
    #[error(transparent)]
    Pskc(#[from] PskcError),
    /// Of a file of values.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// Of a file of URIs.
    #[error(transparent)]
    Otpauth(#[from] OtpauthError),
}

/// What can be done about a refused file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Correct the name of the format, or the column map.
    Argument,
    /// Name the format.
    NameFormat,
    /// Give the key or passphrase that opens it.
    Key,
    /// Check the key or passphrase, and the way the file came.
    Integrity,
    /// Get another file.
    File,
}

impl SeedFileError {
    /// What can be done about it.
    #[must_use]
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::UnknownFormat(_) | Self::Csv(CsvError::Map(_)) => Remedy::Argument,
            Self::Undetected => Remedy::NameFormat,
            Self::Pskc(PskcError::NeedsKey | PskcError::NeedsPassphrase | PskcError::KeyLength { .. }) => Remedy::Key,
            Self::Pskc(PskcError::NoMac(_) | PskcError::Mac(_) | PskcError::Decrypt(_)) => Remedy::Integrity,
            Self::Pskc(_) | Self::Csv(_) | Self::Otpauth(_) => Remedy::File,
        }
    }
}

impl FromStr for Format {
    type Err = SeedFileError;

    fn from_str(name: &str) -> Result<Self, SeedFileError> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, format)| format.clone())
            .ok_or_else(|| SeedFileError::UnknownFormat(name.chars().take(64).collect()))
    }
}

impl Format {
    /// The format that a column map describes.
    ///
    /// # Errors
    /// [`SeedFileError::Csv`].
    pub fn by_map(map: &str) -> Result<Self, SeedFileError> {
        Ok(Self::Map(map.parse()?))
    }

    /// Its name; “map” for a column map.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, format)| format == self)
            .map_or("map", |(name, _)| name)
    }

    /// Which format a file has, if that is clear.
    ///
    /// # Errors
    /// [`SeedFileError::Undetected`].
    pub fn detect(file: &[u8]) -> Result<Self, SeedFileError> {
        let body = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file).trim_ascii_start();
        let begins = |word: &[u8]| {
            body.get(..word.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(word))
        };
        if begins(b"<") {
            Ok(Self::Pskc)
        } else if begins(b"otpauth://") {
            Ok(Self::Otpauth)
        } else {
            seedcsv::detect(file).map(Self::Csv).ok_or(SeedFileError::Undetected)
        }
    }

    /// Reads a file of this format.
    ///
    /// # Errors
    /// [`SeedFileError`]; an entry that cannot be read is rejected alone.
    pub fn read(&self, file: &[u8], unlock: &Unlock, integrity: Integrity) -> Result<Delivery, SeedFileError> {
        Ok(match self {
            Self::Pskc => pskc::deliver(file, unlock, integrity)?,
            Self::Otpauth => otpauth::deliver(file)?,
            Self::Csv(format) => seedcsv::deliver(file, *format)?,
            Self::Map(map) => seedcsv::deliver_by(file, map)?,
        })
    }
}
