//! Sessions against a card that answers from a script and writes down what it was sent.

use std::collections::VecDeque;
use std::time::Duration;

use super::*;
use crate::link::LinkError;
use crate::types::OathAlgorithm;

/// Answers in order; without an answer left the card is gone.
#[derive(Default)]
struct Script {
    answers: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    /// Raised after this many APDUs.
    cancel_after: Option<(usize, Cancel)>,
    /// Each APDU takes this long.
    slowness: Duration,
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
        if let Some((count, cancel)) = &self.cancel_after
            && self.sent.len() >= *count
        {
            cancel.cancel();
        }
        std::thread::sleep(self.slowness);
        self.answers.pop_front().ok_or(LinkError::Gone)
    }
}

const OPEN: &[u8] = &[0x79, 3, 5, 4, 3, 0x71, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x90, 0];
const LOCKED: &[u8] = &[
    0x79, 3, 5, 4, 3, 0x71, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x74, 8, 1, 1, 1, 1, 1, 1, 1, 1, 0x90, 0,
];
const CODE: &[u8] = &[0x76, 5, 6, 0x4C, 0x93, 0xCF, 0x18, 0x90, 0];

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn name() -> CredentialName {
    CredentialName::new("claviger:test").unwrap()
}

/// Opens a session on a card that answers `answers` after SELECT, and runs `verb` in it.
fn with<T>(
    answers: &[&[u8]],
    verb: impl FnOnce(&mut OathSession<'_>) -> Result<T, DeviceError>,
) -> (Result<T, DeviceError>, Vec<Vec<u8>>) {
    let mut card = Script::new(&[&[OPEN], answers].concat());
    let cancel = Cancel::new();
    let result =
        OathSession::open(&mut card, &Hints::default(), soon(), &cancel).and_then(|mut session| verb(&mut session));
    (result, card.sent)
}

#[test]
fn a_test_takes_two_apdus() {
    let (code, sent) = with(&[CODE], |session| session.calculate(&name(), 1));
    assert_eq!(code.unwrap().expose(), "755224");
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], [0, 0xA4, 4, 0, 7, 0xA0, 0, 0, 5, 0x27, 0x21, 1, 0]);
    assert_eq!(sent[1][..5], [0, 0xA2, 0, 1, 25]);
}

#[test]
fn the_applet_is_told() {
    let mut card = Script::new(&[OPEN]);
    let cancel = Cancel::new();
    let session = OathSession::open(&mut card, &Hints::default(), soon(), &cancel).unwrap();
    assert_eq!(session.applet().version, [5, 4, 3]);
    assert_eq!(session.applet().device_id().len(), 22);
    assert!(!session.is_locked());
}

#[test]
fn no_applet() {
    for (answer, expected) in [
        ([0x6A, 0x82], DeviceError::Unsupported(APPLET)),
        ([0x6D, 0x00], DeviceError::Unsupported(APPLET)),
        ([0x6F, 0x00], DeviceError::Status(0x6F00)),
        (
            [0x90, 0x00],
            DeviceError::Protocol("an OATH response without a field it must have"),
        ),
    ] {
        let mut card = Script::new(&[&answer]);
        let cancel = Cancel::new();
        assert_eq!(
            OathSession::open(&mut card, &Hints::default(), soon(), &cancel).err(),
            Some(expected)
        );
    }
}

#[test]
fn status_words_by_context() {
    let calculate = |word: u16| {
        with(&[&word.to_be_bytes()], |session| session.calculate(&name(), 1))
            .0
            .unwrap_err()
    };
    let delete = |word: u16| {
        with(&[&word.to_be_bytes()], |session| session.delete(&name()))
            .0
            .unwrap_err()
    };
    let list = |word: u16| with(&[&word.to_be_bytes()], |session| session.list()).0.unwrap_err();
    assert_eq!(calculate(0x6984), DeviceError::NoCredential);
    assert_eq!(calculate(0x6A82), DeviceError::NoCredential);
    assert_eq!(calculate(0x6982), DeviceError::TouchTimeout);
    assert_eq!(delete(0x6982), DeviceError::CardLocked);
    assert_eq!(delete(0x6984), DeviceError::NoCredential);
    assert_eq!(delete(0x6A84), DeviceError::StorageFull);
    assert_eq!(delete(0x6D00), DeviceError::Unsupported("this OATH command"));
    assert_eq!(delete(0x6581), DeviceError::Status(0x6581));
    assert_eq!(list(0x6A82), DeviceError::Unsupported(APPLET));
}

#[test]
fn put_and_delete_send_what_the_codec_says() {
    let parameters = OathParameters::new(OathAlgorithm::Sha1, 6, 30).unwrap();
    let seed = Secret::new(vec![7; 20]);
    let put = |session: &mut OathSession<'_>| {
        session.put(
            &name(),
            &parameters,
            CredentialType::Totp,
            &seed,
            Properties {
                touch: true,
                ..Default::default()
            },
        )
    };
    let (result, sent) = with(&[&[0x90, 0]], put);
    assert_eq!(result, Ok(()));
    assert_eq!(sent[1][..5], [0, 1, 0, 0, 15 + 24 + 2]);
    assert_eq!(sent[1].len(), 5 + 41, "PUT expects no data, so it carries no Le");
    assert_eq!(with(&[&[0x6A, 0x84]], put).0, Err(DeviceError::StorageFull));
    assert_eq!(with(&[&[0x90, 0]], |session| session.delete(&name())).0, Ok(()));
}

#[test]
fn long_listings_come_in_parts() {
    // A part is data and 61xx; the entries may be cut anywhere.
    let parts: [&[u8]; 2] = [&[0x72, 2, 0x21, b'a', 0x72, 0x61, 3], &[2, 0x21, b'b', 0x90, 0]];
    let (listed, sent) = with(&parts, |session| session.list());
    assert_eq!(listed.unwrap().len(), 2);
    assert_eq!(sent[2], [0, 0xA5, 0, 0, 0]);
    let (endless, _) = with(&[&[1, 0x61, 4], &[0x61, 4]], |session| session.list());
    assert_eq!(
        endless.err(),
        Some(DeviceError::Protocol(
            "a response that promises more and brings nothing"
        ))
    );
}

#[test]
fn a_locked_card_is_not_even_asked() {
    let mut card = Script::new(&[LOCKED]);
    let cancel = Cancel::new();
    let mut session = OathSession::open(&mut card, &Hints::default(), soon(), &cancel).unwrap();
    assert!(session.is_locked());
    assert_eq!(session.calculate(&name(), 1).err(), Some(DeviceError::CardLocked));
    assert_eq!(session.list().err(), Some(DeviceError::CardLocked));
    drop(session);
    assert_eq!(card.sent.len(), 1);
}

/// A card with a password that answers VALIDATE as the applet does.
struct Guarded {
    key: AccessKey,
    /// Answers with a proof of something else.
    impostor: bool,
}

impl CardLink for Guarded {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
        if command[1] != 0xA3 {
            return Ok(LOCKED.to_vec());
        }
        // 75 14 proof, 74 08 challenge: the same bytes that VALIDATE with this key would carry.
        let expected = ykoath::validate(&self.key, &[1; 8], &[0; 8]);
        if command[5..27] != expected.data[..22] {
            return Ok(vec![0x6A, 0x80]);
        }
        let challenge = if self.impostor { &[9; 8] } else { &command[29..37] };
        let proof = ykoath::validate(&self.key, challenge, &[0; 8]);
        Ok([&proof.data[..22], &[0x90, 0]].concat())
    }
}

#[test]
fn passwords_are_proved_both_ways() {
    let applet = Applet {
        version: [5, 4, 3],
        salt: vec![1, 2, 3, 4, 5, 6, 7, 8],
        challenge: None,
        pin_tries: None,
        tells_serial: false,
    };
    let unlock = |password: &[u8], impostor| {
        let key = AccessKey::derive(&Secret::new(b"right".to_vec()), &applet);
        let mut card = Guarded { key, impostor };
        let cancel = Cancel::new();
        let mut session = OathSession::open(&mut card, &Hints::default(), soon(), &cancel).unwrap();
        let result = session.unlock(&Secret::new(password.to_vec()));
        assert_eq!(session.is_locked(), result.is_err());
        result
    };
    assert_eq!(unlock(b"right", false), Ok(()));
    assert_eq!(unlock(b"wrong", false), Err(DeviceError::PasswordInvalid));
    assert_eq!(
        unlock(b"right", true),
        Err(DeviceError::Protocol("the card does not know its own password"))
    );
    // No password, no APDU.
    assert_eq!(with(&[], |session| session.unlock(&Secret::new(vec![1]))).0, Ok(()));
}

#[test]
fn cancelled_between_apdus() {
    let cancel = Cancel::new();
    let mut card = Script::new(&[OPEN, CODE]);
    card.cancel_after = Some((1, cancel.clone()));
    let mut session = OathSession::open(&mut card, &Hints::default(), soon(), &cancel).unwrap();
    assert_eq!(session.calculate(&name(), 1).err(), Some(DeviceError::Cancelled));
    drop(session);
    assert_eq!(card.sent.len(), 1, "nothing is sent once the flag is up");
}

#[test]
fn the_deadline_ends_a_card_that_drips() {
    let mut drip: Vec<&[u8]> = vec![OPEN];
    drip.resize(1_000, &[0x72, 0x61, 1]);
    let mut card = Script::new(&drip);
    card.slowness = Duration::from_millis(5);
    let cancel = Cancel::new();
    let started = Instant::now();
    let mut session = OathSession::open(
        &mut card,
        &Hints::default(),
        started + Duration::from_millis(60),
        &cancel,
    )
    .unwrap();
    assert_eq!(session.list().err(), Some(DeviceError::Deadline));
    assert!(started.elapsed() < Duration::from_secs(4));
    session.set_deadline(started);
    assert_eq!(session.delete(&name()), Err(DeviceError::Deadline));
}

#[test]
fn a_card_taken_away_is_gone() {
    assert_eq!(
        with(&[], |session| session.calculate(&name(), 1)).0.err(),
        Some(DeviceError::Gone)
    );
    assert_eq!(
        with(&[&[]], |session| session.calculate(&name(), 1)).0.err(),
        Some(DeviceError::Protocol("a response without a status word"))
    );
}

/// Where the third-party data is, or one line that says that it is not.
fn fuzz_seeds() -> Vec<Vec<u8>> {
    use std::io::Write;
    let root = std::env::var_os("CLAVIGER_SHARED_DATA").map_or_else(
        || std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        std::path::PathBuf::from,
    );
    let Ok(folder) = std::fs::read_dir(root.join("fuzz-seeds/oath")) else {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: no fuzz seeds at {} (CLAVIGER_SHARED_DATA)",
            root.display()
        );
        return Vec::new();
    };
    folder
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

/// Answers with pieces of a seed for ever; every second piece promises more.
struct Babbling {
    seed: Vec<u8>,
    at: usize,
    sent: usize,
}

impl CardLink for Babbling {
    fn transmit(&mut self, _: &[u8]) -> Result<Vec<u8>, LinkError> {
        self.sent += 1;
        assert!(self.sent < 100_000, "an endless loop");
        let length = usize::from(self.seed.get(self.at % self.seed.len().max(1)).copied().unwrap_or(0));
        let mut piece: Vec<u8> = self.seed.iter().copied().cycle().skip(self.at).take(length).collect();
        self.at = (self.at + length + 1) % self.seed.len().max(1);
        match self.sent % 3 {
            0 => piece.extend([0x61, 0x00]),
            1 => piece.extend([0x90, 0x00]),
            // Whatever stands there is the status.
            _ => {}
        }
        Ok(piece)
    }
}

#[test]
fn no_card_makes_the_session_panic_or_go_on_for_ever() {
    let ours: [&[u8]; 4] = [&[0x61; 40], &[0x90, 0], &[0x71, 0xFF, 0x75], &[0; 300]];
    let seeds = fuzz_seeds().into_iter().chain(ours.map(<[u8]>::to_vec));
    let parameters = OathParameters::new(OathAlgorithm::Sha1, 6, 30).unwrap();
    let secret = Secret::new(vec![7; 20]);
    let verbs: [fn(&mut OathSession<'_>, &OathParameters, &Secret); 10] = [
        |session, _, _| drop(session.list()),
        |session, _, _| drop(session.calculate(&name(), 1)),
        |session, _, _| drop(session.calculate_next(&name())),
        |session, _, _| drop(session.calculate_all(1)),
        |session, _, secret| drop(session.unlock(secret)),
        |session, _, secret| drop(session.set_password(Some(secret), secret)),
        |session, _, _| drop(session.remove_password()),
        |session, _, _| drop(session.rename(&name(), &name())),
        |session, _, _| drop(session.reset()),
        |session, parameters, secret| {
            drop(session.put(&name(), parameters, CredentialType::Totp, secret, Properties::default()));
        },
    ];
    let mut runs = 0;
    for seed in seeds {
        for (index, verb) in verbs.iter().enumerate() {
            let mut link = Babbling {
                seed: seed.clone(),
                at: index,
                sent: 0,
            };
            let cancel = Cancel::new();
            // SELECT is answered as it should be, now and then.
            let mut opened = Script::new(&[[OPEN, LOCKED][index % 2]]);
            let mut first = Then(&mut opened, &mut link);
            if let Ok(mut session) = OathSession::open(&mut first, &Hints::default(), soon(), &cancel) {
                verb(&mut session, &parameters, &secret);
            }
            runs += 1;
        }
    }
    assert!(runs >= 40);
}

/// One card, and when it has nothing more to say, another.
struct Then<'a>(&'a mut Script, &'a mut Babbling);

impl CardLink for Then<'_> {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
        self.0.transmit(command).or_else(|_| self.1.transmit(command))
    }
}

#[test]
fn a_password_is_set_proved_and_removed() {
    let new = Secret::new(b"right".to_vec());
    let applet = Applet {
        version: [5, 4, 3],
        salt: vec![1, 2, 3, 4, 5, 6, 7, 8],
        challenge: None,
        pin_tries: None,
        tells_serial: false,
    };
    /// Has no password until it is set one, then asks for it.
    struct Settable {
        locked: bool,
        guard: Guarded,
        sent: Vec<u8>,
    }
    impl CardLink for Settable {
        fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
            self.sent.push(command[1]);
            match command[1] {
                0xA4 if !self.locked => Ok(OPEN.to_vec()),
                0x03 => {
                    self.locked = command[4] > 2;
                    Ok(vec![0x90, 0])
                }
                _ => self.guard.transmit(command),
            }
        }
    }
    let mut card = Settable {
        locked: false,
        guard: Guarded {
            key: AccessKey::derive(&new, &applet),
            impostor: false,
        },
        sent: Vec::new(),
    };
    let cancel = Cancel::new();
    let mut session = OathSession::open(&mut card, &Hints::default(), soon(), &cancel).unwrap();
    assert_eq!(session.set_password(None, &new), Ok(()));
    assert!(!session.is_locked(), "proved by giving it");
    assert_eq!(session.remove_password(), Ok(()));
    assert!(!session.is_locked());
    drop(session);
    assert_eq!(card.sent, [0xA4, 0x03, 0xA4, 0xA3, 0x03, 0xA4]);
}

#[test]
fn what_a_card_cannot_do_is_not_sent() {
    let sent = |version: [u8; 3], verb: fn(&mut OathSession<'_>) -> Result<(), DeviceError>| {
        let mut select = OPEN.to_vec();
        select[2..5].copy_from_slice(&version);
        let mut card = Script::new(&[&select]);
        let cancel = Cancel::new();
        let mut session = OathSession::open(&mut card, &Hints::default(), soon(), &cancel).unwrap();
        let refused = verb(&mut session);
        drop(session);
        assert!(matches!(refused, Err(DeviceError::Unsupported(_))), "{refused:?}");
        assert_eq!(card.sent.len(), 1);
    };
    sent([5, 2, 7], |session| session.rename(&name(), &name()));
    // A CanoKey has no RESET, and must not be asked to find out.
    sent([6, 0, 0], |session| session.reset());
    sent([3, 4, 0], |session| {
        let parameters = OathParameters::new(OathAlgorithm::Sha1, 6, 30).unwrap();
        let touch = Properties {
            touch: true,
            ..Properties::default()
        };
        session.put(
            &name(),
            &parameters,
            CredentialType::Totp,
            &Secret::new(vec![7; 20]),
            touch,
        )
    });
}

#[test]
fn an_old_key_is_given_a_command_to_lose() {
    let mut select = OPEN.to_vec();
    select[2..5].copy_from_slice(&[4, 2, 5]);
    let long = [&[0x72, 60, 0x21][..], &[b'a'; 59], &[0x90, 0]].concat();
    let mut card = Script::new(&[&select, &long, &[0x6D, 0x00], CODE]);
    let cancel = Cancel::new();
    let mut session = OathSession::open(&mut card, &Hints::default(), soon(), &cancel).unwrap();
    session.list().unwrap();
    session.calculate(&name(), 1).unwrap();
    drop(session);
    assert_eq!(card.sent[2], [0; 5]);
    assert_eq!(card.sent.len(), 4);
}
