//! Cases and decisions as dictionaries.

use std::time::Duration;

use crate::authority::decide::{Decision, Need};
use crate::bus::values::{Dict, Put};
use crate::guard::cases::{Cases, WholeCase};
use crate::ledger::{CaseNote, CaseRecord, Replacement, Said};
use crate::types::cases::{Check, Method, Tier};

/// Whole seconds, rounded up: nothing is said to be over before it is.
pub(in crate::bus) fn seconds(time: Duration) -> u32 {
    let whole = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    u32::try_from(whole).unwrap_or(u32::MAX)
}

/// A case without its notes.
pub(super) fn case(record: &CaseRecord) -> Dict {
    let mut told = Dict::new();
    told.put("id", record.id.to_string());
    told.put("kind", record.kind.as_str());
    told.put("channel", record.channel.as_str());
    told.put_some("subject", record.personal.subject.as_deref());
    told.put_some("ticket", record.personal.ticket.as_deref());
    told.put_some("reason", record.personal.reason.as_deref());
    told.put("opener", record.opener);
    told.put("opened-ms", record.opened_at.0);
    told.put("step", record.step.as_str());
    told.put("overdue", record.escalated);
    told.put_some("outcome", record.outcome.map(|outcome| outcome.as_str()));
    told.put_some("closed-ms", record.closed_at.map(|at| at.0));
    told
}

/// A replacement that is half done.
fn replacement(half: &Replacement) -> Dict {
    let mut told = Dict::new();
    told.put("token", half.old.to_string());
    told.put("lost", half.lost);
    told.put_some("new", half.new.map(|id| id.to_string()));
    told
}

/// A case with all that was said in it, the replacements that are half done in it, and how many letters about what was done in it
/// could not be delivered.
pub(super) fn whole(cases: &Cases, whole: &WholeCase, half: &[Replacement], untold: u32) -> Dict {
    let WholeCase { record, notes } = whole;
    let mut told = case(record);
    let now = cases.time().now().stamp;
    if record.outcome.is_none() {
        let left = now.left(record.since, Duration::from_millis(record.within_ms));
        told.put("left-s", left.map_or(0, seconds));
    }
    told.put_some("opener-account", cases.people().account(record.opener));
    if !half.is_empty() {
        told.put("replacing", half.iter().map(replacement).collect::<Vec<_>>());
    }
    if untold > 0 {
        told.put("untold", untold);
    }
    let notes: Vec<Dict> = notes.iter().map(|one| note(cases, one)).collect();
    told.put("notes", notes);
    told
}

fn note(cases: &Cases, note: &CaseNote) -> Dict {
    let mut told = Dict::new();
    told.put("at-ms", note.at.0);
    told.put_some("by", note.by);
    told.put_some("account", note.by.and_then(|uid| cases.people().account(uid)));
    told.put_some("reference", note.reference.as_deref());
    let policy = cases.law().policy();
    let now = cases.time().now().stamp;
    let left = |ttl: Option<Duration>| ttl.map(|ttl| now.left(note.stamp, ttl).map_or(0, seconds));
    match &note.said {
        Said::Worked => told.put("what", "worked"),
        Said::Evidence { method, reality, token } => {
            told.put("what", "evidence");
            told.put("method", method.as_str());
            told.put("reality", reality.as_str());
            told.put_some("token", token.map(|id| id.to_string()));
            let fresh = policy.as_ref().and_then(|policy| policy.source(*method));
            told.put_some("counts-s", left(fresh.map(|source| source.fresh)));
        }
        Said::Approved { tier, role } => {
            told.put("what", "approved");
            told.put("tier", tier.as_str());
            told.put_some("role", role.as_deref());
            told.put_some("counts-s", left(policy.map(|policy| policy.approval.within)));
        }
        Said::Denied => told.put("what", "denied"),
        Said::BypassIssued => told.put("what", "bypass-issued"),
        Said::BypassUsed => told.put("what", "bypass-used"),
        Said::BypassReviewed => told.put("what", "bypass-reviewed"),
        Said::Replacing { token, lost } => {
            told.put("what", "replacing");
            told.put("token", token.to_string());
            told.put("lost", *lost);
        }
        Said::Replaced { token, by } => {
            told.put("what", "replaced");
            told.put("token", token.to_string());
            told.put("new", by.to_string());
        }
        Said::Closed { outcome, checks } => {
            told.put("what", "closed");
            told.put("outcome", outcome.as_str());
            let checks: Vec<&str> = checks.iter().map(|check: &Check| check.as_str()).collect();
            told.put("checks", checks);
        }
    }
    told
}

/// What is missing, as data and in sentences.
pub(super) fn needs(tier: Tier, decision: Option<&Decision>) -> (bool, Dict) {
    let mut told = Dict::new();
    told.put("tier", tier.as_str());
    told.put("policy", decision.is_some());
    let needs: Vec<Dict> = decision.map_or_else(Vec::new, |decision| decision.needs.iter().map(need).collect());
    told.put("needs", needs);
    told.put_some("holds-s", decision.and_then(|decision| decision.holds).map(seconds));
    (decision.is_none_or(Decision::allowed), told)
}

/// One thing that is missing.
pub(in crate::bus) fn need(need: &Need) -> Dict {
    let mut told = Dict::new();
    told.put("need", need.name());
    told.put("sentence", need.to_string());
    let by = match need {
        Need::Weight { by, .. } | Need::Classes { by, .. } | Need::OneOf { by, .. } | Need::BeyondDevice { by } => by,
        _ => return told,
    };
    let by: Vec<&str> = by.iter().map(|method: &Method| method.as_str()).collect();
    told.put("by", by);
    told
}
