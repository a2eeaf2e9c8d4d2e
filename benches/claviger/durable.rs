//! How many tests a second the ledger answers, against what the disk under it can take.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use claviger::ledger::Ledger as _;

use crate::fobs::Fobs;
use crate::report::{Measured, median};

const ROUNDS: usize = 21;
/// Callers at once.
const MANY: usize = 64;
/// Syncs, and tests by one caller, of a round.
const ALONE: usize = 50;
/// Tests by each of many callers of a round.
const EACH: usize = 12;

/// `durable_tests_per_fsync_1` and `durable_tests_per_fsync_64`: the three take turns on one file system, and each round has its
/// own ratio.
pub async fn ratios() -> Vec<Result<Measured, String>> {
    let fobs = Arc::new(Fobs::fill(1_000).await);
    let (mut syncs, mut alone, mut together) = (Vec::new(), Vec::new(), Vec::new());
    let (mut one, mut many) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let disk = sync_rate(fobs.directory());
        let single = rate(&fobs, 1, ALONE).await;
        let again = sync_rate(fobs.directory());
        let crowd = rate(&fobs, MANY, EACH).await;
        one.push(single / disk);
        many.push(crowd / again);
        syncs.extend([disk, again]);
        alone.push(single);
        together.push(crowd);
    }
    fobs.ledger.close().await;
    let note = |rate: &[f64]| {
        format!(
            "{:.0} tests a second, {:.0} syncs of an appended 4 KiB; {ROUNDS} rounds, each with its own ratio",
            median(rate),
            median(&syncs)
        )
    };
    [(one, alone), (many, together)]
        .map(|(ratios, rates)| {
            Ok(Measured {
                value: median(&ratios),
                notes: vec![note(&rates)],
            })
        })
        .into()
}

/// Tests a second, `callers` at once, each of a fob of its own.
async fn rate(fobs: &Arc<Fobs>, callers: usize, each: usize) -> f64 {
    let begun = Instant::now();
    let running: Vec<_> = (0..callers)
        .map(|caller| {
            let fobs = Arc::clone(fobs);
            tokio::spawn(async move {
                for _ in 0..each {
                    fobs.test(caller).await;
                }
            })
        })
        .collect();
    for caller in running {
        caller.await.expect("joined");
    }
    per_second(callers * each, begun)
}

/// What the disk itself can do: 4 KiB appended, fdatasync(2), again.
fn sync_rate(directory: &Path) -> f64 {
    let path = directory.join("syncs");
    let mut file = File::create(&path).expect("a file");
    let begun = Instant::now();
    for _ in 0..ALONE {
        file.write_all(&[0x5a; 4096]).expect("written");
        file.sync_data().expect("synced");
    }
    let rate = per_second(ALONE, begun);
    std::fs::remove_file(path).expect("removed");
    rate
}

#[allow(clippy::cast_precision_loss)]
fn per_second(count: usize, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}
