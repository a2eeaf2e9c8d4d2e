//! `oath`: the applet of a device.

use clap::Subcommand;

use super::secrets::PasswordArgs;

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
        /// Where the device is, as “claviger devices” has it: needed when another one cannot be told from it
        #[arg(long)]
        place: Option<String>,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Wipe the applet with all its credentials and its password
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
