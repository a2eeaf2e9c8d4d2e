//! The decision: may this case do that now, and if not, what is missing.
//!
//! Pure. What a policy cannot switch off is here too: a bypass always takes a second person, a claim is never believed without
//! evidence, and the possession of a device alone, or of a virtual one at all, shows nothing.

use std::fmt;
use std::time::Duration;

use super::clock::Stamp;
use super::explain::{one_of, span};
use super::policy::{Policy, Rule, Situation};
use crate::types::Reality;
use crate::types::cases::{CaseKind, Method, Privilege, Tier, Weighty};

/// A human, as the host knows humans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Uid.
    pub uid: u32,
    /// Account name, where the host knows one.
    pub account: Option<String>,
}

/// A piece of evidence that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// How.
    pub method: Method,
    /// When.
    pub at: Stamp,
    /// For a test of a token: what the token is made of.
    pub reality: Reality,
}

/// Somebody's yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// Whose.
    pub by: Person,
    /// Their role, if they are a subject of the policy too.
    pub role: Option<usize>,
    /// When.
    pub at: Stamp,
    /// Up to this tier.
    pub tier: Tier,
}

/// What bears on a bypass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BypassHistory {
    /// Bypasses of this subject in the last 365 days.
    pub this_year: u32,
    /// Bypasses of this subject that nobody has reviewed.
    pub unreviewed: u32,
}

/// A case as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What the rules look at. `None` for its role means that the policy does not know the subject's role.
    pub situation: Situation,
    /// Who asks now.
    pub actor: Person,
    /// Who opened the case.
    pub opener: Person,
    /// The subject, if an account of this host.
    pub subject: Option<Person>,
    /// When the case was opened.
    pub opened: Stamp,
    /// What was shown.
    pub evidence: Vec<Evidence>,
    /// Who agreed.
    pub approvals: Vec<Approved>,
    /// Somebody denied it: no later approval heals that.
    pub denied: bool,
    /// The case is closed.
    pub closed: bool,
    /// The one who asks is frozen.
    pub frozen: bool,
    /// A token would become the subject's, who has had one in use before: it is no first enrolment.
    pub enrolled: bool,
    /// For a bypass.
    pub bypass: BypassHistory,
}

/// Something that is missing. [`Need::name`] is for programs, the sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// The case is closed.
    OpenCase,
    /// Somebody denied it.
    AnotherCase,
    /// The operator is frozen.
    Thaw,
    /// No rule speaks of it.
    Rule {
        /// The tier.
        tier: Tier,
    },
    /// A rule says never.
    Never {
        /// The rule's name.
        rule: String,
    },
    /// More weight.
    Weight {
        /// What there is.
        have: u32,
        /// What there must be.
        want: u32,
        /// What would add to it.
        by: Vec<Method>,
    },
    /// Evidence of another class.
    Classes {
        /// How many there are.
        have: u32,
        /// How many there must be.
        want: u32,
        /// What would add one.
        by: Vec<Method>,
    },
    /// One of these methods.
    OneOf {
        /// Which.
        by: Vec<Method>,
        /// The rule's name.
        rule: String,
    },
    /// More than a device.
    BeyondDevice {
        /// What would do.
        by: Vec<Method>,
    },
    /// Another person's yes.
    Approval {
        /// How many there are.
        have: u32,
        /// How many there must be.
        want: u32,
    },
    /// The yes of one of these roles.
    ApprovalBy {
        /// Names of roles.
        roles: Vec<String>,
    },
    /// Waiting.
    Wait {
        /// How long yet.
        left: Duration,
    },
    /// The year's bypasses are used up.
    YearlyCap {
        /// How many there may be.
        cap: u32,
    },
    /// A review.
    Review,
}

impl Need {
    /// The name that tools switch on.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OpenCase => "open-case",
            Self::AnotherCase => "another-case",
            Self::Thaw => "thaw",
            Self::Rule { .. } => "rule",
            Self::Never { .. } => "never",
            Self::Weight { .. } => "weight",
            Self::Classes { .. } => "classes",
            Self::OneOf { .. } => "one-of",
            Self::BeyondDevice { .. } => "beyond-device",
            Self::Approval { .. } => "approval",
            Self::ApprovalBy { .. } => "approval-by",
            Self::Wait { .. } => "wait",
            Self::YearlyCap { .. } => "yearly-cap",
            Self::Review => "review",
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenCase => f.write_str("The case is closed: open another."),
            Self::AnotherCase => {
                f.write_str("An approver said no, and that stands: only another case can begin again.")
            }
            Self::Thaw => f.write_str("Your authority is frozen until somebody else lifts it."),
            Self::Rule { tier } => write!(
                f,
                "No rule of the policy speaks of “{tier}” here, and what none speaks of is denied."
            ),
            Self::Never { rule } => write!(f, "The policy never allows this: “{rule}”."),
            Self::Weight { have, want, by } => {
                write!(
                    f,
                    "The evidence weighs {have} and must weigh {want}. What would add to it: {}.",
                    one_of(by)
                )
            }
            Self::Classes { have, want, by } => write!(
                f,
                "The evidence comes from {have} independent sources and must come from {want}. What would add one: {}.",
                one_of(by)
            ),
            Self::OneOf { by, rule } => write!(f, "“{rule}” wants {}.", one_of(by)),
            Self::BeyondDevice { by } => write!(
                f,
                "Whoever stole a device can pass a test with it, so that alone shows nothing. What would: {}.",
                one_of(by)
            ),
            Self::Approval { have, want } => write!(
                f,
                "{} must agree, neither you nor the one who opened the case nor the one it is about; {have} did within the time \
                 that an approval is good for.",
                if *want == 1 {
                    "Another person".to_owned()
                } else {
                    format!("{want} other people")
                }
            ),
            Self::ApprovalBy { roles } => {
                write!(f, "One of those who agree must be of the role {}.", roles.join(" or "))
            }
            Self::Wait { left } => write!(
                f,
                "Whoever is not here waits before a new token is handed out: {} more.",
                span(*left)
            ),
            Self::YearlyCap { cap } => write!(
                f,
                "There were {cap} bypasses for this person within a year, which is all there may be."
            ),
            Self::Review => f.write_str("An earlier bypass of this person was not reviewed yet."),
        }
    }
}

/// The answer for one tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The tier that was asked for.
    pub tier: Tier,
    /// What is missing; empty: it is allowed.
    pub needs: Vec<Need>,
    /// When it is allowed: until this much more time has passed, if nothing is added; `None`: no end but the session's.
    pub holds: Option<Duration>,
}

impl Decision {
    /// Whether nothing is missing.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.needs.is_empty()
    }
}

/// What all rules together want in a situation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// A rule of this very tier speaks of it.
    pub spoken: bool,
    /// Number of a rule that says never.
    pub never: Option<usize>,
    /// The house itself says never.
    pub barred: bool,
    /// Least weight.
    pub weight: u32,
    /// Least number of classes.
    pub classes: u32,
    /// Numbers of the rules that want one of their methods.
    pub one_of: Vec<usize>,
    /// Least number of approvals.
    pub approvals: u32,
    /// Numbers of the rules that want approval by their roles.
    pub approved_by: Vec<usize>,
}

/// Whether a bypass can be had in such a case at all: at the bench nobody is locked out, and nobody lets themselves in.
const fn barred(tier: Tier, kind: CaseKind) -> bool {
    matches!(tier, Tier::Bypass) && !kind.about_a_claim()
}

impl Policy {
    /// What is wanted at a tier, floors included.
    #[must_use]
    pub fn demand(&self, tier: Tier, it: &Situation) -> Demand {
        let mut demand = Demand {
            barred: barred(tier, it.kind),
            ..Demand::default()
        };
        for (number, rule) in self.rules.iter().enumerate() {
            if rule.tier <= tier && rule.speaks_of(it) {
                demand.spoken |= rule.tier == tier;
                demand.add(number, rule);
            }
        }
        if it.kind.about_a_claim() && tier >= Tier::Test {
            demand.weight = demand.weight.max(1);
        }
        let second = tier == Tier::Bypass
            || (it.privilege == Privilege::Privileged && tier >= Tier::Register && it.role.is_some());
        let weighty = it.words.has(Weighty::BeyondBound) && tier >= Tier::Test;
        demand.approvals = demand.approvals.max(u32::from(second || weighty));
        demand
    }

    /// Decides one tier.
    #[must_use]
    pub fn decide(&self, tier: Tier, facts: &Facts, now: Stamp) -> Decision {
        let needs = self.needs(tier, facts, now);
        let holds = if needs.is_empty() {
            self.holds(tier, facts, now)
        } else {
            None
        };
        Decision { tier, needs, holds }
    }

    /// Whether two people are one.
    #[must_use]
    pub fn same_person(&self, one: &Person, other: &Person) -> bool {
        let group = |names: &Vec<String>| {
            let has = |person: &Person| person.account.as_ref().is_some_and(|name| names.contains(name));
            has(one) && has(other)
        };
        one.uid == other.uid || self.approval.same_person.iter().any(group)
    }

    fn needs(&self, tier: Tier, facts: &Facts, now: Stamp) -> Vec<Need> {
        let it = &facts.situation;
        let demand = self.demand(tier, it);
        let mut needs = Vec::new();
        if facts.closed {
            needs.push(Need::OpenCase);
        }
        if facts.frozen && tier > Tier::Look {
            needs.push(Need::Thaw);
        }
        if facts.denied && tier > Tier::Look {
            needs.push(Need::AnotherCase);
        }
        let known = it.role.is_some() || it.kind == CaseKind::Bench;
        if !demand.spoken || demand.barred || !known || !Situation::possible(it.kind, it.channel) {
            needs.push(Need::Rule { tier });
        }
        if let Some(rule) = demand.never.and_then(|number| self.rule(number)) {
            needs.push(Need::Never {
                rule: rule.name.clone(),
            });
        }
        // What can never be had needs nothing more.
        if !needs.is_empty() {
            return needs;
        }
        self.missing_evidence(&demand, facts, now, &mut needs);
        self.missing_approval(tier, &demand, facts, now, &mut needs);
        if tier == Tier::Register && it.channel.remote() && self.enrols_anew(facts, now) {
            let left = self.remote_delay.saturating_sub(now.at_least_since(facts.opened));
            if !left.is_zero() {
                needs.push(Need::Wait { left });
            }
        }
        if tier == Tier::Bypass {
            if facts.bypass.this_year >= self.bypass.per_year {
                needs.push(Need::YearlyCap {
                    cap: self.bypass.per_year,
                });
            }
            if facts.bypass.unreviewed > 0 {
                needs.push(Need::Review);
            }
        }
        needs
    }

    /// Whether a token for this person is a new beginning: whoever had one and shows none, whatever the case is called. A reset, or a
    /// token that was reported lost, is no enrolment.
    fn enrols_anew(&self, facts: &Facts, now: Stamp) -> bool {
        let kind = facts.situation.kind;
        let owned = |method: &Method| matches!(method, Method::TokenTest | Method::RecoveryCode);
        kind == CaseKind::Recovery
            || kind.about_a_claim() && facts.enrolled && !self.fresh(facts, now).iter().any(owned)
    }

    /// Evidence that still counts: fresh, known to the policy, and of a real token.
    fn fresh(&self, facts: &Facts, now: Stamp) -> Vec<Method> {
        facts
            .evidence
            .iter()
            .filter(|piece| piece.reality == Reality::Hardware)
            .filter(|piece| {
                self.source(piece.method)
                    .is_some_and(|source| now.left(piece.at, source.fresh).is_some())
            })
            .map(|piece| piece.method)
            .collect()
    }

    /// The best weight of each class.
    fn weights(&self, methods: &[Method]) -> Vec<u32> {
        let mut best = vec![0; self.classes.len()];
        for source in methods.iter().filter_map(|method| self.source(*method)) {
            if let Some(best) = best.get_mut(source.class) {
                *best = source.weight.max(*best);
            }
        }
        best
    }

    fn missing_evidence(&self, demand: &Demand, facts: &Facts, now: Stamp, needs: &mut Vec<Need>) {
        let fresh = self.fresh(facts, now);
        let best = self.weights(&fresh);
        let weight: u32 = best.iter().sum();
        let classes = u32::try_from(best.iter().filter(|best| **best > 0).count()).unwrap_or(u32::MAX);
        let adding = |new_class: bool| -> Vec<Method> {
            let adds = |source: &&super::policy::Source| {
                let there = best.get(source.class).copied().unwrap_or(0);
                if new_class { there == 0 } else { source.weight > there }
            };
            self.evidence.iter().filter(adds).map(|source| source.method).collect()
        };
        if weight < demand.weight {
            needs.push(Need::Weight {
                have: weight,
                want: demand.weight,
                by: adding(false),
            });
        }
        if classes < demand.classes {
            needs.push(Need::Classes {
                have: classes,
                want: demand.classes,
                by: adding(true),
            });
        }
        if demand.weight > 0 && !fresh.is_empty() && fresh.iter().all(|method| method.is_possession_of_a_device()) {
            let by = self.evidence.iter().map(|source| source.method);
            needs.push(Need::BeyondDevice {
                by: by.filter(|method| !method.is_possession_of_a_device()).collect(),
            });
        }
        for rule in demand.one_of.iter().filter_map(|number| self.rule(*number)) {
            if !rule.one_of.iter().any(|method| fresh.contains(method)) {
                needs.push(Need::OneOf {
                    by: rule.one_of.clone(),
                    rule: rule.name.clone(),
                });
            }
        }
    }

    /// Approvals that count, one for each human: good for this tier, within their time, and of somebody who is neither the one who
    /// asks, nor who opened the case, nor whom it is about.
    pub(super) fn approvals<'f>(&self, tier: Tier, facts: &'f Facts, now: Stamp) -> Vec<&'f Approved> {
        let mut counted = Vec::<&Approved>::new();
        for approved in &facts.approvals {
            let of = |person: &Person| self.same_person(person, &approved.by);
            let concerned = of(&facts.actor) || of(&facts.opener) || facts.subject.as_ref().is_some_and(of);
            let good = approved.tier >= tier && now.left(approved.at, self.approval.within).is_some();
            let root = approved.by.uid == 0;
            if good && !concerned && !root && !counted.iter().any(|other| of(&other.by)) {
                counted.push(approved);
            }
        }
        counted
    }

    fn missing_approval(&self, tier: Tier, demand: &Demand, facts: &Facts, now: Stamp, needs: &mut Vec<Need>) {
        let counted = self.approvals(tier, facts, now);
        let have = u32::try_from(counted.len()).unwrap_or(u32::MAX);
        if have < demand.approvals {
            needs.push(Need::Approval {
                have,
                want: demand.approvals,
            });
        }
        for rule in demand.approved_by.iter().filter_map(|number| self.rule(*number)) {
            let of_role = |approved: &&Approved| approved.role.is_some_and(|role| rule.approved_by.contains(&role));
            if !counted.iter().any(of_role) {
                let roles = self.role_names(&rule.approved_by);
                needs.push(Need::ApprovalBy {
                    roles: roles.into_iter().map(str::to_owned).collect(),
                });
            }
        }
    }

    /// How long it stays allowed if nothing is added: only the end of something can end it, so the ends are tried in order.
    fn holds(&self, tier: Tier, facts: &Facts, now: Stamp) -> Option<Duration> {
        let of_evidence = |piece: &Evidence| {
            self.source(piece.method)
                .and_then(|source| now.left(piece.at, source.fresh))
        };
        let mut ends: Vec<Duration> = facts.evidence.iter().filter_map(of_evidence).collect();
        ends.extend(
            facts
                .approvals
                .iter()
                .filter_map(|yes| now.left(yes.at, self.approval.within)),
        );
        ends.sort_unstable();
        ends.dedup();
        ends.into_iter()
            .find(|end| !self.needs(tier, facts, now.later(*end)).is_empty())
    }
}

impl Demand {
    fn add(&mut self, number: usize, rule: &Rule) {
        if rule.deny {
            self.never.get_or_insert(number);
        }
        self.weight = self.weight.max(rule.weight);
        self.classes = self.classes.max(rule.classes);
        self.approvals = self.approvals.max(rule.approvals);
        if !rule.one_of.is_empty() {
            self.one_of.push(number);
        }
        if !rule.approved_by.is_empty() {
            self.approved_by.push(number);
        }
    }
}
