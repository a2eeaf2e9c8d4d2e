//! Command APDUs (ISO 7816-4 section 5.1) and the status words this card answers.

/// A command as the card sees it. `Le` decides nothing here: answers come in short pieces.
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
}

impl Apdu {
    /// Reads a short or extended APDU of any of the four cases; `None` when its lengths contradict each other.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let ([class, instruction, p1, p2], rest) = raw.split_first_chunk::<4>()?;
        let data = match rest {
            [] | [_] | [0, _, _] => &[][..],
            [0, high, low, rest @ ..] => body(rest, usize::from(u16::from_be_bytes([*high, *low])), 2)?,
            [length, rest @ ..] => body(rest, usize::from(*length), 1)?,
        };
        Some(Self {
            class: *class,
            instruction: *instruction,
            p1: *p1,
            p2: *p2,
            data: data.to_vec(),
        })
    }
}

/// Splits the data from an `Le` of no or `le` bytes.
fn body(rest: &[u8], length: usize, le: usize) -> Option<&[u8]> {
    let (data, tail) = rest.split_at_checked(length)?;
    (length > 0 && (tail.is_empty() || tail.len() == le)).then_some(data)
}

/// Status words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[expect(missing_docs, reason = "ISO 7816-4's own names")]
pub enum StatusWord {
    Ok = 0x9000,
    MemoryFailure = 0x6581,
    WrongLength = 0x6700,
    ChannelNotSupported = 0x6881,
    SecurityNotSatisfied = 0x6982,
    /// Yubico's "no such object".
    NoSuchObject = 0x6984,
    ConditionsNotSatisfied = 0x6985,
    WrongData = 0x6a80,
    FileNotFound = 0x6a82,
    NoSpace = 0x6a84,
    WrongP1P2 = 0x6a86,
    InstructionNotSupported = 0x6d00,
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
