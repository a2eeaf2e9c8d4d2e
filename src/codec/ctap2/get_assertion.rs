//! authenticatorGetAssertion (CTAP 2.1 section 6.2).

use super::auth_data::AuthData;
use super::pin_protocol::AuthParam;
use super::{Command, MAX_CREDENTIAL_ID, ResponseError, credential_descriptor, may, need, success_map, to_bytes};
use crate::codec::cbor::{Map, Value};

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// RP ID.
    pub rp_id: &'a str,
    /// SHA-256 of the client data.
    pub client_data_hash: &'a [u8; 32],
    /// Credential ids that will do; empty asks for discoverable ones.
    pub allow: &'a [Vec<u8>],
    /// Whether somebody must touch the key.
    pub user_presence: bool,
    /// Proof of a `pinUvAuthToken` over the client data hash.
    pub auth: Option<&'a AuthParam>,
}

impl Request<'_> {
    /// The bytes of the request.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut map = Map::new();
        map.insert(1, self.rp_id);
        map.insert(2, self.client_data_hash.as_slice());
        if !self.allow.is_empty() {
            map.insert(
                3,
                self.allow
                    .iter()
                    .map(|id| credential_descriptor(id))
                    .collect::<Vec<_>>(),
            );
        }
        // `up: true` is the default.
        if !self.user_presence {
            map.insert(5, Map::from_iter([("up", false)]));
        }
        if let Some(auth) = self.auth {
            map.insert(6, auth.bytes.as_slice());
            map.insert(7, auth.protocol.number());
        }
        super::request(Command::GetAssertion, map)
    }
}

/// Asks for the next of several discoverable credentials' assertions (authenticatorGetNextAssertion, CTAP 2.1 section 6.3);
/// its answer is a [`Response`] too.
#[must_use]
pub fn next_request() -> Vec<u8> {
    vec![Command::GetNextAssertion as u8]
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Which credential signed. A key may leave it out when the allow list had one entry.
    pub credential_id: Option<Vec<u8>>,
    /// Authenticator data.
    pub auth_data: AuthData,
    /// Signature over authenticator data and client data hash.
    pub signature: Vec<u8>,
    /// User handle of a discoverable credential.
    pub user_id: Option<Vec<u8>>,
    /// How many credentials match; 1 when not told.
    pub number_of_credentials: u64,
    /// Everything else, as it came.
    pub unknown: Map,
}

impl Response {
    /// Reads a response, status byte included.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn parse(response: &[u8]) -> Result<Self, ResponseError> {
        let mut map = success_map(response)?;
        let m = &mut map;
        Ok(Self {
            credential_id: may(m, 1, credential_id, "getAssertion credential")?,
            auth_data: AuthData::parse(&need(m, 2, to_bytes, "getAssertion authData")?)?,
            signature: need(m, 3, to_bytes, "getAssertion signature")?,
            user_id: may(
                m,
                4,
                |user| user.as_map()?.get("id").and_then(to_bytes),
                "getAssertion user",
            )?,
            number_of_credentials: may(m, 5, Value::as_u64, "getAssertion numberOfCredentials")?.unwrap_or(1),
            unknown: map,
        })
    }
}

fn credential_id(descriptor: &Value) -> Option<Vec<u8>> {
    let id = descriptor.as_map()?.get("id").and_then(to_bytes)?;
    (id.len() <= MAX_CREDENTIAL_ID).then_some(id)
}
