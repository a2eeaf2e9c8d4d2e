//! Who a device is, and that what destroys something refuses a device which another one plugged in could be taken for.

use std::time::Instant;

use crate::device::DeviceError;
use crate::device::fido::Carrier;
use crate::device::handle::DeviceHandle;
use crate::device::identity::{Facts, look_alike};
use crate::device::session::Session;
use crate::lifecycle::key::with_key;
use crate::lifecycle::{Lifecycle, Refusal};
use crate::types::{Cancel, DeviceId};

impl Lifecycle {
    /// Asks a device who it is; what it said is remembered while it has the same faces. Wants no touch and changes nothing.
    ///
    /// # Errors
    /// [`Refusal::Device`].
    pub(super) async fn identify(&self, handle: &DeviceHandle, cancel: &Cancel) -> Result<Facts, Refusal> {
        if handle.is_known() {
            return Ok(handle.facts());
        }
        let known = Facts::of(&handle.info());
        let device = handle.id();
        let figures = self.settings().deadlines;
        let deadline = Instant::now() + figures.lock + figures.exchange * 4;
        let facts = handle
            .run(deadline, cancel.clone(), move |session| Ok(ask(session, device, known)))
            .await??;
        handle.learn(facts.clone());
        Ok(facts)
    }

    /// The devices that, as far as is known now, could be taken for this one. Nothing is asked.
    pub(super) fn lookalikes(&self, handle: &DeviceHandle, facts: &Facts) -> Vec<DeviceHandle> {
        let mut others = self.neighbours(handle);
        others.retain(|other| facts.may_be_taken_for(&other.facts()));
        others
    }

    fn neighbours(&self, handle: &DeviceHandle) -> Vec<DeviceHandle> {
        let info = handle.info();
        let mut others = self.devices().devices();
        others.retain(|other| other.id() != handle.id() && look_alike(&info, &other.info()));
        others
    }

    /// Passes when no other device plugged in could be taken for this one, or when the caller said where it is as well, so that a
    /// person has looked. A neighbour that does not answer counts as one that could.
    ///
    /// # Errors
    /// [`Refusal::LooksAlike`]; [`Refusal::Invalid`] when it is somewhere else than said.
    pub(super) async fn unambiguous(
        &self,
        handle: &DeviceHandle,
        place: Option<&str>,
        cancel: &Cancel,
    ) -> Result<(), Refusal> {
        let here = handle.info().place;
        if let Some(place) = place {
            return if place == here {
                Ok(())
            } else {
                Err(Refusal::Invalid(format!(
                    "the device is at “{here}”, and not at “{place}”"
                )))
            };
        }
        let others = self.neighbours(handle);
        if others.is_empty() {
            return Ok(());
        }
        let all = others.iter().chain([handle]);
        futures_util::future::join_all(all.map(|one| self.identify(one, cancel))).await;
        if cancel.is_cancelled() {
            return Err(Refusal::Cancelled);
        }
        let alike = self.lookalikes(handle, &handle.facts());
        if alike.is_empty() {
            return Ok(());
        }
        Err(Refusal::LooksAlike {
            here,
            there: alike.iter().map(|other| other.info().place).collect(),
        })
    }
}

/// What the device says, beside what USB tells.
fn ask(session: &mut Session, device: DeviceId, known: Facts) -> Result<Facts, Refusal> {
    // First, so that the two do not want the card at once.
    let facts = known.with_management(session)?;
    if Carrier::of(session.faces()).is_none() {
        return Ok(facts);
    }
    match with_key(session, None, device, |key| {
        Ok(key.session.get_info(&mut key.context)?)
    }) {
        Ok(info) => Ok(facts.with_info(Some(&info))),
        // Most cards are no keys, and say so each in its own way.
        Err(Refusal::Device(DeviceError::Unsupported(_) | DeviceError::Status(_) | DeviceError::Protocol(_))) => {
            Ok(facts)
        }
        Err(error) => Err(error),
    }
}
