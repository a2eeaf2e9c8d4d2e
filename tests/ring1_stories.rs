//! Ring 1: what a help desk does with tokens, told as stories to the shipped daemon. Each checks that what was said can be
//! acted on and that nothing is half done.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;
#[path = "harness/shim.rs"]
mod shim;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bus::within;
use claviger::contract::proxy::Options;
use futures_util::StreamExt;
use house::{End, Figures, House, PIN, fob, none, now_s, number, path_of, secret, text, token};
use hw_fixtures::TouchMode;
use hw_fixtures::fault::{Fault, FaultKind};
use shim::Shim;
use zbus::Variant;

/// No token is on its way, the journal verifies, nothing has panicked.
async fn assert_in_order(house: &House) {
    let pending: Vec<_> = house
        .all()
        .await
        .into_iter()
        .filter(|one| text(one, "state") == "pending")
        .collect();
    assert!(pending.is_empty(), "half registered: {pending:?}");
    house.assert_intact().await;
    house.assert_no_panic();
}

/// Suspended, resumed, lost, resumed; tested where it must be refused. `Test` is the caller's.
async fn out_of_use_and_back<T: Future<Output = End>>(house: &House, id: &str, test: impl Fn() -> T) {
    for (away, state) in [("suspend", "suspended"), ("lost", "lost")] {
        house
            .run(async |tokens| match away {
                "suspend" => tokens.suspend(id, &none()).await,
                _ => tokens.report_lost(id, &none()).await,
            })
            .await
            .done();
        assert_eq!(house.state_of(id).await, state);
        let sentence = test().await.refused("WrongState");
        assert!(sentence.contains(state), "{sentence}");
        house.run(async |tokens| tokens.resume(id, &none()).await).await.done();
        assert_eq!(house.state_of(id).await, "active");
    }
    test().await.done();
}

async fn assert_dead<T: Future<Output = End>>(house: &House, id: &str, test: impl Fn() -> T) {
    assert_eq!(house.state_of(id).await, "revoked");
    let sentence = test().await.refused("WrongState");
    assert!(sentence.contains("revoked"), "{sentence}");
    for verb in ["suspend", "lost", "resume", "revoke"] {
        let end = house
            .run(async |tokens| match verb {
                "suspend" => tokens.suspend(id, &none()).await,
                "lost" => tokens.report_lost(id, &none()).await,
                "resume" => tokens.resume(id, &none()).await,
                _ => tokens.revoke(id, "lost", &none()).await,
            })
            .await;
        assert!(end.refused("WrongState").contains("revoked"), "{verb}");
    }
    assert_eq!(house.state_of(id).await, "revoked");
}

#[tokio::test]
async fn a_key_from_the_drawer_to_the_bin() {
    let mut house = House::start(&Figures::default()).await;
    let key = token("nitrokey-3", "key", 1);
    let plugged = house.plug(&key);
    let made = house.register_key(&plugged, "alice").await.done();
    assert_eq!(
        made.get("pin-set").map(|v| bool::try_from(v).unwrap()),
        Some(true),
        "the key had no PIN"
    );
    let id = text(&made, "token");
    let record = house.get(&id).await;
    for (name, value) in [
        ("reality", "virtual"),
        ("state", "active"),
        ("kind", "fido2"),
        ("subject", "alice"),
    ] {
        assert_eq!(text(&record, name), value);
    }
    assert_eq!(key.with_authenticator(|key| key.resident_count()), Some(1));
    let tested = house.test_on(&id, &plugged, Some(PIN)).await.done();
    assert!(number(&tested, "sign-count") > number(&made, "sign-count"));
    out_of_use_and_back(&house, &id, || house.test_on(&id, &plugged, Some(PIN))).await;

    // The same key for the same person once more: it says so itself, by the exclude list.
    house
        .register_key(&plugged, "alice")
        .await
        .refused("CredentialExcluded");
    assert!(
        house.obligations().await.is_empty(),
        "the key said that it made nothing"
    );
    drop(plugged);
    house.restart().await;
    let plugged = house.plug(&key);
    house.test_on(&id, &plugged, Some(PIN)).await.done();

    house.revoke_on(&id, &plugged, Some(PIN)).await.done();
    assert_eq!(key.with_authenticator(|key| key.resident_count()), Some(0));
    let owed = house.obligations().await;
    assert!(owed.is_empty(), "{owed:?}");
    assert_dead(&house, &id, || house.test_on(&id, &plugged, Some(PIN))).await;
    assert_in_order(&house).await;
}

#[tokio::test]
async fn a_card_from_the_drawer_to_the_bin() {
    let mut house = House::start(&Figures::default()).await;
    let card = token("oath-card", "card", 1);
    let plugged = house.plug(&card);
    let made = house.register_card(&plugged, "bob").await.done();
    let id = text(&made, "token");
    let record = house.get(&id).await;
    for (name, value) in [
        ("reality", "virtual"),
        ("state", "active"),
        ("kind", "oath-card"),
        ("subject", "bob"),
    ] {
        assert_eq!(text(&record, name), value);
    }
    assert_eq!(card.with_card(|card| card.credential_count()), Some(1));
    house.test_on(&id, &plugged, None).await.done();
    out_of_use_and_back(&house, &id, || house.test_on(&id, &plugged, None)).await;

    // Another card of the same make does not pass for it.
    let other = house.plug(&token("oath-card", "other", 2));
    let sentence = house.test_on(&id, &other, None).await.refused("DeviceMismatch");
    assert!(sentence.contains("not the body"), "{sentence}");
    drop(other);
    drop(plugged);
    house.restart().await;
    let plugged = house.plug(&card);
    house.test_on(&id, &plugged, None).await.done();

    house.revoke_on(&id, &plugged, None).await.done();
    assert_eq!(card.with_card(|card| card.credential_count()), Some(0));
    assert!(house.obligations().await.is_empty());
    assert_dead(&house, &id, || house.test_on(&id, &plugged, None)).await;
    assert_in_order(&house).await;
}

/// A second in the middle of a fob's step.
const NOON: i64 = 1_800_000_015;

/// A house whose clock the test sets.
async fn house_with_a_clock() -> (House, Shim) {
    let mut house = House::unstarted(std::sync::Arc::new(bus::PrivateBus::start()), &Figures::default()).await;
    let shim = Shim::into(&mut house);
    shim.set_clock(NOON);
    house.restart().await;
    (house, shim)
}

#[tokio::test]
async fn a_fob_that_falls_nine_minutes_behind() {
    let (mut house, shim) = house_with_a_clock().await;
    let mut fob = fob("F-0001", 1, 0.0);
    let id = text(&house.register_fob_at(&fob, "carol", NOON).await.done(), "token");
    let record = house.get(&id).await;
    for (name, value) in [("state", "active"), ("kind", "fob"), ("serial", "F-0001")] {
        assert_eq!(text(&record, name), value);
    }
    // The codes that registered it are used up; the next one passes, once.
    for used in [fob.code(NOON - 30), fob.code(NOON)] {
        house.test_code(&id, &used).await.refused("CodeRejected");
    }
    shim.set_clock(NOON + 30);
    let next = fob.code(NOON + 30);
    house.test_code(&id, &next).await.done();
    house.test_code(&id, &next).await.refused("CodeRejected");

    let day = NOON + 86_400;
    shim.set_clock(day);
    fob.drift(-540.0, 0.0, day);
    let sentence = house.test_code(&id, &fob.code(day)).await.refused("CodeRejected");
    assert!(sentence.contains("not accepted"), "{sentence}");
    let (first, second) = (fob.code(day - 30), fob.code(day));
    // In the wrong order they are no consecutive codes.
    house.resync(&id, &[&second, &first]).await.refused("CodeRejected");
    let synced = house.resync(&id, &[&first, &second]).await.done();
    for fact in ["shift-s", "offset-s"] {
        let seconds = number(&synced, fact).expect("seconds");
        assert!((-570..=-510).contains(&seconds), "{fact} is {seconds}");
    }
    for used in [&first, &second, &fob.code(day - 60)] {
        house.test_code(&id, used).await.refused("CodeRejected");
    }
    house.resync(&id, &[&first, &second]).await.refused("CodeRejected");
    shim.set_clock(day + 30);
    let after = fob.code(day + 30);
    house.test_code(&id, &after).await.done();
    house.restart().await;
    for used in [&first, &second, &after] {
        house.test_code(&id, used).await.refused("CodeRejected");
    }
    shim.set_clock(day + 60);
    house.test_code(&id, &fob.code(day + 60)).await.done();
    assert_in_order(&house).await;
}

#[tokio::test]
async fn a_fob_is_suspended_lost_revoked_and_collected() {
    let (house, shim) = house_with_a_clock().await;
    let fob = fob("F-0002", 2, 0.0);
    let id = text(&house.register_fob_at(&fob, "carol", NOON).await.done(), "token");
    let clock = std::cell::Cell::new(NOON);
    // Each test half a minute after the last one, with the code shown then.
    let test = || {
        clock.set(clock.get() + 30);
        shim.set_clock(clock.get());
        let code = fob.code(clock.get());
        let (house, id) = (&house, &id);
        async move { house.test_code(id, &code).await }
    };
    test().await.done();
    out_of_use_and_back(&house, &id, test).await;

    let obliged = house.revoke(&id).await.expect("obliged");
    assert_dead(&house, &id, test).await;
    let duty = text(&obliged, "obligation");
    let listed = house.obligations().await;
    assert_eq!(
        (text(&listed[0], "id"), text(&listed[0], "duty")),
        (duty.clone(), "collect-fob".to_owned())
    );
    let sentence = house
        .run(async |tokens| tokens.discharge(&duty, &none()).await)
        .await
        .refused("InvalidArgument");
    assert!(sentence.contains("collected"), "{sentence}");
    let collected = Options::from([("collected", Variant::from(true))]);
    house
        .run(async |tokens| tokens.discharge(&duty, &collected).await)
        .await
        .done();
    assert!(house.obligations().await.is_empty());
    // Its serial is free again.
    house.register_fob_at(&fob, "dave", clock.get() + 60).await.done();
    assert_in_order(&house).await;
}

#[tokio::test]
async fn two_fobs_of_one_serial_are_one_too_many() {
    let house = House::start(&Figures::default()).await;
    house.register_fob(&fob("F-3", 3, 0.0), "carol").await.done();
    let sentence = house
        .register_fob(&fob("F-3", 4, 0.0), "dave")
        .await
        .refused("Duplicate");
    assert!(sentence.contains("serial"), "{sentence}");
    assert_eq!(house.all().await.len(), 1);
    assert_in_order(&house).await;
}

#[tokio::test]
async fn a_revoked_key_that_comes_back_is_asked_for_what_it_owes() {
    let house = House::start(&Figures::default()).await;
    let key = token("nitrokey-3", "key", 1);
    let plugged = house.plug(&key);
    let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
    drop(plugged);
    let ended = house.revoke(&id).await.expect("obliged");
    assert_eq!(text(&ended, "error"), "org.claviger.Error.DeviceAbsent");
    assert!(text(&ended, "message").contains("plug it in"));
    let duty = text(&ended, "obligation");

    let manager = house.manager().await;
    let mut seen = manager.receive_obligation_seen().await.expect("a stream");
    // Another key of the same make, registered with the same person, owes nothing and settles nothing.
    let other = house.plug(&token("nitrokey-3", "other", 2));
    house.register_key(&other, "alice").await.done();
    house
        .discharge_on(&duty, &other, Some(PIN))
        .await
        .refused("DeviceMismatch");
    assert_eq!(house.obligations().await.len(), 1);
    let plugged = house.plug(&key);
    let signal = within("ObligationSeen", seen.next()).await.expect("a signal");
    let arguments = signal.args().expect("its arguments");
    assert_eq!(arguments.obligation, duty);
    assert_eq!(arguments.device.as_str(), path_of(&plugged).as_str());
    let listed = house.obligations().await;
    assert_eq!(text(&listed[0], "duty"), "delete-credential");
    assert_eq!(text(&listed[0], "reality"), "virtual");
    assert_eq!(
        key.with_authenticator(|key| key.resident_count()),
        Some(1),
        "nothing is done unasked"
    );

    house.discharge_on(&duty, &plugged, None).await.refused("PinRequired");
    house.discharge_on(&duty, &plugged, Some(PIN)).await.done();
    assert_eq!(key.with_authenticator(|key| key.resident_count()), Some(0));
    assert!(house.obligations().await.is_empty());
    house
        .discharge_on(&duty, &plugged, Some(PIN))
        .await
        .refused("UnknownObligation");
    assert_in_order(&house).await;
}

#[tokio::test]
async fn a_revoked_card_that_comes_back_is_asked_for_what_it_owes() {
    let mut house = House::start(&Figures::default()).await;
    let card = token("oath-card", "card", 1);
    let plugged = house.plug(&card);
    let id = text(&house.register_card(&plugged, "bob").await.done(), "token");
    drop(plugged);
    let duty = text(&house.revoke(&id).await.expect("obliged"), "obligation");
    // Durable: it stands after a restart, and is seen at a device that is there already.
    house.restart().await;
    let manager = house.manager().await;
    let mut seen = manager.receive_obligation_seen().await.expect("a stream");
    let other = house.plug(&token("oath-card", "other", 2));
    house.discharge_on(&duty, &other, None).await.refused("DeviceMismatch");
    let plugged = house.plug(&card);
    let signal = within("ObligationSeen", seen.next()).await.expect("a signal");
    assert_eq!(signal.args().expect("its arguments").obligation, duty);
    // Without a name it is found among the two.
    house
        .run(async |tokens| tokens.discharge(&duty, &none()).await)
        .await
        .done();
    assert_eq!(card.with_card(|card| card.credential_count()), Some(0));
    drop(plugged);
    assert!(house.obligations().await.is_empty());
    assert_in_order(&house).await;
}

#[tokio::test]
async fn what_the_second_face_of_a_device_owes_is_seen_once() {
    let house = House::start(&Figures::default()).await;
    let key = token("yubikey-5", "both", 1);
    let plugged = house.plug(&key);
    let id = text(&house.register_card(&plugged, "bob").await.done(), "token");
    drop(plugged);
    let duty = text(&house.revoke(&id).await.expect("obliged"), "obligation");
    let manager = house.manager().await;
    let mut seen = manager.receive_obligation_seen().await.expect("a stream");
    // The key arrives with its HID face; the applet that owes something comes after it.
    for last in [false, true] {
        let plugged = house.plug(&key);
        let signal = within("ObligationSeen", seen.next()).await.expect("a signal");
        let told = signal.args().expect("its arguments");
        assert_eq!(told.obligation, duty);
        assert_eq!(told.device.as_str(), path_of(&plugged).as_str());
        if last {
            house.discharge_on(&duty, &plugged, None).await.done();
        }
    }
    assert_in_order(&house).await;
}

fn reset() -> Options<'static> {
    Options::from([
        ("reset", Variant::from(true)),
        ("pin", Variant::Fd(zbus::Fd::from(secret(PIN.as_bytes())))),
    ])
}

#[tokio::test]
async fn a_reset_by_name_waits_for_this_key_and_no_other() {
    let house = House::start(&Figures::default()).await;
    let key = token("nitrokey-3", "key", 1);
    let plugged = house.plug(&key);
    let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
    // A person's own passkeys may be on it: only what is the organisation's is reset.
    let unmarked = house
        .run(async |tokens| tokens.revoke(&id, "leaver", &reset()).await)
        .await;
    unmarked.refused("PersonalKey");
    assert_eq!(house.state_of(&id).await, "active");
    house
        .run(async |tokens| tokens.mark_organisation(&id, true, &none()).await)
        .await
        .done();
    let options = reset();
    let mut running = house
        .begin(async |tokens| tokens.revoke(&id, "leaver", &options).await)
        .await
        .unwrap();
    running.until_asked("replug").await;
    drop(plugged);
    let other = token("nitrokey-3", "other", 2);
    let bystander = house.plug(&other);
    let plugged = house.plug(&key);
    running.end().await.done();
    assert_eq!(key.with_authenticator(|key| key.resident_count()), Some(0));
    assert!(house.obligations().await.is_empty());
    drop(bystander);
    // It is as new: a PIN is set again.
    let made = house.register_key(&plugged, "erin").await.done();
    assert_eq!(made.get("pin-set").map(|v| bool::try_from(v).unwrap()), Some(true));
    assert_in_order(&house).await;
}

#[tokio::test]
async fn a_reset_refuses_another_key() {
    let house = House::start(&Figures {
        touch: 700,
        ..Figures::default()
    })
    .await;
    let key = token("nitrokey-3", "key", 1);
    let other = token("nitrokey-3", "other", 2);
    let plugged = house.plug(&other);
    house.register_key(&plugged, "erin").await.done();
    drop(plugged);
    let plugged = house.plug(&key);
    let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
    house
        .run(async |tokens| tokens.mark_organisation(&id, true, &none()).await)
        .await
        .done();
    let options = reset();
    let mut running = house
        .begin(async |tokens| tokens.revoke(&id, "leaver", &options).await)
        .await
        .unwrap();
    running.until_asked("replug").await;
    drop(plugged);
    let bystander = house.plug(&other);
    let ended = running.end().await.expect("obliged");
    assert_eq!(text(&ended, "error"), "org.claviger.Error.DeviceMismatch");
    assert_eq!(
        other.with_authenticator(|key| key.resident_count()),
        Some(1),
        "another key was erased"
    );
    assert_eq!(house.state_of(&id).await, "revoked");
    let listed = house.obligations().await;
    assert_eq!(text(&listed[0], "duty"), "reset-key");
    drop(bystander);
    assert_in_order(&house).await;
}

#[tokio::test]
async fn a_reset_is_for_keys() {
    let house = House::start(&Figures::default()).await;
    let plugged = house.plug(&token("oath-card", "card", 1));
    let id = text(&house.register_card(&plugged, "bob").await.done(), "token");
    let options = Options::from([("reset", Variant::from(true))]);
    let end = house
        .run(async |tokens| tokens.revoke(&id, "leaver", &options).await)
        .await;
    assert!(end.refused("WrongKind").contains("reset"));
    assert_eq!(house.state_of(&id).await, "active");
    assert_in_order(&house).await;
}

#[tokio::test]
async fn a_wrong_pin_tells_how_many_tries_are_left() {
    let house = House::start(&Figures::default()).await;
    let key = token("nitrokey-3", "key", 1);
    let plugged = house.plug(&key);
    let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
    let wrong = |end: End, name: &str| {
        let End::Completed(_, details) = &end else {
            panic!("{end}")
        };
        let left = number(details, "tries-left").expect("tries left");
        (left, end.refused(name))
    };
    for tries in [7, 6] {
        let (left, sentence) = wrong(house.test_on(&id, &plugged, Some("0000-no")).await, "PinInvalid");
        assert_eq!(left, tries);
        assert!(sentence.contains(&format!("{tries} tries are left")), "{sentence}");
    }
    let (left, sentence) = wrong(house.test_on(&id, &plugged, Some("0000-no")).await, "SoftBlocked");
    assert_eq!(left, 5);
    assert!(sentence.contains("unplug"), "{sentence}");
    let (_, sentence) = wrong(house.test_on(&id, &plugged, Some(PIN)).await, "SoftBlocked");
    assert!(sentence.contains("unplug"), "{sentence}");
    drop(plugged);
    let plugged = house.plug(&key);
    house.test_on(&id, &plugged, Some(PIN)).await.done();
    assert_eq!(key.with_authenticator(|key| key.pin_retries()), Some(8));
    // A PIN too short for the key that has none yet: said before anything is made.
    let fresh = house.plug(&token("solo-2", "fresh", 3));
    let path = path_of(&fresh);
    let end = house
        .run(async |tokens| {
            tokens
                .register_fido2(&path, "frank", secret(b"123").into(), &none())
                .await
        })
        .await;
    assert!(end.refused("PinPolicy").contains('4'));
    assert_in_order(&house).await;
    assert!(house.obligations().await.is_empty());
}

#[tokio::test]
async fn a_touch_that_never_comes_ends_in_time() {
    let house = House::start(&Figures {
        touch: 400,
        ..Figures::default()
    })
    .await;
    let key = token("nitrokey-3", "key", 1);
    key.set_touch_mode(TouchMode::Never);
    let plugged = house.plug(&key);
    let started = Instant::now();
    let sentence = house.register_key(&plugged, "alice").await.refused("TouchTimeout");
    assert!(sentence.contains("touch"), "{sentence}");
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_in_order(&house).await;
    assert!(
        house.obligations().await.is_empty(),
        "the key said that it made nothing"
    );
    // The key is as free as before.
    key.set_touch_mode(TouchMode::Auto);
    house.register_key(&plugged, "alice").await.done();
}

#[tokio::test]
async fn a_touch_is_asked_for_by_name_and_place() {
    let house = House::start(&Figures::default()).await;
    let key = token("nitrokey-3", "key", 1);
    key.set_touch_mode(TouchMode::Manual);
    let plugged = house.plug(&key);
    let path = path_of(&plugged);
    let mut running = house
        .begin(async |tokens| {
            tokens
                .register_fido2(&path, "alice", secret(PIN.as_bytes()).into(), &none())
                .await
        })
        .await
        .unwrap();
    running.until_asked("touch").await;
    assert!(key.touch_when_asked(Duration::from_secs(5)), "making the credential");
    running.until_asked("touch").await;
    assert!(key.touch_when_asked(Duration::from_secs(5)), "the assertion");
    running.end().await.done();
    assert_in_order(&house).await;
}

/// Holds one frame after the other back, cancels meanwhile, and lets the frame go on.
#[tokio::test]
async fn cancel_at_every_frame_leaves_nothing_half_done() {
    let house = House::start(&Figures::default()).await;
    for kind in ["card", "key"] {
        let mut hit = BTreeSet::new();
        for frame in 1.. {
            let (profile, name) = if kind == "key" {
                ("nitrokey-3", "key")
            } else {
                ("oath-card", "card")
            };
            let key = token(profile, &format!("{name}-{frame}"), frame);
            let plugged = house.plug(&key);
            key.record();
            key.inject(Fault::at(frame, FaultKind::Delay(60_000)));
            let path = path_of(&plugged);
            let subject = format!("{kind}-{frame}");
            let mut running = house
                .begin(async |tokens| match kind {
                    "key" => {
                        tokens
                            .register_fido2(&path, &subject, secret(PIN.as_bytes()).into(), &none())
                            .await
                    }
                    _ => tokens.register_oath_card(&path, &subject, &none()).await,
                })
                .await
                .unwrap();
            let end = loop {
                let told = tokio::select! {
                    told = running.next() => Some(told),
                    () = bus::until("the frame", || key.frames().len() as u64 >= frame) => None,
                };
                match told {
                    Some(house::Told::Ended(end)) => break Some(end),
                    Some(house::Told::Progressed(..)) => {}
                    None => break None,
                }
            };
            if end.is_some() {
                assert!(frame > 4, "a registration of fewer than 4 frames");
                break;
            }
            // Nothing goes on before the frame does. Too late is an answer too.
            let phase = running.phase().await;
            let cancelled = running.cancel().await.is_ok();
            key.clear_faults();
            let end = running.end().await;
            let records = house.all().await;
            let holds = match kind {
                "key" => key.with_authenticator(|key| key.resident_count()),
                _ => key.with_card(|card| card.credential_count()),
            };
            let Some(record) = records.iter().find(|record| text(record, "subject") == subject) else {
                // It was still being asked who it is: nothing was begun, and nothing is on it.
                assert!(
                    matches!(&end, End::Completed(outcome, _) if outcome == "cancelled"),
                    "{end}"
                );
                assert!(
                    cancelled && (phase == "queued" || phase == "identifying"),
                    "{kind} frame {frame}: {phase}"
                );
                assert_eq!(holds, Some(0), "{kind} frame {frame}");
                continue;
            };
            match &end {
                End::Completed(outcome, _) if outcome == "cancelled" => {
                    assert!(cancelled);
                    assert_eq!(text(record, "state"), "revoked");
                    let owed = house.obligations().await;
                    let owed = owed.iter().any(|duty| text(duty, "token") == text(record, "id"));
                    // What the device is known to hold is taken off it again at once.
                    assert!(
                        !owed || phase != "proving",
                        "{kind} frame {frame}: still owed after the proof was cancelled"
                    );
                    hit.insert(phase);
                    assert!(
                        owed || holds == Some(0),
                        "{kind} frame {frame}: a credential is left and nobody knows: {}",
                        house.story_of(&text(record, "id")).await
                    );
                }
                End::Completed(outcome, _) if outcome == "done" => assert_eq!(text(record, "state"), "active"),
                other => panic!("{kind} frame {frame}: {other}"),
            }
        }
        println!("{kind}: cancelled in phases {hit:?}");
        let least: &[&str] = if kind == "key" {
            &["identifying", "creating", "pin", "proving"]
        } else {
            &["identifying", "writing", "proving"]
        };
        for phase in least {
            assert!(hit.contains(*phase), "never cancelled in {phase}");
        }
    }
    assert_in_order(&house).await;
}

#[tokio::test]
async fn a_caller_who_leaves_cancels() {
    let house = House::start(&Figures::default()).await;
    let key = token("nitrokey-3", "key", 1);
    key.set_touch_mode(TouchMode::Manual);
    let plugged = house.plug(&key);
    let path = path_of(&plugged);
    let caller = house.bus().connect().await;
    let mut running = house
        .begin_on(&caller, async |tokens| {
            tokens
                .register_fido2(&path, "alice", secret(PIN.as_bytes()).into(), &none())
                .await
        })
        .await
        .unwrap();
    running.until_asked("touch").await;
    drop(running);
    caller.close().await.expect("closed");
    within("the end of the operation", async {
        while house.all().await.iter().any(|one| text(one, "state") == "pending") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(
        house.obligations().await.is_empty(),
        "the key said that it made nothing"
    );
    key.set_touch_mode(TouchMode::Auto);
    house.register_key(&plugged, "alice").await.done();
    assert_in_order(&house).await;
}

#[tokio::test]
async fn one_code_for_many_callers_passes_once() {
    let house = House::start(&Figures::default()).await;
    let fob = fob("F-1", 1, 0.0);
    let id = text(&house.register_fob(&fob, "carol").await.done(), "token");
    for round in 1..=3 {
        let code = fob.code(now_s() + 30);
        let now = now_s();
        let ends = futures_util::future::join_all((0..8).map(|_| async {
            let caller = house.bus().connect().await;
            let options = Options::from([("code", Variant::from(code.as_str()))]);
            let running = house
                .begin_on(&caller, async |tokens| tokens.test(&id, &options).await)
                .await
                .unwrap();
            running.end().await
        }))
        .await;
        let passed = ends.iter().filter(|end| end.is_done()).count();
        // In the same half minute the first round has used the code up.
        assert!(passed <= 1, "{passed} of 8 passed");
        assert!(passed == 1 || round > 1, "none of 8 passed");
        let _ = now;
    }
    assert_in_order(&house).await;
}

#[tokio::test]
async fn sigterm_in_the_middle_of_an_operation_is_an_orderly_end() {
    let mut house = House::start(&Figures {
        stop_grace: 200,
        ..Figures::default()
    })
    .await;
    let key = token("nitrokey-3", "key", 1);
    key.set_touch_mode(TouchMode::Manual);
    let plugged = house.plug(&key);
    let path = path_of(&plugged);
    let mut running = house
        .begin(async |tokens| {
            tokens
                .register_fido2(&path, "alice", secret(PIN.as_bytes()).into(), &none())
                .await
        })
        .await
        .unwrap();
    running.until_asked("touch").await;
    let status = house.stop().expect("an end");
    assert!(status.success(), "{status}\n{}", house.log());
    assert!(matches!(running.end().await, End::Completed(outcome, _) if outcome == "cancelled"));
    drop(plugged);
    house.restart().await;
    assert!(
        !house.log().contains("cut short"),
        "the last run left something open\n{}",
        house.log()
    );
    assert_eq!(text(&house.all().await[0], "state"), "revoked");
    assert_in_order(&house).await;
}

#[tokio::test]
async fn a_recording_has_every_frame_and_survives_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let traces = directory.path().join("traces");
    let mut house = House::start(&Figures {
        more: format!("[trace]\ndirectory = \"{}\"\n", traces.display()),
        ..Figures::default()
    })
    .await;
    let key = token("nitrokey-3", "key", 1);
    let plugged = house.plug(&key);
    house.register_key(&plugged, "alice").await.done();
    drop(plugged);
    house.restart().await;
    let mut files: Vec<_> = std::fs::read_dir(&traces)
        .expect("the directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 2, "one for each start: {files:?}");
    let text = std::fs::read_to_string(&files[0]).expect("the first recording");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    for dir in ["open", "out", "in", "close"] {
        assert!(lines.iter().any(|line| line["dir"] == dir), "{dir}");
    }
}

#[tokio::test]
async fn a_second_daemon_is_told_to_go() {
    let house = House::start(&Figures::default()).await;
    let (status, said) = house.run_to_end();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("another clavigerd owns the ledger"), "{said}");
    // On the same bus with a state of its own.
    let mut second = House::unstarted(house.bus().clone(), &Figures::default()).await;
    assert!(second.try_start().is_err());
    assert!(second.log().contains("owns org.claviger.Claviger1"), "{}", second.log());
    second.assert_no_panic();
    assert_in_order(&house).await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_told_with_its_line() {
    let house = House::unstarted(std::sync::Arc::new(bus::PrivateBus::start()), &Figures::default()).await;
    let write = |text: &[u8]| std::fs::write(house.config(), text).unwrap();
    for (text, wanted) in [
        (&b"mode = \"sesion\"\n"[..], "line 1"),
        (b"mode = \"session\"\n\n[deadlines]\ntuch = 5\n", "tuch"),
        (b"[deadlines]\ntouch = 0\n", "deadlines.touch"),
        (b"\xff\xfe", "configuration file"),
    ] {
        write(text);
        let (status, said) = house.run_to_end();
        assert_eq!(status.code(), Some(78), "{said}");
        assert!(said.contains(wanted) && said.contains("clavigerd.toml"), "{said}");
    }
    std::fs::remove_file(house.config()).unwrap();
    let (status, said) = house.run_to_end();
    assert_eq!(status.code(), Some(78));
    assert!(
        said.contains("cannot read the configuration file") && said.contains("No such file"),
        "{said}"
    );
    std::fs::create_dir(house.config()).unwrap();
    let (status, said) = house.run_to_end();
    assert_eq!(status.code(), Some(78));
    assert!(said.contains("cannot read the configuration file"), "{said}");
    assert_eq!(
        std::fs::read_dir(house.state()).unwrap().count(),
        0,
        "something was written"
    );
}

/// A small file system of its own, for root.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &std::path::Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=0700", "claviger-test"])
            .arg(at)
            .status();
        match mounted {
            Ok(status) if status.success() => Some(Self(at.to_owned())),
            _ => {
                let _ = std::io::Write::write_fmt(
                    &mut std::io::stderr(),
                    format_args!("ring 1: full disk and read-only disk skipped, mounting needs root\n"),
                );
                None
            }
        }
    }

    fn read_only(&self) {
        let status = std::process::Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(&self.0)
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a daemon that is being killed may still have a file open.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_nothing_half_done() {
    let figures = Figures::default();
    let mut house = House::unstarted(std::sync::Arc::new(bus::PrivateBus::start()), &figures).await;
    let disk = house.path().join("disk");
    let Some(small) = SmallDisk::mount(&disk) else { return };
    house.move_to(&disk.join("state"), &figures);
    house.restart().await;
    let key = token("nitrokey-3", "key", 1);
    let card = token("oath-card", "card", 2);
    let (plugged, reader) = (house.plug(&key), house.plug(&card));
    let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
    let fobs = fob("F-1", 1, 0.0);
    let on_fob = text(&house.register_fob(&fobs, "carol").await.done(), "token");
    fill(&disk.join("ballast"));
    let mut refused = 0;
    let before = house.all().await.len();
    // What fits into the pages that are there may still pass; then the disk is full.
    for n in 0..200 {
        let end = house.register_card(&reader, &format!("bob-{n}")).await;
        if let End::Completed(outcome, details) = &end
            && outcome == "refused"
        {
            assert_eq!(text(details, "error"), "org.claviger.Error.LedgerFull", "{end}");
            assert!(text(details, "message").contains("make room"), "{end}");
            refused += 1;
            if refused == 3 {
                break;
            }
        }
    }
    assert_eq!(refused, 3, "the disk was never full");
    let code = fobs.code(now_s() + 30);
    house.test_code(&on_fob, &code).await.refused("LedgerFull");
    house.revoke_on(&id, &plugged, Some(PIN)).await.refused("LedgerFull");
    assert_eq!(
        key.with_authenticator(|key| key.resident_count()),
        Some(1),
        "deleted although the binding lives"
    );
    assert_eq!(house.state_of(&id).await, "active");
    let said = |house: &House| house.log();
    assert!(!said(&house).contains("panicked"));
    // Starting on a full disk is possible or refused with a sentence; with room again everything goes on.
    std::fs::remove_file(disk.join("ballast")).unwrap();
    house.test_code(&on_fob, &code).await.done();
    drop((plugged, reader));
    house.restart().await;
    house.test_code(&on_fob, &code).await.refused("CodeRejected");
    let records = house.all().await;
    assert!(records.len() >= before);
    let live = records
        .iter()
        .filter(|one| text(one, "kind") == "oath-card" && text(one, "state") == "active")
        .count();
    let owed = house.obligations().await.len();
    let held = card.with_card(|card| card.credential_count()).unwrap();
    assert!(
        held <= live + owed,
        "{held} credentials on the card, {live} active, {owed} owed"
    );
    assert_in_order(&house).await;
    house.stop();
    drop(small);
}

/// Takes all the room there is, to the last byte.
fn fill(path: &std::path::Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    for piece in [65_536, 4096, 1] {
        while file.write_all(&vec![0; piece]).is_ok() {}
    }
}

#[tokio::test]
async fn a_read_only_state_directory_is_told() {
    let figures = Figures::default();
    let mut house = House::unstarted(std::sync::Arc::new(bus::PrivateBus::start()), &figures).await;
    let disk = house.path().join("disk");
    let Some(small) = SmallDisk::mount(&disk) else { return };
    house.move_to(&disk.join("state"), &figures);
    house.restart().await;
    house.register_fob(&fob("F-1", 1, 0.0), "carol").await.done();
    house.stop();
    small.read_only();
    for state in [disk.join("state"), disk.join("new")] {
        house.move_to(&state, &figures);
        let (status, said) = house.run_to_end();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("cannot be written") && said.contains("mount"), "{said}");
        assert!(said.contains(&state.display().to_string()), "{said}");
    }
}

#[tokio::test]
async fn nonsense_is_refused_with_what_would_do() {
    let house = House::start(&Figures::default()).await;
    let key = token("nitrokey-3", "key", 1);
    let plugged = house.plug(&key);
    let path = path_of(&plugged);
    let fob = fob("F-1", 1, 0.0);
    let id = text(&house.register_fob(&fob, "carol").await.done(), "token");
    let before = (house.all().await.len(), journal_length(&house).await);

    let unknown = Options::from([("colour", Variant::from("red"))]);
    let end = house
        .run(async |tokens| {
            tokens
                .register_fido2(&path, "alice", secret(PIN.as_bytes()).into(), &unknown)
                .await
        })
        .await;
    let sentence = end.refused("UnknownOption");
    assert!(
        sentence.contains("colour") && sentence.contains("user-name"),
        "{sentence}"
    );

    for code in ["", "12345", "123456789", "12 456", "12345a", "１２３４５６"] {
        let sentence = house.test_code(&id, code).await.refused("InvalidArgument");
        assert!(sentence.contains("6 to 8 digits"), "{sentence}");
    }
    house.test_code(&id, "12345678").await.refused("InvalidArgument");
    for codes in [&["123456"][..], &["123456"; 5], &["123456", "x"]] {
        house.resync(&id, codes).await.refused("InvalidArgument");
    }
    let raw = || Options::from([("encoding", Variant::from("raw"))]);
    for length in [1, 9, 129, 4096] {
        let end = house
            .run(async |tokens| {
                let seed = secret(&vec![7; length]);
                tokens
                    .register_fob("dave", "F-2", seed.into(), &["123456", "234567"], &raw())
                    .await
            })
            .await;
        let sentence = end.refused("InvalidArgument");
        assert!(
            sentence.contains("10 to 128") && sentence.contains("encoding"),
            "{sentence}"
        );
    }
    let end = house
        .run(async |tokens| {
            tokens
                .register_fob(
                    "dave",
                    "F-2",
                    secret(b"not base32!").into(),
                    &["123456", "234567"],
                    &none(),
                )
                .await
        })
        .await;
    assert!(end.refused("InvalidArgument").contains("base32"));
    let end = house
        .run(async |tokens| {
            let seed = std::fs::File::open("/dev/zero").unwrap();
            tokens
                .register_fob(
                    "dave",
                    "F-2",
                    std::os::fd::OwnedFd::from(seed).into(),
                    &["123456", "234567"],
                    &raw(),
                )
                .await
        })
        .await;
    let sentence = end.refused("SecretUnreadable");
    assert!(sentence.contains("seed"), "{sentence}");
    let end = house
        .run(async |tokens| {
            tokens
                .register_fob("dave", "F-2", secret(&[7; 5000]).into(), &["123456", "234567"], &raw())
                .await
        })
        .await;
    assert!(end.refused("SecretUnreadable").contains("4096"));
    for subject in ["", "tab\there", " alice"] {
        let end = house
            .run(async |tokens| {
                tokens
                    .register_fido2(&path, subject, secret(PIN.as_bytes()).into(), &none())
                    .await
            })
            .await;
        assert!(end.refused("InvalidArgument").contains("subject"));
    }
    house.test_code("not-an-id", "123456").await.refused("InvalidArgument");
    house
        .test_code("019a0000-0000-7000-8000-000000000001", "123456")
        .await
        .refused("UnknownToken");
    let end = house
        .run(async |tokens| tokens.revoke(&id, "because", &none()).await)
        .await;
    assert!(end.refused("InvalidArgument").contains("reason"));
    assert_eq!(
        (house.all().await.len(), journal_length(&house).await),
        before,
        "something was written"
    );
    assert_in_order(&house).await;
}

async fn journal_length(house: &House) -> usize {
    house
        .manager()
        .await
        .read_journal(0, 1000, &none())
        .await
        .unwrap()
        .len()
}

#[tokio::test]
async fn a_descriptor_that_never_ends_holds_nobody() {
    let house = House::start(&Figures::default()).await;
    let plugged = house.plug(&token("nitrokey-3", "key", 1));
    let path = path_of(&plugged);
    let (reader, writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut &writer, b"1234").unwrap();
    let started = Instant::now();
    let slow = house.run(async |tokens| {
        tokens
            .register_fido2(&path, "alice", std::os::fd::OwnedFd::from(reader).into(), &none())
            .await
    });
    // Meanwhile others are served.
    let other = async {
        house.register_fob(&fob("F-1", 1, 0.0), "carol").await.done();
        assert!(
            started.elapsed() < Duration::from_millis(1500),
            "held up for {:?}",
            started.elapsed()
        );
    };
    let (end, ()) = tokio::join!(slow, other);
    let sentence = end.refused("SecretUnreadable");
    assert!(
        sentence.contains("pin") && sentence.contains("close the writing end"),
        "{sentence}"
    );
    assert!(started.elapsed() < Duration::from_secs(20));
    drop(writer);
    assert_eq!(house.all().await.len(), 1);
    house.register_key(&plugged, "alice").await.done();
    assert_in_order(&house).await;
}

/// An operation that is over before its caller has been told of its beginning still says so.
#[tokio::test]
async fn an_operation_that_ends_at_once_is_told() {
    let house = House::start(&Figures::default()).await;
    let fob = fob("F-1", 1, 0.0);
    let id = text(&house.register_fob(&fob, "carol").await.done(), "token");
    house.revoke(&id).await.expect("obliged");
    for _ in 0..300 {
        house.test_code(&id, "123456").await.refused("WrongState");
    }
}
