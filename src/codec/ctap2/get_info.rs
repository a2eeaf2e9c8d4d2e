//! authenticatorGetInfo (CTAP 2.1 section 6.4; members 0x18 and above: CTAP 2.2 and 2.3).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::{Command, ResponseError, may, need, success_map, to_bytes};
use crate::codec::cbor::{Map, Value};

/// The request: the command alone.
#[must_use]
pub fn request() -> Vec<u8> {
    vec![Command::GetInfo as u8]
}

/// What an authenticator says about itself.
///
/// Members that steer us (versions, AAGUID, options, message size, PIN protocols, PIN lengths) must be of the right type.
/// Any other member of the wrong type is kept in `unknown`: a slip in a statement about large blobs is no reason to refuse
/// the key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GetInfo {
    /// 0x01: `FIDO_2_1`, `FIDO_2_0`, `U2F_V2`, ...
    pub versions: Vec<String>,
    /// 0x02: supported extensions.
    pub extensions: Vec<String>,
    /// 0x03: model.
    pub aaguid: [u8; 16],
    /// 0x04: option by name.
    pub options: BTreeMap<String, bool>,
    /// 0x05: longest message in bytes; 1024 when not told.
    pub max_msg_size: Option<u64>,
    /// 0x06: PIN/UV auth protocols, best first.
    pub pin_uv_auth_protocols: Vec<u64>,
    /// 0x07: longest credential list in a request.
    pub max_credential_count_in_list: Option<u64>,
    /// 0x08: longest credential id in bytes.
    pub max_credential_id_length: Option<u64>,
    /// 0x09: `usb`, `nfc`, ...
    pub transports: Vec<String>,
    /// 0x0A: COSE algorithm identifiers with their credential type.
    pub algorithms: Vec<Algorithm>,
    /// 0x0B: longest serialized large-blob array in bytes.
    pub max_serialized_large_blob_array: Option<u64>,
    /// 0x0C: the PIN must be changed before it can be used.
    pub force_pin_change: Option<bool>,
    /// 0x0D: shortest PIN in Unicode code points; 4 when not told.
    pub min_pin_length: Option<u64>,
    /// 0x0E: firmware version, the maker's own numbering.
    pub firmware_version: Option<u64>,
    /// 0x0F: longest credBlob in bytes.
    pub max_cred_blob_length: Option<u64>,
    /// 0x10: most RP IDs in setMinPINLength.
    pub max_rpids_for_set_min_pin_length: Option<u64>,
    /// 0x11: preferred number of built-in verification attempts.
    pub preferred_platform_uv_attempts: Option<u64>,
    /// 0x12: bit field of built-in verification methods.
    pub uv_modality: Option<u64>,
    /// 0x13: level by certification.
    pub certifications: BTreeMap<String, i64>,
    /// 0x14: estimate of further discoverable credentials.
    pub remaining_discoverable_credentials: Option<u64>,
    /// 0x15: vendor prototype commands of authenticatorConfig.
    pub vendor_prototype_config_commands: Option<Vec<u64>>,
    /// 0x16: attestation statement formats.
    pub attestation_formats: Vec<String>,
    /// 0x17: built-in verifications since the last PIN entry.
    pub uv_count_since_last_pin_entry: Option<u64>,
    /// 0x18: reset wants a touch of at least five seconds.
    pub long_touch_for_reset: Option<bool>,
    /// 0x19: encrypted device identifier.
    pub enc_identifier: Option<Vec<u8>>,
    /// 0x1A: transports over which a reset works.
    pub transports_for_reset: Vec<String>,
    /// 0x1B: whether a PIN complexity policy is enforced.
    pub pin_complexity_policy: Option<bool>,
    /// 0x1C: where the policy is described, as bytes of a URL.
    pub pin_complexity_policy_url: Option<Vec<u8>>,
    /// 0x1D: longest PIN in Unicode code points; 63 when not told.
    pub max_pin_length: Option<u64>,
    /// 0x1E: encrypted state of the credential store.
    pub enc_cred_store_state: Option<Vec<u8>>,
    /// 0x1F: sub-commands of authenticatorConfig.
    pub authenticator_config_commands: Option<Vec<u64>>,
    /// Everything else, as it came.
    pub unknown: Map,
    /// Members that were told and hold nothing: an empty list is not the same as none.
    pub empty: BTreeSet<u8>,
}

/// One entry of member 0x0A.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithm {
    /// COSE algorithm identifier; ES256 is -7.
    pub alg: i64,
    /// Credential type, `public-key`.
    pub kind: String,
}

impl GetInfo {
    /// Reads a response, status byte included.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn parse(response: &[u8]) -> Result<Self, ResponseError> {
        let mut map = success_map(response)?;
        let empty = map.iter().filter(|(_, value)| holds_nothing(value));
        let empty = empty.filter_map(|(key, _)| u8::try_from(key.as_u64()?).ok()).collect();
        let m = &mut map;
        let mut info = Self {
            versions: need(m, 0x01, texts, "getInfo versions")?,
            aaguid: need(m, 0x03, |v| v.as_bytes()?.try_into().ok(), "getInfo AAGUID")?,
            options: may(m, 0x04, options, "getInfo options")?.unwrap_or_default(),
            max_msg_size: may(m, 0x05, Value::as_u64, "getInfo maxMsgSize")?,
            pin_uv_auth_protocols: may(m, 0x06, numbers, "getInfo pinUvAuthProtocols")?.unwrap_or_default(),
            force_pin_change: may(m, 0x0C, Value::as_bool, "getInfo forcePINChange")?,
            min_pin_length: may(m, 0x0D, Value::as_u64, "getInfo minPINLength")?,
            max_pin_length: may(m, 0x1D, Value::as_u64, "getInfo maxPINLength")?,
            empty,
            ..Self::default()
        };
        info.take_statements(m);
        info.unknown = map;
        Ok(info)
    }

    /// The members that only inform.
    fn take_statements(&mut self, m: &mut Map) {
        self.extensions = take_if(m, 0x02, texts).unwrap_or_default();
        self.max_credential_count_in_list = take_if(m, 0x07, Value::as_u64);
        self.max_credential_id_length = take_if(m, 0x08, Value::as_u64);
        self.transports = take_if(m, 0x09, texts).unwrap_or_default();
        self.algorithms = take_if(m, 0x0A, algorithms).unwrap_or_default();
        self.max_serialized_large_blob_array = take_if(m, 0x0B, Value::as_u64);
        self.firmware_version = take_if(m, 0x0E, Value::as_u64);
        self.max_cred_blob_length = take_if(m, 0x0F, Value::as_u64);
        self.max_rpids_for_set_min_pin_length = take_if(m, 0x10, Value::as_u64);
        self.preferred_platform_uv_attempts = take_if(m, 0x11, Value::as_u64);
        self.uv_modality = take_if(m, 0x12, Value::as_u64);
        self.certifications = take_if(m, 0x13, levels).unwrap_or_default();
        self.remaining_discoverable_credentials = take_if(m, 0x14, Value::as_u64);
        self.vendor_prototype_config_commands = take_if(m, 0x15, numbers);
        self.attestation_formats = take_if(m, 0x16, texts).unwrap_or_default();
        self.uv_count_since_last_pin_entry = take_if(m, 0x17, Value::as_u64);
        self.long_touch_for_reset = take_if(m, 0x18, Value::as_bool);
        self.enc_identifier = take_if(m, 0x19, to_bytes);
        self.transports_for_reset = take_if(m, 0x1A, texts).unwrap_or_default();
        self.pin_complexity_policy = take_if(m, 0x1B, Value::as_bool);
        self.pin_complexity_policy_url = take_if(m, 0x1C, to_bytes);
        self.enc_cred_store_state = take_if(m, 0x1E, to_bytes);
        self.authenticator_config_commands = take_if(m, 0x1F, numbers);
    }

    /// The value of an option; `None` when the key does not name it.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<bool> {
        self.options.get(name).copied()
    }

    /// Whether the key speaks this version of the protocol.
    #[must_use]
    pub fn speaks(&self, version: &str) -> bool {
        self.versions.iter().any(|v| v == version)
    }

    /// Shortest PIN in code points: what the key says, else 4 (CTAP 2.1 section 6.4, 0x0D).
    #[must_use]
    pub fn min_pin_code_points(&self) -> u8 {
        self.min_pin_length
            .map_or(4, |n| u8::try_from(n).unwrap_or(u8::MAX))
            .max(4)
    }

    /// The members under the names of the standard, for people, JSON and D-Bus; unknown members under their number.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let known = self.statements().into_iter().filter(|(number, _, value)| match value {
            Json::Null => false,
            Json::Array(items) => !items.is_empty() || self.empty.contains(number),
            Json::Object(members) => !members.is_empty() || self.empty.contains(number),
            _ => true,
        });
        let known = known.map(|(_, name, value)| (name.to_owned(), value));
        let unknown = self.unknown.iter().map(|(key, value)| {
            let name = key.as_text().map_or_else(|| key.to_json().to_string(), str::to_owned);
            (name, value.to_json())
        });
        Json::Object(known.chain(unknown).collect())
    }

    /// Number, name and value of every member that has a name; null when it was not told.
    fn statements(&self) -> [(u8, &'static str, Json); 31] {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let url = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| hex(bytes));
        let algorithms: Vec<Json> = self
            .algorithms
            .iter()
            .map(|a| json!({"alg": a.alg, "type": a.kind}))
            .collect();
        [
            (0x01, "versions", json!(self.versions)),
            (0x02, "extensions", json!(self.extensions)),
            (0x03, "aaguid", json!(hex(&self.aaguid))),
            (0x04, "options", json!(self.options)),
            (0x05, "maxMsgSize", json!(self.max_msg_size)),
            (0x06, "pinUvAuthProtocols", json!(self.pin_uv_auth_protocols)),
            (
                0x07,
                "maxCredentialCountInList",
                json!(self.max_credential_count_in_list),
            ),
            (0x08, "maxCredentialIdLength", json!(self.max_credential_id_length)),
            (0x09, "transports", json!(self.transports)),
            (0x0A, "algorithms", json!(algorithms)),
            (
                0x0B,
                "maxSerializedLargeBlobArray",
                json!(self.max_serialized_large_blob_array),
            ),
            (0x0C, "forcePINChange", json!(self.force_pin_change)),
            (0x0D, "minPINLength", json!(self.min_pin_length)),
            (0x0E, "firmwareVersion", json!(self.firmware_version)),
            (0x0F, "maxCredBlobLength", json!(self.max_cred_blob_length)),
            (
                0x10,
                "maxRPIDsForSetMinPINLength",
                json!(self.max_rpids_for_set_min_pin_length),
            ),
            (
                0x11,
                "preferredPlatformUvAttempts",
                json!(self.preferred_platform_uv_attempts),
            ),
            (0x12, "uvModality", json!(self.uv_modality)),
            (0x13, "certifications", json!(self.certifications)),
            (
                0x14,
                "remainingDiscoverableCredentials",
                json!(self.remaining_discoverable_credentials),
            ),
            (
                0x15,
                "vendorPrototypeConfigCommands",
                json!(self.vendor_prototype_config_commands),
            ),
            (0x16, "attestationFormats", json!(self.attestation_formats)),
            (
                0x17,
                "uvCountSinceLastPinEntry",
                json!(self.uv_count_since_last_pin_entry),
            ),
            (0x18, "longTouchForReset", json!(self.long_touch_for_reset)),
            (0x19, "encIdentifier", json!(self.enc_identifier.as_deref().map(hex))),
            (0x1A, "transportsForReset", json!(self.transports_for_reset)),
            (0x1B, "pinComplexityPolicy", json!(self.pin_complexity_policy)),
            (
                0x1C,
                "pinComplexityPolicyURL",
                json!(self.pin_complexity_policy_url.as_deref().map(url)),
            ),
            (0x1D, "maxPINLength", json!(self.max_pin_length)),
            (
                0x1E,
                "encCredStoreState",
                json!(self.enc_cred_store_state.as_deref().map(hex)),
            ),
            (
                0x1F,
                "authenticatorConfigCommands",
                json!(self.authenticator_config_commands),
            ),
        ]
    }
}

fn holds_nothing(value: &Value) -> bool {
    value.as_array().is_some_and(<[Value]>::is_empty) || value.as_map().is_some_and(Map::is_empty)
}

/// Takes a member out when it converts; leaves it where it is when it does not.
fn take_if<T>(map: &mut Map, key: u8, convert: impl Fn(&Value) -> Option<T>) -> Option<T> {
    let converted = map.get(key).and_then(convert)?;
    map.take(key);
    Some(converted)
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(super::to_text).collect()
}

fn numbers(value: &Value) -> Option<Vec<u64>> {
    value.as_array()?.iter().map(Value::as_u64).collect()
}

fn options(value: &Value) -> Option<BTreeMap<String, bool>> {
    value
        .as_map()?
        .iter()
        .map(|(k, v)| Some((k.as_text()?.to_owned(), v.as_bool()?)))
        .collect()
}

fn levels(value: &Value) -> Option<BTreeMap<String, i64>> {
    value
        .as_map()?
        .iter()
        .map(|(k, v)| Some((k.as_text()?.to_owned(), v.as_i64()?)))
        .collect()
}

fn algorithms(value: &Value) -> Option<Vec<Algorithm>> {
    let one = |entry: &Value| {
        let entry = entry.as_map()?;
        Some(Algorithm {
            alg: entry.get("alg")?.as_i64()?,
            kind: entry.get("type")?.as_text()?.to_owned(),
        })
    };
    value.as_array()?.iter().map(one).collect()
}
