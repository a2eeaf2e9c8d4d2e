//! The command line: one definition for parsing, `--help`, the man page and shell completions. Here are the verbs and what holds
//! for all of them; the arguments of each are in a file a group of verbs.

mod bypass;
mod cases;
mod codes;
mod drift;
mod fido;
mod host;
mod oath;
mod register;
mod revoke;
mod secrets;
mod seed_files;
mod tokens;
mod trust;

use clap::{Args, Parser, Subcommand};

pub use self::bypass::{BypassVerb, IssueArgs};
pub use self::cases::{CaseOnly, CaseVerb, CloseArgs, OpenArgs, PolicyVerb};
pub use self::codes::{ClockArgs, ResyncArgs, TestArgs, VerifyArgs};
pub use self::drift::DriftArgs;
pub use self::fido::{BlobsVerb, FidoVerb, FingerVerb, OpenedDevice, PinVerb, UnlockArgs};
pub use self::host::{AuditVerb, DoctorArgs, GenerateWhat, SecondOpinionArgs};
pub use self::oath::OathVerb;
pub use self::register::{
    Encoding, ExchangeArgs, OathArgs, RegisterApp, RegisterFido2, RegisterFob, RegisterKind, RegisterNfcFob,
    RegisterOathCard, RegisterRecoveryCodes,
};
pub use self::revoke::{DischargeArgs, RevokeArgs};
pub use self::secrets::{PassphraseArgs, PasswordArgs, PinArgs, PresenceArgs};
pub use self::seed_files::{AssignArgs, ExportArgs, ImportArgs};
pub use self::tokens::{
    LeaverArgs, MarkArgs, Owner, ReplaceArgs, ReplacesArgs, SubjectOnly, ThawArgs, TokenOnly, TokensArgs,
};
pub use self::trust::TrustVerb;

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
    /// `doctor`, `audit verify` or `policy check` found something.
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
  7  “doctor”, “audit verify” or “policy check” found something

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
    /// Do it in this case: its id, or the beginning or end of it
    #[arg(long, global = true, value_name = "CASE")]
    pub case: Option<String>,
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
    /// Show who somebody is, which tokens they have and what is required of them
    Subjects(SubjectOnly),
    /// Show who has a second factor and who lacks one, by role
    Coverage,
    /// Say “later” for somebody of whom a second factor is required
    Defer(SubjectOnly),
    /// Correct what is believed about where a fob's clock or counter stands, by two or three consecutive codes, or over NFC
    Resync(ResyncArgs),
    /// Take a file of seeds into the ledger, all of it in one transaction
    Import(ImportArgs),
    /// Give a token of the inventory to a person
    Assign(AssignArgs),
    /// Say whether a key is the organisation's or the person's own
    Mark(MarkArgs),
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
    /// Look after the FIDO2 application of a device: PIN, settings, passkeys, fingers, reset
    Fido {
        /// What to do.
        #[command(subcommand)]
        what: FidoVerb,
    },
    /// Draw how a token's clock drifts and what is foreseen of it, or list what to replace by when
    Drift(DriftArgs),
    /// Take a token out of use for a while
    Suspend(TokenOnly),
    /// Put a suspended or lost token back in use
    Resume(TokenOnly),
    /// Note that a token is lost; it stops being accepted at once
    Lost(TokenOnly),
    /// Have another token take the place of this one, which dies when the other has passed its first test
    Replace(ReplaceArgs),
    /// Revoke a token, for good
    Revoke(RevokeArgs),
    /// Revoke all that somebody has who leaves, and name who still trusts something of theirs
    Leaver(LeaverArgs),
    /// Settle an obligation on the device that is plugged in now
    Discharge(DischargeArgs),
    /// List what is still owed to devices of revoked tokens
    Obligations,
    /// Open a case, say who somebody is, ask what is missing, agree, close it
    Case {
        /// What to do.
        #[command(subcommand)]
        what: CaseVerb,
    },
    /// Issue, end, list and look back at emergency codes for somebody whose token is out of reach
    Bypass {
        /// What to do.
        #[command(subcommand)]
        what: BypassVerb,
    },
    /// Explain or reload the policy
    Policy {
        /// What to do.
        #[command(subcommand)]
        what: PolicyVerb,
    },
    /// Tell when devices come and go, until interrupted
    Watch,
    /// Read or verify the journal
    Audit {
        /// Which.
        #[command(subcommand)]
        what: AuditVerb,
    },
    /// Show what was out of the ordinary, and whose authority is frozen
    Alarms,
    /// Give a frozen operator their authority back; another person must
    Thaw(ThawArgs),
    /// Tell what to do about a refusal, and what to tell the person
    Advice {
        /// Its name (“SoftBlocked”, “org.claviger.Error.SoftBlocked”) or a key's status (“0x34”, “CTAP2_ERR_PIN_AUTH_BLOCKED”);
        /// all when left out
        #[arg(value_name = "NAME|STATUS")]
        what: Option<String>,
    },
    /// Say which FIDO2 keys are registered here, and why others are not
    Trust {
        /// What to do.
        #[command(subcommand)]
        what: TrustVerb,
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

/// A value that must be one of these names; completions offer them.
fn names(names: impl IntoIterator<Item = &'static str>) -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(names)
}
