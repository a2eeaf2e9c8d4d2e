//! Judging an assertion (WebAuthn section 7.2, steps 15 to 22).

use super::cose::{CoseError, CoseKey};
use super::get_assertion::Response;
use super::sha256;

/// What an assertion must agree with.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// RP ID of the credential.
    pub rp_id: &'a str,
    /// Its id.
    pub credential_id: &'a [u8],
    /// Its public key.
    pub public_key: &'a CoseKey,
    /// SHA-256 of the client data that was to be signed.
    pub client_data_hash: &'a [u8; 32],
    /// Whether the person must have been verified.
    pub user_verification: bool,
    /// The counter of the last assertion or of the registration.
    pub last_sign_count: u32,
}

/// Why an assertion is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// It was made with another credential.
    #[error("the key answered with another credential")]
    OtherCredential,
    /// It was made for another relying party.
    #[error("the key answered for another relying party")]
    OtherRelyingParty,
    /// UP is not set.
    #[error("the key does not say that it was touched")]
    NotPresent,
    /// UV is not set, and had to be.
    #[error("the key does not say that the person was verified")]
    NotVerified,
    /// The signature, or the key it should be checked with.
    #[error(transparent)]
    Signature(#[from] CoseError),
}

/// What the counter tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// The key keeps none: it was 0 and is 0.
    None,
    /// It rose.
    Advanced,
    /// It did not rise: the key may have been cloned.
    MaybeCloned,
}

/// An accepted assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The counter to remember.
    pub sign_count: u32,
    /// What it tells.
    pub counter: Counter,
    /// Whether the person was verified.
    pub user_verified: bool,
}

/// Judges an assertion by a credential of ES256. Whether [`Counter::MaybeCloned`] is a refusal is for the caller's policy to say.
///
/// # Errors
/// [`AssertionError`], the first that applies.
pub fn verify(response: &Response, expected: &Expected<'_>) -> Result<Verified, AssertionError> {
    verify_by(response, expected, |message, signature| {
        expected.public_key.verify(message, signature)
    })
}

/// The same for a credential of any algorithm, whose signature over a message `signed` verifies.
///
/// # Errors
/// As [`verify`].
pub fn verify_by(
    response: &Response,
    expected: &Expected<'_>,
    signed: impl FnOnce(&[u8], &[u8]) -> Result<(), CoseError>,
) -> Result<Verified, AssertionError> {
    if response
        .credential_id
        .as_deref()
        .is_some_and(|id| id != expected.credential_id)
    {
        return Err(AssertionError::OtherCredential);
    }
    let data = &response.auth_data;
    if data.rp_id_hash != sha256(expected.rp_id.as_bytes()) {
        return Err(AssertionError::OtherRelyingParty);
    }
    if !data.flags.user_present() {
        return Err(AssertionError::NotPresent);
    }
    if expected.user_verification && !data.flags.user_verified() {
        return Err(AssertionError::NotVerified);
    }
    let message = [data.raw(), expected.client_data_hash.as_slice()].concat();
    signed(&message, &response.signature)?;
    let counter = match (data.sign_count, expected.last_sign_count) {
        (0, 0) => Counter::None,
        (now, before) if now > before => Counter::Advanced,
        _ => Counter::MaybeCloned,
    };
    Ok(Verified {
        sign_count: data.sign_count,
        counter,
        user_verified: data.flags.user_verified(),
    })
}
