//! Registering a FIDO2 key on behalf of an identity provider: its creation options in, the response for it out. The daemon is the
//! client of WebAuthn section 5.1.3 here, and looks at the response as the provider will before it hands it over.

use serde_json::json;

use crate::codec::cbor::{Map, Value};
use crate::codec::ctap2::get_info::GetInfo;
use crate::codec::ctap2::sha256;
use crate::codec::ctap2::{make_credential, spki};
use crate::codec::webauthn::attestation_object::AttestationObject;
use crate::codec::webauthn::client_data::{self, Ceremony};
use crate::codec::webauthn::creation::{CreationOptions, Residency};
use crate::codec::webauthn::provider::{self as shape, Asked};
use crate::codec::webauthn::response::RegistrationResponse;
use crate::codec::webauthn::{Verification, origin};
use crate::device::DeviceError;
use crate::grant::{Action, Object};
use crate::ledger::Personal;
use crate::lifecycle::Refusal;
use crate::lifecycle::act::Act;
use crate::lifecycle::operation::Outcome;
use crate::lifecycle::register::credential::Order;
use crate::lifecycle::register::fido2::{make, registered_credentials};
use crate::lifecycle::request::{Commission, Delivery};
use crate::trust::registration::{self, Expected, RegistrationError};
use crate::trust::signature::Algorithm;
use crate::trust::statement::StatementError;
use crate::types::{DeviceId, Provider, Secret, TokenId};

/// Registers the key `device` for a provider. The response is handed over before the token is active: what nobody took is taken off
/// the key again.
///
/// # Errors
/// [`Refusal::Invalid`] for options or an origin that cannot be used; [`Refusal::Undelivered`]; as
/// [`register`](super::fido2::register).
pub async fn register(act: &Act, device: DeviceId, pin: Secret, commission: Commission) -> Result<Outcome, Refusal> {
    act.require(Action::Register, &Object::Device(device))?;
    let Commission {
        subject,
        provider,
        origin,
        creation,
        response,
        label,
        serial,
    } = commission;
    act.house.may_activate(Some(&subject)).await?;
    let asked = shape::creation(provider, creation.expose()).map_err(invalid)?;
    let wanted = &asked.options;
    let rp_id = origin::rp_id(&origin, wanted.rp_id.as_deref()).map_err(invalid)?;
    let algorithms: Vec<i64> = wanted
        .algorithms
        .iter()
        .copied()
        .filter(|algorithm| Algorithm::of(*algorithm).is_some())
        .collect();
    if algorithms.is_empty() {
        return Err(Refusal::Invalid(
            "the provider asks for none of the algorithms ES256, ES384, EdDSA and RS256".to_owned(),
        ));
    }
    let mut exclude = wanted.exclude.clone();
    for known in registered_credentials(act, &subject, &rp_id).await? {
        if !exclude.contains(&known) {
            exclude.push(known);
        }
    }
    let client_data = client_data::serialize(Ceremony::Create, &wanted.challenge, &origin);
    let personal = Personal {
        subject: Some(subject),
        serial,
        label: label.clone(),
    };
    let order = Order {
        rp_name: wanted.rp_name.clone(),
        user_id: wanted.user_id.clone(),
        user_name: wanted.user_name.clone(),
        display_name: wanted.display_name.clone(),
        protection: wanted.protection.map(|(level, enforced)| (level as u8, enforced)),
        hmac_secret: wanted.hmac_secret,
        min_pin_length: wanted.min_pin_length,
        client_data_hash: sha256(&client_data),
        discoverable: match wanted.residency {
            Residency::Required => Some(true),
            Residency::Preferred => None,
            Residency::Discouraged => Some(false),
        },
        // Marked afterwards, where it is.
        organisation: false,
        exclude,
        algorithms: algorithms.clone(),
        rp_id: rp_id.clone(),
        errand: Some(Errand {
            provider,
            label,
            asked,
            algorithms,
            origin,
            rp_id,
            client_data,
            way: response,
        }),
    };
    make(act, device, TokenId::generate(), personal, pin, order).await
}

/// What goes with the key's answer to the provider.
pub(super) struct Errand {
    provider: Provider,
    label: Option<String>,
    asked: Asked,
    algorithms: Vec<i64>,
    origin: String,
    rp_id: String,
    client_data: Vec<u8>,
    way: Delivery,
}

impl Errand {
    /// Makes the response, looks at it as the provider will, and hands it over.
    ///
    /// # Errors
    /// [`Refusal::Unacceptable`], [`Refusal::Undelivered`].
    pub fn deliver(
        self,
        act: &Act,
        made: &make_credential::Response,
        info: &GetInfo,
        resident: bool,
    ) -> Result<(), Refusal> {
        let response = self.response(made, info, resident)?;
        let expected = Expected {
            rp_id: &self.rp_id,
            origin: &self.origin,
            challenge: &self.asked.options.challenge,
            algorithms: &self.algorithms,
            user_verification: self.asked.options.verification == Verification::Required,
        };
        match registration::verify(&response, &expected) {
            // A format that we do not know counts as none; the provider may know it.
            Ok(_) | Err(RegistrationError::Statement(StatementError::Format)) => {}
            Err(error) => return Err(error.into()),
        }
        let json = shape::registration(self.provider, &self.asked, &response, self.label.as_deref());
        let json = Secret::new(json.to_string().into_bytes());
        act.house.runtime().block_on(self.way.deliver(json))
    }

    fn response(
        &self,
        made: &make_credential::Response,
        info: &GetInfo,
        resident: bool,
    ) -> Result<RegistrationResponse, Refusal> {
        let options = &self.asked.options;
        let credential = made
            .auth_data
            .attested
            .as_ref()
            .ok_or(DeviceError::Protocol("no credential in the authenticator data"))?;
        Ok(RegistrationResponse {
            id: credential.credential_id.clone(),
            client_data_json: self.client_data.clone(),
            attestation_object: conveyed(options, made).encode(),
            transports: info.transports.clone(),
            public_key: spki::of(&credential.public_key),
            algorithm: Some(credential.public_key.algorithm()),
            extensions: outputs(options, made, resident),
        })
    }
}

/// The attestation object, without the statement where the relying party does not want one (section 5.1.3, step 22).
fn conveyed(options: &CreationOptions, made: &make_credential::Response) -> AttestationObject {
    let object = AttestationObject::from(made);
    match options.attestation.as_deref() {
        Some("direct" | "indirect" | "enterprise") => object,
        _ => AttestationObject {
            format: "none".to_owned(),
            statement: Map::new(),
            ..object
        },
    }
}

/// `clientExtensionResults`: what the key said, and what only the client knows.
fn outputs(
    options: &CreationOptions,
    made: &make_credential::Response,
    resident: bool,
) -> serde_json::Map<String, serde_json::Value> {
    let mut outputs = serde_json::Map::new();
    let said = |name: &str| made.auth_data.extensions.as_ref().and_then(|map| map.get(name));
    if options.hmac_secret {
        let made = said("hmac-secret").and_then(Value::as_bool).unwrap_or(false);
        outputs.insert("hmacCreateSecret".to_owned(), json!(made));
    }
    if options.credential_properties {
        outputs.insert("credProps".to_owned(), json!({"rk": resident}));
    }
    outputs
}

fn invalid(error: impl std::fmt::Display) -> Refusal {
    Refusal::Invalid(format!("the provider's options are refused: {error}"))
}
