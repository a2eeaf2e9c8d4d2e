//! Why the client did not do it, in a sentence for the help desk, and the exit code that goes with it.

use std::io;

use crate::client::arguments::exit;
use crate::client::render;
use crate::contract::advice::{self, Entry};
use crate::contract::error::{ACCESS_DENIED, ErrorName};
use crate::contract::proxy::Record;

/// Everything that can end a run early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The arguments do not go together; nothing was sent.
    #[error("{0}")]
    Usage(String),
    /// polkit, the bus policy or the daemon's owner check said no.
    #[error("access denied: {0}")]
    Denied(String),
    /// No daemon answered.
    #[error("clavigerd cannot be reached: {0}. “claviger doctor” tells what is missing")]
    Unreachable(String),
    /// The daemon, the ledger or the device said no.
    #[error("{message}")]
    Refused {
        /// D-Bus error name.
        name: String,
        /// The daemon's sentence.
        message: String,
        /// Data of the refusal: tries-left, holder, holder-pid.
        data: Record,
    },
    /// Cancelled before it had any effect.
    #[error("{0}")]
    Cancelled(String),
    /// Something on this side: a file, a prompt, a terminal.
    #[error("{0}")]
    Local(String),
    /// The output could not be written. A reader that closed the pipe early is no failure.
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
}

impl Failure {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => exit::USAGE,
            Self::Denied(_) => exit::DENIED,
            Self::Unreachable(_) => exit::UNREACHABLE,
            Self::Cancelled(_) => exit::CANCELLED,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::DONE,
            Self::Refused { .. } | Self::Local(_) | Self::Output(_) => exit::REFUSED,
        }
    }

    /// The name a tool can switch on: the daemon's where there is one, else `claviger.` and a word.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Usage(_) => "claviger.Usage",
            Self::Denied(_) => ACCESS_DENIED,
            Self::Unreachable(_) => "claviger.Unreachable",
            Self::Refused { name, .. } => name,
            Self::Cancelled(_) => "org.claviger.Error.Cancelled",
            Self::Local(_) => "claviger.Local",
            Self::Output(_) => "claviger.Output",
        }
    }

    /// Data that came with a refusal.
    #[must_use]
    pub fn data(&self) -> Option<&Record> {
        match self {
            Self::Refused { data, .. } => Some(data),
            _ => None,
        }
    }

    /// What the help desk may do about this very case, as the daemon found it out: one sentence each.
    #[must_use]
    pub fn for_desk(&self) -> Vec<String> {
        let advice = self.data().and_then(|data| data.get("advice-desk"));
        let advice = advice.and_then(|value| value.try_clone().ok());
        advice.and_then(|value| value.try_into().ok()).unwrap_or_default()
    }

    /// What the table says about it: by the row that the daemon named, else by the error.
    #[must_use]
    pub fn advice(&self) -> Option<&'static Entry> {
        match self {
            Self::Denied(_) => advice::find(ACCESS_DENIED),
            Self::Refused { name, data, .. } => {
                let named = data.get("refusal").map(|value| render::variant(value));
                let finer = named
                    .as_ref()
                    .and_then(serde_json::Value::as_str)
                    .and_then(advice::find);
                finer.or_else(|| ErrorName::parse(name).map(advice::of_error))
            }
            _ => None,
        }
    }

    /// A usage error.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// A failure on this side.
    pub fn local(message: impl Into<String>) -> Self {
        Self::Local(message.into())
    }
}

impl From<zbus::Error> for Failure {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::FDO(error) => Self::from(*error),
            zbus::Error::MethodError(name, message, reply) => {
                let name = name.to_string();
                let message = message.unwrap_or_else(|| name.clone());
                // systemd's own words when activation fails: org.freedesktop.systemd1.NoSuchUnit and the like.
                if name.starts_with("org.freedesktop.systemd1.") {
                    Self::Unreachable(message)
                } else {
                    Self::Refused {
                        name,
                        message,
                        data: facts(&reply),
                    }
                }
            }
            zbus::Error::InputOutput(error) if error.kind() == io::ErrorKind::TimedOut => {
                Self::Unreachable("it did not answer in time".to_owned())
            }
            error @ (zbus::Error::InputOutput(_)
            | zbus::Error::Address(_)
            | zbus::Error::Handshake(_)
            | zbus::Error::Connection(..)) => Self::Unreachable(error.to_string()),
            other => Self::Refused {
                name: "claviger.Protocol".to_owned(),
                message: format!("clavigerd and this client do not understand each other: {other}"),
                data: Record::new(),
            },
        }
    }
}

/// The second argument of an error reply; empty where there is none.
fn facts(reply: &zbus::Message) -> Record {
    let read = reply.body().deserialize::<(String, Record)>();
    read.map(|(_, facts)| facts).unwrap_or_default()
}

impl From<zbus::fdo::Error> for Failure {
    fn from(error: zbus::fdo::Error) -> Self {
        use zbus::DBusError as _;
        use zbus::fdo::Error;
        match error {
            Error::ZBus(error) => Self::from(error),
            Error::AccessDenied(message)
            | Error::AuthFailed(message)
            | Error::InteractiveAuthorizationRequired(message) => Self::Denied(message),
            Error::ServiceUnknown(message)
            | Error::NameHasNoOwner(message)
            | Error::NoServer(message)
            | Error::Disconnected(message)
            | Error::NoReply(message)
            | Error::TimedOut(message)
            | Error::Timeout(message)
            | Error::SpawnExecFailed(message)
            | Error::SpawnForkFailed(message)
            | Error::SpawnChildExited(message)
            | Error::SpawnChildSignaled(message)
            | Error::SpawnFailed(message)
            | Error::SpawnFailedToSetup(message)
            | Error::SpawnConfigInvalid(message)
            | Error::SpawnServiceNotValid(message)
            | Error::SpawnServiceNotFound(message)
            | Error::SpawnPermissionsInvalid(message)
            | Error::SpawnFileInvalid(message)
            | Error::SpawnNoMemory(message) => Self::Unreachable(message),
            other => Self::Refused {
                name: other.name().to_string(),
                message: other.description().unwrap_or("the daemon gave no reason").to_owned(),
                data: Record::new(),
            },
        }
    }
}
