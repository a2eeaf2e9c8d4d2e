//! `authenticatorGetInfo` (CTAP 2.1 section 6.4).

use ciborium::Value;

use super::{Authenticator, cbor, statement};

/// uvModality (FIDO registry section 3.1): a fingerprint, verified inside.
const FINGERPRINT_INTERNAL: u8 = 0x02;

impl Authenticator {
    pub(super) fn info(&self) -> Value {
        let profile = &self.profile;
        if let Some(stated) = profile.statement.as_ref().and_then(statement::map) {
            return stated;
        }
        let modern = profile.is_2_1();
        let names = |list: &[String]| Value::Array(list.iter().map(|name| Value::from(name.as_str())).collect());
        let number = |value: usize| cbor::uint(value as u64);
        let when = |condition: bool, value: Option<Value>| if condition { value } else { None };
        // Key 9 and up came with CTAP 2.1; keys 7 and 8 are sent by its previews too.
        let plain_2_0 = profile.versions == ["FIDO_2_0"];
        let remaining = profile.resident_slots.saturating_sub(self.memory.residents.len());
        let algorithms = profile
            .algorithms
            .iter()
            .map(|&number| cbor::text_map([("alg", Some(Value::from(number))), ("type", cbor::text("public-key"))]))
            .collect();
        cbor::int_map([
            (0x01, Some(names(&profile.versions))),
            (
                0x02,
                when(!profile.extensions.is_empty(), Some(names(&profile.extensions))),
            ),
            (0x03, cbor::bytes(&self.aaguid)),
            (0x04, Some(self.options())),
            (0x05, cbor::uint(u64::from(profile.max_msg_size))),
            (
                0x06,
                Some(Value::Array(
                    profile
                        .pin_protocols
                        .iter()
                        .map(|&protocol| Value::from(protocol))
                        .collect(),
                )),
            ),
            (0x07, when(!plain_2_0, number(profile.max_cred_count))),
            (0x08, when(!plain_2_0, number(profile.max_cred_id_length))),
            (0x09, when(!plain_2_0, Some(names(&profile.transports)))),
            (0x0a, when(modern, Some(Value::Array(algorithms)))),
            (0x0b, profile.large_blob_array.and_then(|room| cbor::uint(room as u64))),
            (0x0c, when(modern, Some(Value::from(self.memory.force_pin_change)))),
            (0x0d, when(modern, cbor::uint(u64::from(self.memory.min_pin_length)))),
            (
                0x0e,
                profile.firmware.and_then(|version| cbor::uint(u64::from(version))),
            ),
            (0x10, when(profile.config, number(profile.max_rpids))),
            (
                0x12,
                profile
                    .fingerprints
                    .is_some()
                    .then(|| Value::from(FINGERPRINT_INTERNAL)),
            ),
            (0x14, when(modern, number(remaining))),
            (0x18, profile.long_touch.map(|_| Value::from(self.memory.long_touch))),
            (
                0x1a,
                when(
                    !profile.transports_for_reset.is_empty(),
                    Some(names(&profile.transports_for_reset)),
                ),
            ),
            (0x1b, profile.pin_complexity.map(Value::from)),
            (0x1f, profile.long_touch.map(|_| self.config_commands())),
        ])
    }

    fn config_commands(&self) -> Value {
        let ep = self.profile.enterprise_attestation.then_some(Value::from(1));
        Value::Array(ep.into_iter().chain([2, 3, 4].map(Value::from)).collect())
    }

    fn options(&self) -> Value {
        let profile = &self.profile;
        let modern = profile.is_2_1();
        let only = |condition: bool, value: bool| condition.then_some(Value::from(value));
        cbor::text_map([
            ("rk", only(true, profile.resident_slots > 0)),
            ("uv", only(profile.fingerprints.is_some(), self.has_uv())),
            (
                "bioEnroll",
                only(modern && profile.fingerprints.is_some(), self.has_uv()),
            ),
            (
                "userVerificationMgmtPreview",
                only(profile.is_preview() && profile.fingerprints.is_some(), self.has_uv()),
            ),
            ("uvBioEnroll", only(modern && profile.fingerprints.is_some(), true)),
            (
                "uvAcfg",
                only(modern && profile.config && profile.fingerprints.is_some(), true),
            ),
            (
                "ep",
                only(profile.enterprise_attestation, self.memory.enterprise_attestation),
            ),
            ("largeBlobs", only(profile.large_blob_array.is_some(), true)),
            ("up", only(true, true)),
            ("plat", only(true, false)),
            (
                "clientPin",
                only(!profile.pin_protocols.is_empty(), self.memory.pin.is_some()),
            ),
            ("credMgmt", only(modern && profile.credential_management, true)),
            (
                "credentialMgmtPreview",
                only(profile.is_preview() && profile.credential_management, true),
            ),
            ("ep", only(profile.enterprise, true)),
            ("authnrCfg", only(profile.config, true)),
            ("setMinPINLength", only(profile.config, true)),
            ("alwaysUv", only(profile.config, self.memory.always_uv)),
            ("pinUvAuthToken", only(modern, true)),
            (
                "makeCredUvNotRqd",
                only(modern, profile.make_cred_uv_not_required && !self.memory.always_uv),
            ),
        ])
    }
}
