//! Subjects: how far they have come with a second factor, what is required of them, and “later”.
//!
//! Who they are says the directory, what is required the policy, what they have the ledger. The directory may have to ask far away,
//! so it is asked on a thread of its own, and for a bounded time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::authority::Policy;
use crate::authority::enrolment::{Enforcement, Enrolled};
use crate::authority::policy::Day;
use crate::directory::Subject;
use crate::grant::{Action, Grant, Object};
use crate::ledger::{Account, Event, Filter, LedgerError, Mutation, TokenRecord};
use crate::lifecycle::act::facts;
use crate::lifecycle::organisation::day_of;
use crate::lifecycle::{Lifecycle, Refusal};
use crate::types::cases::{Enrolment, Privilege};
use crate::types::{Reality, TokenState};

/// How long the directory may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most tokens of a subject that are looked at.
const MOST: u32 = 1_000;

/// What is known of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectStatus {
    /// As the organisation names them.
    pub name: String,
    /// Their role, if the policy knows one for them.
    pub role: Option<String>,
    /// Their privilege there.
    pub privilege: Option<Privilege>,
    /// Their account on this host.
    pub account: Option<String>,
    /// Whether there is a contact, and since when it is verified.
    pub contact: Option<Option<Day>>,
    /// Tokens with which they can pass.
    pub active: u32,
    /// Tokens that were handed out and never tested.
    pub pending: u32,
    /// How often they said “later”.
    pub deferred: u32,
    /// What is required of them; `None` where nobody knows their role.
    pub enforcement: Option<Enforcement>,
}

/// How a role has come along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoleCoverage {
    /// Its subjects.
    pub subjects: u32,
    /// Without a token.
    pub off: u32,
    /// With one that was handed out and never tested.
    pub pending: u32,
    /// With an active one.
    pub on: u32,
    /// Of whom one is required today.
    pub required: u32,
    /// Of those, without an active one.
    pub lacking: u32,
}

/// How the organisation has come along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// By role; those whose role nobody knows under the empty name.
    pub roles: BTreeMap<String, RoleCoverage>,
    /// Whom one is required of and who have no active one, at most [`LISTED`].
    pub lacking: Vec<String>,
}

/// Most names that a report lists.
pub const LISTED: usize = 1_000;

impl Lifecycle {
    /// Today, by the host's zone.
    fn today(&self) -> Day {
        day_of(self.clock().now())
    }

    /// The policy in force.
    fn policy(&self) -> Option<Arc<Policy>> {
        (self.organisation().policy)()
    }

    /// Who somebody is. `None`: the directory does not know them.
    ///
    /// # Errors
    /// [`Refusal::Directory`].
    pub(super) async fn subject(&self, name: &str) -> Result<Option<Subject>, Refusal> {
        let directory = Arc::clone(&self.organisation().directory);
        let name = name.to_owned();
        let asked = tokio::task::spawn_blocking(move || directory.subject(&name));
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer.map_err(|error| Refusal::Directory(error.to_string())),
            Ok(Err(_)) => Err(Refusal::Internal("asking the directory failed")),
            Err(_) => Err(Refusal::Directory("it did not answer in time".to_owned())),
        }
    }

    /// What is required of a subject, for an application that lets them in.
    ///
    /// # Errors
    /// [`Refusal::Directory`]; storage.
    pub async fn enforcement_for(&self, grant: &Grant, name: &str) -> Result<SubjectStatus, Refusal> {
        grant.require(Action::Verify, &Object::Subject(name.to_owned()))?;
        self.status_of(name).await
    }

    /// How a subject stands. Tokens on the virtual link stand for no real ones.
    ///
    /// # Errors
    /// [`Refusal::Directory`]; storage.
    pub async fn subject_status(&self, grant: &Grant, name: &str) -> Result<SubjectStatus, Refusal> {
        grant.require(Action::Inspect, &Object::Subject(name.to_owned()))?;
        self.status_of(name).await
    }

    async fn status_of(&self, name: &str) -> Result<SubjectStatus, Refusal> {
        let subject = self.subject(name).await?;
        let policy = self.policy();
        let known = policy
            .as_deref()
            .and_then(|policy| subject.as_ref().and_then(|subject| subject.standing(policy)));
        let enrolled = self.enrolled(name, subject.as_ref()).await?;
        let role = policy
            .as_deref()
            .zip(known)
            .and_then(|(policy, (role, _))| policy.roles.get(role));
        Ok(SubjectStatus {
            name: name.to_owned(),
            role: role.map(|role| role.name.clone()),
            privilege: known.map(|(_, privilege)| privilege),
            account: subject
                .as_ref()
                .and_then(|it| it.account.as_ref())
                .map(|account| account.name.clone()),
            contact: subject
                .as_ref()
                .and_then(|it| it.contact.as_ref().map(|_| it.contact_verified)),
            active: enrolled.active,
            pending: enrolled.pending,
            deferred: enrolled.deferred,
            enforcement: policy
                .as_deref()
                .zip(role)
                .map(|(policy, role)| policy.enforcement(role, &enrolled, self.today())),
        })
    }

    async fn enrolled(&self, name: &str, subject: Option<&Subject>) -> Result<Enrolled, Refusal> {
        let filter = Filter {
            subject: Some(name.to_owned()),
            alive: true,
            ..Filter::default()
        };
        let tokens = self.ledger().find(&filter, None, MOST).await?.items;
        let count = |so: &dyn Fn(&TokenRecord) -> bool| {
            let real = tokens.iter().filter(|token| self.counts(token.reality));
            u32::try_from(real.filter(|token| so(token)).count()).unwrap_or(u32::MAX)
        };
        Ok(Enrolled {
            active: count(&|token| token.state == TokenState::Active),
            pending: count(&|token| token.state == TokenState::Pending),
            exempt_until: subject.and_then(|subject| subject.exempt_until),
            deferred: self.ledger().deferrals(&Account::Subject(name.to_owned())).await?,
            contact_verified: subject.is_some_and(|subject| subject.contact_verified.is_some()),
        })
    }

    /// Says “later” for a subject, if that helps today; returns what is required of them from now on.
    ///
    /// # Errors
    /// [`Refusal::NoLater`] when it does not; [`Refusal::UnknownSubject`]; [`Refusal::Directory`]; storage.
    pub async fn defer(&self, grant: &Grant, name: &str) -> Result<SubjectStatus, Refusal> {
        grant.require(Action::Verify, &Object::Subject(name.to_owned()))?;
        let before = self.status_of(name).await?;
        let enforcement = before.enforcement.ok_or(Refusal::UnknownSubject)?;
        if !enforcement.may_defer {
            return Err(Refusal::NoLater(enforcement.to_string()));
        }
        let account = Account::Subject(name.to_owned());
        let at = self.clock().now();
        // What was counted a moment ago may have been used up by another call meanwhile: the commit counts again.
        let below = before.deferred.saturating_add(enforcement.deferrals_left);
        let event = Event {
            name: "subject.deferred",
            authority: grant.authority(None),
            token: None,
            at,
            detail: facts([("left", json!(enforcement.deferrals_left.saturating_sub(1)))]),
        };
        let change = Mutation::Defer { account, below, at };
        match self.ledger().commit(event, vec![change]).await {
            Ok(_) => self.status_of(name).await,
            Err(LedgerError::Stale(_)) => Err(Refusal::NoLater(
                "“Later” was said for the last time meanwhile.".to_owned(),
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// How all who stand in the directory by name have come along.
    ///
    /// # Errors
    /// [`Refusal::Directory`]; storage.
    pub async fn coverage(&self, grant: &Grant) -> Result<Coverage, Refusal> {
        grant.require(Action::Inspect, &Object::Whole)?;
        let directory = Arc::clone(&self.organisation().directory);
        let names = tokio::task::spawn_blocking(move || directory.names())
            .await
            .map_err(|_| Refusal::Internal("asking the directory failed"))?;
        let mut report = Coverage::default();
        for name in names {
            let status = self.status_of(&name).await?;
            let row = report.roles.entry(status.role.unwrap_or_default()).or_default();
            row.subjects += 1;
            match status.active {
                0 if status.pending > 0 => row.pending += 1,
                0 => row.off += 1,
                _ => row.on += 1,
            }
            if let Some(enforcement) = status.enforcement.filter(|enforcement| enforcement.required) {
                row.required += 1;
                if enforcement.status != Enrolment::On {
                    row.lacking += 1;
                    if report.lacking.len() < LISTED {
                        report.lacking.push(name);
                    }
                }
            }
        }
        Ok(report)
    }

    /// Whether a token of a person may become active today. Nobody knows a role of somebody the directory does not know, so no
    /// role's rule keeps them.
    ///
    /// # Errors
    /// [`Refusal::NotActivated`]; [`Refusal::Directory`].
    pub(super) async fn may_activate(&self, subject: Option<&str>) -> Result<(), Refusal> {
        let (Some(name), Some(policy)) = (subject, self.policy()) else {
            return Ok(());
        };
        let Some(subject) = self.subject(name).await? else {
            return Ok(());
        };
        let Some(role) = subject.standing(&policy).and_then(|(role, _)| policy.roles.get(role)) else {
            return Ok(());
        };
        let enrolled = Enrolled {
            contact_verified: subject.contact_verified.is_some(),
            ..Enrolled::default()
        };
        match policy.obstacle(role, &enrolled, self.today()) {
            None => Ok(()),
            Some(obstacle) => Err(Refusal::NotActivated(obstacle)),
        }
    }

    /// Whether a token of this reality is somebody's second factor here.
    fn counts(&self, reality: Reality) -> bool {
        reality == Reality::Hardware || self.settings().virtual_link
    }
}
