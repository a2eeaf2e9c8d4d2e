//! Commands through a card link: chaining, answers in parts, deadline and cancel flag.

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::codec::iso7816::{ApduError, Command, Encoding, Exchange, FetchRest, Progress, Response};
use crate::device::DeviceError;
use crate::link::CardLink;
use crate::types::Cancel;

/// Bytes of data after which [`CardPump::rest_after_long_answers`] matters.
const LONG_ANSWER: usize = 54;
/// For how long it matters.
const RECOVERY: Duration = Duration::from_secs(2);
/// An APDU of no meaning.
const NOTHING: [u8; 5] = [0; 5];

impl From<ApduError> for DeviceError {
    fn from(error: ApduError) -> Self {
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
    rests: bool,
    long_answer: Option<Instant>,
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
            rests: false,
            long_answer: None,
        }
    }

    /// From now on the cancel flag is not looked at, only the clock: what was done is being taken back.
    pub fn insist(&mut self) {
        self.insists = true;
    }

    /// From now on an APDU that nobody needs goes ahead of one that follows a long answer too soon: some cards lose it.
    pub fn rest_after_long_answers(&mut self) {
        self.rests = true;
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
            if self.rests && self.long_answer.take().is_some_and(|at| at.elapsed() < RECOVERY) {
                // What it answers does not matter: it is there to be lost.
                self.link.transmit(&NOTHING)?;
            }
            let answer = Zeroizing::new(self.link.transmit(&frame)?);
            self.long_answer = (answer.len() > LONG_ANSWER + 2).then(Instant::now);
            match exchange.received(&answer)? {
                Progress::Send(next) => frame = next,
                Progress::Done(response) => return Ok(response),
            }
        }
    }
}
