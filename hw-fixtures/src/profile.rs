//! What a model of token is: data files under `profiles/`, embedded, and files of the user's own.

use std::path::Path;

use serde::Deserialize;

use crate::SimError;
use crate::oath::Hash;
use crate::ykoath::StatusWord;

/// The embedded profiles, by name.
const EMBEDDED: [(&str, &str); 26] = [
    ("yubikey-5", include_str!("../profiles/yubikey-5.toml")),
    ("yubikey-5-7", include_str!("../profiles/yubikey-5-7.toml")),
    ("yubikey-4", include_str!("../profiles/yubikey-4.toml")),
    ("yubikey-neo", include_str!("../profiles/yubikey-neo.toml")),
    ("solo-2", include_str!("../profiles/solo-2.toml")),
    ("solo-2-oath", include_str!("../profiles/solo-2-oath.toml")),
    ("nitrokey-3", include_str!("../profiles/nitrokey-3.toml")),
    (
        "nitrokey-3-secrets",
        include_str!("../profiles/nitrokey-3-secrets.toml"),
    ),
    ("canokey", include_str!("../profiles/canokey.toml")),
    ("fido20", include_str!("../profiles/fido20.toml")),
    ("fido23", include_str!("../profiles/fido23.toml")),
    ("bio-key", include_str!("../profiles/bio-key.toml")),
    ("fido-nfc-fixed", include_str!("../profiles/fido-nfc-fixed.toml")),
    ("u2f-key", include_str!("../profiles/u2f-key.toml")),
    ("fido-nfc", include_str!("../profiles/fido-nfc.toml")),
    ("yubikey-5-nfc", include_str!("../profiles/yubikey-5-nfc.toml")),
    ("oath-card", include_str!("../profiles/oath-card.toml")),
    ("endless-card", include_str!("../profiles/endless-card.toml")),
    ("fob-sha1", include_str!("../profiles/fob-sha1.toml")),
    ("fob-sha256", include_str!("../profiles/fob-sha256.toml")),
    ("fob-hotp", include_str!("../profiles/fob-hotp.toml")),
    ("fob-hotp-first", include_str!("../profiles/fob-hotp-first.toml")),
    ("token2-c301", include_str!("../profiles/token2-c301.toml")),
    ("token2-c302", include_str!("../profiles/token2-c302.toml")),
    ("token2-miniotp-2", include_str!("../profiles/token2-miniotp-2.toml")),
    ("token2-t0", include_str!("../profiles/token2-t0.toml")),
];

/// A model of token: what every token of it has in common.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name in world files and commands.
    pub name: String,
    /// The maker, as in the USB string descriptor.
    pub manufacturer: String,
    /// The product, as in the USB string descriptor.
    pub product: String,
    /// USB vendor id; 0 for what has no USB.
    #[serde(default)]
    pub vendor_id: u16,
    /// USB product id.
    #[serde(default)]
    pub product_id: u16,
    /// Whether the USB descriptor carries a serial number.
    #[serde(default)]
    pub usb_serial: bool,
    /// Whether its card face is read over NFC.
    #[serde(default)]
    pub contactless: bool,
    /// The answer to reset, in hexadecimal; needed by every profile with a card face.
    #[serde(default)]
    pub atr: String,
    /// The FIDO2 authenticator on the HID face.
    pub fido: Option<FidoProfile>,
    /// The OATH applet on the card face.
    pub oath: Option<OathProfile>,
    /// Yubico's management application on the card face.
    pub management: Option<ManagementProfile>,
    /// The display of a fob.
    pub fob: Option<FobProfile>,
    /// The NFC side of a fob; needs a display.
    pub nfc: Option<NfcProfile>,
}

/// How a FIDO2 authenticator proves where a credential was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attestation {
    /// `packed`, with a certificate of the model's own.
    Basic,
    /// `packed`, signed by the new credential itself.
    #[serde(rename = "self")]
    SelfSigned,
    /// `fido-u2f`, as keys do that keep CTAP1's format: with the same certificate and no AAGUID.
    #[serde(rename = "fido-u2f")]
    U2f,
    /// `none`.
    None,
}

/// What `authenticatorGetInfo` says, and what the authenticator then does (CTAP 2.1 section 6.4).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FidoProfile {
    /// `U2F_V2`, `FIDO_2_0`, `FIDO_2_1_PRE`, `FIDO_2_1`. Without any of the latter it is a key of CTAP1 alone.
    pub versions: Vec<String>,
    /// The model's AAGUID.
    pub aaguid: String,
    /// Firmware version as one number; absent in getInfo when `None`.
    pub firmware: Option<u32>,
    /// The device version in the CTAPHID INIT answer.
    #[serde(default = "device_version")]
    pub device_version: [u8; 3],
    /// Largest message in bytes.
    pub max_msg_size: u16,
    /// PIN/UV auth protocols, preferred first.
    pub pin_protocols: Vec<u8>,
    /// Longest credential id accepted in lists, in bytes.
    #[serde(default = "max_cred_id_length")]
    pub max_cred_id_length: usize,
    /// Most entries in an allow or exclude list.
    #[serde(default = "max_cred_count")]
    pub max_cred_count: usize,
    /// Discoverable credentials it can hold; 0 means the `rk` option is false.
    pub resident_slots: usize,
    /// `usb`, `nfc`.
    pub transports: Vec<String>,
    /// Least PIN length in code points.
    #[serde(default = "min_pin_length")]
    pub min_pin_length: u8,
    /// Attestation of new credentials.
    pub attestation: Attestation,
    /// COSE algorithms of credentials: -7 (ES256), -35 (ES384), -8 (EdDSA).
    #[serde(default = "es256")]
    pub algorithms: Vec<i64>,
    /// `credProtect`, `hmac-secret`, `minPinLength`: what it answers to these when a credential is made.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Whether enterprise attestation is switched on: `ep`. Asked for it by the platform, its certificate names its serial.
    #[serde(default)]
    pub enterprise: bool,
    /// Whether credentials can be listed and deleted: `credMgmt`.
    #[serde(default)]
    pub credential_management: bool,
    /// Whether `authenticatorConfig` works: `authnrCfg`, `setMinPINLength`, `alwaysUv`.
    #[serde(default)]
    pub config: bool,
    /// `makeCredUvNotRqd`: non-discoverable credentials need no PIN.
    #[serde(default)]
    pub make_cred_uv_not_required: bool,
    /// Seconds after power-up within which a reset is obeyed.
    #[serde(default = "reset_window_s")]
    pub reset_window_s: u64,
    /// Seconds a request waits for a touch.
    #[serde(default = "touch_timeout_s")]
    pub touch_timeout_s: u64,
    /// Milliseconds of work before every CBOR answer, spent under keep-alives of status 1.
    #[serde(default)]
    pub processing_ms: u64,
    /// Wrong PINs until only a reset helps.
    #[serde(default = "pin_retries")]
    pub pin_retries: u8,
    /// Whether messages that are not canonical CBOR are refused.
    #[serde(default)]
    pub strict_cbor: bool,
    /// Whether enterprise attestation can be turned on: `ep`.
    #[serde(default)]
    pub enterprise_attestation: bool,
    /// Relying parties that may be told the least PIN length.
    #[serde(default)]
    pub max_rpids: usize,
    /// Whether a reset wants a long touch, where it can be made to.
    pub long_touch: Option<bool>,
    /// Whether trivial PINs are refused, where it says.
    pub pin_complexity: Option<bool>,
    /// Bytes of the large-blob array, where it has one.
    pub large_blob_array: Option<usize>,
    /// `usb`, `nfc`: where a reset works, when the key says.
    #[serde(default)]
    pub transports_for_reset: Vec<String>,
    /// Its fingerprint sensor.
    pub fingerprints: Option<FingerprintProfile>,
    /// What it says of itself, in place of all of the above.
    #[serde(skip)]
    pub statement: Option<serde_json::Value>,
    /// Its FIDO application on the card face, where it has one.
    pub card: Option<FidoCardProfile>,
}

/// A fingerprint sensor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FingerprintProfile {
    /// Fingers it can know.
    pub slots: usize,
    /// Good samples that a new one takes.
    pub samples: u8,
    /// Longest name in bytes.
    #[serde(default = "finger_name_length")]
    pub name_length: usize,
    /// Wrong fingers until only the PIN helps.
    #[serde(default = "uv_retries")]
    pub uv_retries: u8,
}

/// The FIDO application on a card face.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FidoCardProfile {
    /// Whether it takes APDUs of the extended form.
    #[serde(default)]
    pub extended: bool,
    /// Whether it answers with keep-alives a host that says it can ask again.
    #[serde(default = "yes")]
    pub keep_alives: bool,
    /// Whether GET RESPONSE works with the class of ISO 7816-4 beside the standard's own.
    #[serde(default = "yes")]
    pub iso_get_response: bool,
    /// Whether laying it on the reader is one touch, good for two minutes.
    #[serde(default)]
    pub tap_is_touch: bool,
    /// Whether it can be reset over this face.
    #[serde(default = "yes")]
    pub reset: bool,
}

/// Yubico's management application, as far as it can be read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagementProfile {
    /// Firmware version.
    pub version: [u8; 3],
    /// Whether it tells the serial printed on the key.
    #[serde(default = "yes")]
    pub serial: bool,
}

/// The dialect of an OATH applet.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OathProfile {
    /// The version it answers to SELECT; also decides what it can do.
    pub version: [u8; 3],
    /// Credentials it can hold.
    pub slots: usize,
    /// Seconds CALCULATE waits for a touch.
    #[serde(default = "oath_touch_timeout_s")]
    pub touch_timeout_s: u64,
    /// Whether a touch is demanded over NFC too; makers skip it there.
    #[serde(default)]
    pub touch_over_nfc: bool,
    /// The maker's ways.
    #[serde(default)]
    pub dialect: Dialect,
    /// Whether it takes APDUs of the extended form.
    #[serde(default = "yes")]
    pub extended: bool,
    /// Hostile: a listing never ends, whatever is on the card.
    #[serde(default)]
    pub endless_listing: bool,
}

/// Who wrote an OATH applet, and so where it leaves Yubico's reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Yubico's own; what the version lacks, it lacks.
    #[default]
    Yubico,
    /// Nitrokey's secrets app: a PIN with eight tries in the place of the password, a touch before every change, no SHA-512, no
    /// RENAME, and status words of its own.
    Nitrokey,
    /// CanoKey: no RESET in the applet, SET DEFAULT, duplicate names answer 6985, a HOTP counter that is counted before it is used.
    Canokey,
    /// SoloKeys' Solo 2: the early trussed applet; no SHA-512, no RENAME, 6A82 for what is not there.
    Solo,
}

impl OathProfile {
    /// The hash of an algorithm's number, if this applet has it.
    pub fn hash(&self, algorithm: u8) -> Option<Hash> {
        match algorithm {
            1 => Some(Hash::Sha1),
            2 => Some(Hash::Sha256),
            3 if matches!(self.dialect, Dialect::Nitrokey | Dialect::Solo) => None,
            3 if self.version >= [4, 3, 1] => Some(Hash::Sha512),
            _ => None,
        }
    }

    /// Whether it has RENAME.
    pub fn renames(&self) -> bool {
        matches!(self.dialect, Dialect::Yubico | Dialect::Canokey) && self.version >= [5, 3, 1]
    }

    /// Whether PUT replaces a credential of the same name.
    pub fn replaces(&self) -> bool {
        matches!(self.dialect, Dialect::Yubico | Dialect::Solo)
    }

    /// What PUT answers to a name that is there, where it does not replace.
    pub fn duplicate(&self) -> StatusWord {
        match self.dialect {
            Dialect::Nitrokey => StatusWord::AuthenticationBlocked,
            _ => StatusWord::ConditionsNotSatisfied,
        }
    }

    /// What is answered for a name that is not there.
    pub fn unknown(&self) -> StatusWord {
        match self.dialect {
            Dialect::Nitrokey | Dialect::Solo => StatusWord::FileNotFound,
            _ => StatusWord::NoSuchObject,
        }
    }
}

/// An NFC-programmable display fob of the Token2 family: what its firmware does beside showing codes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NfcProfile {
    /// The first digits of the serial number, which tell the model.
    pub serial_prefix: String,
    /// Whether setting the clock wipes the seed: most models. The others are sold as "unrestricted".
    #[serde(default = "yes")]
    pub restricted_time_sync: bool,
    /// Failed authentications after which the fob is locked for good, on older firmware.
    pub lock_after: Option<u8>,
    /// Whether answers are fetched with GET RESPONSE, as T=0 wants it.
    #[serde(default)]
    pub t0: bool,
    /// Seconds it stays switched on.
    #[serde(default = "on_s")]
    pub on_s: u64,
}

/// A display fob's make.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FobProfile {
    /// The hash.
    pub hash: Hash,
    /// 6 or 8.
    pub digits: u8,
    /// Step in seconds; absent for a counter fob.
    pub period_s: Option<u32>,
    /// Whether a counter fob counts before it computes, so that its first code is that of counter 1.
    #[serde(default)]
    pub counts_first: bool,
    /// What the clock shows after a battery change, in seconds since 1970: 2000-01-01 by default.
    #[serde(default = "factory_epoch")]
    pub factory_unix_s: i64,
}

fn yes() -> bool {
    true
}
fn on_s() -> u64 {
    30
}
fn factory_epoch() -> i64 {
    946_684_800
}

fn es256() -> Vec<i64> {
    vec![-7]
}

fn device_version() -> [u8; 3] {
    [1, 0, 0]
}
fn max_cred_id_length() -> usize {
    128
}
fn max_cred_count() -> usize {
    8
}
fn min_pin_length() -> u8 {
    4
}
fn reset_window_s() -> u64 {
    10
}
fn touch_timeout_s() -> u64 {
    30
}
fn pin_retries() -> u8 {
    8
}

fn finger_name_length() -> usize {
    15
}

fn uv_retries() -> u8 {
    3
}
fn oath_touch_timeout_s() -> u64 {
    15
}

impl Profile {
    /// The embedded profile called `name`, or the file if `name` is a path with a slash in it.
    ///
    /// # Errors
    /// When there is no such profile, or the file says something it should not.
    pub fn named(name: &str) -> Result<Self, SimError> {
        if name.contains('/') {
            let text = std::fs::read_to_string(Path::new(name)).map_err(SimError::io(format!("reading {name}")))?;
            return Self::parse(&text, name);
        }
        let Some((_, text)) = EMBEDDED.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = Self::names().collect();
            return Err(SimError::Invalid(format!(
                "no profile {name:?}; there are {}",
                known.join(", ")
            )));
        };
        Self::parse(text, name)
    }

    /// The names of the embedded profiles.
    pub fn names() -> impl Iterator<Item = &'static str> {
        EMBEDDED.iter().map(|(name, _)| *name)
    }

    fn parse(text: &str, name: &str) -> Result<Self, SimError> {
        let profile: Self =
            toml::from_str(text).map_err(|error| SimError::Invalid(format!("profile {name}: {error}")))?;
        if profile.nfc.is_some() && (profile.fob.is_none() || profile.oath.is_some()) {
            return Err(SimError::Invalid(format!(
                "profile {name}: `nfc` needs a `fob` beside it, and no `oath`"
            )));
        }
        if profile.has_card() && profile.atr_bytes().is_empty() {
            return Err(SimError::Invalid(format!(
                "profile {name}: a card face needs an `atr` in hexadecimal"
            )));
        }
        if profile.fido.is_some() && profile.aaguid().is_none() {
            return Err(SimError::Invalid(format!(
                "profile {name}: `aaguid` must be 32 hexadecimal digits"
            )));
        }
        Ok(profile)
    }

    /// The answer to reset as bytes.
    pub fn atr_bytes(&self) -> Vec<u8> {
        crate::crypto::from_hex(&self.atr).unwrap_or_default()
    }

    /// The AAGUID as bytes, if this is a FIDO2 profile.
    pub fn aaguid(&self) -> Option<[u8; 16]> {
        self.fido.as_ref().and_then(FidoProfile::aaguid_bytes)
    }

    /// Whether it has a HID face.
    pub fn has_hid(&self) -> bool {
        self.fido.is_some() && !self.contactless
    }

    /// Whether it has a card face.
    pub fn has_card(&self) -> bool {
        self.oath.is_some() || self.nfc.is_some() || self.fido.as_ref().is_some_and(|fido| fido.card.is_some())
    }
}

impl Profile {
    /// A key of this authenticator and nothing else, on USB.
    pub(crate) fn key(name: &str, fido: FidoProfile) -> Self {
        Self {
            name: name.to_owned(),
            manufacturer: "Generic".to_owned(),
            product: "FIDO2 Key".to_owned(),
            vendor_id: 0,
            product_id: 0,
            usb_serial: false,
            contactless: false,
            atr: String::new(),
            fido: Some(fido),
            oath: None,
            fob: None,
            nfc: None,
            management: None,
        }
    }
}

impl FidoProfile {
    /// The plainest authenticator of these versions.
    pub(crate) fn plain(versions: Vec<String>, aaguid: String, attestation: Attestation) -> Self {
        Self {
            versions,
            aaguid,
            firmware: None,
            device_version: device_version(),
            max_msg_size: 1024,
            pin_protocols: vec![1],
            max_cred_id_length: max_cred_id_length(),
            max_cred_count: max_cred_count(),
            resident_slots: 25,
            transports: Vec::new(),
            min_pin_length: min_pin_length(),
            attestation,
            credential_management: false,
            config: false,
            make_cred_uv_not_required: false,
            reset_window_s: reset_window_s(),
            touch_timeout_s: touch_timeout_s(),
            processing_ms: 0,
            pin_retries: pin_retries(),
            strict_cbor: false,
            enterprise_attestation: false,
            max_rpids: 0,
            long_touch: None,
            pin_complexity: None,
            large_blob_array: None,
            transports_for_reset: Vec::new(),
            fingerprints: None,
            statement: None,
            card: None,
            algorithms: es256(),
            enterprise: false,
            extensions: Vec::new(),
        }
    }

    /// The AAGUID as bytes.
    pub fn aaguid_bytes(&self) -> Option<[u8; 16]> {
        crate::crypto::from_hex(&self.aaguid)?.try_into().ok()
    }

    /// Whether it speaks CTAP1/U2F.
    pub fn is_u2f(&self) -> bool {
        self.versions.iter().any(|version| version == "U2F_V2")
    }

    /// Whether it speaks CTAP2 at all.
    pub fn is_ctap2(&self) -> bool {
        self.versions.iter().any(|version| version.starts_with("FIDO_2"))
    }

    /// Whether it still speaks the previews of CTAP 2.1, as keys of that time do beside the final commands.
    pub fn is_preview(&self) -> bool {
        self.versions.iter().any(|version| version == "FIDO_2_1_PRE")
    }

    /// Whether it speaks the final CTAP 2.1.
    pub fn is_2_1(&self) -> bool {
        self.versions.iter().any(|version| version == "FIDO_2_1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_profile_parses_and_is_called_what_its_file_is() {
        for name in Profile::names() {
            let profile = Profile::named(name).unwrap();
            assert_eq!(profile.name, name);
            assert!(profile.has_hid() || profile.has_card() || profile.fob.is_some());
        }
        assert!(Profile::named("no-such").unwrap_err().to_string().contains("yubikey-5"));
    }
}
