//! OATH credentials on a card: what the YKOATH applet can be asked to do, over any [`CardLink`].
//!
//! A test of a card takes exactly two APDUs, SELECT and CALCULATE; with a password two more.

use std::time::Instant;

use zeroize::Zeroizing;

use crate::codec::iso7816::{ApduError, Command, Encoding, Exchange, FetchRest, Progress, Response, StatusWord};
use crate::codec::oath::{Code, OathParameters};
use crate::codec::ykoath::{
    self, AccessKey, Applet, CHALLENGE_LEN, Calculated, CredentialName, CredentialType, Listed, Properties, Refusal,
    YkoathError,
};
use crate::device::DeviceError;
use crate::link::CardLink;
use crate::types::{Cancel, Secret};

/// What DeviceError::Unsupported names when SELECT finds no applet.
const APPLET: &str = "OATH credentials";

impl From<ApduError> for DeviceError {
    fn from(error: ApduError) -> Self {
        Self::Protocol(error.as_str())
    }
}

impl From<YkoathError> for DeviceError {
    fn from(error: YkoathError) -> Self {
        Self::Protocol(error.as_str())
    }
}

/// Drives commands through a card link: chaining, the parts of long answers, and between any two APDUs a look at the clock
/// and the cancel flag. One `transmit` cannot be interrupted; its own limit is the link's affair.
pub struct CardPump<'a> {
    link: &'a mut dyn CardLink,
    fetch: FetchRest,
    deadline: Instant,
    cancel: &'a Cancel,
    insists: bool,
}

impl<'a> CardPump<'a> {
    /// A pump that stops at `deadline` or when `cancel` is raised. `fetch` is what the applet wants after `61xx`.
    pub fn new(link: &'a mut dyn CardLink, fetch: FetchRest, deadline: Instant, cancel: &'a Cancel) -> Self {
        Self {
            link,
            fetch,
            deadline,
            cancel,
            insists: false,
        }
    }

    /// From now on the cancel flag is not looked at, only the clock: what was done is being taken back.
    pub fn insist(&mut self) {
        self.insists = true;
    }

    /// Moves the deadline: a step that waits for a touch has a longer one.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Sends one command, long ones as a chain of short APDUs, and collects the whole answer.
    ///
    /// # Errors
    /// [`DeviceError::Cancelled`] and [`DeviceError::Deadline`] before an APDU is sent, never in the middle of one;
    /// [`DeviceError::Protocol`] for answers that cannot be or would never end; the link's own.
    pub fn run(&mut self, command: &Command) -> Result<Response, DeviceError> {
        let (mut exchange, mut frame) = Exchange::start(command, Encoding::Short, self.fetch)?;
        loop {
            if self.cancel.is_cancelled() && !self.insists {
                return Err(DeviceError::Cancelled);
            }
            if Instant::now() >= self.deadline {
                return Err(DeviceError::Deadline);
            }
            let answer = Zeroizing::new(self.link.transmit(&frame)?);
            match exchange.received(&answer)? {
                Progress::Send(next) => frame = next,
                Progress::Done(response) => return Ok(response),
            }
        }
    }
}

/// A selected YKOATH applet. Valid until the card is removed or another applet is selected.
pub struct OathSession<'a> {
    pump: CardPump<'a>,
    applet: Applet,
    /// Whether the password, if there is one, has been given.
    unlocked: bool,
}

impl<'a> OathSession<'a> {
    /// Selects the applet. One APDU.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when the card has no such applet; [`DeviceError::Protocol`]; those of [`CardPump::run`].
    pub fn open(link: &'a mut dyn CardLink, deadline: Instant, cancel: &'a Cancel) -> Result<Self, DeviceError> {
        let mut pump = CardPump::new(link, FetchRest::SEND_REMAINING, deadline, cancel);
        let response = pump.run(&ykoath::select())?;
        match Refusal::from_status(response.status) {
            None => {}
            Some(Refusal::NotFound | Refusal::NotSupported) => return Err(DeviceError::Unsupported(APPLET)),
            Some(_) => return Err(DeviceError::Status(response.status.0)),
        }
        let applet = Applet::parse(&response.data)?;
        let unlocked = !applet.is_locked();
        Ok(Self { pump, applet, unlocked })
    }

    /// Version, salt and device id.
    #[must_use]
    pub const fn applet(&self) -> &Applet {
        &self.applet
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
    /// applet does not count wrong passwords: whoever calls this throttles.
    ///
    /// # Errors
    /// [`DeviceError::PasswordInvalid`]; [`DeviceError::Protocol`] when the card's proof is wrong.
    pub fn unlock(&mut self, password: &Secret) -> Result<(), DeviceError> {
        let Some(challenge) = &self.applet.challenge else {
            return Ok(());
        };
        let key = AccessKey::derive(password, &self.applet);
        let mut ours = [0; CHALLENGE_LEN];
        getrandom::fill(&mut ours).map_err(|_| DeviceError::no_randomness())?;
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
        let command = ykoath::put(name, kind, parameters, seed, properties)?;
        self.ask(&command, Context::Manage).map(drop)
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

    /// Deletes a credential. One APDU.
    ///
    /// # Errors
    /// [`DeviceError::NoCredential`] when it is not there, which a caller that wants it gone may take for success;
    /// [`DeviceError::CardLocked`].
    pub fn delete(&mut self, name: &CredentialName) -> Result<(), DeviceError> {
        self.ask(&ykoath::delete(name), Context::Manage).map(drop)
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

/// What was asked: the same status word means different things.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    /// PUT, DELETE.
    Manage,
    /// CALCULATE: the only command of ours that waits for a touch.
    Calculate,
    /// LIST.
    List,
}

impl Context {
    fn error(self, refusal: Refusal, status: StatusWord) -> DeviceError {
        match refusal {
            // The applet is unlocked, so what is missing at CALCULATE is the finger. Elsewhere another program has set a
            // password behind our back.
            Refusal::AuthenticationRequired if self == Self::Calculate => DeviceError::TouchTimeout,
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
