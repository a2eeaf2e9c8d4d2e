//! What an OATH applet answers.

use std::hint::black_box;
use std::sync::OnceLock;

use claviger::codec::ykoath as codec;
use claviger::codec::ykoath::{AccessKey, Applet, Calculated, CredentialName};
use claviger::device::oath::maker::{Habits, Hints};
use claviger::types::Secret;

/// The decoders of an OATH applet's answers.
pub fn ykoath(data: &[u8]) {
    if let Ok(applet) = Applet::parse(data) {
        black_box((
            applet.device_id(),
            applet.is_locked(),
            Habits::of(&applet, &Hints::default()),
        ));
    }
    if let Ok(listed) = codec::parse_list(data) {
        assert!(listed.len() <= codec::MAX_CREDENTIALS);
        for one in &listed {
            assert!(one.name.as_bytes().len() <= 256);
            black_box((one.name.display(), one.name.period_s()));
        }
    }
    if let Ok(all) = codec::parse_calculated_all(data) {
        assert!(all.len() <= codec::MAX_CREDENTIALS);
        for (name, value) in &all {
            black_box(name.display());
            held(value);
        }
    }
    if let Ok(value) = codec::parse_calculated(data) {
        held(&value);
    }
    // Derived once: a thousand rounds of PBKDF2 are not what is looked at here.
    static KEY: OnceLock<AccessKey> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let applet = Applet::parse(&[0x79, 3, 5, 4, 3, 0x71, 1, 7]).expect("an applet");
        AccessKey::derive(&Secret::new(b"password".to_vec()), &applet)
    });
    assert!(!codec::card_is_genuine(key, &[7; 8], data), "twenty bytes were guessed");
    if let Ok(name) = CredentialName::new(data) {
        assert_eq!(name.as_bytes(), data);
        black_box((
            name.display(),
            codec::calculate(&name, 1, true),
            codec::rename(&name, &name),
        ));
    }
}

/// A code has six to eight digits, whatever the card says.
fn held(value: &Calculated) {
    if let Calculated::Code(code) = value {
        assert!((6..=8).contains(&code.expose().len()));
    }
}
