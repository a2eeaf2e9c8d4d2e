//! What FIDO2 keys answer: CTAPHID frames, and each response in them.

use std::hint::black_box;
use std::sync::OnceLock;

use claviger::codec::cbor::{self, Limits, Map, Value};
use claviger::codec::ctap2::auth_data::AuthData;
use claviger::codec::ctap2::bio_enrollment::{self, Sample, SensorInfo};
use claviger::codec::ctap2::client_pin::{self, PinRetries};
use claviger::codec::ctap2::cose::CoseKey;
use claviger::codec::ctap2::credential_management::{self, Metadata, RelyingParty, StoredCredential};
use claviger::codec::ctap2::get_info::GetInfo;
use claviger::codec::ctap2::pin_protocol::{PinProtocol, SharedSecret};
use claviger::codec::ctap2::{assertion, config, get_assertion, large_blobs, make_credential, reset, selection, spki};
use claviger::codec::ctaphid::{Assembler, Channel, Command, Progress, REPORT_LEN, parse_init, reports};
use claviger::codec::iso7816::{Response, StatusWord};
use claviger::codec::nfcctap;
use claviger::codec::u2f;
use claviger::codec::vendor::yubico;

/// The channel of every conversation here.
const CHANNEL: Channel = Channel(0x0022_0002);
/// What stands for random bytes, nonces among them.
const RANDOM: u8 = 7;
const RP: &str = "login.example.org";

/// Reports as they come, 64 bytes each, to one assembler; and any bytes as a message, which must come back whole.
pub fn ctaphid(data: &[u8]) {
    let mut assembler = Assembler::new(CHANNEL, Command::Cbor);
    for chunk in data.chunks(REPORT_LEN) {
        let mut report = [0; REPORT_LEN];
        report[..chunk.len()].copy_from_slice(chunk);
        match assembler.push(&report) {
            Ok(Progress::Message(message)) => {
                assert!(message.len() <= claviger::codec::ctaphid::MAX_MESSAGE);
                assembler = Assembler::new(CHANNEL, Command::Cbor);
            }
            Ok(other) => drop(black_box(other)),
            Err(error) => {
                black_box(error.to_string());
                assembler = Assembler::new(CHANNEL, Command::Cbor);
            }
        }
    }
    if let Ok(Some(reply)) = parse_init(data, &[RANDOM; 8]) {
        assert!(reply.channel != Channel::BROADCAST && reply.channel.0 != 0);
        black_box((reply.has_cbor(), reply.has_wink(), reply.lacks_msg()));
    }
    if let Ok(cut) = reports(CHANNEL, Command::Cbor, data) {
        let mut assembler = Assembler::new(CHANNEL, Command::Cbor);
        let whole = cut.iter().map(|report| assembler.push(report)).last();
        assert_eq!(
            whole,
            Some(Ok(Progress::Message(data.to_vec()))),
            "what was cut is put together"
        );
    }
}

/// A secret shared with a key that never was.
fn shared() -> Option<&'static SharedSecret> {
    static SHARED: OnceLock<Option<SharedSecret>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| SharedSecret::agree(PinProtocol::Two, &[RANDOM; 32], &generator()).ok());
    shared.as_ref()
}

/// The generator of P-256 as a COSE key (SEC 2, section 2.4.2): a point that is on the curve.
pub(crate) fn generator() -> Map {
    const X: [u8; 32] = [
        0x6B, 0x17, 0xD1, 0xF2, 0xE1, 0x2C, 0x42, 0x47, 0xF8, 0xBC, 0xE6, 0xE5, 0x63, 0xA4, 0x40, 0xF2, 0x77, 0x03,
        0x7D, 0x81, 0x2D, 0xEB, 0x33, 0xA0, 0xF4, 0xA1, 0x39, 0x45, 0xD8, 0x98, 0xC2, 0x96,
    ];
    const Y: [u8; 32] = [
        0x4F, 0xE3, 0x42, 0xE2, 0xFE, 0x1A, 0x7F, 0x9B, 0x8E, 0xE7, 0xEB, 0x4A, 0x7C, 0x0F, 0x9E, 0x16, 0x2B, 0xCE,
        0x33, 0x57, 0x6B, 0x31, 0x5E, 0xCE, 0xCB, 0xB6, 0x40, 0x68, 0x37, 0xBF, 0x51, 0xF5,
    ];
    Map::from_iter([
        (1, Value::from(2)),
        (3, Value::from(-7)),
        (-1, Value::from(1)),
        (-2, Value::from(&X[..])),
        (-3, Value::from(&Y[..])),
    ])
}

/// Every decoder of a CTAP2 or U2F response, the one that the first byte picks (its five low bits), and CBOR itself.
pub fn ctap2(data: &[u8]) {
    let Some((choice, response)) = data.split_first() else {
        return;
    };
    match choice & 31 {
        0 => {
            if let Ok(info) = GetInfo::parse(response) {
                black_box((info.to_json(), info.min_pin_code_points(), info.speaks("FIDO_2_1")));
            }
        }
        1 => {
            if let Ok(made) = make_credential::Response::parse(response) {
                carried(&made.auth_data);
            }
        }
        2 => asserted(response),
        3 => drop(black_box(PinRetries::parse(response))),
        4 => {
            if let Ok(key) = client_pin::parse_key_agreement(response) {
                drop(black_box(SharedSecret::agree(PinProtocol::One, &[RANDOM; 32], &key)));
            }
        }
        5 => {
            if let Some(shared) = shared() {
                black_box(client_pin::parse_token(response, shared).is_ok());
            }
        }
        6 => drop(black_box((client_pin::parse_done(response), config::parse(response)))),
        7 => drop(black_box(Metadata::parse(response))),
        8 => drop(black_box(RelyingParty::parse(response))),
        9 => drop(black_box(StoredCredential::parse(response))),
        10 => drop(black_box(credential_management::parse_done(response))),
        11 => drop(black_box((reset::parse(response), selection::parse(response)))),
        12 => key(response),
        13 => drop(black_box(client_pin::parse_uv_retries(response))),
        14 => {
            if let Ok(sample) = Sample::parse(response) {
                assert!(sample.template_id.is_none_or(|id| !id.is_empty()));
                black_box(sample.status);
            }
        }
        15 => drop(black_box(bio_enrollment::parse_templates(response))),
        16 => drop(black_box(SensorInfo::parse(response))),
        17 => drop(black_box(bio_enrollment::parse_done(response))),
        18 => drop(black_box(large_blobs::parse_fragment(response))),
        19 => {
            black_box((
                large_blobs::parse_done(response).is_ok(),
                large_blobs::entries(response),
            ));
        }
        20 => u2f_registered(response),
        21 => u2f_asserted(response),
        22 => drop(black_box(u2f::ctap2::read(response))),
        23 => of_a_card(response),
        _ => {
            if let Ok(value) = cbor::decode(response, Limits::default()) {
                // The order of a map's keys is the only thing that may change, once.
                let canonical = cbor::encode(&value);
                let again = cbor::decode(&canonical, Limits::default()).expect("what we wrote");
                assert_eq!(cbor::encode(&again), canonical);
            }
        }
    }
}

/// What is signed is what came.
fn carried(data: &AuthData) {
    assert_eq!(AuthData::parse(data.raw()).as_ref(), Ok(data));
    if let Some(credential) = &data.attested {
        key(credential.public_key.encoded());
    }
}

fn key(encoded: &[u8]) {
    if let Ok(key) = CoseKey::parse(encoded) {
        assert_eq!(key.encoded(), encoded);
        black_box((spki::of(&key), spki::bare(&key)));
        assert!(
            key.verify(b"message", &[0x30, 6, 2, 1, 1, 2, 1, 1]).is_err(),
            "a signature was guessed"
        );
    }
}

/// An assertion, held against a credential that did not make it.
fn asserted(response: &[u8]) {
    let Ok(response) = get_assertion::Response::parse(response) else {
        return;
    };
    carried(&response.auth_data);
    let Ok(public_key) = CoseKey::parse(&cbor::encode(&Value::Map(generator()))) else {
        return;
    };
    let expected = assertion::Expected {
        rp_id: RP,
        credential_id: &[1; 16],
        public_key: &public_key,
        client_data_hash: &[3; 32],
        user_verification: false,
        last_sign_count: 1,
    };
    assert!(
        assertion::verify(&response, &expected).is_err(),
        "a signature was guessed"
    );
}

/// What a card answers besides: its application's selection, a message in parts or at work, a YubiKey's own page. Status word first.
fn of_a_card(data: &[u8]) {
    let Some((status, data)) = data.split_first_chunk::<2>() else {
        return;
    };
    let response = || Response {
        data: data.to_vec().into(),
        status: StatusWord(u16::from_be_bytes(*status)),
    };
    black_box((nfcctap::parse_selected(&response()), u2f::is_u2f(&response())));
    black_box((
        yubico::parse_config(&response()).is_ok(),
        u2f::verdict(response().status),
    ));
    drop(black_box(nfcctap::parse_reply(response())));
}

/// A U2F registration, which is handed on as CTAP2 and read once more.
fn u2f_registered(data: &[u8]) {
    let Ok(registered) = u2f::parse_registered(data) else {
        return;
    };
    let made = u2f::ctap2::made(&[3; 32], &registered).expect("a key handle's length is a byte");
    // A point that is on no curve is found out here.
    if let Ok(read) = make_credential::Response::parse(&made) {
        let credential = read.auth_data.attested.expect("a credential");
        assert_eq!(credential.credential_id, registered.credential_id);
    }
}

/// The same for an assertion.
fn u2f_asserted(data: &[u8]) {
    let Ok(told) = u2f::parse_authenticated(&[3; 32], data) else {
        return;
    };
    let answer = u2f::ctap2::asserted(&[1; 16], &told);
    if let Ok(read) = get_assertion::Response::parse(&answer) {
        assert_eq!(read.auth_data.raw(), told.auth_data);
    }
}
