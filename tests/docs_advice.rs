//! `docs/manual/advice.md` is the table of `src/contract/advice`, and `claviger advice` tells it without a daemon.
//! `CLAVIGER_WRITE=1` writes the page.

use std::fmt::Write as _;
use std::process::{Command, Output};

use claviger::contract::advice::{Status, Wire, entries};

const HEAD: &str = "\
# What to do when it is refused
Every refusal has a sentence of its own, a name that tools switch on, and a row here: what the help desk does about it, and what to
tell the person who holds the token, to be read out as it stands. `claviger advice NAME` tells a row, without a daemon too; a refusal
carries it (`refusal`, `desk-message`, `subject-message` in the details of an operation, in the second argument of an error
reply, and in `--json`). What a fob's codes told about its clock comes apart from that, as `advice` ([At the help desk](help-desk.md)).

This page is made from the table that the programs use: `CLAVIGER_WRITE=1 cargo test --test docs_advice`.

## Names
The error on the bus is `org.claviger.Error.` and the name, where nothing else stands under it. `AccessDenied` is
`org.freedesktop.DBus.Error.AccessDenied`.

| name | what to do | tell the person |
|---|---|---|
";

const STATUSES: &str = "
## Statuses of a key
What an authenticator answers (CTAP 2.1 section 8.2), and the name that it leads to.

| status | name in the standard | name here |
|---|---|---|
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for entry in entries() {
        let error = match entry.wire {
            Wire::Error(error) if error.short() == entry.name => String::new(),
            Wire::Error(error) => format!(" ({})", error.short()),
            Wire::AccessDenied => " (AccessDenied)".to_owned(),
            Wire::None => " (no error)".to_owned(),
        };
        writeln!(page, "| `{}`{error} | {} | {} |", entry.name, entry.desk, entry.subject).unwrap();
    }
    page.push_str(STATUSES);
    let mut rows: Vec<(u8, String)> = Vec::new();
    for entry in entries() {
        match entry.status {
            Status::None => {}
            Status::Named(list) => rows.extend(
                list.iter()
                    .map(|(code, name)| (*code, format!("| 0x{code:02X} | `{name}` | `{}` |", entry.name))),
            ),
            Status::Range(first, last) => {
                rows.push((
                    first,
                    format!("| 0x{first:02X} to 0x{last:02X} | the maker's own | `{}` |", entry.name),
                ));
            }
            Status::Rest => rows.push((u8::MAX, format!("| every other | | `{}` |", entry.name))),
        }
    }
    rows.sort_by_key(|(code, _)| *code);
    for (_, row) in rows {
        writeln!(page, "{row}").unwrap();
    }
    page
}

#[test]
fn the_page_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/manual/advice.md");
    if std::env::var_os("CLAVIGER_WRITE").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let written = std::fs::read_to_string(path).expect("docs/manual/advice.md");
    assert!(
        written == page(),
        "docs/manual/advice.md is out of date: CLAVIGER_WRITE=1 cargo test --test docs_advice"
    );
}

/// The standard's names, as the codec has them.
#[test]
fn the_names_of_the_statuses_are_those_of_the_codec() {
    let mut named = 0;
    for entry in entries() {
        let Status::Named(list) = entry.status else { continue };
        for (code, name) in list {
            assert_eq!(
                claviger::codec::ctap2::status::Status(*code).name(),
                Some(*name),
                "0x{code:02X}"
            );
            named += 1;
        }
    }
    let known = (0..=u8::MAX)
        .filter(|code| claviger::codec::ctap2::status::Status(*code).name().is_some())
        .count();
    println!("{named} statuses with a name");
    assert_eq!(named, known, "a status that the codec names has no row of its own");
}

fn claviger(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_claviger"))
        .args(["--bus", "unix:path=/nonexistent"])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn the_client_tells_a_row_without_a_daemon() {
    let told = claviger(&["advice", "0x34"]);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success(), "{text}");
    for part in [
        "SoftBlocked",
        "what to do: Unplug the key",
        "tell the person: Three wrong PINs",
        "0x34 PIN_AUTH_BLOCKED",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let one = claviger(&["--json", "advice", "org.claviger.Error.PinBlocked"]);
    let object: serde_json::Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!(object["name"], "PinBlocked");
    assert!(object["subject-message"].as_str().unwrap().contains("locked itself"));
    let all = claviger(&["--json", "advice"]);
    let lines = String::from_utf8(all.stdout).unwrap();
    assert_eq!(lines.lines().count(), entries().count());
    let none = claviger(&["advice", "NoSuchThing"]);
    assert_eq!(none.status.code(), Some(2));
}
