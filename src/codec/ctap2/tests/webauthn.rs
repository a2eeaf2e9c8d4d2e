//! The test vector `none.ES256` of WebAuthn Level 3 (section “Test Vectors”), and what breaks when it is bent.

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};

use super::super::assertion::{self, AssertionError, Counter, Expected};
use super::super::auth_data::AuthData;
use super::super::cose::{CoseError, CoseKey, ES256, from_public_key};
use super::super::{MAX_CREDENTIAL_ID, ResponseError, get_assertion, make_credential, sha256};
use super::{hex, unhex};
use crate::codec::cbor::{self, Map, Value};

const RP_ID: &str = "example.org";
const CREDENTIAL_ID: &str = "f91f391db4c9b2fde0ea70189cba3fb63f579ba6122b33ad94ff3ec330084be4";
const AAGUID: &str = "8446ccb9ab1db374750b2367ff6f3a1f";
const REGISTRATION: &str = concat!(
    "bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b559000000008446ccb9ab1db374750b2367ff6f3a1f0020",
    "f91f391db4c9b2fde0ea70189cba3fb63f579ba6122b33ad94ff3ec330084be4a5010203262001215820afefa16f97ca9b2d23eb86ccb6",
    "4098d20db90856062eb249c33a9b672f26df61225820930a56b87a2fca66334b03458abf879717c12cc68ed73290af2e2664796b9220",
);
const ASSERTION: &str = "bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b51900000000";
const CLIENT_DATA: &str = concat!(
    "7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a224f63446e55685158756c5455506f334a555854",
    "3049393770767a7a59425039745a63685879617630314167222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267",
    "222c2263726f73734f726967696e223a66616c73657d",
);
const SIGNATURE: &str = concat!(
    "3046022100f50a4e2e4409249c4a853ba361282f09841df4dd4547a13a87780218deffcd380221008480ac0f0b93538174f575bf11a1dd",
    "5d78c6e486013f937295ea13653e331e87",
);

fn public_key() -> CoseKey {
    AuthData::parse(&unhex(REGISTRATION))
        .unwrap()
        .attested
        .unwrap()
        .public_key
}

fn response(credential_id: Option<&[u8]>, auth_data: &[u8]) -> get_assertion::Response {
    let mut map = Map::new();
    if let Some(id) = credential_id {
        map.insert(
            1,
            Map::from_iter([("id", Value::from(id)), ("type", Value::from("public-key"))]),
        );
    }
    map.insert(2, auth_data);
    map.insert(3, unhex(SIGNATURE));
    let bytes = [vec![0], cbor::encode(&map.into())].concat();
    get_assertion::Response::parse(&bytes).unwrap()
}

#[test]
fn the_registration_is_read() {
    let data = AuthData::parse(&unhex(REGISTRATION)).unwrap();
    assert_eq!(data.rp_id_hash, sha256(RP_ID.as_bytes()));
    assert!(data.flags.user_present() && !data.flags.user_verified() && data.flags.backup_eligible());
    assert_eq!(data.sign_count, 0);
    assert_eq!(hex(data.raw()), REGISTRATION);
    let credential = data.attested.unwrap();
    assert_eq!(hex(&credential.aaguid), AAGUID);
    assert_eq!(hex(&credential.credential_id), CREDENTIAL_ID);
    assert_eq!(credential.public_key.algorithm(), -7);
    let again = CoseKey::parse(credential.public_key.encoded()).unwrap();
    assert_eq!(again, credential.public_key, "what a ledger stores can be read back");
}

#[test]
fn the_assertion_verifies_and_every_bent_copy_of_it_is_refused() {
    let (key, id, hash) = (public_key(), unhex(CREDENTIAL_ID), sha256(&unhex(CLIENT_DATA)));
    let expected = Expected {
        rp_id: RP_ID,
        credential_id: &id,
        public_key: &key,
        client_data_hash: &hash,
        user_verification: false,
        last_sign_count: 0,
    };
    let good = response(Some(&id), &unhex(ASSERTION));
    let verified = assertion::verify(&good, &expected).unwrap();
    assert_eq!((verified.counter, verified.user_verified), (Counter::None, false));
    assert!(
        assertion::verify(&response(None, &unhex(ASSERTION)), &expected).is_ok(),
        "a key may leave the id out"
    );

    let refused =
        |response: &get_assertion::Response, expected: &Expected<'_>| assertion::verify(response, expected).err();
    let other_id = response(Some(b"another"), &unhex(ASSERTION));
    assert_eq!(refused(&other_id, &expected), Some(AssertionError::OtherCredential));
    let other_rp = Expected {
        rp_id: "example.com",
        ..expected
    };
    assert_eq!(refused(&good, &other_rp), Some(AssertionError::OtherRelyingParty));
    let verification = Expected {
        user_verification: true,
        ..expected
    };
    assert_eq!(refused(&good, &verification), Some(AssertionError::NotVerified));
    let counted = Expected {
        last_sign_count: 5,
        ..expected
    };
    assert_eq!(
        assertion::verify(&good, &counted).map(|v| v.counter),
        Ok(Counter::MaybeCloned)
    );

    let bad_signature = Some(AssertionError::Signature(CoseError::BadSignature));
    // Every byte after the RP ID hash but the presence flag is only protected by the signature.
    for at in 32..37 {
        let mut bent = unhex(ASSERTION);
        bent[at] ^= if at == 32 { 0x04 } else { 0x01 };
        assert_eq!(
            refused(&response(Some(&id), &bent), &expected),
            bad_signature,
            "byte {at}"
        );
    }
    let mut absent = unhex(ASSERTION);
    absent[32] &= !1;
    assert_eq!(
        refused(&response(Some(&id), &absent), &expected),
        Some(AssertionError::NotPresent)
    );
    for at in 0..unhex(SIGNATURE).len() {
        let mut bent = good.clone();
        bent.signature[at] ^= 1;
        assert_eq!(refused(&bent, &expected), bad_signature, "signature byte {at}");
    }
    for length in 0..unhex(SIGNATURE).len() {
        let mut cut = good.clone();
        cut.signature.truncate(length);
        assert_eq!(refused(&cut, &expected), bad_signature, "signature of {length} bytes");
    }
}

/// The vector's key keeps no counter; this one, with the secret 1, does.
#[test]
fn a_counter_must_rise() {
    let secret = p256::SecretKey::from_slice(&[&[0; 31][..], &[1]].concat()).unwrap();
    let key = CoseKey::from_value(&from_public_key(&secret.public_key(), ES256).into(), Vec::new()).unwrap();
    let hash = sha256(b"client data");
    let mut data = unhex(ASSERTION);
    data[36] = 7;
    let signature: DerSignature = SigningKey::from(&secret).sign(&[data.as_slice(), &hash].concat());
    let mut signed = response(None, &data);
    signed.signature = signature.as_bytes().to_vec();
    for (last_sign_count, counter) in [
        (0, Counter::Advanced),
        (6, Counter::Advanced),
        (7, Counter::MaybeCloned),
        (8, Counter::MaybeCloned),
    ] {
        let expected = Expected {
            rp_id: RP_ID,
            credential_id: &[],
            public_key: &key,
            client_data_hash: &hash,
            user_verification: false,
            last_sign_count,
        };
        let verified = assertion::verify(&signed, &expected).unwrap();
        assert_eq!(
            (verified.counter, verified.sign_count),
            (counter, 7),
            "after {last_sign_count}"
        );
    }
}

#[test]
fn authenticator_data_cut_anywhere_is_refused() {
    for whole in [unhex(REGISTRATION), unhex(ASSERTION)] {
        for length in 0..whole.len() {
            assert!(
                AuthData::parse(&whole[..length]).is_err(),
                "{length} of {}",
                whole.len()
            );
        }
        let longer = [whole, vec![0]].concat();
        assert!(
            matches!(AuthData::parse(&longer), Err(ResponseError::Malformed(_))),
            "a byte too many"
        );
    }
}

/// Authenticator data with an id of the given length, claimed and true.
fn with_id(claimed: u16, id: &[u8], key: &[u8]) -> Vec<u8> {
    let mut data = unhex(&REGISTRATION[..(37 + 16) * 2]);
    data.extend(claimed.to_be_bytes());
    data.extend(id);
    data.extend(key);
    data
}

#[test]
fn lengths_in_attested_credential_data_are_not_believed() {
    let key = public_key().encoded().to_vec();
    let longest = u16::try_from(MAX_CREDENTIAL_ID).unwrap();
    assert!(AuthData::parse(&with_id(longest, &[1; MAX_CREDENTIAL_ID], &key)).is_ok());
    assert!(AuthData::parse(&with_id(longest + 1, &[1; MAX_CREDENTIAL_ID + 1], &key)).is_err());
    assert!(AuthData::parse(&with_id(u16::MAX, &[1; 64], &key)).is_err());
    assert!(AuthData::parse(&with_id(300, &[1; 64], &key)).is_err());
}

#[test]
fn keys_of_other_algorithms_are_kept_and_not_verified() {
    // An Ed25519 key (OKP): kty 1, alg -8, crv 6.
    let okp = Map::from_iter([
        (1, Value::from(1)),
        (3, Value::from(-8)),
        (-1, Value::from(6)),
        (-2, Value::from(vec![7; 32])),
    ]);
    let encoded = cbor::encode(&okp.into());
    let key = CoseKey::parse(&encoded).unwrap();
    assert_eq!(key.encoded(), encoded);
    assert_eq!(key.verify(b"message", &[0; 64]), Err(CoseError::Unsupported(-8)));
    let mut off_curve = public_key().encoded().to_vec();
    let last = off_curve.len() - 1;
    off_curve[last] ^= 1;
    assert_eq!(CoseKey::parse(&off_curve), Err(CoseError::Malformed));
}

#[test]
fn extension_outputs_are_read_and_must_be_announced() {
    let mut data = unhex(ASSERTION);
    data[32] |= 0x80;
    let outputs = Map::from_iter([("credProtect", 2)]);
    let with_outputs = [data, cbor::encode(&outputs.clone().into())].concat();
    assert_eq!(AuthData::parse(&with_outputs).unwrap().extensions, Some(outputs));
    let mut unannounced = with_outputs.clone();
    unannounced[32] &= !0x80;
    assert!(AuthData::parse(&unannounced).is_err());
}

#[test]
fn a_registration_without_a_credential_is_refused() {
    let answer = |auth_data: Vec<u8>| {
        let mut map = Map::new();
        map.insert(1, "none");
        map.insert(2, auth_data);
        map.insert(3, Map::new());
        make_credential::Response::parse(&[vec![0], cbor::encode(&map.into())].concat())
    };
    assert_eq!(answer(unhex(REGISTRATION)).unwrap().format, "none");
    assert!(matches!(answer(unhex(ASSERTION)), Err(ResponseError::Malformed(_))));
}
