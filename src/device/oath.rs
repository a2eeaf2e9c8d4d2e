//! OATH credentials on a card: what the YKOATH applet can be asked to do, over any [`CardLink`].
//!
//! A test of a card takes exactly two APDUs, SELECT and CALCULATE; with a password two more.

use std::time::Instant;

use crate::codec::iso7816::{Command, FetchRest, Response, StatusWord};
use crate::codec::oath::{Code, OathParameters};
use crate::codec::ykoath::{
    self, AccessKey, Applet, CHALLENGE_LEN, Calculated, CredentialName, CredentialType, Listed, Properties, Refusal,
    YkoathError,
};
use crate::device::DeviceError;
use crate::device::card_pump::CardPump;
use crate::link::CardLink;
use crate::types::{Cancel, OathAlgorithm, Secret};

pub mod maker;

use maker::{Gate, Habits, Hints};

/// What DeviceError::Unsupported names when SELECT finds no applet.
const APPLET: &str = "OATH credentials";

impl From<YkoathError> for DeviceError {
    fn from(error: YkoathError) -> Self {
        Self::Protocol(error.as_str())
    }
}

/// A selected YKOATH applet. Valid until the card is removed or another applet is selected.
pub struct OathSession<'a> {
    pump: CardPump<'a>,
    applet: Applet,
    habits: Habits,
    /// Whether the password, if there is one, has been given.
    unlocked: bool,
}

impl<'a> OathSession<'a> {
    /// Selects the applet. One APDU.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when the card has no such applet; [`DeviceError::Protocol`]; those of [`CardPump::run`].
    pub fn open(
        link: &'a mut dyn CardLink,
        hints: &Hints,
        deadline: Instant,
        cancel: &'a Cancel,
    ) -> Result<Self, DeviceError> {
        let mut pump = CardPump::new(link, FetchRest::SEND_REMAINING, deadline, cancel);
        let applet = select(&mut pump)?;
        let habits = Habits::of(&applet, hints);
        if habits.loses_commands {
            pump.rest_after_long_answers();
        }
        let unlocked = !applet.is_locked();
        Ok(Self {
            pump,
            applet,
            habits,
            unlocked,
        })
    }

    /// Version, salt and device id.
    #[must_use]
    pub const fn applet(&self) -> &Applet {
        &self.applet
    }

    /// Whose applet it is and what that one does differently.
    #[must_use]
    pub const fn habits(&self) -> &Habits {
        &self.habits
    }

    /// Whether a password is still to be given.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        !self.unlocked
    }

    /// See [`CardPump::insist`].
    pub fn insist(&mut self) {
        self.pump.insist();
    }

    /// Moves the deadline for what follows.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.pump.set_deadline(deadline);
    }

    /// Gives the password, and has the card prove that it knows it too. One APDU; none when the card has no password. The
    /// applet does not count wrong passwords: whoever calls this throttles. Of a Nitrokey 3 it is the PIN, which has eight tries
    /// and guards single credentials.
    ///
    /// # Errors
    /// [`DeviceError::PasswordInvalid`], [`DeviceError::PinInvalid`], [`DeviceError::PinBlocked`]; [`DeviceError::Protocol`]
    /// when the card's proof is wrong.
    pub fn unlock(&mut self, password: &Secret) -> Result<(), DeviceError> {
        if self.habits.gate == Gate::Pin {
            return self.verify_pin(password);
        }
        let Some(challenge) = &self.applet.challenge else {
            return Ok(());
        };
        let key = AccessKey::derive(password, &self.applet);
        let ours = random_challenge()?;
        let response = self.pump.run(&ykoath::validate(&key, challenge, &ours))?;
        match Refusal::from_status(response.status) {
            None => {}
            Some(Refusal::WrongData | Refusal::AuthenticationRequired) => return Err(DeviceError::PasswordInvalid),
            Some(_) => return Err(DeviceError::Status(response.status.0)),
        }
        if !ykoath::card_is_genuine(&key, &ours, &response.data) {
            return Err(DeviceError::Protocol("the card does not know its own password"));
        }
        self.unlocked = true;
        Ok(())
    }

    fn verify_pin(&mut self, pin: &Secret) -> Result<(), DeviceError> {
        let Some(tries) = self.applet.pin_tries else {
            return Ok(());
        };
        let left = tries.checked_sub(1).ok_or(DeviceError::PinBlocked)?;
        let response = self.pump.run(&ykoath::verify_pin(pin))?;
        pin_verdict(response.status, left)
    }

    /// Sets or changes the password, selects the applet anew and gives the new password, as a NEO wants it and as proof that the
    /// card took it. Three APDUs. Of a Nitrokey 3: its PIN, for which `old` is needed when it has one. One APDU.
    ///
    /// # Errors
    /// [`DeviceError::CardLocked`] unless unlocked; [`DeviceError::Protocol`] when the card does not ask for the new password.
    pub fn set_password(&mut self, old: Option<&Secret>, new: &Secret) -> Result<(), DeviceError> {
        if self.habits.gate == Gate::Pin {
            return self.change_pin(old, new);
        }
        let key = AccessKey::derive(new, &self.applet);
        let challenge = random_challenge()?;
        self.ask(&ykoath::set_code(&key, &challenge), Context::Manage)?;
        self.select_again()?;
        if !self.is_locked() {
            return Err(DeviceError::Protocol("it took a password and does not ask for it"));
        }
        self.unlock(new)
    }

    fn change_pin(&mut self, old: Option<&Secret>, new: &Secret) -> Result<(), DeviceError> {
        match (self.applet.pin_tries, old) {
            (None, _) => {
                let response = self.pump.run(&ykoath::set_pin(new))?;
                Refusal::from_status(response.status)
                    .map_or(Ok(()), |refusal| Err(Context::Touched.error(refusal, response.status)))
            }
            (Some(0), _) => Err(DeviceError::PinBlocked),
            (Some(_), None) => Err(DeviceError::PinRequired),
            (Some(tries), Some(old)) => {
                let response = self.pump.run(&ykoath::change_pin(old, new))?;
                pin_verdict(response.status, tries - 1)
            }
        }
    }

    /// Removes the password and selects the applet anew to see that it is gone. Two APDUs.
    ///
    /// # Errors
    /// [`DeviceError::CardLocked`] unless unlocked; [`DeviceError::Unsupported`] of a Nitrokey 3, whose PIN goes with a reset alone.
    pub fn remove_password(&mut self) -> Result<(), DeviceError> {
        if self.habits.gate == Gate::Pin {
            return Err(DeviceError::Unsupported("removing its PIN: only a reset does"));
        }
        self.ask(&ykoath::clear_code(), Context::Manage)?;
        self.select_again()?;
        if self.is_locked() {
            return Err(DeviceError::Protocol("it still asks for the password that it removed"));
        }
        Ok(())
    }

    fn select_again(&mut self) -> Result<(), DeviceError> {
        self.applet = select(&mut self.pump)?;
        self.unlocked = !self.applet.is_locked();
        Ok(())
    }

    /// Stores a credential; most cards replace one of the same name. One APDU.
    ///
    /// # Errors
    /// [`DeviceError::StorageFull`], [`DeviceError::CardLocked`], [`DeviceError::Unsupported`] (a property or hash the card
    /// does not know), [`DeviceError::Status`].
    pub fn put(
        &mut self,
        name: &CredentialName,
        parameters: &OathParameters,
        kind: CredentialType,
        seed: &Secret,
        properties: Properties,
    ) -> Result<(), DeviceError> {
        if properties.touch && !self.habits.touch {
            return Err(DeviceError::Unsupported("a touch for each code"));
        }
        if properties.only_increasing && !self.habits.only_increasing {
            return Err(DeviceError::Unsupported("challenges that only increase"));
        }
        if parameters.algorithm() == OathAlgorithm::Sha512 && !self.habits.sha512 {
            return Err(DeviceError::Unsupported("HMAC-SHA-512"));
        }
        let command = ykoath::put(name, kind, parameters, seed, properties)?;
        let context = self.managing();
        self.ask(&command, context).map(drop)
    }

    /// The code of a time step, computed by the card. One APDU; with the touch property it waits for a finger, so move the
    /// deadline first.
    ///
    /// # Errors
    /// [`DeviceError::NoCredential`], [`DeviceError::CardLocked`], [`DeviceError::TouchTimeout`].
    pub fn calculate(&mut self, name: &CredentialName, step: u64) -> Result<Code, DeviceError> {
        let response = self.ask(&ykoath::calculate(name, step, true), Context::Calculate)?;
        match ykoath::parse_calculated(&response.data)? {
            Calculated::Code(code) => Ok(code),
            Calculated::TouchRequired => Err(DeviceError::TouchTimeout),
            Calculated::Full { .. } | Calculated::Hotp => Err(DeviceError::Protocol("another answer than a code")),
        }
    }

    /// The next code of an event credential, whose counter the card advances. One APDU.
    ///
    /// # Errors
    /// As [`OathSession::calculate`].
    pub fn calculate_next(&mut self, name: &CredentialName) -> Result<Code, DeviceError> {
        let response = self.ask(&ykoath::calculate_next(name), Context::Calculate)?;
        match ykoath::parse_calculated(&response.data)? {
            Calculated::Code(code) => Ok(code),
            Calculated::TouchRequired => Err(DeviceError::TouchTimeout),
            Calculated::Full { .. } | Calculated::Hotp => Err(DeviceError::Protocol("another answer than a code")),
        }
    }

    /// The codes of a time step of all credentials; event credentials and those with touch come without. A credential that
    /// takes increasing challenges only will not take an earlier one any more.
    ///
    /// # Errors
    /// [`DeviceError::CardLocked`], [`DeviceError::Protocol`].
    pub fn calculate_all(&mut self, step: u64) -> Result<Vec<(CredentialName, Calculated)>, DeviceError> {
        let response = self.ask(&ykoath::calculate_all(step), Context::List)?;
        Ok(ykoath::parse_calculated_all(&response.data)?)
    }

    /// Renames a credential. One APDU. Look first whether the new name is free: cards do not agree on what they do else.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] where the card is known not to have the command, without asking it;
    /// [`DeviceError::NoCredential`], [`DeviceError::CardLocked`].
    pub fn rename(&mut self, from: &CredentialName, to: &CredentialName) -> Result<(), DeviceError> {
        if !self.habits.renames {
            return Err(DeviceError::Unsupported("renaming a credential"));
        }
        let context = self.managing();
        self.ask(&ykoath::rename(from, to), context).map(drop)
    }

    /// Wipes all credentials and the password; needs neither password nor credential. Selects the applet anew: its device id is
    /// another one then. Two APDUs.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] where the card is known not to have the command, without asking it;
    /// [`DeviceError::Protocol`] when it says that it did and has its old device id.
    pub fn reset(&mut self) -> Result<(), DeviceError> {
        if !self.habits.resets {
            return Err(DeviceError::Unsupported("resetting its OATH applet"));
        }
        let before = self.applet.device_id();
        let context = self.managing();
        let response = self.pump.run(&ykoath::reset())?;
        if let Some(refusal) = Refusal::from_status(response.status) {
            return Err(context.error(refusal, response.status));
        }
        self.select_again()?;
        if self.applet.device_id() == before {
            return Err(DeviceError::Protocol("it says that it was reset and is as before"));
        }
        Ok(())
    }

    /// What a missing authorisation means at PUT, DELETE and their like.
    const fn managing(&self) -> Context {
        if self.habits.touch_to_manage {
            Context::Touched
        } else {
            Context::Manage
        }
    }

    /// Deletes a credential. One APDU.
    ///
    /// # Errors
    /// [`DeviceError::NoCredential`] when it is not there, which a caller that wants it gone may take for success;
    /// [`DeviceError::CardLocked`].
    pub fn delete(&mut self, name: &CredentialName) -> Result<(), DeviceError> {
        let context = self.managing();
        self.ask(&ykoath::delete(name), context).map(drop)
    }

    /// What is on the card.
    ///
    /// # Errors
    /// [`DeviceError::CardLocked`], [`DeviceError::Protocol`].
    pub fn list(&mut self) -> Result<Vec<Listed>, DeviceError> {
        let response = self.ask(&ykoath::list(), Context::List)?;
        Ok(ykoath::parse_list(&response.data)?)
    }

    fn ask(&mut self, command: &Command, context: Context) -> Result<Response, DeviceError> {
        if !self.unlocked {
            // Saves an APDU that can only be refused.
            return Err(DeviceError::CardLocked);
        }
        let response = self.pump.run(command)?;
        Refusal::from_status(response.status).map_or(Ok(()), |refusal| Err(context.error(refusal, response.status)))?;
        Ok(response)
    }
}

fn select(pump: &mut CardPump<'_>) -> Result<Applet, DeviceError> {
    let response = pump.run(&ykoath::select())?;
    match Refusal::from_status(response.status) {
        None => Ok(Applet::parse(&response.data)?),
        Some(Refusal::NotFound | Refusal::NotSupported) => Err(DeviceError::Unsupported(APPLET)),
        Some(_) => Err(DeviceError::Status(response.status.0)),
    }
}

/// What a Nitrokey 3 says of a PIN: `6300` wrong, `6983` blocked.
const fn pin_verdict(status: StatusWord, left: u8) -> Result<(), DeviceError> {
    match status {
        StatusWord::SUCCESS => Ok(()),
        StatusWord(0x6983) => Err(DeviceError::PinBlocked),
        StatusWord(0x6300) | StatusWord::SECURITY | StatusWord::WRONG_DATA => {
            Err(DeviceError::PinInvalid { tries_left: Some(left) })
        }
        other => Err(DeviceError::Status(other.0)),
    }
}

fn random_challenge() -> Result<[u8; CHALLENGE_LEN], DeviceError> {
    let mut challenge = [0; CHALLENGE_LEN];
    getrandom::fill(&mut challenge).map_err(|_| DeviceError::no_randomness())?;
    Ok(challenge)
}

/// What was asked: the same status word means different things.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    /// PUT, DELETE.
    Manage,
    /// CALCULATE: the only command of ours that waits for a touch.
    Calculate,
    /// The same, and RESET, of a card that wants a touch for them.
    Touched,
    /// LIST, CALCULATE ALL.
    List,
}

impl Context {
    fn error(self, refusal: Refusal, status: StatusWord) -> DeviceError {
        match refusal {
            // The applet is unlocked, so what is missing at CALCULATE is the finger. Elsewhere another program has set a
            // password behind our back.
            Refusal::AuthenticationRequired if matches!(self, Self::Calculate | Self::Touched) => {
                DeviceError::TouchTimeout
            }
            Refusal::AuthenticationRequired => DeviceError::CardLocked,
            Refusal::NoSuchObject => DeviceError::NoCredential,
            // A Nitrokey 3 says “file not found” of a credential; where no credential was named, the applet is gone.
            Refusal::NotFound if self == Self::List => DeviceError::Unsupported(APPLET),
            Refusal::NotFound => DeviceError::NoCredential,
            Refusal::NoSpace => DeviceError::StorageFull,
            Refusal::NotSupported => DeviceError::Unsupported("this OATH command"),
            Refusal::WrongData | Refusal::Conditions | Refusal::Memory | Refusal::Other(_) => {
                DeviceError::Status(status.0)
            }
        }
    }
}

#[cfg(test)]
#[path = "oath_tests.rs"]
mod tests;
