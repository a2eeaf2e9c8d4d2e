//! Counts a token's frames and strikes those that a fault was armed for.

use super::{Armed, Direction, Fault, FaultKind, Frame, Passage};
use crate::Millis;
use crate::entropy::Entropy;
use crate::fido::ctaphid::{Report, fragment};

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
    /// A delay has struck and was not called off.
    delaying: bool,
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
            delaying: false,
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
        self.delaying = false;
        self.cut_message = false;
        self.last_response.clear();
    }

    /// Arms a fault.
    pub fn arm(&mut self, fault: Fault) {
        self.armed.push(Armed { fault, struck: None });
    }

    /// Disarms everything and ends what faults left behind; a frame that is held back goes on at once.
    pub fn clear(&mut self) {
        self.armed.clear();
        self.aftermath = Aftermath::None;
        self.delaying = false;
        self.cut_message = false;
    }

    /// What is armed, and what of it has struck.
    pub fn armed(&self) -> &[Armed] {
        &self.armed
    }

    /// Whether the delay that struck last still holds; [`Self::clear`] ends it.
    pub fn is_delaying(&self) -> bool {
        self.delaying
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
            (FaultKind::Delay(ms), frame) => {
                self.delaying = true;
                Passage::Late(ms, frame)
            }
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
    use super::super::*;
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
    fn a_delay_holds_until_it_is_cleared() {
        let mut tape = tape();
        tape.arm(Fault::at(1, FaultKind::Delay(60_000)));
        assert!(!tape.is_delaying());
        assert_eq!(
            tape.pass(Direction::Out, report(0x86), 0),
            Passage::Late(60_000, report(0x86))
        );
        assert!(tape.is_delaying());
        tape.clear();
        assert!(!tape.is_delaying());
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
