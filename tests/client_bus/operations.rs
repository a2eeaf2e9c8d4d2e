//! Verbs that start an operation: what the daemon is sent, how the end is told, how it is cancelled.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::fake::{FOB, Fake, Field, KEY, OWED, PATIENCE, Play, s};

fn last(fake: &Fake) -> (String, Value) {
    fake.calls().pop().expect("a method was called")
}

#[tokio::test]
async fn a_key_is_registered_with_the_pin_by_descriptor() {
    let fake = Fake::start().await;
    fake.play(Play::TouchThen(
        "done",
        vec![
            ("token", s(KEY)),
            ("sign-count", Field::U(1)),
            ("pin-set", Field::B(false)),
        ],
    ));
    // The PIN in decomposed form arrives composed (NFC), and without the line feed.
    let args = [
        "register",
        "fido2",
        "ada",
        "--label",
        "desk",
        "--discoverable",
        "true",
        "--pin-stdin",
        "--json",
    ];
    let output = fake.run_with_input(&args, "e\u{301}1234\n").await;
    assert_eq!(output.status.code(), Some(0));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&object["outcome"], &object["token"], &object["verb"]),
        (&json!("done"), &json!(KEY), &json!("register"))
    );
    let (member, call) = last(&fake);
    assert_eq!(member, "RegisterFido2");
    assert_eq!(call["pin"], "é1234");
    assert_eq!(call["device"], "/org/claviger/Claviger1/devices/1");
    assert_eq!(call["options"], json!({"label": "desk", "discoverable": true}));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("Touch the YubiKey") && told.contains("on USB port 1-4"),
        "{told}"
    );
    assert!(!told.contains('\u{1b}') && !told.contains('\u{7}'), "{told:?}");
}

#[tokio::test]
async fn a_pin_that_is_too_short_to_be_set_is_not_sent() {
    let fake = Fake::start().await;
    fake.take_pin_away();
    let output = fake
        .run_with_input(&["register", "fido2", "ada", "--pin-stdin"], "123\n")
        .await;
    assert_eq!(output.status.code(), Some(2));
    assert!(fake.calls().is_empty());
}

#[tokio::test]
async fn a_card_and_a_fob_are_registered() {
    let fake = Fake::start().await;
    fake.play(Play::OverBeforeReply(
        "done",
        vec![("token", s(KEY)), ("oath-name", s("corp:ada"))],
    ));
    let args = [
        "register",
        "oath-card",
        "ada",
        "--algorithm",
        "sha256",
        "--digits",
        "8",
        "--touch",
    ];
    assert_eq!(fake.json(&args).await.0, 0);
    let (member, call) = last(&fake);
    assert_eq!(
        (member.as_str(), &call["device"]),
        ("RegisterOathCard", &json!("/org/claviger/Claviger1/devices/2"))
    );
    assert_eq!(
        call["options"],
        json!({"algorithm": "SHA256", "digits": 8, "touch": true})
    );

    fake.play(Play::OverBeforeReply(
        "done",
        vec![("token", s(FOB)), ("offset-s", Field::X(-540))],
    ));
    let args = [
        "register",
        "fob",
        "bob",
        "--serial",
        "F-1",
        "--seed-stdin",
        "--period",
        "60",
        "755 224",
        "287082",
    ];
    let output = fake.run_with_input(&args, "GEZDGNBVGY3TQOJQ\n").await;
    assert_eq!(output.status.code(), Some(0));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("Its clock is 540 s slow.")
    );
    let (member, call) = last(&fake);
    assert_eq!(member, "RegisterFob");
    assert_eq!(call["seed"], "GEZDGNBVGY3TQOJQ\n");
    assert_eq!(call["codes"], json!(["755224", "287082"]));
    assert_eq!(call["options"], json!({"encoding": "base32", "period-s": 60}));
}

#[tokio::test]
async fn every_other_verb_sends_what_the_contract_says() {
    let fake = Fake::start().await;
    let cases: &[(&[&str], &str, Value)] = &[
        (
            &["test", FOB, "--code", "123 456"],
            "Test",
            json!({"token": FOB, "options": {"code": "123456"}}),
        ),
        (
            &["test", KEY, "--device", "1"],
            "Test",
            json!({"token": KEY, "options": {"device": "/org/claviger/Claviger1/devices/1"}}),
        ),
        (
            &["resync", FOB, "111111", "222222", "--beyond-bound"],
            "Resync",
            json!({"token": FOB, "codes": ["111111", "222222"], "options": {"beyond-bound": true}}),
        ),
        (
            &["resync", FOB, "111111", "222222", "--preview"],
            "PreviewResync",
            json!({"token": FOB, "codes": ["111111", "222222"], "options": {}}),
        ),
        (
            &["resync", FOB, "--undo"],
            "UndoResync",
            json!({"token": FOB, "options": {}}),
        ),
        (&["suspend", FOB], "Suspend", json!({"token": FOB, "options": {}})),
        (&["resume", FOB], "Resume", json!({"token": FOB, "options": {}})),
        (
            &["lost", "0000bbb2"],
            "ReportLost",
            json!({"token": FOB, "options": {}}),
        ),
        (
            &["revoke", KEY, "--reason", "leaver", "--absent", "--yes"],
            "Revoke",
            json!({"token": KEY, "reason": "leaver", "options": {"absent": true}}),
        ),
        (
            &["revoke", KEY, "--reason", "compromised", "--reset", "--yes"],
            "Revoke",
            json!({"token": KEY, "reason": "compromised", "options": {"reset": true}}),
        ),
        (
            &["discharge", "0000ccc3", "--collected"],
            "Discharge",
            json!({"obligation": OWED, "options": {"collected": true}}),
        ),
    ];
    for (args, member, arguments) in cases {
        let (code, object) = fake.json(args).await;
        assert_eq!((code, &object["outcome"]), (0, &json!("done")), "{args:?}");
        assert_eq!(last(&fake), ((*member).to_owned(), arguments.clone()), "{args:?}");
    }
}

#[tokio::test]
async fn a_completion_before_the_reply_is_not_lost() {
    let fake = Fake::start().await;
    // The signal is on the wire before the path of the operation; half of the runs would hang on a late subscription.
    for _ in 0..10 {
        fake.play(Play::OverBeforeReply("done", vec![("token", s(FOB))]));
        assert_eq!(fake.json(&["test", FOB, "--code", "123456"]).await.0, 0);
    }
}

/// Each piece of advice has a line of its own, and nothing in it can be taken for another.
#[tokio::test]
async fn advice_on_the_case_at_hand_is_a_line_each() {
    let fake = Fake::start().await;
    let advice = ["The clock stood still. Replace the fob.", "Or\nnot."].map(str::to_owned);
    fake.play(Play::TouchThen(
        "refused",
        vec![
            ("error", s("org.claviger.Error.CodeRejected")),
            ("message", s("the code was not accepted")),
            ("advice-desk", Field::List(advice.to_vec())),
        ],
    ));
    let output = fake
        .run_with_input(&["test", FOB, "--code", "123456", "--json"], "")
        .await;
    let told = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = told.lines().filter(|line| line.starts_with("claviger: ")).collect();
    assert_eq!(
        lines[..3],
        [
            "claviger: the code was not accepted",
            "claviger: The clock stood still. Replace the fob.",
            "claviger: Or\u{fffd}not."
        ],
        "{told}"
    );
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["message"], "the code was not accepted");
    assert_eq!(object["advice-desk"], json!(advice));
}

#[tokio::test]
async fn a_refusal_is_told_with_its_name_and_data() {
    let fake = Fake::start().await;
    fake.play(Play::TouchThen(
        "refused",
        vec![
            ("error", s("org.claviger.Error.PinInvalid")),
            ("message", s("the PIN is wrong")),
            ("tries-left", Field::U(7)),
        ],
    ));
    let output = fake
        .run_with_input(&["test", KEY, "--pin-stdin", "--json"], "0000")
        .await;
    assert_eq!(output.status.code(), Some(1));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["error"], "org.claviger.Error.PinInvalid");
    assert_eq!(
        (&object["tries-left"], &object["outcome"]),
        (&json!(7), &json!("refused"))
    );
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("the PIN is wrong (tries left: 7)")
    );
    assert_eq!(last(&fake).1["options"]["pin"], "0000");

    fake.play(Play::Refuse("DeviceBusy", "scdaemon uses it"));
    let (code, object) = fake.json(&["suspend", FOB]).await;
    assert_eq!(
        (code, object["error"].as_str().unwrap()),
        (1, "org.claviger.Error.DeviceBusy")
    );
}

#[tokio::test]
async fn what_remains_to_be_done_has_an_exit_code_of_its_own() {
    let fake = Fake::start().await;
    fake.play(Play::OverBeforeReply(
        "obliged",
        vec![("token", s(KEY)), ("obligation", s(OWED))],
    ));
    let args = ["revoke", KEY, "--reason", "lost", "--yes"];
    let (code, object) = fake.json(&args).await;
    assert_eq!(
        (code, &object["outcome"], &object["obligation"]),
        (6, &json!("obliged"), &json!(OWED))
    );
    let text = String::from_utf8(fake.run(&args).await.stdout).unwrap();
    assert!(text.contains(&format!("claviger discharge {OWED}")), "{text}");
}

#[tokio::test]
async fn denied_is_three_and_nothing_to_ask_on_is_two() {
    let fake = Fake::start().await;
    // Without a terminal nobody can confirm, type a code or a PIN.
    for args in [
        &["revoke", KEY, "--reason", "lost"][..],
        &["test", FOB],
        &["resync", FOB],
        &["register", "fido2", "ada"],
    ] {
        let mut command = tokio::process::Command::new("setsid");
        command
            .arg("-w")
            .arg(env!("CARGO_BIN_EXE_claviger"))
            .args(args)
            .env("CLAVIGER_BUS", &fake.address);
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("there is no terminal to ask on"), "{args:?}: {said}");
    }
    assert!(fake.calls().is_empty());
    assert_eq!(
        fake.run(&["resync", FOB, "123456"]).await.status.code(),
        Some(2),
        "one code"
    );
    assert_eq!(
        fake.run(&["revoke", FOB, "--reason", "lost", "--reset", "--yes"])
            .await
            .status
            .code(),
        Some(2)
    );
    fake.deny_everything();
    let (code, object) = fake.json(&["revoke", KEY, "--reason", "lost", "--yes"]).await;
    assert_eq!(
        (code, object["error"].as_str().unwrap()),
        (3, "org.freedesktop.DBus.Error.AccessDenied")
    );
}

/// Starts the client, waits until it asks for a touch, and interrupts it.
async fn interrupted(fake: &Fake, args: &[&str]) -> (Option<i32>, String, String) {
    let mut child = fake
        .client(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    tokio::time::timeout(PATIENCE, async {
        while !said.contains("Touch") {
            assert_ne!(
                err.read_line(&mut said).await.unwrap(),
                0,
                "it ended without asking: {said}"
            );
        }
    })
    .await
    .expect("it asks for a touch");
    kill(
        Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let output = tokio::time::timeout(PATIENCE, async {
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
        err.read_to_string(&mut said).await.unwrap();
        (child.wait().await.unwrap().code(), out)
    })
    .await
    .expect("it ends after the interrupt");
    (output.0, output.1, said)
}

#[tokio::test]
async fn an_interrupt_cancels_and_waits_for_the_outcome() {
    let fake = Fake::start().await;
    fake.play(Play::TouchUntilCancelled);
    let (code, out, said) = interrupted(&fake, &["test", KEY, "--json"]).await;
    assert_eq!(code, Some(5), "{said}");
    let object: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(object["error"], "org.claviger.Error.Cancelled");
}

#[tokio::test]
async fn an_interrupt_that_comes_too_late_reports_what_was_done() {
    let fake = Fake::start().await;
    fake.play(Play::TouchTooLate);
    let (code, out, said) = interrupted(&fake, &["test", KEY, "--json"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("past the point"), "{said}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["outcome"], "done");
}

#[tokio::test]
async fn the_timeout_cancels() {
    let fake = Fake::start().await;
    fake.play(Play::TouchUntilCancelled);
    let output = fake.run(&["test", KEY, "--timeout", "1"]).await;
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8(output.stderr).unwrap().contains("the time was up"));
}

#[tokio::test]
async fn a_daemon_that_dies_is_told_at_once() {
    let fake = Fake::start().await;
    fake.play(Play::Vanish);
    let output = fake.run(&["test", KEY]).await;
    assert_eq!(output.status.code(), Some(4));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("stopped while the operation ran")
    );
}
