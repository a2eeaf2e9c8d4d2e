//! Lines by which login modules of Linux know FIDO2 keys: `pam_u2f`'s mapping and SSSD's passkey strings.
//!
//! Both are lists of public values, one a person or one a key, and say nothing of other keys: a file is written whole, from what the
//! ledger holds.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use data_encoding::BASE64;

use super::ctap2::cose::CoseKey;
use super::ctap2::spki;

/// Most keys of one person that `pam_u2f` reads unless it is told otherwise (`max_devices`).
pub const MOST_KEYS: usize = 24;

/// A key of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passkey {
    /// Name of the account on the host.
    pub account: String,
    /// Credential id.
    pub credential_id: Vec<u8>,
    /// Its public key.
    pub key: CoseKey,
}

impl Passkey {
    /// Whether a line can name the account: neither module has a way to quote.
    fn is_plain(&self) -> bool {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, ':' | ',' | '#');
        !self.account.is_empty() && self.account.chars().all(plain)
    }

    /// The part of a mapping line: key handle, public key, algorithm, and that a touch is wanted. `None` when `pam_u2f` has no words
    /// for it.
    #[must_use]
    pub fn mapping(&self) -> Option<String> {
        let algorithm = match self.key.algorithm() {
            -7 => "es256",
            -8 => "eddsa",
            _ => return None,
        };
        let public = BASE64.encode(&spki::bare(&self.key)?);
        let handle = BASE64.encode(&self.credential_id);
        self.is_plain()
            .then(|| format!("{handle},{public},{algorithm},+presence"))
    }

    /// SSSD's string: credential id and SubjectPublicKeyInfo. `None` for an algorithm that it does not verify.
    #[must_use]
    pub fn passkey(&self) -> Option<String> {
        if !matches!(self.key.algorithm(), -7 | -8 | -257) || !self.is_plain() {
            return None;
        }
        let public = BASE64.encode(&spki::of(&self.key)?);
        Some(format!("passkey:{},{public}", BASE64.encode(&self.credential_id)))
    }
}

/// `pam_u2f`'s mapping: a line a person with all of their keys, since of two lines the last one counts. Those that have no words are
/// left out.
#[must_use]
pub fn pam_u2f(keys: &[Passkey]) -> String {
    let mut people: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for key in keys {
        if let Some(mapping) = key.mapping() {
            people.entry(&key.account).or_default().push(mapping);
        }
    }
    let mut file = String::new();
    for (account, keys) in people {
        // A String takes everything.
        let _ = writeln!(file, "{account}:{}", keys.join(":"));
    }
    file
}

/// A line a key: the account, a tabulator, SSSD's string.
#[must_use]
pub fn sssd_passkey(keys: &[Passkey]) -> String {
    let mut file = String::new();
    for key in keys {
        if let Some(passkey) = key.passkey() {
            let _ = writeln!(file, "{}\t{passkey}", key.account);
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::cbor::{self, Map, Value};

    fn key(account: &str, id: u8) -> Passkey {
        let x = vec![7; 32];
        let map = Map::from_iter([
            (1, Value::from(1)),
            (3, Value::from(-8)),
            (-1, Value::from(6)),
            (-2, Value::from(x)),
        ]);
        Passkey {
            account: account.to_owned(),
            credential_id: vec![id],
            key: CoseKey::parse(&cbor::encode(&map.into())).unwrap(),
        }
    }

    #[test]
    fn a_person_has_one_line_with_all_of_their_keys() {
        let file = pam_u2f(&[key("ada", 1), key("bob", 2), key("ada", 3)]);
        let public = BASE64.encode(&[7; 32]);
        let part = |handle: &str| format!("{handle},{public},eddsa,+presence");
        assert_eq!(
            file,
            format!("ada:{}:{}\nbob:{}\n", part("AQ=="), part("Aw=="), part("Ag=="))
        );
    }

    #[test]
    fn a_name_that_would_break_the_line_is_left_out() {
        for name in ["", "a:b", "a b", "a\nroot", "#a", "é"] {
            assert_eq!(pam_u2f(&[key(name, 1)]), "");
            assert_eq!(sssd_passkey(&[key(name, 1)]), "");
        }
    }

    #[test]
    fn a_passkey_string_holds_subject_public_key_info() {
        let file = sssd_passkey(&[key("ada", 1)]);
        let public = [
            &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..],
            &[7; 32],
        ]
        .concat();
        assert_eq!(file, format!("ada\tpasskey:AQ==,{}\n", BASE64.encode(&public)));
    }
}
