//! Registering a FIDO2 key with ourselves as relying party, and what that has in common with registering one for somebody else: the
//! record, the intent, the lane, the end.

use serde_json::json;

use crate::codec::ctap2::cose::ES256;
use crate::device::handle::DeviceHandle;
use crate::grant::{Action, Object};
use crate::ledger::{Filter, KeyIdentity, Mutation, Personal};
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::key::{Credential, challenge};
use crate::lifecycle::operation::{Details, Outcome};
use crate::lifecycle::recover::phase;
use crate::lifecycle::register::credential::{Made, Order, Work};
use crate::lifecycle::register::fresh;
use crate::lifecycle::{Fido2Options, Refusal};
use crate::types::{DeviceId, Secret, TokenId, TokenKind};

/// How many of a subject's credentials are put on the exclude list.
const MAX_EXCLUDED: u32 = 16;

/// Registers the key `device`.
///
/// # Errors
/// The key's own ([`Refusal::Device`]); [`Refusal::Untrusted`]; [`Refusal::Unverified`] when its answer does not verify. Nothing is
/// left behind, or an obligation says what. A PIN that was set stays set.
pub async fn register(
    act: &Act,
    device: DeviceId,
    subject: String,
    pin: Secret,
    options: Fido2Options,
) -> Result<Outcome, Refusal> {
    act.require(Action::Register, &Object::Device(device))?;
    act.house.may_activate(Some(&subject)).await?;
    let rp_id = options.rp_id.unwrap_or_else(|| act.house.settings().rp_id.clone());
    let exclude = registered_credentials(act, &subject, &rp_id).await?;
    let id = TokenId::generate();
    let order = Order {
        // Random, no person in it (WebAuthn section 14.6.1), and it is what finds the credential again should we be stopped before
        // we learn its id.
        user_id: id.as_bytes().to_vec(),
        rp_id,
        rp_name: "Claviger".to_owned(),
        user_name: options.user_name.unwrap_or_else(|| subject.clone()),
        display_name: String::new(),
        algorithms: vec![ES256],
        protection: None,
        hmac_secret: false,
        min_pin_length: false,
        client_data_hash: challenge()?,
        discoverable: options.discoverable,
        organisation: options.organisation,
        exclude,
        errand: None,
    };
    let personal = Personal {
        subject: Some(subject),
        serial: options.serial,
        label: options.label,
    };
    make(act, device, id, personal, pin, order).await
}

/// Makes the credential that was ordered on the key `device`, and a token of it.
///
/// # Errors
/// As [`register`].
pub(super) async fn make(
    act: &Act,
    device: DeviceId,
    id: TokenId,
    personal: Personal,
    pin: Secret,
    order: Order,
) -> Result<Outcome, Refusal> {
    let handle = act.house.devices().get(device).ok_or(Refusal::UnknownDevice)?;
    let info = handle.info();
    let who = act.house.identify(&handle, act.step.cancel_flag()).await?;
    let alike = act.house.lookalikes(&handle, &who);
    let confidence = who.confidence(&alike.iter().map(DeviceHandle::facts).collect::<Vec<_>>());
    let mut record = fresh(
        id,
        TokenKind::Fido2,
        info.reality,
        Personal {
            serial: personal.serial.or(who.telling_serial().map(str::to_owned)),
            ..personal
        },
    );
    record.model = info.name;
    let begin = act.intent(id, phase::BEGUN, order.detail(order.discoverable.unwrap_or(true)));
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
        order,
        identity: KeyIdentity {
            confidence,
            fingerprint: who.fingerprint,
            attestation: None,
        },
        pin,
        rules: act.house.rules(),
    };
    let done = act
        .in_lane(&handle, act.budget(24, 2), move |session, act| work.run(session, act))
        .await;
    let made = match done {
        Ok(made) => Some(made),
        Err(refusal) if !act.conclude_registration(id).await? => return Err(refusal),
        Err(_) => None,
    };
    let details = Details {
        token: Some(id),
        ..Details::default()
    };
    Ok(Outcome::Done(match made {
        None => details,
        Some(Made {
            sign_count,
            pin_set,
            verdict,
        }) => Details {
            sign_count: Some(sign_count),
            pin_set: Some(pin_set),
            attestation: verdict.as_ref().map(|verdict| verdict.worth),
            attested_model: verdict.and_then(|verdict| verdict.model),
            ..details
        },
    }))
}

/// Credentials that the subject's live tokens have at this relying party: the key must not hold one of them already.
pub(super) async fn registered_credentials(act: &Act, subject: &str, rp_id: &str) -> Result<Vec<Vec<u8>>, Refusal> {
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
