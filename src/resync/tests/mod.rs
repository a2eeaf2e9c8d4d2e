//! The drift engine against fobs that drift, and against models written another way.

mod counter;
mod fob;
mod joint;
mod single;
mod stress;

use proptest::test_runner::{Config, RngSeed};

use super::*;
use crate::codec::oath::{Code, Generator};
use crate::types::{OathAlgorithm, Secret};
use fob::{Fob, Rng};

/// Two steps of [`standard_generator`] with 6 digits that show the same code: found by search, once in about 300,000.
const TWINS: (u64, u64) = (58_261_606, 58_261_608);

/// 2026-01-01T00:00:00Z.
const EPOCH: UnixMillis = UnixMillis(1_767_225_600_000);

const DAY: i64 = 86_400_000;
const MINUTE: i64 = 60_000;

fn generator(parameters: OathParameters) -> Generator {
    Generator::new(&Secret::new(b"12345678901234567890".to_vec()), parameters).unwrap()
}

fn standard_generator() -> Generator {
    generator(OathParameters::default())
}

fn of_period(period_s: u32) -> OathParameters {
    OathParameters::new(OathAlgorithm::Sha1, 6, period_s).unwrap()
}

/// A code that is none of the steps near by, but for one chance in 10^5.
fn wrong_code() -> Code {
    Code::parse("000000").unwrap()
}

fn seeded(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(0x6238),
        failure_persistence: None,
        ..Config::default()
    }
}

/// The state after an accepted single code.
fn accepted(state: &DriftState, verdict: Verdict, now: UnixMillis) -> DriftState {
    match verdict {
        Verdict::Accepted { step, new_offset_ms } => state.after(step, new_offset_ms, now),
        other => panic!("{other:?} at {now:?} of {state:?}"),
    }
}

/// The state after an accepted resync.
fn resynced(state: &DriftState, verdict: &ResyncVerdict, now: UnixMillis) -> DriftState {
    match verdict {
        ResyncVerdict::Accepted {
            steps, offset_after_ms, ..
        } => state.after(*steps.last().unwrap(), *offset_after_ms, now),
        other @ ResyncVerdict::Refused(_) => panic!("{other:?} at {now:?} of {state:?}"),
    }
}

/// After `step` was accepted, the next code passes at a moment when the fob shows it, and it and all before fail.
fn next_passes_and_earlier_fail(state: &DriftState, fob: &Fob, step: u64, policy: &Policy) {
    let shown = fob.time_of(step + 1, 500);
    let now = shown.plus_ms(policy.typing_delay_ms);
    for back in 0..40 {
        let earlier = fob.code(step - back);
        assert_eq!(
            accept_one(state, &fob.generator, &earlier, now, policy),
            Verdict::Rejected,
            "{back} before the last"
        );
    }
    let verdict = accept_one(state, &fob.generator, &fob.code(step + 1), now, policy);
    assert!(
        matches!(verdict, Verdict::Accepted { step: s, .. } if s == step + 1),
        "the next code: {verdict:?}"
    );
    let after = accepted(state, verdict, now);
    assert_eq!(
        accept_one(&after, &fob.generator, &fob.code(step + 1), now, policy),
        Verdict::Rejected,
        "twice"
    );
}

#[test]
fn the_watermark_never_goes_down() {
    let state = DriftState {
        watermark_step: Some(100),
        ..DriftState::default()
    };
    assert_eq!(state.after(90, 7, EPOCH).watermark_step, Some(100));
    assert_eq!(
        state.after(101, 7, EPOCH),
        DriftState {
            offset_ms: 7,
            watermark_step: Some(101),
            last_seen: Some(EPOCH)
        }
    );
    assert!(!state.is_fresh(100) && state.is_fresh(101));
    assert!(DriftState::default().is_fresh(0));
}

#[test]
fn the_window_grows_two_seconds_a_day() {
    let policy = Policy::default();
    let seen = DriftState {
        last_seen: Some(EPOCH),
        ..DriftState::default()
    };
    let half = |days: i64| policy.half_window_ms(&seen, &OathParameters::default(), EPOCH.plus_ms(days * DAY));
    assert_eq!(
        (half(0), half(1), half(30)),
        (Some(45_000), Some(47_000), Some(105_000))
    );
    // A host clock that went backwards does not make the window smaller than its base.
    assert_eq!(half(-10), Some(45_000));
    assert_eq!(policy.half_window_ms(&seen, &of_period(60), EPOCH), Some(90_000));
    assert_eq!(
        policy.half_window_ms(&DriftState::default(), &OathParameters::default(), EPOCH),
        None
    );
}

#[test]
fn the_physical_bound_grows_with_age() {
    let policy = Policy::default();
    let seen = DriftState {
        last_seen: Some(EPOCH),
        ..DriftState::default()
    };
    let bound = |days: i64| policy.plausible_shift_ms(&seen, &OathParameters::default(), EPOCH.plus_ms(days * DAY));
    assert_eq!(bound(0), 60_000 + 1_200_000);
    assert_eq!(bound(100), 60_000 + 1_200_000 + 864_000);
    assert_eq!(
        policy.plausible_shift_ms(&DriftState::default(), &OathParameters::default(), EPOCH),
        1_260_000
    );
}
