//! Canonical JSON: one text for one value, so that a MAC over the text is one over the value. `docs/journal.md` tells it to
//! auditors.
//!
//! [`serde_json`] writes the text; where it ends an object, the members are put in order in the text itself. No tree of the
//! value is made on the way, which is most of what a journal entry would cost.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use super::LedgerError;

/// One text for one value: members sorted by the bytes of their names, no white space, whole numbers only.
///
/// # Errors
/// [`LedgerError::Storage`] for a number with a fraction, which two programs need not print alike, and for a name that would have
/// to be escaped, for which two orders could be meant.
pub(crate) fn canonical<T: Serialize + ?Sized>(of: &T) -> Result<String, LedgerError> {
    let mut text = InOrder {
        text: Vec::with_capacity(TYPICAL),
        members: Vec::with_capacity(TYPICAL_MEMBERS),
        objects: Vec::with_capacity(TYPICAL_DEPTH),
        sorted: Vec::new(),
        in_name: false,
    };
    let unwritable = |why: String| LedgerError::Storage(format!("cannot be written as canonical JSON: {why}"));
    of.serialize(&mut Serializer::with_formatter(io::sink(), &mut text))
        .map_err(|why| unwritable(why.to_string()))?;
    String::from_utf8(text.text).map_err(|why| unwritable(why.to_string()))
}

/// Room at the start: bytes of a small value (which a journal entry doubles three times), members at once and depth of an entry.
const TYPICAL: usize = 128;
const TYPICAL_MEMBERS: usize = 32;
const TYPICAL_DEPTH: usize = 8;

/// Where a member stands in the text, `"name":value`.
#[derive(Clone, Copy, Default)]
struct Member {
    /// The quote before the name.
    start: usize,
    /// The byte behind the quote after it.
    named: usize,
    /// The byte behind the value.
    end: usize,
}

/// An object that has not ended.
struct Object {
    /// Of its first member in the text.
    start: usize,
    /// Its members begin here in the list of all.
    members: usize,
}

/// The text so far. The serializer's own writer gets none of it, since it could not be put in order there.
struct InOrder {
    text: Vec<u8>,
    /// Those of all objects that have not ended, the innermost last.
    members: Vec<Member>,
    objects: Vec<Object>,
    /// Where members are put in order.
    sorted: Vec<u8>,
    in_name: bool,
}

impl InOrder {
    /// Puts the members of the innermost object in order, if they are not.
    fn sort(&mut self) {
        let Some(object) = self.objects.pop() else {
            return;
        };
        let (text, sorted) = (&mut self.text, &mut self.sorted);
        let members = self.members.get_mut(object.members..).unwrap_or_default();
        // Without its quotes: the closing one is no end that sorts before every byte.
        let name = |member: &Member| text.get(member.start + 1..member.named.saturating_sub(1));
        if !members.is_sorted_by_key(name) {
            members.sort_by(|one, other| name(one).cmp(&name(other)));
            for member in &*members {
                if !sorted.is_empty() {
                    sorted.push(b',');
                }
                sorted.extend_from_slice(text.get(member.start..member.end).unwrap_or_default());
            }
            text.truncate(object.start);
            text.append(sorted);
        }
        self.members.truncate(object.members);
    }
}

/// As the compact formatter writes it, into the text.
macro_rules! compactly {
    ($($write:ident($($value:ident: $type:ty)?);)*) => {
        $(fn $write<W: ?Sized + io::Write>(&mut self, _: &mut W $(, $value: $type)?) -> io::Result<()> {
            CompactFormatter.$write(&mut self.text $(, $value)?)
        })*
    };
}

impl Formatter for &mut InOrder {
    compactly! {
        write_null();
        write_bool(value: bool);
        write_i8(value: i8);
        write_i16(value: i16);
        write_i32(value: i32);
        write_i64(value: i64);
        write_i128(value: i128);
        write_u8(value: u8);
        write_u16(value: u16);
        write_u32(value: u32);
        write_u64(value: u64);
        write_u128(value: u128);
        write_number_str(value: &str);
        write_byte_array(value: &[u8]);
        write_raw_fragment(fragment: &str);
        begin_string();
        end_string();
        write_string_fragment(fragment: &str);
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object_value();
    }

    fn write_f32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(writer, value.into())
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, _: &mut W, value: f64) -> io::Result<()> {
        let why = format!("{value} may have a fraction, and the journal holds whole numbers only; use a smaller unit");
        Err(io::Error::other(why))
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, _: &mut W, escape: CharEscape) -> io::Result<()> {
        if self.in_name {
            return Err(io::Error::other("a member's name would have to be escaped"));
        }
        CompactFormatter.write_char_escape(&mut self.text, escape)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.text.push(b'{');
        self.objects.push(Object {
            start: self.text.len(),
            members: self.members.len(),
        });
        Ok(())
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.sort();
        self.text.push(b'}');
        Ok(())
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W, first: bool) -> io::Result<()> {
        if !first {
            self.text.push(b',');
        }
        self.members.push(Member {
            start: self.text.len(),
            ..Member::default()
        });
        self.in_name = true;
        Ok(())
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.in_name = false;
        let here = self.text.len();
        if let Some(member) = self.members.last_mut() {
            member.named = here;
        }
        Ok(())
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        let here = self.text.len();
        if let Some(member) = self.members.last_mut() {
            member.end = here;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngSeed};
    use serde_json::{Map, Value, json};

    use super::*;

    #[test]
    fn one_value_has_one_text() {
        let value = json!({"b": [1, -2, {"z": null, "a": true}], "a": "é\n\"", "B": {}, "aa": u64::MAX, "a!": {"y": {"x": 1, "w": 2}}});
        let text = canonical(&value).unwrap();
        assert_eq!(
            text,
            "{\"B\":{},\"a\":\"é\\n\\\"\",\"a!\":{\"y\":{\"w\":2,\"x\":1}},\"aa\":18446744073709551615,\"b\":[1,-2,{\"a\":true,\"z\":null}]}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_structure_is_in_order_however_it_is_declared() {
        #[derive(Serialize)]
        #[serde(tag = "do", rename_all = "kebab-case")]
        enum Deed {
            Insert(Row),
        }
        #[derive(Serialize)]
        struct Row {
            zone: u8,
            inner: Inner,
            also: Option<&'static str>,
        }
        #[derive(Serialize)]
        struct Inner {
            b: [u8; 2],
            a: i64,
        }
        let row = |zone| Row {
            zone,
            inner: Inner { b: [1, 2], a: -1 },
            also: None,
        };
        assert_eq!(
            canonical(&[Deed::Insert(row(1)), Deed::Insert(row(2))]).unwrap(),
            concat!(
                r#"[{"also":null,"do":"insert","inner":{"a":-1,"b":[1,2]},"zone":1},"#,
                r#"{"also":null,"do":"insert","inner":{"a":-1,"b":[1,2]},"zone":2}]"#
            )
        );
    }

    #[test]
    fn what_has_no_one_text_is_refused() {
        for value in [json!(1.5), json!({"a": [0.0]}), json!(1e300), json!({"\n": 1})] {
            assert!(matches!(canonical(&value), Err(LedgerError::Storage(_))), "{value}");
        }
    }

    /// Any value of the journal: no fractions, no names that are escaped.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec(("[ !#-\\[\\]-~é𝄞]{0,5}", inner), 0..6)
                    .prop_map(|members| Value::Object(Map::from_iter(members))),
            ]
        })
    }

    /// The plain way: a tree, sorted, and only then written.
    fn plainly(value: &Value) -> String {
        match value {
            Value::Array(items) => format!("[{}]", items.iter().map(plainly).collect::<Vec<_>>().join(",")),
            Value::Object(members) => {
                let sorted: BTreeMap<&[u8], _> = members.iter().map(|member| (member.0.as_bytes(), member)).collect();
                let each =
                    |(name, member): &(&String, &Value)| format!("{}:{}", Value::from(name.as_str()), plainly(member));
                format!("{{{}}}", sorted.values().map(each).collect::<Vec<_>>().join(","))
            }
            plain => plain.to_string(),
        }
    }

    proptest! {
        #![proptest_config(Config { rng_seed: RngSeed::Fixed(0x8785), failure_persistence: None, ..Config::default() })]
        #[test]
        fn the_text_is_that_of_the_sorted_tree(value in values()) {
            prop_assert_eq!(canonical(&value).unwrap(), plainly(&value));
        }
    }
}
