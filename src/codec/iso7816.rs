//! Command and response APDUs (ISO/IEC 7816-4): encoding, command chaining, `61xx` and `6Cxx`, status words, SELECT, ATR.
//!
//! [`Exchange`] is the state machine of one command: it says what to send next and takes what came back. Every loop in it is
//! bounded, so a card that answers “more to come” for ever ends in an error.

use std::collections::VecDeque;
use std::fmt;

use zeroize::Zeroizing;

/// Most bytes of data that a response may add up to over all its parts.
pub const MAX_RESPONSE: usize = 65_536;
/// Most “send the rest” commands for one command. A card may answer in small pieces; 65,536 bytes in full pieces take 256.
pub const MAX_ROUNDS: u32 = 512;
/// Most command data: what the length field of an extended APDU can say. Chaining keeps to the same bound.
pub const MAX_COMMAND: usize = 65_535;
/// Data bytes of one short APDU.
const SHORT_DATA: usize = 255;
/// Class bit “more of this command follows” (section 5.4.1).
const CHAINING: u8 = 0x10;

/// Why an exchange of APDUs failed below the level of status words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApduError {
    /// Fewer than the two bytes of a status word.
    #[error("a response without a status word")]
    TooShort,
    /// More than 65,536 bytes in all.
    #[error("a response longer than 65536 bytes")]
    TooLong,
    /// `61xx` without a byte of data: nothing would ever end it.
    #[error("a response that promises more and brings nothing")]
    EmptyPart,
    /// More than [`MAX_ROUNDS`] parts.
    #[error("a response in too many parts")]
    TooManyParts,
    /// `6Cxx` in answer to the length that the card itself had asked for, or where no length was at stake.
    #[error("a card that does not accept the length it asked for")]
    WrongLengthAgain,
    /// [`Exchange::received`] after the end.
    #[error("a response that nothing was sent for")]
    Unasked,
    /// Our own command is too long for an APDU.
    #[error("a command longer than 65535 bytes")]
    CommandTooLong,
    /// An application identifier has 5 to 16 bytes (section 12.3.4).
    #[error("an application identifier has 5 to 16 bytes")]
    Aid,
    /// The answer to reset ends in the middle of a field or is longer than 33 bytes.
    #[error("a malformed answer to reset")]
    Atr,
}

impl ApduError {
    /// The same sentence as a constant, for errors that carry no allocation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooShort => "a response without a status word",
            Self::TooLong => "a response longer than 65536 bytes",
            Self::EmptyPart => "a response that promises more and brings nothing",
            Self::TooManyParts => "a response in too many parts",
            Self::WrongLengthAgain => "a card that does not accept the length it asked for",
            Self::Unasked => "a response that nothing was sent for",
            Self::CommandTooLong => "a command longer than 65535 bytes",
            Self::Aid => "an application identifier has 5 to 16 bytes",
            Self::Atr => "a malformed answer to reset",
        }
    }
}

/// SW1 and SW2 (section 5.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatusWord(pub u16);

impl StatusWord {
    /// Done.
    pub const SUCCESS: Self = Self(0x9000);
    /// Memory failure.
    pub const MEMORY_FAILURE: Self = Self(0x6581);
    /// Wrong length.
    pub const WRONG_LENGTH: Self = Self(0x6700);
    /// Security status not satisfied.
    pub const SECURITY: Self = Self(0x6982);
    /// Reference data not usable; of a YKOATH card: no such object.
    pub const NO_OBJECT: Self = Self(0x6984);
    /// Conditions of use not satisfied.
    pub const CONDITIONS: Self = Self(0x6985);
    /// Incorrect data.
    pub const WRONG_DATA: Self = Self(0x6A80);
    /// Function not supported.
    pub const NO_FUNCTION: Self = Self(0x6A81);
    /// File or application not found.
    pub const NOT_FOUND: Self = Self(0x6A82);
    /// No room.
    pub const NO_SPACE: Self = Self(0x6A84);
    /// Instruction not supported.
    pub const NO_INSTRUCTION: Self = Self(0x6D00);
    /// Class not supported.
    pub const NO_CLASS: Self = Self(0x6E00);

    /// Whether it is `9000`.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 == Self::SUCCESS.0
    }

    /// `61xx`: `xx` more bytes are waiting; zero stands for 256 or more.
    #[must_use]
    pub const fn more(self) -> Option<u8> {
        let [sw1, sw2] = self.0.to_be_bytes();
        if sw1 == 0x61 { Some(sw2) } else { None }
    }

    /// `6Cxx`: ask again for exactly `xx` bytes; zero stands for 256.
    #[must_use]
    pub const fn exact_length(self) -> Option<u8> {
        let [sw1, sw2] = self.0.to_be_bytes();
        if sw1 == 0x6C { Some(sw2) } else { None }
    }
}

impl fmt::Debug for StatusWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.0)
    }
}

impl fmt::Display for StatusWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.0)
    }
}

/// The bytes of one APDU to send. May hold a seed or a password's proof: wiped on drop, no `Debug`.
pub type Frame = Zeroizing<Vec<u8>>;

/// A command before it is cut into frames.
pub struct Command {
    /// Class.
    pub cla: u8,
    /// Instruction.
    pub ins: u8,
    /// First parameter.
    pub p1: u8,
    /// Second parameter.
    pub p2: u8,
    /// Data; wiped on drop.
    pub data: Zeroizing<Vec<u8>>,
    /// Whether response data is expected (an Le field is sent; it asks for all there is).
    pub expects_data: bool,
}

impl Command {
    /// A command that carries `data` and expects an answer.
    #[must_use]
    pub fn new(cla: u8, ins: u8, p1: u8, p2: u8, data: Vec<u8>) -> Self {
        Self {
            cla,
            ins,
            p1,
            p2,
            data: Zeroizing::new(data),
            expects_data: true,
        }
    }

    /// SELECT by application identifier, first occurrence (section 11.2.2).
    ///
    /// # Errors
    /// [`ApduError::Aid`] unless 5 to 16 bytes.
    pub fn select(aid: &[u8]) -> Result<Self, ApduError> {
        if !(5..=16).contains(&aid.len()) {
            return Err(ApduError::Aid);
        }
        Ok(Self::new(0x00, 0xA4, 0x04, 0x00, aid.to_vec()))
    }

    /// The frames to send one after the other.
    ///
    /// # Errors
    /// [`ApduError::CommandTooLong`] beyond 65,535 bytes of data.
    pub fn frames(&self, encoding: Encoding) -> Result<VecDeque<Frame>, ApduError> {
        if self.data.len() > MAX_COMMAND {
            return Err(ApduError::CommandTooLong);
        }
        match encoding {
            Encoding::Extended if self.data.len() > SHORT_DATA => Ok(VecDeque::from([self.extended()])),
            Encoding::AlwaysExtended if !self.data.is_empty() => Ok(VecDeque::from([self.extended()])),
            // A short body fits a short APDU, which every card understands.
            _ => Ok(self.chained()),
        }
    }

    fn extended(&self) -> Frame {
        let mut frame = Zeroizing::new(Vec::with_capacity(self.data.len() + 9));
        // `frames` has checked the length.
        let length = u16::try_from(self.data.len()).unwrap_or(u16::MAX);
        frame.extend_from_slice(&[self.cla, self.ins, self.p1, self.p2, 0]);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&self.data);
        if self.expects_data {
            frame.extend_from_slice(&[0, 0]);
        }
        frame
    }

    fn chained(&self) -> VecDeque<Frame> {
        let last = self.data.len().saturating_sub(1) / SHORT_DATA;
        let mut frames: VecDeque<Frame> = self
            .data
            .chunks(SHORT_DATA)
            .enumerate()
            .map(|(index, part)| {
                let more = if index < last { CHAINING } else { 0 };
                short_frame(
                    self.cla | more,
                    self.ins,
                    self.p1,
                    self.p2,
                    part,
                    (more == 0 && self.expects_data).then_some(0),
                )
            })
            .collect();
        if frames.is_empty() {
            frames.push_back(short_frame(
                self.cla,
                self.ins,
                self.p1,
                self.p2,
                &[],
                self.expects_data.then_some(0),
            ));
        }
        frames
    }
}

/// One short APDU, at most 255 bytes of data (section 5.2, cases 1 to 4).
fn short_frame(cla: u8, ins: u8, p1: u8, p2: u8, data: &[u8], le: Option<u8>) -> Frame {
    let mut frame = Zeroizing::new(Vec::with_capacity(data.len() + 6));
    frame.extend_from_slice(&[cla, ins, p1, p2]);
    if !data.is_empty() {
        frame.push(u8::try_from(data.len()).unwrap_or(u8::MAX));
        frame.extend_from_slice(data);
    }
    frame.extend(le);
    frame
}

/// How long commands are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Several short APDUs with the chaining bit: every card, every reader.
    Short,
    /// One APDU with three-byte lengths, where a short one is too small. The ATR must say that the card can.
    Extended,
    /// The same for everything that has data: then an answer of more than 256 bytes comes whole, too.
    AlwaysExtended,
}

/// The instruction that fetches the rest after `61xx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchRest {
    /// Class.
    pub cla: u8,
    /// Instruction.
    pub ins: u8,
    /// Whether the announced number goes into Le (else Le is 0: all there is).
    pub exact: bool,
    /// Where the field does not agree on the class: the one that is tried when the card does not know the first.
    pub other_class: Option<u8>,
}

impl FetchRest {
    /// GET RESPONSE (section 11.7.1).
    pub const GET_RESPONSE: Self = Self {
        cla: 0x00,
        ins: 0xC0,
        exact: true,
        other_class: None,
    };
    /// SEND REMAINING of the YKOATH applet, which does not know GET RESPONSE.
    pub const SEND_REMAINING: Self = Self {
        cla: 0x00,
        ins: 0xA5,
        exact: false,
        other_class: None,
    };
}

/// A whole response: data of all parts and the last status word. The data may be secret: wiped on drop, no `Debug`.
pub struct Response {
    /// At most [`MAX_RESPONSE`] bytes.
    pub data: Zeroizing<Vec<u8>>,
    /// SW1 and SW2 of the last part.
    pub status: StatusWord,
}

/// What an [`Exchange`] wants next.
pub enum Progress {
    /// Send this and come back with the answer.
    Send(Frame),
    /// That was all.
    Done(Response),
}

/// One command from its first frame to its last response byte.
pub struct Exchange {
    queue: VecDeque<Frame>,
    last_sent: Frame,
    /// Whether the last frame ended in a one-byte Le that `6Cxx` may correct.
    short_le: bool,
    corrected: bool,
    ended: bool,
    expects_data: bool,
    fetch: FetchRest,
    /// What the last [`Exchange::fetch_rest`] asked for, while the other class has not been tried.
    fetching: Option<u8>,
    rounds: u32,
    data: Zeroizing<Vec<u8>>,
}

impl Exchange {
    /// Cuts the command and hands out its first frame.
    ///
    /// # Errors
    /// [`ApduError::CommandTooLong`].
    pub fn start(command: &Command, encoding: Encoding, fetch: FetchRest) -> Result<(Self, Frame), ApduError> {
        let mut queue = command.frames(encoding)?;
        let first = queue.pop_front().ok_or(ApduError::CommandTooLong)?;
        let mut exchange = Self {
            queue,
            last_sent: Frame::default(),
            short_le: false,
            corrected: false,
            ended: false,
            expects_data: command.expects_data,
            fetch,
            fetching: None,
            rounds: 0,
            data: Zeroizing::new(Vec::new()),
        };
        let first = exchange.sending(first);
        Ok((exchange, first))
    }

    /// Takes the response to the frame handed out last. After an error or [`Progress::Done`] the exchange is over.
    ///
    /// # Errors
    /// [`ApduError`] for a response that cannot be one, or would never end.
    pub fn received(&mut self, response: &[u8]) -> Result<Progress, ApduError> {
        if std::mem::replace(&mut self.ended, true) {
            return Err(ApduError::Unasked);
        }
        let (part, status) = split(response)?;
        if !self.queue.is_empty() {
            return Ok(self.in_chain(status));
        }
        if let Some(length) = status.exact_length() {
            return self.correct_length(part, length);
        }
        if matches!(status, StatusWord::NO_CLASS | StatusWord::NO_INSTRUCTION)
            && let Some(waiting) = self.fetching.take()
            && let Some(class) = self.fetch.other_class.take()
        {
            self.fetch.cla = class;
            return self.fetch_rest(waiting);
        }
        self.append(part)?;
        match status.more() {
            Some(_) if part.is_empty() => Err(ApduError::EmptyPart),
            Some(waiting) => self.fetch_rest(waiting),
            None => Ok(self.done(status)),
        }
    }

    /// Between the parts of a command a card says `9000` and nothing else; any other status ends the exchange.
    fn in_chain(&mut self, status: StatusWord) -> Progress {
        match self.queue.pop_front() {
            Some(next) if status.is_success() => Progress::Send(self.sending(next)),
            _ => self.done(status),
        }
    }

    fn correct_length(&mut self, part: &[u8], length: u8) -> Result<Progress, ApduError> {
        if self.corrected || !self.short_le || !part.is_empty() {
            return Err(ApduError::WrongLengthAgain);
        }
        self.corrected = true;
        let mut again = std::mem::take(&mut self.last_sent);
        if let Some(le) = again.last_mut() {
            *le = length;
        }
        self.last_sent = again.clone();
        self.ended = false;
        Ok(Progress::Send(again))
    }

    fn fetch_rest(&mut self, waiting: u8) -> Result<Progress, ApduError> {
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            return Err(ApduError::TooManyParts);
        }
        let le = if self.fetch.exact { waiting } else { 0 };
        self.corrected = false;
        self.expects_data = true;
        self.fetching = Some(waiting);
        let frame = short_frame(self.fetch.cla, self.fetch.ins, 0, 0, &[], Some(le));
        Ok(Progress::Send(self.sending(frame)))
    }

    fn append(&mut self, part: &[u8]) -> Result<(), ApduError> {
        if self.data.len() + part.len() > MAX_RESPONSE {
            return Err(ApduError::TooLong);
        }
        let needed = self.data.len() + part.len();
        if needed > self.data.capacity() {
            // Grown by hand into a fresh allocation: a Vec that grows by itself leaves copies behind. To twice its size, for
            // each move wipes what it leaves.
            let room = needed.max(2 * self.data.capacity()).min(MAX_RESPONSE);
            let mut grown = Zeroizing::new(Vec::with_capacity(room));
            grown.extend_from_slice(&self.data);
            self.data = grown;
        }
        self.data.extend_from_slice(part);
        Ok(())
    }

    fn sending(&mut self, frame: Frame) -> Frame {
        // Extended frames have a zero where short ones have Lc, and no reader answers them with 6Cxx.
        let extended = frame.len() > 7 && frame.get(4) == Some(&0);
        self.short_le = self.queue.is_empty() && self.expects_data && !extended;
        self.last_sent = frame.clone();
        self.ended = false;
        frame
    }

    fn done(&mut self, status: StatusWord) -> Progress {
        Progress::Done(Response {
            data: std::mem::take(&mut self.data),
            status,
        })
    }
}

/// Cuts the status word off.
fn split(response: &[u8]) -> Result<(&[u8], StatusWord), ApduError> {
    if response.len() > MAX_RESPONSE + 2 {
        return Err(ApduError::TooLong);
    }
    let (part, status) = response.split_last_chunk::<2>().ok_or(ApduError::TooShort)?;
    Ok((part, StatusWord(u16::from_be_bytes(*status))))
}

/// What is read from an answer to reset (ISO/IEC 7816-3 section 8.2): enough to tell cards apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Atr {
    /// Transmission protocols offered, in order: 0, 1, 15.
    pub protocols: Vec<u8>,
    /// Historical bytes, at most 15.
    pub historical: Vec<u8>,
}

impl Atr {
    /// Longest answer to reset.
    pub const MAX_LEN: usize = 33;

    /// Reads interface bytes and historical bytes; the check byte is the reader's business.
    ///
    /// # Errors
    /// [`ApduError::Atr`] when it is longer than 33 bytes or ends too early.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApduError> {
        if bytes.len() > Self::MAX_LEN {
            return Err(ApduError::Atr);
        }
        let mut rest = bytes.iter().copied();
        let mut take = || rest.next().ok_or(ApduError::Atr);
        if !matches!(take()?, 0x3B | 0x3F) {
            return Err(ApduError::Atr);
        }
        let t0 = take()?;
        let mut protocols = Vec::new();
        let mut present = t0 >> 4;
        // Each turn with TD takes a byte of the at most 33, so this ends.
        while present != 0 {
            for bit in [1, 2, 4] {
                if present & bit != 0 {
                    take()?;
                }
            }
            if present & 8 == 0 {
                break;
            }
            let td = take()?;
            protocols.push(td & 0x0F);
            present = td >> 4;
        }
        if protocols.is_empty() {
            protocols.push(0);
        }
        let historical = (0..t0 & 0x0F).map(|_| take()).collect::<Result<_, _>>()?;
        Ok(Self { protocols, historical })
    }

    /// Whether the card says that it takes lengths of three bytes: the third byte of the card capabilities among the historical
    /// bytes (ISO/IEC 7816-4 section 12.1.1, COMPACT-TLV tag 7).
    #[must_use]
    pub fn takes_extended_lengths(&self) -> bool {
        const CAPABILITIES: u8 = 0x07;
        const EXTENDED: u8 = 0x40;
        let Some((0x00 | 0x80, mut rest)) = self.historical.split_first().map(|(category, rest)| (*category, rest))
        else {
            return false;
        };
        // Each turn takes at least one of at most 14 bytes.
        while let Some((head, tail)) = rest.split_first() {
            let Some((value, after)) = tail.split_at_checked(usize::from(head & 0x0F)) else {
                return false;
            };
            if head >> 4 == CAPABILITIES {
                return value.get(2).is_some_and(|third| third & EXTENDED != 0);
            }
            rest = after;
        }
        false
    }
}

#[cfg(test)]
#[path = "iso7816_tests.rs"]
mod tests;
