//! authenticatorLargeBlobs (CTAP 2.1 section 6.10): one array of blobs on the key, read and written in fragments.
//!
//! Who can read an entry is no business of ours: each is encrypted for the credential it belongs to.

use sha2::{Digest, Sha256};

use super::pin_protocol::{PinError, PinUvAuthToken};
use super::{Command, ResponseError, need, sha256, success_empty, success_map, to_bytes};
use crate::codec::cbor::{self, Limits, Map, Value};

/// Bytes of a message that are not its fragment, at most (section 6.10.2).
const OVERHEAD: u64 = 64;
/// Length of the cut SHA-256 at the array's end.
const CHECK: usize = 16;

/// Longest fragment for a key whose messages have at most this many bytes; 1024 when it did not say.
#[must_use]
pub fn fragment(max_msg_size: Option<u64>) -> u64 {
    max_msg_size.unwrap_or(1024).saturating_sub(OVERHEAD).clamp(1, 4096)
}

/// Asks for a fragment.
#[must_use]
pub fn get_request(offset: u64, length: u64) -> Vec<u8> {
    let mut map = Map::new();
    map.insert(1, length);
    map.insert(3, offset);
    super::request(Command::LargeBlobs, map)
}

/// Reads a fragment.
///
/// # Errors
/// [`ResponseError`].
pub fn parse_fragment(response: &[u8]) -> Result<Vec<u8>, ResponseError> {
    need(&mut success_map(response)?, 1, to_bytes, "largeBlobs config")
}

/// Writes the whole array in one fragment, signed with `token` where there is one: the message is 32 bytes of `FF`, the
/// command, a zero, the offset in little endian and the fragment's SHA-256.
///
/// # Errors
/// [`PinError`] when the token cannot key the MAC.
pub fn set_request(array: &[u8], token: Option<&PinUvAuthToken>) -> Result<Vec<u8>, PinError> {
    let mut map = Map::new();
    map.insert(2, array);
    map.insert(3, 0);
    map.insert(4, array.len() as u64);
    if let Some(token) = token {
        let mut message = vec![0xFF; 32];
        message.extend([Command::LargeBlobs as u8, 0]);
        message.extend(0u32.to_le_bytes());
        message.extend(sha256(array));
        let auth = token.authenticate(&message)?;
        map.insert(5, auth.bytes);
        map.insert(6, auth.protocol.number());
    }
    Ok(super::request(Command::LargeBlobs, map))
}

/// Reads the answer to a write.
///
/// # Errors
/// [`ResponseError`].
pub fn parse_done(response: &[u8]) -> Result<(), ResponseError> {
    success_empty(response)
}

/// The array of a key that stores none: an empty CBOR array and its check.
#[must_use]
pub fn empty_array() -> Vec<u8> {
    let mut array = cbor::encode(&Value::Array(Vec::new()));
    array.extend(check(&array));
    array
}

/// How many entries a serialized array has; none when its check is wrong, which the standard takes for an empty array
/// (section 6.10.3).
#[must_use]
pub fn entries(array: &[u8]) -> Option<usize> {
    let (content, told) = array.split_at_checked(array.len().checked_sub(CHECK)?)?;
    if check(content) != told {
        return None;
    }
    let limits = Limits {
        size: content.len(),
        ..Limits::default()
    };
    Some(cbor::decode(content, limits).ok()?.as_array()?.len())
}

fn check(content: &[u8]) -> Vec<u8> {
    Sha256::digest(content).iter().copied().take(CHECK).collect()
}
