//! The pump between a card link and the APDU form of CTAP: the FIDO application stays selected as long as the link is open.

use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::DeviceError;
use super::fido::{Carrier, CtapTransport, Messages};
use crate::codec::ctap2::get_info;
use crate::codec::ctaphid::KeepAlive;
use crate::codec::iso7816::{Atr, Command, Encoding, Exchange, Progress, Response};
use crate::codec::nfcctap::{self, FETCH_REST, Refusal, Reply, Version};
use crate::link::CardLink;
use crate::types::{Cancel, time_left};

/// How long a card that is at work is left alone before it is asked again. Also how late a cancel is seen.
const POLL: Duration = Duration::from_millis(50);

/// How long a card gets to end what was cancelled. Taken out of the exchange's own time.
const DRAIN: Duration = Duration::from_millis(250);

/// An open conversation with the FIDO application of a card.
pub struct CardChannel {
    link: Box<dyn CardLink>,
    carrier: Carrier,
    version: Version,
    encoding: Encoding,
    /// The last frame of a message has been sent and its answer has not come.
    pending: bool,
    /// The card may still be at work, or hold half a chain: it is told to end before the next message.
    unfinished: bool,
}

impl CardChannel {
    /// Selects the FIDO application. Extended lengths are tried where the card's answer to reset offers them, by the SELECT
    /// itself: a reader or a card that does not pass them has lost nothing, and gets short ones.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when there is no such application; the link's own.
    pub fn open(
        mut link: Box<dyn CardLink>,
        carrier: Carrier,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<Self, DeviceError> {
        let offers = Atr::parse(link.atr()).is_ok_and(|atr| atr.takes_extended_lengths());
        let mut encoding = Encoding::Short;
        let select = nfcctap::select()?;
        let ends = Ends { deadline, cancel };
        let mut selected = None;
        if offers {
            match send(link.as_mut(), &select, Encoding::AlwaysExtended, &ends, &mut false) {
                Ok(response) if nfcctap::parse_selected(&response).is_some() => {
                    encoding = Encoding::AlwaysExtended;
                    selected = Some(response);
                }
                // Also a reader that does not know what to make of it.
                Ok(_) | Err(DeviceError::Host(_) | DeviceError::Protocol(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let selected = match selected {
            Some(selected) => selected,
            None => send(link.as_mut(), &select, Encoding::Short, &ends, &mut false)?,
        };
        let version = nfcctap::parse_selected(&selected).ok_or(DeviceError::Unsupported("FIDO2"))?;
        Ok(Self {
            link,
            carrier,
            version,
            encoding,
            pending: false,
            unfinished: false,
        })
    }

    /// Asks for the answer, or ends what runs.
    fn ask(&mut self, command: &Command, ends: &Ends<'_>) -> Result<Reply, DeviceError> {
        send(self.link.as_mut(), command, Encoding::Short, ends, &mut false).map(nfcctap::parse_reply)
    }

    fn answered(&mut self) {
        self.pending = false;
        self.unfinished = false;
    }

    /// Ends a message: tells the card so and listens for a moment. A success that was on its way is returned as such.
    fn abandon(&mut self, deadline: Instant, ending: DeviceError) -> Result<Vec<u8>, DeviceError> {
        let until = deadline.min(Instant::now() + DRAIN);
        let insisting = Cancel::new();
        let ends = Ends {
            deadline: until,
            cancel: &insisting,
        };
        let mut command = nfcctap::cancel();
        while !time_left(until).is_zero() {
            match self.ask(&command, &ends)? {
                Reply::Answer(answer) => {
                    self.answered();
                    return if answer.first() == Some(&0) {
                        Ok(answer.to_vec())
                    } else {
                        Err(ending)
                    };
                }
                Reply::KeepAlive(_) => thread::sleep(POLL.min(time_left(until))),
                Reply::Refused(_) => break,
            }
            command = nfcctap::get_response();
        }
        Err(ending)
    }
}

impl CardChannel {
    /// Whether the application knows CTAP2: one that answered its selection as U2F may have both.
    ///
    /// # Errors
    /// The link's own.
    pub fn speaks_ctap2(&mut self, deadline: Instant, cancel: &Cancel) -> Result<bool, DeviceError> {
        if self.version == Version::Ctap2 {
            return Ok(true);
        }
        match self.exchange(&get_info::request(), deadline, cancel, &mut |_| {}) {
            Ok(_) => Ok(true),
            Err(DeviceError::Unsupported(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Messages for CardChannel {
    fn send(&mut self, command: &Command, deadline: Instant, cancel: &Cancel) -> Result<Response, DeviceError> {
        let ends = Ends { deadline, cancel };
        ends.proceed()?;
        send(self.link.as_mut(), command, self.encoding, &ends, &mut self.pending)
    }

    fn carried_by(&self) -> Carrier {
        self.carrier
    }
}

impl CtapTransport for CardChannel {
    fn is_settled(&self) -> bool {
        !self.pending
    }

    fn carrier(&self) -> Carrier {
        self.carrier
    }

    fn exchange(
        &mut self,
        request: &[u8],
        deadline: Instant,
        cancel: &Cancel,
        on_keepalive: &mut dyn FnMut(KeepAlive),
    ) -> Result<Vec<u8>, DeviceError> {
        let ends = Ends { deadline, cancel };
        ends.proceed()?;
        if std::mem::take(&mut self.unfinished) {
            // Not a SELECT: that would draw a new key-agreement key in the middle of a flow. What it answers is of yesterday.
            self.ask(&nfcctap::cancel(), &ends)?;
        }
        self.pending = false;
        self.unfinished = true;
        let message = nfcctap::message(request);
        let response = send(self.link.as_mut(), &message, self.encoding, &ends, &mut self.pending)?;
        // The end must fit before the deadline, also with a short one.
        let give_up = deadline - DRAIN.min(time_left(deadline) / 4);
        let mut reply = nfcctap::parse_reply(response);
        loop {
            let state = match reply {
                Reply::Answer(answer) => {
                    self.answered();
                    return Ok(answer.to_vec());
                }
                Reply::Refused(refusal) => {
                    self.answered();
                    return Err(refused(refusal));
                }
                Reply::KeepAlive(state) => state,
            };
            on_keepalive(state);
            thread::sleep(POLL.min(time_left(give_up)));
            if cancel.is_cancelled() {
                return self.abandon(deadline, DeviceError::Cancelled);
            }
            if time_left(give_up).is_zero() {
                let ending = if state == KeepAlive::TouchNeeded {
                    DeviceError::TouchTimeout
                } else {
                    DeviceError::Deadline
                };
                return self.abandon(deadline, ending);
            }
            reply = self.ask(&nfcctap::get_response(), &ends)?;
        }
    }
}

/// When an exchange ends, and by whom.
struct Ends<'c> {
    deadline: Instant,
    cancel: &'c Cancel,
}

impl Ends<'_> {
    fn proceed(&self) -> Result<(), DeviceError> {
        if self.cancel.is_cancelled() {
            Err(DeviceError::Cancelled)
        } else if time_left(self.deadline).is_zero() {
            Err(DeviceError::Deadline)
        } else {
            Ok(())
        }
    }
}

/// Sends one command and collects its answer. `sent` is raised with its last frame: from then on the card may act on it, and only
/// the clock is looked at, so that no answer is cut in two.
fn send(
    link: &mut dyn CardLink,
    command: &Command,
    encoding: Encoding,
    ends: &Ends<'_>,
    sent: &mut bool,
) -> Result<Response, DeviceError> {
    let mut frames = command.frames(encoding)?.len();
    let (mut exchange, mut frame) = Exchange::start(command, encoding, FETCH_REST)?;
    loop {
        if frames > 0 {
            ends.proceed()?;
        } else if time_left(ends.deadline).is_zero() {
            return Err(DeviceError::Deadline);
        }
        frames = frames.saturating_sub(1);
        *sent |= frames == 0;
        let answer = Zeroizing::new(link.transmit(&frame)?);
        match exchange.received(&answer)? {
            Progress::Send(next) => frame = next,
            Progress::Done(response) => return Ok(response),
        }
    }
}

fn refused(refusal: Refusal) -> DeviceError {
    match refusal {
        Refusal::Unknown => DeviceError::Unsupported("FIDO2"),
        Refusal::NotAllowed => DeviceError::NotAllowed,
        Refusal::Length => DeviceError::Status(0x6700),
        Refusal::Other(status) => DeviceError::Status(status.0),
    }
}

#[cfg(test)]
mod tests;
