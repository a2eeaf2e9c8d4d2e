//! The shapes that identity providers put around WebAuthn's options and responses, by their documentation and their own clients.
//!
//! | provider | options | response |
//! |---|---|---|
//! | Entra | `publicKey` of Graph's `creationOptions` | body of `POST fido2Methods` |
//! | Okta | `_embedded.activation` of a factor | body of `lifecycle/activate`, in base64 with padding |
//! | Keycloak | the variables of the page `webauthn-register` | the fields of its form |
//! | privacyIDEA | `webAuthnRegisterRequest` of `POST /token/init`, also inside `detail` | body of the second `POST /token/init` |
//!
//! Whoever sends the standard's own options to one of these is understood, too.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Map, Value as Json, json};

use super::creation::CreationOptions;
use super::response::RegistrationResponse;
use super::{MAX_JSON, WebauthnError};
use crate::types::Provider;

/// Entra's pages are here.
pub const ENTRA_ORIGIN: &str = "https://login.microsoft.com";

/// What Entra calls a key that nobody named.
const NAMELESS: &str = "Security key";

/// Creation options, and what the response has to bring back of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The options.
    pub options: CreationOptions,
    /// privacyIDEA's `transaction_id` and `serialNumber`.
    transaction: Option<(String, String)>,
}

/// Reads what a provider sent.
///
/// # Errors
/// [`WebauthnError`], which names the member.
pub fn creation(provider: Provider, json: &[u8]) -> Result<Asked, WebauthnError> {
    if json.len() > MAX_JSON {
        return Err(WebauthnError::TooLong);
    }
    let standard = |json: &[u8]| {
        CreationOptions::parse(json).map(|options| Asked {
            options,
            transaction: None,
        })
    };
    if matches!(provider, Provider::Webauthn | Provider::Entra) {
        return standard(json);
    }
    let sent: Json = serde_json::from_slice(json)?;
    match provider {
        Provider::Okta => match sent.pointer("/_embedded/activation") {
            Some(activation) => standard(activation.to_string().as_bytes()),
            None => standard(json),
        },
        Provider::Keycloak if sent.get("userid").is_some() => standard(keycloak(&sent)?.to_string().as_bytes()),
        Provider::Privacyidea => {
            let name = "webAuthnRegisterRequest";
            let nested = sent
                .pointer("/detail/webAuthnRegisterRequest")
                .or_else(|| sent.get(name));
            let request = nested.unwrap_or(&sent);
            if request.get("nonce").is_none() {
                return standard(json);
            }
            let asked = standard(privacyidea(request)?.to_string().as_bytes())?;
            let transaction = (text(request, "transaction_id")?, text(request, "serialNumber")?);
            Ok(Asked {
                transaction: Some(transaction),
                ..asked
            })
        }
        Provider::Keycloak | Provider::Webauthn | Provider::Entra => standard(json),
    }
}

/// Writes what the provider wants back; `label` is what its administrators see.
#[must_use]
pub fn registration(provider: Provider, asked: &Asked, response: &RegistrationResponse, label: Option<&str>) -> Json {
    let url = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let (client, object) = (&response.client_data_json, &response.attestation_object);
    match provider {
        Provider::Webauthn => response.to_json(),
        Provider::Entra => json!({
            "displayName": label.unwrap_or(NAMELESS),
            "publicKeyCredential": {
                "id": url(&response.id),
                "response": {"clientDataJSON": url(client), "attestationObject": url(object)},
            },
        }),
        Provider::Okta => json!({"attestation": BASE64.encode(object), "clientData": BASE64.encode(client)}),
        Provider::Keycloak => json!({
            "clientDataJSON": url(client),
            "attestationObject": url(object),
            "publicKeyCredentialId": url(&response.id),
            "authenticatorLabel": label.unwrap_or(NAMELESS),
            "transports": response.transports.join(","),
        }),
        Provider::Privacyidea => {
            let mut fields = Map::new();
            let mut put = |name: &str, value: Json| fields.insert(name.to_owned(), value);
            put("type", json!("webauthn"));
            if let Some((transaction, serial)) = &asked.transaction {
                put("transaction_id", json!(transaction));
                put("serial", json!(serial));
            }
            put("clientdata", json!(url(client)));
            put("regdata", json!(url(object)));
            if !response.extensions.is_empty() {
                let extensions = Json::Object(response.extensions.clone());
                put("registrationclientextensions", json!(extensions.to_string()));
            }
            if let Some(label) = label {
                put("description", json!(label));
            }
            Json::Object(fields)
        }
    }
}

/// The variables of Keycloak's page as the standard's options. `not specified` is its word for nothing.
fn keycloak(page: &Json) -> Result<Json, WebauthnError> {
    let said = |name: &str| {
        page.get(name)
            .and_then(Json::as_str)
            .filter(|said| !said.is_empty() && *said != "not specified")
    };
    let algorithms = page.get("signatureAlgorithms").and_then(Json::as_array);
    let algorithms: Vec<Json> = algorithms
        .ok_or(WebauthnError::Member("signatureAlgorithms"))?
        .iter()
        .filter_map(|algorithm| algorithm.as_i64().or_else(|| algorithm.as_str()?.parse().ok()))
        .map(|algorithm| json!({"type": "public-key", "alg": algorithm}))
        .collect();
    let exclude: Vec<Json> = said("excludeCredentialIds")
        .unwrap_or_default()
        .split(',')
        .filter(|id| !id.is_empty())
        .map(|id| json!({"type": "public-key", "id": id}))
        .collect();
    let name = text(page, "username")?;
    Ok(json!({
        "rp": {"id": said("rpId"), "name": said("rpEntityName").unwrap_or_default()},
        "user": {"id": text(page, "userid")?, "name": name, "displayName": name},
        "challenge": text(page, "challenge")?,
        "pubKeyCredParams": algorithms,
        "excludeCredentials": exclude,
        "attestation": said("attestationConveyancePreference"),
        "authenticatorSelection": {
            "requireResidentKey": said("requireResidentKey") == Some("Yes"),
            "userVerification": said("userVerificationRequirement"),
        },
    }))
}

/// privacyIDEA's request as the standard's options. The user handle is the serial number of its token.
fn privacyidea(request: &Json) -> Result<Json, WebauthnError> {
    let serial = text(request, "serialNumber")?;
    let name = text(request, "name")?;
    Ok(json!({
        "rp": request.get("relyingParty"),
        "user": {
            "id": BASE64URL_NOPAD.encode(serial.as_bytes()),
            "name": name,
            "displayName": request.get("displayName").and_then(Json::as_str).unwrap_or(&name),
        },
        "challenge": text(request, "nonce")?,
        "pubKeyCredParams": request.get("pubKeyCredAlgorithms"),
        "excludeCredentials": request.get("excludeCredentials"),
        // What its own client takes when nothing is said.
        "attestation": request.get("attestation").and_then(Json::as_str).unwrap_or("direct"),
        "authenticatorSelection": request.get("authenticatorSelection"),
    }))
}

fn text(json: &Json, member: &'static str) -> Result<String, WebauthnError> {
    let text = json.get(member).and_then(Json::as_str);
    text.map(str::to_owned).ok_or(WebauthnError::Member(member))
}
