//! The tree a CBOR message is read into and written from.

/// One CBOR item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Major type 0.
    Unsigned(u64),
    /// Major type 1; the item's value is `-1 - n`.
    Negative(u64),
    /// Major type 2.
    Bytes(Vec<u8>),
    /// Major type 3.
    Text(String),
    /// Major type 4.
    Array(Vec<Value>),
    /// Major type 5.
    Map(Map),
    /// `false` or `true`.
    Bool(bool),
    /// `null`.
    Null,
    /// Any other simple value; 23 is `undefined`.
    Simple(u8),
    /// A floating-point number, kept as it came: CTAP2 does not change their representation.
    Float {
        /// Bytes on the wire: 2, 4 or 8.
        width: u8,
        /// The IEEE 754 bits, in the low end.
        bits: u64,
    },
}

/// A CBOR map, in the order of insertion or arrival; no key occurs twice when it was decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Map(pub(super) Vec<(Value, Value)>);

impl Map {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a member. The caller adds each key once; [`encode`](super::encode) sorts.
    pub fn insert(&mut self, key: impl Into<Value>, value: impl Into<Value>) {
        self.0.push((key.into(), value.into()));
    }

    /// Adds a member when there is a value.
    pub fn insert_some<V: Into<Value>>(&mut self, key: impl Into<Value>, value: Option<V>) {
        if let Some(value) = value {
            self.insert(key, value);
        }
    }

    /// The member with this key.
    #[must_use]
    pub fn get(&self, key: impl Into<Value>) -> Option<&Value> {
        let key = key.into();
        self.0.iter().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// Takes the member with this key out.
    pub fn take(&mut self, key: impl Into<Value>) -> Option<Value> {
        let key = key.into();
        let at = self.0.iter().position(|(k, _)| *k == key)?;
        Some(self.0.remove(at).1)
    }

    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = (&Value, &Value)> {
        self.0.iter().map(|(k, v)| (k, v))
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<Value>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
        Self(members.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

impl IntoIterator for Map {
    type Item = (Value, Value);
    type IntoIter = std::vec::IntoIter<(Value, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Value {
    /// The integer, when it is one and fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Unsigned(n) => i64::try_from(*n).ok(),
            Self::Negative(n) => i64::try_from(*n).ok().map(|n| -1 - n),
            _ => None,
        }
    }

    /// The unsigned integer, when it is one.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(n) => Some(*n),
            _ => None,
        }
    }

    /// The byte string, when it is one.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text, when it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, when it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The array's items, when it is one.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The map, when it is one.
    #[must_use]
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// For people and JSON: byte strings become lower-case hexadecimal, keys that are not text become text.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Unsigned(n) => Json::from(*n),
            Self::Negative(_) => self.as_i64().map_or(Json::Null, Json::from),
            Self::Bytes(bytes) => Json::String(data_encoding::HEXLOWER.encode(bytes)),
            Self::Text(text) => Json::String(text.clone()),
            Self::Array(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(map) => Json::Object(
                map.iter()
                    .map(|(k, v)| {
                        (
                            k.as_text().map_or_else(|| k.to_json().to_string(), str::to_owned),
                            v.to_json(),
                        )
                    })
                    .collect(),
            ),
            Self::Bool(truth) => Json::Bool(*truth),
            Self::Null | Self::Simple(_) => Json::Null,
            Self::Float { width: 8, bits } => Json::from(f64::from_bits(*bits)),
            Self::Float { width: 4, bits } => {
                u32::try_from(*bits).map_or(Json::Null, |b| Json::from(f32::from_bits(b)))
            }
            Self::Float { bits, .. } => Json::String(format!("half-precision 0x{bits:04x}")),
        }
    }
}

impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Self::Unsigned(n)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        // `!n` is `-1 - n`, so a negative number maps to its CBOR argument without overflow.
        u64::try_from(n).map_or_else(|_| Self::Negative((!n).unsigned_abs()), Self::Unsigned)
    }
}

impl From<u8> for Value {
    fn from(n: u8) -> Self {
        Self::Unsigned(n.into())
    }
}

impl From<i32> for Value {
    fn from(n: i32) -> Self {
        Self::from(i64::from(n))
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(items)
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}
