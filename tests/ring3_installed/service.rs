//! The service: what systemd does for it, and what it does when systemd stops it.

use super::desk::{self, PIN};
use super::machine::Machine;

fn main_pid(machine: &Machine) -> u32 {
    machine.property("clavigerd", "MainPID").parse().expect("a pid")
}

fn restarts(machine: &Machine) -> u32 {
    machine.property("clavigerd", "NRestarts").parse().expect("a number")
}

fn intact(machine: &Machine) {
    machine.sh("claviger audit verify").done();
}

#[test]
fn systemd_brings_it_back_and_a_stop_loses_nothing() {
    let Some(machine) = desk::open() else { return };
    desk::plug_in(&machine);
    let card = desk::device(&machine, "card").expect("a card");
    machine
        .sh(&format!("claviger register oath-card bob --device {card}"))
        .done();
    let kept = desk::token(&machine, "bob");

    killed(&machine);
    hung(&machine);
    reloaded(&machine);
    wrongly_configured(&machine);
    stopped(&machine);

    machine.sh("claviger devices").done();
    machine.until("the card", |machine| desk::device(machine, "card").is_some());
    machine.sh(&format!("claviger test {kept}")).done();
    intact(&machine);
}

/// Killed outright: it comes back by itself.
fn killed(machine: &Machine) {
    let (pid, before) = (main_pid(machine), restarts(machine));
    machine.sh(&format!("kill -KILL {pid}")).done();
    machine.until("another daemon", |machine| {
        restarts(machine) > before && machine.property("clavigerd", "ActiveState") == "active"
    });
    assert_ne!(main_pid(machine), pid);
    intact(machine);
}

/// Hung: the watchdog ends it and it comes back. The shipped time is 30 s; here 3, for those who wait.
fn hung(machine: &Machine) {
    assert_eq!(machine.property("clavigerd", "WatchdogUSec"), "30s");
    machine.put(
        "/run/systemd/system/clavigerd.service.d/quick.conf",
        b"[Service]\nWatchdogSec=3\nTimeoutAbortSec=2\n",
        0o644,
    );
    machine
        .sh("systemctl daemon-reload && systemctl restart clavigerd")
        .done();
    let (pid, before) = (main_pid(machine), restarts(machine));
    machine.sh(&format!("kill -STOP {pid}")).done();
    machine.until("the watchdog", |machine| {
        restarts(machine) > before && machine.property("clavigerd", "ActiveState") == "active"
    });
    assert_ne!(main_pid(machine), pid);
    let journal = machine.sh("journalctl --no-pager --unit=clavigerd | grep 'Watchdog timeout'");
    println!("{}", journal.done().out.trim());
    machine
        .sh("rm -r /run/systemd/system/clavigerd.service.d && systemctl daemon-reload && systemctl restart clavigerd")
        .done();
    intact(machine);
}

/// Read anew, by the same process: a faulty file leaves in force what was, and says so where systemd shows it.
fn reloaded(machine: &Machine) {
    let pid = main_pid(machine);
    let failed = |machine: &Machine| machine.property("clavigerd", "StatusText").contains("reload failed");
    machine.put("/etc/claviger/clavigerd.toml", b"no-such-key = 1\n", 0o644);
    machine.sh("systemctl reload clavigerd").done();
    machine.until("the fault to be told", failed);
    machine.put("/etc/claviger/clavigerd.toml", desk::CONFIGURATION.as_bytes(), 0o644);
    machine.sh("systemctl reload clavigerd").done();
    machine.until("the mended file to be read", |machine| !failed(machine));
    assert_eq!(main_pid(machine), pid);
    intact(machine);
}

/// Trying again does not mend a wrong configuration.
fn wrongly_configured(machine: &Machine) {
    machine.put("/etc/claviger/clavigerd.toml", b"no-such-key = 1\n", 0o644);
    let restarted = machine.sh("systemctl restart clavigerd");
    assert_ne!(restarted.code, 0);
    assert_eq!(machine.property("clavigerd", "ExecMainStatus"), "78");
    assert_eq!(machine.property("clavigerd", "ActiveState"), "failed");
    assert_eq!(restarts(machine), 0, "systemd tried again");
    machine.put("/etc/claviger/clavigerd.toml", desk::CONFIGURATION.as_bytes(), 0o644);
    machine
        .sh("systemctl reset-failed clavigerd && systemctl start clavigerd")
        .done();
}

/// Stopped while a person is waited for: before anything of ours is on the key, and again when a credential is.
fn stopped(machine: &Machine) {
    let sim = "claviger-sim --control /run/tokens.sock";
    let asked = |machine: &Machine| {
        machine.until("somebody to be asked for a touch", |machine| {
            machine
                .ask(&format!("{sim} list"))
                .done()
                .out
                .contains("\"wants_touch\": true")
        });
    };
    machine.sh(&format!("{sim} touch-mode key manual")).done();
    for (person, touches) in [("alice", 0), ("anna", 1)] {
        // The link's other end went with the last daemon.
        machine.sh(&format!("{sim} unplug key; {sim} plug key")).done();
        machine.until("the key", |machine| desk::device(machine, "hid").is_some());
        let key = desk::device(machine, "hid").expect("a key");
        machine
            .sh(&format!(
                "systemd-run --quiet --unit=registration-{person} --property=Type=exec sh -c \
                 'printf {PIN} | exec claviger register fido2 {person} --device {key} --pin-stdin'"
            ))
            .done();
        asked(machine);
        for _ in 0..touches {
            machine.sh(&format!("{sim} touch key")).done();
            asked(machine);
        }
        let begun = std::time::Instant::now();
        machine.sh("systemctl stop clavigerd").done();
        println!(
            "stopped in {:.1} s, in the middle of a registration, after {touches} touches",
            begun.elapsed().as_secs_f32()
        );
        assert_eq!(
            machine.property("clavigerd", "Result"),
            "success",
            "not killed for being slow"
        );

        machine.sh("systemctl start clavigerd").done();
        intact(machine);
        // What was not finished is no token that anybody could use, and nothing is left pending.
        let left = machine
            .sh(&format!("claviger --json tokens --subject {person}"))
            .done()
            .json();
        let tokens = left["tokens"].as_array().expect("tokens");
        assert!(tokens.iter().all(|token| token["state"] == "revoked"), "{left}");
    }
    machine.sh(&format!("{sim} touch-mode key auto")).done();
}

/// The sealing key as a credential of systemd's.
#[test]
fn a_credential_seals_and_no_key_lies_beside_the_ledger() {
    let Some(machine) = desk::open() else { return };
    machine
        .sh(
            "install -d -m 0700 /etc/credstore.encrypted && head -c 32 /dev/urandom >/root/claviger.key && \
             systemd-creds encrypt --name=claviger.key /root/claviger.key /etc/credstore.encrypted/claviger.key",
        )
        .done();
    desk::plug_in(&machine);
    let card = desk::device(&machine, "card").expect("a card");
    machine
        .sh(&format!("claviger register oath-card bob --device {card}"))
        .done();
    let token = desk::token(&machine, "bob");
    machine
        .sh("test -e /var/lib/claviger/ledger.db && ! test -e /var/lib/claviger/sealing.key")
        .done();
    // Sealed as it lies on the disk.
    machine
        .sh("! cmp -s /root/claviger.key /etc/credstore.encrypted/claviger.key && test $(stat -c %s /etc/credstore.encrypted/claviger.key) -gt 32")
        .done();

    // The same key opens it again.
    machine.sh("systemctl restart clavigerd").done();
    machine.until("the card", |machine| desk::device(machine, "card").is_some());
    machine.sh(&format!("claviger test {token}")).done();
    intact(&machine);

    // Without it nothing opens, and no new key is made over the old ledger.
    machine
        .sh("mv /etc/credstore.encrypted/claviger.key /root/sealed && systemctl stop clavigerd")
        .done();
    assert_ne!(machine.sh("systemctl start clavigerd").code, 0);
    machine.sh("! test -e /var/lib/claviger/sealing.key").done();
    machine
        .sh("systemctl stop clavigerd; mv /root/sealed /etc/credstore.encrypted/claviger.key && systemctl reset-failed clavigerd && systemctl start clavigerd")
        .done();
    intact(&machine);
}
