//! Verbs that only read: their JSON, their exit codes, what reaches a terminal.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::fake::{FOB, Fake, KEY, OWED, PATIENCE, obligation_seen};

#[tokio::test]
async fn devices_are_listed() {
    let fake = Fake::start().await;
    let (code, object) = fake.json(&["devices"]).await;
    assert_eq!(code, 0);
    let key = json!({"device": 1, "path": "/org/claviger/Claviger1/devices/1", "name": "YubiKey 5 NFC", "place": "USB port 1-4",
                     "vendor-id": 0x1050, "product-id": 0x0407, "faces": ["hid"], "reality": "hardware", "state": "ready"});
    assert_eq!(object["devices"][0], key);
    assert_eq!(object["devices"].as_array().unwrap().len(), 2);
    let text = String::from_utf8(fake.run(&["devices"]).await.stdout).unwrap();
    assert!(text.contains("YubiKey 5 NFC") && text.contains("1050:0407"), "{text}");
}

#[tokio::test]
async fn a_hostile_name_reaches_no_terminal() {
    let fake = Fake::start_with_name("\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}Key\r\nfake line").await;
    for args in [&["devices"][..], &["show", "1"], &["tokens"], &["show", KEY]] {
        let output = fake.run(args).await;
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(
            !text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'),
            "{args:?}: {text:?}"
        );
        assert!(
            !text.lines().any(|line| line.starts_with("fake line")),
            "{args:?}: {text:?}"
        );
    }
    // JSON escapes instead of cleaning: a program gets what the device said.
    let (_, object) = fake.json(&["devices"]).await;
    assert!(object["devices"][0]["name"].as_str().unwrap().starts_with("\u{1b}[2J"));
}

#[tokio::test]
async fn tokens_turn_pages_and_filter() {
    let fake = Fake::start().await;
    let (code, all) = fake.json(&["tokens"]).await;
    assert_eq!((code, all["tokens"].as_array().unwrap().len()), (0, 3));
    let (_, fobs) = fake.json(&["tokens", "--kind", "fob"]).await;
    assert_eq!(fobs["tokens"].as_array().unwrap().len(), 1);
    assert_eq!(fobs["tokens"][0]["id"], FOB);
    assert_eq!(fobs["tokens"][0]["created-ms"], 1000);
    assert_eq!(fake.run(&["tokens", "--kind", "spoon"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn a_token_is_found_by_a_piece_of_its_id() {
    let fake = Fake::start().await;
    for piece in [KEY, "01890000aaaa", "01890000-aaaa", "00aaa1", "00AAA1"] {
        let (code, token) = fake.json(&["show", piece]).await;
        assert_eq!((code, &token["id"]), (0, &json!(KEY)), "{piece}");
    }
    let (code, error) = fake.json(&["show", "018900"]).await;
    assert_eq!((code, error["error"].as_str().unwrap()), (2, "claviger.Usage"));
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("fits 3 tokens") && message.contains(KEY) && message.contains(FOB),
        "{message}"
    );
    assert_eq!(fake.json(&["show", "0189aa"]).await.0, 2, "no such token");
    assert_eq!(fake.json(&["show", "token1"]).await.0, 2, "not hexadecimal");
    let (code, error) = fake.json(&["show", "01890000-0000-7000-8000-000000000000"]).await;
    assert_eq!(
        (code, error["error"].as_str().unwrap()),
        (1, "org.claviger.Error.UnknownToken")
    );
}

#[tokio::test]
async fn a_device_is_shown_with_what_it_says_of_itself() {
    let fake = Fake::start().await;
    let (code, device) = fake.json(&["show", "1"]).await;
    assert_eq!(code, 0);
    assert_eq!(device["serial"], "123");
    assert_eq!(device["fido"]["pin-retries"], 8);
    assert_eq!(fake.run(&["show", "7"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn obligations_and_the_journal() {
    let fake = Fake::start().await;
    let (code, owed) = fake.json(&["obligations"]).await;
    assert_eq!((code, &owed["obligations"][0]["id"]), (0, &json!(OWED)));
    let (code, report) = fake.json(&["audit", "verify"]).await;
    assert_eq!(
        (code, &report["intact"], &report["entries"]),
        (0, &json!(true), &json!(5))
    );
    let (code, log) = fake.json(&["audit", "log"]).await;
    assert_eq!((code, log["entries"].as_array().unwrap().len()), (0, 1500));
    let (_, log) = fake.json(&["audit", "log", "--after", "10", "--limit", "3"]).await;
    let numbers: Vec<u64> = log["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [11, 12, 13]);
    fake.break_journal();
    let (code, report) = fake.json(&["audit", "verify"]).await;
    assert_eq!((code, &report["findings"][0]["what"]), (7, &json!("was edited")));
    let text = String::from_utf8(fake.run(&["audit", "verify"]).await.stdout).unwrap();
    assert!(
        text.contains("NOT intact") && text.contains("entry 3") && text.contains("was edited"),
        "{text}"
    );
}

#[tokio::test]
async fn nobody_there_and_not_allowed_are_told_apart() {
    let fake = Fake::start().await;
    fake.deny_everything();
    let (code, error) = fake.json(&["tokens"]).await;
    assert_eq!(
        (code, error["error"].as_str().unwrap()),
        (3, "org.freedesktop.DBus.Error.AccessDenied")
    );
    fake.connection.release_name("org.claviger.Claviger1").await.unwrap();
    let (code, error) = fake.json(&["tokens"]).await;
    assert_eq!((code, error["error"].as_str().unwrap()), (4, "claviger.Unreachable"));
    let (code, _) = fake.json(&["--bus", "unix:path=/nonexistent", "tokens"]).await;
    assert_eq!(code, 4);
}

#[tokio::test]
async fn a_daemon_that_is_starting_is_waited_for() {
    let fake = Fake::start().await;
    fake.set_ready(false).await;
    let mut child = fake
        .client(&["devices", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let early = tokio::time::timeout(std::time::Duration::from_millis(300), child.wait()).await;
    assert!(early.is_err(), "it does not answer while the daemon is starting");
    fake.set_ready(true).await;
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it goes on");
    assert_eq!(status.unwrap().code(), Some(0));
}

#[tokio::test]
async fn watch_tells_what_comes_and_goes() {
    let fake = Fake::start().await;
    let mut child = fake
        .client(&["watch", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || -> Value {
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .expect("a line comes")
            .unwrap()
            .unwrap();
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(next().await["event"], "device-present");
    assert_eq!(next().await["device"]["device"], 2);
    fake.plug_third().await;
    let added = next().await;
    assert_eq!(
        (&added["event"], &added["device"]["name"]),
        (&json!("device-added"), &json!("Late"))
    );
    obligation_seen(&fake).await;
    let seen = next().await;
    assert_eq!(
        (&seen["event"], &seen["obligation"]),
        (&json!("obligation-seen"), &json!(OWED))
    );
    fake.unplug_third().await;
    let removed = next().await;
    assert_eq!(
        (&removed["event"], &removed["device"]),
        (&json!("device-removed"), &json!(3))
    );
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(
        tokio::time::timeout(PATIENCE, child.wait())
            .await
            .unwrap()
            .unwrap()
            .code(),
        Some(0)
    );
}

#[tokio::test]
async fn the_doctor_reports_what_the_daemon_knows() {
    let fake = Fake::start().await;
    let (code, report) = fake.json(&["doctor"]).await;
    let checks = report["checks"].as_array().unwrap();
    let find = |about: &str| checks.iter().filter(|c| c["about"] == about).collect::<Vec<_>>();
    assert_eq!(find("daemon")[0]["grade"], "OK");
    assert_eq!(find("polkit")[0]["grade"], "SKIP", "session mode asks no polkit");
    assert_eq!(
        (&find("obligations")[0]["grade"], &find("obligations")[0]["mend"]),
        (&json!("WARN"), &json!("claviger obligations"))
    );
    assert_eq!(report["status"]["ledger"], "sqlite, 3 tokens");
    assert!(!find("cards").is_empty() && !find("clock").is_empty() && !find("FIDO keys").is_empty());
    assert_eq!(code, 7);
    fake.connection.release_name("org.claviger.Claviger1").await.unwrap();
    let (code, report) = fake.json(&["doctor"]).await;
    assert_eq!(
        (code, &report["checks"][0]["grade"], &report["worst"]),
        (7, &json!("FAIL"), &json!("FAIL"))
    );
}

#[tokio::test]
async fn a_second_opinion_on_a_key_the_kernel_does_not_know_is_a_finding() {
    let fake = Fake::start().await;
    let (code, report) = fake.json(&["doctor", "--second-opinion", "1"]).await;
    assert_eq!(code, 7);
    let check = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["about"] == "second opinion")
        .unwrap();
    assert_eq!(check["grade"], "FAIL");
    assert!(check["finding"].as_str().unwrap().contains("1050:0407"), "{check}");
    assert_eq!(
        fake.json(&["doctor", "--second-opinion", "2"]).await.0,
        2,
        "a card has no hidraw face"
    );
}

#[test]
fn pages_and_completions_come_from_the_same_source() {
    let dir = tempfile::tempdir().unwrap();
    for (what, files) in [
        (
            "man",
            &["claviger.1", "claviger-register-fob.1", "claviger-doctor.1"][..],
        ),
        ("completions", &["claviger.bash", "_claviger", "claviger.fish"]),
    ] {
        let run = |args: &[&str]| {
            std::process::Command::new(env!("CARGO_BIN_EXE_claviger"))
                .args(args)
                .status()
                .unwrap()
        };
        assert!(run(&["generate", what, dir.path().to_str().unwrap()]).success());
        for file in files {
            let text = std::fs::read_to_string(dir.path().join(file)).unwrap();
            assert!(text.contains("claviger"), "{file}");
            assert!(!text.contains("second-opinion  "), "{file} shows a hidden verb");
        }
    }
    let page = std::fs::read_to_string(dir.path().join("claviger.1")).unwrap();
    assert!(page.contains("an obligation remains"), "exit codes are on the page");
    assert!(!dir.path().join("claviger-second-opinion.1").exists());
}

/// `man/` is what the program writes: after a change run `claviger generate man man`.
#[test]
fn the_pages_in_the_tree_are_current() {
    let dir = tempfile::tempdir().unwrap();
    let mut generate = std::process::Command::new(env!("CARGO_BIN_EXE_claviger"));
    assert!(
        generate
            .args(["generate", "man"])
            .arg(dir.path())
            .status()
            .unwrap()
            .success()
    );
    let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let mut count = 0;
    for page in std::fs::read_dir(dir.path()).unwrap() {
        let page = page.unwrap();
        let kept = std::fs::read_to_string(kept.join(page.file_name())).unwrap_or_default();
        let new = std::fs::read_to_string(page.path()).unwrap();
        assert!(kept == new, "man/{} is not current", page.file_name().display());
        count += 1;
    }
    assert!(count > 15);
}
