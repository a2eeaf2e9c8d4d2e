//! A revoked key that is plugged in again is told to those who listen, and journalled, once for each plug. Nothing is done to it.
//!
//! It is known by what cannot be anybody else's: the credential that it still owes, or the serial that its maker gave to it alone. A key
//! without such a serial whose credential is gone is not known again, and holds nothing of ours.

use std::time::Instant;

use serde_json::json;

use crate::device::handle::DeviceHandle;
use crate::device::identity::{Facts, Honesty};
use crate::grant::{Action, Grant, Object};
use crate::ledger::{Event, Filter, Mutation, TokenRecord};
use crate::lifecycle::{Lifecycle, Refusal};
use crate::types::{Cancel, DeviceId, TokenId, TokenKind, TokenState};

/// Most tokens of one serial that are looked at.
const MOST: u32 = 64;

/// By what a revoked key was known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KnownBy {
    /// Its credential: proof.
    Credential,
    /// Its serial: the maker's word.
    Serial,
}

impl KnownBy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Serial => "serial",
        }
    }
}

impl Lifecycle {
    /// Looks whether this is, by its serial, a key that was revoked and is in use for nobody.
    ///
    /// # Errors
    /// [`Refusal::Ledger`], [`Refusal::Device`].
    pub(super) async fn look_for_revoked(&self, handle: &DeviceHandle, standing: &Grant) -> Result<(), Refusal> {
        let info = handle.info();
        let any = Filter {
            kind: Some(TokenKind::Fido2),
            state: Some(TokenState::Revoked),
            ..Filter::default()
        };
        // Nobody is asked while nothing was revoked.
        if self.ledger().find(&any, None, 1).await?.items.is_empty() {
            return Ok(());
        }
        let Some(serial) = self.own_serial(handle).await? else {
            return Ok(());
        };
        let of_serial = Filter {
            kind: Some(TokenKind::Fido2),
            serial: Some(serial),
            ..Filter::default()
        };
        let known = self.ledger().find(&of_serial, None, MOST).await?.items;
        let known: Vec<TokenRecord> = known
            .into_iter()
            .filter(|record| record.reality == info.reality)
            .collect();
        // Handed out again since, to whomever: then it is in use.
        if known.iter().any(|record| record.state != TokenState::Revoked) {
            return Ok(());
        }
        if let Some(last) = known.last() {
            self.revoked_seen(handle.id(), last.id, KnownBy::Serial, standing)
                .await?;
        }
        Ok(())
    }

    /// The serial that is this device's alone. Only what can have one is opened for it.
    async fn own_serial(&self, handle: &DeviceHandle) -> Result<Option<String>, Refusal> {
        let own = |facts: &Facts| {
            let serial = facts.serial.as_ref().filter(|serial| serial.honesty == Honesty::Own)?;
            Some(serial.text.clone())
        };
        let facts = handle.facts();
        if let Some(serial) = own(&facts) {
            return Ok(Some(serial));
        }
        if handle.is_known() {
            return Ok(None);
        }
        let figures = self.settings().deadlines;
        let deadline = Instant::now() + figures.lock + figures.exchange * 2;
        let told = handle
            .run(deadline, Cancel::new(), move |session| facts.with_management(session))
            .await?;
        Ok(own(&told))
    }

    /// Tells and journals that a revoked key is here, unless that was done for this plug.
    ///
    /// # Errors
    /// [`Refusal::Ledger`].
    pub(super) async fn revoked_seen(
        &self,
        device: DeviceId,
        token: TokenId,
        by: KnownBy,
        standing: &Grant,
    ) -> Result<(), Refusal> {
        standing.require(Action::Inspect, &Object::Whole)?;
        if self.returned().insert(device, token) == Some(token) {
            return Ok(());
        }
        let event = Event {
            name: "token.revoked-seen",
            authority: standing.authority(None),
            token: Some(token),
            at: self.clock().now(),
            detail: [("by", json!(by.as_str()))].into(),
        };
        let still = Mutation::Require {
            token,
            states: &[TokenState::Revoked],
        };
        self.ledger().commit(event, vec![still]).await?;
        tracing::warn!(%device, %token, by = by.as_str(), "a revoked key was plugged in");
        // Nobody listening is no fault: the journal has it.
        let _ = self.revoked.send((device, token));
        Ok(())
    }
}
