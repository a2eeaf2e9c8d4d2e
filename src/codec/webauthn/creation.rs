//! Creation options: what a relying party wants a credential to be (section 5.4, in JSON by section 5.1.8).

use serde::Deserialize;

use super::{
    Descriptor, MAX_CHALLENGE, PUBLIC_KEY, Verification, WebauthnError, base64url, descriptors, name, options,
};

/// More algorithms than there are.
const MOST_ALGORITHMS: usize = 64;
/// Longest user handle (section 5.4.3).
const MAX_USER_HANDLE: usize = 64;

/// Whether the key is to keep the credential (section 5.4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residency {
    /// Rather not.
    Discouraged,
    /// If it can.
    Preferred,
    /// It must.
    Required,
}

/// credProtect levels (CTAP 2.1 section 12.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CredentialProtection {
    /// `userVerificationOptional`.
    Optional = 1,
    /// `userVerificationOptionalWithCredentialIDList`.
    OptionalWithList = 2,
    /// `userVerificationRequired`.
    Required = 3,
}

/// Creation options, read and measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreationOptions {
    /// RP ID; without one the origin's host is meant.
    pub rp_id: Option<String>,
    /// Its name, for a key with a display.
    pub rp_name: String,
    /// User handle.
    pub user_id: Vec<u8>,
    /// Account, for a key with a display.
    pub user_name: String,
    /// Person, for a key with a display.
    pub display_name: String,
    /// The challenge.
    pub challenge: Vec<u8>,
    /// COSE algorithm identifiers, best first; never empty.
    pub algorithms: Vec<i64>,
    /// Credential ids that must not be on the key already.
    pub exclude: Vec<Vec<u8>>,
    /// Whether the key keeps it.
    pub residency: Residency,
    /// Whether the person is verified.
    pub verification: Verification,
    /// `attestation`: `none`, `indirect`, `direct`, `enterprise`.
    pub attestation: Option<String>,
    /// Extension `hmacCreateSecret`.
    pub hmac_secret: bool,
    /// Extension `credentialProtectionPolicy`, and whether a key without it is refused.
    pub protection: Option<(CredentialProtection, bool)>,
    /// Extension `credProps`.
    pub credential_properties: bool,
    /// Extension `minPinLength`.
    pub min_pin_length: bool,
}

impl CreationOptions {
    /// Reads options as JSON, bare or inside `publicKey`.
    ///
    /// # Errors
    /// [`WebauthnError`], which names the member.
    pub fn parse(json: &[u8]) -> Result<Self, WebauthnError> {
        let raw: Raw = options(json)?;
        let challenge = base64url(&raw.challenge, "challenge")?;
        if challenge.is_empty() || challenge.len() > MAX_CHALLENGE {
            return Err(WebauthnError::Member("challenge"));
        }
        let user_id = base64url(&raw.user.id, "user.id")?;
        if user_id.is_empty() || user_id.len() > MAX_USER_HANDLE {
            return Err(WebauthnError::Member("user.id"));
        }
        if raw.pub_key_cred_params.len() > MOST_ALGORITHMS {
            return Err(WebauthnError::Member("pubKeyCredParams"));
        }
        let mut algorithms: Vec<i64> = raw
            .pub_key_cred_params
            .iter()
            .filter(|parameters| parameters.kind == PUBLIC_KEY)
            .map(|parameters| parameters.alg)
            .collect();
        if raw.pub_key_cred_params.is_empty() {
            // Section 5.1.3, step 9.
            algorithms = vec![-7, -257];
        } else if algorithms.is_empty() {
            return Err(WebauthnError::Member("pubKeyCredParams"));
        }
        let selection = raw.authenticator_selection.unwrap_or_default();
        let residency = match selection.resident_key.as_deref() {
            Some("required") => Residency::Required,
            Some("preferred") => Residency::Preferred,
            Some("discouraged") => Residency::Discouraged,
            // Values that nobody knows count as not there (section 2.1.1).
            _ if selection.require_resident_key => Residency::Required,
            _ => Residency::Discouraged,
        };
        let extensions = raw.extensions.unwrap_or_default();
        let protection = match extensions.credential_protection_policy.as_deref() {
            None => None,
            Some("userVerificationOptional") => Some(CredentialProtection::Optional),
            Some("userVerificationOptionalWithCredentialIDList") => Some(CredentialProtection::OptionalWithList),
            Some("userVerificationRequired") => Some(CredentialProtection::Required),
            Some(_) => return Err(WebauthnError::Member("credentialProtectionPolicy")),
        };
        Ok(Self {
            rp_id: raw.rp.id,
            rp_name: name(&raw.rp.name),
            user_id,
            user_name: name(&raw.user.name),
            display_name: name(&raw.user.display_name),
            challenge,
            algorithms,
            exclude: descriptors(&raw.exclude_credentials.unwrap_or_default(), "excludeCredentials")?,
            residency,
            verification: Verification::read(selection.user_verification.as_deref()),
            attestation: raw.attestation,
            hmac_secret: extensions.hmac_create_secret,
            protection: protection.map(|level| (level, extensions.enforce_credential_protection_policy)),
            credential_properties: extensions.cred_props,
            min_pin_length: extensions.min_pin_length,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    rp: Party,
    user: User,
    challenge: String,
    #[serde(default)]
    pub_key_cred_params: Vec<Parameters>,
    exclude_credentials: Option<Vec<Descriptor>>,
    authenticator_selection: Option<Selection>,
    attestation: Option<String>,
    extensions: Option<Extensions>,
}

#[derive(Deserialize)]
struct Party {
    id: Option<String>,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    display_name: String,
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(rename = "type")]
    kind: String,
    alg: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Selection {
    resident_key: Option<String>,
    require_resident_key: bool,
    user_verification: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Extensions {
    hmac_create_secret: bool,
    credential_protection_policy: Option<String>,
    enforce_credential_protection_policy: bool,
    cred_props: bool,
    min_pin_length: bool,
}
