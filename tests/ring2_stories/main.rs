//! Ring 2: the stories of the manual (`docs/manual/stories.md`), told to the shipped daemon in system mode by the shipped client: the
//! real polkitd and logind, people under uids and log-ins of their own, clocks that the test sets. What they typed and read is
//! compared with the page; `CLAVIGER_WRITE=1` writes it there.
#[allow(dead_code, missing_docs)]
#[path = "../harness/bus.rs"]
mod bus;
#[path = "../harness/host/mod.rs"]
mod host;
#[path = "../harness/house.rs"]
mod house;
#[path = "../harness/shim.rs"]
mod shim;
#[path = "../harness/transcript.rs"]
mod transcript;

mod any_order;
mod attacker;
mod blocked_pin;
mod clocks;
mod fob;
mod later;
mod leaver;
mod lost_abroad;
mod phone;
mod second_person;
mod told;
mod tool;
mod turned;

/// Every story, in the order of the page.
const ALL: [&str; 12] = [
    "drifted-fob",
    "lost-abroad",
    "blocked-pin",
    "phone-replaced",
    "leaver",
    "activate-later",
    "attacker",
    "operator-turns-bad",
    "crashed-tool",
    "second-person",
    "clock-set-back",
    "killed-between",
];

#[test]
fn the_page_has_every_story() {
    let page = std::fs::read_to_string(transcript::PAGE).expect("the page");
    assert_eq!(transcript::markers(&page), ALL);
    for name in ALL {
        let (_, after) = page.split_once(&transcript::marker(name)).expect("a transcript");
        assert!(!after.starts_with("```"), "{name} has no transcript yet");
    }
}
