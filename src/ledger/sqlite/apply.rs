//! One mutation: the conditional statement that carries it out, and what the journal holds of it.

use sqlx::Row;
use sqlx::query::{Query, QueryScalar};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, SqliteConnection};

use super::fault::Place;
use crate::ledger::journal::{self, Inserted, Recorded, canonical, hex, value};
use crate::ledger::seal::{Keys, Tag, random};
use crate::ledger::{Binding, DriftPoint, Intent, LedgerError, Mutation, Obligation, PROVABLE, TokenRecord, Unique};
use crate::types::{DriftSource, OperationId, RevokeReason, Secret, TokenId, TokenState, UnixMillis};

pub(super) type Outcome = Result<Recorded, LedgerError>;
pub(super) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// What every mutation of a commit needs.
pub(crate) struct Apply<'a> {
    pub(crate) conn: &'a mut SqliteConnection,
    pub(crate) keys: &'a Keys,
    pub(crate) place: &'a Place,
    /// The event's time; becomes `updated`.
    pub(crate) at: UnixMillis,
    /// The number that the journal entry will have.
    pub(crate) seq: i64,
}

impl Apply<'_> {
    /// Carries out one mutation. `None` for one that only asks and leaves nothing to record.
    pub(crate) async fn mutation(&mut self, mutation: Mutation) -> Result<Option<Recorded>, LedgerError> {
        let recorded = match mutation {
            Mutation::Require { token, states } => return self.require(token, states).await.map(|()| None),
            Mutation::RequireFailuresBelow { token, limit } => {
                return self.require_failures_below(token, limit).await.map(|()| None);
            }
            Mutation::Insert { record, seed, unique } => self.insert(*record, seed, unique).await,
            Mutation::Transition {
                token,
                from,
                to,
                reason,
            } => self.transition(token, from, to, reason).await,
            Mutation::Assign { token, subject } => self.assign(token, subject).await,
            Mutation::Bind { token, binding, unique } => self.bind(token, binding, unique).await,
            Mutation::Advance {
                token,
                to,
                offset_ms,
                seen,
                source,
            } => self.advance(token, to, offset_ms, seen, source).await,
            Mutation::Correct {
                token,
                expect_ms,
                offset_ms,
                seen,
                source,
            } => self.correct(token, expect_ms, offset_ms, seen, source).await,
            Mutation::Count { token, to, seen } => self.count(token, to, seen).await,
            Mutation::Seen { token, seen } => self.seen(token, seen).await,
            Mutation::Fail { token } => self.fail(token).await,
            Mutation::Pardon { token } => self.pardon(token).await,
            Mutation::DestroySeed { token } => self.destroy_seed(token).await,
            Mutation::ReplaceSeed { token, seed } => {
                self.destroy_seed(token).await?;
                let tag = self.store_seed(token, &seed).await?;
                Ok(Recorded::ReplaceSeed { token, seed: hex(&tag) })
            }
            Mutation::KeepCodes { token, codes } => self.keep_codes(token, &codes).await,
            Mutation::UseCode { token, slot, seen } => self.use_code(token, slot, seen).await,
            Mutation::Try {
                account,
                caller,
                at,
                spent,
                passed,
            } => self.tried(&account, caller, at, spent, passed).await,
            Mutation::Unlock { account } => self.unlock(&account).await,
            Mutation::Oblige(obligation) => self.oblige(obligation).await,
            Mutation::Prove { id, at } => {
                let update = "UPDATE obligations SET proven = ? WHERE id = ? AND discharged IS NULL";
                let query = sqlx::query(update).bind(at.0).bind(id.to_string());
                if self.run(query).await? != 1 {
                    return Err(self
                        .absent_or_stale("SELECT 1 FROM obligations WHERE id = ?", id, "obligation")
                        .await);
                }
                Ok(Recorded::Prove { id, at })
            }
            Mutation::Discharge { id, at } => {
                let update = "UPDATE obligations SET discharged = ? WHERE id = ? AND discharged IS NULL";
                let query = sqlx::query(update).bind(at.0).bind(id.to_string());
                if self.run(query).await? != 1 {
                    return Err(self
                        .absent_or_stale("SELECT 1 FROM obligations WHERE id = ?", id, "obligation")
                        .await);
                }
                Ok(Recorded::Discharge { id, at })
            }
            Mutation::Begin(intent) => self.begin(intent).await,
            Mutation::Phase {
                operation,
                phase,
                detail,
            } => self.phase(operation, phase, detail).await,
            Mutation::End { operation, end } => {
                let query = sqlx::query("DELETE FROM intents WHERE operation = ?").bind(operation.to_string());
                if self.run(query).await? != 1 {
                    return Err(LedgerError::NotFound("open operation"));
                }
                Ok(Recorded::End { operation, end })
            }
        };
        recorded.map(Some)
    }

    pub(super) async fn require(&mut self, token: TokenId, states: &[TokenState]) -> Result<(), LedgerError> {
        let is = self.state(token).await?.ok_or(LedgerError::NotFound("token"))?;
        if states.contains(&is) {
            return Ok(());
        }
        let names: Vec<_> = states.iter().map(|state| state.as_str()).collect();
        Err(LedgerError::WrongState {
            is,
            needs: names.join(" or "),
        })
    }

    async fn require_failures_below(&mut self, token: TokenId, limit: u32) -> Result<(), LedgerError> {
        let query = sqlx::query_scalar("SELECT failures FROM tokens WHERE id = ?").bind(token.to_string());
        match self.scalar::<i64>(query).await? {
            None => Err(LedgerError::NotFound("token")),
            Some(failures) if failures < i64::from(limit) => Ok(()),
            Some(_) => Err(LedgerError::Stale("count of failures")),
        }
    }

    async fn insert(&mut self, record: TokenRecord, seed: Option<Secret>, unique: Option<Unique>) -> Outcome {
        let id = record.id;
        if self.state(id).await?.is_some() {
            return Err(LedgerError::Duplicate { what: "id", token: id });
        }
        let salt = random::<16>()?;
        // A dead token holds nothing that a live one could want.
        let unique = unique.filter(|_| record.state != TokenState::Revoked);
        let held = self.claim(id, unique.as_ref()).await?;
        let binding = canonical(&value(&record.binding)?)?;
        let insert = "INSERT INTO tokens (id, kind, state, revoke_reason, reality, model, binding, body, unique_tag, \
                      offset_ms, watermark, sign_count, last_seen, failures, created, updated, maker, batch, valid_from, \
                      valid_until) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?15, ?16, ?17, ?18, ?19)";
        let query = sqlx::query(insert)
            .bind(id.to_string())
            .bind(record.kind.as_str())
            .bind(record.state.as_str())
            .bind(record.revoke_reason.map(RevokeReason::as_str))
            .bind(record.reality.as_str())
            .bind(&record.model)
            .bind(binding)
            .bind(body(&record.binding).map(str::to_owned))
            .bind(held.map(|tag| tag.to_vec()))
            .bind(record.offset_ms)
            .bind(record.watermark.map(signed).transpose()?)
            .bind(i64::from(record.sign_count))
            .bind(record.last_seen.map(|seen| seen.0))
            .bind(i64::from(record.failures))
            .bind(self.at.0)
            .bind(&record.maker)
            .bind(&record.batch)
            .bind(record.valid_from.map(|at| at.0))
            .bind(record.valid_until.map(|at| at.0));
        self.run(query).await?;
        let query = sqlx::query("INSERT INTO personal (token, subject, serial, label, salt) VALUES (?, ?, ?, ?, ?)")
            .bind(id.to_string())
            .bind(&record.personal.subject)
            .bind(&record.personal.serial)
            .bind(&record.personal.label)
            .bind(salt.to_vec());
        self.run(query).await?;
        let seed = match seed {
            Some(seed) => Some(self.store_seed(id, &seed).await?),
            None => None,
        };
        Ok(Recorded::Insert(Box::new(Inserted {
            token: id,
            kind: record.kind,
            state: record.state,
            reason: record.revoke_reason,
            reality: record.reality,
            model: record.model,
            maker: record.maker,
            batch: record.batch,
            valid_from: record.valid_from,
            valid_until: record.valid_until,
            binding: record.binding,
            unique: held.map(|tag| hex(&journal::unique_mark(self.keys, &*salt, &tag))),
            seed: seed.map(|tag| hex(&tag)),
            personal: hex(&journal::personal_tag(self.keys, &*salt, &record.personal)?),
            offset_ms: record.offset_ms,
            watermark: record.watermark,
            sign_count: record.sign_count,
            last_seen: record.last_seen,
            failures: record.failures,
        })))
    }

    async fn store_seed(&mut self, token: TokenId, seed: &Secret) -> Result<Tag, LedgerError> {
        let sealed = self.keys.seal(token, seed)?;
        let tag = journal::seed_tag(self.keys, token, &sealed);
        let query = sqlx::query("INSERT INTO seeds (token, key_id, key_version, nonce, sealed) VALUES (?, ?, ?, ?, ?)")
            .bind(token.to_string())
            .bind(sealed.key_id)
            .bind(i64::from(sealed.key_version))
            .bind(sealed.nonce)
            .bind(sealed.bytes);
        self.run(query).await?;
        Ok(tag)
    }

    async fn transition(
        &mut self,
        token: TokenId,
        from: &'static [TokenState],
        to: TokenState,
        reason: Option<RevokeReason>,
    ) -> Outcome {
        let names: Vec<_> = from.iter().map(|state| state.as_str()).collect();
        let update = "UPDATE tokens SET state = ?1, revoke_reason = ?2, updated = ?3, \
                      unique_tag = CASE WHEN ?1 = 'revoked' THEN NULL ELSE unique_tag END \
                      WHERE id = ?4 AND state IN (SELECT value FROM json_each(?5)) AND state <> 'revoked'";
        let query = sqlx::query(update)
            .bind(to.as_str())
            .bind(reason.map(RevokeReason::as_str))
            .bind(self.at.0)
            .bind(token.to_string())
            .bind(canonical(&names.as_slice().into())?);
        if self.run(query).await? != 1 {
            let is = self.state(token).await?.ok_or(LedgerError::NotFound("token"))?;
            let needs = names.join(" or ");
            return Err(LedgerError::WrongState { is, needs });
        }
        Ok(Recorded::Transition { token, to, reason })
    }

    async fn bind(&mut self, token: TokenId, binding: Binding, unique: Option<Unique>) -> Outcome {
        let state = self.state(token).await?.ok_or(LedgerError::NotFound("token"))?;
        let unique = unique.filter(|_| state != TokenState::Revoked);
        let held = self.claim(token, unique.as_ref()).await?;
        let mark = match held {
            Some(tag) => {
                let query = sqlx::query_scalar("SELECT salt FROM personal WHERE token = ?").bind(token.to_string());
                let salt: Option<Vec<u8>> = self.scalar(query).await?;
                let salt = salt.ok_or_else(|| LedgerError::Damaged(format!("token {token}: no personal row")))?;
                Some(hex(&journal::unique_mark(self.keys, &salt, &tag)))
            }
            None => None,
        };
        let update =
            "UPDATE tokens SET binding = ?, body = ?, unique_tag = COALESCE(?, unique_tag), updated = ? WHERE id = ?";
        let query = sqlx::query(update)
            .bind(canonical(&value(&binding)?)?)
            .bind(body(&binding).map(str::to_owned))
            .bind(held.map(|tag| tag.to_vec()))
            .bind(self.at.0)
            .bind(token.to_string());
        self.one(query, token, "token").await?;
        Ok(Recorded::Bind {
            token,
            binding,
            unique: mark,
        })
    }

    async fn advance(
        &mut self,
        token: TokenId,
        to: u64,
        offset_ms: i64,
        seen: UnixMillis,
        source: Option<DriftSource>,
    ) -> Outcome {
        let update = "UPDATE tokens SET watermark = ?1, offset_ms = ?2, last_seen = ?3, failures = 0, updated = ?4 \
                      WHERE id = ?5 AND (watermark IS NULL OR watermark < ?1)";
        let query = sqlx::query(update)
            .bind(signed(to)?)
            .bind(offset_ms)
            .bind(seen.0)
            .bind(self.at.0)
            .bind(token.to_string());
        self.require(token, PROVABLE).await?;
        let history = match source {
            Some(source) => Some(self.point(token, offset_ms, source).await?),
            None => None,
        };
        self.one(query, token, "watermark").await?;
        if let Some(point) = history {
            self.remember(token, point).await?;
        }
        Ok(Recorded::Advance {
            token,
            to,
            offset_ms,
            seen,
            source,
        })
    }

    async fn correct(
        &mut self,
        token: TokenId,
        expect_ms: i64,
        offset_ms: i64,
        seen: Option<UnixMillis>,
        source: DriftSource,
    ) -> Outcome {
        self.require(token, PROVABLE).await?;
        let point = self.point(token, offset_ms, source).await?;
        let update = "UPDATE tokens SET offset_ms = ?1, last_seen = COALESCE(?2, last_seen), updated = ?3 \
                      WHERE id = ?4 AND offset_ms = ?5";
        let query = sqlx::query(update)
            .bind(offset_ms)
            .bind(seen.map(|at| at.0))
            .bind(self.at.0)
            .bind(token.to_string())
            .bind(expect_ms);
        self.one(query, token, "offset").await?;
        self.remember(token, point).await?;
        Ok(Recorded::Correct {
            token,
            offset_ms,
            seen,
            source,
        })
    }

    /// The history's next row, with what stands there before the change.
    async fn point(&mut self, token: TokenId, after_ms: i64, source: DriftSource) -> Result<DriftPoint, LedgerError> {
        let query = sqlx::query("SELECT offset_ms, last_seen FROM tokens WHERE id = ?").bind(token.to_string());
        let row = query.fetch_optional(&mut *self.conn).await;
        let fault = |error| self.place.fault(&error);
        let row = row.map_err(fault)?.ok_or(LedgerError::NotFound("token"))?;
        let seen_before: Option<i64> = row.try_get("last_seen").map_err(fault)?;
        let offset_ms: i64 = row.try_get("offset_ms").map_err(fault)?;
        Ok(DriftPoint {
            seq: u64::try_from(self.seq).unwrap_or(0),
            at: self.at,
            source,
            before_ms: seen_before.map(|_| offset_ms),
            after_ms,
            seen_before: seen_before.map(UnixMillis),
        })
    }

    /// Adds a row to the history of a clock, and thins it.
    async fn remember(&mut self, token: TokenId, point: DriftPoint) -> Result<(), LedgerError> {
        if point.source == DriftSource::Test {
            let query =
                sqlx::query("SELECT * FROM drift WHERE token = ? ORDER BY seq DESC LIMIT 2").bind(token.to_string());
            let rows = query.fetch_all(&mut *self.conn).await;
            let rows = rows.map_err(|error| self.place.fault(&error))?;
            let mut rows = rows.iter().map(|row| super::rows::drift_point(row, self.place));
            let (newest, before) = (rows.next().transpose()?, rows.next().transpose()?);
            if let Some(newest) = newest
                && newest.yields(before.map(|before| (before.source, before.at)), point.source)
            {
                let query = sqlx::query("DELETE FROM drift WHERE token = ? AND seq = ?")
                    .bind(token.to_string())
                    .bind(signed(newest.seq)?);
                self.run(query).await?;
            }
        }
        let insert = "INSERT INTO drift (token, seq, at, source, before_ms, after_ms, seen_before) \
                      VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let query = sqlx::query(insert)
            .bind(token.to_string())
            .bind(self.seq)
            .bind(point.at.0)
            .bind(point.source.as_str())
            .bind(point.before_ms)
            .bind(point.after_ms)
            .bind(point.seen_before.map(|at| at.0));
        match self.run(query).await? {
            1 => Ok(()),
            // One commit, one measurement.
            _ => Err(LedgerError::Stale("history of the clock")),
        }
    }

    async fn count(&mut self, token: TokenId, to: u32, seen: UnixMillis) -> Outcome {
        let update = "UPDATE tokens SET sign_count = ?1, last_seen = ?2, failures = 0, updated = ?3 \
                      WHERE id = ?4 AND (sign_count < ?1 OR (sign_count = 0 AND ?1 = 0))";
        let query = sqlx::query(update)
            .bind(i64::from(to))
            .bind(seen.0)
            .bind(self.at.0)
            .bind(token.to_string());
        self.require(token, PROVABLE).await?;
        self.one(query, token, "signature counter").await?;
        Ok(Recorded::Count { token, to, seen })
    }

    async fn seen(&mut self, token: TokenId, seen: UnixMillis) -> Outcome {
        let query = sqlx::query("UPDATE tokens SET last_seen = ?, failures = 0, updated = ? WHERE id = ?")
            .bind(seen.0)
            .bind(self.at.0)
            .bind(token.to_string());
        self.require(token, PROVABLE).await?;
        self.one(query, token, "token").await?;
        Ok(Recorded::Seen { token, seen })
    }

    async fn fail(&mut self, token: TokenId) -> Outcome {
        // Stops at the largest number that fits rather than at an error: a lock-out must not become a way to crash.
        let query = sqlx::query("UPDATE tokens SET failures = MIN(failures + 1, 4294967295), updated = ? WHERE id = ?")
            .bind(self.at.0)
            .bind(token.to_string());
        self.one(query, token, "token").await?;
        Ok(Recorded::Fail { token })
    }

    async fn pardon(&mut self, token: TokenId) -> Outcome {
        let query = sqlx::query("UPDATE tokens SET failures = 0, updated = ? WHERE id = ?")
            .bind(self.at.0)
            .bind(token.to_string());
        self.one(query, token, "token").await?;
        Ok(Recorded::Pardon { token })
    }

    /// Overwrites before deleting; `secure_delete` then clears the page, and the writer empties the write-ahead log.
    async fn destroy_seed(&mut self, token: TokenId) -> Outcome {
        let query = sqlx::query("UPDATE tokens SET updated = ? WHERE id = ?")
            .bind(self.at.0)
            .bind(token.to_string());
        self.one(query, token, "token").await?;
        let wipe =
            "UPDATE seeds SET sealed = zeroblob(length(sealed)), nonce = zeroblob(length(nonce)) WHERE token = ?";
        let codes = "UPDATE recovery_codes SET mac = zeroblob(length(mac)) WHERE token = ?";
        for statement in [
            wipe,
            "DELETE FROM seeds WHERE token = ?",
            codes,
            "DELETE FROM recovery_codes WHERE token = ?",
        ] {
            let query = sqlx::query(statement).bind(token.to_string());
            self.run(query).await?;
        }
        Ok(Recorded::DestroySeed { token })
    }

    async fn oblige(&mut self, new: Obligation) -> Outcome {
        self.state(new.token).await?.ok_or(LedgerError::NotFound("token"))?;
        let insert = "INSERT INTO obligations (id, token, duty, reality, created, proven, discharged) VALUES (?, ?, ?, ?, ?, ?, ?) \
                      ON CONFLICT DO NOTHING";
        let query = sqlx::query(insert)
            .bind(new.id.to_string())
            .bind(new.token.to_string())
            .bind(canonical(&value(&new.duty)?)?)
            .bind(new.reality.as_str())
            .bind(new.created.0)
            .bind(new.proven.map(|at| at.0))
            .bind(new.discharged.map(|at| at.0));
        if self.run(query).await? != 1 {
            return Err(LedgerError::Stale("obligation"));
        }
        Ok(Recorded::Oblige(new))
    }

    async fn begin(&mut self, intent: Intent) -> Outcome {
        let salt = random::<16>()?;
        let detail = canonical(&intent.detail)?;
        let insert = "INSERT INTO intents (operation, verb, token, phase, detail, salt, started) VALUES (?, ?, ?, ?, ?, ?, ?) \
                      ON CONFLICT DO NOTHING";
        let query = sqlx::query(insert)
            .bind(intent.operation.to_string())
            .bind(&intent.verb)
            .bind(intent.token.map(|token| token.to_string()))
            .bind(&intent.phase)
            .bind(&detail)
            .bind(salt.to_vec())
            .bind(intent.started.0);
        if self.run(query).await? != 1 {
            return Err(LedgerError::Stale("operation"));
        }
        Ok(Recorded::Begin {
            operation: intent.operation,
            verb: intent.verb,
            token: intent.token,
            phase: intent.phase,
            detail: hex(&journal::detail_tag(self.keys, &*salt, &detail)),
            started: intent.started,
        })
    }

    async fn phase(&mut self, operation: OperationId, phase: String, detail: Option<serde_json::Value>) -> Outcome {
        let detail = detail.as_ref().map(canonical).transpose()?;
        let update = "UPDATE intents SET phase = ?, detail = COALESCE(?, detail) WHERE operation = ? RETURNING salt";
        let query = sqlx::query_scalar(update)
            .bind(&phase)
            .bind(&detail)
            .bind(operation.to_string());
        let salt: Option<Vec<u8>> = self.scalar(query).await?;
        let salt = salt.ok_or(LedgerError::NotFound("open operation"))?;
        Ok(Recorded::Phase {
            operation,
            phase,
            detail: detail.map(|detail| hex(&journal::detail_tag(self.keys, &salt, &detail))),
        })
    }

    /// The tag for the unique column, if no other live token has it.
    async fn claim(&mut self, token: TokenId, unique: Option<&Unique>) -> Result<Option<Tag>, LedgerError> {
        let Some(unique) = unique else { return Ok(None) };
        let tag = journal::unique_tag(self.keys, unique);
        let query = sqlx::query_scalar("SELECT id FROM tokens WHERE unique_tag = ?").bind(tag.to_vec());
        let holder: Option<String> = self.scalar(query).await?;
        match holder.map(|id| id.parse::<TokenId>()) {
            None => Ok(Some(tag)),
            Some(Ok(holder)) if holder == token => Ok(Some(tag)),
            Some(Ok(holder)) => Err(LedgerError::Duplicate {
                what: unique.what(),
                token: holder,
            }),
            Some(Err(_)) => Err(LedgerError::Damaged("a token's id is none".to_owned())),
        }
    }

    async fn state(&mut self, token: TokenId) -> Result<Option<TokenState>, LedgerError> {
        let query = sqlx::query_scalar("SELECT state FROM tokens WHERE id = ?").bind(token.to_string());
        let state: Option<String> = self.scalar(query).await?;
        state
            .map(|name| {
                name.parse()
                    .map_err(|_| LedgerError::Damaged(format!("token {token}: its state is none we know")))
            })
            .transpose()
    }

    /// The update must touch one row; if not, says whether the token is missing or `what` has moved on.
    pub(super) async fn one(
        &mut self,
        query: Statement<'_>,
        token: TokenId,
        what: &'static str,
    ) -> Result<(), LedgerError> {
        if self.run(query).await? == 1 {
            return Ok(());
        }
        match self.state(token).await? {
            Some(_) => Err(LedgerError::Stale(what)),
            None => Err(LedgerError::NotFound("token")),
        }
    }

    async fn absent_or_stale(&mut self, select: &'static str, id: impl ToString, what: &'static str) -> LedgerError {
        let query = sqlx::query_scalar(select).bind(id.to_string());
        match self.scalar::<i64>(query).await {
            Ok(Some(_)) => LedgerError::Stale(what),
            Ok(None) => LedgerError::NotFound(what),
            Err(fault) => fault,
        }
    }

    /// Rows touched.
    pub(super) async fn run(&mut self, query: Statement<'_>) -> Result<u64, LedgerError> {
        let done = query.execute(&mut *self.conn).await;
        done.map(|done| done.rows_affected())
            .map_err(|error| self.place.fault(&error))
    }

    pub(super) async fn scalar<T>(
        &mut self,
        query: QueryScalar<'_, Sqlite, T, SqliteArguments>,
    ) -> Result<Option<T>, LedgerError>
    where
        T: Send + Unpin,
        (T,): for<'r> sqlx::FromRow<'r, SqliteRow>,
    {
        query
            .fetch_optional(&mut *self.conn)
            .await
            .map_err(|error| self.place.fault(&error))
    }
}

/// The member of a binding that a plugged-in device is looked up by.
pub(crate) fn body(binding: &Binding) -> Option<&str> {
    match binding {
        Binding::Fido2 { credential_id, .. } => Some(credential_id),
        Binding::OathCard { device_id, .. } | Binding::EventCard { device_id, .. } => Some(device_id),
        Binding::None
        | Binding::Fob { .. }
        | Binding::EventFob { .. }
        | Binding::NfcFob { .. }
        | Binding::App { .. }
        | Binding::RecoveryCodes { .. } => None,
    }
}

/// SQLite's integers end at 2^63 - 1; a time step or counter there is not of this world.
fn signed(step: u64) -> Result<i64, LedgerError> {
    i64::try_from(step).map_err(|_| LedgerError::Storage(format!("{step} is too large for a time step or counter")))
}
