//! New tokens: their rows and what the journal holds of them. One token or the thousands of a delivery go the same way, so many
//! in one statement: what costs is the way to SQLite's thread and back, not the rows.

use std::collections::{HashMap, HashSet};

use sqlx::query_builder::Separated;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

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
    held: Option<Tag>,
    watermark: Option<i64>,
    salt: Vec<u8>,
    sealed: Option<Sealed>,
}

impl New {
    /// What no other live token may share, as it is stored. A dead token holds nothing that a live one could want.
    fn held(&self, keys: &Keys) -> Option<Tag> {
        let unique = self.unique.as_ref();
        let unique = unique.filter(|_| self.record.state != TokenState::Revoked);
        unique.map(|unique| journal::unique_tag(keys, unique))
    }
}

/// Which of the ids and serials that new tokens want are taken.
pub(super) struct Taken {
    ids: HashSet<String>,
    /// By the keyed tag, who holds it.
    tags: HashMap<Vec<u8>, String>,
}

impl Taken {
    /// Looks for all of them at once.
    pub(super) async fn look(
        conn: &mut SqliteConnection,
        place: &Place,
        keys: &Keys,
        wanted: impl Iterator<Item = &New>,
    ) -> Result<Self, LedgerError> {
        let (ids, tags): (Vec<_>, Vec<_>) = wanted.map(|new| (new.record.id, new.held(keys))).unzip();
        let mut query = QueryBuilder::<Sqlite>::new("SELECT id, unique_tag FROM tokens WHERE id IN (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(id.to_string());
        }
        // Two look-ups by index; a single OR would read the table.
        query.push(") UNION ALL SELECT id, unique_tag FROM tokens WHERE unique_tag IN (");
        let mut list = query.separated(", ");
        for tag in tags.into_iter().flatten() {
            list.push_bind(tag.to_vec());
        }
        query.push(")");
        let rows = query.build().fetch_all(conn).await;
        let fault = |error| place.fault(&error);
        let mut taken = Self {
            ids: HashSet::new(),
            tags: HashMap::new(),
        };
        for row in rows.map_err(fault)? {
            taken.note(&row).map_err(fault)?;
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
    fn take(&mut self, id: TokenId, unique: Option<(&Unique, Tag)>) -> Result<(), LedgerError> {
        if !self.ids.insert(id.to_string()) {
            return Err(LedgerError::Duplicate { what: "id", token: id });
        }
        let Some((unique, tag)) = unique else { return Ok(()) };
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
/// [`LedgerError::Duplicate`] when its id or what it must be unique in is taken.
pub(super) fn prepare(
    keys: &Keys,
    at: UnixMillis,
    new: New,
    taken: &mut Taken,
) -> Result<(Rows, Recorded), LedgerError> {
    let held = new.held(keys);
    let New { record, seed, unique } = new;
    let id = record.id;
    taken.take(id, unique.as_ref().zip(held))?;
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
        unique: held.map(|tag| hex(&journal::unique_mark(keys, &*salt, &tag))),
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

/// Writes the rows of new tokens, each table in one statement.
pub(super) async fn write(conn: &mut SqliteConnection, place: &Place, rows: Vec<Rows>) -> Result<(), LedgerError> {
    let mut tokens = QueryBuilder::<Sqlite>::new(
        "INSERT INTO tokens (id, kind, state, revoke_reason, reality, model, binding, body, unique_tag, offset_ms, watermark, \
         sign_count, last_seen, failures, created, updated, maker, batch, valid_from, valid_until) ",
    );
    tokens.push_values(&rows, token_row);
    let mut personal = QueryBuilder::<Sqlite>::new("INSERT INTO personal (token, subject, serial, label, salt) ");
    personal.push_values(&rows, |mut row, new| {
        row.push_bind(new.record.id.to_string())
            .push_bind(new.record.personal.subject.clone())
            .push_bind(new.record.personal.serial.clone())
            .push_bind(new.record.personal.label.clone())
            .push_bind(new.salt.clone());
    });
    let sealed: Vec<_> = rows
        .into_iter()
        .filter_map(|row| Some((row.record.id, row.sealed?)))
        .collect();
    let seeds = (!sealed.is_empty()).then(|| seed_rows(sealed));
    for mut query in [tokens, personal].into_iter().chain(seeds) {
        let done = query.build().execute(&mut *conn).await;
        done.map_err(|error| place.fault(&error))?;
    }
    Ok(())
}

fn token_row(mut row: Separated<'_, Sqlite, &'static str>, new: &Rows) {
    let record = &new.record;
    row.push_bind(record.id.to_string())
        .push_bind(record.kind.as_str())
        .push_bind(record.state.as_str())
        .push_bind(record.revoke_reason.map(RevokeReason::as_str))
        .push_bind(record.reality.as_str())
        .push_bind(record.model.clone())
        .push_bind(new.binding.clone())
        .push_bind(body(&record.binding).map(str::to_owned))
        .push_bind(new.held.map(|tag| tag.to_vec()))
        .push_bind(record.offset_ms)
        .push_bind(new.watermark)
        .push_bind(i64::from(record.sign_count))
        .push_bind(record.last_seen.map(|seen| seen.0))
        .push_bind(i64::from(record.failures))
        .push_bind(new.at.0)
        .push_bind(new.at.0)
        .push_bind(record.maker.clone())
        .push_bind(record.batch.clone())
        .push_bind(record.valid_from.map(|at| at.0))
        .push_bind(record.valid_until.map(|at| at.0));
}

fn seed_rows(sealed: Vec<(TokenId, Sealed)>) -> QueryBuilder<Sqlite> {
    let mut seeds = QueryBuilder::new("INSERT INTO seeds (token, key_id, key_version, nonce, sealed) ");
    seeds.push_values(sealed, |mut row, (token, sealed)| {
        row.push_bind(token.to_string())
            .push_bind(sealed.key_id)
            .push_bind(i64::from(sealed.key_version))
            .push_bind(sealed.nonce)
            .push_bind(sealed.bytes);
    });
    seeds
}

impl Apply<'_> {
    /// One new token.
    pub(super) async fn insert(&mut self, new: New) -> Outcome {
        let mut taken = Taken::look(self.conn, self.place, self.keys, std::iter::once(&new)).await?;
        let (rows, recorded) = prepare(self.keys, self.at, new, &mut taken)?;
        write(self.conn, self.place, vec![rows]).await?;
        Ok(recorded)
    }

    /// Puts a seed in the place of one that was destroyed. Answers with its tag.
    pub(super) async fn store_seed(&mut self, token: TokenId, seed: &Secret) -> Result<Tag, LedgerError> {
        let sealed = self.keys.seal(token, seed)?;
        let tag = journal::seed_tag(self.keys, token, &sealed);
        let done = seed_rows(vec![(token, sealed)]).build().execute(&mut *self.conn).await;
        done.map_err(|error| self.place.fault(&error))?;
        Ok(tag)
    }
}
