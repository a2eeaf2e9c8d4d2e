//! `test`, `verify`, `resync` and `clock`: what a token shows, and by what clock.

use clap::Args;

use super::register::ExchangeArgs;
use super::secrets::PresenceArgs;

/// `test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The token
    pub token: String,
    /// The code a fob shows now; asked for when left out
    #[arg(long)]
    pub code: Option<String>,
    /// The device.
    #[command(flatten)]
    pub at: PresenceArgs,
    /// Test a FIDO2 key by what an identity provider asks.
    #[command(flatten)]
    pub exchange: ExchangeArgs,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Whose code it is
    pub subject: String,
    /// Read the code from standard input
    #[arg(long)]
    pub stdin: bool,
    /// Let virtual tokens count, too
    #[arg(long)]
    pub virtual_too: bool,
}

/// `resync`.
#[derive(Debug, Args)]
pub struct ResyncArgs {
    /// The fob
    pub token: String,
    /// Two to four consecutive codes; asked for when left out
    #[arg(value_name = "CODE", num_args = 0..=4)]
    pub codes: Vec<String>,
    /// Read the fob's clock over NFC instead
    #[arg(long, conflicts_with = "codes")]
    pub nfc: bool,
    /// The fob's reader, with --nfc, when more than one could be meant
    #[arg(long, short, requires = "nfc")]
    pub device: Option<String>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub preview: bool,
    /// Take back what the last resync taught; used codes stay used
    #[arg(long, conflicts_with_all = ["codes", "preview", "nfc", "beyond_bound", "unsynchronised"])]
    pub undo: bool,
    /// Accept an offset that no clock drifts to
    #[arg(long)]
    pub beyond_bound: bool,
    /// Measure although the clock of the host is not synchronised; noted in the journal
    #[arg(long)]
    pub unsynchronised: bool,
}

/// `clock`.
#[derive(Debug, Args)]
pub struct ClockArgs {
    /// The fob
    pub token: String,
    /// Give the fob a new seed as well: most models forget theirs when the clock is set
    #[arg(long)]
    pub reseed: bool,
    /// The fob's reader, when more than one could be meant
    #[arg(long, short)]
    pub device: Option<String>,
    /// Set it although the clock of the host is not synchronised; noted in the journal
    #[arg(long)]
    pub unsynchronised: bool,
}
