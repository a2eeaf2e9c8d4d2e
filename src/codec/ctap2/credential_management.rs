//! authenticatorCredentialManagement (CTAP 2.1 section 6.8), and its prototype under command 0x41.

use super::cose::CoseKey;
use super::pin_protocol::{PinError, PinUvAuthToken};
use super::{Command, ResponseError, credential_descriptor, need, success_empty, success_map, to_bytes, to_text};
use crate::codec::cbor::{self, Map, Value};

/// Which of the two commands a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// 0x0A.
    Standard,
    /// 0x41, option `credentialMgmtPreview`.
    Preview,
}

/// What to do.
#[derive(Debug, Clone, Copy)]
pub enum Subcommand<'a> {
    /// How many credentials there are.
    GetMetadata,
    /// The first relying party.
    EnumerateRpsBegin,
    /// The next; only valid right after the one before.
    EnumerateRpsNext,
    /// The first credential of a relying party.
    EnumerateCredentialsBegin {
        /// SHA-256 of the RP ID.
        rp_id_hash: &'a [u8; 32],
    },
    /// The next.
    EnumerateCredentialsNext,
    /// Removes one.
    DeleteCredential {
        /// Its id.
        credential_id: &'a [u8],
    },
    /// Gives the account of one other names.
    UpdateUserInformation {
        /// Its id.
        credential_id: &'a [u8],
        /// Its user handle, which cannot be changed.
        user_id: &'a [u8],
        /// Account name; none takes it away.
        name: Option<&'a str>,
        /// Name for people; none takes it away.
        display_name: Option<&'a str>,
    },
}

impl Subcommand<'_> {
    fn number(&self) -> u8 {
        match self {
            Self::GetMetadata => 1,
            Self::EnumerateRpsBegin => 2,
            Self::EnumerateRpsNext => 3,
            Self::EnumerateCredentialsBegin { .. } => 4,
            Self::EnumerateCredentialsNext => 5,
            Self::DeleteCredential { .. } => 6,
            Self::UpdateUserInformation { .. } => 7,
        }
    }

    fn parameters(&self) -> Option<Map> {
        match self {
            Self::EnumerateCredentialsBegin { rp_id_hash } => Some(Map::from_iter([(1, rp_id_hash.as_slice())])),
            Self::DeleteCredential { credential_id } => {
                Some(Map::from_iter([(2, credential_descriptor(credential_id))]))
            }
            Self::UpdateUserInformation {
                credential_id,
                user_id,
                name,
                display_name,
            } => {
                let mut user = Map::from_iter([("id", *user_id)]);
                user.insert_some("name", *name);
                user.insert_some("displayName", *display_name);
                Some(Map::from_iter([
                    (2, credential_descriptor(credential_id)),
                    (3, user.into()),
                ]))
            }
            _ => None,
        }
    }

    /// The two `Next` go on with what `Begin` was authorised for.
    fn needs_auth(&self) -> bool {
        !matches!(self, Self::EnumerateRpsNext | Self::EnumerateCredentialsNext)
    }
}

/// The bytes of a request, signed with `token` where that is needed: the message is the sub-command and its encoded
/// parameters.
///
/// # Errors
/// [`PinError`] when the token cannot key the MAC.
pub fn request(dialect: Dialect, subcommand: Subcommand<'_>, token: &PinUvAuthToken) -> Result<Vec<u8>, PinError> {
    let command = match dialect {
        Dialect::Standard => Command::CredentialManagement,
        Dialect::Preview => Command::CredentialManagementPreview,
    };
    let mut map = Map::new();
    map.insert(1, subcommand.number());
    let mut message = vec![subcommand.number()];
    if let Some(parameters) = subcommand.parameters() {
        let parameters = Value::from(parameters);
        message.extend(cbor::encode(&parameters));
        map.insert(2, parameters);
    }
    if subcommand.needs_auth() {
        let auth = token.authenticate(&message)?;
        map.insert(3, auth.protocol.number());
        map.insert(4, auth.bytes);
    }
    Ok(super::request(command, map))
}

/// Answer to [`Subcommand::GetMetadata`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Discoverable credentials on the key.
    pub existing: u64,
    /// Room for how many more, at most.
    pub remaining: u64,
}

impl Metadata {
    /// Reads a response, status byte included.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn parse(response: &[u8]) -> Result<Self, ResponseError> {
        let mut map = success_map(response)?;
        Ok(Self {
            existing: need(&mut map, 1, Value::as_u64, "credentialManagement existing count")?,
            remaining: need(&mut map, 2, Value::as_u64, "credentialManagement remaining count")?,
        })
    }
}

/// Answer to [`Subcommand::EnumerateRpsBegin`] and [`Subcommand::EnumerateRpsNext`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingParty {
    /// RP ID; keys may cut it to 32 bytes.
    pub id: String,
    /// SHA-256 of the whole RP ID.
    pub id_hash: [u8; 32],
    /// How many there are, in the first answer.
    pub total: Option<u64>,
}

impl RelyingParty {
    /// Reads a response, status byte included; `Ok(None)` when there is none. Some keys say so with a count of 0.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn parse(response: &[u8]) -> Result<Option<Self>, ResponseError> {
        let mut map = success_map(response)?;
        let total = super::may(&mut map, 5, Value::as_u64, "credentialManagement RP count")?;
        if total == Some(0) {
            return Ok(None);
        }
        let id = |v: &Value| v.as_map()?.get("id").and_then(to_text);
        let hash = |v: &Value| v.as_bytes()?.try_into().ok();
        Ok(Some(Self {
            id: need(&mut map, 3, id, "credentialManagement RP")?,
            id_hash: need(&mut map, 4, hash, "credentialManagement RP ID hash")?,
            total,
        }))
    }
}

/// Answer to [`Subcommand::EnumerateCredentialsBegin`] and [`Subcommand::EnumerateCredentialsNext`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCredential {
    /// User handle.
    pub user_id: Vec<u8>,
    /// Account name, when the key kept it.
    pub user_name: Option<String>,
    /// Name for people, when the key kept it.
    pub display_name: Option<String>,
    /// Credential id.
    pub credential_id: Vec<u8>,
    /// Public key.
    pub public_key: CoseKey,
    /// How many there are, in the first answer.
    pub total: Option<u64>,
    /// credProtect policy, 1 to 3, when the key told.
    pub protection: Option<u64>,
}

impl StoredCredential {
    /// Reads a response, status byte included.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn parse(response: &[u8]) -> Result<Self, ResponseError> {
        let mut map = success_map(response)?;
        let m = &mut map;
        let user = need(m, 6, |v| v.as_map().cloned(), "credentialManagement user")?;
        let credential_id = need(
            m,
            7,
            |v| v.as_map()?.get("id").and_then(to_bytes),
            "credentialManagement id",
        )?;
        let key = need(m, 8, |v| Some(v.clone()), "credentialManagement public key")?;
        Ok(Self {
            user_id: user
                .get("id")
                .and_then(to_bytes)
                .ok_or(ResponseError::Malformed("credentialManagement user id"))?,
            user_name: user.get("name").and_then(to_text),
            display_name: user.get("displayName").and_then(to_text),
            credential_id,
            public_key: CoseKey::from_value(&key, cbor::encode(&key))
                .map_err(|_| ResponseError::Malformed("credentialManagement public key"))?,
            total: super::may(m, 9, Value::as_u64, "credentialManagement credential count")?,
            protection: m.take(10).as_ref().and_then(Value::as_u64),
        })
    }
}

/// Reads the answer to [`Subcommand::DeleteCredential`] and [`Subcommand::UpdateUserInformation`].
///
/// # Errors
/// [`ResponseError`].
pub fn parse_done(response: &[u8]) -> Result<(), ResponseError> {
    success_empty(response)
}
