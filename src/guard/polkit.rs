//! polkit, asked about the sender of the message.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use zbus::message::{Flags, Header};
use zbus::proxy::CacheProperties;
use zbus::{Connection, DBusError};
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

use super::Denied;
use crate::grant::Action;

/// How long polkit may take.
#[derive(Debug, Clone, Copy)]
pub struct PolkitDeadlines {
    /// Without a person.
    pub plain: Duration,
    /// With a person typing a password, or confirming with a key.
    pub interactive: Duration,
}

impl Default for PolkitDeadlines {
    fn default() -> Self {
        Self {
            plain: Duration::from_secs(10),
            interactive: Duration::from_secs(120),
        }
    }
}

/// The authority on the system bus.
pub(super) struct Polkit {
    proxy: AuthorityProxy<'static>,
    deadlines: PolkitDeadlines,
    checks: AtomicU64,
}

impl Polkit {
    /// Does not talk to polkit yet: it is started by the bus when first asked, and may come and go.
    pub(super) async fn new(connection: &Connection, deadlines: PolkitDeadlines) -> zbus::Result<Self> {
        let proxy = AuthorityProxy::builder(connection)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        Ok(Self {
            proxy,
            deadlines,
            checks: AtomicU64::new(1),
        })
    }

    /// Whether polkit answers.
    pub(super) async fn answers(&self) -> bool {
        let asked = tokio::time::timeout(self.deadlines.plain, self.proxy.backend_name());
        matches!(asked.await, Ok(Ok(_)))
    }

    /// Asks whether the sender of `header` may do `action`. The check is called off when `gone` resolves or the time is up.
    ///
    /// Rules look at `details` (“verb”, “token”) and may log them: no person and no serial in there.
    pub(super) async fn check(
        &self,
        header: &Header<'_>,
        action: Action,
        details: &HashMap<&str, &str>,
        gone: impl Future<Output = ()>,
    ) -> Result<(), Denied> {
        let subject = Subject::new_for_message_header(header).map_err(|_| Denied::NoSender)?;
        let interactive = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        let (flags, limit) = if interactive {
            (
                CheckAuthorizationFlags::ALLOW_USER_INTERACTION,
                self.deadlines.interactive,
            )
        } else {
            (CheckAuthorizationFlags::empty(), self.deadlines.plain)
        };
        let cancellation = format!("claviger-{}", self.checks.fetch_add(1, Ordering::Relaxed));
        let asked = self
            .proxy
            .check_authorization(&subject, action.polkit_id(), details, flags, &cancellation);
        let verdict = tokio::select! {
            biased;
            () = gone => Err(Denied::CallerGone),
            answer = tokio::time::timeout(limit, asked) => match answer {
                Ok(Ok(result)) => return read(action, interactive, &result),
                Ok(Err(error)) => return Err(Denied::PolkitUnreachable(reason(&error))),
                Err(_) => Err(Denied::PolkitTimeout(limit)),
            },
        };
        // Nobody waits for the answer any more: take the dialog off the screen. Bounded, for polkit may be the one that hangs.
        let cancelled = self.proxy.cancel_check_authorization(&cancellation);
        let _ = tokio::time::timeout(self.deadlines.plain, cancelled).await;
        verdict
    }
}

fn read(
    action: Action,
    interactive: bool,
    result: &zbus_polkit::policykit1::AuthorizationResult,
) -> Result<(), Denied> {
    let dismissed = result.details.get("polkit.dismissed").is_some_and(|v| !v.is_empty());
    match (result.is_authorized, result.is_challenge) {
        (true, _) => Ok(()),
        (false, _) if dismissed => Err(Denied::Dismissed(action)),
        (false, true) if interactive => Err(Denied::NoAgent(action)),
        (false, true) => Err(Denied::NeedsInteraction(action)),
        (false, false) => Err(Denied::NotAuthorized(action)),
    }
}

/// The error's name; its text may be anything and goes to the log only.
fn reason(error: &zbus::Error) -> String {
    tracing::warn!(%error, "polkit could not be asked");
    match error {
        zbus::Error::MethodError(name, _, _) => name.to_string(),
        zbus::Error::FDO(error) => error.name().to_string(),
        other => other.to_string(),
    }
}
