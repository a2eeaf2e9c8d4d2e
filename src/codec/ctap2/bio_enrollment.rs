//! authenticatorBioEnrollment (CTAP 2.1 section 6.7), and its prototype under command 0x40. Fingerprints are the only modality
//! the standard has.

use super::pin_protocol::{PinError, PinUvAuthToken};
use super::{Command, ResponseError, may, need, success_empty, success_map, to_bytes, to_text};
use crate::codec::cbor::{self, Map, Value};

/// The modality “fingerprint”.
const FINGERPRINT: u8 = 1;

/// Longest template id that is believed, in bytes. The standard sets none; keys use one to sixteen.
const MAX_TEMPLATE_ID: usize = 64;

/// Which of the two commands a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// 0x09.
    Standard,
    /// 0x40, option `userVerificationMgmtPreview`.
    Preview,
}

/// What to do.
#[derive(Debug, Clone, Copy)]
pub enum Subcommand<'a> {
    /// Takes the first sample of a new finger.
    EnrollBegin {
        /// How long the key waits for the finger, in milliseconds.
        timeout_ms: u32,
    },
    /// Takes the next.
    EnrollCaptureNextSample {
        /// Of which template.
        template_id: &'a [u8],
        /// How long the key waits for the finger, in milliseconds.
        timeout_ms: u32,
    },
    /// Throws the unfinished template away.
    CancelCurrentEnrollment,
    /// The fingers it knows.
    EnumerateEnrollments,
    /// Gives one a name.
    SetFriendlyName {
        /// Which.
        template_id: &'a [u8],
        /// Its name.
        name: &'a str,
    },
    /// Removes one.
    RemoveEnrollment {
        /// Which.
        template_id: &'a [u8],
    },
    /// What sort of sensor it is.
    GetFingerprintSensorInfo,
}

impl Subcommand<'_> {
    const fn number(&self) -> u8 {
        match self {
            Self::EnrollBegin { .. } => 1,
            Self::EnrollCaptureNextSample { .. } => 2,
            Self::CancelCurrentEnrollment => 3,
            Self::EnumerateEnrollments => 4,
            Self::SetFriendlyName { .. } => 5,
            Self::RemoveEnrollment { .. } => 6,
            Self::GetFingerprintSensorInfo => 7,
        }
    }

    fn parameters(&self) -> Option<Map> {
        let mut map = Map::new();
        match self {
            Self::EnrollBegin { timeout_ms } => map.insert(3, u64::from(*timeout_ms)),
            Self::EnrollCaptureNextSample {
                template_id,
                timeout_ms,
            } => {
                map.insert(1, *template_id);
                map.insert(3, u64::from(*timeout_ms));
            }
            Self::SetFriendlyName { template_id, name } => {
                map.insert(1, *template_id);
                map.insert(2, *name);
            }
            Self::RemoveEnrollment { template_id } => map.insert(1, *template_id),
            Self::CancelCurrentEnrollment | Self::EnumerateEnrollments | Self::GetFingerprintSensorInfo => return None,
        }
        Some(map)
    }

    const fn needs_auth(&self) -> bool {
        !matches!(self, Self::CancelCurrentEnrollment | Self::GetFingerprintSensorInfo)
    }
}

/// The bytes of a request, signed with `token` where that is needed: the message is the modality, the sub-command and its
/// encoded parameters.
///
/// # Errors
/// [`PinError`] when the token cannot key the MAC.
pub fn request(
    dialect: Dialect,
    subcommand: Subcommand<'_>,
    token: Option<&PinUvAuthToken>,
) -> Result<Vec<u8>, PinError> {
    let command = match dialect {
        Dialect::Standard => Command::BioEnrollment,
        Dialect::Preview => Command::BioEnrollmentPreview,
    };
    let mut map = Map::new();
    map.insert(1, FINGERPRINT);
    map.insert(2, subcommand.number());
    let mut message = vec![FINGERPRINT, subcommand.number()];
    if let Some(parameters) = subcommand.parameters() {
        let parameters = Value::from(parameters);
        message.extend(cbor::encode(&parameters));
        map.insert(3, parameters);
    }
    if let Some(token) = token.filter(|_| subcommand.needs_auth()) {
        let auth = token.authenticate(&message)?;
        map.insert(4, auth.protocol.number());
        map.insert(5, auth.bytes);
    }
    Ok(super::request(command, map))
}

/// How a sample came out (section 6.7.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleStatus {
    /// It counts.
    Good,
    /// Finger too high on the sensor.
    TooHigh,
    /// Too low.
    TooLow,
    /// Too far left.
    TooLeft,
    /// Too far right.
    TooRight,
    /// Taken away or moved too fast.
    TooFast,
    /// Moved too slowly.
    TooSlow,
    /// Not to be read.
    PoorQuality,
    /// Turned too far.
    TooSkewed,
    /// Too little of the finger.
    TooShort,
    /// Does not fit the samples before.
    MergeFailure,
    /// The finger is known already.
    Exists,
    /// Nobody put a finger there in time.
    NoUserActivity,
    /// The finger was not lifted in between.
    NoUserPresenceTransition,
    /// Another.
    Other(u8),
}

impl SampleStatus {
    const fn from_number(number: u8) -> Self {
        match number {
            0x00 => Self::Good,
            0x01 => Self::TooHigh,
            0x02 => Self::TooLow,
            0x03 => Self::TooLeft,
            0x04 => Self::TooRight,
            0x05 => Self::TooFast,
            0x06 => Self::TooSlow,
            0x07 => Self::PoorQuality,
            0x08 => Self::TooSkewed,
            0x09 => Self::TooShort,
            0x0A => Self::MergeFailure,
            0x0B => Self::Exists,
            0x0D => Self::NoUserActivity,
            0x0E => Self::NoUserPresenceTransition,
            other => Self::Other(other),
        }
    }
}

/// Answer to [`Subcommand::EnrollBegin`] and [`Subcommand::EnrollCaptureNextSample`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The template; in the first answer.
    pub template_id: Option<Vec<u8>>,
    /// How it came out.
    pub status: SampleStatus,
    /// Good ones still to come.
    pub remaining: u8,
}

impl Sample {
    /// Reads a response, status byte included.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn parse(response: &[u8]) -> Result<Self, ResponseError> {
        let mut map = success_map(response)?;
        Ok(Self {
            template_id: may(&mut map, 4, template_id, "bioEnrollment templateId")?,
            status: SampleStatus::from_number(need(&mut map, 5, small, "bioEnrollment sample status")?),
            remaining: need(&mut map, 6, small, "bioEnrollment remaining samples")?,
        })
    }
}

/// A finger the key knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its id.
    pub id: Vec<u8>,
    /// Its name, when it has one.
    pub name: Option<String>,
}

/// Reads the answer to [`Subcommand::EnumerateEnrollments`]. That there is none is a refusal in the standard
/// (`INVALID_OPTION`), which is for the caller to tell.
///
/// # Errors
/// [`ResponseError`].
pub fn parse_templates(response: &[u8]) -> Result<Vec<Template>, ResponseError> {
    let one = |value: &Value| {
        let map = value.as_map()?;
        Some(Template {
            id: template_id(map.get(1)?)?,
            name: map.get(2).and_then(to_text).filter(|name| !name.is_empty()),
        })
    };
    let all = |value: &Value| value.as_array()?.iter().map(one).collect();
    need(&mut success_map(response)?, 7, all, "bioEnrollment templateInfos")
}

/// Answer to [`Subcommand::GetFingerprintSensorInfo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SensorInfo {
    /// 1 is touched, 2 is swiped over.
    pub kind: Option<u8>,
    /// Good samples that a new finger takes at most.
    pub max_samples: Option<u8>,
    /// Longest name in bytes; 64 when not told.
    pub max_name: Option<u8>,
}

impl SensorInfo {
    /// Reads a response, status byte included.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn parse(response: &[u8]) -> Result<Self, ResponseError> {
        let mut map = success_map(response)?;
        Ok(Self {
            kind: may(&mut map, 2, small, "bioEnrollment fingerprintKind")?,
            max_samples: may(&mut map, 3, small, "bioEnrollment maxCaptureSamples")?,
            max_name: may(&mut map, 8, small, "bioEnrollment maxTemplateFriendlyName")?,
        })
    }
}

/// Reads the answer to what only does something.
///
/// # Errors
/// [`ResponseError`].
pub fn parse_done(response: &[u8]) -> Result<(), ResponseError> {
    success_empty(response)
}

fn small(value: &Value) -> Option<u8> {
    u8::try_from(value.as_u64()?).ok()
}

fn template_id(value: &Value) -> Option<Vec<u8>> {
    to_bytes(value).filter(|id| (1..=MAX_TEMPLATE_ID).contains(&id.len()))
}
