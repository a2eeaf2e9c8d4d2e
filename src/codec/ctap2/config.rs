//! authenticatorConfig (CTAP 2.1 section 6.11; sub-command 4: CTAP 2.3).

use super::pin_protocol::{PinError, PinUvAuthToken};
use super::{Command, ResponseError, success_empty};
use crate::codec::cbor::{self, Map, Value};

/// What to configure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subcommand<'a> {
    /// Turns enterprise attestation on. Only a reset turns it off.
    EnableEnterpriseAttestation,
    /// Turns `alwaysUv` on when it is off, and off when it is on.
    ToggleAlwaysUv,
    /// Raises the least length of a PIN, names who may know it, or demands a new PIN.
    SetMinPinLength {
        /// Code points; cannot fall until a reset.
        length: Option<u8>,
        /// Relying parties that are told the length; they take the place of those named before.
        rp_ids: &'a [String],
        /// The PIN is good for nothing but being changed.
        force_change: bool,
    },
    /// Makes a reset want a touch of five seconds at least. Only a reset turns it off.
    EnableLongTouchForReset,
}

impl Subcommand<'_> {
    /// Its number, which getInfo's `authenticatorConfigCommands` lists.
    #[must_use]
    pub const fn number(&self) -> u8 {
        match self {
            Self::EnableEnterpriseAttestation => 1,
            Self::ToggleAlwaysUv => 2,
            Self::SetMinPinLength { .. } => 3,
            Self::EnableLongTouchForReset => 4,
        }
    }

    fn parameters(&self) -> Option<Map> {
        let Self::SetMinPinLength {
            length,
            rp_ids,
            force_change,
        } = self
        else {
            return None;
        };
        let mut map = Map::new();
        map.insert_some(1, *length);
        let ids: Vec<Value> = rp_ids.iter().map(|id| Value::from(id.as_str())).collect();
        map.insert_some(2, Some(ids).filter(|ids| !ids.is_empty()));
        map.insert_some(3, force_change.then_some(true));
        Some(map)
    }
}

/// The bytes of a request. It is signed with `token` where there is one: a key without a PIN takes some of them unsigned. The
/// message is 32 bytes of `FF`, the command, the sub-command and its encoded parameters.
///
/// # Errors
/// [`PinError`] when the token cannot key the MAC.
pub fn request(subcommand: Subcommand<'_>, token: Option<&PinUvAuthToken>) -> Result<Vec<u8>, PinError> {
    let mut map = Map::new();
    map.insert(1, subcommand.number());
    let mut message = vec![0xFF; 32];
    message.extend([Command::Config as u8, subcommand.number()]);
    if let Some(parameters) = subcommand.parameters() {
        let parameters = Value::from(parameters);
        message.extend(cbor::encode(&parameters));
        map.insert(2, parameters);
    }
    if let Some(token) = token {
        let auth = token.authenticate(&message)?;
        map.insert(3, auth.protocol.number());
        map.insert(4, auth.bytes);
    }
    Ok(super::request(Command::Config, map))
}

/// Reads a response, status byte included.
///
/// # Errors
/// [`ResponseError`].
pub fn parse(response: &[u8]) -> Result<(), ResponseError> {
    success_empty(response)
}
