//! The pump between a HID link and the CTAPHID codec: one conversation on one channel.

use std::time::{Duration, Instant};

use super::DeviceError;
use super::fido::{Carrier, CtapTransport, Entropy, Messages};
use crate::codec::ctaphid::{
    self, Assembler, Channel, Command, FramingError, HidError, InitReply, KeepAlive, NONCE_LEN, Progress, Report,
};
use crate::codec::iso7816::{self, Encoding, Exchange, FetchRest};
use crate::link::HidLink;
use crate::types::{Cancel, time_left};

/// How long we wait at most before we look at the cancel flag again.
const SLICE: Duration = Duration::from_millis(50);

/// How long a key gets to answer a CTAPHID_CANCEL. Taken out of the exchange's own time, so that it ends by its deadline.
const DRAIN: Duration = Duration::from_millis(250);

/// Longest pause inside a message. Keys themselves drop a message after half a second (CTAP 2.1 section 11.2.5.1).
const FRAME_GAP: Duration = Duration::from_secs(2);

/// Pause before a command is sent again to a key that is busy with another channel.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

impl From<FramingError> for DeviceError {
    fn from(error: FramingError) -> Self {
        Self::Protocol(match error {
            FramingError::TooLong => "a message longer than 7609 bytes",
            FramingError::Sequence => "a CTAPHID packet out of sequence",
            FramingError::Interleaved => "a CTAPHID message inside another",
            FramingError::WrongCommand => "a CTAPHID answer to another command",
            FramingError::BadInit => "a malformed CTAPHID INIT answer",
        })
    }
}

/// An open CTAPHID conversation.
pub struct HidChannel {
    link: Box<dyn HidLink>,
    init: InitReply,
    patience: Duration,
    entropy: Box<dyn Entropy + Send>,
    /// The last exchange ended in the middle: an answer may still come, so the channel is synchronised before it is used.
    desynchronised: bool,
}

/// How one attempt at an exchange ended, short of an error.
enum Attempt {
    Answer(Vec<u8>),
    ChannelBusy,
}

impl HidChannel {
    /// Asks the device for a channel. Answers to other programs' INIT are passed over by their nonce.
    ///
    /// `patience` is how long a key that is busy with another channel is waited for, in this and each later exchange.
    ///
    /// # Errors
    /// As [`CtapTransport::exchange`]; [`DeviceError::Unsupported`] when the device speaks neither CTAP2 nor CTAP1.
    pub fn open(
        mut link: Box<dyn HidLink>,
        mut entropy: Box<dyn Entropy + Send>,
        patience: Duration,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<Self, DeviceError> {
        let ends = Ends::new(deadline, patience, cancel);
        let init = initialise(link.as_mut(), entropy.as_mut(), Channel::BROADCAST, &ends)?;
        if !init.has_cbor() && init.lacks_msg() {
            return Err(DeviceError::Unsupported("FIDO"));
        }
        Ok(Self {
            link,
            init,
            patience,
            entropy,
            desynchronised: false,
        })
    }

    /// What the device said to INIT: protocol and device version, capabilities.
    #[must_use]
    pub fn init_reply(&self) -> &InitReply {
        &self.init
    }

    fn attempt(
        &mut self,
        command: Command,
        reports: &[Report],
        deadline: Instant,
        cancel: &Cancel,
        on_keepalive: &mut dyn FnMut(KeepAlive),
    ) -> Result<Attempt, DeviceError> {
        // What is left in the queue is older than our request; on a fresh channel it cannot be ours.
        for report in reports {
            self.link.write_report(report)?;
        }
        // The drain must fit before the deadline, also with a short one.
        let give_up = deadline - DRAIN.min(time_left(deadline) / 4);
        let mut assembler = Assembler::new(self.init.channel, command);
        let mut touch_pending = false;
        let mut last_frame = Instant::now();
        loop {
            let ending = if cancel.is_cancelled() {
                Some(DeviceError::Cancelled)
            } else if time_left(give_up).is_zero() {
                Some(if touch_pending {
                    DeviceError::TouchTimeout
                } else {
                    DeviceError::Deadline
                })
            } else {
                None
            };
            if let Some(ending) = ending {
                return self.abandon(assembler, deadline, ending).map(Attempt::Answer);
            }
            if assembler.is_inside_message() && last_frame.elapsed() > FRAME_GAP {
                return Err(DeviceError::Protocol("the answer stopped in the middle"));
            }
            let Some(report) = self.link.read_report(SLICE.min(time_left(give_up)))? else {
                continue;
            };
            match assembler.push(&report)? {
                Progress::NotOurs => continue,
                Progress::More => {}
                Progress::KeepAlive(state) => {
                    touch_pending = state == KeepAlive::TouchNeeded;
                    on_keepalive(state);
                }
                Progress::Error(error) if error.is_busy() => return Ok(Attempt::ChannelBusy),
                Progress::Error(error) => return Err(refusal(error)),
                Progress::Message(answer) => return Ok(Attempt::Answer(answer)),
            }
            last_frame = Instant::now();
        }
    }

    /// Ends a command: sends CTAPHID_CANCEL and listens for the answer for a moment. A success that was on its way is
    /// returned as such.
    fn abandon(
        &mut self,
        mut assembler: Assembler,
        deadline: Instant,
        ending: DeviceError,
    ) -> Result<Vec<u8>, DeviceError> {
        for report in &ctaphid::reports(self.init.channel, Command::Cancel, &[])? {
            self.link.write_report(report)?;
        }
        let until = deadline.min(Instant::now() + DRAIN);
        while !time_left(until).is_zero() {
            let Some(report) = self.link.read_report(SLICE.min(time_left(until)))? else {
                continue;
            };
            match assembler.push(&report) {
                Ok(Progress::Message(answer)) => {
                    self.desynchronised = false;
                    return if answer.first() == Some(&0) {
                        Ok(answer)
                    } else {
                        Err(ending)
                    };
                }
                Ok(Progress::NotOurs | Progress::More | Progress::KeepAlive(_)) => {}
                Ok(Progress::Error(_)) | Err(_) => break,
            }
        }
        Err(ending)
    }

    /// Lets `pause` pass, seeing a raised cancel flag and an unplugged device; what arrives meanwhile is not ours.
    fn pause(&mut self, pause: Duration, cancel: &Cancel) -> Result<(), DeviceError> {
        let until = Instant::now() + pause;
        while !time_left(until).is_zero() {
            if cancel.is_cancelled() {
                return Err(DeviceError::Cancelled);
            }
            self.link.read_report(SLICE.min(time_left(until)))?;
        }
        Ok(())
    }
}

impl CtapTransport for HidChannel {
    fn is_settled(&self) -> bool {
        !self.desynchronised
    }

    fn exchange(
        &mut self,
        request: &[u8],
        deadline: Instant,
        cancel: &Cancel,
        on_keepalive: &mut dyn FnMut(KeepAlive),
    ) -> Result<Vec<u8>, DeviceError> {
        self.command(Command::Cbor, request, deadline, cancel, on_keepalive)
    }

    fn wink(&mut self, deadline: Instant, cancel: &Cancel) -> Result<bool, DeviceError> {
        if !self.init.has_wink() {
            return Ok(false);
        }
        self.command(Command::Wink, &[], deadline, cancel, &mut |_| {})
            .map(|_| true)
    }
}

impl Messages for HidChannel {
    fn send(
        &mut self,
        command: &iso7816::Command,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<iso7816::Response, DeviceError> {
        // Lengths are of the extended form (CTAP 2.1 section 11.2.9.1.1), and an answer is one message.
        let (mut exchange, mut frame) = Exchange::start(command, Encoding::AlwaysExtended, FetchRest::GET_RESPONSE)?;
        loop {
            let answer = self.command(Command::Msg, &frame, deadline, cancel, &mut |_| {})?;
            match exchange.received(&answer)? {
                iso7816::Progress::Send(next) => frame = next,
                iso7816::Progress::Done(response) => return Ok(response),
            }
        }
    }

    fn carried_by(&self) -> Carrier {
        Carrier::Hid
    }
}

impl HidChannel {
    /// Sends one message and waits for its answer.
    fn command(
        &mut self,
        command: Command,
        request: &[u8],
        deadline: Instant,
        cancel: &Cancel,
        on_keepalive: &mut dyn FnMut(KeepAlive),
    ) -> Result<Vec<u8>, DeviceError> {
        if cancel.is_cancelled() {
            return Err(DeviceError::Cancelled);
        }
        // A command that nobody would wait for must not be given.
        if time_left(deadline).is_zero() {
            return Err(DeviceError::Deadline);
        }
        let ends = Ends::new(deadline, self.patience, cancel);
        if self.desynchronised {
            // INIT on an allocated channel aborts what runs there and keeps the channel (CTAP 2.1 section 11.2.9.1.3).
            self.init = initialise(self.link.as_mut(), self.entropy.as_mut(), self.init.channel, &ends)?;
        }
        let reports = ctaphid::reports(self.init.channel, command, request)?;
        self.desynchronised = true;
        loop {
            match self.attempt(command, &reports, deadline, cancel, on_keepalive)? {
                Attempt::Answer(answer) => {
                    self.desynchronised = false;
                    return Ok(answer);
                }
                Attempt::ChannelBusy if time_left(ends.patience).is_zero() => {
                    self.desynchronised = false;
                    return Err(DeviceError::Busy(None));
                }
                Attempt::ChannelBusy => self.pause(BUSY_PAUSE.min(time_left(ends.patience)), cancel)?,
            }
        }
    }
}

/// When an exchange ends, and by whom.
struct Ends<'c> {
    deadline: Instant,
    /// Until when a busy key is asked again.
    patience: Instant,
    cancel: &'c Cancel,
}

impl<'c> Ends<'c> {
    fn new(deadline: Instant, patience: Duration, cancel: &'c Cancel) -> Self {
        let patience = Instant::now()
            .checked_add(patience)
            .map_or(deadline, |until| until.min(deadline));
        Self {
            deadline,
            patience,
            cancel,
        }
    }
}

/// Sends INIT on `on` and waits for the answer that carries our nonce. A key that is busy is asked again.
fn initialise(
    link: &mut dyn HidLink,
    entropy: &mut dyn Entropy,
    on: Channel,
    ends: &Ends<'_>,
) -> Result<InitReply, DeviceError> {
    let mut nonce = [0; NONCE_LEN];
    entropy.fill(&mut nonce)?;
    let reports = ctaphid::reports(on, Command::Init, &nonce)?;
    let mut ask_at = Some(Instant::now());
    let mut busy = false;
    while !time_left(ends.deadline).is_zero() {
        if ends.cancel.is_cancelled() {
            return Err(DeviceError::Cancelled);
        }
        if ask_at.is_some_and(|at| time_left(at).is_zero()) {
            for report in &reports {
                link.write_report(report)?;
            }
            ask_at = None;
        }
        let Some(report) = link.read_report(SLICE.min(time_left(ends.deadline)))? else {
            continue;
        };
        // An INIT answer fits in one report, so each report is judged alone. What does not fit together on the broadcast
        // channel belongs to somebody else, and on our own channel it is what is left of the command before.
        match Assembler::new(on, Command::Init).push(&report) {
            Ok(Progress::Message(answer)) => {
                // On an allocated channel the answer should name the same one; firmware in the field names a new one. Both
                // are taken at their word.
                if let Some(reply) = ctaphid::parse_init(&answer, &nonce)? {
                    return Ok(reply);
                }
            }
            Ok(Progress::Error(error)) if error.is_busy() => {
                if time_left(ends.patience).is_zero() {
                    return Err(DeviceError::Busy(None));
                }
                busy = true;
                ask_at = Some(Instant::now() + BUSY_PAUSE);
            }
            _ => {}
        }
    }
    Err(if busy {
        DeviceError::Busy(None)
    } else {
        DeviceError::Deadline
    })
}

fn refusal(error: HidError) -> DeviceError {
    match error {
        HidError::InvalidCommand => DeviceError::Unsupported("FIDO2"),
        HidError::Timeout => DeviceError::Deadline,
        HidError::LockRequired | HidError::ChannelBusy => DeviceError::Busy(None),
        HidError::InvalidParameter => DeviceError::Protocol("CTAPHID error: invalid parameter"),
        HidError::InvalidLength => DeviceError::Protocol("CTAPHID error: invalid length"),
        HidError::InvalidSequence => DeviceError::Protocol("CTAPHID error: invalid sequence"),
        HidError::InvalidChannel => DeviceError::Protocol("CTAPHID error: invalid channel"),
        HidError::Other | HidError::Unknown(_) => DeviceError::Protocol("CTAPHID error"),
    }
}

#[cfg(test)]
mod tests;
