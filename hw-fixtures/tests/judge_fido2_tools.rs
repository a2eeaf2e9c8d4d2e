//! Debian's `fido2-token`, `fido2-cred` and `fido2-assert` (libfido2) as judges, under umockdev.

mod judge;

use std::path::Path;

use hw_fixtures::front::Testbed;
use hw_fixtures::token::TokenSetup;
use hw_fixtures::{Plugged, Token};
use judge::{installed, succeed, testbed, told, typed};

const TOOLS: [&str; 3] = ["fido2-token", "fido2-cred", "fido2-assert"];
/// 32 bytes of client data hash and 16 of a user id, in base64.
const HASH: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const USER: &str = "ICEiIyQlJicoKSorLC0uLw==";

fn plug(bed: &std::sync::Arc<Testbed>, profile: &str) -> Plugged {
    bed.plug(&Token::of_profile(profile, TokenSetup::named(profile)).unwrap())
        .unwrap()
}

#[test]
fn lists_and_describes_every_profile() {
    let Some(bed) = testbed("fido2-token -L/-I").filter(|_| installed("fido2-token -L/-I", &TOOLS)) else {
        return;
    };
    let keys: Vec<_> = ["yubikey-5", "solo-2", "nitrokey-3", "fido20"]
        .map(|profile| plug(&bed, profile))
        .into();
    let list = succeed(&bed, "fido2-token", &["-L"]);
    assert_eq!(list.lines().count(), 4, "{list}");
    for key in &keys {
        assert!(list.contains(&format!("{}: vendor=", key.id())), "{list}");
        let info = succeed(&bed, "fido2-token", &["-I", key.id()]);
        for version in &key.token().profile().fido.as_ref().unwrap().versions {
            assert!(info.contains(version.as_str()), "{info}");
        }
        assert!(info.contains("pin retries: 8"), "{info}");
    }
    if judge::root("fido2-token -I as another user") {
        let nobody = [
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "fido2-token",
            "-I",
            keys[2].id(),
        ];
        assert!(succeed(&bed, "setpriv", &nobody).contains("pin retries: 8"));
    }
    let root = bed.root().to_owned();
    let (gone, kept) = (keys[0].id().to_owned(), keys[1].id().to_owned());
    let mut keys = keys.into_iter();
    keys.next().unwrap().unplug();
    let list = succeed(&bed, "fido2-token", &["-L"]);
    assert!(!list.contains(&gone) && list.contains(&kept), "{list}");
    drop(keys);
    assert_eq!(succeed(&bed, "fido2-token", &["-L"]), "");
    drop(bed);
    assert!(!root.exists(), "the testbed left {} behind", root.display());
}

#[test]
fn sets_and_changes_a_pin_and_meets_the_lock_out() {
    let Some(bed) = testbed("fido2-token -S/-C").filter(|_| installed("fido2-token -S/-C", &TOOLS)) else {
        return;
    };
    for profile in ["yubikey-5", "solo-2", "fido20"] {
        let key = plug(&bed, profile);
        let token = |lines: &[&str], arguments: &[&str]| typed(&bed, lines, "fido2-token", arguments);
        told("-S", &[], &token(&["1234", "1234"], &["-S", key.id()]));
        told("-C", &[], &token(&["1234", "123456", "123456"], &["-C", key.id()]));
        let words = ["PIN_INVALID", "PIN_INVALID", "PIN_AUTH_BLOCKED"];
        for word in words {
            let output = token(&["9999", "123456", "123456"], &["-C", key.id()]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(!output.status.success() && text.contains(word), "{profile}: {text}");
        }
        assert!(succeed(&bed, "fido2-token", &["-I", key.id()]).contains("pin retries: 5"));
        key.token().power_cycle();
        told("-C", &[], &token(&["123456", "1234", "1234"], &["-C", key.id()]));
        assert!(succeed(&bed, "fido2-token", &["-I", key.id()]).contains("pin retries: 8"));
    }
}

/// What a key's owner can change: rules for PINs, alwaysUv, enterprise attestation, fingers, names, and all of it by a reset.
#[test]
fn looks_after_a_key() {
    let name = "fido2-token -S, -D, -R";
    let Some(bed) = testbed(name).filter(|_| installed(name, &TOOLS)) else {
        return;
    };
    let pin = "804951";
    let key = plug(&bed, "fido23");
    let run = |lines: &[&str], arguments: &[&str]| {
        let output = typed(&bed, lines, "fido2-token", arguments);
        told("fido2-token", arguments, &output)
    };
    let own = |look: fn(&mut hw_fixtures::fido::Authenticator) -> bool| key.token().with_authenticator(look).unwrap();
    run(&[pin, pin], &["-S", key.id()]);
    run(&[pin], &["-S", "-a", key.id()]);
    assert!(succeed(&bed, "fido2-token", &["-I", key.id()]).contains("ep"));
    run(&[pin], &["-S", "-l", "6", key.id()]);
    assert!(own(|own| own.min_pin_length() == 6));
    run(&[pin], &["-S", "-m", "example.org,example.com", key.id()]);
    assert!(own(|own| own.min_pin_rps().len() == 2));
    run(&[pin], &["-S", "-u", key.id()]);
    assert!(own(|own| own.is_always_uv()));
    run(&[pin], &["-D", "-u", key.id()]);
    assert!(own(|own| !own.is_always_uv()));
    run(&[pin], &["-S", "-f", key.id()]);
    assert!(own(|own| own.wants_pin_change()));
    run(&[pin, "815947", "815947"], &["-C", key.id()]);
    assert!(own(|own| own.has_pin("815947") && !own.wants_pin_change()));
    let info = succeed(&bed, "fido2-token", &["-I", key.id()]);
    assert!(
        info.contains("maxlargeblob: 4096") && info.contains("minpinlen: 6"),
        "{info}"
    );
    key.token().power_cycle();
    run(&[], &["-R", key.id()]);
    assert!(own(|own| !own.has_pin("815947") && own.min_pin_length() == 4));
}

#[test]
fn enrols_names_and_removes_a_finger() {
    let name = "fido2-token -S -e";
    let Some(bed) = testbed(name).filter(|_| installed(name, &TOOLS)) else {
        return;
    };
    let pin = "804951";
    let key = plug(&bed, "bio-key");
    let run = |lines: &[&str], arguments: &[&str]| {
        let output = typed(&bed, lines, "fido2-token", arguments);
        told("fido2-token", arguments, &output)
    };
    run(&[pin, pin], &["-S", key.id()]);
    key.token().with_authenticator(|own| own.set_samples(&[0, 5, 0, 0, 0]));
    run(&[pin], &["-S", "-e", key.id()]);
    let listed = run(&[pin], &["-L", "-e", key.id()]);
    let line = listed.lines().find(|line| line.contains("(null)")).unwrap_or_default();
    let id = line.split(' ').nth(1).unwrap_or_default().to_owned();
    assert!(!id.is_empty(), "{listed}");
    run(&[pin], &["-S", "-e", "-i", &id, "-n", "thumb", key.id()]);
    assert!(run(&[pin], &["-L", "-e", key.id()]).contains("thumb"));
    assert!(succeed(&bed, "fido2-token", &["-I", key.id()]).contains("uv retries: 3"));
    run(&[pin], &["-D", "-e", "-i", &id, key.id()]);
    assert_eq!(key.token().with_authenticator(|own| own.finger_count()), Some(0));
}

#[test]
fn makes_and_verifies_credentials_and_assertions() {
    let name = "fido2-cred, fido2-assert";
    let Some(bed) = testbed(name).filter(|_| installed(name, &TOOLS)) else {
        return;
    };
    for profile in ["yubikey-5", "solo-2", "nitrokey-3", "fido20"] {
        let key = plug(&bed, profile);
        for pin in [None, Some("1234")] {
            if let Some(pin) = pin {
                told("-S", &[], &typed(&bed, &[pin, pin], "fido2-token", &["-S", key.id()]));
            }
            for resident in [false, true] {
                let directory = tempfile::tempdir().unwrap();
                round(&bed, key.id(), directory.path(), pin, resident);
            }
        }
        if key.token().profile().fido.as_ref().unwrap().credential_management {
            let list = typed(&bed, &["1234"], "fido2-token", &["-L", "-k", "example.org", key.id()]);
            let list = told("-L -k", &[], &list);
            // The second one replaced the first: the account is the same.
            assert_eq!(list.lines().filter(|line| line.contains("es256")).count(), 1, "{list}");
            let id = list
                .lines()
                .find(|line| line.contains("es256"))
                .unwrap()
                .split(' ')
                .nth(1)
                .unwrap();
            told(
                "-D",
                &[],
                &typed(&bed, &["1234"], "fido2-token", &["-D", "-i", id, key.id()]),
            );
            let rest = told(
                "-I -c",
                &[],
                &typed(&bed, &["1234"], "fido2-token", &["-I", "-c", key.id()]),
            );
            assert!(rest.contains("existing rk(s): 0"), "{rest}");
        }
    }
}

#[test]
fn a_key_of_u2f_alone_passes_the_same_round() {
    let name = "fido2-cred, fido2-assert on U2F";
    let Some(bed) = testbed(name).filter(|_| installed(name, &TOOLS)) else {
        return;
    };
    let key = plug(&bed, "u2f-key");
    let directory = tempfile::tempdir().unwrap();
    round(&bed, key.id(), directory.path(), None, false);
}

/// One credential from makeCredential to a verified assertion.
fn round(bed: &Testbed, node: &str, directory: &Path, pin: Option<&str>, resident: bool) {
    let file = |name: &str| directory.join(name).display().to_string();
    let lines: Vec<&str> = pin.into_iter().collect();
    let with = |program: &str, arguments: &[&str]| {
        let output = typed(bed, &lines, program, arguments);
        told(program, arguments, &output)
    };
    std::fs::write(file("request"), format!("{HASH}\nexample.org\nalice\n{USER}\n")).unwrap();
    let (request, made) = (file("request"), file("made"));
    let mut arguments = vec!["-M", "-i", &request, "-o", &made];
    if resident {
        arguments.push("-r");
    }
    if pin.is_some() {
        arguments.push("-v");
    }
    arguments.extend([node, "es256"]);
    with("fido2-cred", &arguments);
    let verified = file("verified");
    let mut arguments = vec!["-V", "-i", &made, "-o", &verified];
    if pin.is_some() {
        arguments.push("-v");
    }
    arguments.push("es256");
    succeed(bed, "fido2-cred", &arguments);
    let text = std::fs::read_to_string(&verified).unwrap();
    let (id, public) = text.split_once('\n').unwrap();
    std::fs::write(file("public"), public).unwrap();
    let allow = if resident { String::new() } else { format!("{id}\n") };
    std::fs::write(file("challenge"), format!("{HASH}\nexample.org\n{allow}")).unwrap();
    let (challenge, signed, public) = (file("challenge"), file("signed"), file("public"));
    let extra = match (resident, pin) {
        (true, Some(_)) => vec!["-r", "-v"],
        (true, None) => vec!["-r", "-p"],
        (false, Some(_)) => vec!["-v"],
        (false, None) => vec!["-p"],
    };
    with(
        "fido2-assert",
        &[&["-G", "-i", &challenge, "-o", &signed], extra.as_slice(), &[node]].concat(),
    );
    let flag = if pin.is_some() { "-v" } else { "-p" };
    succeed(bed, "fido2-assert", &["-V", flag, "-i", &signed, &public, "es256"]);
}
