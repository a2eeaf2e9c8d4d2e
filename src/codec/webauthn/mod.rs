//! WebAuthn's JSON and CBOR, as relying parties and identity providers speak it (Web Authentication Level 3, sections 5.1.8,
//! 5.4, 5.5, 5.8.1 and 6.5.4): options in, client data and responses out.
//!
//! Lenient where the field is: base64url with or without padding, members nobody knows, options bare or inside `publicKey`.
//! Strict about sizes.

pub mod attestation_object;
pub mod client_data;
pub mod creation;
pub mod origin;
pub mod provider;
pub mod request;
pub mod response;

#[cfg(test)]
mod tests;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::ctap2::MAX_CREDENTIAL_ID;

/// Longest JSON that is looked at: a thousand excluded credentials fit.
pub const MAX_JSON: usize = 1 << 20;
/// Longest challenge in bytes; WebAuthn asks for at least 16 (section 13.4.3) and nobody sends more than 64.
pub const MAX_CHALLENGE: usize = 1024;
/// Most credentials in a list.
pub const MOST_CREDENTIALS: usize = 1000;
/// Longest name of a person or a relying party that is sent to a key, in bytes (section 6.4.1).
pub const MAX_NAME: usize = 64;

/// Why JSON from a relying party is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebauthnError {
    /// More than [`MAX_JSON`].
    #[error("the JSON is longer than 1 MiB")]
    TooLong,
    /// Not JSON, or members of the wrong type. Line and column of the fault.
    #[error("the JSON cannot be read at line {line}, column {column}")]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A member is missing, empty, too long, or not what it should be.
    #[error("“{0}” is missing, too long, or not as WebAuthn has it")]
    Member(&'static str),
    /// Not base64url.
    #[error("“{0}” is not base64url")]
    Base64(&'static str),
    /// CBOR that is none, or not what it should be.
    #[error("the attestation object cannot be read")]
    AttestationObject,
}

impl From<serde_json::Error> for WebauthnError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json {
            line: error.line(),
            column: error.column(),
        }
    }
}

/// Reads JSON into `T`, wherever it stands: bare, or as the member `publicKey` of what an API answers.
fn options<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, WebauthnError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wrapped<T> {
        public_key: T,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Probe {
        public_key: Option<serde::de::IgnoredAny>,
    }
    if json.len() > MAX_JSON {
        return Err(WebauthnError::TooLong);
    }
    let probe: Probe = serde_json::from_slice(json)?;
    if probe.public_key.is_some() {
        Ok(serde_json::from_slice::<Wrapped<T>>(json)?.public_key)
    } else {
        Ok(serde_json::from_slice(json)?)
    }
}

/// base64url, with or without padding.
fn base64url(text: &str, member: &'static str) -> Result<Vec<u8>, WebauthnError> {
    BASE64URL_NOPAD
        .decode(text.trim_end_matches('=').as_bytes())
        .map_err(|_| WebauthnError::Base64(member))
}

/// The credential ids that a text may mean. Microsoft Entra sends base64url with the count of its padding characters as one more
/// digit at the end (`AAEC…1`), which mostly is no base64url any more; where it still is, both readings are given, since an id
/// that no key knows does no harm in a list.
fn credential_ids(text: &str, member: &'static str) -> Result<Vec<Vec<u8>>, WebauthnError> {
    let plain = text.trim_end_matches('=');
    let padding = plain.get(..plain.len().saturating_sub(1)).filter(|rest| {
        // Base64 of so many digits lacks so many characters of padding.
        plain.ends_with(match rest.len() % 4 {
            2 => '2',
            3 => '1',
            _ => '0',
        })
    });
    let ids: Vec<Vec<u8>> = [Some(plain), padding]
        .into_iter()
        .flatten()
        .filter_map(|reading| BASE64URL_NOPAD.decode(reading.as_bytes()).ok())
        .filter(|id| !id.is_empty())
        .collect();
    if ids.is_empty() {
        return Err(WebauthnError::Base64(member));
    }
    if ids.iter().any(|id| id.len() > MAX_CREDENTIAL_ID) {
        return Err(WebauthnError::Member(member));
    }
    Ok(ids)
}

/// `[{type, id, transports}]` (section 5.8.3); types other than `public-key` are passed over, as the section has it.
fn descriptors(given: &[Descriptor], member: &'static str) -> Result<Vec<Vec<u8>>, WebauthnError> {
    if given.len() > MOST_CREDENTIALS {
        return Err(WebauthnError::Member(member));
    }
    let mut ids = Vec::with_capacity(given.len());
    for descriptor in given.iter().filter(|descriptor| descriptor.kind == PUBLIC_KEY) {
        ids.extend(credential_ids(&descriptor.id, member)?);
    }
    Ok(ids)
}

const PUBLIC_KEY: &str = "public-key";

#[derive(Deserialize)]
struct Descriptor {
    #[serde(rename = "type")]
    kind: String,
    id: String,
}

/// Whether the person is verified (section 5.8.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// It must be.
    Required,
    /// If the key can; what is meant when nothing is said.
    Preferred,
    /// Rather not.
    Discouraged,
}

impl Verification {
    /// Values that nobody knows count as not said (section 2.1.1).
    fn read(text: Option<&str>) -> Self {
        match text {
            Some("required") => Self::Required,
            Some("discouraged") => Self::Discouraged,
            _ => Self::Preferred,
        }
    }
}

/// A name for a key's display, cut at a character's border to what a key keeps.
fn name(text: &str) -> String {
    let end = (0..=text.len().min(MAX_NAME))
        .rev()
        .find(|&end| text.is_char_boundary(end))
        .unwrap_or_default();
    text.get(..end).unwrap_or_default().to_owned()
}
