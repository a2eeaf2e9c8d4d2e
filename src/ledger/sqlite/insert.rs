//! New tokens: their rows and what the journal holds of them. One token or the thousands of a delivery go the same way.

use std::sync::Arc;

use sqlx::error::ErrorKind;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, SqliteConnection};

use super::apply::{Apply, Outcome, body, signed};
use super::fault::Place;
use super::lines::{Encoded, Lines, Table};
use crate::ledger::canonical::canonical;
use crate::ledger::journal::{self, Inserted, Recorded, hex};
use crate::ledger::seal::{Keys, Sealed, Tag, random};
use crate::ledger::{Binding, LedgerError, TokenRecord, Unique};
use crate::types::{RevokeReason, Secret, TokenId, TokenState, UnixMillis};

/// A token that is to be inserted.
pub(super) struct New {
    pub(super) record: TokenRecord,
    pub(super) seed: Option<Secret>,
    pub(super) unique: Option<Unique>,
}

const TOKENS: Table = Table {
    // Who is refused has all undone; what this statement did before that need not be undone by itself, which would cost a copy of
    // every page that it changes.
    insert: "INSERT OR FAIL INTO tokens (id, kind, state, revoke_reason, reality, model, binding, body, unique_tag, offset_ms, watermark, \
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

/// What a new token must be alone with.
struct Wants {
    id: TokenId,
    /// What no other live token may share, and as it is stored.
    held: Option<(Unique, Tag)>,
}

/// The rows of new tokens.
pub(super) struct Rows {
    wants: Vec<Wants>,
    tokens: Lines,
    personal: Lines,
    seeds: Lines,
    words: Words,
}

/// What one token after the other has alike, as an argument that is shared.
#[derive(Default)]
struct Words {
    kind: Word,
    state: Word,
    reality: Word,
    model: Word,
    maker: Word,
    batch: Word,
    binding: Option<(Binding, Arc<str>)>,
}

#[derive(Default)]
struct Word(Option<Arc<str>>);

impl Word {
    fn of(&mut self, word: &str) -> Arc<str> {
        match &self.0 {
            Some(last) if **last == *word => Arc::clone(last),
            _ => Arc::clone(self.0.insert(word.into())),
        }
    }
}

impl Words {
    fn binding(&mut self, binding: &Binding) -> Result<Arc<str>, LedgerError> {
        match &self.binding {
            Some((last, text)) if last == binding => Ok(Arc::clone(text)),
            _ => {
                let text: Arc<str> = canonical(binding)?.into();
                self.binding = Some((binding.clone(), Arc::clone(&text)));
                Ok(text)
            }
        }
    }
}

/// Why SQLite refused the row of a new token: its id, or what it must be alone with, is another's. None when neither is.
async fn taken(conn: &mut SqliteConnection, new: &Wants) -> Result<Option<LedgerError>, sqlx::Error> {
    let tag = new.held.as_ref().map(|(_, tag)| tag.as_slice());
    // Two look-ups by index; a single OR would read the table.
    let holders = "SELECT id FROM tokens WHERE id = ?1 UNION ALL SELECT id FROM tokens WHERE unique_tag = ?2";
    let query = sqlx::query_scalar(holders).bind(new.id.to_string()).bind(tag);
    let holder: Option<String> = query.fetch_optional(conn).await?;
    Ok(holder.map(|holder| match (holder.parse::<TokenId>(), &new.held) {
        (Ok(token), _) if token == new.id => LedgerError::Duplicate { what: "id", token },
        (Ok(token), Some((unique, _))) => LedgerError::Duplicate {
            what: unique.what(),
            token,
        },
        _ => LedgerError::Damaged("a token's id is none".to_owned()),
    }))
}

impl Rows {
    /// None, with room for so many tokens.
    pub(super) fn with_capacity(tokens: usize) -> Self {
        Self {
            wants: Vec::with_capacity(tokens),
            tokens: Lines::with_capacity(&TOKENS, tokens),
            personal: Lines::with_capacity(&PERSONAL, tokens),
            seeds: Lines::with_capacity(&SEEDS, tokens),
            words: Words::default(),
        }
    }

    /// Adds the rows of a new token, its seed sealed. Answers with what the journal holds of it.
    ///
    /// # Errors
    /// [`LedgerError::Storage`] for a seed that is too long or a watermark that is too high; [`LedgerError::Key`] without random
    /// bytes. Then nothing was added.
    pub(super) fn add(&mut self, keys: &Keys, at: UnixMillis, new: New) -> Result<Recorded, LedgerError> {
        let New { record, seed, unique } = new;
        // A dead token holds nothing that a live one could want.
        let held = unique.filter(|_| record.state != TokenState::Revoked).map(|unique| {
            let tag = journal::unique_tag(keys, &unique);
            (unique, tag)
        });
        let id = record.id;
        let salt = random::<16>()?;
        let sealed = seed.map(|seed| keys.seal(id, &seed)).transpose()?;
        let watermark = record.watermark.map(signed).transpose()?;
        let binding = self.words.binding(&record.binding)?;
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
        let name: Arc<str> = id.to_string().into();
        if let Some(sealed) = sealed {
            self.seeds.add(|to| seed_row(to, &name, sealed));
        }
        self.personal.add(|to| {
            let personal = record.personal;
            to.add(Arc::clone(&name))?;
            to.add(personal.subject)?;
            to.add(personal.serial)?;
            to.add(personal.label)?;
            to.add(salt.to_vec())
        });
        self.tokens.add(|to| {
            to.add(name)?;
            let words = &mut self.words;
            to.add(words.kind.of(record.kind.as_str()))?;
            to.add(words.state.of(record.state.as_str()))?;
            to.add(record.revoke_reason.map(RevokeReason::as_str))?;
            to.add(words.reality.of(record.reality.as_str()))?;
            to.add(words.model.of(&record.model))?;
            to.add(binding)?;
            to.add(body(&record.binding))?;
            to.add(held.as_ref().map(|(_, tag)| tag.to_vec()))?;
            to.add(record.offset_ms)?;
            to.add(watermark)?;
            to.add(i64::from(record.sign_count))?;
            to.add(record.last_seen.map(|seen| seen.0))?;
            to.add(i64::from(record.failures))?;
            to.add(at.0)?;
            to.add(at.0)?;
            to.add(record.maker.map(|maker| words.maker.of(&maker)))?;
            to.add(record.batch.map(|batch| words.batch.of(&batch)))?;
            to.add(record.valid_from.map(|at| at.0))?;
            to.add(record.valid_until.map(|at| at.0))
        });
        self.wants.push(Wants { id, held });
        Ok(Recorded::Insert(Box::new(recorded)))
    }

    /// Writes the rows, each table in one statement.
    ///
    /// # Errors
    /// Which token it was, and [`LedgerError::Duplicate`], when its id or what it must be unique in is taken; a fault of the storage
    /// is told of the first.
    pub(super) async fn write(self, conn: &mut SqliteConnection, place: &Place) -> Result<(), (usize, LedgerError)> {
        let whole = |error: sqlx::Error| (0, place.fault(&error));
        if let Err(error) = self.tokens.write(conn).await {
            let doubled = matches!(&error, sqlx::Error::Database(why) if why.kind() == ErrorKind::UniqueViolation);
            if !doubled {
                return Err(whole(error));
            }
            // The rows before the one that was refused are in the table.
            let before = sqlx::query_scalar("SELECT changes()").fetch_one(&mut *conn).await;
            let before: i64 = before.map_err(whole)?;
            let at = usize::try_from(before).unwrap_or(usize::MAX);
            let why = match self.wants.get(at) {
                Some(refused) => taken(conn, refused).await.map_err(whole)?,
                None => None,
            };
            return Err(why.map_or_else(|| whole(error), |why| (at, why)));
        }
        self.personal.write(conn).await.map_err(whole)?;
        self.seeds.write(conn).await.map_err(whole)
    }
}

fn seed_row(to: &mut SqliteArguments, token: &Arc<str>, sealed: Sealed) -> Encoded {
    to.add(Arc::clone(token))?;
    to.add(sealed.key_id)?;
    to.add(i64::from(sealed.key_version))?;
    to.add(sealed.nonce)?;
    to.add(sealed.bytes)
}

impl Apply<'_> {
    /// One new token.
    pub(super) async fn insert(&mut self, new: New) -> Outcome {
        let mut rows = Rows::with_capacity(1);
        let recorded = rows.add(self.keys, self.at, new)?;
        let written = rows.write(self.conn, self.place).await;
        written.map_err(|(_, error)| error)?;
        Ok(recorded)
    }

    /// Puts a seed in the place of one that was destroyed. Answers with its tag.
    pub(super) async fn store_seed(&mut self, token: TokenId, seed: &Secret) -> Result<Tag, LedgerError> {
        let sealed = self.keys.seal(token, seed)?;
        let tag = journal::seed_tag(self.keys, token, &sealed);
        let mut seeds = Lines::with_capacity(&SEEDS, 1);
        seeds.add(|to| seed_row(to, &token.to_string().into(), sealed));
        let written = seeds.write(self.conn).await;
        written.map_err(|error| self.place.fault(&error))?;
        Ok(tag)
    }
}
