//! A call from its measured arguments to its operation's path.

use std::sync::Arc;

use zbus::message::Header;

use super::Desk;
use super::error::BusError;
use super::operation::Accepted;
use super::sealed::{Opened, Sealed};
use crate::guard::Deed;
use crate::lifecycle::Request;

/// What makes a verb's request of the secrets, once they are read.
type Verb = Box<dyn FnOnce(Opened) -> Result<Request, BusError> + Send>;

/// A call whose arguments have been measured: what it asks to be admitted to, the descriptors it brought, and its verb.
pub(super) struct Call {
    deed: Deed,
    sealed: Sealed,
    verb: Verb,
}

impl Call {
    /// A call with secrets.
    pub(super) fn new(
        deed: Deed,
        sealed: Sealed,
        verb: impl FnOnce(Opened) -> Result<Request, BusError> + Send + 'static,
    ) -> Self {
        Self {
            deed,
            sealed,
            verb: Box::new(verb),
        }
    }

    /// A call without.
    pub(super) fn plain(deed: Deed, request: Request) -> Self {
        Self::new(deed, Sealed::default(), |_| Ok(request))
    }

    /// Admits, takes a place, reads the secrets, starts the verb and answers with its operation's path: in this order, so that
    /// those who may not make nothing happen.
    pub(super) async fn launch(self, desk: &Desk, header: &Header<'_>) -> Result<Accepted, BusError> {
        let grant = desk.guard.admit(header, self.deed).await?;
        desk.require_ready()?;
        let slot = desk.operations.reserve(header, &grant).await?;
        let opened = self.sealed.open(&desk.file_reads).await?;
        let operation = Arc::clone(&desk.verbs).start(grant, (self.verb)(opened)?)?;
        desk.operations.show(operation, slot).await
    }
}
