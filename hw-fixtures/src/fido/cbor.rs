//! CTAP2 canonical CBOR (CTAP 2.1 section 8) over `ciborium`'s values.

use ciborium::Value;

use super::Status;

/// Encodes `value` with every map in canonical key order.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing a Value into a Vec cannot fail.
    let _ = ciborium::into_writer(&canonical(value), &mut out);
    out
}

/// Decodes one item; with `strict`, anything but its canonical encoding is refused.
pub fn decode(bytes: &[u8], strict: bool) -> Result<Value, Status> {
    let mut rest = bytes;
    // CTAP allows four levels; sixteen is generous and keeps hostile nesting off the stack.
    let value: Value =
        ciborium::de::from_reader_with_recursion_limit(&mut rest, 16).map_err(|_| Status::InvalidCbor)?;
    if !rest.is_empty() || (strict && encode(&value) != bytes) {
        return Err(Status::InvalidCbor);
    }
    Ok(value)
}

/// Keys sort by major type, then by length of their encoding, then by bytes.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Map(entries) => {
            let mut sorted: Vec<(Vec<u8>, (Value, Value))> = entries
                .iter()
                .map(|(key, value)| (encode(key), (canonical(key), canonical(value))))
                .collect();
            sorted.sort_by_cached_key(|(key, _)| (key.first().map_or(0, |head| head >> 5), key.len(), key.clone()));
            Value::Map(sorted.into_iter().map(|(_, entry)| entry).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

/// A map with integer keys; entries whose value is `None` are left out.
pub fn int_map<const N: usize>(entries: [(i64, Option<Value>); N]) -> Value {
    Value::Map(
        entries
            .into_iter()
            .filter_map(|(key, value)| Some((Value::from(key), value?)))
            .collect(),
    )
}

/// A map with text keys; entries whose value is `None` are left out.
pub fn text_map<const N: usize>(entries: [(&str, Option<Value>); N]) -> Value {
    Value::Map(
        entries
            .into_iter()
            .filter_map(|(key, value)| Some((Value::from(key), value?)))
            .collect(),
    )
}

/// A byte string.
pub fn bytes(data: &[u8]) -> Option<Value> {
    Some(Value::Bytes(data.to_vec()))
}

/// An unsigned integer.
pub fn uint(number: u64) -> Option<Value> {
    Some(Value::from(number))
}

/// A text string.
pub fn text(text: &str) -> Option<Value> {
    Some(Value::from(text))
}

/// The parameters of a command: a map with integer keys, read with the status codes the standard wants.
#[derive(Clone, Debug)]
pub struct Params(Vec<(Value, Value)>);

impl Params {
    /// Reads a map. Anything else is [`Status::CborUnexpectedType`].
    pub fn new(value: Value) -> Result<Self, Status> {
        value.into_map().map(Self).map_err(|_| Status::CborUnexpectedType)
    }

    /// An empty map, for commands that came without parameters.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// The value under integer `key`.
    pub fn get(&self, key: i64) -> Option<&Value> {
        find(&self.0, &Value::from(key))
    }

    /// The byte string under `key`.
    pub fn bytes(&self, key: i64) -> Result<Option<&[u8]>, Status> {
        self.get(key)
            .map(|value| value.as_bytes().map(Vec::as_slice).ok_or(Status::CborUnexpectedType))
            .transpose()
    }

    /// The text under `key`.
    pub fn text(&self, key: i64) -> Result<Option<&str>, Status> {
        self.get(key)
            .map(|value| value.as_text().ok_or(Status::CborUnexpectedType))
            .transpose()
    }

    /// The unsigned integer under `key`.
    pub fn uint(&self, key: i64) -> Result<Option<u64>, Status> {
        self.get(key)
            .map(|value| as_uint(value).ok_or(Status::CborUnexpectedType))
            .transpose()
    }

    /// The boolean under `key`.
    pub fn boolean(&self, key: i64) -> Result<Option<bool>, Status> {
        self.get(key)
            .map(|value| value.as_bool().ok_or(Status::CborUnexpectedType))
            .transpose()
    }

    /// The map under `key`.
    pub fn map(&self, key: i64) -> Result<Option<&Vec<(Value, Value)>>, Status> {
        self.get(key)
            .map(|value| value.as_map().ok_or(Status::CborUnexpectedType))
            .transpose()
    }

    /// The array under `key`.
    pub fn array(&self, key: i64) -> Result<Option<&Vec<Value>>, Status> {
        self.get(key)
            .map(|value| value.as_array().ok_or(Status::CborUnexpectedType))
            .transpose()
    }
}

/// An integer that is not negative.
pub fn as_uint(value: &Value) -> Option<u64> {
    value.as_integer().and_then(|integer| u64::try_from(integer).ok())
}

/// The entry under `key` of a decoded map.
pub fn find<'a>(map: &'a [(Value, Value)], key: &Value) -> Option<&'a Value> {
    map.iter().find(|(known, _)| known == key).map(|(_, value)| value)
}

/// The entry under a text key.
pub fn field<'a>(map: &'a [(Value, Value)], key: &str) -> Option<&'a Value> {
    map.iter()
        .find(|(known, _)| known.as_text() == Some(key))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn maps_come_out_in_canonical_order() {
        let map = text_map([
            ("clientPin", Some(false.into())),
            ("up", Some(true.into())),
            ("rk", Some(true.into())),
        ]);
        assert_eq!(
            encode(&map),
            [b"\xa3\x62rk\xf5\x62up\xf5\x69clientPin".as_slice(), b"\xf4"].concat()
        );
        let negative = int_map([(-1, uint(1)), (3, uint(2)), (1, uint(3))]);
        assert_eq!(encode(&negative), b"\xa3\x01\x03\x03\x02\x20\x01");
    }

    #[test]
    fn strict_refuses_what_loose_accepts() {
        let unsorted = b"\xa2\x03\x01\x01\x01";
        assert!(decode(unsorted, false).is_ok());
        assert_eq!(decode(unsorted, true).unwrap_err(), Status::InvalidCbor);
        assert_eq!(decode(b"\x01\x01", false).unwrap_err(), Status::InvalidCbor);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = decode(&data, true) {
                prop_assert_eq!(encode(&value), data);
            }
        }
    }
}
