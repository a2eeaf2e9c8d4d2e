//! Figures of this machine; run with `cargo nextest run --release --test ledger --run-ignored only --no-capture figures`.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use claviger::ledger::{Filter, Ledger, Mutation};
use claviger::types::UnixMillis;

use crate::desk::{event, fob, insert, open};

const TOKENS: usize = 10_000;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn per_second(count: usize, since: Instant) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / since.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; asserts nothing"]
async fn figures() {
    // Beside the project and not in /tmp, which is memory on many machines.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut file = File::create(dir.path().join("bare")).unwrap();
    let begun = Instant::now();
    for _ in 0..500 {
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
    }
    println!("bare 4 KiB append and fdatasync: {:.0}/s", per_second(500, begun));

    let ledger = Arc::new(open(dir.path()).await.unwrap());
    let token = fob("first");
    ledger
        .commit(event(1), vec![insert(&token, Some("fob:first"))])
        .await
        .unwrap();
    let advance = |token, to| Mutation::Advance {
        token,
        to,
        offset_ms: 0,
        seen: UnixMillis(1),
        source: Some(claviger::types::DriftSource::Test),
    };
    let begun = Instant::now();
    for step in 1..=500 {
        ledger.commit(event(1), vec![advance(token.id, step)]).await.unwrap();
    }
    println!("commits, one after the other: {:.0}/s", per_second(500, begun));

    let begun = Instant::now();
    let lanes: Vec<_> = (0..32)
        .map(|lane| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                for number in 0..TOKENS / 32 + 1 {
                    let serial = format!("S-{lane}-{number}");
                    let unique = format!("fob:{serial}");
                    ledger
                        .commit(event(1), vec![insert(&fob(&serial), Some(&unique))])
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    println!("registrations by 32 callers: {:.0}/s", per_second(TOKENS, begun));
    ledger.close().await;
    drop(ledger);
    println!("resident after writing {TOKENS} tokens: {} KiB", resident_kib());
    println!(
        "database: {} KiB",
        std::fs::metadata(dir.path().join("state/ledger.db")).unwrap().len() / 1024
    );

    // A process of its own, so that nothing of the above is counted.
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["figures::reopened", "--exact", "--nocapture", "--ignored"])
        .env("CLAVIGER_TEST_LEDGER_FIGURES", dir.path())
        .status();
    assert!(child.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the second half of `figures`"]
async fn reopened() {
    let Some(directory) = std::env::var_os("CLAVIGER_TEST_LEDGER_FIGURES") else {
        return;
    };
    let before = resident_kib();
    let begun = Instant::now();
    let ledger = open(directory.as_ref()).await.unwrap();
    println!(
        "open with {TOKENS} tokens: {:.1} ms",
        begun.elapsed().as_secs_f64() * 1000.0
    );
    let serial = Filter {
        serial: Some("S-7-70".to_owned()),
        ..Filter::default()
    };
    let begun = Instant::now();
    assert_eq!(ledger.find(&serial, None, 10).await.unwrap().items.len(), 1);
    println!("first find by serial: {:.2} ms", begun.elapsed().as_secs_f64() * 1000.0);
    let begun = Instant::now();
    for _ in 0..1000 {
        ledger.find(&serial, None, 10).await.unwrap();
    }
    println!("find by serial: {:.0}/s", per_second(1000, begun));
    ledger.commit(event(9), vec![insert(&fob("last"), None)]).await.unwrap();
    println!(
        "resident with {TOKENS} tokens: {} KiB, of which the ledger {}",
        resident_kib(),
        resident_kib() - before
    );
    let begun = Instant::now();
    let report = ledger.verify().await.unwrap();
    assert_eq!(report.findings, []);
    println!(
        "verify: {:.0} entries/s",
        per_second(usize::try_from(report.entries).unwrap(), begun)
    );
    println!("resident after verify: {} KiB", resident_kib());
    ledger.close().await;
}
