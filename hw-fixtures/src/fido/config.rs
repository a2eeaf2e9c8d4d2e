//! `authenticatorConfig` (CTAP 2.1 section 6.11; long touch for reset: CTAP 2.3).

use ciborium::Value;

use super::cbor::{self, Params};
use super::clientpin::CONFIGURE;
use super::{Answer, Authenticator, Status};
use crate::Millis;

impl Authenticator {
    pub(super) fn configure(&mut self, params: &Params, now: Millis) -> Answer {
        let subcommand = params.uint(0x01)?.ok_or(Status::MissingParameter)?;
        let number = u8::try_from(subcommand).map_err(|_| Status::InvalidSubcommand)?;
        if self.is_protected() {
            let tag = params.bytes(0x04)?.ok_or(Status::PuatRequired)?;
            let protocol = self.protocol(params.uint(0x03)?, Status::MissingParameter)?;
            let encoded = params.get(0x02).map(cbor::encode).unwrap_or_default();
            let head = [[0xff; 32].as_slice(), &[0x0d, number]].concat();
            self.verify_token(protocol, &[&head, &encoded], tag, CONFIGURE, None, now)?;
        }
        match number {
            0x01 if self.profile.enterprise_attestation => {
                self.memory.enterprise_attestation = true;
                Ok(None)
            }
            0x04 if self.profile.long_touch.is_some() => {
                self.memory.long_touch = true;
                Ok(None)
            }
            0x02 => {
                self.memory.always_uv = !self.memory.always_uv;
                Ok(None)
            }
            0x03 => self.set_min_pin_length(params),
            _ => Err(Status::InvalidSubcommand.into()),
        }
    }

    fn set_min_pin_length(&mut self, params: &Params) -> Answer {
        let empty = Vec::new();
        let map = params.map(0x02)?.unwrap_or(&empty);
        let wanted = match cbor::find(map, &Value::from(0x01)) {
            None => self.memory.min_pin_length,
            Some(value) => {
                let length = cbor::as_uint(value).ok_or(Status::CborUnexpectedType)?;
                u8::try_from(length).map_err(|_| Status::PinPolicyViolation)?
            }
        };
        // It only ever rises; a reset brings it back.
        if wanted < self.memory.min_pin_length || wanted > 63 {
            return Err(Status::PinPolicyViolation.into());
        }
        let rps = match cbor::find(map, &Value::from(0x02)) {
            None => None,
            Some(list) => Some(relying_parties(list)?),
        };
        if let Some(rps) = &rps {
            if self.profile.max_rpids == 0 {
                return Err(Status::InvalidParameter.into());
            }
            if rps.len() > self.profile.max_rpids {
                return Err(Status::KeyStoreFull.into());
            }
        }
        let force = cbor::find(map, &Value::from(0x03))
            .and_then(Value::as_bool)
            .unwrap_or(false);
        if force && self.memory.pin.is_none() {
            return Err(Status::PinNotSet.into());
        }
        self.memory.min_pin_length = wanted;
        if let Some(rps) = rps {
            self.memory.min_pin_rps = rps;
        }
        let too_short = self.memory.pin.is_some_and(|(_, length)| length < usize::from(wanted));
        if force || too_short {
            self.memory.force_pin_change = true;
            self.end_tokens();
        }
        Ok(None)
    }
}

fn relying_parties(list: &Value) -> Result<Vec<String>, Status> {
    let ids = list.as_array().ok_or(Status::CborUnexpectedType)?.iter();
    ids.map(|id| id.as_text().map(str::to_owned).ok_or(Status::CborUnexpectedType))
        .collect()
}
