//! The passkeys on a key: by relying party, renamed, deleted. What is the body of a token is deleted by revoking that token.

use data_encoding::BASE64URL_NOPAD;

use super::{Done, Job};
use crate::codec::ctap2::client_pin::Permissions;
use crate::codec::ctap2::pin_protocol::PinUvAuthToken;
use crate::device::DeviceError;
use crate::device::fido::Stored;
use crate::ledger::{Duty, Filter, Mutation, ObligationFilter};
use crate::lifecycle::key::Key;
use crate::lifecycle::operation::{FidoReport, Phase, StoredPasskey};
use crate::lifecycle::{Lifecycle, Refusal};
use crate::types::{ObligationId, TokenId};

/// Obligations in one reading.
const PAGE: u32 = 1_000;

impl Job<'_> {
    pub(super) fn credentials(&self, key: &mut Key<'_, '_>) -> Result<Done, Refusal> {
        let token = self.authorised(key, Permissions::CREDENTIAL_MANAGEMENT)?;
        self.act.phase(Phase::Identifying, 50);
        let metadata = key.session.credential_metadata(&token, &mut key.context)?;
        let stored = key.session.all_credentials(&token, &mut key.context)?;
        let mut credentials = Vec::with_capacity(stored.len());
        for Stored { rp_id, credential } in stored {
            credentials.push(StoredPasskey {
                token: self.token_of(&credential.credential_id)?,
                rp_id,
                id: credential.credential_id,
                user_name: credential.user_name,
                display_name: credential.display_name,
                protection: credential.protection,
            });
        }
        let report = FidoReport {
            credentials: Some(credentials),
            remaining: Some(metadata.remaining),
            tries_left: key.tries(),
            ..FidoReport::default()
        };
        Ok((None, report))
    }

    pub(super) fn delete_credential(&self, key: &mut Key<'_, '_>, id: &[u8]) -> Result<Done, Refusal> {
        if let Some(token) = self.token_of(id)? {
            return Err(Refusal::Invalid(format!(
                "this passkey is the body of token {token}: revoke that token, which deletes it"
            )));
        }
        let token = self.authorised(key, Permissions::CREDENTIAL_MANAGEMENT)?;
        self.find(key, id, &token)?;
        self.begin("passkey-deleted", Phase::Deleting)?;
        key.session.delete_credential(id, &token, &mut key.context)?;
        if self.find(key, id, &token).is_ok() {
            return Err(DeviceError::Protocol("it still lists the passkey that it said it had deleted").into());
        }
        let house = &self.act.house;
        let owed = house.runtime().block_on(owed_for(house, id))?;
        let settled = owed.into_iter().map(|id| Mutation::Discharge {
            id,
            at: house.clock().now(),
        });
        let report = FidoReport {
            tries_left: key.tries(),
            ..FidoReport::default()
        };
        self.end("passkey-deleted", None, settled.collect(), report)
    }

    pub(super) fn rename_credential(
        &self,
        key: &mut Key<'_, '_>,
        id: &[u8],
        (name, display_name): (&str, Option<&str>),
    ) -> Result<Done, Refusal> {
        let token = self.authorised(key, Permissions::CREDENTIAL_MANAGEMENT)?;
        let found = self.find(key, id, &token)?.credential;
        self.begin("passkey-renamed", Phase::Writing)?;
        // What is not given stays: the command replaces all of it.
        let kept = found.display_name.clone();
        let display_name = display_name.or(kept.as_deref());
        key.session
            .rename_credential(&found, (Some(name), display_name), &token, &mut key.context)?;
        let report = FidoReport {
            tries_left: key.tries(),
            ..FidoReport::default()
        };
        self.end("passkey-renamed", self.token_of(id)?, Vec::new(), report)
    }

    /// The credential with this id, as the key lists it.
    fn find(&self, key: &mut Key<'_, '_>, id: &[u8], token: &PinUvAuthToken) -> Result<Stored, Refusal> {
        let stored = key.session.all_credentials(token, &mut key.context)?;
        let found = stored.into_iter().find(|one| one.credential.credential_id == id);
        Ok(found.ok_or(DeviceError::NoCredential)?)
    }

    /// The live token that a credential is the body of.
    fn token_of(&self, credential_id: &[u8]) -> Result<Option<TokenId>, Refusal> {
        let house = &self.act.house;
        let filter = Filter {
            alive: true,
            body: Some(BASE64URL_NOPAD.encode(credential_id)),
            ..Filter::default()
        };
        let page = house.runtime().block_on(house.ledger().find(&filter, None, 1))?;
        Ok(page.items.first().map(|record| record.id))
    }
}

/// Open obligations to delete this credential.
async fn owed_for(house: &Lifecycle, credential_id: &[u8]) -> Result<Vec<ObligationId>, Refusal> {
    let wanted = BASE64URL_NOPAD.encode(credential_id);
    let open = ObligationFilter {
        open: true,
        ..ObligationFilter::default()
    };
    let mut owed = Vec::new();
    let mut cursor = None;
    loop {
        let page = house.ledger().obligations(open, cursor.as_deref(), PAGE).await?;
        owed.extend(page.items.iter().filter_map(|obligation| match &obligation.duty {
            Duty::DeleteCredential { credential_id, .. } if *credential_id == wanted => Some(obligation.id),
            _ => None,
        }));
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(owed),
        }
    }
}
