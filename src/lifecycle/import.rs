//! Taking a delivery of fobs into the ledger: what a seed file says becomes records, all of them in one transaction.
//!
//! [`prepare`] looks without writing, and so is the dry run; [`take_in`] writes what it prepared, or nothing.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::json;

use crate::codec::delivery::{Delivered, Delivery, Flaw, Moving, Protection};
use crate::grant::Authority;
use crate::ledger::{BatchFailure, Binding, Event, Ledger, LedgerError, Mutation, Personal, TokenRecord, Unique};
use crate::lifecycle::act::{Facts, facts};
use crate::types::{Reality, TokenId, TokenKind, TokenState, UnixMillis};

/// Why an entry of a file was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeftOut {
    /// It cannot be read.
    #[error(transparent)]
    Flaw(#[from] Flaw),
    /// The same serial of the same maker stands further up in the file.
    #[error("the same serial stands at line {0}")]
    Repeated(u32),
    /// A live token of this maker has this serial.
    #[error("a live token with this serial exists: {0}")]
    Held(TokenId),
}

/// An entry that was not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Line it begins at, from 1.
    pub line: u32,
    /// Its serial, if it could be read.
    pub serial: Option<String>,
    /// Why.
    pub why: LeftOut,
}

/// What an import would write, looked at but not written.
pub struct Prepared {
    records: Vec<(Box<TokenRecord>, Mutation)>,
    /// What will be left out, in the order of the file.
    pub left: Vec<Left>,
    /// Where what will be taken in stands in the file: [`Delivery::left`] cuts it out.
    pub spans: Vec<Range<usize>>,
    /// How the seeds were protected on their way.
    pub protection: Protection,
    batch: String,
}

impl Prepared {
    /// Number of tokens that will be taken in.
    #[must_use]
    pub fn count(&self) -> usize {
        self.records.len()
    }

    /// Their records, as they will be.
    pub fn records(&self) -> impl Iterator<Item = &TokenRecord> {
        self.records.iter().map(|(record, _)| &**record)
    }
}

/// Holds a delivery against itself and the ledger. `batch` is the name of the delivery. Writes nothing. `progress` is told how
/// many entries have been looked at, of how many.
///
/// # Errors
/// Storage only; an entry that cannot be taken in is left out.
pub async fn prepare(
    delivery: Delivery,
    ledger: &dyn Ledger,
    batch: &str,
    mut progress: impl FnMut(usize, usize) + Send,
) -> Result<Prepared, LedgerError> {
    let of = delivery.tokens.len();
    let mut prepared = Prepared {
        records: Vec::with_capacity(of),
        left: Vec::new(),
        spans: Vec::with_capacity(of),
        protection: delivery.protection,
        batch: batch.to_owned(),
    };
    let mut seen: HashMap<(Option<String>, String), u32> = HashMap::with_capacity(of);
    for (done, token) in delivery.tokens.into_iter().enumerate() {
        progress(done, of);
        let unique = token.serial.clone().map(|serial| Unique::Fob {
            manufacturer: token.maker.clone(),
            serial,
        });
        let why = match (&unique, token.serial.clone()) {
            (Some(unique), Some(serial)) => match seen.entry((token.maker.clone(), serial)) {
                std::collections::hash_map::Entry::Occupied(first) => Some(LeftOut::Repeated(*first.get())),
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(token.line);
                    ledger.holder(unique).await?.map(LeftOut::Held)
                }
            },
            _ => None,
        };
        if let Some(why) = why {
            prepared.left.push(Left {
                line: token.line,
                serial: token.serial,
                why,
            });
            continue;
        }
        prepared.spans.push(token.span.clone());
        prepared.records.push(insertion(token, batch, unique));
    }
    let flawed = delivery.rejected.into_iter().map(|entry| Left {
        line: entry.line,
        serial: entry.serial,
        why: entry.why.into(),
    });
    prepared.left.extend(flawed);
    prepared.left.sort_by_key(|left| left.line);
    progress(of, of);
    Ok(prepared)
}

/// Writes what was prepared: every token with its own journal entry, all in one transaction, or nothing. Answers with the number
/// of the last entry.
///
/// # Errors
/// [`BatchFailure`] with which token it was; a serial that was registered since [`prepare`] looked is a `Duplicate`.
pub async fn take_in(
    prepared: Prepared,
    ledger: &dyn Ledger,
    authority: &Authority,
    at: UnixMillis,
) -> Result<u64, BatchFailure> {
    let detail = |record: &TokenRecord| -> Facts {
        facts([
            ("kind", json!(record.kind)),
            ("state", json!(record.state)),
            ("batch", json!(prepared.batch)),
        ])
    };
    let commits = prepared.records.into_iter().map(|(record, insert)| {
        let event = Event {
            name: "token.imported",
            authority: authority.clone(),
            token: Some(record.id),
            at,
            detail: detail(&record),
        };
        (event, vec![insert])
    });
    ledger.commit_all(commits.collect()).await
}

/// The record of a token and the mutation that makes it. Whom the file names, it is for, and pending; the others are
/// in the inventory.
fn insertion(token: Delivered, batch: &str, unique: Option<Unique>) -> (Box<TokenRecord>, Mutation) {
    let (algorithm, digits) = (token.algorithm, token.digits);
    let (binding, offset_ms, watermark) = match token.moving {
        Moving::Time { period_s, drift_steps } => (
            Binding::Fob {
                algorithm,
                digits,
                period_s,
            },
            drift_steps.saturating_mul(i64::from(period_s)).saturating_mul(1000),
            None,
        ),
        // The last counter that can have been used is the one before the next.
        Moving::Event { counter } => (Binding::EventFob { algorithm, digits }, 0, counter.checked_sub(1)),
    };
    let record = Box::new(TokenRecord {
        id: TokenId::generate(),
        kind: TokenKind::Fob,
        state: if token.subject.is_some() {
            TokenState::Pending
        } else {
            TokenState::Inventory
        },
        revoke_reason: None,
        reality: Reality::Hardware,
        model: token.model.unwrap_or_else(|| "display fob".to_owned()),
        maker: token.maker,
        batch: Some(batch.to_owned()),
        valid_from: token.valid_from,
        valid_until: token.valid_until,
        binding,
        has_seed: true,
        offset_ms,
        watermark,
        sign_count: 0,
        last_seen: None,
        failures: 0,
        personal: Personal {
            subject: token.subject,
            serial: token.serial,
            label: token.label,
        },
        // The ledger sets both.
        created: UnixMillis(0),
        updated: UnixMillis(0),
    });
    let insert = Mutation::Insert {
        record: record.clone(),
        seed: Some(token.seed),
        unique,
    };
    (record, insert)
}
