//! Every line of the unit is in force: each has a proof here, tried by a program (`probe.c`) inside a copy of the shipped unit, and
//! next to it in a plain service, which can do what the unit cannot. A line without a proof fails the test.

use std::collections::BTreeMap;
use std::process::Command;

use super::desk;
use super::machine::Machine;

const UNIT: &str = "/lib/systemd/system/clavigerd.service";

/// In whose plain service the same act is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// The daemon's own user, without the unit's lines: only they make the difference.
    User,
    /// Root, where the daemon's user could not do it anyway.
    Root,
}
use Beside::{Root, User};

#[derive(Debug)]
enum Proof {
    /// The act, its outcome in the unit, and where it has another one.
    Denied(&'static str, &'static str, Beside),
    /// The act goes well, or has this outcome: what the unit grants or sets.
    Is(&'static str, &'static str),
    /// As before, but not every kernel lets us see it. Then the unit's property must do, and the test says so.
    DeniedWherePossible(&'static str, &'static str, Beside),
    /// A property of the running unit, for what has no act.
    Property(&'static str, &'static str),
    /// Another test shows it.
    Elsewhere(&'static str),
}
use Proof::{Denied, DeniedWherePossible, Elsewhere, Is, Property};

const PROOFS: &[(&str, &[Proof])] = &[
    (
        "Type=notify",
        &[Elsewhere("service: `systemctl start` returns when ready")],
    ),
    ("ExecStart=/usr/bin/clavigerd", &[Elsewhere("desk")]),
    (
        "ExecReload=/bin/sh -c 'kill -HUP $MAINPID'",
        &[Elsewhere("service: reloaded")],
    ),
    ("User=claviger", &[Denied("uid", "UID", Root)]),
    ("Group=claviger", &[Denied("gid", "GID", Root)]),
    ("StateDirectory=claviger", &[Is("state-file", "ok")]),
    ("StateDirectoryMode=0700", &[Is("state-mode", "448")]),
    ("RuntimeDirectory=claviger", &[Is("runtime-mode", "448")]),
    ("RuntimeDirectoryMode=0700", &[Is("runtime-mode", "448")]),
    ("UMask=0077", &[Denied("state-file-mode", "384", User)]),
    (
        "LoadCredentialEncrypted=claviger.key",
        &[Elsewhere("service: a credential seals")],
    ),
    ("WatchdogSec=30", &[Elsewhere("service: hung")]),
    ("Restart=on-failure", &[Elsewhere("service: killed")]),
    ("RestartSec=1", &[Property("RestartUSec", "1s")]),
    (
        "RestartPreventExitStatus=78",
        &[Elsewhere("service: wrongly configured")],
    ),
    ("TimeoutStopSec=30", &[Property("TimeoutStopUSec", "30s")]),
    ("TimeoutStartSec=120", &[Property("TimeoutStartUSec", "2min")]),
    ("NoNewPrivileges=yes", &[Denied("no-new-privileges", "1", User)]),
    ("CapabilityBoundingSet=", &[Denied("bounding-capabilities", "0", Root)]),
    ("AmbientCapabilities=", &[Is("ambient-capabilities", "0")]),
    ("RestrictSUIDSGID=yes", &[Denied("set-uid-bit", "EPERM", User)]),
    ("SecureBits=noroot noroot-locked", &[Denied("secure-bits", "3", User)]),
    // The calls themselves are denied, so that no keyring can be looked into.
    (
        "KeyringMode=private",
        &[Denied("keyctl", "EPERM", User), Property("KeyringMode", "private")],
    ),
    (
        "DevicePolicy=closed",
        &[Denied("fuse-device", "EPERM", User), Is("null-device", "ok")],
    ),
    // No such device is plugged in, and the unit may find that out.
    ("DeviceAllow=char-hidraw rw", &[Is("hidraw-device", "BESIDE")]),
    (
        "RestrictAddressFamilies=AF_UNIX AF_NETLINK",
        &[
            Is("unix", "ok"),
            Is("netlink", "ok"),
            Denied("inet", "EAFNOSUPPORT", User),
            Denied("inet6", "EAFNOSUPPORT", User),
            Denied("packet", "EAFNOSUPPORT", Root),
            DeniedWherePossible("vsock", "EAFNOSUPPORT", User),
            DeniedWherePossible("alg", "EAFNOSUPPORT", User),
            // Hot-plug is told in the host's network namespace only.
            Is("network-namespace", "BESIDE"),
        ],
    ),
    ("IPAddressDeny=any", &[Denied("datagram", "EPERM", User)]),
    (
        "ProtectSystem=strict",
        &[
            Denied("usr", "EROFS", User),
            Denied("etc", "EROFS", User),
            Denied("var", "EROFS", User),
            Denied("configuration", "EROFS", User),
        ],
    ),
    ("ReadOnlyPaths=/run", &[Denied("run", "EROFS", User)]),
    (
        "ProtectHome=yes",
        &[Denied("home", "EACCES", User), Denied("root-home", "EACCES", Root)],
    ),
    ("PrivateTmp=yes", &[Denied("others-tmp", "ENOENT", User)]),
    ("PrivateMounts=yes", &[Denied("mount-namespace", "OWN", User)]),
    (
        "InaccessiblePaths=-/dev/shm -/dev/mqueue",
        &[
            Denied("shared-memory", "EACCES", User),
            Denied("message-queue", "EACCES", User),
        ],
    ),
    (
        "ProtectKernelTunables=yes",
        &[Denied("kernel-tunables", "read-only", User)],
    ),
    (
        "ProtectKernelModules=yes",
        &[Denied("modules", "EACCES", User), Denied("init-module", "EPERM", Root)],
    ),
    (
        "ProtectKernelLogs=yes",
        &[
            Denied("kernel-log-device", "EACCES", Root),
            Denied("kernel-log", "EPERM", Root),
        ],
    ),
    (
        "ProtectControlGroups=yes",
        &[Denied("control-groups", "read-only", User)],
    ),
    (
        "ProtectHostname=yes",
        &[
            Denied("host-name-namespace", "OWN", User),
            Denied("host-name", "EPERM", Root),
        ],
    ),
    (
        "RemoveIPC=yes",
        &[
            Is("shared-segment", "ok"),
            Elsewhere("below: nothing_is_left_in_memory"),
        ],
    ),
    ("LockPersonality=yes", &[Denied("personality", "EPERM", User)]),
    (
        "MemoryDenyWriteExecute=yes",
        &[
            Denied("writable-code", "EPERM", User),
            Denied("later-code", "EPERM", User),
        ],
    ),
    (
        "RestrictNamespaces=yes",
        &[
            DeniedWherePossible("user-namespace", "EPERM", User),
            Denied("new-network", "EPERM", Root),
        ],
    ),
    ("RestrictRealtime=yes", &[Denied("real-time", "EPERM", Root)]),
    (
        "SystemCallArchitectures=native",
        &[DeniedWherePossible("other-architecture", "signal-31", User)],
    ),
    (
        "SystemCallFilter=@system-service",
        &[Denied("ptrace", "EPERM", User), Is("seccomp", "2")],
    ),
    (
        "SystemCallFilter=~@privileged @resources @keyring @memlock @aio",
        &[
            Denied("priority", "EPERM", User),
            Denied("mlock", "EPERM", User),
            DeniedWherePossible("aio", "EPERM", User),
            Denied("chroot", "EPERM", Root),
            Denied("mount", "EPERM", Root),
            Denied("reboot", "EPERM", Root),
            DeniedWherePossible("swapoff", "EPERM", Root),
            DeniedWherePossible("iopl", "EPERM", Root),
        ],
    ),
    (
        "SystemCallFilter=adjtimex clock_adjtime",
        &[Is("clock-read", "ok"), Is("clock-set", "EPERM")],
    ),
    ("SystemCallErrorNumber=EPERM", &[Is("ptrace", "EPERM")]),
    ("LimitCORE=0", &[Is("limit-core", "0"), Property("LimitCORE", "0")]),
    // Where the kernel's controller for it is not in the machine's hierarchy, only the property can be seen.
    (
        "TasksMax=256",
        &[
            DeniedWherePossible("many-children", "EAGAIN", User),
            Property("TasksMax", "256"),
        ],
    ),
    ("LimitNOFILE=4096", &[Denied("limit-files", "4096", User)]),
];

/// Where the daemon may write. `/tmp` and `/var/tmp` are its own, and gone with it.
const MAY_WRITE: &[&str] = &["/var/lib/claviger", "/run/claviger", "/tmp", "/var/tmp"];

type Outcomes = BTreeMap<String, String>;

fn outcomes(text: &str) -> Outcomes {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, result)| (name.to_owned(), result.to_owned()))
        .collect()
}

/// Things for the probe to find, and the probe.
fn plant(machine: &Machine) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ring3_installed/probe.c");
    let built = machine.path("/usr/local/bin/probe");
    let compiled = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-O1", "-o"])
        .arg(&built)
        .arg(source)
        .status();
    assert!(compiled.expect("cc").success());
    machine
        .sh("set -e
            for place in /usr /etc /etc/claviger /var /home /usr/lib/modules; do
                mkdir -p $place/probe-open; chmod 777 $place/probe-open; 
                echo >$place/probe-open/file; chmod 666 $place/probe-open/file
            done
            mv /usr/lib/modules/probe-open/file /usr/lib/modules/file; rmdir /usr/lib/modules/probe-open
            mv /usr/lib/modules/file /usr/lib/modules/probe-open
            echo >/root/probe-open; echo >/tmp/probe-planted
            mkdir -m 777 /tmp/probe-state
            hidraw=$(sed -n 's/ *\\([0-9]*\\) hidraw$/\\1/p' /proc/devices)
            mknod -m 666 /dev/probe-fuse c 10 229
            mknod -m 666 /dev/probe-hidraw c ${hidraw:?no hidraw in this kernel} 63
            mknod -m 600 /dev/kmsg c 1 11
            mount -o remount,bind,rw /proc/sys")
        .done();
}

/// Runs the probe in a copy of the unit, with lines on top that exchange the program for it, and `more`.
fn inside(machine: &Machine, name: &str, arguments: &str, more: &str) -> String {
    let unit = format!("probe-{name}");
    machine
        .sh(&format!("cp {UNIT} /run/systemd/system/{unit}.service"))
        .done();
    machine.put(
        &format!("/run/systemd/system/{unit}.service.d/probe.conf"),
        format!(
            "[Service]\nType=oneshot\nExecStart=\nExecStart=/usr/local/bin/probe {arguments}\nWatchdogSec=0\nRestart=no\n\
             StandardOutput=file:/run/{unit}\n{more}"
        )
        .as_bytes(),
        0o644,
    );
    machine
        .sh(&format!("systemctl daemon-reload && systemctl start {unit}"))
        .done();
    machine.ask(&format!("cat /run/{unit}")).done().out
}

fn beside(machine: &Machine, user: &str, arguments: &str) -> String {
    machine
        .ask(&format!(
            "systemd-run --quiet --wait --pipe --uid={user} /usr/local/bin/probe {arguments}"
        ))
        .done()
        .out
}

#[test]
fn every_line_of_the_unit_is_in_force() {
    let Some(machine) = Machine::installed() else { return };
    plant(&machine);
    let mut user = outcomes(&beside(&machine, "claviger", "acts /tmp/probe-state"));
    user.extend(outcomes(&beside(&machine, "claviger", "udp")));
    let root = outcomes(&beside(&machine, "root", "acts /tmp/probe-state"));
    let left = format!(" {} ", user["shared-segment-id"]);
    assert!(segments(&machine).contains(&left), "a plain service leaves its memory");
    let mut unit = outcomes(&inside(&machine, "acts", "acts /var/lib/claviger", ""));
    // The families are denied before a packet could be; without that line the other one is seen.
    let udp = inside(&machine, "udp", "udp", "RestrictAddressFamilies=\n");
    unit.insert("datagram".to_owned(), outcomes(&udp)["datagram"].clone());
    nothing_is_left_in_memory(&machine);

    let text = machine.ask(&format!("cat {UNIT}")).done().out;
    let service = text.split("[Service]").nth(1).expect("a section");
    let service = service.split("[Install]").next().unwrap_or_default();
    let lines: Vec<&str> = service
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let mut wrong = Vec::new();
    let mut proven = 0;
    for line in &lines {
        let Some((_, proofs)) = PROOFS.iter().find(|(proven, _)| proven == line) else {
            wrong.push(format!("{line}: nothing proves it"));
            continue;
        };
        for proof in *proofs {
            match judge(&machine, proof, &unit, &user, &root) {
                Ok(how) => {
                    proven += 1;
                    println!("{line}: {how}");
                }
                Err(why) => wrong.push(format!("{line}: {why}")),
            }
        }
    }
    for (line, _) in PROOFS {
        if !lines.contains(line) {
            wrong.push(format!("{line}: is not in the unit"));
        }
    }
    println!("{} lines of the unit, {proven} proofs", lines.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    no_place_to_write(&machine);
    the_daemon_is_in_it(&machine);
}

fn judge(
    machine: &Machine,
    proof: &Proof,
    unit: &Outcomes,
    user: &Outcomes,
    root: &Outcomes,
) -> Result<String, String> {
    let of = |outcomes: &Outcomes, act: &str| outcomes.get(act).cloned().unwrap_or_else(|| "nothing".to_owned());
    match *proof {
        Denied(act, wanted, beside) | DeniedWherePossible(act, wanted, beside) => {
            let elsewhere = of(if beside == Root { root } else { user }, act);
            let here = of(unit, act);
            let wanted = match wanted {
                "UID" => of(user, "uid"),
                "GID" => of(user, "gid"),
                // A namespace of its own: any number but the others'.
                "OWN" => here.clone(),
                wanted => wanted.to_owned(),
            };
            let told = format!("{act} is {here}, beside the unit {elsewhere}");
            if here == wanted && elsewhere != here {
                return Ok(told);
            }
            if matches!(proof, DeniedWherePossible(..)) && elsewhere != "ok" {
                return Ok(format!("{told}; this kernel cannot show more"));
            }
            if matches!(proof, DeniedWherePossible("many-children", ..)) && !pids_are_counted(machine) {
                return Ok(format!("{told}; nobody counts processes in this machine's hierarchy"));
            }
            Err(format!("{told}, and not {wanted}"))
        }
        Is(act, wanted) => {
            let here = of(unit, act);
            let wanted = if wanted == "BESIDE" {
                of(user, act)
            } else {
                wanted.to_owned()
            };
            if here == wanted {
                Ok(format!("{act} is {here}"))
            } else {
                Err(format!("{act} is {here} and not {wanted}"))
            }
        }
        Property(name, wanted) => {
            let is = machine.property("clavigerd", name);
            if is == wanted {
                Ok(format!("{name} is {is}"))
            } else {
                Err(format!("{name} is {is} and not {wanted}"))
            }
        }
        Elsewhere(test) => Ok(format!("see {test}")),
    }
}

fn pids_are_counted(machine: &Machine) -> bool {
    let controllers = machine.ask("cat /sys/fs/cgroup/cgroup.controllers").out;
    controllers.split_whitespace().any(|name| name == "pids")
}

/// SysV memory: key, id, mode, … one a line.
fn segments(machine: &Machine) -> String {
    machine.ask("tr -s ' ' </proc/sysvipc/shm").done().out
}

fn nothing_is_left_in_memory(machine: &Machine) {
    let uid = machine.ask("id -u claviger").done().out;
    let left: Vec<String> = segments(machine)
        .lines()
        .filter(|line| line.split_whitespace().nth(7) == Some(uid.trim()))
        .map(str::to_owned)
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Of all directories and files there are, as many as the unit sees, none can be written to but its own.
fn no_place_to_write(machine: &Machine) {
    let places = |text: String| -> Vec<String> {
        text.lines()
            .filter_map(|line| line.strip_prefix("writable "))
            .filter(|path| {
                !MAY_WRITE
                    .iter()
                    .any(|own| *path == *own || path.starts_with(&format!("{own}/")))
            })
            .map(str::to_owned)
            .collect()
    };
    let plain = places(beside(machine, "claviger", "writable"));
    assert!(plain.iter().any(|path| path == "/var/probe-open"), "{plain:?}");
    assert!(plain.iter().any(|path| path == "/dev/shm"), "{plain:?}");
    let unit = places(inside(machine, "writable", "writable", ""));
    println!(
        "{} places that a plain service could write to, {} for the unit",
        plain.len(),
        unit.len()
    );
    assert!(unit.is_empty(), "{unit:?}");
}

/// What was shown of a copy holds of the daemon itself: the kernel tells the same of both.
fn the_daemon_is_in_it(machine: &Machine) {
    machine.sh("systemctl start clavigerd").done();
    let pid = machine.property("clavigerd", "MainPID");
    let status = machine.ask(&format!("cat /proc/{pid}/status")).done().out;
    let uid = machine.ask("id -u claviger").done().out;
    let uid = uid.trim();
    for wanted in [
        format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}"),
        "NoNewPrivs:\t1".to_owned(),
        "Seccomp:\t2".to_owned(),
        "CapBnd:\t0000000000000000".to_owned(),
        "CapEff:\t0000000000000000".to_owned(),
        "CapPrm:\t0000000000000000".to_owned(),
        "CapAmb:\t0000000000000000".to_owned(),
    ] {
        assert!(status.lines().any(|line| line == wanted), "{wanted}: {status}");
    }
    let dropins = machine.property("clavigerd", "DropInPaths");
    assert_eq!(dropins, "", "the daemon runs by the shipped unit alone");
}

/// What `systemd-analyze security` holds against the unit is at most 2.0, and each point has its sentence in the manual.
#[test]
fn what_is_left_open_is_said_and_why() {
    let Some(machine) = desk::open() else { return };
    machine
        .sh("systemd-analyze security --threshold=20 --no-pager clavigerd")
        .done();
    let said = machine
        .ask("systemd-analyze security --json=short --no-pager clavigerd")
        .done();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/manual/hardening.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let explained: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let mut open = Vec::new();
    for point in said.json().as_array().expect("points") {
        // A number, in a text; null for what is settled.
        if point["exposure"].as_str().is_some_and(|exposure| exposure != "0.0") {
            open.push(point["name"].as_str().expect("a name").to_owned());
        }
    }
    assert!(!open.is_empty(), "{}", said.out);
    let unsaid: Vec<&String> = open.iter().filter(|name| !explained.contains(&name.as_str())).collect();
    let settled: Vec<&&str> = explained
        .iter()
        .filter(|name| !open.iter().any(|point| point == *name))
        .collect();
    println!("{} points are left open: {}", open.len(), open.join(", "));
    assert!(unsaid.is_empty(), "docs/manual/hardening.md has no line for {unsaid:?}");
    assert!(
        settled.is_empty(),
        "docs/manual/hardening.md explains what is settled: {settled:?}"
    );
}
