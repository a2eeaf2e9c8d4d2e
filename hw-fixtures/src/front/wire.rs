//! The frames of the virtual link; the format is `docs/virtual-link.md`.

use std::io::{self, Read, Write};

use crate::fido::ctaphid::{REPORT, Report};

/// Longest frame, kind and payload together.
pub const MAX_FRAME: usize = 70_000;
/// Longest HELLO payload.
pub const MAX_HELLO: usize = 4096;

/// One frame of the virtual link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// 0x01, token to daemon: JSON that introduces the device.
    Hello(Vec<u8>),
    /// 0x02, daemon to token: JSON with the device's number.
    Welcome(Vec<u8>),
    /// 0x03, daemon to token: a sentence that says why not.
    Refused(String),
    /// 0x10: the daemon opens the HID face.
    HidOpen,
    /// 0x11: a report for the token.
    HidOut(Report),
    /// 0x12: a report from the token.
    HidIn(Report),
    /// 0x13: the daemon closes the HID face.
    HidClose,
    /// 0x20: power for the card; nothing is selected.
    CardConnect,
    /// 0x21: a command APDU.
    CardCommand(Vec<u8>),
    /// 0x22: a response APDU.
    CardResponse(Vec<u8>),
    /// 0x23: the daemon lets go of the card.
    CardDisconnect,
    /// 0x24: the answer to reset.
    CardAtr(Vec<u8>),
}

impl Frame {
    fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => 0x01,
            Self::Welcome(_) => 0x02,
            Self::Refused(_) => 0x03,
            Self::HidOpen => 0x10,
            Self::HidOut(_) => 0x11,
            Self::HidIn(_) => 0x12,
            Self::HidClose => 0x13,
            Self::CardConnect => 0x20,
            Self::CardCommand(_) => 0x21,
            Self::CardResponse(_) => 0x22,
            Self::CardDisconnect => 0x23,
            Self::CardAtr(_) => 0x24,
        }
    }

    fn payload(&self) -> &[u8] {
        match self {
            Self::Hello(bytes) | Self::Welcome(bytes) => bytes,
            Self::Refused(sentence) => sentence.as_bytes(),
            Self::HidOut(report) | Self::HidIn(report) => report,
            Self::CardCommand(bytes) | Self::CardResponse(bytes) | Self::CardAtr(bytes) => bytes,
            Self::HidOpen | Self::HidClose | Self::CardConnect | Self::CardDisconnect => &[],
        }
    }

    /// Writes the frame in one piece.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let payload = self.payload();
        let length = u32::try_from(payload.len() + 1).map_err(|_| bad("a frame is too long"))?;
        let mut whole = Vec::with_capacity(payload.len() + 5);
        whole.extend(length.to_be_bytes());
        whole.push(self.kind());
        whole.extend(payload);
        out.write_all(&whole)
    }

    /// Reads one frame. `None` at the orderly end of the connection.
    ///
    /// # Errors
    /// When the connection breaks inside a frame, a frame is empty or too long, its kind is unknown, or its payload
    /// has not the length its kind wants.
    pub fn read(input: &mut impl Read) -> io::Result<Option<Self>> {
        let mut length = [0; 4];
        match input.read(&mut length)? {
            0 => return Ok(None),
            got => input.read_exact(length.get_mut(got..).unwrap_or_default())?,
        }
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| bad("a frame is too long"))?;
        if length == 0 || length > MAX_FRAME {
            return Err(bad("a frame's length is not between 1 and 70,000"));
        }
        let mut kind = [0];
        input.read_exact(&mut kind)?;
        let mut payload = vec![0; length - 1];
        input.read_exact(&mut payload)?;
        let [kind] = kind;
        Self::parse(kind, payload).map(Some)
    }

    fn parse(kind: u8, payload: Vec<u8>) -> io::Result<Self> {
        let report =
            |payload: Vec<u8>| Report::try_from(payload).map_err(|_| bad(&format!("a report has not {REPORT} bytes")));
        let empty = |frame: Self| {
            if payload.is_empty() {
                Ok(frame)
            } else {
                Err(bad("a frame has a payload too many"))
            }
        };
        match kind {
            0x01 if payload.len() <= MAX_HELLO => Ok(Self::Hello(payload)),
            0x02 => Ok(Self::Welcome(payload)),
            0x03 => Ok(Self::Refused(String::from_utf8_lossy(&payload).into_owned())),
            0x10 => empty(Self::HidOpen),
            0x11 => report(payload).map(Self::HidOut),
            0x12 => report(payload).map(Self::HidIn),
            0x13 => empty(Self::HidClose),
            0x20 => empty(Self::CardConnect),
            0x21 => Ok(Self::CardCommand(payload)),
            0x22 => Ok(Self::CardResponse(payload)),
            0x23 => empty(Self::CardDisconnect),
            0x24 => Ok(Self::CardAtr(payload)),
            other => Err(bad(&format!("a frame of unknown kind {other:#04x}"))),
        }
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_survive_the_way_there_and_back() {
        let frames = [
            Frame::Hello(b"{}".to_vec()),
            Frame::Welcome(b"{}".to_vec()),
            Frame::Refused("no".into()),
            Frame::HidOpen,
            Frame::HidOut([1; 64]),
            Frame::HidIn([2; 64]),
            Frame::HidClose,
            Frame::CardConnect,
            Frame::CardCommand(vec![0, 0xa4]),
            Frame::CardResponse(vec![0x90, 0]),
            Frame::CardDisconnect,
            Frame::CardAtr(vec![0x3b]),
        ];
        let mut wire = Vec::new();
        for frame in &frames {
            frame.write(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        for frame in frames {
            assert_eq!(Frame::read(&mut rest).unwrap(), Some(frame));
        }
        assert_eq!(Frame::read(&mut rest).unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for wire in [
            &[0, 0, 0, 0][..],
            &[0, 1, 0x11, 0x71],
            &[0, 0, 0, 1, 0x99],
            &[0, 0, 0, 2, 0x10, 0],
            &[0, 0, 0, 2, 0x12, 0],
            &[0, 0, 0, 9, 0x21],
            &[0, 0],
        ] {
            assert!(Frame::read(&mut &wire[..]).is_err(), "{wire:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut rest = data.as_slice();
            while let Ok(Some(_)) = Frame::read(&mut rest) {}
        }
    }
}
