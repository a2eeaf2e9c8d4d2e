//! Where secrets come from when they are not asked for, and the device that wants them. A secret is never an argument itself.

use clap::Args;

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

/// Device and secrets of a verb that may have to talk to a token's device.
#[derive(Debug, Args)]
pub struct PresenceArgs {
    /// The device, when more than one could be meant
    #[arg(long, short)]
    pub device: Option<String>,
    /// Wait so long for another program that has the device; 0 gives up at once
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=600))]
    pub wait: Option<u32>,
    /// Ask for the PIN at once rather than when the key wants one
    #[arg(long)]
    pub pin: bool,
    /// Where the PIN comes from.
    #[command(flatten)]
    pub pin_from: PinArgs,
    /// Use one of the last two tries of the PIN
    #[arg(long)]
    pub last_tries: bool,
    /// Where the password comes from.
    #[command(flatten)]
    pub password: PasswordArgs,
}
