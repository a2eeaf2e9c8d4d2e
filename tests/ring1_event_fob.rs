//! Ring 1: a fob that counts presses (HOTP), with the values of RFC 4226 appendix D.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;

use claviger::contract::proxy::Options;
use house::{End, Figures, House, number, secret, text};
use zbus::Variant;

/// The secret of appendix D.
const SEED: &[u8] = b"12345678901234567890";
/// Counters 0 to 9.
const CODES: [&str; 10] = [
    "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489",
];

fn event(more: &[(&'static str, Variant<'static>)]) -> Options<'static> {
    let mut options = Options::from([("factor", Variant::from("event")), ("encoding", Variant::from("raw"))]);
    options.extend(more.iter().map(|(key, value)| (*key, value.try_clone().unwrap())));
    options
}

async fn register(house: &House, serial: &str, codes: &[&str], options: &Options<'_>) -> End {
    house
        .run(async |tokens| {
            let seed = zbus::Fd::from(secret(SEED));
            tokens.register_fob("carol", serial, seed, codes, options).await
        })
        .await
}

#[tokio::test]
async fn its_papers_and_two_codes_tell_where_it_stands() {
    let house = House::start(&Figures::default()).await;
    let made = register(&house, "E-1", &CODES[3..5], &event(&[])).await.done();
    assert_eq!(number(&made, "counter"), Some(4));
    assert!(!made.contains_key("offset-s"));
    let record = house.get(&text(&made, "token")).await;
    for (name, value) in [
        ("state", "active"),
        ("kind", "fob"),
        ("factor", "event"),
        ("algorithm", "SHA1"),
    ] {
        assert_eq!(text(&record, name), value);
    }
    assert_eq!(number(&record, "watermark"), Some(4));
    assert!(!record.contains_key("period-s"));
    house.assert_intact().await;
}

#[tokio::test]
async fn codes_behind_its_papers_or_out_of_order_are_refused() {
    let house = House::start(&Figures::default()).await;
    let counted = event(&[("counter", Variant::U64(4))]);
    register(&house, "E-1", &CODES[3..5], &counted)
        .await
        .refused("CodeRejected");
    register(&house, "E-1", &["287082", "755224"], &event(&[]))
        .await
        .refused("CodeRejected");
    assert!(house.all().await.is_empty());
    // Without codes it is pending, and its papers are believed.
    let made = register(&house, "E-1", &[], &counted).await.done();
    let record = house.get(&text(&made, "token")).await;
    assert_eq!(text(&record, "state"), "pending");
    assert_eq!(number(&record, "watermark"), Some(3));
    house.assert_intact().await;
}

#[tokio::test]
async fn a_counter_and_a_time_step_do_not_go_together() {
    let house = House::start(&Figures::default()).await;
    let timed = Options::from([("counter", Variant::U64(4)), ("encoding", Variant::from("raw"))]);
    let sentence = register(&house, "E-1", &[], &timed).await.refused("InvalidArgument");
    assert!(sentence.contains("event"), "{sentence}");
    let both = event(&[("period-s", Variant::U32(30))]);
    register(&house, "E-1", &[], &both).await.refused("InvalidArgument");
    let absurd = event(&[("counter", Variant::U64(u64::MAX))]);
    register(&house, "E-1", &[], &absurd).await.refused("InvalidArgument");
    assert!(house.all().await.is_empty());
}
