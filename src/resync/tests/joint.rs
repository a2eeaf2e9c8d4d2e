//! Several codes.

use proptest::prelude::*;

use super::*;

/// Codes that came in one call.
fn at_once(fob: &Fob, steps: &[u64], now: UnixMillis) -> Vec<(Code, UnixMillis)> {
    steps.iter().map(|step| (fob.code(*step), now)).collect()
}

fn seen(watermark_step: Option<u64>, now: UnixMillis) -> DriftState {
    DriftState {
        offset_ms: 0,
        watermark_step,
        last_seen: Some(now),
    }
}

fn wide(max_gap: u32) -> Policy {
    Policy {
        max_gap,
        ..Policy::default()
    }
}

#[test]
fn nine_minutes_slow() {
    let fob = Fob::new(OathParameters::default(), -9 * MINUTE, 0);
    let now = EPOCH.plus_ms(17_000);
    let state = seen(Some(fob.step_at(EPOCH) - 100), EPOCH.plus_ms(-5 * MINUTE));
    let policy = Policy::default();
    let shown = fob.shown_at(now.plus_ms(-10_000));
    assert_eq!(
        accept_one(&state, &fob.generator, &shown, now, &policy),
        Verdict::Rejected
    );

    let step = fob.step_at(now.plus_ms(-10_000));
    let verdict = search_codes(
        &state,
        &fob.generator,
        &at_once(&fob, &[step - 1, step], now),
        now,
        &policy,
    );
    let ResyncVerdict::Accepted {
        steps,
        offset_before_ms,
        offset_after_ms,
        shift_s,
    } = &verdict
    else {
        panic!("{verdict:?}");
    };
    assert_eq!((&steps[..], *offset_before_ms), (&[step - 1, step][..], 0));
    assert!((offset_after_ms + 9 * MINUTE).abs() <= 15_000, "{offset_after_ms}");
    assert!((shift_s + 540).abs() <= 15, "{shift_s}");
    let state = resynced(&state, &verdict, now);
    next_passes_and_earlier_fail(&state, &fob, step, &policy);
}

/// For every gap that a policy allows, read at the beginning, in the middle and at the end of the step, typed fast and slow.
#[test]
fn every_gap_at_once() {
    let policy = wide(6);
    for period in [30, 60] {
        for gap in 1..=7_u64 {
            for (permille, delay) in [
                (0, 0),
                (20, 10_000),
                (500, 10_000),
                (980, 10_000),
                (999, 20_000),
                (0, 25_000),
            ] {
                let fob = Fob::new(of_period(period), -9 * MINUTE, 0);
                let step = fob.step_at(EPOCH);
                let now = fob.time_of(step, permille).plus_ms(delay);
                let codes = at_once(&fob, &[step - gap, step], now);
                let verdict = search_codes(&seen(None, now), &fob.generator, &codes, now, &policy);
                if gap > 6 {
                    assert_eq!(verdict, ResyncVerdict::Refused(Refusal::NoMatch));
                    continue;
                }
                let state = resynced(&seen(None, now), &verdict, now);
                let error = (state.offset_ms + 9 * MINUTE).abs();
                let bound = i64::from(period) * 500 + (delay - 10_000).abs();
                assert!(error <= bound, "gap {gap}, {permille}, {delay}: {error} > {bound}");
                assert_eq!(state.watermark_step, Some(step));
                next_passes_and_earlier_fail(&state, &fob, step, &policy);
            }
        }
    }
}

/// Codes typed one by one: the steps must agree with the clock on our wall.
#[test]
fn every_gap_one_by_one() {
    let policy = Policy::default();
    let fob = Fob::new(OathParameters::default(), 4 * MINUTE, 5_000);
    for gap in 1..=20_u64 {
        let step = fob.step_at(EPOCH);
        let received = |step: u64| fob.time_of(step, 500).plus_ms(10_000);
        let (before, now) = (received(step - gap), received(step));
        let codes = [(fob.code(step - gap), before), (fob.code(step), now)];
        let state = seen(None, EPOCH.plus_ms(-DAY));
        let verdict = search_codes(&state, &fob.generator, &codes, now, &policy);
        next_passes_and_earlier_fail(&resynced(&state, &verdict, now), &fob, step, &policy);

        // A pair that was written down and is typed with another distance in time.
        for wrong in [gap * 30 + 75, (gap * 30).saturating_sub(75)] {
            let codes = [
                (fob.code(step - gap), now.plus_ms(-(wrong as i64) * 1000)),
                (fob.code(step), now),
            ];
            if wrong != 0 {
                let verdict = search_codes(&state, &fob.generator, &codes, now, &policy);
                assert_eq!(
                    verdict,
                    ResyncVerdict::Refused(Refusal::NoMatch),
                    "gap {gap}, {wrong} s"
                );
            }
        }
    }
}

/// For every distance of a step between where the clock was believed to be and where it is, over the whole search of a day to
/// either side: what drift cannot explain is taken by word. The kills at every write around the commit are in
/// `tests/matrix_kills.rs` (`Resync`).
#[test]
fn after_a_resync_the_next_code_passes_and_every_earlier_one_fails_for_every_gap() {
    let policy = Policy {
        accept_implausible: true,
        ..Policy::default()
    };
    let parameters = OathParameters::default();
    let reach = policy.horizon_ms / parameters.period_ms();
    let resynced_over = |gap: i64| {
        let fob = Fob::new(parameters, gap * parameters.period_ms(), 0);
        let step = fob.step_at(EPOCH);
        let now = fob.time_of(step, 500).plus_ms(10_000);
        let state = seen(Some(step - 3), now.plus_ms(-DAY));
        let codes = at_once(&fob, &[step - 2, step - 1, step], now);
        let verdict = search_codes(&state, &fob.generator, &codes, now, &policy);
        let state = resynced(&state, &verdict, now);
        assert_eq!(state.watermark_step, Some(step), "{gap} steps");
        next_passes_and_earlier_fail(&state, &fob, step, &policy);
        // Nor do the codes of the resync move it a second time; a search as long as the first, so not every time.
        if gap % 37 == 0 {
            let again = search_codes(&state, &fob.generator, &codes, now, &policy);
            assert!(matches!(again, ResyncVerdict::Refused(_)), "{gap} steps");
        }
    };
    // Some ten million HMACs: one half for each core.
    std::thread::scope(|scope| {
        scope.spawn(|| (1 - reach..0).for_each(resynced_over));
        (0..reach).for_each(resynced_over);
    });
}

#[test]
fn by_default_codes_of_one_call_are_consecutive() {
    let fob = Fob::new(OathParameters::default(), 0, 0);
    let step = fob.step_at(EPOCH);
    let search = |steps: &[u64]| {
        search_codes(
            &seen(None, EPOCH),
            &fob.generator,
            &at_once(&fob, steps, EPOCH),
            EPOCH,
            &Policy::default(),
        )
    };
    assert!(matches!(search(&[step - 1, step]), ResyncVerdict::Accepted { .. }));
    assert!(matches!(
        search(&[step - 2, step - 1, step]),
        ResyncVerdict::Accepted { .. }
    ));
    for wrong in [
        vec![step - 2, step],
        vec![step, step - 1],
        vec![step - 3, step - 2, step],
    ] {
        assert_eq!(search(&wrong), ResyncVerdict::Refused(Refusal::NoMatch), "{wrong:?}");
    }
}

#[test]
fn used_codes_stay_used() {
    let fob = Fob::new(OathParameters::default(), -9 * MINUTE, 0);
    let step = fob.step_at(EPOCH);
    let codes = at_once(&fob, &[step - 1, step], EPOCH);
    let search = |watermark| {
        search_codes(
            &seen(watermark, EPOCH),
            &fob.generator,
            &codes,
            EPOCH,
            &Policy::default(),
        )
    };
    assert!(matches!(search(Some(step - 2)), ResyncVerdict::Accepted { .. }));
    for watermark in [step - 1, step, step + 1_000] {
        // The first alone being used is enough.
        assert_eq!(
            search(Some(watermark)),
            ResyncVerdict::Refused(Refusal::Replayed),
            "{watermark}"
        );
    }
    assert_eq!(Refusal::Replayed.outward(), Refusal::NoMatch);
}

/// Two codes where a clock may well be, three where it hardly is, and beyond physics a word besides.
#[test]
fn beyond_physics_needs_a_word() {
    let policy = Policy::default();
    let willing = Policy {
        accept_implausible: true,
        ..policy
    };
    for (minutes, age_days, two_do, plausible) in [
        (-20, 0, true, true),
        (20, 0, true, true),
        (-23, 0, false, false),
        (-300, 0, false, false),
        (300, 0, false, false),
        // 50 ppm over two years are 53 minutes, 100 ppm 105.
        (-70, 730, true, true),
        (-110, 730, false, true),
        (-150, 730, false, false),
    ] {
        let fob = Fob::new(OathParameters::default(), minutes * MINUTE, 0);
        let now = EPOCH.plus_ms(25_000);
        let step = fob.step_at(EPOCH.plus_ms(15_000));
        let (two, three) = (
            at_once(&fob, &[step - 1, step], now),
            at_once(&fob, &[step - 2, step - 1, step], now),
        );
        let state = seen(None, now.plus_ms(-age_days * DAY));
        let case = format!("{minutes} min after {age_days} d");
        for (codes, policy) in [(&two, &policy), (&two, &willing)] {
            match search_codes(&state, &fob.generator, codes, now, policy) {
                ResyncVerdict::Accepted { .. } => assert!(two_do, "{case}"),
                ResyncVerdict::Refused(Refusal::TooFew { shift_s }) => {
                    assert!(!two_do, "{case}");
                    assert!((shift_s - minutes * 60).abs() <= 15, "{shift_s}");
                }
                other @ ResyncVerdict::Refused(_) => panic!("{case}: {other:?}"),
            }
        }
        match search_codes(&state, &fob.generator, &three, now, &policy) {
            ResyncVerdict::Accepted { .. } => assert!(plausible, "{case}"),
            ResyncVerdict::Refused(Refusal::Implausible { .. }) => assert!(!plausible, "{case}"),
            other @ ResyncVerdict::Refused(_) => panic!("{case}: {other:?}"),
        }
        let verdict = search_codes(&state, &fob.generator, &three, now, &willing);
        next_passes_and_earlier_fail(&resynced(&state, &verdict, now), &fob, step, &policy);
    }
    let few = Refusal::TooFew { shift_s: 1 };
    assert_eq!(
        few.outward(),
        Refusal::NoMatch,
        "one more code is asked for whatever the reason"
    );
    // Beyond the horizon nothing is looked for, willing or not.
    let fob = Fob::new(OathParameters::default(), 25 * 60 * MINUTE, 0);
    let step = fob.step_at(EPOCH);
    let verdict = search_codes(
        &seen(None, EPOCH),
        &fob.generator,
        &at_once(&fob, &[step - 1, step], EPOCH),
        EPOCH,
        &willing,
    );
    assert_eq!(verdict, ResyncVerdict::Refused(Refusal::NoMatch));
}

#[test]
fn first_use_takes_two_codes() {
    let fob = Fob::new(OathParameters::default(), 11 * MINUTE, 0);
    let step = fob.step_at(EPOCH);
    let now = fob.time_of(step, 300).plus_ms(8_000);
    let codes = at_once(&fob, &[step - 1, step], now);
    let fresh = DriftState::default();
    let verdict = search_codes(&fresh, &fob.generator, &codes, now, &Policy::default());
    next_passes_and_earlier_fail(&resynced(&fresh, &verdict, now), &fob, step, &Policy::default());
}

#[test]
fn two_answers_are_none_and_a_third_code_decides() {
    let (first, second) = TWINS;
    let fob = Fob::new(OathParameters::default(), 0, 0);
    let now = fob.time_of(second, 500).plus_ms(10_000);
    let search = |steps: &[u64], policy| {
        search_codes(
            &seen(None, now),
            &fob.generator,
            &at_once(&fob, steps, now),
            now,
            &policy,
        )
    };
    // One step before the first twin, then a code that is on the display twice.
    let pair = [first - 1, first];
    assert_eq!(search(&pair, wide(3)), ResyncVerdict::Refused(Refusal::Ambiguous));
    assert!(
        matches!(search(&pair, wide(1)), ResyncVerdict::Accepted { .. }),
        "consecutive codes leave no doubt"
    );
    let verdict = search(&[first - 1, second, second + 1], wide(1));
    assert_eq!(verdict, ResyncVerdict::Refused(Refusal::NoMatch));
    let verdict = search(&[first - 1, first, first + 1], wide(2));
    assert!(matches!(verdict, ResyncVerdict::Accepted { ref steps, .. } if steps[..] == [first - 1, first, first + 1]));
}

#[test]
fn the_work_does_not_depend_on_the_codes() {
    let fob = Fob::new(OathParameters::default(), 0, 0);
    let step = fob.step_at(EPOCH);
    let work = |codes: &[(Code, UnixMillis)]| {
        let before = fob.generator.computed();
        let verdict = search_codes(
            &seen(Some(step - 3), EPOCH),
            &fob.generator,
            codes,
            EPOCH,
            &Policy::default(),
        );
        (
            fob.generator.computed() - before,
            matches!(verdict, ResyncVerdict::Accepted { .. }),
        )
    };
    // ±24 h of 30 s, and one before for the first of two consecutive codes.
    let expected = 2 * 2_880 + 1 + 1;
    assert_eq!(work(&at_once(&fob, &[step - 1, step], EPOCH)), (expected, true));
    assert_eq!(
        work(&at_once(&fob, &[step - 9, step - 8], EPOCH)),
        (expected, false),
        "replayed"
    );
    assert_eq!(
        work(&at_once(&fob, &[step - 2_000, step - 1_999], EPOCH)),
        (expected, false),
        "replayed long ago"
    );
    assert_eq!(
        work(&at_once(&fob, &[step + 2_000, step + 2_001], EPOCH)),
        (expected, false),
        "implausible"
    );
    assert_eq!(
        work(&[(fob.code(step), EPOCH), (wrong_code(), EPOCH)]),
        (expected, false),
        "the first is right"
    );
    assert_eq!(
        work(&[(wrong_code(), EPOCH), (fob.code(step), EPOCH)]),
        (expected, false),
        "the second is right"
    );
}

#[test]
fn input_that_is_no_sequence() {
    let fob = Fob::new(OathParameters::default(), 0, 0);
    let step = fob.step_at(EPOCH);
    let before = fob.generator.computed();
    let search = |codes: &[(Code, UnixMillis)]| match search_codes(
        &seen(None, EPOCH),
        &fob.generator,
        codes,
        EPOCH,
        &Policy::default(),
    ) {
        ResyncVerdict::Refused(refusal) => refusal,
        accepted @ ResyncVerdict::Accepted { .. } => panic!("{accepted:?}"),
    };
    let code = |number: u64, seconds: i64| {
        (
            Code::parse(&format!("{number:06}")).unwrap(),
            EPOCH.plus_ms(seconds * 1000),
        )
    };
    assert_eq!(search(&[]), Refusal::Count);
    assert_eq!(search(&[code(1, 0)]), Refusal::Count);
    assert_eq!(
        search(&[code(1, 0), code(2, 0), code(3, 0), code(4, 0), code(5, 0)]),
        Refusal::Count
    );
    assert_eq!(search(&[code(1, 0), code(1, 0)]), Refusal::SameCode);
    assert_eq!(search(&[code(1, 0), code(2, -1)]), Refusal::Times, "backwards");
    assert_eq!(search(&[code(1, 0), code(2, 1)]), Refusal::Times, "ahead of now");
    assert_eq!(search(&[code(1, -3_700), code(2, 0)]), Refusal::Times, "too far apart");
    assert_eq!(
        search(&[code(1, -3_700), code(2, -3_650)]),
        Refusal::Times,
        "too long ago"
    );
    assert_eq!(fob.generator.computed(), before, "none of these needs the seed");
    let _ = step;
}

/// The same search as two nested loops over everything.
fn model(
    state: &DriftState,
    generator: &Generator,
    codes: &[(Code, UnixMillis); 2],
    policy: &Policy,
) -> Vec<(u64, u64)> {
    let period = generator.parameters().period_ms();
    let [(one, at_one), (two, at_two)] = codes;
    let centre = at_two.0 - policy.typing_delay_ms + state.offset_ms;
    let low = (centre - policy.horizon_ms).div_euclid(period);
    let high = (centre + policy.horizon_ms).div_euclid(period);
    let apart = at_two.0 - at_one.0;
    let longest = if apart == 0 {
        i64::from(policy.max_gap)
    } else {
        (apart + period - 1) / period + 1
    };
    let shortest = if apart == 0 { 1 } else { (apart / period - 1).max(1) };
    let shown: Vec<(i64, Code)> = (low - longest..=high)
        .map(|step| (step, generator.code(step as u64)))
        .collect();
    let mut chains = Vec::new();
    for (second, code) in shown.iter().filter(|(step, code)| *step >= low && code == two) {
        let _ = code;
        for (first, _) in shown.iter().filter(|(_, code)| code == one) {
            if (shortest..=longest).contains(&(second - first)) {
                chains.push((*first as u64, *second as u64));
            }
        }
    }
    chains
}

proptest! {
    #![proptest_config(seeded(250))]

    #[test]
    fn agrees_with_the_model(
        offset_ms in -3_600_000_i64..3_600_000,
        away in -260_i64..260,
        gap in 0_i64..6,
        apart_ms in prop_oneof![Just(0_i64), 1..200_000_i64],
        watermark in prop_oneof![Just(None), (-8_i64..8).prop_map(Some)],
        max_gap in 1_u32..5,
        period in prop_oneof![Just(30_u32), Just(60)],
    ) {
        let generator = generator(of_period(period));
        let policy = Policy { horizon_ms: 2 * 3_600_000, max_gap, accept_implausible: true, least_odds: 1, ..Policy::default() };
        let step = generator.parameters().step_at(EPOCH.plus_ms(offset_ms)).checked_add_signed(away).unwrap();
        let first = step.checked_add_signed(-gap).unwrap();
        let watermark_step = watermark.map(|by| first.checked_add_signed(by).unwrap());
        let state = DriftState { offset_ms, watermark_step, last_seen: Some(EPOCH) };
        let codes = [(generator.code(first), EPOCH.plus_ms(-apart_ms)), (generator.code(step), EPOCH)];
        let verdict = search_codes(&state, &generator, &codes, EPOCH, &policy);
        if gap == 0 {
            prop_assert_eq!(verdict, ResyncVerdict::Refused(Refusal::SameCode));
            return Ok(());
        }
        match (&model(&state, &generator, &codes, &policy)[..], verdict) {
            ([], ResyncVerdict::Refused(Refusal::NoMatch)) => {}
            ([(first, _)], ResyncVerdict::Refused(Refusal::Replayed)) => {
                prop_assert!(watermark_step.is_some_and(|watermark| *first <= watermark));
            }
            ([(first, last)], ResyncVerdict::Accepted { steps, offset_after_ms, shift_s, .. }) => {
                prop_assert!(watermark_step.is_none_or(|watermark| *first > watermark));
                prop_assert_eq!(&steps[..], &[*first, *last]);
                let period = i64::from(period) * 1000;
                prop_assert_eq!(offset_after_ms, *last as i64 * period + period / 2 - (EPOCH.0 - 10_000));
                prop_assert!((offset_after_ms - offset_ms - shift_s * 1000).abs() <= 500);
            }
            (expected, found) => prop_assert!(false, "expected {expected:?}, found {found:?}"),
        }
    }

    /// No times, offsets or policies make it panic or search without end.
    #[test]
    fn extremes(
        now in prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), 0..100_000_i64],
        apart in proptest::collection::vec(0_i64..4_000_000, 0..5),
        offset_ms in prop_oneof![any::<i64>(), Just(0)],
        horizon_ms in prop_oneof![any::<i64>(), 0..10_000_000_i64],
        max_gap in any::<u32>(),
        period in 600_u32..=86_400,
    ) {
        let generator = generator(of_period(period));
        // The largest search there is takes a quarter of a million HMACs: its cap has a test of its own.
        let mut apart = apart;
        apart.sort_unstable_by(|a, b| b.cmp(a));
        let policy = Policy { horizon_ms: horizon_ms.min(10 * DAY), max_gap, accept_implausible: true, ..Policy::default() };
        let state = DriftState { offset_ms, watermark_step: None, last_seen: None };
        let codes: Vec<_> = apart
            .iter()
            .enumerate()
            .map(|(index, apart)| (Code::parse(&format!("{index:06}")).unwrap(), UnixMillis(now.saturating_sub(*apart))))
            .collect();
        let _ = search_codes(&state, &generator, &codes, UnixMillis(now), &policy);
    }
}

#[test]
fn a_horizon_of_years_is_capped() {
    let generator = generator(of_period(1));
    let policy = Policy {
        horizon_ms: i64::MAX,
        max_gap: u32::MAX,
        ..Policy::default()
    };
    let codes = [(wrong_code(), EPOCH), (Code::parse("000001").unwrap(), EPOCH)];
    let verdict = search_codes(&seen(None, EPOCH), &generator, &codes, EPOCH, &policy);
    assert!(matches!(verdict, ResyncVerdict::Refused(_)));
    assert!(generator.computed() <= 262_144 + 16, "{}", generator.computed());
}

/// Random fobs: bought, put on a shelf, found again, resynced.
#[test]
fn shelves_of_fobs() {
    let mut rng = Rng(0x5E1F);
    let policy = Policy::default();
    for _ in 0..40 {
        let fob = Fob::new(
            of_period(rng.one_of(&[30, 60])),
            rng.between(-5 * MINUTE, 5 * MINUTE),
            rng.between(-20_000, 20_000),
        );
        let last_seen = EPOCH.plus_ms(rng.between(0, 30) * DAY);
        let step = fob.step_at(EPOCH.plus_ms(rng.between(60, 900) * DAY));
        let delay = rng.between(3_000, 20_000);
        let now = fob.time_of(step, rng.between(0, 999)).plus_ms(delay);
        let state = DriftState {
            offset_ms: fob.offset_at(last_seen),
            watermark_step: Some(fob.step_at(last_seen)),
            last_seen: Some(last_seen),
        };
        let verdict = search_codes(
            &state,
            &fob.generator,
            &at_once(&fob, &[step - 1, step], now),
            now,
            &policy,
        );
        let after = resynced(&state, &verdict, now);
        let bound = fob.generator.parameters().period_ms() / 2 + 10_000 + 5;
        assert!((after.offset_ms - fob.offset_at(now)).abs() <= bound);
        next_passes_and_earlier_fail(&after, &fob, step, &policy);
    }
}
