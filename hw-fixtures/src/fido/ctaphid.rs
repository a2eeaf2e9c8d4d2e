//! CTAPHID, the authenticator's side of the 64-byte reports (CTAP 2.1 section 11.2).
//!
//! A state machine without a clock: reports go in by [`CtapHid::receive`], time by [`CtapHid::tick`], reports come out
//! of [`CtapHid::pop`].

use std::collections::VecDeque;

use super::{Authenticator, Outcome, Status};
use crate::Millis;
use crate::person::{Presence, TouchMode};

/// Bytes of one report.
pub const REPORT: usize = 64;
/// A report.
pub type Report = [u8; REPORT];

/// The channel every host may send INIT on.
const BROADCAST: u32 = 0xffff_ffff;
/// Longest message that fits one initialization and 128 continuation packets.
const MAX_MESSAGE: usize = 7609;
/// Milliseconds between the packets of one message.
const PACKET_TIMEOUT_MS: Millis = 500;
/// Milliseconds between keep-alives.
const KEEPALIVE_MS: Millis = 100;
/// Channels remembered; the oldest is forgotten first.
const MAX_CHANNELS: usize = 64;

const PING: u8 = 0x01;
const MSG: u8 = 0x03;
const INIT: u8 = 0x06;
const WINK: u8 = 0x08;
const CBOR: u8 = 0x10;
const CANCEL: u8 = 0x11;
const KEEPALIVE: u8 = 0x3b;
const ERROR: u8 = 0x3f;

/// CTAPHID_ERROR codes (section 11.2.9.1.6).
#[derive(Clone, Copy)]
enum HidError {
    InvalidCommand = 0x01,
    InvalidLength = 0x03,
    InvalidSequence = 0x04,
    MessageTimeout = 0x05,
    ChannelBusy = 0x06,
    InvalidChannel = 0x0b,
}

/// Keep-alive status (section 11.2.9.1.5).
#[derive(Clone, Copy)]
enum Keepalive {
    Processing = 1,
    TouchNeeded = 2,
}

/// A message that is still arriving.
struct Incoming {
    channel: u32,
    command: u8,
    length: usize,
    data: Vec<u8>,
    sequence: u8,
    last: Millis,
}

/// A CBOR command that has not been answered.
struct Pending {
    channel: u32,
    request: Vec<u8>,
    arrived: Millis,
    next_keepalive: Millis,
    /// The finished answer and when it may leave; `None` while the person is awaited.
    ready: Option<(Millis, Vec<u8>)>,
}

enum State {
    Idle,
    Receiving(Incoming),
    Busy(Pending),
}

/// The HID face of a FIDO2 authenticator.
pub struct CtapHid {
    authenticator: Authenticator,
    mode: TouchMode,
    state: State,
    channels: VecDeque<u32>,
    next_channel: u32,
    outbound: VecDeque<Report>,
    winks: u64,
    /// A U2F request was refused for want of a touch at this time.
    u2f_asked: Option<Millis>,
    /// The person touched then, which is good for one U2F request.
    u2f_touched: Option<Millis>,
}

/// How long a U2F request that was refused for want of a touch is remembered, and how long a touch is good.
const U2F_MEMORY_MS: Millis = 10_000;

impl CtapHid {
    /// The HID face of `authenticator`.
    pub fn new(authenticator: Authenticator, mode: TouchMode) -> Self {
        Self {
            authenticator,
            mode,
            state: State::Idle,
            channels: VecDeque::new(),
            next_channel: 0x0100_0001,
            outbound: VecDeque::new(),
            winks: 0,
            u2f_asked: None,
            u2f_touched: None,
        }
    }

    /// What runs the commands.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// What runs the commands, to prepare a state.
    pub fn authenticator_mut(&mut self) -> &mut Authenticator {
        &mut self.authenticator
    }

    /// Changes how the person behaves, also for a request that is waiting.
    pub fn set_touch_mode(&mut self, mode: TouchMode, now: Millis) {
        self.mode = mode;
        if mode == TouchMode::Auto {
            self.touch(now);
        }
    }

    /// Loses power and gets it back: channels and messages are gone.
    pub fn power_cycle(&mut self, now: Millis) {
        self.state = State::Idle;
        self.channels.clear();
        self.outbound.clear();
        self.u2f_asked = None;
        self.u2f_touched = None;
        self.authenticator.power_cycle(now);
    }

    /// Whether a request waits for the person.
    pub fn wants_touch(&self) -> bool {
        self.u2f_asked.is_some() || matches!(&self.state, State::Busy(Pending { ready: None, .. }))
    }

    /// How often it was told to blink.
    pub fn winks(&self) -> u64 {
        self.winks
    }

    /// The next report for the host.
    pub fn pop(&mut self) -> Option<Report> {
        self.outbound.pop_front()
    }

    /// The person touches. Answers whether a request was waiting for it.
    pub fn touch(&mut self, now: Millis) -> bool {
        if self
            .u2f_asked
            .take()
            .is_some_and(|since| now.saturating_sub(since) <= U2F_MEMORY_MS)
        {
            self.u2f_touched = Some(now);
            return true;
        }
        if !self.wants_touch() {
            return false;
        }
        if let State::Busy(pending) = std::mem::replace(&mut self.state, State::Idle) {
            self.run(
                pending.channel,
                pending.request,
                pending.arrived,
                Presence::Touching,
                now,
            );
        }
        true
    }

    /// When [`Self::tick`] wants to be called next.
    pub fn next_tick(&self) -> Option<Millis> {
        match &self.state {
            State::Idle => None,
            State::Receiving(incoming) => Some(incoming.last + PACKET_TIMEOUT_MS),
            State::Busy(pending) => {
                let end = pending
                    .ready
                    .as_ref()
                    .map_or(pending.arrived + self.touch_timeout_ms(), |(at, _)| *at);
                Some(end.min(pending.next_keepalive))
            }
        }
    }

    /// Lets time pass: keep-alives, timeouts.
    pub fn tick(&mut self, now: Millis) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {}
            State::Receiving(incoming) if now >= incoming.last + PACKET_TIMEOUT_MS => {
                self.error(incoming.channel, HidError::MessageTimeout);
            }
            State::Busy(mut pending) => {
                match pending.ready.take() {
                    Some((at, answer)) if now >= at => return self.send(pending.channel, CBOR, &answer),
                    None if now >= pending.arrived + self.touch_timeout_ms() => {
                        return self.send(pending.channel, CBOR, &[Status::UserActionTimeout as u8]);
                    }
                    still => pending.ready = still,
                }
                if now >= pending.next_keepalive {
                    let status = if pending.ready.is_some() {
                        Keepalive::Processing
                    } else {
                        Keepalive::TouchNeeded
                    };
                    self.send(pending.channel, KEEPALIVE, &[status as u8]);
                    pending.next_keepalive = now + KEEPALIVE_MS;
                }
                self.state = State::Busy(pending);
            }
            other => self.state = other,
        }
    }

    fn touch_timeout_ms(&self) -> Millis {
        self.authenticator.profile().touch_timeout_s.saturating_mul(1000)
    }

    /// Takes one report from the host.
    pub fn receive(&mut self, report: &Report, now: Millis) {
        // A message that ran out of time is over before the packet that came too late.
        self.tick(now);
        let [c0, c1, c2, c3, kind, body @ ..] = report;
        let channel = u32::from_be_bytes([*c0, *c1, *c2, *c3]);
        if kind & 0x80 == 0 {
            return self.continuation(channel, *kind, body, now);
        }
        let [high, low, data @ ..] = body;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        self.initialization(channel, kind & 0x7f, length, data, now);
    }

    fn initialization(&mut self, channel: u32, command: u8, length: usize, data: &[u8], now: Millis) {
        if command == INIT {
            return self.init(channel, length, data);
        }
        if channel == 0 || channel == BROADCAST || !self.channels.contains(&channel) {
            return self.error(channel, HidError::InvalidChannel);
        }
        match &self.state {
            State::Busy(pending) if command == CANCEL => {
                if pending.channel == channel {
                    self.cancel(channel);
                }
                return;
            }
            State::Busy(_) => return self.error(channel, HidError::ChannelBusy),
            State::Receiving(incoming) if incoming.channel == channel => {
                self.state = State::Idle;
                return self.error(channel, HidError::InvalidSequence);
            }
            State::Receiving(_) => return self.error(channel, HidError::ChannelBusy),
            State::Idle => {}
        }
        if length > MAX_MESSAGE {
            return self.error(channel, HidError::InvalidLength);
        }
        let data = data.get(..length).unwrap_or(data).to_vec();
        let incoming = Incoming {
            channel,
            command,
            length,
            data,
            sequence: 0,
            last: now,
        };
        self.proceed(incoming, now);
    }

    fn continuation(&mut self, channel: u32, sequence: u8, body: &[u8], now: Millis) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Receiving(mut incoming) if incoming.channel == channel => {
                if sequence != incoming.sequence {
                    return self.error(channel, HidError::InvalidSequence);
                }
                let missing = incoming.length - incoming.data.len();
                incoming.data.extend(body.iter().take(missing));
                incoming.sequence = incoming.sequence.saturating_add(1);
                incoming.last = now;
                self.proceed(incoming, now);
            }
            // A stray continuation is ignored, as the standard wants.
            other => self.state = other,
        }
    }

    /// Waits for the rest of a message or carries it out.
    fn proceed(&mut self, incoming: Incoming, now: Millis) {
        if incoming.data.len() < incoming.length {
            self.state = State::Receiving(incoming);
            return;
        }
        let Incoming {
            channel, command, data, ..
        } = incoming;
        match command {
            PING => self.send(channel, PING, &data),
            WINK if data.is_empty() => {
                self.winks += 1;
                self.send(channel, WINK, &[]);
            }
            CBOR if !self.authenticator.profile().is_ctap2() => self.error(channel, HidError::InvalidCommand),
            CBOR if !data.is_empty() => {
                let presence = if self.mode == TouchMode::Auto {
                    Presence::Touching
                } else {
                    Presence::Absent
                };
                self.run(channel, data, now, presence, now);
            }
            MSG if self.authenticator.profile().is_u2f() => {
                let fresh = self
                    .u2f_touched
                    .is_some_and(|at| now.saturating_sub(at) <= U2F_MEMORY_MS);
                let presence = if fresh || self.mode == TouchMode::Auto {
                    Presence::Touching
                } else {
                    Presence::Absent
                };
                let answered = self.authenticator.u2f(&data, presence);
                if answered.used_touch {
                    self.u2f_touched = None;
                }
                self.u2f_asked = answered.wants_touch.then_some(now);
                self.send(channel, MSG, &answered.response);
            }
            WINK | CBOR => self.error(channel, HidError::InvalidLength),
            // A cancel with nothing to cancel is ignored.
            CANCEL => {}
            _ => self.error(channel, HidError::InvalidCommand),
        }
    }

    fn run(&mut self, channel: u32, request: Vec<u8>, arrived: Millis, presence: Presence, now: Millis) {
        let ready = match self.authenticator.run(&request, presence, arrived) {
            Outcome::Answer(answer) => {
                let work = self.authenticator.profile().processing_ms;
                if work == 0 {
                    return self.send(channel, CBOR, &answer);
                }
                Some((now + work, answer))
            }
            Outcome::NeedsTouch => None,
        };
        // The first keep-alive leaves at once, so that the host can ask the person without delay.
        self.state = State::Busy(Pending {
            channel,
            request,
            arrived,
            next_keepalive: now,
            ready,
        });
        self.tick(now);
    }

    fn cancel(&mut self, channel: u32) {
        self.state = State::Idle;
        self.send(channel, CBOR, &[Status::KeepaliveCancel as u8]);
    }

    /// CTAPHID_INIT: a new channel for whoever asks on the broadcast channel; on a known channel, a fresh start.
    fn init(&mut self, channel: u32, length: usize, data: &[u8]) {
        let Some(nonce) = data.first_chunk::<8>().filter(|_| length == 8) else {
            return self.error(channel, HidError::InvalidLength);
        };
        let given = if channel == BROADCAST {
            let fresh = self.next_channel;
            self.next_channel = self
                .next_channel
                .checked_add(1)
                .filter(|next| *next != BROADCAST)
                .unwrap_or(1);
            if self.channels.len() >= MAX_CHANNELS {
                self.channels.pop_front();
            }
            self.channels.push_back(fresh);
            fresh
        } else if self.channels.contains(&channel) {
            match &self.state {
                State::Receiving(Incoming { channel: other, .. }) | State::Busy(Pending { channel: other, .. }) => {
                    if *other != channel {
                        return self.error(channel, HidError::ChannelBusy);
                    }
                    self.state = State::Idle;
                }
                State::Idle => {}
            }
            channel
        } else {
            return self.error(channel, HidError::InvalidChannel);
        };
        let [major, minor, build] = self.authenticator.profile().device_version;
        let profile = self.authenticator.profile();
        // WINK is there; CBOR and U2F messages (whose flag says that they are not) as the model has them.
        let cbor = if profile.is_ctap2() { 0x04 } else { 0 };
        let no_messages = if profile.is_u2f() { 0 } else { 0x08 };
        let capabilities = 0x01 | cbor | no_messages;
        // Protocol version 2.
        let answer = [
            &nonce[..],
            &given.to_be_bytes(),
            &[2, major, minor, build, capabilities],
        ]
        .concat();
        self.send(channel, INIT, &answer);
    }

    fn error(&mut self, channel: u32, code: HidError) {
        self.send(channel, ERROR, &[code as u8]);
    }

    fn send(&mut self, channel: u32, command: u8, data: &[u8]) {
        self.outbound.extend(fragment(channel, command, data));
    }
}

/// Cuts a message into reports (section 11.2.4).
pub fn fragment(channel: u32, command: u8, data: &[u8]) -> Vec<Report> {
    let pad = |parts: &[&[u8]]| {
        let mut report = [0; REPORT];
        for (slot, byte) in report.iter_mut().zip(parts.iter().copied().flatten()) {
            *slot = *byte;
        }
        report
    };
    let channel = channel.to_be_bytes();
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes();
    let (head, rest) = data.split_at(data.len().min(REPORT - 7));
    let mut reports = vec![pad(&[&channel, &[command | 0x80], &length, head])];
    for (sequence, part) in (0_u8..0x80).zip(rest.chunks(REPORT - 5)) {
        reports.push(pad(&[&channel, &[sequence], part]));
    }
    reports
}
