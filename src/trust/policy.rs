//! The organisation's own rules about keys, and the judgement of one registration by them.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::chain::{self, ChainError};
use super::metadata::{Blob, Model, Report};
use super::statement::{self, Attested, Kind, Statement, StatementError};
use crate::codec::ctap2::get_info::GetInfo;
use crate::types::{UnixMillis, Worth};

/// What is asked of keys. The default asks nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// A key must prove its model: its attestation leads to an authority of the metadata or of `authorities`.
    pub attestation_required: bool,
    /// Certificates in DER that vouch for keys besides the metadata.
    pub authorities: Vec<Vec<u8>>,
    /// Models that may be registered; empty: all.
    pub allow: BTreeSet<[u8; 16]>,
    /// Models that may not.
    pub deny: BTreeSet<[u8; 16]>,
    /// Least firmware by model, in the maker's own numbering.
    pub least_firmware: BTreeMap<[u8; 16], u64>,
    /// Options of getInfo that must be there and on.
    pub required_options: Vec<String>,
    /// The key must name its serial number in an enterprise attestation.
    pub serial_required: bool,
    /// A key that can give an enterprise attestation is asked for it.
    pub enterprise: bool,
}

/// Why a key is refused: one reason for each rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// On the list of models that may not be registered.
    #[error("keys of this model ({0}) are on the list of those that are not registered here")]
    Denied(Uuid),
    /// Not on the list of models that may.
    #[error("keys of this model ({0}) are not on the list of those that are registered here")]
    NotAllowed(Uuid),
    /// Older firmware than asked for, or one it does not tell.
    #[error("the key's firmware is {}, and at least {least} is asked of its model", shown(*.found))]
    Firmware {
        /// What it has.
        found: Option<u64>,
        /// What is asked.
        least: u64,
    },
    /// An option is missing or off.
    #[error("the key lacks the option “{0}”, or has it switched off")]
    Option(String),
    /// getInfo and authenticator data name different models.
    #[error("the key named one model when asked and another one in the credential")]
    OtherModel,
    /// The statement does not verify.
    #[error("the key's attestation does not verify: {0}")]
    Statement(#[from] StatementError),
    /// No statement that could prove anything.
    #[error("the key does not prove its model: its attestation is of the kind “{0}”")]
    NotAttested(&'static str),
    /// Nobody here vouches for its certificate.
    #[error("nobody who is trusted here vouches for the key's attestation: {0}")]
    Chain(ChainError),
    /// Known to be bad.
    #[error("keys like “{model}” are reported as {} {}: {}", .report.compromise.name(), since(.report), .report.compromise.meaning())]
    Compromised {
        /// Name of the model.
        model: String,
        /// What is known.
        report: Report,
    },
    /// No serial number in its attestation.
    #[error("the key's attestation does not name its serial number, as an enterprise attestation would")]
    NoSerial,
    /// The metadata cannot be used, so nothing can be judged by them.
    #[error("the metadata of the FIDO Metadata Service cannot be used: {0}")]
    Metadata(String),
}

fn shown(version: Option<u64>) -> String {
    version.map_or_else(|| "not told".to_owned(), |version| version.to_string())
}

fn since(report: &Report) -> String {
    report
        .since
        .as_ref()
        .map_or_else(|| "(no date)".to_owned(), |date| format!("since {date}"))
}

/// A key that is accepted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What its attestation is worth.
    pub worth: Worth,
    /// Its model's name in the metadata.
    pub model: Option<String>,
    /// Its serial number, if the attestation names one and somebody vouches for it.
    pub serial: Option<String>,
    /// Day by which newer metadata should have been there, when it is past.
    pub metadata_overdue: Option<String>,
}

impl Distrust {
    /// What a program switches on.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Denied(_) => "model-denied",
            Self::NotAllowed(_) => "model-not-allowed",
            Self::Firmware { .. } => "firmware-too-old",
            Self::Option(_) => "option-missing",
            Self::OtherModel => "model-mismatch",
            Self::Statement(_) => "attestation-invalid",
            Self::NotAttested(_) => "not-attested",
            Self::Chain(_) => "chain-untrusted",
            Self::Compromised { .. } => "model-compromised",
            Self::NoSerial => "serial-missing",
            Self::Metadata(_) => "metadata-unusable",
        }
    }
}

impl Policy {
    /// Whether nothing is asked, so that nothing need be judged.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }
}

/// What can be said before a credential is made, by what the key says of itself.
///
/// # Errors
/// [`Distrust::Denied`], [`Distrust::NotAllowed`], [`Distrust::Firmware`], [`Distrust::Option`], [`Distrust::Compromised`].
pub fn screen(info: &GetInfo, policy: &Policy, metadata: Option<&Blob>) -> Result<(), Distrust> {
    let model = Uuid::from_bytes(info.aaguid);
    if policy.deny.contains(&info.aaguid) {
        return Err(Distrust::Denied(model));
    }
    if !policy.allow.is_empty() && !policy.allow.contains(&info.aaguid) {
        return Err(Distrust::NotAllowed(model));
    }
    if let Some(&least) = policy.least_firmware.get(&info.aaguid)
        && info.firmware_version.is_none_or(|version| version < least)
    {
        return Err(Distrust::Firmware {
            found: info.firmware_version,
            least,
        });
    }
    if let Some(missing) = policy
        .required_options
        .iter()
        .find(|name| info.option(name) != Some(true))
    {
        return Err(Distrust::Option(missing.clone()));
    }
    match metadata.and_then(|blob| blob.by_aaguid(&info.aaguid)) {
        Some(model) => unblemished(model),
        None => Ok(()),
    }
}

/// Judges a registration: what [`screen`] says, then the statement, what is known of the model, and who vouches for it.
///
/// A statement of a format we do not know counts as none. One that we know must verify, also where none is required: it is
/// either right or forged.
///
/// # Errors
/// [`Distrust`], the first that applies.
pub fn judge(
    attested: &Attested<'_>,
    info: &GetInfo,
    policy: &Policy,
    metadata: Option<&Blob>,
    now: UnixMillis,
) -> Result<Verdict, Distrust> {
    screen(info, policy, metadata)?;
    let credential = attested.auth_data.attested.as_ref();
    if credential.is_none_or(|credential| credential.aaguid != info.aaguid) {
        return Err(Distrust::OtherModel);
    }
    let statement = match statement::verify(attested) {
        Ok(statement) => Some(statement),
        Err(StatementError::Format) => None,
        Err(error) => return Err(error.into()),
    };
    let model = metadata.and_then(|blob| match &statement {
        Some(statement) if statement.aaguid == [0; 16] => blob.by_key_identifiers(&statement.key_identifiers),
        _ => blob.by_aaguid(&info.aaguid),
    });
    if let Some(model) = model {
        unblemished(model)?;
    }
    let (worth, failed) = weigh(statement.as_ref(), model, policy, now);
    let anchored = matches!(worth, Worth::Authority | Worth::Metadata);
    if policy.attestation_required && !anchored {
        return Err(failed.map_or(Distrust::NotAttested(worth.as_str()), Distrust::Chain));
    }
    let serial = statement
        .as_ref()
        .filter(|_| anchored)
        .and_then(Statement::serial_shown);
    if policy.serial_required && serial.is_none() {
        return Err(Distrust::NoSerial);
    }
    Ok(Verdict {
        worth,
        model: model.map(|model| model.description.clone()),
        serial,
        metadata_overdue: metadata
            .filter(|blob| blob.overdue(now))
            .map(|blob| blob.next_update.clone()),
    })
}

fn unblemished(model: &Model) -> Result<(), Distrust> {
    match model.reports.last() {
        Some(report) => Err(Distrust::Compromised {
            model: model.description.clone(),
            report: report.clone(),
        }),
        None => Ok(()),
    }
}

/// What a statement is worth, and why its chain did not hold.
fn weigh(
    statement: Option<&Statement>,
    model: Option<&Model>,
    policy: &Policy,
    now: UnixMillis,
) -> (Worth, Option<ChainError>) {
    let Some(statement) = statement else {
        return (Worth::None, None);
    };
    match statement.kind {
        Kind::None => (Worth::None, None),
        Kind::SelfSigned => (Worth::SelfSigned, None),
        Kind::Certified => {
            let by_metadata = model.map(|model| chain::verify(&statement.chain, &model.roots, now));
            if by_metadata == Some(Ok(())) {
                return (Worth::Metadata, None);
            }
            match chain::verify(&statement.chain, &policy.authorities, now) {
                Ok(()) => (Worth::Authority, None),
                // The reason of those who know the model says more than “unknown issuer” of those who do not.
                Err(error) => {
                    let told = by_metadata.and_then(Result::err).unwrap_or(error);
                    (Worth::Unanchored, Some(told))
                }
            }
        }
    }
}
