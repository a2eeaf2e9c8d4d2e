//! The real polkitd: what the tests' own rules say, when it comes and goes, and an authentication agent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use zbus::{Connection, OwnedVariant, interface};

use super::people::{Caller, polkit_subject};
use super::{Host, within};

const BUS_NAME: &str = "org.freedesktop.PolicyKit1";
const PATH: &str = "/org/freedesktop/PolicyKit1/Authority";
const INTERFACE: &str = "org.freedesktop.PolicyKit1.Authority";

/// Rules beside the shipped ones. Administrators are root, whatever the distribution says.
pub const RULES: &str = r#"
polkit.addAdminRule(function (action, subject) { return ["unix-user:0"]; });
polkit.addRule(function (action, subject) {
    if (action.id.indexOf("org.claviger.") !== 0) { return polkit.Result.NOT_HANDLED; }
    if (subject.user === "claviger-may") { return polkit.Result.YES; }
    if (subject.user === "claviger-barred") { return polkit.Result.NO; }
    return polkit.Result.NOT_HANDLED;
});
"#;

/// Begins to wait for polkitd to come onto the bus, or to leave it; the future that comes back ends when it has.
pub(super) async fn owner(connection: &Connection, present: bool) -> impl Future<Output = ()> {
    owner_of(connection, BUS_NAME, present).await
}

/// The same of any name.
pub(super) async fn owner_of(connection: &Connection, name: &str, present: bool) -> impl Future<Output = ()> {
    let name = name.to_owned();
    let bus = zbus::fdo::DBusProxy::new(connection).await.expect("the bus");
    let mut changes = bus
        .receive_name_owner_changed_with_args(&[(0, name.as_str())])
        .await
        .expect("a match rule");
    async move {
        within(&format!("{name} coming or going"), async {
            while let Some(change) = changes.next().await {
                let arguments = change.args().expect("arguments");
                if arguments.new_owner().is_some() == present {
                    return;
                }
            }
        })
        .await;
    }
}

/// The ids of all actions polkitd knows, with description and message.
pub async fn actions(connection: &Connection) -> HashMap<String, (String, String)> {
    type Described = (
        String,
        String,
        String,
        String,
        String,
        String,
        u32,
        u32,
        u32,
        HashMap<String, String>,
    );
    let reply = connection
        .call_method(Some(BUS_NAME), PATH, Some(INTERFACE), "EnumerateActions", &("C",))
        .await;
    let actions: Vec<Described> = reply.expect("its actions").body().deserialize().expect("actions");
    actions
        .into_iter()
        .map(|action| (action.0, (action.1, action.2)))
        .collect()
}

/// What the person at the screen does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    /// Types the right password.
    Confirms,
    /// Closes the dialog.
    Dismisses,
    /// Types a wrong password until the dialog gives up.
    Fails,
}

/// One dialog that was shown.
#[derive(Debug, Clone)]
pub struct Dialog {
    pub action: String,
    pub message: String,
    pub details: HashMap<String, String>,
}

/// An authentication agent for one caller. It runs as root, as the helper that checks passwords does.
pub struct Agent {
    _connection: Connection,
    shown: Arc<Mutex<Vec<Dialog>>>,
}

impl Agent {
    pub async fn register(host: &Host, caller: &Caller, temper: Temper) -> Self {
        let connection = zbus::connection::Builder::address(host.address())
            .build()
            .await
            .expect("a connection");
        let shown = Arc::<Mutex<Vec<_>>>::default();
        let screen = Screen {
            temper,
            shown: Arc::clone(&shown),
        };
        connection.object_server().at("/agent", screen).await.expect("an agent");
        let subject = polkit_subject(caller.pid());
        let body = (subject, "C", "/agent");
        let registered = connection.call_method(
            Some(BUS_NAME),
            PATH,
            Some(INTERFACE),
            "RegisterAuthenticationAgent",
            &body,
        );
        registered.await.expect("registered");
        Self {
            _connection: connection,
            shown,
        }
    }

    /// What was shown since it was last asked.
    pub fn shown(&self) -> Vec<Dialog> {
        std::mem::take(&mut *self.shown.lock().expect("no panic"))
    }
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.PolicyKit1.Error")]
enum AgentError {
    #[zbus(error)]
    ZBus(zbus::Error),
    Cancelled(String),
}

struct Screen {
    temper: Temper,
    shown: Arc<Mutex<Vec<Dialog>>>,
}

#[interface(name = "org.freedesktop.PolicyKit1.AuthenticationAgent")]
impl Screen {
    #[allow(clippy::too_many_arguments, reason = "polkit's signature")]
    async fn begin_authentication(
        &self,
        action: String,
        message: String,
        _icon: String,
        details: HashMap<String, String>,
        cookie: String,
        identities: Vec<(String, HashMap<String, OwnedVariant>)>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), AgentError> {
        self.shown.lock().expect("no panic").push(Dialog {
            action,
            message,
            details,
        });
        match self.temper {
            Temper::Dismisses => return Err(AgentError::Cancelled("the dialog was closed".to_owned())),
            Temper::Fails => return Ok(()),
            Temper::Confirms => {}
        }
        let body = (0_u32, cookie, identities.first().expect("somebody who may"));
        connection
            .call_method(
                Some(BUS_NAME),
                PATH,
                Some(INTERFACE),
                "AuthenticationAgentResponse2",
                &body,
            )
            .await?;
        Ok(())
    }

    fn cancel_authentication(&self, _cookie: String) {}
}
