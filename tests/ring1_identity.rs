//! Ring 1: who a device is, told by the shipped daemon: serials, confidence, and that nothing is destroyed on a device that another
//! one could be taken for.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;

use claviger::contract::proxy::{Options, Record};
use house::{Figures, House, none, text};
use hw_fixtures::token::TokenSetup;
use hw_fixtures::{Plugged, Token};
use serde_json::Value;
use zbus::Variant;

/// A token of this model with this serial on it.
fn printed(profile: &str, name: &str, serial: &str) -> Token {
    let setup = TokenSetup {
        serial: Some(serial.to_owned()),
        ..TokenSetup::named(name)
    };
    Token::of_profile(profile, setup).expect("an embedded profile")
}

async fn describe(house: &House, plugged: &Plugged) -> Record {
    house
        .device(plugged)
        .await
        .describe(&none())
        .await
        .expect("a description")
}

async fn identity(house: &House, plugged: &Plugged) -> Value {
    serde_json::from_str(&text(&describe(house, plugged).await, "identity")).expect("JSON")
}

fn reset_at(place: Option<&str>) -> Options<'_> {
    let mut options = Options::from([("reset", Variant::Bool(true))]);
    if let Some(place) = place {
        options.insert("place", Variant::from(place));
    }
    options
}

#[tokio::test]
async fn the_serial_printed_on_a_key_is_read_and_recorded() {
    let house = House::start(&Figures::default()).await;
    for profile in ["yubikey-5", "yubikey-5-nfc"] {
        let key = printed(profile, profile, "12345678");
        let plugged = house.plug(&key);
        let who = identity(&house, &plugged).await;
        assert_eq!(who["confidence"], "serial", "{who}");
        assert_eq!(who["serial"], "12345678", "{who}");
        assert_eq!(
            (&who["serialFrom"], &who["serialIs"]),
            (&"management".into(), &"own".into()),
            "{who}"
        );
        assert_eq!(who["fingerprint"].as_str().map(str::len), Some(16), "{who}");

        let id = text(&house.register_key(&plugged, "erin").await.done(), "token");
        let record = house.get(&id).await;
        assert_eq!(text(&record, "serial"), "12345678");
        assert_eq!(text(&record, "confidence"), "serial");
        assert_eq!(text(&record, "fingerprint"), who["fingerprint"].as_str().expect("text"));
        assert_eq!(
            text(&record, "attestation-certificate").len(),
            16,
            "its certificate is named"
        );
        assert_eq!(
            text(&describe(&house, &plugged).await, "token"),
            id,
            "found by its serial"
        );
        let ended = house.revoke_on(&id, &plugged, Some(house::PIN)).await;
        ended.done();
    }
    house.assert_intact().await;
}

#[tokio::test]
async fn what_another_device_could_be_taken_for_is_not_wiped() {
    let house = House::start(&Figures::default()).await;
    // Cards with the same serial are as alike as cards with none.
    for (profile, serials) in [("oath-card", ["", ""]), ("yubikey-5", ["87654321", "87654321"])] {
        let [one, other] = [0, 1].map(|at| printed(profile, ["left", "right"][at], serials[at]));
        let (left, right) = (house.plug(&one), house.plug(&other));
        let device = house.device(&left).await;
        drop(house.device(&right).await);
        let place = device.place().await.expect("a place");
        assert_eq!(identity(&house, &left).await["confidence"], "place", "{profile}");

        let refused = house.run(async |_| device.reset_oath(&reset_at(None)).await).await;
        let sentence = refused.refused("DeviceAmbiguous");
        for part in ["left", "right", "unplug all but the one", "place"] {
            assert!(sentence.contains(part), "{sentence}");
        }
        let wrong = house
            .run(async |_| device.reset_oath(&reset_at(Some("nowhere"))).await)
            .await;
        assert!(wrong.refused("InvalidArgument").contains(&place));
        let delete = house
            .run(async |_| device.delete_oath_credential("Somebody:else", &none()).await)
            .await;
        delete.refused("DeviceAmbiguous");
        // A person has looked where it is.
        let named = house
            .run(async |_| device.reset_oath(&reset_at(Some(&place))).await)
            .await;
        named.done();
        // Or has pulled the other one out.
        right.unplug();
        let alone = house.run(async |_| device.reset_oath(&reset_at(None)).await).await;
        alone.done();
        left.unplug();
    }
    house.assert_intact().await;
}

#[tokio::test]
async fn keys_of_one_model_with_serials_of_their_own_are_told_apart() {
    let house = House::start(&Figures::default()).await;
    let (one, other) = (
        printed("yubikey-5", "left", "11111112"),
        printed("yubikey-5", "right", "11111113"),
    );
    let (left, right) = (house.plug(&one), house.plug(&other));
    let device = house.device(&left).await;
    drop(house.device(&right).await);
    let reset = house.run(async |_| device.reset_oath(&reset_at(None)).await).await;
    reset.done();
    assert_eq!(identity(&house, &left).await["confidence"], "serial");
    assert_eq!(identity(&house, &right).await["lookalikes"], Value::Array(Vec::new()));
    house.assert_intact().await;
}

#[tokio::test]
async fn a_serial_that_every_key_has_names_no_token() {
    let house = House::start(&Figures::default()).await;
    let key = printed("solo-2", "one", "0001");
    let plugged = house.plug(&key);
    let who = identity(&house, &plugged).await;
    assert_eq!(who["serialIs"], "constant", "{who}");
    assert_eq!(who["confidence"], "model", "{who}");
    let id = text(&house.register_key(&plugged, "erin").await.done(), "token");
    assert!(!house.get(&id).await.contains_key("serial"), "a constant is no serial");
    plugged.unplug();
    let another = house.plug(&printed("solo-2", "another", "0001"));
    assert!(!describe(&house, &another).await.contains_key("token"));
    house.assert_intact().await;
}
