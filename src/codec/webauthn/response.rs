//! Responses in JSON (section 5.1.8, `RegistrationResponseJSON`; section 5.1.9, `AuthenticationResponseJSON`).

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::attestation_object::AttestationObject;
use super::{MAX_JSON, PUBLIC_KEY, WebauthnError, base64url};

/// A registration, as it goes to a relying party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationResponse {
    /// Credential id, as the client names it.
    pub id: Vec<u8>,
    /// Client data, byte for byte as their hash was signed.
    pub client_data_json: Vec<u8>,
    /// Attestation object, in CBOR.
    pub attestation_object: Vec<u8>,
    /// `usb`, `nfc`, ... of the key.
    pub transports: Vec<String>,
    /// SubjectPublicKeyInfo in DER, where the algorithm is known.
    pub public_key: Option<Vec<u8>>,
    /// COSE algorithm identifier.
    pub algorithm: Option<i64>,
    /// `clientExtensionResults`.
    pub extensions: serde_json::Map<String, Json>,
}

impl RegistrationResponse {
    /// The JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let id = BASE64URL_NOPAD.encode(&self.id);
        let mut response = serde_json::Map::new();
        let mut put = |member: &str, value: Json| response.insert(member.to_owned(), value);
        put("clientDataJSON", encoded(&self.client_data_json));
        put("attestationObject", encoded(&self.attestation_object));
        put("transports", json!(self.transports));
        if let Ok(object) = AttestationObject::parse(&self.attestation_object) {
            put("authenticatorData", encoded(object.auth_data.raw()));
        }
        if let Some(key) = &self.public_key {
            put("publicKey", encoded(key));
        }
        if let Some(algorithm) = self.algorithm {
            put("publicKeyAlgorithm", json!(algorithm));
        }
        json!({
            "id": id, "rawId": id, "type": PUBLIC_KEY, "authenticatorAttachment": "cross-platform",
            "response": response, "clientExtensionResults": self.extensions,
        })
    }

    /// Reads JSON that somebody else may have written.
    ///
    /// # Errors
    /// [`WebauthnError`]; also when `id` and `rawId` are not the same.
    pub fn from_json(json: &[u8]) -> Result<Self, WebauthnError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw {
            id: String,
            raw_id: Option<String>,
            #[serde(rename = "type")]
            kind: String,
            response: Response,
            #[serde(default)]
            client_extension_results: serde_json::Map<String, Json>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Response {
            #[serde(rename = "clientDataJSON")]
            client_data_json: String,
            attestation_object: String,
            #[serde(default)]
            transports: Vec<String>,
            public_key: Option<String>,
            public_key_algorithm: Option<i64>,
        }
        if json.len() > MAX_JSON {
            return Err(WebauthnError::TooLong);
        }
        let raw: Raw = serde_json::from_slice(json)?;
        if raw.kind != PUBLIC_KEY {
            return Err(WebauthnError::Member("type"));
        }
        let id = base64url(&raw.id, "id")?;
        if let Some(raw_id) = raw.raw_id
            && base64url(&raw_id, "rawId")? != id
        {
            return Err(WebauthnError::Member("rawId"));
        }
        Ok(Self {
            id,
            client_data_json: base64url(&raw.response.client_data_json, "clientDataJSON")?,
            attestation_object: base64url(&raw.response.attestation_object, "attestationObject")?,
            transports: raw.response.transports,
            public_key: raw
                .response
                .public_key
                .map(|key| base64url(&key, "publicKey"))
                .transpose()?,
            algorithm: raw.response.public_key_algorithm,
            extensions: raw.client_extension_results,
        })
    }
}

/// An assertion, as it goes to a relying party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationResponse {
    /// Credential id.
    pub id: Vec<u8>,
    /// Client data, byte for byte as their hash was signed.
    pub client_data_json: Vec<u8>,
    /// Authenticator data.
    pub authenticator_data: Vec<u8>,
    /// Signature.
    pub signature: Vec<u8>,
    /// User handle, if the key told.
    pub user_handle: Option<Vec<u8>>,
}

impl AuthenticationResponse {
    /// The JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let id = BASE64URL_NOPAD.encode(&self.id);
        let mut response = json!({
            "clientDataJSON": encoded(&self.client_data_json),
            "authenticatorData": encoded(&self.authenticator_data),
            "signature": encoded(&self.signature),
        });
        if let (Some(handle), Some(members)) = (&self.user_handle, response.as_object_mut()) {
            members.insert("userHandle".to_owned(), encoded(handle));
        }
        json!({
            "id": id, "rawId": id, "type": PUBLIC_KEY, "authenticatorAttachment": "cross-platform",
            "response": response, "clientExtensionResults": {},
        })
    }
}

fn encoded(bytes: &[u8]) -> Json {
    Json::String(BASE64URL_NOPAD.encode(bytes))
}
