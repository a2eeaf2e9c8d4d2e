//! Administration of the FIDO2 application of a device: PIN, settings, passkeys, fingers, large blobs, and wiping it.
//!
//! What is on a key may name a person, relying parties included: it stands in no journal entry and in no intent, only in the
//! result, which its owner alone can read.

mod credentials;
mod fingerprints;
mod pin;
mod random_pin;
mod reset;
mod settings;

use serde_json::json;

use crate::codec::ctap2::client_pin::Permissions;
use crate::codec::ctap2::pin_protocol::PinUvAuthToken;
use crate::device::DeviceError;
use crate::device::fido::grants_by_uv;
use crate::grant::{Action, Object};
use crate::ledger::{IntentEnd, Mutation};
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::key::{Key, with_key};
use crate::lifecycle::operation::{Details, FidoReport, Outcome, Phase, UserActionKind};
use crate::lifecycle::recover::phase;
use crate::lifecycle::{FidoDeed, Refusal, Unlocking};
use crate::types::{DeviceId, TokenId};

pub use pin::PinStatus;

/// Wrong fingers in a row after which the PIN is asked for, where there is one: no key allows many more.
const FINGERS: u32 = 3;

/// Looks after the FIDO2 application of `device`.
///
/// # Errors
/// [`Refusal::Invalid`] for what would touch the body of a token by the back door; [`Refusal::LastTries`]; for a reset,
/// [`Refusal::PersonalKey`] and [`Refusal::LooksAlike`]; the key's own.
pub async fn administer(act: &Act, device: DeviceId, deed: FidoDeed, with: Unlocking) -> Result<Outcome, Refusal> {
    act.require(action(&deed), &Object::Device(device))?;
    let handle = act.house.devices().get(device).ok_or(Refusal::UnknownDevice)?;
    act.phase(Phase::Identifying, 5);
    let done = match deed {
        FidoDeed::Reset { confirmed, place } => reset::reset(act, handle, place.as_deref(), confirmed).await,
        deed => {
            act.in_lane(&handle, budget(act, &deed), move |session, act| {
                with_key(session, Some(act), device, |key| {
                    Job { act, device, with }.run(key, deed)
                })
            })
            .await
        }
    };
    match done {
        Ok((token, report)) => Ok(Outcome::Done(Details {
            token,
            fido: Some(Box::new(report)),
            ..Details::default()
        })),
        Err(refusal) => {
            act.conclude().await?;
            Err(refusal)
        }
    }
}

/// What must be granted: to look, to change, or to delete.
const fn action(deed: &FidoDeed) -> Action {
    match deed {
        FidoDeed::Credentials
        | FidoDeed::Fingerprints
        | FidoDeed::LargeBlobs
        | FidoDeed::Wink
        | FidoDeed::AwaitTouch => Action::Inspect,
        FidoDeed::SetPin(_)
        | FidoDeed::ChangePin(_)
        | FidoDeed::RandomPin { .. }
        | FidoDeed::Set(_)
        | FidoDeed::RenameCredential { .. }
        | FidoDeed::EnrolFingerprint { .. }
        | FidoDeed::RenameFingerprint { .. } => Action::Configure,
        FidoDeed::DeleteCredential(_)
        | FidoDeed::RemoveFingerprint(_)
        | FidoDeed::ClearLargeBlobs
        | FidoDeed::Reset { .. } => Action::Revoke,
    }
}

/// A listing takes an exchange for each credential, an enrolment a touch for each sample.
fn budget(act: &Act, deed: &FidoDeed) -> std::time::Duration {
    match deed {
        FidoDeed::Credentials | FidoDeed::DeleteCredential(_) | FidoDeed::RenameCredential { .. } => act.budget(60, 3),
        FidoDeed::EnrolFingerprint { .. } => act.budget(24, 20),
        _ => act.budget(24, 4),
    }
}

type Done = (Option<TokenId>, FidoReport);

/// One deed, in its lane, over one connection.
struct Job<'a> {
    act: &'a Act,
    device: DeviceId,
    with: Unlocking,
}

impl Job<'_> {
    fn run(self, key: &mut Key<'_, '_>, deed: FidoDeed) -> Result<Done, Refusal> {
        match deed {
            FidoDeed::SetPin(new) => self.set_pin(key, &new),
            FidoDeed::ChangePin(new) => self.change_pin(key, &new),
            FidoDeed::RandomPin {
                letter,
                length,
                letters,
                force_change,
            } => self.random_pin(key, letter, (length, letters), force_change),
            FidoDeed::Set(setting) => self.set(key, &setting),
            FidoDeed::Credentials => self.credentials(key),
            FidoDeed::DeleteCredential(id) => self.delete_credential(key, &id),
            FidoDeed::RenameCredential { id, name, display_name } => {
                self.rename_credential(key, &id, (&name, display_name.as_deref()))
            }
            FidoDeed::Fingerprints => self.fingerprints(key),
            FidoDeed::EnrolFingerprint { name } => self.enrol_fingerprint(key, name.as_deref()),
            FidoDeed::RenameFingerprint { id, name } => self.rename_fingerprint(key, &id, &name),
            FidoDeed::RemoveFingerprint(id) => self.remove_fingerprint(key, &id),
            FidoDeed::LargeBlobs => {
                let blobs = key.session.large_blobs(&mut key.context)?;
                Ok((
                    None,
                    FidoReport {
                        blobs: Some(blobs),
                        ..FidoReport::default()
                    },
                ))
            }
            FidoDeed::ClearLargeBlobs => self.clear_large_blobs(key),
            FidoDeed::Wink => {
                let winked = key.session.wink(&mut key.context)?;
                Ok((
                    None,
                    FidoReport {
                        winked: Some(winked),
                        ..FidoReport::default()
                    },
                ))
            }
            FidoDeed::AwaitTouch => {
                act_touch(key)?;
                Ok((None, FidoReport::default()))
            }
            FidoDeed::Reset { .. } => Err(Refusal::Internal("a reset is done elsewhere")),
        }
    }

    /// The right to do something, by a finger or by the PIN. A finger is asked for when the caller said so, or gave no PIN; where it
    /// fails, the PIN is used if there is one.
    ///
    /// # Errors
    /// As [`Key::token`]; [`DeviceError::UvBlocked`], [`DeviceError::UvInvalid`]; [`DeviceError::PinRequired`].
    fn authorised(&self, key: &mut Key<'_, '_>, permissions: Permissions) -> Result<PinUvAuthToken, Refusal> {
        self.act.phase(Phase::Pin, 20);
        let info = key.session.get_info(&mut key.context)?;
        let pin = self.with.pin.as_ref();
        if grants_by_uv(&info, permissions) && (self.with.finger || pin.is_none()) {
            match self.by_finger(key, permissions) {
                Err(DeviceError::UvBlocked | DeviceError::UvInvalid { .. } | DeviceError::Unsupported(_))
                    if pin.is_some() => {}
                other => return Ok(other?),
            }
        }
        match key.token(pin, permissions, None)? {
            Some(token) => Ok(token),
            None if info.option("clientPin") == Some(false) => Err(DeviceError::PinNotSet.into()),
            None => Err(DeviceError::PinRequired.into()),
        }
    }

    fn by_finger(&self, key: &mut Key<'_, '_>, permissions: Permissions) -> Result<PinUvAuthToken, DeviceError> {
        key.wish(UserActionKind::Finger, None);
        let mut wrong = 0;
        let token = loop {
            match key.session.uv_token(permissions, None, &mut key.context) {
                Err(DeviceError::UvInvalid { tries_left }) if wrong + 1 < FINGERS && tries_left != Some(0) => {
                    wrong += 1;
                    self.act.step.answered();
                }
                other => break other,
            }
        };
        key.wish(UserActionKind::Touch, None);
        self.act.step.answered();
        token
    }

    /// The same where a key that protects nothing yet takes the command as it is.
    fn authorised_if_protected(
        &self,
        key: &mut Key<'_, '_>,
        permissions: Permissions,
    ) -> Result<Option<PinUvAuthToken>, Refusal> {
        let info = key.session.get_info(&mut key.context)?;
        let protected = info.option("clientPin") == Some(true) || info.option("uv") == Some(true);
        if protected {
            self.authorised(key, permissions).map(Some)
        } else {
            Ok(None)
        }
    }

    fn clear_large_blobs(&self, key: &mut Key<'_, '_>) -> Result<Done, Refusal> {
        let token = self.authorised_if_protected(key, Permissions::LARGE_BLOB_WRITE)?;
        self.begin("large-blobs-cleared", Phase::Deleting)?;
        key.session.clear_large_blobs(token.as_ref(), &mut key.context)?;
        let blobs = key.session.large_blobs(&mut key.context)?;
        if blobs.entries != Some(0) {
            return Err(DeviceError::Protocol("it still holds the large blobs that it said it had cleared").into());
        }
        let report = FidoReport {
            blobs: Some(blobs),
            tries_left: key.tries(),
            ..FidoReport::default()
        };
        self.end("large-blobs-cleared", None, Vec::new(), report)
    }

    /// Writes down what is about to be done to the key.
    fn begin(&self, what: &'static str, phase: Phase) -> Result<(), Refusal> {
        let act = self.act;
        act.phase(phase, 50);
        let intent = act.device_intent(phase::CREATING, json!({"what": what}));
        let detail = facts([("what", json!(what))]);
        Ok(act.commit_in_lane("fido.begun", None, detail, vec![Mutation::Begin(intent)])?)
    }

    /// Writes down that it was done.
    fn end(
        &self,
        what: &'static str,
        token: Option<TokenId>,
        mut changes: Vec<Mutation>,
        report: FidoReport,
    ) -> Result<Done, Refusal> {
        let act = self.act;
        act.phase(Phase::Committing, 90);
        changes.push(act.end(IntentEnd::Completed));
        act.commit_in_lane("fido.done", token, facts([("what", json!(what))]), changes)?;
        Ok((token, report))
    }
}

/// Blinks, where the key can, and waits for a touch.
fn act_touch(key: &mut Key<'_, '_>) -> Result<(), Refusal> {
    // To be found is what it is for; a key that cannot blink by itself does so while it waits.
    let _ = key.session.wink(&mut key.context);
    Ok(key.session.select(&mut key.context)?)
}
