//! What a case gives, and to whom.
//!
//! A case is a durable record in the ledger; nothing of it is kept here but who is attached to it now. At every admission the facts
//! are read, [`Policy::decide`] is asked, and what it wants is said: a decision is never older than the call it admits.

mod bypass;
mod facts;
mod scope;
mod verbs;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::law::Law;
use super::people::People;
use super::sessions::Sessions;
use super::time::Timepiece;
use super::waker::Waker;
use super::{Deed, Denied};
use crate::authority::Policy;
use crate::authority::decide::{Decision, Need};
use crate::authority::policy::{SessionTerms, Words};
use crate::grant::{Caller, Object};
use crate::ledger::{CaseNote, CaseRecord, Ledger};
use crate::types::CaseId;
use crate::types::cases::{Tier, Weighty};
use crate::types::stamp::{Moment, Stamp};

pub use self::verbs::{Attached, CaseError, Escalated, NewCaseRequest};

/// Sessions where no policy says how long they last: as the shipped one.
const TERMS: SessionTerms = SessionTerms {
    idle: Duration::from_secs(10 * 60),
    absolute: Duration::from_secs(3_600),
};

/// Cases, live: the policy in force, the sessions, the time, and those who know people.
pub struct Cases {
    ledger: Arc<dyn Ledger>,
    law: Law,
    time: Timepiece,
    sessions: Sessions,
    people: Box<dyn People>,
    /// What cases wait for has changed, so the next deadline may be another.
    stirred: Notify,
}

/// What was drawn from a case.
pub(super) struct Drawn {
    pub(super) case: CaseId,
    pub(super) subject: Option<String>,
    pub(super) moment: Moment,
}

/// What is asked of the policy.
#[derive(Debug, Clone, Copy)]
struct Asked {
    tier: Tier,
    words: Words,
    /// Whether a token would become somebody's.
    enrols: bool,
}

/// A case with all that was said in it.
#[derive(Debug, Clone)]
pub struct WholeCase {
    /// The case.
    pub record: CaseRecord,
    /// What was said and done.
    pub notes: Vec<CaseNote>,
}

impl Cases {
    /// Puts them together.
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, law: Law, time: Timepiece, people: Box<dyn People>) -> Self {
        Self {
            ledger,
            law,
            time,
            sessions: Sessions::default(),
            people,
            stirred: Notify::new(),
        }
    }

    /// Has the deadlines looked at anew.
    pub fn stir(&self) {
        self.stirred.notify_one();
    }

    /// Waits until something may be due: until the next deadline, for the clock to be set, or for a case to change.
    ///
    /// # Errors
    /// Storage; the kernel's timers.
    pub async fn until_due(&self, waker: &mut Waker) -> Result<(), CaseError> {
        let due = self.ledger.next_deadline().await?;
        let now = self.time.now().stamp.most_ms;
        let left = due.map(|due| Duration::from_millis(due.saturating_sub(now)));
        tokio::select! {
            woken = waker.wait(left) => woken.map_err(|error| CaseError::Clock(error.to_string())),
            () = self.stirred.notified() => Ok(()),
        }
    }

    /// The policy in force, and how to read it anew.
    #[must_use]
    pub const fn law(&self) -> &Law {
        &self.law
    }

    /// Who is attached to what.
    #[must_use]
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Whether an operator's authority is frozen. Looked up at every admission: it holds from the commit that says so.
    pub(super) async fn is_frozen(&self, operator: u32) -> Result<bool, Denied> {
        let freezes = self.ledger.freezes().await.map_err(Denied::Ledger)?;
        Ok(freezes.iter().any(|frozen| frozen.operator == operator))
    }

    /// Authority's time.
    #[must_use]
    pub const fn time(&self) -> &Timepiece {
        &self.time
    }

    /// Those who know people.
    #[must_use]
    pub fn people(&self) -> &dyn People {
        self.people.as_ref()
    }

    fn terms(&self) -> SessionTerms {
        self.law.policy().map_or(TERMS, |policy| policy.session)
    }

    /// What can be said without knowing anything: asked before polkit, so that nobody types a password for nothing.
    pub(super) fn demanded(&self, tier: Tier, deed: &Deed) -> Result<(), Denied> {
        if tier > Tier::Look && deed.case.is_none() && self.law.demands_cases() {
            return Err(Denied::CaseRequired(tier));
        }
        Ok(())
    }

    /// What the case that is named gives to this caller for this deed, or what is missing.
    pub(super) async fn draw(&self, caller: &Caller, tier: Tier, deed: &Deed) -> Result<Option<Drawn>, Denied> {
        self.demanded(tier, deed)?;
        let Some(id) = deed.case else {
            // Whatever the house demands of others: a bypass stands or falls with its case.
            return match tier {
                Tier::Bypass => Err(Denied::CaseRequired(tier)),
                _ => Ok(None),
            };
        };
        let case = self.ledger.case(id).await.map_err(Denied::Ledger)?;
        let record = case.ok_or(Denied::UnknownCase(id))?;
        let moment = self.time.now();
        let alive = self.sessions.draw(id, caller, moment.stamp, self.terms());
        if alive.is_none() {
            return Err(Denied::NotAttached(id));
        }
        self.covers(&record, tier, deed, caller).await?;
        let missing = |needs| Denied::Missing { case: id, tier, needs };
        if record.outcome.is_some() {
            return Err(missing(vec![Need::OpenCase]));
        }
        let subject = record.personal.subject.clone();
        let policy = self.law.policy();
        if tier == Tier::Bypass && policy.is_none() {
            return Err(missing(vec![Need::Rule { tier }]));
        }
        if tier > Tier::Look
            && let Some(policy) = policy
        {
            let asked = Asked {
                tier,
                words: words_of(&deed.words),
                enrols: deed.subject.is_some(),
            };
            let notes = self.ledger.case_notes(id).await.map_err(Denied::Ledger)?;
            let case = WholeCase { record, notes };
            let about = deed.subject.as_deref().or(case.record.personal.subject.as_deref());
            let decision = self
                .decide(&policy, &case, about, caller.uid, asked, moment.stamp)
                .await?;
            if !decision.allowed() {
                return Err(missing(decision.needs));
            }
        }
        Ok(Some(Drawn {
            case: id,
            subject,
            moment,
        }))
    }

    async fn decide(
        &self,
        policy: &Policy,
        case: &WholeCase,
        about: Option<&str>,
        actor: u32,
        asked: Asked,
        now: Stamp,
    ) -> Result<Decision, Denied> {
        let facts = self.facts(policy, case, about, actor, asked, now).await?;
        Ok(policy.decide(asked.tier, &facts, now))
    }
}

/// The words that a policy looks at, of those that were said.
fn words_of(said: &[&'static str]) -> Words {
    let weighty: Vec<Weighty> = said.iter().filter_map(|word| word.parse().ok()).collect();
    Words::of(&weighty)
}

/// The case that an object is, if it is one.
pub(super) const fn case_of(object: &Object) -> Option<CaseId> {
    match object {
        Object::Case(id) => Some(*id),
        _ => None,
    }
}
