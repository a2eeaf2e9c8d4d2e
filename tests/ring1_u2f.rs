//! Ring 1: a key that has nothing newer than CTAP1/U2F, told as stories to the shipped daemon.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;

use std::time::Duration;

use house::{Figures, House, PIN, none, number, text, token};
use hw_fixtures::TouchMode;

#[tokio::test]
async fn a_u2f_key_is_registered_tested_and_revoked() {
    let house = House::start(&Figures::default()).await;
    let key = token("u2f-key", "old", 1);
    let plugged = house.plug(&key);
    let told = house
        .device(&plugged)
        .await
        .describe(&none())
        .await
        .expect("a description");
    let info: serde_json::Value = serde_json::from_str(&text(&told, "fido")).expect("JSON");
    assert_eq!(info["versions"], serde_json::json!(["U2F_V2"]));

    let made = house.register_key(&plugged, "alice").await.done();
    let id = text(&made, "token");
    assert_eq!(number(&made, "sign-count"), Some(1));
    assert_eq!(
        made.get("pin-set").map(|set| bool::try_from(set).expect("a flag")),
        Some(false)
    );
    // Its counter is watched as any key's.
    let tested = house.test_on(&id, &plugged, None).await.done();
    assert_eq!(number(&tested, "sign-count"), Some(2));
    // The same person's second registration is refused: the key knows the first.
    house
        .register_key(&plugged, "alice")
        .await
        .refused("CredentialExcluded");
    // Another key of the model is another key.
    let other = house.plug(&token("u2f-key", "other", 2));
    house.test_on(&id, &other, None).await.refused("DeviceMismatch");
    // Among two it is found, for the other does not know the credential.
    house.run(async |tokens| tokens.test(&id, &none()).await).await.done();
    // It stores nothing, so nothing is left to delete.
    house.revoke_on(&id, &plugged, None).await.done();
    assert!(house.obligations().await.is_empty());
    house.test_on(&id, &plugged, None).await.refused("WrongState");
    house.assert_intact().await;
}

#[tokio::test]
async fn a_u2f_key_is_asked_again_until_it_is_touched() {
    let house = House::start(&Figures::default()).await;
    let key = token("u2f-key", "old", 1);
    let plugged = house.plug(&key);
    let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
    key.set_touch_mode(TouchMode::Manual);
    let options = house::presence(&plugged, None);
    let mut running = house
        .begin(async |tokens| tokens.test(&id, &options).await)
        .await
        .expect("begun");
    running.until_asked("touch").await;
    assert!(key.touch_when_asked(Duration::from_secs(20)), "nobody asked");
    running.end().await.done();
    // And until it is called off.
    let options = house::presence(&plugged, None);
    let mut running = house
        .begin(async |tokens| tokens.test(&id, &options).await)
        .await
        .expect("begun");
    running.until_asked("touch").await;
    running.cancel().await.expect("cancelled");
    running.end().await.expect("cancelled");
    house.assert_intact().await;
}

#[tokio::test]
async fn a_u2f_key_cannot_hold_a_discoverable_credential() {
    let house = House::start(&Figures::default()).await;
    let key = token("u2f-key", "old", 1);
    let plugged = house.plug(&key);
    let (path, pin) = (house::path_of(&plugged), zbus::Fd::from(house::secret(PIN.as_bytes())));
    let options = [("discoverable", zbus::Variant::Bool(true))].into();
    let refused = house
        .run(async |tokens| tokens.register_fido2(&path, "alice", pin, &options).await)
        .await;
    refused.refused("Unsupported");
    house.assert_intact().await;
}
