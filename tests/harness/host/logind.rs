//! The real logind on the host's bus. Its sessions are read from `/run/systemd/sessions` when it starts, where it would have left
//! them itself; a process is in one because it leads it, or because of its control group.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use super::people::Caller;
use super::{Answer, Host, Person, Process, polkit, put};

const LOGIND: &str = "/usr/lib/systemd/systemd-logind";
const NAME: &str = "org.freedesktop.login1";

/// A session as logind keeps it.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: &'static str,
    /// Whose: login name and uid.
    pub user: (&'static str, u32),
    pub class: &'static str,
    /// The process that leads it; logind takes its audit session for the session's.
    pub leader: Option<u32>,
    /// On a screen.
    pub display: bool,
}

impl Session {
    /// A person's, led by their process.
    pub fn of(id: &'static str, caller: &Caller) -> Self {
        Self {
            id,
            user: (caller.who().user(), caller.who().uid()),
            class: "user",
            leader: Some(caller.pid()),
            display: false,
        }
    }
}

/// logind. Ends when dropped.
pub struct Logind(#[allow(dead_code)] Process);

impl Logind {
    /// What is absent here, if anything is.
    pub fn absent() -> Option<&'static str> {
        (!Path::new(LOGIND).exists()).then_some("systemd-logind (Debian: systemd)")
    }

    /// Starts it with these sessions.
    pub async fn start(host: &Host, sessions: &[Session]) -> Self {
        let run = host.dir().join("run/systemd");
        let _ = fs::remove_dir_all(&run);
        for folder in ["system", "seats", "users", "sessions"] {
            fs::create_dir_all(run.join(folder)).expect("a directory");
        }
        for session in sessions {
            let (name, uid) = session.user;
            let mut text = format!(
                "UID={uid}\nUSER={name}\nACTIVE=1\nSTATE=active\nREMOTE=0\nTYPE={0}\nORIGINAL_TYPE={0}\nCLASS={1}\nSCOPE=session-{2}.scope\n\
                 REALTIME=1\nMONOTONIC=1\nIS_DISPLAY={3}\n",
                if session.display { "wayland" } else { "tty" },
                session.class,
                session.id,
                u8::from(session.display),
            );
            if let Some(leader) = session.leader {
                text += &format!("LEADER={leader}\n");
            }
            put(host.dir(), &format!("run/systemd/sessions/{}", session.id), &text);
            let of_user: Vec<&str> = sessions
                .iter()
                .filter(|other| other.user == session.user)
                .map(|other| other.id)
                .collect();
            let mut text = format!(
                "NAME={name}\nSTATE=active\nSTOPPING=no\nSESSIONS={}\n",
                of_user.join(" ")
            );
            if let Some(shown) = sessions
                .iter()
                .find(|other| other.user == session.user && other.display)
            {
                text += &format!("DISPLAY={}\n", shown.id);
            }
            put(host.dir(), &format!("run/systemd/users/{uid}"), &text);
        }
        // The screens, lids and shared memory of the host it runs on are none of its business.
        let quiet = "[Login]\nNAutoVTs=0\nReserveVT=0\nRemoveIPC=no\nHandlePowerKey=ignore\nHandleLidSwitch=ignore\n";
        put(host.dir(), "run/systemd/logind.conf.d/quiet.conf", quiet);
        let mut command = host.command(LOGIND);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let owned = polkit::owner_of(&host.root, NAME, true).await;
        let logind = Self(Process::start("logind", &mut command));
        owned.await;
        logind
    }

    /// Ends it and waits until the bus has noticed.
    pub async fn stop(self, host: &Host) {
        let lost = polkit::owner_of(&host.root, NAME, false).await;
        drop(self);
        lost.await;
    }
}

/// Puts a process into a control group of a user's, below `user.slice/user-UID.slice`, where systemd would have put it. Gone when
/// dropped and the process has ended.
pub struct Placed(PathBuf);

impl Placed {
    pub fn new(pid: u32, uid: u32, below: &str) -> Self {
        let group = cgroup_root().join(format!("user.slice/user-{uid}.slice/{below}"));
        fs::create_dir_all(&group).expect("a control group");
        fs::write(group.join("cgroup.procs"), pid.to_string()).expect("a process in its control group");
        Self(group)
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        let mut at = Some(self.0.as_path());
        // Up to the first that still has somebody in it.
        while let Some(group) = at.filter(|group| fs::remove_dir(group).is_ok()) {
            at = group.parent();
        }
    }
}

/// Somebody who has logged in: a log-in of their own, and processes that descend from it, in the session that it began.
///
/// A login uid belongs to a thread and is inherited by what the thread starts, so each chair is a thread; the first thing it starts
/// leads the session.
pub struct Chair {
    who: Person,
    session: &'static str,
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
    leader: Process,
}

impl Chair {
    /// Logs somebody in; the session is known once [`Logind`] was started with [`Chair::session`].
    pub fn take(host: &Host, who: Person, session: &'static str) -> Self {
        let (jobs, work) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        std::thread::spawn(move || {
            fs::write("/proc/thread-self/loginuid", who.uid().to_string()).expect("a login uid");
            for job in work {
                job();
            }
        });
        let mut command = host.command_as(who.user(), &[], "cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let (tell, told) = mpsc::channel();
        let start = Box::new(move || tell.send(Process::start("a log-in", &mut command)).expect("the test"));
        jobs.send(start).expect("the chair");
        let leader = told.recv().expect("a log-in");
        Self {
            who,
            session,
            jobs,
            leader,
        }
    }

    /// What logind has to know of it.
    pub fn session(&self) -> Session {
        Session {
            id: self.session,
            user: (self.who.user(), self.who.uid()),
            class: "user",
            leader: Some(self.leader.pid()),
            display: false,
        }
    }

    /// The command-line client, from this log-in.
    pub fn claviger(&self, host: &Host, arguments: &[&str]) -> Answer {
        let mut command = self.command(host);
        command
            .args(["--json", "--timeout", "60"])
            .args(arguments)
            .stdin(Stdio::null());
        let answer = Answer::of(self.run(move || command.output().expect("the client")));
        println!(
            "{}, logged in: claviger {} -> {} {}",
            self.who.user(),
            arguments.join(" "),
            answer.code,
            answer.said
        );
        answer
    }

    /// The same as a person sees it; both outputs go to one file. What it reads is the caller's.
    pub fn begin(&self, host: &Host, arguments: &[&str], output: &Path) -> Child {
        let to = fs::File::create(output).expect("a file");
        let mut command = self.command(host);
        command
            .args(["--timeout", "60"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(to.try_clone().expect("a descriptor"))
            .stderr(to);
        self.run(move || command.spawn().expect("the client"))
    }

    /// The client in the control group of the session.
    fn command(&self, host: &Host) -> Command {
        let group = cgroup_root().join(format!(
            "user.slice/user-{}.slice/session-{}.scope",
            self.who.uid(),
            self.session
        ));
        fs::create_dir_all(&group).expect("a control group");
        let plain = host.command_as(self.who.user(), &[], host.dir().join("bin/claviger"));
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""])
            .arg(&group)
            .arg(plain.get_program())
            .args(plain.get_args())
            .current_dir("/");
        command
    }

    /// In the thread that has logged in: what it starts inherits the login uid.
    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let run = Box::new(move || tell.send(work()).map_err(drop).expect("the test"));
        self.jobs.send(run).expect("the chair");
        told.recv().expect("an answer")
    }
}

/// Where control groups of version 2 are.
fn cgroup_root() -> &'static Path {
    ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .map(Path::new)
        .find(|root| root.join("cgroup.procs").exists())
        .expect("control groups, version 2")
}
