//! Settling what is owed to a device: only after proof that it is the same one, never unasked.

use serde_json::json;

use crate::codec::ctap2::client_pin::Permissions;
use crate::codec::ykoath::CredentialName;
use crate::device::DeviceError;
use crate::device::handle::DeviceHandle;
use crate::device::oath::OathSession;
use crate::device::session::Session;
use crate::grant::{Action, Object};
use crate::ledger::{Binding, Duty, IntentEnd, Mutation, Obligation, TokenRecord};
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::card::{
    CardBody, calculate, calculate_next, found_again, lasting_proofs, managing, next_codes, with_applet,
};
use crate::lifecycle::key::{Credential, Holds, with_key};
use crate::lifecycle::mark::organisations;
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::recover::phase;
use crate::lifecycle::{Lifecycle, Presence, Refusal, locate, nfc_fob};
use crate::types::{DeviceId, ObligationId, Secret};

/// What a person says about an obligation.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// The device was collected and destroyed.
    pub collected: bool,
    /// The key is to be reset, by name.
    pub reset: bool,
}

/// Settles an obligation on the device that is here now.
///
/// # Errors
/// [`Refusal::UnknownObligation`], [`Refusal::DeviceAbsent`], [`Refusal::NotTheSameDevice`]; the device's own. The obligation
/// then stands as before.
pub async fn discharge(act: &Act, id: ObligationId, at: Presence, words: Words) -> Result<Outcome, Refusal> {
    act.require(Action::Revoke, &Object::Obligation(id))?;
    let obligation = act
        .house
        .ledger()
        .obligation(id)
        .await?
        .filter(|obligation| obligation.discharged.is_none())
        .ok_or(Refusal::UnknownObligation)?;
    match (&obligation.duty, words.collected) {
        // The word of a person with the authority to revoke: the device was collected and destroyed. It is the only end for a
        // device that cannot prove itself (any more), and the journal says that it was a word.
        (_, true) => {}
        (Duty::CollectFob, false) => {
            return Err(Refusal::Invalid(
                "a fob has no interface to prove itself by: say “collected” once it was collected and destroyed".into(),
            ));
        }
        (Duty::ResetKey { .. }, false) if !words.reset => {
            return Err(Refusal::Invalid(
                "what is owed is a reset, which takes every other passkey on the key with it: say “reset”, too".into(),
            ));
        }
        (duty, false) => {
            if matches!(duty, Duty::ResetKey { .. }) {
                organisations(&act.token(obligation.token).await?.binding)?;
            }
            let intent = act.intent(obligation.token, phase::DEAD, json!({"obligation": id}));
            act.commit(
                "obligation.begun",
                Some(obligation.token),
                facts([]),
                vec![Mutation::Begin(intent)],
            )
            .await?;
            if let Err(refusal) = on_device(act, &obligation, at).await {
                act.conclude().await?;
                return Err(refusal);
            }
        }
    }
    act.phase(Phase::Committing, 90);
    let (proof, more) = match words.collected {
        true => (Proof::Word, Vec::new()),
        false => (Proof::Device, vec![act.end(IntentEnd::Completed)]),
    };
    discharged(act, &obligation, proof, more).await?;
    Ok(Outcome::Done(Details {
        token: Some(obligation.token),
        ..Details::default()
    }))
}

/// What an obligation was discharged by.
#[derive(Debug, Clone, Copy)]
pub enum Proof {
    /// The device proved that it is the one.
    Device,
    /// A person said so.
    Word,
}

impl Proof {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Word => "word",
        }
    }
}

/// Writes the discharge down.
///
/// # Errors
/// [`Refusal::Ledger`].
pub async fn discharged(act: &Act, obligation: &Obligation, proof: Proof, more: Vec<Mutation>) -> Result<(), Refusal> {
    let mut changes = vec![Mutation::Discharge {
        id: obligation.id,
        at: act.house.clock().now(),
    }];
    changes.extend(more);
    let detail = facts([("obligation", json!(obligation.id)), ("by", json!(proof.as_str()))]);
    Ok(act
        .commit("obligation.discharged", Some(obligation.token), detail, changes)
        .await?)
}

/// Does on the device what is owed, after proof that it is the one.
///
/// # Errors
/// As [`discharge`].
pub async fn on_device(act: &Act, obligation: &Obligation, at: Presence) -> Result<(), Refusal> {
    match &obligation.duty {
        Duty::CollectFob => Err(Refusal::DeviceAbsent),
        Duty::OverwriteSeed { .. } => nfc_fob::overwrite(act, obligation, at.device).await,
        Duty::DeleteOath {
            name,
            device_id,
            proofs,
            event,
        } => {
            let handle = locate::card(act, at.device, obligation.reality, device_id).await?;
            let job = CardJob {
                name: name.clone(),
                device_id: device_id.clone(),
                proofs: proofs.clone(),
                event: *event,
                password: at.password,
                device: handle.id(),
            };
            act.phase(Phase::Deleting, 60);
            act.in_lane(&handle, act.budget(8, 1), move |session, act| job.run(session, act))
                .await
        }
        Duty::DeleteCredential {
            rp_id,
            credential_id,
            public_key,
        } => {
            let credential = Credential::decode(rp_id, credential_id, public_key)?;
            let handle = locate::key(act, at.device, obligation.reality, &credential).await?;
            act.phase(Phase::Deleting, 60);
            delete_credential(act, &handle, obligation, credential, at).await
        }
        Duty::ResetKey {
            rp_id,
            credential_id,
            public_key,
        } => {
            let credential = Credential::decode(rp_id, credential_id, public_key)?;
            let handle = locate::key(act, at.device, obligation.reality, &credential).await?;
            super::reset::reset(act, handle, obligation, credential).await
        }
        Duty::DeleteOrphan { rp_id, user_id } => {
            let handle = locate::only_key(act, at.device, obligation.reality)?;
            // Nothing can use a credential that the ledger never knew, so here the serial is enough.
            let known = has_its_serial(act, &handle, obligation).await?;
            let (rp_id, user_id) = (rp_id.clone(), user_id.clone());
            act.phase(Phase::Deleting, 60);
            let device = handle.id();
            act.in_lane(&handle, act.budget(16, 0), move |session, act| {
                match delete_orphan(session, act, device, (&rp_id, &user_id), at.pin.as_ref()) {
                    // It is the key, and it never made what it may have made.
                    Err(Refusal::NotTheSameDevice) if known => Ok(()),
                    other => other,
                }
            })
            .await
        }
    }
}

/// Whether this is, by its serial, the key that the obligation is about. Serials are the makers' word and some makers give all
/// keys the same, so this never stands alone.
async fn has_its_serial(act: &Act, handle: &DeviceHandle, obligation: &Obligation) -> Result<bool, Refusal> {
    let serial = act.token(obligation.token).await?.personal.serial;
    let facts = act.house.identify(handle, act.step.cancel_flag()).await?;
    // One that every key of the model has says nothing.
    Ok(serial.is_some() && serial.as_deref() == facts.telling_serial())
}

/// Notes, before the deed, that the key has proved to be the one: afterwards the proof may be gone with the credential.
///
/// # Errors
/// [`Refusal::Ledger`].
pub fn note_proof(act: &Act, obligation: &Obligation) -> Result<(), Refusal> {
    let prove = Mutation::Prove {
        id: obligation.id,
        at: act.house.clock().now(),
    };
    let detail = facts([("obligation", json!(obligation.id))]);
    Ok(act.commit_in_lane("obligation.proven", Some(obligation.token), detail, vec![prove])?)
}

async fn delete_credential(
    act: &Act,
    handle: &DeviceHandle,
    obligation: &Obligation,
    credential: Credential,
    at: Presence,
) -> Result<(), Refusal> {
    let device = handle.id();
    // The key proved itself before, the deletion was sent, and its answer was lost: then a key of the same serial that does not
    // know the credential any more is that key.
    let was_begun = obligation.proven.is_some() && has_its_serial(act, handle, obligation).await?;
    let obligation = obligation.clone();
    act.in_lane(handle, act.budget(10, 0), move |session, act| {
        with_key(session, Some(act), device, |key| {
            match key.holds(&credential)? {
                Holds::Yes => note_proof(act, &obligation)?,
                Holds::No if was_begun => return Ok(()),
                Holds::No => return Err(Refusal::NotTheSameDevice),
                // Only the key that holds the credential can delete it by its id, so the deletion itself is the proof. The PIN
                // goes to this key unproven, so a person must have named it.
                Holds::Maybe if at.device.is_some() => {}
                Holds::Maybe => return Err(Refusal::Ambiguous),
            }
            let token = key
                .token(at.pin.as_ref(), Permissions::CREDENTIAL_MANAGEMENT, None)?
                .ok_or(DeviceError::PinRequired)?;
            match key.session.delete_credential(&credential.id, &token, &mut key.context) {
                Err(DeviceError::NoCredential) => Err(Refusal::NotTheSameDevice),
                other => Ok(other?),
            }
        })
    })
    .await
}

/// Deletes a credential whose id we never learned. That the key lists the random user id is the proof.
fn delete_orphan(
    session: &mut Session,
    act: &Act,
    device: DeviceId,
    (rp_id, user_id): (&str, &str),
    pin: Option<&Secret>,
) -> Result<(), Refusal> {
    let wanted = data_encoding::HEXLOWER
        .decode(user_id.as_bytes())
        .map_err(|_| Refusal::Internal("the obligation's user id cannot be read"))?;
    with_key(session, Some(act), device, |key| {
        let token = key
            .token(pin, Permissions::CREDENTIAL_MANAGEMENT, None)?
            .ok_or(DeviceError::PinRequired)?;
        let stored = key.session.stored_credentials(rp_id, &token, &mut key.context)?;
        let Some(found) = stored.into_iter().find(|credential| credential.user_id == wanted) else {
            return Err(Refusal::NotTheSameDevice);
        };
        Ok(key
            .session
            .delete_credential(&found.credential_id, &token, &mut key.context)?)
    })
}

/// Deleting from a card.
struct CardJob {
    name: String,
    device_id: String,
    proofs: Vec<(u64, String)>,
    event: bool,
    password: Option<Secret>,
    device: DeviceId,
}

impl CardJob {
    fn run(self, session: &mut Session, act: &Act) -> Result<(), Refusal> {
        let end = session.deadline();
        with_applet(session, &act.house, self.password.as_ref(), |applet| {
            // The applet's id is drawn anew when it is reset, so the same id is the same applet.
            if applet.applet().device_id() != self.device_id {
                return Err(Refusal::NotTheSameDevice);
            }
            let mut name = CredentialName::new(self.name.as_bytes())
                .map_err(|_| Refusal::Internal("the obligation's credential name cannot be read"))?;
            if is_listed(applet, &name)? {
                self.proven(act, applet, &name)?;
            } else if let Some(renamed) = self.renamed(applet)? {
                name = renamed;
            }
            applet.set_deadline(end);
            // A list that lacks it is not believed alone, for it may have been cut: the card is asked by name. The name holds
            // random digits of ours, so on this applet it can be nobody else's.
            match managing(act, applet, self.device, |applet| applet.delete(&name)) {
                Ok(()) | Err(DeviceError::NoCredential) => {}
                Err(error) => return Err(error.into()),
            }
            if is_listed(applet, &name)? {
                return Err(DeviceError::Protocol("it still lists the credential that it said it had deleted").into());
            }
            Ok(())
        })
    }
}

impl CardJob {
    /// Has the card answer all challenges, or, of a credential that counts, show two of its next codes in a row.
    fn proven(&self, act: &Act, applet: &mut OathSession<'_>, name: &CredentialName) -> Result<(), Refusal> {
        if !self.event {
            for (challenge, response) in &self.proofs {
                let code = calculate(act, applet, name, *challenge, self.device)?;
                if code.expose() != response {
                    return Err(Refusal::NotTheSameDevice);
                }
            }
            return Ok(());
        }
        let first = calculate_next(act, applet, name, self.device)?;
        let second = calculate_next(act, applet, name, self.device)?;
        let row = self.proofs.iter().zip(self.proofs.iter().skip(1));
        let mut pairs = row.map(|((_, one), (_, two))| one == first.expose() && two == second.expose());
        if pairs.any(|fits| fits) {
            Ok(())
        } else {
            Err(Refusal::NotTheSameDevice)
        }
    }

    /// The credential under another name: somebody renamed it, with this program or another.
    fn renamed(&self, applet: &mut OathSession<'_>) -> Result<Option<CredentialName>, Refusal> {
        if self.event {
            // Asking would make other people's credentials count.
            return Ok(None);
        }
        found_again(applet, &self.proofs)
    }
}

fn is_listed(applet: &mut OathSession<'_>, name: &CredentialName) -> Result<bool, DeviceError> {
    Ok(applet.list()?.iter().any(|one| one.name == *name))
}

/// What is owed to a card, with proofs computed while the seed is still there. Nothing when the card was never reached.
async fn oath_duty(house: &Lifecycle, record: &TokenRecord) -> Result<Option<Duty>, Refusal> {
    let body = CardBody::of(&record.binding)?;
    if body.device_id.is_empty() || !record.has_seed {
        return Ok(None);
    }
    let seed = house.ledger().seed(record.id).await?;
    let proofs = if body.event {
        next_codes(&body.parameters, &seed, record.watermark)?
    } else {
        let mut proofs = lasting_proofs(&body.parameters, &seed)?;
        if body.only_increasing {
            // Such a card answers the same challenge again and none before it: should the deletion be cut short, the proof must do
            // a second time.
            proofs.drain(..proofs.len().saturating_sub(1));
        }
        proofs
    };
    Ok(Some(Duty::DeleteOath {
        name: body.name,
        device_id: body.device_id,
        proofs,
        event: body.event,
    }))
}

/// What is owed to the device of a token; nothing when nothing of ours is on it.
///
/// # Errors
/// [`Refusal::Ledger`]; [`Refusal::Internal`] for a record that cannot be read.
pub async fn duty_of(house: &Lifecycle, record: &TokenRecord, reset: bool) -> Result<Option<Duty>, Refusal> {
    Ok(match &record.binding {
        // Nothing of ours is on a device: none was begun, it is a phone's, or it is paper.
        Binding::None | Binding::App { .. } | Binding::RecoveryCodes { .. } => None,
        Binding::Fob { .. } | Binding::EventFob { .. } => Some(Duty::CollectFob),
        Binding::NfcFob { maker, .. } => Some(Duty::OverwriteSeed { maker: maker.clone() }),
        Binding::OathCard { .. } | Binding::EventCard { .. } => oath_duty(house, record).await?,
        Binding::Fido2 {
            rp_id,
            credential_id,
            public_key,
            discoverable,
            ..
        } => {
            let (rp_id, credential_id, public_key) = (rp_id.clone(), credential_id.clone(), public_key.clone());
            match (reset, discoverable) {
                (true, _) => Some(Duty::ResetKey {
                    rp_id,
                    credential_id,
                    public_key,
                }),
                (false, true) => Some(Duty::DeleteCredential {
                    rp_id,
                    credential_id,
                    public_key,
                }),
                // Nothing is stored on the key: the credential lived in the binding alone.
                (false, false) => None,
            }
        }
    })
}
