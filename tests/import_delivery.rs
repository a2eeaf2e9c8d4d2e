//! A seed file into the ledger: all of it or nothing, what is left by line, and what stands there afterwards.

use std::path::Path;
use std::time::Instant;

use claviger::codec::delivery::Delivery;
use claviger::codec::pskc::{Integrity, Unlock};
use claviger::codec::seed_file::Format;
use claviger::grant::Authority;
use claviger::ledger::{Binding, Filter, KeySource, Ledger, OpenOptions, SqliteLedger};
use claviger::lifecycle::import::{LeftOut, Prepared, prepare, take_in};
use claviger::types::{TokenState, UnixMillis};

async fn open(directory: &Path) -> SqliteLedger {
    let options = OpenOptions {
        directory: directory.join("state"),
        key: KeySource::File(directory.join("claviger.key")),
    };
    SqliteLedger::open(options).await.unwrap()
}

/// As it stands in a journal: only a grant makes one in the daemon.
fn authority() -> Authority {
    let text = r#"{"uid": 1000, "origin": "polkit", "action": "register", "case": null, "operation": null}"#;
    serde_json::from_str(text).unwrap()
}

fn deliver(file: &str) -> Delivery {
    let format = Format::detect(file.as_bytes()).unwrap();
    format
        .read(file.as_bytes(), &Unlock::default(), Integrity::Strict)
        .unwrap()
}

async fn look(file: &str, ledger: &SqliteLedger) -> Prepared {
    prepare(deliver(file), ledger, "D-7", |_, _| {}).await.unwrap()
}

const HEADER: &str = "upn,serial number,secret key,time interval,manufacturer,model\n";
const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn rows(count: usize) -> String {
    let row = |n| format!(",F{n:05},{SEED},30,Contoso,C1\n");
    HEADER.to_owned() + &(0..count).map(row).collect::<String>()
}

#[tokio::test]
async fn what_is_left_is_named_by_line_and_can_be_corrected() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path()).await;
    let file = format!(
        "{HEADER}ada@example.com,F1,{SEED},60,Contoso,C1\n,F1,{SEED},30,Contoso,C1\n,F2,1SEED,30,Contoso,C1\n,F1,{SEED},30,Other,C1\n"
    );
    let prepared = look(&file, &ledger).await;
    let left: Vec<_> = prepared
        .left
        .iter()
        .map(|left| (left.line, left.why.to_string()))
        .collect();
    assert_eq!(left[0], (3, LeftOut::Repeated(2).to_string()));
    assert_eq!((left.len(), left[1].0), (2, 4));
    // The dry run ends here: nothing was written.
    assert!(
        ledger
            .find(&Filter::default(), None, 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let rest = Delivery::left(file.as_bytes(), &prepared.spans);
    assert_eq!(
        take_in(prepared, &ledger, &authority(), UnixMillis(1)).await.unwrap(),
        2
    );
    let tokens = ledger
        .find(
            &Filter {
                batch: Some("D-7".to_owned()),
                ..Filter::default()
            },
            None,
            10,
        )
        .await
        .unwrap()
        .items;
    let states: Vec<_> = tokens
        .iter()
        .map(|token| (token.state, token.maker.as_deref().unwrap()))
        .collect();
    assert_eq!(states.len(), 2);
    assert!(states.contains(&(TokenState::Pending, "Contoso")) && states.contains(&(TokenState::Inventory, "Other")));
    // Corrected and read again: what is held by now is named with its token.
    let corrected = String::from_utf8(rest.expose().to_vec())
        .unwrap()
        .replace("1SEED", SEED);
    let again = look(&corrected, &ledger).await;
    assert_eq!(again.count(), 1);
    assert!(matches!(again.left[0].why, LeftOut::Held(_)), "{:?}", again.left);
    assert!(ledger.verify().await.unwrap().findings.is_empty());
}

#[tokio::test]
async fn counters_and_drift_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path()).await;
    let package = |serial: &str, kind: &str, data: &str| {
        format!(
            r#"<KeyPackage><DeviceInfo><Manufacturer>M</Manufacturer><SerialNo>{serial}</SerialNo></DeviceInfo><Key Id="{serial}" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:{kind}"><Data><Secret><PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</PlainValue></Secret>{data}</Data></Key></KeyPackage>"#
        )
    };
    let file = format!(
        r#"<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc">{}{}{}</KeyContainer>"#,
        package("E", "hotp", "<Counter><PlainValue>5</PlainValue></Counter>"),
        package("N", "hotp", "<Counter><PlainValue>0</PlainValue></Counter>"),
        package(
            "T",
            "totp",
            "<TimeInterval><PlainValue>60</PlainValue></TimeInterval><TimeDrift><PlainValue>-3</PlainValue></TimeDrift>"
        ),
    );
    let prepared = look(&file, &ledger).await;
    let facts: Vec<_> = prepared
        .records()
        .map(|record| (record.watermark, record.offset_ms))
        .collect();
    // Intervals of 60 s, not seconds.
    assert_eq!(facts, [(Some(4), 0), (None, 0), (None, -180_000)]);
    assert!(matches!(
        prepared.records().next().unwrap().binding,
        Binding::EventFob { digits: 6, .. }
    ));
}

#[tokio::test]
async fn a_serial_that_was_registered_meanwhile_keeps_all_of_it_out() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path()).await;
    let (first, second) = (look(&rows(3), &ledger).await, look(&rows(5), &ledger).await);
    take_in(first, &ledger, &authority(), UnixMillis(1)).await.unwrap();
    assert_eq!(
        take_in(second, &ledger, &authority(), UnixMillis(2))
            .await
            .unwrap_err()
            .at,
        0
    );
    assert_eq!(ledger.find(&Filter::default(), None, 10).await.unwrap().items.len(), 3);
}

#[tokio::test]
async fn ten_thousand_come_in_and_none_twice() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path()).await;
    let file = rows(10_000);
    let begun = Instant::now();
    let delivery = deliver(&file);
    let parsed = begun.elapsed();
    let mut told = 0;
    let prepared = prepare(delivery, &ledger, "D-8", |done, _| told = done).await.unwrap();
    let looked = begun.elapsed();
    assert_eq!((prepared.count(), told), (10_000, 10_000));
    assert_eq!(
        take_in(prepared, &ledger, &authority(), UnixMillis(1)).await.unwrap(),
        10_000
    );
    eprintln!("parsed {parsed:?}, looked {looked:?}, committed {:?}", begun.elapsed());
    let again = look(&file, &ledger).await;
    assert_eq!((again.count(), again.left.len()), (0, 10_000));
}
