//! The device a verb talks to and what opens it: PIN and password.

use zbus::{Fd, ObjectPath, Variant};

use crate::client::arguments::PresenceArgs;
use crate::client::failure::Failure;
use crate::client::{lookup, secret};
use crate::contract::error::ErrorName;
use crate::contract::options;
use crate::contract::proxy::Options;
use crate::types::Secret;

/// What was given or asked for so far.
pub struct Presence {
    device: Option<ObjectPath<'static>>,
    pin: Option<Secret>,
    password: Option<Secret>,
    last_tries: bool,
    wait_s: Option<u32>,
}

impl Presence {
    /// Reads what the arguments announce.
    ///
    /// # Errors
    /// As [`lookup::device_path`], [`secret::pin`].
    pub fn gather(args: &PresenceArgs) -> Result<Self, Failure> {
        if args.pin_from.pin_stdin && args.password.password_stdin {
            return Err(Failure::usage(
                "standard input holds either the PIN or the password: give the other by descriptor",
            ));
        }
        let wants_pin = args.pin || secret::is_piped(args.pin_from);
        Ok(Self {
            device: args.device.as_deref().map(lookup::device_path).transpose()?,
            pin: wants_pin.then(|| secret::pin(args.pin_from, PIN_PROMPT)).transpose()?,
            password: secret::password(args.password)?,
            last_tries: args.last_tries,
            wait_s: args.wait,
        })
    }

    /// Whether there is a PIN.
    #[must_use]
    pub fn has_pin(&self) -> bool {
        self.pin.is_some()
    }

    /// Takes a PIN over.
    pub fn set_pin(&mut self, pin: Secret) {
        self.pin = Some(pin);
    }

    /// Puts it into a call's options. Descriptors are made anew for each call: the daemon reads them to their end.
    ///
    /// # Errors
    /// As [`secret::sealed`].
    pub fn insert_into(&self, options: &mut Options<'_>) -> Result<(), Failure> {
        if let Some(device) = &self.device {
            options.insert(options::DEVICE, Variant::ObjectPath(device.clone()));
        }
        if let Some(wait_s) = self.wait_s {
            options.insert(options::WAIT_S, Variant::U32(wait_s));
        }
        if let Some(pin) = &self.pin {
            options.insert(options::PIN, Variant::Fd(Fd::from(secret::sealed(pin)?)));
        }
        if self.last_tries {
            options.insert(options::LAST_TRIES, Variant::Bool(true));
        }
        if let Some(password) = &self.password {
            options.insert(options::PASSWORD, Variant::Fd(Fd::from(secret::sealed(password)?)));
        }
        Ok(())
    }

    /// Asks for the PIN or the password when that is what the refusal was about and we have none yet. A wrong one is never
    /// asked for again: each try counts.
    ///
    /// # Errors
    /// As [`secret::pin`]; the refusal itself when there is nothing to ask for or nobody to ask.
    pub fn supply(&mut self, refusal: Failure) -> Result<(), Failure> {
        let Failure::Refused { name, .. } = &refusal else {
            return Err(refusal);
        };
        if !secret::has_terminal() {
            return Err(refusal);
        }
        match ErrorName::parse(name) {
            Some(ErrorName::PinRequired) if self.pin.is_none() => {
                self.pin = Some(secret::pin(Default::default(), PIN_PROMPT)?);
            }
            Some(ErrorName::PasswordRequired) if self.password.is_none() => {
                let ask = crate::client::arguments::PasswordArgs {
                    password: true,
                    ..Default::default()
                };
                self.password = secret::password(ask)?;
            }
            _ => return Err(refusal),
        }
        Ok(())
    }
}

/// What the person is asked.
pub const PIN_PROMPT: &str = "PIN of the key: ";
