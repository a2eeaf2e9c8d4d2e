//! The packages themselves: what lintian says, and what installing, upgrading, removing and purging leave.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::time::Instant;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection};

use super::machine::{Machine, packages};

/// What an earlier version left; its second line ends with the sealing key.
const OLD_LEDGER: &str = include_str!("ledger-0001.sql");

#[test]
fn lintian_has_no_complaint() {
    let built = packages::built();
    if built.is_empty() {
        let _ = writeln!(std::io::stderr().lock(), "lintian: skipped, no packages (make deb)");
        return;
    }
    let Ok(judged) = Command::new("lintian")
        .args(["--fail-on", "error,warning"])
        .args(&built)
        .output()
    else {
        let _ = writeln!(std::io::stderr().lock(), "lintian: skipped, it is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&judged.stdout);
    println!("{said}");
    assert!(
        judged.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&judged.stderr)
    );
}

/// The version is in one place for cargo and in one for the package, and both say the same.
#[test]
fn the_package_has_the_version_of_the_program() {
    let changelog = include_str!("../../debian/changelog");
    let version = changelog.split(['(', ')']).nth(1).expect("a version");
    let (upstream, _) = version.rsplit_once('-').expect("a revision");
    assert_eq!(upstream, env!("CARGO_PKG_VERSION"));
}

#[test]
fn an_upgrade_keeps_the_ledger_and_purge_alone_takes_it() {
    let Some(machine) = Machine::boot() else { return };
    let packages = machine.take_packages("/root");
    let daemon = packages.split(' ').next().expect("the daemon's package").to_owned();
    earlier_package(&machine, &daemon);
    machine.sh("apt-get install -y /root/earlier.deb").done();
    machine.sh("dpkg-query --show claviger | grep 0.0.1-1").done();
    earlier_ledger(&machine);
    machine
        .sh("set -e; useradd helga; usermod -aG claviger-helpdesk helga; echo '# ours' >/etc/claviger/clavigerd.toml")
        .done();

    // The daemon runs while it is exchanged, and runs again afterwards.
    machine.sh("systemctl start clavigerd").done();
    let before = machine.property("clavigerd", "MainPID");
    let begun = Instant::now();
    machine.sh(&format!("apt-get install -y {packages}")).done();
    println!("upgraded in {:.1} s", begun.elapsed().as_secs_f32());
    assert_eq!(machine.property("clavigerd", "ActiveState"), "active");
    assert_ne!(
        machine.property("clavigerd", "MainPID"),
        before,
        "the old program still runs"
    );
    let verified = machine.sh("claviger audit verify").done();
    assert!(verified.out.contains("intact"), "{}", verified.out);
    assert_eq!(tokens(&machine), old_tokens(), "every token is there");
    assert_eq!(
        migrations(&machine),
        current_migrations(),
        "the ledger is the new version's"
    );

    // Installing again what is there already does no harm.
    machine.sh(&format!("apt-get install -y --reinstall {packages}")).done();
    machine.sh("claviger audit verify").done();

    // Removed: programs and unit are gone, what people made is there.
    let kept = "/var/lib/claviger/ledger.db /var/lib/claviger/sealing.key /etc/claviger/clavigerd.toml";
    machine.sh("apt-get remove -y claviger claviger-sim").done();
    machine.sh("! pgrep clavigerd 2>/dev/null; ! test -e /usr/bin/clavigerd && ! test -e /lib/systemd/system/clavigerd.service").done();
    assert_eq!(machine.property("clavigerd", "ActiveState"), "inactive");
    machine
        .sh(&format!(
            "ls {kept} && getent passwd claviger && getent group claviger-helpdesk | grep helga"
        ))
        .done();
    machine
        .sh(&format!("apt-get install -y {packages} && claviger audit verify"))
        .done();
    assert_eq!(tokens(&machine), old_tokens(), "it came back as it was left");

    // Purged: nothing of ours is left but the account, whose number shall not come back as somebody else's.
    machine.sh("apt-get purge -y claviger claviger-sim").done();
    let left = machine
        .sh("find / -xdev \\( -path /proc -o -path /sys -o -path /root -o -path /var/log -o -path /var/lib/dpkg/info \\) -prune -o -iname '*claviger*' -print")
        .out;
    assert_eq!(left, "", "what purge left");
    machine.sh("getent passwd claviger").done();

    // And a fresh start after that is a fresh start.
    machine
        .sh(&format!("apt-get install -y {packages} && claviger audit verify"))
        .done();
    assert!(tokens(&machine).is_empty());
}

/// The same package under an earlier version: dpkg upgrades from it, with the scripts that an upgrade runs.
fn earlier_package(machine: &Machine, path: &str) {
    let version = "sed -i 's/^Version: .*/Version: 0.0.1-1/' /root/earlier/DEBIAN/control";
    machine
        .sh(&format!(
            "dpkg-deb --raw-extract {path} /root/earlier && {version} && dpkg-deb --build --root-owner-group -Znone /root/earlier /root/earlier.deb"
        ))
        .done();
}

/// The ledger that the first migration alone made.
fn earlier_ledger(machine: &Machine) {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("ledger.db");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut connection = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Delete)
            .foreign_keys(false)
            .connect()
            .await
            .expect("a database");
        sqlx::raw_sql(OLD_LEDGER)
            .execute(&mut connection)
            .await
            .expect("the old ledger");
        connection.close().await.expect("closed");
    });
    let key = OLD_LEDGER
        .lines()
        .find_map(|line| line.strip_prefix("-- Sealing key: "));
    let key = data_encoding::HEXLOWER
        .decode(key.expect("a key").as_bytes())
        .expect("a key");
    machine
        .sh("install -d -m 0700 -o claviger -g claviger /var/lib/claviger")
        .done();
    machine.put(
        "/var/lib/claviger/ledger.db",
        &fs::read(&path).expect("the ledger"),
        0o600,
    );
    machine.put("/var/lib/claviger/sealing.key", &key, 0o600);
    machine.sh("chown claviger:claviger /var/lib/claviger/*").done();
}

/// Which migrations the ledger inside has been through.
fn migrations(machine: &Machine) -> Vec<i64> {
    machine.sh("systemctl stop clavigerd").done();
    let scratch = tempfile::tempdir().expect("a directory");
    for name in ["ledger.db", "ledger.db-wal"] {
        let from = machine.path(&format!("/var/lib/claviger/{name}"));
        if from.exists() {
            fs::copy(from, scratch.path().join(name)).expect("a copy");
        }
    }
    machine.sh("systemctl start clavigerd").done();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut connection = SqliteConnectOptions::new()
            .filename(scratch.path().join("ledger.db"))
            .connect()
            .await
            .expect("a database");
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version")
            .fetch_all(&mut connection)
            .await
            .expect("versions")
    })
}

/// Those there are.
fn current_migrations() -> Vec<i64> {
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/ledger/migrations")).expect("migrations");
    let mut versions: Vec<i64> = files
        .flatten()
        .filter_map(|file| file.file_name().to_str()?.split('_').next()?.parse().ok())
        .collect();
    versions.sort_unstable();
    println!("{} migrations", versions.len());
    versions
}

/// Person, kind and state of each token, in order.
fn tokens(machine: &Machine) -> Vec<String> {
    let said = machine.ask("claviger --json tokens").done().json();
    let mut found: Vec<String> = said["tokens"]
        .as_array()
        .expect("tokens")
        .iter()
        .map(|token| {
            let of = |name: &str| token[name].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", of("subject"), of("kind"), of("state"))
        })
        .collect();
    found.sort();
    found
}

fn old_tokens() -> Vec<String> {
    [
        "alice fido2 revoked",
        "bob oath-card revoked",
        "carol fob revoked",
        "dora fob pending",
        "erin oath-card active",
    ]
    .map(str::to_owned)
    .to_vec()
}
