//! Taking a delivery of fobs into the ledger: what a seed file says becomes records, all of them in one transaction.
//!
//! [`import`] is the verb. [`prepare`] looks without writing, and so is the dry run; [`take_in`] writes what it prepared, or
//! nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use serde_json::json;

use crate::codec::delivery::{Delivered, Delivery, Flaw, Moving, Protection};
use crate::codec::seed_file::Format;
use crate::grant::{Action, Authority, Object};
use crate::ledger::{
    BatchFailure, Binding, Event, Filter, Ledger, LedgerError, Mutation, Personal, TokenRecord, Unique,
};
use crate::lifecycle::act::{Act, Facts, facts};
use crate::lifecycle::operation::{Details, Imported, Outcome, Phase};
use crate::lifecycle::{ImportOptions, Refusal};
use crate::types::shown::printable;
use crate::types::{Reality, Secret, TokenId, TokenKind, TokenState, UnixMillis};

/// Most entries left out that are told one by one.
const MOST_TOLD: usize = 100;
/// Live tokens of one serial that are looked at: one of each maker, and keys.
const MOST_NAMESAKES: u32 = 16;
/// Entries looked at between two words about progress, and looked up in the ledger at once.
const TOLD_EVERY: usize = 1024;

/// Takes a file in, or only says what would be.
///
/// # Errors
/// [`Refusal::SeedFile`]; [`Refusal::Undelivered`] when what was left cannot be handed out; a serial that was registered while we
/// looked is a `Duplicate`; storage. Nothing was taken in then.
pub async fn import(act: &Act, file: Secret, options: ImportOptions) -> Result<Outcome, Refusal> {
    act.require(Action::Register, &Object::Whole)?;
    act.phase(Phase::Proving, 5);
    let ImportOptions {
        format,
        unlock,
        integrity,
        batch,
        dry_run,
        left,
    } = options;
    // A passphrase is stretched for seconds, and a file may be large.
    let read = tokio::task::spawn_blocking(move || {
        let format = format.map_or_else(|| Format::detect(file.expose()), Ok)?;
        let delivery = format.read(file.expose(), &unlock, integrity)?;
        Ok::<_, Refusal>((file, format.name(), delivery))
    });
    let (file, format, delivery) = read
        .await
        .map_err(|_| Refusal::Internal("the reading of a seed file ended unexpectedly"))??;
    act.phase(Phase::Proving, 20);
    let batch = batch.unwrap_or_else(|| day(act.house.clock().now()));
    let step = act.step.clone();
    let prepared = prepare(delivery, &**act.house.ledger(), &batch, |done, of| {
        if done.is_multiple_of(TOLD_EVERY) {
            let share = done.saturating_mul(40).checked_div(of).unwrap_or(40);
            step.phase(Phase::Proving, 20 + u8::try_from(share).unwrap_or(40));
        }
    })
    .await?;
    let told = tell(&prepared, format);
    if let Some(left) = left.filter(|_| !prepared.left.is_empty()) {
        // Before anything is written: a caller who cannot keep what was left must not have to look for it.
        left.deliver(Delivery::left(file.expose(), &prepared.spans)).await?;
    }
    if !dry_run {
        act.phase(Phase::Committing, 60);
        act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
        let at = act.house.clock().now();
        take_in(prepared, &**act.house.ledger(), &act.authority(), at)
            .await
            .map_err(|failure| failure.error)?;
    }
    // Millions of bytes to wipe, for which nobody has to wait.
    tokio::task::spawn_blocking(move || drop(file));
    Ok(Outcome::Done(Details {
        import: Some(Box::new(told)),
        ..Details::default()
    }))
}

/// The day in UTC, as the name of a delivery that has none.
fn day(at: UnixMillis) -> String {
    let day = jiff::Timestamp::from_millisecond(at.0).map(|at| at.strftime("%Y-%m-%d").to_string());
    day.unwrap_or_else(|_| "import".to_owned())
}

fn tell(prepared: &Prepared, format: &'static str) -> Imported {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let line = |left: &Left| match &left.serial {
        Some(serial) => format!("line {}, serial {}: {}", left.line, printable(serial), left.why),
        None => format!("line {}: {}", left.line, left.why),
    };
    Imported {
        format,
        imported: count(prepared.count()),
        rejected: count(prepared.left.len()),
        rejected_lines: prepared.left.iter().take(MOST_TOLD).map(line).collect(),
        protection: prepared.protection.to_string(),
    }
}

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

/// A token that will be taken in.
struct Arriving {
    record: Box<TokenRecord>,
    seed: Secret,
    unique: Option<Unique>,
}

/// What an import would write, looked at but not written.
pub struct Prepared {
    arriving: Vec<Arriving>,
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
        self.arriving.len()
    }

    /// Their records, as they will be.
    pub fn records(&self) -> impl Iterator<Item = &TokenRecord> {
        self.arriving.iter().map(|token| &*token.record)
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
        arriving: Vec::with_capacity(of),
        left: Vec::new(),
        spans: Vec::with_capacity(of),
        protection: delivery.protection,
        batch: batch.to_owned(),
    };
    let mut seen: HashMap<(Option<String>, String), u32> = HashMap::with_capacity(of);
    let mut tokens = delivery.tokens.into_iter().enumerate();
    loop {
        let round: Vec<_> = tokens.by_ref().take(TOLD_EVERY).collect();
        if round.is_empty() {
            break;
        }
        let wanted: Vec<Unique> = round.iter().flat_map(|(_, token)| claims(token)).map(fob).collect();
        let holders = ledger.holders(&wanted).await?;
        let mut looked_up = wanted.into_iter().zip(holders);
        for (done, token) in round {
            progress(done, of);
            let mut unique = None;
            let mut held = None;
            for (claim, holder) in looked_up.by_ref().take(claims(&token).count()) {
                unique.get_or_insert(claim);
                held = held.or(holder);
            }
            let why = match token.serial.clone() {
                None => None,
                Some(serial) => match seen.entry((token.maker.clone(), serial)) {
                    Entry::Occupied(first) => Some(LeftOut::Repeated(*first.get())),
                    Entry::Vacant(place) => {
                        place.insert(token.line);
                        match held {
                            Some(held) => Some(LeftOut::Held(held)),
                            // Of all makers: one look-up cannot tell it, and few files name none.
                            None if token.maker.is_none() => namesake(ledger, &None, token.serial.as_deref())
                                .await?
                                .map(LeftOut::Held),
                            None => None,
                        }
                    }
                },
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
            prepared.arriving.push(arriving(token, batch, unique));
        }
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

/// The live token that may be the same fob although the ledger's own rule lets both be. A serial is unique to its maker
/// (RFC 6030 section 4.3.1); a fob whose maker nobody told may be of any, so its serial is taken for everybody's. A person looks
/// at the papers then; whoever registers both in the same moment is not caught, for the ledger's rule is by maker.
///
/// # Errors
/// Storage.
pub async fn namesake(
    ledger: &dyn Ledger,
    maker: &Option<String>,
    serial: Option<&str>,
) -> Result<Option<TokenId>, LedgerError> {
    let Some(serial) = serial else { return Ok(None) };
    if maker.is_some() {
        let unnamed = Unique::Fob {
            manufacturer: None,
            serial: serial.to_owned(),
        };
        return ledger.holder(&unnamed).await;
    }
    let filter = Filter {
        alive: true,
        serial: Some(serial.to_owned()),
        ..Filter::default()
    };
    let found = ledger.find(&filter, None, MOST_NAMESAKES).await?.items;
    let is_fob = |token: &&TokenRecord| matches!(token.kind, TokenKind::Fob | TokenKind::NfcFob);
    Ok(found.iter().find(is_fob).map(|token| token.id))
}

/// What no other live token may be: itself, first, and its serial of a maker whom nobody told, of which see [`namesake`].
fn claims(token: &Delivered) -> impl Iterator<Item = (&Option<String>, &String)> {
    let makers = [Some(&token.maker), token.maker.as_ref().map(|_| &None)];
    let serial = token.serial.as_ref();
    makers
        .into_iter()
        .flatten()
        .filter_map(move |maker| Some((maker, serial?)))
}

fn fob((manufacturer, serial): (&Option<String>, &String)) -> Unique {
    Unique::Fob {
        manufacturer: manufacturer.clone(),
        serial: serial.clone(),
    }
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
    let (authority, batch) = (authority.clone(), prepared.batch);
    let commits = prepared.arriving.into_iter().map(move |token| {
        let Arriving { record, seed, unique } = token;
        let detail: Facts = facts([
            ("kind", json!(record.kind)),
            ("state", json!(record.state)),
            ("batch", json!(batch)),
        ]);
        let event = Event {
            name: "token.imported",
            authority: authority.clone(),
            token: Some(record.id),
            at,
            detail,
        };
        let seed = Some(seed);
        (event, vec![Mutation::Insert { record, seed, unique }])
    });
    // Each is made when it is its turn, beside the one that is being written.
    ledger.commit_all(Box::new(commits)).await
}

/// The record of a token. Whom the file names, it is for, and pending; the others are in the inventory.
fn arriving(token: Delivered, batch: &str, unique: Option<Unique>) -> Arriving {
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
    let seed = token.seed;
    Arriving { record, seed, unique }
}
