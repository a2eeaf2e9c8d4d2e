//! What is refused of a policy, with line and meaning, and what the shipped one decides.

use std::time::Duration;

use super::Policy;
use super::clock::{Reading, Stamp, Timekeeper};
use super::conduct::{Caller, Participants, Refusal};
use super::decide::{Approved, BypassHistory, Evidence, Facts, Need, Person};
use super::explain::{one_of, span};
use super::load::{SHIPPED, load, shipped};
use super::policy::{Marks, Situation, Words};
use crate::types::cases::{CaseKind, Channel, Hours, Method, Privilege, Tier, Weighty};
use crate::types::{Reality, UnixMillis};

/// The shipped policy with one change: its faults, as `line:column: what`.
fn faults(from: &str, to: &str) -> Vec<String> {
    assert_eq!(
        SHIPPED.matches(from).count(),
        1,
        "“{from}” stands once in the shipped policy"
    );
    match load(&SHIPPED.replacen(from, to, 1)) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

/// Line of a text in the shipped policy, moved by what the change put before it.
fn line(of: &str) -> usize {
    let at = SHIPPED.find(of).unwrap();
    SHIPPED[..at].matches('\n').count() + 1
}

/// Change, the text on whose line the fault is to stand, lines it is moved by, and what is to be said.
type Wrong = (&'static str, &'static str, &'static str, usize, &'static [&'static str]);

fn refused(table: &[Wrong]) {
    for (from, to, at, moved, said) in table {
        let found = faults(from, to);
        let place = format!("{}:", line(at) + moved);
        let fits = |fault: &&String| fault.starts_with(&place) && said.iter().all(|word| fault.contains(word));
        assert!(
            found.iter().any(|fault| fits(&fault)),
            "“{to}”: wanted {place} {said:?}, found {found:#?}"
        );
    }
}

#[test]
fn the_shipped_policy_is_sound_and_tells_itself() {
    let policy = shipped().unwrap_or_else(|faults| panic!("{faults:#?}"));
    let told = policy.sentences().join("\n");
    for rule in &policy.rules {
        assert!(told.contains(&rule.name), "{}", rule.name);
    }
    assert!(told.contains(
        "A call back to the number on record weighs 2, is of the class phone and is believed for 15 minutes."
    ));
}

#[test]
fn wrong_keys_are_refused_with_what_was_meant() {
    refused(&[
        (
            "form = 1\n",
            "form = 1\nenforced-form = 2027-01-01\n",
            "form = 1",
            1,
            &["no key “enforced-form”", "did you mean “enforced-from”?"],
        ),
        (
            "deferrals = 3",
            "deferals = 3",
            "deferrals = 3",
            0,
            &["no key “deferals”", "did you mean “deferrals”?"],
        ),
        (
            "[approval]",
            "[aproval]",
            "[approval]",
            0,
            &["no key “aproval”", "did you mean “approval”?"],
        ),
        (
            "[evidence.hr]",
            "[evidence.hrr]",
            "[evidence.hr]",
            0,
            &["no method of evidence", "did you mean “hr”?"],
        ),
        (
            "[evidence.hr]",
            "[evidence.birthday]",
            "[evidence.hr]",
            0,
            &["“birthday” can be looked up by an attacker"],
        ),
        (
            "[evidence.hr]",
            "[evidence.employee-number]",
            "[evidence.hr]",
            0,
            &["can be looked up by an attacker"],
        ),
        (
            "[anomalies.odd-hours]",
            "[anomalies.odd-hour]",
            "[anomalies.odd-hours]",
            0,
            &["did you mean “odd-hours”?"],
        ),
        (
            "channels = [\"desk\"]",
            "chanels = [\"desk\"]",
            "channels = [\"desk\"]",
            0,
            &["did you mean “channels”?"],
        ),
        (
            "found-again = \"end\"",
            "found-again = \"ends\"",
            "found-again",
            0,
            &["did you mean “end”?"],
        ),
        (
            "one-of = [\"in-person\"]",
            "one-of = [\"in-persn\"]",
            "one-of = [\"in-person\"]",
            0,
            &["did you mean “in-person”?"],
        ),
        (
            "approved-by = [\"administrator\"]",
            "approved-by = [\"admin\"]",
            "approved-by",
            0,
            &["“staff”", "“administrator”"],
        ),
    ]);
}

#[test]
fn wrong_types_and_ranges_are_refused_with_what_must_be_there() {
    refused(&[
        (
            "form = 1\n",
            "form = \"1\"\n",
            "form = 1",
            0,
            &["the text “1”", "a whole number from 1"],
        ),
        ("form = 1\n", "form = 2\n", "form = 1", 0, &["form 2 is newer"]),
        (
            "deferrals = 3",
            "deferrals = -3",
            "deferrals = 3",
            0,
            &["a whole number from 0 to 100"],
        ),
        (
            "deferrals = 3",
            "deferrals = 3.5",
            "deferrals = 3",
            0,
            &["the number 3.5"],
        ),
        (
            "within = \"15m\"",
            "within = 15",
            "within = \"15m\"",
            0,
            &["the number 15", "15m"],
        ),
        ("within = \"15m\"", "within = \"16m\"", "within = \"15m\"", 0, &["15m"]),
        (
            "freeze = true",
            "freeze = \"yes\"",
            "freeze = true",
            0,
            &["true or false"],
        ),
        ("[hours]", "[[hours]]", "[hours]", 0, &["a list", "a section"]),
        (
            "office = [\"mon-fri 07:00-19:00\"]",
            "office = [\"mon-fri 07:00-25:00\"]",
            "office =",
            0,
            &["no office hours"],
        ),
        (
            "office = [\"mon-fri 07:00-19:00\"]",
            "office = [\"mon 65535:00-65535:00\"]",
            "office =",
            0,
            &["no office hours"],
        ),
        (
            "same-person = []",
            "same-person = [\"anna\"]",
            "same-person = []",
            0,
            &["a list of lists"],
        ),
        (
            "roles.staff]\n",
            "roles.staff]\nenforced-from = \"soon\"\n",
            "[roles.staff]",
            1,
            &["a day without quotes"],
        ),
        (
            "name = \"revoking\"",
            "name = 7",
            "name = \"revoking\"",
            0,
            &["a text in quotes"],
        ),
        (
            "remote-delay = \"24h\"",
            "remote-delay = \"24\"",
            "remote-delay",
            0,
            &["the text “24”"],
        ),
        ("form = 1\n", "form = \n", "form = 1", 0, &["this is not TOML"]),
    ]);
}

#[test]
fn what_is_missing_is_said() {
    refused(&[("uses = 3\n", "", "[bypass]", 0, &["[bypass] lacks “uses”"])]);
    let found = faults("tier = \"look\"\n", "");
    assert!(found.iter().any(|fault| fault.contains("lacks “tier”")), "{found:?}");
    assert!(load("").is_err());
}

#[test]
fn contradictions_are_refused() {
    let deny = "name = \"revoking\"\ntier = \"revoke\"\ndeny = true";
    let rule = "[[require]]\nname = \"revoking\"\ntier = \"revoke\"";
    refused(&[
        (
            "name = \"revoking\"\ntier = \"revoke\"",
            deny,
            "name = \"revoking\"",
            4,
            &["“weight” and “deny” contradict"],
        ),
        (
            rule,
            "[[require]]\nname = \"revoking\"\nclasses = 6\ntier = \"revoke\"",
            rule,
            0,
            &["6 classes", "there are 5"],
        ),
        (
            rule,
            "[[require]]\nname = \"revoking\"\none-of = [\"hr\"]\napproved-by = [\"staff\"]\ntier = \"revoke\"",
            rule,
            3,
            &["no “approvals” are wanted"],
        ),
        (
            "idle = \"10m\"",
            "idle = \"2h\"",
            "idle =",
            0,
            &["“idle” is longer than “absolute”"],
        ),
        (
            "per-year = 3",
            "per-year = 0",
            "[[require]]\nname = \"an emergency bypass\"",
            0,
            &["“per-year” in [bypass] is 0"],
        ),
        (
            "freeze = true",
            "freeze = true\nend-sessions = false",
            "freeze = true",
            1,
            &["contradict each other"],
        ),
        (
            "\"paper\"]",
            "\"paper\", \"aura\"]",
            "\"paper\"]",
            0,
            &["no method of evidence is of the class “aura”"],
        ),
        (
            "\"paper\"]",
            "\"paper\", \"phone\"]",
            "\"paper\"]",
            0,
            &["declared twice"],
        ),
        (
            "name = \"revoking\"",
            "name = \"a new token\"",
            rule,
            0,
            &["is called “a new token” too"],
        ),
        (
            "privilege = \"ordinary\"\n",
            "privilege = \"ordinary\"\navailable-from = 2027-02-01\nenforced-from = 2027-01-01\n",
            "privilege = \"ordinary\"",
            2,
            &["lets nobody have one before"],
        ),
    ]);
    // 4 + 2 + 2 + 2 + 2, the best of each class.
    let heavy = SHIPPED.replace("weight = 5\nclasses = 2", "weight = 13\nclasses = 2");
    let found = load(&heavy).unwrap_err();
    assert!(found[0].what.contains("all evidence together weighs 12"), "{found:?}");
    let gone = SHIPPED.replace(
        "[evidence.live-video]\nclass = \"presence\"\nweight = 3\nfresh = \"30m\"\n",
        "",
    );
    let found = load(&gone).unwrap_err();
    assert!(found[0].what.contains("no section [evidence.live-video]"), "{found:?}");
}

#[test]
fn unreachable_rules_are_refused() {
    let added = |rule: &str| -> Vec<String> {
        let text = format!("{SHIPPED}\n[[require]]\nname = \"new\"\n{rule}\n");
        load(&text)
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let place = format!("{}:", SHIPPED.matches('\n').count() + 2);
    for (rule, why) in [
        (
            "tier = \"test\"\ncases = [\"self-service\"]\nchannels = [\"phone\"]",
            "no such case is on such a channel",
        ),
        (
            "tier = \"test\"\ncases = [\"bench\"]\nroles = [\"staff\"]",
            "at the bench there is no subject",
        ),
        (
            "tier = \"test\"\nroles = [\"administrator\"]\nprivileges = [\"ordinary\"]",
            "nobody of the role administrator",
        ),
        (
            "tier = \"bypass\"\ncases = [\"bench\", \"self-service\"]",
            "no bypass at the bench",
        ),
    ] {
        let found = added(rule);
        assert!(
            found.len() == 1
                && found[0].starts_with(&place)
                && found[0].contains("“new” is unreachable")
                && found[0].contains(why),
            "{rule}: {found:#?}"
        );
    }
    assert_eq!(
        added("tier = \"test\"\nchannels = [\"chat\"]\ndeny = true"),
        Vec::<String>::new()
    );
    let found = added("tier = \"look\"\ncases = [\"bench\"]\ndeny = true");
    assert_eq!(
        found
            .iter()
            .filter(|fault| fault.contains("“new” of line") && fault.contains("says never"))
            .count(),
        3,
        "{found:#?}"
    );
}

#[test]
fn sentences_for_times_and_choices() {
    assert_eq!(span(Duration::from_millis(59_001)), "1 minute");
    assert_eq!(span(Duration::from_secs(90_061)), "1 day 1 hour");
    assert_eq!(span(Duration::ZERO), "no time");
    assert_eq!(
        one_of(&[Method::Hr, Method::RecoveryCode]),
        "the word of the personnel department or a recovery code"
    );
    assert_eq!(one_of(&[]), "nothing that this policy knows");
}

pub(super) fn person(uid: u32) -> Person {
    Person {
        uid,
        account: Some(format!("u{uid}")),
    }
}

/// A case of an ordinary subject (uid 1003) on the phone, opened and asked for by uid 1001.
pub(super) fn facts(policy: &Policy, kind: CaseKind) -> Facts {
    Facts {
        situation: Situation {
            role: policy.role("staff"),
            privilege: Privilege::Ordinary,
            kind,
            channel: Channel::Phone,
            hours: Hours::Office,
            marks: Marks::default(),
            words: Words::default(),
        },
        actor: person(1001),
        opener: person(1001),
        subject: Some(person(1003)),
        opened: Stamp::default(),
        evidence: Vec::new(),
        approvals: Vec::new(),
        denied: false,
        closed: false,
        frozen: false,
        enrolled: false,
        bypass: BypassHistory::default(),
    }
}

pub(super) fn shown(method: Method) -> Evidence {
    Evidence {
        method,
        at: Stamp::default(),
        reality: Reality::Hardware,
    }
}

pub(super) fn yes(uid: u32, tier: Tier) -> Approved {
    Approved {
        by: person(uid),
        role: None,
        at: Stamp::default(),
        tier,
    }
}

fn missing(policy: &Policy, tier: Tier, facts: &Facts) -> Vec<&'static str> {
    policy
        .decide(tier, facts, Stamp::default())
        .needs
        .iter()
        .map(super::decide::Need::name)
        .collect()
}

#[test]
fn a_drifted_fob_takes_weight_two_and_holds_as_long_as_it_is_fresh() {
    let policy = shipped().unwrap();
    let mut case = facts(&policy, CaseKind::Support);
    assert_eq!(missing(&policy, Tier::Look, &case), Vec::<&str>::new());
    assert_eq!(missing(&policy, Tier::Test, &case), ["weight"]);
    case.evidence = vec![shown(Method::CallBack)];
    let decision = policy.decide(Tier::Test, &case, Stamp::default());
    assert!(decision.allowed());
    assert_eq!(decision.holds, Some(Duration::from_secs(900)));
    let late = Stamp {
        most_ms: 900_000,
        least_ms: 0,
    };
    assert!(!policy.decide(Tier::Test, &case, late).allowed());
    // Of one class the weightiest alone counts.
    case.evidence.push(shown(Method::SentCode));
    assert_eq!(missing(&policy, Tier::Register, &case), ["weight", "classes"]);
    // A virtual token is no evidence, a device alone neither.
    case.evidence = vec![Evidence {
        reality: Reality::Virtual,
        ..shown(Method::TokenTest)
    }];
    assert_eq!(missing(&policy, Tier::Test, &case), ["weight"]);
    case.evidence = vec![shown(Method::TokenTest)];
    assert_eq!(missing(&policy, Tier::Test, &case), ["beyond-device"]);
}

#[test]
fn floors_hold_even_where_a_policy_asks_nothing() {
    let bare: String = SHIPPED.split("[[require]]").next().unwrap().to_owned()
        + "[[require]]\nname = \"all\"\ntier = \"look\"\n[[require]]\nname = \"b\"\ntier = \"test\"\n[[require]]\nname = \"c\"\ntier = \"register\"\n[[require]]\nname = \"d\"\ntier = \"bypass\"\n\n[approval]"
        + SHIPPED.split("[approval]").nth(1).unwrap();
    let policy = load(&bare).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let mut case = facts(&policy, CaseKind::Support);
    assert_eq!(missing(&policy, Tier::Test, &case), ["weight"]);
    assert_eq!(missing(&policy, Tier::Revoke, &case), ["rule"]);
    case.evidence = vec![shown(Method::InPerson)];
    assert_eq!(missing(&policy, Tier::Bypass, &case), ["approval"]);
    for nobody in [
        yes(0, Tier::Bypass),
        yes(1001, Tier::Bypass),
        yes(1003, Tier::Bypass),
        yes(1002, Tier::Revoke),
    ] {
        case.approvals = vec![nobody];
        assert_eq!(missing(&policy, Tier::Bypass, &case), ["approval"]);
    }
    case.approvals = vec![yes(1002, Tier::Bypass)];
    assert_eq!(missing(&policy, Tier::Bypass, &case), Vec::<&str>::new());
    case.approvals.clear();
    case.situation.privilege = Privilege::Privileged;
    assert_eq!(missing(&policy, Tier::Register, &case), ["approval"]);
    case.situation.privilege = Privilege::Ordinary;
    case.situation.words = Words::of(&[Weighty::BeyondBound]);
    assert_eq!(missing(&policy, Tier::Test, &case), ["approval"]);
    case.situation.words = Words::default();
    case.situation.kind = CaseKind::Bench;
    case.situation.channel = Channel::Desk;
    assert_eq!(missing(&policy, Tier::Bypass, &case), ["rule"]);
    case.situation.kind = CaseKind::SelfService;
    case.situation.channel = Channel::Own;
    assert_eq!(missing(&policy, Tier::Bypass, &case), ["rule"]);
}

#[test]
fn the_second_person_is_another_human_at_a_login_of_their_own() {
    let policy = load(&SHIPPED.replace("same-person = []", "same-person = [[\"u1001\", \"u2001\"]]")).unwrap();
    let of = Participants {
        opener: person(1001),
        worked: vec![person(1004)],
        subject: Some(person(1003)),
    };
    let answer = |uid: u32, login: Option<u32>, session: Option<u32>| {
        policy.may_approve(
            &Caller {
                person: person(uid),
                login,
                session,
            },
            &of,
        )
    };
    let own = |uid: u32| answer(uid, Some(uid), Some(uid));
    assert_eq!(own(1002), Ok(()));
    assert_eq!(own(1001), Err(Refusal::Opener));
    assert_eq!(own(2001), Err(Refusal::Opener), "the same human under a second uid");
    assert_eq!(own(1003), Err(Refusal::Subject));
    assert_eq!(own(1004), Err(Refusal::Worked));
    assert_eq!(own(0), Err(Refusal::Root));
    assert_eq!(answer(1002, None, Some(1002)), Err(Refusal::LoginUnknown));
    assert_eq!(answer(1002, Some(1002), None), Err(Refusal::LoginUnknown));
    assert_eq!(answer(1002, Some(1001), Some(1002)), Err(Refusal::LoginDiffers));
    assert_eq!(answer(1002, Some(1002), Some(1001)), Err(Refusal::LoginDiffers));
    assert_eq!(answer(1002, Some(0), Some(1002)), Err(Refusal::Root));
}

#[test]
fn no_clock_gives_time_back() {
    let at = |wall: i64, boot_ms: u64, boot: u128| Reading {
        wall: UnixMillis(wall),
        boot_ms,
        boot,
    };
    let day = 86_400_000;
    let mut keeper = Timekeeper::begin(at(day, 1_000, 1));
    // Set back by a day: the boot clock goes on.
    assert_eq!(
        keeper.observe(at(0, 61_000, 1)),
        Stamp {
            most_ms: 60_000,
            least_ms: 0
        }
    );
    // Set forward: authority ends, a wait does not.
    assert_eq!(
        keeper.observe(at(day, 62_000, 1)),
        Stamp {
            most_ms: 60_000 + 86_400_000,
            least_ms: 1_000
        }
    );
    // Another boot with a clock behind: whatever was to end has ended.
    let stamp = keeper.observe(at(0, 5_000, 2));
    assert!(stamp.most_ms > 10 * 365 * 86_400_000 && stamp.least_ms == 1_000);
}

#[test]
fn whoever_had_a_token_and_shows_none_waits_for_the_next() {
    let policy = shipped().unwrap();
    let waits = |case: &Facts| {
        let needs = policy.decide(Tier::Register, case, Stamp::default()).needs;
        needs.iter().any(|need| matches!(need, Need::Wait { .. }))
    };
    let of = |kind: CaseKind, enrolled: bool, methods: &[Method]| Facts {
        enrolled,
        evidence: methods.iter().map(|method| shown(*method)).collect(),
        ..facts(&policy, kind)
    };
    let believed = [Method::CallBack, Method::Manager];
    let owned = [Method::CallBack, Method::Manager, Method::TokenTest];
    for kind in [CaseKind::Support, CaseKind::Replacement] {
        assert!(waits(&of(kind, true, &believed)), "a reset is no enrolment: {kind}");
        assert!(!waits(&of(kind, true, &owned)), "{kind}");
        assert!(!waits(&of(kind, false, &believed)), "a first token: {kind}");
        let mut here = of(kind, true, &believed);
        here.situation.channel = Channel::Desk;
        assert!(!waits(&here), "{kind}");
    }
    // In a recovery all tokens are out of reach.
    assert!(waits(&of(CaseKind::Recovery, true, &owned)) && waits(&of(CaseKind::Recovery, false, &believed)));
    assert!(!waits(&of(CaseKind::Bench, true, &[])));
}
