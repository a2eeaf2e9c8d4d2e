//! What a million tokens cost that a thousand do not.

use std::time::Instant;

use claviger::ledger::Ledger as _;

use crate::fobs::Fobs;
use crate::report::{Measured, median, quantile};

/// What the names speak of.
const MANY: usize = 1_000_000;
const FEW: usize = 1_000;
/// For a quick look: another number in the place of the million, and no figure.
const SIZE: &str = "CLAVIGER_BENCH_TOKENS";
const ROUNDS: usize = 400;

/// `test_cost_1m_over_1k` and `find_cost_1m_over_1k`: the same calls on two ledgers that take turns.
pub async fn ratios() -> Vec<Result<Measured, String>> {
    let count = std::env::var(SIZE).ok().and_then(|count| count.parse().ok());
    let count: usize = count.unwrap_or(MANY).max(FEW);
    let few = Fobs::fill(FEW).await;
    let begun = Instant::now();
    let many = Fobs::fill(count).await;
    let filled = format!("{count} fobs were imported in {:.0} s", begun.elapsed().as_secs_f64());
    let outcomes = vec![test(&few, &many, filled).await, find(&few, &many).await];
    few.ledger.close().await;
    many.ledger.close().await;
    let of_name = |measured: Measured| match count {
        MANY => Ok(measured),
        other => Err(format!(
            "{other} tokens by {SIZE}: {:.3}; {}",
            measured.value,
            measured.notes.join("; ")
        )),
    };
    outcomes.into_iter().map(of_name).collect()
}

/// A test of a fob that is anywhere in the ledger.
async fn test(few: &Fobs, many: &Fobs, filled: String) -> Measured {
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (fobs, times) in [(few, &mut small), (many, &mut large)] {
            let n = anywhere(round, fobs.tokens.len());
            let begun = Instant::now();
            fobs.test(n).await;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    Measured {
        value: median(&large) / median(&small),
        notes: vec![format!(
            "a test {:.0} µs of {FEW} (nine in ten under {:.0}), {:.0} µs of many ({:.0}); {ROUNDS} rounds; {filled}",
            median(&small),
            quantile(&small, 0.9),
            median(&large),
            quantile(&large, 0.9),
        )],
    }
}

/// The worst of several finds.
async fn find(few: &Fobs, many: &Fobs) -> Measured {
    let mut kinds: Vec<(&'static str, Vec<f64>, Vec<f64>)> = Vec::new();
    for round in 0..ROUNDS {
        for (fobs, large) in [(few, false), (many, true)] {
            let n = anywhere(round, fobs.tokens.len());
            for (at, (kind, filter, cursor, limit)) in fobs.finds(n).into_iter().enumerate() {
                let begun = Instant::now();
                let page = fobs
                    .ledger
                    .find(&filter, cursor.as_deref(), limit)
                    .await
                    .expect("a page");
                let took = begun.elapsed().as_secs_f64() * 1e6;
                assert!(!page.items.is_empty(), "{kind} finds something");
                if at == kinds.len() {
                    kinds.push((kind, Vec::new(), Vec::new()));
                }
                let (_, small_times, large_times) = &mut kinds[at];
                if large { large_times } else { small_times }.push(took);
            }
        }
    }
    let ratio = |(_, small, large): &(&str, Vec<f64>, Vec<f64>)| median(large) / median(small);
    Measured {
        value: kinds.iter().map(ratio).fold(0.0, f64::max),
        notes: kinds
            .iter()
            .map(|kind| {
                let (few, many) = (median(&kind.1), median(&kind.2));
                format!(
                    "by {}: {few:.0} µs of {FEW}, {many:.0} µs of many: {:.2}",
                    kind.0,
                    ratio(kind)
                )
            })
            .collect(),
    }
}

/// A number below `count` that nothing read ahead will have foreseen; the same in every run (splitmix64).
fn anywhere(round: usize, count: usize) -> usize {
    let mut x = (round as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((x ^ (x >> 31)) % count as u64).unwrap_or(0)
}
