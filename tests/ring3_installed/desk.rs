//! The main job on all three kinds of token, as somebody of the help desk under the rules we ship, with an administrator who types
//! a password where the rules want one; and the same for somebody who may nothing.

use std::thread::sleep;
use std::time::Duration;

use super::machine::{Machine, Said};

/// Simulated tokens by ways that users have: a key by the virtual link, a card in a reader of the real pcscd, a fob.
pub const WORLD: &str = r#"
seed = 3
[[token]]
name = "key"
profile = "nitrokey-3"
[[token]]
name = "card"
profile = "oath-card"
front = "vpcd"
[[token]]
name = "fob"
profile = "fob-sha1"
serial = "10000001"
offset_s = -540.0
"#;

/// The machine has no time service. Its host keeps the clock.
pub const CONFIGURATION: &str = r#"
[virtual]
socket = "/run/claviger/virtual.sock"
[clock]
kept-from-outside = true
[authority]
policy = "off"
"#;

pub const HELP_DESK: &str = "helga";
pub const STRANGER: &str = "mallory";
const ADMINISTRATOR: &str = "ada";
const PASSWORD: &str = "of the administrator";
pub const PIN: &str = "248163";

/// People, rules, configuration, tokens: what an administrator sets up after the package.
pub fn open() -> Option<Machine> {
    let machine = Machine::installed()?;
    set_up(&machine);
    Some(machine)
}

pub fn set_up(machine: &Machine) {
    for person in [HELP_DESK, STRANGER, ADMINISTRATOR] {
        machine
            .sh(&format!("useradd --create-home --shell /bin/bash {person}"))
            .done();
    }
    machine
        .sh(&format!(
            "usermod -aG claviger-helpdesk {HELP_DESK} && usermod -aG sudo {ADMINISTRATOR} && \
             echo '{ADMINISTRATOR}:{PASSWORD}' | chpasswd && \
             cp /usr/share/doc/claviger/examples/50-claviger-helpdesk.rules /etc/polkit-1/rules.d/"
        ))
        .done();
    machine.put("/etc/claviger/clavigerd.toml", CONFIGURATION.as_bytes(), 0o644);
    machine.put("/root/world.toml", WORLD.as_bytes(), 0o644);
    machine.put(&format!("/home/{HELP_DESK}/pin"), PIN.as_bytes(), 0o644);
}

/// Starts the daemon as its users do, by calling it, and plugs the tokens in.
pub fn plug_in(machine: &Machine) {
    machine.sh("claviger devices").done();
    machine
        .sh(
            "systemctl start pcscd.service && systemd-run --quiet --unit=tokens claviger-sim serve --world /root/world.toml \
             --virtual /run/claviger/virtual.sock --vpcd 127.0.0.1:35963 --control /run/tokens.sock",
        )
        .done();
    machine.until("both devices", |machine| {
        device(machine, "hid").is_some() && device(machine, "card").is_some()
    });
}

/// The number of the ready device with this face.
pub fn device(machine: &Machine, face: &str) -> Option<u64> {
    let devices = machine.ask("claviger --json devices").done().json();
    let found = devices["devices"]
        .as_array()?
        .iter()
        .find(|device| device["state"] == "ready" && device["faces"][0] == face)?;
    found["device"].as_u64()
}

/// The newest token of a person.
pub fn token(machine: &Machine, subject: &str) -> String {
    let said = machine
        .sh(&format!("claviger --json tokens --subject {subject}"))
        .done()
        .json();
    let tokens = said["tokens"].as_array().expect("tokens");
    assert_eq!(tokens.len(), 1, "{said}");
    tokens[0]["id"].as_str().expect("an id").to_owned()
}

/// What the fob shows so many seconds from now.
fn code(machine: &Machine, seconds: i64) -> String {
    let said = machine.sh(&format!(
        "claviger-sim --control /run/tokens.sock code fob --at $(($(date +%s) + {seconds}))"
    ));
    said.done().out.trim().to_owned()
}

/// The administrator comes to the desk and types the password; nobody else could have.
fn with_the_administrator(machine: &Machine, command: &str) -> (i32, String) {
    let mut terminal = machine.terminal(HELP_DESK, &["sh", "-c", command]);
    terminal.expect("Password: ");
    // pkttyagent turns the echo off after it has asked; what is typed before that is thrown away.
    sleep(Duration::from_millis(300));
    terminal.type_in(&format!("{PASSWORD}\n"));
    terminal.expect("AUTHENTICATION COMPLETE");
    let (code, screen) = terminal.end();
    println!("{HELP_DESK} with {ADMINISTRATOR}: {command} -> {code}");
    (code, screen)
}

fn desk(machine: &Machine, arguments: &str) -> Said {
    machine.sh_as(HELP_DESK, &format!("claviger {arguments}"))
}

#[test]
fn the_help_desk_does_its_job_and_a_stranger_does_not() {
    let Some(machine) = open() else { return };

    // Nobody has called: it does not run. The first caller gets an answer all the same.
    assert_eq!(machine.property("clavigerd", "ActiveState"), "inactive");
    desk(&machine, "devices").done();
    assert_eq!(machine.property("clavigerd", "ActiveState"), "active");
    plug_in(&machine);
    let key = device(&machine, "hid").expect("a key");
    let card = device(&machine, "card").expect("a card");
    let seed = format!("/home/{HELP_DESK}/seed");
    machine
        .sh(&format!(
            "claviger-sim --control /run/tokens.sock seed fob >{seed} && chown {HELP_DESK} {seed} && chmod 600 {seed}"
        ))
        .done();

    // To bind a token to a person takes an administrator, also for the help desk.
    let registrations = [
        (
            "alice",
            format!("register fido2 alice --device {key} --pin-stdin </home/{HELP_DESK}/pin"),
        ),
        ("bob", format!("register oath-card bob --device {card}")),
        (
            "carol",
            format!("register fob carol --serial 10000001 --no-codes --encoding hex --seed-file {seed}"),
        ),
    ];
    for (_, registration) in &registrations {
        desk(&machine, registration).ended(3);
        machine.sh_as(
            STRANGER,
            &format!(
                "claviger {}",
                registration
                    .replace(&seed, "/etc/hostname")
                    .replace("/home/helga/pin", "/dev/null")
            ),
        );
        let (code, screen) = with_the_administrator(&machine, &format!("claviger {registration}"));
        assert_eq!(code, 0, "{screen}");
    }
    let [key_token, card_token, fob_token] = registrations.each_ref().map(|(subject, _)| token(&machine, subject));

    // A stranger gets nowhere: not to a token that is there, not even to see it.
    for act in [
        "tokens".to_owned(),
        format!("show {key_token}"),
        format!("test {card_token}"),
        format!("test {fob_token} --code 123456"),
        format!("resync {fob_token} 123456 654321"),
        format!("suspend {key_token}"),
        format!("lost {key_token}"),
        format!("revoke {card_token} --reason lost --yes"),
        "register fob mallory --serial 2 --no-codes --encoding hex --seed-file /home/mallory/seed".to_owned(),
        "audit log".to_owned(),
        "audit verify".to_owned(),
    ] {
        machine
            .sh_as(
                STRANGER,
                "echo 3132333435363738393031323334353637383930 >/home/mallory/seed",
            )
            .done();
        machine.sh_as(STRANGER, &format!("claviger {act}")).ended(3);
    }

    // What the rules give, without a password.
    desk(&machine, "tokens").done();
    desk(
        &machine,
        &format!("test {key_token} --pin-stdin </home/{HELP_DESK}/pin"),
    )
    .done();
    desk(&machine, &format!("test {card_token}")).done();
    desk(&machine, &format!("test {fob_token} --code {}", code(&machine, -30))).ended(1);
    desk(
        &machine,
        &format!("resync {fob_token} {} {}", code(&machine, -30), code(&machine, 0)),
    )
    .done();
    desk(&machine, &format!("test {fob_token} --code {}", code(&machine, 30))).done();

    // The end is an administrator's, too.
    for (token, more) in [
        (&key_token, format!(" --pin-stdin </home/{HELP_DESK}/pin")),
        (&card_token, String::new()),
        (&fob_token, String::new()),
    ] {
        let revocation = format!("revoke {token} --reason leaver --yes{more}");
        desk(&machine, &revocation).ended(3);
        let (code, screen) = with_the_administrator(&machine, &format!("claviger {revocation}"));
        // A fob cannot be emptied: something remains to be done on it.
        assert_eq!(code, if *token == fob_token { 6 } else { 0 }, "{screen}");
        desk(&machine, &format!("test {token} --code 123456")).ended(1);
    }
    machine.sh("claviger audit verify").done();
}
