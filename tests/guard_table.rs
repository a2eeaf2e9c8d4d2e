//! The guard's table and the contract name the same methods.
mod harness;

use std::collections::BTreeSet;

use claviger::guard::action::{Rule, Scope, TABLE};
use harness::contract::{Method, contract};

fn ours(name: &str) -> bool {
    name.starts_with("org.claviger.")
}

#[test]
fn every_method_has_a_row_and_every_row_a_method() {
    let written: BTreeSet<(String, String)> = contract()
        .values()
        .flat_map(|i| i.methods.iter().map(|m| (i.name.clone(), m.name.clone())))
        .collect();
    let mapped: BTreeSet<(String, String)> = TABLE
        .iter()
        .filter(|row| ours(row.interface))
        .map(|row| (row.interface.to_owned(), row.member.to_owned()))
        .collect();
    assert!(written.len() >= 19, "the contract was not read: {written:?}");
    assert_eq!(written, mapped);
}

#[test]
fn rows_find_their_object_where_the_contract_has_it() {
    let contract = contract();
    for row in TABLE.iter().filter(|row| ours(row.interface)) {
        let interface = &contract[row.interface];
        let method: &Method = interface
            .methods
            .iter()
            .find(|m| m.name == row.member)
            .expect("a method");
        let first = method.input.first().map(|(name, _)| name.as_str());
        match row.rule {
            Rule::Guarded { scope, .. } => {
                let sound = match scope {
                    Scope::Token => first == Some("token"),
                    Scope::Obligation => first == Some("obligation"),
                    Scope::Device => {
                        first == Some("device")
                            || matches!(row.interface, "org.claviger.Device1" | "org.claviger.Fido1")
                    }
                    Scope::NewFob => matches!(row.member, "RegisterFob" | "RegisterApp" | "RegisterRecoveryCodes"),
                    Scope::Subject => first == Some("subject"),
                    Scope::Case => first == Some("case") || row.interface == "org.claviger.Case1",
                    Scope::Whole => !matches!(first, Some("token" | "obligation" | "device" | "subject" | "case")),
                };
                assert!(
                    sound,
                    "{}.{} looks for its object in the wrong place",
                    row.interface, row.member
                );
            }
            Rule::Owner => assert_eq!(row.interface, "org.claviger.Operation1"),
            Rule::Open => panic!("{}.{} is open to all", row.interface, row.member),
        }
    }
}
