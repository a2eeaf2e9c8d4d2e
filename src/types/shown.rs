//! Texts from devices and pcscd, made fit to show: no control characters, no serials.

/// Text from a device, a driver or another program, made fit to be shown: invisible characters dropped, at most 128.
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| visible(*c)).take(128).collect()
}

/// Characters that a person sees where they stand: no controls, no line separators, nothing that turns the writing direction
/// or has no width.
#[must_use]
pub fn visible(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// Serials shorter than this are not looked for in names: “5” is part of many.
const SHORTEST_SERIAL: usize = 4;

/// A device's name or place without serials: pcscd puts the reader's serial in parentheses into its name
/// (“ACME Reader \[CCID\] (70D7E2EE) 00 00”), and names are properties that anybody may read.
pub fn without_serial(text: &str, serial: Option<&str>) -> String {
    let shown = printable(text);
    let mut kept = String::with_capacity(shown.len());
    let mut left = shown.as_str();
    while let Some((before, after)) = left.split_once('(') {
        let Some((inside, beyond)) = after.split_once(')') else {
            break;
        };
        kept.push_str(before);
        if !looks_like_serial(inside) {
            kept.push('(');
            kept.push_str(inside);
            kept.push(')');
        }
        left = beyond;
    }
    kept.push_str(left);
    let mut kept = kept.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(serial) = serial.filter(|serial| serial.len() >= SHORTEST_SERIAL) {
        // Again and again, for what is left and right of a cut may make another one.
        while kept.contains(serial) {
            kept = kept.replace(serial, "");
        }
    }
    kept
}

/// Four characters or more, or with a digit, and no space: better to lose a “(NFC5)” than to show a serial.
fn looks_like_serial(inside: &str) -> bool {
    !inside.contains(' ') && (inside.is_empty() || inside.len() >= 4 || inside.chars().any(|c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_leave_names_and_places() {
        let shown = without_serial("reader ACME CCID [Main] (70D7E2EE) 00 00", None);
        assert_eq!(shown, "reader ACME CCID [Main] 00 00");
        assert_eq!(without_serial("Key (NFC)", None), "Key (NFC)");
        assert_eq!(without_serial("Key 0012345678", Some("0012345678")), "Key ");
        assert_eq!(without_serial("Key aa1aa1bb", Some("aa1b")), "Key ");
        assert_eq!(without_serial("Key 5", Some("5")), "Key 5");
        assert_eq!(without_serial("Key (ABCDEFGH", None), "Key (ABCDEFGH");
        assert_eq!(without_serial("a\u{0}b\u{202E}c", None), "abc");
    }

    proptest::proptest! {
        #[test]
        fn no_name_shows_a_serial(name in "\\PC{0,40}", serial in "[0-9A-F]{4,12}", place in 0_usize..40) {
            let at = name.char_indices().nth(place).map_or(name.len(), |(at, _)| at);
            let (before, after) = name.split_at(at);
            let shown = without_serial(&format!("{before}{serial}{after}"), Some(&serial));
            proptest::prop_assert!(!shown.contains(&serial), "{}", shown);
            proptest::prop_assert!(shown.chars().count() <= 128);
        }
    }
}
