//! What a token's history says about its future: rate, the day one code will no longer do, the end of its battery.
//!
//! For people and their plans alone. Nothing that accepts a code may name this module (`tests/rooms.rs`), and the whole of it
//! can be switched off (`docs/adr/0005`): then ages are all that is told.
//!
//! The model: between jumps a clock is `offset = a + rate × time`. Each reading has a noise of known size. All stretches between
//! jumps share one rate, each has its own beginning. The rate is the weighted least-squares one, with Huber's weights against
//! codes that were typed late, drawn towards what a crystal usually does: -0.5 ± 6 ppm, which decides while there is little else.

use super::jump::{Jump, find_jumps};
use super::{DAY_MS, Policy};
use crate::types::UnixMillis;

/// Seconds a day that one part per million is.
pub const S_PER_DAY_PER_PPM: f64 = 0.0864;
/// Mean and spread of the rates of new clocks, in ppm: a little slow, since crystals are slow away from 25 °C.
const PRIOR_PPM: f64 = -0.5;
const PRIOR_SD_PPM: f64 = 6.0;
/// What seasons and age do to a rate from one year to the next, in ppm: no history knows it better.
const WANDER_PPM: f64 = 0.7;
/// Variance of a typing delay in s².
const TYPING_VARIANCE_S2: f64 = 70.0;
/// Standard deviation of a clock read to the second, in s, the reader's delay included.
const CLOCK_READ_SD_S: f64 = 0.5;
/// Beyond so many standard deviations a reading counts less (Huber).
const HUBER: f64 = 1.5;
const ROUNDS: usize = 8;
/// 95 % of a normal distribution.
pub const SURE: f64 = 1.96;
/// A rate that changed by more than this, and beyond doubt, is no temperature: the battery gives way. In ppm.
const BEND_PPM: f64 = 8.0;
/// Jumps of its own within so many days that speak of a battery.
const JUMPS_OF_A_BATTERY: usize = 2;
const RECENT_DAYS: f64 = 180.0;
/// How long a battery that shows itself is believed to last.
const LAST_DAYS: f64 = 30.0;
/// Fewest readings, and shortest history in days, from which more than an age is told.
const MIN_READINGS: usize = 3;
const MIN_SPAN_DAYS: f64 = 7.0;

/// How an offset was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By a displayed code: half a step and a typing delay of noise.
    Code,
    /// The token's clock was read.
    Read,
    /// The token's clock was set: what went before says nothing of what comes after.
    Set,
}

/// One measured offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When.
    pub at: UnixMillis,
    /// Token clock minus true time, in milliseconds.
    pub offset_ms: i64,
    /// How.
    pub method: Method,
}

impl Reading {
    /// Standard deviation in seconds, for a time step of `period_s`.
    #[must_use]
    pub fn sd_s(&self, period_s: u32) -> f64 {
        match self.method {
            Method::Code => (f64::from(period_s).powi(2) / 12.0 + TYPING_VARIANCE_S2).sqrt(),
            Method::Read | Method::Set => CLOCK_READ_SD_S,
        }
    }
}

/// What is forecast for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Time step in seconds.
    pub period_s: u32,
    /// When it last proved itself.
    pub last_seen: Option<UnixMillis>,
    /// When its battery began to be used: the date of its papers, else of its record.
    pub begun: UnixMillis,
    /// How long the battery of its model lasts, in days.
    pub battery_days: u32,
    /// Not to be used after, by its papers.
    pub valid_until: Option<UnixMillis>,
}

/// A rate and how far it may be trusted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Parts per million; negative when the token loses time.
    pub ppm: f64,
    /// Half-width of the interval that holds next year's mean rate 19 times in 20.
    pub error_ppm: f64,
    /// What one code measures, as these readings scatter: standard deviation in seconds.
    pub scatter_s: f64,
}

/// What a token's habit of use and its window have to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// One code does.
    OneCode,
    /// It is used so rarely that the next code is asked for.
    NextCode,
    /// Nothing is known of its use.
    Unknown,
}

impl Standing {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OneCode => "one-code",
            Self::NextCode => "next-code",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a token should be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its battery is as old as they get.
    Age,
    /// Its clock behaves as with an empty battery.
    Battery,
    /// Its papers end.
    Papers,
}

impl Reason {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Battery => "battery",
            Self::Papers => "papers",
        }
    }
}

/// All that is forecast.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// Readings it rests on.
    pub readings: usize,
    /// The rate; `None` when fitting is off or there is too little.
    pub rate: Option<Rate>,
    /// Change of the rate from most of the history to its last quarter, in ppm, when it is beyond doubt.
    pub bend_ppm: Option<f64>,
    /// Median days between readings.
    pub habit_days: Option<f64>,
    /// When one code will no longer do, if the token is not used until then.
    pub window_ends: Option<UnixMillis>,
    /// Whether one code does at the token's habit.
    pub standing: Standing,
    /// When it should have been replaced.
    pub replace_by: UnixMillis,
    /// Why.
    pub reason: Reason,
    /// Its jumps.
    pub jumps: Vec<Jump>,
}

/// Forecasts from readings, oldest first. Without `fit` no rate is fitted and nothing rests on one.
#[must_use]
pub fn forecast(subject: &Subject, readings: &[Reading], policy: &Policy, now: UnixMillis, fit: bool) -> Forecast {
    let jumps = find_jumps(readings, subject.period_s);
    let stretches = stretches(readings, &jumps);
    let rate = fit.then(|| fit_rate(&stretches, subject.period_s)).flatten();
    let bend_ppm = fit.then(|| bend(&stretches, subject.period_s)).flatten();
    let habit_days = habit(readings);
    let pause = longest_pause_days(subject.period_s, policy, rate);
    let window_ends = subject.last_seen.map(|seen| seen.plus_ms(days_ms(pause)));
    let standing = habit_days.map_or(Standing::Unknown, |habit| {
        if habit <= pause {
            Standing::OneCode
        } else {
            Standing::NextCode
        }
    });
    let (replace_by, reason) = end(subject, &jumps, bend_ppm, readings, now);
    Forecast {
        readings: readings.len(),
        rate,
        bend_ppm,
        habit_days,
        window_ends,
        standing,
        replace_by,
        reason,
        jumps,
    }
}

/// The longest pause in days after which one code still does: until the window would hold too many steps, and while it grows
/// faster than the clock may have moved.
#[must_use]
pub fn longest_pause_days(period_s: u32, policy: &Policy, rate: Option<Rate>) -> f64 {
    let period = f64::from(period_s);
    let base = period * f64::from(policy.base_window_millisteps) / 1000.0;
    let growth = f64::from(policy.growth_ms_per_day) / 1000.0;
    // A window of half-width w touches at most 2 w / T + 2 steps.
    let widest = period * (f64::from(policy.max_candidates) - 1.0) / 2.0;
    let asked = if growth > 0.0 {
        (widest - base).max(0.0) / growth
    } else {
        f64::INFINITY
    };
    let outrun = rate.map_or(f64::INFINITY, |rate| {
        let worst = (rate.ppm.abs() + rate.error_ppm) * S_PER_DAY_PER_PPM;
        // What is left of the base after one reading's error.
        let slack = (base - rate.scatter_s).max(0.0);
        if worst > growth {
            slack / (worst - growth)
        } else {
            f64::INFINITY
        }
    });
    // A century stands for always.
    asked.min(outrun).min(36_525.0)
}

/// Readings between jumps and settings of the clock.
type Stretch<'a> = &'a [Reading];

fn stretches<'a>(readings: &'a [Reading], jumps: &[Jump]) -> Vec<Stretch<'a>> {
    readings
        .chunk_by(|_, later| later.method != Method::Set && !jumps.iter().any(|jump| jump.to == later.at))
        .collect()
}

/// A reading in days and seconds, with its weight.
struct Point {
    days: f64,
    offset_s: f64,
    weight: f64,
}

fn points(stretches: &[Stretch<'_>], period_s: u32) -> Vec<Vec<Point>> {
    let origin = stretches
        .iter()
        .flat_map(|stretch| stretch.iter())
        .next()
        .map_or(0, |first| first.at.0);
    let point = |reading: &Reading| Point {
        days: days(reading.at.0.saturating_sub(origin)),
        offset_s: ms_s(reading.offset_ms),
        weight: reading.sd_s(period_s).powi(-2),
    };
    stretches
        .iter()
        .filter(|stretch| stretch.len() > 1)
        .map(|stretch| stretch.iter().map(point).collect())
        .collect()
}

/// Slope in ppm, its standard error, and the scatter of a reading in units of its own deviation.
#[derive(Debug, Clone, Copy)]
struct Slope {
    ppm: f64,
    sd_ppm: f64,
    scatter: f64,
}

/// Least squares with one slope and a beginning for each stretch; [`HUBER`]'s weights, and the prior.
fn slope(stretches: &[Vec<Point>]) -> Slope {
    let prior_weight = PRIOR_SD_PPM.powi(-2);
    let mut slope = Slope {
        ppm: PRIOR_PPM,
        sd_ppm: PRIOR_SD_PPM,
        scatter: 1.0,
    };
    let mut beginnings: Option<Vec<f64>> = None;
    for _ in 0..ROUNDS {
        let (mut xx, mut xy) = (0.0, 0.0);
        let mut means = Vec::with_capacity(stretches.len());
        let rate = slope.ppm * S_PER_DAY_PER_PPM;
        for (at, stretch) in stretches.iter().enumerate() {
            let beginning = beginnings.as_ref().and_then(|all| all.get(at)).copied();
            let weigh = |point: &Point| {
                let Some(beginning) = beginning else {
                    return point.weight;
                };
                let residual =
                    (point.offset_s - beginning - rate * point.days).abs() * point.weight.sqrt() / slope.scatter;
                point.weight * (HUBER / residual.max(HUBER))
            };
            let weights: Vec<f64> = stretch.iter().map(weigh).collect();
            let total: f64 = weights.iter().sum();
            let mean = |value: fn(&Point) -> f64| {
                stretch
                    .iter()
                    .zip(&weights)
                    .map(|(point, weight)| weight * value(point))
                    .sum::<f64>()
                    / total
            };
            let (day, offset) = (mean(|point| point.days), mean(|point| point.offset_s));
            for (point, weight) in stretch.iter().zip(&weights) {
                xx += weight * (point.days - day).powi(2);
                xy += weight * (point.days - day) * (point.offset_s - offset);
            }
            means.push((day, offset));
        }
        // In ppm, with the prior as one more measurement of the rate.
        let information = xx * S_PER_DAY_PER_PPM.powi(2) / slope.scatter.powi(2);
        let measured = if xx > 0.0 {
            xy / xx / S_PER_DAY_PER_PPM
        } else {
            PRIOR_PPM
        };
        let precision = information + prior_weight;
        slope.ppm = (measured * information + PRIOR_PPM * prior_weight) / precision;
        slope.sd_ppm = precision.sqrt().recip();
        let rate = slope.ppm * S_PER_DAY_PER_PPM;
        let found: Vec<f64> = means.iter().map(|(day, offset)| offset - rate * day).collect();
        slope.scatter = scatter(stretches, &found, rate);
        beginnings = Some(found);
    }
    slope
}

/// How the residuals scatter, in units of what was expected; never believed to be better than expected by half.
fn scatter(stretches: &[Vec<Point>], beginnings: &[f64], rate: f64) -> f64 {
    let mut residuals: Vec<f64> = stretches
        .iter()
        .zip(beginnings)
        .flat_map(|(stretch, beginning)| {
            stretch
                .iter()
                .map(move |point| (point.offset_s - beginning - rate * point.days).abs() * point.weight.sqrt())
        })
        .collect();
    let free = residuals.len().saturating_sub(beginnings.len() + 1);
    // Fewer tell less of their scatter than is known of people.
    if free < 12 {
        return 1.0;
    }
    // The median of absolute deviations, which outliers do not move; 1.4826 makes it a standard deviation.
    let spread = 1.4826 * median(&mut residuals).unwrap_or(1.0);
    (spread * (as_f64(residuals.len()) / as_f64(free)).sqrt()).max(0.5)
}

fn fit_rate(stretches: &[Stretch<'_>], period_s: u32) -> Option<Rate> {
    if !enough(stretches) {
        return None;
    }
    let slope = slope(&points(stretches, period_s));
    let code = Reading {
        at: UnixMillis(0),
        offset_ms: 0,
        method: Method::Code,
    };
    Some(Rate {
        ppm: slope.ppm,
        error_ppm: SURE * slope.sd_ppm.hypot(WANDER_PPM),
        scatter_s: slope.scatter * code.sd_s(period_s),
    })
}

fn enough(stretches: &[Stretch<'_>]) -> bool {
    let readings = stretches.iter().map(|stretch| stretch.len()).sum::<usize>();
    readings >= MIN_READINGS && span_days(stretches) >= MIN_SPAN_DAYS
}

fn span_days(stretches: &[Stretch<'_>]) -> f64 {
    let all = || stretches.iter().flat_map(|stretch| stretch.iter());
    match (all().next(), all().next_back()) {
        (Some(first), Some(last)) => days(last.at.0.saturating_sub(first.at.0)),
        _ => 0.0,
    }
}

/// How far the rate of the last quarter of the history is from that of the rest, when chance and seasons do not explain it.
fn bend(stretches: &[Stretch<'_>], period_s: u32) -> Option<f64> {
    let all = || stretches.iter().flat_map(|stretch| stretch.iter());
    let (first, last) = (all().next()?, all().next_back()?);
    let cut_at = UnixMillis(last.at.0.saturating_sub(last.at.0.saturating_sub(first.at.0) / 4));
    let cut = |stretch: &Stretch<'_>| stretch.partition_point(|reading| reading.at < cut_at);
    let part = |older: bool| -> Vec<Stretch<'_>> {
        let parts = stretches.iter().filter_map(|stretch| {
            let (before, after) = stretch.split_at_checked(cut(stretch))?;
            Some(if older { before } else { after })
        });
        parts.filter(|part| !part.is_empty()).collect()
    };
    let (older, younger) = (part(true), part(false));
    if !enough(&older) || !enough(&younger) {
        return None;
    }
    let (older, younger) = (slope(&points(&older, period_s)), slope(&points(&younger, period_s)));
    let change = younger.ppm - older.ppm;
    let sd = older.sd_ppm.hypot(younger.sd_ppm).hypot(2.0 * WANDER_PPM);
    (change.abs() > BEND_PPM && change.abs() > 3.0 * sd).then_some(change)
}

/// When and why it should be replaced: what comes first of papers, age and behaviour.
fn end(
    subject: &Subject,
    jumps: &[Jump],
    bend_ppm: Option<f64>,
    readings: &[Reading],
    now: UnixMillis,
) -> (UnixMillis, Reason) {
    let age = subject.begun.plus_ms(days_ms(f64::from(subject.battery_days)));
    let recent = |jump: &&Jump| days(now.0.saturating_sub(jump.to.0)) <= RECENT_DAYS;
    let jumped = jumps.iter().filter(|jump| !jump.is_set).filter(recent).count() >= JUMPS_OF_A_BATTERY;
    let last = readings.last().map(|reading| reading.at);
    let behaviour = last
        .filter(|_| jumped || bend_ppm.is_some())
        .map(|at| at.plus_ms(days_ms(LAST_DAYS)));
    let candidates = [
        Some((age, Reason::Age)),
        behaviour.map(|at| (at, Reason::Battery)),
        subject.valid_until.map(|at| (at, Reason::Papers)),
    ];
    candidates
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
        .unwrap_or((age, Reason::Age))
}

/// Median days between readings; readings of one sitting count once.
fn habit(readings: &[Reading]) -> Option<f64> {
    let pairs = readings.iter().zip(readings.iter().skip(1));
    let mut between: Vec<f64> = pairs
        .map(|(one, next)| days(next.at.0.saturating_sub(one.at.0)))
        .filter(|days| *days > 0.01)
        .collect();
    median(&mut between)
}

/// The middle value; of an even number the lower of the two.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

/// Milliseconds in days.
pub(super) fn days(ms: i64) -> f64 {
    as_ms(ms) / as_ms(i64::try_from(DAY_MS).unwrap_or(86_400_000))
}

pub(super) fn ms_s(ms: i64) -> f64 {
    as_ms(ms) / 1000.0
}

/// Days in milliseconds, at most some 270 years.
#[allow(clippy::cast_possible_truncation, reason = "bounded before")]
fn days_ms(days: f64) -> i64 {
    (days.clamp(-1e5, 1e5) * 86_400_000.0) as i64
}

/// Exact below 2^53 ms, which is 285,000 years.
#[allow(clippy::cast_precision_loss)]
const fn as_ms(ms: i64) -> f64 {
    ms as f64
}

#[allow(clippy::cast_precision_loss)]
const fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
#[path = "forecast_tests.rs"]
mod tests;
