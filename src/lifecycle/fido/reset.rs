//! Wiping the FIDO2 application: what dies with it is found first, the key proves to be the same after the replug, and the ledger
//! follows: tokens on it are revoked, what was owed to it is settled.
//!
//! The proof is an assertion wherever the key can give one without its PIN: by a token's credential, or by one made for the purpose
//! and kept nowhere. A key that cannot, its PIN being blocked, is known again by its looks: model, serial, options, and the same
//! place. The result says which.

use std::sync::Arc;

use serde_json::json;

use super::Done;
use crate::codec::ctap2::get_info::GetInfo;
use crate::codec::ctap2::make_credential::Particulars;
use crate::device::DeviceError;
use crate::device::fido::MakeCredential;
use crate::device::handle::{DeviceHandle, DeviceInfo};
use crate::ledger::{Binding, Duty, Filter, IntentEnd, Mutation, Obligation, ObligationFilter};
use crate::lifecycle::Refusal;
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::key::{Credential, Holds, Key, challenge, with_key};
use crate::lifecycle::mark::organisations;
use crate::lifecycle::operation::{FidoReport, Phase};
use crate::lifecycle::recover::{kill, phase};
use crate::lifecycle::reset::{Verdict, may_reset_here, replugged, sure, wipe};
use crate::lifecycle::settle::note_proof;
use crate::types::{TokenId, TokenKind};

/// Tokens that are looked at: those of the key's model.
const MOST_TOKENS: usize = 2_000;
const PAGE: u32 = 1_000;
/// Open obligations that a key is asked about.
const MOST_OBLIGATIONS: u32 = 64;
/// The relying party of a credential that is made to know a key again. The name resolves nowhere (RFC 2606).
const PROOF_RP: &str = "same-key.claviger.invalid";

/// A live token that may be on the key.
struct Known {
    token: TokenId,
    aaguid: String,
    credential: Credential,
    /// Marked as the organisation's.
    ours: bool,
}

/// What was found on the key before the replug.
struct Before {
    tokens: Vec<TokenId>,
    /// One of them is on a key that is its person's own.
    personal: bool,
    owed: Vec<Obligation>,
    /// By which it proves itself, where it can.
    credential: Option<Credential>,
    looks: Looks,
}

/// How a key looks that cannot prove itself. What changes by itself is left out.
#[derive(Debug, Clone, PartialEq)]
struct Looks {
    device: (String, String, Option<String>),
    usb: Option<(u16, u16)>,
    told: serde_json::Value,
}

impl Looks {
    fn of(device: DeviceInfo, info: &GetInfo) -> Self {
        let told = json!([
            info.versions,
            info.extensions,
            info.aaguid,
            info.options,
            info.firmware_version,
            info.transports,
            info.remaining_discoverable_credentials,
        ]);
        Self {
            device: (device.name, device.place, device.serial),
            usb: device.usb.map(|usb| (usb.vendor, usb.product)),
            told,
        }
    }
}

/// Resets `before`.
///
/// # Errors
/// [`Refusal::Invalid`] without the word, with what would be lost; [`Refusal::PersonalKey`] for a token on it that is not marked as the
/// organisation's; [`Refusal::LooksAlike`]; [`Refusal::ResetElsewhere`], [`Refusal::ResetTooLate`],
/// [`Refusal::NotTheSameDevice`], [`Refusal::DeviceAbsent`]; the key's own.
pub(super) async fn reset(
    act: &Act,
    before: DeviceHandle,
    place: Option<&str>,
    confirmed: bool,
) -> Result<Done, Refusal> {
    if confirmed {
        act.house.unambiguous(&before, place, act.step.cancel_flag()).await?;
    }
    let known = known_tokens(act, &before).await?;
    let owed = open_obligations(act, &before).await?;
    let device = before.id();
    let shown = before.info();
    let found = act
        .in_lane(&before, act.budget(40, 1), move |session, act| {
            with_key(session, Some(act), device, |key| {
                let info = key.session.get_info(&mut key.context)?;
                may_reset_here(&info, key.session.carrier())?;
                let mut found = look(key, known, owed, Looks::of(shown, &info))?;
                if !confirmed {
                    return Err(Refusal::Invalid(what_is_lost(&info, &found.tokens)));
                }
                // A key that holds nothing of ours is nobody's that we know of: the word alone decides.
                if found.personal {
                    return Err(Refusal::PersonalKey);
                }
                if found.credential.is_none() {
                    found.credential = make_proof(key, &info)?;
                }
                Ok(found)
            })
        })
        .await?;
    let proof = if found.credential.is_some() {
        "assertion"
    } else {
        "appearance"
    };
    let found = Arc::new(found);
    let same = |handle: DeviceHandle| -> Verdict {
        let (act, found) = (act.clone(), Arc::clone(&found));
        Box::pin(async move { is_same(&act, &handle, &found).await })
    };
    let after = replugged(act, &before, same).await?;
    let device = after.id();
    act.in_lane(&after, act.budget(16, 1), move |session, act| {
        // Proof and reset over one open link: no other key can slip in between.
        with_key(session, Some(act), device, |key| {
            if let Some(credential) = &found.credential {
                sure(key.holds(credential)?)?;
            }
            erase(act, key, &found, proof)
        })
    })
    .await
}

/// Writes down what will die, wipes the key, and lets the ledger follow.
fn erase(act: &Act, key: &mut Key<'_, '_>, found: &Before, proof: &'static str) -> Result<Done, Refusal> {
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    for obligation in &found.owed {
        note_proof(act, obligation)?;
    }
    let detail = json!({"what": "reset", "tokens": found.tokens});
    let begin = Mutation::Begin(act.device_intent(phase::CREATING, detail));
    let what = || facts([("what", json!("reset")), ("proof", json!(proof))]);
    act.commit_in_lane("fido.begun", None, what(), vec![begin])?;
    if let Err(refusal) = wipe(key) {
        if !is_open(key, &refusal) {
            // The key said no, so everything on it is as it was.
            act.commit_in_lane("fido.undone", None, what(), vec![act.end(IntentEnd::RolledBack)])?;
        }
        // Where its answer was lost, what comes after an intent left open revokes what may be gone.
        return Err(refusal);
    }
    act.phase(Phase::Committing, 90);
    let house = &act.house;
    let now = house.clock().now();
    let mut changes = Vec::new();
    for token in &found.tokens {
        let Some(record) = house.runtime().block_on(house.ledger().token(*token))? else {
            continue;
        };
        // No duty: what it would say has just been done.
        kill(&record, None, now, &mut changes);
    }
    changes.extend(found.owed.iter().map(|obligation| Mutation::Discharge {
        id: obligation.id,
        at: now,
    }));
    changes.push(act.end(IntentEnd::Completed));
    act.commit_in_lane("fido.done", None, what(), changes)?;
    let report = FidoReport {
        proof: Some(proof),
        revoked: found.tokens.clone(),
        ..FidoReport::default()
    };
    Ok((None, report))
}

/// Whether a refusal leaves open what the key did.
fn is_open(key: &Key<'_, '_>, refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Device(error) => !key.session.has_refused(error),
        _ => false,
    }
}

/// Live tokens that the key could be the body of, by its model.
async fn known_tokens(act: &Act, before: &DeviceHandle) -> Result<Vec<Known>, Refusal> {
    let reality = before.info().reality;
    let filter = Filter {
        kind: Some(TokenKind::Fido2),
        alive: true,
        ..Filter::default()
    };
    let mut known = Vec::new();
    let mut cursor = None;
    loop {
        let page = act.house.ledger().find(&filter, cursor.as_deref(), PAGE).await?;
        for record in page.items.iter().filter(|record| record.reality == reality) {
            if let (Binding::Fido2 { aaguid, .. }, Ok(credential)) = (&record.binding, Credential::of(&record.binding))
            {
                known.push(Known {
                    token: record.id,
                    aaguid: aaguid.clone(),
                    credential,
                    ours: organisations(&record.binding).is_ok(),
                });
            }
        }
        match page.next {
            Some(next) if known.len() < MOST_TOKENS * 16 => cursor = Some(next),
            _ => return Ok(known),
        }
    }
}

async fn open_obligations(act: &Act, before: &DeviceHandle) -> Result<Vec<Obligation>, Refusal> {
    let filter = ObligationFilter {
        open: true,
        recognisable: Some(before.info().reality),
    };
    let page = act.house.ledger().obligations(filter, None, MOST_OBLIGATIONS).await?;
    Ok(page.items)
}

/// Finds out, without a touch, which of them are on the key.
fn look(key: &mut Key<'_, '_>, known: Vec<Known>, owed: Vec<Obligation>, looks: Looks) -> Result<Before, Refusal> {
    let info = key.session.get_info(&mut key.context)?;
    let model = uuid::Uuid::from_bytes(info.aaguid).hyphenated().to_string();
    let mut found = Before {
        tokens: Vec::new(),
        personal: false,
        owed: Vec::new(),
        credential: None,
        looks,
    };
    let of_model = known.into_iter().filter(|known| known.aaguid == model);
    for known in of_model.take(MOST_TOKENS) {
        if key.holds(&known.credential)? == Holds::Yes {
            found.tokens.push(known.token);
            found.personal |= !known.ours;
            found.credential.get_or_insert(known.credential);
        }
    }
    for obligation in owed {
        let (Duty::DeleteCredential {
            rp_id,
            credential_id,
            public_key,
        }
        | Duty::ResetKey {
            rp_id,
            credential_id,
            public_key,
        }) = &obligation.duty
        else {
            continue;
        };
        let credential = Credential::decode(rp_id, credential_id, public_key)?;
        if key.holds(&credential)? == Holds::Yes {
            found.credential.get_or_insert(credential);
            found.owed.push(obligation);
        }
    }
    Ok(found)
}

/// A credential made for nothing but to know the key again, on keys that make one without a PIN. It is stored neither there nor
/// here, and dies with the reset. It costs a touch.
fn make_proof(key: &mut Key<'_, '_>, info: &GetInfo) -> Result<Option<Credential>, Refusal> {
    let unprotected = info.option("clientPin") != Some(true) && info.option("uv") != Some(true);
    let free = unprotected || info.option("makeCredUvNotRqd") == Some(true);
    if !free || info.option("alwaysUv") == Some(true) {
        return Ok(None);
    }
    let user_id = challenge()?;
    let wanted = MakeCredential {
        rp_id: PROOF_RP,
        rp_name: "Claviger",
        user_id: &user_id,
        user_name: "reset",
        resident: false,
        client_data_hash: &challenge()?,
        pin_uv_auth_token: None,
        exclude: &[],
        particulars: Particulars::default(),
    };
    match key.session.make_credential(&wanted, &mut key.context) {
        Ok(made) => Ok(made.auth_data.attested.map(|attested| Credential {
            rp_id: PROOF_RP.to_owned(),
            id: attested.credential_id,
            key: attested.public_key,
        })),
        // It wants a PIN after all.
        Err(DeviceError::PinRequired | DeviceError::PinBlocked | DeviceError::NotAllowed) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn is_same(act: &Act, handle: &DeviceHandle, found: &Before) -> bool {
    let device = handle.id();
    let shown = handle.info();
    let credential = found.credential.clone();
    let looks = act
        .in_lane(handle, act.budget(4, 0), move |session, _| {
            with_key(session, None, device, |key| {
                if let Some(credential) = &credential {
                    sure(key.holds(credential)?)?;
                    return Ok(None);
                }
                let info = key.session.get_info(&mut key.context)?;
                Ok(Some(Looks::of(shown, &info)))
            })
        })
        .await;
    match looks {
        Ok(None) => true,
        Ok(Some(looks)) => looks == found.looks,
        Err(_) => false,
    }
}

/// What a reset takes with it, for a person to read before it is confirmed. Ids of tokens name nobody.
fn what_is_lost(info: &GetInfo, tokens: &[TokenId]) -> String {
    let ours = if tokens.is_empty() {
        "no token of ours was found on it".to_owned()
    } else {
        let ids: Vec<String> = tokens.iter().map(TokenId::to_string).collect();
        format!("with them these tokens are revoked for good: {}", ids.join(", "))
    };
    let fingers = match info.option("uv") {
        Some(true) => ", the fingers it knows",
        _ => "",
    };
    format!(
        "a reset deletes every passkey on the key, other services' too, its PIN{fingers} and its settings; {ours}. To do it, say “reset”"
    )
}
