//! Command APDUs (ISO 7816-4 section 5.1) and the status words this card answers.

/// A command as the card sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apdu {
    /// CLA.
    pub class: u8,
    /// INS.
    pub instruction: u8,
    /// P1.
    pub p1: u8,
    /// P2.
    pub p2: u8,
    /// The command data.
    pub data: Vec<u8>,
    /// The longest answer that is asked for; `None` without an `Le`.
    pub le: Option<usize>,
    /// Whether its lengths are of the extended form.
    pub extended: bool,
}

impl Apdu {
    /// Reads a short or extended APDU of any of the four cases; `None` when its lengths contradict each other.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let ([class, instruction, p1, p2], rest) = raw.split_first_chunk::<4>()?;
        let (data, le, extended) = match rest {
            [] => (&[][..], None, false),
            [le] => (&[][..], Some(short(*le)), false),
            [0, high, low] => (&[][..], Some(long(*high, *low)), true),
            [0, high, low, rest @ ..] => {
                let (data, tail) = body(rest, usize::from(u16::from_be_bytes([*high, *low])))?;
                match tail {
                    [] => (data, None, true),
                    [high, low] => (data, Some(long(*high, *low)), true),
                    _ => return None,
                }
            }
            [length, rest @ ..] => {
                let (data, tail) = body(rest, usize::from(*length))?;
                match tail {
                    [] => (data, None, false),
                    [le] => (data, Some(short(*le)), false),
                    _ => return None,
                }
            }
        };
        Some(Self {
            class: *class,
            instruction: *instruction,
            p1: *p1,
            p2: *p2,
            data: data.to_vec(),
            le,
            extended,
        })
    }
}

/// An `Le` of one byte; 0 stands for 256.
fn short(le: u8) -> usize {
    if le == 0 { 256 } else { usize::from(le) }
}

/// An `Le` of two bytes; 0 stands for 65,536.
fn long(high: u8, low: u8) -> usize {
    match u16::from_be_bytes([high, low]) {
        0 => 65_536,
        le => usize::from(le),
    }
}

/// Splits data of at least one byte from what follows it.
fn body(rest: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    if length == 0 {
        return None;
    }
    rest.split_at_checked(length)
}

/// Status words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[expect(missing_docs, reason = "ISO 7816-4's own names")]
pub enum StatusWord {
    Ok = 0x9000,
    VerificationFailed = 0x6300,
    MemoryFailure = 0x6581,
    WrongLength = 0x6700,
    ChannelNotSupported = 0x6881,
    SecurityNotSatisfied = 0x6982,
    AuthenticationBlocked = 0x6983,
    /// Yubico's "no such object".
    NoSuchObject = 0x6984,
    ConditionsNotSatisfied = 0x6985,
    WrongData = 0x6a80,
    FileNotFound = 0x6a82,
    NoSpace = 0x6a84,
    WrongP1P2 = 0x6a86,
    InstructionNotSupported = 0x6d00,
    ClassNotSupported = 0x6e00,
}

impl StatusWord {
    /// SW1 and SW2.
    pub fn bytes(self) -> [u8; 2] {
        (self as u16).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_cases_short_and_extended() {
        let data = |raw: &[u8]| Apdu::parse(raw).map(|apdu| apdu.data);
        assert_eq!(data(&[0, 0xa1, 0, 0]), Some(vec![]));
        assert_eq!(data(&[0, 0xa1, 0, 0, 0]), Some(vec![]));
        assert_eq!(data(&[0, 0xa1, 0, 0, 2, 7, 8]), Some(vec![7, 8]));
        assert_eq!(data(&[0, 0xa1, 0, 0, 2, 7, 8, 0]), Some(vec![7, 8]));
        assert_eq!(data(&[0, 0xa1, 0, 0, 0, 1, 0]), Some(vec![]));
        assert_eq!(data(&[0, 0xa1, 0, 0, 0, 0, 2, 7, 8]), Some(vec![7, 8]));
        assert_eq!(data(&[0, 0xa1, 0, 0, 0, 0, 2, 7, 8, 0, 0]), Some(vec![7, 8]));
        let le = |raw: &[u8]| Apdu::parse(raw).and_then(|apdu| apdu.le);
        assert_eq!(le(&[0, 0xa1, 0, 0]), None);
        assert_eq!(le(&[0, 0xa1, 0, 0, 0]), Some(256));
        assert_eq!(le(&[0, 0xa1, 0, 0, 2, 7, 8, 17]), Some(17));
        assert_eq!(le(&[0, 0xa1, 0, 0, 0, 0, 0]), Some(65_536));
        for bad in [
            &[0, 0xa1, 0][..],
            &[0, 0xa1, 0, 0, 3, 7, 8],
            &[0, 0xa1, 0, 0, 1, 7, 8, 9],
            &[0, 0xa1, 0, 0, 0, 0, 9, 7],
        ] {
            assert_eq!(data(bad), None);
        }
    }
}
