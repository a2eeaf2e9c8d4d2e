//! The one writer: a task with the only connection that may write and a queue before it. Commits that wait at the same time
//! share a transaction, and so one `fsync`; each has a savepoint of its own, so that one that is refused leaves no trace and
//! does not take the others with it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Arguments, ConnectOptions, Connection, Row, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::apply::Apply;
use super::bulk;
use super::fault::{Place, closed};
use super::lines::{Lines, Table};
use crate::ledger::journal::{self, Chain};
use crate::ledger::lock::Owner;
use crate::ledger::seal::{Keys, Tag};
use crate::ledger::{BatchFailure, Commits, Event, LedgerError, Mutation};

/// Commits that may share one transaction. More would only make the first of them wait longer.
const GROUP: usize = 64;
/// How long until the write-ahead log is tried again when a reader kept it from being emptied.
const WIPE_RETRY: Duration = Duration::from_millis(500);

/// For a large batch: pages stay in memory until the end, where with the usual cache every index would be written over and over,
/// and the log is emptied when the answer is out.
const EXPAND: &str = "PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 0";
/// Back to what `common` in `sqlite.rs` sets, and SQLite's own default.
const SETTLE: &str = "PRAGMA cache_size = -512; PRAGMA wal_autocheckpoint = 1000; PRAGMA shrink_memory; \
                      PRAGMA wal_checkpoint(PASSIVE)";

/// A commit in the queue.
pub(crate) struct Commit {
    pub(crate) event: Event,
    pub(crate) mutations: Vec<Mutation>,
    pub(crate) reply: oneshot::Sender<Result<u64, LedgerError>>,
}

/// What one commit writes.
pub(super) type Order = (Event, Vec<Mutation>);

/// Many commits that stand or fall together.
pub(crate) struct Batch {
    pub(crate) orders: Commits,
    pub(crate) reply: oneshot::Sender<Result<u64, BatchFailure>>,
}

/// What the queue carries.
pub(crate) enum Request {
    Commit(Commit),
    Batch(Batch),
    /// Ends the writer after what came before it.
    Close(oneshot::Sender<()>),
}

/// The writer's side of the ledger.
pub(crate) struct Writer {
    pub(crate) options: SqliteConnectOptions,
    pub(crate) place: Place,
    pub(crate) keys: Arc<Keys>,
    /// None after a fault: the connection's transaction state is then unknown, so a fresh one takes its place.
    pub(crate) conn: Option<SqliteConnection>,
    /// Where the chain stands on disk; shared for [`head`](super::SqliteLedger::head).
    pub(crate) chain: Arc<Mutex<Result<Chain, LedgerError>>>,
    /// Destroyed seeds may still be in the write-ahead log.
    pub(crate) wipe_due: bool,
    /// Released last.
    pub(crate) owner: Owner,
}

impl Writer {
    /// Serves the queue until it is closed or everybody has left.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut waiting = Vec::with_capacity(GROUP);
        let mut leaving = None;
        while leaving.is_none() {
            let received = if self.wipe_due {
                match tokio::time::timeout(WIPE_RETRY, queue.recv_many(&mut waiting, GROUP)).await {
                    Ok(received) => received,
                    Err(_) => {
                        self.wipe().await;
                        continue;
                    }
                }
            } else {
                queue.recv_many(&mut waiting, GROUP).await
            };
            if received == 0 {
                break;
            }
            let mut commits = Vec::with_capacity(waiting.len());
            for request in waiting.drain(..) {
                match request {
                    Request::Commit(commit) if leaving.is_none() => commits.push(commit),
                    Request::Commit(late) => drop(late.reply.send(Err(closed()))),
                    Request::Batch(batch) if leaving.is_none() => {
                        self.serve(std::mem::take(&mut commits)).await;
                        self.serve_batch(batch).await;
                    }
                    Request::Batch(late) => drop(late.reply.send(Err(BatchFailure { at: 0, error: closed() }))),
                    Request::Close(done) => leaving = Some(done),
                }
            }
            self.serve(commits).await;
        }
        queue.close();
        if let Some(mut conn) = self.conn.take() {
            let _ = empty_log(&mut conn).await;
            let _ = conn.close().await;
        }
        drop(self.owner);
        if let Some(done) = leaving {
            let _ = done.send(());
        }
    }

    /// One transaction for all of `commits`, then their replies.
    async fn serve(&mut self, commits: Vec<Commit>) {
        if commits.is_empty() {
            return;
        }
        let mut replies = Vec::with_capacity(commits.len());
        let mut orders = Vec::with_capacity(commits.len());
        for commit in commits {
            replies.push(commit.reply);
            orders.push((commit.event, commit.mutations));
        }
        let wiped = orders.iter().any(|(_, mutations)| wipes(mutations));
        match self.transaction(orders).await {
            Ok(outcomes) => {
                if wiped {
                    self.wipe_due = true;
                    self.wipe().await;
                }
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    let _ = reply.send(outcome);
                }
            }
            Err(fault) => {
                if let Some(conn) = self.conn.take() {
                    let _ = conn.close_hard().await;
                }
                for reply in replies {
                    let _ = reply.send(Err(fault.clone()));
                }
            }
        }
    }

    /// One transaction for all of a batch, then its reply.
    async fn serve_batch(&mut self, batch: Batch) {
        let large = batch.orders.len() > bulk::ROUND;
        let outcome = self.batch(batch.orders, large).await;
        if let Ok((_, true)) = outcome {
            self.wipe_due = true;
            self.wipe().await;
        }
        // What stopped it may have been SQLite: a fresh connection costs nothing here.
        if outcome.is_err()
            && let Some(conn) = self.conn.take()
        {
            let _ = conn.close_hard().await;
        }
        let _ = batch.reply.send(outcome.map(|(count, _)| count));
        if large && let Some(mut conn) = self.conn.take() {
            // Who asked has the answer: what was written is in the log, and this moves it on. A connection that does not come back
            // to its usual measure is left to a fresh one.
            match settle(&mut conn).await {
                Ok(()) => self.conn = Some(conn),
                Err(_) => drop(conn.close_hard().await),
            }
        }
    }

    /// The number of the last entry, and whether a seed was destroyed.
    async fn batch(&mut self, mut orders: Commits, large: bool) -> Result<(u64, bool), BatchFailure> {
        let whole = |error| BatchFailure { at: 0, error };
        let (keys, place) = (Arc::clone(&self.keys), self.place.clone());
        let fault = |error| whole(place.fault(&error));
        let shared = Arc::clone(&self.chain);
        let conn = self.connection().await.map_err(whole)?;
        let before = get(&shared).map_err(whole)?;
        if large {
            sqlx::query(EXPAND).execute(&mut *conn).await.map_err(fault)?;
        }
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        let mut chain = before;
        let mut wiped = false;
        let mut at = 0;
        let mut next = orders.next();
        while let Some(order) = next {
            if bulk::inserts_only(&order) {
                let refused = |(after, error)| BatchFailure { at: at + after, error };
                let run = bulk::insert(&mut tx, &keys, &place, chain, order, orders).await;
                let done = run.map_err(refused)?;
                (chain, next, orders) = (done.chain, done.next, done.rest);
                at += done.count;
            } else {
                let refused = |error| BatchFailure { at, error };
                let (event, mutations) = order;
                wiped |= wipes(&mutations);
                let done = changes(&mut tx, &keys, &place, chain, event, mutations).await;
                let (extended, entry) = done.map_err(refused)?;
                let mut entries = Entries::with_capacity(1);
                entries.add(entry);
                entries.write(&mut tx, &place).await.map_err(refused)?;
                (chain, next) = (extended, orders.next());
                at += 1;
            }
        }
        if chain != before {
            write_head(&mut tx, &keys, &place, &before, &chain)
                .await
                .map_err(whole)?;
        }
        tx.commit().await.map_err(fault)?;
        set(&shared, Ok(chain));
        Ok((chain.count, wiped))
    }

    /// The connection; a fresh one after a fault.
    async fn connection(&mut self) -> Result<&mut SqliteConnection, LedgerError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                let conn = self.options.connect().await;
                let mut conn = conn.map_err(|error| self.place.fault(&error))?;
                // What was last acknowledged decides, not what we remember from before the fault.
                set(&self.chain, read_chain(&mut conn, &self.keys, &self.place).await);
                conn
            }
        };
        Ok(self.conn.insert(conn))
    }

    /// The outcome of each, or the fault for which none of them was written.
    async fn transaction(&mut self, orders: Vec<Order>) -> Result<Vec<Result<u64, LedgerError>>, LedgerError> {
        let (keys, place) = (Arc::clone(&self.keys), self.place.clone());
        let fault = |error| place.fault(&error);
        let shared = Arc::clone(&self.chain);
        let conn = self.connection().await?;
        let before = get(&shared)?;
        let mut chain = before;
        let mut outcomes = Vec::with_capacity(orders.len());
        let mut entries = Entries::with_capacity(orders.len());
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        // Who is alone needs no savepoint: when it is refused, all is rolled back.
        let alone = orders.len() == 1;
        for (event, mutations) in orders {
            let outcome = if alone {
                changes(&mut tx, &keys, &place, chain, event, mutations).await
            } else {
                let mut one = tx.begin().await.map_err(fault)?;
                let outcome = changes(&mut one, &keys, &place, chain, event, mutations).await;
                match &outcome {
                    Ok(_) => one.commit().await.map_err(fault)?,
                    // Fails when SQLite has already given the transaction up, as it does on a full disk: a fault for all.
                    Err(refusal) => one.rollback().await.map_err(|_| refusal.clone())?,
                }
                outcome
            };
            outcomes.push(outcome.map(|(next, entry)| {
                chain = next;
                entries.add(entry);
                next.count
            }));
        }
        if chain == before {
            // As above: then what was refused tells why.
            if let Err(error) = tx.rollback().await {
                let why = outcomes.into_iter().find_map(Result::err);
                return Err(why.unwrap_or_else(|| fault(error)));
            }
            return Ok(outcomes);
        }
        entries.write(&mut tx, &place).await?;
        write_head(&mut tx, &keys, &place, &before, &chain).await?;
        tx.commit().await.map_err(fault)?;
        set(&shared, Ok(chain));
        Ok(outcomes)
    }

    /// Moves the write-ahead log into the database and cuts it to nothing, so that no sealed seed is left in it. A reader
    /// can be in the way; then it stays due.
    async fn wipe(&mut self) {
        if let Some(conn) = &mut self.conn {
            self.wipe_due = !empty_log(conn).await.unwrap_or(false);
        }
    }
}

/// After a large batch: gives its memory back, its long statements too, and moves the log into the database.
async fn settle(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    conn.clear_cached_statements().await?;
    sqlx::query(SETTLE).execute(conn).await?;
    Ok(())
}

/// Whether a seed is destroyed.
fn wipes(mutations: &[Mutation]) -> bool {
    let wipes = |mutation: &Mutation| matches!(mutation, Mutation::DestroySeed { .. } | Mutation::ReplaceSeed { .. });
    mutations.iter().any(wipes)
}

const JOURNAL: Table = Table {
    insert: "INSERT INTO journal (seq, payload, mac) VALUES ",
    columns: 3,
};

/// A row of the journal: number, payload, MAC.
pub(super) type Entry = (i64, String, Tag);

/// All mutations of one commit. The journal entry that goes with it is still to be written.
async fn changes(
    conn: &mut SqliteConnection,
    keys: &Keys,
    place: &Place,
    chain: Chain,
    event: Event,
    mutations: Vec<Mutation>,
) -> Result<(Chain, Entry), LedgerError> {
    let mut recorded = Vec::with_capacity(mutations.len());
    let seq = chain.count.saturating_add(1);
    let mut apply = Apply {
        conn,
        keys,
        place,
        at: event.at,
        seq: row_number(seq)?,
    };
    for mutation in mutations {
        recorded.extend(apply.mutation(mutation).await?);
    }
    let payload = journal::payload(seq, &event, &recorded)?;
    entry(keys, chain, payload)
}

/// The next entry of the journal, and the chain with it.
pub(super) fn entry(keys: &Keys, chain: Chain, payload: String) -> Result<(Chain, Entry), LedgerError> {
    let next = chain.extended(keys, &payload);
    Ok((next, (row_number(next.count)?, payload, next.last)))
}

/// Journal entries, to be written in one statement.
pub(super) struct Entries(Lines);

impl Entries {
    pub(super) fn with_capacity(entries: usize) -> Self {
        Self(Lines::with_capacity(&JOURNAL, entries))
    }

    pub(super) fn count(&self) -> usize {
        self.0.count()
    }

    pub(super) fn add(&mut self, (seq, payload, mac): Entry) {
        self.0.add(|to| {
            to.add(seq)?;
            to.add(payload)?;
            to.add(mac.to_vec())
        });
    }

    pub(super) async fn write(self, conn: &mut SqliteConnection, place: &Place) -> Result<(), LedgerError> {
        self.0.write(conn).await.map_err(|error| place.fault(&error))
    }
}

/// Moves the head on, if it is where we left it.
async fn write_head(
    conn: &mut SqliteConnection,
    keys: &Keys,
    place: &Place,
    before: &Chain,
    chain: &Chain,
) -> Result<(), LedgerError> {
    let query = sqlx::query("UPDATE head SET count = ?, last = ?, mac = ? WHERE id = 1 AND count = ? AND last = ?")
        .bind(row_number(chain.count)?)
        .bind(chain.last.to_vec())
        .bind(chain.head_mac(keys).to_vec())
        .bind(row_number(before.count)?)
        .bind(before.last.to_vec());
    match query.execute(conn).await {
        Ok(done) if done.rows_affected() == 1 => Ok(()),
        Ok(_) => Err(broken("its head was changed by another program")),
        Err(error) => Err(place.fault(&error)),
    }
}

/// Where the chain stands, by its head, which must be authentic and agree with the last entry: otherwise nothing more is
/// written, so that the traces stay as they are.
pub(crate) async fn read_chain(conn: &mut SqliteConnection, keys: &Keys, place: &Place) -> Result<Chain, LedgerError> {
    let fault = |error| place.fault(&error);
    let row = sqlx::query("SELECT count, last, mac FROM head WHERE id = 1")
        .fetch_optional(&mut *conn)
        .await;
    let row = row.map_err(fault)?.ok_or_else(|| broken("its head is missing"))?;
    let count: i64 = row.try_get("count").map_err(fault)?;
    let last: Vec<u8> = row.try_get("last").map_err(fault)?;
    let mac: Vec<u8> = row.try_get("mac").map_err(fault)?;
    let chain = Chain {
        count: u64::try_from(count).map_err(|_| broken("its head is not authentic"))?,
        last: last.try_into().map_err(|_| broken("its head is not authentic"))?,
    };
    if mac != chain.head_mac(keys) {
        return Err(broken("its head is not authentic"));
    }
    let row = sqlx::query("SELECT seq, mac FROM journal ORDER BY seq DESC LIMIT 1")
        .fetch_optional(conn)
        .await;
    let end: Option<(i64, Vec<u8>)> = match row.map_err(fault)? {
        Some(row) => Some((row.try_get("seq").map_err(fault)?, row.try_get("mac").map_err(fault)?)),
        None => None,
    };
    let agrees = match end {
        Some((seq, mac)) => seq == count && mac == chain.last,
        None => count == 0,
    };
    if agrees {
        Ok(chain)
    } else {
        Err(broken("its end is not the one its head names"))
    }
}

/// True when the log is empty afterwards. Waits for readers only as long as a look-up takes, not for one that verifies: the
/// commit that asked for it is to be answered.
pub(crate) async fn empty_log(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    sqlx::query("PRAGMA busy_timeout = 50").execute(&mut *conn).await?;
    let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(&mut *conn)
        .await;
    sqlx::query("PRAGMA busy_timeout = 5000").execute(conn).await?;
    Ok(emptied?.try_get::<i64, _>(0)? == 0)
}

/// The lock is never held across an await and its holders do not panic, so poison carries no meaning.
pub(crate) fn get(chain: &Mutex<Result<Chain, LedgerError>>) -> Result<Chain, LedgerError> {
    chain.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
}

fn set(chain: &Mutex<Result<Chain, LedgerError>>, now: Result<Chain, LedgerError>) {
    *chain.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = now;
}

fn broken(what: &str) -> LedgerError {
    LedgerError::Damaged(format!("the journal cannot be continued, {what}"))
}

fn row_number(count: u64) -> Result<i64, LedgerError> {
    i64::try_from(count).map_err(|_| LedgerError::Storage("the journal has no numbers left".to_owned()))
}
