//! Request options: what a relying party wants an assertion to be (section 5.5, in JSON by section 5.1.9).

use serde::Deserialize;

use super::{Descriptor, MAX_CHALLENGE, Verification, WebauthnError, base64url, descriptors, options};

/// Request options, read and measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOptions {
    /// RP ID; without one the origin's host is meant.
    pub rp_id: Option<String>,
    /// The challenge.
    pub challenge: Vec<u8>,
    /// Credential ids that will do; empty asks for discoverable ones.
    pub allow: Vec<Vec<u8>>,
    /// Whether the person is verified.
    pub verification: Verification,
}

impl RequestOptions {
    /// Reads options as JSON, bare or inside `publicKey`.
    ///
    /// # Errors
    /// [`WebauthnError`], which names the member.
    pub fn parse(json: &[u8]) -> Result<Self, WebauthnError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw {
            challenge: String,
            rp_id: Option<String>,
            allow_credentials: Option<Vec<Descriptor>>,
            user_verification: Option<String>,
        }
        let raw: Raw = options(json)?;
        let challenge = base64url(&raw.challenge, "challenge")?;
        if challenge.is_empty() || challenge.len() > MAX_CHALLENGE {
            return Err(WebauthnError::Member("challenge"));
        }
        Ok(Self {
            rp_id: raw.rp_id,
            challenge,
            allow: descriptors(&raw.allow_credentials.unwrap_or_default(), "allowCredentials")?,
            verification: Verification::read(raw.user_verification.as_deref()),
        })
    }
}
