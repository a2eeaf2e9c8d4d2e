//! authenticatorMakeCredential (CTAP 2.1 section 6.1).

use super::auth_data::AuthData;
use super::cose::ES256;
use super::pin_protocol::AuthParam;
use super::{Command, ResponseError, credential_descriptor, may, need, success_map, to_bytes, to_text};
use crate::codec::cbor::{Map, Value};

/// What a relying party may want besides an ordinary ES256 credential. The default wants nothing.
#[derive(Debug, Clone, Copy)]
pub struct Particulars<'a> {
    /// COSE algorithm identifiers, best first.
    pub algorithms: &'a [i64],
    /// Name of the person, for a key with a display; not sent when empty.
    pub display_name: &'a str,
    /// Extension `credProtect`, 1 to 3 (CTAP 2.1 section 12.1).
    pub protection: Option<u8>,
    /// Extension `hmac-secret` (section 12.5).
    pub hmac_secret: bool,
    /// Extension `minPinLength` (section 12.4).
    pub min_pin_length: bool,
    /// Enterprise attestation: 1 vendor-facilitated, 2 platform-managed (section 7.1).
    pub enterprise: Option<u8>,
}

impl Default for Particulars<'_> {
    fn default() -> Self {
        Self {
            algorithms: &[ES256],
            display_name: "",
            protection: None,
            hmac_secret: false,
            min_pin_length: false,
            enterprise: None,
        }
    }
}

impl Particulars<'_> {
    fn extensions(&self) -> Map {
        let mut map = Map::new();
        if let Some(level) = self.protection {
            map.insert("credProtect", level);
        }
        if self.hmac_secret {
            map.insert("hmac-secret", true);
        }
        if self.min_pin_length {
            map.insert("minPinLength", true);
        }
        map
    }
}

/// A request for a credential.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// SHA-256 of the client data.
    pub client_data_hash: &'a [u8; 32],
    /// RP ID.
    pub rp_id: &'a str,
    /// Name of the relying party, for a key with a display.
    pub rp_name: &'a str,
    /// User handle, 1 to 64 bytes, which names nobody.
    pub user_id: &'a [u8],
    /// Name of the account, for a key with a display.
    pub user_name: &'a str,
    /// Credential ids that must not be on the key already.
    pub exclude: &'a [Vec<u8>],
    /// Whether the key stores the credential (a discoverable one).
    pub resident: bool,
    /// Proof of a `pinUvAuthToken` over the client data hash.
    pub auth: Option<&'a AuthParam>,
    /// More.
    pub particulars: Particulars<'a>,
}

impl Request<'_> {
    /// The bytes of the request.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let parameters = |algorithm: &i64| {
            Map::from_iter([("alg", Value::from(*algorithm)), ("type", Value::from("public-key"))]).into()
        };
        let mut user = Map::from_iter([("id", Value::from(self.user_id)), ("name", Value::from(self.user_name))]);
        if !self.particulars.display_name.is_empty() {
            user.insert("displayName", self.particulars.display_name);
        }
        let mut map = Map::new();
        map.insert(1, self.client_data_hash.as_slice());
        map.insert(2, Map::from_iter([("id", self.rp_id), ("name", self.rp_name)]));
        map.insert(3, user);
        map.insert(
            4,
            self.particulars
                .algorithms
                .iter()
                .map(parameters)
                .collect::<Vec<Value>>(),
        );
        if !self.exclude.is_empty() {
            map.insert(
                5,
                self.exclude
                    .iter()
                    .map(|id| credential_descriptor(id))
                    .collect::<Vec<_>>(),
            );
        }
        let extensions = self.particulars.extensions();
        if !extensions.is_empty() {
            map.insert(6, extensions);
        }
        // `rk: false` is the default, and some CTAP 2.0 keys refuse to be told.
        if self.resident {
            map.insert(7, Map::from_iter([("rk", true)]));
        }
        if let Some(auth) = self.auth {
            map.insert(8, auth.bytes.as_slice());
            map.insert(9, auth.protocol.number());
        }
        if let Some(enterprise) = self.particulars.enterprise {
            map.insert(10, enterprise);
        }
        super::request(Command::MakeCredential, map)
    }
}

/// A request that only waits for a touch: its empty `pinUvAuthParam` makes a key ask for presence and then refuse (CTAP 2.1
/// section 6.1.2, step 1). This is how a CTAP 2.0 key is asked to be touched.
#[must_use]
pub fn touch_request() -> Vec<u8> {
    let algorithm = Map::from_iter([("alg", Value::from(ES256)), ("type", Value::from("public-key"))]);
    let mut map = Map::new();
    map.insert(1, vec![0; 32]);
    map.insert(2, Map::from_iter([("id", "touch.invalid"), ("name", "touch")]));
    map.insert(
        3,
        Map::from_iter([("id", Value::from(vec![1])), ("name", Value::from("touch"))]),
    );
    map.insert(4, vec![Value::from(algorithm)]);
    map.insert(8, Vec::<u8>::new());
    map.insert(9, 1);
    super::request(Command::MakeCredential, map)
}

/// What came back. The attestation statement is kept as it is; its meaning depends on `format`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// `packed`, `none`, `fido-u2f`, or one we do not know.
    pub format: String,
    /// Authenticator data; [`AuthData::attested`] is there.
    pub auth_data: AuthData,
    /// Attestation statement.
    pub statement: Map,
    /// Whether this is an enterprise attestation.
    pub enterprise: Option<bool>,
    /// Key for the credential's large blob.
    pub large_blob_key: Option<Vec<u8>>,
    /// Everything else, as it came.
    pub unknown: Map,
}

impl Response {
    /// Reads a response, status byte included.
    ///
    /// # Errors
    /// [`ResponseError`]; also when the authenticator data holds no credential.
    pub fn parse(response: &[u8]) -> Result<Self, ResponseError> {
        let mut map = success_map(response)?;
        let m = &mut map;
        let format = need(m, 1, to_text, "makeCredential fmt")?;
        let auth_data = AuthData::parse(&need(m, 2, to_bytes, "makeCredential authData")?)?;
        if auth_data.attested.is_none() {
            return Err(ResponseError::Malformed("makeCredential authData holds no credential"));
        }
        Ok(Self {
            format,
            auth_data,
            // Optional since CTAP 2.2, where the format `none` may leave it out.
            statement: may(m, 3, |v| v.as_map().cloned(), "makeCredential attStmt")?.unwrap_or_default(),
            enterprise: may(m, 4, Value::as_bool, "makeCredential epAtt")?,
            large_blob_key: may(m, 5, to_bytes, "makeCredential largeBlobKey")?,
            unknown: map,
        })
    }
}
