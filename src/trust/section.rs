//! `[trust]` of the configuration, and the rules it makes. Files are read by a function that is passed in, so that the daemon, the
//! client that explains, and the tests do the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use data_encoding::BASE64_MIME_PERMISSIVE;
use serde::Deserialize;
use uuid::Uuid;

use super::certificate::Certificate;
use super::metadata::Blob;
use super::policy::Policy;
use super::rules::{Metadata, Rules};
use crate::types::UnixMillis;

/// Options that getInfo may have (CTAP 2.2 section 6.4, with the two prototypes): a name that is none of them is a typing error.
const OPTIONS: &[&str] = &[
    "alwaysUv",
    "authnrCfg",
    "bioEnroll",
    "clientPin",
    "credMgmt",
    "credentialMgmtPreview",
    "ep",
    "largeBlobs",
    "makeCredUvNotRqd",
    "noMcGaPermissionsWithClientPin",
    "perCredMgmtRO",
    "pinUvAuthToken",
    "plat",
    "rk",
    "setMinPINLength",
    "up",
    "userVerificationMgmtPreview",
    "uv",
    "uvAcfg",
    "uvBioEnroll",
];

/// `[trust]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Section {
    /// A key must prove its model.
    pub attestation_required: bool,
    /// Certificates that vouch for keys, PEM or DER.
    pub authorities: Vec<PathBuf>,
    /// The MDS3 BLOB.
    pub metadata: Option<PathBuf>,
    /// Certificates that vouch for the BLOB.
    pub metadata_roots: Vec<PathBuf>,
    /// Models that may be registered, by AAGUID; empty: all.
    pub allow: BTreeSet<Uuid>,
    /// Models that may not.
    pub deny: BTreeSet<Uuid>,
    /// Least firmware by model.
    pub least_firmware: BTreeMap<Uuid, u64>,
    /// Options of getInfo that must be on.
    pub required_options: BTreeSet<String>,
    /// Ask a key that can for its enterprise attestation.
    pub enterprise_attestation: bool,
    /// A key must name its serial number.
    pub serial_required: bool,
}

/// What is wrong with the section: the member, and what would do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SectionError {
    /// A file that cannot be read.
    #[error("trust.{member}: {path} cannot be read: {why}")]
    Unreadable {
        /// Which member.
        member: &'static str,
        /// Which file.
        path: String,
        /// Why.
        why: String,
    },
    /// A path that depends on where the daemon was started.
    #[error("trust.{member}: {path} must be an absolute path")]
    Relative {
        /// Which member.
        member: &'static str,
        /// Which file.
        path: String,
    },
    /// A file with no certificate, or a broken one.
    #[error(
        "trust.{member}: {path}: certificate {number} cannot be read; certificates in PEM or one in DER are expected"
    )]
    Certificate {
        /// Which member.
        member: &'static str,
        /// Which file.
        path: String,
        /// Which of its certificates, from 1.
        number: usize,
    },
    /// A BLOB that nothing can be held against, or roots for none.
    #[error("trust.metadata and trust.metadata-roots go together: the roots say whose metadata are believed")]
    MetadataAlone,
    /// A model that may and may not.
    #[error("trust.allow and trust.deny both name the model {0}")]
    Contradiction(Uuid),
    /// Firmware asked of a model that is never registered.
    #[error(
        "trust.least-firmware names the model {0}, which is not registered at all: it is denied, or not among those allowed"
    )]
    Unreachable(Uuid),
    /// No such option.
    #[error("trust.required-options: no key has an option “{0}”; there are: {known}", known = OPTIONS.join(", "))]
    Option(String),
    /// Nobody who could prove anything.
    #[error("trust.{0} is asked, but neither trust.authorities nor trust.metadata says who vouches for keys")]
    NobodyVouches(&'static str),
}

impl Section {
    /// What can be said without opening a file.
    ///
    /// # Errors
    /// [`SectionError`], the first that applies.
    pub fn check(&self) -> Result<(), SectionError> {
        let paths = [
            ("authorities", self.authorities.as_slice()),
            ("metadata-roots", self.metadata_roots.as_slice()),
            ("metadata", self.metadata.as_slice()),
        ];
        for (member, paths) in paths {
            if let Some(path) = paths.iter().find(|path| !path.is_absolute()) {
                let path = path.display().to_string();
                return Err(SectionError::Relative { member, path });
            }
        }
        if self.metadata.is_some() == self.metadata_roots.is_empty() {
            return Err(SectionError::MetadataAlone);
        }
        if let Some(both) = self.allow.intersection(&self.deny).next() {
            return Err(SectionError::Contradiction(*both));
        }
        let registered =
            |model: &Uuid| !self.deny.contains(model) && (self.allow.is_empty() || self.allow.contains(model));
        if let Some(never) = self.least_firmware.keys().find(|model| !registered(model)) {
            return Err(SectionError::Unreachable(*never));
        }
        if let Some(odd) = self
            .required_options
            .iter()
            .find(|name| !OPTIONS.contains(&name.as_str()))
        {
            return Err(SectionError::Option(odd.clone()));
        }
        let asks = [
            ("attestation-required", self.attestation_required),
            ("serial-required", self.serial_required),
        ];
        let nobody = self.authorities.is_empty() && self.metadata.is_none();
        match asks.into_iter().find(|(_, asked)| *asked && nobody) {
            Some((member, _)) => Err(SectionError::NobodyVouches(member)),
            None => Ok(()),
        }
    }

    /// The rules. Files of certificates must be right; a BLOB that is not makes [`Metadata::Unusable`], since a key that cannot be
    /// judged must not keep others from being revoked.
    ///
    /// # Errors
    /// [`SectionError`], the first that applies.
    pub fn rules(
        &self,
        read: impl Fn(&Path) -> std::io::Result<Vec<u8>>,
        now: UnixMillis,
    ) -> Result<Rules, SectionError> {
        self.check()?;
        let authorities = certificates("authorities", &self.authorities, &read)?;
        let roots = certificates("metadata-roots", &self.metadata_roots, &read)?;
        let metadata = match &self.metadata {
            None => Metadata::None,
            Some(path) => match read(path) {
                Err(error) => Metadata::Unusable(format!("{}: {error}", path.display())),
                Ok(bytes) => match Blob::read(&bytes, &roots, now) {
                    Ok(blob) => Metadata::Blob(blob),
                    Err(error) => Metadata::Unusable(format!("{}: {error}", path.display())),
                },
            },
        };
        let models = |models: &BTreeSet<Uuid>| models.iter().map(|model| *model.as_bytes()).collect();
        let policy = Policy {
            attestation_required: self.attestation_required,
            authorities,
            allow: models(&self.allow),
            deny: models(&self.deny),
            least_firmware: self
                .least_firmware
                .iter()
                .map(|(model, least)| (*model.as_bytes(), *least))
                .collect(),
            required_options: self.required_options.iter().cloned().collect(),
            serial_required: self.serial_required,
            enterprise: self.enterprise_attestation,
        };
        Ok(Rules { policy, metadata })
    }
}

/// The certificates of some files, in DER.
fn certificates(
    member: &'static str,
    paths: &[PathBuf],
    read: &impl Fn(&Path) -> std::io::Result<Vec<u8>>,
) -> Result<Vec<Vec<u8>>, SectionError> {
    let mut all = Vec::new();
    for path in paths {
        let shown = path.display().to_string();
        let bytes = read(path).map_err(|error| SectionError::Unreadable {
            member,
            path: shown.clone(),
            why: error.to_string(),
        })?;
        for (index, der) in in_der(&bytes).into_iter().enumerate() {
            let der = der.filter(|der| Certificate::parse(der).is_ok());
            all.push(der.ok_or_else(|| SectionError::Certificate {
                member,
                path: shown.clone(),
                number: index + 1,
            })?);
        }
    }
    Ok(all)
}

/// The certificates of a file as they come, in DER; `None` for one whose base64 is broken. A file that is no PEM is taken for one
/// certificate in DER (RFC 7468 section 5).
fn in_der(bytes: &[u8]) -> Vec<Option<Vec<u8>>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.contains(BEGIN)) else {
        return vec![Some(bytes.to_vec())];
    };
    text.split(BEGIN)
        .skip(1)
        .map(|rest| {
            let (body, _) = rest.split_once(END)?;
            BASE64_MIME_PERMISSIVE.decode(body.trim().as_bytes()).ok()
        })
        .collect()
}
