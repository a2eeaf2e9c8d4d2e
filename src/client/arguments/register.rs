//! `register`: one set of arguments a kind of token.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::names;
use super::secrets::{PasswordArgs, PinArgs};
use super::tokens::ReplacesArgs;
use crate::types::Provider;

/// What `register` registers.
#[derive(Debug, Subcommand)]
pub enum RegisterKind {
    /// A FIDO2 key: its PIN is set (when it has none) or verified, a credential is made and tested
    Fido2(RegisterFido2),
    /// An OATH card: a seed is made, put on the card, and computed back from it
    OathCard(RegisterOathCard),
    /// A display fob, from its serial, its seed and two codes read off it one after the other
    Fob(RegisterFob),
    /// A display fob whose clock and seed are written over NFC (Token2 family); active once it has shown a code
    NfcFob(RegisterNfcFob),
    /// An app on a phone: a seed is made and shown as a QR code, and the app's first code asked for
    App(RegisterApp),
    /// A sheet of recovery codes, each good once; the person's earlier sheet is revoked
    RecoveryCodes(RegisterRecoveryCodes),
}

/// `register fido2`.
#[derive(Debug, Args)]
pub struct RegisterFido2 {
    /// Who the key is for
    pub subject: String,
    /// The key; needed when more than one is plugged in
    #[arg(long, short)]
    pub device: Option<String>,
    /// Free text
    #[arg(long)]
    pub label: Option<String>,
    /// Serial, when the key does not tell it
    #[arg(long)]
    pub serial: Option<String>,
    /// Relying party id; the daemon's own when left out
    #[arg(long, conflicts_with = "provider")]
    pub rp_id: Option<String>,
    /// Name shown on the key for the account; SUBJECT when left out
    #[arg(long, conflicts_with = "provider")]
    pub user_name: Option<String>,
    /// Whether the credential shall be discoverable; the key decides when left out
    #[arg(long, value_name = "BOOL", conflicts_with = "provider")]
    pub discoverable: Option<bool>,
    /// The key is the organisation's, and may be reset when it comes back
    #[arg(long)]
    pub organisation: bool,
    /// Wait so long for another program that has the key; 0 gives up at once
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=600))]
    pub wait: Option<u32>,
    /// Register the key on behalf of this identity provider
    #[arg(long = "for", value_name = "PROVIDER", value_parser = names(Provider::ALL.iter().map(|p| p.as_str())), requires_all = ["options", "response"])]
    pub provider: Option<String>,
    /// What the provider asks and wants back.
    #[command(flatten)]
    pub exchange: ExchangeArgs,
    /// Where the PIN comes from.
    #[command(flatten)]
    pub pin: PinArgs,
    /// Whose place it takes.
    #[command(flatten)]
    pub place: ReplacesArgs,
}

/// JSON of an identity provider.
#[derive(Debug, Args)]
pub struct ExchangeArgs {
    /// File with the provider's WebAuthn options, JSON as it came
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "response")]
    pub options: Option<PathBuf>,
    /// Origin of the page that the provider would have asked from, such as https://login.example.org [default for entra:
    /// https://login.microsoft.com]
    #[arg(long, requires = "options")]
    pub origin: Option<String>,
    /// File for the response, as the provider takes it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "options")]
    pub response: Option<PathBuf>,
}

/// `register oath-card`.
#[derive(Debug, Args)]
pub struct RegisterOathCard {
    /// Who the card is for
    pub subject: String,
    /// The card's device; needed when more than one is plugged in
    #[arg(long, short)]
    pub device: Option<String>,
    /// Free text
    #[arg(long)]
    pub label: Option<String>,
    /// Serial printed on the card
    #[arg(long)]
    pub serial: Option<String>,
    /// The credential.
    #[command(flatten)]
    pub oath: OathArgs,
    /// The card shall want a touch for each code
    #[arg(long)]
    pub touch: bool,
    /// The card shall take increasing challenges only
    #[arg(long, conflicts_with = "event")]
    pub only_increasing: bool,
    /// The credential shall count (HOTP) rather than follow the time
    #[arg(long, conflicts_with = "period")]
    pub event: bool,
    /// Where the password comes from.
    #[command(flatten)]
    pub password: PasswordArgs,
    /// Whose place it takes.
    #[command(flatten)]
    pub place: ReplacesArgs,
}

/// `register fob`.
#[derive(Debug, Args)]
pub struct RegisterFob {
    /// Who the fob is for
    pub subject: String,
    /// Two codes read off the display one after the other; asked for when left out
    #[arg(value_name = "CODE", num_args = 0..=4)]
    pub codes: Vec<String>,
    /// The fob is not at hand: register it without codes; it is active after a resync with its first two
    #[arg(long, conflicts_with = "codes")]
    pub no_codes: bool,
    /// Serial on its back
    #[arg(long)]
    pub serial: String,
    /// File with the seed; asked for without echo when left out
    #[arg(long, value_hint = ValueHint::FilePath, conflicts_with = "seed_stdin")]
    pub seed_file: Option<PathBuf>,
    /// Read the seed from standard input
    #[arg(long)]
    pub seed_stdin: bool,
    /// How the seed is written
    #[arg(long, value_enum, default_value_t)]
    pub encoding: Encoding,
    /// The credential.
    #[command(flatten)]
    pub oath: OathArgs,
    /// The fob shows a code when it is pressed, and counts (HOTP)
    #[arg(long, conflicts_with = "period")]
    pub event: bool,
    /// Counter of the next code, by the papers of an event fob; 0 when left out
    #[arg(long, requires = "event", value_name = "N")]
    pub counter: Option<u64>,
    /// Model name
    #[arg(long)]
    pub model: Option<String>,
    /// Manufacturer
    #[arg(long)]
    pub maker: Option<String>,
    /// Free text
    #[arg(long)]
    pub label: Option<String>,
    /// Whose place it takes.
    #[command(flatten)]
    pub place: ReplacesArgs,
}

/// `register nfc-fob`.
#[derive(Debug, Args)]
pub struct RegisterNfcFob {
    /// Who the fob is for
    pub subject: String,
    /// The fob's reader; needed when more than one device is plugged in
    #[arg(long, short)]
    pub device: Option<String>,
    /// File with a seed to write; the daemon makes one when left out
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub seed_file: Option<PathBuf>,
    /// How the seed is written
    #[arg(long, value_enum, default_value_t, requires = "seed_file")]
    pub encoding: Encoding,
    /// Hash: SHA1 or SHA256
    #[arg(long, ignore_case = true, value_parser = names(["SHA1", "SHA256"]))]
    pub algorithm: Option<String>,
    /// Time step in seconds: 30 or 60
    #[arg(long, value_name = "SECONDS")]
    pub period: Option<u32>,
    /// Free text
    #[arg(long)]
    pub label: Option<String>,
    /// Set the clock although that of the host is not synchronised
    #[arg(long)]
    pub unsynchronised: bool,
    /// Whose place it takes.
    #[command(flatten)]
    pub place: ReplacesArgs,
}

/// `register app`.
#[derive(Debug, Args)]
pub struct RegisterApp {
    /// Who the app is for
    pub subject: String,
    /// Write the QR code to this file as PNG instead of showing it; the file must not exist
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub png: Option<PathBuf>,
    /// Write the QR code to this file as SVG instead of showing it; the file must not exist
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
    /// Do not ask for the first code: the app is pending until a test passes
    #[arg(long)]
    pub no_code: bool,
    /// Who issues the codes, as the app shows it
    #[arg(long)]
    pub issuer: Option<String>,
    /// Account name as the app shows it; SUBJECT when left out
    #[arg(long)]
    pub account: Option<String>,
    /// Free text
    #[arg(long)]
    pub label: Option<String>,
    /// The credential.
    #[command(flatten)]
    pub oath: OathArgs,
    /// Whose place it takes.
    #[command(flatten)]
    pub place: ReplacesArgs,
}

/// `register recovery-codes`.
#[derive(Debug, Args)]
pub struct RegisterRecoveryCodes {
    /// Who the codes are for
    pub subject: String,
    /// How many; 10 when left out
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub count: Option<u32>,
    /// Write them to this file instead of the terminal; the file must not exist
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

/// How a seed is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Encoding {
    /// RFC 4648 section 6
    #[default]
    Base32,
    /// Hexadecimal digits
    Hex,
    /// The bytes themselves
    Raw,
}

impl Encoding {
    /// The name on the bus.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Base32 => "base32",
            Self::Hex => "hex",
            Self::Raw => "raw",
        }
    }
}

/// Parameters of an OATH credential.
#[derive(Debug, Args)]
pub struct OathArgs {
    /// Hash: SHA1, SHA256 or SHA512
    #[arg(long, ignore_case = true, value_parser = names(["SHA1", "SHA256", "SHA512"]))]
    pub algorithm: Option<String>,
    /// Digits of a code
    #[arg(long, value_parser = clap::value_parser!(u32).range(6..=8))]
    pub digits: Option<u32>,
    /// Time step in seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub period: Option<u32>,
}
