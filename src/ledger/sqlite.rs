//! The ledger in one SQLite file: the embedded default.
//!
//! One task writes ([`writer`]); a pool of two connections reads. Write-ahead log, `synchronous=FULL`: a commit that was
//! acknowledged has been through `fsync`. `secure_delete` and a truncating checkpoint keep destroyed seeds from lingering.

mod apply;
mod assign;
mod bulk;
mod bypass;
mod cases;
mod clock;
mod fault;
mod insert;
mod lines;
mod people;
mod rows;
mod tries;
mod writer;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, QueryBuilder, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::apply::body;
pub(crate) use self::cases::case_personal;
pub(crate) use self::fault::Place;
pub(crate) use self::rows::{Reader, drift_point, personal, sealed};

use self::fault::closed;
use self::writer::{Batch, Commit, Request, Writer};
use super::canonical::canonical;
use super::journal::{self, Chain, hex};
use super::lock::{Owner, create_private, private, refusal};
use super::seal::{KeySource, Keys, random};
use super::{
    Account, BatchFailure, BypassCounts, BypassFilter, BypassRecord, CaseFilter, CaseHistory, CaseNote, CaseRecord,
    Commits, DriftPoint, Event, Filter, Frozen, Intent, JournalEntry, Ledger, LedgerError, Mutation, Obligation,
    ObligationFilter, Page, Standing, TokenRecord, Unique, VerifyReport,
};
use crate::types::stamp::{Reading, Stamp};
use crate::types::{CaseId, ObligationId, Secret, TokenId};

/// The steps from nothing to today's tables.
pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("src/ledger/migrations");

/// Name of the database in the state directory.
const DATABASE_FILE: &str = "ledger.db";
/// Most items of one page.
const PAGE_CAP: u32 = 1000;
/// Most rows of one history.
const DRIFT_CAP: u32 = 4096;
/// Look-ups of one statement.
const HOLDERS: usize = 2048;
/// Commits that may wait before a further caller waits to be let into the queue.
const QUEUE: usize = 64;

/// What it takes to open a ledger.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The state directory; made (0700) if it is absent.
    pub directory: PathBuf,
    /// Where the sealing key is.
    pub key: KeySource,
}

/// A [`Ledger`] in one SQLite file that this process alone owns.
pub struct SqliteLedger {
    place: Place,
    keys: Arc<Keys>,
    readers: SqlitePool,
    queue: mpsc::Sender<Request>,
    chain: Arc<Mutex<Result<Chain, LedgerError>>>,
}

impl SqliteLedger {
    /// Takes the lock, reads (or, for a new ledger in a key file, makes) the key, migrates, and starts the writer, which
    /// needs a Tokio runtime. Reads no table as a whole.
    ///
    /// A ledger whose journal was cut or whose head was changed opens, so that it can be looked at and verified, but refuses
    /// every commit with [`LedgerError::Damaged`].
    ///
    /// # Errors
    /// [`LedgerError::Owned`], [`LedgerError::Key`], [`LedgerError::Newer`], [`LedgerError::ReadOnly`],
    /// [`LedgerError::Full`], [`LedgerError::Damaged`], [`LedgerError::Storage`].
    pub async fn open(options: OpenOptions) -> Result<Self, LedgerError> {
        let place = Place::new(&options.directory);
        let owner = Owner::take(&options.directory)?;
        let path = options.directory.join(DATABASE_FILE);
        let is_new = std::fs::metadata(&path).map_or(true, |meta| meta.len() == 0);
        let keys = Arc::new(Keys::load(&options.key, is_new)?);
        prepare_file(&path).map_err(|why| refusal(&options.directory.display().to_string(), &why))?;

        let connect = writing(&path);
        let mut conn = connect.connect().await.map_err(|error| place.fault(&error))?;
        migrate(&mut conn, &place).await?;
        identify(&mut conn, &keys, &place).await?;
        // A crash may have left a destroyed seed in the log. The log is short, so this costs nothing that matters.
        writer::empty_log(&mut conn)
            .await
            .map_err(|error| place.fault(&error))?;
        let chain = Arc::new(Mutex::new(writer::read_chain(&mut conn, &keys, &place).await));

        let (queue, requests) = mpsc::channel(QUEUE);
        let writer = Writer {
            options: connect,
            place: place.clone(),
            keys: Arc::clone(&keys),
            conn: Some(conn),
            chain: Arc::clone(&chain),
            wipe_due: false,
            owner,
        };
        tokio::spawn(writer.run(requests));
        let readers = SqlitePoolOptions::new()
            .max_connections(2)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(reading(&path));
        Ok(Self {
            place,
            keys,
            readers,
            queue,
            chain,
        })
    }

    fn fault(&self, error: &sqlx::Error) -> LedgerError {
        self.place.fault(error)
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn commit(&self, event: Event, mutations: Vec<Mutation>) -> Result<u64, LedgerError> {
        let (reply, answer) = oneshot::channel();
        let commit = Commit {
            event,
            mutations,
            reply,
        };
        self.queue.send(Request::Commit(commit)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    async fn commit_all(&self, commits: Commits) -> Result<u64, BatchFailure> {
        let gone = |_| BatchFailure { at: 0, error: closed() };
        let (reply, answer) = oneshot::channel();
        let batch = Batch { orders: commits, reply };
        let sent = self.queue.send(Request::Batch(batch)).await;
        sent.map_err(|_| BatchFailure { at: 0, error: closed() })?;
        answer.await.map_err(gone)?
    }

    async fn holder(&self, unique: &Unique) -> Result<Option<TokenId>, LedgerError> {
        let holders = self.holders(std::slice::from_ref(unique)).await?;
        Ok(holders.into_iter().next().flatten())
    }

    async fn holders(&self, uniques: &[Unique]) -> Result<Vec<Option<TokenId>>, LedgerError> {
        let tags: Vec<_> = uniques
            .iter()
            .map(|unique| journal::unique_tag(&self.keys, unique))
            .collect();
        let mut found = HashMap::new();
        for round in tags.chunks(HOLDERS) {
            let wanted: Vec<String> = round.iter().map(|tag| hex(tag)).collect();
            let query = sqlx::query(
                "SELECT id, unique_tag FROM tokens WHERE unique_tag IN (SELECT unhex(value) FROM json_each(?))",
            );
            let rows = query.bind(canonical(&wanted)?).fetch_all(&self.readers).await;
            for row in rows.map_err(|error| self.fault(&error))? {
                let read = Reader::new(&row, &self.place, "token");
                found.insert(read.get::<Vec<u8>>("unique_tag")?, read.named::<TokenId>("id")?);
            }
        }
        Ok(tags.iter().map(|tag| found.get(tag.as_slice()).copied()).collect())
    }

    async fn drift(&self, token: TokenId, limit: u32) -> Result<Vec<DriftPoint>, LedgerError> {
        let query = sqlx::query("SELECT * FROM drift WHERE token = ? ORDER BY seq DESC LIMIT ?")
            .bind(token.to_string())
            .bind(i64::from(limit.clamp(1, DRIFT_CAP)));
        let rows = query
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.fault(&error))?;
        rows.iter()
            .rev()
            .map(|row| rows::drift_point(row, &self.place))
            .collect()
    }

    fn head(&self) -> Result<(u64, String), LedgerError> {
        writer::get(&self.chain).map(|chain| (chain.count, hex(&chain.last)))
    }

    async fn standing(&self, account: &Account, caller: u32) -> Result<Standing, LedgerError> {
        self.read_standing(account, caller).await
    }

    async fn recovery_slot(&self, token: TokenId, code: &Secret) -> Result<Option<u16>, LedgerError> {
        self.look_up_code(token, code).await
    }

    async fn recovery_left(&self, token: TokenId) -> Result<u32, LedgerError> {
        self.count_codes(token).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRecord>, LedgerError> {
        let mut query = QueryBuilder::<Sqlite>::new(rows::TOKEN_COLUMNS);
        query.push(" WHERE t.id = ").push_bind(id.to_string());
        let row = query
            .build()
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.fault(&error))?;
        row.map(|row| rows::token(&row, &self.place)).transpose()
    }

    async fn find(&self, filter: &Filter, cursor: Option<&str>, limit: u32) -> Result<Page<TokenRecord>, LedgerError> {
        let limit = limit.clamp(1, PAGE_CAP);
        let after = match cursor {
            Some(cursor) => cursor
                .parse::<TokenId>()
                .map_err(|_| LedgerError::NotFound("cursor"))?
                .to_string(),
            None => String::new(),
        };
        let mut query = QueryBuilder::<Sqlite>::new(rows::TOKEN_COLUMNS);
        query.push(" WHERE t.id > ").push_bind(after);
        if let Some(kind) = filter.kind {
            query.push(" AND t.kind = ").push_bind(kind.as_str());
        }
        if let Some(state) = filter.state {
            // The plus keeps SQLite from the index of states where another finds few rows: nearly all tokens share one state.
            let is_narrow = [&filter.subject, &filter.serial, &filter.batch, &filter.body]
                .iter()
                .any(|wanted| wanted.is_some());
            query.push(if is_narrow {
                " AND +t.state = "
            } else {
                " AND t.state = "
            });
            query.push_bind(state.as_str());
        }
        if filter.alive {
            query.push(" AND t.state <> 'revoked'");
        }
        if let Some(subject) = &filter.subject {
            query.push(" AND p.subject = ").push_bind(subject);
        }
        if let Some(serial) = &filter.serial {
            query.push(" AND p.serial = ").push_bind(serial);
        }
        for (column, wanted) in [
            (" AND t.maker = ", &filter.maker),
            (" AND t.model = ", &filter.model),
            (" AND t.batch = ", &filter.batch),
        ] {
            if let Some(wanted) = wanted {
                query.push(column).push_bind(wanted);
            }
        }
        if let Some(body) = &filter.body {
            query.push(" AND t.body = ").push_bind(body);
        }
        query.push(" ORDER BY t.id LIMIT ").push_bind(i64::from(limit) + 1);
        let mut rows = query.build().fetch(&self.readers);
        let mut items = Vec::new();
        // One by one: a row as SQLite hands it over is several times the size of its record.
        while let Some(row) = rows.try_next().await.map_err(|error| self.fault(&error))? {
            items.push(rows::token(&row, &self.place)?);
        }
        Ok(page(items, limit, |token| token.id.to_string()))
    }

    async fn seed(&self, id: TokenId) -> Result<Secret, LedgerError> {
        let query = sqlx::query("SELECT token, key_id, key_version, nonce, sealed FROM seeds WHERE token = ?");
        let row = query
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.fault(&error))?;
        let sealed = rows::sealed(&row.ok_or(LedgerError::NotFound("seed"))?, &self.place)?;
        self.keys
            .open(id, &sealed)
            .ok_or_else(|| LedgerError::Damaged(format!("the seed of token {id} does not open")))
    }

    async fn obligations(
        &self,
        filter: ObligationFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<Obligation>, LedgerError> {
        let limit = limit.clamp(1, PAGE_CAP);
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT id, token, duty, reality, created, proven, discharged FROM obligations WHERE TRUE",
        );
        if filter.open {
            query.push(" AND discharged IS NULL");
        }
        if let Some(reality) = filter.recognisable {
            // The others are known by a person's word or by the PIN alone.
            query
                .push(" AND json_extract(duty, '$.duty') IN ('delete-credential', 'reset-key', 'delete-oath', 'overwrite-seed') AND reality = ")
                .push_bind(reality.as_str());
        }
        if let Some(cursor) = cursor {
            let (created, id) = age_cursor(cursor).ok_or(LedgerError::NotFound("cursor"))?;
            query
                .push(" AND (created, id) > (")
                .push_bind(created)
                .push(", ")
                .push_bind(id.to_string())
                .push(")");
        }
        query
            .push(" ORDER BY created, id LIMIT ")
            .push_bind(i64::from(limit) + 1);
        let rows = query
            .build()
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.fault(&error))?;
        let items = rows
            .iter()
            .map(|row| rows::obligation(row, &self.place))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(page(items, limit, |item| format!("{}.{}", item.created.0, item.id)))
    }

    async fn obligation(&self, id: ObligationId) -> Result<Option<Obligation>, LedgerError> {
        let query =
            sqlx::query("SELECT id, token, duty, reality, created, proven, discharged FROM obligations WHERE id = ?");
        let row = query
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.fault(&error))?;
        row.map(|row| rows::obligation(&row, &self.place)).transpose()
    }

    async fn deferrals(&self, account: &Account) -> Result<u32, LedgerError> {
        self.read_deferrals(account).await
    }

    async fn freezes(&self) -> Result<Vec<Frozen>, LedgerError> {
        self.read_freezes().await
    }

    async fn alarms(&self, before: u64, limit: u32) -> Result<Vec<u64>, LedgerError> {
        self.read_alarms(before, limit.min(1_000)).await
    }

    async fn case(&self, id: CaseId) -> Result<Option<CaseRecord>, LedgerError> {
        self.read_case(id).await
    }

    async fn case_notes(&self, id: CaseId) -> Result<Vec<CaseNote>, LedgerError> {
        self.read_case_notes(id).await
    }

    async fn cases(
        &self,
        filter: &CaseFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<CaseRecord>, LedgerError> {
        self.read_cases(filter, cursor, limit).await
    }

    async fn case_history(&self, subject: &str, since_least_ms: u64) -> Result<CaseHistory, LedgerError> {
        self.read_case_history(subject, since_least_ms).await
    }

    async fn bypasses(
        &self,
        filter: &BypassFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<BypassRecord>, LedgerError> {
        self.read_bypasses(filter, cursor, limit).await
    }

    async fn bypass_counts(&self, subject: &str, since_least_ms: u64) -> Result<BypassCounts, LedgerError> {
        self.read_bypass_counts(subject, since_least_ms).await
    }

    async fn bypass_of(&self, subject: &str, code: &Secret) -> Result<Option<(BypassRecord, bool)>, LedgerError> {
        self.look_up_bypass(subject, code).await
    }

    async fn next_deadline(&self) -> Result<Option<u64>, LedgerError> {
        self.read_next_deadline().await
    }

    async fn kept_time(&self) -> Result<Option<(Reading, Stamp)>, LedgerError> {
        self.read_kept_time().await
    }

    async fn open_intents(&self) -> Result<Vec<Intent>, LedgerError> {
        let query =
            sqlx::query("SELECT operation, verb, token, phase, detail, started FROM intents ORDER BY operation");
        let rows = query
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.fault(&error))?;
        rows.iter().map(|row| rows::intent(row, &self.place)).collect()
    }

    async fn journal(&self, after: u64, limit: u32) -> Result<Vec<JournalEntry>, LedgerError> {
        let Ok(after) = i64::try_from(after) else {
            return Ok(Vec::new());
        };
        let query = sqlx::query("SELECT seq, payload FROM journal WHERE seq > ? ORDER BY seq LIMIT ?")
            .bind(after)
            .bind(i64::from(limit.clamp(1, PAGE_CAP)));
        let rows = query
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.fault(&error))?;
        rows.iter()
            .map(|row| {
                let read = Reader::new(row, &self.place, "journal entry");
                let entry = journal::parse(read.get("payload")?).map_err(|_| read.damaged("payload"))?;
                Ok(JournalEntry::from(entry))
            })
            .collect()
    }

    async fn verify(&self) -> Result<VerifyReport, LedgerError> {
        let mut conn = self.readers.acquire().await.map_err(|error| self.fault(&error))?;
        super::verify::verify(&mut conn, &self.keys, &self.place).await
    }

    async fn close(&self) {
        // Readers first: one in the middle of a query would keep the log from being emptied.
        self.readers.close().await;
        let (done, gone) = oneshot::channel();
        if self.queue.send(Request::Close(done)).await.is_ok() {
            let _ = gone.await;
        }
    }
}

fn page<T>(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Page<T> {
    let limit = limit as usize;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(cursor);
    Page { items, next }
}

fn age_cursor(cursor: &str) -> Option<(i64, ObligationId)> {
    let (created, id) = cursor.split_once('.')?;
    Some((created.parse().ok()?, id.parse().ok()?))
}

/// Small caches: the daemon as a whole is to fit into 16 MiB, and the kernel caches the file anyway.
fn common(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .pragma("cache_size", "-512")
        .disable_statement_logging()
}

fn writing(path: &Path) -> SqliteConnectOptions {
    common(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("secure_delete", "ON")
        // What a statement may have to undo: pages, sealed seeds among them, that a file would get for each round of a delivery.
        .pragma("temp_store", "MEMORY")
        .statement_cache_capacity(40)
        .thread_name(|_| "ledger-writer".to_owned())
}

fn reading(path: &Path) -> SqliteConnectOptions {
    common(path)
        .read_only(true)
        .statement_cache_capacity(16)
        .thread_name(|_| "ledger-reader".to_owned())
}

/// The database file, ours alone before SQLite first sees it; log and index inherit its mode.
fn prepare_file(path: &Path) -> std::io::Result<()> {
    let file = create_private(path)?;
    private(path, 0o600)?;
    file.sync_all()?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

async fn migrate(conn: &mut SqliteConnection, place: &Place) -> Result<(), LedgerError> {
    let unlike = |version| LedgerError::Damaged(format!("migration {version} does not fit what is there"));
    MIGRATIONS
        .run_direct(None, conn, false)
        .await
        .map_err(|error| match error {
            MigrateError::VersionMissing(_) => LedgerError::Newer,
            MigrateError::VersionMismatch(version) | MigrateError::Dirty(version) => unlike(version),
            // SQLITE_ERROR: the statement itself is at odds with the tables, as when the list of migrations was cut.
            MigrateError::ExecuteMigration(sqlx::Error::Database(why), version)
                if why.code().is_some_and(|code| code == "1") =>
            {
                unlike(version)
            }
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => place.fault(&error),
            other => LedgerError::Storage(other.to_string()),
        })
}

/// Writes what the ledger is when it is new; else checks that the key is the one it was sealed with.
async fn identify(conn: &mut SqliteConnection, keys: &Keys, place: &Place) -> Result<(), LedgerError> {
    let fault = |error| place.fault(&error);
    let query = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'key_id'");
    let key_id: Option<Vec<u8>> = query.fetch_optional(&mut *conn).await.map_err(fault)?;
    match key_id {
        Some(id) if id == keys.id => Ok(()),
        Some(_) => Err(LedgerError::Key(
            "this is not the key the ledger was sealed with: bring back the key that belongs to it".to_owned(),
        )),
        None => {
            let mut tx = conn.begin().await.map_err(fault)?;
            let entries: i64 =
                sqlx::query_scalar(
                    "SELECT COUNT(*) FROM (SELECT 1 FROM journal UNION ALL SELECT 1 FROM head UNION ALL SELECT 1 FROM tokens \
                     UNION ALL SELECT 1 FROM personal UNION ALL SELECT 1 FROM seeds UNION ALL SELECT 1 FROM obligations \
                     UNION ALL SELECT 1 FROM intents UNION ALL SELECT 1 FROM drift UNION ALL SELECT 1 FROM cases LIMIT 1)",
                )
                    .fetch_one(&mut *tx)
                    .await
                    .map_err(fault)?;
            if entries > 0 {
                return Err(LedgerError::Damaged(
                    "the note of its sealing key is missing".to_owned(),
                ));
            }
            let ledger_id = random::<16>()?;
            let chain = Chain::opening(keys, &*ledger_id);
            for (name, value) in [("key_id", keys.id.to_vec()), ("ledger_id", ledger_id.to_vec())] {
                let query = sqlx::query("INSERT INTO meta (name, value) VALUES (?, ?)")
                    .bind(name)
                    .bind(value);
                query.execute(&mut *tx).await.map_err(fault)?;
            }
            let query = sqlx::query("INSERT INTO head (id, count, last, mac) VALUES (1, 0, ?, ?)")
                .bind(chain.last.to_vec())
                .bind(chain.head_mac(keys).to_vec());
            query.execute(&mut *tx).await.map_err(fault)?;
            tx.commit().await.map_err(fault)
        }
    }
}
