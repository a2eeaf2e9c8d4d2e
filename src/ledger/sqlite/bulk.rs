//! A delivery: many new tokens, each with a journal entry of its own, a few dozen at a time. What is found, refused and written is
//! what one commit after the other would find, refuse and write: `tests/ledger/contract.rs` holds the two against each other.
//!
//! Two hands: one seals the seeds and puts together what the rows and the journal hold, the other writes. The first is ahead of the
//! second by a round or two, so that neither waits for long.

use std::sync::Arc;

use sqlx::SqliteConnection;
use tokio::sync::mpsc;

use super::fault::Place;
use super::insert::{New, Rows, prepare, write};
use super::writer::{Entry, Order, row_number, write_entries};
use crate::ledger::journal::{self, Chain};
use crate::ledger::seal::Keys;
use crate::ledger::{Event, LedgerError, Mutation};

/// Tokens of one round of statements. More would only make the statements larger.
pub(super) const ROUND: usize = 64;
/// Rounds that may be ready and not yet written.
const AHEAD: usize = 2;

/// Whether a commit does nothing but insert a token.
pub(super) fn inserts_only(order: &Order) -> bool {
    matches!(order.1.as_slice(), [Mutation::Insert { .. }])
}

/// What one round writes.
#[derive(Default)]
struct Round {
    rows: Vec<Rows>,
    entries: Vec<Entry>,
    /// Why the token after these cannot be written.
    refused: Option<LedgerError>,
}

/// Does `orders`, which insert only, one after the other. Answers with the chain as it is then, or which of them could not be done.
/// A fault of the storage is told of the first of its round.
pub(super) async fn insert(
    conn: &mut SqliteConnection,
    keys: &Arc<Keys>,
    place: &Place,
    mut chain: Chain,
    orders: Vec<Order>,
) -> Result<Chain, (usize, LedgerError)> {
    let all = orders.len();
    let (ready, mut rounds) = mpsc::channel(AHEAD);
    let keys = Arc::clone(keys);
    tokio::task::spawn_blocking(move || {
        let mut chain = chain;
        let mut orders = orders.into_iter();
        loop {
            let round = make(&keys, &mut chain, orders.by_ref().take(ROUND));
            let last = round.rows.len() < ROUND;
            // Nobody takes it when a round before was refused.
            if ready.blocking_send((round, chain)).is_err() || last {
                return;
            }
        }
    });
    let mut done = 0;
    while let Some((round, after)) = rounds.recv().await {
        let count = round.rows.len();
        if count > 0 {
            let refused = |(at, error)| (done + at, error);
            write(conn, place, &round.rows).await.map_err(refused)?;
            let written = write_entries(conn, place, round.entries).await;
            written.map_err(|error| (done, error))?;
        }
        done += count;
        if let Some(error) = round.refused {
            return Err((done, error));
        }
        chain = after;
    }
    if done < all {
        let error = LedgerError::Storage("the making of a delivery's rows ended unexpectedly".to_owned());
        return Err((done, error));
    }
    Ok(chain)
}

/// Rows and journal entries of the next tokens, up to one that cannot be written.
fn make(keys: &Keys, chain: &mut Chain, orders: impl Iterator<Item = Order>) -> Round {
    let mut round = Round::default();
    for (event, mutations) in orders {
        for mutation in mutations {
            let Mutation::Insert { record, seed, unique } = mutation else {
                continue;
            };
            let new = New {
                record: *record,
                seed,
                unique,
            };
            match one(keys, *chain, &event, new) {
                Ok((next, row, entry)) => {
                    *chain = next;
                    round.rows.push(row);
                    round.entries.push(entry);
                }
                Err(error) => {
                    round.refused = Some(error);
                    return round;
                }
            }
        }
    }
    round
}

fn one(keys: &Keys, chain: Chain, event: &Event, new: New) -> Result<(Chain, Rows, Entry), LedgerError> {
    let (row, recorded) = prepare(keys, event.at, new)?;
    let payload = journal::payload(chain.count.saturating_add(1), event, &[recorded])?;
    let next = chain.extended(keys, &payload);
    Ok((next, row, (row_number(next.count)?, payload, next.last)))
}
