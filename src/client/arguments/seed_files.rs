//! `import`, `assign` and `export`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::names;
use super::secrets::PassphraseArgs;
use super::tokens::ReplacesArgs;
use super::tokens::TokensArgs;
use crate::types::ExportFormat;

/// `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The seed file
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Its format; told from the file when left out
    #[arg(long, value_parser = ["pskc", "otpauth", "entra", "yubico", "privacyidea", "privacyidea2", "linotp", "multiotp"])]
    pub format: Option<String>,
    /// Which column holds what, instead of a format: serial=1,seed=Secret Key,type:=totp
    #[arg(long, value_name = "FIELD=COLUMN,...", conflicts_with = "format")]
    pub map: Option<String>,
    /// Name of the delivery [default: the day]
    #[arg(long)]
    pub batch: Option<String>,
    /// Say what would be taken in, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write what is left of the file, as it came, to this file; it can be read by you alone, and is not written when nothing is left
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub left: Option<PathBuf>,
    /// Whether encrypted seeds must have a MAC
    #[arg(long, value_parser = ["strict", "lax"], default_value = "strict")]
    pub integrity: String,
    /// Read the pre-shared key, its bytes, from this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["passphrase", "passphrase_stdin", "passphrase_fd"])]
    pub key_file: Option<PathBuf>,
    /// Ask for the passphrase of the file
    #[arg(long, conflicts_with_all = ["passphrase_stdin", "passphrase_fd"])]
    pub passphrase: bool,
    /// Or where it comes from.
    #[command(flatten)]
    pub piped: PassphraseArgs,
}

/// `assign`.
#[derive(Debug, Args)]
pub struct AssignArgs {
    /// The token
    pub token: String,
    /// Who it is for
    pub subject: String,
    /// Whose place it takes.
    #[command(flatten)]
    pub place: ReplacesArgs,
}

/// `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// As what: encrypted to a passphrase (RFC 6030), the values Entra takes, the file of pam_oath; or of FIDO2 keys the mapping of
    /// pam_u2f or SSSD's passkey strings
    #[arg(value_parser = names(ExportFormat::ALL.iter().map(|format| format.as_str())))]
    pub format: String,
    /// File to write; it is replaced whole or not at all, and can be read by you alone
    #[arg(long, short, value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Only FIDO2 keys registered with this relying party, such as pam://HOST; needed for their formats
    #[arg(long)]
    pub rp_id: Option<String>,
    /// Which tokens.
    #[command(flatten)]
    pub filter: TokensArgs,
    /// Where the passphrase of a PSKC file comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}
