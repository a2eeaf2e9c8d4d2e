//! Faults at the seam between a token and its front, by frame number.
//!
//! A frame is one HID report, one command APDU or one response APDU. Frames are counted from 1, over both directions,
//! since the token was plugged in or since [`Tape::record`]. A test records an operation, reads how many frames it took
//! and which way each went, and then visits every frame with every [`FaultKind`].

mod tape;

use serde::{Deserialize, Serialize};

use crate::fido::ctaphid::Report;
use crate::{Millis, SimError};
pub use tape::Tape;

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
