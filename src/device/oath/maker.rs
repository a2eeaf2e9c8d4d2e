//! Makers and versions of the YKOATH applet: the one place that knows in what they differ.
//!
//! Decided from what SELECT tells, the USB ids and the reader's or product's name; what is not recognised is taken for what its version
//! says, and is asked rather than refused. No command is ever sent to find out who it is.
//!
//! What needs no entry here: every command of ours fits one short APDU (the longest, PUT, has at most 210 bytes of data), so neither the
//! limits of long commands (NEO 1,390 bytes, YubiKey 4 2,038, later 3,062) nor extended length matter to any card; answers
//! longer than 256 bytes come in parts by SEND REMAINING from all of them. CALCULATE ALL is `A4` with P1 00, which a `CanoKey` tells from
//! SELECT by its P1 04.

use crate::codec::ykoath::Applet;
use crate::link::{Face, FaceKind, UsbIds};

/// Who made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// Yubico, firmware 3 and before.
    YubiKeyNeo,
    /// Yubico, firmware 4.
    YubiKey4,
    /// Yubico, firmware 5 and later.
    YubiKey5,
    /// Nitrokey 3 (secrets app).
    Nitrokey3,
    /// `SoloKeys` Solo 2.
    Solo2,
    /// `CanoKey`.
    CanoKey,
    /// Somebody else, or not told.
    Unknown,
}

impl Maker {
    /// Name for a person.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::YubiKeyNeo => "YubiKey NEO",
            Self::YubiKey4 => "YubiKey 4",
            Self::YubiKey5 => "YubiKey 5",
            Self::Nitrokey3 => "Nitrokey 3",
            Self::Solo2 => "Solo 2",
            Self::CanoKey => "CanoKey",
            Self::Unknown => "unknown",
        }
    }
}

/// What keeps others from the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// A password for the whole applet; wrong ones are not counted.
    Password,
    /// A PIN with eight tries, for single credentials.
    Pin,
}

/// What is known of a device besides SELECT.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// Names of product and reader, in small letters.
    name: String,
    usb: Option<UsbIds>,
    contactless: bool,
}

impl Hints {
    /// What the faces of a device tell.
    #[must_use]
    pub fn of(faces: &[Face]) -> Self {
        let names: Vec<String> = faces.iter().map(|face| face.name.to_lowercase()).collect();
        Self {
            name: names.join("\n"),
            usb: faces.iter().find_map(|face| face.usb),
            contactless: faces.iter().any(|face| face.kind == FaceKind::Card && face.contactless),
        }
    }

    fn is(&self, word: &str, ids: &[(u16, u16)]) -> bool {
        self.name.contains(word) || self.usb.is_some_and(|usb| ids.contains(&(usb.vendor, usb.product)))
    }

    fn is_yubico(&self) -> bool {
        self.name.contains("yubi") || self.usb.is_some_and(|usb| usb.vendor == 0x1050)
    }
}

/// What an applet can do and does differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Habits {
    /// Whose.
    pub maker: Maker,
    /// Password or PIN.
    pub gate: Gate,
    /// Knows the touch property (4.2.4).
    pub touch: bool,
    /// Knows the property that challenges must increase.
    pub only_increasing: bool,
    /// Knows SHA-512 (4.3.1).
    pub sha512: bool,
    /// Knows RENAME (5.3.1).
    pub renames: bool,
    /// Knows RESET.
    pub resets: bool,
    /// Wants a touch to store, delete and reset.
    pub touch_to_manage: bool,
    /// Counts before it computes: the first code of an event credential is that of its first counter plus one.
    pub counts_first: bool,
    /// Loses the command that follows an answer of more than 54 bytes within two seconds (YubiKey 4.2.0 to 4.2.6 over USB).
    pub loses_commands: bool,
}

impl Habits {
    /// Recognises an applet.
    #[must_use]
    pub fn of(applet: &Applet, hints: &Hints) -> Self {
        let version = applet.version;
        let by_version = Self {
            maker: Maker::Unknown,
            gate: Gate::Password,
            touch: version >= [4, 2, 4],
            only_increasing: true,
            sha512: version >= [4, 3, 1],
            renames: version >= [5, 3, 1],
            resets: true,
            touch_to_manage: false,
            counts_first: false,
            loses_commands: false,
        };
        match maker(applet, hints) {
            maker @ Maker::YubiKey4 => Self {
                maker,
                loses_commands: (([4, 2, 0])..=[4, 2, 6]).contains(&version) && !hints.contactless,
                ..by_version
            },
            // Its own version counts from another beginning: 4.11 renames by a command of its own (B7), not by RENAME.
            maker @ Maker::Nitrokey3 => Self {
                maker,
                gate: Gate::Pin,
                touch: true,
                only_increasing: false,
                sha512: false,
                renames: false,
                touch_to_manage: true,
                ..by_version
            },
            maker @ Maker::Solo2 => Self {
                maker,
                touch: true,
                only_increasing: false,
                sha512: false,
                renames: false,
                ..by_version
            },
            maker @ Maker::CanoKey => Self {
                maker,
                touch: true,
                sha512: true,
                resets: false,
                counts_first: true,
                ..by_version
            },
            maker @ (Maker::YubiKeyNeo | Maker::YubiKey5 | Maker::Unknown) => Self { maker, ..by_version },
        }
    }
}

fn maker(applet: &Applet, hints: &Hints) -> Maker {
    // Only the secrets app tells a serial number in SELECT.
    if applet.tells_serial || hints.is("nitrokey 3", &[(0x20A0, 0x42B2)]) {
        return Maker::Nitrokey3;
    }
    if hints.is("canokey", &[(0x20A0, 0x42D4)]) {
        return Maker::CanoKey;
    }
    if hints.is("solo 2", &[(0x1209, 0xBEEE)]) {
        return Maker::Solo2;
    }
    match applet.version {
        [0..=3, ..] if hints.is_yubico() => Maker::YubiKeyNeo,
        // These have no other maker; behind a plain reader the name is the reader's.
        [4, 2, 0..=6] => Maker::YubiKey4,
        [4, ..] if hints.is_yubico() => Maker::YubiKey4,
        [5..=u8::MAX, ..] if hints.is_yubico() => Maker::YubiKey5,
        // No YubiKey says so as this is written.
        [6, 0, 0] => Maker::CanoKey,
        _ => Maker::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applet(version: [u8; 3]) -> Applet {
        Applet {
            version,
            salt: vec![1; 8],
            challenge: None,
            pin_tries: None,
            tells_serial: false,
        }
    }

    fn named(name: &str) -> Hints {
        Hints {
            name: name.to_lowercase(),
            ..Hints::default()
        }
    }

    #[test]
    fn makers_are_told_apart() {
        for (version, name, expected) in [
            ([3, 4, 0], "Yubico Yubikey NEO OTP+U2F+CCID", Maker::YubiKeyNeo),
            ([4, 3, 7], "Yubico Yubikey 4 OTP+U2F+CCID", Maker::YubiKey4),
            ([5, 4, 3], "YubiKey OTP+FIDO+CCID", Maker::YubiKey5),
            ([4, 4, 4], "SoloKeys Solo 2", Maker::Solo2),
            ([4, 13, 0], "Nitrokey Nitrokey 3", Maker::Nitrokey3),
            ([6, 0, 0], "canokeys.org Canokey", Maker::CanoKey),
            ([6, 0, 0], "ACS ACR122U", Maker::CanoKey),
            ([5, 4, 3], "ACS ACR122U", Maker::Unknown),
            ([4, 2, 5], "ACS ACR122U", Maker::YubiKey4),
        ] {
            assert_eq!(Habits::of(&applet(version), &named(name)).maker, expected, "{name}");
        }
        let mut nitrokey = applet([4, 13, 0]);
        nitrokey.tells_serial = true;
        assert_eq!(Habits::of(&nitrokey, &Hints::default()).maker, Maker::Nitrokey3);
    }

    #[test]
    fn what_they_can_do() {
        let of = |version, name| Habits::of(&applet(version), &named(name));
        let neo = of([3, 4, 0], "yubico");
        assert!(!neo.touch && !neo.sha512 && !neo.renames && neo.resets);
        let four = of([4, 2, 5], "yubico");
        assert!(four.touch && !four.sha512 && four.loses_commands);
        let near = Hints {
            contactless: true,
            ..Hints::default()
        };
        assert!(!Habits::of(&applet([4, 2, 5]), &near).loses_commands, "over USB alone");
        let five = of([5, 7, 0], "yubico");
        assert!(five.touch && five.sha512 && five.renames && five.resets && !five.counts_first);
        let canokey = of([6, 0, 0], "canokey");
        assert!(!canokey.resets && canokey.counts_first);
        let nitrokey = of([4, 13, 0], "nitrokey 3");
        assert!(nitrokey.gate == Gate::Pin && !nitrokey.renames && nitrokey.touch_to_manage && !nitrokey.sha512);
    }
}
