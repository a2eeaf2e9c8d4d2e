//! Ring 1: a small fleet of fobs with half a year behind them, through the shipped daemon and the shipped client.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;

use std::collections::{BTreeMap, HashMap};

use claviger::contract::proxy::{Drift1Proxy, Options, Record};
use claviger::ledger::{Binding, Event, KeySource, Ledger, Mutation, OpenOptions, Personal, SqliteLedger, TokenRecord};
use claviger::types::{DriftSource, OathAlgorithm, Reality, Secret, TokenId, TokenKind, TokenState, UnixMillis};
use house::{Figures, House};
use serde_json::Value;

const WEEK: i64 = 7 * 86_400_000;
const WEEKS: i64 = 30;
/// Six of each delivery.
const FOBS: usize = 12;
/// The one whose clock jumps by itself.
const JUMPY: usize = 3;

fn spring(number: usize) -> bool {
    number < 6
}

fn event(name: &'static str, token: TokenId, at: UnixMillis) -> Event {
    let authority = r#"{"uid": 1000, "origin": "polkit", "action": "register", "case": null, "operation": null}"#;
    Event {
        name,
        authority: serde_json::from_str(authority).expect("an authority as a journal holds it"),
        token: Some(token),
        at,
        detail: BTreeMap::new(),
    }
}

/// Token clock minus true time after so many weeks: the spring delivery loses 20 ppm more than the autumn one.
fn offset_ms(number: usize, week: i64) -> i64 {
    let ppm = if spring(number) { -20 } else { 0 };
    let noise = (week * 7_919 + number as i64 * 104_729) % 21_001 - 10_500;
    let own = if number == JUMPY && week > 20 { -900_000 } else { 0 };
    // And when the host's clock was two minutes ahead, for those who were seen then and stayed so: all of them, from week 26.
    let host = if week > 25 { -300_000 } else { 0 };
    ppm * WEEK / 1_000_000 * week + noise + own + host
}

fn fob(number: usize) -> TokenRecord {
    TokenRecord {
        id: TokenId::generate(),
        kind: TokenKind::Fob,
        state: TokenState::Active,
        revoke_reason: None,
        reality: Reality::Hardware,
        model: "miniOTP-2".to_owned(),
        maker: Some("token2".to_owned()),
        batch: Some(if spring(number) { "spring" } else { "autumn" }.to_owned()),
        valid_from: None,
        valid_until: None,
        binding: Binding::Fob {
            algorithm: OathAlgorithm::Sha1,
            digits: 6,
            period_s: 30,
        },
        has_seed: false,
        offset_ms: 0,
        watermark: None,
        sign_count: 0,
        last_seen: None,
        failures: 0,
        personal: Personal {
            subject: Some(format!("person-{number}")),
            serial: Some(format!("8659600{number:04}")),
            label: None,
        },
        created: UnixMillis(0),
        updated: UnixMillis(0),
    }
}

/// Writes the fleet where the daemon will look, and tells its ids.
async fn write(house: &House) -> Vec<TokenId> {
    let ledger = SqliteLedger::open(OpenOptions {
        directory: house.state().to_owned(),
        key: KeySource::File(house.state().join("sealing.key")),
    })
    .await
    .expect("a ledger");
    let begin = UnixMillis(UnixMillis::now().0 - WEEKS * WEEK);
    let (mut commits, mut ids) = (Vec::new(), Vec::new());
    for number in 0..FOBS {
        let record = fob(number);
        let token = record.id;
        ids.push(token);
        let insert = Mutation::Insert {
            record: Box::new(record),
            seed: Some(Secret::new(format!("{number:020}").into_bytes())),
            unique: None,
        };
        commits.push((event("token.registered", token, begin), vec![insert]));
        for week in 0..WEEKS {
            let seen = begin.plus_ms(week * WEEK + number as i64 * 3_600_000);
            let advance = Mutation::Advance {
                token,
                to: u64::try_from(seen.0 / 30_000).expect("a step"),
                offset_ms: offset_ms(number, week),
                seen,
                source: Some(if week == 0 {
                    DriftSource::First
                } else {
                    DriftSource::Test
                }),
            };
            commits.push((event("test.passed", token, seen), vec![advance]));
        }
    }
    ledger
        .commit_all(Box::new(commits.into_iter()))
        .await
        .expect("all of it");
    ledger.close().await;
    ids
}

fn number(record: &Record, key: &str) -> f64 {
    f64::try_from(record[key].clone()).unwrap_or_else(|_| panic!("{key} is no number: {record:?}"))
}

fn words(record: &Record, key: &str) -> String {
    String::try_from(record[key].clone()).unwrap_or_else(|_| panic!("{key} is no text: {record:?}"))
}

fn causes(record: &Record) -> Vec<String> {
    let jumps: Vec<HashMap<String, zbus::OwnedVariant>> = record["jumps"].clone().try_into().expect("dictionaries");
    jumps.iter().map(|jump| words(jump, "cause")).collect()
}

fn client(house: &House, arguments: &[&str]) -> Vec<u8> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_claviger"))
        .args(["--bus", house.bus().address()])
        .args(arguments)
        .output()
        .expect("the client");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_foreseen() {
    let bus = std::sync::Arc::new(bus::PrivateBus::start());
    let mut house = House::unstarted(bus, &Figures::default()).await;
    let ids = write(&house).await;
    house.restart().await;
    let drift = Drift1Proxy::builder(&house.client)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await
        .expect("a proxy");
    let none = Options::new();

    let points = drift.history(&ids[0].to_string(), &none).await.expect("a history");
    assert_eq!(points.len(), usize::try_from(WEEKS).unwrap());
    assert_eq!(words(&points[0], "source"), "first");

    // What was put in comes out, within what is stated; and whose fault the jumps were.
    for (at, id) in ids.iter().enumerate() {
        let forecast = drift.forecast(&id.to_string(), &none).await.expect("a forecast");
        let truth = if spring(at) { -20.0 } else { 0.0 };
        let (rate, error) = (number(&forecast, "rate-ppm"), number(&forecast, "rate-error-ppm"));
        assert!(
            (rate - truth).abs() <= error && error < 4.0,
            "fob {at}: {rate} ± {error}"
        );
        assert!((number(&forecast, "habit-days") - 7.0).abs() < 0.1);
        assert_eq!(words(&forecast, "standing"), "one-code");
        let wanted: &[&str] = if at == JUMPY {
            &["token", "host-clock"]
        } else {
            &["host-clock"]
        };
        assert_eq!(causes(&forecast), wanted, "fob {at}");
    }

    // Pages: all of them, each once.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let (page, next) = drift.fleet(&none, &cursor, 5).await.expect("a page");
        assert!(page.len() <= 5);
        seen.extend(page.iter().map(|row| words(row, "token")));
        cursor = next;
        if cursor.is_empty() {
            break;
        }
    }
    seen.sort_unstable();
    let mut all: Vec<String> = ids.iter().map(ToString::to_string).collect();
    all.sort_unstable();
    assert_eq!(seen, all);

    let (groups, tokens, complete) = drift.groups("batch", &none).await.expect("groups");
    assert_eq!((tokens, complete), (12, true));
    let rates: Vec<(String, bool)> = groups
        .iter()
        .map(|group| (words(group, "name"), number(group, "rate-ppm") < -10.0))
        .collect();
    assert_eq!(rates, [("autumn".to_owned(), false), ("spring".to_owned(), true)]);

    // The client: the list, the groups, the drawings.
    let list: Value = serde_json::from_slice(&client(&house, &["--json", "drift", "--fleet"])).expect("JSON");
    assert_eq!(list["tokens"].as_array().expect("a list").len(), FOBS);
    let text = String::from_utf8(client(&house, &["drift", "--fleet", "--by", "batch"])).expect("text");
    assert!(text.contains("spring") && text.contains("DELIVERY"), "{text}");
    let directory = tempfile::tempdir().expect("a directory");
    let (svg, png) = (directory.path().join("drift.svg"), directory.path().join("drift.png"));
    let (svg_path, png_path) = (svg.display().to_string(), png.display().to_string());
    let jumpy = ids[JUMPY].to_string();
    let text = String::from_utf8(client(
        &house,
        &["drift", &jumpy, "--svg", &svg_path, "--png", &png_path],
    ))
    .expect("text");
    assert!(
        text.contains("host's clock was wrong") && text.contains("it is this token's"),
        "{text}"
    );
    assert!(text.contains("ppm") && text.contains("Replace it by "), "{text}");
    assert!(
        text.lines()
            .filter(|line| line.contains('┤'))
            .all(|line| line.chars().count() <= 80),
        "{text}"
    );
    assert!(std::fs::read_to_string(&svg).expect("an SVG").contains("</svg>"));
    assert!(std::fs::read(&png).expect("a PNG").starts_with(b"\x89PNG"));
    if let Ok(keep) = std::env::var("CLAVIGER_DRAWINGS") {
        std::fs::copy(&png, keep).expect("kept");
        println!("{text}");
    }

    // Switched off, nothing is fitted; what has an age is still told.
    house.configure(&Figures {
        more: "[drift]\nforecast = false\nbattery-days-of = { \"miniOTP-2\" = 365 }\n".to_owned(),
        ..Figures::default()
    });
    house.restart().await;
    let drift = Drift1Proxy::builder(&house.client)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await
        .expect("a proxy");
    let forecast = drift.forecast(&ids[0].to_string(), &none).await.expect("a forecast");
    assert!(!forecast.contains_key("rate-ppm"), "{forecast:?}");
    assert_eq!(words(&forecast, "replace-because"), "age");
    let by = i64::try_from(forecast["replace-by-ms"].clone()).expect("an instant");
    let days = (by - UnixMillis::now().0) / 86_400_000;
    assert!((150..=160).contains(&days), "{days} days: a year after its first day");
    house.assert_no_panic();
}
