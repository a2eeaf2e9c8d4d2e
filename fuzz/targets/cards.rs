//! Sessions with cards that answer anything.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use claviger::codec::oath::OathParameters;
use claviger::codec::vendor::token2;
use claviger::codec::ykoath::{CredentialName, CredentialType, Properties};
use claviger::device::clock_fob::{ClockFob, Setting};
use claviger::device::oath::OathSession;
use claviger::device::oath::maker::Hints;
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
