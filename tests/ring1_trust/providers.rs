//! Keys for identity providers: their options in, what they take out, and a server that nobody here wrote as the judge of it.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use claviger::contract::proxy::Options;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use hw_fixtures::Plugged;
use hw_fixtures::profile::Attestation;
use serde_json::{Value, json};
use zbus::Variant;

use super::house::{End, House, PIN, none, number, path_of, presence, secret, text};
use super::{assert_nothing_left, fido, house_with, kept, key, plug, pypi};

const ORIGIN: &str = "https://login.example.org";
const RP: &str = "example.org";
const CHALLENGE: &[u8] = b"a challenge of some length";

fn challenge() -> String {
    BASE64URL_NOPAD.encode(CHALLENGE)
}

/// The standard's options.
fn creation(algorithms: &[i64], exclude: &[String]) -> Value {
    let parameters: Vec<Value> = algorithms
        .iter()
        .map(|alg| json!({"type": "public-key", "alg": alg}))
        .collect();
    let exclude: Vec<Value> = exclude
        .iter()
        .map(|id| json!({"type": "public-key", "id": id}))
        .collect();
    json!({
        "rp": {"id": RP, "name": "Example"}, "challenge": challenge(), "attestation": "direct",
        "user": {"id": BASE64URL_NOPAD.encode(b"handle-1"), "name": "ada@example.org", "displayName": "Ada"},
        "pubKeyCredParams": parameters, "excludeCredentials": exclude, "later": [1],
        "authenticatorSelection": {"residentKey": "required", "requireResidentKey": true, "userVerification": "required"},
        "extensions": {"credProps": true, "hmacCreateSecret": true},
    })
}

/// A file in memory, and the same again.
fn file(content: &[u8]) -> (File, OwnedFd) {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(content).expect("written");
    let theirs = file.try_clone().expect("the same").into();
    (file, theirs)
}

fn content(mut file: File) -> String {
    let mut text = String::new();
    file.rewind().expect("rewound");
    file.read_to_string(&mut text).expect("read");
    text
}

/// Registers on behalf of a provider; what came out.
async fn register(house: &House, device: &Plugged, provider: &str, origin: &str, asked: &Value) -> (End, String) {
    let (_, theirs) = file(asked.to_string().as_bytes());
    let (ours, into) = file(b"");
    let options = Options::from([
        ("provider", Variant::from(provider)),
        ("label", Variant::from("Ada's key")),
    ]);
    let path = path_of(device);
    let end = house
        .run(async |tokens| {
            tokens
                .register_for_provider(
                    &path,
                    "ada",
                    origin,
                    secret(PIN.as_bytes()).into(),
                    theirs.into(),
                    into.into(),
                    &options,
                )
                .await
        })
        .await;
    (end, content(ours))
}

/// Tests by a provider's request; what came out.
async fn assert_by(house: &House, token: &str, device: &Plugged, asked: &Value) -> (End, String) {
    let (_, theirs) = file(asked.to_string().as_bytes());
    let (ours, into) = file(b"");
    let options = presence(device, Some(PIN));
    let end = house
        .run(async |tokens| {
            tokens
                .test_for_provider(token, ORIGIN, theirs.into(), into.into(), &options)
                .await
        })
        .await;
    (end, content(ours))
}

fn request(id: &str) -> Value {
    json!({"publicKey": {
        "challenge": challenge(), "rpId": RP, "userVerification": "required",
        "allowCredentials": [{"type": "public-key", "id": id}],
    }})
}

/// What python-fido2's server says, or `None` when it is not here.
fn judge(test: &str, asked: &Value) -> Option<String> {
    let Some(programs) = pypi::programs() else {
        let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false" && ci != "0");
        assert!(
            !ci,
            "{test}: the judges from PyPI cannot be installed, and on CI nothing may be skipped"
        );
        let _ = writeln!(
            std::io::stderr(),
            "{test}: skipped, the judges from PyPI cannot be installed"
        );
        return None;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ring1_trust/verify.py");
    let mut python = Command::new(programs.join("python"))
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python");
    let mut input = python.stdin.take().expect("its input");
    input.write_all(asked.to_string().as_bytes()).expect("written");
    drop(input);
    let output = python.wait_with_output().expect("its end");
    Some(String::from_utf8(output.stdout).expect("text").trim_end().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_and_assertions_verify_with_a_server_that_nobody_here_wrote() {
    let mut judged = 0;
    for (attestation, algorithm) in [
        (Attestation::Basic, -7),
        (Attestation::Basic, -8),
        (Attestation::Basic, -35),
        (Attestation::SelfSigned, -7),
        (Attestation::SelfSigned, -8),
        (Attestation::SelfSigned, -35),
        (Attestation::U2f, -7),
        (Attestation::None, -7),
    ] {
        let house = house_with(String::new()).await;
        let key = key("key", 7, |profile| {
            let fido = fido(profile);
            fido.attestation = attestation;
            fido.algorithms = vec![-7, -8, -35];
            fido.extensions = ["credProtect", "hmac-secret"].map(str::to_owned).to_vec();
        });
        let plugged = plug(&house, &key);
        let (end, told) = register(
            &house,
            &plugged,
            "webauthn",
            ORIGIN,
            &creation(&[-65535, algorithm], &[]),
        )
        .await;
        let made = end.done();
        let registration: Value = serde_json::from_str(&told).expect("JSON");
        let case = format!("{attestation:?} {algorithm}");
        assert_eq!(
            registration["clientExtensionResults"]["credProps"]["rk"], true,
            "{case}"
        );
        assert_eq!(
            registration["clientExtensionResults"]["hmacCreateSecret"], true,
            "{case}"
        );
        assert_eq!(registration["response"]["publicKeyAlgorithm"], algorithm, "{case}");
        let token = text(&made, "token");
        let record = house.get(&token).await;
        assert_eq!(
            (text(&record, "rp-id"), text(&record, "state")),
            (RP.to_owned(), "active".to_owned())
        );
        let (end, answer) = assert_by(&house, &token, &plugged, &request(&text(&record, "credential-id"))).await;
        let count = number(&end.done(), "sign-count");
        assert!(count > number(&made, "sign-count"), "{case}");
        let assertion: Value = serde_json::from_str(&answer).expect("JSON");
        let asked = |form: &str, registration: &Value| json!({"rp_id": RP, "origin": ORIGIN, "challenge": challenge(), "form": form, "registration": registration});
        for form in ["json", "cbor"] {
            let Some(verdict) = judge("python-fido2", &asked(form, &registration)) else {
                return;
            };
            assert_eq!(verdict, format!("accepted {algorithm}"), "{case} {form}");
            judged += 1;
        }
        let mut with = asked("json", &registration);
        with["assertion"] = assertion;
        assert_eq!(judge("python-fido2", &with).as_deref(), Some("accepted"), "{case}");
        // That the judge can say no.
        let mut other = asked("json", &registration);
        other["challenge"] = json!("AAAA");
        let refused = judge("python-fido2", &other).unwrap_or_default();
        assert!(refused.contains("Wrong challenge"), "{refused}");
        house.assert_intact().await;
    }
    println!("{judged} registrations accepted by python-fido2");
}

#[tokio::test]
async fn each_provider_gets_what_it_takes() {
    let house = house_with(String::new()).await;
    let standard = creation(&[-7, -257], &[]);
    let entra = json!({"challengeTimeoutDateTime": "2026-01-01T00:00:00Z", "publicKey": {
        "challenge": challenge(), "timeout": 0, "attestation": "direct",
        "rp": {"id": "login.microsoft.com", "name": "Microsoft"},
        "user": {"id": "T0ZGSUNF", "displayName": "Ada", "name": "ada@example.org"},
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}, {"type": "public-key", "alg": -257}],
        "excludeCredentials": [{"id": "AAECAwQFBgcICQoLDA0ODw2", "type": "public-key", "transports": []}],
        "authenticatorSelection": {"authenticatorAttachment": "cross-platform", "requireResidentKey": true, "userVerification": "required"},
        "extensions": {"hmacCreateSecret": true, "enforceCredentialProtectionPolicy": true, "credentialProtectionPolicy": "userVerificationOptional"},
    }});
    let okta = json!({"id": "fwf1", "status": "PENDING_ACTIVATION", "_embedded": {"activation": {
        "attestation": "direct", "authenticatorSelection": {"userVerification": "preferred"}, "challenge": challenge(),
        "excludeCredentials": [], "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
        "rp": {"name": "Example"}, "u2fParams": {"appid": "https://example.okta.com"},
        "user": {"displayName": "Ada", "id": "00u15s1KDETTQMQYABRL", "name": "ada@example.org"},
    }}});
    let keycloak = json!({
        "challenge": challenge(), "userid": "T0ZGSUNF", "username": "ada", "signatureAlgorithms": [-7, -257],
        "rpEntityName": "keycloak", "rpId": RP, "attestationConveyancePreference": "not specified",
        "authenticatorAttachment": "not specified", "requireResidentKey": "Yes",
        "userVerificationRequirement": "required", "createTimeout": 0, "excludeCredentialIds": "AAECAwQFBgcICQoLDA0ODw,AAEC",
    });
    let privacyidea = json!({"detail": {"serial": "WAN0001", "webAuthnRegisterRequest": {
        "nonce": challenge(), "transaction_id": "0123456789", "serialNumber": "WAN0001", "name": "ada", "displayName": "Ada",
        "relyingParty": {"id": RP, "name": "Example"}, "attestation": "direct",
        "pubKeyCredAlgorithms": [{"type": "public-key", "alg": -7}], "authenticatorSelection": {"userVerification": "preferred"},
    }}});
    for (seed, provider, origin, asked) in [
        (1, "webauthn", ORIGIN, &standard),
        (2, "entra", "https://login.microsoft.com", &entra),
        (3, "okta", "https://example.okta.com", &okta),
        (4, "keycloak", ORIGIN, &keycloak),
        (5, "privacyidea", ORIGIN, &privacyidea),
    ] {
        let key = key(provider, seed, |_| {});
        let plugged = plug(&house, &key);
        let (end, told) = register(&house, &plugged, provider, origin, asked).await;
        end.done();
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let (client, object) = match provider {
            "entra" => {
                assert_eq!(told["displayName"], "Ada's key");
                let credential = &told["publicKeyCredential"];
                (
                    &credential["response"]["clientDataJSON"],
                    &credential["response"]["attestationObject"],
                )
            }
            "okta" => (&told["clientData"], &told["attestation"]),
            "privacyidea" => {
                assert_eq!(
                    (&told["type"], &told["transaction_id"], &told["serial"]),
                    (&json!("webauthn"), &json!("0123456789"), &json!("WAN0001"))
                );
                (&told["clientdata"], &told["regdata"])
            }
            "keycloak" => (&told["clientDataJSON"], &told["attestationObject"]),
            _ => (
                &told["response"]["clientDataJSON"],
                &told["response"]["attestationObject"],
            ),
        };
        let decode = |text: &Value| {
            let text = text.as_str().expect("text").as_bytes();
            if provider == "okta" {
                BASE64.decode(text)
            } else {
                BASE64URL_NOPAD.decode(text)
            }
            .expect("base64")
        };
        let client: Value = serde_json::from_slice(&decode(client)).expect("client data");
        assert_eq!(
            (&client["origin"], &client["challenge"]),
            (&json!(origin), &json!(challenge())),
            "{provider}"
        );
        let object = decode(object);
        let form: &[u8] = if provider == "keycloak" { b"dnone" } else { b"fpacked" };
        assert!(
            object.windows(form.len()).any(|part| part == form),
            "{provider}: not the attestation it asked for"
        );
    }
    // One person, many relying parties.
    let mut parties: Vec<String> = house.all().await.iter().map(|token| text(token, "rp-id")).collect();
    parties.sort();
    parties.dedup();
    assert_eq!(parties, ["example.okta.com", "example.org", "login.microsoft.com"]);
    house.assert_intact().await;
}

#[tokio::test]
async fn a_registered_credential_is_excluded() {
    let house = house_with(String::new()).await;
    let key = key("key", 7, |_| {});
    let plugged = plug(&house, &key);
    let (end, _) = register(&house, &plugged, "webauthn", ORIGIN, &creation(&[-7], &[])).await;
    let token = text(&end.done(), "token");
    let id = text(&house.get(&token).await, "credential-id");
    // By our own ledger, although the provider does not say so.
    let (end, told) = register(&house, &plugged, "webauthn", ORIGIN, &creation(&[-7], &[])).await;
    end.refused("CredentialExcluded");
    assert_eq!(told, "", "nothing goes out");
    // By the provider's list alone, in Entra's writing and far behind in a list longer than the key takes at once.
    let revoked = house.revoke(&token).await.expect("obliged");
    let still: Vec<String> = revoked["trusted-by"].clone().try_into().expect("names");
    assert_eq!(still, [RP], "the provider goes on trusting it");
    let mut exclude: Vec<String> = (0..40_u8).map(|n| BASE64URL_NOPAD.encode(&[n; 48])).collect();
    exclude.push(id);
    let (end, _) = register(&house, &plugged, "webauthn", ORIGIN, &creation(&[-7], &exclude)).await;
    end.refused("CredentialExcluded");
    assert_eq!(kept(&key), 1);
    // One that the key does not know excludes nothing.
    exclude.pop();
    let (end, _) = register(&house, &plugged, "webauthn", ORIGIN, &creation(&[-7], &exclude)).await;
    end.done();
    house.assert_intact().await;
}

#[tokio::test]
async fn an_origin_that_may_not_and_options_that_cannot_be_used_are_refused_before_the_key_is_asked() {
    let house = house_with(String::new()).await;
    let key = key("key", 7, |_| {});
    let plugged = plug(&house, &key);
    let without = |member: &str| {
        let mut asked = creation(&[-7], &[]);
        asked.as_object_mut().expect("an object").remove(member);
        asked
    };
    for (origin, asked, why) in [
        ("https://example.net", creation(&[-7], &[]), "neither the origin's host"),
        (
            "https://example.org.evil.net",
            creation(&[-7], &[]),
            "neither the origin's host",
        ),
        ("http://login.example.org", creation(&[-7], &[]), "must be “https://”"),
        (ORIGIN, creation(&[-65535], &[]), "none of the algorithms"),
        (ORIGIN, without("challenge"), "line 1"),
        (ORIGIN, json!([]), "line 1"),
    ] {
        let (end, told) = register(&house, &plugged, "webauthn", origin, &asked).await;
        let sentence = end.refused("InvalidArgument");
        assert!(sentence.contains(why) && told.is_empty(), "{sentence} {told}");
    }
    assert!(house.all().await.is_empty(), "not even a record");
    assert_nothing_left(&house, &key, 0).await;
}

#[tokio::test]
async fn a_response_that_nobody_takes_leaves_nothing_on_the_key() {
    let house = house_with(String::new()).await;
    let key = key("key", 7, |_| {});
    let plugged = plug(&house, &key);
    let (_, theirs) = file(creation(&[-7], &[]).to_string().as_bytes());
    // The reading end of a pipe, to which nobody can write.
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let path = path_of(&plugged);
    let into = OwnedFd::from(reader);
    let end = house
        .run(async |tokens| {
            let pin = secret(PIN.as_bytes());
            tokens
                .register_for_provider(&path, "ada", ORIGIN, pin.into(), theirs.into(), into.into(), &none())
                .await
        })
        .await;
    end.refused("SecretUnwritable");
    assert_nothing_left(&house, &key, 0).await;
}

#[tokio::test]
async fn a_counter_that_went_back_is_a_clone_warning_and_no_response_goes_out() {
    let house = house_with(String::new()).await;
    // Two keys of one seed are one key and its copy; a credential that no key stores is in both.
    let (original, copy) = (key("key", 7, |_| {}), key("key", 7, |_| {}));
    let mut asked = creation(&[-7], &[]);
    asked["authenticatorSelection"] = json!({"residentKey": "discouraged", "userVerification": "required"});
    let plugged = plug(&house, &original);
    let (end, _) = register(&house, &plugged, "webauthn", ORIGIN, &asked).await;
    let token = text(&end.done(), "token");
    let id = text(&house.get(&token).await, "credential-id");
    for _ in 0..3 {
        let (end, _) = assert_by(&house, &token, &plugged, &request(&id)).await;
        end.done();
    }
    let counted = number(&house.get(&token).await, "sign-count");
    drop(plugged);
    // The copy gets its PIN by a registration of its own.
    let plugged = plug(&house, &copy);
    let mut own = asked.clone();
    own["rp"]["id"] = json!("login.example.org");
    let (end, _) = register(&house, &plugged, "webauthn", ORIGIN, &own).await;
    end.done();
    let (end, told) = assert_by(&house, &token, &plugged, &request(&id)).await;
    let End::Completed(outcome, details) = end else {
        panic!("{end}")
    };
    assert_eq!(
        (outcome.as_str(), text(&details, "error").as_str()),
        ("refused", "org.claviger.Error.CounterWentBack")
    );
    assert_eq!(text(&details, "reason"), "clone-suspected");
    assert_eq!(told, "", "no response of a copy");
    let story = house.story_of(&token).await;
    assert!(
        story.contains("test.failed") && story.contains("counter-went-back"),
        "{story}"
    );
    assert_eq!(
        number(&house.get(&token).await, "sign-count"),
        counted,
        "the count never goes back"
    );
    house.assert_intact().await;
}

#[tokio::test]
async fn the_client_writes_the_response_whole_or_not_at_all() {
    let house = house_with(String::new()).await;
    let key = key("key", 7, |_| {});
    let _plugged = plug(&house, &key);
    let (asked, response) = (house.path().join("creation.json"), house.path().join("response.json"));
    std::fs::write(&asked, creation(&[-7], &[]).to_string()).expect("written");
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
        command.args(["--bus", house.bus().address()]).args(more);
        command
            .arg("--pin-stdin")
            .arg("--options")
            .arg(&asked)
            .arg("--response")
            .arg(&response);
        command
            .stdin(Stdio::from(secret(PIN.as_bytes())))
            .output()
            .expect("claviger")
    };
    let refused = run(&[
        "register",
        "fido2",
        "ada",
        "--for",
        "webauthn",
        "--origin",
        "https://example.net",
    ]);
    assert!(!refused.status.success() && !response.exists(), "{refused:?}");
    let unsaid = run(&["register", "fido2", "ada", "--for", "webauthn"]);
    assert_eq!(unsaid.status.code(), Some(2), "{unsaid:?}");
    let done = run(&["register", "fido2", "ada", "--for", "webauthn", "--origin", ORIGIN]);
    assert!(done.status.success(), "{done:?}");
    let written: Value = serde_json::from_slice(&std::fs::read(&response).expect("the response")).expect("JSON");
    let id = written["id"].as_str().expect("an id").to_owned();
    std::fs::write(&asked, request(&id).to_string()).expect("written");
    let token = text(&house.all().await[0], "id");
    let tested = run(&["test", &token, "--origin", ORIGIN]);
    assert!(tested.status.success(), "{tested:?}");
    let written: Value = serde_json::from_slice(&std::fs::read(&response).expect("the response")).expect("JSON");
    assert_eq!(written["response"]["userHandle"], BASE64URL_NOPAD.encode(b"handle-1"));
}
