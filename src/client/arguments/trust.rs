//! `trust`.

use std::path::PathBuf;

use clap::{Subcommand, ValueHint};
use uuid::Uuid;

/// What `trust` does.
#[derive(Debug, Subcommand)]
pub enum TrustVerb {
    /// Read the rules of trust with the files they name, as the daemon does, and say what they mean; asks no daemon
    Check {
        /// The daemon's configuration [default: /etc/claviger/clavigerd.toml]
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// Also say what becomes of keys of this model
        #[arg(long, value_name = "AAGUID")]
        model: Vec<Uuid>,
    },
}
