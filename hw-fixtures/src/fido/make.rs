//! `authenticatorMakeCredential` (CTAP 2.1 section 6.1).

use ciborium::Value;

use super::attest::Attestor;
use super::cbor::{self, Params};
use super::clientpin::MAKE;
use super::credential::{Resident, User, read_list};
use super::signer::Algorithm;
use super::{Answer, Authenticator, Halt, Moment, Status};
use crate::crypto;
use crate::profile::Attestation;

/// Flags of the authenticator data (WebAuthn section 6.1).
pub(super) const FLAG_USER_PRESENT: u8 = 0x01;
/// The user was verified.
pub(super) const FLAG_USER_VERIFIED: u8 = 0x04;
/// Attested credential data follows.
const FLAG_ATTESTED: u8 = 0x40;
/// Extension outputs follow.
const FLAG_EXTENSIONS: u8 = 0x80;

/// ES256, by which the certificates' keys sign.
const ES256: i64 = -7;

/// The options of a request, with their defaults.
#[derive(Clone, Copy)]
pub(super) struct Options {
    pub resident: bool,
    pub presence: bool,
}

impl Authenticator {
    pub(super) fn make_credential(&mut self, params: &Params, moment: Moment) -> Answer {
        let hash = params.bytes(0x01)?.ok_or(Status::MissingParameter)?;
        let (rp_id, rp_name) = read_rp(params.map(0x02)?.ok_or(Status::MissingParameter)?)?;
        let user = User::read(params.get(0x03).ok_or(Status::MissingParameter)?)?;
        let algorithm = self.choose(params.array(0x04)?.ok_or(Status::MissingParameter)?)?;
        let enterprise = self.enterprise_wanted(params.uint(0x0a)?)?;
        let options = self.options_of(params, 0x07)?;
        if params
            .get(0x07)
            .and_then(Value::as_map)
            .is_some_and(|map| cbor::field(map, "up") == Some(&false.into()))
        {
            return Err(Status::InvalidOption.into());
        }
        let verified = self.user_verified(params.bytes(0x08)?, params.uint(0x09)?, hash, MAKE, &rp_id, moment)?;
        if !verified && self.needs_verification(options) {
            return Err(Status::PuatRequired.into());
        }
        let rp_hash = crypto::sha256(rp_id.as_bytes());
        let excluded = self.read_credentials(params, 0x05)?.unwrap_or_default();
        if excluded.iter().any(|id| self.owns(id, &rp_hash)) {
            // The touch comes first, so that a site cannot probe in silence for keys it knows.
            moment.touched()?;
            return Err(Status::CredentialExcluded.into());
        }
        moment.touched()?;
        self.spend_tokens();
        let id = self.new_credential_id(options.resident, algorithm, &rp_hash);
        let outputs = self.extension_outputs(params.map(0x06)?.unwrap_or(&Vec::new()));
        if options.resident {
            self.keep(Resident {
                id: id.clone(),
                rp_id,
                rp_name,
                user,
            })?;
        }
        let more = if outputs.is_empty() { 0 } else { FLAG_EXTENSIONS };
        let flags = FLAG_USER_PRESENT | FLAG_ATTESTED | more | if verified { FLAG_USER_VERIFIED } else { 0 };
        let mut data = self.attested_data(&rp_hash, flags, &id);
        if !outputs.is_empty() {
            data.extend(cbor::encode(&Value::Map(outputs)));
        }
        Ok(Some(self.attest(&id, &data, hash, enterprise)))
    }

    /// The first algorithm of the list that this model has.
    fn choose(&self, list: &[Value]) -> Result<Algorithm, Halt> {
        for entry in list {
            let map = entry.as_map().ok_or(Status::CborUnexpectedType)?;
            let kind = cbor::field(map, "type").ok_or(Status::MissingParameter)?;
            let algorithm = cbor::field(map, "alg").ok_or(Status::MissingParameter)?;
            let algorithm = algorithm.as_integer().ok_or(Status::CborUnexpectedType)?;
            let known = i64::try_from(algorithm)
                .ok()
                .filter(|number| self.profile.algorithms.contains(number));
            if let (Some("public-key"), Some(algorithm)) = (kind.as_text(), known.and_then(Algorithm::of)) {
                return Ok(algorithm);
            }
        }
        Err(Status::UnsupportedAlgorithm.into())
    }

    /// Whether the attestation shall name the one key (section 7.1.3): no relying party is preconfigured here, so only a platform that
    /// manages (2) gets it.
    fn enterprise_wanted(&self, asked: Option<u64>) -> Result<bool, Halt> {
        match asked {
            None => Ok(false),
            Some(_) if !self.profile.enterprise => Err(Status::InvalidParameter.into()),
            Some(1) => Ok(false),
            Some(2) => Ok(true),
            Some(_) => Err(Status::InvalidOption.into()),
        }
    }

    /// What it answers to the extensions it has (section 12).
    fn extension_outputs(&self, asked: &[(Value, Value)]) -> Vec<(Value, Value)> {
        let has = |name: &str| self.profile.extensions.iter().any(|known| known == name);
        let mut outputs = Vec::new();
        for (name, value) in asked {
            let output = match name.as_text() {
                Some("credProtect") if has("credProtect") => value.clone(),
                Some("hmac-secret") if has("hmac-secret") => Value::from(true),
                Some("minPinLength") if has("minPinLength") => Value::from(self.memory.min_pin_length),
                _ => continue,
            };
            outputs.push((name.clone(), output));
        }
        // Canonical order: the shorter name first (section 8).
        outputs.sort_by_key(|(name, _)| {
            let name = name.as_text().unwrap_or_default().to_owned();
            (name.len(), name)
        });
        outputs
    }

    /// Whether a request without pinUvAuthParam must be refused (section 6.1.2, steps 6 to 10).
    fn needs_verification(&self, options: Options) -> bool {
        let optional = self.profile.make_cred_uv_not_required && !options.resident;
        self.memory.always_uv || (self.memory.pin.is_some() && !optional)
    }

    /// Reads and checks the options map under `key`.
    pub(super) fn options_of(&self, params: &Params, key: i64) -> Result<Options, Halt> {
        let empty = Vec::new();
        let map = params.map(key)?.unwrap_or(&empty);
        let flag = |name: &str, default: bool| match cbor::field(map, name) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or(Status::CborUnexpectedType),
        };
        let resident = flag("rk", false)?;
        if resident && self.profile.resident_slots == 0 {
            return Err(Status::UnsupportedOption.into());
        }
        // No model here verifies by itself; `uv` beside a pinUvAuthParam is ignored, as the standard wants. Keys of
        // CTAP 2.0 with a PIN ask for it instead of refusing the option, and libfido2 waits for just that.
        if flag("uv", false)? && params.get(if key == 0x07 { 0x08 } else { 0x06 }).is_none() {
            let old_with_pin = !self.profile.is_2_1() && self.memory.pin.is_some();
            return Err(if old_with_pin {
                Status::PuatRequired
            } else {
                Status::InvalidOption
            }
            .into());
        }
        Ok(Options {
            resident,
            presence: flag("up", true)?,
        })
    }

    /// Checks a pinUvAuthParam over the client data hash. `Ok(false)` when there was none.
    ///
    /// An empty one is how a platform of CTAP 2.0 asks which of several keys is meant: touch, then a PIN status.
    pub(super) fn user_verified(
        &mut self,
        tag: Option<&[u8]>,
        protocol: Option<u64>,
        hash: &[u8],
        permission: u8,
        rp_id: &str,
        moment: Moment,
    ) -> Result<bool, Halt> {
        let Some(tag) = tag else { return Ok(false) };
        if tag.is_empty() {
            moment.touched()?;
            return Err(if self.memory.pin.is_some() {
                Status::PinInvalid
            } else {
                Status::PinNotSet
            }
            .into());
        }
        let protocol = self.protocol(protocol, Status::MissingParameter)?;
        self.verify_token(protocol, &[hash], tag, permission, Some(rp_id), moment.now)?;
        Ok(true)
    }

    /// The allow or exclude list under `key`.
    pub(super) fn read_credentials(&self, params: &Params, key: i64) -> Result<Option<Vec<Vec<u8>>>, Halt> {
        let Some(list) = params.array(key)? else {
            return Ok(None);
        };
        if list.len() > self.profile.max_cred_count {
            return Err(Status::LimitExceeded.into());
        }
        Ok(Some(read_list(list)?))
    }

    /// Stores a discoverable credential in place of the one for the same account.
    fn keep(&mut self, new: Resident) -> Result<(), Halt> {
        let same = |old: &Resident| old.rp_id == new.rp_id && old.user.id == new.user.id;
        let replaces = self.memory.residents.iter().any(same);
        if !replaces && self.memory.residents.len() >= self.profile.resident_slots {
            return Err(Status::KeyStoreFull.into());
        }
        self.memory.residents.retain(|old| !same(old));
        self.memory.residents.push(new);
        Ok(())
    }

    /// Authenticator data with attested credential data (WebAuthn sections 6.1 and 6.5.2).
    fn attested_data(&mut self, rp_hash: &[u8; 32], flags: u8, id: &[u8]) -> Vec<u8> {
        let mut data = self.authenticator_data(rp_hash, flags);
        // A U2F registration has no room for a model (section 7.1.4 of the mapping to CTAP1).
        let u2f = self.profile.attestation == Attestation::U2f;
        data.extend(if u2f { [0; 16] } else { self.aaguid });
        data.extend(u16::try_from(id.len()).unwrap_or(0).to_be_bytes());
        data.extend(id);
        data.extend(cbor::encode(&self.credential_cose(id)));
        data
    }

    /// RP ID hash, flags and a counter that has moved on.
    pub(super) fn authenticator_data(&mut self, rp_hash: &[u8; 32], flags: u8) -> Vec<u8> {
        self.memory.counter = self.memory.counter.saturating_add(1);
        let mut data = rp_hash.to_vec();
        data.push(flags);
        data.extend(self.memory.counter.to_be_bytes());
        data
    }

    /// The attestation object (WebAuthn sections 8.2, 8.6 and 8.7).
    fn attest(&self, id: &[u8], data: &[u8], hash: &[u8], enterprise: bool) -> Value {
        let certificate = |attestor: &Attestor| Some(Value::Array(vec![Value::Bytes(attestor.certificate().to_vec())]));
        let message = [data, hash].concat();
        let certified = self
            .enterprise
            .as_ref()
            .filter(|_| enterprise)
            .or(self.attestation.as_ref());
        let (format, statement) = match (self.profile.attestation, certified) {
            (Attestation::None, _) => ("none", cbor::text_map([])),
            (Attestation::U2f, Some(attestor)) => {
                let signature = attestor.sign(&self.u2f_message(id, data, hash));
                let statement = [("sig", Some(Value::Bytes(signature))), ("x5c", certificate(attestor))];
                ("fido-u2f", cbor::text_map(statement))
            }
            (_, Some(attestor)) => {
                let statement = [
                    ("alg", Some(Value::from(ES256))),
                    ("sig", Some(Value::Bytes(attestor.sign(&message)))),
                    ("x5c", certificate(attestor)),
                ];
                ("packed", cbor::text_map(statement))
            }
            (_, None) => {
                let statement = [
                    ("alg", Some(Value::from(Self::algorithm_of(id).number()))),
                    ("sig", Some(Value::Bytes(self.sign(id, &message)))),
                ];
                ("packed", cbor::text_map(statement))
            }
        };
        cbor::int_map([
            (0x01, cbor::text(format)),
            (0x02, cbor::bytes(data)),
            (0x03, Some(statement)),
            (0x04, enterprise.then(|| Value::from(true))),
        ])
    }

    /// What a U2F registration signs (U2F raw message formats, section 4.3).
    fn u2f_message(&self, id: &[u8], data: &[u8], hash: &[u8]) -> Vec<u8> {
        let (x, y) = crypto::public_coordinates(&self.credential_key(id).public_key());
        let rp_hash = data.get(..32).unwrap_or_default();
        [&[0][..], rp_hash, hash, id, &[4], &x, &y].concat()
    }
}

fn read_rp(map: &[(Value, Value)]) -> Result<(String, Option<String>), Halt> {
    let id = cbor::field(map, "id").ok_or(Status::MissingParameter)?;
    let id = id.as_text().ok_or(Status::CborUnexpectedType)?.to_owned();
    Ok((id, cbor::field(map, "name").and_then(Value::as_text).map(str::to_owned)))
}
