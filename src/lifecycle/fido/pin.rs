//! The PIN: how it stands, setting and changing it, and drawing one that nobody chose.

use std::sync::Arc;
use std::time::Instant;

use super::random_pin::{self, Wanted};
use super::{Done, Job};
use crate::codec::ctap2::client_pin::{MAX_PIN_BYTES, Permissions};
use crate::codec::ctap2::config::Subcommand;
use crate::codec::ctap2::get_info::GetInfo;
use crate::device::DeviceError;
use crate::device::fido::{Carrier, can_configure};
use crate::grant::{Action, Grant, Object};
use crate::lifecycle::key::{Key, LAST_TRIES, with_key};
use crate::lifecycle::operation::{FidoReport, Phase};
use crate::lifecycle::{Delivery, Lifecycle, Refusal};
use crate::types::{Cancel, DeviceId, Secret};

/// How the PIN of a key stands, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinStatus {
    /// `ready`, `not-set`, `last-tries`, `change-forced`, `replug`, `blocked`, `unsupported`.
    pub state: &'static str,
    /// One sentence for the help desk.
    pub advice: &'static str,
    /// Tries left, where a PIN is set.
    pub tries_left: Option<u8>,
    /// Least length in code points.
    pub min_length: u8,
    /// Greatest length in code points.
    pub max_length: u8,
    /// Tries left of built-in verification, where it is set up.
    pub uv_tries_left: Option<u8>,
    /// Where the key can be reset, in its own words; empty when it does not say.
    pub reset_over: Vec<String>,
    /// Whether a reset wants a touch of five seconds.
    pub long_touch: bool,
}

impl Lifecycle {
    /// How the PIN of a key stands. Costs no try, wants no touch and changes nothing.
    ///
    /// # Errors
    /// [`Refusal::UnknownDevice`]; the key's own.
    pub async fn pin_status(self: &Arc<Self>, grant: &Grant, device: DeviceId) -> Result<PinStatus, Refusal> {
        grant.require(Action::Inspect, &Object::Device(device))?;
        let handle = self.devices().get(device).ok_or(Refusal::UnknownDevice)?;
        let figures = self.settings().deadlines;
        let deadline = Instant::now() + figures.lock + figures.exchange * 4;
        handle
            .run(deadline, Cancel::new(), move |session| {
                Ok(with_key(session, None, device, status))
            })
            .await?
    }
}

fn status(key: &mut Key<'_, '_>) -> Result<PinStatus, Refusal> {
    let info = key.session.get_info(&mut key.context)?;
    let retries = match info.option("clientPin") {
        Some(true) => Some(key.session.pin_retries(&mut key.context)?),
        _ => None,
    };
    let uv_tries_left = match info.option("uv") {
        // A key that verifies in some way of its own need not count.
        Some(true) => key.session.uv_retries(&mut key.context).ok(),
        _ => None,
    };
    let tap = key.session.carrier() == Carrier::Nfc;
    let (state, advice) = match (info.option("clientPin"), retries) {
        (None, _) => ("unsupported", "the key has no PIN"),
        (_, None) => ("not-set", "no PIN is set: set one"),
        (_, Some(retries)) if retries.left == 0 => (
            "blocked",
            "the PIN is blocked for good: only a reset helps, which deletes all passkeys on the key",
        ),
        (_, Some(retries)) if retries.power_cycle_needed && tap => (
            "replug",
            "three wrong PINs in a row: lift the key off the reader and lay it on again before the next try",
        ),
        (_, Some(retries)) if retries.power_cycle_needed => (
            "replug",
            "three wrong PINs in a row: unplug the key and plug it in again before the next try",
        ),
        (_, Some(retries)) if retries.left <= LAST_TRIES => (
            "last-tries",
            "the last tries: make sure of the person and of the PIN before the next one",
        ),
        (_, Some(_)) if info.force_pin_change == Some(true) => (
            "change-forced",
            "the PIN must be changed before it is good for anything else",
        ),
        (_, Some(_)) => ("ready", "nothing is to be done"),
    };
    Ok(PinStatus {
        state,
        advice,
        tries_left: retries.map(|retries| retries.left),
        min_length: info.min_pin_code_points(),
        max_length: most_code_points(&info),
        uv_tries_left,
        reset_over: info.transports_for_reset.clone(),
        long_touch: info.long_touch_for_reset == Some(true),
    })
}

fn most_code_points(info: &GetInfo) -> u8 {
    let most = u8::try_from(MAX_PIN_BYTES).unwrap_or(u8::MAX);
    info.max_pin_length
        .and_then(|length| u8::try_from(length).ok())
        .map_or(most, |length| length.min(most))
}

impl Job<'_> {
    pub(super) fn set_pin(&self, key: &mut Key<'_, '_>, new: &Secret) -> Result<Done, Refusal> {
        self.require_no_pin(key)?;
        self.begin("pin-set", Phase::Pin)?;
        key.session.set_pin(new, &mut key.context)?;
        self.pin_done(key, "pin-set", None)
    }

    /// The present PIN costs a try, so it is never one of the last two without the word.
    pub(super) fn change_pin(&self, key: &mut Key<'_, '_>, new: &Secret) -> Result<Done, Refusal> {
        let current = self.present_pin(key)?;
        let forced = key.session.get_info(&mut key.context)?.force_pin_change == Some(true);
        // Exposed to be compared, not to be kept.
        if forced && current.expose() == new.expose() {
            return Err(Refusal::Invalid(
                "the key wants another PIN than the present one".into(),
            ));
        }
        self.begin("pin-changed", Phase::Pin)?;
        key.session.change_pin(current, new, &mut key.context)?;
        self.pin_done(key, "pin-changed", None)
    }

    /// Handed out first, set then: a PIN that nobody has would leave a key that only a reset opens. Should setting it fail, the
    /// operation is refused and the one that was handed out is worth nothing.
    pub(super) fn random_pin(
        &self,
        key: &mut Key<'_, '_>,
        letter: Delivery,
        (length, letters): (Option<u8>, bool),
        force_change: bool,
    ) -> Result<Done, Refusal> {
        let info = key.session.get_info(&mut key.context)?;
        let current = match info.option("clientPin") {
            Some(true) => Some(self.present_pin(key)?),
            _ => None,
        };
        let wanted = Wanted::within(length, letters, info.min_pin_code_points(), most_code_points(&info))?;
        let pin = random_pin::draw(wanted, |buffer| {
            getrandom::fill(buffer).map_err(|_| Refusal::Internal("the host has no random numbers"))
        })?;
        if current.is_none() {
            self.require_no_pin(key)?;
        }
        self.begin("pin-drawn", Phase::Pin)?;
        self.act.house.runtime().block_on(letter.deliver(pin.copy()))?;
        match current {
            Some(current) => key.session.change_pin(current, &pin.secret, &mut key.context)?,
            None => key.session.set_pin(&pin.secret, &mut key.context)?,
        }
        let forced = force_change && self.demand_change(key, &pin.secret)?;
        self.pin_done(key, "pin-drawn", Some(forced))
    }

    /// Has the key want the PIN changed, where it can; the new PIN itself is what it takes.
    fn demand_change(&self, key: &mut Key<'_, '_>, pin: &Secret) -> Result<bool, Refusal> {
        let demand = Subcommand::SetMinPinLength {
            length: None,
            rp_ids: &[],
            force_change: true,
        };
        let info = key.session.get_info(&mut key.context)?;
        if !can_configure(&info, demand) {
            return Ok(false);
        }
        let permissions = Permissions::AUTHENTICATOR_CONFIG;
        let token = key.session.pin_uv_token(pin, permissions, None, &mut key.context)?;
        key.session.configure(demand, Some(&token), &mut key.context)?;
        Ok(true)
    }

    /// The PIN that was given, if it may be tried.
    fn present_pin(&self, key: &mut Key<'_, '_>) -> Result<&Secret, Refusal> {
        let info = key.session.get_info(&mut key.context)?;
        if info.option("clientPin") != Some(true) {
            return Err(match info.option("clientPin") {
                Some(_) => DeviceError::PinNotSet,
                None => DeviceError::Unsupported("a PIN"),
            }
            .into());
        }
        let current = self.with.pin.as_ref().ok_or(DeviceError::PinRequired)?;
        key.may_try()?;
        Ok(current)
    }

    fn require_no_pin(&self, key: &mut Key<'_, '_>) -> Result<(), Refusal> {
        match key.session.get_info(&mut key.context)?.option("clientPin") {
            None => Err(DeviceError::Unsupported("a PIN").into()),
            Some(true) => Err(Refusal::Invalid("the key has a PIN: change it instead".into())),
            Some(false) => Ok(()),
        }
    }

    fn pin_done(&self, key: &mut Key<'_, '_>, what: &'static str, forced: Option<bool>) -> Result<Done, Refusal> {
        key.note_tries();
        let report = FidoReport {
            tries_left: key.tries(),
            change_forced: forced,
            ..FidoReport::default()
        };
        self.end(what, None, Vec::new(), report)
    }
}
