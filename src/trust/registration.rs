//! What a relying party checks of a registration (WebAuthn section 7.1), with one reason for each check.
//!
//! The daemon looks at what it hands to an identity provider as the provider will, before the key leaves the desk.

use super::signature::{PublicKey, SignatureError};
use super::statement::{self, Attested, Statement, StatementError};
use crate::codec::ctap2::sha256;
use crate::codec::webauthn::WebauthnError;
use crate::codec::webauthn::attestation_object::AttestationObject;
use crate::codec::webauthn::client_data::{Ceremony, ClientData};
use crate::codec::webauthn::response::RegistrationResponse;

/// What a registration must agree with.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// RP ID.
    pub rp_id: &'a str,
    /// Who asked.
    pub origin: &'a str,
    /// The challenge that was sent.
    pub challenge: &'a [u8],
    /// COSE algorithms that were asked for.
    pub algorithms: &'a [i64],
    /// Whether the person must have been verified.
    pub user_verification: bool,
}

/// Why a registration is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// JSON or CBOR that cannot be read.
    #[error(transparent)]
    Form(#[from] WebauthnError),
    /// Client data of something else.
    #[error("the client data are not of a registration")]
    Ceremony,
    /// Another challenge.
    #[error("the client data have another challenge")]
    Challenge,
    /// Another origin.
    #[error("the client data are of another origin")]
    Origin,
    /// From within a frame.
    #[error("the client data are of a frame in another origin's page")]
    CrossOrigin,
    /// For another relying party.
    #[error("the credential is for another relying party")]
    RpId,
    /// UP is not set.
    #[error("the key does not say that it was touched")]
    NotPresent,
    /// UV is not set, and had to be.
    #[error("the key does not say that the person was verified")]
    NotVerified,
    /// An algorithm that was not asked for.
    #[error("the credential is of an algorithm that was not asked for")]
    Algorithm,
    /// The key is not one.
    #[error("the credential's public key is unusable: {0}")]
    PublicKey(SignatureError),
    /// The response names another credential.
    #[error("the response names another credential than the key does")]
    CredentialId,
    /// The statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
}

/// Verifies a registration.
///
/// # Errors
/// [`RegistrationError`], the first that applies.
pub fn verify(response: &RegistrationResponse, expected: &Expected<'_>) -> Result<Statement, RegistrationError> {
    let client = ClientData::parse(&response.client_data_json)?;
    if client.ceremony != Some(Ceremony::Create) {
        return Err(RegistrationError::Ceremony);
    }
    if client.challenge != expected.challenge {
        return Err(RegistrationError::Challenge);
    }
    if client.origin != expected.origin {
        return Err(RegistrationError::Origin);
    }
    if client.cross_origin {
        return Err(RegistrationError::CrossOrigin);
    }
    let object = AttestationObject::parse(&response.attestation_object)?;
    let data = &object.auth_data;
    if data.rp_id_hash != sha256(expected.rp_id.as_bytes()) {
        return Err(RegistrationError::RpId);
    }
    if !data.flags.user_present() {
        return Err(RegistrationError::NotPresent);
    }
    if expected.user_verification && !data.flags.user_verified() {
        return Err(RegistrationError::NotVerified);
    }
    let credential = data.attested.as_ref().ok_or(StatementError::NoCredential)?;
    if !expected.algorithms.contains(&credential.public_key.algorithm()) {
        return Err(RegistrationError::Algorithm);
    }
    PublicKey::from_cose(credential.public_key.encoded()).map_err(RegistrationError::PublicKey)?;
    if credential.credential_id != response.id {
        return Err(RegistrationError::CredentialId);
    }
    Ok(statement::verify(&Attested {
        format: &object.format,
        auth_data: data,
        statement: &object.statement,
        client_data_hash: &sha256(&response.client_data_json),
    })?)
}
