//! Client data: what a client vouches for, and what the key signs the hash of (sections 5.8.1 and 5.8.1.1).

use std::fmt::Write as _;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::{WebauthnError, base64url};

/// Longest client data that are read.
const MAX_CLIENT_DATA: usize = 8192;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceremony {
    /// A credential was made.
    Create,
    /// A credential was used.
    Get,
}

impl Ceremony {
    const fn name(self) -> &'static str {
        match self {
            Self::Create => "webauthn.create",
            Self::Get => "webauthn.get",
        }
    }
}

/// Client data of a page that is nobody's frame, byte for byte in the order and the escaping of section 5.8.1.1.
#[must_use]
pub fn serialize(ceremony: Ceremony, challenge: &[u8], origin: &str) -> Vec<u8> {
    let mut json = String::from("{\"type\":");
    quote(&mut json, ceremony.name());
    json.push_str(",\"challenge\":");
    quote(&mut json, &BASE64URL_NOPAD.encode(challenge));
    json.push_str(",\"origin\":");
    quote(&mut json, origin);
    json.push_str(",\"crossOrigin\":false}");
    json.into_bytes()
}

/// CCDToString.
fn quote(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\0'..='\u{1f}' => {
                // A String takes everything.
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            _ => json.push(c),
        }
    }
    json.push('"');
}

/// Client data that somebody else wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientData {
    /// `webauthn.create` or `webauthn.get`; `None` when it is something else.
    pub ceremony: Option<Ceremony>,
    /// The challenge.
    pub challenge: Vec<u8>,
    /// Who asked.
    pub origin: String,
    /// Whether it was asked in a frame of another origin.
    pub cross_origin: bool,
}

impl ClientData {
    /// Reads client data; members that nobody knows are passed over (section 5.8.1, the note on “further keys”).
    ///
    /// # Errors
    /// [`WebauthnError`].
    pub fn parse(json: &[u8]) -> Result<Self, WebauthnError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw {
            #[serde(rename = "type")]
            kind: String,
            challenge: String,
            origin: String,
            #[serde(default)]
            cross_origin: bool,
        }
        if json.len() > MAX_CLIENT_DATA {
            return Err(WebauthnError::TooLong);
        }
        let raw: Raw = serde_json::from_slice(json)?;
        Ok(Self {
            ceremony: [Ceremony::Create, Ceremony::Get]
                .into_iter()
                .find(|ceremony| ceremony.name() == raw.kind),
            challenge: base64url(&raw.challenge, "challenge")?,
            origin: raw.origin,
            cross_origin: raw.cross_origin,
        })
    }
}
