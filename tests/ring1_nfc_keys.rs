//! Ring 1: FIDO2 keys on a contactless reader, told as stories to the shipped daemon: everything that works over USB.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;

use std::sync::Arc;
use std::time::Duration;

use bus::PrivateBus;
use claviger::contract::proxy::Record;
use house::{Figures, House, none, text, token};
use hw_fixtures::{Plugged, Token, TouchMode};

/// The PIN that the house registers keys with.
const PIN: &str = house::PIN;
/// One that takes short APDUs only, and one that takes extended ones and has an OATH applet beside.
const KEYS: [&str; 2] = ["fido-nfc", "yubikey-5-nfc"];

async fn house() -> House {
    House::on_bus(Arc::new(PrivateBus::start()), &Figures::default()).await
}

fn residents(key: &Token) -> usize {
    key.with_authenticator(|own| own.resident_count()).expect("a key")
}

async fn describe(house: &House, plugged: &Plugged) -> Record {
    let device = house.device(plugged).await;
    bus::within("a description", device.describe(&none()))
        .await
        .expect("a description")
}

#[tokio::test]
async fn a_key_over_nfc_is_registered_tested_and_revoked() {
    for profile in KEYS {
        let house = house().await;
        let key = token(profile, "tap", 7);
        let plugged = house.plug(&key);
        let told = describe(&house, &plugged).await;
        let info: serde_json::Value = serde_json::from_str(&text(&told, "fido")).expect("JSON");
        assert_eq!(info["options"]["credMgmt"], true, "{profile}: {info}");
        assert_eq!(
            told.contains_key("oath"),
            profile == "yubikey-5-nfc",
            "one card, two applications"
        );

        let id = text(&house.register_key(&plugged, "erin").await.done(), "token");
        assert_eq!(house.state_of(&id).await, "active");
        assert_eq!(residents(&key), 1);
        house.test_on(&id, &plugged, Some(PIN)).await.done();
        // Lifted off and laid on again it is the same key, found without being named.
        plugged.unplug();
        let plugged = house.plug(&key);
        house.run(async |tokens| tokens.test(&id, &none()).await).await.done();
        house.revoke_on(&id, &plugged, Some(PIN)).await.done();
        assert_eq!(residents(&key), 0, "{profile}: our credential is still on the key");
        house.assert_intact().await;
    }
}

#[tokio::test]
async fn a_wrong_pin_over_nfc_costs_one_try() {
    let house = house().await;
    let key = token("fido-nfc", "tap", 7);
    let plugged = house.plug(&key);
    let id = text(&house.register_key(&plugged, "erin").await.done(), "token");
    house
        .test_on(&id, &plugged, Some("wrong-one"))
        .await
        .refused("PinInvalid");
    assert_eq!(key.with_authenticator(|own| own.pin_retries()), Some(7));
    house.test_on(&id, &plugged, Some(PIN)).await.done();
}

#[tokio::test]
async fn a_touch_that_a_key_on_a_reader_waits_for_is_asked_for() {
    let house = house().await;
    let key = token("fido-nfc", "tap", 7);
    let plugged = house.plug(&key);
    let id = text(&house.register_key(&plugged, "erin").await.done(), "token");
    key.set_touch_mode(TouchMode::Manual);
    let toucher = {
        let key = key.clone();
        std::thread::spawn(move || key.touch_when_asked(Duration::from_secs(20)))
    };
    house.test_on(&id, &plugged, None).await.done();
    assert!(toucher.join().expect("a person"));
}

#[tokio::test]
async fn a_card_that_is_no_key_is_refused_as_one() {
    let house = house().await;
    let card = token("oath-card", "card", 7);
    let plugged = house.plug(&card);
    house.register_key(&plugged, "erin").await.refused("Unsupported");
}
