//! In the key's lane: getInfo, PIN set or verified, makeCredential, what the attestation is worth, then an assertion; only then is the
//! token active. Whatever stops it takes the credential off the key again, or an obligation says that it is there.

use std::sync::Arc;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::codec::cbor::Map;
use crate::codec::ctap2::client_pin::Permissions;
use crate::codec::ctap2::get_info::GetInfo;
use crate::codec::ctap2::make_credential::{self, Particulars};
use crate::codec::ctap2::sha256;
use crate::device::DeviceError;
use crate::device::fido::{FidoContext, MakeCredential};
use crate::device::session::Session;
use crate::ledger::{Attestation, Binding, IntentEnd, KeyIdentity, Mutation, Unique};
use crate::lifecycle::Refusal;
use crate::lifecycle::act::{Act, Facts, facts};
use crate::lifecycle::key::{Credential, Key, with_key};
use crate::lifecycle::operation::Phase;
use crate::lifecycle::recover::phase;
use crate::lifecycle::register::provider::Errand;
use crate::lifecycle::register::still_pending;
use crate::trust::statement::Attested;
use crate::trust::{Rules, Verdict};
use crate::types::{Cancel, DeviceId, Secret, TokenId, TokenState};

/// What credential to make.
pub(super) struct Order {
    pub rp_id: String,
    pub rp_name: String,
    pub user_id: Vec<u8>,
    pub user_name: String,
    pub display_name: String,
    /// COSE algorithm identifiers, best first.
    pub algorithms: Vec<i64>,
    /// `credProtect` level, and whether a key without it is refused.
    pub protection: Option<(u8, bool)>,
    pub hmac_secret: bool,
    pub min_pin_length: bool,
    pub client_data_hash: [u8; 32],
    /// Whether the key keeps it; the key decides when absent.
    pub discoverable: Option<bool>,
    /// Whether the key is the organisation's: only then it is ever reset.
    pub organisation: bool,
    /// Credential ids that must not be on the key already.
    pub exclude: Vec<Vec<u8>>,
    /// Takes the response to whoever is to have it.
    pub errand: Option<Errand>,
}

impl Order {
    /// What recovery needs to know.
    pub fn detail(&self, discoverable: bool) -> Value {
        json!({"rp_id": self.rp_id, "user_id": HEXLOWER.encode(&self.user_id), "discoverable": discoverable})
    }
}

/// What the lane takes with it.
pub(super) struct Work {
    pub id: TokenId,
    pub device: DeviceId,
    pub order: Order,
    /// Who the key is, as far as it told before.
    pub identity: KeyIdentity,
    pub pin: Secret,
    pub rules: Arc<Rules>,
}

/// How it stands with the PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PinSettled {
    /// The key has one, and will verify it.
    Had,
    /// It was set.
    Set,
    /// The key knows none.
    Unknown,
}

/// What the lane brings back.
pub(super) struct Made {
    pub sign_count: u32,
    pub pin_set: bool,
    pub verdict: Option<Verdict>,
}

/// A credential on the key, not accepted yet.
struct Created {
    response: make_credential::Response,
    credential: Credential,
    info: GetInfo,
    resident: bool,
    binding: Binding,
}

impl Work {
    pub fn run(mut self, session: &mut Session, act: &Act) -> Result<Made, Refusal> {
        act.phase(Phase::Identifying, 5);
        let device = self.device;
        with_key(session, Some(act), device, |key| {
            let info = key.session.get_info(&mut key.context)?;
            self.rules
                .screen(&info)
                .map_err(|distrust| self.distrusted(act, distrust.into()))?;
            act.phase(Phase::Pin, 15);
            let pin = self.settle_pin(key)?;
            let pin_set = pin == PinSettled::Set;
            let created = self.create(key, act, pin)?;
            match self.accept(key, act, pin, &created) {
                Ok((sign_count, verdict)) => Ok(Made {
                    sign_count,
                    pin_set,
                    verdict,
                }),
                Err(refusal) => {
                    let refusal = self.distrusted(act, refusal);
                    self.undo(key, act, &created)?;
                    Err(refusal)
                }
            }
        })
    }

    /// Sets the PIN on a key that has none. On a key that has one it is verified by the token that the next step gets, so
    /// that one entry costs one try.
    fn settle_pin(&self, key: &mut Key<'_, '_>) -> Result<PinSettled, Refusal> {
        let info = key.session.get_info(&mut key.context)?;
        match info.option("clientPin") {
            Some(true) => Ok(PinSettled::Had),
            Some(false) => {
                key.session.set_pin(&self.pin, &mut key.context)?;
                Ok(PinSettled::Set)
            }
            // CTAP1 knows no PIN: whoever has such a key can use it by a touch.
            None if info.versions == ["U2F_V2"] => Ok(PinSettled::Unknown),
            None => Err(DeviceError::Unsupported("a PIN").into()),
        }
    }

    /// The PIN, for a key that knows it.
    fn pin(&self, settled: PinSettled) -> Option<&Secret> {
        (settled != PinSettled::Unknown).then_some(&self.pin)
    }

    fn create(&self, key: &mut Key<'_, '_>, act: &Act, pin: PinSettled) -> Result<Created, Refusal> {
        let order = &self.order;
        // A long list of credentials is gone through by silent assertions first, which the same token allows.
        let permissions = Permissions::MAKE_CREDENTIAL | Permissions::GET_ASSERTION;
        let token = key.token(self.pin(pin), permissions, Some(&order.rp_id))?;
        let info = key.session.get_info(&mut key.context)?;
        let can = info.option("rk") == Some(true);
        let resident = match order.discoverable {
            Some(true) if !can => return Err(DeviceError::Unsupported("discoverable credentials").into()),
            Some(wanted) => wanted,
            None => can,
        };
        let particulars = self.particulars(&info)?;
        let exclude = key
            .session
            .exclude_list(&order.rp_id, &order.exclude, token.as_ref(), &mut key.context)?;
        // From here on the key may hold our credential; the record says so first.
        act.commit_in_lane(
            "token.creating",
            Some(self.id),
            facts([]),
            vec![
                still_pending(self.id),
                act.moved_with(phase::CREATING, order.detail(resident)),
            ],
        )?;
        act.phase(Phase::Creating, 30);
        let made = key.session.make_credential(
            &MakeCredential {
                rp_id: &order.rp_id,
                rp_name: &order.rp_name,
                user_id: &order.user_id,
                user_name: &order.user_name,
                resident,
                client_data_hash: &order.client_data_hash,
                pin_uv_auth_token: token.as_ref(),
                exclude: &exclude,
                particulars,
            },
            &mut key.context,
        );
        let made = match made {
            Err(error) if key.session.has_refused(&error) => {
                // Nothing was made, so nothing will be owed.
                act.commit_in_lane(
                    "token.not-made",
                    Some(self.id),
                    facts([]),
                    vec![act.moved_to(phase::UNDONE)],
                )?;
                return Err(error.into());
            }
            made => made?,
        };
        act.step.answered();
        self.created(act, made, info, resident)
    }

    /// What the relying party wants, as far as the key can.
    fn particulars(&self, info: &GetInfo) -> Result<Particulars<'_>, Refusal> {
        let order = &self.order;
        let has = |extension: &str| info.extensions.iter().any(|known| known == extension);
        let protection = match order.protection {
            // WebAuthn's client refuses what the key cannot promise (CTAP 2.1 section 12.1); “optional” is no promise.
            Some((level, true)) if level > 1 && !has("credProtect") => {
                return Err(DeviceError::Unsupported("the protection of credentials that is asked for").into());
            }
            Some((level, _)) if has("credProtect") => Some(level),
            _ => None,
        };
        Ok(Particulars {
            algorithms: &order.algorithms,
            display_name: &order.display_name,
            protection,
            hmac_secret: order.hmac_secret && has("hmac-secret"),
            min_pin_length: order.min_pin_length && has("minPinLength"),
            enterprise: (self.rules.wants_enterprise() && info.option("ep") == Some(true)).then_some(2),
        })
    }

    /// Writes down what the key has made.
    fn created(
        &self,
        act: &Act,
        response: make_credential::Response,
        info: GetInfo,
        resident: bool,
    ) -> Result<Created, Refusal> {
        let attested = response
            .auth_data
            .attested
            .clone()
            .ok_or(DeviceError::Protocol("no credential in the authenticator data"))?;
        let credential_id = BASE64URL_NOPAD.encode(&attested.credential_id);
        let binding = Binding::Fido2 {
            rp_id: self.order.rp_id.clone(),
            credential_id: credential_id.clone(),
            public_key: BASE64URL_NOPAD.encode(attested.public_key.encoded()),
            aaguid: Uuid::from_bytes(attested.aaguid).hyphenated().to_string(),
            discoverable: resident,
            identity: Some(Box::new(KeyIdentity {
                attestation: attestation_id(&response.statement),
                ..self.identity.clone()
            })),
            organisation: self.order.organisation,
            attestation: None,
        };
        let bind = Mutation::Bind {
            token: self.id,
            binding: binding.clone(),
            unique: Some(Unique::Credential(credential_id)),
        };
        act.commit_in_lane(
            "token.created",
            Some(self.id),
            facts([]),
            vec![still_pending(self.id), bind, act.moved_to(phase::CREATED)],
        )?;
        Ok(Created {
            response,
            credential: Credential {
                rp_id: self.order.rp_id.clone(),
                id: attested.credential_id,
                key: attested.public_key,
            },
            info,
            resident,
            binding,
        })
    }

    /// From a credential on the key to an active token: judged, proved, handed over, committed.
    fn accept(
        &mut self,
        key: &mut Key<'_, '_>,
        act: &Act,
        pin: PinSettled,
        created: &Created,
    ) -> Result<(u32, Option<Verdict>), Refusal> {
        act.phase(Phase::Proving, 60);
        let response = &created.response;
        let attested = Attested {
            format: &response.format,
            auth_data: &response.auth_data,
            statement: &response.statement,
            client_data_hash: &self.order.client_data_hash,
        };
        let now = act.house.clock().now();
        let verdict = self.rules.judge(&attested, &created.info, now)?;
        let sign_count = key.prove(&created.credential, self.pin(pin), 0)?;
        if let Some(errand) = self.order.errand.take() {
            errand.deliver(act, response, &created.info, created.resident)?;
        }
        self.commit(act, sign_count, &created.binding, verdict.as_ref())?;
        Ok((sign_count, verdict))
    }

    fn commit(&self, act: &Act, sign_count: u32, binding: &Binding, verdict: Option<&Verdict>) -> Result<(), Refusal> {
        act.phase(Phase::Committing, 90);
        act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
        let now = act.house.clock().now();
        let mut detail: Facts = facts([("kind", json!(crate::types::TokenKind::Fido2))]);
        let mut changes = Vec::new();
        if let Some(verdict) = verdict {
            detail.extend(told(verdict));
            changes.push(Mutation::Bind {
                token: self.id,
                binding: with_attestation(binding, verdict),
                unique: None,
            });
            // The key's own word, vouched for, before the maker's USB string or what somebody typed.
            changes.extend(
                verdict
                    .serial
                    .clone()
                    .map(|serial| Mutation::Serial { token: self.id, serial }),
            );
        }
        changes.extend([
            Mutation::Transition {
                token: self.id,
                from: &[TokenState::Pending],
                to: TokenState::Active,
                reason: None,
            },
            Mutation::Count {
                token: self.id,
                to: sign_count,
                seen: now,
            },
            act.end(IntentEnd::Completed),
        ]);
        Ok(act.commit_in_lane("token.registered", Some(self.id), detail, changes)?)
    }

    /// Notes in the journal why a key was not trusted; the caller hears the refusal itself.
    fn distrusted(&self, act: &Act, refusal: Refusal) -> Refusal {
        let Refusal::Untrusted(distrust) = &refusal else {
            return refusal;
        };
        let reason = facts([("reason", json!(distrust.name()))]);
        match act.commit_in_lane("token.untrusted", Some(self.id), reason, Vec::new()) {
            Ok(()) => refusal,
            Err(error) => error.into(),
        }
    }

    /// Takes a credential off the key that was not accepted, also when it was not because somebody cancelled. Where that
    /// fails the open intent says what is left, and becomes an obligation.
    fn undo(&self, key: &mut Key<'_, '_>, act: &Act, created: &Created) -> Result<(), Refusal> {
        if created.resident {
            let mut context = FidoContext {
                deadlines: key.context.deadlines,
                end: key.context.end,
                cancel: &Cancel::new(),
                on_touch_needed: &mut |_| {},
            };
            let deleted = key
                .session
                .pin_uv_token(&self.pin, Permissions::CREDENTIAL_MANAGEMENT, None, &mut context)
                .and_then(|token| {
                    key.session
                        .delete_credential(&created.credential.id, &token, &mut context)
                });
            if deleted.is_err() {
                return Ok(());
            }
        }
        act.commit_in_lane(
            "token.undone",
            Some(self.id),
            facts([]),
            vec![act.moved_to(phase::UNDONE)],
        )?;
        Ok(())
    }
}

/// Names the attestation certificate, where there is one (WebAuthn section 8.2, `x5c`).
fn attestation_id(statement: &Map) -> Option<String> {
    let certificate = statement.get("x5c")?.as_array()?.first()?.as_bytes()?;
    Some(HEXLOWER.encode(sha256(certificate).get(..8)?))
}

/// What the journal tells of a verdict; a serial number is no part of it.
fn told(verdict: &Verdict) -> Facts {
    let mut told = facts([("attestation", json!(verdict.worth))]);
    if let Some(model) = &verdict.model {
        told.insert("attested-model", json!(model));
    }
    if let Some(day) = &verdict.metadata_overdue {
        told.insert("metadata-overdue", json!(day));
    }
    told
}

fn with_attestation(binding: &Binding, verdict: &Verdict) -> Binding {
    let mut binding = binding.clone();
    if let Binding::Fido2 { attestation, .. } = &mut binding {
        *attestation = Some(Attestation {
            worth: verdict.worth,
            model: verdict.model.clone(),
            serial: verdict.serial.is_some(),
        });
    }
    binding
}
