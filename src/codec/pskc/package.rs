//! One `KeyPackage` (RFC 6030 section 4).

use roxmltree::Node;
use zeroize::Zeroizing;

use super::PskcError;
use super::policy::{self, Policy};
use super::unlock::{Opener, decode};
use crate::codec::delivery::{Flaw, date};
use crate::types::{Secret, UnixMillis};

/// What a key is for, by its algorithm (RFC 6030 section 10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Algorithm {
    /// `urn:ietf:params:xml:ns:keyprov:pskc:hotp`.
    Hotp,
    /// `urn:ietf:params:xml:ns:keyprov:pskc:totp`.
    Totp,
    /// `urn:ietf:params:xml:ns:keyprov:pskc:pin`: the PIN of another key.
    Pin,
    /// Anything else.
    Other(String),
}

impl Algorithm {
    fn parse(uri: &str) -> Self {
        let name = uri.rsplit([':', '#']).next().unwrap_or_default();
        let ours = uri.contains("pskc");
        match name.to_ascii_lowercase().as_str() {
            "hotp" if ours => Self::Hotp,
            "totp" if ours => Self::Totp,
            "pin" if ours => Self::Pin,
            _ => Self::Other(uri.chars().take(128).collect()),
        }
    }
}

/// How a code is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Digits.
    #[default]
    Decimal,
    /// `HEXADECIMAL`, `ALPHANUMERIC`, `BASE64`, `BINARY` or what else a file may say.
    Other,
}

/// `ResponseFormat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseFormat {
    /// `Encoding`.
    pub encoding: Encoding,
    /// `Length`.
    pub length: Option<u64>,
    /// `CheckDigits`: a Luhn digit is appended.
    pub check_digits: bool,
}

/// A key with everything that its package says.
pub struct PskcKey {
    /// `Key/@Id`.
    pub id: Option<String>,
    /// `Key/@Algorithm`.
    pub algorithm: Algorithm,
    /// `DeviceInfo/Manufacturer`.
    pub manufacturer: Option<String>,
    /// `DeviceInfo/SerialNo`.
    pub serial: Option<String>,
    /// `DeviceInfo/Model`.
    pub model: Option<String>,
    /// `DeviceInfo/IssueNo`.
    pub issue_no: Option<String>,
    /// `DeviceInfo/DeviceBinding`.
    pub device_binding: Option<String>,
    /// `DeviceInfo/StartDate`.
    pub device_start: Option<UnixMillis>,
    /// `DeviceInfo/ExpiryDate`.
    pub device_expiry: Option<UnixMillis>,
    /// `DeviceInfo/UserId`.
    pub device_user_id: Option<String>,
    /// `CryptoModuleInfo/Id`.
    pub crypto_module: Option<String>,
    /// `Issuer`.
    pub issuer: Option<String>,
    /// `AlgorithmParameters/Suite`.
    pub suite: Option<String>,
    /// `AlgorithmParameters/ResponseFormat`.
    pub response: Option<ResponseFormat>,
    /// `KeyProfileId`.
    pub profile: Option<String>,
    /// `KeyReference`: the key is elsewhere.
    pub reference: Option<String>,
    /// `FriendlyName`.
    pub friendly_name: Option<String>,
    /// `UserId` of the key.
    pub user_id: Option<String>,
    /// `Data/Secret`.
    pub secret: Option<Secret>,
    /// `Data/Counter`.
    pub counter: Option<i64>,
    /// `Data/Time`: in intervals since the epoch, or as the file has it.
    pub time: Option<i64>,
    /// `Data/TimeInterval` in seconds.
    pub time_interval: Option<i64>,
    /// `Data/TimeDrift` in intervals, negative when the token is behind.
    pub time_drift: Option<i64>,
    /// `Policy`.
    pub policy: Policy,
}

/// Whether an element has this name, whatever its namespace: deployed files disagree on the latter.
pub fn is(node: Node<'_, '_>, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name
}

/// The elements in an element.
pub fn children<'a, 'i>(node: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(Node::is_element)
}

/// The first element of this name.
pub fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|node| is(*node, name))
}

/// Text of an element up to the first element or comment in it.
pub fn content<'a>(node: Node<'a, '_>) -> &'a str {
    node.text().unwrap_or_default()
}

/// Reads a package. What is wrong with it alone is a flaw; what is wrong with keys and MACs refuses the file.
pub fn read(node: Node<'_, '_>, opener: &mut Opener, line: u32) -> Result<Result<PskcKey, Flaw>, PskcError> {
    let Some(key) = child(node, "Key") else {
        return Ok(Err(Flaw::Missing("key")));
    };
    if node.children().filter(|node| is(*node, "Key")).nth(1).is_some() {
        return Ok(Err(Flaw::Policy(
            "the package has several keys, of which RFC 6030 allows one",
        )));
    }
    // The whole package is opened before anything else is looked at, so that a MAC that does not match is never passed over.
    let data = child(key, "Data");
    let data = |name| data.and_then(|data| child(data, name));
    let secret = match data("Secret") {
        Some(value) => Some(secret(value, opener, line)?),
        None => None,
    };
    let counter = integer("counter", data("Counter"), opener, line)?;
    let time = integer("time", data("Time"), opener, line)?;
    let interval = integer("time interval", data("TimeInterval"), opener, line)?;
    let drift = integer("time drift", data("TimeDrift"), opener, line)?;
    let read = || {
        let device = child(node, "DeviceInfo");
        let of_device = |name| device.and_then(|device| written(device, name));
        let parameters = child(key, "AlgorithmParameters");
        let module = child(node, "CryptoModuleInfo");
        Ok(PskcKey {
            id: key.attribute("Id").map(str::to_owned),
            algorithm: Algorithm::parse(key.attribute("Algorithm").unwrap_or_default()),
            manufacturer: of_device("Manufacturer"),
            serial: of_device("SerialNo"),
            model: of_device("Model"),
            issue_no: of_device("IssueNo"),
            device_binding: of_device("DeviceBinding"),
            device_start: date("start date", of_device("StartDate").as_deref())?,
            device_expiry: date("expiry date", of_device("ExpiryDate").as_deref())?,
            device_user_id: of_device("UserId"),
            crypto_module: module.and_then(|module| written(module, "Id")),
            issuer: written(key, "Issuer"),
            suite: parameters.and_then(|parameters| written(parameters, "Suite")),
            response: parameters
                .and_then(|parameters| child(parameters, "ResponseFormat"))
                .map(response)
                .transpose()?,
            profile: written(key, "KeyProfileId"),
            reference: written(key, "KeyReference"),
            friendly_name: written(key, "FriendlyName"),
            user_id: written(key, "UserId"),
            secret: secret.transpose()?.flatten(),
            counter: counter?,
            time: time?,
            time_interval: interval?,
            time_drift: drift?,
            policy: policy::read(child(key, "Policy"))?,
        })
    };
    Ok(read())
}

fn written(node: Node<'_, '_>, name: &str) -> Option<String> {
    let text = content(child(node, name)?).trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn response(node: Node<'_, '_>) -> Result<ResponseFormat, Flaw> {
    let length = node.attribute("Length").map(|length| length.trim().parse());
    Ok(ResponseFormat {
        encoding: match node.attribute("Encoding") {
            None | Some("DECIMAL") => Encoding::Decimal,
            Some(_) => Encoding::Other,
        },
        length: length.transpose().map_err(|_| Flaw::Number("length of a code"))?,
        check_digits: matches!(node.attribute("CheckDigits"), Some("true" | "1")),
    })
}

/// `Secret`: base64 in plain, or encrypted.
fn secret(node: Node<'_, '_>, opener: &mut Opener, line: u32) -> Result<Result<Option<Secret>, Flaw>, PskcError> {
    if let Some(value) = child(node, "EncryptedValue") {
        return opener
            .open(value, child(node, "ValueMAC"), line)
            .map(|secret| Ok(Some(secret)));
    }
    let Some(plain) = child(node, "PlainValue") else {
        return Ok(Ok(None));
    };
    opener.saw_plain();
    Ok(decode(content(plain)).map(Some).ok_or(Flaw::Seed("base64")))
}

/// One of the numbers in `Data`: decimal in plain, big-endian octets when it is encrypted (RFC 6030 section 4.2).
fn integer(
    what: &'static str,
    node: Option<Node<'_, '_>>,
    opener: &mut Opener,
    line: u32,
) -> Result<Result<Option<i64>, Flaw>, PskcError> {
    let Some(node) = node else { return Ok(Ok(None)) };
    if let Some(value) = child(node, "EncryptedValue") {
        let opened = opener.open(value, child(node, "ValueMAC"), line)?;
        // Exposed to read the number.
        return Ok(from_octets(opened.expose()).map(Some).ok_or(Flaw::Number(what)));
    }
    let Some(plain) = child(node, "PlainValue") else {
        return Ok(Ok(None));
    };
    let plain = Zeroizing::new(content(plain).trim().to_owned());
    Ok(plain.parse().map(Some).map_err(|_| Flaw::Number(what)))
}

/// Big-endian, four octets or eight, two's complement: only a drift is ever negative, and no other number is that great.
fn from_octets(octets: &[u8]) -> Option<i64> {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return Some(i32::from_be_bytes(four).into());
    }
    if octets.is_empty() || octets.len() > 8 {
        return None;
    }
    let fill = if octets.len() == 8 && octets.first().is_some_and(|first| first & 0x80 != 0) {
        0xFF
    } else {
        0
    };
    let mut eight = [fill; 8];
    for (to, from) in eight.iter_mut().rev().zip(octets.iter().rev()) {
        *to = *from;
    }
    Some(i64::from_be_bytes(eight))
}
