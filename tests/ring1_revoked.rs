//! Ring 1: what becomes of a key after its revocation: who still trusts it, whose it is, and that its return is told.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;

use bus::within;
use claviger::contract::proxy::{Options, Record};
use futures_util::StreamExt as _;
use house::{Figures, House, PIN, none, path_of, presence, secret, text, token};
use hw_fixtures::Plugged;
use zbus::{Fd, Variant};

fn parties(record: &Record) -> Vec<String> {
    let told = record
        .get("trusted-by")
        .map(|value| value.try_clone().expect("a value"));
    told.map(|value| Vec::try_from(value).expect("texts"))
        .unwrap_or_default()
}

async fn register_at(house: &House, plugged: &Plugged, rp_id: &str, organisation: bool) -> String {
    let options = Options::from([
        ("rp-id", Variant::from(rp_id)),
        ("organisation", Variant::Bool(organisation)),
    ]);
    let pin = Fd::from(secret(PIN.as_bytes()));
    let path = path_of(plugged);
    let made = house
        .run(async |tokens| tokens.register_fido2(&path, "alice", pin, &options).await)
        .await;
    text(&made.done(), "token")
}

/// How often the journal tells that this token's key came back, and by what it was known.
async fn returns(house: &House, token: &str) -> Vec<String> {
    let entries = house
        .manager()
        .await
        .read_journal(0, 1000, &none())
        .await
        .expect("the journal");
    let seen = entries
        .iter()
        .filter(|entry| text(entry, "name") == "token.revoked-seen" && text(entry, "token") == token);
    seen.map(|entry| {
        let payload: serde_json::Value = serde_json::from_str(&text(entry, "payload")).expect("JSON");
        assert!(payload["authority"]["uid"].is_null(), "the daemon's own doing");
        payload["detail"]["by"].as_str().expect("by").to_owned()
    })
    .collect()
}

#[tokio::test]
async fn a_revoked_key_that_comes_back_is_told_once_for_each_plug() {
    let house = House::start(&Figures::default()).await;
    let key = token("yubikey-5", "key", 1);
    let plugged = house.plug(&key);
    let id = text(&house.register_key(&plugged, "alice").await.done(), "token");
    house.revoke_on(&id, &plugged, Some(PIN)).await.done();
    plugged.unplug();
    let mut seen = house.manager().await.receive_revoked_seen().await.expect("a stream");
    for plug in 1..=2 {
        // Nothing is owed and nothing of ours is on it: its printed serial tells.
        let plugged = house.plug(&key);
        let signal = within("RevokedSeen", seen.next()).await.expect("a signal");
        let told = signal.args().expect("its arguments");
        assert_eq!(
            (told.device.as_str(), told.token),
            (path_of(&plugged).as_str(), id.as_str())
        );
        assert_eq!(returns(&house, &id).await, vec!["serial"; plug]);
        plugged.unplug();
    }
    // Registered again it is in use, and no news.
    let plugged = house.plug(&key);
    within("RevokedSeen", seen.next()).await.expect("a signal");
    house.register_key(&plugged, "bob").await.done();
    plugged.unplug();
    let again = house.plug(&key);
    drop(house.device(&again).await);
    // Another key that was revoked comes after it: the first one had its turn before.
    let other = token("yubikey-5", "other", 2);
    let first = house.plug(&other);
    let second = text(&house.register_key(&first, "carol").await.done(), "token");
    house.revoke_on(&second, &first, Some(PIN)).await.done();
    first.unplug();
    let _second = house.plug(&other);
    let signal = within("RevokedSeen", seen.next()).await.expect("a signal");
    assert_eq!(signal.args().expect("its arguments").token, second);
    assert_eq!(returns(&house, &id).await.len(), 3);
    house.assert_intact().await;
}

#[tokio::test]
async fn a_key_without_a_serial_that_owes_its_credential_is_known_by_it() {
    let house = House::start(&Figures::default()).await;
    let key = token("fido20", "key", 1);
    let plugged = house.plug(&key);
    let options = Options::from([("discoverable", Variant::Bool(true))]);
    let (path, pin) = (path_of(&plugged), Fd::from(secret(PIN.as_bytes())));
    let made = house
        .run(async |tokens| tokens.register_fido2(&path, "alice", pin, &options).await)
        .await;
    let id = text(&made.done(), "token");
    plugged.unplug();
    house.revoke(&id).await.expect("obliged");
    let mut seen = house.manager().await.receive_revoked_seen().await.expect("a stream");
    let _plugged = house.plug(&key);
    let signal = within("RevokedSeen", seen.next()).await.expect("a signal");
    assert_eq!(signal.args().expect("its arguments").token, id);
    assert_eq!(returns(&house, &id).await, ["credential"]);
    house.assert_intact().await;
}

#[tokio::test]
async fn who_still_trusts_a_key_is_told_by_its_revocation() {
    let house = House::start(&Figures::default()).await;
    let key = token("yubikey-5", "key", 1);
    let plugged = house.plug(&key);
    let ours = text(&house.register_key(&plugged, "alice").await.done(), "token");
    let provider = register_at(&house, &plugged, "login.example.org", false).await;
    let (own, theirs) = (parties(&house.get(&ours).await), parties(&house.get(&provider).await));
    assert_eq!(own, theirs, "one key");
    assert!(
        own.len() == 2 && own.contains(&"login.example.org".to_owned()),
        "{own:?}"
    );
    // Our own relying party stops at once; a provider goes on until it is told.
    let ended = house.revoke_on(&ours, &plugged, Some(PIN)).await.done();
    assert_eq!(parties(&ended), ["login.example.org"]);
    let ended = house.revoke_on(&provider, &plugged, Some(PIN)).await.done();
    assert_eq!(parties(&ended), ["login.example.org"]);
    assert_eq!(parties(&house.get(&ours).await), ["login.example.org"]);
    // Another key of the same model is trusted by its own alone.
    let other = house.plug(&token("yubikey-5", "other", 2));
    let stranger = text(&house.register_key(&other, "bob").await.done(), "token");
    assert_eq!(parties(&house.get(&stranger).await).len(), 1);
    house.assert_intact().await;
}

#[tokio::test]
async fn whose_key_it_is_is_said_journalled_and_taken_back() {
    let house = House::start(&Figures::default()).await;
    let key = token("nitrokey-3", "key", 1);
    let plugged = house.plug(&key);
    let id = register_at(&house, &plugged, "claviger.example", true).await;
    let marked = |record: &Record| {
        record
            .get("organisation")
            .map(|mark| bool::try_from(mark).expect("a flag"))
    };
    assert_eq!(marked(&house.get(&id).await), Some(true));
    house
        .run(async |tokens| tokens.mark_organisation(&id, false, &none()).await)
        .await
        .done();
    assert_eq!(marked(&house.get(&id).await), Some(false));
    assert!(house.story_of(&id).await.contains("token.marked"));
    let mut reset = presence(&plugged, Some(PIN));
    reset.insert("reset", Variant::Bool(true));
    let refused = house
        .run(async |tokens| tokens.revoke(&id, "leaver", &reset).await)
        .await;
    refused.refused("PersonalKey");
    house.test_on(&id, &plugged, Some(PIN)).await.done();
    house.revoke_on(&id, &plugged, Some(PIN)).await.done();
    let late = house
        .run(async |tokens| tokens.mark_organisation(&id, true, &none()).await)
        .await;
    late.refused("WrongState");
    house.assert_intact().await;
}
