//! Registering a FIDO2 key: getInfo, PIN set or verified, makeCredential, then an assertion; only then is the token active.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::json;
use uuid::Uuid;

use crate::codec::cbor::Map;
use crate::codec::ctap2::client_pin::Permissions;
use crate::codec::ctap2::sha256;
use crate::device::DeviceError;
use crate::device::fido::{FidoContext, MakeCredential};
use crate::device::handle::DeviceHandle;
use crate::device::session::Session;
use crate::grant::{Action, Object};
use crate::ledger::{Binding, Filter, IntentEnd, KeyIdentity, Mutation, Personal, Unique};
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::key::{Credential, Key, challenge, with_key};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::recover::phase;
use crate::lifecycle::register::{fresh, still_pending};
use crate::lifecycle::{Fido2Options, Refusal};
use crate::types::{Cancel, DeviceId, Secret, TokenId, TokenKind, TokenState};

/// How many of a subject's credentials are put on the exclude list.
const MAX_EXCLUDED: u32 = 16;

/// Registers the key `device`.
///
/// # Errors
/// The key's own ([`Refusal::Device`]); [`Refusal::Unverified`] when its answer does not verify. Nothing is left behind, or
/// an obligation says what. A PIN that was set stays set.
pub async fn register(
    act: &Act,
    device: DeviceId,
    subject: String,
    pin: Secret,
    options: Fido2Options,
) -> Result<Outcome, Refusal> {
    act.require(Action::Register, &Object::Device(device))?;
    act.house.may_activate(Some(&subject)).await?;
    let handle = act.house.devices().get(device).ok_or(Refusal::UnknownDevice)?;
    let info = handle.info();
    let who = act.house.identify(&handle, act.step.cancel_flag()).await?;
    let alike = act.house.lookalikes(&handle, &who);
    let confidence = who.confidence(&alike.iter().map(DeviceHandle::facts).collect::<Vec<_>>());
    let id = TokenId::generate();
    let rp_id = options.rp_id.unwrap_or_else(|| act.house.settings().rp_id.clone());
    let exclude = registered_credentials(act, &subject, &rp_id).await?;

    let mut record = fresh(
        id,
        TokenKind::Fido2,
        info.reality,
        Personal {
            subject: Some(subject.clone()),
            serial: options.serial.or(who.telling_serial().map(str::to_owned)),
            label: options.label,
        },
    );
    record.model = info.name;
    // The user handle is the token's id: random, no person in it (WebAuthn section 14.6.1), and it is what finds the
    // credential again should we be stopped before we learn its id.
    let begin = act.intent(
        id,
        phase::BEGUN,
        json!({"rp_id": rp_id, "user_id": id.simple(), "discoverable": options.discoverable.unwrap_or(true)}),
    );
    act.commit(
        "token.register-begun",
        Some(id),
        facts([("kind", json!(TokenKind::Fido2)), ("reality", json!(info.reality))]),
        vec![
            Mutation::Insert {
                record: Box::new(record),
                seed: None,
                unique: None,
            },
            Mutation::Begin(begin),
        ],
    )
    .await?;

    let work = Work {
        id,
        device,
        rp_id,
        user_name: options.user_name.unwrap_or(subject),
        discoverable: options.discoverable,
        identity: KeyIdentity {
            confidence,
            fingerprint: who.fingerprint,
            attestation: None,
        },
        organisation: options.organisation,
        exclude,
        pin,
    };
    let done = act
        .in_lane(&handle, act.budget(16, 2), move |session, act| work.run(session, act))
        .await;
    let (sign_count, pin_set) = match done {
        Ok(made) => (Some(made.sign_count), Some(made.pin_set)),
        Err(refusal) if !act.conclude_registration(id).await? => return Err(refusal),
        Err(_) => (None, None),
    };
    Ok(Outcome::Done(Details {
        token: Some(id),
        sign_count,
        pin_set,
        ..Details::default()
    }))
}

/// Names the attestation certificate, where there is one (WebAuthn section 8.2, `x5c`).
fn attestation_id(statement: &Map) -> Option<String> {
    let certificate = statement.get("x5c")?.as_array()?.first()?.as_bytes()?;
    Some(HEXLOWER.encode(sha256(certificate).get(..8)?))
}

/// Credentials that the subject's live tokens have at this relying party: the key must not hold one of them already.
async fn registered_credentials(act: &Act, subject: &str, rp_id: &str) -> Result<Vec<Vec<u8>>, Refusal> {
    let filter = Filter {
        kind: Some(TokenKind::Fido2),
        subject: Some(subject.to_owned()),
        alive: true,
        ..Filter::default()
    };
    let page = act.house.ledger().find(&filter, None, MAX_EXCLUDED).await?;
    Ok(page
        .items
        .iter()
        .filter_map(|record| Credential::of(&record.binding).ok())
        .filter(|credential| credential.rp_id == rp_id)
        .map(|credential| credential.id)
        .collect())
}

/// What the lane takes with it.
struct Work {
    id: TokenId,
    device: DeviceId,
    rp_id: String,
    user_name: String,
    discoverable: Option<bool>,
    identity: KeyIdentity,
    organisation: bool,
    exclude: Vec<Vec<u8>>,
    pin: Secret,
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
struct Made {
    sign_count: u32,
    pin_set: bool,
}

impl Work {
    fn run(self, session: &mut Session, act: &Act) -> Result<Made, Refusal> {
        act.phase(Phase::Identifying, 5);
        let device = self.device;
        with_key(session, Some(act), device, |key| {
            act.phase(Phase::Pin, 15);
            let pin = self.settle_pin(key)?;
            let pin_set = pin == PinSettled::Set;
            let pin = (pin != PinSettled::Unknown).then_some(&self.pin);
            let (credential, discoverable) = self.create(key, act, pin)?;
            act.phase(Phase::Proving, 65);
            let sign_count = key.prove(&credential, pin, 0);
            match sign_count.and_then(|count| self.commit(act, count).map(|()| count)) {
                Ok(sign_count) => Ok(Made { sign_count, pin_set }),
                Err(refusal) => {
                    self.undo(key, act, &credential, discoverable)?;
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

    fn create(&self, key: &mut Key<'_, '_>, act: &Act, pin: Option<&Secret>) -> Result<(Credential, bool), Refusal> {
        let token = key.token(pin, Permissions::MAKE_CREDENTIAL, Some(&self.rp_id))?;
        let info = key.session.get_info(&mut key.context)?;
        let can = info.option("rk") == Some(true);
        let resident = match self.discoverable {
            Some(true) if !can => return Err(DeviceError::Unsupported("discoverable credentials").into()),
            Some(wanted) => wanted,
            None => can,
        };
        // From here on the key may hold our credential; the record says so first.
        let detail = json!({"rp_id": self.rp_id, "user_id": self.id.simple(), "discoverable": resident});
        act.commit_in_lane(
            "token.creating",
            Some(self.id),
            facts([]),
            vec![still_pending(self.id), act.moved_with(phase::CREATING, detail)],
        )?;
        act.phase(Phase::Creating, 30);
        let client_data_hash = challenge()?;
        let user_id = Uuid::from_bytes(*self.id.as_bytes());
        let made = key.session.make_credential(
            &MakeCredential {
                rp_id: &self.rp_id,
                rp_name: "Claviger",
                user_id: user_id.as_bytes(),
                user_name: &self.user_name,
                resident,
                client_data_hash: &client_data_hash,
                pin_uv_auth_token: token.as_ref(),
                exclude: &self.exclude,
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
        let attested = made
            .auth_data
            .attested
            .clone()
            .ok_or(DeviceError::Protocol("no credential in the authenticator data"))?;
        let binding = Binding::Fido2 {
            rp_id: self.rp_id.clone(),
            credential_id: BASE64URL_NOPAD.encode(&attested.credential_id),
            public_key: BASE64URL_NOPAD.encode(attested.public_key.encoded()),
            aaguid: Uuid::from_bytes(attested.aaguid).hyphenated().to_string(),
            discoverable: resident,
            identity: Some(Box::new(KeyIdentity {
                attestation: attestation_id(&made.statement),
                ..self.identity.clone()
            })),
            organisation: self.organisation,
        };
        let unique = Unique::Credential(BASE64URL_NOPAD.encode(&attested.credential_id));
        let bind = Mutation::Bind {
            token: self.id,
            binding,
            unique: Some(unique),
        };
        act.commit_in_lane(
            "token.created",
            Some(self.id),
            facts([]),
            vec![still_pending(self.id), bind, act.moved_to(phase::CREATED)],
        )?;
        let credential = Credential {
            rp_id: self.rp_id.clone(),
            id: attested.credential_id,
            key: attested.public_key,
        };
        Ok((credential, resident))
    }

    fn commit(&self, act: &Act, sign_count: u32) -> Result<(), Refusal> {
        act.phase(Phase::Committing, 90);
        act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
        let now = act.house.clock().now();
        act.commit_in_lane(
            "token.registered",
            Some(self.id),
            facts([("kind", json!(TokenKind::Fido2))]),
            vec![
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
            ],
        )?;
        Ok(())
    }

    /// Takes a credential off the key that did not pass its test, also when it did not because somebody cancelled. Where that
    /// fails the open intent says what is left, and becomes an obligation.
    fn undo(
        &self,
        key: &mut Key<'_, '_>,
        act: &Act,
        credential: &Credential,
        discoverable: bool,
    ) -> Result<(), Refusal> {
        if discoverable {
            let mut context = FidoContext {
                deadlines: key.context.deadlines,
                end: key.context.end,
                cancel: &Cancel::new(),
                on_touch_needed: &mut |_| {},
            };
            let deleted = key
                .session
                .pin_uv_token(&self.pin, Permissions::CREDENTIAL_MANAGEMENT, None, &mut context)
                .and_then(|token| key.session.delete_credential(&credential.id, &token, &mut context));
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
