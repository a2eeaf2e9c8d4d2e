//! CTAP2 requests in the words of CTAP1, and CTAP1 answers in those of CTAP2 (CTAP 2.1 section 7), so that everything above speaks
//! CTAP2 alone.

use super::{Authenticated, HASH_LEN, Registered};
use crate::codec::cbor::{self, Limits, Map, Value};
use crate::codec::ctap2::sha256;
use crate::codec::ctap2::status::Status;

const MAKE_CREDENTIAL: u8 = 0x01;
const GET_ASSERTION: u8 = 0x02;
const GET_INFO: u8 = 0x04;

/// Flags of a made credential: present, with attested credential data (CTAP 2.1 section 7.2.1).
const MADE: u8 = 0x41;

/// What a CTAP2 request wants of a U2F key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Who are you.
    Info,
    /// Make a credential, unless one of these is on the key.
    Register {
        /// Hash of the client data, which is the challenge.
        challenge: [u8; HASH_LEN],
        /// Hash of the relying party's id.
        application: [u8; HASH_LEN],
        /// Credential ids that must not be its own.
        exclude: Vec<Vec<u8>>,
    },
    /// Sign with one of these.
    Authenticate {
        /// Hash of the client data, which is the challenge.
        challenge: [u8; HASH_LEN],
        /// Hash of the relying party's id.
        application: [u8; HASH_LEN],
        /// Credential ids that will do.
        allow: Vec<Vec<u8>>,
        /// Whether somebody is to touch it: without, a U2F key cannot sign, only say whether a credential is its own.
        touch: bool,
    },
}

/// Reads a request: command byte and CBOR.
///
/// # Errors
/// The status that a key of CTAP2 would answer where it lacks what is asked for: PINs, stored credentials, other commands.
pub fn read(request: &[u8]) -> Result<Wanted, Status> {
    let (command, body) = request.split_first().ok_or(Status::INVALID_COMMAND)?;
    if *command == GET_INFO {
        return Ok(Wanted::Info);
    }
    if !matches!(*command, MAKE_CREDENTIAL | GET_ASSERTION) {
        return Err(Status::INVALID_COMMAND);
    }
    let value = cbor::decode(body, Limits::default()).map_err(|_| Status::INVALID_CBOR)?;
    let map = value.as_map().ok_or(Status::CBOR_UNEXPECTED_TYPE)?;
    match *command {
        MAKE_CREDENTIAL => {
            let party = map.get(2).and_then(Value::as_map).and_then(|party| party.get("id"));
            // pinUvAuthParam: it has no PIN.
            if map.get(8).is_some() || option(map, 7, "rk") == Some(true) || option(map, 7, "uv") == Some(true) {
                return Err(Status::UNSUPPORTED_OPTION);
            }
            Ok(Wanted::Register {
                challenge: hash(map.get(1))?,
                application: application(party)?,
                exclude: ids(map.get(5))?,
            })
        }
        _ => {
            if map.get(6).is_some() || option(map, 5, "uv") == Some(true) {
                return Err(Status::UNSUPPORTED_OPTION);
            }
            Ok(Wanted::Authenticate {
                challenge: hash(map.get(2))?,
                application: application(map.get(1))?,
                allow: ids(map.get(3))?,
                touch: option(map, 5, "up") != Some(false),
            })
        }
    }
}

fn option(map: &Map, key: u8, name: &str) -> Option<bool> {
    map.get(key)?.as_map()?.get(name)?.as_bool()
}

fn hash(value: Option<&Value>) -> Result<[u8; HASH_LEN], Status> {
    let bytes = value.ok_or(Status::MISSING_PARAMETER)?.as_bytes();
    bytes
        .ok_or(Status::CBOR_UNEXPECTED_TYPE)?
        .try_into()
        .map_err(|_| Status::INVALID_LENGTH)
}

fn application(id: Option<&Value>) -> Result<[u8; HASH_LEN], Status> {
    let id = id.ok_or(Status::MISSING_PARAMETER)?.as_text();
    Ok(sha256(id.ok_or(Status::CBOR_UNEXPECTED_TYPE)?.as_bytes()))
}

fn ids(list: Option<&Value>) -> Result<Vec<Vec<u8>>, Status> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let id = |entry: &Value| Some(entry.as_map()?.get("id")?.as_bytes()?.to_vec());
    let list = list.as_array().ok_or(Status::CBOR_UNEXPECTED_TYPE)?;
    list.iter()
        .map(|entry| id(entry).ok_or(Status::CBOR_UNEXPECTED_TYPE))
        .collect()
}

/// A refusal.
#[must_use]
pub fn refused(status: Status) -> Vec<u8> {
    vec![status.0]
}

fn answer(map: Map) -> Vec<u8> {
    let mut bytes = vec![Status::OK.0];
    bytes.extend(cbor::encode(&Value::Map(map)));
    bytes
}

/// What such a key would say to getInfo: that it is one, and no model.
#[must_use]
pub fn info() -> Vec<u8> {
    answer(Map::from_iter([
        (1, Value::from(vec![Value::from("U2F_V2")])),
        (3, Value::from([0; 16].as_slice())),
        (4, Value::from(Map::from_iter([("rk", false), ("up", true)]))),
    ]))
}

/// A made credential with its attestation (CTAP 2.1 section 7.2.1; the statement as WebAuthn section 8.6 has it). `None` for a
/// credential id that no length can tell.
#[must_use]
pub fn made(application: &[u8; HASH_LEN], registered: &Registered) -> Option<Vec<u8>> {
    let length = u16::try_from(registered.credential_id.len()).ok()?.to_be_bytes();
    let auth_data = [
        application.as_slice(),
        &[MADE],
        &[0; 4],
        &[0; 16],
        &length,
        &registered.credential_id,
        &registered.public_key,
    ]
    .concat();
    let statement = Map::from_iter([
        ("sig", Value::from(registered.signature.as_slice())),
        ("x5c", Value::from(vec![Value::from(registered.certificate.as_slice())])),
    ]);
    Some(answer(Map::from_iter([
        (1, Value::from("fido-u2f")),
        (2, Value::from(auth_data)),
        (3, Value::from(statement)),
    ])))
}

/// An assertion (CTAP 2.1 section 7.3.1).
#[must_use]
pub fn asserted(credential: &[u8], authenticated: &Authenticated) -> Vec<u8> {
    let descriptor = Map::from_iter([("id", Value::from(credential)), ("type", Value::from("public-key"))]);
    answer(Map::from_iter([
        (1, Value::from(descriptor)),
        (2, Value::from(authenticated.auth_data.as_slice())),
        (3, Value::from(authenticated.signature.as_slice())),
    ]))
}
