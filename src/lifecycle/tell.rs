//! The subject is told: what happened to their tokens goes to a program of the administrator's, and is not lost on the way.
//!
//! A letter is written in the same commit as what it tells, as an open intent of the verb [`VERB`]: a crash between the two loses
//! nothing, and the next start finds what was not delivered. Its detail names the person and goes with the intent when that is closed;
//! the journal keeps a tag of it. Delivery is tried with growing pauses until it succeeds or [`GIVEN_UP_MS`] has passed. Every failure
//! is a phase of the intent, and whoever looks at the token or at the daemon sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::grant::{Authority, Grant};
use crate::hook::{Hook, HookError};
use crate::ledger::{CaseRecord, Event, Intent, IntentEnd, LedgerError, Mutation, TokenRecord};
use crate::lifecycle::Lifecycle;
use crate::lifecycle::act::facts;
use crate::lifecycle::bypass::Endings;
use crate::types::{CaseId, OperationId, RevokeReason, TokenId, TokenState};

/// The verb of an intent that is a letter. Recovery leaves it alone: it is no act on hardware.
pub const VERB: &str = "tell";
/// Whom a letter goes to that names nobody, in its detail.
const ORGANISATION: &str = "organisation";
/// Version of the JSON.
const FORM: u32 = 1;
/// First pause after a failure; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// After a week nobody wants the news any more, in milliseconds.
const GIVEN_UP_MS: i64 = 7 * 86_400_000;

/// What an entry of the journal is news of, if the person wants to know: the word in the hook's JSON.
fn news(event: &Event) -> Option<&'static str> {
    Some(match event.name {
        "token.registered" | "fob.registered" | "token.assigned" => "bound",
        "token.revoked" => "revoked",
        "token.suspended" => "suspended",
        "token.lost" => "lost",
        "token.resumed" => "resumed",
        "fido.done" => {
            let what = event.detail.get("what").and_then(Value::as_str)?;
            what.starts_with("pin").then_some("pin-reset")?
        }
        _ => return None,
    })
}

/// What a commit is news of, and of which token. One that takes several tokens with it (a device's reset) is news of each.
fn affected(event: &Event, changes: &[Mutation]) -> Vec<(&'static str, TokenId)> {
    let mut affected: Vec<_> = news(event).zip(event.token).into_iter().collect();
    for change in changes {
        if let Mutation::Transition {
            token,
            to: TokenState::Revoked,
            reason,
            ..
        } = change
            && *reason != Some(RevokeReason::Abandoned)
            && affected.iter().all(|(_, told)| told != token)
        {
            affected.push(("revoked", *token));
        }
    }
    affected
}

/// How telling goes, for `Manager1.Status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Telling {
    /// Letters that wait.
    pub waiting: u32,
    /// Of these, such that failed at least once.
    pub failing: u32,
    /// Why the last one failed, in words.
    pub why: Option<String>,
}

struct Letter {
    intent: Intent,
    tries: u32,
    due: Instant,
}

/// Letters on their way.
#[derive(Default)]
pub struct Outbox {
    letters: Mutex<BTreeMap<OperationId, Letter>>,
    why: Mutex<Option<String>>,
    posted: Notify,
}

impl Outbox {
    fn letters(&self) -> MutexGuard<'_, BTreeMap<OperationId, Letter>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes letters in that are durable by now.
    pub fn post(&self, intents: impl IntoIterator<Item = Intent>) {
        let mut any = false;
        let mut letters = self.letters();
        for intent in intents {
            // What was tried before a restart is tried again at once, and then with the pause it had come to.
            let tries = intent
                .phase
                .split(' ')
                .next()
                .and_then(|tries| tries.parse().ok())
                .unwrap_or(0);
            let letter = Letter {
                tries,
                due: Instant::now(),
                intent,
            };
            letters.insert(letter.intent.operation, letter);
            any = true;
        }
        drop(letters);
        if any {
            self.posted.notify_one();
        }
    }

    /// How it goes.
    #[must_use]
    pub fn telling(&self) -> Telling {
        let letters = self.letters();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let failing = count(letters.values().filter(|letter| letter.tries > 0).count());
        Telling {
            waiting: count(letters.len()),
            failing,
            why: self
                .why
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
                .filter(|_| failing > 0),
        }
    }

    /// Letters about a token that failed at least once.
    #[must_use]
    pub fn failing_of(&self, token: TokenId) -> u32 {
        let letters = self.letters();
        let of = |letter: &&Letter| letter.tries > 0 && letter.intent.token == Some(token);
        u32::try_from(letters.values().filter(of).count()).unwrap_or(u32::MAX)
    }

    /// Letters about what was done in a case that failed at least once.
    #[must_use]
    pub fn failing_in(&self, case: CaseId) -> u32 {
        let case = case.to_string();
        let letters = self.letters();
        let of = |letter: &&Letter| {
            letter.tries > 0 && letter.intent.detail.get("case").and_then(Value::as_str) == Some(case.as_str())
        };
        u32::try_from(letters.values().filter(of).count()).unwrap_or(u32::MAX)
    }

    /// The letter that is due next, or when it will be.
    fn next(&self) -> Result<(Intent, u32), Option<Instant>> {
        let letters = self.letters();
        let next = letters.values().min_by_key(|letter| letter.due).ok_or(None)?;
        if next.due > Instant::now() {
            return Err(Some(next.due));
        }
        Ok((next.intent.clone(), next.tries))
    }

    fn failed(&self, operation: OperationId, tries: u32, error: &HookError) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        if let Some(letter) = self.letters().get_mut(&operation) {
            letter.tries = tries;
            letter.due = Instant::now() + pause(tries);
        }
    }

    fn gone(&self, operation: OperationId) {
        self.letters().remove(&operation);
    }
}

/// The pause after so many failures.
fn pause(tries: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(16));
    doubled.min(LONGEST_PAUSE)
}

impl Lifecycle {
    /// The letters that go with a commit: one for each person it is news to. None where nobody is told.
    async fn letters(&self, event: &Event, changes: &[Mutation]) -> Result<Vec<Intent>, LedgerError> {
        let mut letters = Vec::new();
        if self.organisation().hook.is_none() {
            return Ok(letters);
        }
        for (what, token) in affected(event, changes) {
            let record = match inserted(changes, token) {
                Some(record) => Some(record.clone()),
                None => self.ledger().token(token).await?,
            };
            let assigned = changes.iter().find_map(|change| match change {
                Mutation::Assign { subject, .. } => Some(subject.clone()),
                _ => None,
            });
            let Some(record) = record else { continue };
            if let Some(subject) = assigned.or_else(|| record.personal.subject.clone()) {
                letters.push(self.letter(what, &subject, &record, &event.authority));
            }
        }
        Ok(letters)
    }

    /// A letter about a bypass, to be begun in the commit of what it tells. None where nobody is told.
    pub(super) fn bypass_letter(&self, what: &str, subject: &str, case: CaseId, more: Value) -> Option<Intent> {
        self.organisation().hook.as_ref()?;
        let now = self.clock().now();
        let mut detail = json!({
            "form": FORM,
            "what": what,
            "subject": subject,
            "at-ms": now.0,
            "case": case.to_string(),
        });
        if let (Some(members), Value::Object(more)) = (detail.as_object_mut(), more) {
            members.extend(more);
        }
        Some(Intent {
            operation: OperationId::generate(),
            verb: VERB.to_owned(),
            token: None,
            phase: "0".to_owned(),
            detail,
            started: now,
        })
    }

    /// Writes a commit of a verb, with the letters that it is cause for, and holds it against the policy's anomalies.
    pub(super) async fn commit_and_tell(
        &self,
        event: Event,
        changes: Vec<Mutation>,
        bench: bool,
    ) -> Result<(), LedgerError> {
        self.commit_all_and_tell(vec![(event, changes)], bench).await
    }

    /// Which bypasses an event ends.
    async fn ends_bypasses(&self, event: &Event) -> Result<Endings, LedgerError> {
        let leaves = event.detail.get("reason") == Some(&serde_json::json!(RevokeReason::Leaver));
        match (event.name, event.token) {
            ("test.passed" | "token.resumed", Some(token)) => self.found_again(token).await,
            ("token.revoked", Some(token)) if leaves => self.left_behind(token).await,
            _ => Ok(Endings::default()),
        }
    }

    /// The same of several commits that are one transaction.
    pub(super) async fn commit_all_and_tell(
        &self,
        mut commits: Vec<(Event, Vec<Mutation>)>,
        bench: bool,
    ) -> Result<(), LedgerError> {
        let mut posted = Vec::new();
        let mut ended = Vec::new();
        for (event, changes) in &mut commits {
            let letters = self.letters(event, changes).await?;
            changes.extend(letters.iter().cloned().map(Mutation::Begin));
            posted.extend(letters);
            let mut endings = self.ends_bypasses(event).await?;
            endings.noted(&mut event.detail);
            changes.extend(endings.take());
            ended.push(endings);
        }
        let events: Vec<Event> = commits.iter().map(|(event, _)| event.clone()).collect();
        match (commits.pop(), commits.is_empty()) {
            (Some((event, changes)), true) => drop(self.ledger().commit(event, changes).await?),
            (Some(last), false) => {
                commits.push(last);
                self.ledger()
                    .commit_all(Box::new(commits.into_iter()))
                    .await
                    .map_err(|failure| failure.error)?;
            }
            (None, _) => {}
        }
        self.outbox().post(posted);
        for endings in ended {
            self.told_endings(endings);
        }
        for event in &events {
            self.happened(event, None, bench).await;
        }
        Ok(())
    }

    /// A letter, to be begun in the commit of what it tells.
    fn letter(&self, what: &str, subject: &str, token: &TokenRecord, authority: &Authority) -> Intent {
        let now = self.clock().now();
        let mut detail = json!({
            "form": FORM,
            "what": what,
            "subject": subject,
            "at-ms": now.0,
            "token": token.id.to_string(),
            "kind": token.kind.as_str(),
            "reality": token.reality.as_str(),
            "model": token.model,
        });
        if let (Some(members), Some(case)) = (detail.as_object_mut(), authority.case()) {
            members.insert("case".to_owned(), json!(case.to_string()));
        }
        Intent {
            operation: OperationId::generate(),
            verb: VERB.to_owned(),
            token: Some(token.id),
            phase: "0".to_owned(),
            detail,
            started: now,
        }
    }

    /// The letter about a case that has waited too long. It names nobody: whoever looks after that may look at the case.
    #[must_use]
    pub fn overdue_letter(&self, case: &CaseRecord) -> Option<Intent> {
        self.organisation().overseer.as_ref()?;
        let now = self.clock().now();
        Some(Intent {
            operation: OperationId::generate(),
            verb: VERB.to_owned(),
            token: None,
            phase: "0".to_owned(),
            detail: json!({
                "form": FORM,
                "what": "case-overdue",
                "to": ORGANISATION,
                "at-ms": now.0,
                "case": case.id.to_string(),
                "kind": case.kind.as_str(),
                "channel": case.channel.as_str(),
                "step": case.step.as_str(),
                "opened-ms": case.opened_at.0,
            }),
            started: now,
        })
    }

    /// The hook that a letter goes to, if there is one.
    fn carrier(&self, letter: &Intent) -> Option<&Hook> {
        let organisation = self.organisation();
        if to_organisation(letter) {
            organisation.overseer.as_ref()
        } else {
            organisation.hook.as_ref()
        }
    }

    /// Delivers letters until it is dropped. On a standing grant, whose reason is journalled.
    ///
    /// # Errors
    /// Storage, when what was left over cannot be read.
    pub async fn tell(self: Arc<Self>, standing: Grant) -> Result<(), LedgerError> {
        let left_over = self.ledger().open_intents().await?;
        let letters = left_over.into_iter().filter(|intent| intent.verb == VERB);
        // Letters from when there was a hook for them stay until there is one again.
        self.outbox()
            .post(letters.filter(|letter| self.carrier(letter).is_some()));
        loop {
            match self.outbox().next() {
                Ok((intent, tries)) => match self.carrier(&intent) {
                    Some(hook) => self.deliver(hook, &standing, intent, tries).await,
                    None => self.outbox().gone(intent.operation),
                },
                Err(Some(due)) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(due) => {}
                        () = self.outbox().posted.notified() => {}
                    }
                }
                Err(None) => self.outbox().posted.notified().await,
            }
        }
    }

    async fn deliver(&self, hook: &Hook, standing: &Grant, intent: Intent, tries: u32) {
        let outcome = match self.addressed(&intent).await {
            Ok(text) => hook.call(text.to_string().as_bytes()).await,
            Err(error) => Err(error),
        };
        let operation = intent.operation;
        let now = self.clock().now();
        let end = |end| Mutation::End { operation, end };
        let [is_told, is_not, given_up] = if to_organisation(&intent) {
            ["organisation.told", "organisation.not-told", "organisation.given-up"]
        } else {
            ["subject.told", "subject.not-told", "subject.given-up"]
        };
        let (name, change) = match &outcome {
            Ok(()) => (is_told, end(IntentEnd::Completed)),
            Err(_) if now.0.saturating_sub(intent.started.0) > GIVEN_UP_MS => (given_up, end(IntentEnd::RolledBack)),
            Err(error) => {
                let phase = format!("{} {}", tries.saturating_add(1), error.name());
                let change = Mutation::Phase {
                    operation,
                    phase,
                    detail: None,
                };
                (is_not, change)
            }
        };
        let why = outcome.as_ref().err();
        if let Some(error) = why {
            tracing::warn!(%operation, why = error.name(), tries = tries.saturating_add(1), "a letter could not be delivered");
        }
        let mut detail = facts([("tries", json!(tries.saturating_add(1)))]);
        if let Some(error) = why {
            detail.insert("why", json!(error.name()));
        }
        let event = Event {
            name,
            authority: standing.authority(Some(operation)),
            token: intent.token,
            at: now,
            detail,
        };
        let over = name != is_not;
        match self.ledger().commit(event, vec![change]).await {
            Ok(_) if over => self.outbox().gone(operation),
            Ok(_) => {
                if let Some(error) = why {
                    self.outbox().failed(operation, tries.saturating_add(1), error);
                }
            }
            Err(LedgerError::NotFound(_)) => self.outbox().gone(operation),
            // A letter that was delivered may be delivered again: better twice than never.
            Err(error) => {
                tracing::error!(%error, "what became of a letter could not be written down");
                let again = HookError::Killed;
                self.outbox()
                    .failed(operation, tries.saturating_add(1), why.unwrap_or(&again));
            }
        }
    }

    /// The text, with the contact as it is now. While nobody can say what that is the letter waits: without it nobody would be told.
    async fn addressed(&self, intent: &Intent) -> Result<Value, HookError> {
        let mut detail = intent.detail.clone();
        let Some(name) = detail.get("subject").and_then(Value::as_str).map(str::to_owned) else {
            return Ok(detail);
        };
        let subject = self.subject(&name).await;
        let subject = subject.map_err(|error| HookError::Unaddressed(error.to_string()))?;
        if let Some(members) = detail.as_object_mut() {
            members.insert("id".to_owned(), json!(intent.operation.to_string()));
            if let Some(contact) = subject.as_ref().and_then(|subject| subject.contact.clone()) {
                let verified = subject.is_some_and(|subject| subject.contact_verified.is_some());
                members.insert("contact".to_owned(), json!(contact));
                members.insert("contact-verified".to_owned(), json!(verified));
            }
        }
        Ok(detail)
    }
}

/// Whether a letter goes to those who look after the help desk, not to a person whose token it is about.
fn to_organisation(letter: &Intent) -> bool {
    letter.detail.get("to").and_then(Value::as_str) == Some(ORGANISATION)
}

/// The record that a commit inserts.
fn inserted(changes: &[Mutation], token: TokenId) -> Option<&TokenRecord> {
    changes.iter().find_map(|change| match change {
        Mutation::Insert { record, .. } if record.id == token => Some(&**record),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::UnixMillis;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let seconds: Vec<u64> = [1, 2, 3, 10, 11, 100].map(|tries| pause(tries).as_secs()).to_vec();
        assert_eq!(seconds, [5, 10, 20, 2_560, 3_600, 3_600]);
    }

    #[test]
    fn what_failed_before_a_restart_is_known_to_have_failed() {
        let outbox = Outbox::default();
        let intent = |phase: &str| Intent {
            operation: OperationId::generate(),
            verb: VERB.to_owned(),
            token: None,
            phase: phase.to_owned(),
            detail: json!({}),
            started: UnixMillis(0),
        };
        outbox.post([intent("0"), intent("3 hung"), intent("nonsense")]);
        let telling = outbox.telling();
        assert_eq!((telling.waiting, telling.failing), (3, 1));
    }
}
