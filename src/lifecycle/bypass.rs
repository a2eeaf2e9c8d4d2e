//! The emergency bypass: a code for somebody whose token is out of reach, issued in a case, good for a while and a few uses.
//!
//! That it takes another person's yes, and how many there may be in a year, the guard has decided before a verb here begins. What a
//! bypass is worth is decided anew at every use, by the count of time that cannot be turned back. It ends early by somebody's hand, when
//! the token is back in use (where that was chosen), and when the authority of whoever issued it is frozen.

use std::time::Duration;

use serde_json::json;
use tokio::sync::broadcast;
use zeroize::Zeroizing;

use crate::authority::Policy;
use crate::codec::recovery::{self, RANDOM};
use crate::grant::{Action, Grant, Object};
use crate::ledger::{
    BypassFilter, BypassRecord, BypassState, Event, Intent, LedgerError, Mutation, NewBypass, NewNote, Said,
};
use crate::lifecycle::act::{Facts, facts};
use crate::lifecycle::request::Delivery;
use crate::lifecycle::{Lifecycle, Refusal};
use crate::types::cases::{BypassEnd, FoundAgain, Step};
use crate::types::stamp::Moment;
use crate::types::{CaseId, Secret, TokenId, TokenKind};

/// How long a review may take where no policy says it.
const A_DAY: Duration = Duration::from_secs(86_400);
/// Most bypasses that one act ends: a person has one at most, and an operator hardly more than this at a time.
const ENDED_AT_ONCE: u32 = 1_000;

/// Why nothing was done to a bypass. Each is a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BypassRefusal {
    /// Nobody says what a bypass is here.
    #[error("no policy is in force here, and without one there is no bypass: another person has to agree to it")]
    NoPolicy,
    /// It is issued in a case.
    #[error("a bypass is issued in a case: name it with --case (options[\"case\"])")]
    NoCase,
    /// Each rests on evidence and approval of its own.
    #[error("this case had its bypass: the next one begins with another case, its own evidence and its own approval")]
    SecondInCase,
    /// Longer, or more often, than the policy lets it.
    #[error("the policy lets a bypass last {} s and be used {uses} times at most", .lasts.as_secs())]
    BeyondPolicy {
        /// Longest life.
        lasts: Duration,
        /// Most uses.
        uses: u32,
    },
    /// Laxer than the policy.
    #[error("the policy ends a bypass when the token is found again: that cannot be waived here")]
    MustEnd,
    /// There is none.
    #[error("this case has no bypass")]
    None,
    /// It is over.
    #[error("the bypass is over already: it is {}", .0.as_str())]
    Over(BypassState),
}

/// What is asked of a bypass: as the policy says where nothing is said, and never laxer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BypassWish {
    /// How long.
    pub lasts: Option<Duration>,
    /// How often.
    pub uses: Option<u32>,
    /// What becomes of it when the token is found again.
    pub found_again: Option<FoundAgain>,
}

/// A bypass that was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BypassTerms {
    /// In which case.
    pub case: CaseId,
    /// How long it is good.
    pub lasts: Duration,
    /// How often.
    pub uses: u32,
    /// What becomes of it when the token is found again.
    pub found_again: FoundAgain,
}

/// A use of a bypass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BypassUse {
    /// Of which case.
    pub case: CaseId,
    /// Uses left.
    pub uses_left: u32,
    /// Time left.
    pub left: Duration,
}

/// What became of a bypass, for whoever watches. It names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BypassNews {
    /// Of which case.
    pub case: CaseId,
    /// `issued`, `used`, `ended`.
    pub what: &'static str,
}

/// Tells what becomes of bypasses.
pub struct Bypasses(broadcast::Sender<BypassNews>);

impl Default for Bypasses {
    fn default() -> Self {
        Self(broadcast::channel(256).0)
    }
}

impl Bypasses {
    /// What becomes of bypasses, from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<BypassNews> {
        self.0.subscribe()
    }

    fn tell(&self, case: CaseId, what: &'static str) {
        // Nobody listens: the journal has it.
        let _ = self.0.send(BypassNews { case, what });
    }
}

/// A bypass that is good now, and whether the code is its.
pub(super) struct OnHand {
    pub(super) record: BypassRecord,
    pub(super) right: bool,
    left: Duration,
    moment: Moment,
}

impl OnHand {
    /// The one more use, or the one more wrong code. Time is kept with both, so that nobody gains by a host that goes down.
    pub(super) fn tried(&self, passed: bool) -> [Mutation; 2] {
        let tried = Mutation::TryBypass {
            case: self.record.case,
            at: self.moment.reading.wall,
            passed,
        };
        [tried, keep(self.moment)]
    }

    fn uses_left(&self) -> u32 {
        self.record.uses.saturating_sub(self.record.used).saturating_sub(1)
    }
}

/// Bypasses that an act ends: what goes into its commit, and what is to be told once that is durable.
#[derive(Default)]
pub(super) struct Endings {
    pub(super) changes: Vec<Mutation>,
    letters: Vec<Intent>,
    cases: Vec<CaseId>,
}

impl Endings {
    /// For the act's entry in the journal.
    pub(super) fn noted(&self, detail: &mut Facts) {
        if !self.cases.is_empty() {
            detail.insert("bypasses_ended", json!(self.cases));
        }
    }

    /// Everything for the commit.
    pub(super) fn take(&mut self) -> Vec<Mutation> {
        let mut changes = std::mem::take(&mut self.changes);
        changes.extend(self.letters.iter().cloned().map(Mutation::Begin));
        changes
    }
}

fn keep(moment: Moment) -> Mutation {
    Mutation::KeepTime {
        reading: moment.reading,
        stamp: moment.stamp,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl BypassWish {
    fn within(self, policy: &Policy) -> Result<(Duration, u32, FoundAgain), BypassRefusal> {
        let terms = policy.bypass;
        let lasts = self.lasts.unwrap_or(terms.lasts);
        let uses = self.uses.unwrap_or(terms.uses);
        if lasts.is_zero() || uses == 0 || lasts > terms.lasts || uses > terms.uses {
            return Err(BypassRefusal::BeyondPolicy {
                lasts: terms.lasts,
                uses: terms.uses,
            });
        }
        let found_again = self.found_again.unwrap_or(terms.found_again);
        if found_again == FoundAgain::Keep && terms.found_again == FoundAgain::End {
            return Err(BypassRefusal::MustEnd);
        }
        Ok((lasts, uses, found_again))
    }
}

impl Lifecycle {
    /// Issues the bypass of a case. The code is handed out before anything is written down: one that did not arrive is worth nothing.
    ///
    /// # Errors
    /// [`Refusal::Bypass`]; [`Refusal::Undelivered`]; storage, a race for the one bypass that a person may have included.
    pub async fn issue_bypass(
        &self,
        grant: &Grant,
        subject: &str,
        wish: BypassWish,
        code: Delivery,
    ) -> Result<BypassTerms, Refusal> {
        grant.require(Action::Bypass, &Object::Subject(subject.to_owned()))?;
        let by = grant
            .caller()
            .ok_or(Refusal::Internal("a bypass is issued by a person"))?
            .uid;
        let (Some(case), Some(moment)) = (grant.case(), grant.moment()) else {
            return Err(BypassRefusal::NoCase.into());
        };
        let policy = (self.organisation().policy)().ok_or(BypassRefusal::NoPolicy)?;
        let (lasts, uses, found_again) = wish.within(&policy)?;
        if self.bypass_in(case).await?.is_some() {
            return Err(BypassRefusal::SecondInCase.into());
        }
        let drawn = draw()?;
        let mut text = recovery::grouped(&drawn);
        text.push('\n');
        code.deliver(Secret::new(text.as_bytes().to_vec())).await?;
        let issue = Mutation::IssueBypass(Box::new(NewBypass {
            case,
            by,
            issued: moment.stamp,
            lasts_ms: millis(lasts),
            uses,
            found_again,
            code: drawn,
        }));
        let note = Mutation::Note(Box::new(NewNote {
            case,
            by: Some(by),
            stamp: moment.stamp,
            said: Said::BypassIssued,
            reference: None,
        }));
        // It is a loan: what it waits for is the token's return, for as long as the loan is good, and then for the review.
        let step = Mutation::Step {
            case,
            step: Step::Returned,
            since: moment.stamp,
            within_ms: millis(lasts),
        };
        let detail = facts([
            ("lasts_s", json!(lasts.as_secs())),
            ("uses", json!(uses)),
            ("found_again", json!(found_again.as_str())),
        ]);
        let letter = self.bypass_letter(
            "bypass-issued",
            subject,
            case,
            json!({"uses": uses, "lasts-s": lasts.as_secs()}),
        );
        let changes = vec![issue, note, step, keep(moment)];
        self.bypass_event(grant, "bypass.issued", case, detail, changes, (subject, letter))
            .await?;
        self.bypasses().tell(case, "issued");
        Ok(BypassTerms {
            case,
            lasts,
            uses,
            found_again,
        })
    }

    /// Ends the bypass of a case before its time.
    ///
    /// # Errors
    /// [`Refusal::Bypass`] where there is none or it is over; storage.
    pub async fn end_bypass(&self, grant: &Grant, case: CaseId) -> Result<(), Refusal> {
        grant.require(Action::Suspend, &Object::Case(case))?;
        let record = self.bypass_in(case).await?.ok_or(BypassRefusal::None)?;
        let moment = self.moment()?;
        let state = record.state(moment.stamp);
        if !matches!(state, BypassState::Live(_)) {
            return Err(BypassRefusal::Over(state).into());
        }
        let why = BypassEnd::ByHand;
        let subject = record.subject.unwrap_or_default();
        let letter = self.bypass_letter("bypass-ended", &subject, case, json!({"why": why.as_str()}));
        let detail = facts([("why", json!(why.as_str()))]);
        let changes = vec![self.ended(case, why, moment), keep(moment)];
        self.bypass_event(grant, "bypass.ended", case, detail, changes, (&subject, letter))
            .await?;
        self.bypasses().tell(case, "ended");
        Ok(())
    }

    /// The bypass of a case.
    async fn bypass_in(&self, case: CaseId) -> Result<Option<BypassRecord>, LedgerError> {
        let of = BypassFilter {
            case: Some(case),
            ..BypassFilter::default()
        };
        Ok(self.ledger().bypasses(&of, None, 1).await?.items.pop())
    }

    /// Authority's time. It is kept wherever there can be a second person, and so a bypass.
    fn moment(&self) -> Result<Moment, Refusal> {
        let watchman = self.organisation().watchman.as_ref();
        Ok(watchman
            .ok_or(Refusal::Internal("nobody keeps authority's time here"))?
            .now())
    }

    fn ended(&self, case: CaseId, why: BypassEnd, moment: Moment) -> Mutation {
        Mutation::EndBypass {
            case,
            why,
            since: moment.stamp,
            within_ms: self.review_within_ms(),
        }
    }

    fn review_within_ms(&self) -> u64 {
        let policy = (self.organisation().policy)();
        millis(policy.map_or(A_DAY, |policy| policy.deadlines.review))
    }

    /// Whether this is the code of a bypass that is good now. One hash is computed whether the person has one or not.
    pub(super) async fn bypass_on_hand(&self, subject: &str, code: &Secret) -> Result<Option<OnHand>, LedgerError> {
        let found = self.ledger().bypass_of(subject, code).await?;
        let Some(watchman) = &self.organisation().watchman else {
            return Ok(None);
        };
        let moment = watchman.now();
        Ok(found.and_then(|(record, right)| match record.state(moment.stamp) {
            BypassState::Live(left) => Some(OnHand {
                record,
                right,
                left,
                moment,
            }),
            _ => None,
        }))
    }

    /// Uses a bypass once. `passed` is what a right code means to the budget of wrong tries.
    pub(super) async fn use_bypass(
        &self,
        grant: &Grant,
        subject: &str,
        on_hand: &OnHand,
        passed: Mutation,
    ) -> Result<BypassUse, LedgerError> {
        let (case, uses_left) = (on_hand.record.case, on_hand.uses_left());
        let mut changes = vec![passed];
        changes.extend(on_hand.tried(true));
        // What the reviewer reads. It is also what a use writes where a wrong code writes down the try it spent.
        changes.push(Mutation::Note(Box::new(NewNote {
            case,
            by: grant.caller().map(|caller| caller.uid),
            stamp: on_hand.moment.stamp,
            said: Said::BypassUsed,
            reference: None,
        })));
        if uses_left == 0 {
            changes.push(Mutation::Step {
                case,
                step: Step::Review,
                since: on_hand.moment.stamp,
                within_ms: self.review_within_ms(),
            });
        }
        let letter = self.bypass_letter("bypass-used", subject, case, json!({"uses-left": uses_left}));
        let detail = facts([("uses_left", json!(uses_left))]);
        self.bypass_event(grant, "bypass.used", case, detail, changes, (subject, letter))
            .await?;
        self.bypasses().tell(case, "used");
        Ok(BypassUse {
            case,
            uses_left,
            left: on_hand.left,
        })
    }

    /// What ends because a token is back in use.
    ///
    /// # Errors
    /// Storage.
    pub(super) async fn found_again(&self, token: TokenId) -> Result<Endings, LedgerError> {
        let Some(record) = self.ledger().token(token).await? else {
            return Ok(Endings::default());
        };
        // A recovery code is what one has when the token is gone.
        let subject = record
            .personal
            .subject
            .filter(|_| record.kind != TokenKind::RecoveryCodes);
        let Some(subject) = subject else {
            return Ok(Endings::default());
        };
        let of = BypassFilter {
            subject: Some(subject),
            unreviewed: true,
            ..BypassFilter::default()
        };
        let choice = |bypass: &BypassRecord| bypass.found_again == FoundAgain::End;
        self.endings(&of, BypassEnd::FoundAgain, choice).await
    }

    /// What ends because the authority of whoever issued it is frozen.
    ///
    /// # Errors
    /// Storage.
    pub(super) async fn issued_by(&self, operator: u32) -> Result<Endings, LedgerError> {
        let of = BypassFilter {
            by: Some(operator),
            unreviewed: true,
            ..BypassFilter::default()
        };
        self.endings(&of, BypassEnd::Frozen, |_| true).await
    }

    /// What ends because the person whose token this is leaves.
    ///
    /// # Errors
    /// Storage.
    pub(super) async fn left_behind(&self, token: TokenId) -> Result<Endings, LedgerError> {
        let Some(record) = self.ledger().token(token).await? else {
            return Ok(Endings::default());
        };
        let Some(subject) = record.personal.subject else {
            return Ok(Endings::default());
        };
        let of = BypassFilter {
            subject: Some(subject),
            unreviewed: true,
            ..BypassFilter::default()
        };
        self.endings(&of, BypassEnd::Leaver, |_| true).await
    }

    async fn endings(
        &self,
        of: &BypassFilter,
        why: BypassEnd,
        which: impl Fn(&BypassRecord) -> bool,
    ) -> Result<Endings, LedgerError> {
        let mut endings = Endings::default();
        let Some(watchman) = &self.organisation().watchman else {
            return Ok(endings);
        };
        let found = self.ledger().bypasses(of, None, ENDED_AT_ONCE).await?.items;
        let moment = watchman.now();
        for bypass in found.iter().filter(|it| it.is_live(moment.stamp) && which(it)) {
            endings.changes.push(self.ended(bypass.case, why, moment));
            endings.cases.push(bypass.case);
            if let Some(subject) = &bypass.subject {
                let more = json!({"why": why.as_str()});
                endings
                    .letters
                    .extend(self.bypass_letter("bypass-ended", subject, bypass.case, more));
            }
        }
        if !endings.cases.is_empty() {
            endings.changes.push(keep(moment));
        }
        Ok(endings)
    }

    /// Tells what ended, once that is durable.
    pub(super) fn told_endings(&self, endings: Endings) {
        self.outbox().post(endings.letters);
        for case in endings.cases {
            self.bypasses().tell(case, "ended");
        }
    }

    /// One commit about one bypass, its letter with it.
    async fn bypass_event(
        &self,
        grant: &Grant,
        name: &'static str,
        case: CaseId,
        mut detail: Facts,
        mut changes: Vec<Mutation>,
        (subject, letter): (&str, Option<Intent>),
    ) -> Result<(), LedgerError> {
        detail.insert("case", json!(case));
        let event = Event {
            name,
            authority: grant.authority(None),
            token: None,
            at: self.clock().now(),
            detail,
        };
        changes.extend(letter.iter().cloned().map(Mutation::Begin));
        self.ledger().commit(event.clone(), changes).await?;
        self.outbox().post(letter);
        self.happened(&event, Some(subject.to_owned()), false).await;
        Ok(())
    }
}

/// A code as strong as a recovery code, and read like one: 80 random bits.
fn draw() -> Result<Secret, Refusal> {
    let mut bytes = Zeroizing::new([0; RANDOM]);
    getrandom::fill(&mut *bytes).map_err(|_| Refusal::Internal("the kernel gives no random bytes"))?;
    Ok(recovery::encode(&bytes))
}
