//! `revoke` and `discharge`.

use clap::Args;

use super::names;
use super::secrets::PresenceArgs;
use crate::types::RevokeReason;

/// `revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The token
    pub token: String,
    /// Why
    #[arg(long, short, value_parser = names(RevokeReason::ALL.iter().map(|r| r.as_str())))]
    pub reason: String,
    /// Reset the whole key instead of deleting our credential; takes every other passkey on it with it
    #[arg(long, conflicts_with = "absent")]
    pub reset: bool,
    /// Do not look for the device; an obligation remains
    #[arg(long)]
    pub absent: bool,
    /// Ask nothing; with --reset, this stands for typing the word
    #[arg(long, short)]
    pub yes: bool,
    /// The device.
    #[command(flatten)]
    pub at: PresenceArgs,
}

/// `discharge`.
#[derive(Debug, Args)]
pub struct DischargeArgs {
    /// The obligation's id, or its beginning or end
    pub obligation: String,
    /// The device was collected and destroyed: for fobs, and for what cannot prove itself any more
    #[arg(long)]
    pub collected: bool,
    /// Needed where a reset is owed: it takes every other passkey on the key with it
    #[arg(long, conflicts_with = "collected")]
    pub reset: bool,
    /// The device.
    #[command(flatten)]
    pub at: PresenceArgs,
}
