//! `examples/desk.py` does what it says.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::json;

use crate::fake::{FOB, Fake, Field, KEY, PATIENCE, Play, s};

/// Runs the example; none, with one visible line, where Python or its D-Bus module is missing.
async fn desk(fake: &Fake, args: &[&str]) -> Option<Output> {
    let probe = std::process::Command::new("/usr/bin/python3")
        .args(["-c", "import dbus, gi"])
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("example client: skipped, no /usr/bin/python3 with python3-dbus and python3-gi\n"),
        );
        return None;
    }
    let mut command = tokio::process::Command::new("/usr/bin/python3");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/desk.py"))
        .args(args);
    command
        .env("DBUS_SESSION_BUS_ADDRESS", &fake.address)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Some(
        tokio::time::timeout(PATIENCE, command.output())
            .await
            .expect("the example ends")
            .unwrap(),
    )
}

#[tokio::test]
async fn the_example_lists_registers_tests_and_explains() {
    let fake = Fake::start_with_name("Key\u{1b}[2J").await;
    let Some(listed) = desk(&fake, &["devices"]).await else {
        return;
    };
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains("Key?[2J  at USB port 1-4  (ready)"), "{text}");

    let mut seed = tempfile::NamedTempFile::new().unwrap();
    seed.write_all(b"GEZDGNBVGY3TQOJQ\n").unwrap();
    let path = seed.path().to_str().unwrap();
    fake.play(Play::OverBeforeReply("done", vec![("token", s(FOB))]));
    let done = desk(&fake, &["register-fob", "bob", "F-1", path, "755224", "287082"])
        .await
        .unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(String::from_utf8(done.stdout).unwrap().contains(FOB));
    let (member, call) = fake.calls().pop().unwrap();
    assert_eq!(
        (member.as_str(), &call["seed"]),
        ("RegisterFob", &json!("GEZDGNBVGY3TQOJQ\n"))
    );
    assert_eq!(call["codes"], json!(["755224", "287082"]));

    let refused = vec![
        ("error", s("org.claviger.Error.CodeRejected")),
        ("message", s("the code was not accepted")),
    ];
    fake.play(Play::TouchThen("refused", refused));
    let said = desk(&fake, &["test", FOB, "--code", "000000"]).await.unwrap();
    let text = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(
        text.contains("the code was not accepted") && text.contains("resync") && text.contains("CodeRejected"),
        "{text}"
    );

    fake.play(Play::TouchThen(
        "obliged",
        vec![("obligation", s(KEY)), ("sign-count", Field::U(3))],
    ));
    assert_eq!(
        desk(&fake, &["revoke", KEY, "lost"]).await.unwrap().status.code(),
        Some(0)
    );
    fake.deny_everything();
    let denied = desk(&fake, &["revoke", KEY, "lost"]).await.unwrap();
    assert!(
        String::from_utf8(denied.stderr)
            .unwrap()
            .contains("Your account lacks the permission")
    );
}
