//! Faults at the seam between a token and its front, by frame number.
//!
//! A frame is one HID report, one command APDU or one response APDU. Frames are counted from 1, over both directions,
//! since the token was plugged in or since [`Tape::record`]. A test records an operation, reads how many frames it took
//! and which way each went, and then visits every frame with every [`FaultKind`].

use serde::{Deserialize, Serialize};

use crate::entropy::Entropy;
use crate::fido::ctaphid::{Report, fragment};
use crate::{Millis, SimError};

/// Which way a frame goes, named as USB does: from the host's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Host to token.
    Out,
    /// Token to host.
    In,
}

/// What goes wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The token is pulled out instead of the frame being passed on.
    Unplug,
    /// The frame is lost.
    Drop,
    /// The frame is lost, and so is every answer after it until the token is plugged in anew.
    Stall,
    /// The frame is late by so many milliseconds.
    Delay(Millis),
    /// The frame's bytes are replaced; a report keeps its channel so that it reaches the reader.
    Garbage,
    /// A report comes from another channel; a command names a logical channel the card has not, a response says so.
    WrongChannel,
    /// A continuation comes out of turn, or an initialization packet comes as a continuation; a card answers the
    /// exchange before, or is asked for a rest it does not have.
    WrongSequence,
    /// A length lies: that of a message in a report (a continuation never comes), that of the first element in a
    /// response. A response without elements promises data by `61xx` that never come.
    FalseLength,
    /// Keep-alives without end; from a card, `61xx` without data without end.
    EndlessKeepalive,
    /// An APDU loses its second half. A report counts as [`FaultKind::FalseLength`].
    Truncated,
    /// An APDU grows to 66,000 bytes. A report counts as [`FaultKind::FalseLength`].
    Oversized,
}

impl FaultKind {
    /// Every kind without its parameter, for tests that visit them all.
    pub const NAMES: [&'static str; 11] = [
        "unplug",
        "drop",
        "stall",
        "delay",
        "garbage",
        "wrong-channel",
        "wrong-sequence",
        "false-length",
        "endless-keepalive",
        "truncated",
        "oversized",
    ];

    /// The kind called `name`; `delay_ms` is for `delay` alone.
    ///
    /// # Errors
    /// When there is no such kind.
    pub fn named(name: &str, delay_ms: Millis) -> Result<Self, SimError> {
        Ok(match name {
            "unplug" => Self::Unplug,
            "drop" => Self::Drop,
            "stall" => Self::Stall,
            "delay" => Self::Delay(delay_ms),
            "garbage" => Self::Garbage,
            "wrong-channel" => Self::WrongChannel,
            "wrong-sequence" => Self::WrongSequence,
            "false-length" => Self::FalseLength,
            "endless-keepalive" => Self::EndlessKeepalive,
            "truncated" => Self::Truncated,
            "oversized" => Self::Oversized,
            other => {
                let known = Self::NAMES.join(", ");
                return Err(SimError::Invalid(format!("no fault {other:?}; there are {known}")));
            }
        })
    }
}

/// A fault and where it strikes: at the first frame from number `frame` on that goes in `direction`, if one is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// The frame's number; the first is 1.
    pub frame: u64,
    /// Only frames that go this way.
    pub direction: Option<Direction>,
}

impl Fault {
    /// A fault at exactly this frame, whichever way it goes.
    pub fn at(frame: u64, kind: FaultKind) -> Self {
        Self {
            kind,
            frame,
            direction: None,
        }
    }
}

/// A fault and whether it has struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Armed {
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
    /// The frame it struck, if it did.
    pub struck: Option<u64>,
}

/// One frame on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A HID report.
    Hid(Report),
    /// A command or response APDU.
    Card(Vec<u8>),
}

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It arrives, perhaps changed.
    Deliver(Frame),
    /// It arrives after so many milliseconds.
    Late(Millis, Frame),
    /// It is lost.
    Lost,
    /// The token is pulled out.
    Unplug,
}

/// What a fault left behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aftermath {
    None,
    Silent,
    Keepalives { channel: [u8; 4], next: Millis },
    CardNeverDone,
}

/// Directions remembered for [`Tape::frames`]; the count itself goes on.
const REMEMBERED: usize = 65_536;
/// Milliseconds between the keep-alives that never end.
const KEEPALIVE_MS: Millis = 100;

/// Counts a token's frames and strikes them with what was armed.
pub struct Tape {
    count: u64,
    frames: Vec<Direction>,
    armed: Vec<Armed>,
    aftermath: Aftermath,
    /// A continuation after this message's start is lost.
    cut_message: bool,
    last_response: Vec<u8>,
    entropy: Entropy,
}

impl Tape {
    /// An empty tape.
    pub fn new(entropy: Entropy) -> Self {
        Self {
            count: 0,
            frames: Vec::new(),
            armed: Vec::new(),
            aftermath: Aftermath::None,
            cut_message: false,
            last_response: Vec::new(),
            entropy,
        }
    }

    /// Counts from 1 again; what is armed stays armed.
    pub fn record(&mut self) {
        self.count = 0;
        self.frames.clear();
    }

    /// A token that is plugged in anew has no past: counting starts again and what a fault left behind is gone.
    pub fn replug(&mut self) {
        self.record();
        self.aftermath = Aftermath::None;
        self.cut_message = false;
        self.last_response.clear();
    }

    /// Arms a fault.
    pub fn arm(&mut self, fault: Fault) {
        self.armed.push(Armed { fault, struck: None });
    }

    /// Disarms everything and ends what faults left behind.
    pub fn clear(&mut self) {
        self.armed.clear();
        self.aftermath = Aftermath::None;
        self.cut_message = false;
    }

    /// What is armed, and what of it has struck.
    pub fn armed(&self) -> &[Armed] {
        &self.armed
    }

    /// How many frames have passed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The direction of each frame, the first being number 1.
    pub fn frames(&self) -> &[Direction] {
        &self.frames
    }

    /// When [`Self::tick`] has something to say.
    pub fn next_tick(&self) -> Option<Millis> {
        match self.aftermath {
            Aftermath::Keepalives { next, .. } => Some(next),
            _ => None,
        }
    }

    /// The next of the keep-alives that never end.
    pub fn tick(&mut self, now: Millis) -> Option<Report> {
        match &mut self.aftermath {
            Aftermath::Keepalives { channel, next } if now >= *next => {
                *next = now + KEEPALIVE_MS;
                fragment(u32::from_be_bytes(*channel), 0x3b, &[1]).first().copied()
            }
            _ => None,
        }
    }

    /// Passes a frame.
    pub fn pass(&mut self, direction: Direction, frame: Frame, now: Millis) -> Passage {
        self.count += 1;
        if self.frames.len() < REMEMBERED {
            self.frames.push(direction);
        }
        if let Some(lost) = self.after(direction, &frame) {
            return lost;
        }
        let number = self.count;
        let due = |armed: &&mut Armed| {
            armed.struck.is_none()
                && number >= armed.fault.frame
                && armed
                    .fault
                    .direction
                    .map_or(number == armed.fault.frame, |wanted| wanted == direction)
        };
        let struck = self.armed.iter_mut().find(due).map(|armed| {
            armed.struck = Some(number);
            armed.fault.kind
        });
        let passage = match struck {
            None => Passage::Deliver(frame),
            Some(kind) => self.strike(kind, direction, frame, now),
        };
        if let (Direction::In, Passage::Deliver(Frame::Card(response))) = (direction, &passage) {
            self.last_response.clone_from(response);
        }
        passage
    }

    /// What an earlier fault does to this frame.
    fn after(&mut self, direction: Direction, frame: &Frame) -> Option<Passage> {
        match (self.aftermath, direction, frame) {
            (Aftermath::Silent | Aftermath::Keepalives { .. }, _, _) => return Some(Passage::Lost),
            (Aftermath::CardNeverDone, Direction::In, Frame::Card(_)) => {
                return Some(Passage::Deliver(Frame::Card(vec![0x61, 0xff])));
            }
            _ => {}
        }
        if self.cut_message && direction == Direction::In {
            match frame {
                Frame::Hid([_, _, _, _, 0..=0x7f, ..]) => return Some(Passage::Lost),
                _ => self.cut_message = false,
            }
        }
        None
    }

    fn strike(&mut self, kind: FaultKind, direction: Direction, frame: Frame, now: Millis) -> Passage {
        match (kind, frame) {
            (FaultKind::Unplug, _) => Passage::Unplug,
            (FaultKind::Drop, _) => Passage::Lost,
            (FaultKind::Stall, _) => {
                self.aftermath = Aftermath::Silent;
                Passage::Lost
            }
            (FaultKind::Delay(ms), frame) => Passage::Late(ms, frame),
            (kind, Frame::Hid(report)) => self.strike_report(kind, direction, report, now),
            (kind, Frame::Card(apdu)) => Passage::Deliver(Frame::Card(self.strike_apdu(kind, direction, apdu))),
        }
    }

    fn strike_report(&mut self, kind: FaultKind, direction: Direction, mut report: Report, now: Millis) -> Passage {
        let [c0, c1, c2, c3, head, high, low, ..] = &mut report;
        match kind {
            FaultKind::Garbage => {
                if let Some(rest) = report.get_mut(4..) {
                    self.entropy.fill(rest);
                }
            }
            FaultKind::WrongChannel => *c2 ^= 0x5a,
            // 0x7f is the last sequence number there is; no message of ours is that long.
            FaultKind::WrongSequence => *head = if *head & 0x80 != 0 { 0x7f } else { *head ^ 0x55 },
            FaultKind::EndlessKeepalive => {
                self.aftermath = Aftermath::Keepalives {
                    channel: [*c0, *c1, *c2, *c3],
                    next: now,
                };
                return Passage::Lost;
            }
            _ if *head & 0x80 != 0 => (*high, *low) = (0xff, 0xff),
            _ => {
                self.cut_message = direction == Direction::In;
                return Passage::Lost;
            }
        }
        Passage::Deliver(Frame::Hid(report))
    }

    fn strike_apdu(&mut self, kind: FaultKind, direction: Direction, mut apdu: Vec<u8>) -> Vec<u8> {
        match (kind, direction) {
            (FaultKind::Garbage, _) => self.entropy.fill(&mut apdu),
            (FaultKind::WrongChannel, Direction::Out) => {
                if let Some(class) = apdu.first_mut() {
                    *class |= 0x03;
                }
            }
            (FaultKind::WrongChannel, Direction::In) => apdu = vec![0x68, 0x81],
            (FaultKind::WrongSequence, Direction::Out) => apdu = vec![0x00, 0xa5, 0x00, 0x00],
            (FaultKind::WrongSequence, Direction::In) => {
                apdu = if self.last_response.is_empty() {
                    vec![0x90, 0x00]
                } else {
                    self.last_response.clone()
                };
            }
            (FaultKind::FalseLength, Direction::Out) => {
                // Lc promises more than there is.
                match apdu.get_mut(4) {
                    Some(length) => *length = length.wrapping_add(0x55),
                    None => apdu.extend([0x55, 0x00]),
                }
            }
            (FaultKind::FalseLength, Direction::In) => match apdu.as_mut_slice() {
                [_, length, _, _, ..] => *length = 0x7f,
                _ => {
                    self.aftermath = Aftermath::CardNeverDone;
                    apdu = vec![0x61, 0xff];
                }
            },
            (FaultKind::EndlessKeepalive, _) => {
                self.aftermath = Aftermath::CardNeverDone;
                if direction == Direction::In {
                    apdu = vec![0x61, 0xff];
                }
            }
            (FaultKind::Truncated, _) => apdu.truncate(apdu.len() / 2),
            (FaultKind::Oversized, _) => apdu.resize(66_000, 0x90),
            _ => {}
        }
        apdu
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tape() -> Tape {
        Tape::new(Entropy::seeded(1, "tape"))
    }

    fn report(head: u8) -> Frame {
        let mut report = [0x11; 64];
        report[4] = head;
        Frame::Hid(report)
    }

    #[test]
    fn strikes_one_frame_and_tells_which() {
        let mut tape = tape();
        tape.arm(Fault::at(2, FaultKind::Drop));
        assert_eq!(
            tape.pass(Direction::Out, report(0x86), 0),
            Passage::Deliver(report(0x86))
        );
        assert_eq!(tape.armed()[0].struck, None);
        assert_eq!(tape.pass(Direction::In, report(0x86), 0), Passage::Lost);
        assert_eq!(tape.armed()[0].struck, Some(2));
        assert_eq!(
            tape.pass(Direction::Out, report(0x90), 0),
            Passage::Deliver(report(0x90))
        );
        assert_eq!(tape.frames(), [Direction::Out, Direction::In, Direction::Out]);
    }

    #[test]
    fn waits_for_a_frame_of_the_named_direction() {
        let mut tape = tape();
        tape.arm(Fault {
            kind: FaultKind::Unplug,
            frame: 1,
            direction: Some(Direction::In),
        });
        assert_eq!(
            tape.pass(Direction::Out, report(0x86), 0),
            Passage::Deliver(report(0x86))
        );
        assert_eq!(tape.pass(Direction::In, report(0x86), 0), Passage::Unplug);
    }

    #[test]
    fn a_stall_lasts_until_the_replug() {
        let mut tape = tape();
        tape.arm(Fault::at(1, FaultKind::Stall));
        assert_eq!(tape.pass(Direction::In, report(0x86), 0), Passage::Lost);
        assert_eq!(tape.pass(Direction::In, report(0x86), 0), Passage::Lost);
        tape.replug();
        assert_eq!(
            tape.pass(Direction::In, report(0x86), 0),
            Passage::Deliver(report(0x86))
        );
    }

    #[test]
    fn keepalives_never_end() {
        let mut tape = tape();
        tape.arm(Fault::at(1, FaultKind::EndlessKeepalive));
        assert_eq!(tape.pass(Direction::Out, report(0x90), 1_000), Passage::Lost);
        for now in (1_000..60_000).step_by(100) {
            let report = tape.tick(now).unwrap();
            assert_eq!(report[..8], [0x11, 0x11, 0x11, 0x11, 0xbb, 0, 1, 1]);
            assert_eq!(tape.tick(now), None);
        }
    }

    #[test]
    fn every_kind_changes_every_sort_of_frame() {
        let cards = [vec![0, 0xa4, 4, 0, 1, 7], vec![0x79, 1, 5, 0x90, 0], vec![0x90, 0x00]];
        for name in FaultKind::NAMES {
            for frame in [report(0x90), report(0x00)]
                .into_iter()
                .chain(cards.iter().cloned().map(Frame::Card))
            {
                for direction in [Direction::Out, Direction::In] {
                    let mut tape = tape();
                    tape.arm(Fault::at(2, FaultKind::named(name, 5).unwrap()));
                    let first = Frame::Card(vec![1, 2, 3, 0x90, 0x00]);
                    assert_eq!(tape.pass(Direction::In, first.clone(), 0), Passage::Deliver(first));
                    let passed = tape.pass(direction, frame.clone(), 0);
                    let next = tape.pass(Direction::In, Frame::Card(vec![0x90, 0]), 0);
                    let unchanged = passed == Passage::Deliver(frame.clone())
                        && next == Passage::Deliver(Frame::Card(vec![0x90, 0]))
                        && tape.next_tick().is_none();
                    assert!(!unchanged, "{name} left {frame:?} going {direction:?} alone");
                }
            }
        }
    }
}
