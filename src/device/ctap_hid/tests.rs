use proptest::prelude::*;

use super::super::fake::{CountingEntropy, FakeLink, OURS, Step, Written, answer, init_answer, raw_report, report};
use super::*;
use crate::link::LinkError;

const SOON: Duration = Duration::from_millis(300);
/// What a busy test machine may add.
const MARGIN: Duration = Duration::from_millis(250);
const REQUEST: &[u8] = &[0x04];
const CBOR: u8 = Command::Cbor as u8 | 0x80;

fn open(link: Box<dyn HidLink>, patience: Duration) -> Result<HidChannel, DeviceError> {
    let deadline = Instant::now() + SOON;
    HidChannel::open(link, Box::new(CountingEntropy(0)), patience, deadline, &Cancel::new())
}

fn channel(script: impl FnMut(&Report) -> Vec<Step> + Send + 'static) -> (HidChannel, Written) {
    let (link, written) = FakeLink::answering(script);
    (open(link, SOON).unwrap(), written)
}

/// One exchange, which must return by its deadline.
fn exchange(channel: &mut HidChannel, within: Duration) -> Result<Vec<u8>, DeviceError> {
    let begun = Instant::now();
    let result = channel.exchange(REQUEST, begun + within, &Cancel::new(), &mut |_| {});
    assert!(
        begun.elapsed() <= within + MARGIN,
        "by the deadline: {:?}",
        begun.elapsed()
    );
    result
}

fn keep_alive(state: u8) -> Report {
    raw_report(OURS, &[0xBB, 0, 1], &[state])
}

#[test]
fn init_knows_its_answer_by_the_nonce() {
    let (link, written) = FakeLink::bare(|request| {
        let mut stranger = *request;
        stranger[7] ^= 0xFF;
        let mut steps = init_answer(&stranger);
        steps.push(report(Channel::BROADCAST, &[0x90, 0, 3], &[1, 2, 3]));
        steps.push(report(Channel(7), &[0x00], &[9; 20]));
        steps.extend(init_answer(request));
        steps
    });
    let channel = open(link, SOON).unwrap();
    assert_eq!(
        (channel.init_reply().channel, channel.init_reply().version),
        (OURS, [1, 2, 3])
    );
    assert_eq!(written.count(Command::Init), 1);
}

#[test]
fn init_ends_by_the_deadline_with_its_error() {
    let silent = |_: &Report| Vec::new();
    assert_eq!(open(FakeLink::bare(silent).0, SOON).err(), Some(DeviceError::Deadline));
    let foreign = |request: &Report| {
        let mut stranger = *request;
        stranger[7] ^= 0xFF;
        let Step::Report(answer) = init_answer(&stranger).remove(0) else {
            unreachable!()
        };
        vec![Step::Endless(answer)]
    };
    assert_eq!(open(FakeLink::bare(foreign).0, SOON).err(), Some(DeviceError::Deadline));
    let u2f_only = |request: &Report| {
        let Step::Report(mut answer) = init_answer(request).remove(0) else {
            unreachable!()
        };
        answer[7 + 16] = 0x00;
        vec![Step::Report(answer)]
    };
    assert!(open(FakeLink::bare(u2f_only).0, SOON).is_ok(), "CTAP1 will do");
    let neither = |request: &Report| {
        let Step::Report(mut answer) = init_answer(request).remove(0) else {
            unreachable!()
        };
        answer[7 + 16] = 0x08;
        vec![Step::Report(answer)]
    };
    assert_eq!(
        open(FakeLink::bare(neither).0, SOON).err(),
        Some(DeviceError::Unsupported("FIDO"))
    );
    let busy = |_: &Report| vec![report(Channel::BROADCAST, &[0xBF, 0, 1], &[0x06])];
    let (link, written) = FakeLink::bare(busy);
    assert_eq!(
        open(link, Duration::from_millis(150)).err(),
        Some(DeviceError::Busy(None))
    );
    assert!(
        written.count(Command::Init) >= 2,
        "asked again while there was patience"
    );
}

#[test]
fn an_answer_is_put_together_among_strangers_and_keep_alives() {
    let message = vec![0x5A; 200];
    let expected = message.clone();
    let (mut channel, _) = channel(move |_| {
        let mut steps = vec![Step::Report(keep_alive(1)), Step::Report(keep_alive(2))];
        for step in answer(&message) {
            steps.push(report(Channel(3), &[0x90, 0, 1], &[1]));
            steps.push(step);
        }
        steps
    });
    let mut seen = Vec::new();
    let result = channel.exchange(REQUEST, Instant::now() + SOON, &Cancel::new(), &mut |k| seen.push(k));
    assert_eq!(result, Ok(expected));
    assert_eq!(seen, [KeepAlive::Processing, KeepAlive::TouchNeeded]);
}

#[test]
fn after_broken_framing_the_channel_is_synchronised_again() {
    let mut broken = vec![
        vec![report(OURS, &[CBOR, 0, 100], &[0]), report(OURS, &[1], &[0])], // sequence 1 first
        vec![report(OURS, &[CBOR, 0x1D, 0xBA], &[0])],                       // 7610 bytes announced
        vec![report(OURS, &[0x83, 0, 1], &[0])],                             // answer to MSG
        vec![report(OURS, &[0], &[0])],                                      // continuation of nothing
        vec![report(OURS, &[CBOR, 0, 100], &[0]), report(OURS, &[CBOR, 0, 1], &[0])],
    ]
    .into_iter();
    let (mut channel, written) = channel(move |_| broken.next().unwrap_or_else(|| answer(&[0])));
    for round in 1..=5 {
        let result = exchange(&mut channel, SOON);
        assert!(matches!(result, Err(DeviceError::Protocol(_))), "{result:?}");
        assert_eq!(
            written.count(Command::Init),
            round,
            "INIT before each but the first exchange"
        );
    }
    assert_eq!(exchange(&mut channel, SOON), Ok(vec![0]));
    assert_eq!(exchange(&mut channel, SOON), Ok(vec![0]));
    assert_eq!(written.count(Command::Init), 6, "and not after a sound one");
}

#[test]
fn whatever_never_ends_is_ended() {
    let endless: Vec<(Report, DeviceError)> = vec![
        (keep_alive(1), DeviceError::Deadline),
        (keep_alive(2), DeviceError::TouchTimeout),
        (raw_report(Channel(9), &[0x90, 0, 1], &[0]), DeviceError::Deadline),
    ];
    for (frame, error) in endless {
        let (mut channel, written) = channel(move |r| {
            if r[4] == CBOR {
                vec![Step::Endless(frame)]
            } else {
                Vec::new()
            }
        });
        assert_eq!(exchange(&mut channel, SOON), Err(error));
        assert_eq!(written.count(Command::Cancel), 1);
    }
    let (mut silent, written) = channel(|_| Vec::new());
    assert_eq!(exchange(&mut silent, SOON), Err(DeviceError::Deadline));
    assert_eq!(written.count(Command::Cancel), 1);
    let (mut cut, _) = channel(|r| {
        if r[4] == CBOR {
            vec![report(OURS, &[CBOR, 0, 200], &[0])]
        } else {
            Vec::new()
        }
    });
    assert_eq!(exchange(&mut cut, SOON), Err(DeviceError::Deadline));
    let long = FRAME_GAP * 2;
    assert_eq!(
        exchange(&mut cut, long),
        Err(DeviceError::Protocol("the answer stopped in the middle"))
    );
}

#[test]
fn a_busy_key_is_waited_for_as_long_as_there_is_patience() {
    for code in [0x06, 0x00] {
        let mut refusals = 2;
        let (mut channel, written) = channel(move |_| {
            refusals -= 1;
            if refusals >= 0 {
                vec![report(OURS, &[0xBF, 0, 1], &[code])]
            } else {
                answer(&[0])
            }
        });
        assert_eq!(exchange(&mut channel, SOON * 4), Ok(vec![0]));
        assert_eq!(written.count(Command::Cbor), 3);
    }
    let (link, _) = FakeLink::answering(|_| vec![report(OURS, &[0xBF, 0, 1], &[6])]);
    let mut channel = open(link, Duration::from_millis(150)).unwrap();
    let begun = Instant::now();
    assert_eq!(
        exchange(&mut channel, Duration::from_secs(10)),
        Err(DeviceError::Busy(None))
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn every_other_error_code_ends_the_exchange() {
    for code in (1..=255u8).filter(|code| *code != 6) {
        let (mut channel, _) = channel(move |_| vec![report(OURS, &[0xBF, 0, 1], &[code])]);
        assert!(exchange(&mut channel, SOON).is_err(), "{code}");
    }
}

#[test]
fn a_cancel_is_noticed_and_passed_on() {
    let script = |r: &Report| match r[4] & 0x7F {
        0x10 => vec![Step::Endless(keep_alive(2))],
        0x11 => answer(&[0x2D]),
        _ => Vec::new(),
    };
    let (mut channel, written) = channel(script);
    let cancel = Cancel::new();
    let begun = Instant::now();
    let result = channel.exchange(REQUEST, begun + SOON * 20, &cancel, &mut |_| cancel.cancel());
    assert_eq!(result, Err(DeviceError::Cancelled));
    assert!(begun.elapsed() < SOON, "soon");
    assert_eq!(written.last()[4], Command::Cancel as u8 | 0x80);
    let before = written.count(Command::Init);
    let again = channel.exchange(REQUEST, begun + SOON * 20, &cancel, &mut |_| {});
    assert_eq!(again, Err(DeviceError::Cancelled), "nothing is sent any more");
    assert_eq!(written.count(Command::Init), before);
}

#[test]
fn a_success_that_crossed_the_cancel_is_not_forgotten() {
    let script = |r: &Report| match r[4] & 0x7F {
        0x10 => vec![Step::Endless(keep_alive(2))],
        0x11 => answer(&[0x00, 0xA0]),
        _ => Vec::new(),
    };
    let (mut channel, _) = channel(script);
    let cancel = Cancel::new();
    let result = channel.exchange(REQUEST, Instant::now() + SOON * 20, &cancel, &mut |_| cancel.cancel());
    assert_eq!(result, Ok(vec![0x00, 0xA0]));
}

#[test]
fn past_the_deadline_nothing_is_sent() {
    let (mut channel, written) = channel(|_| answer(&[0]));
    assert_eq!(exchange(&mut channel, Duration::ZERO), Err(DeviceError::Deadline));
    assert_eq!(written.count(Command::Cbor), 0);
}

#[test]
fn an_unplugged_key_is_gone_at_once() {
    let (mut channel, _) = channel(|_| vec![Step::Report(keep_alive(2)), Step::Fail(LinkError::Gone)]);
    let begun = Instant::now();
    assert_eq!(exchange(&mut channel, SOON * 20), Err(DeviceError::Gone));
    assert!(begun.elapsed() < SOON);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn arbitrary_reports_end_by_the_deadline(
        frames in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 60)), 0..12)
    ) {
        let steps: Vec<Step> = frames
            .into_iter()
            .map(|(ours, body)| report(if ours { OURS } else { Channel(1) }, &[], &body))
            .collect();
        let (mut channel, _) = channel(move |r| if r[4] == CBOR { steps.clone() } else { Vec::new() });
        let _ = exchange(&mut channel, Duration::from_millis(40));
    }
}
