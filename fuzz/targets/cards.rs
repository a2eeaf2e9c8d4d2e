//! What cards answer.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use claviger::codec::oath::OathParameters;
use claviger::codec::vendor::token2;
use claviger::codec::ykoath as codec;
use claviger::codec::ykoath::{AccessKey, Applet, Calculated, CredentialName, CredentialType, Properties};
use claviger::device::clock_fob::{ClockFob, Setting};
use claviger::device::oath::OathSession;
use claviger::device::oath::maker::{Habits, Hints};
use claviger::link::{CardLink, LinkError};
use claviger::types::{Cancel, OathAlgorithm, Secret, UnixMillis};

/// The most APDUs that one question may take, whatever a card answers: the codec's own cap on the parts of an answer, twice over.
const MOST_APDUS: usize = 20_000;

/// A card that answers from a script: each response a length byte and so many bytes. After the last it is gone, or repeats it.
struct Script {
    left: VecDeque<Vec<u8>>,
    last: Vec<u8>,
    repeats: bool,
    sent: usize,
}

impl Script {
    fn new(mut data: &[u8], repeats: bool) -> Self {
        let mut left = VecDeque::new();
        while let Some((length, rest)) = data.split_first() {
            let (response, rest) = rest.split_at(rest.len().min(usize::from(*length)));
            left.push_back(response.to_vec());
            data = rest;
        }
        Self {
            left,
            last: Vec::new(),
            repeats,
            sent: 0,
        }
    }
}

impl CardLink for Script {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
        assert!((4..=261).contains(&command.len()), "a short APDU: {command:02x?}");
        self.sent += 1;
        assert!(self.sent < MOST_APDUS, "work without end");
        match self.left.pop_front() {
            Some(response) => {
                self.last.clone_from(&response);
                Ok(response)
            }
            None if self.repeats => Ok(self.last.clone()),
            None => Err(LinkError::Gone),
        }
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

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

/// A session with an applet that answers anything at all. The first byte chooses: its low bit whether the last answer is repeated
/// for ever, the rest where to begin.
pub fn oath_card(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let mut card = Script::new(rest, choice & 1 != 0);
    let cancel = Cancel::new();
    let Ok(mut session) = OathSession::open(&mut card, &Hints::default(), far(), &cancel) else {
        return;
    };
    let secret = Secret::new(b"12345678901234567890".to_vec());
    let (Ok(name), Ok(parameters)) = (
        CredentialName::totp(Some("issuer"), "account", 30),
        OathParameters::new(OathAlgorithm::Sha1, 6, 30),
    ) else {
        return;
    };
    // Unlocking derives a key in a thousand rounds, so not every run does it.
    if session.is_locked() && choice & 0xe0 == 0xe0 {
        let _ = black_box(session.unlock(&secret));
    }
    for turn in 0..4 {
        let _ = match (choice >> 1).wrapping_add(turn) % 8 {
            0 => session.list().map(|all| drop(black_box(all))),
            1 => session.calculate_all(1).map(|all| drop(black_box(all))),
            2 => session.calculate(&name, 1).map(|code| drop(black_box(code))),
            3 => session.calculate_next(&name).map(|code| drop(black_box(code))),
            4 => session.put(&name, &parameters, CredentialType::Totp, &secret, Properties::default()),
            5 => session.rename(&name, &name),
            6 => session.delete(&name),
            _ => session.reset(),
        };
    }
}

/// The decoder of an NFC fob's answer, and a session with one that answers anything. The first byte chooses as in [`oath_card`].
pub fn nfc_fob(data: &[u8]) {
    if let Ok(info) = token2::Info::parse(data) {
        assert!(info.serial.len() <= 32 && info.serial.is_ascii());
        black_box(token2::model_of(&info.serial).map(|model| model.name));
    }
    black_box(token2::authenticate(&token2::PUBLIC_KEY, data).is_ok());
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let mut card = Script::new(rest, choice & 1 != 0);
    let cancel = Cancel::new();
    let now = || UnixMillis(1_800_000_000_000);
    let Ok((mut fob, face)) = ClockFob::open(&mut card, &now, far(), &cancel) else {
        return;
    };
    black_box(face.offset_ms);
    let setting = Setting {
        algorithm: if choice & 2 == 0 {
            OathAlgorithm::Sha1
        } else {
            OathAlgorithm::Sha256
        },
        period_s: 30,
    };
    let seed = Secret::new(vec![7; 10 + usize::from(choice >> 3)]);
    let _ = black_box(fob.authenticate());
    let _ = black_box(fob.write_setting(setting, &now));
    if choice & 4 != 0 {
        let _ = black_box(fob.write_seed(&seed));
    }
    let _ = black_box(fob.look(&now));
}
