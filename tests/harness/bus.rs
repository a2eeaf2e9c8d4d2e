//! A private `dbus-daemon`, and connections to it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use zbus::{Connection, DBusError};

/// How long anything in a test may take before the test fails: far longer than it does take.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// A message bus of our own. Ends when dropped.
pub struct PrivateBus {
    child: Child,
    address: String,
    dir: TempDir,
}

impl PrivateBus {
    /// One person's bus, on which everything is allowed.
    pub fn start() -> Self {
        Self::with(
            r#"<type>session</type>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>"#,
        )
    }

    /// A system bus with the distribution's policies and ours, open to every user.
    pub fn system() -> Self {
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/org.claviger.Claviger1.conf");
        let bus = Self::with(&format!(
            r#"<type>system</type>
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
  </policy>
  <includedir>/usr/share/dbus-1/system.d</includedir>
  <include>{ours}</include>"#
        ));
        bus.open_to_others();
        bus
    }

    /// Starts a bus with this in its configuration, and waits until it listens.
    fn with(policy: &str) -> Self {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let socket = dir.path().join("bus");
        let config = dir.path().join("bus.conf");
        let text = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>
  {policy}
</busconfig>"#,
            socket.display()
        );
        std::fs::write(&config, text).expect("its configuration");
        let mut child = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon is installed (Debian: dbus-daemon)");
        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("its output"))
            .read_line(&mut address)
            .expect("its address");
        assert!(!address.is_empty(), "dbus-daemon did not start");
        Self {
            child,
            address: address.trim().to_owned(),
            dir,
        }
    }

    /// Where it listens, for `DBUS_SESSION_BUS_ADDRESS` or `DBUS_SYSTEM_BUS_ADDRESS`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A directory that lives as long as the bus.
    #[allow(dead_code, reason = "not every program that brings up a bus needs it")]
    pub fn directory(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// A copy of this test program where other users can start it: the build directory may lie where they cannot go.
    ///
    /// `cp` does it, for a descriptor open for writing here would be inherited by whatever another test starts at the same
    /// moment, and then the copy cannot be executed (ETXTBSY).
    pub fn program(&self) -> std::path::PathBuf {
        let copy = self.dir.path().join("program");
        if !copy.exists() {
            let this = std::env::current_exe().expect("this program");
            let copied = Command::new("cp").arg(this).arg(&copy).status().expect("cp");
            assert!(copied.success(), "this program could not be copied");
        }
        copy
    }

    /// Lets other users reach the socket.
    pub fn open_to_others(&self) {
        use std::os::unix::fs::PermissionsExt;
        for (path, mode) in [
            (self.dir.path().to_owned(), 0o755),
            (self.dir.path().join("bus"), 0o777),
        ] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("opened");
        }
    }

    /// A connection for the daemon's objects, made as the daemon makes it.
    pub async fn connect_to_serve(&self) -> Connection {
        let builder = zbus::connection::Builder::address(self.address.as_str());
        claviger::bus::connect(builder)
            .await
            .expect("a connection to the private bus")
    }

    /// A new connection.
    pub async fn connect(&self) -> Connection {
        zbus::connection::Builder::address(self.address.as_str())
            .build()
            .await
            .expect("a connection to the private bus")
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that must come.
pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

/// Waits until something is so that cannot be waited for otherwise.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    within(what, async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Name and sentence of an error reply.
pub fn refused<T: std::fmt::Debug>(reply: zbus::Result<T>) -> (String, String) {
    match reply {
        Err(zbus::Error::MethodError(name, text, _)) => (name.to_string(), text.unwrap_or_default()),
        Err(zbus::Error::FDO(error)) => (
            error.name().to_string(),
            error.description().unwrap_or_default().to_owned(),
        ),
        other => panic!("an error reply was expected, not {other:?}"),
    }
}
