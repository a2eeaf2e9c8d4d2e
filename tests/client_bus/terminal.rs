//! Prompts, on a pseudo-terminal.

use std::time::Instant;

use crate::fake::{Fake, KEY, PATIENCE, Play};
use crate::seat::Seat;

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_a_key_asks_for_is_typed_unseen() {
    let fake = Fake::start().await;
    fake.play(Play::WantPin);
    let mut seat = Seat::take(&fake.address, &["test", KEY]);
    seat.expect("PIN of the key: ");
    seat.expect_no_echo();
    seat.type_in("s3cret-pin\r");
    let screen = seat.expect("Test passed");
    assert!(!screen.contains("s3cret"), "{screen:?}");
    assert_eq!(seat.exit_code(), Some(0));
    let calls = fake.calls();
    assert_eq!(calls.len(), 2, "once without, once with the PIN");
    assert_eq!(calls[1].1["options"]["pin"], "s3cret-pin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pin_is_asked_for_twice() {
    let fake = Fake::start().await;
    fake.take_pin_away();
    let mut seat = Seat::take(&fake.address, &["register", "fido2", "ada"]);
    seat.expect("New PIN for the YubiKey 5 NFC on USB port 1-4");
    seat.expect_no_echo();
    seat.type_in("1234\r");
    seat.expect("The same PIN again: ");
    seat.expect_no_echo();
    seat.type_in("1243\r");
    seat.expect("the two PINs differ");
    assert_eq!(seat.exit_code(), Some(2));
    assert!(fake.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_wants_the_word() {
    let fake = Fake::start().await;
    let args = ["revoke", KEY, "--reason", "leaver", "--reset"];
    let mut seat = Seat::take(&fake.address, &args);
    seat.expect("other services' passkeys too");
    seat.expect("Type “reset”");
    seat.type_in("yes\n");
    seat.expect("not confirmed");
    assert_eq!(seat.exit_code(), Some(5));
    assert!(fake.calls().is_empty());

    let mut seat = Seat::take(&fake.address, &args);
    seat.expect("Type “reset”");
    seat.type_in("reset\n");
    seat.expect("Revoked token");
    assert_eq!(seat.exit_code(), Some(0));
    assert_eq!(fake.calls()[0].1["options"]["reset"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_asked_for_one_after_the_other() {
    let fake = Fake::start().await;
    let mut seat = Seat::take(&fake.address, &["resync", crate::fake::FOB]);
    seat.expect("Type the code shown now: ");
    seat.type_in("111 111\n");
    seat.expect("Type the next code: ");
    seat.type_in("222222\n");
    seat.expect("The codes fit");
    seat.expect("Correct it so?");
    seat.type_in("y\n");
    seat.expect("Resynced token");
    assert_eq!(seat.exit_code(), Some(0));
    let calls = fake.calls();
    assert_eq!([calls[0].0.as_str(), calls[1].0.as_str()], ["PreviewResync", "Resync"]);
    for (_, call) in &calls {
        assert_eq!(call["codes"], serde_json::json!(["111111", "222222"]));
    }
}

/// On the system bus with a terminal, polkit's text agent runs for the client's process, registered before the first call
/// that polkit may have to ask about, and ends with the client. A stand-in notes how it is called.
#[tokio::test(flavor = "multi_thread")]
async fn the_text_agent_comes_and_goes_with_the_client() {
    let fake = Fake::start().await;
    fake.play(Play::TouchUntilCancelled);
    let dir = tempfile::tempdir().unwrap();
    let agent = dir.path().join("pkttyagent");
    let script = "#!/bin/sh\necho $$ \"$@\" >\"${0%/*}/called\"\nwhile [ $# -gt 1 ]; do [ $1 = --notify-fd ] && fd=$2; shift; \
                  done\neval \"exec $fd>&-\"\nexec sleep 100\n";
    std::fs::write(&agent, script).unwrap();
    std::fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let environment = [
        ("DBUS_SYSTEM_BUS_ADDRESS", fake.address.as_str()),
        ("CLAVIGER_BUS", "system"),
        ("PATH", &path),
    ];
    let mut seat = Seat::take_with(&["test", KEY], &environment);
    seat.expect("Touch the");
    // --pdeathsig and --process: the agent's parent is the process it is registered for.
    let called = std::fs::read_to_string(dir.path().join("called")).unwrap();
    let words: Vec<&str> = called.split_whitespace().collect();
    assert_eq!((words[1], words[3]), ("--process", "--notify-fd"), "{called}");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", words[0])).unwrap();
    let parent = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap();
    assert_eq!(parent, words[2]);
    seat.type_in("\u{3}");
    assert_eq!(seat.exit_code(), Some(5));
    let deadline = Instant::now() + PATIENCE;
    let alive = || {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", words[0])).unwrap_or_default();
        state
            .rsplit(") ")
            .next()
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    };
    while alive() {
        assert!(Instant::now() < deadline, "the agent outlives the client");
        std::thread::yield_now();
    }
}
