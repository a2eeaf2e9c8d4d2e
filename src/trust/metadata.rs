//! The MDS3 BLOB of the FIDO Metadata Service, from a file (FIDO Metadata Service 3.0, sections 3.1 and 3.2).
//!
//! A BLOB is a signed list of models: which authorities vouch for them, and what became known about them. Its own signature is
//! verified to a root the configuration names. Members that we do not know are passed over, so that a newer BLOB can be read.

use data_encoding::{BASE64, BASE64_MIME_PERMISSIVE, BASE64URL_NOPAD};
use serde::Deserialize;
use uuid::Uuid;

use super::certificate::Certificate;
use super::chain::{self, ChainError};
use super::signature::{Algorithm, SignatureError};
use crate::types::UnixMillis;

/// Longest file that is looked at; the service's own BLOB has grown to some 8 MiB in seven years.
pub const MAX_BLOB: usize = 64 << 20;
/// More models than there will be for a while.
const MOST_ENTRIES: usize = 20_000;

/// Why a BLOB is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// More than [`MAX_BLOB`].
    #[error("the metadata are longer than 64 MiB")]
    TooLong,
    /// Not three parts in base64url with a JSON header.
    #[error("the metadata are not a signed BLOB (JWS)")]
    NotJws,
    /// Signed by an algorithm other than RS256, ES256, ES384 or EdDSA, `none` included.
    #[error("the metadata are signed by an algorithm that is not accepted")]
    Algorithm,
    /// The header brings no certificates along.
    #[error("the metadata's header has no certificates")]
    NoCertificates,
    /// The certificates do not lead to a configured root.
    #[error("the metadata's signer is not trusted: {0}")]
    Signer(ChainError),
    /// The signature is wrong.
    #[error("the metadata's signature is wrong")]
    Signature,
    /// The payload is not what the standard says.
    #[error("the metadata's list cannot be read")]
    Malformed,
}

/// What became known of a model that is reason to refuse it (section 3.1.4, “AuthenticatorStatus”).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compromise {
    /// `REVOKED`.
    Revoked,
    /// `USER_VERIFICATION_BYPASS`.
    UserVerificationBypass,
    /// `ATTESTATION_KEY_COMPROMISE`.
    AttestationKey,
    /// `USER_KEY_REMOTE_COMPROMISE`.
    UserKeyRemote,
    /// `USER_KEY_PHYSICAL_COMPROMISE`.
    UserKeyPhysical,
}

impl Compromise {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Revoked,
        Self::UserVerificationBypass,
        Self::AttestationKey,
        Self::UserKeyRemote,
        Self::UserKeyPhysical,
    ];

    /// The standard's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Revoked => "REVOKED",
            Self::UserVerificationBypass => "USER_VERIFICATION_BYPASS",
            Self::AttestationKey => "ATTESTATION_KEY_COMPROMISE",
            Self::UserKeyRemote => "USER_KEY_REMOTE_COMPROMISE",
            Self::UserKeyPhysical => "USER_KEY_PHYSICAL_COMPROMISE",
        }
    }

    /// What it means, for the help desk.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Revoked => "its certification was revoked",
            Self::UserVerificationBypass => "its PIN or fingerprint can be bypassed",
            Self::AttestationKey => "its attestation keys are known to others, so that copies cannot be told from it",
            Self::UserKeyRemote => "its keys can be taken from afar",
            Self::UserKeyPhysical => "its keys can be taken by whoever holds it for a while",
        }
    }
}

/// One report against a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What.
    pub compromise: Compromise,
    /// Since when (`2024-09-03`), when the report says.
    pub since: Option<String>,
}

/// What the service knows of a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Model {
    /// Name, as its maker wrote it.
    pub description: String,
    /// Certificates in DER that vouch for it.
    pub roots: Vec<Vec<u8>>,
    /// Everything against it, in the order of the reports. A later good report takes nothing back: which firmware it is about
    /// cannot be told reliably.
    pub reports: Vec<Report>,
    aaguid: Option<[u8; 16]>,
    key_identifiers: Vec<String>,
}

/// A BLOB whose signature verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its number; it rises with each.
    pub number: u64,
    /// Day by which a newer one is there (`YYYY-MM-DD`).
    pub next_update: String,
    models: Vec<Model>,
}

impl Blob {
    /// Reads a BLOB and verifies its signature to one of `roots` (certificates in DER) at the instant `now`.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn read(bytes: &[u8], roots: &[Vec<u8>], now: UnixMillis) -> Result<Self, MetadataError> {
        if bytes.len() > MAX_BLOB {
            return Err(MetadataError::TooLong);
        }
        let bytes = bytes.trim_ascii();
        let mut parts = bytes.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(MetadataError::NotJws);
        };
        let signed = bytes
            .get(..header.len() + 1 + payload.len())
            .ok_or(MetadataError::NotJws)?;
        let decode = |part: &[u8]| BASE64URL_NOPAD.decode(part).map_err(|_| MetadataError::NotJws);
        let (header, signature) = (decode(header)?, decode(signature)?);
        verify(&header, signed, &signature, roots, now)?;
        let payload: Payload = serde_json::from_slice(&decode(payload)?).map_err(|_| MetadataError::Malformed)?;
        if payload.entries.len() > MOST_ENTRIES || end_of_day(&payload.next_update).is_none() {
            return Err(MetadataError::Malformed);
        }
        let models = payload
            .entries
            .into_iter()
            .map(Entry::model)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            number: payload.no,
            next_update: payload.next_update,
            models,
        })
    }

    /// Whether a newer BLOB should be there by now.
    #[must_use]
    pub fn overdue(&self, now: UnixMillis) -> bool {
        end_of_day(&self.next_update).is_none_or(|end| now >= end)
    }

    /// How many models it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.models.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// The model of a FIDO2 key, by AAGUID; all zero is nobody's.
    #[must_use]
    pub fn by_aaguid(&self, aaguid: &[u8; 16]) -> Option<&Model> {
        if *aaguid == [0; 16] {
            return None;
        }
        self.models.iter().find(|model| model.aaguid.as_ref() == Some(aaguid))
    }

    /// The model of a U2F key, by the key identifiers of its certificates.
    #[must_use]
    pub fn by_key_identifiers(&self, identifiers: &[String]) -> Option<&Model> {
        self.models
            .iter()
            .find(|model| model.key_identifiers.iter().any(|known| identifiers.contains(known)))
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    x5c: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    no: u64,
    next_update: String,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    aaguid: Option<String>,
    #[serde(default)]
    attestation_certificate_key_identifiers: Vec<String>,
    metadata_statement: Option<MetadataStatement>,
    #[serde(default)]
    status_reports: Vec<StatusReport>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct MetadataStatement {
    description: String,
    attestation_root_certificates: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusReport {
    status: String,
    effective_date: Option<String>,
}

impl Entry {
    fn model(self) -> Result<Model, MetadataError> {
        let aaguid = match self.aaguid {
            None => None,
            Some(text) => Some(*Uuid::try_parse(&text).map_err(|_| MetadataError::Malformed)?.as_bytes()),
        };
        let statement = self.metadata_statement.unwrap_or_default();
        // The standard wants plain base64; entries with line breaks exist.
        let roots = statement
            .attestation_root_certificates
            .iter()
            .map(|text| BASE64_MIME_PERMISSIVE.decode(text.trim().as_bytes()))
            .collect::<Result<_, _>>()
            .map_err(|_| MetadataError::Malformed)?;
        let reports = self
            .status_reports
            .into_iter()
            .filter_map(|report| {
                let compromise = Compromise::ALL.iter().find(|known| known.name() == report.status)?;
                Some(Report {
                    compromise: *compromise,
                    since: report.effective_date.map(|date| crate::types::shown::printable(&date)),
                })
            })
            .collect();
        Ok(Model {
            description: crate::types::shown::printable(&statement.description),
            roots,
            reports,
            aaguid,
            key_identifiers: self
                .attestation_certificate_key_identifiers
                .into_iter()
                .map(|identifier| identifier.to_ascii_lowercase())
                .collect(),
        })
    }
}

/// The signature of a JWS in compact form (RFC 7515 section 5.2), by the first certificate of `x5c`.
fn verify(
    header: &[u8],
    signed: &[u8],
    signature: &[u8],
    roots: &[Vec<u8>],
    now: UnixMillis,
) -> Result<(), MetadataError> {
    let header: Header = serde_json::from_slice(header).map_err(|_| MetadataError::NotJws)?;
    // What a JWS calls them (RFC 7518 section 3.1, RFC 8037 section 3.1).
    let algorithm = match header.alg.as_str() {
        "RS256" => Algorithm::Rs256,
        "ES256" => Algorithm::Es256,
        "ES384" => Algorithm::Es384,
        "EdDSA" => Algorithm::EdDsa,
        _ => return Err(MetadataError::Algorithm),
    };
    let certificates = header
        .x5c
        .iter()
        .map(|text| BASE64.decode(text.as_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| MetadataError::NotJws)?;
    let leaf = certificates.first().ok_or(MetadataError::NoCertificates)?;
    chain::verify(&certificates, roots, now).map_err(MetadataError::Signer)?;
    let key = Certificate::parse(leaf)
        .and_then(|leaf| leaf.public_key())
        .map_err(|_| MetadataError::Signer(ChainError::Malformed))?;
    key.verify_jose(algorithm, signed, signature)
        .map_err(|error| match error {
            SignatureError::Wrong => MetadataError::Signature,
            SignatureError::MalformedKey | SignatureError::OtherKey(_) => MetadataError::Algorithm,
        })
}

/// The end of a day in UTC.
fn end_of_day(day: &str) -> Option<UnixMillis> {
    let day: jiff::civil::Date = day.parse().ok()?;
    let next = day.tomorrow().ok()?;
    let start = jiff::tz::TimeZone::UTC
        .to_timestamp(next.to_datetime(jiff::civil::Time::midnight()))
        .ok()?;
    Some(UnixMillis(start.as_millisecond()))
}
