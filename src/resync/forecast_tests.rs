//! Seeded histories: what was put in comes out within what is stated.
#![expect(clippy::cast_possible_truncation, reason = "made-up clocks are far within range")]

use std::f64::consts::TAU;

use super::*;
use crate::resync::jump::{Cause, Watched, cause};

const DAY: i64 = 86_400_000;
const T0: i64 = 1_767_225_600_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (TAU * self.uniform()).cos()
    }

    /// What one code measures, less the truth: the place within the step, and a lognormal delay less its mean.
    fn reading_error_s(&mut self) -> f64 {
        let delay = (8.0 * (0.65 * self.normal()).exp()).min(75.0);
        (self.uniform() - 0.5) * 30.0 - (delay - 10.0)
    }
}

/// A clock of so many ppm with seasons, whose offset at day `d` is told in seconds.
fn clock(ppm: f64, cool: f64, phase: f64) -> impl Fn(f64) -> f64 {
    move |day| {
        // Mean of the parabola over a year, taken out so that `ppm` is the mean rate; then its seasonal part, integrated.
        let year = TAU / 365.25;
        let swing = -0.034 * 2.0 * cool * 4.0;
        (ppm * day - swing * (year * day + phase).cos() / year) * S_PER_DAY_PER_PPM
    }
}

fn reading(day: f64, offset_s: f64, method: Method) -> Reading {
    Reading {
        at: UnixMillis(T0 + (day * DAY as f64) as i64),
        offset_ms: (offset_s * 1000.0) as i64,
        method,
    }
}

fn subject(readings: &[Reading]) -> Subject {
    Subject {
        period_s: 30,
        last_seen: readings.last().map(|reading| reading.at),
        begun: UnixMillis(T0),
        battery_days: 1826,
        valid_until: None,
    }
}

fn told(readings: &[Reading]) -> Forecast {
    let now = readings.last().map_or(UnixMillis(T0), |reading| reading.at);
    forecast(&subject(readings), readings, &Policy::default(), now, true)
}

/// Weekly use for `weeks`, of one clock.
fn weekly(random: &mut Random, weeks: u32, offset: impl Fn(f64) -> f64) -> Vec<Reading> {
    (0..weeks)
        .map(|week| {
            let day = f64::from(week) * 7.0 + random.uniform();
            reading(day, offset(day) + random.reading_error_s(), Method::Code)
        })
        .collect()
}

#[test]
fn a_rate_is_recovered_within_its_stated_error_nine_times_in_ten() {
    for (seed, weeks) in [(1, 6), (2, 13), (3, 52), (4, 156)] {
        let mut random = Random(seed);
        let (mut held, mut width) = (0, 0.0);
        for _ in 0..400 {
            let (ppm, cool) = (random.normal() * 4.0, -3.0 + random.normal() * 3.0);
            let offset = clock(ppm, cool, random.uniform() * TAU);
            let rate = told(&weekly(&mut random, weeks, offset)).rate.expect("enough");
            held += u32::from((rate.ppm - ppm).abs() <= rate.error_ppm);
            width += rate.error_ppm / 400.0;
        }
        assert!(held >= 360, "{weeks} weeks: {held} of 400 within ± {width:.2} ppm");
        // And not by saying nothing.
        let most = if weeks >= 52 { 2.5 } else { 12.0 };
        assert!(width < most, "{weeks} weeks: ± {width:.2} ppm");
    }
}

#[test]
fn a_late_typist_teaches_no_rate() {
    let mut random = Random(5);
    let mut readings = weekly(&mut random, 40, clock(2.0, 0.0, 0.0));
    let clean = told(&readings).rate.expect("a rate");
    for late in readings.iter_mut().skip(33) {
        late.offset_ms -= 45_000;
    }
    let rate = told(&readings).rate.expect("a rate");
    assert!(
        (rate.ppm - 2.0).abs() <= 3.0 + rate.error_ppm,
        "{rate:?} instead of {clean:?}"
    );
}

#[test]
fn a_clock_that_is_read_is_known_in_two_weeks() {
    let offset = clock(-6.5, 0.0, 0.0);
    let readings: Vec<Reading> = (0..5)
        .map(|n| reading(f64::from(n) * 4.0, offset(f64::from(n) * 4.0), Method::Read))
        .collect();
    let rate = told(&readings).rate.expect("a rate");
    assert!((rate.ppm + 6.5).abs() < 0.5 && rate.error_ppm < 2.0, "{rate:?}");
}

#[test]
fn switched_off_nothing_is_fitted_and_ages_are_still_told() {
    let readings = weekly(&mut Random(6), 60, clock(30.0, 0.0, 0.0));
    let now = UnixMillis(T0 + 420 * DAY);
    let off = forecast(&subject(&readings), &readings, &Policy::default(), now, false);
    assert_eq!((off.rate, off.bend_ppm), (None, None));
    assert_eq!(off.replace_by, UnixMillis(T0 + 1826 * DAY));
    assert_eq!(off.reason, Reason::Age);
    assert_eq!(off.standing, Standing::OneCode);
}

#[test]
fn the_window_ends_where_the_engine_asks_for_the_next_code() {
    use crate::codec::oath::OathParameters;
    use crate::resync::{DriftState, Window};

    for period in [30, 60] {
        let parameters = OathParameters::new(crate::types::OathAlgorithm::Sha1, 6, period).expect("parameters");
        let pause = longest_pause_days(period, &Policy::default(), None);
        let state = DriftState {
            offset_ms: 0,
            watermark_step: None,
            last_seen: Some(UnixMillis(T0)),
        };
        let asked_after = |days: f64| {
            let now = UnixMillis(T0 + (days * DAY as f64) as i64);
            Policy::default().window(&state, &parameters, now) == Window::NextCode
        };
        // Where the steps lie decides within one step: 7.5 or 15 days of growth.
        let slack = f64::from(period) / 4.0;
        assert!(
            !asked_after(pause - slack - 0.1),
            "{period} s: asked before {pause} days"
        );
        assert!(
            asked_after(pause + slack + 0.1),
            "{period} s: not asked after {pause} days"
        );
    }
}

#[test]
fn a_fast_clock_leaves_its_window_earlier() {
    let rate = Rate {
        ppm: -40.0,
        error_ppm: 1.0,
        scatter_s: 12.0,
    };
    let pause = longest_pause_days(30, &Policy::default(), Some(rate));
    // 41 ppm are 3.54 s a day, the window gains 2: 33 s last for 21 days.
    assert!((20.0..23.0).contains(&pause), "{pause}");
    assert!(longest_pause_days(30, &Policy::default(), None) > 100.0);
}

#[test]
fn a_rate_that_bends_speaks_of_the_battery() {
    let mut random = Random(7);
    let bent = |day: f64| {
        let late = (day - 500.0).max(0.0);
        -0.005 * late * late
    };
    let readings = weekly(&mut random, 110, bent);
    let forecast = told(&readings);
    assert!(forecast.bend_ppm.is_some_and(|ppm| ppm < -8.0), "{forecast:?}");
    assert_eq!(forecast.reason, Reason::Battery);
    assert!(forecast.replace_by.0 < T0 + 820 * DAY);

    for seed in 0..200 {
        let mut random = Random(1000 + seed);
        let offset = clock(
            random.normal() * 4.0,
            -3.0 + random.normal() * 3.0,
            random.uniform() * TAU,
        );
        let sound = told(&weekly(&mut random, 110, offset));
        assert_eq!(sound.reason, Reason::Age, "seed {seed}: {sound:?}");
        assert_eq!(sound.jumps, [], "seed {seed}");
    }
}

#[test]
fn two_jumps_of_its_own_speak_of_the_battery_too() {
    let jumping = |day: f64| {
        if day > 350.0 {
            -900.0
        } else if day > 300.0 {
            -300.0
        } else {
            0.0
        }
    };
    let forecast = told(&weekly(&mut Random(8), 55, jumping));
    assert_eq!(forecast.jumps.len(), 2, "{forecast:?}");
    assert_eq!(forecast.reason, Reason::Battery);
    // The rate is that between the jumps.
    let rate = forecast.rate.expect("a rate");
    assert!(rate.ppm.abs() < rate.error_ppm, "{rate:?}");
}

#[test]
fn papers_end_before_batteries() {
    let readings = weekly(&mut Random(9), 10, |_| 0.0);
    let papers = Subject {
        valid_until: Some(UnixMillis(T0 + 400 * DAY)),
        ..subject(&readings)
    };
    let told = forecast(&papers, &readings, &Policy::default(), UnixMillis(T0 + 70 * DAY), true);
    assert_eq!(
        (told.replace_by, told.reason),
        (UnixMillis(T0 + 400 * DAY), Reason::Papers)
    );
}

#[test]
fn a_clock_that_was_set_begins_anew() {
    let offset = clock(8.0, 0.0, 0.0);
    let mut readings: Vec<Reading> = (0..20)
        .map(|n| reading(f64::from(n) * 10.0, offset(f64::from(n) * 10.0), Method::Read))
        .collect();
    readings.push(reading(200.0, 0.0, Method::Set));
    readings.extend((1..10).map(|n| {
        let day = 200.0 + f64::from(n) * 10.0;
        reading(day, offset(day) - offset(200.0), Method::Read)
    }));
    let told = told(&readings);
    assert!(
        told.jumps.iter().all(|jump| jump.is_set) && told.jumps.len() == 1,
        "{told:?}"
    );
    assert_eq!(told.reason, Reason::Age);
    let rate = told.rate.expect("a rate");
    assert!((rate.ppm - 8.0).abs() < 0.5, "{rate:?}");
}

/// A little fleet: two deliveries of eight, read weekly, and what happens to whom on day 100.
fn fleet(happens: impl Fn(usize, f64) -> f64) -> Vec<(&'static str, Vec<Reading>)> {
    (0..16)
        .map(|number| {
            let mut random = Random(100 + number as u64);
            let like = if number < 8 { "spring" } else { "autumn" };
            let readings = weekly(&mut random, 30, |day| happens(number, day));
            (like, readings)
        })
        .collect()
}

fn causes(fleet: &[(&'static str, Vec<Reading>)]) -> Vec<Vec<Cause>> {
    let jumps: Vec<_> = fleet.iter().map(|(_, readings)| find_jumps(readings, 30)).collect();
    let watched: Vec<Watched<'_>> = fleet
        .iter()
        .zip(&jumps)
        .map(|((like, readings), jumps)| Watched { like, readings, jumps })
        .collect();
    (0..fleet.len())
        .map(|own| {
            let others: Vec<Watched<'_>> = watched
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != own)
                .map(|(_, other)| other.clone())
                .collect();
            watched[own]
                .jumps
                .iter()
                .map(|jump| cause(jump, watched[own].like, &others))
                .collect()
        })
        .collect()
}

#[test]
fn a_host_clock_that_steps_is_not_blamed_on_tokens() {
    let told = causes(&fleet(|_, day| if day > 100.0 { 600.0 } else { 0.0 }));
    for (number, causes) in told.iter().enumerate() {
        assert_eq!(causes, &[Cause::HostClock], "token {number}");
    }
}

#[test]
fn a_token_that_jumps_alone_is_its_own_fault() {
    let told = causes(&fleet(
        |number, day| if number == 5 && day > 100.0 { -600.0 } else { 0.0 },
    ));
    assert_eq!(told[5], [Cause::Token]);
    assert!(
        told.iter()
            .enumerate()
            .all(|(number, causes)| number == 5 || causes.is_empty())
    );
}

#[test]
fn a_delivery_that_jumps_is_neither() {
    let told = causes(&fleet(
        |number, day| if number < 8 && day > 100.0 { -600.0 } else { 0.0 },
    ));
    assert!(told[..8].iter().all(|causes| causes == &[Cause::Batch]), "{told:?}");
}

#[test]
fn a_different_jump_at_the_same_time_is_its_own() {
    let told = causes(&fleet(|number, day| match (number, day > 100.0) {
        (_, false) => 0.0,
        (5, true) => -3_600.0,
        _ => 600.0,
    }));
    assert_eq!(told[5], [Cause::Token]);
    assert_eq!(told[6], [Cause::HostClock]);
}

#[test]
fn hostile_histories_do_no_harm() {
    let ends = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX];
    let readings: Vec<Reading> = ends
        .iter()
        .flat_map(|at| ends.iter().map(|offset| (*at, *offset)))
        .map(|(at, offset_ms)| Reading {
            at: UnixMillis(at),
            offset_ms,
            method: Method::Code,
        })
        .collect();
    for count in 0..readings.len() {
        let forecast = told(&readings[..count]);
        assert!(
            forecast
                .rate
                .is_none_or(|rate| rate.ppm.is_finite() && rate.error_ppm.is_finite()),
            "{forecast:?}"
        );
    }
}
