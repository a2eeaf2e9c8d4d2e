//! authenticatorReset (CTAP 2.1 section 6.6): every credential and the PIN are erased.

use super::{Command, ResponseError, success_empty};

/// The request: the command alone.
#[must_use]
pub fn request() -> Vec<u8> {
    vec![Command::Reset as u8]
}

/// Reads a response, status byte included.
///
/// # Errors
/// [`ResponseError`]; [`NOT_ALLOWED`](super::status::Status::NOT_ALLOWED) when it is too long after power-up.
pub fn parse(response: &[u8]) -> Result<(), ResponseError> {
    success_empty(response)
}
