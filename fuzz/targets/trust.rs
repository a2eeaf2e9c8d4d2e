//! What relying parties and makers say: WebAuthn's JSON, attestation, and the BLOB of the FIDO Metadata Service.

use std::hint::black_box;

use claviger::codec::cbor::{self, Map, Value};
use claviger::codec::ctap2::sha256;
use claviger::codec::webauthn::attestation_object::AttestationObject;
use claviger::codec::webauthn::client_data::{Ceremony, ClientData, serialize};
use claviger::codec::webauthn::creation::CreationOptions;
use claviger::codec::webauthn::origin;
use claviger::codec::webauthn::provider;
use claviger::codec::webauthn::request::RequestOptions;
use claviger::codec::webauthn::response::RegistrationResponse;
use claviger::trust::chain;
use claviger::trust::metadata::Blob;
use claviger::trust::registration::{self, Expected};
use claviger::trust::statement::{self, Attested};
use claviger::types::{Provider, UnixMillis};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::signature::Ed25519KeyPair;

use super::responses::generator;

const RP: &str = "login.example.org";
const ORIGIN: &str = "https://login.example.org";
const CHALLENGE: &[u8] = b"sixteen bytes ok";
/// 2027-01-15.
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// An authority that nobody trusts, made for this alone: with its key anybody can sign, and nothing here would be reached unsigned.
const ROOT: &[u8] = include_bytes!("authority/root.der");
const LEAF: &[u8] = include_bytes!("authority/leaf.der");
const LEAF_KEY: &[u8] = include_bytes!("authority/leaf.pk8");

/// Whatever of WebAuthn comes as JSON, by the first byte.
pub fn webauthn(data: &[u8]) {
    let Some((choice, json)) = data.split_first() else {
        return;
    };
    match choice & 7 {
        0 => drop(black_box(
            CreationOptions::parse(json).map_err(|error| error.to_string()),
        )),
        1 => drop(black_box(
            RequestOptions::parse(json).map_err(|error| error.to_string()),
        )),
        2 => drop(black_box(ClientData::parse(json).is_ok())),
        3 => {
            if let Ok(text) = std::str::from_utf8(json) {
                let (origin, wanted) = text.split_once(' ').map_or((text, None), |(a, b)| (a, Some(b)));
                if let Ok(rp_id) = origin::rp_id(origin, wanted) {
                    assert!(origin.contains(&rp_id) || origin.to_ascii_lowercase().contains(&rp_id));
                }
            }
        }
        4 => {
            let Some((which, json)) = json.split_first() else {
                return;
            };
            let provider = match which % 4 {
                0 => Provider::Entra,
                1 => Provider::Okta,
                2 => Provider::Keycloak,
                _ => Provider::Privacyidea,
            };
            if let Ok(asked) = provider::creation(provider, json) {
                let response = RegistrationResponse {
                    id: vec![1; 16],
                    client_data_json: CHALLENGE.to_vec(),
                    attestation_object: CHALLENGE.to_vec(),
                    transports: vec!["usb".to_owned()],
                    public_key: None,
                    algorithm: None,
                    extensions: serde_json::Map::new(),
                };
                black_box(provider::registration(provider, &asked, &response, None));
            }
        }
        _ => {
            if let Ok(response) = RegistrationResponse::from_json(json) {
                let again = response.to_json().to_string();
                assert!(RegistrationResponse::from_json(again.as_bytes()).is_ok_and(|read| read.id == response.id));
                judged(&response);
            }
        }
    }
}

fn judged(response: &RegistrationResponse) {
    let expected = Expected {
        rp_id: RP,
        origin: ORIGIN,
        challenge: CHALLENGE,
        algorithms: &[-7, -8, -35, -257],
        user_verification: false,
    };
    match registration::verify(response, &expected) {
        Ok(statement) => drop(black_box(statement.serial_shown())),
        Err(error) => drop(black_box(error.to_string())),
    }
}

/// An attestation object, or (with an odd first byte) a certificate that stands in one.
pub fn attestation(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let client = serialize(Ceremony::Create, CHALLENGE, ORIGIN);
    if choice & 1 == 1 {
        return certificate(bytes, choice & 2 == 2, &client);
    }
    let Ok(object) = AttestationObject::parse(bytes) else {
        return;
    };
    let again = AttestationObject::parse(&object.encode());
    assert!(again.is_ok_and(|again| again.auth_data == object.auth_data));
    judged(&RegistrationResponse {
        id: vec![1; 16],
        client_data_json: client,
        attestation_object: bytes.to_vec(),
        transports: Vec::new(),
        public_key: None,
        algorithm: None,
        extensions: serde_json::Map::new(),
    });
}

fn certificate(der: &[u8], is_u2f: bool, client: &[u8]) {
    let key = cbor::encode(&Value::Map(generator()));
    let aaguid = [if is_u2f { 0 } else { 7 }; 16];
    let data = [
        &sha256(RP.as_bytes())[..],
        &[0x41, 0, 0, 0, 1],
        &aaguid,
        &[0, 16],
        &[1; 16],
        &key,
    ]
    .concat();
    let mut statement = Map::from_iter([
        ("sig", Value::from(vec![0x30, 6, 2, 1, 1, 2, 1, 1])),
        ("x5c", Value::from(vec![Value::from(der)])),
    ]);
    if !is_u2f {
        statement.insert("alg", -7_i64);
    }
    let format = if is_u2f { "fido-u2f" } else { "packed" };
    let object = cbor::encode(&Value::Map(Map::from_iter([
        ("fmt", Value::from(format)),
        ("attStmt", Value::from(statement)),
        ("authData", Value::from(data)),
    ])));
    if let Ok(object) = AttestationObject::parse(&object) {
        let attested = Attested {
            format: &object.format,
            auth_data: &object.auth_data,
            statement: &object.statement,
            client_data_hash: &sha256(client),
        };
        assert!(statement::verify(&attested).is_err(), "a signature was guessed");
    }
    let _ = black_box(chain::verify(&[der.to_vec()], &[ROOT.to_vec()], NOW));
}

/// A BLOB: with an even first byte as it stands, with an odd one its payload, which is signed here.
pub fn metadata(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let read = if choice & 1 == 0 {
        Blob::read(bytes, &[ROOT.to_vec()], NOW)
    } else {
        Blob::read(&signed(bytes), &[ROOT.to_vec()], NOW)
    };
    match read {
        Ok(blob) => {
            black_box((blob.overdue(NOW), blob.is_empty(), blob.by_aaguid(&[7; 16]).is_some()));
        }
        Err(error) => drop(black_box(error.to_string())),
    }
}

/// A JWS in compact form (RFC 7515) by the authority above.
fn signed(payload: &[u8]) -> Vec<u8> {
    let header = serde_json::json!({"alg": "EdDSA", "x5c": [BASE64.encode(LEAF)]}).to_string();
    let text = [header.as_bytes(), payload]
        .map(|part| BASE64URL_NOPAD.encode(part))
        .join(".");
    let signature = Ed25519KeyPair::from_pkcs8_maybe_unchecked(LEAF_KEY).map(|key| key.sign(text.as_bytes()));
    let signature = signature.map(|signature| BASE64URL_NOPAD.encode(signature.as_ref()));
    format!("{text}.{}", signature.unwrap_or_default()).into_bytes()
}
