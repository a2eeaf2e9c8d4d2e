//! Credentials: how their keys are derived, found and described.

use ciborium::Value;
use p256::SecretKey;

use super::cbor;
use super::signer::Algorithm;
use super::{Authenticator, Status};
use crate::crypto;

/// Length of every credential id: kind, nonce, tag.
const ID_LENGTH: usize = 1 + 32 + 31;
/// Lower half of the first byte of the id of a credential that lives in the relying party's database.
const KIND_DERIVED: u8 = 0;
/// Lower half of the first byte of the id of a credential that lives in the key.
const KIND_RESIDENT: u8 = 1;

/// Who a credential is for.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub id: Vec<u8>,
    pub name: Option<String>,
    pub display_name: Option<String>,
}

/// A discoverable credential.
#[derive(Clone, Debug)]
pub(super) struct Resident {
    pub id: Vec<u8>,
    pub rp_id: String,
    pub rp_name: Option<String>,
    pub user: User,
}

/// A credential that a request may use.
#[derive(Clone)]
pub(super) struct Candidate {
    pub id: Vec<u8>,
    pub user: Option<User>,
}

impl User {
    /// Reads a `PublicKeyCredentialUserEntity`.
    pub fn read(value: &Value) -> Result<Self, Status> {
        let map = value.as_map().ok_or(Status::CborUnexpectedType)?;
        let id = cbor::field(map, "id").ok_or(Status::MissingParameter)?;
        let id = id.as_bytes().ok_or(Status::CborUnexpectedType)?.clone();
        if id.len() > 64 {
            return Err(Status::InvalidParameter);
        }
        let text = |key: &str| cbor::field(map, key).and_then(Value::as_text).map(str::to_owned);
        Ok(Self {
            id,
            name: text("name"),
            display_name: text("displayName"),
        })
    }

    /// Describes it; names are for those who were verified.
    pub fn describe(&self, names: bool) -> Value {
        let named = |text: &Option<String>| {
            if names {
                text.as_deref().and_then(cbor::text)
            } else {
                None
            }
        };
        cbor::text_map([
            ("id", cbor::bytes(&self.id)),
            ("name", named(&self.name)),
            ("displayName", named(&self.display_name)),
        ])
    }
}

/// A `PublicKeyCredentialDescriptor`.
pub(super) fn descriptor(id: &[u8]) -> Value {
    cbor::text_map([("id", cbor::bytes(id)), ("type", cbor::text("public-key"))])
}

/// The ids in an allow or exclude list.
pub(super) fn read_list(list: &[Value]) -> Result<Vec<Vec<u8>>, Status> {
    list.iter()
        .map(|entry| {
            let map = entry.as_map().ok_or(Status::CborUnexpectedType)?;
            let kind = cbor::field(map, "type")
                .and_then(Value::as_text)
                .ok_or(Status::MissingParameter)?;
            let id = cbor::field(map, "id").ok_or(Status::MissingParameter)?;
            let id = id.as_bytes().ok_or(Status::CborUnexpectedType)?;
            // A type nobody knows is skipped, not refused: an empty id matches nothing.
            Ok(if kind == "public-key" { id.clone() } else { Vec::new() })
        })
        .collect()
}

impl Authenticator {
    /// A fresh credential id for `rp_hash`.
    pub(super) fn new_credential_id(&mut self, resident: bool, algorithm: Algorithm, rp_hash: &[u8; 32]) -> Vec<u8> {
        let kind = algorithm.mark() | if resident { KIND_RESIDENT } else { KIND_DERIVED };
        let nonce = self.entropy.bytes::<32>();
        let head = [&[kind][..], &nonce].concat();
        let tag = self.id_tag(&head, rp_hash);
        [head, tag].concat()
    }

    fn id_tag(&self, head: &[u8], rp_hash: &[u8; 32]) -> Vec<u8> {
        let tag = crypto::hmac_sha256(&self.memory.master, &[b"credential id", head, rp_hash]);
        tag.get(..ID_LENGTH - 33).unwrap_or_default().to_vec()
    }

    /// Whether `id` is a living credential of ours for `rp_hash`.
    pub(super) fn owns(&self, id: &[u8], rp_hash: &[u8; 32]) -> bool {
        let Some((head, tag)) = id.split_at_checked(33) else {
            return false;
        };
        if id.len() != ID_LENGTH || !crypto::same(&self.id_tag(head, rp_hash), tag) {
            return false;
        }
        head.first().map(|byte| byte & 0x0f) == Some(KIND_DERIVED)
            || self.memory.residents.iter().any(|resident| resident.id == id)
    }

    /// The private key that belongs to a credential id.
    pub(super) fn credential_key(&self, id: &[u8]) -> SecretKey {
        let mut tries = 0_u8;
        loop {
            let scalar = crypto::hmac_sha256(&self.memory.master, &[b"credential key", &[tries], id]);
            // All but one in 2^32 strings are a valid scalar.
            if let Ok(key) = SecretKey::from_slice(&scalar) {
                return key;
            }
            tries = tries.wrapping_add(1);
        }
    }

    /// What a request for `rp_hash` may use: the allow list's entries that are ours, or, without a list, the
    /// discoverable credentials, newest first.
    pub(super) fn candidates(&self, rp_hash: &[u8; 32], allow: Option<&[Vec<u8>]>) -> Vec<Candidate> {
        let resident = |id: &[u8]| self.memory.residents.iter().find(|resident| resident.id == id);
        match allow {
            Some(list) => list
                .iter()
                .filter(|id| self.owns(id, rp_hash))
                .map(|id| Candidate {
                    id: id.clone(),
                    user: resident(id).map(|found| found.user.clone()),
                })
                .collect(),
            None => self
                .memory
                .residents
                .iter()
                .rev()
                .filter(|resident| crypto::sha256(resident.rp_id.as_bytes()) == *rp_hash)
                .map(|resident| Candidate {
                    id: resident.id.clone(),
                    user: Some(resident.user.clone()),
                })
                .collect(),
        }
    }
}
