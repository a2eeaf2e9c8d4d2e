//! What the doctor learns over D-Bus: the daemon, its own view of the host, polkit.

use std::time::Duration;

use serde_json::Value;
use zbus::Connection;
use zbus::fdo::DBusProxy;

use crate::client::doctor::Check;
use crate::client::failure::Failure;
use crate::client::render::{cell, record};
use crate::client::session::{Bus, Session, no_options};
use crate::contract::proxy::Record;
use crate::contract::{API_VERSION, BUS_NAME, POLKIT_ACTIONS};

const UNIT: &str = "clavigerd.service";

/// Checks of a daemon that answers, its mode, and its status as it tells it.
pub async fn reachable(session: &Session) -> (Vec<Check>, String, Value) {
    let mut checks = Vec::new();
    let manager = match session.manager().await {
        Ok(manager) => manager,
        Err(failure) => {
            return (
                vec![Check::fail("daemon", reason(&failure), "")],
                String::new(),
                Value::Null,
            );
        }
    };
    let version = manager.version().await.unwrap_or_default();
    let mode = manager.mode().await.unwrap_or_default();
    checks.push(match manager.api_version().await {
        Ok(api) if api < API_VERSION => Check::fail(
            "daemon",
            format!("clavigerd {version} has interface version {api}, this client wants {API_VERSION}"),
            format!("sudo systemctl restart {UNIT}"),
        ),
        Ok(_) => Check::ok("daemon", format!("clavigerd {version} answers ({mode} mode)")),
        Err(error) => Check::fail("daemon", Failure::from(error).to_string(), journal()),
    });
    match manager.ready().await {
        Ok(true) => {}
        Ok(false) => checks.push(Check::warn("daemon", "it is still starting", journal())),
        Err(error) => checks.push(Check::fail("daemon", Failure::from(error).to_string(), journal())),
    }
    match manager.status(&no_options()).await.map_err(Failure::from) {
        Ok(status) => {
            checks.extend(status_checks(&status, mode == "session"));
            (checks, mode, record(&status))
        }
        Err(failure @ Failure::Denied(_)) => {
            let mend = "sudo usermod -aG claviger-helpdesk $USER (and log in again), or run this as an administrator";
            checks.push(Check::warn(
                "permission",
                format!("you may not ask for its status: {failure}"),
                mend,
            ));
            (checks, mode, Value::Null)
        }
        Err(failure) => {
            checks.push(Check::fail("daemon", reason(&failure), journal()));
            (checks, mode, Value::Null)
        }
    }
}

fn journal() -> String {
    format!("journalctl -u {UNIT} -b")
}

/// The daemon's own view (`Manager1.Status`).
fn status_checks(status: &Record, own_bus: bool) -> Vec<Check> {
    let flag = |key: &str| status.get(key).and_then(|value| value.downcast_ref::<bool>().ok());
    let count = |key: &str| {
        status
            .get(key)
            .and_then(|value| value.downcast_ref::<u32>().ok())
            .unwrap_or_default()
    };
    let mut checks = Vec::new();
    if flag("card-service") == Some(false) {
        let mend = "sudo systemctl enable --now pcscd.socket";
        checks.push(Check::warn(
            "cards",
            "the daemon has no connection to pcscd: no card can be used",
            mend,
        ));
    }
    if !own_bus && flag("polkit") == Some(false) {
        let mend = "sudo systemctl start polkit";
        checks.push(Check::fail(
            "polkit",
            "the daemon cannot reach polkit and denies everything",
            mend,
        ));
    }
    if flag("clock-synchronised") == Some(false) {
        let finding = "the daemon sees an unsynchronised clock: fobs cannot be resynced";
        checks.push(Check::warn("clock", finding, "sudo timedatectl set-ntp true"));
    }
    if count("unresponsive") > 0 {
        let finding = format!("{} device(s) do not answer", count("unresponsive"));
        checks.push(Check::warn(
            "devices",
            finding,
            "unplug them and plug them in again (“claviger devices” names them)",
        ));
    }
    if count("open-obligations") > 0 {
        let finding = format!("{} obligation(s) are open", count("open-obligations"));
        checks.push(Check::warn("obligations", finding, "claviger obligations"));
    }
    if flag("virtual-link") == Some(true) && !own_bus {
        let finding = "the virtual link is on: simulated tokens can be plugged in";
        checks.push(Check::warn(
            "virtual link",
            finding,
            "remove [virtual] from /etc/claviger/clavigerd.toml where people work",
        ));
    }
    let policy = cell(status, "policy");
    if policy == "off" && !own_bus {
        let finding = "no policy is in force: tokens are changed without a case";
        checks.push(Check::warn(
            "policy",
            finding,
            "remove policy = \"off\" from [authority] in /etc/claviger/clavigerd.toml where people work",
        ));
    }
    if policy != "off" && flag("cases-demanded") == Some(false) {
        let finding = "a policy is in force, but no case is demanded: tokens are changed without one";
        checks.push(Check::warn(
            "policy",
            finding,
            "remove demand-cases = false from [authority] in /etc/claviger/clavigerd.toml once cases are in use",
        ));
    }
    let refused = cell(status, "policy-refused");
    if !refused.is_empty() {
        let finding =
            format!("the policy was not taken when it was last read anew; the one before it is in force: {refused}");
        checks.push(Check::fail(
            "policy",
            finding,
            "claviger policy check /etc/claviger/policy.toml",
        ));
    }
    let ledger = cell(status, "ledger");
    if !ledger.is_empty() {
        checks.push(Check::ok("ledger", ledger));
    }
    checks
}

/// The reason without the advice to ask the doctor.
fn reason(failure: &Failure) -> String {
    match failure {
        Failure::Unreachable(reason) => format!("no answer: {reason}"),
        other => other.to_string(),
    }
}

/// Why the daemon does not answer, as exactly as can be told from outside.
pub async fn unreachable(bus: &Bus, failure: &Failure) -> Check {
    if let Failure::Denied(reason) = failure {
        let mend = format!("check that the bus policy is installed: ls /usr/share/dbus-1/system.d/{BUS_NAME}.conf");
        return Check::fail("daemon", format!("the bus does not let you talk to it: {reason}"), mend);
    }
    if *bus != Bus::System {
        return Check::fail("daemon", reason(failure), "clavigerd --mode session");
    }
    let Ok(connection) = bus.connect(Some(Duration::from_secs(5))).await else {
        return Check::fail("daemon", reason(failure), "sudo systemctl start dbus");
    };
    if let Some(state) = unit_state(&connection).await {
        match state.as_str() {
            "failed" => {
                return Check::fail(
                    "daemon",
                    format!("{UNIT} has failed"),
                    format!("{}; sudo systemctl restart {UNIT}", journal()),
                );
            }
            "active" | "activating" => {
                let finding = format!("{UNIT} is {state} but does not own {BUS_NAME}");
                return Check::fail("daemon", finding, journal());
            }
            _ => {}
        }
    }
    if activatable(&connection).await {
        return Check::fail(
            "daemon",
            reason(failure),
            format!("sudo systemctl start {UNIT}; {}", journal()),
        );
    }
    let finding =
        format!("{BUS_NAME} is neither running nor known to the bus: it is not installed, or the bus was not told");
    Check::fail(
        "daemon",
        finding,
        "sudo make install && sudo systemctl reload dbus && sudo systemctl enable --now clavigerd",
    )
}

async fn activatable(connection: &Connection) -> bool {
    let Ok(bus) = DBusProxy::new(connection).await else {
        return false;
    };
    bus.list_activatable_names()
        .await
        .is_ok_and(|names| names.iter().any(|name| name.as_str() == BUS_NAME))
}

/// `ActiveState` of our unit; none without systemd.
async fn unit_state(connection: &Connection) -> Option<String> {
    let manager = zbus::Proxy::new(
        connection,
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
    )
    .await
    .ok()?;
    let unit: zbus::OwnedObjectPath = manager.call("GetUnit", &(UNIT,)).await.ok()?;
    let unit = zbus::Proxy::new(
        connection,
        "org.freedesktop.systemd1",
        unit,
        "org.freedesktop.systemd1.Unit",
    )
    .await
    .ok()?;
    unit.get_property("ActiveState").await.ok()
}

/// polkit: reachable, and does it know our actions.
pub async fn polkit(system: bool, timeout: Option<Duration>) -> Vec<Check> {
    if !system {
        return vec![Check::skip(
            "polkit",
            "not used in session mode: only the daemon's own user is admitted",
        )];
    }
    let connection = match Bus::System.connect(timeout).await {
        Ok(connection) => connection,
        Err(failure) => return vec![Check::fail("polkit", reason(&failure), "sudo systemctl start dbus")],
    };
    match known_actions(&connection).await {
        Ok(known) => {
            let missing: Vec<&str> = POLKIT_ACTIONS
                .iter()
                .copied()
                .filter(|action| !known.iter().any(|one| one == action))
                .collect();
            vec![if missing.is_empty() {
                Check::ok("polkit", "it answers and knows our actions")
            } else {
                let finding = format!("it does not know {}: everything is denied", missing.join(", "));
                Check::fail(
                    "polkit",
                    finding,
                    "sudo make install (polkit/*.policy to /usr/share/polkit-1/actions)",
                )
            }]
        }
        Err(error) => vec![Check::fail(
            "polkit",
            format!("it does not answer, so everything is denied: {}", error),
            "sudo apt-get install polkitd && sudo systemctl start polkit",
        )],
    }
}

/// Ids of all actions. The other members of `EnumerateActions` do not interest us.
async fn known_actions(connection: &Connection) -> zbus::Result<Vec<String>> {
    type Action = (
        String,
        String,
        String,
        String,
        String,
        String,
        u32,
        u32,
        u32,
        std::collections::HashMap<String, String>,
    );
    let authority = zbus::Proxy::new(
        connection,
        "org.freedesktop.PolicyKit1",
        "/org/freedesktop/PolicyKit1/Authority",
        "org.freedesktop.PolicyKit1.Authority",
    )
    .await?;
    let actions: Vec<Action> = authority.call("EnumerateActions", &("",)).await?;
    Ok(actions.into_iter().map(|action| action.0).collect())
}
