//! One mutation: the conditional statement that carries it out, and what the journal holds of it.

use sqlx::query::{Query, QueryScalar};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, SqliteConnection};

use super::fault::Place;
use super::insert::New;
use crate::ledger::canonical::canonical;
use crate::ledger::journal::{self, Recorded, hex};
use crate::ledger::seal::{Keys, Tag, random};
use crate::ledger::{Binding, Intent, LedgerError, Mutation, Obligation, PROVABLE, Unique};
use crate::types::{OperationId, RevokeReason, TokenId, TokenState, UnixMillis};

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
            Mutation::Insert { record, seed, unique } => {
                let new = New {
                    record: *record,
                    seed,
                    unique,
                };
                self.insert(new).await
            }
            Mutation::Transition {
                token,
                from,
                to,
                reason,
            } => self.transition(token, from, to, reason).await,
            Mutation::Assign { token, subject } => self.assign(token, subject).await,
            Mutation::Serial { token, serial } => self.serial(token, serial).await,
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
            Mutation::Defer { account, below, at } => self.defer(&account, below, at).await,
            Mutation::Freeze(frozen) => self.freeze(frozen).await,
            Mutation::Thaw { operator } => self.thaw(operator).await,
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
            Mutation::OpenCase(new) => self.open_case(*new).await,
            Mutation::Note(new) => self.note(*new).await,
            Mutation::Step {
                case,
                step,
                since,
                within_ms,
            } => self.step(case, step, since, within_ms).await,
            Mutation::Escalate { case, step } => self.escalate(case, step).await,
            Mutation::CloseCase {
                case,
                by,
                stamp,
                outcome,
                checks,
            } => self.close_case(case, by, stamp, outcome, checks).await,
            Mutation::IssueBypass(new) => self.issue_bypass(*new).await,
            Mutation::TryBypass { case, at, passed } => return self.try_bypass(case, at, passed).await,
            Mutation::EndBypass {
                case,
                why,
                since,
                within_ms,
            } => return self.end_bypass(case, why, since, within_ms).await,
            Mutation::ReviewBypass { case, by } => self.review_bypass(case, by).await,
            Mutation::KeepTime { reading, stamp } => return self.keep_time(reading, stamp).await,
        };
        recorded.map(Some)
    }

    pub(super) async fn require(&mut self, token: TokenId, states: &[TokenState]) -> Result<(), LedgerError> {
        let is = self.state(token).await?.ok_or(LedgerError::NotFound("token"))?;
        among(is, states)
    }

    async fn require_failures_below(&mut self, token: TokenId, limit: u32) -> Result<(), LedgerError> {
        let query = sqlx::query_scalar("SELECT failures FROM tokens WHERE id = ?").bind(token.to_string());
        match self.scalar::<i64>(query).await? {
            None => Err(LedgerError::NotFound("token")),
            Some(failures) if failures < i64::from(limit) => Ok(()),
            Some(_) => Err(LedgerError::Stale("count of failures")),
        }
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
            .bind(canonical(&names)?);
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
            .bind(canonical(&binding)?)
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
            .bind(canonical(&new.duty)?)
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

    pub(super) async fn absent_or_stale(
        &mut self,
        select: &'static str,
        id: impl ToString,
        what: &'static str,
    ) -> LedgerError {
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

/// Whether this state will do.
pub(super) fn among(is: TokenState, states: &[TokenState]) -> Result<(), LedgerError> {
    if states.contains(&is) {
        return Ok(());
    }
    let names: Vec<_> = states.iter().map(|state| state.as_str()).collect();
    Err(LedgerError::WrongState {
        is,
        needs: names.join(" or "),
    })
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
pub(super) fn signed(step: u64) -> Result<i64, LedgerError> {
    i64::try_from(step).map_err(|_| LedgerError::Storage(format!("{step} is too large for a time step or counter")))
}
