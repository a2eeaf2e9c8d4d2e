//! authenticatorSelection (CTAP 2.1 section 6.9): waits for a touch and does nothing else.

use super::{Command, ResponseError, success_empty};

/// The request: the command alone.
#[must_use]
pub fn request() -> Vec<u8> {
    vec![Command::Selection as u8]
}

/// Reads a response, status byte included.
///
/// # Errors
/// [`ResponseError`].
pub fn parse(response: &[u8]) -> Result<(), ResponseError> {
    success_empty(response)
}
