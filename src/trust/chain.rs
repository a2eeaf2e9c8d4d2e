//! From an attestation certificate to somebody who is trusted (RFC 5280 section 6), by rustls' `webpki`.
//!
//! Signatures, names, validity, basic constraints, path length and critical extensions are its business. Ours is: a certificate
//! that is itself an anchor (the Metadata Service allows it), the key usage of authorities, and one reason for each failure. As
//! RFC 5280 has it, an anchor is a name and a key: its own dates say nothing. Revocation lists are not fetched, since nothing
//! here speaks to a network; what is revoked is told by the metadata.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath};

use super::certificate::Certificate;
use crate::types::UnixMillis;

/// More certificates than any attestation comes with.
const MOST_CERTIFICATES: usize = 8;

/// Why a chain does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No certificate, or more than anybody sends.
    #[error("the chain has no certificate, or too many")]
    Length,
    /// A certificate cannot be read.
    #[error("a certificate of the chain is malformed")]
    Malformed,
    /// Nobody we trust signed it.
    #[error("no trusted authority issued the certificate")]
    UnknownIssuer,
    /// A certificate is over.
    #[error("a certificate of the chain has expired")]
    Expired,
    /// A certificate has not begun.
    #[error("a certificate of the chain is not valid yet")]
    NotYetValid,
    /// A signature is not the issuer's.
    #[error("a signature in the chain is wrong")]
    Signature,
    /// More authorities below one than it allows.
    #[error("the chain is longer than an authority in it allows")]
    PathLength,
    /// A certificate that is none of an authority signed another one, or the other way round.
    #[error("a certificate of the chain is used for what it is not for")]
    Usage,
    /// An extension that must be understood, and is not.
    #[error("a certificate of the chain has a critical extension that is not understood")]
    CriticalExtension,
    /// An algorithm that nobody should use, or that we do not know.
    #[error("a certificate of the chain is signed by an algorithm that is not accepted")]
    Algorithm,
    /// Any other rule of RFC 5280.
    #[error("the chain breaks a rule of RFC 5280")]
    Rule,
}

/// Follows `chain`, end entity first, to one of `anchors` (certificates in DER; one that cannot be read is no anchor), at the
/// instant `now`.
///
/// # Errors
/// [`ChainError`], the likeliest reason when several paths fail.
pub fn verify(chain: &[Vec<u8>], anchors: &[Vec<u8>], now: UnixMillis) -> Result<(), ChainError> {
    let (leaf, issuers) = chain.split_first().ok_or(ChainError::Length)?;
    if issuers.len() >= MOST_CERTIFICATES {
        return Err(ChainError::Length);
    }
    if anchors.contains(leaf) {
        let certificate = Certificate::parse(leaf).map_err(|_| ChainError::Malformed)?;
        return if certificate.valid_at(now.seconds()) {
            Ok(())
        } else {
            Err(ChainError::Expired)
        };
    }
    let leaf = CertificateDer::from(leaf.as_slice());
    let leaf = EndEntityCert::try_from(&leaf).map_err(reason)?;
    let issuers: Vec<CertificateDer<'_>> = issuers.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors: Vec<CertificateDer<'_>> = anchors.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors: Vec<TrustAnchor<'_>> = anchors
        .iter()
        .filter_map(|der| webpki::anchor_from_trusted_cert(der).ok())
        .collect();
    let seconds = u64::try_from(now.seconds()).unwrap_or_default();
    leaf.verify_for_usage(
        ALL_VERIFICATION_ALGS,
        &anchors,
        &issuers,
        UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
        AnyUsage,
        None,
        Some(&signers_may_sign),
    )
    .map(|_| ())
    .map_err(reason)
}

/// Attestation has no key purpose of its own (WebAuthn section 8.2.1).
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        Ok(())
    }
}

fn signers_may_sign(path: &VerifiedPath<'_>) -> Result<(), Error> {
    let may = |der: &[u8]| Certificate::parse(der).is_ok_and(|certificate| certificate.may_sign_certificates());
    if path.intermediate_certificates().all(|cert| may(&cert.der())) {
        Ok(())
    } else {
        Err(Error::EndEntityUsedAsCa)
    }
}

// By value, because that is how `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn reason(error: Error) -> ChainError {
    match error {
        Error::UnknownIssuer => ChainError::UnknownIssuer,
        Error::CertExpired { .. } => ChainError::Expired,
        Error::CertNotValidYet { .. } => ChainError::NotYetValid,
        Error::InvalidSignatureForPublicKey => ChainError::Signature,
        Error::PathLenConstraintViolated => ChainError::PathLength,
        Error::CaUsedAsEndEntity | Error::EndEntityUsedAsCa => ChainError::Usage,
        Error::UnsupportedCriticalExtension => ChainError::CriticalExtension,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | Error::SignatureAlgorithmMismatch => ChainError::Algorithm,
        Error::BadDer | Error::BadDerTime | Error::TrailingData(_) | Error::MalformedExtensions => {
            ChainError::Malformed
        }
        _ => ChainError::Rule,
    }
}
