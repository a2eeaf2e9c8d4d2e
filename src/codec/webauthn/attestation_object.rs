//! The attestation object (section 6.5.4): what an authenticator answered, with text for keys.

use super::WebauthnError;
use crate::codec::cbor::{self, Limits, Map, Value};
use crate::codec::ctap2::auth_data::AuthData;
use crate::codec::ctap2::make_credential;

/// An attestation object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationObject {
    /// `fmt`.
    pub format: String,
    /// `attStmt`.
    pub statement: Map,
    /// `authData`.
    pub auth_data: AuthData,
}

impl AttestationObject {
    /// Reads CBOR of at most 7,609 bytes (what a key can answer over USB).
    ///
    /// # Errors
    /// [`WebauthnError::AttestationObject`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WebauthnError> {
        const BAD: WebauthnError = WebauthnError::AttestationObject;
        let Ok(Value::Map(mut map)) = cbor::decode(bytes, Limits::default()) else {
            return Err(BAD);
        };
        let auth_data = map.take("authData").ok_or(BAD)?;
        let auth_data = AuthData::parse(auth_data.as_bytes().ok_or(BAD)?).map_err(|_| BAD)?;
        if auth_data.attested.is_none() {
            return Err(BAD);
        }
        match (map.take("fmt"), map.take("attStmt")) {
            (Some(Value::Text(format)), Some(Value::Map(statement))) => Ok(Self {
                format,
                statement,
                auth_data,
            }),
            _ => Err(BAD),
        }
    }

    /// The canonical CBOR.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(&Value::Map(Map::from_iter([
            ("fmt", Value::from(self.format.as_str())),
            ("attStmt", Value::from(self.statement.clone())),
            ("authData", Value::from(self.auth_data.raw())),
        ])))
    }
}

impl From<&make_credential::Response> for AttestationObject {
    fn from(made: &make_credential::Response) -> Self {
        Self {
            format: made.format.clone(),
            statement: made.statement.clone(),
            auth_data: made.auth_data.clone(),
        }
    }
}
