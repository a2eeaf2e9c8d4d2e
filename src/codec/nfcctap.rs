//! CTAP in APDUs (CTAP 2.1 section 11.3), for keys on a contactless reader and for those with a contact.
//!
//! SELECT by the FIDO application identifier, then NFCCTAP_MSG (80 10) with the request as data. A card that is still at work
//! answers `9100` and one status byte; NFCCTAP_GETRESPONSE (80 11) asks it again, with P1 = 11 it ends what is running. Chaining
//! and `61xx` are the business of [`iso7816`](super::iso7816).

use zeroize::Zeroizing;

use super::ctaphid::KeepAlive;
use super::iso7816::{ApduError, Command, FetchRest, Response, StatusWord};

/// The FIDO application identifier (CTAP 2.1 section 11.3.3).
pub const AID: [u8; 8] = [0xA0, 0x00, 0x00, 0x06, 0x47, 0x2F, 0x00, 0x01];

/// How the rest of a long answer is fetched. The standard's own class is 80, and some hosts send 00 as ISO 7816-4 has it: a
/// card that does not know the one is asked by the other.
pub const FETCH_REST: FetchRest = FetchRest {
    cla: 0x80,
    ins: 0xC0,
    exact: true,
    other_class: Some(0x00),
};

/// “I shall ask for the answer by NFCCTAP_GETRESPONSE” (section 11.3.7.1.1).
const P1_CAN_WAIT: u8 = 0x80;
/// “End what is running” (section 11.3.7.2.1).
const P1_CANCEL: u8 = 0x11;
/// The status word of a keep-alive.
const AT_WORK: u16 = 0x9100;
/// What YubiKeys answer to a reset over NFC.
const NO_RESET_HERE: u16 = 0x6F27;

/// What the application says of itself when it is selected (section 11.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `FIDO_2_0` or a later one: CTAP2 and no CTAP1.
    Ctap2,
    /// `U2F_V2`: CTAP1, and perhaps CTAP2 beside it; getInfo tells.
    Ctap1AndMaybe2,
}

/// SELECT of the FIDO application.
///
/// # Errors
/// None in practice: the identifier has a length that is allowed.
pub fn select() -> Result<Command, ApduError> {
    Command::select(&AID)
}

/// Reads the answer to SELECT; `None` when it is not that of a FIDO application.
#[must_use]
pub fn parse_selected(response: &Response) -> Option<Version> {
    if !response.status.is_success() {
        return None;
    }
    match response.data.as_slice() {
        b"U2F_V2" => Some(Version::Ctap1AndMaybe2),
        data if data.starts_with(b"FIDO_2_") => Some(Version::Ctap2),
        _ => None,
    }
}

/// NFCCTAP_MSG: a CTAP2 request, command byte first.
#[must_use]
pub fn message(request: &[u8]) -> Command {
    Command::new(0x80, 0x10, P1_CAN_WAIT, 0x00, request.to_vec())
}

/// NFCCTAP_GETRESPONSE: asks for the answer to the message that is being worked on.
#[must_use]
pub fn get_response() -> Command {
    Command::new(0x80, 0x11, 0x00, 0x00, Vec::new())
}

/// NFCCTAP_GETRESPONSE that ends the message that is being worked on.
#[must_use]
pub fn cancel() -> Command {
    Command::new(0x80, 0x11, P1_CANCEL, 0x00, Vec::new())
}

/// What a card said to a message, or when it was asked again.
pub enum Reply {
    /// It is still at work.
    KeepAlive(KeepAlive),
    /// The CTAP2 response: status byte and CBOR. Wiped on drop: it may hold a sealed `pinUvAuthToken`.
    Answer(Zeroizing<Vec<u8>>),
    /// It did not take the command.
    Refused(Refusal),
}

/// Why a card did not take a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It knows no such command: it speaks CTAP1 only, or the FIDO application is no longer selected.
    Unknown,
    /// Not now, or not over this carrier.
    NotAllowed,
    /// A length it does not take: it may take shorter ones.
    Length,
    /// Something else.
    Other(StatusWord),
}

/// Sorts a whole response.
#[must_use]
pub fn parse_reply(response: Response) -> Reply {
    match response.status.0 {
        0x9000 => Reply::Answer(response.data),
        // Without a status byte it is at work on something.
        AT_WORK => Reply::KeepAlive(
            response
                .data
                .first()
                .copied()
                .map_or(KeepAlive::Processing, KeepAlive::from),
        ),
        _ => Reply::Refused(refusal(response.status)),
    }
}

fn refusal(status: StatusWord) -> Refusal {
    match status {
        StatusWord::NO_INSTRUCTION | StatusWord::NO_CLASS | StatusWord::NO_FUNCTION => Refusal::Unknown,
        StatusWord::CONDITIONS | StatusWord(NO_RESET_HERE) => Refusal::NotAllowed,
        StatusWord::WRONG_LENGTH => Refusal::Length,
        other => Refusal::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::iso7816::{Encoding, Exchange, Progress};

    fn response(data: &[u8], status: u16) -> Response {
        Response {
            data: Zeroizing::new(data.to_vec()),
            status: StatusWord(status),
        }
    }

    fn frames(command: &Command, encoding: Encoding) -> Vec<Vec<u8>> {
        command.frames(encoding).unwrap().iter().map(|f| f.to_vec()).collect()
    }

    #[test]
    fn the_application_is_selected_and_says_what_it_speaks() {
        assert_eq!(
            frames(&select().unwrap(), Encoding::Short),
            [b"\x00\xA4\x04\x00\x08\xA0\x00\x00\x06\x47\x2F\x00\x01\x00"]
        );
        assert_eq!(
            frames(&select().unwrap(), Encoding::AlwaysExtended),
            [b"\x00\xA4\x04\x00\x00\x00\x08\xA0\x00\x00\x06\x47\x2F\x00\x01\x00\x00"]
        );
        let selected = |text: &[u8], status| parse_selected(&response(text, status));
        assert_eq!(selected(b"FIDO_2_0", 0x9000), Some(Version::Ctap2));
        assert_eq!(selected(b"FIDO_2_1", 0x9000), Some(Version::Ctap2));
        assert_eq!(selected(b"U2F_V2", 0x9000), Some(Version::Ctap1AndMaybe2));
        for (text, status) in [
            (&b"FIDO_2_0"[..], 0x6A82),
            (b"", 0x9000),
            (b"OATH", 0x9000),
            (b"U2F_V2\0", 0x9000),
        ] {
            assert_eq!(selected(text, status), None, "{text:?} {status:04X}");
        }
    }

    #[test]
    fn a_message_says_that_we_can_wait() {
        assert_eq!(
            frames(&message(&[0x04]), Encoding::Short),
            [b"\x80\x10\x80\x00\x01\x04\x00"]
        );
        assert_eq!(
            frames(&message(&[0x04]), Encoding::AlwaysExtended),
            [b"\x80\x10\x80\x00\x00\x00\x01\x04\x00\x00"]
        );
        assert_eq!(
            frames(&get_response(), Encoding::AlwaysExtended),
            [b"\x80\x11\x00\x00\x00"]
        );
        assert_eq!(frames(&cancel(), Encoding::Short), [b"\x80\x11\x11\x00\x00"]);
    }

    #[test]
    fn a_long_message_is_chained_or_extended() {
        let long = message(&[7; 600]);
        let chain = frames(&long, Encoding::Short);
        let heads: Vec<&[u8]> = chain.iter().map(|frame| &frame[..5]).collect();
        assert_eq!(
            heads,
            [
                b"\x90\x10\x80\x00\xFF",
                b"\x90\x10\x80\x00\xFF",
                b"\x80\x10\x80\x00\x5A"
            ]
        );
        let [one] = frames(&long, Encoding::AlwaysExtended).try_into().unwrap();
        assert_eq!(
            (&one[..7], one.len()),
            (&b"\x80\x10\x80\x00\x00\x02\x58"[..], 7 + 600 + 2)
        );
    }

    #[test]
    fn the_rest_is_fetched_by_either_class() {
        let (mut exchange, _) = Exchange::start(&message(&[4]), Encoding::Short, FETCH_REST).unwrap();
        let mut first = vec![1; 256];
        first.extend([0x61, 0x02]);
        let Progress::Send(frame) = exchange.received(&first).unwrap() else {
            panic!()
        };
        assert_eq!(frame.as_slice(), b"\x80\xC0\x00\x00\x02");
        let Progress::Send(frame) = exchange.received(&[0x6E, 0x00]).unwrap() else {
            panic!()
        };
        assert_eq!(frame.as_slice(), b"\x00\xC0\x00\x00\x02");
        let Progress::Done(whole) = exchange.received(&[2, 3, 0x90, 0x00]).unwrap() else {
            panic!()
        };
        assert_eq!((whole.data.len(), whole.status.0), (258, 0x9000));

        // A card that knows neither says so once more, and that is the end.
        let (mut exchange, _) = Exchange::start(&message(&[4]), Encoding::Short, FETCH_REST).unwrap();
        assert!(exchange.received(&first).is_ok() && exchange.received(&[0x6E, 0x00]).is_ok());
        let Progress::Done(end) = exchange.received(&[0x6E, 0x00]).unwrap() else {
            panic!()
        };
        assert_eq!(end.status, StatusWord::NO_CLASS);
    }

    #[test]
    fn replies_are_told_apart() {
        let kept = |data: &[u8]| match parse_reply(response(data, 0x9100)) {
            Reply::KeepAlive(state) => state,
            Reply::Answer(_) | Reply::Refused(_) => panic!("no keep-alive"),
        };
        assert_eq!(kept(&[1]), KeepAlive::Processing);
        assert_eq!(kept(&[2]), KeepAlive::TouchNeeded);
        assert_eq!(kept(&[9]), KeepAlive::Other(9));
        assert_eq!(kept(&[]), KeepAlive::Processing);
        assert!(matches!(parse_reply(response(&[0, 1], 0x9000)), Reply::Answer(a) if a.as_slice() == [0, 1]));
        for (status, expected) in [
            (0x6D00, Refusal::Unknown),
            (0x6E00, Refusal::Unknown),
            (0x6985, Refusal::NotAllowed),
            (0x6F27, Refusal::NotAllowed),
            (0x6700, Refusal::Length),
            (0x6F00, Refusal::Other(StatusWord(0x6F00))),
        ] {
            assert!(
                matches!(parse_reply(response(&[], status)), Reply::Refused(got) if got == expected),
                "{status:04X}"
            );
        }
    }
}
