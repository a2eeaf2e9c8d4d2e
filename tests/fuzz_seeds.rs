//! Where the first inputs of the fuzz targets for keys and trust come from: our own simulators and our own writing. `CLAVIGER_WRITE=1`
//! writes them under `fuzz/corpus`; else what is there must be what would be written.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use claviger::codec::cbor::{self, Map, Value};
use claviger::codec::ctap2::client_pin::{self, Permissions};
use claviger::codec::ctap2::config::Subcommand;
use claviger::codec::ctap2::make_credential;
use claviger::codec::ctaphid::{Channel, Command, KeepAlive, reports};
use claviger::codec::webauthn::attestation_object::AttestationObject;
use claviger::codec::webauthn::client_data::{Ceremony, serialize};
use claviger::codec::webauthn::response::RegistrationResponse;
use claviger::device::fido::{CtapTransport, Entropy, FidoContext, FidoSession, GetAssertion, MakeCredential};
use claviger::device::{Deadlines, DeviceError};
use claviger::types::{Cancel, Secret};
use hw_fixtures::Token;
use hw_fixtures::fido::Outcome;
use hw_fixtures::person::Presence;
use hw_fixtures::token::TokenSetup;

#[path = "../fuzz/targets.rs"]
#[allow(dead_code)] // the others
mod targets;

const RP: &str = "login.example.org";
const PIN: &[u8] = b"4711-key";

/// By target and name.
type Seeds = BTreeMap<(&'static str, String), Vec<u8>>;

/// A simulated key with a finger on it, and what it answered, by what was asked.
struct Key {
    token: Token,
    told: Vec<(&'static str, Vec<u8>)>,
}

impl CtapTransport for Key {
    fn exchange(
        &mut self,
        request: &[u8],
        _: Instant,
        _: &Cancel,
        _: &mut dyn FnMut(KeepAlive),
    ) -> Result<Vec<u8>, DeviceError> {
        let now = self.token.now();
        let outcome = self
            .token
            .with_authenticator(|key| key.run(request, Presence::Touching, now));
        let Some(Outcome::Answer(answer)) = outcome else {
            panic!("a key that was touched answers");
        };
        self.told.push((asked(request), answer.clone()));
        Ok(answer)
    }
}

fn asked(request: &[u8]) -> &'static str {
    let subcommand = |key: u8| {
        let map = cbor::decode(&request[1..], cbor::Limits::default()).expect("a map");
        map.as_map().and_then(|map| map.get(key)).and_then(Value::as_u64)
    };
    match request[0] {
        1 => "made",
        2 => "assertion",
        4 => "info",
        6 => match subcommand(2) {
            Some(1) => "retries",
            Some(2) => "agreement",
            Some(5 | 6 | 9) => "proof",
            Some(7) => "uv_retries",
            _ => "done",
        },
        7 => "reset",
        9 | 0x40 => match subcommand(2) {
            Some(1 | 2) => "sample",
            Some(4) => "templates",
            Some(7) => "sensor",
            _ => "finger_done",
        },
        0x0A | 0x41 => match subcommand(1) {
            Some(1) => "metadata",
            Some(2 | 3) => "party",
            Some(4 | 5) => "stored",
            _ => "deleted",
        },
        0x0B => "selected",
        0x0C => match subcommand(1) {
            Some(_) => "fragment",
            None => "blobs_done",
        },
        0x0D => "done",
        other => panic!("command {other}"),
    }
}

/// Of the decoders of `targets::ctap2`, by what was asked.
fn decoder(asked: &str) -> u8 {
    match asked {
        "info" => 0,
        "made" => 1,
        "assertion" => 2,
        "retries" => 3,
        "agreement" => 4,
        "proof" => 5,
        "done" => 6,
        "metadata" => 7,
        "party" => 8,
        "stored" => 9,
        "deleted" => 10,
        "selected" | "reset" => 11,
        "uv_retries" => 13,
        "sample" => 14,
        "templates" => 15,
        "sensor" => 16,
        "finger_done" => 17,
        "fragment" => 18,
        "blobs_done" => 19,
        other => panic!("no decoder of {other}"),
    }
}

/// The same bytes each time.
struct Fixed;

impl Entropy for Fixed {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), DeviceError> {
        buffer.fill(7);
        Ok(())
    }
}

fn patient(cancel: &Cancel) -> FidoContext<'_> {
    // A keep-alive is told to nobody.
    let nobody: &'static mut dyn FnMut(Instant) = Box::leak(Box::new(|_| {}));
    FidoContext {
        deadlines: Deadlines {
            exchange: Duration::from_secs(60),
            touch: Duration::from_secs(60),
            lock: Duration::ZERO,
            grace: Duration::ZERO,
        },
        end: Instant::now() + Duration::from_secs(600),
        cancel,
        on_touch_needed: nobody,
    }
}

/// A key's whole life.
fn life(profile: &str) -> Vec<(&'static str, Vec<u8>)> {
    let setup = TokenSetup {
        seed: Some(7),
        ..TokenSetup::named("seed")
    };
    let mut key = Key {
        token: Token::of_profile(profile, setup).expect("a token"),
        told: Vec::new(),
    };
    let cancel = Cancel::new();
    let mut context = patient(&cancel);
    let context = &mut context;
    let mut entropy = Fixed;
    let mut session = FidoSession::new(&mut key, &mut entropy);
    let pin = Secret::new(PIN.to_vec());
    session.pin_retries(context).expect("a count");
    if session.get_info(context).expect("getInfo").option("clientPin") == Some(false) {
        session.set_pin(&pin, context).expect("a PIN");
    }
    let wrong = session.pin_uv_token(
        &Secret::new(b"wrong".to_vec()),
        Permissions::MAKE_CREDENTIAL,
        Some(RP),
        context,
    );
    assert!(wrong.is_err());
    let permissions = Permissions::MAKE_CREDENTIAL | Permissions::GET_ASSERTION;
    let making = session
        .pin_uv_token(&pin, permissions, Some(RP), context)
        .expect("a proof");
    let hash = [3; 32];
    let wanted = MakeCredential {
        rp_id: RP,
        rp_name: "Example",
        user_id: &[1; 16],
        user_name: "ada",
        resident: true,
        client_data_hash: &hash,
        pin_uv_auth_token: Some(&making),
        exclude: &[],
        particulars: make_credential::Particulars::default(),
    };
    let made = session.make_credential(&wanted, context).expect("a credential");
    let id = made.auth_data.attested.expect("a credential").credential_id;
    let wanted = GetAssertion {
        rp_id: RP,
        client_data_hash: &hash,
        allow: std::slice::from_ref(&id),
        user_presence: true,
        pin_uv_auth_token: Some(&making),
    };
    // What was done with the proof may have used it up.
    let _ = session.get_assertion(&wanted, context);
    // One proof ends the one before it.
    let permissions = Permissions::CREDENTIAL_MANAGEMENT;
    let managing = session.pin_uv_token(&pin, permissions, None, context).expect("a proof");
    let _ = session.credential_metadata(&managing, context);
    let _ = session.all_credentials(&managing, context);
    let _ = session.delete_credential(&id, &managing, context);
    administer(&mut session, &pin, context);
    let _ = session.select(context);
    let _ = session.reset(context);
    key.told
}

/// Whatever a key has of fingerprints, settings and large blobs; one that lacks them says so.
fn administer(session: &mut FidoSession<'_>, pin: &Secret, context: &mut FidoContext<'_>) {
    if let Ok(proof) = session.pin_uv_token(pin, Permissions::BIO_ENROLLMENT, None, context) {
        let _ = session.fingerprint_sensor(context);
        let _ = session.fingerprints(&proof, context);
        let _ = session.enrol_fingerprint(&proof, context, &mut |_| {});
        for finger in session.fingerprints(&proof, context).unwrap_or_default() {
            let _ = session.name_fingerprint(&finger.id, "left thumb", &proof, context);
        }
        let _ = session.fingerprints(&proof, context);
        let _ = session.uv_retries(context);
        let _ = session.uv_token(Permissions::GET_ASSERTION, Some(RP), context);
    }
    let _ = session.large_blobs(context);
    if let Ok(proof) = session.pin_uv_token(pin, Permissions::LARGE_BLOB_WRITE, None, context) {
        let _ = session.clear_large_blobs(Some(&proof), context);
    }
    if let Ok(proof) = session.pin_uv_token(pin, Permissions::AUTHENTICATOR_CONFIG, None, context) {
        let raised = Subcommand::SetMinPinLength {
            length: Some(6),
            rp_ids: &[],
            force_change: false,
        };
        let _ = session.configure(raised, Some(&proof), context);
    }
    let _ = session.get_info(context);
}

fn with_length(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("short");
    [&length.to_be_bytes()[..], message].concat()
}

fn of_keys(seeds: &mut Seeds) {
    for (profile, choice) in ["bio-key", "fido23"]
        .into_iter()
        .flat_map(|one| (0..targets::sessions::CHOICES).map(move |n| (one, n)))
    {
        let told = asked_for(profile, choice);
        let script: Vec<u8> = told.iter().flat_map(|(_, message)| with_length(message)).collect();
        let name = format!("{profile}_choice_{choice:02}");
        seeds.insert(("hid_key", name.clone()), [&[choice << 1][..], &script].concat());
        seeds.insert(("nfc_key", name), [&[choice << 1][..], &apdus(&told)].concat());
    }
    for profile in ["nitrokey-3", "yubikey-5-7", "fido20", "bio-key", "fido23"] {
        let told = life(profile);
        let script: Vec<u8> = told.iter().flat_map(|(_, message)| with_length(message)).collect();
        // Messages one after the other, from the beginning of a life and from where it has a PIN.
        let whole = [&[2][..], &script].concat();
        seeds.insert(("hid_key", format!("{profile}_life")), whole);
        let frames = told.iter().take(6).flat_map(|(_, message)| {
            let channel = Channel(0x0022_0002);
            reports(channel, Command::Cbor, message).expect("short").concat()
        });
        let frames: Vec<u8> = frames.collect();
        seeds.insert(("hid_key", format!("{profile}_frames")), [&[3][..], &frames].concat());
        seeds.insert(("ctaphid", format!("{profile}_frames")), frames);
        seeds.insert(
            ("nfc_key", format!("{profile}_life")),
            [&[2][..], &apdus(&told)].concat(),
        );
        for (turn, (asked, message)) in told.iter().enumerate() {
            let one = [&[decoder(asked)][..], message].concat();
            seeds.insert(("ctap2", format!("{profile}_{turn:02}_{asked}")), one);
            for (target, first) in [("hid_key", 0), ("nfc_key", 0)] {
                let choice = match *asked {
                    "info" => 0,
                    "retries" => 1,
                    "assertion" => 5,
                    "made" => 4,
                    "sensor" => 13,
                    "templates" => 14,
                    "sample" => 15,
                    _ => continue,
                };
                let rest = if target == "hid_key" {
                    with_length(message)
                } else {
                    apdus(&[(*asked, message.clone())])
                };
                let input = [&[(choice << 1) | first][..], &rest].concat();
                seeds.insert((target, format!("{profile}_{asked}")), input);
            }
        }
    }
}

/// SELECT's answer, then messages as a card gives them: the longer ones in parts, with a keep-alive before the first.
fn apdus(told: &[(&'static str, Vec<u8>)]) -> Vec<u8> {
    let mut script = with_length(b"FIDO_2_0\x90\x00");
    script.extend(with_length(b"\x01\x91\x00"));
    for (_, message) in told {
        let mut parts = message.chunks(256).peekable();
        while let Some(part) = parts.next() {
            let more = parts.peek().map(|next| u8::try_from(next.len()).unwrap_or(0));
            let status = more.map_or([0x90, 0], |more| [0x61, more]);
            script.extend(with_length(&[part, &status].concat()));
        }
    }
    script
}

/// A public key that is one: the key-agreement key of a simulated key.
fn point() -> Vec<u8> {
    let told = life("fido20");
    let (_, agreement) = told.iter().find(|(asked, _)| *asked == "agreement").expect("a key");
    let key = client_pin::parse_key_agreement(agreement).expect("a key");
    let coordinate = |label: i64| key.get(label).and_then(Value::as_bytes).expect("a coordinate").to_vec();
    [vec![4], coordinate(-2), coordinate(-3)].concat()
}

/// A key asked for one of the things that the targets ask for, with a proof that is good for it; what it answered.
fn asked_for(profile: &str, choice: u8) -> Vec<(&'static str, Vec<u8>)> {
    const THEIR_RP: &str = "claviger.example";
    let mut key = Key {
        token: Token::of_profile(profile, TokenSetup::named("seed")).expect("a token"),
        told: Vec::new(),
    };
    let (cancel, mut entropy) = (Cancel::new(), Fixed);
    let mut context = patient(&cancel);
    let mut session = FidoSession::new(&mut key, &mut entropy);
    let pin = Secret::new(PIN.to_vec());
    let permissions = match choice {
        6 | 7 | 10 => Permissions::CREDENTIAL_MANAGEMENT,
        12 | 14 | 15 => Permissions::BIO_ENROLLMENT,
        16 => Permissions::LARGE_BLOB_WRITE,
        17 => Permissions::AUTHENTICATOR_CONFIG,
        _ => Permissions::MAKE_CREDENTIAL | Permissions::GET_ASSERTION,
    };
    // The first PIN is one of the things.
    let proof = (choice != 2).then(|| {
        session.set_pin(&pin, &mut context).expect("a PIN");
        if let 5 | 7 | 10 = choice {
            let making = Permissions::MAKE_CREDENTIAL | Permissions::GET_ASSERTION;
            let making = session
                .pin_uv_token(&pin, making, Some(THEIR_RP), &mut context)
                .expect("a proof");
            targets::sessions::one(&mut session, 4, Some(&making), &mut context).expect("a credential");
        }
        let rp_id = (permissions.0 & 3 != 0).then_some(THEIR_RP);
        session.pin_uv_token(&pin, permissions, rp_id, &mut context).ok()
    });
    let proof = proof.flatten();
    if let (12 | 14, Some(proof)) = (choice, &proof) {
        let _ = session.enrol_fingerprint(proof, &mut context, &mut |_| {});
    }
    drop(session);
    key.told.clear();
    let mut session = FidoSession::new(&mut key, &mut entropy);
    let _ = targets::sessions::one(&mut session, choice, proof.as_ref(), &mut context);
    key.told
}

/// What a U2F key answers, from the standard's own drawing of it: no certificate and no signature, but something of their shape.
fn of_u2f(seeds: &mut Seeds) {
    let key = point();
    let signature = [0x30, 6, 2, 1, 1, 2, 1, 1];
    let registered = [&[5][..], &key, &[16], &[9; 16], &[0x30, 3, 2, 1, 5], &signature].concat();
    let authenticated = [&[1, 0, 0, 0, 7][..], &signature].concat();
    seeds.insert(
        ("ctap2", "u2f_registered".to_owned()),
        [&[20][..], &registered].concat(),
    );
    seeds.insert(
        ("ctap2", "u2f_asserted".to_owned()),
        [&[21][..], &authenticated].concat(),
    );
    let page = [23, 0x90, 0, 11, 2, 4, 0, 1, 2, 3, 5, 3, 5, 7, 1];
    seeds.insert(("ctap2", "yubikey_page".to_owned()), page.to_vec());
    seeds.insert(("ctap2", "card_at_work".to_owned()), vec![23, 0x91, 0, 2]);
    seeds.insert(
        ("ctap2", "card_selected".to_owned()),
        [&[23, 0x90, 0][..], b"FIDO_2_0"].concat(),
    );
    let whole = |data: &[u8]| [data, &[0x90, 0]].concat();
    let (version, unknown, waiting) = (whole(b"U2F_V2"), vec![0x6A, 0x80], vec![0x69, 0x85]);
    // Both credentials that must not be there are not; the second one asked for is.
    let registering = [&version, &unknown, &unknown, &waiting, &whole(&registered)];
    let asserting = [&version, &unknown, &waiting, &waiting, &whole(&authenticated)];
    for (name, asked, script) in [("registered", 4, registering), ("asserted", 5, asserting)] {
        let script: Vec<u8> = script.iter().flat_map(|message| with_length(message)).collect();
        let hid = [&[0x80 | asked << 1][..], &script].concat();
        seeds.insert(("hid_key", format!("u2f_{name}")), hid);
        // Such a card answers its selection so, and knows no getInfo.
        let opening = [with_length(&version), with_length(&[0x6D, 0])].concat();
        let nfc = [&[asked << 1][..], &opening, &script].concat();
        seeds.insert(("nfc_key", format!("u2f_{name}")), nfc);
    }
}

fn of_trust(seeds: &mut Seeds) {
    let client = serialize(Ceremony::Create, b"sixteen bytes ok", "https://login.example.org");
    for profile in ["nitrokey-3", "yubikey-5-7", "fido20", "bio-key"] {
        let told = life(profile);
        let (_, made) = told.iter().find(|(asked, _)| *asked == "made").expect("a credential");
        let object = AttestationObject::from(&make_credential::Response::parse(made).expect("a response"));
        let bytes = object.encode();
        seeds.insert(
            ("attestation", format!("{profile}_object")),
            [&[b'0'][..], &bytes].concat(),
        );
        let first = object
            .statement
            .get("x5c")
            .and_then(Value::as_array)
            .and_then(<[_]>::first);
        if let Some(der) = first.and_then(Value::as_bytes) {
            seeds.insert(
                ("attestation", format!("{profile}_certificate")),
                [&[b'1'][..], der].concat(),
            );
            seeds.insert(
                ("attestation", format!("{profile}_u2f_certificate")),
                [&[b'3'][..], der].concat(),
            );
        }
        let response = RegistrationResponse {
            id: vec![1; 16],
            client_data_json: client.clone(),
            attestation_object: bytes,
            transports: vec!["usb".to_owned()],
            public_key: None,
            algorithm: Some(-7),
            extensions: serde_json::Map::new(),
        };
        let json = response.to_json().to_string();
        seeds.insert(
            ("webauthn", format!("{profile}_registration")),
            [b"5", json.as_bytes()].concat(),
        );
    }
    let none = Map::from_iter([("fmt", Value::from("none")), ("attStmt", Value::from(Map::new()))]);
    seeds.insert(
        ("attestation", "none_without_data".to_owned()),
        [&[b'0'][..], &cbor::encode(&none.into())].concat(),
    );
    let text = |name: &str, target, first: &str, text: &str, seeds: &mut Seeds| {
        seeds.insert((target, name.to_owned()), [first.as_bytes(), text.as_bytes()].concat());
    };
    let creation = r#"{"rp":{"id":"login.example.org","name":"Example"},"user":{"id":"AQEBAQ","name":"ada","displayName":"Ada"},"challenge":"c2l4dGVlbiBieXRlcyBvaw","pubKeyCredParams":[{"type":"public-key","alg":-7},{"type":"public-key","alg":-257}],"timeout":60000,"excludeCredentials":[{"type":"public-key","id":"AQEBAQEBAQEBAQEBAQEBAQ","transports":["usb","nfc"]}],"authenticatorSelection":{"residentKey":"required","requireResidentKey":true,"userVerification":"required"},"attestation":"direct","extensions":{"credProps":true,"credentialProtectionPolicy":"userVerificationRequired","enforceCredentialProtectionPolicy":true}}"#;
    text("creation", "webauthn", "0", creation, seeds);
    let wrapped = format!("{{\"publicKey\":{creation}}}");
    text("creation_wrapped", "webauthn", "0", &wrapped, seeds);
    text("entra", "webauthn", "40", &wrapped, seeds);
    let okta = format!("{{\"_embedded\":{{\"activation\":{creation}}}}}");
    text("okta", "webauthn", "41", &okta, seeds);
    let keycloak = r#"{"challenge":"c2l4dGVlbiBieXRlcyBvaw","userid":"AQEBAQ","username":"ada","signatureAlgorithms":[-7],"rpEntityName":"keycloak","rpId":"login.example.org","attestationConveyancePreference":"not specified","authenticatorAttachment":"not specified","requireResidentKey":"not specified","userVerificationRequirement":"not specified","createTimeout":0,"excludeCredentialIds":"AQEBAQEBAQEBAQEBAQEBAQ"}"#;
    text("keycloak", "webauthn", "42", keycloak, seeds);
    let privacyidea = r#"{"detail":{"webAuthnRegisterRequest":{"attestation":"direct","authenticatorSelection":{"userVerification":"preferred"},"displayName":"Ada","excludeCredentials":[],"message":"Please confirm","name":"ada","nonce":"c2l4dGVlbiBieXRlcyBvaw","pubKeyCredAlgorithms":[{"alg":-7,"type":"public-key"}],"relyingParty":{"id":"login.example.org","name":"Example"},"serialNumber":"WAN0001","timeout":60000,"transaction_id":"0123"}}}"#;
    text("privacyidea", "webauthn", "43", privacyidea, seeds);
    let request = r#"{"challenge":"c2l4dGVlbiBieXRlcyBvaw","rpId":"login.example.org","allowCredentials":[{"type":"public-key","id":"AQEBAQEBAQEBAQEBAQEBAQ"}],"userVerification":"preferred","timeout":1000}"#;
    text("request", "webauthn", "1", request, seeds);
    text(
        "client_data",
        "webauthn",
        "2",
        std::str::from_utf8(&client).expect("JSON"),
        seeds,
    );
    text(
        "origin",
        "webauthn",
        "3",
        "https://login.example.org:8443 example.org",
        seeds,
    );
    text("origin_alone", "webauthn", "3", "https://login.example.org", seeds);
    let blob = r#"{"legalHeader":"none","no":7,"nextUpdate":"2027-02-01","entries":[{"aaguid":"07070707-0707-0707-0707-070707070707","metadataStatement":{"description":"A model","attestationRootCertificates":["MIIB"]},"statusReports":[{"status":"FIDO_CERTIFIED","effectiveDate":"2024-01-01"},{"status":"REVOKED","effectiveDate":"2025-01-01"}],"timeOfLastStatusChange":"2025-01-01"},{"attestationCertificateKeyIdentifiers":["0102030405060708090a0b0c0d0e0f1011121314"],"statusReports":[]}]}"#;
    text("payload", "metadata", "1", blob, seeds);
    text(
        "jws",
        "metadata",
        "0",
        "eyJhbGciOiJFZERTQSIsIng1YyI6WyJNSUlCIl19.e30.AAAA",
        seeds,
    );
}

#[test]
fn the_first_inputs_for_keys_and_trust_are_our_own() {
    let mut seeds = Seeds::new();
    of_keys(&mut seeds);
    of_u2f(&mut seeds);
    of_trust(&mut seeds);
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let writing = std::env::var_os("CLAVIGER_WRITE").is_some();
    for ((target, name), bytes) in &seeds {
        let path = corpus.join(target).join(name);
        if writing {
            std::fs::create_dir_all(corpus.join(target)).expect("a folder");
            std::fs::write(&path, bytes).expect("a file");
        }
        let there = std::fs::read(&path).unwrap_or_default();
        assert!(there == *bytes, "{}: CLAVIGER_WRITE=1 writes it", path.display());
    }
    println!("{} inputs", seeds.len());
}
