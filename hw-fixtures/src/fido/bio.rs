//! `authenticatorBioEnrollment` (CTAP 2.1 section 6.7), and its preview under command 0x40; built-in verification by a finger.

use std::collections::VecDeque;

use ciborium::Value;

use super::cbor::{self, Params};
use super::clientpin::ENROL;
use super::{Answer, Authenticator, Halt, Moment, Status};
use crate::Millis;
use crate::profile::FingerprintProfile;

/// The sample counts.
const GOOD: u8 = 0x00;

/// A finger that is known.
#[derive(Clone)]
pub(super) struct Template {
    id: [u8; 4],
    name: Option<String>,
}

/// One that is being learnt.
pub(super) struct Enrolment {
    id: [u8; 4],
    remaining: u8,
}

/// Whose finger lies on the sensor and how.
pub(super) struct Finger {
    /// Whether it is one that was enrolled.
    pub(super) known: bool,
    /// How the next samples come out; good ones when it is empty.
    pub(super) samples: VecDeque<u8>,
}

impl Default for Finger {
    fn default() -> Self {
        Self {
            known: true,
            samples: VecDeque::new(),
        }
    }
}

impl Authenticator {
    /// Whose finger it is from now on.
    pub fn set_finger_known(&mut self, known: bool) {
        self.finger.known = known;
    }

    /// How the next samples come out: section 6.7.5's numbers.
    pub fn set_samples(&mut self, samples: &[u8]) {
        self.finger.samples = samples.iter().copied().collect();
    }

    /// How many fingers it knows.
    pub fn finger_count(&self) -> usize {
        self.memory.fingers.len()
    }

    /// Whether somebody can verify by a finger now.
    pub(super) fn has_uv(&self) -> bool {
        !self.memory.fingers.is_empty()
    }

    /// Whether it wants proof of who is there before it is changed.
    pub(super) fn is_protected(&self) -> bool {
        self.memory.pin.is_some() || self.has_uv()
    }

    pub(super) fn enrol(&mut self, params: &Params, moment: Moment) -> Answer {
        let sensor = self.profile.fingerprints.clone().ok_or(Status::InvalidCommand)?;
        if params.boolean(0x06)? == Some(true) {
            return Ok(Some(cbor::int_map([(0x01, cbor::uint(1))])));
        }
        if params.uint(0x01)?.ok_or(Status::MissingParameter)? != 1 {
            return Err(Status::InvalidParameter.into());
        }
        let subcommand = params.uint(0x02)?.ok_or(Status::MissingParameter)?;
        match subcommand {
            0x03 => {
                self.session.enrolment = None;
                return Ok(None);
            }
            0x07 => {
                return Ok(Some(cbor::int_map([
                    (0x02, cbor::uint(1)),
                    (0x03, cbor::uint(u64::from(sensor.samples))),
                    (0x08, cbor::uint(sensor.name_length as u64)),
                ])));
            }
            0x01 | 0x02 | 0x04 | 0x05 | 0x06 => {}
            _ => return Err(Status::InvalidSubcommand.into()),
        }
        self.authorise_enrolment(subcommand, params, moment.now)?;
        let empty = Vec::new();
        let arguments = params.map(0x03)?.unwrap_or(&empty);
        match subcommand {
            0x01 => self.first_sample(&sensor, moment),
            0x02 => self.next_sample(arguments, moment),
            0x04 => self.known_fingers(),
            0x05 => {
                let name = cbor::find(arguments, &Value::from(0x02)).ok_or(Status::MissingParameter)?;
                let name = name.as_text().ok_or(Status::CborUnexpectedType)?;
                if name.len() > sensor.name_length {
                    return Err(Status::InvalidLength.into());
                }
                let finger = self.finger_mut(arguments)?;
                finger.name = Some(name.to_owned());
                Ok(None)
            }
            _ => {
                let id = self.finger_mut(arguments)?.id;
                self.memory.fingers.retain(|finger| finger.id != id);
                Ok(None)
            }
        }
    }

    fn authorise_enrolment(&mut self, subcommand: u64, params: &Params, now: Millis) -> Result<(), Halt> {
        let tag = params.bytes(0x05)?.ok_or(Status::PuatRequired)?;
        let protocol = self.protocol(params.uint(0x04)?, Status::MissingParameter)?;
        let head = [1, u8::try_from(subcommand).map_err(|_| Status::InvalidSubcommand)?];
        let encoded = params.get(0x03).map(cbor::encode).unwrap_or_default();
        self.verify_token(protocol, &[&head, &encoded], tag, ENROL, None, now)
    }

    fn first_sample(&mut self, sensor: &FingerprintProfile, moment: Moment) -> Answer {
        if self.memory.fingers.len() >= sensor.slots {
            return Err(Status::FpDatabaseFull.into());
        }
        moment.touched()?;
        let id = self.entropy.bytes();
        self.session.enrolment = Some(Enrolment {
            id,
            remaining: sensor.samples,
        });
        let answer = self.sample()?;
        Ok(Some(cbor::int_map([
            (0x04, cbor::bytes(&id)),
            (0x05, cbor::uint(u64::from(answer.0))),
            (0x06, cbor::uint(u64::from(answer.1))),
        ])))
    }

    fn next_sample(&mut self, arguments: &[(Value, Value)], moment: Moment) -> Answer {
        let id = template_id(arguments)?;
        let enrolment = self.session.enrolment.as_ref().ok_or(Status::NotAllowed)?;
        if enrolment.id.as_slice() != id {
            return Err(Status::InvalidParameter.into());
        }
        moment.touched()?;
        let (status, remaining) = self.sample()?;
        Ok(Some(cbor::int_map([
            (0x05, cbor::uint(u64::from(status))),
            (0x06, cbor::uint(u64::from(remaining))),
        ])))
    }

    /// Takes a sample of whatever lies on the sensor. The last good one makes a template.
    fn sample(&mut self) -> Result<(u8, u8), Halt> {
        let status = self.finger.samples.pop_front().unwrap_or(GOOD);
        let enrolment = self.session.enrolment.as_mut().ok_or(Status::NotAllowed)?;
        if status == GOOD {
            enrolment.remaining = enrolment.remaining.saturating_sub(1);
        }
        let (id, remaining) = (enrolment.id, enrolment.remaining);
        if remaining == 0 {
            self.session.enrolment = None;
            self.memory.fingers.push(Template { id, name: None });
        }
        Ok((status, remaining))
    }

    fn known_fingers(&self) -> Answer {
        if self.memory.fingers.is_empty() {
            return Err(Status::InvalidOption.into());
        }
        let fingers = self.memory.fingers.iter().map(|finger| {
            cbor::int_map([
                (0x01, cbor::bytes(&finger.id)),
                (0x02, finger.name.as_deref().and_then(cbor::text)),
            ])
        });
        Ok(Some(cbor::int_map([(0x07, Some(Value::Array(fingers.collect())))])))
    }

    fn finger_mut(&mut self, arguments: &[(Value, Value)]) -> Result<&mut Template, Halt> {
        let id = template_id(arguments)?;
        let mut fingers = self.memory.fingers.iter_mut();
        let found = fingers.find(|finger| finger.id.as_slice() == id);
        Ok(found.ok_or(Status::InvalidOption)?)
    }

    /// Built-in verification (section 6.5.5.7.3): a finger that is not known costs a try.
    pub(super) fn verify_finger(&mut self, moment: Moment) -> Result<(), Halt> {
        if !self.has_uv() {
            return Err(Status::NotAllowed.into());
        }
        if self.memory.uv_retries == 0 {
            return Err(Status::UvBlocked.into());
        }
        moment.touched()?;
        if self.finger.known {
            self.memory.uv_retries = self.uv_tries();
            return Ok(());
        }
        self.memory.uv_retries = self.memory.uv_retries.saturating_sub(1);
        Err(if self.memory.uv_retries == 0 {
            Status::UvBlocked
        } else {
            Status::UvInvalid
        }
        .into())
    }

    /// Tries of built-in verification that it begins with.
    pub(super) fn uv_tries(&self) -> u8 {
        self.profile.fingerprints.as_ref().map_or(0, |sensor| sensor.uv_retries)
    }
}

fn template_id(arguments: &[(Value, Value)]) -> Result<&[u8], Status> {
    let id = cbor::find(arguments, &Value::from(0x01)).ok_or(Status::MissingParameter)?;
    id.as_bytes().map(Vec::as_slice).ok_or(Status::CborUnexpectedType)
}
