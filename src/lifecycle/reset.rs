//! `authenticatorReset`, asked for by name: it takes every passkey on the key with it. The key must have been powered up less
//! than ten seconds ago, so a person unplugs it and plugs it in again; whether it is the same key that comes back is proven by
//! an assertion, not by the port it comes back on.

use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;

use crate::device::DeviceError;
use crate::device::handle::DeviceHandle;
use crate::ledger::Obligation;
use crate::lifecycle::Refusal;
use crate::lifecycle::act::Act;
use crate::lifecycle::key::{Credential, Holds, with_key};
use crate::lifecycle::operation::{Phase, UserActionKind};
use crate::lifecycle::settle::note_proof;
use crate::link::FaceKind;
use crate::types::DeviceEvent;

/// How often the cancel flag is looked at while a person is waited for.
const GLANCE: Duration = Duration::from_millis(200);

/// Resets the key in `before`, after a replug.
///
/// # Errors
/// [`Refusal::NotTheSameDevice`] when another key comes back, [`Refusal::DeviceAbsent`] when none does in time, the key's own:
/// [`DeviceError::NotAllowed`] when it was too slow.
pub async fn reset(
    act: &Act,
    before: DeviceHandle,
    obligation: &Obligation,
    credential: Credential,
) -> Result<(), Refusal> {
    prove(act, &before, credential.clone()).await?;
    let mut events = act.house.devices().subscribe();
    act.phase(Phase::Resetting, 40);
    let deadline = Instant::now() + act.house.settings().deadlines.touch;
    act.ask(UserActionKind::Replug, before.id(), deadline, None);
    let mut unplugged = false;
    // The face by which it can be asked; a key lifted off its reader loses the only one.
    let faces = before.info().faces;
    let face = if faces.contains(&FaceKind::Hid) {
        FaceKind::Hid
    } else {
        FaceKind::Card
    };
    let after = 'replugged: loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = tokio::time::sleep(GLANCE) => {
                if act.step.cancel_flag().is_cancelled() {
                    return Err(Refusal::Cancelled);
                }
                continue;
            }
            () = tokio::time::sleep_until(deadline.into()) => return Err(Refusal::DeviceAbsent),
        };
        let candidates: Vec<_> = match event {
            Ok(DeviceEvent::Arrived(id) | DeviceEvent::Faces(id)) => act.house.devices().get(id).into_iter().collect(),
            Ok(DeviceEvent::State(_) | DeviceEvent::Left(_)) => continue,
            Err(RecvError::Lagged(_)) => act.house.devices().devices(),
            Err(RecvError::Closed) => return Err(Refusal::Stopping),
        };
        for handle in candidates {
            let info = handle.info();
            let here = info.faces.contains(&face);
            if handle.id() == before.id() {
                // Its reader may outlast the unplugging, and then the key that comes back is still the same device. A face that
                // merely joins is no replug.
                unplugged |= !here;
                if !unplugged {
                    continue;
                }
            }
            // Another key that happens to be plugged in meanwhile is none of our business.
            if here && info.reality == obligation.reality && prove(act, &handle, credential.clone()).await.is_ok() {
                break 'replugged handle;
            }
        }
    };
    act.step.answered();
    act.phase(Phase::Resetting, 70);
    let device = after.id();
    let obligation = obligation.clone();
    act.in_lane(&after, act.budget(4, 1), move |session, act| {
        // Proof and reset over one open link: no other key can slip in between.
        with_key(session, Some(act), device, |key| {
            sure(key.holds(&credential)?)?;
            note_proof(act, &obligation)?;
            Ok(key.session.reset(&mut key.context)?)
        })
    })
    .await
}

async fn prove(act: &Act, handle: &DeviceHandle, credential: Credential) -> Result<(), Refusal> {
    let device = handle.id();
    let answer = act
        .in_lane(handle, act.budget(3, 0), move |session, _| {
            with_key(session, None, device, |key| key.holds(&credential))
        })
        .await?;
    sure(answer)
}

fn sure(answer: Holds) -> Result<(), Refusal> {
    match answer {
        Holds::Yes => Ok(()),
        Holds::No => Err(Refusal::NotTheSameDevice),
        // Without proof that it is this key nothing is erased.
        Holds::Maybe => Err(DeviceError::PinRequired.into()),
    }
}
