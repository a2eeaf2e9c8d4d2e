//! The daemon dies in the middle of writing, by `SIGKILL` at moments drawn by lot. What it had acknowledged is there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use claviger::ledger::{Ledger, Mutation};
use claviger::types::{DriftSource, TokenId, UnixMillis};

use crate::desk::{Dice, event, fob, insert, open};

/// Set for the child alone: the directory to write in.
const CHILD: &str = "CLAVIGER_TEST_LEDGER_CHILD";
const ROUNDS: u64 = 40;

/// Not a test by itself: commits until it is killed and says what was acknowledged. Four at once, so that groups form.
#[tokio::test]
async fn child() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let ledger = Arc::new(open(Path::new(&directory)).await.unwrap());
    let lanes: Vec<_> = (0..4)
        .map(|lane| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                let mut step = 0;
                // Far more than it will live to do.
                while step < 1_000_000 {
                    let token = fob(&format!("S-{lane}"));
                    let seq = ledger.commit(event(1), vec![insert(&token, None)]).await.unwrap();
                    say(seq, token.id, 0);
                    for _ in 0..5 {
                        step += 1;
                        let advance = Mutation::Advance {
                            token: token.id,
                            to: step,
                            offset_ms: 0,
                            seen: UnixMillis(2),
                            source: Some(DriftSource::Test),
                        };
                        let seq = ledger.commit(event(2), vec![advance]).await.unwrap();
                        say(seq, token.id, step);
                    }
                    ledger
                        .commit(event(3), vec![Mutation::DestroySeed { token: token.id }])
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
}

fn say(seq: u64, token: TokenId, step: u64) {
    // One write for one line, past the test harness, so that a kill cuts no line that was not yet said.
    let line = format!("ACK {seq} {token} {step}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Dice(7);
    let (mut acked, mut steps) = (0, BTreeMap::<TokenId, u64>::new());
    for round in 0..ROUNDS {
        let before = acked;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::child", "--exact", "--nocapture"])
            .env(CHILD, PathBuf::from(dir.path()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // Killed after so many acknowledgements: the moment within the next commit is up to the scheduler.
        let mut left = 1 + dice.roll(60);
        for line in lines {
            let line = line.unwrap();
            let words: Vec<_> = line.split(' ').collect();
            let ["ACK", seq, token, step] = words.as_slice() else {
                panic!("{line}")
            };
            acked = acked.max(seq.parse::<u64>().unwrap());
            steps.insert(token.parse().unwrap(), step.parse().unwrap());
            left = left.saturating_sub(1);
            if left == 0 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acked > before, "round {round} got nowhere");
        let ledger = open(dir.path()).await.unwrap();
        assert!(ledger.head().unwrap().0 >= acked, "entry {acked} was acknowledged");
        for (token, step) in &steps {
            let record = ledger.token(*token).await.unwrap().expect("acknowledged token");
            assert!(record.watermark.unwrap_or(0) >= *step, "step {step} was acknowledged");
        }
        assert_eq!(ledger.verify().await.unwrap().findings, []);
        acked = ledger.head().unwrap().0;
        ledger.close().await;
    }
    println!("{ROUNDS} kills, {acked} entries, {} tokens, nothing lost", steps.len());
}

/// The power goes while the write-ahead log is being written: whatever part of it reached the disk, the ledger is whole and is
/// one that was.
#[tokio::test]
async fn a_torn_log_leaves_a_ledger_that_was() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let mut tokens = Vec::new();
    for number in 0..12 {
        tokens.push(fob(&format!("S-{number}")));
        ledger
            .commit(event(number), vec![insert(&tokens[tokens.len() - 1], None)])
            .await
            .unwrap();
    }
    let log = std::fs::read(dir.path().join("state/ledger.db-wal")).unwrap();
    let mut dice = Dice(11);
    let mut heads = BTreeMap::<u64, u64>::new();
    for case in 0..120 {
        let torn = tempfile::tempdir().unwrap();
        std::fs::create_dir(torn.path().join("state")).unwrap();
        for file in ["claviger.key", "state/ledger.db"] {
            std::fs::copy(dir.path().join(file), torn.path().join(file)).unwrap();
        }
        let mut bytes = log.clone();
        let at = usize::try_from(dice.roll(log.len() as u64 + 1)).unwrap();
        match case % 3 {
            // Cut short; the rest never written, as zeros or as what was there before; one sector lost in the middle.
            0 => bytes.truncate(at),
            1 => bytes[at..].fill(if dice.roll(2) == 0 { 0 } else { 0xa5 }),
            _ => {
                let sector = at / 512 * 512;
                let end = bytes.len().min(sector + 512);
                bytes[sector..end].fill(0);
            }
        }
        std::fs::write(torn.path().join("state/ledger.db-wal"), bytes).unwrap();
        let found = open(torn.path()).await.unwrap();
        let report = found.verify().await.unwrap();
        assert_eq!(report.findings, [], "case {case}, byte {at}");
        let head = found.head().unwrap().0;
        for (number, token) in (1..).zip(&tokens) {
            assert_eq!(found.token(token.id).await.unwrap().is_some(), number <= head);
        }
        *heads.entry(head).or_default() += 1;
        found
            .commit(event(99), vec![insert(&fob("after"), None)])
            .await
            .unwrap();
        found.close().await;
    }
    println!("heads found after a torn log, and how often: {heads:?}");
    assert!(heads.len() > 6, "the log was torn at many places");
}
