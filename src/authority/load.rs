//! A policy's text, read and refused. Nothing has a hidden default that decides something: what a policy does not say it lacks.

use std::time::Duration;

use toml::de::DeTable;

use super::policy::{
    AnomalyRule, Approval, BypassTerms, Deadlines, HistoryTerms, Policy, Role, Rule, SessionTerms, Shift, Source,
};
use super::reader::{Fault, LONGEST, Section, Text, meant};
use super::sense;
use crate::types::cases::{Anomaly, CaseKind, Channel, FoundAgain, Hours, Mark, Method, Privilege, Tier, Weighty};

/// The policy that ships with Claviger, in force where there is no file.
pub const SHIPPED: &str = include_str!("../../policy/policy.toml");

/// Version of the form.
const FORM: u32 = 1;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Longest time an approval is good for.
pub const APPROVAL_AT_MOST: Duration = Duration::from_secs(15 * 60);

/// Reads a policy.
///
/// # Errors
/// All that is wrong with it, by line; at least one [`Fault`].
pub fn load(text: &str) -> Result<Policy, Vec<Fault>> {
    let source = Text::new(text);
    if text.len() > LONGEST {
        source.fault(0, format!("a policy has at most {LONGEST} bytes"));
        return Err(source.faults());
    }
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            source.fault(at, format!("this is not TOML: {}", error.message()));
            return Err(source.faults());
        }
    };
    let read = read(&source, &Section::new(&source, document.get_ref(), "the policy", 0));
    if let (Some((policy, places)), true) = (read, source.sound()) {
        sense::check(&policy, |rule, what| {
            source.fault(places.get(rule).copied().unwrap_or(0), what);
        });
        if source.sound() {
            return Ok(policy);
        }
    }
    let mut faults = source.faults();
    if faults.is_empty() {
        faults.push(Fault {
            line: 1,
            column: 1,
            what: "this is not a whole policy".to_owned(),
        });
    }
    Err(faults)
}

/// The shipped policy; a test holds it to be sound.
///
/// # Errors
/// As [`load`].
pub fn shipped() -> Result<Policy, Vec<Fault>> {
    load(SHIPPED)
}

fn names<T: Copy>(all: &[T], name: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|one| name(*one)).collect()
}

/// The policy, and where each rule stands. `None` when a section is missing; what is wrong is noted either way.
fn read(text: &Text<'_>, top: &Section<'_, '_>) -> Option<(Policy, Vec<usize>)> {
    let form = top.number("form", 1..=u32::MAX, None);
    if form > FORM {
        text.fault(
            top.place("form"),
            format!("this Claviger reads policies of form {FORM}; form {form} is newer"),
        );
    }
    let enforced_from = top.day("enforced-from");
    let (roles, office) = (roles(text, top), top.section("hours").map(|hours| office(text, hours)));
    let (classes, evidence) = evidence(text, top);
    let mut places = Vec::new();
    let mut rules = Vec::new();
    for section in top.many("require") {
        places.push(section.at);
        rules.extend(rule(text, section, &roles));
    }
    let approval = top.section("approval").map(approval);
    let session = top.section("session").map(|section| session(text, section));
    let deadlines = top.section("deadlines").map(deadlines);
    let recovery = top.section("recovery").map(|section| {
        let delay = section.duration("remote-delay", Duration::ZERO..=30 * DAY);
        section.done();
        delay
    });
    let bypass = top.section("bypass").map(bypass);
    let history = top.section("history").map(history);
    let anomalies = anomalies(text, top);
    // The root's own keys: every section was asked for above.
    top.finish();
    let policy = Policy {
        roles,
        enforced_from,
        office: office?,
        classes,
        evidence,
        rules,
        approval: approval?,
        session: session?,
        deadlines: deadlines?,
        remote_delay: recovery?,
        bypass: bypass??,
        history: history?,
        anomalies,
    };
    Some((policy, places))
}

fn roles(text: &Text<'_>, top: &Section<'_, '_>) -> Vec<Role> {
    let mut roles = Vec::new();
    for (name, at, section) in top.named("roles") {
        let sound = name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !sound || name.len() > 64 {
            text.fault(
                at,
                format!("the role “{name}” must be named in lower-case letters, digits and hyphens, 64 at most"),
            );
        }
        let role = Role {
            name,
            privilege: section
                .word("privilege", &names(Privilege::ALL, Privilege::as_str))
                .unwrap_or(Privilege::Privileged),
            available_from: section.day("available-from"),
            enforced_from: section.day("enforced-from"),
            deferrals: section.number("deferrals", 0..=100, None),
            verified_contact: section.flag("verified-contact", true),
        };
        if let (Some(available), Some(enforced)) = (role.available_from, role.enforced_from)
            && enforced < available
        {
            text.fault(
                section.place("enforced-from"),
                format!(
                    "{} requires a second factor from {enforced}, but lets nobody have one before {available}",
                    section.name
                ),
            );
        }
        section.done();
        roles.push(role);
    }
    roles
}

/// `["mon-fri 07:00-19:00"]`.
fn office(text: &Text<'_>, section: Section<'_, '_>) -> Vec<Shift> {
    let mut shifts = Vec::new();
    for (at, words) in section.texts("office") {
        match shift(&words) {
            Some(more) => shifts.extend(more),
            None => text.fault(
                at,
                format!("“{words}” are no office hours: days and times, as “mon-fri 07:00-19:00” or “sat 09:00-13:00”"),
            ),
        }
    }
    section.done();
    shifts
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn shift(words: &str) -> Option<Vec<Shift>> {
    let (days, times) = words.split_once(' ')?;
    let day = |name: &str| DAYS.iter().position(|day| *day == name);
    let (first, last) = match days.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(days)?, day(days)?),
    };
    let minute = |clock: &str| {
        let (hour, minute) = clock.split_once(':')?;
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        let whole = hour < 24 || (hour == 24 && minute == 0);
        (whole && minute < 60).then_some(hour.min(24) * 60 + minute)
    };
    let (from, until) = times.split_once('-')?;
    let (from, until) = (minute(from)?, minute(until)?);
    if first > last || from >= until {
        return None;
    }
    (first..=last)
        .map(|day| {
            let midnight = u16::try_from(day).ok()? * 1_440;
            Some(Shift {
                from: midnight + from,
                until: midnight + until,
            })
        })
        .collect()
}

/// What an attacker finds on the network, on a badge or in a wastepaper basket.
const LOOKED_UP: &[&str] = &[
    "birth",
    "dob",
    "employee",
    "personnel-n",
    "staff-",
    "badge",
    "address",
    "maiden",
    "ssn",
    "social-security",
    "question",
    "name",
    "mail",
    "postcode",
    "zip",
    "department",
    "title",
    "extension",
    "serial",
    "asset",
    "caller-id",
];

fn evidence(text: &Text<'_>, top: &Section<'_, '_>) -> (Vec<String>, Vec<Source>) {
    let declared = top.texts("classes");
    let classes: Vec<String> = declared.iter().map(|(_, name)| name.clone()).collect();
    for (place, (at, class)) in declared.iter().enumerate() {
        if classes.iter().take(place).any(|before| before == class) {
            text.fault(*at, format!("the class “{class}” is declared twice"));
        }
    }
    let known: Vec<&str> = classes.iter().map(String::as_str).collect();
    let methods = names(Method::ALL, Method::as_str);
    let mut sources = Vec::<Source>::new();
    for (name, at, section) in top.named("evidence") {
        let Ok(method) = name.parse::<Method>() else {
            let plain = name.to_lowercase().replace(['_', ' '], "-");
            if LOOKED_UP.iter().any(|stem| plain.contains(stem)) {
                let why = "can be looked up by an attacker, so it is no evidence and cannot be declared";
                text.fault(
                    at,
                    format!("“{name}” {why}; there is {}", super::reader::list(&methods)),
                );
            } else {
                text.fault(
                    at,
                    format!("“{name}” is no method of evidence{}", meant(&name, &methods)),
                );
            }
            continue;
        };
        let class: Option<String> = section.word("class", &known);
        let source = Source {
            method,
            class: class
                .and_then(|class| classes.iter().position(|known| *known == class))
                .unwrap_or(0),
            weight: section.number("weight", 1..=9, None),
            fresh: section.duration("fresh", MINUTE..=DAY),
        };
        section.done();
        sources.push(source);
    }
    if text.sound() {
        for (class, (at, name)) in declared.iter().enumerate() {
            if !sources.iter().any(|source| source.class == class) {
                text.fault(*at, format!("no method of evidence is of the class “{name}”"));
            }
        }
    }
    (classes, sources)
}

fn rule(text: &Text<'_>, section: Section<'_, '_>, roles: &[Role]) -> Option<Rule> {
    let known: Vec<&str> = roles.iter().map(|role| role.name.as_str()).collect();
    let numbers = |names: Vec<String>| -> Vec<usize> {
        let number = |name: String| roles.iter().position(|role| role.name == name);
        names.into_iter().filter_map(number).collect()
    };
    let line = text.line(section.at);
    let name = section.text("name");
    if name.as_ref().is_none_or(|name| name.trim().is_empty()) {
        text.fault(
            section.at,
            "[[require]] lacks “name”: a few words that say what it is for",
        );
    }
    let tier: Option<Tier> = section.word("tier", &names(Tier::ALL, Tier::as_str));
    let rule = Rule {
        name: name.unwrap_or_default(),
        line,
        tier: tier.unwrap_or(Tier::Look),
        roles: numbers(section.words("roles", &known)),
        privileges: section.words("privileges", &names(Privilege::ALL, Privilege::as_str)),
        kinds: section.words("cases", &names(CaseKind::ALL, CaseKind::as_str)),
        channels: section.words("channels", &names(Channel::ALL, Channel::as_str)),
        hours: section.words("hours", &names(Hours::ALL, Hours::as_str)),
        history: section.words("history", &names(Mark::ALL, Mark::as_str)),
        words: section.words("words", &names(Weighty::ALL, Weighty::as_str)),
        deny: section.flag("deny", false),
        weight: section.number("weight", 0..=99, Some(0)),
        classes: section.number("classes", 0..=9, Some(0)),
        one_of: section.words("one-of", &names(Method::ALL, Method::as_str)),
        approvals: section.number("approvals", 0..=3, Some(0)),
        approved_by: numbers(section.words("approved-by", &known)),
    };
    let asks = ["weight", "classes", "one-of", "approvals", "approved-by"];
    if rule.deny
        && let Some(key) = asks.into_iter().find(|key| section.has(key))
    {
        text.fault(
            section.place(key),
            format!("“{key}” and “deny” contradict each other: what is never allowed needs nothing"),
        );
    }
    if !rule.approved_by.is_empty() && rule.approvals == 0 {
        text.fault(
            section.place("approved-by"),
            "“approved-by” says who approves, but no “approvals” are wanted",
        );
    }
    section.done();
    tier.map(|_| rule)
}

fn approval(section: Section<'_, '_>) -> Approval {
    let approval = Approval {
        within: section.duration("within", MINUTE..=APPROVAL_AT_MOST),
        same_person: section.groups("same-person"),
    };
    section.done();
    approval
}

fn session(text: &Text<'_>, section: Section<'_, '_>) -> SessionTerms {
    let session = SessionTerms {
        idle: section.duration("idle", MINUTE..=8 * HOUR),
        absolute: section.duration("absolute", MINUTE..=DAY),
    };
    if session.idle > session.absolute {
        text.fault(
            section.place("idle"),
            "a session cannot be idle for longer than it lives: “idle” is longer than “absolute”",
        );
    }
    section.done();
    session
}

fn deadlines(section: Section<'_, '_>) -> Deadlines {
    let range = || MINUTE..=365 * DAY;
    let deadlines = Deadlines {
        identity: section.duration("identity", range()),
        approval: section.duration("approval", range()),
        act: section.duration("act", range()),
        returned: section.duration("returned", range()),
        review: section.duration("review", range()),
    };
    section.done();
    deadlines
}

fn bypass(section: Section<'_, '_>) -> Option<BypassTerms> {
    let found_again = section.word("found-again", &names(FoundAgain::ALL, FoundAgain::as_str));
    let terms = BypassTerms {
        lasts: section.duration("lasts", MINUTE..=3 * DAY),
        uses: section.number("uses", 1..=10, None),
        per_year: section.number("per-year", 0..=12, None),
        found_again: found_again.unwrap_or(FoundAgain::End),
    };
    section.done();
    found_again.map(|_| terms)
}

fn history(section: Section<'_, '_>) -> HistoryTerms {
    let history = HistoryTerms {
        within: section.duration("within", HOUR..=365 * DAY),
        cases: section.number("many-cases", 1..=1_000, None),
        failures: section.number("many-failures", 1..=1_000, None),
    };
    section.done();
    history
}

/// Whether counting an anomaly over a time makes sense.
const fn counted(kind: Anomaly) -> bool {
    matches!(kind, Anomaly::OperatorBurst | Anomaly::FailedVerification)
}

fn anomalies(text: &Text<'_>, top: &Section<'_, '_>) -> Vec<AnomalyRule> {
    let known = names(Anomaly::ALL, Anomaly::as_str);
    let mut rules = Vec::new();
    for (name, at, section) in top.named("anomalies") {
        let Ok(kind) = name.parse::<Anomaly>() else {
            text.fault(at, format!("“{name}” is no anomaly{}", meant(&name, &known)));
            continue;
        };
        let timed = counted(kind) || kind == Anomaly::ResetThenEnrol;
        let rule = AnomalyRule {
            kind,
            count: if counted(kind) {
                section.number("count", 1..=10_000, None)
            } else {
                1
            },
            within: if timed {
                section.duration("within", MINUTE..=30 * DAY)
            } else {
                Duration::ZERO
            },
            end_sessions: section.flag("end-sessions", false),
            freeze: section.flag("freeze", false),
        };
        if rule.freeze && section.has("end-sessions") && !rule.end_sessions {
            text.fault(
                section.place("end-sessions"),
                "an operator who is frozen has no sessions: “freeze” and “end-sessions = false” contradict each other",
            );
        }
        section.done();
        rules.push(rule);
    }
    rules
}
