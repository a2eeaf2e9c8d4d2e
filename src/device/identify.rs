//! Several faces, one device: what a person is told about it.

use crate::link::{Face, FaceKind, UsbIds};
use crate::types::Reality;
use crate::types::shown::without_serial;

/// What the faces of one body say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Product name.
    pub name: String,
    /// Where a person finds it.
    pub place: String,
    /// USB ids, when any face knows them.
    pub usb: Option<UsbIds>,
    /// Serial, when any face knows it. It names a person's key: only guarded methods may pass it on.
    pub serial: Option<String>,
    /// True when every face is contactless.
    pub contactless: bool,
    /// Matter or not.
    pub reality: Reality,
    /// What it can speak, each kind once, reports before APDUs.
    pub faces: Vec<FaceKind>,
}

/// Whether two faces are ways into the same physical device. A simulated face never joins a real one, whatever it claims.
#[must_use]
pub fn same_body(one: &Face, other: &Face) -> bool {
    one.reality == other.reality && one.body == other.body
}

/// Describes the device behind `faces`; `None` when there are none.
///
/// The HID face speaks for the device: its name and its port come from USB, while a reader name is pcscd's own invention.
#[must_use]
pub fn describe(faces: &[Face]) -> Option<Identity> {
    let speaker = faces.iter().find(|face| face.kind == FaceKind::Hid).or(faces.first())?;
    let kinds = [FaceKind::Hid, FaceKind::Card];
    let serial = faces.iter().find_map(|face| face.serial.as_deref());
    Some(Identity {
        // Names and places go where anybody reads them, and into the journal for good.
        name: without_serial(&speaker.name, serial),
        place: without_serial(&speaker.place, serial),
        usb: speaker.usb.or_else(|| faces.iter().find_map(|face| face.usb)),
        serial: speaker
            .serial
            .clone()
            .or_else(|| faces.iter().find_map(|face| face.serial.clone())),
        contactless: faces.iter().all(|face| face.contactless),
        reality: speaker.reality,
        faces: kinds
            .into_iter()
            .filter(|kind| faces.iter().any(|face| face.kind == *kind))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::FaceHandle;

    fn face(kind: FaceKind, body: &str, reality: Reality) -> Face {
        Face {
            key: format!("{kind:?}:{body}"),
            kind,
            body: body.into(),
            place: if kind == FaceKind::Hid {
                "USB port 1-4"
            } else {
                "reader ACME 00"
            }
            .into(),
            name: if kind == FaceKind::Hid { "ACME Key" } else { "ACME" }.into(),
            usb: (kind == FaceKind::Hid).then_some(UsbIds { vendor: 1, product: 2 }),
            serial: None,
            contactless: false,
            reality,
            handle: FaceHandle::Virtual { connection: 1 },
        }
    }

    #[test]
    fn the_usb_face_speaks_for_the_device_in_either_order() {
        let (hid, card) = (
            face(FaceKind::Hid, "b", Reality::Hardware),
            face(FaceKind::Card, "b", Reality::Hardware),
        );
        let one = describe(&[hid.clone(), card.clone()]).expect("two faces");
        let two = describe(&[card, hid]).expect("two faces");
        assert_eq!(one, two);
        assert_eq!((one.name.as_str(), one.place.as_str()), ("ACME Key", "USB port 1-4"));
        assert_eq!(one.faces, [FaceKind::Hid, FaceKind::Card]);
        assert_eq!(describe(&[]), None);
    }

    #[test]
    fn a_simulated_face_never_joins_a_real_device() {
        let real = face(FaceKind::Hid, "b", Reality::Hardware);
        assert!(same_body(&real, &face(FaceKind::Card, "b", Reality::Hardware)));
        assert!(!same_body(&real, &face(FaceKind::Card, "b", Reality::Virtual)));
        assert!(!same_body(&real, &face(FaceKind::Card, "c", Reality::Hardware)));
    }
}
