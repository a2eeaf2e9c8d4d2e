//! `authenticatorLargeBlobs` (CTAP 2.1 section 6.10): one array, written and read in fragments.

use super::cbor::{self, Params};
use super::clientpin::WRITE_BLOBS;
use super::{Answer, Authenticator, Halt, Moment, Status};
use crate::crypto;

/// A write that has not come to its end.
#[derive(Default)]
pub(super) struct Writing {
    expected: usize,
    array: Vec<u8>,
}

/// An empty array with its check, which the standard spells out.
pub(super) fn empty() -> Vec<u8> {
    sealed(&[0x80])
}

fn sealed(content: &[u8]) -> Vec<u8> {
    let check = crypto::sha256(content);
    [content, check.get(..16).unwrap_or_default()].concat()
}

impl Authenticator {
    /// Puts entries there as programs would: `content` is an encoded CBOR array.
    pub fn store_blobs(&mut self, content: &[u8]) {
        self.memory.blobs = sealed(content);
    }

    /// The stored array, with its check.
    pub fn blobs(&self) -> &[u8] {
        &self.memory.blobs
    }

    pub(super) fn large_blobs(&mut self, params: &Params, moment: Moment) -> Answer {
        let room = self.profile.large_blob_array.ok_or(Status::InvalidCommand)?;
        let most = usize::from(self.profile.max_msg_size).saturating_sub(64);
        let offset = params.uint(0x03)?.ok_or(Status::InvalidParameter)?;
        let offset = usize::try_from(offset).map_err(|_| Status::InvalidParameter)?;
        match (params.uint(0x01)?, params.bytes(0x02)?) {
            (Some(length), None) => {
                let length = usize::try_from(length).map_err(|_| Status::InvalidLength)?;
                if length > most {
                    return Err(Status::InvalidLength.into());
                }
                let rest = self.memory.blobs.get(offset..).ok_or(Status::InvalidParameter)?;
                let fragment = rest.get(..length.min(rest.len())).unwrap_or_default();
                Ok(Some(cbor::int_map([(0x01, cbor::bytes(fragment))])))
            }
            (None, Some(fragment)) => {
                if fragment.len() > most {
                    return Err(Status::InvalidLength.into());
                }
                self.begin_writing(offset, params, room)?;
                self.authorise_blobs(offset, fragment, params, moment)?;
                self.write(fragment)
            }
            _ => Err(Status::InvalidParameter.into()),
        }
    }

    fn begin_writing(&mut self, offset: usize, params: &Params, room: usize) -> Result<(), Halt> {
        if offset > 0 {
            let held = self.session.writing.array.len();
            let fits = params.get(0x04).is_none() && offset == held;
            return if fits { Ok(()) } else { Err(Status::InvalidSeq.into()) };
        }
        let expected = params.uint(0x04)?.ok_or(Status::InvalidParameter)?;
        let expected = usize::try_from(expected).map_err(|_| Status::InvalidParameter)?;
        if expected > room {
            return Err(Status::LargeBlobStorageFull.into());
        }
        if expected < 17 {
            return Err(Status::InvalidParameter.into());
        }
        self.session.writing = Writing {
            expected,
            array: Vec::new(),
        };
        Ok(())
    }

    fn authorise_blobs(&mut self, offset: usize, fragment: &[u8], params: &Params, moment: Moment) -> Result<(), Halt> {
        if !self.is_protected() && !self.memory.always_uv {
            return Ok(());
        }
        let tag = params.bytes(0x05)?.ok_or(Status::PuatRequired)?;
        let protocol = self.protocol(params.uint(0x06)?, Status::MissingParameter)?;
        let place = u32::try_from(offset).map_err(|_| Status::InvalidParameter)?;
        let head = [
            [0xff; 32].as_slice(),
            &[0x0c, 0x00],
            &place.to_le_bytes(),
            &crypto::sha256(fragment),
        ]
        .concat();
        self.verify_token(protocol, &[&head], tag, WRITE_BLOBS, None, moment.now)
    }

    fn write(&mut self, fragment: &[u8]) -> Answer {
        let writing = &mut self.session.writing;
        if writing.array.len() + fragment.len() > writing.expected {
            return Err(Status::InvalidParameter.into());
        }
        writing.array.extend_from_slice(fragment);
        if writing.array.len() < writing.expected {
            return Ok(None);
        }
        let array = std::mem::take(writing).array;
        let content = array.get(..array.len().saturating_sub(16)).unwrap_or_default();
        if sealed(content) != array {
            return Err(Status::IntegrityFailure.into());
        }
        self.memory.blobs = array;
        Ok(None)
    }
}
