//! A case as the policy looks at it.

use super::{Asked, Cases, WholeCase};
use crate::authority::Policy;
use crate::authority::conduct::Participants;
use crate::authority::decide::{Approved, Evidence, Facts};
use crate::authority::policy::{Marks, Situation};
use crate::guard::Denied;
use crate::guard::people::Known;
use crate::ledger::{Account, Filter, LedgerError, Said, TokenRecord};
use crate::types::cases::{CaseKind, Mark, Privilege};
use crate::types::stamp::Stamp;
use crate::types::{TokenState, UnixMillis};

/// Most tokens of a person that are looked at.
const LOOKED_AT: u32 = 100;
/// Minutes of a day.
const DAY: u16 = 24 * 60;

impl Cases {
    /// What bears on a decision: who asks, about whom, what was shown, who agreed.
    pub(super) async fn facts(
        &self,
        policy: &Policy,
        case: &WholeCase,
        about: Option<&str>,
        actor: u32,
        asked: Asked,
        now: Stamp,
    ) -> Result<Facts, Denied> {
        let record = &case.record;
        let known = match about {
            Some(subject) => self.known(subject).await?,
            None => None,
        };
        let role = known.as_ref().and_then(|known| policy.role(&known.role));
        let privilege = role
            .and_then(|role| policy.roles.get(role))
            .map_or(Privilege::Ordinary, |role| role.privilege)
            .max(
                known
                    .as_ref()
                    .and_then(|known| known.privilege)
                    .unwrap_or(Privilege::Ordinary),
            );
        let marks = match about {
            // At the bench nobody is spoken for, and nobody's history is looked at.
            Some(subject) if record.kind != CaseKind::Bench => {
                self.marks(policy, case, subject, now).await.map_err(Denied::Ledger)?
            }
            _ => Marks::default(),
        };
        Ok(Facts {
            situation: Situation {
                role,
                privilege,
                kind: record.kind,
                channel: record.channel,
                hours: policy.hours(minute_of_week(UnixMillis::now())),
                marks,
                words: asked.words,
            },
            actor: self.people.caller(actor),
            opener: self.people.caller(record.opener),
            subject: known.and_then(|known| known.account),
            opened: record.opened,
            evidence: evidence(case),
            approvals: self.approvals(policy, case),
            denied: case.notes.iter().any(|note| note.said == Said::Denied),
            closed: record.outcome.is_some(),
            frozen: self
                .ledger
                .freezes()
                .await
                .map_err(Denied::Ledger)?
                .iter()
                .any(|frozen| frozen.operator == actor),
            enrolled: match about {
                // Asked for no more often than it matters.
                Some(subject) if asked.enrols && record.channel.remote() && record.kind.about_a_claim() => {
                    self.was_enrolled(subject).await.map_err(Denied::Ledger)?
                }
                _ => false,
            },
            bypass: self
                .bypass_history(record.kind, about, now)
                .await
                .map_err(Denied::Ledger)?,
        })
    }

    /// What in the person's recent past makes one look twice. This very case is no past.
    async fn marks(&self, policy: &Policy, case: &WholeCase, subject: &str, now: Stamp) -> Result<Marks, LedgerError> {
        let within = u64::try_from(policy.history.within.as_millis()).unwrap_or(u64::MAX);
        // By the count of time that has passed at least: a host that was down, or a clock that was set, forgets nothing early.
        let since = now.least_ms.saturating_sub(within);
        let past = self.ledger.case_history(subject, since).await?;
        let own_denial = u32::from(case.notes.iter().any(|note| note.said == Said::Denied));
        let failures = self
            .ledger
            .standing(&Account::Subject(subject.to_owned()), 0)
            .await?
            .run();
        let mut marks = Vec::new();
        if past.cases.saturating_sub(1) >= policy.history.cases {
            marks.push(Mark::Cases);
        }
        if failures >= policy.history.failures {
            marks.push(Mark::Failures);
        }
        if past.denied > own_denial {
            marks.push(Mark::Denied);
        }
        Ok(Marks::of(&marks))
    }

    /// Whether somebody has or had a token in use. One whose registration came to nothing is none.
    pub(super) async fn was_enrolled(&self, subject: &str) -> Result<bool, LedgerError> {
        let filter = Filter {
            subject: Some(subject.to_owned()),
            ..Filter::default()
        };
        let worked = |token: &TokenRecord| match token.state {
            TokenState::Active | TokenState::Suspended | TokenState::Lost => true,
            // A registration that was cut short leaves one that was never seen at work.
            TokenState::Revoked => token.last_seen.is_some(),
            TokenState::Inventory | TokenState::Pending => false,
        };
        let mut after = None;
        loop {
            let page = self.ledger.find(&filter, after.as_deref(), LOOKED_AT).await?;
            if page.items.iter().any(worked) {
                return Ok(true);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(false),
            }
        }
    }

    fn approvals(&self, policy: &Policy, case: &WholeCase) -> Vec<Approved> {
        case.notes
            .iter()
            .filter_map(|note| match (&note.said, note.by) {
                (Said::Approved { tier, role }, Some(by)) => Some(Approved {
                    by: self.people.caller(by),
                    role: role.as_deref().and_then(|role| policy.role(role)),
                    at: note.stamp,
                    tier: *tier,
                }),
                _ => None,
            })
            .collect()
    }

    /// Who had a part in a case.
    ///
    /// # Errors
    /// [`Denied::Directory`].
    pub(super) async fn participants(&self, case: &WholeCase) -> Result<Participants, Denied> {
        let worked = case
            .notes
            .iter()
            .filter(|note| {
                matches!(
                    note.said,
                    Said::Worked | Said::Evidence { .. } | Said::Replacing { .. } | Said::Replaced { .. }
                )
            })
            .filter_map(|note| note.by)
            .map(|uid| self.people.caller(uid))
            .collect();
        let subject = match case.record.personal.subject.as_deref() {
            Some(subject) => self.known(subject).await?,
            None => None,
        };
        Ok(Participants {
            opener: self.people.caller(case.record.opener),
            worked,
            subject: subject.and_then(|known| known.account),
        })
    }

    /// Who somebody is.
    pub(super) async fn known(&self, subject: &str) -> Result<Option<Known>, Denied> {
        self.people.subject(subject).await.map_err(Denied::Directory)
    }
}

fn evidence(case: &WholeCase) -> Vec<Evidence> {
    case.notes
        .iter()
        .filter_map(|note| match note.said {
            Said::Evidence { method, reality, .. } => Some(Evidence {
                method,
                at: note.stamp,
                reality,
            }),
            _ => None,
        })
        .collect()
}

/// Minutes since Monday 00:00, by the host's zone.
fn minute_of_week(now: UnixMillis) -> u16 {
    let Ok(instant) = jiff::Timestamp::from_millisecond(now.0) else {
        return 0;
    };
    let local = instant.to_zoned(jiff::tz::TimeZone::system());
    let day = u16::try_from(local.weekday().to_monday_zero_offset()).unwrap_or(0);
    let hour = u16::try_from(local.hour()).unwrap_or(0);
    let minute = u16::try_from(local.minute()).unwrap_or(0);
    day * DAY + hour * 60 + minute
}
