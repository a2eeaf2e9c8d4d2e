//! The policy, read once more: what docs/manual/policy.md says, by a reader that shares nothing with the daemon's.

use toml::{Table, Value};

use crate::host::Person;

/// Who said yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yes {
    Nobody,
    Of(Person),
    /// Somebody said no.
    Denied,
}

/// A state of a case, as far as the policy looks at it.
#[derive(Debug, Clone, Copy)]
pub struct State {
    pub kind: &'static str,
    pub channel: &'static str,
    pub evidence: &'static [&'static str],
    pub yes: Yes,
    pub privileged: bool,
}

/// From the lowest.
const TIERS: [&str; 5] = ["look", "test", "register", "revoke", "bypass"];

/// The file.
pub struct Law(Table);

fn texts<'v>(rule: &'v Table, key: &str) -> Option<Vec<&'v str>> {
    let list = rule.get(key)?.as_array().expect("a list");
    Some(list.iter().map(|item| item.as_str().expect("text")).collect())
}

fn number(rule: &Table, key: &str) -> i64 {
    rule.get(key).map_or(0, |value| value.as_integer().expect("a number"))
}

fn height(tier: &str) -> usize {
    TIERS.iter().position(|name| *name == tier).expect("a tier")
}

impl Law {
    pub fn read(text: &str) -> Self {
        Self(text.parse().expect("the policy"))
    }

    fn rules(&self) -> impl Iterator<Item = &Table> {
        let rules = self.0["require"].as_array().expect("rules");
        rules.iter().map(|rule| rule.as_table().expect("a rule"))
    }

    /// Whether a person may act at a tier, by the policy and its floors. `privileged` is about whoever gets something by it.
    pub fn lets(&self, tier: &str, state: &State, actor: Person, opener: Person, privileged: bool) -> bool {
        if state.yes == Yes::Denied {
            return false;
        }
        let claims = !["bench", "self-service"].contains(&state.kind);
        if tier == "bypass" && !claims {
            return false;
        }
        let privilege = if privileged { "privileged" } else { "ordinary" };
        let holds = |rule: &&Table| {
            let of = |key: &str, value: &str| texts(rule, key).is_none_or(|list| list.contains(&value));
            assert!(
                rule.get("deny").is_none() && rule.get("roles").is_none(),
                "teach this reader"
            );
            of("cases", state.kind)
                && of("channels", state.channel)
                && of("privileges", privilege)
                && of("hours", "office")
                // Nobody here has a history, and nobody says a weighty word.
                && rule.get("history").is_none()
                && rule.get("words").is_none()
                && height(rule["tier"].as_str().expect("a tier")) <= height(tier)
        };
        let rules: Vec<&Table> = self.rules().filter(holds).collect();
        if !rules.iter().any(|rule| rule["tier"].as_str() == Some(tier)) {
            return false;
        }
        let (weight, classes) = self.shown(state.evidence);
        let yes: Vec<Person> = match state.yes {
            Yes::Of(who) if who != actor && who != opener => vec![who],
            _ => Vec::new(),
        };
        let agreed = i64::try_from(yes.len()).expect("few");
        let met = |rule: &&Table| {
            weight >= number(rule, "weight")
                && classes >= number(rule, "classes")
                && agreed >= number(rule, "approvals")
                && texts(rule, "one-of").is_none_or(|list| list.iter().any(|one| state.evidence.contains(one)))
                && texts(rule, "approved-by")
                    .is_none_or(|roles| yes.iter().any(|who| roles.contains(&super::role_of(*who))))
        };
        // The floors.
        let believed = !claims || weight >= 1;
        let second = tier == "bypass" || (privileged && height(tier) >= height("register"));
        let waits = tier == "register" && state.kind == "recovery" && state.channel != "desk";
        rules.iter().all(met) && believed && (!second || agreed >= 1) && !waits
    }

    /// Weight and number of classes of what was shown, a minute ago at most.
    fn shown(&self, evidence: &[&str]) -> (i64, i64) {
        let sources = self.0["evidence"].as_table().expect("evidence");
        let mut best = std::collections::BTreeMap::<&str, i64>::new();
        for method in evidence {
            let source = sources.get(*method).and_then(Value::as_table).expect("a method");
            let class = best.entry(source["class"].as_str().expect("a class")).or_default();
            *class = number(source, "weight").max(*class);
        }
        (best.values().sum(), i64::try_from(best.len()).expect("few"))
    }
}
