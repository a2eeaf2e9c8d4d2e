//! CTAP2 authenticator commands: requests to bytes, responses to values; one file a command (CTAP 2.1 section 6).
//!
//! A request is one command byte and, mostly, a CBOR map; a response is one status byte and, on success, mostly a CBOR map.

pub mod assertion;
pub mod auth_data;
pub mod bio_enrollment;
pub mod client_pin;
pub mod config;
pub mod cose;
pub mod credential_management;
pub mod get_assertion;
pub mod get_info;
pub mod large_blobs;
pub mod make_credential;
pub mod pin_protocol;
pub mod reset;
pub mod selection;
pub mod spki;
pub mod status;

use sha2::{Digest, Sha256};

use super::cbor::{self, CborError, Limits, Map, Value};
use status::Status;

/// Command bytes (CTAP 2.1 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// authenticatorMakeCredential.
    MakeCredential = 0x01,
    /// authenticatorGetAssertion.
    GetAssertion = 0x02,
    /// authenticatorGetInfo.
    GetInfo = 0x04,
    /// authenticatorClientPIN.
    ClientPin = 0x06,
    /// authenticatorReset.
    Reset = 0x07,
    /// authenticatorGetNextAssertion.
    GetNextAssertion = 0x08,
    /// authenticatorBioEnrollment.
    BioEnrollment = 0x09,
    /// authenticatorCredentialManagement.
    CredentialManagement = 0x0A,
    /// authenticatorSelection.
    Selection = 0x0B,
    /// authenticatorLargeBlobs.
    LargeBlobs = 0x0C,
    /// authenticatorConfig.
    Config = 0x0D,
    /// The vendor prototype of bio enrollment, of keys that say `FIDO_2_1_PRE`.
    BioEnrollmentPreview = 0x40,
    /// The vendor prototype of credential management, of keys that say `FIDO_2_1_PRE`.
    CredentialManagementPreview = 0x41,
}

/// Why a response is not a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The key answered with a status other than success.
    #[error("the key refused with status {0}")]
    Refused(Status),
    /// Not even a status byte.
    #[error("the answer is empty")]
    Empty,
    /// Not CBOR as CTAP2 allows it.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// Well-formed, and not what the standard says the answer is. The text names the member.
    #[error("the answer is malformed: {0}")]
    Malformed(&'static str),
}

/// A request with parameters.
fn request(command: Command, parameters: Map) -> Vec<u8> {
    let mut bytes = vec![command as u8];
    bytes.extend(cbor::encode(&Value::Map(parameters)));
    bytes
}

/// The bytes after the status of a successful response.
///
/// # Errors
/// [`ResponseError::Refused`] with any status but 0, [`ResponseError::Empty`].
pub fn success(response: &[u8]) -> Result<&[u8], ResponseError> {
    match response.split_first() {
        None => Err(ResponseError::Empty),
        Some((0, body)) => Ok(body),
        Some((code, _)) => Err(ResponseError::Refused(Status(*code))),
    }
}

/// The map of a successful response.
fn success_map(response: &[u8]) -> Result<Map, ResponseError> {
    match cbor::decode(success(response)?, Limits::default())? {
        Value::Map(map) => Ok(map),
        _ => Err(ResponseError::Malformed("the answer is not a map")),
    }
}

/// Checks a response that has nothing to say. A map that a key sends all the same is of no interest.
fn success_empty(response: &[u8]) -> Result<(), ResponseError> {
    success(response).map(|_| ())
}

/// `{id, type: "public-key"}` (WebAuthn section 5.8.3).
fn credential_descriptor(id: &[u8]) -> Value {
    Map::from_iter([("id", Value::from(id)), ("type", Value::from("public-key"))]).into()
}

/// SHA-256, as the standards use it for RP IDs and client data.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Longest credential id (WebAuthn section 4, “Credential ID”).
pub const MAX_CREDENTIAL_ID: usize = 1023;

/// Takes a required member out of a map and converts it.
fn need<T>(
    map: &mut Map,
    key: u8,
    convert: impl Fn(&Value) -> Option<T>,
    otherwise: &'static str,
) -> Result<T, ResponseError> {
    let value = map.take(key).ok_or(ResponseError::Malformed(otherwise))?;
    convert(&value).ok_or(ResponseError::Malformed(otherwise))
}

/// Takes an optional member out of a map; when it is there it must convert.
fn may<T>(
    map: &mut Map,
    key: u8,
    convert: impl Fn(&Value) -> Option<T>,
    otherwise: &'static str,
) -> Result<Option<T>, ResponseError> {
    match map.take(key) {
        None => Ok(None),
        Some(value) => convert(&value).map(Some).ok_or(ResponseError::Malformed(otherwise)),
    }
}

fn to_bytes(value: &Value) -> Option<Vec<u8>> {
    value.as_bytes().map(<[u8]>::to_vec)
}

fn to_text(value: &Value) -> Option<String> {
    value.as_text().map(str::to_owned)
}

#[cfg(test)]
mod tests;
