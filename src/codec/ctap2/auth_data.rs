//! Authenticator data (WebAuthn section 6.1): the part of an answer that is signed.

use super::cose::CoseKey;
use super::{MAX_CREDENTIAL_ID, ResponseError};
use crate::codec::cbor::{self, Limits, Map, Value};

/// The flags byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// UP: somebody was there.
    #[must_use]
    pub fn user_present(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// UV: the key knows that it was the right person.
    #[must_use]
    pub fn user_verified(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// BE: the credential may be backed up.
    #[must_use]
    pub fn backup_eligible(self) -> bool {
        self.0 & 0x08 != 0
    }

    fn has_attested_credential(self) -> bool {
        self.0 & 0x40 != 0
    }

    fn has_extensions(self) -> bool {
        self.0 & 0x80 != 0
    }
}

/// The credential that was just made (WebAuthn section 6.5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestedCredential {
    /// Model.
    pub aaguid: [u8; 16],
    /// At most [`MAX_CREDENTIAL_ID`] bytes.
    pub credential_id: Vec<u8>,
    /// The public key.
    pub public_key: CoseKey,
}

/// Parsed authenticator data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthData {
    raw: Vec<u8>,
    /// SHA-256 of the RP ID.
    pub rp_id_hash: [u8; 32],
    /// Flags.
    pub flags: Flags,
    /// Signature counter; 0 when the key keeps none.
    pub sign_count: u32,
    /// Only in answers to makeCredential.
    pub attested: Option<AttestedCredential>,
    /// Extension outputs.
    pub extensions: Option<Map>,
}

const CUT_SHORT: ResponseError = ResponseError::Malformed("the authenticator data is cut short");

impl AuthData {
    /// Reads authenticator data; every byte must be accounted for.
    ///
    /// # Errors
    /// [`ResponseError::Malformed`].
    pub fn parse(raw: &[u8]) -> Result<Self, ResponseError> {
        let (rp_id_hash, rest) = raw.split_first_chunk::<32>().ok_or(CUT_SHORT)?;
        let (flags, rest) = rest.split_first().ok_or(CUT_SHORT)?;
        let (sign_count, mut rest) = rest.split_first_chunk::<4>().ok_or(CUT_SHORT)?;
        let flags = Flags(*flags);
        let mut attested = None;
        if flags.has_attested_credential() {
            let (credential, after) = parse_attested(rest)?;
            attested = Some(credential);
            rest = after;
        }
        let mut extensions = None;
        if flags.has_extensions() {
            let (value, used) = cbor::decode_prefix(rest, Limits::default())?;
            let Value::Map(map) = value else {
                return Err(ResponseError::Malformed("the extension outputs are not a map"));
            };
            extensions = Some(map);
            rest = rest.get(used..).unwrap_or_default();
        }
        if !rest.is_empty() {
            return Err(ResponseError::Malformed("there are bytes after the authenticator data"));
        }
        Ok(Self {
            raw: raw.to_vec(),
            rp_id_hash: *rp_id_hash,
            flags,
            sign_count: u32::from_be_bytes(*sign_count),
            attested,
            extensions,
        })
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }
}

fn parse_attested(bytes: &[u8]) -> Result<(AttestedCredential, &[u8]), ResponseError> {
    let (aaguid, rest) = bytes.split_first_chunk::<16>().ok_or(CUT_SHORT)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(CUT_SHORT)?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length > MAX_CREDENTIAL_ID {
        return Err(ResponseError::Malformed("the credential id is longer than 1023 bytes"));
    }
    let (credential_id, rest) = rest.split_at_checked(length).ok_or(CUT_SHORT)?;
    let (value, used) = cbor::decode_prefix(rest, Limits::default())?;
    let (encoded, rest) = rest.split_at_checked(used).ok_or(CUT_SHORT)?;
    let public_key = CoseKey::from_value(&value, encoded.to_vec())
        .map_err(|_| ResponseError::Malformed("the credential's public key is malformed"))?;
    let credential = AttestedCredential {
        aaguid: *aaguid,
        credential_id: credential_id.to_vec(),
        public_key,
    };
    Ok((credential, rest))
}
