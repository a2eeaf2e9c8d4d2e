use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;

fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn read_hex(text: &str) -> Result<Value, CborError> {
    decode(&unhex(text), Limits::default())
}

/// RFC 8949 appendix A, the examples that CTAP2 canonical form allows.
#[test]
fn examples_of_the_standard_go_both_ways() {
    let nested = Value::Array(vec![
        Value::from(1),
        Value::Array(vec![Value::from(2), Value::from(3)]),
        Value::Array(vec![Value::from(4), Value::from(5)]),
    ]);
    let cases: Vec<(&str, Value)> = vec![
        ("00", Value::from(0)),
        ("17", Value::from(23)),
        ("1818", Value::from(24)),
        ("1903e8", Value::from(1000)),
        ("1a000f4240", Value::from(1_000_000)),
        ("1bffffffffffffffff", Value::Unsigned(u64::MAX)),
        ("3bffffffffffffffff", Value::Negative(u64::MAX)),
        ("20", Value::from(-1)),
        ("3863", Value::from(-100)),
        ("3903e7", Value::from(-1000)),
        ("4401020304", Value::from(vec![1, 2, 3, 4])),
        ("62c3bc", Value::from("ü")),
        ("8301820203820405", nested),
        ("a201020304", Map::from_iter([(1, 2), (3, 4)]).into()),
        ("f4", Value::from(false)),
        ("f6", Value::Null),
        ("f7", Value::Simple(23)),
        ("f0", Value::Simple(16)),
        ("f8ff", Value::Simple(255)),
        ("f93c00", Value::Float { width: 2, bits: 0x3c00 }),
        (
            "fb3ff199999999999a",
            Value::Float {
                width: 8,
                bits: 1.1f64.to_bits(),
            },
        ),
    ];
    for (hex, value) in cases {
        assert_eq!(HEXLOWER.encode(&encode(&value)), hex, "encode {value:?}");
        assert_eq!(read_hex(hex), Ok(value), "decode {hex}");
    }
}

/// CTAP 2.1 section 8: major type first, then length, then bytes.
#[test]
fn keys_are_sorted_canonically() {
    let map = Map::from_iter([
        (Value::from("aa"), 1),
        (Value::from("b"), 2),
        (Value::from(-1), 3),
        (Value::from(100), 4),
        (Value::from(10), 5),
        (Value::Bytes(vec![9]), 6),
    ]);
    assert_eq!(
        HEXLOWER.encode(&encode(&map.into())),
        "a60a051864042003410906616202626161".to_owned() + "01"
    );
}

#[test]
fn what_would_be_ambiguous_is_refused() {
    for (hex, error) in [
        ("", CborError::Truncated),
        ("18", CborError::Truncated),
        ("4401", CborError::Truncated),
        ("6261", CborError::Truncated),
        ("9b7fffffffffffffff", CborError::Truncated),
        ("bb00000000ffffffff", CborError::Truncated),
        ("9affffffff", CborError::Truncated),
        ("5bffffffffffffffff00", CborError::Truncated),
        ("fb00", CborError::Truncated),
        ("a201000100", CborError::DuplicateKey),
        ("a20100180100", CborError::DuplicateKey),
        ("0000", CborError::TrailingBytes),
        ("9fff", CborError::Forbidden),
        ("5fff", CborError::Forbidden),
        ("bfff", CborError::Forbidden),
        ("7fff", CborError::Forbidden),
        ("c000", CborError::Forbidden),
        ("1c", CborError::Forbidden),
        ("f814", CborError::Forbidden),
        ("61ff", CborError::NotUtf8),
        ("8181818180", CborError::TooDeep),
    ] {
        assert_eq!(read_hex(hex), Err(error), "{hex}");
    }
    assert!(read_hex("81818180").is_ok(), "four levels are allowed");
    assert_eq!(decode(&[0; MAX_SIZE + 1], Limits::default()), Err(CborError::TooLong));
    let generous = Limits { depth: 5, size: 16 };
    assert!(decode(&unhex("8181818180"), generous).is_ok());
}

#[test]
fn what_keys_in_the_field_get_wrong_without_harm_is_read() {
    assert_eq!(
        read_hex("a203000100").unwrap(),
        Map::from_iter([(3, 0), (1, 0)]).into(),
        "order"
    );
    assert_eq!(read_hex("190001").unwrap(), Value::from(1), "longer than needed");
}

#[test]
fn json_shows_bytes_as_hexadecimal_and_any_key_as_text() {
    let value: Value = Map::from_iter([
        (Value::from(1), Value::from(vec![0xAB, 0xCD])),
        (Value::from("x"), Value::from(-7)),
    ])
    .into();
    assert_eq!(value.to_json(), serde_json::json!({"1": "abcd", "x": -7}));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Value::Unsigned),
        any::<u64>().prop_map(Value::Negative),
        any::<bool>().prop_map(Value::Bool),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        ".{0,20}".prop_map(Value::Text),
        Just(Value::Null),
    ];
    leaf.prop_recursive(3, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::btree_map(any::<i64>(), inner, 0..6)
                .prop_map(|m| Value::Map(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_bytes_survive_a_round_trip(value in any_value()) {
        let bytes = encode(&value);
        let again = decode(&bytes, Limits::default()).unwrap();
        prop_assert_eq!(encode(&again), bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes, Limits::default());
        let _ = decode_prefix(&bytes, Limits { depth: 32, size: 300 });
    }
}
