//! The one writer: a task with the only connection that may write and a queue before it. Commits that wait at the same time
//! share a transaction, and so one `fsync`; each has a savepoint of its own, so that one that is refused leaves no trace and
//! does not take the others with it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::apply::Apply;
use super::fault::{Place, closed};
use crate::ledger::journal::{self, Chain};
use crate::ledger::lock::Owner;
use crate::ledger::seal::Keys;
use crate::ledger::{Event, LedgerError, Mutation};

/// Commits that may share one transaction. More would only make the first of them wait longer.
const GROUP: usize = 32;
/// How long until the write-ahead log is tried again when a reader kept it from being emptied.
const WIPE_RETRY: Duration = Duration::from_millis(500);

/// A commit in the queue.
pub(crate) struct Commit {
    pub(crate) event: Event,
    pub(crate) mutations: Vec<Mutation>,
    pub(crate) reply: oneshot::Sender<Result<u64, LedgerError>>,
}

/// What the queue carries.
pub(crate) enum Request {
    Commit(Commit),
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
        let wipes = orders
            .iter()
            .flat_map(|(_, mutations)| mutations)
            .any(|mutation| matches!(mutation, Mutation::DestroySeed { .. }));
        match self.transaction(orders).await {
            Ok(outcomes) => {
                if wipes {
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

    /// The outcome of each, or the fault for which none of them was written.
    async fn transaction(
        &mut self,
        orders: Vec<(Event, Vec<Mutation>)>,
    ) -> Result<Vec<Result<u64, LedgerError>>, LedgerError> {
        let place = self.place.clone();
        let fault = |error| place.fault(&error);
        let conn = match &mut self.conn {
            Some(conn) => conn,
            None => {
                let mut conn = self.options.connect().await.map_err(fault)?;
                // What was last acknowledged decides, not what we remember from before the fault.
                set(&self.chain, read_chain(&mut conn, &self.keys, &self.place).await);
                self.conn.insert(conn)
            }
        };
        let before = get(&self.chain)?;
        let mut chain = before;
        let mut outcomes = Vec::with_capacity(orders.len());
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        for (event, mutations) in orders {
            let mut one = tx.begin().await.map_err(fault)?;
            match entry(&mut one, &self.keys, &self.place, chain, event, mutations).await {
                Ok(next) => {
                    one.commit().await.map_err(fault)?;
                    chain = next;
                    outcomes.push(Ok(next.count));
                }
                Err(refusal) => {
                    // Fails when SQLite has already given the transaction up, as it does on a full disk: a fault for all.
                    one.rollback().await.map_err(|_| refusal.clone())?;
                    outcomes.push(Err(refusal));
                }
            }
        }
        if chain == before {
            tx.rollback().await.map_err(fault)?;
            return Ok(outcomes);
        }
        write_head(&mut tx, &self.keys, &self.place, &before, &chain).await?;
        tx.commit().await.map_err(fault)?;
        set(&self.chain, Ok(chain));
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

/// All mutations of one commit and its journal entry.
async fn entry(
    conn: &mut SqliteConnection,
    keys: &Keys,
    place: &Place,
    chain: Chain,
    event: Event,
    mutations: Vec<Mutation>,
) -> Result<Chain, LedgerError> {
    let mut recorded = Vec::with_capacity(mutations.len());
    let mut apply = Apply {
        conn: &mut *conn,
        keys,
        place,
        at: event.at,
    };
    for mutation in mutations {
        recorded.extend(apply.mutation(mutation).await?);
    }
    let payload = journal::payload(chain.count.saturating_add(1), &event, &recorded)?;
    let next = chain.extended(keys, &payload);
    let query = sqlx::query("INSERT INTO journal (seq, payload, mac) VALUES (?, ?, ?)")
        .bind(row_number(next.count)?)
        .bind(payload)
        .bind(next.last.to_vec());
    query.execute(conn).await.map_err(|error| place.fault(&error))?;
    Ok(next)
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
