//! `[trust]`: every rule refuses with its reason and leaves nothing behind; what is accepted stands in the record; a reload that fails
//! changes nothing.

use std::process::Command;

use hw_fixtures::TouchMode;
use hw_fixtures::profile::Attestation;
use serde_json::json;

use super::authorities::{Files, spoil};
use super::house::{End, Figures, House, PIN, text};
use super::{MODEL, assert_nothing_left, fido, house_with, kept, key, plug};

/// The reason of a refusal by the rules.
#[track_caller]
fn untrusted(end: End) -> String {
    let End::Completed(outcome, details) = end else {
        panic!("the operation should have ended, not {end}")
    };
    assert_eq!(outcome, "refused", "{details:?}");
    assert_eq!(text(&details, "error"), "org.claviger.Error.Untrusted", "{details:?}");
    text(&details, "reason")
}

#[tokio::test]
async fn every_rule_refuses_a_key_with_its_reason_and_leaves_nothing_on_it() {
    let files = Files::new();
    let own = |profile: &mut hw_fixtures::Profile| fido(profile).attestation = Attestation::SelfSigned;
    let other = "11111111-2222-3333-4444-555555555555";
    let rule = |text: &str| format!("[trust]\n{text}\n");
    let compromised = json!([
        {"status": "FIDO_CERTIFIED", "effectiveDate": "2020-01-01"},
        {"status": "USER_KEY_PHYSICAL_COMPROMISE", "effectiveDate": "2024-09-03"},
    ]);
    let revoked = json!([{"status": "REVOKED", "effectiveDate": "2025-02-01"}]);
    // With whether the key is touched before it is refused.
    let cases = [
        ("model-denied", rule(&format!("deny = [\"{MODEL}\"]")), false),
        ("model-not-allowed", rule(&format!("allow = [\"{other}\"]")), false),
        (
            "firmware-too-old",
            rule(&format!("least-firmware = {{ \"{MODEL}\" = 2 }}")),
            false,
        ),
        ("option-missing", rule("required-options = [\"alwaysUv\"]"), false),
        ("model-compromised", files.metadata(MODEL, compromised), false),
        ("model-compromised", files.metadata(MODEL, revoked), false),
        ("chain-untrusted", files.authority("stranger.pem"), true),
        (
            "serial-missing",
            format!("{}serial-required = true\n", files.authority("models.pem")),
            true,
        ),
    ];
    let mut told = Vec::new();
    for (number, (reason, more, touched)) in cases.into_iter().enumerate() {
        // The same file holds each BLOB in turn.
        if more.contains("blob.jwt") {
            let reports = match number {
                4 => json!([{"status": "USER_KEY_PHYSICAL_COMPROMISE", "effectiveDate": "2024-09-03"}]),
                _ => json!([{"status": "REVOKED", "effectiveDate": "2025-02-01"}]),
            };
            files.metadata(MODEL, reports);
        }
        let house = house_with(more).await;
        let key = key("key", 7, |_| {});
        let plugged = plug(&house, &key);
        if !touched {
            // Nobody touches it, so that the refusal comes before.
            key.set_touch_mode(TouchMode::Never);
        }
        let end = house.register_key(&plugged, "ada").await;
        assert_eq!(untrusted(end), reason);
        assert_nothing_left(&house, &key, 0).await;
        let token = text(&house.all().await[0], "id");
        let story = house.story_of(&token).await;
        assert!(story.contains("token.untrusted") && story.contains(reason), "{story}");
        told.push(reason);
    }
    // One that proves nothing.
    let house = house_with(files.authority("models.pem")).await;
    let key = key("key", 7, own);
    let plugged = plug(&house, &key);
    assert_eq!(untrusted(house.register_key(&plugged, "ada").await), "not-attested");
    assert_nothing_left(&house, &key, 0).await;
    println!("{} refusals", told.len() + 1);
    assert!(told.len() > 7);
}

#[tokio::test]
async fn a_credential_that_cannot_be_taken_off_again_is_owed() {
    let files = Files::new();
    let house = house_with(files.authority("stranger.pem")).await;
    let key = key("key", 7, |profile| fido(profile).credential_management = false);
    let plugged = plug(&house, &key);
    assert_eq!(untrusted(house.register_key(&plugged, "ada").await), "chain-untrusted");
    assert_eq!(kept(&key), 1);
    let owed = house.obligations().await;
    assert_eq!(owed.len(), 1, "{owed:?}");
    assert_eq!(text(&owed[0], "duty"), "delete-credential");
    house.assert_intact().await;
}

#[tokio::test]
async fn what_vouches_for_a_key_stands_in_its_record() {
    let files = Files::new();
    let more = format!("{}enterprise-attestation = true\n", files.metadata(MODEL, json!([])));
    let house = house_with(more).await;
    let key = key("key", 7, |profile| fido(profile).enterprise = true);
    let plugged = plug(&house, &key);
    let made = house.register_key(&plugged, "ada").await.done();
    assert_eq!(text(&made, "attestation"), "metadata");
    assert_eq!(text(&made, "attested-model"), "Simulated Key");
    let record = house.get(&text(&made, "token")).await;
    assert_eq!(text(&record, "attestation"), "metadata");
    assert_eq!(text(&record, "attested-model"), "Simulated Key");
    assert_eq!(text(&record, "serial"), "SIM-key", "told by its enterprise attestation");
    assert_eq!(text(&record, "aaguid"), MODEL);
    let shown = Command::new(env!("CARGO_BIN_EXE_claviger"))
        .args(["--bus", house.bus().address(), "show", &text(&made, "token")])
        .output()
        .expect("claviger");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let told = |member: &str, value: &str| {
        let mut lines = shown.lines();
        lines.any(|line| line.starts_with(member) && line.ends_with(value))
    };
    assert!(
        told("attestation", "metadata") && told("attested-model", "Simulated Key"),
        "{shown}"
    );
    house.test_on(&text(&made, "token"), &plugged, Some(PIN)).await.done();
    house.assert_intact().await;

    // The other kinds of proof, by a configured authority and without a demand.
    let lax = files
        .authority("models.pem")
        .replace("attestation-required = true\n", "");
    for (attestation, worth) in [
        (Attestation::Basic, "authority"),
        (Attestation::U2f, "authority"),
        (Attestation::SelfSigned, "self"),
        (Attestation::None, "none"),
    ] {
        let house = house_with(lax.clone()).await;
        let key = super::key("key", 8, |profile| fido(profile).attestation = attestation);
        // A U2F attestation has no room for a model, so what getInfo says cannot be held against it.
        let end = house.register_key(&plug(&house, &key), "ada").await;
        if attestation == Attestation::U2f {
            assert_eq!(untrusted(end), "model-mismatch");
            continue;
        }
        assert_eq!(text(&end.done(), "attestation"), worth);
    }
}

/// Has the daemon read the rules again, and waits until it says what became of it.
fn reload(house: &House, more: &str, saying: &str) {
    house.configure(&Figures {
        more: more.to_owned(),
        ..Figures::default()
    });
    let before = house.log().matches(saying).count();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(house.pid()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).expect("a signal");
    let until = std::time::Instant::now() + super::bus::PATIENCE;
    while house.log().matches(saying).count() == before {
        assert!(std::time::Instant::now() < until, "{}", house.log());
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_reload_puts_other_rules_in_force_and_one_that_fails_leaves_the_old() {
    let files = Files::new();
    let house = house_with(String::new()).await;
    let key = key("key", 7, |_| {});
    let plugged = plug(&house, &key);
    house.register_key(&plugged, "ada").await.done();
    let deny = format!("[trust]\ndeny = [\"{MODEL}\"]\n");
    reload(&house, &deny, "were read again and are in force");
    assert_eq!(untrusted(house.register_key(&plugged, "bob").await), "model-denied");
    for (faulty, why) in [
        ("[trust]\ndemy = []\n".to_owned(), "demy"),
        ("[trust]\nallow = [\"nonsense\"]\n".to_owned(), "line"),
        (
            "[trust]\nauthorities = [\"/nowhere/ca.pem\"]\n".to_owned(),
            "/nowhere/ca.pem",
        ),
        ("[trust]\nattestation-required = true\n".to_owned(), "who vouches"),
        (
            {
                let more = files.metadata(MODEL, json!([]));
                spoil(&files.path("blob.jwt"));
                more
            },
            "blob.jwt",
        ),
    ] {
        reload(&house, &faulty, "the old ones stay in force");
        assert!(house.log().contains(why), "{why}: {}", house.log());
        assert_eq!(untrusted(house.register_key(&plugged, "bob").await), "model-denied");
    }
    assert_nothing_left(&house, &key, 1).await;
}

#[tokio::test]
async fn metadata_that_cannot_be_used_stop_registrations_and_nothing_else() {
    let files = Files::new();
    let mut house = house_with(String::new()).await;
    let key = key("key", 7, |_| {});
    let plugged = plug(&house, &key);
    let token = text(&house.register_key(&plugged, "ada").await.done(), "token");
    drop(plugged);
    let more = files.metadata(MODEL, json!([]));
    spoil(&files.path("blob.jwt"));
    house.configure(&Figures {
        more,
        ..Figures::default()
    });
    house.restart().await;
    let plugged = plug(&house, &key);
    assert_eq!(
        untrusted(house.register_key(&plugged, "bob").await),
        "metadata-unusable"
    );
    house.test_on(&token, &plugged, None).await.done();
    house.revoke_on(&token, &plugged, Some(PIN)).await.done();
    let checked = Command::new(env!("CARGO_BIN_EXE_clavigerd"))
        .args(["--check", "--config"])
        .arg(house.config())
        .output()
        .expect("clavigerd");
    assert_eq!(checked.status.code(), Some(78), "{checked:?}");
}

#[test]
fn the_rules_are_explained_without_a_daemon() {
    let files = Files::new();
    let revoked = json!([{"status": "REVOKED", "effectiveDate": "2025-02-01"}]);
    let config = files.path("clavigerd.toml");
    std::fs::write(&config, files.metadata(MODEL, revoked)).expect("written");
    let check = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_claviger"))
            .args(["trust", "check"])
            .arg(&config)
            .args(more)
            .output()
            .expect("claviger");
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&told).into_owned())
    };
    let (code, told) = check(&["--model", MODEL]);
    assert_eq!(code, Some(0), "{told}");
    for fact in [
        "number 41",
        "1 models",
        "must prove its model",
        "Simulated Key",
        "REVOKED (2025-02-01)",
    ] {
        assert!(told.contains(fact), "no {fact} in {told}");
    }
    spoil(&files.path("blob.jwt"));
    let (code, told) = check(&[]);
    assert_eq!(code, Some(7), "{told}");
    std::fs::write(&config, "[trust]\nmetadata-roots = [\"/x.pem\"]\n").expect("written");
    let (code, told) = check(&[]);
    assert!(code == Some(1) && told.contains("go together"), "{code:?} {told}");
}
