//! When a device is plugged in that may owe something, those who listen are told. Nothing is done to it unasked.
//!
//! Nobody is asked while nothing is owed: without open obligations a plugged-in device is not touched.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::broadcast::error::RecvError;

use crate::device::DeviceError;
use crate::device::handle::DeviceHandle;
use crate::device::oath::OathSession;
use crate::device::oath::maker::Hints;
use crate::device::session::Session;
use crate::grant::Grant;
use crate::ledger::{Duty, Obligation, ObligationFilter};
use crate::lifecycle::key::{Credential, Holds, with_key};
use crate::lifecycle::revoked::KnownBy;
use crate::lifecycle::{Lifecycle, nfc_fob};
use crate::link::FaceKind;
use crate::types::DeviceEvent;
use crate::types::{Cancel, Clock, DeviceId, ObligationId, TokenId};

/// How many open obligations one arriving device is asked about; beyond it the oldest come first.
const MAX_ASKED: u32 = 64;

impl Lifecycle {
    /// Watches arrivals until the registry ends. Devices that were there at start are looked at too.
    ///
    /// `standing` is the authority to journal that a revoked key came back.
    pub async fn watch_obligations(self: Arc<Self>, standing: Grant) {
        let mut events = self.devices().subscribe();
        self.look_at_all(&standing).await;
        loop {
            match events.recv().await {
                // A face that comes later may be the one that owes: a card's applet appears after the key's HID face.
                Ok(DeviceEvent::Arrived(id) | DeviceEvent::Faces(id)) => {
                    if let Some(handle) = self.devices().get(id) {
                        self.look_at(handle, &standing).await;
                    }
                }
                Ok(DeviceEvent::Left(id)) => {
                    self.debtors().retain(|_, device| *device != id);
                    self.returned().remove(&id);
                }
                Ok(DeviceEvent::State(_)) => {}
                Err(RecvError::Lagged(_)) => self.look_at_all(&standing).await,
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Looks at every device that is there, and forgets those that are gone.
    async fn look_at_all(self: &Arc<Self>, standing: &Grant) {
        let present = self.devices().devices();
        self.debtors()
            .retain(|_, debtor| present.iter().any(|handle| handle.id() == *debtor));
        self.returned()
            .retain(|device, _| present.iter().any(|handle| handle.id() == *device));
        for handle in present {
            self.look_at(handle, standing).await;
        }
    }

    fn debtors(&self) -> MutexGuard<'_, HashMap<ObligationId, DeviceId>> {
        self.debtors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_at(self: &Arc<Self>, handle: DeviceHandle, standing: &Grant) {
        self.ask_for_debts(&handle, standing).await;
        if let Err(error) = self.look_for_revoked(&handle, standing).await {
            tracing::debug!(device = %handle.id(), %error, "a device could not be asked whether it was revoked");
        }
    }

    async fn ask_for_debts(self: &Arc<Self>, handle: &DeviceHandle, standing: &Grant) {
        let info = handle.info();
        let filter = ObligationFilter {
            open: true,
            recognisable: Some(info.reality),
        };
        let fitting = match self.ledger().obligations(filter, None, MAX_ASKED).await {
            Ok(page) => page.items,
            Err(error) => {
                tracing::warn!(%error, "obligations cannot be read");
                return;
            }
        };
        if fitting.is_empty() {
            return;
        }
        let device = handle.id();
        let deadlines = self.settings().deadlines;
        let rounds = u32::try_from(fitting.len()).unwrap_or(MAX_ASKED);
        let deadline = Instant::now() + deadlines.lock + deadlines.exchange * rounds.saturating_add(2);
        let fobs = self.fobs_of(&fitting).await;
        let tokens: HashMap<ObligationId, TokenId> = fitting.iter().map(|one| (one.id, one.token)).collect();
        let house = Arc::clone(self);
        let found = handle
            .run(deadline, Cancel::new(), move |session| {
                Ok(recognise(session, device, &fitting, (house.clock().as_ref(), &fobs)))
            })
            .await;
        match found {
            Ok(ids) => {
                for id in ids {
                    // Known since another of its faces came.
                    if self.debtors().insert(id, device) == Some(device) {
                        continue;
                    }
                    tracing::info!(%device, obligation = %id, "a device that owes something was plugged in");
                    if let Some(token) = tokens.get(&id)
                        && let Err(error) = self.revoked_seen(device, *token, KnownBy::Credential, standing).await
                    {
                        tracing::warn!(%device, %error, "that a revoked key came back could not be journalled");
                    }
                    // Nobody listening is no fault: the obligation stands and can be read.
                    let _ = self.seen.send((device, id));
                }
            }
            Err(error) => tracing::debug!(%device, %error, "a device could not be asked whether it owes something"),
        }
    }
}

impl Lifecycle {
    /// The serials of the fobs among them, which stand in the tokens' records alone.
    async fn fobs_of(&self, obligations: &[Obligation]) -> Vec<(ObligationId, String)> {
        let mut fobs = Vec::new();
        for obligation in obligations {
            if matches!(obligation.duty, Duty::OverwriteSeed { .. })
                && let Ok(Some(record)) = self.ledger().token(obligation.token).await
                && let Some(serial) = record.personal.serial
            {
                fobs.push((obligation.id, serial));
            }
        }
        fobs
    }
}

/// Which of the obligations are about this device.
fn recognise(
    session: &mut Session,
    device: DeviceId,
    obligations: &[Obligation],
    (clock, fobs): (&dyn Clock, &[(ObligationId, String)]),
) -> Vec<ObligationId> {
    let mut found = Vec::new();
    found.extend(recognise_key(session, device, obligations).unwrap_or_default());
    if session.has(FaceKind::Card) {
        found.extend(recognise_card(session, obligations).unwrap_or_default());
        found.extend(recognise_fob(session, clock, fobs).unwrap_or_default());
    }
    found
}

/// By the serial that the fob tells.
fn recognise_fob(
    session: &mut Session,
    clock: &dyn Clock,
    fobs: &[(ObligationId, String)],
) -> Result<Vec<ObligationId>, super::Refusal> {
    if fobs.is_empty() {
        return Ok(Vec::new());
    }
    let serial = nfc_fob::with_fob(session, clock, |_, face| Ok(face.serial))?;
    let own = fobs.iter().filter(|(_, wanted)| *wanted == serial);
    Ok(own.map(|(id, _)| *id).collect())
}

fn recognise_key(
    session: &mut Session,
    device: DeviceId,
    obligations: &[Obligation],
) -> Result<Vec<ObligationId>, super::Refusal> {
    let wanted: Vec<_> = obligations
        .iter()
        .filter_map(|obligation| match &obligation.duty {
            Duty::DeleteCredential {
                rp_id,
                credential_id,
                public_key,
            }
            | Duty::ResetKey {
                rp_id,
                credential_id,
                public_key,
            } => Some((
                obligation.id,
                Credential::decode(rp_id, credential_id, public_key).ok()?,
            )),
            // It can only be found with the PIN; the list of obligations names it.
            Duty::DeleteOrphan { .. } | Duty::DeleteOath { .. } | Duty::OverwriteSeed { .. } | Duty::CollectFob => None,
        })
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    with_key(session, None, device, |key| {
        let mut found = Vec::new();
        for (id, credential) in &wanted {
            if key.holds(credential)? == Holds::Yes {
                found.push(*id);
            }
        }
        Ok(found)
    })
}

fn recognise_card(session: &mut Session, obligations: &[Obligation]) -> Result<Vec<ObligationId>, DeviceError> {
    let wanted: Vec<_> = obligations
        .iter()
        .filter_map(|obligation| match &obligation.duty {
            Duty::DeleteOath { device_id, .. } => Some((obligation.id, device_id)),
            _ => None,
        })
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let (deadline, cancel) = (session.deadline(), session.cancel().clone());
    let hints = Hints::of(session.faces());
    let mut link = session.open_card()?;
    let applet = OathSession::open(link.as_mut(), &hints, deadline, &cancel)?
        .applet()
        .device_id();
    Ok(wanted
        .into_iter()
        .filter(|(_, device_id)| **device_id == applet)
        .map(|(id, _)| id)
        .collect())
}
