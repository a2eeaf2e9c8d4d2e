//! What a server sends, looked at before a parser of LDAP sees it.
//!
//! The crate that speaks LDAP takes messages of any length and any depth, by recursion, and breaks off on some that lack a part. So its
//! bytes come through here: one message at a time, whole, short enough, flat enough, and of the two parts that we ever ask for.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Fault;

/// Longest message, in bytes. A person's entry with a few hundred groups has some tens of thousands.
const LONGEST: usize = 256 * 1024;
/// Deepest nesting: an attribute's value is at the sixth level.
const DEEPEST: u32 = 12;
/// Most messages in answer to one question: an entry or two, and references to other servers.
const MOST: usize = 64;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const CONSTRUCTED: u8 = 0x20;
const CLASS: u8 = 0xc0;
const APPLICATION: u8 = 0x40;

/// Passes on what the server says, message by message, until it says no more.
///
/// # Errors
/// Always: [`Fault::Closed`] at the end, [`Fault::Malformed`] for what is no message of ours.
pub(super) async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<std::convert::Infallible, Fault> {
    for _ in 0..MOST {
        let (head, body) = message(from).await?;
        to.write_all(&head).await.map_err(|_| Fault::Closed)?;
        to.write_all(&body).await.map_err(|_| Fault::Closed)?;
    }
    Err(Fault::Malformed)
}

/// Reads one message: its head (tag and length), and what it holds.
///
/// # Errors
/// [`Fault::Closed`], [`Fault::Malformed`].
pub(super) async fn message(from: &mut (impl AsyncRead + Unpin)) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let tag = byte(from).await?;
    if tag != SEQUENCE {
        return Err(Fault::Malformed);
    }
    let first = byte(from).await?;
    let mut head = vec![tag, first];
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        // X.690, 8.1.3.5; RFC 4511, 5.1 allows the definite form alone.
        let mut length = 0_usize;
        if !(0x81..=0x84).contains(&first) {
            return Err(Fault::Malformed);
        }
        for _ in 0x80..first {
            let next = byte(from).await?;
            head.push(next);
            length = (length << 8) | usize::from(next);
        }
        length
    };
    if length > LONGEST {
        return Err(Fault::Malformed);
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await.map_err(|_| Fault::Closed)?;
    if is_ours(&body) {
        Ok((head, body))
    } else {
        Err(Fault::Malformed)
    }
}

async fn byte(from: &mut (impl AsyncRead + Unpin)) -> Result<u8, Fault> {
    from.read_u8().await.map_err(|_| Fault::Closed)
}

/// The result code of an `LDAPResult` that answers our first message with this tag (RFC 4511, 4.1.9).
pub(super) fn result_of_first(body: &[u8], tag: u8) -> Option<u8> {
    let (id, rest) = element(body)?;
    let (answer, _) = element(rest)?;
    let (code, _) = element(answer.content)?;
    match (id.content, answer.tag == tag, code.content) {
        ([1], true, [code]) => Some(*code),
        _ => None,
    }
}

/// A number and an operation, and nothing else: we ask for no controls.
fn is_ours(body: &[u8]) -> bool {
    let Some((id, rest)) = element(body) else {
        return false;
    };
    let Some((operation, rest)) = element(rest) else {
        return false;
    };
    id.tag == INTEGER
        && (1..=4).contains(&id.content.len())
        && operation.tag & CLASS == APPLICATION
        && rest.is_empty()
        && is_flat(body, DEEPEST)
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
}

/// The first element, and what follows it.
fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    // LDAP has no tag of more than one byte.
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (&first, mut rest) = rest.split_first()?;
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x84 => {
            let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            rest = after;
            digits
                .iter()
                .fold(0_usize, |length, digit| (length << 8) | usize::from(*digit))
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((Element { tag, content }, rest))
}

/// Whether every element ends where it says and none lies deeper than that.
fn is_flat(mut bytes: &[u8], levels: u32) -> bool {
    let Some(below) = levels.checked_sub(1) else {
        return false;
    };
    while !bytes.is_empty() {
        let Some((found, rest)) = element(bytes) else {
            return false;
        };
        if found.tag & CONSTRUCTED != 0 && !is_flat(found.content, below) {
            return false;
        }
        bytes = rest;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut from = bytes;
        runtime.block_on(message(&mut from)).map(|(_, body)| body)
    }

    /// A bind response: success, no name, no text.
    const BOUND: &[u8] = &[0x30, 0x0c, 2, 1, 1, 0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0];

    #[test]
    fn a_message_is_read_whole() {
        assert_eq!(read(BOUND).unwrap(), BOUND[2..]);
        assert_eq!(result_of_first(&BOUND[2..], 0x61), Some(0));
        assert_eq!(result_of_first(&BOUND[2..], 0x78), None);
        // The same with a length in the long form.
        let mut long = vec![0x30, 0x84, 0, 0, 0, 0x0c];
        long.extend(&BOUND[2..]);
        assert_eq!(read(&long).unwrap(), BOUND[2..]);
    }

    #[test]
    fn whatever_is_cut_off_or_changed_is_an_error_and_no_panic() {
        for cut in 0..BOUND.len() {
            assert_eq!(read(&BOUND[..cut]), Err(Fault::Closed), "{cut}");
        }
        for at in 0..BOUND.len() {
            for value in 0..=u8::MAX {
                let mut bytes = BOUND.to_vec();
                bytes[at] = value;
                let _ = read(&bytes);
            }
        }
    }

    #[test]
    fn what_is_too_long_too_deep_or_of_more_parts_is_refused() {
        assert_eq!(read(&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]), Err(Fault::Malformed));
        assert_eq!(read(&[0x30, 0x80, 0, 0]), Err(Fault::Malformed));
        // As deep as a message of that length can be.
        let mut deep = Vec::new();
        while deep.len() < 60_000 {
            let length = u16::try_from(deep.len()).unwrap().to_be_bytes();
            deep = [&[0x30, 0x82, length[0], length[1]][..], &deep].concat();
        }
        let wrap = |tag: u8, inner: &[u8]| {
            let length = u32::try_from(inner.len()).unwrap().to_be_bytes();
            [&[tag, 0x84][..], &length, inner].concat()
        };
        let message = |operation: &[u8]| wrap(0x30, &[&[2, 1, 1][..], operation].concat());
        assert_eq!(read(&message(&wrap(0x64, &deep))), Err(Fault::Malformed));
        assert!(read(&message(&wrap(0x64, &[4, 0, 0x30, 0]))).is_ok());
        // Controls, which we never ask for.
        let with_controls = [&[0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0][..], &[0xa0, 0]].concat();
        assert_eq!(read(&message(&with_controls)), Err(Fault::Malformed));
        // No operation at all.
        assert_eq!(read(&message(&[])), Err(Fault::Malformed));
    }
}
