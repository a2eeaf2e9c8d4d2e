//! The fingers that a key knows.

use std::time::Instant;

use data_encoding::HEXLOWER;

use super::{Done, Job};
use crate::codec::ctap2::bio_enrollment::{Sample, SampleStatus};
use crate::codec::ctap2::client_pin::Permissions;
use crate::device::DeviceError;
use crate::lifecycle::Refusal;
use crate::lifecycle::key::{Key, Wish};
use crate::lifecycle::operation::{FidoReport, Fingerprint, Hint, Phase, UserActionKind};

/// Longest name in bytes when the key does not say (CTAP 2.1 section 6.7.3).
const MAX_NAME: u8 = 64;

impl Job<'_> {
    pub(super) fn fingerprints(&self, key: &mut Key<'_, '_>) -> Result<Done, Refusal> {
        let sensor = key.session.fingerprint_sensor(&mut key.context)?;
        let token = self.authorised(key, Permissions::BIO_ENROLLMENT)?;
        let templates = key.session.fingerprints(&token, &mut key.context)?;
        let fingerprints = templates.into_iter().map(|template| Fingerprint {
            id: HEXLOWER.encode(&template.id),
            name: template.name,
        });
        let report = FidoReport {
            fingerprints: Some(fingerprints.collect()),
            samples: sensor.max_samples,
            sensor: sensor.kind.and_then(|kind| match kind {
                1 => Some("touch"),
                2 => Some("swipe"),
                _ => None,
            }),
            tries_left: key.tries(),
            ..FidoReport::default()
        };
        Ok((None, report))
    }

    /// Each sample is told as it comes: how it came out and how many more it takes. What is cut short is forgotten by the key.
    pub(super) fn enrol_fingerprint(&self, key: &mut Key<'_, '_>, name: Option<&str>) -> Result<Done, Refusal> {
        self.check_name(key, name)?;
        let token = self.authorised(key, Permissions::BIO_ENROLLMENT)?;
        self.begin("fingerprint-enrolled", Phase::Creating)?;
        let first = Hint::Sample { left: None, last: None };
        key.wish(UserActionKind::Finger, Some(first));
        let (act, device, wish) = (self.act, self.device, key.wish_cell());
        let touch = act.house.settings().deadlines.touch;
        let mut taken = 0_u8;
        let mut on_sample = |sample: &Sample| {
            taken = taken.saturating_add(1);
            act.step.answered();
            if sample.remaining == 0 {
                return;
            }
            let all = u16::from(taken) + u16::from(sample.remaining);
            let share = u16::from(taken) * 35 / all.max(1);
            act.phase(Phase::Creating, 50 + u8::try_from(share).unwrap_or(0));
            let hint = Hint::Sample {
                left: Some(sample.remaining),
                last: Some(feedback(sample.status)),
            };
            // Asked for now, for a key that does not say that it waits, and in the same words when it says so.
            wish.set(Wish {
                hint: Some(hint),
                ..wish.get()
            });
            act.ask_with(UserActionKind::Finger, device, Instant::now() + touch, None, Some(hint));
        };
        let template = key
            .session
            .enrol_fingerprint(&token, &mut key.context, &mut on_sample)?;
        if let Some(name) = name {
            key.session
                .name_fingerprint(&template, name, &token, &mut key.context)?;
        }
        let report = FidoReport {
            fingerprint: Some(HEXLOWER.encode(&template)),
            tries_left: key.tries(),
            ..FidoReport::default()
        };
        self.end("fingerprint-enrolled", None, Vec::new(), report)
    }

    pub(super) fn rename_fingerprint(&self, key: &mut Key<'_, '_>, id: &[u8], name: &str) -> Result<Done, Refusal> {
        self.check_name(key, Some(name))?;
        let token = self.authorised(key, Permissions::BIO_ENROLLMENT)?;
        self.begin("fingerprint-renamed", Phase::Writing)?;
        key.session.name_fingerprint(id, name, &token, &mut key.context)?;
        let report = FidoReport {
            tries_left: key.tries(),
            ..FidoReport::default()
        };
        self.end("fingerprint-renamed", None, Vec::new(), report)
    }

    pub(super) fn remove_fingerprint(&self, key: &mut Key<'_, '_>, id: &[u8]) -> Result<Done, Refusal> {
        let token = self.authorised(key, Permissions::BIO_ENROLLMENT)?;
        self.begin("fingerprint-removed", Phase::Deleting)?;
        key.session.remove_fingerprint(id, &token, &mut key.context)?;
        let left = key.session.fingerprints(&token, &mut key.context)?;
        if left.iter().any(|template| template.id == id) {
            return Err(DeviceError::Protocol("it still lists the finger that it said it had removed").into());
        }
        let report = FidoReport {
            tries_left: key.tries(),
            ..FidoReport::default()
        };
        self.end("fingerprint-removed", None, Vec::new(), report)
    }

    fn check_name(&self, key: &mut Key<'_, '_>, name: Option<&str>) -> Result<(), Refusal> {
        let sensor = key.session.fingerprint_sensor(&mut key.context)?;
        let most = usize::from(sensor.max_name.unwrap_or(MAX_NAME));
        match name {
            Some(name) if name.len() > most => Err(Refusal::Invalid(format!(
                "the name of a finger has at most {most} bytes on this key"
            ))),
            _ => Ok(()),
        }
    }
}

/// How a sample came out, on the bus.
const fn feedback(status: SampleStatus) -> &'static str {
    match status {
        SampleStatus::Good => "good",
        SampleStatus::TooHigh => "too-high",
        SampleStatus::TooLow => "too-low",
        SampleStatus::TooLeft => "too-left",
        SampleStatus::TooRight => "too-right",
        SampleStatus::TooFast => "too-fast",
        SampleStatus::TooSlow => "too-slow",
        SampleStatus::PoorQuality => "poor-quality",
        SampleStatus::TooSkewed => "too-skewed",
        SampleStatus::TooShort => "too-short",
        SampleStatus::MergeFailure => "does-not-fit",
        SampleStatus::Exists => "known-already",
        SampleStatus::NoUserActivity => "no-finger",
        SampleStatus::NoUserPresenceTransition => "not-lifted",
        SampleStatus::Other(_) => "again",
    }
}
