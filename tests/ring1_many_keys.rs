//! Ring 1: a provisioning bench with sixteen keys at once. That they are at work at the same time is seen by all of them waiting for
//! their person before the first one is touched; how long sixteen take beside the slowest is a figure of `make bench`.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;

use std::sync::Arc;
use std::time::Duration;

use bus::{PrivateBus, within};
use futures_util::future::join_all;
use house::{End, Figures, House, PIN, Running, none, path_of, presence, secret, text, token};
use hw_fixtures::Plugged;
use hw_fixtures::fault::{Fault, FaultKind};
use hw_fixtures::person::TouchMode;

const KEYS: u64 = 16;
/// Longer than this test may take: no deadline of the daemon's ends what waits.
const PATIENT: u64 = 600_000;

async fn open() -> House {
    let figures = Figures {
        exchange: PATIENT,
        touch: PATIENT,
        ..Figures::default()
    };
    House::on_bus(Arc::new(PrivateBus::start()), &figures).await
}

/// A key in each of sixteen ports; nobody touches them.
async fn plug(house: &House) -> Vec<Plugged> {
    let keys: Vec<Plugged> = (0..KEYS)
        .map(|n| house.plug(&token("nitrokey-3", &format!("key-{n}"), n)))
        .collect();
    for key in &keys {
        house.device(key).await;
        key.token().set_touch_mode(TouchMode::Manual);
    }
    keys
}

async fn register(house: &House, key: &Plugged) -> Running {
    let (caller, path) = (house.bus().connect().await, path_of(key));
    let subject = format!("person-{}", key.id());
    let running = house.begin_on(&caller, async |tokens| {
        tokens
            .register_fido2(&path, &subject, secret(PIN.as_bytes()).into(), &none())
            .await
    });
    running.await.expect("begun")
}

async fn test(house: &House, key: &Plugged, id: &str) -> Running {
    let (caller, options) = (house.bus().connect().await, presence(key, None));
    let running = house.begin_on(&caller, async |tokens| tokens.test(id, &options).await);
    running.await.expect("begun")
}

/// Waits until every one of them asks for a touch, at the same time; then touches them all. How they ended.
async fn together(keys: &[Plugged], mut running: Vec<Running>) -> Vec<End> {
    join_all(running.iter_mut().map(|one| one.until_asked("touch"))).await;
    for (key, one) in keys.iter().zip(&running) {
        assert!(
            key.token().wants_touch(),
            "{} has ended before the others began",
            one.path()
        );
    }
    keys.iter().for_each(|key| key.token().set_touch_mode(TouchMode::Auto));
    join_all(running.into_iter().map(Running::end)).await
}

/// Registers all of them at once; the ids of their tokens.
async fn registered(house: &House, keys: &[Plugged]) -> Vec<String> {
    let running = join_all(keys.iter().map(|key| register(house, key))).await;
    let ends = together(keys, running).await;
    keys.iter()
        .for_each(|key| key.token().set_touch_mode(TouchMode::Manual));
    ends.into_iter().map(|end| text(&end.done(), "token")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_keys_are_registered_and_tested_at_once() {
    let house = open().await;
    let keys = plug(&house).await;
    let ids = registered(&house, &keys).await;
    assert_eq!(house.all().await.len(), keys.len());
    let running = join_all(keys.iter().zip(&ids).map(|(key, id)| test(&house, key, id))).await;
    for end in together(&keys, running).await {
        end.done();
    }
    house.assert_intact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_stuck_delays_none_of_fifteen_others() {
    let house = open().await;
    let mut keys = plug(&house).await;
    let stuck = keys.split_off(keys.len() - 1);
    let ids = registered(&house, &stuck).await;
    let (stuck, id) = (&stuck[0], &ids[0]);
    stuck.token().record();
    stuck.token().inject(Fault::at(1, FaultKind::Stall));
    let waiting = test(&house, stuck, id).await;
    within("the key to get stuck", async {
        while stuck.token().faults().iter().all(|fault| fault.struck.is_none()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;

    let ids = registered(&house, &keys).await;
    assert_eq!(ids.len(), 15);
    let running = join_all(keys.iter().zip(&ids).map(|(key, id)| test(&house, key, id))).await;
    for end in together(&keys, running).await {
        end.done();
    }

    assert_ne!(waiting.phase().await, "ended", "it was stuck all the while");
    waiting.cancel().await.expect("cancelled");
    assert!(!waiting.end().await.is_done());
    house.assert_intact().await;
}
