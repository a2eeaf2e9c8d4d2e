//! `make install` puts every file where the system looks for it, and `make uninstall` takes all of them away again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory with the programs just built. `claviger-sim` belongs to another package, which need not be built.
fn programs(at: &Path) {
    let client = Path::new(env!("CARGO_BIN_EXE_claviger"));
    for program in [client, Path::new(env!("CARGO_BIN_EXE_clavigerd"))] {
        symlink(program, at.join(program.file_name().unwrap())).unwrap();
    }
    let simulator = client.with_file_name("claviger-sim");
    if simulator.exists() {
        symlink(simulator, at.join("claviger-sim")).unwrap();
    } else {
        println!("claviger-sim: not built, a stand-in is installed");
        fs::write(at.join("claviger-sim"), "#!/bin/sh\necho .TH\n").unwrap();
        fs::set_permissions(at.join("claviger-sim"), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn make(target: &Path, destination: &Path, goal: &str, more: &[&str]) -> Output {
    Command::new("make")
        .current_dir(root())
        .args(["-s", "-f", "mk/install.mk", goal])
        .arg(format!("TARGETDIR={}", target.display()))
        .arg(format!("DESTDIR={}", destination.display()))
        .args(more)
        // What the make that runs the tests was given is not meant for this one.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .expect("make")
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Every file below, with its mode.
fn files(at: &Path) -> BTreeMap<String, u32> {
    fn walk(base: &Path, at: &Path, found: &mut BTreeMap<String, u32>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(base, &path, found);
            } else {
                let mode = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
                found.insert(path.strip_prefix(base).unwrap().to_str().unwrap().to_owned(), mode);
            }
        }
    }
    let mut found = BTreeMap::new();
    if at.exists() {
        walk(at, at, &mut found);
    }
    found
}

/// What must be there under PREFIX=/usr; the manual and the pages of single verbs come on top.
const FILES: &[&str] = &[
    "usr/bin/claviger",
    "usr/bin/claviger-sim",
    "usr/bin/clavigerd",
    "usr/lib/systemd/system/clavigerd.service",
    "usr/lib/sysusers.d/claviger.conf",
    "usr/lib/tmpfiles.d/claviger.conf",
    "usr/lib/udev/rules.d/70-claviger.rules",
    "usr/share/bash-completion/completions/claviger",
    "usr/share/bash-completion/completions/clavigerd",
    "usr/share/dbus-1/interfaces/org.claviger.Bypasses1.xml",
    "usr/share/dbus-1/interfaces/org.claviger.Case1.xml",
    "usr/share/dbus-1/interfaces/org.claviger.Cases1.xml",
    "usr/share/dbus-1/interfaces/org.claviger.Device1.xml",
    "usr/share/dbus-1/interfaces/org.claviger.Drift1.xml",
    "usr/share/dbus-1/interfaces/org.claviger.Fido1.xml",
    "usr/share/dbus-1/interfaces/org.claviger.Manager1.xml",
    "usr/share/dbus-1/interfaces/org.claviger.Operation1.xml",
    "usr/share/dbus-1/interfaces/org.claviger.Drift1.xml",
    "usr/share/dbus-1/interfaces/org.claviger.Subjects1.xml",
    "usr/share/dbus-1/interfaces/org.claviger.Tokens1.xml",
    "usr/share/dbus-1/interfaces/org.claviger.Verify1.xml",
    "usr/share/dbus-1/interfaces/org.claviger.Verify1.xml",
    "usr/share/dbus-1/system-services/org.claviger.Claviger1.service",
    "usr/share/dbus-1/system.d/org.claviger.Claviger1.conf",
    "usr/share/doc/claviger/LICENSE-APACHE",
    "usr/share/doc/claviger/LICENSE-MIT",
    "usr/share/doc/claviger/README.md",
    "usr/share/doc/claviger/docs/manual/install.md",
    "usr/share/doc/claviger/examples/50-claviger-helpdesk.rules",
    "usr/share/doc/claviger/examples/desk.py",
    "usr/share/fish/vendor_completions.d/claviger.fish",
    "usr/share/fish/vendor_completions.d/clavigerd.fish",
    "usr/share/man/man1/claviger-register-fob.1",
    "usr/share/man/man1/claviger-sim.1",
    "usr/share/man/man1/claviger.1",
    "usr/share/man/man5/clavigerd.toml.5",
    "usr/share/man/man8/clavigerd.8",
    "usr/share/polkit-1/actions/org.claviger.policy",
    "usr/share/polkit-1/rules.d/60-claviger-pcscd.rules",
    "usr/share/zsh/site-functions/_claviger",
    "usr/share/zsh/site-functions/_clavigerd",
];

struct Installed {
    _directory: tempfile::TempDir,
    target: PathBuf,
    destination: PathBuf,
}

fn install(more: &[&str]) -> Installed {
    let directory = tempfile::tempdir().unwrap();
    let (target, destination) = (directory.path().join("programs"), directory.path().join("root"));
    fs::create_dir(&target).unwrap();
    programs(&target);
    succeeded(&make(&target, &destination, "install", more));
    Installed {
        _directory: directory,
        target,
        destination,
    }
}

#[test]
fn every_file_is_in_its_place_and_goes_again() {
    let installed = install(&["PREFIX=/usr"]);
    let found = files(&installed.destination);
    for file in FILES {
        let wanted = if file.starts_with("usr/bin/") { 0o755 } else { 0o644 };
        match found.get(*file) {
            None => panic!("{file} was not installed; there is {:#?}", found.keys()),
            Some(mode) => assert_eq!(*mode, wanted, "{file} has mode {mode:04o}"),
        }
    }
    for file in found.keys() {
        let more = file.starts_with("usr/share/doc/claviger/") || file.starts_with("usr/share/man/man1/claviger-");
        assert!(
            FILES.contains(&file.as_str()) || more,
            "{file} was installed and nobody knows why"
        );
    }
    println!("{} files installed", found.len());

    // What the administrator made is not ours to remove.
    fs::create_dir_all(installed.destination.join("etc/claviger")).unwrap();
    fs::write(installed.destination.join("etc/claviger/clavigerd.toml"), "").unwrap();
    succeeded(&make(
        &installed.target,
        &installed.destination,
        "uninstall",
        &["PREFIX=/usr"],
    ));
    let left: Vec<String> = files(&installed.destination).into_keys().collect();
    assert_eq!(left, ["etc/claviger/clavigerd.toml"]);
}

/// Some programs read /usr/share alone; the unit must start what was installed.
#[test]
fn another_prefix_is_followed_where_the_system_looks_there() {
    let installed = install(&["PREFIX=/opt/claviger"]);
    let found = files(&installed.destination);
    for file in [
        "opt/claviger/bin/clavigerd",
        "opt/claviger/lib/systemd/system/clavigerd.service",
        "usr/share/dbus-1/system.d/org.claviger.Claviger1.conf",
        "usr/share/polkit-1/actions/org.claviger.policy",
    ] {
        assert!(found.contains_key(file), "{file} was not installed");
    }
    let unit = installed
        .destination
        .join("opt/claviger/lib/systemd/system/clavigerd.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.lines().any(|line| line == "ExecStart=/opt/claviger/bin/clavigerd"));
}

#[test]
fn what_is_not_built_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let output = make(directory.path(), &directory.path().join("root"), "install", &[]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("make release"), "{said}");
    assert!(files(&directory.path().join("root")).is_empty());
}

#[test]
fn the_unit_is_sound_and_hardened() {
    let installed = install(&["PREFIX=/usr"]);
    let unit = installed.destination.join("usr/lib/systemd/system/clavigerd.service");
    let analyze = |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).arg(&unit).output();
    // Exposure is told in tenths: 2.0 at most.
    let Ok(security) = analyze(&["security", "--offline=true", "--no-pager", "--threshold=20"]) else {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("unit: skipped, no systemd-analyze\n"),
        );
        return;
    };
    let said = String::from_utf8_lossy(&security.stdout);
    println!("{}", said.lines().last().unwrap_or_default());
    assert!(
        security.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&security.stderr)
    );

    // `verify` wants the program in place: a copy of the unit that names the one that was built.
    let program = format!("ExecStart={}", env!("CARGO_BIN_EXE_clavigerd"));
    let text = fs::read_to_string(&unit)
        .unwrap()
        .replace("ExecStart=/usr/bin/clavigerd", &program);
    assert!(text.contains(&program));
    fs::write(&unit, text).unwrap();
    let verified = analyze(&["verify", "--man=no"]).unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(
        verified.status.success() && !said.contains("clavigerd.service"),
        "{said}"
    );
}
