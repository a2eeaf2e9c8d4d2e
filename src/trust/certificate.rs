//! One X.509 certificate, as far as attestation asks about it (WebAuthn section 8.2.1; RFC 5280).

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use x509_parser::asn1_rs::{Any, FromDer as _, Oid, oid};
use x509_parser::prelude::{X509Certificate, X509Extension, X509Version};
use x509_parser::public_key::PublicKey as Spki;

use super::signature::{Algorithm, PublicKey};
use super::statement::StatementError;

/// No attestation certificate comes near this; a FIDO2 message could not carry it.
const MAX_CERTIFICATE: usize = 8192;

/// id-fido-gen-ce-aaguid (WebAuthn section 8.2.1).
const AAGUID: Oid<'static> = oid!(1.3.6.1.4.1.45724.1.1.4);
/// id-fido-gen-ce-sernum (WebAuthn Level 3 section 8.2.2).
const SERIAL: Oid<'static> = oid!(1.3.6.1.4.1.45724.1.1.2);
const SUBJECT_UNIT: &str = "Authenticator Attestation";

const ED25519: Oid<'static> = oid!(1.3.101.112);
const EC_PUBLIC_KEY: Oid<'static> = oid!(1.2.840.10045.2.1);
const P256: Oid<'static> = oid!(1.2.840.10045.3.1.7);
const P384: Oid<'static> = oid!(1.3.132.0.34);

/// A certificate that could be read.
pub(super) struct Certificate<'a>(X509Certificate<'a>);

impl<'a> Certificate<'a> {
    /// Reads exactly one certificate.
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, StatementError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(StatementError::CertificateMalformed);
        }
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(Self(certificate)),
            _ => Err(StatementError::CertificateMalformed),
        }
    }

    /// The rules for the certificate of a packed attestation, and that it speaks of this model.
    pub(super) fn require_packed(&self, aaguid: &[u8; 16]) -> Result<(), StatementError> {
        if self.0.version() != X509Version::V3 {
            return Err(StatementError::CertificateVersion);
        }
        let subject = self.0.subject();
        let country = subject.iter_country().next().and_then(|c| c.as_str().ok());
        if country.is_none_or(|c| c.len() != 2)
            || subject.iter_organization().next().is_none()
            || subject.iter_common_name().next().is_none()
        {
            return Err(StatementError::CertificateSubject);
        }
        let mut units = subject.iter_organizational_unit().map(|unit| unit.as_str());
        if !units.any(|unit| unit == Ok(SUBJECT_UNIT)) {
            return Err(StatementError::CertificateSubjectUnit);
        }
        match self.0.basic_constraints() {
            Ok(Some(constraints)) if !constraints.value.ca => {}
            _ => return Err(StatementError::CertificateBasicConstraints),
        }
        match self.extension(&AAGUID)? {
            None => Ok(()),
            Some(extension) if extension.critical => Err(StatementError::AaguidExtension),
            Some(extension) => match octet_string(extension.value) {
                Some(value) if value == aaguid => Ok(()),
                Some(value) if value.len() == 16 => Err(StatementError::AaguidMismatch),
                _ => Err(StatementError::AaguidExtension),
            },
        }
    }

    /// The serial number of one device, which only enterprise attestations have.
    pub(super) fn device_serial(&self) -> Result<Option<Vec<u8>>, StatementError> {
        let Some(extension) = self.extension(&SERIAL)? else {
            return Ok(None);
        };
        octet_string(extension.value)
            .filter(|value| !extension.critical && !value.is_empty())
            .map(|value| Some(value.to_vec()))
            .ok_or(StatementError::SerialExtension)
    }

    fn extension(&self, wanted: &Oid<'_>) -> Result<Option<&X509Extension<'a>>, StatementError> {
        self.0
            .get_extension_unique(wanted)
            .map_err(|_| StatementError::CertificateMalformed)
    }

    /// Its public key.
    pub(super) fn public_key(&self) -> Result<PublicKey, StatementError> {
        let spki = self.0.public_key();
        let curve = || spki.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        let plain = |algorithm| {
            Ok(PublicKey::Plain {
                algorithm,
                bytes: spki.subject_public_key.data.to_vec(),
            })
        };
        let kind = &spki.algorithm.algorithm;
        if *kind == ED25519 {
            return plain(Algorithm::EdDsa);
        }
        if *kind == EC_PUBLIC_KEY {
            return match curve() {
                Some(curve) if curve == P256 => plain(Algorithm::Es256),
                Some(curve) if curve == P384 => plain(Algorithm::Es384),
                _ => Err(StatementError::CertificateKey),
            };
        }
        match spki.parsed() {
            Ok(Spki::RSA(key)) => Ok(PublicKey::Rsa {
                n: key.modulus.to_vec(),
                e: key.exponent.to_vec(),
            }),
            _ => Err(StatementError::CertificateKey),
        }
    }

    /// SHA-1 of the public key's bits in lower-case hexadecimal, by which the Metadata Service knows U2F models (RFC 5280 section
    /// 4.2.1.2, method 1). It names; it protects nothing.
    pub(super) fn key_identifier(&self) -> String {
        let bits = &self.0.public_key().subject_public_key.data;
        data_encoding::HEXLOWER.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, bits).as_ref())
    }

    /// Whether it is valid at this instant (seconds since the epoch).
    pub(super) fn valid_at(&self, seconds: i64) -> bool {
        let validity = self.0.validity();
        (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&seconds)
    }

    /// Whether it may sign certificates, if it says what it may do at all (RFC 5280 section 4.2.1.3).
    pub(super) fn may_sign_certificates(&self) -> bool {
        match self.0.key_usage() {
            Ok(None) => true,
            Ok(Some(usage)) => usage.value.key_cert_sign(),
            Err(_) => false,
        }
    }
}

/// The content of an extension whose value is one OCTET STRING.
fn octet_string(value: &[u8]) -> Option<&[u8]> {
    match Any::from_der(value) {
        Ok(([], any)) => any.as_octetstring().ok().map(|_| any.data),
        _ => None,
    }
}
