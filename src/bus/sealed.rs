//! The secrets of a call: descriptors before admission, PIN, password and seed after it, and a way for what goes out.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::error::BusError;
use super::secret_fd::{Ending, SecretReader};
use super::secret_out;
use crate::codec::seed::{Encoding, SeedError};
use crate::contract::error::ErrorName;
use crate::contract::options as key;
use crate::lifecycle::{Delivery, Presence};
use crate::types::{DeviceId, Secret};

/// Descriptors of secrets, to be read once the caller is admitted.
#[derive(Default)]
pub(super) struct Sealed {
    pub(super) pin: Option<OwnedFd>,
    pub(super) new_pin: Option<OwnedFd>,
    pub(super) password: Option<OwnedFd>,
    pub(super) new_password: Option<OwnedFd>,
    pub(super) seed: Option<(OwnedFd, Encoding)>,
    pub(super) passphrase: Option<OwnedFd>,
    /// A key of raw bytes.
    pub(super) key: Option<OwnedFd>,
    /// A file of seeds.
    pub(super) file: Option<OwnedFd>,
    /// JSON of an identity provider.
    pub(super) json: Option<OwnedFd>,
    /// Where a secret of ours goes.
    pub(super) out: Option<OwnedFd>,
}

/// The same, read, and the way out open.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) pin: Option<Secret>,
    pub(super) new_pin: Option<Secret>,
    pub(super) password: Option<Secret>,
    pub(super) new_password: Option<Secret>,
    pub(super) seed: Option<Secret>,
    pub(super) passphrase: Option<Secret>,
    pub(super) key: Option<Secret>,
    pub(super) file: Option<Secret>,
    pub(super) json: Option<Secret>,
    pub(super) out: Option<Delivery>,
}

impl Sealed {
    /// Reads them all under one deadline, which begins now, and decodes them; a file under its own. `files` are the places for
    /// those that are no pipes.
    pub(super) async fn open(self, files: &Arc<Semaphore>) -> Result<Opened, BusError> {
        let reader = SecretReader::start(files);
        let mut opened = Opened::default();
        if let Some(fd) = self.pin {
            opened.pin = Some(text(reader.read(key::PIN, fd, Ending::Text).await?)?);
        }
        if let Some(fd) = self.new_pin {
            opened.new_pin = Some(text(reader.read("new-pin", fd, Ending::Text).await?)?);
        }
        if let Some(fd) = self.password {
            opened.password = Some(reader.read(key::PASSWORD, fd, Ending::Text).await?);
        }
        if let Some(fd) = self.new_password {
            opened.new_password = Some(reader.read("new-password", fd, Ending::Text).await?);
        }
        if let Some((fd, encoding)) = self.seed {
            // The last byte of a raw seed may well be a line feed.
            let ending = match encoding {
                Encoding::Raw => Ending::Raw,
                Encoding::Base32 | Encoding::Hex => Ending::Text,
            };
            let written = reader.read("seed", fd, ending).await?;
            let seed = encoding.decode(&written);
            opened.seed = Some(seed.map_err(|error| BusError::invalid(error.to_string()))?);
        }
        if let Some(fd) = self.passphrase {
            opened.passphrase = Some(reader.read(key::PASSPHRASE, fd, Ending::Text).await?);
        }
        if let Some(fd) = self.key {
            opened.key = Some(reader.read(key::KEY, fd, Ending::Raw).await?);
        }
        if let Some(fd) = self.file {
            opened.file = Some(reader.seed_file().read("file", fd, Ending::Raw).await?);
        }
        if let Some(fd) = self.json {
            opened.json = Some(reader.json().read("JSON", fd, Ending::Raw).await?);
        }
        opened.out = self.out.map(|fd| secret_out::into(fd, files));
        Ok(opened)
    }
}

impl Opened {
    /// What opens a device.
    pub(super) fn presence(self, device: Option<DeviceId>, last_tries: bool) -> Presence {
        Presence {
            device,
            pin: self.pin,
            password: self.password,
            last_tries,
        }
    }
}

/// CTAP 2.1 section 6.5.1: a PIN is UTF-8. What the text is must not reach an error.
fn text(pin: Secret) -> Result<Secret, BusError> {
    if std::str::from_utf8(pin.expose()).is_err() {
        return Err(BusError::invalid("the PIN must be UTF-8 text"));
    }
    Ok(pin)
}

/// How a seed is written, base32 unless said otherwise.
pub(super) fn encoding(name: Option<String>) -> Result<Encoding, BusError> {
    name.map_or(Ok(Encoding::default()), |name| name.parse())
        .map_err(|error: SeedError| BusError::invalid(format!("option “{}” {error}", key::ENCODING)))
}

/// What came of a descriptor that was an argument, so that it is there.
pub(super) fn required<T>(opened: Option<T>) -> Result<T, BusError> {
    opened.ok_or_else(|| BusError::new(ErrorName::Internal, "a secret that was read got lost"))
}
