//! CTAPHID framing (CTAP 2.1 section 11.2): messages to reports of 64 bytes and back.
//!
//! An initialization packet is `CHANNEL(4) CMD(1, bit 7 set) LENGTH(2) DATA(57)`, a continuation packet `CHANNEL(4) SEQ(1)
//! DATA(59)`. Nothing here waits or counts time; [`Assembler`] is fed one report after the other by the caller.

/// Length of a report at full speed, without the report id.
pub const REPORT_LEN: usize = 64;

/// Longest message: one initialization packet and 128 continuation packets.
pub const MAX_MESSAGE: usize = INIT_DATA + 128 * CONT_DATA;

const INIT_DATA: usize = REPORT_LEN - 7;
const CONT_DATA: usize = REPORT_LEN - 5;

/// One report.
pub type Report = [u8; REPORT_LEN];

/// Identifies one conversation; given out by the device in answer to INIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Channel(pub u32);

impl Channel {
    /// The channel on which channels are asked for.
    pub const BROADCAST: Self = Self(0xFFFF_FFFF);
}

/// Commands (CTAP 2.1 section 11.2.9), without bit 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// Echo.
    Ping = 0x01,
    /// A CTAP1/U2F message.
    Msg = 0x03,
    /// Asks for a channel.
    Init = 0x06,
    /// Blink.
    Wink = 0x08,
    /// A CTAP2 message.
    Cbor = 0x10,
    /// Ends the CTAP2 command that is running on the channel.
    Cancel = 0x11,
}

const KEEPALIVE: u8 = 0x3B;
const ERROR: u8 = 0x3F;

/// What a device says while it works (CTAP 2.1 section 11.2.9.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// It is busy.
    Processing,
    /// It waits for a touch.
    TouchNeeded,
    /// A status the standard does not know.
    Other(u8),
}

impl From<u8> for KeepAlive {
    fn from(status: u8) -> Self {
        match status {
            1 => Self::Processing,
            2 => Self::TouchNeeded,
            other => Self::Other(other),
        }
    }
}

/// Codes of CTAPHID_ERROR (CTAP 2.1 section 11.2.9.1.6). Code 0 is not defined and yet seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HidError {
    /// 0x01: unknown command.
    InvalidCommand,
    /// 0x02: invalid parameter.
    InvalidParameter,
    /// 0x03: invalid message length.
    InvalidLength,
    /// 0x04: invalid sequence number.
    InvalidSequence,
    /// 0x05: the message timed out.
    Timeout,
    /// 0x06: another channel has the device.
    ChannelBusy,
    /// 0x0A: the channel is locked.
    LockRequired,
    /// 0x0B: the channel is not valid.
    InvalidChannel,
    /// 0x7F: unspecified.
    Other,
    /// Anything else, 0 included.
    Unknown(u8),
}

impl HidError {
    /// Whether the command is worth sending again in a moment. Code 0 is not defined, but firmware in the field
    /// (`usbd-ctaphid` 0.5) sends it where it means [`HidError::ChannelBusy`].
    #[must_use]
    pub fn is_busy(self) -> bool {
        matches!(self, Self::ChannelBusy | Self::Unknown(0))
    }
}

impl From<u8> for HidError {
    fn from(code: u8) -> Self {
        match code {
            0x01 => Self::InvalidCommand,
            0x02 => Self::InvalidParameter,
            0x03 => Self::InvalidLength,
            0x04 => Self::InvalidSequence,
            0x05 => Self::Timeout,
            0x06 => Self::ChannelBusy,
            0x0A => Self::LockRequired,
            0x0B => Self::InvalidChannel,
            0x7F => Self::Other,
            code => Self::Unknown(code),
        }
    }
}

/// How the framing was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// More than [`MAX_MESSAGE`] bytes, to be sent or announced.
    #[error("a CTAPHID message longer than 7609 bytes")]
    TooLong,
    /// A continuation packet without, or not next after, its predecessor.
    #[error("a CTAPHID continuation packet out of sequence")]
    Sequence,
    /// An initialization packet inside a message.
    #[error("a CTAPHID message inside another")]
    Interleaved,
    /// An answer to a command that was not given.
    #[error("a CTAPHID answer to another command")]
    WrongCommand,
    /// An INIT answer that is too short, or that gives a reserved channel.
    #[error("a malformed CTAPHID INIT answer")]
    BadInit,
}

/// Splits a message into reports.
///
/// # Errors
/// [`FramingError::TooLong`].
pub fn reports(channel: Channel, command: Command, message: &[u8]) -> Result<Vec<Report>, FramingError> {
    let length = u16::try_from(message.len()).map_err(|_| FramingError::TooLong)?;
    if message.len() > MAX_MESSAGE {
        return Err(FramingError::TooLong);
    }
    let [len_high, len_low] = length.to_be_bytes();
    let (first, rest) = message.split_at(message.len().min(INIT_DATA));
    let mut out = vec![report(channel, &[command as u8 | 0x80, len_high, len_low], first)];
    for (sequence, part) in (0u8..=127).zip(rest.chunks(CONT_DATA)) {
        out.push(report(channel, &[sequence], part));
    }
    Ok(out)
}

fn report(channel: Channel, head: &[u8], data: &[u8]) -> Report {
    let mut out = [0; REPORT_LEN];
    let bytes = channel
        .0
        .to_be_bytes()
        .into_iter()
        .chain(head.iter().copied())
        .chain(data.iter().copied());
    for (place, byte) in out.iter_mut().zip(bytes) {
        *place = byte;
    }
    out
}

/// What one report meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It belongs to another channel. Every reader of a hidraw node sees every report.
    NotOurs,
    /// The message goes on.
    More,
    /// The device is still at work.
    KeepAlive(KeepAlive),
    /// The device reports an error of the framing layer.
    Error(HidError),
    /// The message is complete.
    Message(Vec<u8>),
}

/// Puts one answer together.
#[derive(Debug)]
pub struct Assembler {
    channel: Channel,
    command: Command,
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    length: usize,
    next: u8,
    bytes: Vec<u8>,
}

impl Assembler {
    /// Waits for the answer to `command` on `channel`.
    #[must_use]
    pub fn new(channel: Channel, command: Command) -> Self {
        Self {
            channel,
            command,
            partial: None,
        }
    }

    /// Whether a message has begun and is not complete.
    #[must_use]
    pub fn is_inside_message(&self) -> bool {
        self.partial.is_some()
    }

    /// Takes the next report.
    ///
    /// # Errors
    /// [`FramingError`] when the device breaks the framing on our own channel.
    pub fn push(&mut self, report: &Report) -> Result<Progress, FramingError> {
        let [c0, c1, c2, c3, head, data @ ..] = report;
        if u32::from_be_bytes([*c0, *c1, *c2, *c3]) != self.channel.0 {
            return Ok(Progress::NotOurs);
        }
        if head & 0x80 == 0 {
            self.push_continuation(*head, data)
        } else {
            self.push_first(head & 0x7F, data)
        }
    }

    fn push_first(&mut self, command: u8, data: &[u8; REPORT_LEN - 5]) -> Result<Progress, FramingError> {
        let [len_high, len_low, data @ ..] = data;
        let length = usize::from(u16::from_be_bytes([*len_high, *len_low]));
        let first = data.first().copied().unwrap_or(0);
        match command {
            ERROR => return Ok(Progress::Error(HidError::from(first))),
            _ if self.partial.is_some() => return Err(FramingError::Interleaved),
            KEEPALIVE => {
                return Ok(Progress::KeepAlive(KeepAlive::from(first)));
            }
            command if command != self.command as u8 => return Err(FramingError::WrongCommand),
            _ => {}
        }
        if length > MAX_MESSAGE {
            return Err(FramingError::TooLong);
        }
        let bytes = data.iter().copied().take(length).collect();
        self.settle(Partial { length, next: 0, bytes })
    }

    fn push_continuation(&mut self, sequence: u8, data: &[u8]) -> Result<Progress, FramingError> {
        let mut partial = self.partial.take().ok_or(FramingError::Sequence)?;
        if sequence != partial.next {
            return Err(FramingError::Sequence);
        }
        partial.next = sequence.saturating_add(1);
        let missing = partial.length.saturating_sub(partial.bytes.len());
        partial.bytes.extend(data.iter().take(missing));
        self.settle(partial)
    }

    fn settle(&mut self, partial: Partial) -> Result<Progress, FramingError> {
        if partial.bytes.len() >= partial.length {
            return Ok(Progress::Message(partial.bytes));
        }
        self.partial = Some(partial);
        Ok(Progress::More)
    }
}

/// Length of the nonce by which a host knows its own INIT answer.
pub const NONCE_LEN: usize = 8;

/// The answer to INIT (CTAP 2.1 section 11.2.9.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitReply {
    /// The channel to use from now on.
    pub channel: Channel,
    /// Version of the CTAPHID protocol; 2 today.
    pub protocol: u8,
    /// Device version: major, minor, build; their meaning is the maker's.
    pub version: [u8; 3],
    /// Capability bits.
    pub capabilities: u8,
}

impl InitReply {
    /// It can blink.
    #[must_use]
    pub fn has_wink(&self) -> bool {
        self.capabilities & 0x01 != 0
    }

    /// It speaks CTAP2.
    #[must_use]
    pub fn has_cbor(&self) -> bool {
        self.capabilities & 0x04 != 0
    }

    /// It does not speak CTAP1/U2F.
    #[must_use]
    pub fn lacks_msg(&self) -> bool {
        self.capabilities & 0x08 != 0
    }
}

/// Reads the answer to INIT; `Ok(None)` when it carries another host's nonce.
///
/// # Errors
/// [`FramingError::BadInit`] when it is ours and malformed.
pub fn parse_init(message: &[u8], nonce: &[u8; NONCE_LEN]) -> Result<Option<InitReply>, FramingError> {
    let Some((echoed, rest)) = message.split_first_chunk::<NONCE_LEN>() else {
        return Err(FramingError::BadInit);
    };
    if echoed != nonce {
        return Ok(None);
    }
    let [c0, c1, c2, c3, protocol, major, minor, build, capabilities, ..] = rest else {
        return Err(FramingError::BadInit);
    };
    let channel = Channel(u32::from_be_bytes([*c0, *c1, *c2, *c3]));
    // 0 and the broadcast channel are reserved.
    if channel.0 == 0 || channel == Channel::BROADCAST {
        return Err(FramingError::BadInit);
    }
    Ok(Some(InitReply {
        channel,
        protocol: *protocol,
        version: [*major, *minor, *build],
        capabilities: *capabilities,
    }))
}

#[cfg(test)]
mod tests;
