//! Tags, lengths and values.

use super::YkoathError;

/// The tags of the applet.
pub(super) mod tag {
    pub const NAME: u8 = 0x71;
    pub const LISTED: u8 = 0x72;
    pub const KEY: u8 = 0x73;
    pub const CHALLENGE: u8 = 0x74;
    pub const FULL: u8 = 0x75;
    pub const TRUNCATED: u8 = 0x76;
    pub const NO_RESPONSE: u8 = 0x77;
    pub const PROPERTY: u8 = 0x78;
    pub const VERSION: u8 = 0x79;
    pub const IMF: u8 = 0x7A;
    pub const ALGORITHM: u8 = 0x7B;
    pub const TOUCH: u8 = 0x7C;
    /// Of a Nitrokey 3: its PIN, and a new one.
    pub const PIN: u8 = 0x80;
    pub const NEW_PIN: u8 = 0x81;
    /// Of a Nitrokey 3, in SELECT: tries left, when a PIN is set.
    pub const PIN_TRIES: u8 = 0x82;
    /// Of a Nitrokey 3, in SELECT.
    pub const SERIAL: u8 = 0x8F;
}

/// Tag, length, value; ends after the first error.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u8, &'a [u8]), YkoathError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, rest) = self.0.split_first()?;
        let field = read_value(rest);
        self.0 = field.map_or(&[], |(_, rest)| rest);
        Some(field.map(|(value, _)| (*tag, value)).ok_or(YkoathError::Truncated))
    }
}

/// Length (one byte below 0x80, else `81 LL` or `82 LL LL`) and value; what is left after them.
fn read_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes {
        [length @ 0..=0x7F, rest @ ..] | [0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Appends a field. Every caller's value is shorter than 256 bytes: names have at most 64, keys 130.
pub(super) fn push_tlv(data: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    data.push(tag);
    if length > 0x7F {
        data.push(0x81);
    }
    data.push(u8::try_from(length).unwrap_or(u8::MAX));
    parts.iter().for_each(|part| data.extend_from_slice(part));
}

pub(super) fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(value.len() + 3);
    push_tlv(&mut data, tag, &[value]);
    data
}
