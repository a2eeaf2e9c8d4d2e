//! Alarms: everything that is done is held against the policy's anomalies; what is out of the ordinary is journalled, told to those
//! who may know, and, where the policy says so, freezes the operator until somebody else lifts it.
//!
//! The rules are in `authority::anomaly`, which knows no ledger. Here is what it is fed: each commit of a verb, and at the start what
//! the journal says of the time that the rules look back.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::authority::Policy;
pub use crate::authority::anomaly::Raised;
use crate::authority::anomaly::{Alarm, Deed, Happening, Watch};
use crate::authority::policy::AnomalyRule;
use crate::grant::{Action, Grant, Object};
use crate::ledger::{Event, Filter, Frozen, JournalEntry, LedgerError, Mutation, TokenRecord};
use crate::lifecycle::act::facts;
use crate::lifecycle::bypass::Endings;
use crate::lifecycle::{Lifecycle, Refusal};
use crate::types::cases::{Anomaly, Hours};
use crate::types::stamp::{Moment, Stamp};
use crate::types::{TokenId, UnixMillis};

/// Most entries of the journal that are read when the daemon starts.
const RECALLED: u64 = 5_000;
/// Entries read at once.
const PAGE: u32 = 1_000;
/// Uids below this are services' (`SYS_UID_MAX` of login.defs(5) and one more).
const FIRST_PERSON: u32 = 1_000;

/// Whose authority an alarm is about, and what follows: for whoever holds live authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consequence {
    /// Uid.
    pub operator: u32,
    /// Their sessions end.
    pub end_sessions: bool,
}

/// The watch over what is done.
pub struct Alarms {
    watch: Mutex<Watch>,
    raised: broadcast::Sender<Consequence>,
}

impl Default for Alarms {
    fn default() -> Self {
        Self {
            watch: Mutex::default(),
            raised: broadcast::channel(64).0,
        }
    }
}

impl Alarms {
    /// Alarms as they are raised.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Consequence> {
        self.raised.subscribe()
    }
}

/// What was done, if anybody watches for it. `detail` is the event's.
fn deed_of<'d>(event: &str, detail: impl Fn(&str) -> Option<&'d Value>) -> Option<Deed> {
    let said = |key: &str, word: &str| detail(key).and_then(Value::as_str) == Some(word);
    Some(match event {
        "token.registered" | "fob.registered" | "token.assigned" | "token.resumed" => Deed::Enrolled,
        "token.revoked" | "pin.set" | "pin.reset" => Deed::Reset,
        "oath.done" if said("what", "reset") => Deed::Reset,
        "resync.refused" if said("why", "implausible") => Deed::Implausible,
        "resync.applied" if detail("beyond_bound") == Some(&Value::Bool(true)) => Deed::Implausible,
        "token.suspended" | "token.lost" | "resync.applied" | "resync.undone" | "clock.set" | "oath.done"
        | "account.unlocked" | "token.exported" | "bypass.issued" | "replacement.begun" => Deed::Changed,
        "verify.failed" | "test.failed" => Deed::Failed,
        "case.denied" => Deed::Denied,
        _ => return None,
    })
}

impl Lifecycle {
    /// Takes in what was done and is durable, and raises what is out of the ordinary. What goes wrong here is logged: the deed is done.
    pub(super) async fn happened(&self, event: &Event, subject: Option<String>, bench: bool) {
        let detail = &event.detail;
        let Some(deed) = deed_of(event.name, |key| detail.get(key)) else {
            return;
        };
        self.watched(deed, event.authority.uid(), event.token, subject, bench)
            .await;
    }

    /// The same for what was done elsewhere: a second person's no, whose case is the operator's.
    pub async fn denied(&self, operator: u32, subject: Option<String>) {
        self.watched(Deed::Denied, Some(operator), None, subject, false).await;
    }

    async fn watched(
        &self,
        deed: Deed,
        operator: Option<u32>,
        token: Option<TokenId>,
        subject: Option<String>,
        bench: bool,
    ) {
        let (Some(policy), Some(operator)) = ((self.organisation().policy)(), operator) else {
            return;
        };
        let Some(watchman) = &self.organisation().watchman else {
            return;
        };
        if policy.anomalies.is_empty() {
            return;
        }
        let moment = watchman.now();
        let happening = match self.seen(&policy, deed, operator, token, subject, moment).await {
            Ok(happening) => Happening { bench, ..happening },
            Err(error) => {
                tracing::error!(%error, "what was done could not be held against the policy's anomalies");
                return;
            }
        };
        let alarms = self.watch().observe(&policy, happening);
        for alarm in alarms {
            if let Err(error) = self.raise(&watchman.grant, &alarm).await {
                tracing::error!(%error, kind = alarm.rule.kind.as_str(), "an alarm could not be written down");
            }
        }
    }

    fn watch(&self) -> std::sync::MutexGuard<'_, Watch> {
        self.alarms().watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the rules look at.
    async fn seen(
        &self,
        policy: &Policy,
        deed: Deed,
        operator: u32,
        token: Option<TokenId>,
        subject: Option<String>,
        moment: Moment,
    ) -> Result<Happening, Refusal> {
        let record = match token {
            Some(token) => self.ledger().token(token).await?,
            None => None,
        };
        let subject = subject.or_else(|| record.as_ref().and_then(|record| record.personal.subject.clone()));
        let known = match &subject {
            Some(name) => self.subject(name).await?,
            None => None,
        };
        let shared_serial = match &record {
            Some(record) if deed == Deed::Enrolled => self.shares_serial(record).await?,
            _ => false,
        };
        Ok(Happening {
            deed,
            operator,
            privilege: known
                .and_then(|subject| subject.standing(policy))
                .map(|(_, privilege)| privilege),
            subject,
            token,
            shared_serial,
            hours: hours(policy, moment.reading.wall),
            bench: false,
            service: operator < FIRST_PERSON,
            at: moment.stamp,
        })
    }

    /// Whether another person has or had a token with this maker and serial.
    async fn shares_serial(&self, record: &TokenRecord) -> Result<bool, LedgerError> {
        let Some(serial) = &record.personal.serial else {
            return Ok(false);
        };
        let filter = Filter {
            serial: Some(serial.clone()),
            ..Filter::default()
        };
        let same = self.ledger().find(&filter, None, 1_000).await?.items;
        Ok(same.iter().any(|other| {
            let whose = (&other.personal.subject, &record.personal.subject);
            other.id != record.id
                && other.maker == record.maker
                && other.reality == record.reality
                && matches!(whose, (Some(theirs), Some(ours)) if theirs != ours)
        }))
    }

    async fn raise(&self, watchman: &Grant, alarm: &Alarm) -> Result<(), LedgerError> {
        let AnomalyRule {
            kind,
            freeze,
            end_sessions,
            ..
        } = alarm.rule;
        let at = self.clock().now();
        tracing::warn!(
            kind = kind.as_str(),
            operator = alarm.operator,
            count = alarm.count,
            freeze,
            "alarm"
        );
        let event = || Event {
            name: "anomaly.raised",
            authority: watchman.authority(None),
            token: alarm.token,
            at,
            detail: facts([
                ("kind", json!(kind.as_str())),
                ("operator", json!(alarm.operator)),
                ("count", json!(alarm.count)),
                ("frozen", json!(freeze)),
            ]),
        };
        let change = Mutation::Freeze(Frozen {
            operator: alarm.operator,
            since: at,
            why: kind,
        });
        let mut endings = if freeze {
            // What cannot be looked up must not keep the freeze from being written.
            self.issued_by(alarm.operator).await.unwrap_or_else(|error| {
                tracing::error!(%error, "what bypasses the operator issued could not be looked up");
                Endings::default()
            })
        } else {
            Endings::default()
        };
        let written = if freeze {
            let mut frozen = event();
            endings.noted(&mut frozen.detail);
            let mut changes = vec![change];
            changes.extend(endings.take());
            match self.ledger().commit(frozen, changes).await {
                // Frozen already: the alarm is one all the same.
                Err(LedgerError::Stale(_)) => self.ledger().commit(event(), Vec::new()).await,
                written => {
                    if written.is_ok() {
                        self.told_endings(endings);
                    }
                    written
                }
            }
        } else {
            self.ledger().commit(event(), Vec::new()).await
        };
        // Told even where it could not be written down.
        let _ = self.alarms().raised.send(Consequence {
            operator: alarm.operator,
            end_sessions: end_sessions || freeze,
        });
        written.map(|_| ())
    }

    /// Reads what the journal says of the time that the policy's rules look back, so that a restart makes nobody a beginner.
    ///
    /// # Errors
    /// Storage; [`Refusal::Directory`].
    pub async fn recall(&self) -> Result<(), Refusal> {
        let (Some(policy), Some(watchman)) = ((self.organisation().policy)(), &self.organisation().watchman) else {
            return Ok(());
        };
        let now = watchman.now();
        let (last, _) = self.ledger().head()?;
        let mut after = last.saturating_sub(RECALLED);
        loop {
            let entries = self.ledger().journal(after, PAGE).await?;
            let Some(end) = entries.last() else { return Ok(()) };
            after = end.seq;
            for entry in &entries {
                self.recall_one(&policy, entry, now).await?;
            }
        }
    }

    async fn recall_one(&self, policy: &Policy, entry: &JournalEntry, now: Moment) -> Result<(), Refusal> {
        let detail = entry.payload.get("detail");
        let Some(deed) = deed_of(&entry.name, |key| detail?.get(key)) else {
            return Ok(());
        };
        let Some(operator) = entry.uid else { return Ok(()) };
        // An entry from a clock that was ahead happened now at the latest.
        let ago = u64::try_from(now.reading.wall.0.saturating_sub(entry.at.0)).unwrap_or(0);
        let at = Stamp {
            most_ms: now.stamp.most_ms.saturating_sub(ago),
            least_ms: now.stamp.least_ms.saturating_sub(ago),
        };
        let then = self.seen(policy, deed, operator, entry.token, None, now).await?;
        self.watch().recall(policy, Happening { at, ..then });
        Ok(())
    }

    /// Alarms before the entry `before`, the newest first, at most `limit`.
    ///
    /// # Errors
    /// Storage.
    pub async fn alarms_before(&self, grant: &Grant, before: u64, limit: u32) -> Result<Vec<Raised>, Refusal> {
        grant.require(Action::Audit, &Object::Whole)?;
        let mut raised = Vec::new();
        for seq in self.ledger().alarms(before, limit).await? {
            let entries = self.ledger().journal(seq.saturating_sub(1), 1).await?;
            raised.extend(entries.iter().filter_map(read));
        }
        Ok(raised)
    }

    /// Who is frozen.
    ///
    /// # Errors
    /// Storage.
    pub async fn frozen(&self, grant: &Grant) -> Result<Vec<Frozen>, Refusal> {
        grant.require(Action::Audit, &Object::Whole)?;
        Ok(self.ledger().freezes().await?)
    }

    /// Gives an operator their authority back. That it is another human who does so is the guard's affair; one who is frozen
    /// themselves thaws nobody.
    ///
    /// # Errors
    /// [`Refusal::Frozen`]; [`Refusal::Invalid`] when they are not frozen; storage.
    pub async fn thaw(&self, grant: &Grant, operator: u32) -> Result<(), Refusal> {
        grant.require(Action::Approve, &Object::Whole)?;
        let caller = grant.caller().ok_or(Refusal::Internal("a person thaws"))?.uid;
        if self
            .ledger()
            .freezes()
            .await?
            .iter()
            .any(|frozen| frozen.operator == caller)
            || caller == operator
        {
            return Err(Refusal::Frozen);
        }
        let event = Event {
            name: "operator.thawed",
            authority: grant.authority(None),
            token: None,
            at: self.clock().now(),
            detail: facts([("operator", json!(operator))]),
        };
        match self.ledger().commit(event, vec![Mutation::Thaw { operator }]).await {
            Err(LedgerError::NotFound(_)) => Err(Refusal::Invalid(format!("uid {operator} is not frozen"))),
            done => Ok(done.map(|_| ())?),
        }
    }
}

/// An alarm as the journal has it.
fn read(entry: &JournalEntry) -> Option<Raised> {
    let detail = entry.payload.get("detail")?;
    Some(Raised {
        seq: entry.seq,
        at: entry.at,
        kind: detail.get("kind")?.as_str()?.parse::<Anomaly>().ok()?,
        operator: u32::try_from(detail.get("operator")?.as_u64()?).ok()?,
        token: entry.token,
    })
}

fn hours(policy: &Policy, at: UnixMillis) -> Hours {
    policy.hours(super::organisation::minute_of_week(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::act::Facts;

    fn deed(event: &str, detail: &Facts) -> Option<Deed> {
        deed_of(event, |key| detail.get(key))
    }

    #[test]
    fn what_is_done_is_told_from_what_is_only_said() {
        let nothing = Facts::new();
        assert_eq!(deed("token.registered", &nothing), Some(Deed::Enrolled));
        assert_eq!(deed("token.revoked", &nothing), Some(Deed::Reset));
        assert_eq!(deed("oath.done", &nothing), Some(Deed::Changed));
        assert_eq!(deed("oath.done", &facts([("what", json!("reset"))])), Some(Deed::Reset));
        assert_eq!(deed("resync.applied", &nothing), Some(Deed::Changed));
        assert_eq!(
            deed("resync.applied", &facts([("beyond_bound", json!(true))])),
            Some(Deed::Implausible)
        );
        assert_eq!(deed("verify.failed", &nothing), Some(Deed::Failed));
        for said in [
            "token.register-begun",
            "test.passed",
            "anomaly.raised",
            "operation.concluded",
        ] {
            assert_eq!(deed(said, &nothing), None, "{said}");
        }
    }
}
