//! `authenticatorReset`, asked for by name: it takes every passkey on the key with it. The key must have been powered up less
//! than ten seconds ago, so a person unplugs it and plugs it in again; whether it is the same key that comes back is proven by
//! an assertion, not by the port it comes back on.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;

use crate::codec::ctap2::get_info::GetInfo;
use crate::device::DeviceError;
use crate::device::fido::Carrier;
use crate::device::handle::DeviceHandle;
use crate::ledger::Obligation;
use crate::lifecycle::Refusal;
use crate::lifecycle::act::Act;
use crate::lifecycle::key::{Credential, Holds, Key, with_key};
use crate::lifecycle::operation::{Hint, Phase, UserActionKind};
use crate::lifecycle::settle::note_proof;
use crate::link::FaceKind;
use crate::types::DeviceEvent;

/// How long a long touch is, in seconds (CTAP 2.3 section 6.6).
const LONG_TOUCH_S: u32 = 5;

/// What a YubiKey answers to a reset over NFC.
const REFUSED_OVER_NFC: u16 = 0x6F27;

/// How often the cancel flag is looked at while a person is waited for.
const GLANCE: Duration = Duration::from_millis(200);

/// Resets the key in `before`, after a replug.
///
/// # Errors
/// As [`replugged`]; [`Refusal::ResetTooLate`], [`Refusal::ResetElsewhere`]; the key's own.
pub async fn reset(
    act: &Act,
    before: DeviceHandle,
    obligation: &Obligation,
    credential: Credential,
) -> Result<(), Refusal> {
    prove(act, &before, credential.clone()).await?;
    let same = |handle: DeviceHandle| -> Verdict {
        let (act, credential) = (act.clone(), credential.clone());
        Box::pin(async move { prove(&act, &handle, credential).await.is_ok() })
    };
    let after = replugged(act, &before, same).await?;
    let device = after.id();
    let obligation = obligation.clone();
    let proof = credential.clone();
    act.in_lane(&after, act.budget(6, 1), move |session, act| {
        // Proof and reset over one open link: no other key can slip in between.
        with_key(session, Some(act), device, |key| {
            sure(key.holds(&proof)?)?;
            note_proof(act, &obligation)?;
            wipe(key)
        })
    })
    .await
}

/// Whether a key is the one that was unplugged.
pub type Verdict = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Has the person unplug the key in `before` and plug it in again, and gives what came back: the one that `is_same` says is it.
///
/// # Errors
/// [`Refusal::NotTheSameDevice`] when only other keys came, [`Refusal::DeviceAbsent`] when none did in time.
pub async fn replugged(
    act: &Act,
    before: &DeviceHandle,
    is_same: impl Fn(DeviceHandle) -> Verdict + Send + Sync,
) -> Result<DeviceHandle, Refusal> {
    let mut events = act.house.devices().subscribe();
    act.phase(Phase::Resetting, 40);
    let deadline = Instant::now() + act.house.settings().deadlines.touch;
    act.ask(UserActionKind::Replug, before.id(), deadline, None);
    let mut unplugged = false;
    let mut others = false;
    // The face by which it can be asked; a key lifted off its reader loses the only one.
    let was = before.info();
    let face = if was.faces.contains(&FaceKind::Hid) {
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
            () = tokio::time::sleep_until(deadline.into()) => {
                return Err(if others { Refusal::NotTheSameDevice } else { Refusal::DeviceAbsent });
            }
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
            if !here || info.reality != was.reality {
                continue;
            }
            if is_same(handle.clone()).await {
                break 'replugged handle;
            }
            // Another key that happens to be plugged in meanwhile is none of our business.
            others = true;
        }
    };
    act.step.answered();
    act.phase(Phase::Resetting, 70);
    Ok(after)
}

/// Tells, before anything is asked of the person, that a key cannot be reset by the way it is here by.
///
/// # Errors
/// [`Refusal::ResetElsewhere`].
pub fn may_reset_here(info: &GetInfo, carrier: Carrier) -> Result<(), Refusal> {
    let allowed = &info.transports_for_reset;
    if allowed.is_empty() || allowed.iter().any(|transport| transport == carrier.transport()) {
        return Ok(());
    }
    Err(Refusal::ResetElsewhere {
        here: carrier.transport(),
        allowed: allowed.join(", "),
    })
}

/// `authenticatorReset`, with what its refusals mean.
///
/// # Errors
/// [`Refusal::ResetTooLate`], [`Refusal::ResetElsewhere`]; the key's own.
pub fn wipe(key: &mut Key<'_, '_>) -> Result<(), Refusal> {
    let info = key.session.get_info(&mut key.context)?;
    let carrier = key.session.carrier();
    may_reset_here(&info, carrier)?;
    if info.long_touch_for_reset == Some(true) {
        key.wish(UserActionKind::Touch, Some(Hint::Hold { seconds: LONG_TOUCH_S }));
    }
    key.session.reset(&mut key.context).map_err(|error| match error {
        DeviceError::NotAllowed | DeviceError::Status(REFUSED_OVER_NFC) if carrier.is_tap() => {
            Refusal::ResetElsewhere {
                here: carrier.transport(),
                allowed: "usb".to_owned(),
            }
        }
        DeviceError::NotAllowed => Refusal::ResetTooLate,
        other => other.into(),
    })
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

pub(super) fn sure(answer: Holds) -> Result<(), Refusal> {
    match answer {
        Holds::Yes => Ok(()),
        Holds::No => Err(Refusal::NotTheSameDevice),
        // Without proof that it is this key nothing is erased.
        Holds::Maybe => Err(DeviceError::PinRequired.into()),
    }
}
