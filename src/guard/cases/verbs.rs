//! What is done in a case: opened, attached to, added to, agreed to, closed. Each is one commit, and each consumes a grant.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde_json::json;

use super::{Asked, Cases, WholeCase, case_of};
use crate::authority::Policy;
use crate::authority::conduct::{self, Refusal};
use crate::authority::decide::{Decision, Need};
use crate::authority::policy::{Situation, Words};
use crate::grant::{Action, Caller, Grant, GrantMismatch, Object};
use crate::guard::sessions::AttachError;
use crate::guard::time::keep;
use crate::guard::{CallerWatch, Denied};
use crate::ledger::{
    CaseFilter, CasePersonal, CaseRecord, Event, Intent, IntentEnd, LedgerError, Mutation, NewCase, NewNote,
    Replacement, Said,
};
use crate::types::cases::{CaseKind, Channel, Check, Method, Outcome, Step, Tier, Weighty};
use crate::types::stamp::Moment;
use crate::types::{CaseId, Reality, TokenId};

/// Most cases that are looked at in one go: the next go takes the next.
const OVERDUE_AT_ONCE: u32 = 200;

/// Why something was not done in a case. Each is a sentence.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// There is none of this id.
    #[error("there is no case {0}")]
    Unknown(CaseId),
    /// It is closed.
    #[error("the case is closed and stays as it is: open another")]
    Closed,
    /// What was asked for makes no case.
    #[error("{0}")]
    Invalid(String),
    /// What the daemon sees for itself is not taken on somebody's word.
    #[error("{} counts only when the daemon saw it pass itself: run it within the case (“{}”)", .0.words(), how(.0))]
    NotByWord(Method),
    /// The policy does not count it.
    #[error("the policy in force does not count {}", .0.words())]
    NotCounted(Method),
    /// The case is about the one who vouches.
    #[error("the case is about you: another person must vouch for you")]
    OwnWord,
    /// Somebody who cannot answer as the second person.
    #[error("{0}")]
    Conduct(Refusal),
    /// Without a policy there is nothing to agree to.
    #[error("no policy is in force here (policy = \"off\"), so nothing waits for a second person")]
    NoPolicy,
    /// Something of the checklist was not answered.
    #[error("before the case is closed as done: {}", questions(.0))]
    Unchecked(Vec<Check>),
    /// A bypass was issued in it, and nobody has looked back at it.
    #[error(
        "the bypass of this case waits for its review: somebody who had no part in the case records what came of it (“claviger bypass review”)"
    )]
    Unreviewed,
    /// There is nothing to review.
    #[error("this case has no bypass that waits for a review")]
    NoBypass,
    /// It is too early for that.
    #[error("the bypass is good yet: it is reviewed when it is over. End it first (“claviger bypass end”)")]
    BypassLive,
    /// One token died and no other took its place, or the other way round.
    #[error("the case is not done while a token is half replaced: {}", ids(.0))]
    HalfReplaced(Vec<TokenId>),
    /// Nobody can say who asks.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// No session.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The kernel's timers cannot be read.
    #[error("the timers of deadlines cannot be read: {0}")]
    Clock(String),
    /// The grant does not fit.
    #[error(transparent)]
    Grant(#[from] GrantMismatch),
    /// The ledger.
    #[error(transparent)]
    Ledger(LedgerError),
}

impl From<LedgerError> for CaseError {
    fn from(error: LedgerError) -> Self {
        match error {
            // Somebody closed it between our reading and our writing.
            LedgerError::Stale("case") => Self::Closed,
            LedgerError::Stale("review") => Self::Unreviewed,
            other => Self::Ledger(other),
        }
    }
}

const fn how(method: &Method) -> &'static str {
    match method {
        Method::TokenTest => "claviger test --case",
        Method::RecoveryCode => "claviger verify --case",
        _ => "the configured hook",
    }
}

fn ids(tokens: &[TokenId]) -> String {
    let ids: Vec<String> = tokens.iter().map(TokenId::to_string).collect();
    ids.join(", ")
}

fn questions(checks: &[Check]) -> String {
    let asked: Vec<String> = checks
        .iter()
        .map(|check| format!("{} ({check})", check.question()))
        .collect();
    asked.join(" ")
}

/// A case that somebody wants to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCaseRequest {
    /// What it is about.
    pub kind: CaseKind,
    /// How the person reached us.
    pub channel: Channel,
    /// Whom it is about, why, and the help desk's number.
    pub personal: CasePersonal,
}

/// A session that was begun.
#[derive(Debug)]
pub struct Attached {
    /// It lives as long as this is open.
    pub descriptor: OwnedFd,
    /// It ends after so long without a call.
    pub idle: Duration,
    /// It ends after so long in any case.
    pub absolute: Duration,
}

/// What has waited too long, or waits for something else now.
#[derive(Debug, Default)]
pub struct Escalated {
    /// Cases that show something else now.
    pub changed: Vec<CaseId>,
    /// Letters about those that have waited too long; they are durable.
    pub letters: Vec<Intent>,
}

impl Cases {
    /// Opens a case.
    ///
    /// # Errors
    /// [`CaseError::Invalid`] for what makes no case.
    pub async fn open(&self, grant: &Grant, wanted: NewCaseRequest) -> Result<CaseId, CaseError> {
        grant.require(Action::Case, &Object::Whole)?;
        let opener = uid_of(grant)?;
        let personal = self.checked(&wanted, opener)?;
        let moment = self.time.now();
        let new = NewCase {
            id: CaseId::generate(),
            kind: wanted.kind,
            channel: wanted.channel,
            opener,
            opened: moment.stamp,
            step: Step::Identity,
            within_ms: 0,
            personal,
        };
        let first = self.first_step(&new);
        let new = NewCase {
            step: first,
            within_ms: self.within(first),
            ..new
        };
        let id = new.id;
        let detail = BTreeMap::from([("case", json!(id)), ("kind", json!(new.kind.as_str()))]);
        let event = event("case.opened", grant, moment, detail);
        self.ledger
            .commit(event, vec![Mutation::OpenCase(Box::new(new)), keep(moment)])
            .await?;
        self.stir();
        Ok(id)
    }

    fn checked(&self, wanted: &NewCaseRequest, opener: u32) -> Result<CasePersonal, CaseError> {
        let invalid = |what: String| Err(CaseError::Invalid(what));
        let NewCaseRequest {
            kind,
            channel,
            personal,
        } = wanted;
        if !Situation::possible(*kind, *channel) {
            return invalid(format!(
                "there is no {kind} case on the channel “{channel}”: the bench is at the desk, self-service is “own”, and all others \
                 tell how the person reached you"
            ));
        }
        let mut personal = personal.clone();
        match kind {
            CaseKind::Bench if personal.subject.is_some() => {
                return invalid("a case of the bench is about nobody: leave the subject away".to_owned());
            }
            CaseKind::Bench => {}
            CaseKind::SelfService => {
                let own = self.people.account(opener);
                if own.is_none()
                    || personal
                        .subject
                        .as_ref()
                        .is_some_and(|named| Some(named) != own.as_ref())
                {
                    return invalid("self-service is for your own tokens: leave the subject away".to_owned());
                }
                personal.subject = own;
            }
            _ if personal.subject.is_none() || personal.reason.is_none() => {
                return invalid(format!(
                    "a {kind} case says whom it is about (“subject”) and what the matter is (“reason”)"
                ));
            }
            _ => {}
        }
        Ok(personal)
    }

    /// Attaches the caller to a case; what is done in it from then on is theirs.
    ///
    /// # Errors
    /// [`CaseError::Unknown`], [`CaseError::Closed`], [`CaseError::Attach`].
    pub async fn attach(&self, grant: &Grant, caller: &Caller, watch: CallerWatch) -> Result<Attached, CaseError> {
        let case = self.open_case(grant, Action::Case).await?;
        let moment = self.time.now();
        let id = case.record.id;
        let worked = |by: u32| {
            let notes = case.notes.iter();
            notes
                .filter(|note| note.said == Said::Worked)
                .any(|note| note.by == Some(by))
        };
        // Once for each person: who attaches for each call would fill the journal with it.
        if !worked(caller.uid) {
            let note = self.note(&case, grant, moment, Said::Worked, None);
            self.ledger
                .commit(
                    event("case.attached", grant, moment, BTreeMap::new()),
                    vec![note, keep(moment)],
                )
                .await?;
        }
        let terms = self.terms();
        let descriptor = self.sessions.begin(id, caller, watch, moment.stamp, terms)?;
        Ok(Attached {
            descriptor,
            idle: terms.idle,
            absolute: terms.absolute,
        })
    }

    /// Adds evidence that a person vouches for.
    ///
    /// # Errors
    /// [`CaseError::NotByWord`], [`CaseError::NotCounted`], [`CaseError::OwnWord`], [`CaseError::Invalid`] where nobody is spoken for.
    pub async fn add_evidence(&self, grant: &Grant, method: Method, reference: String) -> Result<(), CaseError> {
        let case = self.open_case(grant, Action::Case).await?;
        if !case.record.kind.about_a_claim() {
            return Err(CaseError::Invalid(format!(
                "in a {} case nobody claims to be somebody, so nothing has to be shown",
                case.record.kind
            )));
        }
        if matches!(method, Method::TokenTest | Method::RecoveryCode | Method::SentCode) {
            return Err(CaseError::NotByWord(method));
        }
        let by = self.people.caller(uid_of(grant)?);
        if let Some(policy) = self.law.policy() {
            if policy.source(method).is_none() {
                return Err(CaseError::NotCounted(method));
            }
            if let Some(subject) = self.participants(&case).await?.subject
                && policy.same_person(&subject, &by)
            {
                return Err(CaseError::OwnWord);
            }
        }
        let said = Said::Evidence {
            method,
            reality: Reality::Hardware,
            token: None,
        };
        self.add(grant, "case.evidence", case, said, Some(reference)).await
    }

    /// Another person's yes.
    ///
    /// # Errors
    /// [`CaseError::Conduct`] when they cannot be the second person, [`CaseError::NoPolicy`].
    pub async fn approve(
        &self,
        grant: &Grant,
        human: &conduct::Caller,
        tier: Tier,
        remark: Option<String>,
    ) -> Result<(), CaseError> {
        let case = self.answerable(grant, human).await?;
        let account = human.person.account.as_deref();
        let role = match account {
            Some(account) => self.known(account).await?,
            None => None,
        };
        let said = Said::Approved {
            tier,
            role: role.map(|known| known.role),
        };
        self.add(grant, "case.approved", case, said, remark).await
    }

    /// Another person's no; answers with the case.
    ///
    /// # Errors
    /// As [`Cases::approve`].
    pub async fn deny(
        &self,
        grant: &Grant,
        human: &conduct::Caller,
        remark: Option<String>,
    ) -> Result<CaseRecord, CaseError> {
        let case = self.answerable(grant, human).await?;
        let record = case.record.clone();
        self.add(grant, "case.denied", case, Said::Denied, remark).await?;
        Ok(record)
    }

    /// Looks for open cases that have waited for longer than they may, and notes that they are overdue; those that meanwhile wait for
    /// something else, since a test passed or an approval ran out, are moved on instead. What `letter` makes of a case that is overdue
    /// is written with that, once for each step.
    ///
    /// # Errors
    /// Storage.
    pub async fn overdue(
        &self,
        standing: &Grant,
        letter: &(dyn Fn(&CaseRecord) -> Option<Intent> + Send + Sync),
    ) -> Result<Escalated, CaseError> {
        standing.require(Action::Case, &Object::Whole)?;
        let moment = self.time.now();
        let late = CaseFilter {
            overdue_at: Some(moment.stamp.most_ms),
            ..CaseFilter::default()
        };
        let page = self.ledger.cases(&late, None, OVERDUE_AT_ONCE).await?;
        let mut escalated = Escalated::default();
        for record in page.items {
            let id = record.id;
            let step = record.step;
            let notes = self.ledger.case_notes(id).await?;
            let case = WholeCase { record, notes };
            let mut told = None;
            let (name, change) = match self.moved_on(&case, moment).await? {
                Some(moved) => ("case.moved-on", moved),
                None => {
                    told = letter(&case.record);
                    ("case.overdue", Mutation::Escalate { case: id, step })
                }
            };
            let mut changes = vec![change, keep(moment)];
            changes.extend(told.clone().map(Mutation::Begin));
            let detail = BTreeMap::from([("case", json!(id)), ("step", json!(step.as_str()))]);
            let written = self.ledger.commit(event(name, standing, moment, detail), changes).await;
            match written {
                Ok(_) => {
                    escalated.changed.push(id);
                    escalated.letters.extend(told);
                }
                // Somebody was faster: then it is not overdue, or somebody was told.
                Err(LedgerError::Stale(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(escalated)
    }

    /// The case, if this human can be its second person.
    async fn answerable(&self, grant: &Grant, human: &conduct::Caller) -> Result<WholeCase, CaseError> {
        let case = self.open_case(grant, Action::Approve).await?;
        let policy = self.law.policy().ok_or(CaseError::NoPolicy)?;
        policy
            .may_approve(human, &self.participants(&case).await?)
            .map_err(CaseError::Conduct)?;
        Ok(case)
    }

    /// Closes a case for good and ends the sessions in it.
    ///
    /// # Errors
    /// [`CaseError::Unchecked`]: as done only with the whole checklist; [`CaseError::Unreviewed`]: with a bypass only when somebody
    /// looked back at it.
    pub async fn close(&self, grant: &Grant, outcome: Outcome, checks: Vec<Check>) -> Result<(), CaseError> {
        let case = self.open_case(grant, Action::Case).await?;
        let asked = case.record.kind.checklist().iter().copied();
        let open: Vec<Check> = asked.filter(|check| !checks.contains(check)).collect();
        if outcome == Outcome::Done && !open.is_empty() {
            return Err(CaseError::Unchecked(open));
        }
        let half = self.half_replaced(case.record.id).await?;
        if outcome == Outcome::Done && !half.is_empty() {
            return Err(CaseError::HalfReplaced(half.iter().map(|half| half.old).collect()));
        }
        let moment = self.time.now();
        let detail = BTreeMap::from([("outcome", json!(outcome.as_str()))]);
        // What is half replaced is not replaced after all: nobody goes on with it.
        let mut changes: Vec<Mutation> = half.iter().map(|half| half.end(IntentEnd::RolledBack)).collect();
        let close = Mutation::CloseCase {
            case: case.record.id,
            by: Some(uid_of(grant)?),
            stamp: moment.stamp,
            outcome,
            checks,
        };
        changes.extend([close, keep(moment)]);
        self.ledger
            .commit(event("case.closed", grant, moment, detail), changes)
            .await?;
        self.sessions.end_case(case.record.id);
        Ok(())
    }

    /// The replacements that are half done in a case.
    ///
    /// # Errors
    /// Storage.
    pub async fn half_replaced(&self, id: CaseId) -> Result<Vec<Replacement>, CaseError> {
        let mut half = self.ledger.replacements().await?;
        half.retain(|half| half.case == Some(id));
        Ok(half)
    }

    /// A case with all that was said in it.
    ///
    /// # Errors
    /// [`CaseError::Unknown`].
    pub async fn whole(&self, id: CaseId) -> Result<WholeCase, CaseError> {
        let record = self.ledger.case(id).await?.ok_or(CaseError::Unknown(id))?;
        let notes = self.ledger.case_notes(id).await?;
        Ok(WholeCase { record, notes })
    }

    /// What a tier wants of a case now, were this uid to ask. `None` when no policy is in force.
    ///
    /// # Errors
    /// Storage.
    pub async fn needs(
        &self,
        case: &WholeCase,
        actor: u32,
        tier: Tier,
        words: &[Weighty],
    ) -> Result<Option<Decision>, CaseError> {
        let Some(policy) = self.law.policy() else {
            return Ok(None);
        };
        let about = case.record.personal.subject.as_deref();
        let now = self.time.now().stamp;
        // What may have to wait is said, too.
        let asked = Asked {
            tier,
            words: Words::of(words),
            enrols: true,
        };
        let decision = self.decide(&policy, case, about, actor, asked, now).await?;
        Ok(Some(decision))
    }

    /// The case that a grant is for, if it is open.
    pub(super) async fn open_case(&self, grant: &Grant, action: Action) -> Result<WholeCase, CaseError> {
        grant.require(action, grant.object())?;
        let id = case_of(grant.object()).ok_or(GrantMismatch)?;
        let case = self.whole(id).await?;
        if case.record.outcome.is_some() {
            return Err(CaseError::Closed);
        }
        Ok(case)
    }

    pub(super) fn note(
        &self,
        case: &WholeCase,
        grant: &Grant,
        moment: Moment,
        said: Said,
        reference: Option<String>,
    ) -> Mutation {
        Mutation::Note(Box::new(NewNote {
            case: case.record.id,
            by: grant.caller().map(|caller| caller.uid),
            stamp: moment.stamp,
            said,
            reference,
        }))
    }

    /// Adds to a case, and moves it on to what it waits for then.
    async fn add(
        &self,
        grant: &Grant,
        name: &'static str,
        mut case: WholeCase,
        said: Said,
        reference: Option<String>,
    ) -> Result<(), CaseError> {
        let moment = self.time.now();
        let mut mutations = vec![self.note(&case, grant, moment, said.clone(), reference)];
        case.notes.push(crate::ledger::CaseNote {
            seq: 0,
            no: 0,
            by: grant.caller().map(|caller| caller.uid),
            at: moment.reading.wall,
            stamp: moment.stamp,
            said: said.clone(),
            reference: None,
        });
        mutations.extend(self.moved_on(&case, moment).await?);
        mutations.push(keep(moment));
        let mut detail = BTreeMap::new();
        match said {
            Said::Evidence { method, .. } => drop(detail.insert("method", json!(method.as_str()))),
            Said::Approved { tier, .. } => drop(detail.insert("tier", json!(tier.as_str()))),
            _ => {}
        }
        self.ledger
            .commit(event(name, grant, moment, detail), mutations)
            .await?;
        self.stir();
        Ok(())
    }

    /// The step that follows from what the case's usual aim still wants, if it is another than the one it is at.
    async fn moved_on(&self, case: &WholeCase, moment: Moment) -> Result<Option<Mutation>, CaseError> {
        let Some(policy) = self.law.policy() else {
            return Ok(None);
        };
        let step = match self.step_of(&policy, case, moment).await {
            Ok(step) => step,
            // It stays where it is, and is overdue all the same.
            Err(CaseError::Denied(Denied::Directory(_))) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok((step != case.record.step).then(|| Mutation::Step {
            case: case.record.id,
            step,
            since: moment.stamp,
            within_ms: self.within(step),
        }))
    }

    pub(super) async fn step_of(&self, policy: &Policy, case: &WholeCase, moment: Moment) -> Result<Step, CaseError> {
        if let Some(step) = self.lent(case.record.id, moment.stamp).await? {
            return Ok(step);
        }
        self.usual_step_of(policy, case, moment).await
    }

    /// The same where no bypass is waited for.
    pub(super) async fn usual_step_of(
        &self,
        policy: &Policy,
        case: &WholeCase,
        moment: Moment,
    ) -> Result<Step, CaseError> {
        let record = &case.record;
        let about = record.personal.subject.as_deref();
        let wanted = Asked {
            tier: record.kind.aims_at(),
            words: Words::default(),
            enrols: false,
        };
        let decision = self
            .decide(policy, case, about, record.opener, wanted, moment.stamp)
            .await?;
        let evidence = |need: &Need| {
            matches!(
                need,
                Need::Weight { .. } | Need::Classes { .. } | Need::OneOf { .. } | Need::BeyondDevice { .. }
            )
        };
        let approval = |need: &Need| matches!(need, Need::Approval { .. } | Need::ApprovalBy { .. });
        Ok(if decision.needs.iter().any(evidence) {
            Step::Identity
        } else if decision.needs.iter().any(approval) {
            Step::Approval
        } else {
            Step::Act
        })
    }

    fn first_step(&self, new: &NewCase) -> Step {
        if new.kind.about_a_claim() && self.law.policy().is_some() {
            Step::Identity
        } else {
            Step::Act
        }
    }

    /// How long a step may take, in milliseconds; where no policy says it, a day.
    pub(super) fn within(&self, step: Step) -> u64 {
        let within = self.law.policy().map_or(Duration::from_secs(86_400), |policy| {
            let deadlines = policy.deadlines;
            match step {
                Step::Identity => deadlines.identity,
                Step::Approval => deadlines.approval,
                Step::Act => deadlines.act,
                Step::Returned => deadlines.returned,
                Step::Review => deadlines.review,
            }
        });
        u64::try_from(within.as_millis()).unwrap_or(u64::MAX)
    }
}

pub(super) fn uid_of(grant: &Grant) -> Result<u32, GrantMismatch> {
    grant.caller().map(|caller| caller.uid).ok_or(GrantMismatch)
}

pub(super) fn event(
    name: &'static str,
    grant: &Grant,
    moment: Moment,
    detail: BTreeMap<&'static str, serde_json::Value>,
) -> Event {
    Event {
        name,
        authority: grant.authority(None),
        token: None,
        at: moment.reading.wall,
        detail,
    }
}
