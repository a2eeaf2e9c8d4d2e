//! The serial of a YubiKey, read from its management application.

use std::time::Instant;

use super::DeviceError;
use super::card_pump::CardPump;
use super::session::Session;
use crate::codec::iso7816::FetchRest;
use crate::codec::vendor::yubico;
use crate::link::{CardLink, Face, FaceKind};
use crate::types::Cancel;

/// Yubico's USB vendor.
const YUBICO: u16 = 0x1050;
/// What the answer to reset of a YubiKey has among its historical bytes, whichever reader it lies on.
const IN_ATR: &[u8] = b"yubikey";

/// The serial, as it is printed on the key; `None` for what is no YubiKey, has no serial or tells none. Only a YubiKey is asked: other
/// cards answer to a SELECT of an application that they do not have as they like.
///
/// # Errors
/// The link's own; [`DeviceError::Protocol`].
pub(super) fn serial(session: &Session) -> Result<Option<String>, DeviceError> {
    let Some(face) = session.faces().iter().find(|face| face.kind == FaceKind::Card) else {
        return Ok(None);
    };
    let (deadline, cancel) = (session.deadline(), session.cancel().clone());
    let mut link = session.open_card()?;
    if !is_yubikey(face, link.atr()) {
        return Ok(None);
    }
    ask(link.as_mut(), deadline, &cancel)
}

fn is_yubikey(face: &Face, atr: &[u8]) -> bool {
    let in_atr = || atr.windows(IN_ATR.len()).any(|part| part.eq_ignore_ascii_case(IN_ATR));
    face.usb.is_some_and(|usb| usb.vendor == YUBICO) || in_atr()
}

fn ask(link: &mut dyn CardLink, deadline: Instant, cancel: &Cancel) -> Result<Option<String>, DeviceError> {
    let mut pump = CardPump::new(link, FetchRest::GET_RESPONSE, deadline, cancel);
    if !pump.run(&yubico::select()?)?.status.is_success() {
        return Ok(None);
    }
    let answer = pump.run(&yubico::read_config())?;
    let info = yubico::parse_config(&answer).map_err(|error| DeviceError::Protocol(error.as_str()))?;
    Ok(info.and_then(|info| info.serial).map(|serial| serial.to_string()))
}
