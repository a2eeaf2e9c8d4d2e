//! A delivery: many new tokens, each with a journal entry of its own, some hundred at a time. What is found, refused and written is
//! what one commit after the other would find, refuse and write: `tests/ledger/contract.rs` holds the two against each other.
//!
//! Two hands: one seals the seeds and puts the statements together, the other has SQLite do them. The first is ahead of the
//! second by a round or two, so that neither waits for long.

use std::sync::Arc;

use sqlx::SqliteConnection;
use tokio::sync::mpsc;

use super::fault::Place;
use super::insert::{New, Rows};
use super::writer::{Entries, Order, entry};
use crate::ledger::journal::{self, Chain};
use crate::ledger::seal::Keys;
use crate::ledger::{Commits, Event, LedgerError, Mutation};

/// Tokens of one round of statements. Each statement goes to SQLite's thread and back; with more tokens its program, which SQLite
/// makes once, would only be larger.
pub(super) const ROUND: usize = 256;
/// Rounds that may be ready and not yet written.
const AHEAD: usize = 2;

/// Whether a commit does nothing but insert a token.
pub(super) fn inserts_only(order: &Order) -> bool {
    matches!(order.1.as_slice(), [Mutation::Insert { .. }])
}

/// What one round writes.
struct Round {
    rows: Rows,
    entries: Entries,
    /// Why the token after these cannot be written.
    refused: Option<LedgerError>,
}

/// What became of a run of insertions.
pub(super) struct Inserted {
    /// The chain with them.
    pub(super) chain: Chain,
    /// How many there were.
    pub(super) count: usize,
    /// What comes after them and does more than insert.
    pub(super) next: Option<Order>,
    pub(super) rest: Commits,
}

/// Writes `first` and what follows it, as long as that only inserts, one after the other. Answers with which of them could not be
/// done; a fault of the storage is told of the first of its round.
pub(super) async fn insert(
    conn: &mut SqliteConnection,
    keys: &Arc<Keys>,
    place: &Place,
    chain: Chain,
    first: Order,
    rest: Commits,
) -> Result<Inserted, (usize, LedgerError)> {
    let (ready, mut rounds) = mpsc::channel(AHEAD);
    let keys = Arc::clone(keys);
    let first_hand = tokio::task::spawn_blocking(move || {
        let mut hand = FirstHand {
            keys,
            chain,
            next: Some(first),
            rest,
        };
        loop {
            let round = hand.make();
            let last = round.entries.count() < ROUND;
            // Nobody takes it when a round before was refused.
            if ready.blocking_send(round).is_err() || last {
                return hand;
            }
        }
    });
    let mut count = 0;
    while let Some(round) = rounds.recv().await {
        let made = round.entries.count();
        let refused = |(at, error)| (count + at, error);
        round.rows.write(conn, place).await.map_err(refused)?;
        let written = round.entries.write(conn, place).await;
        written.map_err(|error| (count, error))?;
        count += made;
        if let Some(error) = round.refused {
            return Err((count, error));
        }
    }
    let hand = first_hand.await.map_err(|_| {
        let why = "the making of a delivery's rows ended unexpectedly".to_owned();
        (count, LedgerError::Storage(why))
    })?;
    Ok(Inserted {
        chain: hand.chain,
        count,
        next: hand.next,
        rest: hand.rest,
    })
}

/// Who puts the rounds together.
struct FirstHand {
    keys: Arc<Keys>,
    /// After what is ready.
    chain: Chain,
    next: Option<Order>,
    rest: Commits,
}

impl FirstHand {
    /// Rows and journal entries of the next tokens, up to one that cannot be written or does more than insert.
    fn make(&mut self) -> Round {
        let mut round = Round {
            rows: Rows::with_capacity(ROUND),
            entries: Entries::with_capacity(ROUND),
            refused: None,
        };
        while round.entries.count() < ROUND
            && let Some((event, mutations)) = self.next.take_if(|order| inserts_only(order))
        {
            self.next = self.rest.next();
            for mutation in mutations {
                let Mutation::Insert { record, seed, unique } = mutation else {
                    continue;
                };
                let new = New {
                    record: *record,
                    seed,
                    unique,
                };
                if let Err(error) = round.add(&self.keys, &mut self.chain, &event, new) {
                    round.refused = Some(error);
                    return round;
                }
            }
        }
        round
    }
}

impl Round {
    /// Adds one token and moves the chain on. When it fails there may be rows without an entry: the whole delivery is undone then.
    fn add(&mut self, keys: &Keys, chain: &mut Chain, event: &Event, new: New) -> Result<(), LedgerError> {
        let recorded = self.rows.add(keys, event.at, new)?;
        let payload = journal::payload(chain.count.saturating_add(1), event, &[recorded])?;
        let (next, entry) = entry(keys, *chain, payload)?;
        self.entries.add(entry);
        *chain = next;
        Ok(())
    }
}
