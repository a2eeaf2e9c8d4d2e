//! `audit`, `doctor` and what the packages use: `generate`, `second-opinion`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// `audit`.
#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Recompute the journal's chain and replay it against the ledger
    Verify,
    /// Show the journal
    Log {
        /// Entries after this number
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// At most so many; all when left out
        #[arg(long)]
        limit: Option<u64>,
    },
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Read this key through a second, independent engine as well, and compare
    #[arg(long, value_name = "DEVICE")]
    pub second_opinion: Option<String>,
}

/// `generate`.
#[derive(Debug, Subcommand)]
pub enum GenerateWhat {
    /// Man pages
    Man {
        /// Directory to write to
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
    /// Completions for bash, zsh and fish
    Completions {
        /// Directory to write to
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
}

/// `second-opinion`.
#[derive(Debug, Args)]
pub struct SecondOpinionArgs {
    /// USB vendor
    #[arg(long)]
    pub vendor: u16,
    /// USB product
    #[arg(long)]
    pub product: u16,
    /// Where it is plugged in, as the daemon says it
    #[arg(long, default_value = "")]
    pub place: String,
}
