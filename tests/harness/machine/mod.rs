//! A machine of our own: a Debian root file system in systemd-nspawn, systemd as PID 1, and our packages to install in it.
//!
//! Nothing of it stays: what the machine writes lies in memory, over a root file system that is made once and kept under
//! `target/ring3`.
#![allow(dead_code, missing_docs)]

pub mod build;
#[path = "../packages.rs"]
pub mod packages;
pub mod terminal;

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use terminal::Terminal;

/// How long anything may take before a test fails: far longer than it does take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// One machine at a time: two cores are not more.
static ONE: Mutex<()> = Mutex::new(());

/// `$1` the root file system, `$2` a scratch directory, `$3` the name of our control group.
///
/// Mounts are private, so that they go with the process. The machine has a cgroup2 hierarchy to itself. Without all capabilities
/// and `bpf` its systemd cannot enforce `DeviceAllow=` and `IPAddressDeny=`, and says nothing; without @keyring it makes no
/// keyrings. `/dev/fuse` stands for a device that the daemon has no business with.
const BOOT: &str = r#"set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/$3"
echo $$ >"/sys/fs/cgroup/$3/cgroup.procs"
exec systemd-nspawn --quiet --directory="$2/root" --machine="$3" --hostname=desk --register=no --keep-unit \
    --resolv-conf=off --timezone=off --boot --console=read-only --private-network --link-journal=no \
    --capability=all --system-call-filter='bpf @keyring' --bind=/dev/fuse
"#;

/// A booted machine. It is killed when dropped.
pub struct Machine {
    // In the order of their end.
    nspawn: Child,
    console: Arc<Mutex<Vec<u8>>>,
    _terminal: OwnedFd,
    _scratch: tempfile::TempDir,
    name: String,
    leader: u32,
    _one: MutexGuard<'static, ()>,
}

/// What a command inside said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub told: String,
    command: String,
}

impl Machine {
    /// Boots one. `None`, after one visible line, where that cannot be; on CI that fails.
    pub fn boot() -> Option<Self> {
        let one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let begun = Instant::now();
        let root = build::root()?;
        let scratch = tempfile::Builder::new()
            .prefix("claviger-ring3-")
            .tempdir()
            .expect("a scratch directory");
        let name = format!("claviger-ring3-{}", std::process::id());
        let pty = openpty(None, None).expect("a pseudo-terminal");
        let end = || Stdio::from(pty.slave.try_clone().expect("the terminal"));
        let nspawn = Command::new("setsid")
            .args(["--ctty", "unshare", "--mount", "sh", "-c", BOOT, "boot"])
            .arg(&root)
            .arg(scratch.path())
            .arg(&name)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("systemd-nspawn");
        let console = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut reader) = (console.clone(), File::from(pty.master));
        std::thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                seen.lock().expect("the console").extend_from_slice(&buffer[..n]);
            }
        });
        let mut machine = Self {
            nspawn,
            console,
            _terminal: pty.slave,
            _scratch: scratch,
            name,
            leader: 0,
            _one: one,
        };
        machine.leader = machine.find_leader();
        machine.until("the machine to be up", |machine| {
            let state = machine.ask("systemctl is-system-running --wait");
            state.out.trim() == "running" || state.out.trim() == "degraded"
        });
        assert_eq!(machine.sh("systemctl is-system-running").out.trim(), "running");
        println!("ring 3: booted in {:.1} s", begun.elapsed().as_secs_f32());
        Some(machine)
    }

    /// Boots one and installs both packages.
    pub fn installed() -> Option<Self> {
        let machine = Self::boot()?;
        let packages = machine.take_packages("/root");
        machine.sh(&format!("apt-get install -y {packages}")).done();
        Some(machine)
    }

    /// Copies the packages to a directory inside; their paths there.
    pub fn take_packages(&self, to: &str) -> String {
        let mut paths = Vec::new();
        for package in packages::built() {
            let name = package.file_name().expect("a name").to_string_lossy().into_owned();
            self.put(
                &format!("{to}/{name}"),
                &fs::read(&package).expect("the package"),
                0o644,
            );
            paths.push(format!("{to}/{name}"));
        }
        paths.join(" ")
    }

    /// Its PID 1, as it is called out here.
    fn find_leader(&mut self) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = children(self.nspawn.id())
                .into_iter()
                .find(|child| fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|comm| comm == "systemd\n"));
            if let Some(leader) = found {
                return leader;
            }
            let ended = self.nspawn.try_wait().expect("a child");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "systemd-nspawn did not boot ({ended:?}):\n{}",
                self.console()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn console(&self) -> String {
        String::from_utf8_lossy(&self.console.lock().expect("the console")).into_owned()
    }

    /// A command inside, as root, with an environment of its own.
    pub fn command(&self, user: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &self.leader.to_string(),
                "--all",
                "env",
                "--ignore-environment",
            ])
            .args([
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG=C.UTF-8",
                "TERM=dumb",
                "DEBIAN_FRONTEND=noninteractive",
            ]);
        if user != "root" {
            command.args(["setpriv", "--reuid", user, "--regid", user, "--init-groups"]);
            command.args([
                "env",
                &format!("HOME=/home/{user}"),
                &format!("USER={user}"),
                "--chdir=/",
            ]);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs a shell's script inside as root.
    pub fn sh(&self, script: &str) -> Said {
        self.sh_as("root", script)
    }

    /// The same without a word in the test's output, for what is asked again and again.
    pub fn ask(&self, script: &str) -> Said {
        let output = self
            .command("root")
            .args(["sh", "-c", script])
            .output()
            .expect("nsenter");
        Said::of(script, &output)
    }

    /// Runs a shell's script inside as somebody.
    pub fn sh_as(&self, user: &str, script: &str) -> Said {
        let output = self.command(user).args(["sh", "-c", script]).output().expect("nsenter");
        let said = Said::of(script, &output);
        println!(
            "{user}: {} -> {} {}{}",
            script.lines().next().unwrap_or_default(),
            said.code,
            said.out.lines().last().unwrap_or_default(),
            said.told.lines().last().unwrap_or_default()
        );
        said
    }

    /// A client on a terminal of its own.
    pub fn terminal(&self, user: &str, program: &[&str]) -> Terminal {
        let mut command = self.command(user);
        command.args(program);
        Terminal::open(&command)
    }

    /// The path of something inside, out here.
    pub fn path(&self, inside: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.leader)).join(inside.trim_start_matches('/'))
    }

    pub fn put(&self, inside: &str, bytes: &[u8], mode: u32) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, bytes).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
    }

    /// Waits until something is so that tells nobody when it becomes so.
    #[track_caller]
    pub fn until(&self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so(self) {
            assert!(
                Instant::now() < deadline,
                "waited for {what} in vain; the console says\n{}",
                self.console()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// One property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.ask(&format!("systemctl show {unit} --property={name} --value"))
            .done()
            .out
            .trim()
            .to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.leader != 0 {
            let journal = self.sh("journalctl --no-pager --lines=60 --output=short-precise");
            eprintln!("the machine's journal ended with\n{}", journal.out);
        }
        // Its PID 1 does not die with it, and everything inside dies with its PID 1. As long as nspawn is there, the number is its.
        if children(self.nspawn.id()).contains(&self.leader) {
            let _ = kill(Pid::from_raw(self.leader.cast_signed()), Signal::SIGKILL);
        }
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
        remove_group(&self.name);
    }
}

impl Said {
    fn of(command: &str, output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            told: String::from_utf8_lossy(&output.stderr).into_owned(),
            command: command.to_owned(),
        }
    }

    /// Checks that it went well.
    #[track_caller]
    pub fn done(self) -> Self {
        self.ended(0)
    }

    /// Checks how it ended.
    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert!(
            self.code == code,
            "“{}” ended with {}, not {code}:\n{}{}",
            self.command,
            self.code,
            self.out,
            self.told
        );
        self
    }

    /// The object that the client printed (`--json`).
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{}: {error}: {}", self.command, self.out))
    }
}

fn children(of: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // “PID (NAME) STATE PARENT …”, and a name may have blanks.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        if parent == Some(of.to_string().as_str()) {
            found.push(pid);
        }
    }
    found
}

/// Takes our empty groups out of the kernel's list; nothing shows them elsewhere.
fn remove_group(name: &str) {
    let script = r#"mount --make-rprivate / && umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup &&
        find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +"#;
    let _ = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "clean", name])
        .stderr(Stdio::null())
        .status();
}
