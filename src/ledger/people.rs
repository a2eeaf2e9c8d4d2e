//! What the ledger remembers of people beside their tokens: how often somebody said “later”, whose authority is frozen.

use crate::types::UnixMillis;
use crate::types::cases::Anomaly;

/// An operator who may do nothing but look until somebody else lifts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frozen {
    /// Uid.
    pub operator: u32,
    /// Since when, by the host's clock.
    pub since: UnixMillis,
    /// What was out of the ordinary.
    pub why: Anomaly,
}
