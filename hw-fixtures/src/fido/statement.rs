//! A getInfo statement as the FIDO metadata service writes it (members by name, in JSON), taken on by a simulated key.

use ciborium::Value;
use serde_json::Value as Json;

use crate::SimError;
use crate::crypto::from_hex;
use crate::profile::{Attestation, FidoProfile, Profile};

/// Number and name of every member (CTAP 2.1 section 6.4; 0x18 and up: CTAP 2.2 and 2.3).
const MEMBERS: [(i64, &str); 31] = [
    (0x01, "versions"),
    (0x02, "extensions"),
    (0x03, "aaguid"),
    (0x04, "options"),
    (0x05, "maxMsgSize"),
    (0x06, "pinUvAuthProtocols"),
    (0x07, "maxCredentialCountInList"),
    (0x08, "maxCredentialIdLength"),
    (0x09, "transports"),
    (0x0a, "algorithms"),
    (0x0b, "maxSerializedLargeBlobArray"),
    (0x0c, "forcePINChange"),
    (0x0d, "minPINLength"),
    (0x0e, "firmwareVersion"),
    (0x0f, "maxCredBlobLength"),
    (0x10, "maxRPIDsForSetMinPINLength"),
    (0x11, "preferredPlatformUvAttempts"),
    (0x12, "uvModality"),
    (0x13, "certifications"),
    (0x14, "remainingDiscoverableCredentials"),
    (0x15, "vendorPrototypeConfigCommands"),
    (0x16, "attestationFormats"),
    (0x17, "uvCountSinceLastPinEntry"),
    (0x18, "longTouchForReset"),
    (0x19, "encIdentifier"),
    (0x1a, "transportsForReset"),
    (0x1b, "pinComplexityPolicy"),
    (0x1c, "pinComplexityPolicyURL"),
    (0x1d, "maxPINLength"),
    (0x1e, "encCredStoreState"),
    (0x1f, "authenticatorConfigCommands"),
];

/// Members that are byte strings, written in hexadecimal.
const BYTES: [&str; 3] = ["aaguid", "encIdentifier", "encCredStoreState"];

/// The statement as the map that getInfo answers. A member without a name is written under its number.
pub(crate) fn map(statement: &Json) -> Option<Value> {
    let members = statement.as_object()?.iter().map(|(name, value)| {
        let number = MEMBERS
            .iter()
            .find(|(_, known)| known == name)
            .map(|(number, _)| *number);
        let number = number.or_else(|| name.parse().ok())?;
        let value = match value.as_str() {
            Some(text) if BYTES.contains(&name.as_str()) => Value::Bytes(from_hex(text)?),
            Some(text) if name == "pinComplexityPolicyURL" => Value::Bytes(text.as_bytes().to_vec()),
            _ => item(value)?,
        };
        Some((Value::from(number), value))
    });
    Some(Value::Map(members.collect::<Option<_>>()?))
}

fn item(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(truth) => Value::from(*truth),
        Json::Number(number) => Value::from(number.as_i64()?),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::Array(items.iter().map(item).collect::<Option<_>>()?),
        Json::Object(members) => Value::Map(
            members
                .iter()
                .map(|(name, value)| Some((Value::from(name.as_str()), item(value)?)))
                .collect::<Option<_>>()?,
        ),
    })
}

impl Profile {
    /// A model that says of itself exactly `statement`, and does what a plain key of its versions does.
    ///
    /// # Errors
    /// When the statement is not a map of members, or lacks versions or AAGUID.
    pub fn stating(name: &str, statement: &Json) -> Result<Self, SimError> {
        let wrong = |what: &str| SimError::Invalid(format!("statement {name}: {what}"));
        if map(statement).is_none() {
            return Err(wrong("a member is nothing that CBOR can say"));
        }
        let texts = |member: &str| -> Vec<String> {
            let items = statement.get(member).and_then(Json::as_array).into_iter().flatten();
            items.filter_map(Json::as_str).map(str::to_owned).collect()
        };
        let versions = texts("versions");
        let aaguid = statement.get("aaguid").and_then(Json::as_str).unwrap_or_default();
        if versions.is_empty() || from_hex(aaguid).is_none_or(|bytes| bytes.len() != 16) {
            return Err(wrong("`versions` and `aaguid` must be there"));
        }
        let protocols = statement.get("pinUvAuthProtocols").and_then(Json::as_array);
        let protocols = protocols.into_iter().flatten().filter_map(Json::as_u64);
        let protocols: Vec<u8> = protocols.filter_map(|number| u8::try_from(number).ok()).collect();
        let size = statement.get("maxMsgSize").and_then(Json::as_u64).unwrap_or(1024);
        let fido = FidoProfile {
            // Keys of CTAP 2.0 have protocol one and need not say so.
            pin_protocols: if protocols.is_empty() { vec![1] } else { protocols },
            max_msg_size: u16::try_from(size).unwrap_or(u16::MAX),
            transports: texts("transports"),
            statement: Some(statement.clone()),
            ..FidoProfile::plain(versions, aaguid.to_owned(), Attestation::SelfSigned)
        };
        Ok(Self::key(name, fido))
    }
}
