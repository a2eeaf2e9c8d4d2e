use std::sync::{Arc, Mutex};

use super::*;
use crate::link::LinkError;

const SELECTED: &[u8] = b"FIDO_2_0\x90\x00";
/// A YubiKey's, which offers extended lengths.
const OFFERING: &[u8] = b"\x3B\x8D\x80\x01\x80\x73\xC0\x21\xC0\x57\x59\x75\x62\x69\x4B\x65\x79\xF9";

type Sent = Arc<Mutex<Vec<Vec<u8>>>>;

type Answer = Box<dyn FnMut(&[u8]) -> Result<Vec<u8>, LinkError> + Send>;

struct Script {
    atr: &'static [u8],
    sent: Sent,
    answer: Answer,
}

impl CardLink for Script {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
        self.sent.lock().unwrap().push(command.to_vec());
        (self.answer)(command)
    }

    fn atr(&self) -> &[u8] {
        self.atr
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(2)
}

fn open(
    atr: &'static [u8],
    answer: impl FnMut(&[u8]) -> Result<Vec<u8>, LinkError> + Send + 'static,
) -> (Result<CardChannel, DeviceError>, Sent) {
    let sent = Sent::default();
    let link = Script {
        atr,
        sent: Arc::clone(&sent),
        answer: Box::new(answer),
    };
    (
        CardChannel::open(Box::new(link), Carrier::Nfc, soon(), &Cancel::new()),
        sent,
    )
}

/// A card that is selected, then says these in turn, and after them the last one again.
fn card(says: &[&[u8]]) -> (CardChannel, Sent) {
    let says: Vec<Vec<u8>> = says.iter().map(|say| say.to_vec()).collect();
    let mut turn = 0;
    let (channel, sent) = open(&[], move |command| {
        if command[1] == 0xA4 {
            return Ok(SELECTED.to_vec());
        }
        turn += 1;
        Ok(says[(turn - 1).min(says.len() - 1)].clone())
    });
    (channel.unwrap(), sent)
}

#[test]
fn a_card_without_the_application_is_no_key() {
    for answer in [&b"\x6A\x82"[..], b"\x6D\x00", b"\x90\x00", b"OATH\x90\x00"] {
        let (channel, _) = open(&[], move |_| Ok(answer.to_vec()));
        assert_eq!(channel.err(), Some(DeviceError::Unsupported("FIDO2")));
    }
    let (channel, _) = open(&[], |_| Err(LinkError::Gone));
    assert_eq!(channel.err(), Some(DeviceError::Gone));
}

#[test]
fn extended_lengths_are_used_where_card_and_reader_take_them() {
    let offer = |takes: Result<bool, LinkError>| {
        open(OFFERING, move |command| match (command[4] == 0, &takes) {
            (true, Ok(false)) => Ok(vec![0x67, 0x00]),
            (true, Err(error)) => Err(error.clone()),
            _ if command[1] == 0xA4 => Ok(SELECTED.to_vec()),
            _ => Ok(vec![0x00, 0x90, 0x00]),
        })
    };
    for (takes, messages) in [
        (Ok(true), 1),
        (Ok(false), 3),
        (Err(LinkError::Io("the reader does not pass it".into())), 3),
    ] {
        let (channel, sent) = offer(takes);
        let mut channel = channel.unwrap();
        sent.lock().unwrap().clear();
        let answer = channel.exchange(&[1; 600], soon(), &Cancel::new(), &mut |_| {});
        assert_eq!(answer, Ok(vec![0]));
        assert_eq!(sent.lock().unwrap().len(), messages);
    }
    let (channel, sent) = open(b"\x3B\x80\x80\x01\x01", |_| Ok(SELECTED.to_vec()));
    assert!(
        channel.is_ok() && sent.lock().unwrap().len() == 1,
        "what is not offered is not tried"
    );
}

#[test]
fn keep_alives_are_told_and_asked_after() {
    let (mut channel, sent) = card(&[b"\x01\x91\x00", b"\x02\x91\x00", b"\x00\xA0\x90\x00"]);
    let mut seen = Vec::new();
    let answer = channel.exchange(&[4], soon(), &Cancel::new(), &mut |state| seen.push(state));
    assert_eq!(answer, Ok(vec![0, 0xA0]));
    assert_eq!(seen, [KeepAlive::Processing, KeepAlive::TouchNeeded]);
    assert!(channel.is_settled());
    assert_eq!(sent.lock().unwrap()[2..], [b"\x80\x11\x00\x00\x00"; 2]);
}

#[test]
fn a_card_that_waits_for_ever_is_told_to_end_by_the_deadline() {
    let (mut channel, sent) = card(&[b"\x02\x91\x00"]);
    let begun = Instant::now();
    let answer = channel.exchange(&[1], begun + Duration::from_millis(300), &Cancel::new(), &mut |_| {});
    assert_eq!(answer, Err(DeviceError::TouchTimeout));
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(!channel.is_settled(), "what became of it is not known");
    assert!(
        sent.lock()
            .unwrap()
            .iter()
            .any(|frame| frame.starts_with(&[0x80, 0x11, 0x11]))
    );
    // Before the next message it is told so once more.
    sent.lock().unwrap().clear();
    let _ = channel.exchange(
        &[4],
        Instant::now() + Duration::from_millis(100),
        &Cancel::new(),
        &mut |_| {},
    );
    assert!(sent.lock().unwrap()[0].starts_with(&[0x80, 0x11, 0x11]));
}

#[test]
fn a_cancel_ends_it_and_a_late_success_is_not_forgotten() {
    for (says, expected) in [
        (&[&b"\x02\x91\x00"[..], b"\x2D\x90\x00"], Err(DeviceError::Cancelled)),
        (&[&b"\x02\x91\x00"[..], b"\x00\x07\x90\x00"], Ok(vec![0, 7])),
    ] {
        let (mut channel, _) = card(says);
        let cancel = Cancel::new();
        let answer = channel.exchange(&[1], soon(), &cancel, &mut |_| cancel.cancel());
        assert_eq!(answer, expected);
        assert!(channel.is_settled());
    }
    let (mut channel, sent) = card(&[b"\x00\x90\x00"]);
    let cancelled = Cancel::new();
    cancelled.cancel();
    let answer = channel.exchange(&[1], soon(), &cancelled, &mut |_| {});
    assert_eq!(answer, Err(DeviceError::Cancelled));
    assert!(
        channel.is_settled() && sent.lock().unwrap().len() == 1,
        "nothing but SELECT"
    );
}

#[test]
fn refusals_of_the_card_are_told_apart() {
    for (says, expected) in [
        (&[&b"\x6D\x00"[..]], DeviceError::Unsupported("FIDO2")),
        (&[&b"\x6F\x27"[..]], DeviceError::NotAllowed),
        (&[&b"\x6F\x00"[..]], DeviceError::Status(0x6F00)),
    ] {
        let (mut channel, _) = card(says);
        let answer = channel.exchange(&[7], soon(), &Cancel::new(), &mut |_| {});
        assert_eq!((answer, channel.is_settled()), (Err(expected), true));
    }
    let (mut channel, _) = card(&[b"\x61\x10"]);
    let endless = channel.exchange(&[4], soon(), &Cancel::new(), &mut |_| {});
    assert!(matches!(endless, Err(DeviceError::Protocol(_))), "{endless:?}");
    assert!(!channel.is_settled());
}
