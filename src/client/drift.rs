//! `claviger drift`

use std::path::Path;

use serde_json::{Value, json};
use zbus::Variant;

use crate::client::arguments::{DriftArgs, exit};
use crate::client::drift_plot::{self, Plot};
use crate::client::failure::Failure;
use crate::client::lookup::{self, PAGE};
use crate::client::render::{cell, clean, instant, record, table, variant};
use crate::client::session::{Session, no_options};
use crate::contract::proxy::{Options, Record};
use crate::types::UnixMillis;

const DAY_S: f64 = 86_400.0;
/// Seconds a day that one part per million is.
const S_PER_DAY_PER_PPM: f64 = 0.0864;
/// What a terminal is when nobody says.
const WIDTH: usize = 78;
const HEIGHT: usize = 14;
/// No ledger we know of has more pages.
const MAX_PAGES: usize = 100_000;

/// Draws one token's drift, or lists what to replace by when.
pub async fn run(session: &Session, args: &DriftArgs) -> Result<u8, Failure> {
    match (&args.token, &args.by) {
        (Some(token), _) => one(session, token, args).await,
        (None, Some(by)) => groups(session, by, args).await,
        (None, None) => fleet(session, args).await,
    }
}

async fn one(session: &Session, token: &str, args: &DriftArgs) -> Result<u8, Failure> {
    let id = lookup::token(session, token).await?;
    let drift = session.drift().await?;
    let forecast = drift.forecast(&id, &no_options()).await?;
    let points = drift.history(&id, &no_options()).await?;
    let plot = plot(&forecast, &points);
    let draw = |error: drift_plot::CannotDraw| Failure::local(error.to_string());
    if let Some(path) = &args.svg {
        write(path, drift_plot::svg(&plot).map_err(draw)?.as_bytes())?;
    }
    if let Some(path) = &args.png {
        write(path, &drift_plot::png(&plot).map_err(draw)?)?;
    }
    let mut object = record(&forecast);
    if let Some(members) = object.as_object_mut() {
        members.insert("points".to_owned(), points.iter().map(record).collect());
    }
    session.output.object(&object)?;
    if points.is_empty() {
        session.output.say("Nothing was measured of its clock yet.")?;
    } else {
        session.output.text(&drift_plot::terminal(&plot, WIDTH, HEIGHT))?;
    }
    session.output.text(&sentences(&forecast).join("\n"))?;
    Ok(exit::DONE)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::local(format!("{}: {error}", path.display())))
}

/// What is known, in sentences.
fn sentences(forecast: &Record) -> Vec<String> {
    let mut told = Vec::new();
    match (number(forecast, "rate-ppm"), number(forecast, "rate-error-ppm")) {
        (Some(rate), Some(error)) => {
            let year = rate * S_PER_DAY_PER_PPM * 365.25;
            let way = if year < 0.0 { "loses" } else { "gains" };
            told.push(format!(
                "It {way} about {:.0} s a year: {rate:+.1} ± {error:.1} ppm, from {} measurements. For plans only: no code is \
                 accepted by this.",
                year.abs(),
                cell(forecast, "readings")
            ));
        }
        _ => told.push(format!(
            "From {} measurements no rate is told.",
            cell(forecast, "readings")
        )),
    }
    if let Some(bend) = number(forecast, "bend-ppm") {
        told.push(format!(
            "Of late its rate changed by {bend:+.1} ppm, which no temperature explains."
        ));
    }
    if let Some(until) = millis(forecast, "window-ends-ms") {
        told.push(match cell(forecast, "standing").as_str() {
            "next-code" => "It is used so rarely that two codes are asked for.".to_owned(),
            _ => format!("Unused, one code will do until {}.", day(until)),
        });
    }
    told.push(format!(
        "Replace it by {}: {}.",
        millis(forecast, "replace-by-ms").map(day).unwrap_or_default(),
        because(&cell(forecast, "replace-because"))
    ));
    for jump in jumps(forecast) {
        let shift = jump.get("shift-ms").and_then(Value::as_i64).unwrap_or_default();
        let at = jump.get("at-ms").and_then(Value::as_i64).unwrap_or_default();
        let cause = jump.get("cause").and_then(Value::as_str).unwrap_or_default();
        told.push(format!(
            "{}: a jump of {:+} s; {}.",
            day(at),
            shift.saturating_add(500).div_euclid(1000),
            blame(cause)
        ));
    }
    told
}

fn because(reason: &str) -> String {
    match reason {
        "age" => "its battery will be as old as they get".to_owned(),
        "battery" => "its clock behaves as with an empty battery".to_owned(),
        "papers" => "its papers end".to_owned(),
        other => clean(other),
    }
}

fn blame(cause: &str) -> String {
    match cause {
        "token" => "other clocks did not, so it is this token's".to_owned(),
        "batch" => "so did most of its delivery".to_owned(),
        "host-clock" => "so did most clocks: the host's clock was wrong".to_owned(),
        "set" => "its clock was set".to_owned(),
        other => clean(other),
    }
}

/// From what the daemon tells to a drawing.
fn plot(forecast: &Record, points: &[Record]) -> Plot {
    let seconds = |ms: i64| {
        #[allow(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
        let ms = ms as f64;
        ms / 1000.0
    };
    let measured: Vec<(f64, f64)> = points
        .iter()
        .filter(|point| cell(point, "source") != "undo")
        .filter_map(|point| Some((seconds(millis(point, "at-ms")?), seconds(millis(point, "offset-ms")?))))
        .collect();
    let mut foreseen = Vec::new();
    if let (Some(rate), Some(error), Some((first, _)), Some((last, offset))) = (
        number(forecast, "rate-ppm"),
        number(forecast, "rate-error-ppm"),
        measured.first(),
        measured.last(),
    ) {
        const STEPS: u32 = 60;
        let scatter = number(forecast, "rate-scatter-s").unwrap_or_default();
        let ahead = ((last - first) / 3.0).clamp(60.0 * DAY_S, 730.0 * DAY_S);
        foreseen.extend((0..=STEPS).map(|step| {
            let further = ahead * f64::from(step) / f64::from(STEPS);
            let days = further / DAY_S * S_PER_DAY_PER_PPM;
            let (middle, band) = (offset + rate * days, scatter.hypot(error * days));
            (last + further, middle - band, middle, middle + band)
        }));
    }
    let name = ["label", "serial", "token"]
        .iter()
        .map(|key| cell(forecast, key))
        .find(|name| !name.is_empty())
        .unwrap_or_default();
    Plot {
        title: format!("{name} ({}): token clock minus true time, UTC", cell(forecast, "model")),
        measured,
        foreseen,
        jumps: jumps(forecast)
            .iter()
            .filter_map(|jump| jump.get("at-ms").and_then(Value::as_i64).map(seconds))
            .collect(),
    }
}

async fn fleet(session: &Session, args: &DriftArgs) -> Result<u8, Failure> {
    let drift = session.drift().await?;
    let filter = filter(args);
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    for _ in 0..MAX_PAGES {
        let (page, next) = drift.fleet(&filter, &cursor, PAGE).await?;
        rows.extend(page);
        if next.is_empty() {
            break;
        }
        cursor = next;
    }
    if let Some(days) = args.within {
        let until = UnixMillis::now().plus_ms(i64::from(days) * 86_400_000).0;
        rows.retain(|row| millis(row, "replace-by-ms").is_some_and(|at| at <= until));
    }
    rows.sort_by_key(|row| millis(row, "replace-by-ms"));
    session
        .output
        .object(&json!({ "tokens": rows.iter().map(record).collect::<Vec<_>>() }))?;
    if rows.is_empty() {
        session.output.say("No token with a clock of its own.")?;
        return Ok(exit::DONE);
    }
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                millis(row, "replace-by-ms").map(day).unwrap_or_default(),
                cell(row, "replace-because"),
                cell(row, "serial"),
                rate(row, "rate-error-ppm", "±"),
                jumps(row).len().to_string(),
                cell(row, "subject"),
                cell(row, "model"),
                cell(row, "token"),
            ]
        })
        .collect();
    session.output.text(&table(
        &[
            "REPLACE BY",
            "BECAUSE",
            "SERIAL",
            "RATE PPM",
            "JUMPS",
            "SUBJECT",
            "MODEL",
            "TOKEN",
        ],
        &lines,
    ))?;
    Ok(exit::DONE)
}

async fn groups(session: &Session, by: &str, args: &DriftArgs) -> Result<u8, Failure> {
    let (groups, tokens, complete) = session.drift().await?.groups(by, &filter(args)).await?;
    session.output.object(&json!({
        "by": by,
        "groups": groups.iter().map(record).collect::<Vec<_>>(),
        "tokens": tokens,
        "complete": complete,
    }))?;
    let lines: Vec<Vec<String>> = groups
        .iter()
        .map(|group| {
            let name = Some(cell(group, "name")).filter(|name| !name.is_empty());
            let odd = if cell(group, "odd") == "true" { "odd" } else { "" };
            vec![
                name.unwrap_or_else(|| "(not known)".to_owned()),
                cell(group, "tokens"),
                rate(group, "rate-spread-ppm", "spread"),
                odd.to_owned(),
                cell(group, "jumps"),
                cell(group, "failing"),
                millis(group, "first-replace-by-ms").map(day).unwrap_or_default(),
                millis(group, "half-replace-by-ms").map(day).unwrap_or_default(),
            ]
        })
        .collect();
    session.output.text(&table(
        &[
            if by == "model" { "MODEL" } else { "DELIVERY" },
            "TOKENS",
            "RATE PPM",
            "",
            "JUMPS",
            "FAILING",
            "FIRST BY",
            "HALF BY",
        ],
        &lines,
    ))?;
    if !complete {
        session.output.say(&format!(
            "Only {tokens} tokens were looked at: filter by model or batch."
        ))?;
    }
    Ok(exit::DONE)
}

fn filter(args: &DriftArgs) -> Options<'_> {
    [("model", &args.model), ("batch", &args.batch)]
        .into_iter()
        .filter_map(|(key, value)| Some((key, Variant::from(value.as_deref()?))))
        .collect()
}

fn rate(row: &Record, error: &str, word: &str) -> String {
    match (number(row, "rate-ppm"), number(row, error)) {
        (Some(rate), Some(error)) => format!("{rate:+.1} {word} {error:.1}"),
        _ => String::new(),
    }
}

fn number(row: &Record, key: &str) -> Option<f64> {
    variant(row.get(key)?).as_f64()
}

fn millis(row: &Record, key: &str) -> Option<i64> {
    variant(row.get(key)?).as_i64()
}

fn jumps(row: &Record) -> Vec<Value> {
    let jumps = row.get("jumps").map(|jumps| variant(jumps));
    jumps.and_then(|jumps| jumps.as_array().cloned()).unwrap_or_default()
}

/// The day of an instant, UTC.
fn day(ms: i64) -> String {
    let whole = instant(ms);
    whole.split_once('T').map_or(whole.clone(), |(day, _)| day.to_owned())
}
