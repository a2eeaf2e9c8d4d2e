//! Long lists of credentials that must not be on a key already: a key takes so many in one request, so they are gone through by silent
//! assertions first (CTAP 2.1 section 6.1.2, the note on pre-flight).

use super::{FidoContext, FidoSession, GetAssertion};
use crate::codec::ctap2::get_info::GetInfo;
use crate::codec::ctap2::pin_protocol::PinUvAuthToken;
use crate::device::DeviceError;

/// Longest message of a key that does not say (CTAP 2.1 section 6.4).
const SMALLEST_MESSAGE: u64 = 1024;
/// What a makeCredential request has besides the list, generously.
const BESIDES: u64 = 512;
/// What CBOR has around one credential id.
const AROUND: usize = 32;

impl FidoSession<'_> {
    /// The credentials of `ids` to be put on a request's exclude list: all of them if the key takes as many, else those of the first
    /// part that the key knows one of, or none. `pin_uv_auth_token` needs
    /// [`GET_ASSERTION`](crate::codec::ctap2::client_pin::Permissions::GET_ASSERTION).
    ///
    /// # Errors
    /// [`DeviceError`], but not that no credential is known.
    pub fn exclude_list(
        &mut self,
        rp_id: &str,
        ids: &[Vec<u8>],
        pin_uv_auth_token: Option<&PinUvAuthToken>,
        context: &mut FidoContext<'_>,
    ) -> Result<Vec<Vec<u8>>, DeviceError> {
        let mut parts = parts(&self.get_info(context)?, ids);
        if parts.len() < 2 {
            return Ok(parts.pop().unwrap_or_default());
        }
        for part in parts {
            let silent = GetAssertion {
                rp_id,
                // Nothing is done with the signature.
                client_data_hash: &[0; 32],
                allow: &part,
                user_presence: false,
                pin_uv_auth_token,
            };
            match self.get_assertion(&silent, context) {
                Ok(_) => return Ok(part),
                Err(DeviceError::NoCredential) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Vec::new())
    }
}

/// The list in parts that the key takes, without the ids that are too long to be its own.
fn parts(info: &GetInfo, ids: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let most = |limit: Option<u64>| limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let (count, length) = (
        most(info.max_credential_count_in_list).max(1),
        most(info.max_credential_id_length.filter(|n| *n > 0)),
    );
    let message = info.max_msg_size.unwrap_or(SMALLEST_MESSAGE).max(SMALLEST_MESSAGE);
    let room = most(Some(message.saturating_sub(BESIDES)));
    let mut parts: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut taken = 0;
    for id in ids.iter().filter(|id| id.len() <= length) {
        let size = id.len() + AROUND;
        match parts.last_mut() {
            Some(part) if part.len() < count && taken + size <= room => {
                taken += size;
                part.push(id.clone());
            }
            _ => {
                taken = size;
                parts.push(vec![id.clone()]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(count: Option<u64>, length: Option<u64>, message: Option<u64>) -> Vec<usize> {
        let info = GetInfo {
            max_credential_count_in_list: count,
            max_credential_id_length: length,
            max_msg_size: message,
            ..GetInfo::default()
        };
        let mut ids = vec![vec![7; 64]; 20];
        ids.push(vec![7; 200]);
        parts(&info, &ids).iter().map(Vec::len).collect()
    }

    #[test]
    fn a_list_is_cut_as_the_key_takes_it() {
        assert_eq!(sizes(Some(8), Some(96), Some(4096)), [8, 8, 4]);
        assert_eq!(sizes(Some(1), Some(96), None), [1; 20]);
        assert_eq!(sizes(None, Some(96), None), [5; 4], "512 bytes hold five of them");
        assert_eq!(sizes(Some(0), None, Some(7609)).len(), 21, "a key that says nonsense");
        assert_eq!(sizes(None, None, Some(7609)), [21]);
        assert!(parts(&GetInfo::default(), &[]).is_empty());
    }
}
