//! Rows into records.

use std::str::FromStr;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::fault::Place;
use crate::ledger::seal::Sealed;
use crate::ledger::{Binding, DriftPoint, Intent, LedgerError, Obligation, Personal, TokenRecord};
use crate::types::UnixMillis;

/// All of a token that [`token`] reads. A missing personal row reads as empty; `verify` misses it.
pub(crate) const TOKEN_COLUMNS: &str = "SELECT t.id, t.kind, t.state, t.revoke_reason, t.reality, t.model, t.binding, \
     t.offset_ms, t.watermark, t.sign_count, t.last_seen, t.failures, t.created, t.updated, t.maker, t.batch, \
     t.valid_from, t.valid_until, p.subject, p.serial, p.label, \
     EXISTS (SELECT 1 FROM seeds s WHERE s.token = t.id) AS has_seed \
     FROM tokens t LEFT JOIN personal p ON p.token = t.id";

/// Reads columns of one row; every failure names row and column.
pub(crate) struct Reader<'r> {
    row: &'r SqliteRow,
    place: &'r Place,
    what: &'static str,
}

impl<'r> Reader<'r> {
    pub(crate) fn new(row: &'r SqliteRow, place: &'r Place, what: &'static str) -> Self {
        Self { row, place, what }
    }

    pub(crate) fn get<T>(&self, column: &str) -> Result<T, LedgerError>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.row.try_get(column).map_err(|why| match why {
            sqlx::Error::ColumnDecode { .. } => self.damaged(column),
            other => self.place.fault(&other),
        })
    }

    pub(crate) fn named<T: FromStr>(&self, column: &str) -> Result<T, LedgerError> {
        self.get::<&str>(column)?.parse().map_err(|_| self.damaged(column))
    }

    pub(crate) fn named_or_null<T: FromStr>(&self, column: &str) -> Result<Option<T>, LedgerError> {
        let text = self.get::<Option<&str>>(column)?;
        text.map(|text| text.parse().map_err(|_| self.damaged(column)))
            .transpose()
    }

    /// An integer that is stored as 64 bits with sign and is narrower or unsigned here.
    pub(crate) fn number<T: TryFrom<i64>>(&self, column: &str) -> Result<T, LedgerError> {
        T::try_from(self.get(column)?).map_err(|_| self.damaged(column))
    }

    pub(crate) fn number_or_null<T: TryFrom<i64>>(&self, column: &str) -> Result<Option<T>, LedgerError> {
        let number = self.get::<Option<i64>>(column)?;
        number
            .map(|n| T::try_from(n).map_err(|_| self.damaged(column)))
            .transpose()
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T, LedgerError> {
        serde_json::from_str(self.get(column)?).map_err(|_| self.damaged(column))
    }

    pub(crate) fn time_or_null(&self, column: &str) -> Result<Option<UnixMillis>, LedgerError> {
        Ok(self.get::<Option<i64>>(column)?.map(UnixMillis))
    }

    pub(crate) fn damaged(&self, column: &str) -> LedgerError {
        // The key of each of these tables is its first column and names no person.
        let id = self.row.try_get::<String, _>(0).unwrap_or_default();
        LedgerError::Damaged(format!("{} {id}: column {column} holds what it should not", self.what))
    }
}

pub(crate) fn token(row: &SqliteRow, place: &Place) -> Result<TokenRecord, LedgerError> {
    let read = Reader::new(row, place, "token");
    Ok(TokenRecord {
        id: read.named("id")?,
        kind: read.named("kind")?,
        state: read.named("state")?,
        revoke_reason: read.named_or_null("revoke_reason")?,
        reality: read.named("reality")?,
        model: read.get("model")?,
        maker: read.get("maker")?,
        batch: read.get("batch")?,
        valid_from: read.time_or_null("valid_from")?,
        valid_until: read.time_or_null("valid_until")?,
        binding: read.json::<Binding>("binding")?,
        has_seed: read.get("has_seed")?,
        offset_ms: read.get("offset_ms")?,
        watermark: read.number_or_null("watermark")?,
        sign_count: read.number("sign_count")?,
        last_seen: read.time_or_null("last_seen")?,
        failures: read.number("failures")?,
        personal: personal(row, place)?,
        created: UnixMillis(read.get("created")?),
        updated: UnixMillis(read.get("updated")?),
    })
}

pub(crate) fn personal(row: &SqliteRow, place: &Place) -> Result<Personal, LedgerError> {
    let read = Reader::new(row, place, "personal data of");
    Ok(Personal {
        subject: read.get("subject")?,
        serial: read.get("serial")?,
        label: read.get("label")?,
    })
}

pub(crate) fn sealed(row: &SqliteRow, place: &Place) -> Result<Sealed, LedgerError> {
    let read = Reader::new(row, place, "seed of");
    Ok(Sealed {
        key_id: read.get("key_id")?,
        key_version: read.number("key_version")?,
        nonce: read.get("nonce")?,
        bytes: read.get("sealed")?,
    })
}

pub(crate) fn obligation(row: &SqliteRow, place: &Place) -> Result<Obligation, LedgerError> {
    let read = Reader::new(row, place, "obligation");
    Ok(Obligation {
        id: read.named("id")?,
        token: read.named("token")?,
        duty: read.json("duty")?,
        reality: read.named("reality")?,
        created: UnixMillis(read.get("created")?),
        proven: read.time_or_null("proven")?,
        discharged: read.time_or_null("discharged")?,
    })
}

pub(crate) fn drift_point(row: &SqliteRow, place: &Place) -> Result<DriftPoint, LedgerError> {
    let read = Reader::new(row, place, "history of the clock of token");
    Ok(DriftPoint {
        seq: read.number("seq")?,
        at: UnixMillis(read.get("at")?),
        source: read.named("source")?,
        before_ms: read.get("before_ms")?,
        after_ms: read.get("after_ms")?,
        seen_before: read.time_or_null("seen_before")?,
    })
}

pub(crate) fn intent(row: &SqliteRow, place: &Place) -> Result<Intent, LedgerError> {
    let read = Reader::new(row, place, "operation");
    Ok(Intent {
        operation: read.named("operation")?,
        verb: read.get("verb")?,
        token: read.named_or_null("token")?,
        phase: read.get("phase")?,
        detail: read.json("detail")?,
        started: UnixMillis(read.get("started")?),
    })
}
