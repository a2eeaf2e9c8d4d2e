//! The login session of a process, as logind tells it (org.freedesktop.login1(5)).

use std::time::Duration;

use zbus::fdo::PropertiesProxy;
use zbus::names::InterfaceName;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

use super::Seat;

const NAME: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const SESSION: &str = "org.freedesktop.login1.Session";
const USER: &str = "org.freedesktop.login1.User";
/// Its error for a process that is in no session.
const NO_SESSION: &str = "org.freedesktop.login1.NoSessionForPID";

/// How long logind may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogindError {
    /// The process is in none.
    #[error("the process that calls is in no login session: call from one of your own")]
    NoSession,
    /// logind is not there or does not answer as it should.
    #[error("logind could not be asked whose session this is ({0}); see “systemctl status systemd-logind”")]
    Unreachable(String),
}

/// The session of a process; of one that its user's own manager started, that user's session with a display.
pub(super) async fn seat(system_bus: &Connection, pid: u32) -> Result<Seat, LogindError> {
    let asked = async {
        match by_pid(system_bus, "GetSessionByPID", pid).await {
            Ok(session) => read(system_bus, &session, true).await,
            Err(LogindError::NoSession) => {
                let user = by_pid(system_bus, "GetUserByPID", pid).await?;
                let display: (String, OwnedObjectPath) = get(system_bus, &user, USER, "Display").await?;
                if display.0.is_empty() {
                    return Err(LogindError::NoSession);
                }
                read(system_bus, &display.1, false).await
            }
            Err(error) => Err(error),
        }
    };
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(LogindError::Unreachable("no answer".to_owned())),
    }
}

async fn by_pid(system_bus: &Connection, method: &str, pid: u32) -> Result<OwnedObjectPath, LogindError> {
    let reply = system_bus
        .call_method(Some(NAME), PATH, Some(MANAGER), method, &pid)
        .await
        .map_err(|error| match error {
            zbus::Error::MethodError(name, _, _) if name.as_str() == NO_SESSION => LogindError::NoSession,
            zbus::Error::MethodError(name, _, _) if name.as_str() == "org.freedesktop.login1.NoUserForPID" => {
                LogindError::NoSession
            }
            other => unreachable(&other),
        })?;
    reply.body().deserialize().map_err(|error| unreachable(&error))
}

async fn read(system_bus: &Connection, session: &OwnedObjectPath, holds_process: bool) -> Result<Seat, LogindError> {
    let (uid, _): (u32, OwnedObjectPath) = get(system_bus, session, SESSION, "User").await?;
    let audit: u32 = get(system_bus, session, SESSION, "Audit").await?;
    let state: String = get(system_bus, session, SESSION, "State").await?;
    Ok(Seat {
        closing: state == "closing",
        id: get(system_bus, session, SESSION, "Id").await?,
        uid,
        class: get(system_bus, session, SESSION, "Class").await?,
        // Unset, or 0, is none: then the session began without a log-in, and agrees with no process that has one.
        audit: holds_process.then_some(audit),
    })
}

async fn get<T>(
    system_bus: &Connection,
    at: &OwnedObjectPath,
    interface: &'static str,
    name: &str,
) -> Result<T, LogindError>
where
    T: TryFrom<OwnedVariant>,
{
    let properties = PropertiesProxy::new(system_bus, NAME, at.as_ref())
        .await
        .map_err(|error| unreachable(&error))?;
    let value = properties
        .get(InterfaceName::from_static_str_unchecked(interface), name)
        .await
        .map_err(|error| unreachable(&error))?;
    let strange = |_| LogindError::Unreachable(format!("its “{name}” is of another type"));
    T::try_from(value).map_err(strange)
}

fn unreachable(error: &dyn std::fmt::Display) -> LogindError {
    LogindError::Unreachable(error.to_string())
}
