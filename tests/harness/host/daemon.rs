//! The shipped daemon in system mode, under the service's user.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Stdio;

use claviger::contract::proxy::{Manager1Proxy, Tokens1Proxy};
use zbus::proxy::CacheProperties;

use super::{Host, PATIENCE, Person, Process, open_to_all, put};

/// A running daemon. Ends when dropped; what it logged is printed when a test fails.
pub struct Daemon {
    pub process: Process,
    log: PathBuf,
    state: PathBuf,
}

/// Where simulated tokens come in when a test wants no host stack below.
pub fn virtual_socket(host: &Host) -> PathBuf {
    host.dir().join("state/virtual.sock")
}

impl Daemon {
    /// Starts it and waits until it says that it is ready (sd_notify(3)). `sections` go into its configuration file,
    /// `environment` reaches it alone.
    pub fn start(host: &Host, sections: &str, environment: &[(String, String)]) -> Self {
        let state = host.dir().join("state");
        if !state.exists() {
            fs::create_dir(&state).expect("a directory");
            std::os::unix::fs::chown(&state, Some(Person::Service.uid()), Some(Person::Service.uid()))
                .expect("an owner");
            open_to_all(&state, 0o700);
        }
        // What is tested is something else, unless the test says which policy.
        let authority = if sections.contains("[authority]") {
            ""
        } else {
            "[authority]\npolicy = \"off\"\n"
        };
        let config = format!(
            "[state]\ndirectory = {:?}\n[clock]\nkept-from-outside = true\n{authority}{sections}\n",
            state.display()
        );
        put(host.dir(), "clavigerd.toml", &config);
        let socket = host.dir().join("notify.sock");
        // Of an earlier start.
        let _ = fs::remove_file(&socket);
        let notified = UnixDatagram::bind(&socket).expect("a socket");
        open_to_all(&socket, 0o666);
        notified.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let log = host.dir().join("clavigerd.log");
        let to = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log");
        let mut all = environment.to_vec();
        all.push(("NOTIFY_SOCKET".to_owned(), socket.display().to_string()));
        let mut command = host.command_as(Person::Service.user(), &all, host.dir().join("bin/clavigerd"));
        command
            .arg("--config")
            .arg(host.dir().join("clavigerd.toml"))
            .stdout(Stdio::null())
            .stderr(to);
        let daemon = Self {
            process: Process::start("clavigerd", &mut command),
            log,
            state,
        };
        let mut message = [0; 4096];
        loop {
            let length = notified.recv(&mut message).expect("the daemon becomes ready");
            let text = String::from_utf8_lossy(&message[..length]);
            if text.lines().any(|line| line == "READY=1") {
                return daemon;
            }
        }
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The bytes of the ledger's files: any row that is written shows in one of them. The index of the write-ahead log is not
    /// among them, because readers touch it.
    pub fn ledger_bytes(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(&self.state)
            .expect("the state directory")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.is_file())
            .map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), path))
            .filter(|(name, _)| !name.ends_with("-shm"))
            .map(|(name, path)| (name, fs::read(path).expect("a file")))
            .collect();
        files.sort();
        files
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- clavigerd said ---\n{}", self.log());
        }
    }
}

/// The daemon as a whole, asked by root.
pub async fn manager(host: &Host) -> Manager1Proxy<'static> {
    let builder = Manager1Proxy::builder(&host.root).cache_properties(CacheProperties::No);
    builder.build().await.expect("a proxy")
}

/// The ledger, asked by root.
pub async fn tokens(host: &Host) -> Tokens1Proxy<'static> {
    let builder = Tokens1Proxy::builder(&host.root).cache_properties(CacheProperties::No);
    builder.build().await.expect("a proxy")
}

/// Row counts, journal head and obligations, as root sees them.
pub async fn standing(host: &Host) -> String {
    let (intact, report) = manager(host)
        .await
        .verify_journal(&Default::default())
        .await
        .expect("a report");
    assert!(intact, "the journal does not verify: {report:?}");
    let (owed, _) = tokens(host)
        .await
        .obligations("", 1000, &Default::default())
        .await
        .expect("obligations");
    let told = |name: &str| format!("{:?}", report.get(name));
    format!(
        "entries {} tokens {} head {} obligations {}",
        told("entries"),
        told("tokens"),
        told("head"),
        owed.len()
    )
}
