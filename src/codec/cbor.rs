//! CBOR as CTAP2 uses it (CTAP 2.1 section 8, “Message Encoding”; RFC 8949).
//!
//! [`encode`] writes the CTAP2 canonical form: shortest integers and lengths, definite lengths only, map keys sorted by
//! major type, then by length, then by bytes. [`decode`] is bounded in depth, in size and in item count. It accepts what
//! keys in the field get wrong without harm (key order, integers longer than needed) and refuses what would make a message
//! mean two things: duplicate keys, trailing bytes, indefinite lengths and tags.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::convert::Infallible;

use minicbor::data::{Int, Type};
use minicbor::{Decoder, Encoder};

mod value;

pub use value::{Map, Value};

/// Deepest nesting of arrays and maps in a CTAP2 message (CTAP 2.1 section 8).
pub const MAX_DEPTH: usize = 4;

/// Longest message CTAPHID can carry: `64 - 7 + 128 * (64 - 5)` bytes (CTAP 2.1 section 11.2.4).
pub const MAX_SIZE: usize = 7609;

/// What [`decode`] will put up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Deepest nesting of arrays and maps; 0 allows only a scalar.
    pub depth: usize,
    /// Longest input in bytes.
    pub size: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: MAX_DEPTH,
            size: MAX_SIZE,
        }
    }
}

/// Why bytes are not a CBOR message we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// The input ends inside an item.
    #[error("the CBOR message is cut short")]
    Truncated,
    /// More input than [`Limits::size`].
    #[error("the CBOR message is longer than allowed")]
    TooLong,
    /// Nested deeper than [`Limits::depth`].
    #[error("the CBOR message is nested deeper than allowed")]
    TooDeep,
    /// A tag, an indefinite length or a reserved head.
    #[error("the CBOR message uses a form that CTAP2 does not allow")]
    Forbidden,
    /// Text that is not UTF-8.
    #[error("a CBOR text is not UTF-8")]
    NotUtf8,
    /// One map has the same key twice.
    #[error("a CBOR map holds the same key twice")]
    DuplicateKey,
    /// Bytes after the end of the message.
    #[error("there are bytes after the end of the CBOR message")]
    TrailingBytes,
}

/// The CTAP2 canonical encoding.
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to a vector cannot fail: its error type is `Infallible`.
    let written = write(&mut out, value);
    debug_assert!(written.is_ok());
    out
}

fn write(out: &mut Vec<u8>, value: &Value) -> Result<(), minicbor::encode::Error<Infallible>> {
    let mut encoder = Encoder::new(&mut *out);
    match value {
        Value::Unsigned(n) => encoder.u64(*n)?.ok(),
        Value::Negative(n) => match Int::try_from(-1 - i128::from(*n)) {
            Ok(number) => encoder.int(number)?.ok(),
            Err(_) => encoder.null()?.ok(), // not reached: the range is the same
        },
        Value::Bytes(bytes) => encoder.bytes(bytes)?.ok(),
        Value::Text(text) => encoder.str(text)?.ok(),
        Value::Bool(truth) => encoder.bool(*truth)?.ok(),
        Value::Null => encoder.null()?.ok(),
        Value::Simple(23) => encoder.undefined()?.ok(),
        Value::Simple(n) => encoder.simple(*n)?.ok(),
        Value::Float { width, bits } => {
            write_float(out, *width, *bits);
            Ok(())
        }
        Value::Array(items) => {
            encoder.array(items.len() as u64)?;
            items.iter().try_for_each(|item| write(out, item))
        }
        Value::Map(map) => {
            encoder.map(map.len() as u64)?;
            let mut members: Vec<(Vec<u8>, &Value)> = map.iter().map(|(k, v)| (encode(k), v)).collect();
            members.sort_by(|(a, _), (b, _)| canonical_order(a, b));
            members.into_iter().try_for_each(|(key, value)| {
                out.extend_from_slice(&key);
                write(out, value)
            })
        }
    }
}

fn write_float(out: &mut Vec<u8>, width: u8, bits: u64) {
    let (head, from) = match width {
        2 => (0xF9, 6),
        4 => (0xFA, 4),
        _ => (0xFB, 0),
    };
    out.push(head);
    out.extend(bits.to_be_bytes().iter().skip(from));
}

/// Order of two encoded keys: major type, then length, then bytes.
fn canonical_order(a: &[u8], b: &[u8]) -> Ordering {
    let major = |key: &[u8]| key.first().map(|head| head >> 5);
    major(a)
        .cmp(&major(b))
        .then(a.len().cmp(&b.len()))
        .then_with(|| a.cmp(b))
}

/// Reads exactly one item that fills `bytes`.
///
/// # Errors
/// Any [`CborError`].
pub fn decode(bytes: &[u8], limits: Limits) -> Result<Value, CborError> {
    let (value, used) = decode_prefix(bytes, limits)?;
    if used == bytes.len() {
        Ok(value)
    } else {
        Err(CborError::TrailingBytes)
    }
}

/// Reads one item from the front of `bytes` and tells how many bytes it took: a COSE key inside authenticator data is
/// followed by its extensions without a length in between (WebAuthn section 6.1).
///
/// # Errors
/// Any [`CborError`] but [`CborError::TrailingBytes`].
pub fn decode_prefix(bytes: &[u8], limits: Limits) -> Result<(Value, usize), CborError> {
    if bytes.len() > limits.size {
        return Err(CborError::TooLong);
    }
    let mut decoder = Decoder::new(bytes);
    let value = read(&mut decoder, limits.depth)?;
    Ok((value, decoder.position()))
}

/// Recursion is bounded by `depth`, which falls by one with each array or map.
fn read(decoder: &mut Decoder<'_>, depth: usize) -> Result<Value, CborError> {
    let kind = decoder.datatype().map_err(translate)?;
    match kind {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => Ok(Value::Unsigned(decoder.u64().map_err(translate)?)),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            let number = i128::from(decoder.int().map_err(translate)?);
            u64::try_from(-1 - number)
                .map(Value::Negative)
                .map_err(|_| CborError::Forbidden)
        }
        Type::Bytes => Ok(Value::Bytes(decoder.bytes().map_err(translate)?.to_vec())),
        Type::String => decoder.str().map(Value::from).map_err(|e| match translate(e) {
            CborError::Truncated => CborError::Truncated,
            _ => CborError::NotUtf8,
        }),
        Type::Bool => Ok(Value::Bool(decoder.bool().map_err(translate)?)),
        Type::Null => decoder.null().map(|()| Value::Null).map_err(translate),
        Type::Undefined => decoder.undefined().map(|()| Value::Simple(23)).map_err(translate),
        // Values below 32 have a form of one byte; the two-byte form of them is not well-formed (RFC 8949 section 3.3).
        Type::Simple => match decoder.simple().map_err(translate)? {
            20..32 => Err(CborError::Forbidden),
            n => Ok(Value::Simple(n)),
        },
        Type::F16 => read_float(decoder, 2),
        Type::F32 => read_float(decoder, 4),
        Type::F64 => read_float(decoder, 8),
        Type::Array => read_array(decoder, depth.checked_sub(1).ok_or(CborError::TooDeep)?),
        Type::Map => read_map(decoder, depth.checked_sub(1).ok_or(CborError::TooDeep)?),
        Type::BytesIndef | Type::StringIndef | Type::ArrayIndef | Type::MapIndef | Type::Tag | Type::Break => {
            Err(CborError::Forbidden)
        }
        Type::Unknown(_) => Err(CborError::Forbidden),
    }
}

fn read_float(decoder: &mut Decoder<'_>, width: u8) -> Result<Value, CborError> {
    let start = decoder.position() + 1;
    let end = start + usize::from(width);
    let bytes = decoder.input().get(start..end).ok_or(CborError::Truncated)?;
    let bits = bytes.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    decoder.set_position(end);
    Ok(Value::Float { width, bits })
}

fn read_array(decoder: &mut Decoder<'_>, depth: usize) -> Result<Value, CborError> {
    let count = decoder.array().map_err(translate)?.ok_or(CborError::Forbidden)?;
    let count = believable(decoder, count, 1)?;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(read(decoder, depth)?);
    }
    Ok(Value::Array(items))
}

fn read_map(decoder: &mut Decoder<'_>, depth: usize) -> Result<Value, CborError> {
    let count = decoder.map().map_err(translate)?.ok_or(CborError::Forbidden)?;
    let count = believable(decoder, count, 2)?;
    let mut members = Vec::with_capacity(count);
    let mut seen = BTreeSet::new();
    for _ in 0..count {
        let key = read(decoder, depth)?;
        // Compared in canonical form, so that 0x01 and 0x1801 are the same key.
        if !seen.insert(encode(&key)) {
            return Err(CborError::DuplicateKey);
        }
        members.push((key, read(decoder, depth)?));
    }
    Ok(Value::Map(Map(members)))
}

/// An item takes at least one byte, so a count beyond the bytes that are left is a lie; we must not allocate for it.
fn believable(decoder: &Decoder<'_>, count: u64, bytes_each: usize) -> Result<usize, CborError> {
    let left = decoder.input().len().saturating_sub(decoder.position());
    let count = usize::try_from(count).map_err(|_| CborError::Truncated)?;
    if count.saturating_mul(bytes_each) > left {
        Err(CborError::Truncated)
    } else {
        Ok(count)
    }
}

// By value, because that is how `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn translate(error: minicbor::decode::Error) -> CborError {
    if error.is_end_of_input() {
        CborError::Truncated
    } else {
        CborError::Forbidden
    }
}

#[cfg(test)]
mod tests;
