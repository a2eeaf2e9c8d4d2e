//! Drift as knowledge: a token's history, its forecast, and the same for all tokens, by model and by delivery.
//!
//! Reads the ledger, changes nothing. What is told here is for people and their plans; no code is accepted by it.
//! The work of a call is bounded: so many tokens, so many rows of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Refusal;
use crate::ledger::{DriftPoint, Factor, Filter, Ledger, Page, TokenRecord};
use crate::resync::Policy;
use crate::resync::forecast::{self, Method, Reading, Subject};
use crate::resync::jump::{Cause, Jump, Watched, cause};
use crate::types::{DriftSource, TokenId, TokenKind, UnixMillis};

pub use crate::resync::forecast::Forecast;

/// Most rows of one token's history in one answer.
pub const MAX_HISTORY: u32 = 4_096;
/// Rows of each token that a look at many rests on.
const ROWS_OF_MANY: u32 = 128;
/// Clocks that a token's jumps are held against.
const PEERS: usize = 200;
/// Most tokens that one call groups.
const MAX_GROUPED: usize = 5_000;
const PAGE: u32 = 500;
/// Kinds that have a clock and a battery of their own.
const CLOCKS: [TokenKind; 2] = [TokenKind::Fob, TokenKind::NfcFob];
/// Fewest fitted tokens of which a group's rate is judged, and how far it must be from all others', in ppm.
const ENOUGH_TO_JUDGE: usize = 5;
const ODD_PPM: f64 = 5.0;

/// How forecasts are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Fit rates. Off: ages and windows alone are told (`docs/adr/0005`).
    pub fit: bool,
    /// How long a battery lasts, in days.
    pub battery_days: u32,
    /// The same for single models.
    pub battery_days_of: BTreeMap<String, u32>,
}

impl Default for Settings {
    /// Five years, as makers promise today.
    fn default() -> Self {
        Self {
            fit: true,
            battery_days: 1_826,
            battery_days_of: BTreeMap::new(),
        }
    }
}

/// A token and its forecast.
#[derive(Debug, Clone)]
pub struct Foreseen {
    /// The token.
    pub token: TokenRecord,
    /// What is foreseen.
    pub forecast: Forecast,
    /// Its jumps with whose fault they were.
    pub jumps: Vec<(Jump, Cause)>,
}

impl Foreseen {
    /// Its time step in seconds.
    #[must_use]
    pub fn period_s(&self) -> Option<u32> {
        clock_of(&self.token)
    }
}

/// What tokens are put together by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Model.
    Model,
    /// Delivery or import.
    Batch,
}

/// Tokens with a model or a delivery in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The model or delivery; empty when it is not known.
    pub name: String,
    /// How many.
    pub tokens: usize,
    /// Of how many a rate could be fitted.
    pub fitted: usize,
    /// The middle of their rates, in ppm.
    pub rate_ppm: Option<f64>,
    /// How far their rates scatter: a robust standard deviation in ppm.
    pub spread_ppm: Option<f64>,
    /// Its clocks go otherwise than all others do.
    pub odd: bool,
    /// Jumps that were a token's own fault or the delivery's.
    pub jumps: usize,
    /// Tokens to be replaced for their behaviour.
    pub failing: usize,
    /// When the first of them should be replaced.
    pub first_replace_by: UnixMillis,
    /// When half of them should have been.
    pub half_replace_by: UnixMillis,
}

/// Groups, and whether all tokens are in them.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    /// By name.
    pub groups: Vec<Group>,
    /// Tokens that were looked at.
    pub tokens: usize,
    /// There were no more of them.
    pub complete: bool,
}

/// The drift of all tokens, at a moment.
pub struct Drift {
    ledger: Arc<dyn Ledger>,
    settings: Settings,
    now: UnixMillis,
}

impl Drift {
    /// Looks at a ledger at a moment.
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, settings: Settings, now: UnixMillis) -> Self {
        Self { ledger, settings, now }
    }

    /// The newest `limit` measurements of a token's clock, oldest first.
    ///
    /// # Errors
    /// [`Refusal::UnknownToken`], storage.
    pub async fn history(&self, token: TokenId, limit: u32) -> Result<Vec<DriftPoint>, Refusal> {
        self.token(token).await?;
        Ok(self.ledger.drift(token, limit.min(MAX_HISTORY)).await?)
    }

    /// What is foreseen of one token. Its jumps are held against those of up to 200 others.
    ///
    /// # Errors
    /// [`Refusal::UnknownToken`], [`Refusal::WrongKind`] for what has no clock of its own, storage.
    pub async fn forecast(&self, token: TokenId) -> Result<Foreseen, Refusal> {
        let token = self.token(token).await?;
        let Some(period_s) = clock_of(&token) else {
            return Err(Refusal::WrongKind {
                kind: token.kind,
                verb: "foreseen: it has no clock of its own",
            });
        };
        let seen = self.look(token, period_s, MAX_HISTORY).await?;
        if seen.forecast.jumps.iter().all(|jump| jump.is_set) {
            return Ok(attribute(seen, &[]));
        }
        let mut peers = Vec::new();
        for kind in CLOCKS {
            let filter = of_kind(&Filter::default(), kind);
            let page = self.ledger.find(&filter, None, PAGE).await?;
            peers.extend(page.items.into_iter().filter(|peer| peer.id != seen.token.id));
        }
        peers.truncate(PEERS);
        let mut others = Vec::with_capacity(peers.len());
        for peer in peers {
            if let Some(period_s) = clock_of(&peer) {
                others.push(self.look(peer, period_s, ROWS_OF_MANY).await?);
            }
        }
        Ok(attribute(seen, &others))
    }

    /// A page of tokens, those with a clock foreseen: at most `limit`, in order of id. Jumps are held against those of the page.
    ///
    /// # Errors
    /// Storage; a cursor that is none of ours.
    pub async fn fleet(&self, filter: &Filter, cursor: Option<&str>, limit: u32) -> Result<Page<Foreseen>, Refusal> {
        let filter = Filter {
            alive: true,
            ..filter.clone()
        };
        let page = self.ledger.find(&filter, cursor, limit).await?;
        let mut seen = Vec::with_capacity(page.items.len());
        for token in page.items {
            if let Some(period_s) = clock_of(&token) {
                seen.push(self.look(token, period_s, ROWS_OF_MANY).await?);
            }
        }
        Ok(Page {
            items: together(seen),
            next: page.next,
        })
    }

    /// Live tokens with a clock, grouped: at most 5,000 of them.
    ///
    /// # Errors
    /// Storage.
    pub async fn groups(&self, by: By, filter: &Filter) -> Result<Groups, Refusal> {
        let (mut groups, mut rates) = (BTreeMap::<String, Gathered>::new(), Vec::new());
        let (mut tokens, mut complete) = (0, true);
        for kind in CLOCKS
            .into_iter()
            .filter(|kind| filter.kind.is_none_or(|only| only == *kind))
        {
            let filter = of_kind(filter, kind);
            let mut cursor: Option<String> = None;
            loop {
                if tokens >= MAX_GROUPED {
                    complete = false;
                    break;
                }
                let page = self.fleet(&filter, cursor.as_deref(), PAGE).await?;
                tokens += page.items.len();
                for seen in page.items {
                    rates.extend(seen.forecast.rate.map(|rate| rate.ppm));
                    groups.entry(name_of(by, &seen.token)).or_default().add(&seen);
                }
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        let usual = middle(&mut rates);
        Ok(Groups {
            groups: groups.into_iter().map(|(name, all)| all.told(name, usual)).collect(),
            tokens,
            complete,
        })
    }

    async fn token(&self, id: TokenId) -> Result<TokenRecord, Refusal> {
        self.ledger.token(id).await?.ok_or(Refusal::UnknownToken)
    }

    async fn look(&self, token: TokenRecord, period_s: u32, rows: u32) -> Result<Looked, Refusal> {
        let points = self.ledger.drift(token.id, rows).await?;
        let readings = readings(&points);
        let battery_days = self.settings.battery_days_of.get(&token.model);
        let subject = Subject {
            period_s,
            last_seen: token.last_seen,
            begun: token.valid_from.unwrap_or(token.created),
            battery_days: battery_days.copied().unwrap_or(self.settings.battery_days),
            valid_until: token.valid_until,
        };
        let policy = Policy::default();
        let forecast = forecast::forecast(&subject, &readings, &policy, self.now, self.settings.fit);
        Ok(Looked {
            token,
            readings,
            forecast,
        })
    }
}

/// A token that was looked at.
struct Looked {
    token: TokenRecord,
    readings: Vec<Reading>,
    forecast: Forecast,
}

impl Looked {
    /// What it has in common with its like: the delivery, else the model.
    fn like(&self) -> &str {
        self.token.batch.as_deref().unwrap_or(&self.token.model)
    }

    fn watched(&self) -> Watched<'_> {
        Watched {
            like: self.like(),
            readings: &self.readings,
            jumps: &self.forecast.jumps,
        }
    }
}

/// Whether a token has a clock and a battery of its own: its time step in seconds.
fn clock_of(token: &TokenRecord) -> Option<u32> {
    match token.binding.oath()?.factor {
        Factor::Time { period_s } if CLOCKS.contains(&token.kind) => Some(period_s),
        _ => None,
    }
}

fn of_kind(filter: &Filter, kind: TokenKind) -> Filter {
    Filter {
        kind: Some(kind),
        alive: true,
        ..filter.clone()
    }
}

fn name_of(by: By, token: &TokenRecord) -> String {
    match by {
        By::Model => token.model.clone(),
        By::Batch => token.batch.clone().unwrap_or_default(),
    }
}

/// What the history says of the clock: an undone resync is left out, as if it had not been.
fn readings(points: &[DriftPoint]) -> Vec<Reading> {
    let mut readings: Vec<Reading> = Vec::with_capacity(points.len());
    for point in points {
        let method = match point.source {
            DriftSource::First | DriftSource::Test | DriftSource::Resync => Method::Code,
            DriftSource::ClockRead => Method::Read,
            DriftSource::ClockSet => Method::Set,
            DriftSource::Undo => {
                let undone = readings
                    .iter()
                    .rposition(|reading| Some(reading.offset_ms) == point.before_ms);
                if let Some(at) = undone {
                    readings.remove(at);
                }
                continue;
            }
        };
        readings.push(Reading {
            at: point.at,
            offset_ms: point.after_ms,
            method,
        });
    }
    readings
}

fn attribute(seen: Looked, others: &[Looked]) -> Foreseen {
    let watched: Vec<Watched<'_>> = others.iter().map(Looked::watched).collect();
    let jumps = causes(&seen, &watched);
    Foreseen {
        token: seen.token,
        forecast: seen.forecast,
        jumps,
    }
}

fn causes(seen: &Looked, others: &[Watched<'_>]) -> Vec<(Jump, Cause)> {
    let told = |jump: &Jump| (*jump, cause(jump, seen.like(), others));
    seen.forecast.jumps.iter().map(told).collect()
}

/// Each against up to [`PEERS`] of the others.
fn together(seen: Vec<Looked>) -> Vec<Foreseen> {
    let jumps: Vec<Vec<(Jump, Cause)>> = seen
        .iter()
        .map(|own| {
            if own.forecast.jumps.is_empty() {
                return Vec::new();
            }
            let others = seen.iter().filter(|other| other.token.id != own.token.id);
            let watched: Vec<Watched<'_>> = others.take(PEERS).map(Looked::watched).collect();
            causes(own, &watched)
        })
        .collect();
    let foreseen = |(seen, jumps): (Looked, _)| Foreseen {
        token: seen.token,
        forecast: seen.forecast,
        jumps,
    };
    seen.into_iter().zip(jumps).map(foreseen).collect()
}

/// A group as it is put together.
#[derive(Default)]
struct Gathered {
    tokens: usize,
    rates: Vec<f64>,
    jumps: usize,
    failing: usize,
    replace_by: Vec<UnixMillis>,
}

impl Gathered {
    fn add(&mut self, seen: &Foreseen) {
        self.tokens += 1;
        self.rates.extend(seen.forecast.rate.map(|rate| rate.ppm));
        self.jumps += seen
            .jumps
            .iter()
            .filter(|(_, cause)| matches!(cause, Cause::Token | Cause::Batch))
            .count();
        self.failing += usize::from(seen.forecast.reason == forecast::Reason::Battery);
        self.replace_by.push(seen.forecast.replace_by);
    }

    fn told(mut self, name: String, usual: Option<f64>) -> Group {
        self.replace_by.sort_unstable();
        let rate_ppm = middle(&mut self.rates);
        let mut apart: Vec<f64> = self
            .rates
            .iter()
            .map(|rate| (rate - rate_ppm.unwrap_or_default()).abs())
            .collect();
        let first = self.replace_by.first().copied().unwrap_or(UnixMillis(0));
        let odd = self.rates.len() >= ENOUGH_TO_JUDGE
            && rate_ppm
                .zip(usual)
                .is_some_and(|(rate, usual)| (rate - usual).abs() > ODD_PPM);
        Group {
            name,
            tokens: self.tokens,
            fitted: self.rates.len(),
            rate_ppm,
            // Of a normal distribution the median deviation is 1 / 1.4826 of the standard deviation.
            spread_ppm: middle(&mut apart).map(|apart| 1.4826 * apart),
            odd,
            jumps: self.jumps,
            failing: self.failing,
            first_replace_by: first,
            half_replace_by: self.replace_by.get(self.replace_by.len() / 2).copied().unwrap_or(first),
        }
    }
}

/// The middle value; of an even number the lower of the two.
fn middle(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
#[path = "drift_tests.rs"]
mod tests;
