use proptest::prelude::*;

use super::*;

const OURS: Channel = Channel(0x0102_0304);

fn assemble(reports: &[Report]) -> Result<Option<Vec<u8>>, FramingError> {
    let mut assembler = Assembler::new(OURS, Command::Cbor);
    for report in reports {
        if let Progress::Message(bytes) = assembler.push(report)? {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

fn frame(channel: Channel, head: &[u8]) -> Report {
    super::report(channel, head, &[])
}

#[test]
fn a_short_message_is_one_report() {
    let reports = reports(OURS, Command::Cbor, &[0x04]).unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0][..9], [1, 2, 3, 4, 0x90, 0, 1, 4, 0]);
}

#[test]
fn every_length_survives_and_the_longest_takes_129_reports() {
    for length in [0, 1, 57, 58, 116, 117, 1024, MAX_MESSAGE] {
        let message: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let reports = reports(OURS, Command::Cbor, &message).unwrap();
        assert_eq!(assemble(&reports), Ok(Some(message)), "{length}");
        if length == MAX_MESSAGE {
            assert_eq!(reports.len(), 129);
            assert_eq!(reports[128][4], 127);
        }
    }
    assert_eq!(
        reports(OURS, Command::Cbor, &[0; MAX_MESSAGE + 1]),
        Err(FramingError::TooLong)
    );
    assert_eq!(reports(OURS, Command::Cbor, &[0; 70_000]), Err(FramingError::TooLong));
}

#[test]
fn reports_of_other_channels_are_passed_over_in_the_middle_of_a_message() {
    let mine = reports(OURS, Command::Cbor, &[7; 100]).unwrap();
    let theirs = reports(Channel(9), Command::Cbor, &[8; 100]).unwrap();
    assert_eq!(
        assemble(&[theirs[0], mine[0], theirs[1], mine[1]]),
        Ok(Some(vec![7; 100]))
    );
}

#[test]
fn broken_framing_is_refused() {
    let message = reports(OURS, Command::Cbor, &[7; 300]).unwrap();
    assert_eq!(
        assemble(&[message[0], message[2]]),
        Err(FramingError::Sequence),
        "a packet lost"
    );
    assert_eq!(
        assemble(&[message[0], message[1], message[1]]),
        Err(FramingError::Sequence),
        "a packet twice"
    );
    assert_eq!(
        assemble(&[message[1]]),
        Err(FramingError::Sequence),
        "continuation first"
    );
    assert_eq!(assemble(&[message[0], message[0]]), Err(FramingError::Interleaved));
    assert_eq!(assemble(&[frame(OURS, &[0x83, 0, 1])]), Err(FramingError::WrongCommand));
    assert_eq!(
        assemble(&[frame(OURS, &[0x90, 0x1D, 0xBA])]),
        Err(FramingError::TooLong),
        "7610 bytes announced"
    );
}

#[test]
fn keep_alives_and_errors_are_told_apart() {
    let mut assembler = Assembler::new(OURS, Command::Cbor);
    for (code, state) in [
        (1, KeepAlive::Processing),
        (2, KeepAlive::TouchNeeded),
        (9, KeepAlive::Other(9)),
    ] {
        assert_eq!(
            assembler.push(&frame(OURS, &[0xBB, 0, 1, code])),
            Ok(Progress::KeepAlive(state))
        );
    }
    for code in 0..=255u8 {
        let progress = assembler.push(&frame(OURS, &[0xBF, 0, 1, code])).unwrap();
        assert_eq!(progress, Progress::Error(HidError::from(code)));
    }
    assert_eq!(HidError::from(0), HidError::Unknown(0));
    assert_eq!(HidError::from(6), HidError::ChannelBusy);
    assert!(HidError::from(0).is_busy() && HidError::from(6).is_busy() && !HidError::from(0x7F).is_busy());
}

#[test]
fn init_answers_are_known_by_their_nonce() {
    let nonce = [1, 2, 3, 4, 5, 6, 7, 8];
    let mut answer = nonce.to_vec();
    answer.extend([0, 0x22, 0, 2, 2, 5, 7, 1, 0x05]);
    let reply = parse_init(&answer, &nonce).unwrap().unwrap();
    assert_eq!(reply.channel, Channel(0x0022_0002));
    assert_eq!((reply.protocol, reply.version), (2, [5, 7, 1]));
    assert!(reply.has_wink() && reply.has_cbor() && !reply.lacks_msg());
    assert_eq!(parse_init(&answer, &[0; 8]), Ok(None));
    assert_eq!(parse_init(&answer[..16], &nonce), Err(FramingError::BadInit));
    assert_eq!(parse_init(&answer[..7], &nonce), Err(FramingError::BadInit));
    answer[8..12].fill(0xFF);
    assert_eq!(parse_init(&answer, &nonce), Err(FramingError::BadInit));
    answer[8..12].fill(0);
    assert_eq!(parse_init(&answer, &nonce), Err(FramingError::BadInit));
}

proptest! {
    #[test]
    fn arbitrary_reports_never_panic_and_never_grow_without_end(
        reports in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 60), 0..200)
    ) {
        let mut assembler = Assembler::new(OURS, Command::Cbor);
        for body in reports {
            let mut report = [0; REPORT_LEN];
            report[..4].copy_from_slice(&OURS.0.to_be_bytes());
            report[4..].copy_from_slice(&body);
            if let Ok(Progress::Message(bytes)) = assembler.push(&report) {
                prop_assert!(bytes.len() <= MAX_MESSAGE);
            }
        }
    }

    #[test]
    fn arbitrary_init_answers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let nonce = bytes.first_chunk().copied().unwrap_or([0; NONCE_LEN]);
        let _ = parse_init(&bytes, &nonce);
    }
}
