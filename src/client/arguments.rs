//! The command line: one definition for parsing, `--help`, the man page and shell completions.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::types::{ExportFormat, RevokeReason, TokenKind, TokenState};

/// Exit codes. They are part of the interface and documented in `--help` and the man page.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// The daemon, the ledger or the device said no.
    pub const REFUSED: u8 = 1;
    /// The arguments are wrong (clap's own code).
    pub const USAGE: u8 = 2;
    /// Access denied.
    pub const DENIED: u8 = 3;
    /// The daemon cannot be reached.
    pub const UNREACHABLE: u8 = 4;
    /// Cancelled.
    pub const CANCELLED: u8 = 5;
    /// Done as far as it can be now; an obligation remains.
    pub const OBLIGED: u8 = 6;
    /// `doctor` or `audit verify` found something.
    pub const FINDINGS: u8 = 7;
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  refused by the daemon, the ledger or the device (the sentence says why)
  2  wrong arguments
  3  access denied
  4  clavigerd cannot be reached
  5  cancelled
  6  done, but an obligation remains (see “claviger obligations”)
  7  “doctor” or “audit verify” found something

DEVICE is the number that “claviger devices” shows, or an object path. TOKEN is the id that “claviger tokens” shows, or \
its beginning or end, at least 6 hexadecimal digits, as long as only one token is meant.

PINs, passwords and seeds are asked for on the terminal without echo, or read from standard input or a descriptor; they \
are never arguments.";

/// The client of clavigerd: registers, tests, resyncs and revokes hardware tokens.
#[derive(Debug, Parser)]
#[command(name = "claviger", version, after_help = AFTER_HELP, propagate_version = true)]
pub struct Cli {
    /// Arguments of every verb.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Arguments that every verb takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Bus to find the daemon on: “system”, “session” or a D-Bus address [default: $CLAVIGER_BUS, else system]
    #[arg(long, global = true, value_name = "BUS")]
    pub bus: Option<String>,
    /// Write JSON to standard output: one object, or one a line where there are many
    #[arg(long, global = true)]
    pub json: bool,
    /// Write no progress; what a person must do is still told
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Give up after so many seconds; a running operation is cancelled
    #[arg(long, global = true, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: Option<u64>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the devices that are plugged in now
    Devices,
    /// List the tokens in the ledger
    Tokens(TokensArgs),
    /// Show one device or one token
    Show {
        /// A device number or path, or a token id
        #[arg(value_name = "DEVICE|TOKEN")]
        what: String,
    },
    /// Register a token for a person
    Register {
        /// What to register.
        #[command(subcommand)]
        kind: RegisterKind,
    },
    /// Test a token
    Test(TestArgs),
    /// Check a code against all of a person's tokens that show codes, and use it up
    Verify(VerifyArgs),
    /// Show a person's wrong codes and locks
    Standing(SubjectOnly),
    /// Lift the locks that wrong codes led to
    Unlock(SubjectOnly),
    /// Correct what is believed about where a fob's clock or counter stands, by two or three consecutive codes, or over NFC
    Resync(ResyncArgs),
    /// Take a file of seeds into the ledger, all of it in one transaction
    Import(ImportArgs),
    /// Give a token of the inventory to a person
    Assign(AssignArgs),
    /// Hand seeds out, for a verifier that cannot ask the daemon
    Export(ExportArgs),
    /// Set the clock of a fob over NFC
    Clock(ClockArgs),
    /// Look after the OATH applet of a device
    Oath {
        /// What to do.
        #[command(subcommand)]
        what: OathVerb,
    },
    /// Draw how a token's clock drifts and what is foreseen of it, or list what to replace by when
    Drift(DriftArgs),
    /// Take a token out of use for a while
    Suspend(TokenOnly),
    /// Put a suspended or lost token back in use
    Resume(TokenOnly),
    /// Note that a token is lost; it stops being accepted at once
    Lost(TokenOnly),
    /// Revoke a token, for good
    Revoke(RevokeArgs),
    /// Settle an obligation on the device that is plugged in now
    Discharge(DischargeArgs),
    /// List what is still owed to devices of revoked tokens
    Obligations,
    /// Tell when devices come and go, until interrupted
    Watch,
    /// Read or verify the journal
    Audit {
        /// Which.
        #[command(subcommand)]
        what: AuditVerb,
    },
    /// Name what is missing on this host, with the command that mends it
    Doctor(DoctorArgs),
    /// Write man pages or shell completions
    #[command(hide = true)]
    Generate {
        /// Which.
        #[command(subcommand)]
        what: GenerateWhat,
    },
    /// Read a key through the second engine; started by “doctor --second-opinion” in a process of its own
    #[command(hide = true, name = "second-opinion")]
    SecondOpinion(SecondOpinionArgs),
}

/// What of `drift`.
#[derive(Debug, Args)]
pub struct DriftArgs {
    /// A token's id
    #[arg(required_unless_present = "fleet", conflicts_with = "fleet")]
    pub token: Option<String>,
    /// List the tokens to be replaced, the first ones first
    #[arg(long)]
    pub fleet: bool,
    /// With --fleet: put tokens together by model or delivery
    #[arg(long, requires = "fleet", value_parser = ["model", "batch"])]
    pub by: Option<String>,
    /// With --fleet: only what is to be replaced within so many days
    #[arg(long, requires = "fleet", value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=36_525))]
    pub within: Option<u32>,
    /// With --fleet: only tokens of this model
    #[arg(long, requires = "fleet")]
    pub model: Option<String>,
    /// With --fleet: only tokens of this delivery or import
    #[arg(long, requires = "fleet")]
    pub batch: Option<String>,
    /// Write the drawing to this file as SVG
    #[arg(long, value_name = "FILE", conflicts_with = "fleet", value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
    /// Write the drawing to this file as PNG
    #[arg(long, value_name = "FILE", conflicts_with = "fleet", value_hint = ValueHint::FilePath)]
    pub png: Option<PathBuf>,
}

/// Filters of `tokens`.
#[derive(Debug, Args)]
pub struct TokensArgs {
    /// Only tokens of this kind
    #[arg(long, value_parser = names(TokenKind::ALL.iter().map(|k| k.as_str())))]
    pub kind: Option<String>,
    /// Only tokens in this state
    #[arg(long, value_parser = names(TokenState::ALL.iter().map(|s| s.as_str())))]
    pub state: Option<String>,
    /// Only tokens of this person
    #[arg(long)]
    pub subject: Option<String>,
    /// Only tokens with this serial
    #[arg(long)]
    pub serial: Option<String>,
    /// Only tokens of this manufacturer
    #[arg(long)]
    pub maker: Option<String>,
    /// Only tokens of this model
    #[arg(long)]
    pub model: Option<String>,
    /// Only tokens of this delivery
    #[arg(long)]
    pub batch: Option<String>,
}

/// `assign`.
#[derive(Debug, Args)]
pub struct AssignArgs {
    /// The token
    pub token: String,
    /// Who it is for
    pub subject: String,
}

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

/// `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// As what: encrypted to a passphrase (RFC 6030), the values Entra takes, or the file of pam_oath
    #[arg(value_parser = names(ExportFormat::ALL.iter().map(|format| format.as_str())))]
    pub format: String,
    /// File to write; it is replaced whole or not at all, and can be read by you alone
    #[arg(long, short, value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Which tokens.
    #[command(flatten)]
    pub filter: TokensArgs,
    /// Where the passphrase of a PSKC file comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Where the passphrase of a file comes from; asked for when left out.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct PassphraseArgs {
    /// Read the passphrase from standard input
    #[arg(long, conflicts_with = "passphrase_fd")]
    pub passphrase_stdin: bool,
    /// Read the passphrase from this open descriptor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=65_535))]
    pub passphrase_fd: Option<u32>,
}

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

/// A person and nothing else.
#[derive(Debug, Args)]
pub struct SubjectOnly {
    /// Whose
    pub subject: String,
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
    #[arg(long)]
    pub rp_id: Option<String>,
    /// Name shown on the key for the account; SUBJECT when left out
    #[arg(long)]
    pub user_name: Option<String>,
    /// Whether the credential shall be discoverable; the key decides when left out
    #[arg(long, value_name = "BOOL")]
    pub discoverable: Option<bool>,
    /// Where the PIN comes from.
    #[command(flatten)]
    pub pin: PinArgs,
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

/// Where a PIN comes from when not from the terminal.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct PinArgs {
    /// Read the PIN from standard input
    #[arg(long, conflicts_with = "pin_fd")]
    pub pin_stdin: bool,
    /// Read the PIN from this open descriptor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=65_535))]
    pub pin_fd: Option<u32>,
}

/// Where a card's password comes from.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct PasswordArgs {
    /// The applet has a password: ask for it
    #[arg(long)]
    pub password: bool,
    /// Read the applet's password from standard input
    #[arg(long, conflicts_with = "password_fd")]
    pub password_stdin: bool,
    /// Read the applet's password from this open descriptor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=65_535))]
    pub password_fd: Option<u32>,
}

/// Device and secrets of a verb that may have to talk to a token's device.
#[derive(Debug, Args)]
pub struct PresenceArgs {
    /// The device, when more than one could be meant
    #[arg(long, short)]
    pub device: Option<String>,
    /// Ask for the PIN at once rather than when the key wants one
    #[arg(long)]
    pub pin: bool,
    /// Where the PIN comes from.
    #[command(flatten)]
    pub pin_from: PinArgs,
    /// Where the password comes from.
    #[command(flatten)]
    pub password: PasswordArgs,
}

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

/// `oath`.
#[derive(Debug, Subcommand)]
pub enum OathVerb {
    /// List the credentials of the applet
    List {
        /// The device
        device: String,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Set, change or remove the password of the applet
    Password {
        /// The device
        device: String,
        /// Remove it
        #[arg(long)]
        remove: bool,
        /// Read the new password from this open descriptor
        #[arg(long, value_name = "N", conflicts_with = "remove", value_parser = clap::value_parser!(u32).range(0..=65_535))]
        new_fd: Option<u32>,
        /// Where the present password comes from.
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Rename a credential
    Rename {
        /// The device
        device: String,
        /// Its name
        from: String,
        /// Its new name
        to: String,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Delete a credential that is no token's body
    Delete {
        /// The device
        device: String,
        /// Its name
        name: String,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Wipe the applet with all its credentials and its password
    Reset {
        /// The device
        device: String,
        /// Ask nothing; this stands for typing the word
        #[arg(long, short)]
        yes: bool,
    },
}

/// Verbs that need a token alone.
#[derive(Debug, Args)]
pub struct TokenOnly {
    /// The token
    pub token: String,
}

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

/// A value that must be one of these names; completions offer them.
fn names(names: impl IntoIterator<Item = &'static str>) -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(names)
}
