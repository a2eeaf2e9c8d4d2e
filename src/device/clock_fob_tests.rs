//! Sessions with a fob that answers from a script.

use std::collections::VecDeque;
use std::time::Duration;

use super::*;
use crate::link::LinkError;

const NOW: UnixMillis = UnixMillis(1_800_000_000_250);

#[derive(Default)]
struct Script {
    answers: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    cancel_at: Option<(usize, Cancel)>,
}

impl Script {
    fn new(answers: &[&[u8]]) -> Self {
        Self {
            answers: answers.iter().map(|answer| answer.to_vec()).collect(),
            ..Self::default()
        }
    }
}

impl CardLink for Script {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
        self.sent.push(command.to_vec());
        if let Some((count, cancel)) = &self.cancel_at
            && self.sent.len() == *count
        {
            cancel.cancel();
        }
        self.answers.pop_front().ok_or(LinkError::Gone)
    }
}

/// What a fob answers to `info`: this serial, this clock.
fn info(serial: &str, utc_s: u32) -> Vec<u8> {
    let mut data = vec![0, 0, 0, u8::try_from(serial.len()).unwrap()];
    data.extend_from_slice(serial.as_bytes());
    data.extend_from_slice(&[0, 0]);
    data.extend_from_slice(&utc_s.to_be_bytes());
    data.extend_from_slice(&[0x90, 0]);
    data
}

const OK: &[u8] = &[0x90, 0];
const CHALLENGE: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8, 0x90, 0];
const SETTING: Setting = Setting {
    algorithm: OathAlgorithm::Sha1,
    period_s: 30,
};

fn with<T>(
    card: &mut Script,
    cancel: &Cancel,
    verb: impl FnOnce(&mut ClockFob<'_>, FobFace) -> Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    let until = Instant::now() + Duration::from_secs(60);
    let (mut fob, face) = ClockFob::open(card, &|| NOW, until, cancel)?;
    verb(&mut fob, face)
}

#[test]
fn a_look_takes_one_command_and_no_key() {
    let mut card = Script::new(&[&info("8659622000017", 1_799_999_400)]);
    let face = with(&mut card, &Cancel::new(), |_, face| Ok(face)).unwrap();
    assert_eq!(card.sent, [vec![0x80, 0x41, 0, 0, 2, 2, 0x11]]);
    assert_eq!(
        (face.serial.as_str(), face.model),
        ("8659622000017", Some("Token2 OTPC-P2-i"))
    );
    assert_eq!(face.offset_ms, -599_750, "ten minutes slow");
    assert_eq!(face.clock_wipes_seed, Some(true));
    let mut unknown = Script::new(&[&info("4711", 1_800_000_000)]);
    let face = with(&mut unknown, &Cancel::new(), |_, face| Ok(face)).unwrap();
    assert_eq!((face.model, face.clock_wipes_seed, face.offset_ms), (None, None, 250));
}

#[test]
fn what_is_no_fob_is_none() {
    for answer in [&[0x6D, 0x00][..], &[0x6E, 0x00], &[0x90, 0], &[1, 2, 3, 0x90, 0]] {
        let mut card = Script::new(&[answer]);
        let found = with(&mut card, &Cancel::new(), |_, face| Ok(face));
        assert_eq!(found, Err(DeviceError::Unsupported(CLOCK)), "{answer:02x?}");
    }
}

#[test]
fn the_clock_is_written_before_the_seed() {
    let mut card = Script::new(&[&info("8659622000017", 0), CHALLENGE, OK, OK, OK]);
    let seed = Secret::new(vec![7; 20]);
    let cancel = Cancel::new();
    // Cancelled after the key was taken: what was begun is brought to its end.
    card.cancel_at = Some((3, cancel.clone()));
    with(&mut card, &cancel, |fob, _| fob.write(SETTING, Some(&seed), &|| NOW)).unwrap();
    let heads: Vec<_> = card.sent.iter().map(|frame| (frame[0], frame[1])).collect();
    assert_eq!(
        heads,
        [(0x80, 0x41), (0x80, 0x4B), (0x80, 0xCE), (0x84, 0xD4), (0x84, 0xC5)]
    );
    assert_eq!(card.sent[3][12..16], 1_800_000_000_u32.to_be_bytes());
}

#[test]
fn a_refused_key_is_tried_once_and_nothing_is_written() {
    for status in [[0x69, 0x83], [0x69, 0x82], [0x63, 0xC2], [0x6A, 0x80]] {
        let mut card = Script::new(&[&info("8659622000017", 0), CHALLENGE, &status, CHALLENGE, OK, OK, OK]);
        let written = with(&mut card, &Cancel::new(), |fob, _| fob.write(SETTING, None, &|| NOW));
        assert_eq!(written, Err(DeviceError::KeyRefused));
        assert_eq!(card.sent.len(), 3, "{status:02x?}");
    }
}

#[test]
fn what_it_cannot_be_set_to_is_never_sent() {
    for setting in [
        Setting {
            algorithm: OathAlgorithm::Sha512,
            ..SETTING
        },
        Setting {
            period_s: 45,
            ..SETTING
        },
    ] {
        let mut card = Script::new(&[&info("8659622000017", 0), CHALLENGE, OK, OK]);
        let written = with(&mut card, &Cancel::new(), |fob, _| fob.write(setting, None, &|| NOW));
        assert!(matches!(written, Err(DeviceError::Unsupported(_))), "{written:?}");
        assert_eq!(card.sent.len(), 1);
    }
}

#[test]
fn both_forms_of_the_challenge() {
    let mut card = Script::new(&[&info("8659622000017", 0), &[0x67, 0], CHALLENGE, OK, OK]);
    with(&mut card, &Cancel::new(), |fob, _| fob.write(SETTING, None, &|| NOW)).unwrap();
    assert_eq!(card.sent[2], [0x80, 0x4B, 8, 0, 0]);
}

#[test]
fn a_challenge_of_another_length_goes_no_further() {
    let mut card = Script::new(&[&info("8659622000017", 0), &[1, 2, 0x90, 0], OK, OK]);
    let written = with(&mut card, &Cancel::new(), |fob, _| fob.write(SETTING, None, &|| NOW));
    assert!(matches!(written, Err(DeviceError::Protocol(_))), "{written:?}");
    assert_eq!(card.sent.len(), 2);
}
