//! What a policy says. Read by [`load`](super::load), never made by hand: a [`Policy`] that exists is without contradictions.

use std::fmt;
use std::time::Duration;

use crate::types::cases::{Anomaly, CaseKind, Channel, FoundAgain, Hours, Mark, Method, Privilege, Tier, Weighty};

/// A calendar day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    /// Year of the common era.
    pub year: u16,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// A sort of people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name in the policy.
    pub name: String,
    /// How much harm its accounts can do.
    pub privilege: Privilege,
    /// From when a second factor can be had.
    pub available_from: Option<Day>,
    /// From when one is required.
    pub enforced_from: Option<Day>,
    /// How often “activate later” may be said.
    pub deferrals: u32,
    /// Whether a contact must be verified before a token is activated.
    pub verified_contact: bool,
}

/// How much one method of evidence counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The method.
    pub method: Method,
    /// Its class, an index into [`Policy::classes`]: what one theft or one lie gives away at once. Of a class only the weightiest
    /// piece counts.
    pub class: usize,
    /// Its weight, 1 to 9.
    pub weight: u32,
    /// How long it is believed.
    pub fresh: Duration,
}

/// Part of a week, in minutes since Monday 00:00 by the host's zone; `until` is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    /// First minute.
    pub from: u16,
    /// Minute after the last.
    pub until: u16,
}

/// What has to be there at a tier, when its conditions hold. All rules whose conditions hold must be met, those of lower tiers
/// too, so that a second rule never opens what the first one shut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// For people who read.
    pub name: String,
    /// Line in the file.
    pub line: usize,
    /// From this tier upwards.
    pub tier: Tier,
    /// Subjects of these roles (indices into [`Policy::roles`]); empty: any.
    pub roles: Vec<usize>,
    /// Subjects of this privilege; empty: any.
    pub privileges: Vec<Privilege>,
    /// In such cases; empty: any.
    pub kinds: Vec<CaseKind>,
    /// On these channels; empty: any.
    pub channels: Vec<Channel>,
    /// At these hours; empty: any.
    pub hours: Vec<Hours>,
    /// When one of these stands in the history; empty: whatever stands there.
    pub history: Vec<Mark>,
    /// When one of these words was said; empty: whatever was said.
    pub words: Vec<Weighty>,
    /// It is never allowed.
    pub deny: bool,
    /// Least weight of fresh evidence, the best of each class counted.
    pub weight: u32,
    /// Least number of classes that evidence comes from.
    pub classes: u32,
    /// One of these methods must be among it; empty: any.
    pub one_of: Vec<Method>,
    /// How many other people must approve.
    pub approvals: u32,
    /// One of them of these roles; empty: any.
    pub approved_by: Vec<usize>,
}

/// The second person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// How long an approval is good for; 15 minutes at most.
    pub within: Duration,
    /// Accounts that belong to one human.
    pub same_person: Vec<Vec<String>>,
}

/// Live authority in a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTerms {
    /// It ends when nothing was done for so long.
    pub idle: Duration,
    /// It ends after so long whatever is done.
    pub absolute: Duration,
}

/// When what a case waits for is overdue and escalates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Until somebody is believed.
    pub identity: Duration,
    /// Until the second person has answered.
    pub approval: Duration,
    /// Until the act is done.
    pub act: Duration,
    /// Until what was lost or lent is back, or revoked.
    pub returned: Duration,
    /// Until a review is recorded.
    pub review: Duration,
}

/// Emergency bypass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BypassTerms {
    /// Longest life of a code.
    pub lasts: Duration,
    /// Most uses of a code.
    pub uses: u32,
    /// Most bypasses for one subject in 365 days.
    pub per_year: u32,
    /// What happens when the token is found again.
    pub found_again: FoundAgain,
}

/// From when something stands in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryTerms {
    /// How far back is looked.
    pub within: Duration,
    /// So many cases are many.
    pub cases: u32,
    /// So many failed verifications are many.
    pub failures: u32,
}

/// What is out of the ordinary, and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnomalyRule {
    /// What.
    pub kind: Anomaly,
    /// From how many of them on; 1 where counting makes no sense.
    pub count: u32,
    /// Within how long; zero where time makes no sense.
    pub within: Duration,
    /// The operator's sessions end.
    pub end_sessions: bool,
    /// The operator can do nothing until somebody else lifts it.
    pub freeze: bool,
}

/// A policy without contradictions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Sorts of people.
    pub roles: Vec<Role>,
    /// From when a second factor is required of everybody, whatever a role or an exemption says.
    pub enforced_from: Option<Day>,
    /// Office hours.
    pub office: Vec<Shift>,
    /// Classes of evidence.
    pub classes: Vec<String>,
    /// Methods of evidence.
    pub evidence: Vec<Source>,
    /// Rules.
    pub rules: Vec<Rule>,
    /// The second person.
    pub approval: Approval,
    /// Sessions.
    pub session: SessionTerms,
    /// Deadlines.
    pub deadlines: Deadlines,
    /// How long a remote re-enrolment waits after the case was opened.
    pub remote_delay: Duration,
    /// Bypass.
    pub bypass: BypassTerms,
    /// History.
    pub history: HistoryTerms,
    /// Anomalies.
    pub anomalies: Vec<AnomalyRule>,
}

/// One situation, as far as rules look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// The subject's role, an index into [`Policy::roles`]; `None` at the bench, where nobody is spoken for.
    pub role: Option<usize>,
    /// The subject's privilege, never less than the role's.
    pub privilege: Privilege,
    /// What the case is about.
    pub kind: CaseKind,
    /// How the person reached us.
    pub channel: Channel,
    /// Which hours.
    pub hours: Hours,
    /// Marks in the history.
    pub marks: Marks,
    /// Words that were said.
    pub words: Words,
}

macro_rules! set_of {
    ($(#[$meta:meta])* $name:ident, $of:ty) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name(u8);

        impl $name {
            /// The set of these.
            #[must_use]
            pub fn of(members: &[$of]) -> Self {
                Self(members.iter().fold(0, |set, member| set | bit(*member as u8)))
            }

            /// Whether it is in the set.
            #[must_use]
            pub fn has(self, member: $of) -> bool {
                self.0 & bit(member as u8) != 0
            }

            /// All sets there are.
            pub fn all() -> impl Iterator<Item = Self> {
                (0..bit(u8::try_from(<$of>::ALL.len()).unwrap_or(0))).map(Self)
            }
        }
    };
}

const fn bit(place: u8) -> u8 {
    1 << (place & 7)
}

set_of!(
    /// Marks in a history.
    Marks,
    Mark
);
set_of!(
    /// Words in a request.
    Words,
    Weighty
);

impl Situation {
    /// Whether such a case can be opened at all: self-service is where nobody is asked, and only there; the bench is at the desk.
    #[must_use]
    pub const fn possible(kind: CaseKind, channel: Channel) -> bool {
        match kind {
            CaseKind::SelfService => matches!(channel, Channel::Own),
            CaseKind::Bench => matches!(channel, Channel::Desk),
            _ => !matches!(channel, Channel::Own),
        }
    }
}

impl Rule {
    /// Whether the conditions hold. The tier is no condition.
    #[must_use]
    pub fn speaks_of(&self, it: &Situation) -> bool {
        let any = |list: &[usize], of: Option<usize>| list.is_empty() || of.is_some_and(|one| list.contains(&one));
        any(&self.roles, it.role)
            && (self.privileges.is_empty() || self.privileges.contains(&it.privilege))
            && (self.kinds.is_empty() || self.kinds.contains(&it.kind))
            && (self.channels.is_empty() || self.channels.contains(&it.channel))
            && (self.hours.is_empty() || self.hours.contains(&it.hours))
            && (self.history.is_empty() || self.history.iter().any(|mark| it.marks.has(*mark)))
            && (self.words.is_empty() || self.words.iter().any(|word| it.words.has(*word)))
    }
}

impl Policy {
    /// How a method counts, if the policy knows it.
    #[must_use]
    pub fn source(&self, method: Method) -> Option<&Source> {
        self.evidence.iter().find(|source| source.method == method)
    }

    /// A role by its name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<usize> {
        self.roles.iter().position(|role| role.name == name)
    }

    /// A rule by its number.
    #[must_use]
    pub fn rule(&self, number: usize) -> Option<&Rule> {
        self.rules.get(number)
    }

    /// Whether a minute of the week (0 is Monday 00:00, by the host's zone) is in office hours.
    #[must_use]
    pub fn hours(&self, minute: u16) -> Hours {
        let within = |shift: &Shift| (shift.from..shift.until).contains(&minute);
        if self.office.iter().any(within) {
            Hours::Office
        } else {
            Hours::Odd
        }
    }

    /// Names of roles, for sentences.
    #[must_use]
    pub fn role_names(&self, roles: &[usize]) -> Vec<&str> {
        roles
            .iter()
            .filter_map(|role| self.roles.get(*role))
            .map(|role| role.name.as_str())
            .collect()
    }
}
