//! One code.

use proptest::prelude::*;

use super::*;

fn seen_at(offset_ms: i64, last_seen: UnixMillis) -> DriftState {
    DriftState {
        offset_ms,
        watermark_step: None,
        last_seen: Some(last_seen),
    }
}

#[test]
fn the_first_code_is_not_enough() {
    let fob = Fob::new(OathParameters::default(), 0, 0);
    let verdict = accept_one(
        &DriftState::default(),
        &fob.generator,
        &fob.shown_at(EPOCH),
        EPOCH,
        &Policy::default(),
    );
    assert_eq!(verdict, Verdict::NeedsSecondCode);
    assert_eq!(
        fob.generator.computed(),
        1,
        "only the fob's own: the code was not looked at"
    );
}

#[test]
fn long_unseen_asks_for_a_second_code_whatever_the_first_was() {
    let fob = Fob::new(OathParameters::default(), 0, 0);
    // At 127 days, 45 s + 254 s to each side, the window holds 21 steps; between 128 and 135 it depends on the moment.
    for (days, enough) in [(100, true), (125, true), (140, false), (400, false)] {
        let now = EPOCH.plus_ms(days * DAY);
        let state = seen_at(0, EPOCH);
        let right = accept_one(&state, &fob.generator, &fob.shown_at(now), now, &Policy::default());
        let wrong = accept_one(&state, &fob.generator, &wrong_code(), now, &Policy::default());
        assert_eq!(right != Verdict::NeedsSecondCode, enough, "{days} days");
        assert_eq!(
            wrong,
            if enough {
                Verdict::Rejected
            } else {
                Verdict::NeedsSecondCode
            },
            "{days} days"
        );
    }
}

#[test]
fn the_offset_is_the_middle_of_the_step_less_the_delay() {
    let fob = Fob::new(OathParameters::default(), 0, 0);
    let step = fob.step_at(EPOCH);
    // Read in the middle of the step and typed in ten seconds: nothing to learn.
    let now = fob.time_of(step, 500).plus_ms(10_000);
    let verdict = accept_one(
        &seen_at(0, EPOCH),
        &fob.generator,
        &fob.code(step),
        now,
        &Policy::default(),
    );
    assert_eq!(verdict, Verdict::Accepted { step, new_offset_ms: 0 });
    // Three seconds later the same code speaks for a clock three seconds slower.
    let verdict = accept_one(
        &seen_at(0, EPOCH),
        &fob.generator,
        &fob.code(step),
        now.plus_ms(3_000),
        &Policy::default(),
    );
    assert_eq!(
        verdict,
        Verdict::Accepted {
            step,
            new_offset_ms: -3_000
        }
    );
}

#[test]
fn nothing_at_or_below_the_watermark() {
    let fob = Fob::new(OathParameters::default(), 0, 0);
    let now = EPOCH.plus_ms(25_000);
    let step = fob.step_at(EPOCH);
    for (watermark, fresh) in [(step - 1, true), (step, false), (step + 1, false), (u64::MAX, false)] {
        let state = DriftState {
            watermark_step: Some(watermark),
            ..seen_at(0, EPOCH)
        };
        let verdict = accept_one(&state, &fob.generator, &fob.code(step), now, &Policy::default());
        assert_eq!(
            matches!(verdict, Verdict::Accepted { .. }),
            fresh,
            "watermark {watermark}"
        );
    }
}

#[test]
fn the_work_does_not_depend_on_the_code() {
    for days in [0, 7, 60, 120] {
        let now = EPOCH.plus_ms(days * DAY);
        let watermark = OathParameters::default().step_at(now);
        let state = DriftState {
            watermark_step: Some(watermark),
            ..seen_at(0, EPOCH)
        };
        let generator = standard_generator();
        let work = |code: &Code| {
            let before = generator.computed();
            let verdict = accept_one(&state, &generator, code, now, &Policy::default());
            (generator.computed() - before, verdict)
        };
        let steps = -9..=9;
        let codes = steps.map(|away: i64| code_of(watermark.checked_add_signed(away).unwrap()));
        let (nothing, _) = work(&wrong_code());
        assert!((4..=21).contains(&nothing));
        let mut verdicts = Vec::new();
        for code in codes.chain([Code::parse("1234567").unwrap()]) {
            let (work, verdict) = work(&code);
            assert_eq!(work, nothing, "{days} days");
            verdicts.push(verdict);
        }
        // All kinds of verdict were among them: accepted, replayed, outside, of the wrong length.
        assert!(verdicts.contains(&Verdict::Rejected) && verdicts.iter().any(|v| *v != Verdict::Rejected));
    }
}

fn code_of(step: u64) -> Code {
    standard_generator().code(step)
}

#[test]
fn a_code_that_two_steps_show_is_left_to_the_next_one() {
    let (first, second) = TWINS;
    assert!(code_of(first) == code_of(second));
    let parameters = OathParameters::default();
    let now = parameters.middle_of(first + 1).plus_ms(10_000);
    let state = seen_at(0, now);
    let judge = |state: &DriftState| accept_one(state, &standard_generator(), &code_of(first), now, &Policy::default());
    assert_eq!(judge(&state), Verdict::Rejected);
    // Once the first is used there is no doubt left.
    let used = DriftState {
        watermark_step: Some(first),
        ..state
    };
    assert!(matches!(judge(&used), Verdict::Accepted { step, .. } if step == second));
}

/// Fobs of every quality over two years, read by people of every speed.
#[test]
fn drifting_fobs_stay_in_their_window() {
    let mut rng = Rng(0xF0B);
    let policy = Policy::default();
    let (mut logins, mut codes, mut rejected) = (0_u64, 0_u64, 0_u64);
    for _ in 0..60 {
        let parameters = of_period(rng.one_of(&[30, 30, 60]));
        let fob = Fob::new(parameters, rng.between(-300_000, 300_000), rng.between(-20_000, 20_000));
        let half = parameters.period_ms() / 2;
        let mut now = EPOCH.plus_ms(DAY);
        let mut state = seen_at(fob.offset_at(now), now);
        while now.0 < EPOCH.0 + 730 * DAY {
            now = now.plus_ms(rng.between(DAY / 24, 14 * DAY));
            let delay = rng.between(2_000, 25_000);
            let code = fob.shown_at(now.plus_ms(-delay));
            let before = fob.generator.computed();
            let verdict = accept_one(&state, &fob.generator, &code, now, &policy);
            codes += fob.generator.computed() - before;
            logins += 1;
            if let Verdict::Accepted { step, new_offset_ms } = verdict {
                let error = (new_offset_ms - fob.offset_at(now)).abs();
                assert!(error <= half + 15_000 + 100, "{error} ms off the truth");
                assert!(state.is_fresh(step));
                state = state.after(step, new_offset_ms, now);
            } else {
                rejected += 1;
            }
        }
    }
    eprintln!(
        "{logins} logins, {rejected} rejected, {:.2} codes tried on average",
        codes as f64 / logins as f64
    );
    assert!(logins > 5_000);
    // Seconds a day are what the window grows by; at 20 ppm they are never used up.
    assert_eq!(rejected, 0);
    assert!(codes <= 6 * logins);
}

/// The same question asked another way: is there exactly one unused step that shows the code and whose time on display
/// touches the window?
#[allow(clippy::cast_possible_truncation)]
fn model(state: &DriftState, generator: &Generator, code: &Code, now: UnixMillis) -> Verdict {
    let Some(seen) = state.last_seen else {
        return Verdict::NeedsSecondCode;
    };
    let period = f64::from(generator.parameters().period_s());
    let days = ((now.0 - seen.0) as f64 / 86_400_000.0).max(0.0);
    let half = 1.5 * period + (2_000.0 * days).floor() / 1000.0;
    let centre = (now.0 + state.offset_ms) as f64 / 1000.0 - 10.0;
    let around = (centre / period) as u64;
    let touches = |step: &u64| {
        let start = *step as f64 * period;
        start <= centre + half && start + period > centre - half
    };
    let window: Vec<u64> = (around.saturating_sub(3_000)..around + 3_000).filter(touches).collect();
    if window.len() > 21 {
        return Verdict::NeedsSecondCode;
    }
    let hits: Vec<u64> = window
        .into_iter()
        .filter(|step| state.watermark_step.is_none_or(|w| *step > w) && generator.code(*step) == *code)
        .collect();
    match hits[..] {
        [step] => {
            let middle = (step as f64 + 0.5) * period;
            let offset = middle - (now.0 as f64 / 1000.0 - 10.0);
            Verdict::Accepted {
                step,
                new_offset_ms: (offset * 1000.0).round() as i64,
            }
        }
        _ => Verdict::Rejected,
    }
}

proptest! {
    #![proptest_config(seeded(1_500))]

    #[test]
    fn agrees_with_the_model(
        offset_ms in -900_000_i64..900_000,
        unseen_ms in prop_oneof![0..2 * DAY, 0..140 * DAY],
        away in -12_i64..=12,
        watermark in prop_oneof![Just(None), (-6_i64..=6).prop_map(Some)],
        period in prop_oneof![Just(30_u32), Just(60), Just(15)],
        within in 0_i64..60_000,
    ) {
        let generator = generator(of_period(period));
        let now = EPOCH.plus_ms(within);
        let around = generator.parameters().step_at(now.plus_ms(offset_ms));
        let state = DriftState {
            offset_ms,
            watermark_step: watermark.map(|by| around.checked_add_signed(by).unwrap()),
            last_seen: Some(now.plus_ms(-unseen_ms)),
        };
        let code = generator.code(around.checked_add_signed(away).unwrap());
        let verdict = accept_one(&state, &generator, &code, now, &Policy::default());
        prop_assert_eq!(verdict, model(&state, &generator, &code, now));
    }

    /// Clocks of the far future, the far past, and nonsense: no panic, no endless window.
    #[test]
    fn extremes(
        now in prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)],
        offset_ms in prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)],
        seen in proptest::option::of(any::<i64>()),
        watermark_step in proptest::option::of(any::<u64>()),
        period in 1_u32..=86_400,
    ) {
        let generator = generator(of_period(period));
        let state = DriftState { offset_ms, watermark_step, last_seen: seen.map(UnixMillis) };
        let _ = accept_one(&state, &generator, &wrong_code(), UnixMillis(now), &Policy::default());
        prop_assert!(generator.computed() <= 21);
    }
}
