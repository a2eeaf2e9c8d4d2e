//! What the serial of a USB descriptor is worth, maker by maker.

use crate::link::UsbIds;

/// Whether a serial is one device's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Honesty {
    /// The maker gives each device its own.
    Own,
    /// Nothing is known against it, and nothing for it.
    Claimed,
    /// The same on every device of the model.
    Constant,
}

impl Honesty {
    /// Its name on the bus.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Claimed => "claimed",
            Self::Constant => "constant",
        }
    }
}

/// USB vendor, product (all when `None`), and what its serials are. Only what its users or its firmware's source tell of.
const KNOWN: &[(u16, Option<u16>, Honesty)] = &[
    // Yubico: mostly none; where it is made visible, the one that is printed on the key.
    (0x1050, None, Honesty::Own),
    // SoloKeys Solo 2: the device's UUID.
    (0x1209, Some(0xBEEE), Honesty::Own),
    // Nitrokey 3: none from 1.3 on; before, the device's UUID.
    (0x20A0, Some(0x42B2), Honesty::Own),
    // OnlyKey: written into the firmware.
    (0x1D50, Some(0x60FC), Honesty::Constant),
    (0x16C0, Some(0x0486), Honesty::Constant),
];

/// Serials that firmware is shipped with when nobody filled one in, whoever made it.
const PLACEHOLDERS: &[&str] = &[
    "0123456789ABCDEF",
    "0123456789",
    "123456789",
    "1234567890",
    "12345678",
    "1000000000",
];

/// What `serial` is worth.
pub(super) fn judge(usb: Option<UsbIds>, serial: &str) -> Honesty {
    let mut characters = serial.chars();
    let first = characters.next();
    // “0000”, but also “0001”: a counter that was never counted.
    let counted = serial.trim_start_matches('0').len() <= 1;
    if first.is_none() || characters.all(|c| Some(c) == first) || counted || PLACEHOLDERS.contains(&serial) {
        return Honesty::Constant;
    }
    let Some(usb) = usb else { return Honesty::Claimed };
    KNOWN
        .iter()
        .find(|(vendor, product, _)| *vendor == usb.vendor && product.is_none_or(|product| product == usb.product))
        .map_or(Honesty::Claimed, |(_, _, honesty)| *honesty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_believed_as_far_as_their_maker_is() {
        let of = |vendor, product, serial| judge(Some(UsbIds { vendor, product }), serial);
        assert_eq!(of(0x1050, 0x0407, "0012345678"), Honesty::Own);
        assert_eq!(of(0x1209, 0xBEEE, "4F2A6C1D"), Honesty::Own);
        assert_eq!(of(0x1209, 0x0001, "4F2A6C1D"), Honesty::Claimed);
        assert_eq!(of(0x1D50, 0x60FC, "1000000000"), Honesty::Constant);
        assert_eq!(of(0x1D50, 0x60FC, "4F2A6C1D"), Honesty::Constant);
        for serial in ["", "0", "0000", "0001", "FFFFFFFF", "0123456789ABCDEF"] {
            assert_eq!(of(0x1050, 0x0407, serial), Honesty::Constant, "{serial}");
        }
        assert_eq!(judge(None, "SIM-blue"), Honesty::Claimed);
    }
}
