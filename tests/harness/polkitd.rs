//! The real polkitd on a private system bus, with our policy and the rules a test gives it.
//!
//! It runs in a mount namespace of its own, in which private directories lie over `/etc/polkit-1/rules.d` and
//! `/usr/share/polkit-1/actions`, and a private `/etc/group` over the host's. That needs root; without it a test says so in one
//! visible line and passes.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use zbus::{Connection, OwnedVariant, Variant, interface};

use super::bus::{PrivateBus, within};

const POLKITD: &str = "/usr/lib/polkit-1/polkitd";
const AUTHORITY: (&str, &str, &str) = (
    "org.freedesktop.PolicyKit1",
    "/org/freedesktop/PolicyKit1/Authority",
    "org.freedesktop.PolicyKit1.Authority",
);

/// Why it cannot run here, if it cannot.
pub fn missing() -> Option<&'static str> {
    if !nix::unistd::Uid::effective().is_root() {
        Some("needs root")
    } else if !Path::new(POLKITD).exists() {
        Some("no polkitd (Debian: polkitd)")
    } else {
        let unshare = Command::new("unshare").args(["-m", "true"]).status();
        match unshare {
            Ok(status) if status.success() => None,
            _ => Some("mount namespaces are not allowed here"),
        }
    }
}

/// A running polkitd. Ends when dropped.
pub struct Polkitd {
    child: Child,
    _dir: TempDir,
}

impl Polkitd {
    /// Starts it on a system bus.
    ///
    /// `rules` are files for `rules.d` (name and text); `service` is the user the daemon runs as here, in place of
    /// `claviger`; `help_desk` are users put into the group `claviger-helpdesk`.
    pub async fn start(bus: &PrivateBus, rules: &[(&str, String)], service: &str, help_desk: &str) -> Self {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/polkit/org.claviger.policy");
        let policy = fs::read_to_string(ours).expect("our policy");
        let policy = policy.replace("unix-user:claviger", &format!("unix-user:{service}"));
        let group = fs::read_to_string("/etc/group").expect("the groups");
        let group: String = group
            .lines()
            .filter(|line| !line.starts_with("claviger-helpdesk:"))
            .map(|line| format!("{line}\n"))
            .collect();
        write(dir.path(), "actions/org.claviger.policy", &policy);
        write(
            dir.path(),
            "group",
            &format!("{group}claviger-helpdesk:x:54321:{help_desk}\n"),
        );
        write(dir.path(), "rules/.keep", "");
        for (name, text) in rules {
            write(dir.path(), &format!("rules/{name}"), text);
        }
        readable(dir.path());
        let script = r#"set -e
mount --bind "$1/rules" /etc/polkit-1/rules.d
mount --bind "$1/actions" /usr/share/polkit-1/actions
mount --bind "$1/group" /etc/group
exec "$2" --no-debug"#;
        let child = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", script, "polkitd"])
            .arg(dir.path())
            .arg(POLKITD)
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
            .spawn()
            .expect("unshare");
        let client = bus.connect().await;
        let proxy = zbus::fdo::DBusProxy::new(&client).await.expect("the bus");
        let name = zbus::names::BusName::try_from(AUTHORITY.0).expect("a name");
        within("polkitd coming onto the bus", async {
            while !proxy.name_has_owner(name.clone()).await.expect("an answer") {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
        Self { child, _dir: dir }
    }
}

impl Drop for Polkitd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::write(&path, text).expect("written");
}

/// polkitd reads as a user of its own.
fn readable(path: &Path) {
    let directory = path.is_dir();
    let mode = if directory { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("readable");
    if directory {
        for entry in fs::read_dir(path).expect("a directory") {
            readable(&entry.expect("an entry").path());
        }
    }
}

/// What the person at the screen does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person {
    /// Types the right password.
    Confirms,
    /// Closes the dialog.
    Dismisses,
}

/// Actions and details that an agent was asked for.
type Asked = Arc<Mutex<Vec<(String, HashMap<String, String>)>>>;

/// An authentication agent for one process. Needs root, as the helper that checks passwords does.
pub struct Agent {
    _connection: Connection,
    asked: Asked,
}

impl Agent {
    /// Registers itself for a process.
    pub async fn register(bus: &PrivateBus, pid: u32, person: Person) -> Self {
        let connection = bus.connect().await;
        let asked = Asked::default();
        let dialog = Dialog {
            person,
            asked: asked.clone(),
        };
        connection.object_server().at("/agent", dialog).await.expect("an agent");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process");
        // proc(5): the name in parentheses may hold anything; the start time is field 22, the 20th after it.
        let (_, fields) = stat.rsplit_once(") ").expect("fields");
        let started: u64 = fields
            .split(' ')
            .nth(19)
            .and_then(|f| f.parse().ok())
            .expect("a start time");
        let uid = std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{pid}")).expect("the process"));
        let subject = (
            "unix-process",
            HashMap::from([
                ("pid", Variant::from(pid)),
                ("start-time", Variant::from(started)),
                ("uid", Variant::from(i32::try_from(uid).expect("a uid"))),
            ]),
        );
        connection
            .call_method(
                Some(AUTHORITY.0),
                AUTHORITY.1,
                Some(AUTHORITY.2),
                "RegisterAuthenticationAgent",
                &(subject, "C", "/agent"),
            )
            .await
            .expect("registered");
        Self {
            _connection: connection,
            asked,
        }
    }

    /// Actions and details it was asked for.
    pub fn asked(&self) -> Vec<(String, HashMap<String, String>)> {
        self.asked.lock().unwrap().clone()
    }
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.PolicyKit1.Error")]
enum DialogError {
    #[zbus(error)]
    ZBus(zbus::Error),
    Cancelled(String),
}

struct Dialog {
    person: Person,
    asked: Asked,
}

#[interface(name = "org.freedesktop.PolicyKit1.AuthenticationAgent")]
impl Dialog {
    #[allow(clippy::too_many_arguments)]
    async fn begin_authentication(
        &self,
        action: String,
        _message: String,
        _icon: String,
        details: HashMap<String, String>,
        cookie: String,
        identities: Vec<(String, HashMap<String, OwnedVariant>)>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), DialogError> {
        self.asked.lock().unwrap().push((action, details));
        if self.person == Person::Dismisses {
            return Err(DialogError::Cancelled("dismissed".to_owned()));
        }
        let identity = identities.first().expect("somebody who may");
        connection
            .call_method(
                Some(AUTHORITY.0),
                AUTHORITY.1,
                Some(AUTHORITY.2),
                "AuthenticationAgentResponse2",
                &(0_u32, cookie, identity),
            )
            .await?;
        Ok(())
    }

    fn cancel_authentication(&self, _cookie: String) {}
}
