//! The applet's TLV: one tag byte, a length of one to three bytes (ISO 7816-4 section 5.2.2.1), a value.

/// Appends one element.
pub fn push(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    match u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes() {
        [0, short @ 0..=0x7f] => out.push(short),
        [0, short] => out.extend([0x81, short]),
        [high, low] => out.extend([0x82, high, low]),
    }
    out.extend(value);
}

/// Reads one element off the front of `data`; `None` when a length runs over the end.
pub fn take<'a>(data: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, rest) = data.split_first()?;
    let (length, rest) = match rest.split_first()? {
        (short @ 0..=0x7f, rest) => (usize::from(*short), rest),
        (0x81, rest) => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        (0x82, rest) => rest
            .split_first_chunk()
            .map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    *data = rest;
    Some((*tag, value))
}

/// Reads one element and insists on its tag.
pub fn expect<'a>(data: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let mut rest = *data;
    let (found, value) = take(&mut rest)?;
    (found == tag).then(|| {
        *data = rest;
        value
    })
}
