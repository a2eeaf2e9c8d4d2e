//! `authenticatorCredentialManagement` (CTAP 2.1 section 6.8), and its preview under command 0x41.

use ciborium::Value;

use super::cbor::{self, Params};
use super::clientpin::MANAGE;
use super::credential::{Resident, User, descriptor};
use super::{Answer, Authenticator, Halt, Status};
use crate::{Millis, crypto};

/// A list that is being read item by item.
pub(super) enum Enumeration {
    /// RP IDs still to be told, last first.
    RelyingParties(Vec<String>),
    /// Ids of credentials still to be told, last first.
    Credentials(Vec<Vec<u8>>),
}

impl Authenticator {
    pub(super) fn manage_credentials(&mut self, params: &Params, now: Millis) -> Answer {
        let subcommand = params.uint(0x01)?.ok_or(Status::MissingParameter)?;
        match (subcommand, self.session.enumeration.take()) {
            (0x03, Some(Enumeration::RelyingParties(rest))) => return self.next_rp(rest, None),
            (0x05, Some(Enumeration::Credentials(rest))) => return self.next_credential(rest, None),
            (0x03 | 0x05, _) => return Err(Status::NotAllowed.into()),
            _ => {}
        }
        let empty = Vec::new();
        let arguments = params.map(0x02)?.unwrap_or(&empty);
        self.authorise(subcommand, arguments, params, now)?;
        match subcommand {
            0x01 => Ok(Some(self.metadata())),
            0x02 => {
                let mut parties: Vec<String> = Vec::new();
                for resident in self.memory.residents.iter().rev() {
                    if !parties.contains(&resident.rp_id) {
                        parties.push(resident.rp_id.clone());
                    }
                }
                let total = parties.len();
                self.next_rp(parties, Some(total))
            }
            0x04 => {
                let hash = argument(arguments, 0x01)?
                    .as_bytes()
                    .ok_or(Status::CborUnexpectedType)?;
                let of_rp = |resident: &&Resident| crypto::sha256(resident.rp_id.as_bytes()).as_slice() == hash;
                let ids: Vec<_> = self
                    .memory
                    .residents
                    .iter()
                    .filter(of_rp)
                    .map(|found| found.id.clone())
                    .collect();
                let total = ids.len();
                self.next_credential(ids, Some(total))
            }
            0x06 => {
                let id = credential_id(arguments)?;
                let before = self.memory.residents.len();
                self.memory.residents.retain(|resident| resident.id != id);
                if self.memory.residents.len() == before {
                    Err(Status::NoCredentials.into())
                } else {
                    Ok(None)
                }
            }
            0x07 => {
                let id = credential_id(arguments)?;
                let user = User::read(argument(arguments, 0x03)?)?;
                let resident = self.memory.residents.iter_mut().find(|resident| resident.id == id);
                let resident = resident.ok_or(Status::NoCredentials)?;
                if resident.user.id != user.id {
                    return Err(Status::InvalidParameter.into());
                }
                resident.user = user;
                Ok(None)
            }
            _ => Err(Status::InvalidSubcommand.into()),
        }
    }

    /// The pinUvAuthParam covers the subcommand and, where there are any, its parameters.
    fn authorise(
        &mut self,
        subcommand: u64,
        arguments: &[(Value, Value)],
        params: &Params,
        now: Millis,
    ) -> Result<(), Halt> {
        let tag = params.bytes(0x04)?.ok_or(Status::PuatRequired)?;
        let protocol = self.protocol(params.uint(0x03)?, Status::MissingParameter)?;
        let number = [u8::try_from(subcommand).map_err(|_| Status::InvalidSubcommand)?];
        let encoded = if params.get(0x02).is_some() {
            cbor::encode(&Value::Map(arguments.to_vec()))
        } else {
            Vec::new()
        };
        let rp_id = self.rp_of(subcommand, arguments);
        self.verify_token(protocol, &[&number, &encoded], tag, MANAGE, rp_id.as_deref(), now)?;
        // A token bound to one RP may not look at all of them, nor at a credential that is not there.
        if self.token_rp(protocol).is_some() && rp_id.is_none() {
            return Err(Status::PinAuthInvalid.into());
        }
        Ok(())
    }

    fn rp_of(&self, subcommand: u64, arguments: &[(Value, Value)]) -> Option<String> {
        let wanted = |resident: &&Resident| match subcommand {
            0x04 => argument(arguments, 0x01).is_ok_and(|hash| {
                hash.as_bytes().map(Vec::as_slice) == Some(&crypto::sha256(resident.rp_id.as_bytes()))
            }),
            0x06 | 0x07 => credential_id(arguments).is_ok_and(|id| resident.id == id),
            _ => false,
        };
        self.memory
            .residents
            .iter()
            .find(wanted)
            .map(|resident| resident.rp_id.clone())
    }

    fn metadata(&self) -> Value {
        let held = self.memory.residents.len();
        let free = self.profile.resident_slots.saturating_sub(held);
        cbor::int_map([(0x01, cbor::uint(held as u64)), (0x02, cbor::uint(free as u64))])
    }

    fn next_rp(&mut self, mut rest: Vec<String>, total: Option<usize>) -> Answer {
        let none = if total.is_some() {
            Status::NoCredentials
        } else {
            Status::NotAllowed
        };
        let rp_id = rest.pop().ok_or(none)?;
        let named = self.memory.residents.iter().find(|resident| resident.rp_id == rp_id);
        let name = named
            .and_then(|resident| resident.rp_name.as_deref())
            .and_then(cbor::text);
        let answer = cbor::int_map([
            (0x03, Some(cbor::text_map([("id", cbor::text(&rp_id)), ("name", name)]))),
            (0x04, cbor::bytes(&crypto::sha256(rp_id.as_bytes()))),
            (0x05, total.and_then(|total| cbor::uint(total as u64))),
        ]);
        self.session.enumeration = Some(Enumeration::RelyingParties(rest));
        Ok(Some(answer))
    }

    fn next_credential(&mut self, mut rest: Vec<Vec<u8>>, total: Option<usize>) -> Answer {
        let none = if total.is_some() {
            Status::NoCredentials
        } else {
            Status::NotAllowed
        };
        let id = rest.pop().ok_or(none)?;
        let resident = self
            .memory
            .residents
            .iter()
            .find(|resident| resident.id == id)
            .ok_or(Status::NoCredentials)?;
        let answer = cbor::int_map([
            (0x06, Some(resident.user.describe(true))),
            (0x07, Some(descriptor(&id))),
            (0x08, Some(self.credential_cose(&id))),
            (0x09, total.and_then(|total| cbor::uint(total as u64))),
            (0x0a, cbor::uint(1)),
        ]);
        self.session.enumeration = Some(Enumeration::Credentials(rest));
        Ok(Some(answer))
    }
}

fn argument(arguments: &[(Value, Value)], key: i64) -> Result<&Value, Status> {
    cbor::find(arguments, &Value::from(key)).ok_or(Status::MissingParameter)
}

fn credential_id(arguments: &[(Value, Value)]) -> Result<Vec<u8>, Status> {
    let map = argument(arguments, 0x02)?.as_map().ok_or(Status::CborUnexpectedType)?;
    let id = cbor::field(map, "id").ok_or(Status::MissingParameter)?;
    id.as_bytes().cloned().ok_or(Status::CborUnexpectedType)
}
