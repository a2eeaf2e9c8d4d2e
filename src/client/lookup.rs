//! From what a person types to what the daemon knows: devices by number, tokens and obligations by a piece of their id.

use zbus::{ObjectPath, Variant};

use crate::client::failure::Failure;
use crate::client::session::{Session, no_options};
use crate::contract::DEVICES_PATH;
use crate::contract::proxy::{Options, Record};
use crate::types::{CaseId, ObligationId, TokenId};

/// Fewer digits than this are more likely a slip than a choice.
const MIN_DIGITS: usize = 6;
/// How many records a page has.
pub const PAGE: u32 = 1000;
/// No ledger we know of is larger; a daemon that never ends its pages does not hold us for ever.
const MAX_PAGES: usize = 100_000;

/// A device as the object manager shows it.
#[derive(Debug)]
pub struct DeviceRecord {
    /// Its object path.
    pub path: ObjectPath<'static>,
    /// The properties of `Device1`.
    pub properties: Record,
}

impl DeviceRecord {
    /// The number at the end of its path.
    #[must_use]
    pub fn number(&self) -> &str {
        self.path.as_str().rsplit('/').next().unwrap_or_default()
    }

    /// A property as text; empty when absent.
    #[must_use]
    pub fn text(&self, property: &str) -> &str {
        self.properties
            .get(property)
            .and_then(|value| value.downcast_ref::<&str>().ok())
            .unwrap_or_default()
    }

    /// A numeric property; 0 when absent.
    #[must_use]
    pub fn number_of(&self, property: &str) -> u16 {
        self.properties
            .get(property)
            .and_then(|value| value.downcast_ref::<u16>().ok())
            .unwrap_or_default()
    }

    /// Whether this way in is there.
    #[must_use]
    pub fn has_face(&self, face: &str) -> bool {
        let Some(Variant::Array(faces)) = self.properties.get("Faces").map(|value| &**value) else {
            return false;
        };
        faces.iter().any(|f| matches!(f, Variant::Str(s) if s.as_str() == face))
    }
}

/// All devices, in the order they were plugged in.
///
/// # Errors
/// As the bus says.
pub async fn devices(session: &Session) -> Result<Vec<DeviceRecord>, Failure> {
    let mut devices: Vec<DeviceRecord> = Vec::new();
    for (path, interfaces) in session.managed().await? {
        let device = interfaces
            .into_iter()
            .find(|(interface, _)| interface.as_str() == "org.claviger.Device1");
        if let Some((_, properties)) = device {
            devices.push(DeviceRecord {
                path: path.into_inner(),
                properties,
            });
        }
    }
    devices.sort_by_key(|device| device.number().parse::<u64>().unwrap_or(u64::MAX));
    Ok(devices)
}

/// The object path of a device given as number or path. Whether it exists, the daemon knows.
///
/// # Errors
/// [`Failure::Usage`].
pub fn device_path(given: &str) -> Result<ObjectPath<'static>, Failure> {
    let path = if given.parse::<u64>().is_ok() {
        format!("{DEVICES_PATH}/{given}")
    } else {
        given.to_owned()
    };
    match ObjectPath::try_from(path) {
        Ok(path) if path.as_str().starts_with(DEVICES_PATH) => Ok(path),
        _ => Err(Failure::usage(format!(
            "“{given}” is no device: give the number that “claviger devices” shows"
        ))),
    }
}

/// The device meant: the one named, else the only one with this face.
///
/// # Errors
/// [`Failure::Usage`] when none or several could be meant.
pub async fn device(session: &Session, given: Option<&str>, face: &str) -> Result<DeviceRecord, Failure> {
    let all = devices(session).await?;
    if let Some(given) = given {
        let path = device_path(given)?;
        return all
            .into_iter()
            .find(|device| device.path == path)
            .ok_or_else(|| Failure::usage(format!("there is no device {given} now; “claviger devices” lists them")));
    }
    let mut fitting: Vec<DeviceRecord> = all.into_iter().filter(|device| device.has_face(face)).collect();
    match (fitting.pop(), fitting.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(Failure::usage(match face {
            "hid" => "no FIDO2 key is plugged in: plug it in and try again",
            _ => "no card is there: plug it in, or lay it on the reader, and try again",
        })),
        (Some(_), more) => Err(Failure::usage(format!(
            "{} devices could be meant: name one with --device (“claviger devices” lists them)",
            more + 1
        ))),
    }
}

/// Every record a filter finds.
///
/// # Errors
/// As the daemon says.
pub async fn find(session: &Session, filter: &Options<'_>) -> Result<Vec<Record>, Failure> {
    let tokens = session.tokens().await?;
    let mut found = Vec::new();
    let mut cursor = String::new();
    for _ in 0..MAX_PAGES {
        let (mut page, next) = tokens.find(filter, &cursor, PAGE).await?;
        found.append(&mut page);
        if next.is_empty() || next == cursor {
            break;
        }
        cursor = next;
    }
    Ok(found)
}

/// Every open obligation.
///
/// # Errors
/// As the daemon says.
pub async fn obligations(session: &Session) -> Result<Vec<Record>, Failure> {
    let tokens = session.tokens().await?;
    let mut found = Vec::new();
    let mut cursor = String::new();
    for _ in 0..MAX_PAGES {
        let (mut page, next) = tokens.obligations(&cursor, PAGE, &no_options()).await?;
        found.append(&mut page);
        if next.is_empty() || next == cursor {
            break;
        }
        cursor = next;
    }
    Ok(found)
}

/// The id of a token given in full or by its beginning or end.
///
/// # Errors
/// [`Failure::Usage`] when no token or more than one is meant.
pub async fn token(session: &Session, given: &str) -> Result<String, Failure> {
    if let Ok(id) = given.parse::<TokenId>() {
        return Ok(id.to_string());
    }
    let piece = Piece::parse(given, "token")?;
    piece.choose(&find(session, &no_options()).await?, "claviger tokens")
}

/// The id of an obligation given in full or by its beginning or end.
///
/// # Errors
/// [`Failure::Usage`] when none or more than one is meant.
pub async fn obligation(session: &Session, given: &str) -> Result<String, Failure> {
    if let Ok(id) = given.parse::<ObligationId>() {
        return Ok(id.to_string());
    }
    let piece = Piece::parse(given, "obligation")?;
    piece.choose(&obligations(session).await?, "claviger obligations")
}

/// Every case, or those that are open.
///
/// # Errors
/// As the daemon says.
pub async fn cases(session: &Session, open: bool, subject: Option<&str>) -> Result<Vec<Record>, Failure> {
    let cases = session.cases().await?;
    let mut filter = Options::new();
    filter.insert("open", Variant::Bool(open));
    if let Some(subject) = subject {
        filter.insert("subject", Variant::from(subject));
    }
    let mut found = Vec::new();
    let mut cursor = String::new();
    for _ in 0..MAX_PAGES {
        let (mut page, next) = cases.find(&filter, &cursor, PAGE).await?;
        found.append(&mut page);
        if next.is_empty() || next == cursor {
            break;
        }
        cursor = next;
    }
    Ok(found)
}

/// The id of a case given in full or by its beginning or end.
///
/// # Errors
/// [`Failure::Usage`] when none or more than one is meant.
pub async fn case(session: &Session, given: &str) -> Result<String, Failure> {
    if let Ok(id) = given.parse::<CaseId>() {
        return Ok(id.to_string());
    }
    let piece = Piece::parse(given, "case")?;
    piece.choose(&cases(session, false, None).await?, "claviger case list")
}

/// A piece of an id: ids begin with the time they were made, so tokens of one morning differ at the end rather.
struct Piece<'a> {
    given: &'a str,
    digits: String,
    what: &'static str,
}

impl<'a> Piece<'a> {
    fn parse(given: &'a str, what: &'static str) -> Result<Self, Failure> {
        let digits: String = given
            .chars()
            .filter(|c| *c != '-')
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if digits.len() < MIN_DIGITS || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(Failure::usage(format!(
                "“{given}” is no {what}: give its id, or at least {MIN_DIGITS} hexadecimal digits of its beginning or end"
            )));
        }
        Ok(Self { given, digits, what })
    }

    fn fits(&self, id: &str) -> bool {
        let id: String = id.chars().filter(|c| *c != '-').collect();
        id.starts_with(&self.digits) || id.ends_with(&self.digits)
    }

    fn choose(&self, records: &[Record], list: &str) -> Result<String, Failure> {
        let ids = records
            .iter()
            .filter_map(|record| record.get("id")?.downcast_ref::<&str>().ok());
        let fitting: Vec<&str> = ids.filter(|id| self.fits(id)).collect();
        match fitting.as_slice() {
            [only] => Ok((*only).to_owned()),
            [] => Err(Failure::usage(format!(
                "no {} has an id like “{}”; “{list}” lists them",
                self.what, self.given
            ))),
            several => {
                let shown: Vec<&str> = several.iter().take(5).copied().collect();
                Err(Failure::usage(format!(
                    "“{}” fits {} {}s: {}{}",
                    self.given,
                    several.len(),
                    self.what,
                    shown.join(", "),
                    if several.len() > shown.len() { ", …" } else { "" }
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_numbers_or_paths_below_ours() {
        assert_eq!(device_path("7").unwrap().as_str(), "/org/claviger/Claviger1/devices/7");
        assert!(device_path("/org/claviger/Claviger1/devices/7").is_ok());
        assert!(device_path("/etc/passwd").is_err());
        assert!(device_path("yubikey").is_err());
    }

    #[test]
    fn a_piece_is_at_least_six_digits() {
        assert!(Piece::parse("01890", "token").is_err());
        assert!(Piece::parse("token-1", "token").is_err());
        let piece = Piece::parse("0189ABCD", "token").unwrap();
        assert!(piece.fits("0189abcd-0000-7000-8000-000000000001"));
        assert!(!piece.fits("1189abcd-0000-7000-8000-000000000001"));
        assert!(
            Piece::parse("000001", "token")
                .unwrap()
                .fits("0189abcd-0000-7000-8000-000000000001")
        );
    }
}
