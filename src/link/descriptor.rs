//! HID report descriptors, as far as they say whether an interface speaks CTAPHID.

/// Usage page of FIDO authenticators (CTAP 2.1 section 11.2.8.1; HID Usage Tables).
const FIDO_PAGE: u32 = 0xF1D0;
/// A descriptor may save its global state this deep; more is nonsense.
const DEEPEST: usize = 16;
/// `HID_MAX_DESCRIPTOR_SIZE` of the kernel.
pub(super) const LONGEST: usize = 4096;

/// Whether a top-level application collection of the descriptor is on the FIDO page.
///
/// Items are read as HID 1.11 section 6.2.2 tells. What is cut off or does not nest ends the reading; what was read until
/// then counts.
pub(super) fn is_fido(descriptor: &[u8]) -> bool {
    let mut rest = descriptor.get(..LONGEST).unwrap_or(descriptor);
    let (mut page, mut usage, mut depth) = (0, None, 0_usize);
    let mut saved = Vec::new();
    while let Some((item, after)) = next_item(rest) {
        rest = after;
        match item {
            Item::UsagePage(new) => page = new,
            // The first usage before a collection names it; a long one brings its page along (section 6.2.2.8).
            Item::Usage { value, long } => {
                usage.get_or_insert(if long { value } else { page << 16 | value });
            }
            Item::Collection { application } => {
                if application && depth == 0 && usage.is_some_and(|usage: u32| usage >> 16 == FIDO_PAGE) {
                    return true;
                }
                depth += 1;
                usage = None;
            }
            Item::EndCollection => {
                let Some(outer) = depth.checked_sub(1) else {
                    return false;
                };
                depth = outer;
                usage = None;
            }
            Item::Push if saved.len() < DEEPEST => saved.push(page),
            Item::Push => return false,
            Item::Pop => {
                let Some(old) = saved.pop() else { return false };
                page = old;
            }
            Item::OtherMain => usage = None,
            Item::Other => {}
        }
    }
    false
}

enum Item {
    UsagePage(u32),
    Usage {
        value: u32,
        long: bool,
    },
    Collection {
        application: bool,
    },
    EndCollection,
    Push,
    Pop,
    /// Input, Output, Feature: they use local items up.
    OtherMain,
    Other,
}

/// The first item and what follows it; `None` at the end or when it is cut off.
fn next_item(bytes: &[u8]) -> Option<(Item, &[u8])> {
    let (&prefix, rest) = bytes.split_first()?;
    if prefix == 0xFE {
        // A long item: size, tag, data (section 6.2.2.3). None are defined.
        let (&size, rest) = rest.split_first()?;
        return Some((Item::Other, rest.get(usize::from(size) + 1..)?));
    }
    let size = match prefix & 0x03 {
        3 => 4,
        size => usize::from(size),
    };
    let (data, rest) = rest.split_at_checked(size)?;
    let value = data
        .iter()
        .rev()
        .fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
    let item = match prefix & 0xFC {
        0x04 => Item::UsagePage(value & 0xFFFF),
        0x08 => Item::Usage { value, long: size == 4 },
        0xA0 => Item::Collection {
            application: value == 0x01,
        },
        0xC0 => Item::EndCollection,
        0xA4 => Item::Push,
        0xB4 => Item::Pop,
        0x80 | 0x90 | 0xB0 => Item::OtherMain,
        _ => Item::Other,
    };
    Some((item, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of CTAP 2.1 section 11.2.8.1.
    const FIDO: [u8; 34] = [
        0x06, 0xD0, 0xF1, 0x09, 0x01, 0xA1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, 0x40,
        0x81, 0x02, 0x09, 0x21, 0x15, 0x00, 0x26, 0xFF, 0x00, 0x75, 0x08, 0x95, 0x40, 0x91, 0x02, 0xC0,
    ];
    /// A boot keyboard (HID 1.11 appendix E.6), cut to its frame.
    const KEYBOARD: [u8; 12] = [0x05, 0x01, 0x09, 0x06, 0xA1, 0x01, 0x05, 0x07, 0x19, 0xE0, 0x81, 0xC0];

    #[test]
    fn a_fido_interface_is_recognised() {
        assert!(is_fido(&FIDO));
        assert!(!is_fido(&KEYBOARD));
        assert!(!is_fido(&[]));
    }

    #[test]
    fn also_behind_another_collection_and_with_a_long_usage() {
        let both = [&KEYBOARD[..10], &[0xC0], &FIDO[..]].concat();
        assert!(is_fido(&both));
        assert!(is_fido(&[0x0B, 0x01, 0x00, 0xD0, 0xF1, 0xA1, 0x01, 0xC0]));
    }

    #[test]
    fn the_page_alone_is_not_enough() {
        assert!(!is_fido(&[0x06, 0xD0, 0xF1]), "no collection");
        assert!(
            !is_fido(&[0x06, 0xD0, 0xF1, 0x09, 0x01, 0xA1, 0x00]),
            "a physical collection"
        );
        let inside = [&KEYBOARD[..6], &FIDO[..7]].concat();
        assert!(!is_fido(&inside), "not on the top level");
        assert!(
            !is_fido(&[0xA4, 0x06, 0xD0, 0xF1, 0xB4, 0x09, 0x01, 0xA1, 0x01]),
            "the page was taken back"
        );
    }

    #[test]
    fn every_cut_and_every_nonsense_ends() {
        for length in 0..FIDO.len() {
            is_fido(&FIDO[..length]);
        }
        assert!(!is_fido(&[0xC0; 64]));
        assert!(!is_fido(&[0xB4; 64]));
        assert!(!is_fido(&[0xA4; 64]));
        assert!(!is_fido(&[0xFE, 0xFF]));
    }

    proptest! {
        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            is_fido(&bytes);
        }

        #[test]
        fn what_follows_a_fido_collection_cannot_hide_it(tail in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(is_fido(&[&FIDO[..], &tail].concat()));
        }
    }
}
