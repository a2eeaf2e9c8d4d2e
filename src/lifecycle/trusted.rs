//! Who still trusts a key: the relying parties that the ledger knows of.

use std::collections::BTreeSet;

use crate::ledger::{Binding, Filter, TokenRecord};
use crate::lifecycle::{Lifecycle, Refusal};
use crate::types::{TokenKind, TokenState};

/// Most tokens of one serial that are looked at.
const MOST: u32 = 256;

impl Lifecycle {
    /// The relying parties that still accept the key which is the body of `record`, in order. Our own stops when the token is revoked;
    /// an identity provider goes on until the credential is deleted there, and so do the other live tokens of the same key, by its serial.
    ///
    /// # Errors
    /// [`Refusal::Ledger`].
    pub async fn trusted_by(&self, record: &TokenRecord) -> Result<Vec<String>, Refusal> {
        let mut parties = BTreeSet::new();
        let accepted = |record: &TokenRecord| match &record.binding {
            Binding::Fido2 { rp_id, .. } => {
                let ours = *rp_id == self.settings().rp_id;
                (!ours || record.state != TokenState::Revoked).then(|| rp_id.clone())
            }
            _ => None,
        };
        parties.extend(accepted(record));
        if let Some(serial) = record
            .personal
            .serial
            .clone()
            .filter(|_| record.kind == TokenKind::Fido2)
        {
            let filter = Filter {
                kind: Some(TokenKind::Fido2),
                serial: Some(serial),
                ..Filter::default()
            };
            let others = self.ledger().find(&filter, None, MOST).await?.items;
            let same = others
                .iter()
                .filter(|other| other.id != record.id && other.reality == record.reality);
            parties.extend(same.filter_map(accepted));
        }
        Ok(parties.into_iter().collect())
    }
}
