//! New tokens: their rows and what the journal holds of them. One token or the thousands of a delivery go the same way, so many
//! in one statement: what costs is the way to SQLite's thread and back, not the rows.

use std::collections::{HashMap, HashSet};

use sqlx::error::ErrorKind;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, QueryBuilder, Row, Sqlite, SqliteConnection};

use super::apply::{Apply, Outcome, body, signed};
use super::fault::Place;
use crate::ledger::journal::{self, Inserted, Recorded, canonical, hex, value};
use crate::ledger::seal::{Keys, Sealed, Tag, random};
use crate::ledger::{LedgerError, TokenRecord, Unique};
use crate::types::{RevokeReason, Secret, TokenId, TokenState, UnixMillis};

/// A token that is to be inserted.
pub(super) struct New {
    pub(super) record: TokenRecord,
    pub(super) seed: Option<Secret>,
    pub(super) unique: Option<Unique>,
}

/// The rows of a new token.
pub(super) struct Rows {
    record: TokenRecord,
    at: UnixMillis,
    binding: String,
    /// What no other live token may share, and as it is stored.
    held: Option<(Unique, Tag)>,
    watermark: Option<i64>,
    salt: Vec<u8>,
    sealed: Option<Sealed>,
}

/// Who holds the ids and serials that new tokens want: looked for when SQLite has refused one of them.
struct Taken {
    ids: HashSet<String>,
    /// By the keyed tag, who holds it.
    tags: HashMap<Vec<u8>, String>,
}

impl Taken {
    /// Looks for all of them at once.
    async fn look(conn: &mut SqliteConnection, rows: &[Rows]) -> Result<Self, sqlx::Error> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT id, unique_tag FROM tokens WHERE id IN (");
        let mut list = query.separated(", ");
        for new in rows {
            list.push_bind(new.record.id.to_string());
        }
        // Two look-ups by index; a single OR would read the table.
        query.push(") UNION ALL SELECT id, unique_tag FROM tokens WHERE unique_tag IN (");
        let mut list = query.separated(", ");
        for (_, tag) in rows.iter().filter_map(|new| new.held.as_ref()) {
            list.push_bind(tag.to_vec());
        }
        query.push(")");
        let found = query.build().persistent(false).fetch_all(conn).await?;
        let mut taken = Self {
            ids: HashSet::new(),
            tags: HashMap::new(),
        };
        for row in found {
            taken.note(&row)?;
        }
        Ok(taken)
    }

    fn note(&mut self, row: &SqliteRow) -> Result<(), sqlx::Error> {
        let id: String = row.try_get("id")?;
        if let Some(tag) = row.try_get("unique_tag")? {
            self.tags.insert(tag, id.clone());
        }
        self.ids.insert(id);
        Ok(())
    }

    /// Takes what a new token wants, if it is free.
    fn take(&mut self, new: &Rows) -> Result<(), LedgerError> {
        let id = new.record.id;
        if !self.ids.insert(id.to_string()) {
            return Err(LedgerError::Duplicate { what: "id", token: id });
        }
        let Some((unique, tag)) = &new.held else { return Ok(()) };
        match self.tags.insert(tag.to_vec(), id.to_string()) {
            None => Ok(()),
            Some(holder) => Err(match holder.parse() {
                Ok(token) => LedgerError::Duplicate {
                    what: unique.what(),
                    token,
                },
                Err(_) => LedgerError::Damaged("a token's id is none".to_owned()),
            }),
        }
    }
}

/// The rows of one new token and what the journal holds of it; seals the seed.
///
/// # Errors
/// [`LedgerError::Storage`] for a seed that is too long or a watermark that is too high; [`LedgerError::Key`] without random bytes.
pub(super) fn prepare(keys: &Keys, at: UnixMillis, new: New) -> Result<(Rows, Recorded), LedgerError> {
    let New { record, seed, unique } = new;
    // A dead token holds nothing that a live one could want.
    let held = unique.filter(|_| record.state != TokenState::Revoked).map(|unique| {
        let tag = journal::unique_tag(keys, &unique);
        (unique, tag)
    });
    let id = record.id;
    let salt = random::<16>()?;
    let sealed = seed.map(|seed| keys.seal(id, &seed)).transpose()?;
    let recorded = Inserted {
        token: id,
        kind: record.kind,
        state: record.state,
        reason: record.revoke_reason,
        reality: record.reality,
        model: record.model.clone(),
        maker: record.maker.clone(),
        batch: record.batch.clone(),
        valid_from: record.valid_from,
        valid_until: record.valid_until,
        binding: record.binding.clone(),
        unique: held
            .as_ref()
            .map(|(_, tag)| hex(&journal::unique_mark(keys, &*salt, tag))),
        seed: sealed.as_ref().map(|sealed| hex(&journal::seed_tag(keys, id, sealed))),
        personal: hex(&journal::personal_tag(keys, &*salt, &record.personal)?),
        offset_ms: record.offset_ms,
        watermark: record.watermark,
        sign_count: record.sign_count,
        last_seen: record.last_seen,
        failures: record.failures,
    };
    let rows = Rows {
        at,
        binding: canonical(&value(&record.binding)?)?,
        held,
        watermark: record.watermark.map(signed).transpose()?,
        salt: salt.to_vec(),
        sealed,
        record,
    };
    Ok((rows, Recorded::Insert(Box::new(recorded))))
}

/// A table, and the columns of a row in it.
struct Table {
    insert: &'static str,
    columns: usize,
}

const TOKENS: Table = Table {
    insert: "INSERT INTO tokens (id, kind, state, revoke_reason, reality, model, binding, body, unique_tag, offset_ms, watermark, \
             sign_count, last_seen, failures, created, updated, maker, batch, valid_from, valid_until) VALUES ",
    columns: 20,
};
const PERSONAL: Table = Table {
    insert: "INSERT INTO personal (token, subject, serial, label, salt) VALUES ",
    columns: 5,
};
const SEEDS: Table = Table {
    insert: "INSERT INTO seeds (token, key_id, key_version, nonce, sealed) VALUES ",
    columns: 5,
};

/// Adds the columns of one row.
type Columns<T> = fn(&mut SqliteArguments, &T) -> Result<(), sqlx::error::BoxDynError>;

impl Table {
    /// Writes rows in one statement.
    async fn write<T>(&self, conn: &mut SqliteConnection, rows: &[T], columns: Columns<T>) -> Result<(), sqlx::Error> {
        let row = format!("({})", vec!["?"; self.columns].join(","));
        let statement = self.insert.to_owned() + &vec![row.as_str(); rows.len()].join(",");
        let mut arguments = SqliteArguments::default();
        arguments.reserve(rows.len().saturating_mul(self.columns), 0);
        for row in rows {
            columns(&mut arguments, row).map_err(sqlx::Error::Encode)?;
        }
        // Constants and question marks.
        let query = sqlx::query_with(AssertSqlSafe(statement), arguments);
        query.execute(conn).await.map(|_| ())
    }
}

/// Writes the rows of new tokens, each table in one statement.
///
/// # Errors
/// Which of them, and [`LedgerError::Duplicate`], when its id or what it must be unique in is taken; a fault of the storage is told of
/// the first.
pub(super) async fn write(
    conn: &mut SqliteConnection,
    place: &Place,
    rows: &[Rows],
) -> Result<(), (usize, LedgerError)> {
    let whole = |error: sqlx::Error| (0, place.fault(&error));
    if let Err(error) = TOKENS.write(conn, rows, token_row).await {
        let doubled = matches!(&error, sqlx::Error::Database(why) if why.kind() == ErrorKind::UniqueViolation);
        let mut taken = match doubled {
            true => Taken::look(conn, rows).await.map_err(whole)?,
            false => return Err(whole(error)),
        };
        for (at, new) in rows.iter().enumerate() {
            taken.take(new).map_err(|error| (at, error))?;
        }
        return Err(whole(error));
    }
    PERSONAL.write(conn, rows, personal_row).await.map_err(whole)?;
    let sealed: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row.record.id, row.sealed.as_ref()?)))
        .collect();
    if !sealed.is_empty() {
        SEEDS.write(conn, &sealed, seed_row).await.map_err(whole)?;
    }
    Ok(())
}

fn token_row(to: &mut SqliteArguments, new: &Rows) -> Result<(), sqlx::error::BoxDynError> {
    let record = &new.record;
    to.add(record.id.to_string())?;
    to.add(record.kind.as_str())?;
    to.add(record.state.as_str())?;
    to.add(record.revoke_reason.map(RevokeReason::as_str))?;
    to.add(record.reality.as_str())?;
    to.add(&*record.model)?;
    to.add(&*new.binding)?;
    to.add(body(&record.binding))?;
    to.add(new.held.as_ref().map(|(_, tag)| tag.as_slice()))?;
    to.add(record.offset_ms)?;
    to.add(new.watermark)?;
    to.add(i64::from(record.sign_count))?;
    to.add(record.last_seen.map(|seen| seen.0))?;
    to.add(i64::from(record.failures))?;
    to.add(new.at.0)?;
    to.add(new.at.0)?;
    to.add(record.maker.as_deref())?;
    to.add(record.batch.as_deref())?;
    to.add(record.valid_from.map(|at| at.0))?;
    to.add(record.valid_until.map(|at| at.0))
}

fn personal_row(to: &mut SqliteArguments, new: &Rows) -> Result<(), sqlx::error::BoxDynError> {
    let personal = &new.record.personal;
    to.add(new.record.id.to_string())?;
    to.add(personal.subject.as_deref())?;
    to.add(personal.serial.as_deref())?;
    to.add(personal.label.as_deref())?;
    to.add(&*new.salt)
}

fn seed_row(to: &mut SqliteArguments, (token, sealed): &(TokenId, &Sealed)) -> Result<(), sqlx::error::BoxDynError> {
    to.add(token.to_string())?;
    to.add(&*sealed.key_id)?;
    to.add(i64::from(sealed.key_version))?;
    to.add(&*sealed.nonce)?;
    to.add(&*sealed.bytes)
}

impl Apply<'_> {
    /// One new token.
    pub(super) async fn insert(&mut self, new: New) -> Outcome {
        let (rows, recorded) = prepare(self.keys, self.at, new)?;
        let written = write(self.conn, self.place, &[rows]).await;
        written.map_err(|(_, error)| error)?;
        Ok(recorded)
    }

    /// Puts a seed in the place of one that was destroyed. Answers with its tag.
    pub(super) async fn store_seed(&mut self, token: TokenId, seed: &Secret) -> Result<Tag, LedgerError> {
        let sealed = self.keys.seal(token, seed)?;
        let tag = journal::seed_tag(self.keys, token, &sealed);
        let written = SEEDS.write(self.conn, &[(token, &sealed)], seed_row).await;
        written.map_err(|error| self.place.fault(&error))?;
        Ok(tag)
    }
}
