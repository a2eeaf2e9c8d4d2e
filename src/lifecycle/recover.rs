//! Bringing what was cut short to an end: completed, rolled back, or an obligation. The same code runs when a verb fails
//! half way and when the daemon starts and finds an intent that nobody closed, so that a crash is no special case.

use serde_json::json;

use crate::grant::{Action, Authority, Grant, Object};
use crate::ledger::{
    Binding, Duty, Event, Intent, IntentEnd, LedgerError, Mutation, Obligation, REPLACE_VERB, TokenRecord,
};
use crate::lifecycle::act::facts;
use crate::lifecycle::settle;
use crate::lifecycle::tell;
use crate::lifecycle::{Lifecycle, Refusal};
use crate::types::{ObligationId, OperationId, RevokeReason, TokenId, TokenState, UnixMillis};

/// Phases that an intent is left in. What may be on the device follows from them.
pub mod phase {
    /// The record is there; nothing of ours is on the device.
    pub const BEGUN: &str = "begun";
    /// The device may or may not have made what we asked for.
    pub const CREATING: &str = "creating";
    /// The device has it, and the record knows it.
    pub const CREATED: &str = "created";
    /// What the device had was taken off it again.
    pub const UNDONE: &str = "undone";
    /// The binding is dead, the obligation stands.
    pub const DEAD: &str = "dead";
}

impl Lifecycle {
    /// Ends every operation that the last run of the daemon left open. Called once, before the first request.
    ///
    /// # Errors
    /// [`Refusal::Ledger`]: a ledger that cannot be brought to order is not served.
    pub async fn recover(&self, standing: &Grant) -> Result<usize, Refusal> {
        standing.require(Action::Revoke, &Object::Whole)?;
        let mut intents = self.ledger().open_intents().await?;
        // Letters wait for the one who delivers them, replacements for the new token.
        intents.retain(|intent| ![tell::VERB, REPLACE_VERB].contains(&intent.verb.as_str()));
        for intent in &intents {
            let end = self
                .conclude(intent, standing.authority(Some(intent.operation)))
                .await?;
            tracing::warn!(operation = %intent.operation, verb = intent.verb, phase = intent.phase, ?end,
                "an operation was cut short; it has been brought to an end");
        }
        Ok(intents.len())
    }

    /// Ends one operation that did not come to its end by itself, if its intent is still open.
    pub(super) async fn conclude_open(&self, operation: OperationId, authority: Authority) -> Result<(), Refusal> {
        let intents = self.ledger().open_intents().await?;
        if let Some(intent) = intents.iter().find(|intent| intent.operation == operation) {
            self.conclude(intent, authority).await?;
        }
        Ok(())
    }

    async fn conclude(&self, intent: &Intent, authority: Authority) -> Result<IntentEnd, Refusal> {
        let now = self.clock().now();
        let record = match intent.token {
            Some(id) => self.ledger().token(id).await?,
            None => None,
        };
        let (end, mut mutations) = match (intent.verb.as_str(), &record) {
            ("register", Some(record)) if record.state == TokenState::Pending => {
                self.abandon(intent, record, now).await?
            }
            // Revoked while the key was making the credential: whoever revoked it saw no credential to be deleted.
            ("register", Some(record)) if intent.phase == phase::CREATING && record.binding == Binding::None => {
                match orphan(intent) {
                    Some(duty) => (IntentEnd::Obliged, vec![oblige(record, duty, now)]),
                    None => (IntentEnd::RolledBack, Vec::new()),
                }
            }
            // The obligation was opened in the commit that killed the binding; nothing is left but to say so.
            ("revoke" | "discharge", _) => (IntentEnd::Obliged, Vec::new()),
            // Whether a key was wiped is not known: what was on it is taken for gone, and deleted should it not be.
            ("erase", _) if intent.phase == phase::CREATING && !wiped(intent).is_empty() => {
                let mut mutations = Vec::new();
                for token in wiped(intent) {
                    if let Some(record) = self.ledger().token(token).await? {
                        let duty = settle::duty_of(self, &record, false).await?;
                        kill(&record, duty, now, &mut mutations);
                    }
                }
                (IntentEnd::Obliged, mutations)
            }
            // So were those of the tokens that an applet's reset takes with it.
            ("erase", _) if intent.phase == phase::DEAD => (IntentEnd::Obliged, Vec::new()),
            _ => (IntentEnd::RolledBack, Vec::new()),
        };
        mutations.push(Mutation::End {
            operation: intent.operation,
            end,
        });
        let event = Event {
            name: "operation.concluded",
            authority,
            token: intent.token,
            at: now,
            detail: facts([
                ("verb", json!(intent.verb)),
                ("phase", json!(intent.phase)),
                ("end", json!(end)),
            ]),
        };
        match self.ledger().commit(event, mutations).await {
            // A lane that was given up as stuck came back meanwhile and closed it.
            Err(LedgerError::NotFound(_) | LedgerError::Stale(_)) => Ok(end),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(end),
        }
    }

    /// Kills a registration that was not finished, and obliges whatever may have been left on the device.
    async fn abandon(
        &self,
        intent: &Intent,
        record: &TokenRecord,
        now: UnixMillis,
    ) -> Result<(IntentEnd, Vec<Mutation>), Refusal> {
        let duty = match (intent.phase.as_str(), &record.binding) {
            (phase::CREATING, Binding::None) => orphan(intent),
            (phase::CREATING | phase::CREATED, _) => settle::duty_of(self, record, false).await?,
            _ => None,
        };
        let mut mutations = vec![Mutation::Transition {
            token: record.id,
            from: &[TokenState::Pending],
            to: TokenState::Revoked,
            reason: Some(RevokeReason::Abandoned),
        }];
        if record.has_seed {
            mutations.push(Mutation::DestroySeed { token: record.id });
        }
        let Some(duty) = duty else {
            return Ok((IntentEnd::RolledBack, mutations));
        };
        mutations.push(oblige(record, duty, now));
        Ok((IntentEnd::Obliged, mutations))
    }
}

/// Revokes a token whose credential died with its key, or may have: then `duty` says what to do should it not.
pub(super) fn kill(
    record: &TokenRecord,
    duty: Option<Duty>,
    now: UnixMillis,
    changes: &mut Vec<Mutation>,
) -> Option<ObligationId> {
    // Somebody else may have revoked it meanwhile.
    if record.state == TokenState::Revoked {
        return None;
    }
    changes.push(Mutation::Transition {
        token: record.id,
        from: super::revoke::ALIVE,
        to: TokenState::Revoked,
        reason: Some(RevokeReason::Other),
    });
    if record.has_seed {
        changes.push(Mutation::DestroySeed { token: record.id });
    }
    let obligation = obligation(record, duty?, now);
    let id = obligation.id;
    changes.push(Mutation::Oblige(obligation));
    Some(id)
}

/// The tokens that were on a key which was being reset.
fn wiped(intent: &Intent) -> Vec<TokenId> {
    let listed = intent.detail.get("tokens").and_then(serde_json::Value::as_array);
    let ids = listed.into_iter().flatten().filter_map(serde_json::Value::as_str);
    ids.filter_map(|id| id.parse().ok()).collect()
}

fn oblige(record: &TokenRecord, duty: Duty, now: UnixMillis) -> Mutation {
    Mutation::Oblige(obligation(record, duty, now))
}

fn obligation(record: &TokenRecord, duty: Duty, now: UnixMillis) -> Obligation {
    Obligation {
        id: ObligationId::generate(),
        token: record.id,
        duty,
        reality: record.reality,
        created: now,
        proven: None,
        discharged: None,
    }
}

/// What an intent tells of a credential whose id we never learned.
fn orphan(intent: &Intent) -> Option<Duty> {
    let text = |key: &str| intent.detail.get(key).and_then(|v| v.as_str()).map(str::to_owned);
    // A credential that is not discoverable leaves nothing on the key.
    if intent.detail.get("discoverable").and_then(serde_json::Value::as_bool) == Some(false) {
        return None;
    }
    Some(Duty::DeleteOrphan {
        rp_id: text("rp_id")?,
        user_id: text("user_id")?,
    })
}
