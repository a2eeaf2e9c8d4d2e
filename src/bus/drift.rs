//! `org.claviger.Drift1`: what is known of clocks, and what is foreseen of them. Reads only.

use std::sync::Arc;

use zbus::Variant;
use zbus::interface;
use zbus::message::Header;

use super::Desk;
use super::error::BusError;
use super::filter;
use super::values::{Dict, Options, Put, Rows, limit, parse};
use crate::contract::options as key;
use crate::grant::Object;
use crate::guard::Deed;
use crate::ledger::DriftPoint;
use crate::lifecycle::drift::{By, Foreseen, Group, MAX_HISTORY};
use crate::types::TokenId;

/// The drift object.
pub(super) struct Clocks {
    desk: Arc<Desk>,
}

impl Clocks {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }
}

#[interface(name = "org.claviger.Drift1")]
impl Clocks {
    /// What was measured of a token's clock, oldest first. [inspect]
    /// options: limit (u: 1 to 4096, the newest so many; default 4096), case (s).
    /// Each: seq (t: journal entry), at-ms (x), source (s: first, test, resync, clock-read, clock-set, undo), offset-ms (x: token
    /// clock minus true time), offset-before-ms, seen-before-ms (x, where there was one). Of tests one in 20 hours is kept.
    /// Errors: UnknownToken.
    #[zbus(out_args("points"))]
    async fn history(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Rows<DriftPoint>, BusError> {
        let id = parse::<TokenId>("token", token)?;
        let mut given = Options::new(options, &[key::LIMIT])?;
        let limit = given.number(key::LIMIT, 1..=MAX_HISTORY)?.unwrap_or(MAX_HISTORY);
        let case = given.case()?;
        self.desk
            .guard
            .admit(&header, Deed::on(Object::Token(id), case))
            .await?;
        let points = self.desk.verbs.drift().history(id, limit).await?;
        Ok(Rows::new(points, point))
    }

    /// What is foreseen of a token with a clock of its own. [inspect]
    /// forecast: token, kind, model (s), maker, batch, subject, serial, label (s, where known), offset-ms (x), period-s (u), readings
    /// (u), last-seen-ms (x), rate-ppm, rate-error-ppm, rate-scatter-s (d: fitted for forecasts only, 95 %), bend-ppm (d, when the
    /// rate changed beyond doubt), habit-days (d: median between measurements), standing (s: one-code, next-code, unknown: what is
    /// asked at that habit), window-ends-ms (x: when one code no longer does, if not used until then), replace-by-ms (x),
    /// replace-because (s: age, battery, papers), jumps (aa{sv}: from-ms, at-ms, shift-ms (x), cause (s: token, batch, host-clock,
    /// set)). Errors: UnknownToken, WrongKind.
    #[zbus(out_args("forecast"))]
    async fn forecast(&self, token: &str, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Dict, BusError> {
        let id = parse::<TokenId>("token", token)?;
        let case = Options::new(options, &[])?.case()?;
        self.desk
            .guard
            .admit(&header, Deed::on(Object::Token(id), case))
            .await?;
        Ok(foreseen(&self.desk.verbs.drift().forecast(id).await?))
    }

    /// The same for many live tokens, each as Forecast tells it: those with a clock among at most `limit` (1 to 1000) tokens that the
    /// filter finds, in order of id, by the newest 128 measurements of each. filter, cursor and next as Tokens1.Find has them. [inspect]
    #[zbus(out_args("forecasts", "next"))]
    async fn fleet(
        &self,
        filter: Dict,
        cursor: String,
        limit: u32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Rows<Foreseen>, String), BusError> {
        let filter = filter::filter(filter)?;
        let cursor = filter::cursor(cursor)?;
        let limit = self::limit(limit)?;
        self.desk.guard.admit(&header, Deed::on(Object::Whole, None)).await?;
        let page = self.desk.verbs.drift().fleet(&filter, cursor.as_deref(), limit).await?;
        Ok((Rows::new(page.items, foreseen), page.next.unwrap_or_default()))
    }

    /// Live tokens with a clock that the filter finds, put together `by` “model” or “batch”; at most 5,000 tokens are looked at, and
    /// `complete` says whether those were all. [inspect]
    /// Each: name (s, empty when not known), tokens, fitted (u), rate-ppm, rate-spread-ppm (d), odd (b: its clocks go otherwise than all
    /// others), jumps (u: not the host's), failing (u: to be replaced for their behaviour), first-replace-by-ms, half-replace-by-ms (x).
    #[zbus(out_args("groups", "tokens", "complete"))]
    async fn groups(
        &self,
        by: &str,
        filter: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Rows<Group>, u32, bool), BusError> {
        let by = match by {
            "model" => By::Model,
            "batch" => By::Batch,
            _ => return Err(BusError::invalid("“by” must be “model” or “batch”")),
        };
        let filter = filter::filter(filter)?;
        self.desk.guard.admit(&header, Deed::on(Object::Whole, None)).await?;
        let groups = self.desk.verbs.drift().groups(by, &filter).await?;
        Ok((Rows::new(groups.groups, group), count(groups.tokens), groups.complete))
    }
}

fn point(point: &DriftPoint) -> Dict {
    let mut told = Dict::new();
    told.put("seq", point.seq);
    told.put("at-ms", point.at.0);
    told.put("source", point.source.as_str());
    told.put("offset-ms", point.after_ms);
    told.put_some("offset-before-ms", point.before_ms);
    told.put_some("seen-before-ms", point.seen_before.map(|at| at.0));
    told
}

fn foreseen(seen: &Foreseen) -> Dict {
    let (token, forecast) = (&seen.token, &seen.forecast);
    let mut told = Dict::new();
    told.put("token", token.id.to_string());
    told.put("kind", token.kind.as_str());
    told.put("model", token.model.as_str());
    told.put_some("maker", token.maker.clone());
    told.put_some("batch", token.batch.clone());
    told.put_some("subject", token.personal.subject.clone());
    told.put_some("serial", token.personal.serial.clone());
    told.put_some("label", token.personal.label.clone());
    told.put("offset-ms", token.offset_ms);
    told.put_some("period-s", seen.period_s());
    told.put("readings", count(forecast.readings));
    told.put_some("last-seen-ms", token.last_seen.map(|at| at.0));
    if let Some(rate) = forecast.rate {
        told.put("rate-ppm", rate.ppm);
        told.put("rate-error-ppm", rate.error_ppm);
        told.put("rate-scatter-s", rate.scatter_s);
    }
    told.put_some("bend-ppm", forecast.bend_ppm);
    told.put_some("habit-days", forecast.habit_days);
    told.put("standing", forecast.standing.as_str());
    told.put_some("window-ends-ms", forecast.window_ends.map(|at| at.0));
    told.put("replace-by-ms", forecast.replace_by.0);
    told.put("replace-because", forecast.reason.as_str());
    let jumps: Vec<Dict> = seen
        .jumps
        .iter()
        .map(|(jump, cause)| {
            let mut told = Dict::new();
            told.put("from-ms", jump.from.0);
            told.put("at-ms", jump.to.0);
            told.put("shift-ms", jump.by_ms);
            told.put("cause", cause.as_str());
            told
        })
        .collect();
    told.put("jumps", Variant::from(jumps));
    told
}

fn group(group: &Group) -> Dict {
    let mut told = Dict::new();
    told.put("name", group.name.as_str());
    told.put("tokens", count(group.tokens));
    told.put("fitted", count(group.fitted));
    told.put_some("rate-ppm", group.rate_ppm);
    told.put_some("rate-spread-ppm", group.spread_ppm);
    told.put("odd", group.odd);
    told.put("jumps", count(group.jumps));
    told.put("failing", count(group.failing));
    told.put("first-replace-by-ms", group.first_replace_by.0);
    told.put("half-replace-by-ms", group.half_replace_by.0);
    told
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
