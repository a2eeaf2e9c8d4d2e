//! A policy and its demands in sentences, for people.

use std::time::Duration;

use super::policy::{Policy, Rule};
use crate::types::cases::{FoundAgain, Method, Privilege};

/// Methods as a choice: `a call back …, a recovery code or …`.
#[must_use]
pub fn one_of(methods: &[Method]) -> String {
    if methods.is_empty() {
        return "nothing that this policy knows".to_owned();
    }
    let words: Vec<&str> = methods.iter().map(|method| method.words()).collect();
    joined(&words, "or")
}

/// A time in the two greatest of its units, rounded up to seconds so that nothing is said to be over before it is.
#[must_use]
pub fn span(time: Duration) -> String {
    let mut rest = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    let mut parts = Vec::new();
    for (unit, name) in [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")] {
        let count = rest / unit;
        rest %= unit;
        if count > 0 && parts.len() < 2 {
            parts.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        }
    }
    if parts.is_empty() {
        "no time".to_owned()
    } else {
        parts.join(" ")
    }
}

/// `a, b or c`.
fn joined<T: AsRef<str>>(words: &[T], last: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [before @ .., end] => {
            let before: Vec<&str> = before.iter().map(AsRef::as_ref).collect();
            format!("{} {last} {}", before.join(", "), end.as_ref())
        }
    }
}

impl Policy {
    /// The whole policy, a sentence or two for each of its parts. What cannot be switched off stands at the end.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let mut told = Vec::new();
        if let Some(day) = self.enforced_from {
            told.push(format!(
                "From {day} on everybody needs a second factor, whatever else is said."
            ));
        }
        for role in &self.roles {
            let whom = match role.privilege {
                Privilege::Ordinary => "have ordinary accounts",
                Privilege::Privileged => "have privileged accounts",
            };
            told.push(format!(
                "Subjects of the role {} {whom} and may say “later” {} times.",
                role.name, role.deferrals
            ));
        }
        for source in &self.evidence {
            told.push(format!(
                "{} weighs {}, is of the class {} and is believed for {}.",
                capital(source.method.words()),
                source.weight,
                self.classes.get(source.class).map_or("", String::as_str),
                span(source.fresh)
            ));
        }
        told.extend(self.rules.iter().map(|rule| self.rule_sentence(rule)));
        told.push(format!("An approval is good for {}.", span(self.approval.within)));
        told.push(format!(
            "A session ends after {} without a call, and after {} in any case.",
            span(self.session.idle),
            span(self.session.absolute)
        ));
        if !self.remote_delay.is_zero() {
            told.push(format!(
                "Whoever is not here waits {} for a new token in a recovery, and in any other case about somebody who had a token and shows none.",
                span(self.remote_delay)
            ));
        }
        told.push(format!(
            "A bypass lasts {} at most and for {} uses, {} times a year for one person; when the token is found again, {}.",
            span(self.bypass.lasts),
            self.bypass.uses,
            self.bypass.per_year,
            match self.bypass.found_again {
                FoundAgain::End => "it ends",
                FoundAgain::Keep => "it runs until its end",
            }
        ));
        told.extend(FLOORS.iter().map(|floor| (*floor).to_owned()));
        told
    }

    fn rule_sentence(&self, rule: &Rule) -> String {
        let mut when = Vec::new();
        let mut add = |what: &str, words: Vec<&str>| {
            if !words.is_empty() {
                when.push(format!("{what} {}", joined(&words, "or")));
            }
        };
        add("the role is", self.role_names(&rule.roles));
        add(
            "the privilege is",
            rule.privileges.iter().map(|one| one.as_str()).collect(),
        );
        add(
            "the case is of the kind",
            rule.kinds.iter().map(|one| one.as_str()).collect(),
        );
        add("the channel is", rule.channels.iter().map(|one| one.as_str()).collect());
        add("the hours are", rule.hours.iter().map(|one| one.as_str()).collect());
        add(
            "the history shows",
            rule.history.iter().map(|one| one.as_str()).collect(),
        );
        add("the request says", rule.words.iter().map(|one| one.as_str()).collect());
        let when = if when.is_empty() {
            "always".to_owned()
        } else {
            format!("when {}", joined(&when, "and"))
        };
        format!(
            "“{}” (line {}): from “{}” upwards, {when}: {}.",
            rule.name,
            rule.line,
            rule.tier,
            self.wants(rule)
        )
    }

    fn wants(&self, rule: &Rule) -> String {
        if rule.deny {
            return "never".to_owned();
        }
        let mut wants = Vec::new();
        if rule.weight > 0 {
            wants.push(format!("evidence of weight {}", rule.weight));
        }
        if rule.classes > 0 {
            wants.push(format!("evidence of {} classes", rule.classes));
        }
        if !rule.one_of.is_empty() {
            wants.push(format!("among it {}", one_of(&rule.one_of)));
        }
        if rule.approvals > 0 {
            wants.push(format!(
                "the yes of {} other{}",
                rule.approvals,
                if rule.approvals == 1 { "" } else { "s" }
            ));
        }
        if !rule.approved_by.is_empty() {
            wants.push(format!(
                "one of them of the role {}",
                joined(&self.role_names(&rule.approved_by), "or")
            ));
        }
        if wants.is_empty() {
            "nothing more".to_owned()
        } else {
            joined(&wants, "and")
        }
    }
}

/// What no policy switches off.
const FLOORS: &[&str] = &[
    "Always: a bypass takes another person's yes, and there is none at the bench or in self-service.",
    "Always: from “register” upwards a privileged subject takes another person's yes, and so does an offset beyond the bound.",
    "Always: who says to be somebody is not believed without evidence; a device alone is not enough, a virtual token is none.",
    "Always: root's yes does not count, nor that of the one who asks, who opened the case, or whom it is about.",
    "Always: what no rule of a tier speaks of is denied.",
];

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
