//! Finding the device that is the body of a token. A device that was named must still prove itself in the act that follows;
//! where several could be meant, they are asked without a touch.

use crate::device::DeviceError;
use crate::device::handle::{DeviceHandle, DeviceState};
use crate::device::oath::OathSession;
use crate::device::oath::maker::Hints;
use crate::lifecycle::Refusal;
use crate::lifecycle::act::Act;
use crate::lifecycle::key::{Credential, Holds, with_key};
use crate::lifecycle::nfc_fob::with_fob;
use crate::link::FaceKind;
use crate::types::{DeviceId, Reality};

/// The key that holds a credential.
///
/// # Errors
/// [`Refusal::DeviceAbsent`], [`Refusal::Ambiguous`], [`Refusal::NotTheSameDevice`] for a named device of the other
/// reality, [`Refusal::UnknownDevice`]; [`DeviceError::NoCardService`] for a card while pcscd does not answer.
pub async fn key(
    act: &Act,
    named: Option<DeviceId>,
    reality: Reality,
    credential: &Credential,
) -> Result<DeviceHandle, Refusal> {
    // What lies on a reader may be a key, too: only asking tells.
    let cards = if named.is_none() {
        cards(act, reality)
    } else {
        Vec::new()
    };
    let mut candidates = match candidates(act, named, reality, FaceKind::Hid) {
        Ok(Candidates::Sure(handle)) if cards.is_empty() => return Ok(handle),
        Ok(Candidates::Sure(handle)) => vec![handle],
        Ok(Candidates::Ask(candidates)) => candidates,
        Err(Refusal::DeviceAbsent) if !cards.is_empty() => Vec::new(),
        Err(refusal) => return Err(refusal),
    };
    candidates.extend(cards);
    let mut maybe = Vec::new();
    for handle in candidates.drain(..) {
        let credential = credential.clone();
        let device = handle.id();
        let answer = act
            .in_lane(&handle, act.budget(3, 0), move |session, _| {
                with_key(session, None, device, |key| key.holds(&credential))
            })
            .await;
        match answer {
            Ok(Holds::Yes) => return Ok(handle),
            Ok(Holds::Maybe) => maybe.push(handle),
            Err(Refusal::Device(DeviceError::Cancelled)) => return Err(Refusal::Cancelled),
            // A key that cannot answer is not the one we look for; if it is, the caller names it and hears why.
            Ok(Holds::No) | Err(_) => {}
        }
    }
    only(maybe)
}

/// The card with an applet of this device id.
///
/// # Errors
/// As [`key`].
pub async fn card(
    act: &Act,
    named: Option<DeviceId>,
    reality: Reality,
    device_id: &str,
) -> Result<DeviceHandle, Refusal> {
    let candidates = match candidates(act, named, reality, FaceKind::Card)? {
        Candidates::Sure(handle) => return Ok(handle),
        Candidates::Ask(candidates) => candidates,
    };
    for handle in candidates {
        let wanted = device_id.to_owned();
        let answer = act
            .in_lane(&handle, act.budget(2, 0), move |session, _| {
                let (deadline, cancel) = (session.deadline(), session.cancel().clone());
                let hints = Hints::of(session.faces());
                let mut link = session.open_card()?;
                let applet = OathSession::open(link.as_mut(), &hints, deadline, &cancel)?;
                Ok(applet.applet().device_id() == wanted)
            })
            .await;
        match answer {
            Ok(true) => return Ok(handle),
            Err(Refusal::Device(DeviceError::Cancelled)) => return Err(Refusal::Cancelled),
            Ok(false) | Err(_) => {}
        }
    }
    Err(Refusal::DeviceAbsent)
}

/// The fob that tells this serial over NFC.
///
/// # Errors
/// As [`key`].
pub async fn fob(act: &Act, named: Option<DeviceId>, reality: Reality, serial: &str) -> Result<DeviceHandle, Refusal> {
    let candidates = match candidates(act, named, reality, FaceKind::Card)? {
        Candidates::Sure(handle) => return Ok(handle),
        Candidates::Ask(candidates) => candidates,
    };
    for handle in candidates {
        let answer = act
            .in_lane(&handle, act.budget(2, 0), move |session, act| {
                with_fob(session, act.house.clock().as_ref(), |_, face| Ok(face.serial))
            })
            .await;
        match answer {
            Ok(told) if told == serial => return Ok(handle),
            Err(Refusal::Device(DeviceError::Cancelled)) => return Err(Refusal::Cancelled),
            Ok(_) | Err(_) => {}
        }
    }
    Err(Refusal::DeviceAbsent)
}

/// The named key, or the only one.
///
/// # Errors
/// As [`key`]; [`Refusal::Ambiguous`] when there are several.
pub fn only_key(act: &Act, named: Option<DeviceId>, reality: Reality) -> Result<DeviceHandle, Refusal> {
    match candidates(act, named, reality, FaceKind::Hid)? {
        Candidates::Sure(handle) => Ok(handle),
        Candidates::Ask(_) => Err(Refusal::Ambiguous),
    }
}

/// Devices of a card face alone.
fn cards(act: &Act, reality: Reality) -> Vec<DeviceHandle> {
    let mut devices = act.house.devices().devices();
    devices.retain(|handle| {
        let info = handle.info();
        info.reality == reality && info.state != DeviceState::Unresponsive && info.faces == [FaceKind::Card]
    });
    devices
}

enum Candidates {
    /// Named, or the only one: it proves itself in the act.
    Sure(DeviceHandle),
    /// Several.
    Ask(Vec<DeviceHandle>),
}

fn candidates(act: &Act, named: Option<DeviceId>, reality: Reality, face: FaceKind) -> Result<Candidates, Refusal> {
    if let Some(id) = named {
        let handle = act.house.devices().get(id).ok_or(Refusal::UnknownDevice)?;
        let info = handle.info();
        // A simulated device can never stand for a real token, nor the other way round (invariant 5).
        if info.reality != reality {
            return Err(Refusal::NotTheSameDevice);
        }
        return Ok(Candidates::Sure(handle));
    }
    let mut fitting: Vec<_> = act
        .house
        .devices()
        .devices()
        .into_iter()
        .filter(|handle| {
            let info = handle.info();
            info.reality == reality && info.state != DeviceState::Unresponsive && info.faces.contains(&face)
        })
        .collect();
    let blind = face == FaceKind::Card && reality == Reality::Hardware && act.house.devices().lacks_card_service();
    match (fitting.pop(), fitting.is_empty()) {
        (None, _) if blind => Err(DeviceError::NoCardService.into()),
        (None, _) => Err(Refusal::DeviceAbsent),
        (Some(only), true) => Ok(Candidates::Sure(only)),
        (Some(last), false) => {
            fitting.push(last);
            Ok(Candidates::Ask(fitting))
        }
    }
}

fn only(mut maybe: Vec<DeviceHandle>) -> Result<DeviceHandle, Refusal> {
    match (maybe.pop(), maybe.is_empty()) {
        (None, _) => Err(Refusal::DeviceAbsent),
        (Some(handle), true) => Ok(handle),
        (Some(_), false) => Err(Refusal::Ambiguous),
    }
}
