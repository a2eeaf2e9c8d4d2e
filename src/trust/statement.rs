//! Attestation statements: packed (basic and self), fido-u2f and none (WebAuthn sections 8.2, 8.6 and 8.7).

use super::certificate::Certificate;
use super::signature::{Algorithm, PublicKey, SignatureError};
use crate::codec::cbor::{Map, Value};
use crate::codec::ctap2::auth_data::{AttestedCredential, AuthData};

/// More certificates than any statement has.
const MOST_CERTIFICATES: usize = 8;

/// What an authenticator says about a credential that it made.
#[derive(Debug, Clone, Copy)]
pub struct Attested<'a> {
    /// `fmt`.
    pub format: &'a str,
    /// Authenticator data, as it was signed.
    pub auth_data: &'a AuthData,
    /// `attStmt`.
    pub statement: &'a Map,
    /// SHA-256 of the client data.
    pub client_data_hash: &'a [u8; 32],
}

/// Why a statement does not verify: one reason for each thing that can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The authenticator data holds no credential.
    #[error("the authenticator data holds no credential")]
    NoCredential,
    /// A format that is not judged here (`tpm`, `android-key`, ...).
    #[error("the format of the attestation is not one of packed, fido-u2f, none")]
    Format,
    /// Members are missing, too many, or of the wrong type.
    #[error("the attestation statement is malformed")]
    Malformed,
    /// Format `none` with something in its statement.
    #[error("an attestation of format none has a statement")]
    NotNone,
    /// An algorithm that we do not verify.
    #[error("the attestation's algorithm {0} is not one of ES256, ES384, EdDSA, RS256")]
    Algorithm(i64),
    /// The signing key is of another type than the algorithm needs.
    #[error("the attestation's algorithm does not go with the key that should have signed it")]
    KeyType,
    /// Self attestation by another algorithm than the credential's.
    #[error("the algorithm of the self attestation is not the credential's")]
    SelfAlgorithm,
    /// The credential's public key cannot be used.
    #[error("the credential's public key cannot be read")]
    CredentialKey,
    /// The signature is not one of the attestation key over this registration.
    #[error("the attestation's signature is wrong")]
    Signature,
    /// A U2F statement with a number of certificates other than one.
    #[error("a U2F attestation has exactly one certificate")]
    CertificateCount,
    /// A certificate is no X.509 certificate.
    #[error("the attestation certificate is malformed")]
    CertificateMalformed,
    /// Its public key is of a type that nobody uses here.
    #[error("the attestation certificate's public key is not of a known type")]
    CertificateKey,
    /// It is not of version 3.
    #[error("the attestation certificate is not of version 3")]
    CertificateVersion,
    /// Country, organisation or common name is missing.
    #[error("the attestation certificate's subject lacks country, organisation or name")]
    CertificateSubject,
    /// The organisational unit is another one.
    #[error("the attestation certificate's subject unit is not “Authenticator Attestation”")]
    CertificateSubjectUnit,
    /// Basic constraints are missing, or say that it is an authority.
    #[error("the attestation certificate does not say that it is no authority")]
    CertificateBasicConstraints,
    /// The AAGUID extension is critical or malformed.
    #[error("the AAGUID in the attestation certificate is malformed")]
    AaguidExtension,
    /// The certificate is for another model.
    #[error("the attestation certificate is for another model than the authenticator data")]
    AaguidMismatch,
    /// A U2F statement with a model.
    #[error("a U2F attestation with an AAGUID other than zero")]
    AaguidNotZero,
    /// The serial number extension is critical or malformed.
    #[error("the serial number in the attestation certificate is malformed")]
    SerialExtension,
}

impl From<SignatureError> for StatementError {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::MalformedKey => Self::CredentialKey,
            SignatureError::OtherKey(_) => Self::KeyType,
            SignatureError::Wrong => Self::Signature,
        }
    }
}

/// Who signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody.
    None,
    /// The credential itself: proves possession, tells nothing about the model.
    SelfSigned,
    /// A key with a certificate: worth what its chain is worth.
    Certified,
}

/// A statement that verifies. Whether anybody trusts its certificates is not said yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Who signed.
    pub kind: Kind,
    /// Model; all zero for U2F.
    pub aaguid: [u8; 16],
    /// Certificates in DER, the attestation's own first; empty unless [`Kind::Certified`].
    pub chain: Vec<Vec<u8>>,
    /// SHA-1 key identifiers of the chain, by which the Metadata Service knows U2F models.
    pub key_identifiers: Vec<String>,
    /// The single device's serial number: enterprise attestation (WebAuthn Level 3 section 8.2.2).
    pub serial: Option<Vec<u8>>,
}

impl Statement {
    fn unsigned(kind: Kind, aaguid: [u8; 16]) -> Self {
        Self {
            kind,
            aaguid,
            chain: Vec::new(),
            key_identifiers: Vec::new(),
            serial: None,
        }
    }

    /// The serial as people write it: as text when it is text, else in hexadecimal.
    #[must_use]
    pub fn serial_shown(&self) -> Option<String> {
        let serial = self.serial.as_ref()?;
        let text = serial
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte));
        Some(if text {
            serial.iter().copied().map(char::from).collect()
        } else {
            data_encoding::HEXLOWER.encode(serial)
        })
    }
}

/// Verifies a statement: signature and certificate rules.
///
/// # Errors
/// [`StatementError`], the first that applies.
pub fn verify(attested: &Attested<'_>) -> Result<Statement, StatementError> {
    let credential = attested
        .auth_data
        .attested
        .as_ref()
        .ok_or(StatementError::NoCredential)?;
    match attested.format {
        "none" if attested.statement.is_empty() => Ok(Statement::unsigned(Kind::None, credential.aaguid)),
        "none" => Err(StatementError::NotNone),
        "packed" => packed(attested, credential),
        "fido-u2f" => fido_u2f(attested, credential),
        _ => Err(StatementError::Format),
    }
}

fn packed(attested: &Attested<'_>, credential: &AttestedCredential) -> Result<Statement, StatementError> {
    let statement = attested.statement;
    let identifier = statement
        .get("alg")
        .and_then(Value::as_i64)
        .ok_or(StatementError::Malformed)?;
    let algorithm = Algorithm::of(identifier).ok_or(StatementError::Algorithm(identifier))?;
    let signature = signature(statement)?;
    let message = [attested.auth_data.raw(), attested.client_data_hash].concat();
    if let Some(chain) = certificates(statement)? {
        let (result, leaf) = certified(chain, credential)?;
        leaf.verify(algorithm, &message, signature)?;
        let own = result.chain.first().ok_or(StatementError::Malformed)?;
        Certificate::parse(own)?.require_packed(&credential.aaguid)?;
        return Ok(result);
    }
    // ecdaaKeyId was taken out of the standard; nothing ever used it.
    if statement.len() != 2 {
        return Err(StatementError::Malformed);
    }
    let (key, own) =
        PublicKey::from_cose(credential.public_key.encoded()).map_err(|_| StatementError::CredentialKey)?;
    if own != identifier {
        return Err(StatementError::SelfAlgorithm);
    }
    key.verify(algorithm, &message, signature)?;
    Ok(Statement::unsigned(Kind::SelfSigned, credential.aaguid))
}

fn fido_u2f(attested: &Attested<'_>, credential: &AttestedCredential) -> Result<Statement, StatementError> {
    let statement = attested.statement;
    let signature = signature(statement)?;
    let chain = certificates(statement)?.ok_or(StatementError::Malformed)?;
    if chain.len() != 1 {
        return Err(StatementError::CertificateCount);
    }
    let (key, own) =
        PublicKey::from_cose(credential.public_key.encoded()).map_err(|_| StatementError::CredentialKey)?;
    let PublicKey::Plain { bytes: point, .. } = key else {
        return Err(StatementError::KeyType);
    };
    if Algorithm::of(own) != Some(Algorithm::Es256) {
        return Err(StatementError::KeyType);
    }
    if credential.aaguid != [0; 16] {
        return Err(StatementError::AaguidNotZero);
    }
    // U2F raw message formats, section 4.3.
    let message = [
        &[0][..],
        &attested.auth_data.rp_id_hash,
        attested.client_data_hash,
        &credential.credential_id,
        &point,
    ]
    .concat();
    let (result, leaf) = certified(chain, credential)?;
    leaf.verify(Algorithm::Es256, &message, signature)?;
    Ok(result)
}

fn certified(chain: Vec<Vec<u8>>, credential: &AttestedCredential) -> Result<(Statement, PublicKey), StatementError> {
    let parsed = chain
        .iter()
        .map(|der| Certificate::parse(der))
        .collect::<Result<Vec<_>, _>>()?;
    let leaf = parsed.first().ok_or(StatementError::Malformed)?;
    let (key, serial) = (leaf.public_key()?, leaf.device_serial()?);
    let key_identifiers = parsed.iter().map(Certificate::key_identifier).collect();
    drop(parsed);
    let statement = Statement {
        kind: Kind::Certified,
        aaguid: credential.aaguid,
        chain,
        key_identifiers,
        serial,
    };
    Ok((statement, key))
}

fn signature(statement: &Map) -> Result<&[u8], StatementError> {
    statement
        .get("sig")
        .and_then(Value::as_bytes)
        .ok_or(StatementError::Malformed)
}

/// `x5c`: certificates in DER, at least one when it is there.
fn certificates(statement: &Map) -> Result<Option<Vec<Vec<u8>>>, StatementError> {
    let Some(x5c) = statement.get("x5c") else {
        return Ok(None);
    };
    let items = x5c.as_array().ok_or(StatementError::Malformed)?;
    if items.is_empty() || items.len() > MOST_CERTIFICATES {
        return Err(StatementError::Malformed);
    }
    items
        .iter()
        .map(|item| item.as_bytes().map(<[u8]>::to_vec).ok_or(StatementError::Malformed))
        .collect::<Result<_, _>>()
        .map(Some)
}
