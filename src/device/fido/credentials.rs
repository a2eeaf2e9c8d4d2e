//! Credentials: making, using and deleting one.

use super::{FidoContext, FidoSession, Patience};
use crate::codec::ctap2::credential_management::{
    self as management, Dialect, Metadata, RelyingParty, StoredCredential, Subcommand,
};
use crate::codec::ctap2::get_info::GetInfo;
use crate::codec::ctap2::make_credential::Particulars;
use crate::codec::ctap2::pin_protocol::PinUvAuthToken;
use crate::codec::ctap2::{get_assertion, make_credential, sha256};
use crate::device::DeviceError;

/// More than any key on sale holds; an enumeration is not followed further.
const MOST_CREDENTIALS: u64 = 1000;

/// What credential to make.
pub struct MakeCredential<'a> {
    /// RP ID.
    pub rp_id: &'a str,
    /// Name of the relying party, for a key with a display.
    pub rp_name: &'a str,
    /// User handle, 1 to 64 random bytes.
    pub user_id: &'a [u8],
    /// Name of the account, for a key with a display.
    pub user_name: &'a str,
    /// Whether the key stores it (a discoverable credential).
    pub resident: bool,
    /// SHA-256 of the client data.
    pub client_data_hash: &'a [u8; 32],
    /// From [`FidoSession::pin_uv_token`]; needed when a PIN is set.
    pub pin_uv_auth_token: Option<&'a PinUvAuthToken>,
    /// Credential ids that must not be on the key already.
    pub exclude: &'a [Vec<u8>],
    /// More; by default an ES256 credential, the algorithm every FIDO2 key has.
    pub particulars: Particulars<'a>,
}

/// What assertion to get.
pub struct GetAssertion<'a> {
    /// RP ID.
    pub rp_id: &'a str,
    /// SHA-256 of the client data.
    pub client_data_hash: &'a [u8; 32],
    /// Credential ids that will do; empty asks for discoverable ones.
    pub allow: &'a [Vec<u8>],
    /// Whether somebody must touch the key.
    pub user_presence: bool,
    /// From [`FidoSession::pin_uv_token`]; without it the person is not verified.
    pub pin_uv_auth_token: Option<&'a PinUvAuthToken>,
}

/// A discoverable credential and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// RP ID, as the key tells it: some cut it to 32 bytes.
    pub rp_id: String,
    /// The credential.
    pub credential: StoredCredential,
}

impl FidoSession<'_> {
    /// Makes a credential. What came back has been checked against the request: RP ID hash, presence, verification when a
    /// `pinUvAuthToken` was given, algorithm. The attestation statement has not been judged.
    ///
    /// # Errors
    /// [`DeviceError::CredentialExcluded`], [`DeviceError::PinRequired`], [`DeviceError::StorageFull`] and the others.
    pub fn make_credential(
        &mut self,
        wanted: &MakeCredential<'_>,
        context: &mut FidoContext<'_>,
    ) -> Result<make_credential::Response, DeviceError> {
        let auth = wanted
            .pin_uv_auth_token
            .map(|proof| proof.authenticate(wanted.client_data_hash))
            .transpose()?;
        let request = make_credential::Request {
            client_data_hash: wanted.client_data_hash,
            rp_id: wanted.rp_id,
            rp_name: wanted.rp_name,
            user_id: wanted.user_id,
            user_name: wanted.user_name,
            exclude: wanted.exclude,
            resident: wanted.resident,
            auth: auth.as_ref(),
            particulars: wanted.particulars,
        };
        let response = self.exchange(&request.encode(), Patience::Touch, context)?;
        // The room for credentials may have changed.
        let info = self.info.take();
        let made = make_credential::Response::parse(&response).map_err(|e| super::from_response(e, info.as_ref()))?;
        let asked = |algorithm: i64| wanted.particulars.algorithms.contains(&algorithm);
        let data = &made.auth_data;
        if data.rp_id_hash != sha256(wanted.rp_id.as_bytes()) {
            return Err(DeviceError::Protocol("the credential is for another relying party"));
        }
        if !data.flags.user_present() {
            return Err(DeviceError::Protocol("the credential was made without a touch"));
        }
        if wanted.pin_uv_auth_token.is_some() && !data.flags.user_verified() {
            return Err(DeviceError::Protocol(
                "the credential was made without user verification",
            ));
        }
        if data
            .attested
            .as_ref()
            .is_none_or(|c| !asked(c.public_key.algorithm()) || c.credential_id.is_empty())
        {
            return Err(DeviceError::Protocol("the credential is not what was asked for"));
        }
        Ok(made)
    }

    /// Gets an assertion. It is for the caller to judge, by
    /// [`assertion::verify`](crate::codec::ctap2::assertion::verify).
    ///
    /// # Errors
    /// [`DeviceError::NoCredential`], [`DeviceError::PinRequired`] and the others.
    pub fn get_assertion(
        &mut self,
        wanted: &GetAssertion<'_>,
        context: &mut FidoContext<'_>,
    ) -> Result<get_assertion::Response, DeviceError> {
        let auth = wanted
            .pin_uv_auth_token
            .map(|proof| proof.authenticate(wanted.client_data_hash))
            .transpose()?;
        let request = get_assertion::Request {
            rp_id: wanted.rp_id,
            client_data_hash: wanted.client_data_hash,
            allow: wanted.allow,
            user_presence: wanted.user_presence,
            auth: auth.as_ref(),
        };
        let response = self.exchange(&request.encode(), Patience::Touch, context)?;
        get_assertion::Response::parse(&response).map_err(|e| self.judge(e))
    }

    /// How many discoverable credentials the key holds and has room for. `pin_uv_auth_token` needs
    /// [`CREDENTIAL_MANAGEMENT`](crate::codec::ctap2::client_pin::Permissions::CREDENTIAL_MANAGEMENT).
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when the key has no credential management.
    pub fn credential_metadata(
        &mut self,
        pin_uv_auth_token: &PinUvAuthToken,
        context: &mut FidoContext<'_>,
    ) -> Result<Metadata, DeviceError> {
        let response = self.manage(Subcommand::GetMetadata, pin_uv_auth_token, context)?;
        Metadata::parse(&response).map_err(|e| self.judge(e))
    }

    /// Deletes a discoverable credential. `pin_uv_auth_token` needs
    /// [`CREDENTIAL_MANAGEMENT`](crate::codec::ctap2::client_pin::Permissions::CREDENTIAL_MANAGEMENT).
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when the key has no credential management, [`DeviceError::NoCredential`].
    pub fn delete_credential(
        &mut self,
        credential_id: &[u8],
        pin_uv_auth_token: &PinUvAuthToken,
        context: &mut FidoContext<'_>,
    ) -> Result<(), DeviceError> {
        let response = self.manage(
            Subcommand::DeleteCredential { credential_id },
            pin_uv_auth_token,
            context,
        )?;
        self.info = None;
        management::parse_done(&response).map_err(|e| self.judge(e))
    }

    /// The discoverable credentials the key holds for a relying party, none included. `pin_uv_auth_token` needs
    /// [`CREDENTIAL_MANAGEMENT`](crate::codec::ctap2::client_pin::Permissions::CREDENTIAL_MANAGEMENT).
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when the key has no credential management; [`DeviceError::Protocol`] when it announces more
    /// credentials than any key holds.
    pub fn stored_credentials(
        &mut self,
        rp_id: &str,
        pin_uv_auth_token: &PinUvAuthToken,
        context: &mut FidoContext<'_>,
    ) -> Result<Vec<StoredCredential>, DeviceError> {
        self.credentials_of(&sha256(rp_id.as_bytes()), pin_uv_auth_token, context)
    }

    /// All discoverable credentials of the key, by relying party. `pin_uv_auth_token` needs
    /// [`CREDENTIAL_MANAGEMENT`](crate::codec::ctap2::client_pin::Permissions::CREDENTIAL_MANAGEMENT).
    ///
    /// # Errors
    /// As [`FidoSession::stored_credentials`].
    pub fn all_credentials(
        &mut self,
        pin_uv_auth_token: &PinUvAuthToken,
        context: &mut FidoContext<'_>,
    ) -> Result<Vec<Stored>, DeviceError> {
        let mut all = Vec::new();
        for party in self.relying_parties(pin_uv_auth_token, context)? {
            let own = self.credentials_of(&party.id_hash, pin_uv_auth_token, context)?;
            all.extend(own.into_iter().map(|credential| Stored {
                rp_id: party.id.clone(),
                credential,
            }));
            if all.len() as u64 > MOST_CREDENTIALS {
                return Err(DeviceError::Protocol("more credentials announced than a key can hold"));
            }
        }
        Ok(all)
    }

    /// Gives the account of a discoverable credential other names. `pin_uv_auth_token` needs
    /// [`CREDENTIAL_MANAGEMENT`](crate::codec::ctap2::client_pin::Permissions::CREDENTIAL_MANAGEMENT).
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when the key cannot, [`DeviceError::NoCredential`].
    pub fn rename_credential(
        &mut self,
        credential: &StoredCredential,
        (name, display_name): (Option<&str>, Option<&str>),
        pin_uv_auth_token: &PinUvAuthToken,
        context: &mut FidoContext<'_>,
    ) -> Result<(), DeviceError> {
        let update = Subcommand::UpdateUserInformation {
            credential_id: &credential.credential_id,
            user_id: &credential.user_id,
            name,
            display_name,
        };
        // The prototype of credential management does not know it.
        if dialect(&self.get_info(context)?) == Some(Dialect::Preview) {
            return Err(DeviceError::Unsupported("renaming a credential"));
        }
        let response = self.manage(update, pin_uv_auth_token, context)?;
        management::parse_done(&response).map_err(|e| self.judge(e))
    }

    fn relying_parties(
        &mut self,
        pin_uv_auth_token: &PinUvAuthToken,
        context: &mut FidoContext<'_>,
    ) -> Result<Vec<RelyingParty>, DeviceError> {
        let response = self.manage(Subcommand::EnumerateRpsBegin, pin_uv_auth_token, context)?;
        let first = match RelyingParty::parse(&response).map_err(|e| self.judge(e)) {
            Ok(Some(first)) => first,
            Ok(None) | Err(DeviceError::NoCredential) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let total = believable(first.total)?;
        let mut found = vec![first];
        for _ in 1..total {
            let response = self.manage(Subcommand::EnumerateRpsNext, pin_uv_auth_token, context)?;
            let next = RelyingParty::parse(&response).map_err(|e| self.judge(e))?;
            found.extend(next);
        }
        Ok(found)
    }

    fn credentials_of(
        &mut self,
        rp_id_hash: &[u8; 32],
        pin_uv_auth_token: &PinUvAuthToken,
        context: &mut FidoContext<'_>,
    ) -> Result<Vec<StoredCredential>, DeviceError> {
        let begin = Subcommand::EnumerateCredentialsBegin { rp_id_hash };
        let response = self.manage(begin, pin_uv_auth_token, context)?;
        let first = match StoredCredential::parse(&response).map_err(|e| self.judge(e)) {
            Ok(first) => first,
            Err(DeviceError::NoCredential) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let total = believable(first.total)?;
        let mut found = vec![first];
        for _ in 1..total {
            let response = self.manage(Subcommand::EnumerateCredentialsNext, pin_uv_auth_token, context)?;
            found.push(StoredCredential::parse(&response).map_err(|e| self.judge(e))?);
        }
        Ok(found)
    }

    fn manage(
        &mut self,
        subcommand: Subcommand<'_>,
        pin_uv_auth_token: &PinUvAuthToken,
        context: &mut FidoContext<'_>,
    ) -> Result<Vec<u8>, DeviceError> {
        let dialect = dialect(&self.get_info(context)?).ok_or(DeviceError::Unsupported("credential management"))?;
        let request = management::request(dialect, subcommand, pin_uv_auth_token)?;
        self.exchange(&request, Patience::Exchange, context)
    }
}

/// A count that an enumeration announces.
fn believable(total: Option<u64>) -> Result<u64, DeviceError> {
    match total.unwrap_or(1) {
        total @ 0..=MOST_CREDENTIALS => Ok(total),
        _ => Err(DeviceError::Protocol("more credentials announced than a key can hold")),
    }
}

/// Which credential management a key has. `credentialMgmtPreview` alone decides for the prototype: keys that have both want
/// the standard one.
fn dialect(info: &GetInfo) -> Option<Dialect> {
    if info.option("credMgmt") == Some(true) {
        Some(Dialect::Standard)
    } else if info.option("credentialMgmtPreview") == Some(true) {
        Some(Dialect::Preview)
    } else {
        None
    }
}
