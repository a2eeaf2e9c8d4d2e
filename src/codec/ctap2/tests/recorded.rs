//! What real keys said: recorded reports and getInfo statements, read in place where the test data is.

use std::io::Write;
use std::path::PathBuf;

use serde_json::Value as Json;

use super::super::client_pin::{self, PinRetries};
use super::super::credential_management::{Metadata, RelyingParty, StoredCredential};
use super::super::get_info::GetInfo;
use super::super::{get_assertion, make_credential, success};
use super::unhex;
use crate::codec::cbor::{self, Limits, Map, Value};
use crate::codec::ctaphid::{self, Assembler, Channel, Command, KeepAlive, Progress, REPORT_LEN, Report};
use crate::codec::iso7816::{Response, StatusWord};
use crate::codec::u2f::{self, Verdict};

/// The folder of third-party data, or `None` and one line that says so (past the test harness, which swallows `println`).
fn shared_data(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CLAVIGER_SHARED_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    let _ = writeln!(
        std::io::stderr(),
        "skipped: no test data at {} (CLAVIGER_SHARED_DATA)",
        path.display()
    );
    None
}

fn reports(recording: &Json, name: &str) -> Vec<Report> {
    let bytes = unhex(recording[name].as_str().unwrap());
    bytes
        .chunks_exact(REPORT_LEN)
        .map(|chunk| chunk.try_into().unwrap())
        .collect()
}

/// The messages of a recording, as our pump would see them: keep-alives aside, one assembler a message. Some recordings were
/// put together from several conversations, so all reports are given one channel.
fn messages(recording: &Json, name: &str, command: Command) -> Vec<Vec<u8>> {
    let mut reports = reports(recording, name);
    let channel = Channel(0x0022_0002);
    for report in &mut reports {
        report[..4].copy_from_slice(&channel.0.to_be_bytes());
    }
    let mut messages = Vec::new();
    let mut assembler = Assembler::new(channel, command);
    for report in &reports {
        match assembler.push(report).unwrap_or_else(|e| panic!("{name}: {e}")) {
            Progress::Message(bytes) => {
                messages.push(bytes);
                assembler = Assembler::new(channel, command);
            }
            Progress::More | Progress::KeepAlive(_) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    messages
}

#[test]
fn recorded_reports_are_read() {
    let Some(folder) = shared_data("ctap-wire") else { return };
    let text = std::fs::read_to_string(folder.join("wiredata_fido2.json")).unwrap();
    let recording: Json = serde_json::from_str(&text).unwrap();
    let of = |name: &str| messages(&recording, &format!("WIREDATA_CTAP_CBOR_{name}"), Command::Cbor);
    let first = |name: &str| of(name).remove(0);

    let init = reports(&recording, "WIREDATA_CTAP_INIT")[0];
    let Progress::Message(answer) = Assembler::new(Channel::BROADCAST, Command::Init).push(&init).unwrap() else {
        panic!("INIT is one report");
    };
    let nonce = *answer.first_chunk().unwrap();
    let reply = ctaphid::parse_init(&answer, &nonce).unwrap().unwrap();
    assert!(reply.has_cbor());
    let keep_alive = reports(&recording, "WIREDATA_CTAP_KEEPALIVE")[0];
    let progress = Assembler::new(reply.channel, Command::Cbor).push(&keep_alive);
    assert_eq!(progress, Ok(Progress::KeepAlive(KeepAlive::TouchNeeded)));

    let info = GetInfo::parse(&first("INFO")).unwrap();
    assert!(info.speaks("FIDO_2_1") && info.unknown.is_empty(), "{:?}", info.unknown);
    assert!(info.enc_identifier.is_some() && info.enc_cred_store_state.is_some());
    client_pin::parse_key_agreement(&first("AUTHKEY")).unwrap();
    assert_eq!(PinRetries::parse(&first("RETRIES")).unwrap().left, 8);
    assert_eq!(success(&first("STATUS")), Ok(&[][..]));
    assert!(
        get_assertion::Response::parse(&first("ASSERT"))
            .unwrap()
            .signature
            .len()
            > 60
    );
    let made = make_credential::Response::parse(&first("CRED")).unwrap();
    assert_eq!(made.format, "packed");
    Metadata::parse(&first("CREDMAN_META")).unwrap();
    let parties: Vec<_> = of("CREDMAN_RPLIST")
        .iter()
        .map(|m| RelyingParty::parse(m).unwrap().unwrap())
        .collect();
    assert_eq!(parties[0].total, Some(parties.len() as u64));
    let stored: Vec<_> = of("CREDMAN_RKLIST")
        .iter()
        .map(|m| StoredCredential::parse(m).unwrap())
        .collect();
    assert_eq!(stored[0].total, Some(stored.len() as u64));
    for name in ["PINTOKEN", "BIO_INFO", "BIO_ENUM", "LARGEBLOB_GET_ARRAY"] {
        cbor::decode(success(&first(name)).unwrap(), Limits::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn recorded_answers_of_u2f_are_read() {
    let Some(folder) = shared_data("ctap-wire") else { return };
    let text = std::fs::read_to_string(folder.join("wiredata_u2f.json")).unwrap();
    let recording: Json = serde_json::from_str(&text).unwrap();
    let answers = |name: &str| -> Vec<Response> {
        let messages = messages(&recording, &format!("WIREDATA_CTAP_U2F_{name}"), Command::Msg);
        let answer = |bytes: &Vec<u8>| {
            let (data, status) = bytes.split_last_chunk().unwrap();
            Response {
                data: data.to_vec().into(),
                status: StatusWord(u16::from_be_bytes(*status)),
            }
        };
        messages.iter().map(answer).collect()
    };
    let asked = answers("6985");
    assert_eq!(asked.len(), 1);
    assert_eq!(u2f::verdict(asked[0].status), Verdict::TouchNeeded);

    let made = answers("REGISTER");
    let (registered, waits): (Vec<_>, Vec<_>) = made.iter().partition(|one| u2f::verdict(one.status) == Verdict::Done);
    assert_eq!(registered.len(), 1);
    assert!(waits.iter().all(|one| u2f::verdict(one.status) == Verdict::TouchNeeded));
    let key = u2f::parse_registered(&registered[0].data).unwrap();
    assert!(!key.credential_id.is_empty() && key.certificate.starts_with(&[0x30, 0x82]));
    assert!(key.signature.starts_with(&[0x30]));

    let signed = answers("AUTH");
    let signed = signed
        .iter()
        .find(|one| u2f::verdict(one.status) == Verdict::Done)
        .unwrap();
    let got = u2f::parse_authenticated(&[7; u2f::HASH_LEN], &signed.data).unwrap();
    assert!(got.signature.starts_with(&[0x30]));
}

/// Member number by name, written from the standard's table, not from the parser.
const MEMBERS: [(&str, u8); 20] = [
    ("versions", 0x01),
    ("extensions", 0x02),
    ("aaguid", 0x03),
    ("options", 0x04),
    ("maxMsgSize", 0x05),
    ("pinUvAuthProtocols", 0x06),
    ("maxCredentialCountInList", 0x07),
    ("maxCredentialIdLength", 0x08),
    ("transports", 0x09),
    ("algorithms", 0x0A),
    ("maxSerializedLargeBlobArray", 0x0B),
    ("forcePINChange", 0x0C),
    ("minPINLength", 0x0D),
    ("firmwareVersion", 0x0E),
    ("maxCredBlobLength", 0x0F),
    ("maxRPIDsForSetMinPINLength", 0x10),
    ("preferredPlatformUvAttempts", 0x11),
    ("uvModality", 0x12),
    ("certifications", 0x13),
    ("remainingDiscoverableCredentials", 0x14),
];

fn to_cbor(json: &Json) -> Value {
    match json {
        Json::Bool(truth) => Value::from(*truth),
        Json::Number(n) => n.as_i64().map(Value::from).unwrap(),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::Array(items.iter().map(to_cbor).collect()),
        Json::Object(members) => Value::Map(members.iter().map(|(k, v)| (k.as_str(), to_cbor(v))).collect()),
        Json::Null => Value::Null,
    }
}

#[test]
fn statements_of_real_models_survive_a_round_trip() {
    let Some(folder) = shared_data("getinfo") else { return };
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let statement: Json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut stated = statement["authenticatorGetInfo"].clone();
        // Some statements write the AAGUID with hyphens.
        let aaguid = stated["aaguid"].as_str().unwrap().replace('-', "").to_lowercase();
        stated["aaguid"] = aaguid.into();
        let mut map = Map::new();
        for (name, value) in stated.as_object().unwrap() {
            let (_, number) = MEMBERS
                .iter()
                .find(|(n, _)| n == name)
                .unwrap_or_else(|| panic!("{name}"));
            let value = if name == "aaguid" {
                Value::from(unhex(value.as_str().unwrap()))
            } else {
                to_cbor(value)
            };
            map.insert(*number, value);
        }
        let info = GetInfo::parse(&[vec![0], cbor::encode(&map.into())].concat())
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(info.unknown.is_empty(), "{}: {:?}", path.display(), info.unknown);
        assert_eq!(info.to_json(), stated, "{}", path.display());
        count += 1;
    }
    assert_eq!(count, 151);
}
