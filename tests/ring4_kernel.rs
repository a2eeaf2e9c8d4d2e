//! Ring 4: USB keys as the stock Debian kernel sees them (hid, hidraw, udev, unplugging) and a card behind the real libccid,
//! under the daemon as it is installed. One guest for all cases; each begins and ends with nothing plugged in.
#[path = "harness/guest/mod.rs"]
mod guest;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use guest::{Guest, Image, quoted, say};
use hw_fixtures::fault::{Direction, Fault, FaultKind};
use hw_fixtures::front::Beside;
use hw_fixtures::token::TokenSetup;
use hw_fixtures::{Plugged, Token};

const PIN: &str = "271828";
/// What a key or card that has left is answered with, depending on who notices first.
const AWAY: &[&str] = &["DeviceGone", "DeviceAbsent", "UnknownDevice"];

type Case = (&'static str, fn(&Guest));

const CASES: &[Case] = &[
    ("the rules give a key's node to the daemon and no other", rules),
    ("a key through its life", life),
    (
        "unplugged in the middle and plugged in elsewhere, twenty times",
        twenty_plugs,
    ),
    ("a node that another key has taken over", reused_node),
    ("a reset within the power-up window, by a replug", reset),
    ("a key that is a card, too, is one device", two_faces),
    ("a card behind libccid, taken out in the middle", card),
];

#[test]
fn tokens_on_a_stock_kernel() {
    let begun = Instant::now();
    let Some(image) = Image::prepare() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let guest = Guest::boot(&image, &guest::disk(scratch.path()));
    let up = begun.elapsed();
    let mut failed = Vec::new();
    for (name, case) in CASES {
        let begun = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| case(&guest))).is_ok();
        let word = if passed { "ok" } else { "FAILED" };
        say(&format!(
            "ring 4: {name}: {word} in {:.0} s",
            begun.elapsed().as_secs_f64()
        ));
        if !passed {
            failed.push(*name);
        }
    }
    if failed.is_empty() {
        let verified = guest.claviger(&["audit", "verify"], "").done();
        assert_eq!(verified.said["intact"], true, "{}", verified.said);
    }
    let log = guest.run("cat /run/ring4/clavigerd.log").done();
    if !failed.is_empty() {
        println!("--- clavigerd said ---\n{log}");
    }
    assert!(!log.contains("panicked"), "the daemon panicked:\n{log}");
    assert!(!log.contains(PIN), "a PIN in the log");
    say(&format!(
        "ring 4: {} cases in one boot, {:.0} s, {:.0} s of it until the daemon was ready ({})",
        CASES.len(),
        begun.elapsed().as_secs_f64(),
        up.as_secs_f64(),
        image.programs
    ));
    assert!(failed.is_empty(), "failed: {failed:?}");
}

fn key(profile: &str, serial: &str, seed: u64) -> Token {
    let setup = TokenSetup {
        serial: Some(serial.to_owned()),
        seed: Some(seed),
        ..TokenSetup::named(serial)
    };
    Token::of_profile(profile, setup).expect("a token")
}

fn path(device: &serde_json::Value) -> &str {
    device["path"].as_str().expect("a path")
}

fn register(guest: &Guest, subject: &str, device: &str) -> String {
    let arguments = ["register", "fido2", subject, "--pin-stdin", "--device", device];
    guest.claviger(&arguments, PIN).done().text("token").to_owned()
}

fn unplug(guest: &Guest, plugged: Plugged, path: &str) {
    let from = guest.now();
    plugged.unplug();
    guest.left(from, path);
}

/// The hidraw nodes: name, owner's group, mode, tags, interface number.
fn nodes(guest: &Guest) -> Vec<Vec<String>> {
    let script = "udevadm settle; for n in /dev/hidraw*; do \
        echo \"${n#/dev/} $(stat -c '%G %a' $n) \
        $(udevadm info --query=property --property=CURRENT_TAGS --value $n | grep -c :uaccess:) \
        $(udevadm info --attribute-walk $n | sed -n 's/.*ATTRS{bInterfaceNumber}==\"\\(..\\)\".*/\\1/p' | head -n 1)\"; done";
    let listed = guest.run(script).done();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    listed.lines().map(words).collect()
}

/// The guest has a keyboard; the key is a keyboard, too, by another interface.
fn rules(guest: &Guest) {
    let before = nodes(guest);
    assert_eq!(before.len(), 1, "QEMU's keyboard: {before:?}");
    let token = key("yubikey-5", "RULES", 40);
    let keyboard = Beside {
        keyboard: true,
        card: false,
    };
    let from = guest.now();
    let plugged = guest.keys.plug_at(&token, 0, keyboard).expect("plugged in");
    let device = guest.arrived(from);
    let after = nodes(guest);
    assert_eq!(after.len(), 3, "{after:?}");
    for node in &after {
        let [name, group, mode, tagged, interface] = &node[..] else {
            panic!("{node:?}")
        };
        // The key's second interface; its first is its keyboard.
        let ours = *name != before[0][0] && interface == "01";
        let wanted = if ours {
            ("claviger", "660", "1")
        } else {
            ("root", "600", "0")
        };
        assert_eq!(
            (group.as_str(), mode.as_str(), tagged.as_str()),
            wanted,
            "{name}: {after:?}"
        );
    }
    let given = guest.run("find /dev -group claviger").done();
    assert_eq!(
        given.lines().count(),
        1,
        "more than the key's node was given away: {given}"
    );
    unplug(guest, plugged, path(&device));
}

fn life(guest: &Guest) {
    let token = key("nitrokey-3", "LIFE", 41);
    let (plugged, device) = guest.plug(&token, 0);
    let place = device["place"].as_str().expect("a place");
    assert!(place.starts_with("USB port ") && place.ends_with("-1"), "{place}");
    assert_eq!(device["vendor-id"], 0x20a0, "{device}");
    let id = register(guest, "arthur", path(&device));
    let record = guest.claviger(&["show", &id], "").done();
    assert!(record.said.to_string().contains("LIFE"), "{}", record.said);
    guest.claviger(&["test", &id], "").done();
    let revoke = ["revoke", &id, "--reason", "leaver", "--yes", "--pin-stdin"];
    guest.claviger(&revoke, PIN).done();
    assert_eq!(token.with_authenticator(|key| key.resident_count()), Some(0));
    unplug(guest, plugged, path(&device));
}

fn twenty_plugs(guest: &Guest) {
    let token = key("nitrokey-3", "TWENTY", 42);
    let (mut plugged, mut device) = guest.plug(&token, 0);
    let id = register(guest, "ford", path(&device));
    plugged.record();
    guest.claviger(&["test", &id], "").done();
    let frames = plugged.frames().len() as u64;
    assert!(frames >= 4, "{frames}");
    let (mut gone, mut places) = (0, std::collections::BTreeSet::new());
    for round in 0..20_u64 {
        // At a frame of its own, all the way through the operation.
        let frame = 1 + round * frames / 20;
        plugged.record();
        plugged.inject(Fault::at(frame, FaultKind::Unplug));
        let from = guest.now();
        guest.claviger(&["test", &id], "").refused(AWAY);
        gone += 1;
        guest.left(from, path(&device));
        assert!(plugged.wait_unplugged(guest::PATIENCE), "round {round}");
        drop(plugged);
        token.clear_faults();
        let before = path(&device).to_owned();
        let next = usize::try_from(round).expect("small") + 1;
        (plugged, device) = guest.plug(&token, next % 4);
        assert_ne!(path(&device), before, "a path was given twice");
        places.insert(device["place"].to_string());
        guest.claviger(&["test", &id], "").done();
    }
    say(&format!(
        "ring 4: {gone} unplugs over {frames} frames, {} ports",
        places.len()
    ));
    assert_eq!(places.len(), 4, "{places:?}");
    unplug(guest, plugged, path(&device));
}

fn node_of(guest: &Guest) -> String {
    guest
        .run("udevadm settle; find /dev -group claviger")
        .done()
        .trim()
        .to_owned()
}

/// Twice: the daemon has time to notice, and the daemon sleeps while it happens.
fn reused_node(guest: &Guest) {
    let (one, two) = (key("nitrokey-3", "FIRST", 43), key("nitrokey-3", "SECOND", 44));
    let (plugged, device) = guest.plug(&one, 1);
    let id = register(guest, "trillian", path(&device));
    let (first, node) = (path(&device).to_owned(), node_of(guest));
    unplug(guest, plugged, &first);
    let (other, second) = guest.plug(&two, 1);
    assert_eq!(node_of(guest), node, "the kernel gave another number");
    let (own_id, credentials) = (register(guest, "zaphod", path(&second)), || {
        two.with_authenticator(|key| key.resident_count())
    });
    guest.claviger(&["test", &id, "--device", &first], "").refused(AWAY);
    guest
        .claviger(&["test", &id], "")
        .refused(&["DeviceAbsent", "DeviceMismatch"]);
    guest
        .claviger(&["test", &id, "--device", path(&second)], "")
        .refused(&["DeviceMismatch"]);
    assert_eq!(credentials(), Some(1));
    unplug(guest, other, path(&second));

    let (plugged, device) = guest.plug(&one, 1);
    assert_eq!(node_of(guest), node, "the kernel gave another number");
    guest.claviger(&["test", &id], "").done();
    // A second token on it: which of the two requests is looked at first is nobody's to say.
    let lost = register(guest, "eddie", path(&device));
    guest.run("kill -STOP $(pidof clavigerd)").done();
    let from = guest.now();
    plugged.unplug();
    guest.run(&format!("udevadm wait --removed {node}")).done();
    let other = guest.keys.plug_at(&two, 1, Beside::default()).expect("plugged in");
    guest.run(&format!("udevadm wait {node}")).done();
    other.record();
    // Both are to wait in the daemon's socket before it looks at anything. That they do so is told by nothing: once both clients
    // run, they get a second.
    let arguments = ["test", &id, "--device", path(&device)];
    let asked = guest.begin(&arguments, "");
    let revoke = [
        "revoke",
        &lost,
        "--reason",
        "lost",
        "--yes",
        "--pin-stdin",
        "--device",
        path(&device),
    ];
    let revoking = guest.begin(&revoke, PIN);
    guest
        .run("until [ $(pidof claviger | wc -w) -ge 3 ]; do sleep 0.1; done; sleep 1")
        .done();
    guest.run("kill -CONT $(pidof clavigerd)").done();
    asked.answer().refused(AWAY);
    // The binding dies whatever is plugged in; its credential is owed by the key that holds it.
    let revoked = revoking.answer();
    assert_eq!(
        (revoked.code, revoked.text("outcome")),
        (6, "obliged"),
        "{}",
        revoked.said
    );
    assert_eq!(credentials(), Some(1), "the wrong key was written to");
    let second = guest.told(from, "the other key", |event| event["event"] == "device-added");
    let second = path(&second["device"]).to_owned();
    guest.claviger(&["test", &own_id, "--device", &second], "").done();
    unplug(guest, other, &second);
    assert_eq!(
        one.with_authenticator(|key| key.resident_count()),
        Some(2),
        "it was away"
    );
}

fn reset(guest: &Guest) {
    let token = key("nitrokey-3", "RESET", 45);
    let (plugged, device) = guest.plug(&token, 2);
    let id = register(guest, "marvin", path(&device));
    guest.claviger(&["mark", &id, "organisation"], "").done();
    // Its window has closed long ago; the person's other passkeys are on it, too.
    token.advance(Duration::from_secs(60));
    let client = format!(
        "printf %s {} | claviger --timeout 110 revoke {} --reason leaver --reset --yes --pin-stdin 2>reset.told",
        quoted(PIN),
        quoted(&id)
    );
    let client = guest.start(&client);
    guest.run("until grep -qi plug reset.told; do sleep 0.1; done").done();
    println!("{}", guest.run("cat reset.told").out);
    unplug(guest, plugged, path(&device));
    let (plugged, device) = guest.plug(&token, 3);
    let said = client.end();
    assert_eq!(said.code, 0, "{} {}", said.out, guest.run("cat reset.told").out);
    assert_eq!(token.with_authenticator(|key| key.resident_count()), Some(0));
    let owed = guest.claviger(&["obligations"], "").done();
    assert!(!owed.said.to_string().contains(&id), "{}", owed.said);
    unplug(guest, plugged, path(&device));
}

/// Both faces are interfaces of one USB device; the card's comes by libccid and pcscd, and only the reader's channel id
/// (`SCARD_ATTR_CHANNEL_ID`: bus and address) tells that they belong together.
fn two_faces(guest: &Guest) {
    let token = key("yubikey-5", "BOTH", 48);
    let from = guest.now();
    let both = Beside {
        keyboard: true,
        card: true,
    };
    let plugged = guest.keys.plug_at(&token, 0, both).expect("plugged in");
    let first = guest.arrived(from);
    // Either the reader was quicker and it came with both, or the second joins.
    guest.told(from, "its second face", |event| {
        [
            &event["device"]["faces"],
            &event["changed"]["Faces"],
            &event["changed"]["faces"],
        ]
        .iter()
        .any(|faces| faces.as_array().is_some_and(|faces| faces.len() == 2))
    });
    let devices = guest.claviger(&["devices"], "").done();
    let devices = devices.said["devices"].as_array().expect("devices");
    assert_eq!(devices.len(), 1, "two devices: {devices:?}");
    assert_eq!(devices[0]["faces"], serde_json::json!(["hid", "card"]), "{devices:?}");
    let place = devices[0]["place"].as_str().expect("a place");
    assert!(place.starts_with("USB port "), "{place}");
    let device = path(&devices[0]).to_owned();
    assert_eq!(device, path(&first));
    // Each face does its work.
    let by_key = register(guest, "deep", &device);
    let by_card = ["register", "oath-card", "thought", "--device", &device];
    let by_card = guest.claviger(&by_card, "").done().text("token").to_owned();
    guest.claviger(&["test", &by_key], "").done();
    guest.claviger(&["test", &by_card], "").done();
    unplug(guest, plugged, &device);
    guest.claviger(&["test", &by_card], "").refused(AWAY);
}

fn card(guest: &Guest) {
    let token = Token::of_profile("oath-card", TokenSetup::named("card")).expect("a card");
    let from = guest.now();
    let mut inserted = guest.insert(&token);
    let mut device = guest.arrived(from);
    let place = device["place"].as_str().expect("a place");
    assert!(place.starts_with("reader ") && place.contains("CCID"), "{place}");
    assert_eq!(device["faces"][0], "card", "{device}");
    let id = guest
        .claviger(&["register", "oath-card", "slartibartfast", "--serial", "OC-4"], "")
        .done()
        .text("token")
        .to_owned();
    inserted.record();
    guest.claviger(&["test", &id], "").done();
    let frames = inserted.frames();
    // Every command of the test: taken out when the card has it and has not answered.
    let commands = (1..).zip(&frames).filter(|(_, way)| **way == Direction::Out);
    let commands: Vec<u64> = commands.map(|(frame, _)| frame).collect();
    assert!(!commands.is_empty());
    for frame in &commands {
        inserted.record();
        inserted.inject(Fault::at(*frame, FaultKind::Unplug));
        let from = guest.now();
        guest.claviger(&["test", &id], "").refused(AWAY);
        guest.left(from, path(&device));
        drop(inserted);
        token.clear_faults();
        let from = guest.now();
        inserted = guest.insert(&token);
        device = guest.arrived(from);
        guest.claviger(&["test", &id], "").done();
    }
    say(&format!("ring 4: taken out at each of {} commands", commands.len()));
    guest
        .claviger(&["revoke", &id, "--reason", "damaged", "--yes"], "")
        .done();
    assert_eq!(token.with_card(|card| card.credential_count()), Some(0));
    unplug(guest, inserted, path(&device));
}
