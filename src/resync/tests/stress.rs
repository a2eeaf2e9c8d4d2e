//! What happens to fobs in the world, each with its right answer.

use super::*;

/// Consecutive codes that end with the one shown at `now` less the typing delay.
fn read(fob: &Fob, count: u64, now: UnixMillis) -> (Vec<(Code, UnixMillis)>, u64) {
    let last = fob.step_at(now.plus_ms(-10_000));
    (
        (last + 1 - count..=last).map(|step| (fob.code(step), now)).collect(),
        last,
    )
}

fn used(offset_ms: i64, seen: UnixMillis) -> DriftState {
    let step = OathParameters::default().step_at(seen.plus_ms(offset_ms));
    DriftState {
        offset_ms,
        watermark_step: Some(step),
        last_seen: Some(seen),
    }
}

fn refused(verdict: ResyncVerdict) -> Refusal {
    match verdict {
        ResyncVerdict::Refused(refusal) => refusal,
        accepted @ ResyncVerdict::Accepted { .. } => panic!("{accepted:?}"),
    }
}

fn clock_faults(state: &DriftState, fob: &Fob, codes: &[(Code, UnixMillis)], now: UnixMillis) -> Vec<ClockFault> {
    explain(state, &fob.generator, &[], codes, now, &Policy::default()).clock
}

/// The battery failed: the clock began anew at its factory epoch. No resync, whatever anybody says: those steps are long used.
#[test]
fn battery_death() {
    let now = EPOCH.plus_ms(7_000);
    let state = used(-30_000, EPOCH.plus_ms(-7 * DAY));
    for epoch_ms in [0, 315_532_800_000, 946_684_800_000] {
        let fob = Fob::new(OathParameters::default(), epoch_ms + 3 * DAY - EPOCH.0, 0);
        let (codes, _) = read(&fob, 3, now);
        for accept_implausible in [false, true] {
            let policy = Policy {
                accept_implausible,
                ..Policy::default()
            };
            let verdict = search_codes(&state, &fob.generator, &codes, now, &policy);
            assert_eq!(refused(verdict), Refusal::NoMatch);
        }
        assert_eq!(
            clock_faults(&state, &fob, &codes, now),
            [ClockFault::Reset { epoch_ms }],
            "{epoch_ms}"
        );
    }
}

/// A failing battery: the clock stood still for five hours. It shows times that were used, and later times that no drift explains.
#[test]
fn a_clock_that_stood_still() {
    let now = EPOCH;
    let fob = Fob::new(OathParameters::default(), -5 * 60 * MINUTE - 7 * MINUTE, 0);
    let (codes, step) = read(&fob, 3, now);
    let just_used = used(0, now.plus_ms(-60 * MINUTE));
    let verdict = search_codes(&just_used, &fob.generator, &codes, now, &Policy::default());
    assert_eq!(refused(verdict), Refusal::Replayed);
    assert_eq!(
        clock_faults(&just_used, &fob, &codes, now),
        [ClockFault::Behind, ClockFault::Used]
    );

    let long_used = used(0, now.plus_ms(-2 * DAY));
    let verdict = search_codes(&long_used, &fob.generator, &codes, now, &Policy::default());
    assert!(matches!(refused(verdict), Refusal::Implausible { .. }));
    assert_eq!(clock_faults(&long_used, &fob, &codes, now), [ClockFault::Behind]);
    let by_word = Policy {
        accept_implausible: true,
        ..Policy::default()
    };
    let verdict = search_codes(&long_used, &fob.generator, &codes, now, &by_word);
    next_passes_and_earlier_fail(&resynced(&long_used, &verdict, now), &fob, step, &by_word);
}

/// Somebody set the fob to the time on the wall: two codes never take it, three name the cause, and a word takes it.
#[test]
fn set_to_local_time() {
    let now = EPOCH.plus_ms(3_000);
    for minutes in [60, -300, 345, 780] {
        let fob = Fob::new(OathParameters::default(), i64::from(minutes) * MINUTE + 25_000, 0);
        let state = used(20_000, EPOCH.plus_ms(-3 * DAY));
        let (two, _) = read(&fob, 2, now);
        let verdict = search_codes(&state, &fob.generator, &two, now, &Policy::default());
        assert!(matches!(refused(verdict), Refusal::TooFew { .. }), "{minutes}");
        let (three, step) = read(&fob, 3, now);
        let verdict = search_codes(&state, &fob.generator, &three, now, &Policy::default());
        assert!(matches!(refused(verdict), Refusal::Implausible { .. }), "{minutes}");
        let direction = if minutes > 0 {
            ClockFault::Ahead
        } else {
            ClockFault::Behind
        };
        assert_eq!(
            clock_faults(&state, &fob, &three, now),
            [ClockFault::LocalTime { minutes }, direction]
        );
        let by_word = Policy {
            accept_implausible: true,
            ..Policy::default()
        };
        let verdict = search_codes(&state, &fob.generator, &three, now, &by_word);
        next_passes_and_earlier_fail(&resynced(&state, &verdict, now), &fob, step, &by_word);
    }
}

/// Codes collected on a fob whose clock can be set forward (CVE-2021-32033): no word makes them acceptable.
#[test]
fn played_ahead() {
    let now = EPOCH;
    let state = used(0, EPOCH.plus_ms(-DAY));
    let policy = Policy {
        settable_clock: true,
        accept_implausible: true,
        ..Policy::default()
    };
    let ahead = Fob::new(OathParameters::default(), 3 * 60 * MINUTE, 0);
    let (codes, _) = read(&ahead, 4, now);
    let verdict = search_codes(&state, &ahead.generator, &codes, now, &policy);
    assert!(matches!(refused(verdict), Refusal::Implausible { .. }));
    // Set back is a nuisance, not an attack.
    let behind = Fob::new(OathParameters::default(), -3 * 60 * MINUTE, 0);
    let (codes, step) = read(&behind, 3, now);
    let verdict = search_codes(&state, &behind.generator, &codes, now, &policy);
    next_passes_and_earlier_fail(&resynced(&state, &verdict, now), &behind, step, &policy);
}

/// Written down and typed five minutes later: refused, and nothing is learned of it; the next code passes.
#[test]
fn five_minutes_typing() {
    let fob = Fob::new(OathParameters::default(), 4_000, 0);
    let policy = Policy::default();
    let state = used(0, EPOCH.plus_ms(-7 * DAY));
    let written = fob.shown_at(EPOCH);
    let typed = EPOCH.plus_ms(5 * MINUTE);
    assert_eq!(
        accept_one(&state, &fob.generator, &written, typed, &policy),
        Verdict::Rejected
    );
    let now = typed.plus_ms(40_000);
    let shown = fob.shown_at(now.plus_ms(-8_000));
    let after = accepted(&state, accept_one(&state, &fob.generator, &shown, now, &policy), now);
    assert!((after.offset_ms - 4_000).abs() <= 17_000, "{}", after.offset_ms);
}

/// The host's clock steps by two hours, and says that it is synchronised: nobody's fob passes, nobody's fob is learned anew, and
/// once the clock is mended all pass as before.
#[test]
fn host_clock_step() {
    let policy = Policy::default();
    for step_minutes in [-120, 120] {
        for offset in [-90_000, 0, 40_000] {
            let fob = Fob::new(OathParameters::default(), offset, 0);
            let state = used(offset, EPOCH.plus_ms(-DAY));
            let host = |truly: UnixMillis| truly.plus_ms(step_minutes * MINUTE);
            let shown = fob.shown_at(EPOCH.plus_ms(-10_000));
            assert_eq!(
                accept_one(&state, &fob.generator, &shown, host(EPOCH), &policy),
                Verdict::Rejected
            );
            for count in [2, 3] {
                let (codes, _) = read(&fob, count, EPOCH);
                let codes: Vec<_> = codes.into_iter().map(|(code, at)| (code, host(at))).collect();
                let verdict = search_codes(&state, &fob.generator, &codes, host(EPOCH), &policy);
                let refusal = refused(verdict);
                assert!(
                    matches!(refusal, Refusal::TooFew { .. } | Refusal::Implausible { .. }),
                    "{refusal:?}"
                );
            }
            assert!(matches!(
                accept_one(&state, &fob.generator, &shown, EPOCH, &policy),
                Verdict::Accepted { .. }
            ));
        }
    }
}

/// Half a year at -10 °C: 42 ppm slow. Too long unseen for one code; two do.
#[test]
fn cold_store() {
    let policy = Policy::default();
    let fob = Fob::new(OathParameters::default(), 0, -42_000);
    let state = used(0, EPOCH);
    let now = EPOCH.plus_ms(182 * DAY);
    let (codes, step) = read(&fob, 2, now);
    let verdict = accept_one(&state, &fob.generator, &codes[1].0, now, &policy);
    assert_eq!(verdict, Verdict::NeedsSecondCode);
    let verdict = accept_next(&state, &fob.generator, &codes, now, &policy);
    next_passes_and_earlier_fail(&resynced(&state, &verdict, now), &fob, step, &policy);
    let verdict = search_codes(&state, &fob.generator, &codes, now, &policy);
    next_passes_and_earlier_fail(&resynced(&state, &verdict, now), &fob, step, &policy);
}

/// Two people share a fob: the code of one is no good for the other, the next one is, and nothing drifts for it.
#[test]
fn two_users_of_one_fob() {
    let policy = Policy::default();
    let fob = Fob::new(OathParameters::default(), 12_000, 0);
    let mut state = used(12_000, EPOCH.plus_ms(-DAY));
    for minute in 0..60 {
        let step = fob.step_at(EPOCH.plus_ms(minute * MINUTE));
        let one = fob.time_of(step, 500).plus_ms(8_000);
        let shown = fob.code(step);
        state = accepted(&state, accept_one(&state, &fob.generator, &shown, one, &policy), one);
        let other = one.plus_ms(3_000);
        assert_eq!(
            accept_one(&state, &fob.generator, &shown, other, &policy),
            Verdict::Rejected
        );
        let later = fob.time_of(step + 1, 300).plus_ms(12_000);
        state = accepted(
            &state,
            accept_one(&state, &fob.generator, &fob.code(step + 1), later, &policy),
            later,
        );
        assert!((state.offset_ms - 12_000).abs() <= 25_000);
    }
}

/// A token that one code cannot settle: the next one, typed when the display has changed, completes the pair; a pair that was
/// written down does not, and neither does any that lies beyond drift.
#[test]
fn the_next_code_completes_the_pair() {
    let policy = Policy::default();
    let state = used(0, EPOCH.plus_ms(-300 * DAY));
    let pair = |fob: &Fob, apart: i64| {
        let step = fob.step_at(EPOCH);
        let at = fob.time_of(step, 500).plus_ms(10_000);
        (
            vec![(fob.code(step - 1), at.plus_ms(-apart)), (fob.code(step), at)],
            step,
            at,
        )
    };
    let drifted = Fob::new(OathParameters::default(), -9 * MINUTE, 0);
    for apart in [20_000, 30_000, 45_000] {
        let (codes, step, now) = pair(&drifted, apart);
        let verdict = accept_next(&state, &drifted.generator, &codes, now, &policy);
        next_passes_and_earlier_fail(&resynced(&state, &verdict, now), &drifted, step, &policy);
    }
    let (codes, _, now) = pair(&drifted, 150_000);
    assert_eq!(
        refused(accept_next(&state, &drifted.generator, &codes, now, &policy)),
        Refusal::NoMatch
    );
    let elsewhere = Fob::new(OathParameters::default(), -5 * 60 * MINUTE, 0);
    let (codes, _, now) = pair(&elsewhere, 30_000);
    assert_eq!(
        refused(accept_next(&state, &elsewhere.generator, &codes, now, &policy)),
        Refusal::NoMatch,
        "a test believes in no reset clock"
    );
}

/// A record that is wrong in one way is named, and nothing else is; with two codes nothing is blamed.
#[test]
fn a_wrong_record_is_named() {
    let seed = Secret::new(b"12345678901234567890".to_vec());
    let other = Secret::new(b"09876543210987654321".to_vec());
    let now = EPOCH.plus_ms(5_000);
    let state = used(0, EPOCH.plus_ms(-DAY));
    let shapes = [
        (OathAlgorithm::Sha1, 6, 60),
        (OathAlgorithm::Sha256, 6, 30),
        (OathAlgorithm::Sha512, 6, 60),
        (OathAlgorithm::Sha1, 8, 30),
    ];
    let alternatives = || -> Vec<Alternative> {
        let shaped = shapes
            .iter()
            .map(|(algorithm, digits, period_s)| (&seed, OathParameters::new(*algorithm, *digits, *period_s).unwrap()));
        shaped
            .chain([(&other, OathParameters::default())])
            .map(|(seed, parameters)| Alternative {
                generator: Generator::new(seed, parameters).unwrap(),
                state,
                horizon_ms: Some(3_600_000),
            })
            .collect()
    };
    let own = standard_generator();
    let mut work = Vec::new();
    for (index, truth) in alternatives().iter().enumerate() {
        let parameters = *truth.generator.parameters();
        let step = parameters.step_at(now.plus_ms(-10_000));
        let three: Vec<_> = (step - 2..=step)
            .map(|step| (truth.generator.code(step), now))
            .collect();
        let tried = alternatives();
        let before = own.computed();
        let found = explain(&state, &own, &tried, &three, now, &Policy::default());
        assert_eq!(found.alternatives, [index], "{parameters:?}");
        assert_eq!(found.clock, []);
        let each: u64 = tried.iter().map(|other| other.generator.computed()).sum();
        work.push(own.computed() - before + each);
        let two = explain(&state, &own, &tried, &three[1..], now, &Policy::default());
        assert_eq!(two, Explanation::default(), "two codes blame nobody");
    }
    work.dedup();
    assert_eq!(work.len(), 1, "the work does not depend on the codes: {work:?}");
}

proptest::proptest! {
    #![proptest_config(seeded(150))]

    /// Whatever the gaps between codes and however far the clock: after a resync the next code passes, every earlier one fails.
    #[test]
    fn after_every_gap_the_next_passes(
        offset_min in -19_i64..=19,
        first_gap in 1_u64..=12,
        second_gap in 0_u64..=12,
        permille in 100_i64..900,
        typing in 5_000_i64..15_000,
        period in proptest::prop_oneof![proptest::prelude::Just(30_u32), proptest::prelude::Just(60)],
        watermark in 1_u64..400,
    ) {
        let fob = Fob::new(of_period(period), offset_min * MINUTE, 3_000);
        let last = fob.step_at(EPOCH);
        let second = last - second_gap;
        let first = second - first_gap;
        let mut steps = vec![first, second, last];
        steps.dedup();
        let codes: Vec<_> = steps.iter().map(|step| (fob.code(*step), fob.time_of(*step, permille).plus_ms(typing))).collect();
        let now = codes.last().unwrap().1;
        let state = DriftState {
            offset_ms: 0,
            watermark_step: Some(first - watermark),
            last_seen: Some(now.plus_ms(-DAY)),
        };
        let policy = Policy::default();
        let verdict = search_codes(&state, &fob.generator, &codes, now, &policy);
        next_passes_and_earlier_fail(&resynced(&state, &verdict, now), &fob, last, &policy);
    }

    /// Guesses: of random pairs and triples none is ever taken.
    #[test]
    fn guesses_are_not_taken(codes in proptest::collection::vec(0_u32..1_000_000, 2..4), days in 0_i64..1_000, by_word in proptest::bool::ANY) {
        let state = used(0, EPOCH.plus_ms(-days * DAY));
        let policy = Policy { accept_implausible: by_word, ..Policy::default() };
        let codes: Vec<_> = codes.iter().map(|code| (Code::from_truncated(*code, 6).unwrap(), EPOCH)).collect();
        let verdict = search_codes(&state, &standard_generator(), &codes, EPOCH, &policy);
        proptest::prop_assert!(matches!(verdict, ResyncVerdict::Refused(_)), "{:?}", verdict);
    }
}
