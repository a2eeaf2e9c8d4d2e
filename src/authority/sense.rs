//! What a policy says that makes no sense: demands that nobody can meet, and rules that never matter. Found by going through all
//! situations there are, so that no cleverness about conditions can miss one.

use super::policy::{Marks, Policy, Rule, Situation, Words};
use crate::types::cases::{CaseKind, Channel, Hours, Privilege, Tier};

/// Most roles. With [`MOST_RULES`] it bounds the work of going through all situations.
const MOST_ROLES: usize = 32;
/// Most rules.
const MOST_RULES: usize = 256;

/// Tells all that makes no sense, by the number of the rule.
pub(super) fn check(policy: &Policy, mut tell: impl FnMut(usize, String)) {
    if policy.roles.len() > MOST_ROLES || policy.rules.len() > MOST_RULES {
        tell(
            0,
            format!("a policy has at most {MOST_ROLES} roles and {MOST_RULES} rules"),
        );
        return;
    }
    let most: u32 = (0..policy.classes.len()).map(|class| heaviest(policy, class)).sum();
    for (number, rule) in policy.rules.iter().enumerate() {
        impossible(policy, rule, most, |what| tell(number, what));
        let earlier = policy.rules.iter().take(number).find(|other| other.name == rule.name);
        if let Some(earlier) = earlier {
            tell(
                number,
                format!("the rule of line {} is called “{}” too", earlier.line, rule.name),
            );
        }
    }
    let all = situations(policy);
    for (number, rule) in policy.rules.iter().enumerate() {
        if let Some(why) = unreachable(policy, number, rule, &all) {
            tell(number, format!("the rule “{}” is unreachable: {why}", rule.name));
        }
    }
}

fn heaviest(policy: &Policy, class: usize) -> u32 {
    let of_class = policy.evidence.iter().filter(|source| source.class == class);
    of_class.map(|source| source.weight).max().unwrap_or(0)
}

/// Demands that contradict what evidence there can be.
fn impossible(policy: &Policy, rule: &Rule, most: u32, mut tell: impl FnMut(String)) {
    let name = &rule.name;
    if rule.weight > most {
        tell(format!(
            "“{name}” wants a weight of {}, but all evidence together weighs {most}: of a class only the weightiest piece counts",
            rule.weight
        ));
    }
    let classes = u32::try_from(policy.classes.len()).unwrap_or(u32::MAX);
    if rule.classes > classes {
        tell(format!(
            "“{name}” wants {} classes of evidence, but there are {classes}",
            rule.classes
        ));
    }
    for method in rule.one_of.iter().filter(|method| policy.source(**method).is_none()) {
        tell(format!(
            "“{name}” wants “{method}”, but there is no section [evidence.{method}]"
        ));
    }
    if rule.weight > 0
        && policy
            .evidence
            .iter()
            .all(|source| source.method.is_possession_of_a_device())
    {
        tell(format!(
            "“{name}” wants evidence, but a device alone shows nothing and nothing else is declared"
        ));
    }
    if rule.tier == Tier::Bypass && !rule.deny && policy.bypass.per_year == 0 {
        tell(format!("“{name}” allows a bypass, but “per-year” in [bypass] is 0"));
    }
}

/// All situations a case can be in.
fn situations(policy: &Policy) -> Vec<Situation> {
    let mut all = Vec::new();
    for kind in CaseKind::ALL.iter().copied() {
        for channel in Channel::ALL
            .iter()
            .copied()
            .filter(|channel| Situation::possible(kind, *channel))
        {
            for (role, privilege) in people(policy, kind) {
                for hours in Hours::ALL.iter().copied() {
                    for marks in Marks::all() {
                        all.extend(Words::all().map(|words| Situation {
                            role,
                            privilege,
                            kind,
                            channel,
                            hours,
                            marks,
                            words,
                        }));
                    }
                }
            }
        }
    }
    all
}

/// Whom a case can be about: a subject's privilege is never less than its role's, and at the bench it is nobody.
fn people(policy: &Policy, kind: CaseKind) -> Vec<(Option<usize>, Privilege)> {
    if kind == CaseKind::Bench {
        return vec![(None, Privilege::Ordinary)];
    }
    let of_role = |(number, role): (usize, &super::policy::Role)| {
        let least = role.privilege;
        let privileges = Privilege::ALL
            .iter()
            .copied()
            .filter(move |privilege| *privilege >= least);
        privileges.map(move |privilege| (Some(number), privilege))
    };
    policy.roles.iter().enumerate().flat_map(of_role).collect()
}

/// Why a rule never matters, if it never does.
fn unreachable(policy: &Policy, number: usize, rule: &Rule, all: &[Situation]) -> Option<String> {
    let spoken: Vec<&Situation> = all.iter().filter(|it| rule.speaks_of(it)).collect();
    if spoken.is_empty() {
        return Some(never_holds(policy, rule));
    }
    let bypass = rule.tier == Tier::Bypass;
    let open: Vec<&Situation> = spoken
        .into_iter()
        .filter(|it| !bypass || it.kind.about_a_claim())
        .collect();
    if open.is_empty() {
        return Some("there is no bypass at the bench or in self-service, whatever a rule says".to_owned());
    }
    // Of two that never allow the same, the first is the one that matters.
    let stronger = |other: usize, one: &Rule| {
        one.deny && one.tier <= rule.tier && if rule.deny { other < number } else { other != number }
    };
    let denies: Vec<&Rule> = policy
        .rules
        .iter()
        .enumerate()
        .filter(|(other, one)| stronger(*other, one))
        .map(|(_, one)| one)
        .collect();
    let denied = |it: &&Situation| denies.iter().any(|deny| deny.speaks_of(it));
    if !open.iter().all(denied) {
        return None;
    }
    let by = denies.iter().find(|deny| open.iter().any(|it| deny.speaks_of(it)))?;
    Some(format!(
        "wherever it would hold, “{}” of line {} says never",
        by.name, by.line
    ))
}

/// Which conditions exclude each other, as far as pairs can tell.
fn never_holds(policy: &Policy, rule: &Rule) -> String {
    let fits = |kind: &CaseKind| {
        rule.channels.is_empty() || rule.channels.iter().any(|channel| Situation::possible(*kind, *channel))
    };
    let least = |role: &usize| policy.roles.get(*role).map(|role| role.privilege);
    if !rule.kinds.is_empty() && !rule.kinds.iter().any(fits) {
        "no such case is on such a channel: self-service alone is “own”, the bench is at the “desk”".to_owned()
    } else if rule.kinds == [CaseKind::Bench] {
        "at the bench there is no subject, so no role and no privilege but “ordinary”".to_owned()
    } else if !rule.roles.is_empty()
        && rule
            .roles
            .iter()
            .filter_map(least)
            .all(|least| !rule.privileges.iter().any(|one| *one >= least))
    {
        format!(
            "nobody of the role {} has so little privilege",
            policy.role_names(&rule.roles).join(" or ")
        )
    } else {
        "its conditions exclude each other".to_owned()
    }
}
