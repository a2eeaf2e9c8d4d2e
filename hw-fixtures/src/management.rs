//! The management application on a YubiKey's card face, as far as a host may read it without changing anything (Yubico's SDK
//! manual, “Get device information”): SELECT names the firmware, READ CONFIG tells serial and version.

use crate::profile::ManagementProfile;
use crate::ykoath::{Apdu, Reply, StatusWord};

/// The application identifier.
pub const AID: &[u8] = &[0xa0, 0x00, 0x00, 0x05, 0x27, 0x47, 0x11, 0x17];

/// The application: it remembers nothing.
pub(crate) struct Management {
    profile: ManagementProfile,
    serial: Option<u32>,
}

impl Management {
    pub fn new(profile: &ManagementProfile, serial: Option<u32>) -> Self {
        Self {
            profile: profile.clone(),
            serial: serial.filter(|_| profile.serial),
        }
    }

    /// The application is selected: its name and version in words.
    pub fn select(&self) -> Reply {
        let [major, minor, patch] = self.profile.version;
        ok(format!("Virtual mgr - FW version {major}.{minor}.{patch}").into_bytes())
    }

    /// Takes one command while the application is selected.
    pub fn command(&self, apdu: &Apdu) -> Reply {
        match (apdu.class, apdu.instruction, apdu.p1) {
            (0x00, 0x1d, 0x00) if apdu.p2 == 0 => ok(self.config()),
            (0x00, 0x1d, _) => refuse(StatusWord::WrongP1P2),
            (0x00, _, _) => refuse(StatusWord::InstructionNotSupported),
            _ => refuse(StatusWord::ClassNotSupported),
        }
    }

    /// A length byte and the elements: what it supports and has enabled over USB (OTP, U2F, OATH, FIDO2), its serial, its form, its
    /// version, and that no code locks the configuration.
    fn config(&self) -> Vec<u8> {
        let [major, minor, patch] = self.profile.version;
        let mut elements = vec![0x01, 0x02, 0x02, 0x23, 0x03, 0x02, 0x02, 0x23];
        if let Some(serial) = self.serial {
            elements.extend([0x02, 0x04]);
            elements.extend(serial.to_be_bytes());
        }
        elements.extend([0x04, 0x01, 0x01, 0x05, 0x03, major, minor, patch, 0x0a, 0x01, 0x00]);
        let length = u8::try_from(elements.len()).unwrap_or(u8::MAX);
        elements.insert(0, length);
        elements
    }
}

fn ok(mut data: Vec<u8>) -> Reply {
    data.extend(StatusWord::Ok.bytes());
    Reply::Response(data)
}

fn refuse(status: StatusWord) -> Reply {
    Reply::Response(status.bytes().to_vec())
}
