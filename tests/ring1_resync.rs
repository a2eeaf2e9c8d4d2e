//! Ring 1: what a resync says, does and takes back, told to the shipped daemon by fobs that something befell.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;
#[path = "harness/shim.rs"]
mod shim;

use claviger::contract::proxy::{Options, Record};
use house::{End, Figures, House, fob, none, number, secret, text};
use hw_fixtures::fob::{Fob, Mishap, Moving};
use shim::Shim;
use zbus::Variant;

/// A second in the middle of a fob's step.
const NOON: i64 = 1_800_000_015;
const DAY: i64 = 86_400;

/// A house whose clock the test sets, and the fob of a person in it.
async fn house_and_fob(serial: &str) -> (House, Shim, Fob, String) {
    let (house, shim) = house_with_a_clock().await;
    let fob = fob(serial, 1, 0.0);
    let id = text(&house.register_fob_at(&fob, "carol", NOON).await.done(), "token");
    (house, shim, fob, id)
}

async fn house_with_a_clock() -> (House, Shim) {
    let mut house = House::unstarted(std::sync::Arc::new(bus::PrivateBus::start()), &Figures::default()).await;
    let shim = Shim::into(&mut house);
    shim.set_clock(NOON);
    house.restart().await;
    (house, shim)
}

/// Registers a fob without codes, with these parameters.
async fn register_unseen(house: &House, fob: &Fob, more: &[(&'static str, Variant<'static>)]) -> String {
    let mut options = Options::from([("encoding", Variant::from("raw"))]);
    options.extend(more.iter().map(|(key, value)| (*key, value.try_clone().unwrap())));
    let made = house
        .run(async |tokens| {
            let seed = zbus::Fd::from(secret(&fob.seed));
            tokens.register_fob("dave", &fob.serial, seed, &[], &options).await
        })
        .await;
    text(&made.done(), "token")
}

/// So many codes in a row, the last one shown at that second.
fn read(fob: &Fob, count: i64, unix_s: i64) -> Vec<String> {
    (0..count).rev().map(|back| fob.code(unix_s - 30 * back)).collect()
}

fn borrowed(codes: &[String]) -> Vec<&str> {
    codes.iter().map(String::as_str).collect()
}

async fn resync(house: &House, id: &str, codes: &[String]) -> End {
    house.resync(id, &borrowed(codes)).await
}

async fn preview(house: &House, id: &str, codes: &[String]) -> End {
    house
        .run(async |tokens| tokens.preview_resync(id, &borrowed(codes), &none()).await)
        .await
}

async fn undo(house: &House, id: &str) -> End {
    house.run(async |tokens| tokens.undo_resync(id, &none()).await).await
}

/// The refusal's name and its advice.
fn advised(end: End) -> (String, Vec<String>) {
    let details: Record = end.expect("refused");
    let error = text(&details, "error").replace("org.claviger.Error.", "");
    let list = |key: &str| {
        let value = details.get(key).map(|value| value.try_clone().unwrap());
        value
            .map(|value| Vec::<String>::try_from(value).unwrap())
            .unwrap_or_default()
    };
    let names = list("advice");
    assert_eq!(names.len(), list("advice-desk").len());
    assert_eq!(names.len(), list("advice-subject").len());
    (error, names)
}

#[tokio::test]
async fn preview_apply_undo() {
    let (house, shim, mut fob, id) = house_and_fob("F-1").await;
    let day = NOON + DAY;
    shim.set_clock(day);
    fob.drift(-540.0, 0.0, day);
    let codes = read(&fob, 2, day);
    let before = house.get(&id).await;
    undo(&house, &id).await.refused("NothingToUndo");

    let told = preview(&house, &id, &codes).await.done();
    let unchanged = house.get(&id).await;
    for fact in ["offset-ms", "watermark", "failures", "last-seen-ms"] {
        assert_eq!(number(&unchanged, fact), number(&before, fact), "{fact}");
    }
    // Somebody thinks about it for two minutes; the codes count as of when they were read.
    shim.set_clock(day + 120);
    let done = resync(&house, &id, &codes).await.done();
    for fact in ["shift-s", "offset-s", "offset-before-s"] {
        assert_eq!(number(&done, fact), number(&told, fact), "{fact}");
    }
    assert!((-560..=-520).contains(&number(&done, "shift-s").unwrap()));
    shim.set_clock(day + 150);
    house.test_code(&id, &fob.code(day + 150)).await.done();
    undo(&house, &id).await.refused("NothingToUndo");

    // A resync that was a mistake: the fob was mended since.
    let next = day + DAY;
    shim.set_clock(next);
    fob.drift(300.0, 0.0, next);
    let codes = read(&fob, 2, next);
    resync(&house, &id, &codes).await.done();
    let resynced = house.get(&id).await;
    let back = undo(&house, &id).await.done();
    let undone = house.get(&id).await;
    assert!((-560..=-520).contains(&(number(&undone, "offset-ms").unwrap() / 1000)));
    assert!((-860..=-820).contains(&number(&back, "shift-s").unwrap()), "{back:?}");
    assert_eq!(
        number(&undone, "watermark"),
        number(&resynced, "watermark"),
        "used codes stay used"
    );
    undo(&house, &id).await.refused("NothingToUndo");
    resync(&house, &id, &codes).await.refused("CodeRejected");
    house.assert_intact().await;
    house.assert_no_panic();
}

/// One code cannot settle a clock unseen for so long: the answer is the same whichever it is, the next one completes the pair.
#[tokio::test]
async fn the_next_code_of_a_test_completes_the_pair() {
    let (house, shim, mut fob, id) = house_and_fob("F-1").await;
    let day = NOON + 300 * DAY;
    fob.drift(-200.0, 0.0, day);
    shim.set_clock(day);
    let right = house.test_code(&id, &fob.code(day)).await.refused("NeedsResync");
    shim.set_clock(day + 30);
    house.test_code(&id, &fob.code(day + 30)).await.done();
    for used in [fob.code(day), fob.code(day + 30)] {
        house.test_code(&id, &used).await.refused("CodeRejected");
    }
    shim.set_clock(day + 60);
    house.test_code(&id, &fob.code(day + 60)).await.done();

    let later = day + 300 * DAY;
    shim.set_clock(later);
    let wrong = house.test_code(&id, "000000").await.refused("NeedsResync");
    assert_eq!(right, wrong);
    shim.set_clock(later + 30);
    house
        .test_code(&id, &fob.code(later + 30))
        .await
        .refused("CodeRejected");
    // The newest of a pair that did not fit is the first of the next one; an old one is forgotten.
    shim.set_clock(later + 60);
    house.test_code(&id, &fob.code(later + 60)).await.done();
    let last = later + 300 * DAY;
    shim.set_clock(last);
    house.test_code(&id, &fob.code(last)).await.refused("NeedsResync");
    shim.set_clock(last + 600);
    house.test_code(&id, &fob.code(last + 600)).await.refused("NeedsResync");
    house.assert_intact().await;
}

#[tokio::test]
async fn a_clock_set_to_local_time() {
    let (house, shim, mut fob, id) = house_and_fob("F-1").await;
    let day = NOON + DAY;
    fob.suffer(Mishap::LocalTime { seconds: 7200 }, day);
    shim.set_clock(day);
    // Two codes: the same answer whether they are right or wrong.
    let right = advised(resync(&house, &id, &read(&fob, 2, day)).await);
    let wrong = advised(resync(&house, &id, &["123456".into(), "234567".into()]).await);
    assert_eq!(right, wrong);
    assert_eq!(right, ("CodeRejected".to_owned(), vec!["three-codes".to_owned()]));
    let codes = read(&fob, 3, day);
    let (error, advice) = advised(preview(&house, &id, &codes).await);
    assert_eq!(
        (error.as_str(), &advice[..]),
        (
            "OffsetImplausible",
            &["local-time".to_owned(), "clock-ahead".to_owned()][..]
        )
    );
    let word = Options::from([("beyond-bound", Variant::from(true))]);
    house
        .run(async |tokens| tokens.resync(&id, &borrowed(&codes), &word).await)
        .await
        .done();
    shim.set_clock(day + 30);
    house.test_code(&id, &fob.code(day + 30)).await.done();
    house.assert_intact().await;
}

#[tokio::test]
async fn a_battery_that_was_changed_and_a_record_that_is_wrong() {
    let (house, shim, mut fob, id) = house_and_fob("F-1").await;
    fob.suffer(Mishap::BatteryDies, NOON + DAY);
    fob.suffer(Mishap::NewBattery { factory: true }, NOON + 2 * DAY);
    let day = NOON + 5 * DAY;
    shim.set_clock(day);
    let reset = advised(resync(&house, &id, &read(&fob, 3, day)).await);
    assert_eq!(reset, ("CodeRejected".to_owned(), vec!["clock-reset".to_owned()]));

    let other = house::fob("F-2", 2, 0.0);
    let shape = [("algorithm", Variant::from("SHA256")), ("period-s", Variant::U32(60))];
    let wrong = register_unseen(&house, &other, &shape).await;
    let found = advised(resync(&house, &wrong, &read(&other, 3, day)).await);
    assert_eq!(
        found,
        (
            "CodeRejected".to_owned(),
            vec!["algorithm".to_owned(), "period".to_owned()]
        )
    );
    assert_eq!(house.state_of(&wrong).await, "pending");

    // Six digits on the display, eight in the record.
    let third = house::fob("F-3", 3, 0.0);
    let long = register_unseen(&house, &third, &[("digits", Variant::U32(8))]).await;
    resync(&house, &long, &read(&third, 2, day))
        .await
        .refused("InvalidArgument");
    let found = advised(resync(&house, &long, &read(&third, 3, day)).await);
    assert_eq!(found, ("CodeRejected".to_owned(), vec!["digits".to_owned()]));

    // A seed that was typed as text.
    let mut typed = house::fob("F-4", 4, 0.0);
    let meant = typed.seed.clone();
    typed.seed = data_encoding::HEXUPPER.encode(&meant).into_bytes();
    let garbled = register_unseen(&house, &typed, &[]).await;
    typed.seed = meant;
    let found = advised(resync(&house, &garbled, &read(&typed, 3, day)).await);
    assert_eq!(found, ("CodeRejected".to_owned(), vec!["seed-encoding".to_owned()]));

    // The person holds another of their fobs.
    let spare = house::fob("F-5", 5, 0.0);
    let spare_id = register_unseen(&house, &spare, &[]).await;
    let end = resync(&house, &wrong, &read(&spare, 3, day)).await;
    let details = end.expect("refused");
    let desk = Vec::<String>::try_from(details["advice-desk"].try_clone().unwrap()).unwrap();
    assert!(desk.len() == 1 && desk[0].contains(&spare_id), "{desk:?}");
    house.assert_intact().await;
    house.assert_no_panic();
}

/// Five tries in vain a day, of previews and resyncs together, whatever is restarted in between; somebody who may resumes it.
#[tokio::test]
async fn five_tries_in_vain() {
    let (mut house, shim, fob, id) = house_and_fob("F-1").await;
    let mut now = NOON + DAY;
    // Each a minute after the last: after a third wrong try the next is not looked at for some seconds.
    let mut later = || {
        now += 60;
        shim.set_clock(now);
        now
    };
    let wrong = ["123456".to_owned(), "234567".to_owned()];
    for _ in 0..2 {
        later();
        preview(&house, &id, &wrong).await.refused("CodeRejected");
        later();
        resync(&house, &id, &wrong).await.refused("CodeRejected");
    }
    house.restart().await;
    later();
    resync(&house, &id, &wrong).await.refused("CodeRejected");
    let codes = read(&fob, 2, later());
    resync(&house, &id, &codes).await.refused("TooManyAttempts");
    house.restart().await;
    preview(&house, &id, &codes).await.refused("TooManyAttempts");
    let next = later() + DAY;
    shim.set_clock(next);
    let codes = read(&fob, 2, next);
    resync(&house, &id, &codes).await.done();

    now = next;
    let mut later = || {
        now += 60;
        shim.set_clock(now);
        now
    };
    for _ in 0..5 {
        later();
        resync(&house, &id, &wrong).await.refused("CodeRejected");
    }
    later();
    resync(&house, &id, &wrong).await.refused("TooManyAttempts");
    house.run(async |tokens| tokens.resume(&id, &none()).await).await.done();
    resync(&house, &id, &wrong).await.refused("CodeRejected");
    house.restart().await;
    let codes = read(&fob, 2, later());
    resync(&house, &id, &codes).await.done();
    house.assert_intact().await;
}

/// A fob that counts presses, and counts before it computes.
#[tokio::test]
async fn presses_that_nobody_sent() {
    let (house, shim) = house_with_a_clock().await;
    let mut fob = fob("H-1", 6, 0.0);
    fob.moving = Moving::Hotp { counter: 0 };
    fob.counts_first = true;
    let id = register_unseen(&house, &fob, &[("factor", Variant::from("event"))]).await;
    let mut press = |count: usize| -> Vec<String> { (0..count).map(|_| fob.press(NOON)).collect() };
    house.test_code(&id, &press(1)[0]).await.refused("NeedsResync");
    let first = press(2);
    // Counters 2 and 3: 0 was never shown, 1 was the test's.
    let done = resync(&house, &id, &first).await.done();
    assert_eq!(number(&done, "skipped"), Some(2));
    assert!(!done.contains_key("offset-s"));
    house.test_code(&id, &first[1]).await.refused("CodeRejected");
    house.test_code(&id, &press(1)[0]).await.done();

    press(60);
    house.test_code(&id, &press(1)[0]).await.refused("CodeRejected");
    let two = press(2);
    assert_eq!(number(&preview(&house, &id, &two).await.done(), "skipped"), Some(61));
    resync(&house, &id, &two).await.done();
    press(400);
    let three = press(3);
    let found = advised(resync(&house, &id, &three[1..]).await);
    assert_eq!(found, ("CodeRejected".to_owned(), vec!["three-codes".to_owned()]));
    assert_eq!(number(&resync(&house, &id, &three).await.done(), "skipped"), Some(400));
    for (minutes, used) in (1..).zip(first.iter().chain(&two).chain(&three)) {
        // After a third wrong try the next is not looked at for some seconds.
        shim.set_clock(NOON + 60 * minutes);
        house.test_code(&id, used).await.refused("CodeRejected");
    }
    shim.set_clock(NOON + 600);
    house.test_code(&id, &press(1)[0]).await.done();
    undo(&house, &id).await.refused("NothingToUndo");
    house.assert_intact().await;
}
