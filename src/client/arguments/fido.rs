//! `fido`: the FIDO2 application of a device.

use clap::{Args, Subcommand};

use super::secrets::PinArgs;

/// `fido`.
#[derive(Debug, Subcommand)]
pub enum FidoVerb {
    /// Look after the PIN
    Pin {
        /// What to do.
        #[command(subcommand)]
        what: PinVerb,
    },
    /// Raise the least length of a PIN; it cannot fall until a reset
    MinPin {
        /// The device
        device: String,
        /// Characters
        #[arg(value_parser = clap::value_parser!(u32).range(4..=63))]
        length: u32,
        /// A relying party that is told the length; may be given again
        #[arg(long, value_name = "DOMAIN")]
        rp_id: Vec<String>,
        /// Have the PIN changed before it is used, in any case
        #[arg(long)]
        force_change: bool,
        /// What opens the key.
        #[command(flatten)]
        with: UnlockArgs,
    },
    /// Have the key want the PIN or a finger for every use, or no longer
    AlwaysUv {
        /// The device
        device: String,
        /// On or off
        #[arg(value_parser = ["on", "off"])]
        state: String,
        /// What opens the key.
        #[command(flatten)]
        with: UnlockArgs,
    },
    /// Let the key tell who it is to relying parties that may ask; only a reset takes it back
    EnterpriseAttestation(OpenedDevice),
    /// Have a reset want a touch of five seconds; only a reset takes it back
    LongTouch(OpenedDevice),
    /// List the passkeys on the key by relying party
    List(OpenedDevice),
    /// Rename the account of a passkey
    Rename {
        /// The device
        device: String,
        /// The passkey, or the beginning of its id
        credential: String,
        /// Its new account name
        name: String,
        /// Its new name for people
        #[arg(long, value_name = "NAME")]
        display_name: Option<String>,
        /// What opens the key.
        #[command(flatten)]
        with: UnlockArgs,
    },
    /// Delete a passkey that is no token's body
    Delete {
        /// The device
        device: String,
        /// The passkey, as “fido list” shows it
        credential: String,
        /// Ask nothing
        #[arg(long, short)]
        yes: bool,
        /// What opens the key.
        #[command(flatten)]
        with: UnlockArgs,
    },
    /// Have all keys blink, and tell which one is touched
    Find,
    /// Have a key blink
    Wink {
        /// The device
        device: String,
    },
    /// Look after the fingers that the key knows
    Finger {
        /// What to do.
        #[command(subcommand)]
        what: FingerVerb,
    },
    /// Look after what programs stored on the key beside passkeys
    Blobs {
        /// What to do.
        #[command(subcommand)]
        what: BlobsVerb,
    },
    /// Wipe the FIDO2 application: every passkey, the PIN, the fingers
    Reset {
        /// The device
        device: String,
        /// Where the device is, as “claviger devices” has it: needed when another one cannot be told from it
        #[arg(long)]
        place: Option<String>,
        /// Ask nothing; this stands for typing the word
        #[arg(long, short)]
        yes: bool,
    },
}

/// `fido pin`.
#[derive(Debug, Subcommand)]
pub enum PinVerb {
    /// Tell how the PIN stands: tries left, its rules, and what to do
    Status {
        /// The device
        device: String,
    },
    /// Set the first PIN
    Set {
        /// The device
        device: String,
        /// Read the new PIN from this open descriptor
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=65_535))]
        new_fd: Option<u32>,
    },
    /// Change the PIN
    Change {
        /// The device
        device: String,
        /// Read the new PIN from this open descriptor
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=65_535))]
        new_fd: Option<u32>,
        /// What opens the key.
        #[command(flatten)]
        with: UnlockArgs,
    },
    /// Draw a PIN, show it once and set it; where the key can, it then wants it changed
    Draw {
        /// The device
        device: String,
        /// Characters; what the key wants, and six at least, when not given
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=63))]
        length: Option<u32>,
        /// Letters and digits instead of digits alone
        #[arg(long)]
        letters: bool,
        /// Do not have it changed before it is used
        #[arg(long)]
        keep: bool,
        /// Write it to a new file that only you can read, instead of the terminal
        #[arg(long, value_name = "FILE")]
        file: Option<std::path::PathBuf>,
        /// The key has a PIN: ask for it
        #[arg(long)]
        change: bool,
        /// What opens the key.
        #[command(flatten)]
        with: UnlockArgs,
    },
    /// Have the key want its PIN changed before it is used
    Force(OpenedDevice),
}

/// `fido finger`.
#[derive(Debug, Subcommand)]
pub enum FingerVerb {
    /// List the fingers that the key knows
    List(OpenedDevice),
    /// Have the key learn a finger
    Enrol {
        /// The device
        device: String,
        /// Its name
        #[arg(long)]
        name: Option<String>,
        /// What opens the key.
        #[command(flatten)]
        with: UnlockArgs,
    },
    /// Name a finger
    Rename {
        /// The device
        device: String,
        /// The finger, as “fido finger list” shows it
        #[arg(value_name = "FINGER")]
        template: String,
        /// Its name
        name: String,
        /// What opens the key.
        #[command(flatten)]
        with: UnlockArgs,
    },
    /// Have the key forget a finger
    Remove {
        /// The device
        device: String,
        /// The finger, as “fido finger list” shows it
        #[arg(value_name = "FINGER")]
        template: String,
        /// What opens the key.
        #[command(flatten)]
        with: UnlockArgs,
    },
}

/// `fido blobs`.
#[derive(Debug, Subcommand)]
pub enum BlobsVerb {
    /// Tell how much is stored
    Show {
        /// The device
        device: String,
    },
    /// Delete all of it
    Clear {
        /// The device
        device: String,
        /// Ask nothing
        #[arg(long, short)]
        yes: bool,
        /// What opens the key.
        #[command(flatten)]
        with: UnlockArgs,
    },
}

/// A device and what opens it.
#[derive(Debug, Args)]
pub struct OpenedDevice {
    /// The device
    pub device: String,
    /// What opens the key.
    #[command(flatten)]
    pub with: UnlockArgs,
}

/// What opens a key.
#[derive(Debug, Clone, Copy, Args)]
pub struct UnlockArgs {
    /// Where the PIN comes from.
    #[command(flatten)]
    pub pin_from: PinArgs,
    /// Ask for a finger; the PIN, if it is given, is for when that fails
    #[arg(long)]
    pub finger: bool,
    /// Use one of the last two tries of the PIN
    #[arg(long)]
    pub last_tries: bool,
}
