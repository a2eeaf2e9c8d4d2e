//! Register: bind a token to a subject. A token is active only after it has passed a test.

pub mod app;
mod credential;
pub mod fido2;
pub mod fob;
pub mod nfc_fob;
pub mod oath_card;
pub mod provider;
pub mod recovery_codes;

use crate::codec::oath::OathParameters;
use crate::ledger::{Binding, Mutation, Personal, TokenRecord};
use crate::lifecycle::Refusal;
use crate::types::{OathAlgorithm, Reality, TokenId, TokenKind, TokenState, UnixMillis};

/// Parameters with the defaults of RFC 6238.
fn checked_parameters(
    algorithm: Option<OathAlgorithm>,
    digits: Option<u8>,
    period_s: Option<u32>,
) -> Result<OathParameters, Refusal> {
    OathParameters::new(
        algorithm.unwrap_or(OathAlgorithm::Sha1),
        digits.unwrap_or(6),
        period_s.unwrap_or(30),
    )
    .map_err(|error| Refusal::Invalid(error.to_string()))
}

/// Fails a commit when the token was revoked meanwhile, so that nothing is put on a device for a dead record.
fn still_pending(token: TokenId) -> Mutation {
    Mutation::Require {
        token,
        states: &[TokenState::Pending],
    }
}

/// A record of which nothing is known yet.
pub(super) fn fresh(id: TokenId, kind: TokenKind, reality: Reality, personal: Personal) -> TokenRecord {
    TokenRecord {
        id,
        kind,
        state: TokenState::Pending,
        revoke_reason: None,
        reality,
        model: String::new(),
        maker: None,
        batch: None,
        valid_from: None,
        valid_until: None,
        binding: Binding::None,
        has_seed: false,
        offset_ms: 0,
        watermark: None,
        sign_count: 0,
        last_seen: None,
        failures: 0,
        personal,
        // The ledger sets both.
        created: UnixMillis(0),
        updated: UnixMillis(0),
    }
}
