//! A delivery: many new tokens, each with a journal entry of its own, a few dozen at a time. What is found, refused and written is
//! what one commit after the other would find, refuse and write: `tests/ledger/contract.rs` holds the two against each other.

use sqlx::SqliteConnection;

use super::fault::Place;
use super::insert::{New, Taken, prepare, write};
use super::writer::{Order, row_number, write_entries};
use crate::ledger::journal::{self, Chain};
use crate::ledger::seal::Keys;
use crate::ledger::{Event, LedgerError, Mutation};

/// Tokens of one round of statements. More would only make the statements larger.
pub(super) const ROUND: usize = 64;

/// Whether a commit does nothing but insert a token.
pub(super) fn inserts_only(order: &Order) -> bool {
    matches!(order.1.as_slice(), [Mutation::Insert { .. }])
}

/// Does `orders`, which insert only, one after the other. Answers with the chain as it is then, or which of them could not be done.
/// A fault of the storage is told of the first.
pub(super) async fn insert(
    conn: &mut SqliteConnection,
    keys: &Keys,
    place: &Place,
    mut chain: Chain,
    orders: Vec<Order>,
) -> Result<Chain, (usize, LedgerError)> {
    let whole = |error| (0, error);
    let news: Vec<(Event, New)> = orders
        .into_iter()
        .flat_map(|(event, mutations)| {
            mutations.into_iter().filter_map(move |mutation| match mutation {
                Mutation::Insert { record, seed, unique } => Some((
                    event.clone(),
                    New {
                        record: *record,
                        seed,
                        unique,
                    },
                )),
                _ => None,
            })
        })
        .collect();
    let mut taken = Taken::look(conn, place, keys, news.iter().map(|(_, new)| new))
        .await
        .map_err(whole)?;
    let mut rows = Vec::with_capacity(news.len());
    let mut entries = Vec::with_capacity(news.len());
    for (at, (event, new)) in news.into_iter().enumerate() {
        let refused = |error| (at, error);
        let (row, recorded) = prepare(keys, event.at, new, &mut taken).map_err(refused)?;
        let payload = journal::payload(chain.count.saturating_add(1), &event, &[recorded]).map_err(refused)?;
        chain = chain.extended(keys, &payload);
        rows.push(row);
        entries.push((row_number(chain.count).map_err(refused)?, payload, chain.last));
    }
    write(conn, place, rows).await.map_err(whole)?;
    write_entries(conn, place, entries).await.map_err(whole)?;
    Ok(chain)
}
