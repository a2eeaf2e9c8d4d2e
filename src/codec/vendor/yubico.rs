//! The management application of YubiKeys from firmware 4.1 on: read, never written. Over a contact or NFC it tells the serial that
//! is printed on the key, which USB does not.
//!
//! SELECT by its identifier, then READ CONFIG (00 1D, P1 = page): a length byte and elements of a tag, a length and a value
//! (Yubico's SDK manual, “Get device information”).

use crate::codec::iso7816::{ApduError, Command, Response};

/// The application identifier.
pub const AID: [u8; 8] = [0xA0, 0x00, 0x00, 0x05, 0x27, 0x47, 0x11, 0x17];

const READ_CONFIG: u8 = 0x1D;
const SERIAL: u8 = 0x02;
const VERSION: u8 = 0x05;

/// Why an answer is not one of the management application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum YubicoError {
    /// The length byte and the answer do not agree, or an element ends behind the end.
    #[error("a management answer whose lengths do not agree")]
    Length,
    /// A serial or version of another length than the application's own.
    #[error("a management answer with a member of the wrong length")]
    Member,
}

impl YubicoError {
    /// The sentence as a constant, for errors that carry no allocation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Length => "a management answer whose lengths do not agree",
            Self::Member => "a management answer with a member of the wrong length",
        }
    }
}

/// What a YubiKey tells of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The serial printed on it; none on models that have none (Security Key series) or hide it.
    pub serial: Option<u32>,
    /// Firmware version.
    pub version: Option<[u8; 3]>,
}

/// SELECT of the management application.
///
/// # Errors
/// None in practice: the identifier has a length that is allowed.
pub fn select() -> Result<Command, ApduError> {
    Command::select(&AID)
}

/// READ CONFIG, first page: all that is wanted stands there.
#[must_use]
pub fn read_config() -> Command {
    Command::new(0x00, READ_CONFIG, 0x00, 0x00, Vec::new())
}

/// Reads the answer to READ CONFIG; `None` when the card refused it. Tags that are not known are passed over.
///
/// # Errors
/// [`YubicoError`].
pub fn parse_config(response: &Response) -> Result<Option<DeviceInfo>, YubicoError> {
    if !response.status.is_success() {
        return Ok(None);
    }
    let (length, mut rest) = response.data.split_first().ok_or(YubicoError::Length)?;
    if usize::from(*length) != rest.len() {
        return Err(YubicoError::Length);
    }
    let mut info = DeviceInfo::default();
    while let [tag, length, more @ ..] = rest {
        let (value, next) = more.split_at_checked(usize::from(*length)).ok_or(YubicoError::Length)?;
        match *tag {
            SERIAL => {
                let serial = u32::from_be_bytes(value.try_into().map_err(|_| YubicoError::Member)?);
                // A key that has none says nothing, or zero.
                info.serial = (serial != 0).then_some(serial);
            }
            VERSION => info.version = Some(value.try_into().map_err(|_| YubicoError::Member)?),
            _ => {}
        }
        rest = next;
    }
    if rest.is_empty() {
        Ok(Some(info))
    } else {
        Err(YubicoError::Length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::*;
    use crate::codec::iso7816::{Encoding, StatusWord};

    fn answer(data: &[u8], status: u16) -> Response {
        Response {
            data: Zeroizing::new(data.to_vec()),
            status: StatusWord(status),
        }
    }

    #[test]
    fn the_commands_are_those_of_the_manual() {
        let frames = |command: &Command| -> Vec<Vec<u8>> {
            command
                .frames(Encoding::Short)
                .unwrap()
                .iter()
                .map(|f| f.to_vec())
                .collect()
        };
        assert_eq!(
            frames(&select().unwrap()),
            [b"\x00\xA4\x04\x00\x08\xA0\x00\x00\x05\x27\x47\x11\x17\x00"]
        );
        assert_eq!(frames(&read_config()), [b"\x00\x1D\x00\x00\x00"]);
    }

    #[test]
    fn serial_and_version_are_read_whatever_stands_around_them() {
        let told = b"\x17\x01\x02\x02\x3F\x02\x04\x00\xBC\x61\x4E\x04\x01\x03\x05\x03\x05\x04\x03\x0D\x01\x3B\x99\x00";
        let info = parse_config(&answer(told, 0x9000)).unwrap().unwrap();
        assert_eq!(info.serial, Some(12_345_678));
        assert_eq!(info.version, Some([5, 4, 3]));
        assert_eq!(parse_config(&answer(b"\x00", 0x9000)), Ok(Some(DeviceInfo::default())));
        assert_eq!(
            parse_config(&answer(b"\x06\x02\x04\x00\x00\x00\x00", 0x9000))
                .unwrap()
                .unwrap()
                .serial,
            None
        );
        assert_eq!(parse_config(&answer(b"", 0x6D00)), Ok(None));
    }

    #[test]
    fn lengths_that_do_not_agree_are_refused() {
        for bad in [
            &b""[..],
            b"\x01",
            b"\x02\x02\x04",
            b"\x03\x02\x04\x00",
            b"\x01\x02",
            b"\x05\x02\x04\x00\x00",
        ] {
            assert_eq!(parse_config(&answer(bad, 0x9000)), Err(YubicoError::Length), "{bad:?}");
        }
        for bad in [&b"\x05\x02\x03\x00\x00\x01"[..], b"\x04\x05\x02\x05\x04"] {
            assert_eq!(parse_config(&answer(bad, 0x9000)), Err(YubicoError::Member), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_config(&answer(&data, 0x9000));
        }
    }
}
