//! From rows of the ledger to readings.

use super::*;

fn point(at: i64, source: DriftSource, before_ms: Option<i64>, after_ms: i64) -> DriftPoint {
    DriftPoint {
        seq: at.unsigned_abs(),
        at: UnixMillis(at),
        source,
        before_ms,
        after_ms,
        seen_before: None,
    }
}

#[test]
fn an_undone_resync_is_no_measurement() {
    let points = [
        point(1, DriftSource::First, None, 100),
        point(2, DriftSource::Test, Some(100), 120),
        point(3, DriftSource::Resync, Some(120), 900_000),
        point(4, DriftSource::Undo, Some(900_000), 120),
        point(5, DriftSource::ClockRead, Some(120), 130),
    ];
    let told: Vec<(i64, i64, Method)> = readings(&points)
        .iter()
        .map(|reading| (reading.at.0, reading.offset_ms, reading.method))
        .collect();
    assert_eq!(
        told,
        [(1, 100, Method::Code), (2, 120, Method::Code), (5, 130, Method::Read)]
    );
}

#[test]
fn a_group_is_told_by_its_middle() {
    let gathered = |rates: &[f64]| Gathered {
        tokens: rates.len(),
        rates: rates.to_vec(),
        replace_by: vec![UnixMillis(30), UnixMillis(10), UnixMillis(20)],
        ..Gathered::default()
    };
    let group = gathered(&[-12.0, -11.0, -10.0, -9.0, 300.0]).told("spring".to_owned(), Some(-0.5));
    assert_eq!((group.rate_ppm, group.odd), (Some(-10.0), true));
    assert_eq!(
        (group.first_replace_by, group.half_replace_by),
        (UnixMillis(10), UnixMillis(20))
    );
    // Too few to judge a delivery by.
    assert!(
        !gathered(&[-12.0, -11.0, -10.0, -9.0])
            .told(String::new(), Some(-0.5))
            .odd
    );
    assert!(
        !gathered(&[-2.0, -1.0, 0.0, 1.0, 2.0])
            .told(String::new(), Some(-0.5))
            .odd
    );
}
