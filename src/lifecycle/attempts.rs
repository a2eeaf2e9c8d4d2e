//! How often a token may be resynced in vain: five times in 24 hours, if the configuration says nothing else. Several codes at
//! once are a strong test, but the search is wide, and nobody who holds the fob needs a sixth.
//!
//! The journal is the durable side: every try in vain is an entry there, and the first resync after a start reads a day of it
//! back. What is counted in memory from then on is only a copy.

use std::collections::HashMap;

use tokio::sync::Mutex;

use crate::ledger::{Ledger, LedgerError};
use crate::lifecycle::Refusal;
use crate::types::{TokenId, UnixMillis};

/// Event of a try in vain.
pub const REFUSED: &str = "resync.refused";
/// Event by which a person who has looked at a token forgets its wrong codes.
const PARDONED: &str = "token.resumed";

const DAY_MS: i64 = 86_400_000;
/// Entries of the journal in one reading, and how many readings at most: a busier day is not read to its end, and the limit of
/// failures in a row stands all the same.
const PAGE: u32 = 1_000;
const MAX_PAGES: u32 = 50;

/// Tries in vain of the last day, by token.
#[derive(Default)]
pub struct Attempts {
    tries: Mutex<Option<HashMap<TokenId, Vec<UnixMillis>>>>,
}

impl Attempts {
    /// Takes one of the `limit` tries of `token` before anything is searched, so that tries made at once are counted one by one.
    ///
    /// # Errors
    /// [`Refusal::TooManyAttempts`]; storage.
    pub async fn begin(&self, ledger: &dyn Ledger, token: TokenId, limit: u32, now: UnixMillis) -> Result<(), Refusal> {
        let mut tries = self.tries.lock().await;
        let known = match tries.take() {
            Some(known) => known,
            None => read_back(ledger, now).await?,
        };
        let known = tries.insert(known);
        for times in known.values_mut() {
            times.retain(|at| is_recent(*at, now));
        }
        known.retain(|_, times| !times.is_empty());
        let times = known.entry(token).or_default();
        if times.len() >= limit as usize {
            return Err(Refusal::TooManyAttempts { limit });
        }
        times.push(now);
        Ok(())
    }

    /// Gives a try back that was not in vain, or came to no answer.
    pub async fn give_back(&self, token: TokenId) {
        if let Some(times) = self.tries.lock().await.as_mut().and_then(|known| known.get_mut(&token)) {
            times.pop();
        }
    }

    /// Forgets the tries of a token: a person has looked at them.
    pub async fn forget(&self, token: TokenId) {
        if let Some(known) = self.tries.lock().await.as_mut() {
            known.remove(&token);
        }
    }
}

/// Also true of times ahead of a host clock that was set back.
const fn is_recent(at: UnixMillis, now: UnixMillis) -> bool {
    at.0 > now.0.saturating_sub(DAY_MS)
}

async fn read_back(ledger: &dyn Ledger, now: UnixMillis) -> Result<HashMap<TokenId, Vec<UnixMillis>>, LedgerError> {
    let (mut end, _) = ledger.head()?;
    let mut telling = Vec::new();
    for _ in 0..MAX_PAGES {
        let after = end.saturating_sub(u64::from(PAGE));
        let entries = ledger.journal(after, PAGE).await?;
        let is_past = entries.first().is_none_or(|first| !is_recent(first.at, now));
        let of_a_token = entries
            .into_iter()
            .filter(|entry| entry.seq <= end && is_recent(entry.at, now));
        telling.extend(of_a_token.filter_map(|entry| match (entry.name.as_str(), entry.token) {
            (REFUSED, Some(token)) => Some((entry.seq, token, Some(entry.at))),
            (PARDONED, Some(token)) => Some((entry.seq, token, None)),
            _ => None,
        }));
        if is_past || after == 0 {
            break;
        }
        end = after;
    }
    telling.sort_unstable_by_key(|(seq, ..)| *seq);
    let mut known: HashMap<TokenId, Vec<UnixMillis>> = HashMap::new();
    for (_, token, at) in telling {
        match at {
            Some(at) => known.entry(token).or_default().push(at),
            None => {
                known.remove(&token);
            }
        }
    }
    Ok(known)
}
