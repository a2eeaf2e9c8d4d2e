//! `python-fido2`, which comes with `ykman`, as the host of keys on hidraw, under umockdev. On a reader: `judge_ykman.rs`.

mod judge;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use hw_fixtures::token::TokenSetup;
use hw_fixtures::{Token, TouchMode};
use judge::{among, testbed};

/// PIN, credentials, assertions, passkeys, rules for PINs, fingers, large blobs, a key that wants to be unplugged, its reset and a wait for a touch
/// that is cancelled, as far as each key has them; and U2F with the one that has nothing else.
#[test]
fn python_fido2_is_the_host_of_keys_on_hidraw() {
    let name = "python-fido2 over HID";
    let Some(bed) = testbed(name) else { return };
    let Some(programs) = judge::pypi(name) else { return };
    let python = programs.join("python").display().to_string();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python_host.py");
    for profile in ["u2f-key", "fido20", "solo-2", "yubikey-5", "fido23", "bio-key"] {
        let token = Token::of_profile(profile, TokenSetup::named("key")).unwrap();
        token.with_authenticator(|own| own.set_samples(&[0, 5, 0, 0, 0]));
        let plugged = bed.plug(&token).unwrap();
        let mut host = among(&bed, &python)
            .arg(&script)
            .arg("hid")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut typed = host.stdin.take().unwrap();
        let mut said = Vec::new();
        for line in BufReader::new(host.stdout.take().unwrap()).lines().map(Result::unwrap) {
            match line.as_str() {
                "unplug" => token.power_cycle(),
                "asked to touch" => {
                    token.set_touch_mode(TouchMode::Never);
                }
                _ => {}
            }
            // It may have ended: its last line asks nothing.
            let _ = typed.write_all(b"\n");
            said.push(line);
        }
        let ended = host.wait().unwrap();
        let done = said.last().is_some_and(|line| line.starts_with("done"));
        assert!(ended.success() && done, "{profile}: {ended}, {said:?}");
        let resets = said.iter().filter(|line| *line == "unplug").count();
        assert_eq!(resets, if profile == "u2f-key" { 0 } else { 2 }, "{profile}: {said:?}");
        assert_eq!(
            token.with_authenticator(|own| own.resident_count()).unwrap_or(0),
            0,
            "{profile}"
        );
        plugged.unplug();
    }
}
