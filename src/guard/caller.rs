//! Whether a caller is still there. Told by the bus (`NameOwnerChanged`, matched on the one name), never polled.

use std::num::NonZeroUsize;

use futures_util::StreamExt;
use zbus::message::Type;
use zbus::names::UniqueName;
use zbus::{Connection, MatchRule, MessageStream};

/// Watches one unique name. A unique name is never given twice, so the first change of its owner is its end.
pub struct CallerWatch(MessageStream);

impl CallerWatch {
    /// Begins to watch. A name that died before is not noticed: ask the bus for its credentials after this.
    ///
    /// # Errors
    /// The bus refused the match rule or is gone.
    pub async fn begin(connection: &Connection, name: &UniqueName<'_>) -> zbus::Result<Self> {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender("org.freedesktop.DBus")
            .interface("org.freedesktop.DBus")
            .member("NameOwnerChanged")
            .add_arg(name.as_str())
            .build()?;
        MessageStream::for_match_rule(rule, connection, NonZeroUsize::new(2))
            .await
            .map(Self)
    }

    /// Returns when the caller has left the bus, or the bus has left us.
    pub async fn gone(&mut self) {
        // Any item will do: a unique name changes its owner once. None and errors mean that the bus is gone.
        let _ = self.0.next().await;
    }
}
