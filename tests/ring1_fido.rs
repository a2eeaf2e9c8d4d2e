//! Ring 1: looking after FIDO2 keys, told as stories to the shipped daemon.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use claviger::contract::proxy::{Options, Record};
use house::{End, Figures, House, PIN, Running, none, number, path_of, secret, text, token};
use hw_fixtures::fido::Authenticator;
use hw_fixtures::token::TokenSetup;
use hw_fixtures::{Plugged, Profile, Token, TouchMode};
use zbus::Variant;

/// Opened by this PIN.
fn by(pin: &str) -> Options<'static> {
    Options::from([("pin", Variant::Fd(secret(pin.as_bytes()).into()))])
}

/// The same, and one of the last two tries may be used.
fn by_the_last(pin: &str) -> Options<'static> {
    let mut options = by(pin);
    options.insert("last-tries", Variant::from(true));
    options
}

fn said() -> Options<'static> {
    Options::from([("reset", Variant::from(true))])
}

fn is_true(details: &Record, key: &str) -> bool {
    details.get(key).is_some_and(|value| bool::try_from(value) == Ok(true))
}

fn own<T>(key: &Token, look: impl FnOnce(&mut Authenticator) -> T) -> T {
    key.with_authenticator(look).expect("a key")
}

async fn house() -> House {
    House::start(&Figures::default()).await
}

async fn impatient() -> House {
    House::start(&Figures {
        touch: 900,
        ..Figures::default()
    })
    .await
}

async fn set_pin(house: &House, key: &Plugged, pin: &str) -> End {
    let new = secret(pin.as_bytes());
    house
        .run_fido(key, async |key| key.set_pin(new.into(), &none()).await)
        .await
}

async fn change_pin(house: &House, key: &Plugged, new: &str, options: &Options<'_>) -> End {
    let new = secret(new.as_bytes());
    house
        .run_fido(key, async |key| key.change_pin(new.into(), options).await)
        .await
}

async fn list(house: &House, key: &Plugged, options: &Options<'_>) -> End {
    house
        .run_fido(key, async |key| key.list_credentials(options).await)
        .await
}

async fn status(house: &House, key: &Plugged) -> Record {
    let key = house.fido(key).await;
    bus::within("PinStatus", key.pin_status(&none()))
        .await
        .expect("a status")
}

fn refused(end: End, name: &str) -> (Option<i64>, String) {
    let left = match &end {
        End::Completed(_, details) => number(details, "tries-left"),
        _ => None,
    };
    (left, end.refused(name))
}

fn credentials(details: &Record) -> Vec<Record> {
    let listed = details.get("credentials").expect("a list").try_clone().expect("a copy");
    Vec::try_from(listed).expect("rows")
}

/// A house, its key with a PIN, plugged in.
async fn with_pin(profile: &str) -> (House, Token, Plugged) {
    let house = house().await;
    let key = token(profile, "key", 1);
    let plugged = house.plug(&key);
    set_pin(&house, &plugged, PIN).await.done();
    (house, key, plugged)
}

#[tokio::test]
async fn a_pin_is_set_changed_and_told_about() {
    for profile in ["yubikey-5", "nitrokey-3", "fido20", "fido-nfc-fixed"] {
        let house = house().await;
        let key = token(profile, "key", 1);
        let plugged = house.plug(&key);
        assert_eq!(text(&status(&house, &plugged).await, "state"), "not-set", "{profile}");
        set_pin(&house, &plugged, "123").await.refused("PinPolicy");
        let done = set_pin(&house, &plugged, PIN).await.done();
        assert_eq!(number(&done, "tries-left"), Some(8), "{profile}: told afterwards");
        set_pin(&house, &plugged, "other-pin").await.refused("InvalidArgument");
        let stands = status(&house, &plugged).await;
        assert_eq!(
            (text(&stands, "state").as_str(), number(&stands, "tries-left")),
            ("ready", Some(8)),
            "{profile}: told before"
        );
        change_pin(&house, &plugged, "new-pin-1", &none())
            .await
            .refused("PinRequired");
        let (left, _) = refused(
            change_pin(&house, &plugged, "new-pin-1", &by("wrong")).await,
            "PinInvalid",
        );
        assert_eq!(left, Some(7), "{profile}");
        change_pin(&house, &plugged, "new-pin-1", &by(PIN)).await.done();
        assert!(own(&key, |own| own.has_pin("new-pin-1")), "{profile}");
        house.assert_intact().await;
        house.assert_no_panic();
    }
}

#[tokio::test]
async fn three_wrong_pins() {
    let (house, key, plugged) = with_pin("yubikey-5").await;
    for left in [7, 6] {
        let (told, sentence) = refused(list(&house, &plugged, &by("wrong-pin")).await, "PinInvalid");
        assert_eq!(told, Some(left), "{sentence}");
    }
    refused(list(&house, &plugged, &by("wrong-pin")).await, "SoftBlocked");
    // From now on nothing is sent that would cost a try.
    let (left, sentence) = refused(list(&house, &plugged, &by(PIN)).await, "SoftBlocked");
    assert_eq!(left, Some(5));
    assert!(sentence.contains("unplug"), "{sentence}");
    assert_eq!(own(&key, |own| own.pin_retries()), 5);
    assert_eq!(text(&status(&house, &plugged).await, "state"), "replug");
    plugged.unplug();
    let plugged = house.plug(&key);
    list(&house, &plugged, &by(PIN)).await.done();
    assert_eq!(own(&key, |own| own.pin_retries()), 8);
}

#[tokio::test]
async fn eight_wrong_pins() {
    let (house, key, mut plugged) = with_pin("yubikey-5").await;
    for left in (2..8).rev() {
        if left == 4 {
            plugged.unplug();
            plugged = house.plug(&key);
        }
        let end = list(&house, &plugged, &by("wrong-pin")).await;
        let End::Completed(_, details) = &end else {
            panic!("{end}")
        };
        assert_eq!(number(details, "tries-left"), Some(left));
    }
    plugged.unplug();
    let plugged = house.plug(&key);
    // The last two tries are not used without the word: not for a listing, not for a test or a registration.
    let (left, sentence) = refused(list(&house, &plugged, &by(PIN)).await, "LastTries");
    assert_eq!(left, Some(2));
    assert!(sentence.contains("last-tries"), "{sentence}");
    house.register_key(&plugged, "alice").await.refused("LastTries");
    change_pin(&house, &plugged, "new-pin-1", &by(PIN))
        .await
        .refused("LastTries");
    assert_eq!(own(&key, |own| own.pin_retries()), 2, "none was used");
    assert_eq!(text(&status(&house, &plugged).await, "state"), "last-tries");
    refused(list(&house, &plugged, &by_the_last("wrong-pin")).await, "PinInvalid");
    let (_, sentence) = refused(list(&house, &plugged, &by_the_last("wrong-pin")).await, "PinBlocked");
    assert!(sentence.contains("reset"), "{sentence}");
    let (_, sentence) = refused(list(&house, &plugged, &by_the_last(PIN)).await, "PinBlocked");
    assert!(sentence.contains("reset"), "{sentence}");
    let stands = status(&house, &plugged).await;
    assert_eq!(text(&stands, "state"), "blocked");
    assert!(text(&stands, "advice").contains("reset"));
    house.assert_intact().await;
}

#[tokio::test]
async fn a_pin_changed_behind_our_back() {
    let (house, key, plugged) = with_pin("yubikey-5").await;
    let id = {
        let end = house.register_key(&plugged, "alice").await;
        text(&end.done(), "token")
    };
    // Another program changes it in between; here the same daemon is asked on somebody else's behalf.
    change_pin(&house, &plugged, "quite-new", &by(PIN)).await.done();
    let (left, _) = refused(house.test_on(&id, &plugged, Some(PIN)).await, "PinInvalid");
    assert_eq!(left, Some(7), "one try, and no second one unasked");
    assert_eq!(own(&key, |own| own.pin_retries()), 7);
    house.test_on(&id, &plugged, Some("quite-new")).await.done();
}

#[tokio::test]
async fn a_change_that_the_key_demands() {
    for profile in ["yubikey-5", "fido-nfc-fixed"] {
        let (house, key, plugged) = with_pin(profile).await;
        let options = by(PIN);
        let forced = house
            .run_fido(&plugged, async |key| key.require_pin_change(&options).await)
            .await;
        assert!(is_true(&forced.done(), "change-forced"));
        assert_eq!(text(&status(&house, &plugged).await, "state"), "change-forced");
        let sentence = list(&house, &plugged, &by(PIN)).await.refused("PinChangeRequired");
        assert!(sentence.contains("change"), "{sentence}");
        house.register_key(&plugged, "alice").await.refused("PinChangeRequired");
        change_pin(&house, &plugged, PIN, &by(PIN))
            .await
            .refused("InvalidArgument");
        assert_eq!(own(&key, |own| own.pin_retries()), 8, "no try was spent on that");
        change_pin(&house, &plugged, "another-pin", &by(PIN)).await.done();
        list(&house, &plugged, &by("another-pin")).await.done();
        house.assert_intact().await;
    }
}

#[tokio::test]
async fn a_pin_is_drawn_handed_out_once_and_must_be_changed() {
    let house = house().await;
    for (profile, forces) in [("fido23", true), ("nitrokey-3", false)] {
        let key = token(profile, profile, 1);
        let plugged = house.plug(&key);
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let options = Options::from([("length", Variant::U32(10))]);
        let letter = OwnedFd::from(writer);
        let drawn = house
            .run_fido(&plugged, async |key| key.draw_pin(letter.into(), &options).await)
            .await
            .done();
        let mut pin = String::new();
        reader.read_to_string(&mut pin).expect("the PIN");
        assert_eq!(pin.len(), 10);
        assert!(pin.bytes().all(|byte| byte.is_ascii_digit()));
        assert!(own(&key, |own| own.has_pin(&pin)), "{profile}");
        assert_eq!(is_true(&drawn, "change-forced"), forces, "{profile}");
        assert_eq!(own(&key, |own| own.wants_pin_change()), forces);
        assert!(!house.log().contains(&pin), "the PIN is in the log");
    }
    // Nobody takes it: nothing is set.
    let key = token("yubikey-5", "untaken", 2);
    let plugged = house.plug(&key);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let letter = OwnedFd::from(writer);
    house
        .run_fido(&plugged, async |key| key.draw_pin(letter.into(), &none()).await)
        .await
        .refused("SecretUnwritable");
    assert_eq!(text(&status(&house, &plugged).await, "state"), "not-set");
    house.assert_intact().await;
}

#[tokio::test]
async fn settings_are_made_stricter_and_told_when_they_cannot_be() {
    let (house, key, plugged) = with_pin("fido23").await;
    let set = async |length: u32, rp_ids: &[&str], pin: &str| {
        let mut options = by(pin);
        if !rp_ids.is_empty() {
            options.insert("rp-ids", Variant::from(rp_ids.to_vec()));
        }
        house
            .run_fido(&plugged, async |key| key.set_min_pin_length(length, &options).await)
            .await
    };
    set(6, &["example.org", "example.com"], PIN).await.done();
    assert_eq!(own(&key, |own| own.min_pin_length()), 6);
    assert_eq!(
        own(&key, |own| own.min_pin_rps().to_vec()),
        ["example.org", "example.com"]
    );
    let sentence = set(5, &[], PIN).await.refused("InvalidArgument");
    assert!(sentence.contains("cannot fall"), "{sentence}");
    let sentence = set(6, &["a.example", "b.example", "c.example"], PIN)
        .await
        .refused("InvalidArgument");
    assert!(sentence.contains("at most 2"), "{sentence}");
    for on in [true, true, false] {
        let options = by(PIN);
        house
            .run_fido(&plugged, async |key| key.set_always_uv(on, &options).await)
            .await
            .done();
        assert_eq!(own(&key, |own| own.is_always_uv()), on, "asked for, not toggled");
    }
    let options = by(PIN);
    house
        .run_fido(&plugged, async |key| key.enable_enterprise_attestation(&options).await)
        .await
        .done();
    let options = by(PIN);
    house
        .run_fido(&plugged, async |key| key.enable_long_touch_for_reset(&options).await)
        .await
        .done();
    let told = house.device(&plugged).await.describe(&none()).await.expect("told");
    let info: serde_json::Value = serde_json::from_str(&text(&told, "fido")).expect("JSON");
    assert_eq!(info["options"]["ep"], true, "{info}");
    assert_eq!(info["longTouchForReset"], true, "{info}");
    // A longer least length than the PIN has: it must be changed.
    assert!(is_true(&set(12, &[], PIN).await.done(), "change-forced"));
    // What a plain key cannot, it says.
    let plain = house.plug(&token("nitrokey-3", "plain", 2));
    set_pin(&house, &plain, PIN).await.done();
    let options = by(PIN);
    house
        .run_fido(&plain, async |key| key.enable_enterprise_attestation(&options).await)
        .await
        .refused("Unsupported");
    house.assert_intact().await;
}

#[tokio::test]
async fn passkeys_are_listed_renamed_and_deleted_and_tokens_are_left_alone() {
    for profile in ["yubikey-5", "fido-nfc-fixed"] {
        let (house, key, plugged) = with_pin(profile).await;
        let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
        let listed = list(&house, &plugged, &by(PIN)).await.done();
        assert_eq!(number(&listed, "remaining"), Some(24), "{profile}");
        assert_eq!(number(&listed, "tries-left"), Some(8));
        let rows = credentials(&listed);
        assert_eq!(rows.len(), 1);
        assert_eq!(text(&rows[0], "token"), id, "it is known as the token's body");
        assert_eq!(text(&rows[0], "user-name"), "alice");
        let passkey = text(&rows[0], "id");

        let options = by(PIN);
        house
            .run_fido(&plugged, async |key| {
                key.rename_credential(&passkey, "alice2", &options).await
            })
            .await
            .done();
        let rows = credentials(&list(&house, &plugged, &by(PIN)).await.done());
        assert_eq!(text(&rows[0], "user-name"), "alice2", "{profile}");

        let options = by(PIN);
        let end = house
            .run_fido(&plugged, async |key| key.delete_credential(&passkey, &options).await)
            .await;
        let sentence = end.refused("InvalidArgument");
        assert!(sentence.contains(&id), "{sentence}");
        assert_eq!(own(&key, |own| own.resident_count()), 1);

        // Revoked with the key absent: what is owed is settled when somebody deletes it by hand.
        house.revoke(&id).await;
        let owed = house.obligations().await.len();
        let options = by(PIN);
        house
            .run_fido(&plugged, async |key| key.delete_credential(&passkey, &options).await)
            .await
            .done();
        assert_eq!(own(&key, |own| own.resident_count()), 0);
        assert_eq!(owed, 1, "{profile}");
        assert!(house.obligations().await.is_empty(), "{profile}");
        let options = by(PIN);
        house
            .run_fido(&plugged, async |key| key.delete_credential(&passkey, &options).await)
            .await
            .refused("NoCredential");
        house.assert_intact().await;
    }
}

#[tokio::test]
async fn storage_full() {
    let (house, key, plugged) = with_pin("fido23").await;
    for subject in 0..8 {
        house.register_key(&plugged, &format!("subject-{subject}")).await.done();
    }
    let sentence = house
        .register_key(&plugged, "one-too-many")
        .await
        .refused("StorageFull");
    assert!(sentence.contains("delete one"), "{sentence}");
    let listed = list(&house, &plugged, &by(PIN)).await.done();
    assert_eq!(number(&listed, "remaining"), Some(0));
    assert_eq!(credentials(&listed).len(), 8);
    assert_eq!(own(&key, |own| own.resident_count()), 8);
    house.assert_intact().await;
}

/// The organisation's keys alone are reset.
async fn mark_ours(house: &House, id: &str) {
    house
        .run(async |tokens| tokens.mark_organisation(id, true, &none()).await)
        .await
        .done();
}

async fn begin_reset(house: &House, plugged: &Plugged) -> Running {
    house
        .begin_fido(plugged, async |key| key.reset(&said()).await)
        .await
        .unwrap_or_else(|end| panic!("{end}"))
}

#[tokio::test]
async fn a_reset_takes_the_tokens_with_it_and_is_proven() {
    for profile in ["yubikey-5", "nitrokey-3", "bio-key", "fido-nfc"] {
        let (house, key, plugged) = with_pin(profile).await;
        let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
        let gone = text(&house.register_key(&plugged, "bob").await.done(), "token");
        house.revoke(&gone).await;
        let end = house.run_fido(&plugged, async |key| key.reset(&none()).await).await;
        let sentence = end.refused("InvalidArgument");
        assert!(sentence.contains(&id) && sentence.contains("say “reset”"), "{sentence}");
        assert_eq!(
            own(&key, |own| own.resident_count()),
            2,
            "nothing is done without the word"
        );
        let end = house.run_fido(&plugged, async |key| key.reset(&said()).await).await;
        end.refused("PersonalKey");
        assert_eq!(own(&key, |own| own.resident_count()), 2, "it is its person's own");
        mark_ours(&house, &id).await;

        let mut running = begin_reset(&house, &plugged).await;
        running.until_asked("replug").await;
        plugged.unplug();
        let plugged = house.plug(&key);
        let done = running.end().await.done();
        assert_eq!(text(&done, "proof"), "assertion", "{profile}");
        assert_eq!(own(&key, |own| own.resident_count()), 0, "{profile}");
        assert_eq!(house.state_of(&id).await, "revoked", "{profile}");
        assert!(
            house.obligations().await.is_empty(),
            "{profile}: what was owed is settled"
        );
        assert_eq!(text(&status(&house, &plugged).await, "state"), "not-set");
        house.assert_intact().await;
        house.assert_no_panic();
    }
}

/// A blocked PIN is what a reset is for, and then the key can sign nothing that a PIN must allow.
#[tokio::test]
async fn a_key_whose_pin_is_blocked_is_reset_and_known_again() {
    let (house, key, mut plugged) = with_pin("fido-nfc-fixed").await;
    drop(plugged);
    let usb = token("nitrokey-3", "blocked", 5);
    plugged = house.plug(&usb);
    set_pin(&house, &plugged, PIN).await.done();
    for tries in 0..8 {
        if tries % 3 == 0 {
            plugged.unplug();
            plugged = house.plug(&usb);
        }
        let end = list(&house, &plugged, &by_the_last("wrong-pin")).await;
        assert!(!end.is_done());
    }
    assert_eq!(text(&status(&house, &plugged).await, "state"), "blocked");
    let mut running = begin_reset(&house, &plugged).await;
    running.until_asked("replug").await;
    plugged.unplug();
    let plugged = house.plug(&usb);
    let proof = text(&running.end().await.done(), "proof");
    assert!(["assertion", "appearance"].contains(&proof.as_str()), "{proof}");
    assert_eq!(text(&status(&house, &plugged).await, "state"), "not-set");
    drop(key);
}

#[tokio::test]
async fn a_key_swapped_during_a_replug() {
    let house = impatient().await;
    for profile in ["yubikey-5", "nitrokey-3"] {
        let key = token(profile, &format!("{profile}-key"), 1);
        let other = token(profile, &format!("{profile}-other"), 2);
        let plugged = house.plug(&other);
        let kept = text(&house.register_key(&plugged, "erin").await.done(), "token");
        drop(plugged);
        let plugged = house.plug(&key);
        let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
        mark_ours(&house, &id).await;
        let mut running = begin_reset(&house, &plugged).await;
        running.until_asked("replug").await;
        plugged.unplug();
        let swapped = house.plug(&other);
        let sentence = running.end().await.refused("DeviceMismatch");
        assert!(sentence.contains("not"), "{sentence}");
        assert_eq!(own(&other, |own| own.resident_count()), 1, "another key was erased");
        for token in [&id, &kept] {
            assert_eq!(house.state_of(token).await, "active", "nothing was done");
        }
        drop(swapped);
    }
    house.assert_intact().await;
}

#[tokio::test]
async fn a_reset_too_late() {
    let house = house().await;
    // A key whose ten seconds are over when it is first heard of: a hub gave it power all the while.
    let mut profile = Profile::named("yubikey-5").expect("a profile");
    profile.fido.as_mut().expect("a key").reset_window_s = 0;
    let key = Token::new(&profile, TokenSetup::named("late")).expect("a key");
    let plugged = house.plug(&key);
    set_pin(&house, &plugged, PIN).await.done();
    let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
    mark_ours(&house, &id).await;
    let mut running = begin_reset(&house, &plugged).await;
    running.until_asked("replug").await;
    plugged.unplug();
    let plugged = house.plug(&key);
    let sentence = running.end().await.refused("ResetTooLate");
    assert!(sentence.contains("10 seconds"), "{sentence}");
    assert_eq!(
        house.state_of(&id).await,
        "active",
        "the key refused, so nothing is lost"
    );
    assert_eq!(own(&key, |own| own.resident_count()), 1);
    house.test_on(&id, &plugged, Some(PIN)).await.done();
    house.assert_intact().await;
}

#[tokio::test]
async fn a_reset_over_nfc_where_it_is_not_allowed() {
    let house = house().await;
    // One says so itself; of the other it is only known once it has refused.
    let key = token("fido-nfc-fixed", "says", 1);
    let plugged = house.plug(&key);
    set_pin(&house, &plugged, PIN).await.done();
    let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
    mark_ours(&house, &id).await;
    let end = house.run_fido(&plugged, async |key| key.reset(&said()).await).await;
    let sentence = end.refused("ResetNotAllowedHere");
    assert!(sentence.contains("usb"), "{sentence}");
    assert_eq!(house.state_of(&id).await, "active");

    let key = token("yubikey-5-nfc", "refuses", 2);
    let plugged = house.plug(&key);
    let mut running = begin_reset(&house, &plugged).await;
    running.until_asked("replug").await;
    plugged.unplug();
    let _plugged = house.plug(&key);
    let sentence = running.end().await.refused("ResetNotAllowedHere");
    assert!(sentence.contains("usb"), "{sentence}");
    house.assert_intact().await;
}

#[tokio::test]
async fn a_touch_that_is_never_given() {
    let house = impatient().await;
    let key = token("fido23", "key", 1);
    let plugged = house.plug(&key);
    set_pin(&house, &plugged, PIN).await.done();
    let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
    mark_ours(&house, &id).await;
    key.set_touch_mode(TouchMode::Never);
    house
        .run_fido(&plugged, async |key| key.await_touch(&none()).await)
        .await
        .refused("TouchTimeout");
    let mut running = begin_reset(&house, &plugged).await;
    running.until_asked("replug").await;
    plugged.unplug();
    let _plugged = house.plug(&key);
    running.end().await.refused("TouchTimeout");
    assert_eq!(house.state_of(&id).await, "active");
    assert_eq!(own(&key, |own| own.resident_count()), 1);
    house.assert_intact().await;
}

#[tokio::test]
async fn a_long_touch_is_asked_for_and_a_short_one_is_refused() {
    let (house, key, plugged) = with_pin("fido23").await;
    let options = by(PIN);
    house
        .run_fido(&plugged, async |key| key.enable_long_touch_for_reset(&options).await)
        .await
        .done();
    own(&key, |own| own.set_short_touch(true));
    let mut running = begin_reset(&house, &plugged).await;
    running.until_asked("replug").await;
    plugged.unplug();
    let plugged = house.plug(&key);
    running.end().await.refused("Declined");
    own(&key, |own| own.set_short_touch(false));
    let mut running = begin_reset(&house, &plugged).await;
    running.until_asked("replug").await;
    plugged.unplug();
    let _plugged = house.plug(&key);
    running.end().await.done();
    house.assert_intact().await;
}

#[tokio::test]
async fn cancelled_at_each_phase() {
    let (house, key, plugged) = with_pin("bio-key").await;
    let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
    mark_ours(&house, &id).await;
    key.set_touch_mode(TouchMode::Manual);
    // While a touch is waited for.
    let mut running = house
        .begin_fido(&plugged, async |key| key.await_touch(&none()).await)
        .await
        .unwrap_or_else(|end| panic!("{end}"));
    running.until_asked("touch").await;
    running.cancel().await.expect("in time");
    running.end().await.expect("cancelled");
    // In the middle of a finger.
    let options = by(PIN);
    let mut running = house
        .begin_fido(&plugged, async |key| key.enrol_fingerprint(&options).await)
        .await
        .unwrap_or_else(|end| panic!("{end}"));
    running.until_asked("finger").await;
    assert!(key.touch_when_asked(Duration::from_secs(5)));
    running.until_asked("finger").await;
    running.cancel().await.expect("in time");
    running.end().await.expect("cancelled");
    assert_eq!(own(&key, |own| own.finger_count()), 0, "half a finger is none");
    // While the replug is waited for.
    let mut running = begin_reset(&house, &plugged).await;
    running.until_asked("replug").await;
    running.cancel().await.expect("in time");
    running.end().await.expect("cancelled");
    // While the last touch is waited for: past the point of no return, but a wait for a person can be cut short.
    let mut running = begin_reset(&house, &plugged).await;
    running.until_asked("replug").await;
    plugged.unplug();
    let plugged = house.plug(&key);
    running.until_asked("touch").await;
    running.cancel().await.expect("a wait for a person");
    running.end().await.expect("cancelled");
    assert_eq!(house.state_of(&id).await, "active");
    assert_eq!(own(&key, |own| own.resident_count()), 1);
    key.set_touch_mode(TouchMode::Auto);
    house.test_on(&id, &plugged, Some(PIN)).await.done();
    house.assert_intact().await;
}

/// Whether the key was wiped nobody knows: what was on it is taken for gone, and deleted should it not be.
#[tokio::test]
async fn killed_while_a_key_is_reset() {
    let (mut house, key, plugged) = with_pin("nitrokey-3").await;
    let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
    mark_ours(&house, &id).await;
    key.set_touch_mode(TouchMode::Manual);
    let mut running = begin_reset(&house, &plugged).await;
    running.until_asked("replug").await;
    plugged.unplug();
    let plugged = house.plug(&key);
    running.until_asked("touch").await;
    house.kill();
    drop(plugged);
    house.restart().await;
    assert_eq!(house.state_of(&id).await, "revoked");
    let owed = house.obligations().await;
    assert_eq!(text(&owed[0], "duty"), "delete-credential");
    // Powered up anew, it has forgotten that it was asked.
    let plugged = house.plug(&key);
    key.set_touch_mode(TouchMode::Auto);
    assert_eq!(own(&key, |own| own.resident_count()), 1, "it was not wiped after all");
    house
        .discharge_on(&text(&owed[0], "id"), &plugged, Some(PIN))
        .await
        .done();
    assert_eq!(own(&key, |own| own.resident_count()), 0);
    house.assert_intact().await;
}

#[tokio::test]
async fn a_finger_is_learnt_named_used_and_forgotten() {
    let (house, key, plugged) = with_pin("bio-key").await;
    // Good, too fast, good, good, good: the second does not count.
    own(&key, |own| own.set_samples(&[0, 5, 0, 0, 0]));
    let mut options = by(PIN);
    options.insert("name", Variant::from("index"));
    let done = house
        .run_fido(&plugged, async |key| key.enrol_fingerprint(&options).await)
        .await
        .done();
    let finger = text(&done, "fingerprint");
    assert_eq!(own(&key, |own| own.finger_count()), 1);
    let fingers = async |options: &Options<'_>| {
        let end = house
            .run_fido(&plugged, async |key| key.list_fingerprints(options).await)
            .await;
        let done = end.done();
        let listed = done.get("fingerprints").expect("a list").try_clone().expect("a copy");
        Vec::<Record>::try_from(listed).expect("rows")
    };
    let rows = fingers(&by(PIN)).await;
    assert_eq!(
        (text(&rows[0], "id"), text(&rows[0], "name")),
        (finger.clone(), "index".to_owned())
    );

    // Where verification is needed and no PIN is given, the finger does.
    list(&house, &plugged, &none()).await.done();
    assert_eq!(fingers(&none()).await.len(), 1);
    let options = by(PIN);
    let too_long = "a name of more than fifteen bytes";
    house
        .run_fido(&plugged, async |key| {
            key.rename_fingerprint(&finger, too_long, &options).await
        })
        .await
        .refused("InvalidArgument");
    let options = by(PIN);
    house
        .run_fido(&plugged, async |key| {
            key.rename_fingerprint(&finger, "thumb", &options).await
        })
        .await
        .done();
    assert_eq!(text(&fingers(&by(PIN)).await[0], "name"), "thumb");
    let options = by(PIN);
    house
        .run_fido(&plugged, async |key| key.remove_fingerprint(&finger, &options).await)
        .await
        .done();
    assert_eq!(own(&key, |own| own.finger_count()), 0);
    assert!(fingers(&by(PIN)).await.is_empty());
    let options = by(PIN);
    house
        .run_fido(&plugged, async |key| key.remove_fingerprint(&finger, &options).await)
        .await
        .refused("NoCredential");
    house.assert_intact().await;
}

#[tokio::test]
async fn blocked_uv() {
    let (house, key, plugged) = with_pin("bio-key").await;
    let options = by(PIN);
    house
        .run_fido(&plugged, async |key| key.enrol_fingerprint(&options).await)
        .await
        .done();
    own(&key, |own| own.set_finger_known(false));
    let sentence = list(&house, &plugged, &none()).await.refused("UvBlocked");
    assert!(sentence.contains("use the PIN"), "{sentence}");
    assert_eq!(own(&key, |own| own.uv_retries()), 0);
    let stands = status(&house, &plugged).await;
    assert_eq!(number(&stands, "uv-tries-left"), Some(0));
    assert_eq!(text(&stands, "state"), "ready", "the PIN is another matter");
    // A finger was asked for, and the PIN is there for when it fails; it unblocks the finger, too.
    let mut options = by(PIN);
    options.insert("finger", Variant::from(true));
    list(&house, &plugged, &options).await.done();
    assert_eq!(own(&key, |own| own.uv_retries()), 3);
    own(&key, |own| own.set_finger_known(true));
    list(&house, &plugged, &none()).await.done();
}

#[tokio::test]
async fn large_blobs_are_measured_and_cleared() {
    for profile in ["fido23", "fido-nfc-fixed"] {
        let (house, key, plugged) = with_pin(profile).await;
        let entry = [vec![0x82, 0x59, 0x02, 0x00], vec![0xab; 512], vec![0x41, 0x01]].concat();
        own(&key, |own| own.store_blobs(&entry));
        let measure = async || {
            house
                .run_fido(&plugged, async |key| key.measure_large_blobs(&none()).await)
                .await
                .done()
        };
        let told = measure().await;
        assert_eq!(number(&told, "blobs-entries"), Some(2), "{profile}");
        assert_eq!(number(&told, "blobs-size"), Some(534), "{profile}");
        house
            .run_fido(&plugged, async |key| key.clear_large_blobs(&none()).await)
            .await
            .refused("PinRequired");
        let options = by(PIN);
        house
            .run_fido(&plugged, async |key| key.clear_large_blobs(&options).await)
            .await
            .done();
        assert_eq!(number(&measure().await, "blobs-entries"), Some(0));
        assert_eq!(own(&key, |own| own.blobs().len()), 17);
        house.assert_intact().await;
    }
}

/// The client, as it is typed; `input` is its standard input.
async fn claviger(house: &House, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
    command.args(["--bus", house.bus().address(), "--json"]).args(arguments);
    let path = house.path().join("stdin");
    std::fs::write(&path, input).expect("written");
    command.stdin(Stdio::from(File::open(&path).expect("opened")));
    tokio::task::spawn_blocking(move || command.output().expect("claviger"))
        .await
        .expect("its end")
}

fn answer(output: &Output) -> serde_json::Value {
    let told = String::from_utf8_lossy(&output.stderr);
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{out}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[tokio::test]
async fn the_client_finds_a_key_on_a_crowded_bench() {
    let house = house().await;
    let keys: Vec<Token> = (0..5).map(|n| token("yubikey-5", &format!("key-{n}"), n)).collect();
    let mut plugged = Vec::new();
    for key in &keys {
        key.set_touch_mode(TouchMode::Manual);
        plugged.push(house.plug(key));
    }
    for one in &plugged {
        house.fido(one).await;
    }
    let meant = keys[3].clone();
    let toucher = std::thread::spawn(move || meant.touch_when_asked(Duration::from_secs(10)));
    let found = answer(&claviger(&house, &["fido", "find"], "").await);
    assert!(toucher.join().expect("a person"));
    let path = path_of(&plugged[3]);
    assert_eq!(found["touched"]["path"], path.as_str(), "{found}");
    // The others are let go: they can be used at once.
    set_pin(&house, &plugged[0], PIN).await.done();
}

#[tokio::test]
async fn the_client_speaks_all_of_it() {
    let house = house().await;
    let key = token("bio-key", "key", 1);
    let plugged = house.plug(&key);
    house.fido(&plugged).await;
    let path = path_of(&plugged);
    let device = path.as_str();
    let file = house.path().join("pin").display().to_string();
    let drawn = answer(&claviger(&house, &["fido", "pin", "draw", device, "--file", &file], "").await);
    assert_eq!(drawn["change-forced"], true, "{drawn}");
    let pin = std::fs::read_to_string(&file).expect("the PIN");
    let refused = claviger(&house, &["fido", "list", device, "--pin-stdin"], &pin).await;
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stdout);
    assert!(told.contains("PinChangeRequired"), "{told}");
    change_pin(&house, &plugged, PIN, &by(&pin)).await.done();
    let run = async |arguments: &[&str]| {
        let all = [arguments, &["--pin-stdin"]].concat();
        answer(&claviger(&house, &all, PIN).await)
    };
    let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
    let listed = run(&["fido", "list", device]).await;
    assert_eq!(listed["credentials"][0]["token"], id.as_str(), "{listed}");
    let passkey = listed["credentials"][0]["id"].as_str().expect("an id").to_owned();
    run(&["fido", "rename", device, &passkey, "alice-2"]).await;
    run(&["fido", "min-pin", device, "6"]).await;
    run(&["fido", "always-uv", device, "on"]).await;
    run(&["fido", "always-uv", device, "off"]).await;
    let learnt = run(&["fido", "finger", "enrol", device, "--name", "thumb"]).await;
    let finger = learnt["fingerprint"].as_str().expect("an id").to_owned();
    let fingers = run(&["fido", "finger", "list", device]).await;
    assert_eq!(fingers["fingerprints"][0]["name"], "thumb", "{fingers}");
    run(&["fido", "finger", "rename", device, &finger, "index"]).await;
    run(&["fido", "finger", "remove", device, &finger]).await;
    let stands = answer(&claviger(&house, &["fido", "pin", "status", device], "").await);
    assert_eq!(stands["state"], "ready", "{stands}");
    let winked = answer(&claviger(&house, &["fido", "wink", device], "").await);
    assert_eq!(winked["winked"], true, "{winked}");
    house.assert_intact().await;
}
