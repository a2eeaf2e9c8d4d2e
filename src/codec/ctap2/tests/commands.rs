//! Requests byte for byte, responses member by member, and arbitrary bytes into every parser.

use proptest::prelude::*;

use super::super::auth_data::AuthData;
use super::super::client_pin::{self, PinRetries};
use super::super::cose::CoseKey;
use super::super::credential_management::{self as management, Dialect, Metadata, Subcommand};
use super::super::get_info::{self, GetInfo};
use super::super::pin_protocol::{AuthParam, PinProtocol, PinUvAuthToken, SharedSecret};
use super::super::status::Status;
use super::super::{ResponseError, bio_enrollment, get_assertion, large_blobs, make_credential, reset, selection};
use super::{hex, unhex};
use crate::codec::cbor::{self, CborError, Map, Value};
use crate::types::Secret;

#[test]
fn commands_without_parameters_are_one_byte() {
    assert_eq!(get_info::request(), [0x04]);
    assert_eq!(reset::request(), [0x07]);
    assert_eq!(selection::request(), [0x0B]);
    assert_eq!(get_assertion::next_request(), [0x08]);
}

#[test]
fn a_registration_is_asked_for_byte_by_byte() {
    let auth = AuthParam {
        protocol: PinProtocol::Two,
        bytes: vec![0xEE; 2],
    };
    let request = make_credential::Request {
        client_data_hash: &[0xCC; 32],
        rp_id: "a.b",
        rp_name: "N",
        user_id: &[1, 2],
        user_name: "u",
        exclude: &[vec![9]],
        resident: true,
        auth: Some(&auth),
        particulars: make_credential::Particulars::default(),
    };
    let expected = [
        "01a8",
        &format!("015820{}", "cc".repeat(32)),
        "02a262696463612e62646e616d65614e",
        "03a2626964420102646e616d656175",
        "0481a263616c672664747970656a7075626c69632d6b6579",
        "0581a26269644109", // id before type: the shorter key first
        "64747970656a7075626c69632d6b6579",
        "07a162726bf5",
        "0842eeee",
        "0902",
    ];
    assert_eq!(hex(&request.encode()), expected.concat());
    let plain = make_credential::Request {
        exclude: &[],
        resident: false,
        auth: None,
        ..request
    };
    assert_eq!(plain.encode()[..2], [0x01, 0xA4], "nothing that was not asked for");
    let particular = make_credential::Request {
        particulars: make_credential::Particulars {
            algorithms: &[-7, -257],
            display_name: "U",
            protection: Some(2),
            hmac_secret: true,
            min_pin_length: true,
            enterprise: Some(1),
        },
        ..plain
    };
    let expected = [
        "01a6",
        &format!("015820{}", "cc".repeat(32)),
        "02a262696463612e62646e616d65614e",
        "03a3626964420102646e616d6561756b646973706c61794e616d656155",
        "0482a263616c672664747970656a7075626c69632d6b6579a263616c6739010064747970656a7075626c69632d6b6579",
        // The shorter name first, then by its bytes.
        "06a36b6372656450726f74656374026b686d61632d736563726574f56c6d696e50696e4c656e677468f5",
        "0a01",
    ];
    assert_eq!(hex(&particular.encode()), expected.concat());
}

#[test]
fn an_assertion_is_asked_for_byte_by_byte() {
    let auth = AuthParam {
        protocol: PinProtocol::One,
        bytes: vec![0xEE; 2],
    };
    let request = get_assertion::Request {
        rp_id: "a.b",
        client_data_hash: &[0xCC; 32],
        allow: &[vec![9]],
        user_presence: false,
        auth: Some(&auth),
    };
    let expected = [
        "02a6",
        "0163612e62",
        &format!("025820{}", "cc".repeat(32)),
        "0381a2626964410964747970656a7075626c69632d6b6579",
        "05a1627570f4",
        "0642eeee",
        "0701",
    ];
    assert_eq!(hex(&request.encode()), expected.concat());
}

#[test]
fn credential_management_proves_what_it_asks() {
    let token = PinUvAuthToken::new(PinProtocol::Two, Secret::new(vec![7; 32])).unwrap();
    let delete = Subcommand::DeleteCredential { credential_id: &[9] };
    let request = management::request(Dialect::Standard, delete, &token).unwrap();
    let parameters = "a102a2626964410964747970656a7075626c69632d6b6579";
    let proof = token.authenticate(&unhex(&format!("06{parameters}"))).unwrap();
    assert_eq!(
        hex(&request),
        format!("0aa4010602{parameters}0302045820{}", hex(&proof.bytes))
    );
    let next = management::request(Dialect::Preview, Subcommand::EnumerateRpsNext, &token).unwrap();
    assert_eq!(
        hex(&next),
        "41a10103",
        "what goes on needs no proof, and the prototype has its own command"
    );
    assert_eq!(
        Metadata::parse(&unhex("00a20102021817")),
        Ok(Metadata {
            existing: 2,
            remaining: 23
        })
    );
    assert_eq!(
        management::RelyingParty::parse(&unhex("00a10500")),
        Ok(None),
        "a count of 0 says there is none"
    );
}

#[test]
fn every_status_is_told() {
    for code in 1..=255u8 {
        let refused = Err(ResponseError::Refused(Status(code)));
        assert_eq!(GetInfo::parse(&[code]).map(|_| ()), refused);
        assert_eq!(reset::parse(&[code, 0xA0]), refused);
    }
    assert_eq!(reset::parse(&[0]), Ok(()));
    assert_eq!(reset::parse(&[]), Err(ResponseError::Empty));
    assert_eq!(Status(0x31).to_string(), "0x31 (PIN_INVALID)");
    assert_eq!(Status(0xF2).to_string(), "0xF2");
}

fn info(change: impl FnOnce(&mut Map)) -> Result<GetInfo, ResponseError> {
    let mut map = Map::new();
    map.insert(1, vec![Value::from("FIDO_2_1")]);
    map.insert(3, vec![0xAA; 16]);
    change(&mut map);
    GetInfo::parse(&[vec![0], cbor::encode(&map.into())].concat())
}

#[test]
fn get_info_keeps_what_it_does_not_know_and_is_strict_where_it_steers() {
    let odd = info(|m| {
        m.insert(0x0B, "not a number");
        m.insert(0x42, vec![1u8, 2]);
        m.insert("vendor", true);
    })
    .unwrap();
    assert_eq!(odd.max_serialized_large_blob_array, None);
    assert_eq!(odd.unknown.len(), 3);
    let json = odd.to_json();
    assert_eq!(
        (&json["11"], &json["66"], &json["vendor"]),
        (&"not a number".into(), &"0102".into(), &true.into())
    );
    assert_eq!(json["aaguid"], "aa".repeat(16));

    for (key, wrong) in [
        (0x04, Value::from(1)),
        (0x05, Value::from("1024")),
        (0x06, Value::from(vec![Value::from("one")])),
        (0x0C, Value::from(0)),
        (0x0D, Value::from(-4)),
    ] {
        assert!(
            matches!(info(|m| m.insert(key, wrong)), Err(ResponseError::Malformed(_))),
            "member {key}"
        );
    }
    assert!(info(|m| drop(m.take(1))).is_err(), "versions are required");
    assert!(info(|m| drop(m.take(3))).is_err(), "the AAGUID is required");
    assert_eq!(
        GetInfo::parse(&unhex("0080")).err(),
        Some(ResponseError::Malformed("the answer is not a map"))
    );
    let trailing = GetInfo::parse(&unhex("00a000"));
    assert_eq!(trailing.err(), Some(ResponseError::Cbor(CborError::TrailingBytes)));
}

#[test]
fn the_least_pin_length_is_four_unless_the_key_wants_more() {
    let least = |n: Option<u64>| info(|m| m.insert_some(0x0D, n)).unwrap().min_pin_code_points();
    assert_eq!(
        (least(None), least(Some(0)), least(Some(8)), least(Some(1 << 40))),
        (4, 4, 8, 255)
    );
}

/// Whatever comes, the parsers return.
fn feed_all(bytes: &[u8]) {
    let _ = GetInfo::parse(bytes);
    let _ = make_credential::Response::parse(bytes);
    let _ = get_assertion::Response::parse(bytes);
    let _ = PinRetries::parse(bytes);
    let _ = Metadata::parse(bytes);
    let _ = management::RelyingParty::parse(bytes);
    let _ = client_pin::parse_uv_retries(bytes);
    let _ = bio_enrollment::Sample::parse(bytes);
    let _ = bio_enrollment::SensorInfo::parse(bytes);
    let _ = bio_enrollment::parse_templates(bytes);
    let _ = large_blobs::parse_fragment(bytes).map(|fragment| large_blobs::entries(&fragment));
    let _ = large_blobs::entries(bytes);
    let _ = management::StoredCredential::parse(bytes);
    let _ = AuthData::parse(bytes);
    let _ = CoseKey::parse(bytes);
    if let Ok(peer) = client_pin::parse_key_agreement(bytes)
        && let Ok(shared) = SharedSecret::agree(PinProtocol::Two, &[1; 32], &peer)
    {
        let _ = client_pin::parse_token(bytes, &shared);
    }
}

proptest! {
    #[test]
    fn arbitrary_answers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        feed_all(&bytes);
    }

    /// Arbitrary bytes are seldom CBOR; these are maps with small keys, so that the members are reached.
    #[test]
    fn arbitrary_maps_never_panic(
        members in proptest::collection::btree_map(0u8..40, proptest::collection::vec(any::<u8>(), 0..80), 0..12),
        texts in proptest::collection::vec(".{0,8}", 0..4),
    ) {
        let mut map: Map = members.into_iter().collect();
        for (key, text) in (1u8..).zip(texts) {
            map.take(key);
            map.insert(key, text);
        }
        feed_all(&[vec![0], cbor::encode(&map.into())].concat());
    }

    /// Authenticator data with the flags set, so that what follows them is reached.
    #[test]
    fn arbitrary_authenticator_data_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 37..300)) {
        bytes[32] |= 0xC0;
        if bytes.len() > 54 {
            bytes[53] = 0;
        }
        let _ = AuthData::parse(&bytes);
    }
}
