//! Every case of an APDU, every end of an exchange.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

fn command(length: usize) -> Command {
    Command::new(
        0x00,
        0x01,
        0x02,
        0x03,
        (0..length).map(|at| u8::try_from(at % 256).unwrap()).collect(),
    )
}

fn frames(command: &Command, encoding: Encoding) -> Vec<Vec<u8>> {
    command
        .frames(encoding)
        .unwrap()
        .iter()
        .map(|frame| frame.to_vec())
        .collect()
}

#[test]
fn short_cases() {
    let case_1 = Command {
        expects_data: false,
        ..command(0)
    };
    assert_eq!(frames(&case_1, Encoding::Short), [[0, 1, 2, 3]]);
    assert_eq!(frames(&command(0), Encoding::Short), [[0, 1, 2, 3, 0]]);
    let case_3 = Command {
        expects_data: false,
        ..command(2)
    };
    assert_eq!(frames(&case_3, Encoding::Short), [[0, 1, 2, 3, 2, 0, 1]]);
    assert_eq!(frames(&command(2), Encoding::Short), [[0, 1, 2, 3, 2, 0, 1, 0]]);
    assert_eq!(frames(&command(255), Encoding::Short)[0].len(), 261);
    // What fits a short APDU is sent as one.
    assert_eq!(
        frames(&command(255), Encoding::Extended),
        frames(&command(255), Encoding::Short)
    );
}

#[test]
fn chains_carry_the_bit_on_all_but_the_last() {
    let sent = frames(&command(600), Encoding::Short);
    assert_eq!(
        sent.iter().map(|frame| frame[0]).collect::<Vec<_>>(),
        [0x10, 0x10, 0x00]
    );
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [260, 260, 5 + 90 + 1]);
    let data: Vec<u8> = sent
        .iter()
        .flat_map(|frame| frame[5..5 + usize::from(frame[4])].to_vec())
        .collect();
    assert_eq!(data, *command(600).data);
    assert_eq!(frames(&command(510), Encoding::Short).len(), 2);
}

#[test]
fn extended_lengths() {
    let sent = frames(&command(256), Encoding::Extended);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0][..7], [0, 1, 2, 3, 0, 1, 0]);
    assert_eq!(sent[0].len(), 7 + 256 + 2);
    let silent = Command {
        expects_data: false,
        ..command(MAX_COMMAND)
    };
    assert_eq!(frames(&silent, Encoding::Extended)[0].len(), 7 + MAX_COMMAND);
    assert_eq!(
        command(MAX_COMMAND + 1).frames(Encoding::Extended).err(),
        Some(ApduError::CommandTooLong)
    );
    assert_eq!(
        command(MAX_COMMAND + 1).frames(Encoding::Short).err(),
        Some(ApduError::CommandTooLong)
    );
}

#[test]
fn select_by_name() {
    let select = Command::select(&[0xA0, 0, 0, 5, 0x27]).unwrap();
    assert_eq!(
        frames(&select, Encoding::Short),
        [[0x00, 0xA4, 4, 0, 5, 0xA0, 0, 0, 5, 0x27, 0]]
    );
    for length in [0, 4, 17] {
        assert_eq!(Command::select(&vec![1; length]).err(), Some(ApduError::Aid));
    }
}

/// Data and status word, or why there are none.
type End = Result<(Vec<u8>, u16), ApduError>;

/// Runs an exchange against canned answers; returns what was sent and how it ended.
fn play(command: &Command, fetch: FetchRest, answers: &[&[u8]]) -> (Vec<Vec<u8>>, End) {
    let (mut exchange, first) = Exchange::start(command, Encoding::Short, fetch).unwrap();
    let mut sent = vec![first.to_vec()];
    for answer in answers {
        match exchange.received(answer) {
            Ok(Progress::Send(frame)) => sent.push(frame.to_vec()),
            Ok(Progress::Done(response)) => {
                assert_eq!(exchange.received(&[0x90, 0]).err(), Some(ApduError::Unasked));
                return (sent, Ok((response.data.to_vec(), response.status.0)));
            }
            Err(error) => {
                assert_eq!(exchange.received(&[0x90, 0]).err(), Some(ApduError::Unasked));
                return (sent, Err(error));
            }
        }
    }
    panic!("the exchange wants more than {} answers", answers.len());
}

#[test]
fn rest_is_fetched_with_the_configured_instruction() {
    let answers: [&[u8]; 3] = [&[1, 2, 0x61, 0x02], &[3, 4, 0x61, 0x00], &[5, 0x90, 0x00]];
    let (sent, end) = play(&command(0), FetchRest::GET_RESPONSE, &answers);
    assert_eq!(end, Ok((vec![1, 2, 3, 4, 5], 0x9000)));
    assert_eq!(sent[1..], [vec![0, 0xC0, 0, 0, 2], vec![0, 0xC0, 0, 0, 0]]);
    let (sent, _) = play(&command(0), FetchRest::SEND_REMAINING, &answers);
    assert_eq!(sent[1..], [vec![0, 0xA5, 0, 0, 0], vec![0, 0xA5, 0, 0, 0]]);
}

#[test]
fn an_error_after_some_parts_is_the_status() {
    let (_, end) = play(&command(0), FetchRest::GET_RESPONSE, &[&[1, 0x61, 1], &[0x69, 0x82]]);
    assert_eq!(end, Ok((vec![1], 0x6982)));
}

#[test]
fn promises_without_data_end() {
    for fetch in [FetchRest::GET_RESPONSE, FetchRest::SEND_REMAINING] {
        assert_eq!(play(&command(0), fetch, &[&[0x61, 5]]).1, Err(ApduError::EmptyPart));
        assert_eq!(
            play(&command(0), fetch, &[&[9, 0x61, 5], &[0x61, 5]]).1,
            Err(ApduError::EmptyPart)
        );
    }
}

#[test]
fn endless_parts_end() {
    let drip: Vec<&[u8]> = vec![&[7, 0x61, 0]; 2_000];
    let (sent, end) = play(&command(0), FetchRest::GET_RESPONSE, &drip);
    assert_eq!(
        (sent.len(), end),
        (1 + MAX_ROUNDS as usize, Err(ApduError::TooManyParts))
    );
    let mut full = vec![7; 256];
    full.extend([0x61, 0]);
    let flood: Vec<&[u8]> = vec![&full; 2_000];
    let (sent, end) = play(&command(0), FetchRest::GET_RESPONSE, &flood);
    assert_eq!((sent.len(), end), (1 + MAX_RESPONSE / 256, Err(ApduError::TooLong)));
}

#[test]
fn responses_of_impossible_length() {
    assert_eq!(
        play(&command(0), FetchRest::GET_RESPONSE, &[&[]]).1,
        Err(ApduError::TooShort)
    );
    assert_eq!(
        play(&command(0), FetchRest::GET_RESPONSE, &[&[0x90]]).1,
        Err(ApduError::TooShort)
    );
    let largest = [vec![1; MAX_RESPONSE], vec![0x90, 0]].concat();
    assert_eq!(
        play(&command(0), FetchRest::GET_RESPONSE, &[&largest])
            .1
            .unwrap()
            .0
            .len(),
        MAX_RESPONSE
    );
    let larger = [vec![1; MAX_RESPONSE + 1], vec![0x90, 0]].concat();
    assert_eq!(
        play(&command(0), FetchRest::GET_RESPONSE, &[&larger]).1,
        Err(ApduError::TooLong)
    );
}

#[test]
fn wrong_length_is_corrected_once() {
    let (sent, end) = play(&command(3), FetchRest::GET_RESPONSE, &[&[0x6C, 0x0A], &[1, 0x90, 0]]);
    assert_eq!(end, Ok((vec![1], 0x9000)));
    assert_eq!(
        sent,
        [vec![0, 1, 2, 3, 3, 0, 1, 2, 0], vec![0, 1, 2, 3, 3, 0, 1, 2, 0x0A]]
    );
    let again: [&[u8]; 2] = [&[0x6C, 0x0A], &[0x6C, 0x0B]];
    assert_eq!(
        play(&command(3), FetchRest::GET_RESPONSE, &again).1,
        Err(ApduError::WrongLengthAgain)
    );
    // No Le was sent, so none can be wrong.
    let silent = Command {
        expects_data: false,
        ..command(3)
    };
    assert_eq!(
        play(&silent, FetchRest::GET_RESPONSE, &[&[0x6C, 0x0A]]).1,
        Err(ApduError::WrongLengthAgain)
    );
    // The fetched rest may be corrected too, each time once.
    let rest: [&[u8]; 5] = [&[0x6C, 2], &[1, 2, 0x61, 9], &[0x6C, 1], &[3, 0x61, 9], &[4, 0x90, 0]];
    assert_eq!(
        play(&command(0), FetchRest::GET_RESPONSE, &rest).1,
        Ok((vec![1, 2, 3, 4], 0x9000))
    );
}

#[test]
fn a_refused_link_of_a_chain_ends_it() {
    let (sent, end) = play(&command(600), FetchRest::GET_RESPONSE, &[&[0x90, 0], &[0x68, 0x84]]);
    assert_eq!((sent.len(), end), (2, Ok((vec![], 0x6884))));
    let (sent, end) = play(
        &command(600),
        FetchRest::GET_RESPONSE,
        &[&[0x90, 0], &[0x90, 0], &[1, 0x90, 0]],
    );
    assert_eq!((sent.len(), end), (3, Ok((vec![1], 0x9000))));
}

#[test]
fn answers_to_reset() {
    // TD1 = 80, TD2 = 01: T=0 and T=1, historical bytes “YubiKey”, check byte.
    let bytes = [&[0x3B, 0x87, 0x80, 0x01][..], b"YubiKey", &[0x40]].concat();
    assert_eq!(
        Atr::parse(&bytes),
        Ok(Atr {
            protocols: vec![0, 1],
            historical: b"YubiKey".to_vec()
        })
    );
    assert_eq!(
        Atr::parse(&[0x3B, 0x00]),
        Ok(Atr {
            protocols: vec![0],
            historical: vec![]
        })
    );
    let with_interface_bytes = [0x3B, 0xF1, 0x11, 0x22, 0x33, 0x81, 0x31, 0xFE, 0x45, 0xAA];
    assert_eq!(
        Atr::parse(&with_interface_bytes),
        Ok(Atr {
            protocols: vec![1, 1],
            historical: vec![0xAA]
        })
    );
    for wrong in [
        &[][..],
        &[0x3B],
        &[0x00, 0x00],
        &[0x3B, 0x05, 1, 2],
        &[0x3B, 0x80],
        &[0x3B; 34],
        &[0x3B, 0xFF, 0xFF],
    ] {
        assert_eq!(Atr::parse(wrong), Err(ApduError::Atr), "{wrong:02X?}");
    }
}

#[test]
fn a_card_says_whether_it_takes_extended_lengths() {
    let says = |historical: &[u8]| {
        let length = u8::try_from(historical.len()).unwrap();
        let atr = [&[0x3B, 0x80 | length, 0x80, 0x01], historical, &[0]].concat();
        Atr::parse(&atr).unwrap().takes_extended_lengths()
    };
    assert!(
        says(&[0x80, 0x73, 0xC0, 0x21, 0xC0, 0x57, 0x59]),
        "chaining and extended lengths"
    );
    assert!(
        says(&[0x00, 0x31, 0xB8, 0x73, 0x00, 0x00, 0x40, 0x05, 0x90, 0x00]),
        "behind another object"
    );
    for silent in [
        &b"FIDO"[..],
        &[],
        &[0x80],
        &[0x80, 0x73, 0xC0, 0x21, 0x80],
        &[0x80, 0x72, 0xC0, 0x40],
        &[0x80, 0x73, 0xC0, 0x21],
        &[0x73, 0x73, 0xC0, 0x21, 0xC0],
    ] {
        assert!(!says(silent), "{silent:02X?}");
    }
}

proptest! {
    #![proptest_config(Config { rng_seed: RngSeed::Fixed(0x4226), failure_persistence: None, ..Config::default() })]

    #[test]
    fn atr_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = Atr::parse(&bytes).map(|atr| atr.takes_extended_lengths());
    }

    /// Whatever a card says, an exchange ends within its bound.
    #[test]
    fn exchanges_end(
        length in 0_usize..800,
        fetch in prop_oneof![Just(FetchRest::SEND_REMAINING), Just(crate::codec::nfcctap::FETCH_REST)],
        answers in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..40), prop_oneof![Just(0x61_u8), Just(0x6C), Just(0x90), any::<u8>()], any::<u8>()),
            1..8,
        ),
    ) {
        let (mut exchange, _) = Exchange::start(&command(length), Encoding::Short, fetch).unwrap();
        let mut turns = 0;
        for (data, sw1, sw2) in answers.iter().cycle() {
            turns += 1;
            prop_assert!(turns <= 2 * (MAX_ROUNDS as usize + 2) + 4);
            let answer = [&data[..], &[*sw1, *sw2]].concat();
            match exchange.received(&answer) {
                Ok(Progress::Send(frame)) => prop_assert!((4..=261).contains(&frame.len())),
                Ok(Progress::Done(response)) => {
                    prop_assert!(response.data.len() <= MAX_RESPONSE);
                    break;
                }
                Err(_) => break,
            }
        }
    }
}
