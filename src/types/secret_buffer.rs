//! Where the bytes of a secret gather while it is not known how many there will be.

use std::io::{self, Read};

use zeroize::Zeroizing;

use super::Secret;

/// Bytes that every buffer has room for, and those that are read at a time.
const CHUNK: usize = 4096;

/// A secret that is still arriving, at most `cap` bytes. A vector that grows by itself leaves what it held behind in freed memory;
/// this one moves into a larger one and wipes the old.
pub struct SecretBuffer {
    bytes: Zeroizing<Vec<u8>>,
    cap: usize,
}

/// There is more of it than the buffer may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("holds more than {0} bytes")]
pub struct TooLong(pub usize);

/// What is read at a time, wiped when it is dropped.
#[must_use]
pub fn chunk() -> Zeroizing<[u8; CHUNK]> {
    Zeroizing::new([0; CHUNK])
}

impl SecretBuffer {
    /// An empty one, for at most `cap` bytes.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Self::expecting(cap, 0)
    }

    /// The same with room for as many as are likely to come, so that nothing has to be moved and wiped on the way.
    #[must_use]
    pub fn expecting(cap: usize, likely: usize) -> Self {
        Self {
            bytes: Zeroizing::new(Vec::with_capacity(likely.max(CHUNK).min(cap))),
            cap,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`TooLong`]; the bytes are not taken then.
    pub fn push(&mut self, part: &[u8]) -> Result<(), TooLong> {
        let length = self.bytes.len().saturating_add(part.len());
        if length > self.cap {
            return Err(TooLong(self.cap));
        }
        if length > self.bytes.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(self.cap.min(length.saturating_mul(2))));
            larger.extend_from_slice(&self.bytes);
            // The old one is wiped as it goes.
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    /// Takes all that a source has.
    ///
    /// # Errors
    /// The source's; [`io::ErrorKind::FileTooLarge`] when it has more than fits.
    pub fn fill(&mut self, from: &mut impl Read) -> io::Result<()> {
        let mut chunk = chunk();
        loop {
            match from.read(chunk.as_mut_slice()) {
                Ok(0) => return Ok(()),
                Ok(n) => self
                    .push(chunk.get(..n).unwrap_or_default())
                    .map_err(|why| io::Error::new(io::ErrorKind::FileTooLarge, why))?,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Drops one trailing line feed: what `echo` and editors add to a text.
    pub fn drop_line_feed(&mut self) {
        if self.bytes.last() == Some(&b'\n') {
            self.bytes.pop();
        }
    }

    /// The whole secret.
    #[must_use]
    pub fn into_secret(mut self) -> Secret {
        Secret::new(std::mem::take(&mut *self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_parts_is_whole_and_no_longer_than_the_cap() {
        let whole: Vec<u8> = (0..10_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut buffer = SecretBuffer::new(whole.len());
        for part in whole.chunks(777) {
            buffer.push(part).expect("it fits");
        }
        assert_eq!(buffer.push(b"x"), Err(TooLong(10_000)));
        assert!(buffer.into_secret().expose() == whole);
    }

    #[test]
    fn a_source_without_end_is_too_large() {
        let mut buffer = SecretBuffer::new(5_000);
        let refused = buffer.fill(&mut io::repeat(b'7')).expect_err("too large");
        assert_eq!(refused.kind(), io::ErrorKind::FileTooLarge);
        assert!(buffer.len() <= 5_000);
    }

    #[test]
    fn one_line_feed_is_dropped() {
        let mut buffer = SecretBuffer::new(16);
        buffer.fill(&mut &b"1234\n\n"[..]).expect("read");
        buffer.drop_line_feed();
        assert_eq!(buffer.into_secret().expose(), b"1234\n");
    }
}
