//! What a bypass means to its case and to the next one: the history that the policy looks at, what the case waits for, the review.

use std::collections::BTreeMap;
use std::time::Duration;

use super::verbs::{event, uid_of};
use super::{CaseError, Cases};
use crate::authority::conduct;
use crate::authority::decide::BypassHistory;
use crate::grant::{Action, Grant};
use crate::guard::Denied;
use crate::guard::time::keep;
use crate::ledger::{BypassFilter, BypassRecord, LedgerError, Mutation, Said};
use crate::types::CaseId;
use crate::types::cases::{CaseKind, Step};
use crate::types::stamp::Stamp;

/// As far as the yearly cap looks back.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

impl Cases {
    /// A person's bypasses, whichever cases they were issued in. By the count of time that has passed at least, so that a host that was
    /// down, or a clock that was set forward, forgets none early.
    pub(super) async fn bypass_history(
        &self,
        kind: CaseKind,
        about: Option<&str>,
        now: Stamp,
    ) -> Result<BypassHistory, LedgerError> {
        let Some(subject) = about.filter(|_| kind.about_a_claim()) else {
            return Ok(BypassHistory::default());
        };
        let year = u64::try_from(YEAR.as_millis()).unwrap_or(u64::MAX);
        let counts = self
            .ledger
            .bypass_counts(subject, now.least_ms.saturating_sub(year))
            .await?;
        Ok(BypassHistory {
            this_year: counts.recent,
            unreviewed: counts.unreviewed,
        })
    }

    async fn bypass_in(&self, case: CaseId) -> Result<Option<BypassRecord>, LedgerError> {
        let of = BypassFilter {
            case: Some(case),
            ..BypassFilter::default()
        };
        Ok(self.ledger.bypasses(&of, None, 1).await?.items.pop())
    }

    /// What a case waits for because of its bypass: for the token while it is good, then for the review.
    pub(super) async fn lent(&self, case: CaseId, now: Stamp) -> Result<Option<Step>, LedgerError> {
        let bypass = self.bypass_in(case).await?;
        Ok(bypass.filter(|bypass| bypass.reviewed.is_none()).map(|bypass| {
            if bypass.is_live(now) {
                Step::Returned
            } else {
                Step::Review
            }
        }))
    }

    /// Records what somebody found who looked back at the bypass of a case. As with the yes before it: a human who neither opened the
    /// case nor worked in it nor is whom it is about.
    ///
    /// # Errors
    /// [`CaseError::NoBypass`], [`CaseError::BypassLive`], [`CaseError::Conduct`].
    pub async fn review_bypass(&self, grant: &Grant, human: &conduct::Caller, found: String) -> Result<(), CaseError> {
        let case = self.open_case(grant, Action::Approve).await?;
        let by = uid_of(grant)?;
        if self.is_frozen(by).await? {
            return Err(Denied::Frozen.into());
        }
        let id = case.record.id;
        let bypass = self.bypass_in(id).await?.filter(|bypass| bypass.reviewed.is_none());
        let bypass = bypass.ok_or(CaseError::NoBypass)?;
        let policy = self.law.policy();
        if let Some(policy) = &policy {
            policy
                .may_approve(human, &self.participants(&case).await?)
                .map_err(CaseError::Conduct)?;
        }
        let moment = self.time.now();
        if bypass.is_live(moment.stamp) {
            return Err(CaseError::BypassLive);
        }
        let step = match &policy {
            Some(policy) => self.usual_step_of(policy, &case, moment).await?,
            None => Step::Act,
        };
        let changes = vec![
            Mutation::ReviewBypass { case: id, by },
            self.note(&case, grant, moment, Said::BypassReviewed, Some(found)),
            Mutation::Step {
                case: id,
                step,
                since: moment.stamp,
                within_ms: self.within(step),
            },
            keep(moment),
        ];
        let detail = BTreeMap::from([
            ("used", serde_json::json!(bypass.used)),
            ("wrong", serde_json::json!(bypass.wrong)),
            ("state", serde_json::json!(bypass.state(moment.stamp).as_str())),
        ]);
        let event = event("bypass.reviewed", grant, moment, detail);
        match self.ledger.commit(event, changes).await {
            // Somebody was faster.
            Err(LedgerError::Stale("review")) => Err(CaseError::NoBypass),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }
}
