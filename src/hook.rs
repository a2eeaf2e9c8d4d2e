//! Programs that an administrator has us call: with JSON on their standard input, nothing of ours in their hands, and an end.
//!
//! What a hook gets: the text, an environment of `PATH` and `LANG`, `/` as its directory, a process group of its own. What it
//! does not get: our descriptors (all that we open are closed on exec), our environment (the bus's address, systemd's sockets), privilege (the
//! daemon has none and can gain none, `no_new_privs`; where it runs as root all the same, the hook runs as `nobody`). Its output is
//! read so that it never waits for us, and all but the beginning of its standard error is thrown away.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, Uid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// How much of what a failing hook says is kept, in bytes.
const SAID: usize = 256;
/// How much it may say at all on either output, in bytes.
const FLOOD: usize = 1024 * 1024;
/// Whom it runs as when we are root: `nobody`.
const NOBODY: u32 = 65_534;
/// The directories it finds programs in.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why a call came to nothing. What it was about is not known to have been told to anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// It cannot be run.
    #[error("the hook {} cannot be run: {why}", path.display())]
    Start {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Others could change it.
    #[error("the hook {} can be written by others than its owner: nobody knows whose it is (chmod go-w)", .0.display())]
    Loose(PathBuf),
    /// It did not end.
    #[error("the hook did not end within {} s and was killed", .0.as_secs_f32())]
    Hung(Duration),
    /// It said too much.
    #[error("the hook wrote more than {FLOOD} bytes and was killed")]
    Flooded,
    /// It said no.
    #[error("the hook ended with status {code}{}", said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Failed {
        /// Its exit status.
        code: i32,
        /// The beginning of what it said.
        said: Option<String>,
    },
    /// Something killed it.
    #[error("the hook was killed by a signal")]
    Killed,
    /// Nobody could say how the person is told.
    #[error("the hook was not called, since nobody can say now how the person is told: {0}")]
    Unaddressed(String),
}

impl HookError {
    /// The name that tools switch on. Names nobody, as the sentence may, which has what the hook said.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Loose(_) => "loose",
            Self::Hung(_) => "hung",
            Self::Flooded => "flooded",
            Self::Failed { .. } => "failed",
            Self::Killed => "killed",
            Self::Unaddressed(_) => "unaddressed",
        }
    }
}

/// An executable and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    program: PathBuf,
    patience: Duration,
}

impl Hook {
    /// A hook at an absolute path.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, patience: Duration) -> Self {
        Self {
            program: program.into(),
            patience,
        }
    }

    /// Its path.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Calls it with a text on its standard input; it has understood when it ends with status 0. A hook that does not read its input
    /// is not wrong.
    ///
    /// # Errors
    /// [`HookError`]; whatever it started in its process group is dead by then.
    pub async fn call(&self, text: &[u8]) -> Result<(), HookError> {
        self.is_tight()?;
        let mut child = self.start()?;
        let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let ended = tokio::time::timeout(self.patience, attended(&mut child, text)).await;
        // Whatever it left behind goes with it, when it ended well too.
        if let Some(group) = group {
            let _ = killpg(group, Signal::SIGKILL);
        }
        match ended {
            Ok(end) => end,
            Err(_) => {
                let _ = child.wait().await;
                Err(HookError::Hung(self.patience))
            }
        }
    }

    fn is_tight(&self) -> Result<(), HookError> {
        let found = std::fs::metadata(&self.program).map_err(|error| self.unstartable(&error))?;
        if found.permissions().mode() & 0o022 != 0 {
            return Err(HookError::Loose(self.program.clone()));
        }
        Ok(())
    }

    fn start(&self) -> Result<Child, HookError> {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if Uid::effective().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.spawn().map_err(|error| self.unstartable(&error))
    }

    fn unstartable(&self, error: &std::io::Error) -> HookError {
        HookError::Start {
            path: self.program.clone(),
            why: error.to_string(),
        }
    }
}

/// How long what an ended hook said may take to arrive: something it left behind can keep its outputs open.
const LAST_WORDS: Duration = Duration::from_millis(100);

async fn attended(child: &mut Child, text: &[u8]) -> Result<(), HookError> {
    let (mut input, output, error) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut nothing, mut said) = (Vec::new(), Vec::new());
    let status = {
        let write = async {
            if let Some(input) = &mut input {
                // It may end without having read all.
                let _ = input.write_all(text).await;
            }
            // Its input ends here, not when all is over.
            drop(input.take());
            Ok(())
        };
        let mut pipes = std::pin::pin!(async {
            let read = (drained(output, &mut nothing, 0), drained(error, &mut said, SAID));
            tokio::try_join!(write, read.0, read.1).map(|_| ())
        });
        tokio::select! {
            all = &mut pipes => {
                all?;
                child.wait().await
            }
            status = child.wait() => {
                if let Ok(all) = tokio::time::timeout(LAST_WORDS, &mut pipes).await {
                    all?;
                }
                status
            }
        }
    };
    match status.ok().map(|status| status.code()) {
        Some(Some(0)) => Ok(()),
        Some(Some(code)) => Err(HookError::Failed {
            code,
            said: first_words(&said),
        }),
        _ => Err(HookError::Killed),
    }
}

/// Reads to the end, keeps the first `most` bytes and throws the rest away.
async fn drained(pipe: Option<impl AsyncRead + Unpin>, keep: &mut Vec<u8>, most: usize) -> Result<(), HookError> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut piece = [0; 4_096];
    let mut total = 0_usize;
    loop {
        let Ok(length) = pipe.read(&mut piece).await else {
            return Ok(());
        };
        if length == 0 {
            return Ok(());
        }
        total = total.saturating_add(length);
        if total > FLOOD {
            return Err(HookError::Flooded);
        }
        let room = most.saturating_sub(keep.len()).min(length);
        keep.extend(piece.iter().take(room));
    }
}

/// The first line, as text that is safe to show.
fn first_words(said: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().next()?.trim();
    let shown: String = line.chars().filter(|c| !c.is_control()).collect();
    (!shown.is_empty()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    use super::*;

    /// A script where `nobody` can read it, and a place it can write to.
    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new() -> Self {
            let bench = Self(tempfile::tempdir().unwrap());
            fs::set_permissions(bench.0.path(), fs::Permissions::from_mode(0o777)).unwrap();
            bench
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn hook(&self, script: &str, patience: Duration) -> Hook {
            let path = self.path("hook");
            // Written by another process: a descriptor of ours that a fork of another test holds open would make it busy.
            let status = std::process::Command::new("sh")
                .args([
                    "-c",
                    "printf '#!/bin/sh\n%s\n' \"$1\" > \"$2\" && chmod 755 \"$2\"",
                    "sh",
                    script,
                ])
                .arg(&path)
                .status()
                .unwrap();
            assert!(status.success());
            Hook::new(path, patience)
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.path(name)).unwrap()
        }
    }

    const LONG: Duration = Duration::from_secs(30);

    /// Descriptors of this process that are not closed on exec (proc_pid_fdinfo(5)): none that we opened.
    fn inherited() -> std::collections::BTreeSet<String> {
        let mut found = std::collections::BTreeSet::new();
        for entry in fs::read_dir("/proc/self/fdinfo").unwrap() {
            let entry = entry.unwrap();
            let Ok(info) = fs::read_to_string(entry.path()) else {
                continue;
            };
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            if u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 == 0 {
                found.insert(entry.file_name().to_string_lossy().into_owned());
            }
        }
        found
    }

    #[tokio::test]
    async fn it_gets_the_text_and_nothing_else() {
        let bench = Bench::new();
        let out = bench.0.path().display().to_string();
        // A descriptor of ours, as the daemon has many.
        let _ours = fs::File::open("/dev/null").unwrap();
        let script = format!(
            "cat > {out}/text; env | sort > {out}/env; pwd > {out}/pwd; id -u > {out}/uid; ls /proc/self/fd > {out}/fd; ps -o pgid= -p $$ > {out}/pgid; echo $$ > {out}/pid"
        );
        bench.hook(&script, LONG).call(b"{\"what\":\"bound\"}").await.unwrap();
        assert_eq!(bench.read("text"), "{\"what\":\"bound\"}");
        let environment = bench.read("env");
        let names: Vec<&str> = environment.lines().filter_map(|line| line.split('=').next()).collect();
        // The shell adds PWD, OLDPWD, SHLVL and _ by itself.
        assert!(
            names
                .iter()
                .all(|name| ["PATH", "LANG", "PWD", "OLDPWD", "SHLVL", "_"].contains(name)),
            "{environment}"
        );
        assert!(names.contains(&"PATH") && names.contains(&"LANG"));
        assert_eq!(bench.read("pwd").trim(), "/");
        let uid = if Uid::effective().is_root() {
            NOBODY
        } else {
            Uid::effective().as_raw()
        };
        assert_eq!(bench.read("uid").trim(), uid.to_string());
        // Three, the one of the listing itself, and what whoever started the tests left open to everybody.
        let open = bench.read("fd");
        let due = |fd: &str| ["0", "1", "2", "3"].contains(&fd) || inherited().contains(fd);
        assert!(open.split_whitespace().all(due), "{open}");
        assert_eq!(bench.read("pgid").trim(), bench.read("pid").trim());
    }

    #[tokio::test]
    async fn how_it_failed_is_told() {
        let bench = Bench::new();
        let failed = bench
            .hook("echo quiet; echo 'no such person' >&2; echo more >&2; exit 3", LONG)
            .call(b"{}")
            .await;
        let said = Some("no such person".to_owned());
        assert_eq!(failed, Err(HookError::Failed { code: 3, said }));
        assert_eq!(bench.hook("kill -9 $$", LONG).call(b"{}").await, Err(HookError::Killed));
        let absent = Hook::new(bench.path("absent"), LONG).call(b"{}").await.unwrap_err();
        assert_eq!(absent.name(), "start");
        fs::set_permissions(bench.path("hook"), fs::Permissions::from_mode(0o775)).unwrap();
        let loose = Hook::new(bench.path("hook"), LONG).call(b"{}").await.unwrap_err();
        assert_eq!(loose.name(), "loose");
        fs::set_permissions(bench.path("hook"), fs::Permissions::from_mode(0o644)).unwrap();
        let no_program = Hook::new(bench.path("hook"), LONG).call(b"{}").await.unwrap_err();
        assert_eq!(no_program.name(), "start");
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_all_that_it_started() {
        let bench = Bench::new();
        let out = bench.0.path().display().to_string();
        let begun = Instant::now();
        let patience = Duration::from_millis(300);
        let script = format!("sleep 600 & echo $! > {out}/child; trap '' TERM PIPE; while :; do sleep 600; done");
        let hung = bench.hook(&script, patience).call(b"{}").await;
        assert_eq!(hung, Err(HookError::Hung(patience)));
        assert!(begun.elapsed() < Duration::from_secs(20));
        let child = bench.read("child").trim().to_owned();
        // Gone, or a zombie that nobody in this container collects. A signal that was sent is heeded when the process next runs.
        let soon = Instant::now() + LONG;
        loop {
            let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                break;
            }
            assert!(Instant::now() < soon, "{state}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn one_that_floods_is_killed_and_one_that_reads_nothing_is_not() {
        let bench = Bench::new();
        for script in ["exec yes", "exec yes >&2"] {
            assert_eq!(
                bench.hook(script, LONG).call(b"{}").await,
                Err(HookError::Flooded),
                "{script}"
            );
        }
        let long = vec![b' '; 1024 * 1024];
        assert_eq!(bench.hook("exit 0", LONG).call(&long).await, Ok(()));
        // Something left behind that keeps the outputs open does not keep us.
        let begun = Instant::now();
        assert_eq!(bench.hook("sleep 600 & exit 0", LONG).call(b"{}").await, Ok(()));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn what_it_said_is_one_line_without_controls() {
        assert_eq!(first_words(b"\x1b[2Jab\x07c\nnext"), Some("[2Jabc".to_owned()));
        assert_eq!(first_words(b"\n"), None);
        assert_eq!(first_words(b""), None);
    }
}
