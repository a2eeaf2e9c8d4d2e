//! The files that administrators install say what the code does.
mod harness;

use std::collections::{BTreeMap, BTreeSet};

use claviger::contract::BUS_NAME;
use claviger::grant::Action;
use claviger::guard::action::{Rule, TABLE};
use roxmltree::{Document, Node, ParsingOptions};

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).expect(path)
}

fn xml(text: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).expect("well-formed XML")
}

fn text<'d>(node: Node<'d, '_>, name: &str) -> &'d str {
    node.descendants()
        .find(|child| child.has_tag_name(name))
        .and_then(|child| child.text())
        .unwrap_or_default()
}

#[test]
fn every_action_is_declared_with_its_owner_and_sane_defaults() {
    let policy = read("polkit/org.claviger.policy");
    let document = xml(&policy);
    let declared: BTreeMap<&str, Node<'_, '_>> = document
        .descendants()
        .filter(|node| node.has_tag_name("action"))
        .map(|node| (node.attribute("id").expect("an id"), node))
        .collect();
    let wanted: BTreeSet<&str> = Action::ALL.iter().map(|action| action.polkit_id()).collect();
    assert_eq!(declared.keys().copied().collect::<BTreeSet<_>>(), wanted);
    for (id, action) in declared {
        let owner = action
            .children()
            .find(|child| child.attribute("key") == Some("org.freedesktop.policykit.owner"))
            .and_then(|child| child.text());
        assert_eq!(owner, Some("unix-user:claviger"), "{id}");
        assert!(
            !text(action, "description").is_empty() && !text(action, "message").is_empty(),
            "{id}"
        );
        for elsewhere in ["allow_any", "allow_inactive"] {
            assert_eq!(text(action, elsewhere), "auth_admin", "{id} {elsewhere}");
        }
        let active = text(action, "allow_active");
        let sane = match id {
            "org.claviger.inspect" => active == "yes",
            "org.claviger.approve" | "org.claviger.bypass" => active == "auth_admin",
            _ => active == "auth_admin_keep",
        };
        assert!(sane, "{id}: {active} for active sessions");
    }
}

#[test]
fn the_bus_lets_through_what_the_table_knows() {
    let policy = read("systemd/org.claviger.Claviger1.conf");
    let document = xml(&policy);
    let mut let_through = BTreeSet::new();
    let mut owners = BTreeSet::new();
    for node in document.descendants() {
        if let Some(interface) = node.attribute("send_interface") {
            assert_eq!(node.attribute("send_destination"), Some(BUS_NAME));
            let_through.insert(interface);
        }
        if let Some(name) = node.attribute("own") {
            assert_eq!(name, BUS_NAME);
            owners.insert(
                node.parent()
                    .and_then(|policy| policy.attribute("user"))
                    .expect("a user"),
            );
        }
    }
    assert_eq!(let_through, TABLE.iter().map(|row| row.interface).collect());
    assert_eq!(owners, BTreeSet::from(["claviger", "root"]));
}

#[test]
fn the_example_gives_the_help_desk_no_final_act() {
    let rules = read("polkit/50-claviger-helpdesk.rules.example");
    let given: BTreeSet<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("case \"")?.strip_suffix("\":"))
        .collect();
    let wanted = ["inspect", "test", "verify", "resync", "suspend", "case"].map(|name| format!("org.claviger.{name}"));
    assert_eq!(given, wanted.iter().map(String::as_str).collect());
    // What the rule compares the detail with must be methods of that action.
    for verb in ["Suspend", "ReportLost"] {
        assert!(rules.contains(&format!("verb === \"{verb}\"")));
        assert!(TABLE.iter().any(|row| row.member == verb
            && matches!(
                row.rule,
                Rule::Guarded {
                    action: Action::Suspend,
                    ..
                }
            )));
    }
}

#[test]
fn activation_names_the_daemon() {
    let service = read("systemd/org.claviger.Claviger1.service");
    assert!(service.contains(&format!("Name={BUS_NAME}\n")));
    assert!(service.contains("SystemdService=clavigerd.service\n") && service.contains("User=claviger\n"));
}
