//! Who a device is: what it tells of itself, how far that goes, and whether two devices can be told apart.
//!
//! FIDO keys have no serial on purpose. What there is, from the best to the worst: a serial that its maker gives to one key alone;
//! the model with its firmware and what it can do; the place. Nothing here is proof that a device is the body of a token: that is the
//! credential's to give.

mod makers;

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::DeviceError;
use super::handle::DeviceInfo;
use super::management;
use super::session::Session;
use crate::codec::ctap2::get_info::GetInfo;
use crate::types::Confidence;

pub use makers::Honesty;

/// Where a serial was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SerialSource {
    /// Its maker's management application.
    Management,
    /// The USB descriptor.
    Usb,
}

impl SerialSource {
    /// Its name on the bus.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Management => "management",
            Self::Usb => "usb",
        }
    }
}

/// A serial, and what it is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serial {
    /// As it was told. Names a person's key: only guarded methods may pass it on.
    pub text: String,
    /// By whom.
    pub source: SerialSource,
    /// Whether it is one key's alone.
    pub honesty: Honesty,
}

/// What a device told of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its serial.
    pub serial: Option<Serial>,
    /// Its model, hyphenless hexadecimal.
    pub aaguid: Option<String>,
    /// Sixteen hexadecimal digits over what getInfo says of model and firmware, without what a person can change.
    pub fingerprint: Option<String>,
}

impl Facts {
    /// What is known without asking: the serial of the USB descriptor.
    #[must_use]
    pub fn of(info: &DeviceInfo) -> Self {
        let serial = info.serial.as_ref().map(|text| Serial {
            honesty: makers::judge(info.usb, text),
            text: text.clone(),
            source: SerialSource::Usb,
        });
        Self {
            serial,
            ..Self::default()
        }
    }

    /// Adds what getInfo says.
    #[must_use]
    pub fn with_info(mut self, info: Option<&GetInfo>) -> Self {
        if let Some(info) = info {
            self.aaguid = Some(HEXLOWER.encode(&info.aaguid));
            self.fingerprint = Some(fingerprint(info));
        }
        self
    }

    /// Adds the serial of the management application, where the device has one and no better is known.
    ///
    /// # Errors
    /// The link's own.
    pub fn with_management(mut self, session: &Session) -> Result<Self, DeviceError> {
        if let Some(text) = management::serial(session)? {
            self.serial = Some(Serial {
                text,
                source: SerialSource::Management,
                honesty: Honesty::Own,
            });
        }
        Ok(self)
    }

    /// The serial, unless it is known to be the same on every key of the model.
    #[must_use]
    pub fn telling_serial(&self) -> Option<&str> {
        let serial = self
            .serial
            .as_ref()
            .filter(|serial| serial.honesty != Honesty::Constant)?;
        Some(&serial.text)
    }

    /// Whether these can be two devices that nothing tells apart.
    #[must_use]
    pub fn may_be_taken_for(&self, other: &Self) -> bool {
        let differ = |one: Option<&str>, two: Option<&str>| one.is_some() && two.is_some() && one != two;
        !differ(self.telling_serial(), other.telling_serial())
            && !differ(self.fingerprint.as_deref(), other.fingerprint.as_deref())
    }

    /// How sure it is who this is, beside these others.
    #[must_use]
    pub fn confidence<'f>(&self, others: impl IntoIterator<Item = &'f Self>) -> Confidence {
        if others.into_iter().any(|other| self.may_be_taken_for(other)) {
            return Confidence::Place;
        }
        match &self.serial {
            Some(serial) if serial.honesty == Honesty::Own => Confidence::Serial,
            _ => Confidence::Model,
        }
    }
}

/// Whether a person, or the table of USB devices, could take one for the other. Cheap: nothing is asked.
#[must_use]
pub fn look_alike(one: &DeviceInfo, other: &DeviceInfo) -> bool {
    one.reality == other.reality && one.usb == other.usb && one.name == other.name
}

/// Over members that no setting and no use changes: an option's value may be a setting, that it is there is the model's; `U2F_V2` goes
/// when verification is demanded always, and so may `makeCredUvNotRqd`.
fn fingerprint(info: &GetInfo) -> String {
    let versions: Vec<&String> = info.versions.iter().filter(|version| *version != "U2F_V2").collect();
    let options: BTreeSet<&String> = info.options.keys().filter(|name| *name != "makeCredUvNotRqd").collect();
    let algorithms: Vec<i64> = info.algorithms.iter().map(|algorithm| algorithm.alg).collect();
    let told = serde_json::json!([
        versions,
        info.extensions,
        HEXLOWER.encode(&info.aaguid),
        options,
        info.max_msg_size,
        info.pin_uv_auth_protocols,
        info.max_credential_count_in_list,
        info.max_credential_id_length,
        algorithms,
        info.firmware_version,
        info.max_serialized_large_blob_array,
        info.max_cred_blob_length,
    ]);
    let digest = Sha256::digest(told.to_string().as_bytes());
    HEXLOWER.encode(digest.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(serial: Option<(&str, Honesty)>, fingerprint: Option<&str>) -> Facts {
        Facts {
            serial: serial.map(|(text, honesty)| Serial {
                text: text.to_owned(),
                source: SerialSource::Usb,
                honesty,
            }),
            aaguid: None,
            fingerprint: fingerprint.map(str::to_owned),
        }
    }

    #[test]
    fn only_what_differs_tells_two_devices_apart() {
        use Honesty::{Claimed, Constant, Own};
        let cases = [
            (facts(Some(("1", Own)), None), facts(Some(("2", Own)), None), false),
            (
                facts(Some(("1", Claimed)), None),
                facts(Some(("2", Claimed)), None),
                false,
            ),
            // The same serial, even from a maker who is known to give each key its own: then somebody lies.
            (facts(Some(("1", Own)), None), facts(Some(("1", Own)), None), true),
            (
                facts(Some(("1", Constant)), None),
                facts(Some(("1", Constant)), None),
                true,
            ),
            // A constant tells nothing, also when the other one has another.
            (facts(Some(("1", Constant)), None), facts(Some(("2", Own)), None), true),
            (facts(None, Some("a")), facts(None, Some("a")), true),
            (facts(None, Some("a")), facts(None, Some("b")), false),
            // One of them could not be asked.
            (facts(None, Some("a")), facts(None, None), true),
            (facts(None, None), facts(None, None), true),
        ];
        for (one, other, expected) in cases {
            assert_eq!(one.may_be_taken_for(&other), expected, "{one:?} {other:?}");
            assert_eq!(other.may_be_taken_for(&one), expected, "{other:?} {one:?}");
        }
    }

    #[test]
    fn confidence_is_no_more_than_what_is_known() {
        let own = facts(Some(("1", Honesty::Own)), Some("a"));
        let bare = facts(None, Some("a"));
        assert_eq!(own.confidence([]), Confidence::Serial);
        assert_eq!(own.confidence([&own.clone()]), Confidence::Place);
        assert_eq!(bare.confidence([]), Confidence::Model);
        assert_eq!(bare.confidence([&bare.clone()]), Confidence::Place);
        assert_eq!(bare.confidence([&facts(None, Some("b"))]), Confidence::Model);
        assert_eq!(
            facts(Some(("1", Honesty::Constant)), None).confidence([]),
            Confidence::Model
        );
        assert_eq!(
            facts(Some(("1", Honesty::Claimed)), None).confidence([]),
            Confidence::Model
        );
    }

    #[test]
    fn a_fingerprint_outlives_what_a_person_changes() {
        let mut info = GetInfo {
            versions: vec!["U2F_V2".to_owned(), "FIDO_2_1".to_owned()],
            options: [("clientPin".to_owned(), false), ("makeCredUvNotRqd".to_owned(), true)].into(),
            firmware_version: Some(5),
            ..GetInfo::default()
        };
        let before = fingerprint(&info);
        info.versions.remove(0);
        info.options = [("clientPin".to_owned(), true)].into();
        info.min_pin_length = Some(8);
        info.remaining_discoverable_credentials = Some(3);
        assert_eq!(fingerprint(&info), before);
        info.firmware_version = Some(6);
        assert_ne!(fingerprint(&info), before);
        assert_eq!(before.len(), 16);
    }
}
