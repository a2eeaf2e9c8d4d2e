//! The large-blob array of a key: how big it is, and clearing it.

use super::{FidoContext, FidoSession, Patience};
use crate::codec::ctap2::large_blobs as blobs;
use crate::codec::ctap2::pin_protocol::PinUvAuthToken;
use crate::device::DeviceError;

/// More than any key stores.
const MOST_BYTES: usize = 1 << 16;

/// How full the array is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargeBlobs {
    /// Bytes of the array, its check of sixteen included; an empty one has seventeen.
    pub size: usize,
    /// Bytes it may have.
    pub room: Option<u64>,
    /// Entries; none when its check is wrong, and then programs take it for empty.
    pub entries: Option<usize>,
}

impl FidoSession<'_> {
    /// Measures the array. Reading it needs neither PIN nor touch.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when the key has none.
    pub fn large_blobs(&mut self, context: &mut FidoContext<'_>) -> Result<LargeBlobs, DeviceError> {
        let info = self.get_info(context)?;
        if info.option("largeBlobs") != Some(true) {
            return Err(DeviceError::Unsupported("large blobs"));
        }
        let fragment = blobs::fragment(info.max_msg_size);
        let mut array = Vec::new();
        loop {
            let response = self.exchange(
                &blobs::get_request(array.len() as u64, fragment),
                Patience::Exchange,
                context,
            )?;
            let part = blobs::parse_fragment(&response).map_err(|e| self.judge(e))?;
            let last = (part.len() as u64) < fragment;
            array.extend(part);
            if array.len() > MOST_BYTES {
                return Err(DeviceError::Protocol("more large blobs than a key can hold"));
            }
            if last {
                return Ok(LargeBlobs {
                    size: array.len(),
                    room: info.max_serialized_large_blob_array,
                    entries: blobs::entries(&array),
                });
            }
        }
    }

    /// Puts an empty array in the place of what is there. `token` needs
    /// [`LARGE_BLOB_WRITE`](crate::codec::ctap2::client_pin::Permissions::LARGE_BLOB_WRITE); a key without a PIN takes none.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when the key has none; [`DeviceError::PinRequired`].
    pub fn clear_large_blobs(
        &mut self,
        token: Option<&PinUvAuthToken>,
        context: &mut FidoContext<'_>,
    ) -> Result<(), DeviceError> {
        let info = self.get_info(context)?;
        if info.option("largeBlobs") != Some(true) {
            return Err(DeviceError::Unsupported("large blobs"));
        }
        let request = blobs::set_request(&blobs::empty_array(), token)?;
        let response = self.exchange(&request, Patience::Exchange, context)?;
        self.info = None;
        blobs::parse_done(&response).map_err(|e| self.judge(e))
    }
}
