//! Where the daemon is measured: a private system bus with the real polkitd where that can be had, else a private session bus.

use std::path::Path;
use std::time::Duration;

use claviger::contract::{BUS_NAME, ROOT_PATH};
use zbus::fdo::ObjectManagerProxy;
use zbus::{Connection, OwnedObjectPath};

use crate::harness::bus::{PrivateBus, within};
use crate::harness::polkitd::{Polkitd, missing};

/// The caller: unprivileged, and let in by a rule. Debian's `nobody`.
pub const PERSON: u32 = 65534;

/// Says yes to the caller and nothing about anybody else.
const RULE: &str = r#"polkit.addRule(function (action, subject) {
    if (action.id.indexOf("org.claviger.") === 0 && subject.user === "nobody") { return polkit.Result.YES; }
});
"#;

/// A bus, and what decides on it.
pub struct Stage {
    // In the order of their end.
    polkitd: Option<Polkitd>,
    pub bus: PrivateBus,
    /// Of the user who runs the benchmark.
    pub connection: Connection,
}

impl Stage {
    /// System mode where it can be had.
    pub async fn open() -> Self {
        match Self::system().await {
            Ok(stage) => stage,
            Err(_) => Self::session().await,
        }
    }

    /// Session mode.
    pub async fn session() -> Self {
        let bus = PrivateBus::start();
        let connection = bus.connect().await;
        Self {
            polkitd: None,
            bus,
            connection,
        }
    }

    /// System mode, or what is missing for it.
    pub async fn system() -> Result<Self, String> {
        if let Some(why) = missing() {
            return Err(format!("the real polkitd cannot run: {why}"));
        }
        let bus = PrivateBus::system();
        let polkitd = Polkitd::start(&bus, &[("10-bench.rules", RULE.to_owned())], "root", "").await;
        let connection = bus.connect().await;
        Ok(Self {
            polkitd: Some(polkitd),
            bus,
            connection,
        })
    }

    /// As the daemon's `--mode` wants it.
    pub fn mode(&self) -> &'static str {
        if self.polkitd.is_some() { "system" } else { "session" }
    }

    /// What makes a program find this bus.
    pub fn variable(&self) -> (&'static str, String) {
        let name = match self.polkitd {
            Some(_) => "DBUS_SYSTEM_BUS_ADDRESS",
            None => "DBUS_SESSION_BUS_ADDRESS",
        };
        (name, self.bus.address().to_owned())
    }

    /// For sockets, whose paths must be short.
    pub fn directory(&self) -> &Path {
        self.bus.directory()
    }

    /// The daemon's ObjectManager.
    pub async fn objects(&self) -> ObjectManagerProxy<'static> {
        ObjectManagerProxy::builder(&self.connection)
            .destination(BUS_NAME)
            .path(ROOT_PATH)
            .build()
            .await
            .expect("a proxy")
    }

    /// The one device that is plugged in.
    pub async fn device(&self) -> OwnedObjectPath {
        let objects = self.objects().await;
        within("a device", async {
            loop {
                let managed = objects.get_managed_objects().await.expect("objects");
                let device = managed
                    .into_iter()
                    .find(|(_, interfaces)| interfaces.keys().any(|name| name.as_str() == "org.claviger.Device1"));
                if let Some((path, _)) = device {
                    return path;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }
}
