//! A host of our own: a mount namespace with its own users, `/run`, polkit rules and actions; in it a real system bus and the
//! real polkitd, and whatever a test adds: the daemon, pcscd, people under their own uids.
//!
//! The files we ship are used as they are: bus policy, polkit actions, the example rule, pcscd's rule. The users they name
//! exist only in the namespace's `/etc/passwd`.
#![allow(dead_code, missing_docs)]

pub mod daemon;
pub mod logind;
pub mod people;
pub mod polkit;
pub mod tokens;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use zbus::Connection;

pub use people::Person;

/// How long anything may take before a test fails: far longer than it does take.
pub const PATIENCE: Duration = Duration::from_secs(100);

const POLKITD: &str = "/usr/lib/polkit-1/polkitd";
const VPCD: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";

/// What a test needs beside the bus and polkit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// hidraw nodes by umockdev.
    Hidraw,
    /// A smart card reader by pcscd and vpcd.
    Reader,
}

/// What is absent here, if anything is.
fn absent(needs: &[Need]) -> Option<&'static str> {
    let program = |name: &str| {
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
            .iter()
            .any(|dir| Path::new(dir).join(name).exists())
    };
    if !nix::unistd::Uid::effective().is_root() {
        return Some("root (a mount namespace, several uids)");
    }
    for name in ["dbus-daemon", "unshare", "nsenter", "setpriv", "python3"] {
        if !program(name) {
            return Some(match name {
                "dbus-daemon" => "dbus-daemon (Debian: dbus-daemon)",
                "python3" => "python3 (Debian: python3)",
                _ => "unshare, nsenter and setpriv (Debian: util-linux)",
            });
        }
    }
    if !Path::new(POLKITD).exists() {
        return Some("polkitd (Debian: polkitd)");
    }
    let namespace = Command::new("unshare")
        .args(["-m", "true"])
        .stderr(Stdio::null())
        .status();
    if !namespace.is_ok_and(|status| status.success()) {
        return Some("mount namespaces (the container forbids them)");
    }
    for need in needs {
        match need {
            Need::Hidraw if !program("umockdev-wrapper") => {
                return Some("umockdev (Debian: umockdev, gir1.2-umockdev-1.0)");
            }
            Need::Hidraw if !program("cc") => return Some("a C compiler (Debian: gcc)"),
            Need::Reader if !program("pcscd") => return Some("pcscd (Debian: pcscd)"),
            Need::Reader if !Path::new(VPCD).exists() => return Some("vpcd (Debian: vsmartcard-vpcd)"),
            _ => {}
        }
    }
    None
}

/// A child process that ends with its owner.
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    fn start(name: &str, command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        Self {
            child,
            name: name.to_owned(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal and waits for the end.
    pub fn end(&mut self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        if self.child.try_wait().expect("a child").is_none() {
            nix::sys::signal::kill(pid, signal).expect("a child of ours");
            self.child.wait().expect("its end");
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The namespace, its bus and its polkitd. Ends when dropped.
pub struct Host {
    // In the order of their end.
    polkitd: Option<Process>,
    _bus: Process,
    holder: Process,
    dir: TempDir,
    address: String,
    /// A connection of root's, who is always authorised.
    pub root: Connection,
}

impl Host {
    /// Opens it, with the daemon's files installed. `None`, after one visible line, where that cannot be; on CI that fails.
    pub async fn open(needs: &[Need]) -> Option<Self> {
        if let Some(what) = absent(needs) {
            let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false" && ci != "0");
            assert!(!ci, "ring 2: no {what}, and on CI nothing may be skipped");
            // Past the capture of the test program: whoever runs the tests shall see it.
            let _ = writeln!(std::io::stderr().lock(), "ring 2: skipped, no {what}");
            return None;
        }
        let dir = tempfile::Builder::new()
            .prefix("claviger-")
            .tempdir()
            .expect("a scratch directory");
        furnish(dir.path());
        let holder = enter_namespace(dir.path());
        let (bus, address) = start_bus(dir.path(), holder.pid());
        let root = zbus::connection::Builder::address(address.as_str())
            .build()
            .await
            .expect("a connection of root's");
        let mut host = Self {
            polkitd: None,
            _bus: bus,
            holder,
            dir,
            address,
            root,
        };
        host.start_polkitd().await;
        Some(host)
    }

    /// The scratch directory, in and out of the namespace.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// A command inside the namespace, as root.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--mount",
            "--target",
            &self.holder.pid().to_string(),
            "setpriv",
            "--pdeathsig",
            "KILL",
        ]);
        command
            .args(["env", &format!("DBUS_SYSTEM_BUS_ADDRESS={}", self.address)])
            .arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// A command inside the namespace as a user of the namespace; `environment` reaches that program alone.
    pub fn command_as(
        &self,
        user: &str,
        environment: &[(String, String)],
        program: impl AsRef<std::ffi::OsStr>,
    ) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--mount",
            "--target",
            &self.holder.pid().to_string(),
            "setpriv",
            "--pdeathsig",
            "KILL",
        ]);
        command.args(["--reuid", user, "--regid", user, "--init-groups", "--no-new-privs"]);
        // udev opens a real node to the service before it tells anybody of it; umockdev can only do so afterwards.
        let emulated = environment.iter().any(|(key, _)| key == "UMOCKDEV_DIR");
        if emulated && user != "root" {
            command.args(["--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"]);
        } else {
            command.arg("--inh-caps=-all");
        }
        command.arg("env");
        command.arg(format!("DBUS_SYSTEM_BUS_ADDRESS={}", self.address));
        command
            .args(environment.iter().map(|(key, value)| format!("{key}={value}")))
            .arg(program);
        command.stdin(Stdio::null()).current_dir("/");
        command
    }

    /// The same after root has set the process a login uid.
    pub fn command_as_logged_in(
        &self,
        user: &str,
        login: Option<u32>,
        program: impl AsRef<std::ffi::OsStr>,
    ) -> Command {
        let plain = self.command_as(user, &[], program);
        let Some(login) = login else { return plain };
        // One shell before it: what it sets stays with the process through every exec.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "echo \"$0\" > /proc/self/loginuid && exec \"$@\"",
            &login.to_string(),
        ]);
        command.arg(plain.get_program()).args(plain.get_args());
        command.stdin(Stdio::null()).current_dir("/");
        command
    }

    /// Runs the command-line client as a person, with something on its standard input.
    pub fn claviger(&self, who: Person, arguments: &[&str], input: &str) -> Answer {
        self.claviger_in(who, &[], arguments, input)
    }

    /// The same with an environment.
    pub fn claviger_in(
        &self,
        who: Person,
        environment: &[(String, String)],
        arguments: &[&str],
        input: &str,
    ) -> Answer {
        let mut child = self
            .command_as(who.user(), environment, self.dir().join("bin/claviger"))
            .args(["--json", "--timeout", "60"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client");
        // A client that refuses its arguments does not read what it is told.
        let _ = child.stdin.take().expect("its input").write_all(input.as_bytes());
        let answer = Answer::of(child.wait_with_output().expect("its end"));
        println!(
            "{}: claviger {} -> {} {}",
            who.user(),
            arguments.join(" "),
            answer.code,
            answer.said
        );
        answer
    }

    /// Starts polkitd and waits until it is on the bus.
    pub async fn start_polkitd(&mut self) {
        let mut command = self.command(POLKITD);
        command.arg("--no-debug").stdout(Stdio::null()).stderr(Stdio::null());
        let owned = polkit::owner(&self.root, true).await;
        self.polkitd = Some(Process::start("polkitd", &mut command));
        owned.await;
    }

    /// Kills polkitd and waits until the bus has noticed.
    pub async fn kill_polkitd(&mut self) {
        let lost = polkit::owner(&self.root, false).await;
        drop(self.polkitd.take());
        lost.await;
    }
}

/// What the client said.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    /// The object on standard output; null when there is none.
    pub said: serde_json::Value,
    pub told: String,
}

impl Answer {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            said: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            told: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A member that is a text.
    pub fn text(&self, member: &str) -> &str {
        self.said[member].as_str().unwrap_or_default()
    }

    /// Checks that it went well.
    #[track_caller]
    pub fn done(self) -> Self {
        assert!(self.code == 0, "exit {}: {} {}", self.code, self.said, self.told);
        self
    }

    /// Checks the error's name.
    #[track_caller]
    pub fn refused(self, name: &str) -> Self {
        assert!(
            self.code != 0 && self.text("error").ends_with(name),
            "{name}, not exit {}: {} {}",
            self.code,
            self.said,
            self.told
        );
        self
    }
}

/// Waits for something that must come.
pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

/// Waits until something is so that tells nobody when it becomes so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    within(what, async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Puts a file into the scratch directory, readable by everyone.
fn put(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::write(&path, text).expect("written");
    open_to_all(&path, 0o644);
    let mut above = path.parent();
    while let Some(folder) = above.filter(|folder| folder.starts_with(dir)) {
        open_to_all(folder, 0o755);
        above = folder.parent();
    }
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

/// Everything that will lie over the real host's files.
fn furnish(dir: &Path) {
    let users: String = Person::ALL
        .iter()
        .map(|who| format!("{0}:x:{1}:{1}::/:/usr/sbin/nologin\n", who.user(), who.uid()))
        .collect();
    let groups: String = Person::ALL
        .iter()
        .map(|who| format!("{}:x:{}:\n", who.user(), who.uid()))
        .collect();
    let without_ours = |path: &str| -> String {
        let text = fs::read_to_string(path).expect("users and groups");
        text.lines()
            .filter(|line| !line.starts_with("claviger"))
            .map(|line| format!("{line}\n"))
            .collect()
    };
    put(dir, "etc/passwd", &format!("{}{users}", without_ours("/etc/passwd")));
    let help_desk = format!("claviger-helpdesk:x:61899:{}\n", Person::HelpDesk.user());
    put(
        dir,
        "etc/group",
        &format!("{}{groups}{help_desk}", without_ours("/etc/group")),
    );
    // The host's own actions stay: pcscd's are among them.
    for entry in fs::read_dir("/usr/share/polkit-1/actions").expect("polkit's actions") {
        let path = entry.expect("an entry").path();
        if let Ok(text) = fs::read_to_string(&path) {
            put(
                dir,
                &format!("actions/{}", path.file_name().expect("a name").to_string_lossy()),
                &text,
            );
        }
    }
    let shipped = |path: &str| fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    put(
        dir,
        "actions/org.claviger.policy",
        &shipped("polkit/org.claviger.policy"),
    );
    put(
        dir,
        "rules/50-claviger-helpdesk.rules",
        &shipped("polkit/50-claviger-helpdesk.rules.example"),
    );
    put(
        dir,
        "rules/60-claviger-pcscd.rules",
        &shipped("polkit/60-claviger-pcscd.rules"),
    );
    put(dir, "rules/40-people.rules", polkit::RULES);
    put(dir, "bus.conf", &bus_configuration(dir));
    for folder in ["run", "run/dbus", "run/pcscd", "bin"] {
        fs::create_dir_all(dir.join(folder)).expect("a directory");
        open_to_all(&dir.join(folder), 0o755);
    }
    for (name, built) in [
        ("clavigerd", env!("CARGO_BIN_EXE_clavigerd")),
        ("claviger", env!("CARGO_BIN_EXE_claviger")),
    ] {
        // The build directory may lie where the service user cannot go.
        let to = dir.join("bin").join(name);
        if fs::hard_link(built, &to).is_err() {
            fs::copy(built, &to).expect("a copy of the program");
        }
    }
}

fn bus_configuration(dir: &Path) -> String {
    let ours = repository("systemd/org.claviger.Claviger1.conf");
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={}/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/>
  </policy>
  <policy user="root">
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/>
  </policy>
  <includedir>/usr/share/dbus-1/system.d</includedir>
  <include>{}</include>
</busconfig>"#,
        dir.display(),
        ours.display()
    )
}

/// A process that keeps the namespace open until its input ends.
fn enter_namespace(dir: &Path) -> Process {
    let script = r#"set -e
mount --bind "$1/run" /run
mount --bind "$1/etc/passwd" /etc/passwd
mount --bind "$1/etc/group" /etc/group
mount --bind "$1/rules" /etc/polkit-1/rules.d
mount --bind "$1/actions" /usr/share/polkit-1/actions
echo open
exec cat"#;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "namespace"])
        .arg(dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = Process::start("the namespace", &mut command);
    // Its input stays open as long as the child is owned.
    let mut line = String::new();
    let output = holder.child.stdout.as_mut().expect("its output");
    BufReader::new(output).read_line(&mut line).expect("a line");
    assert_eq!(line.trim(), "open", "the namespace could not be furnished");
    holder
}

fn start_bus(dir: &Path, namespace: u32) -> (Process, String) {
    let mut command = Command::new("nsenter");
    command.args([
        "--mount",
        "--target",
        &namespace.to_string(),
        "setpriv",
        "--pdeathsig",
        "KILL",
        "dbus-daemon",
    ]);
    command.arg(format!("--config-file={}", dir.join("bus.conf").display()));
    command.args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut bus = Process::start("dbus-daemon", &mut command);
    let mut address = String::new();
    BufReader::new(bus.child.stdout.take().expect("its output"))
        .read_line(&mut address)
        .expect("its address");
    assert!(!address.is_empty(), "dbus-daemon did not start");
    (bus, address.trim().to_owned())
}
