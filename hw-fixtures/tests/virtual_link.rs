//! Tokens at a daemon's virtual link, with a stand-in for the daemon, and the control socket.

mod host;

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hw_fixtures::control::{ControlServer, Request, ask};
use hw_fixtures::fault::{Direction, Fault, FaultKind};
use hw_fixtures::fido::ctaphid::fragment;
use hw_fixtures::front::wire::Frame;
use hw_fixtures::token::TokenSetup;
use hw_fixtures::world::{Hosts, World, WorldFile};
use hw_fixtures::{Plugged, Token, TouchMode, plug_virtual};

const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon's side of one device.
struct Device {
    stream: UnixStream,
    hello: serde_json::Value,
    channel: u32,
}

struct Daemon {
    listener: UnixListener,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

fn daemon() -> Daemon {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("virtual.sock");
    Daemon {
        listener: UnixListener::bind(&socket).unwrap(),
        socket,
        _directory: directory,
    }
}

impl Daemon {
    fn accept(&self, answer: Frame) -> Device {
        let (mut stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let Some(Frame::Hello(hello)) = Frame::read(&mut stream).unwrap() else {
            panic!("no HELLO")
        };
        answer.write(&mut stream).unwrap();
        Device {
            stream,
            hello: serde_json::from_slice(&hello).unwrap(),
            channel: 0,
        }
    }

    fn plug(&self, token: &Token) -> (Plugged, Device) {
        std::thread::scope(|scope| {
            let device = scope.spawn(|| self.accept(Frame::Welcome(br#"{"device":"7"}"#.to_vec())));
            (plug_virtual(&self.socket, token).unwrap(), device.join().unwrap())
        })
    }
}

impl Device {
    fn send(&mut self, frame: Frame) {
        frame.write(&mut self.stream).unwrap();
    }

    fn read(&mut self) -> io::Result<Option<Frame>> {
        Frame::read(&mut self.stream)
    }

    fn message(&mut self, channel: u32, command: u8, data: &[u8]) {
        for report in fragment(channel, command, data) {
            self.send(Frame::HidOut(report));
        }
    }

    fn report(&mut self) -> io::Result<Option<[u8; 64]>> {
        match self.read()? {
            Some(Frame::HidIn(report)) => Ok(Some(report)),
            None => Ok(None),
            other => panic!("{other:?}"),
        }
    }

    fn open(&mut self) {
        self.send(Frame::HidOpen);
        self.message(0xffff_ffff, 0x06, &[1; 8]);
        let report = self.report().unwrap().unwrap();
        self.channel = u32::from_be_bytes(report[15..19].try_into().unwrap());
    }

    /// getInfo's answer as one message.
    fn info(&mut self) -> Vec<u8> {
        self.message(self.channel, 0x10, &[4]);
        let first = self.report().unwrap().unwrap();
        let length = usize::from(u16::from_be_bytes([first[5], first[6]]));
        let mut reports = vec![first];
        while 57 + 59 * (reports.len() - 1) < length {
            reports.push(self.report().unwrap().unwrap());
        }
        host::assemble(&reports).remove(0).2
    }

    fn exchange(&mut self, apdu: &[u8]) -> Vec<u8> {
        self.send(Frame::CardCommand(apdu.to_vec()));
        match self.read().unwrap() {
            Some(Frame::CardResponse(response)) => response,
            other => panic!("{other:?}"),
        }
    }
}

fn key() -> Token {
    Token::of_profile("yubikey-5", TokenSetup::named("key")).unwrap()
}

const SELECT: &[u8] = &[0, 0xa4, 4, 0, 7, 0xa0, 0, 0, 5, 0x27, 0x21, 1];

#[test]
fn one_connection_is_one_device_with_both_faces() {
    let daemon = daemon();
    let token = key();
    let (plugged, mut device) = daemon.plug(&token);
    assert_eq!(plugged.id(), "7");
    let expected = serde_json::json!({
        "protocol": 1, "name": "YubiKey OTP+FIDO+CCID", "manufacturer": "Yubico", "vendor_id": 0x1050,
        "product_id": 0x0407, "serial": null, "place": "sim-key", "faces": ["hid", "card"], "contactless": false,
    });
    assert_eq!(device.hello, expected);
    device.open();
    assert_eq!(device.info()[0], 0);
    device.send(Frame::CardConnect);
    assert_eq!(
        device.read().unwrap(),
        Some(Frame::CardAtr(token.profile().atr_bytes()))
    );
    assert_eq!(device.exchange(&[0, 0xa1, 0, 0]), [0x6d, 0]);
    assert_eq!(device.exchange(SELECT)[..5], [0x79, 3, 5, 4, 3]);
    assert_eq!(device.exchange(&[0, 0xa1, 0, 0]), [0x90, 0]);
    // Power up again: nothing is selected.
    device.send(Frame::CardDisconnect);
    device.send(Frame::CardConnect);
    device.read().unwrap();
    assert_eq!(device.exchange(&[0, 0xa1, 0, 0]), [0x6d, 0]);
    plugged.unplug();
    assert_eq!(device.read().unwrap(), None);
}

#[test]
fn the_daemon_hanging_up_unplugs() {
    let daemon = daemon();
    let (plugged, device) = daemon.plug(&key());
    assert!(plugged.is_plugged());
    drop(device);
    assert!(plugged.wait_unplugged(PATIENCE));
}

#[test]
fn a_refusal_carries_the_daemons_sentence() {
    let daemon = daemon();
    let error = std::thread::scope(|scope| {
        scope.spawn(|| daemon.accept(Frame::Refused("no more than 16 simulated devices".into())));
        plug_virtual(&daemon.socket, &key()).err().unwrap()
    });
    assert!(error.to_string().contains("no more than 16"));
}

#[test]
fn frames_are_recorded_and_each_can_be_struck() {
    let daemon = daemon();
    let token = key();
    let (plugged, mut device) = daemon.plug(&token);
    device.open();
    plugged.record();
    let clean = device.info();
    let frames = plugged.frames();
    assert_eq!(frames[0], Direction::Out);
    assert!(frames[1..].iter().all(|frame| *frame == Direction::In));
    assert!(frames.len() > 2);

    // Unplug at the third frame: two arrive, then the line is closed.
    plugged.record();
    plugged.inject(Fault::at(3, FaultKind::Unplug));
    device.message(device.channel, 0x10, &[4]);
    assert!(device.report().unwrap().is_some());
    assert_eq!(device.report().unwrap(), None);
    assert!(plugged.wait_unplugged(PATIENCE));
    assert_eq!(token.faults()[0].struck, Some(3));
    token.clear_faults();

    // The token is the same when it comes back.
    let (plugged, mut device) = daemon.plug(&token);
    device.open();
    assert_eq!(device.info(), clean);
    plugged.record();
    plugged.inject(Fault::at(2, FaultKind::Delay(150)));
    let since = Instant::now();
    assert_eq!(device.info(), clean);
    assert!(since.elapsed() >= Duration::from_millis(150));
    plugged.record();
    plugged.inject(Fault::at(1, FaultKind::EndlessKeepalive));
    device.message(device.channel, 0x10, &[4]);
    for _ in 0..3 {
        assert_eq!(device.report().unwrap().unwrap()[4], 0xbb);
    }
    token.clear_faults();
    plugged.record();
    plugged.inject(Fault::at(1, FaultKind::Stall));
    device.message(device.channel, 0x10, &[4]);
    device
        .stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(device.report().is_err());
    assert!(plugged.is_plugged());
}

#[test]
fn touch_comes_from_outside() {
    let daemon = daemon();
    let token = Token::of_profile(
        "yubikey-5",
        TokenSetup {
            touch: TouchMode::Manual,
            ..TokenSetup::named("key")
        },
    );
    let token = token.unwrap();
    let (plugged, mut device) = daemon.plug(&token);
    device.open();
    device.message(device.channel, 0x10, &[0x0b]);
    assert_eq!(device.report().unwrap().unwrap()[4..8], [0xbb, 0, 1, 2]);
    assert!(token.touch_when_asked(PATIENCE));
    let answer = std::iter::from_fn(|| device.report().unwrap())
        .find(|report| report[4] != 0xbb)
        .unwrap();
    assert_eq!(answer[4..8], [0x90, 0, 1, 0]);
    assert!(!plugged.touch());

    // Nobody touches, and thirty seconds pass for the token alone.
    token.set_touch_mode(TouchMode::Never);
    device.message(device.channel, 0x10, &[0x0b]);
    assert_eq!(device.report().unwrap().unwrap()[4], 0xbb);
    let since = Instant::now();
    token.advance(Duration::from_secs(30));
    let answer = std::iter::from_fn(|| device.report().unwrap())
        .find(|report| report[4] != 0xbb)
        .unwrap();
    assert_eq!(answer[4..8], [0x90, 0, 1, 0x2f]);
    assert!(since.elapsed() < PATIENCE);
    device.message(device.channel, 0x10, &[0x07]);
    assert_eq!(device.report().unwrap().unwrap()[4..8], [0x90, 0, 1, 0x30]);
}

#[test]
fn the_control_socket_commands_a_world() {
    let daemon = daemon();
    let hosts = Hosts {
        virtual_socket: Some(daemon.socket.clone()),
        ..Hosts::default()
    };
    let file = WorldFile {
        clock_unix_s: Some(1_800_000_000),
        ..WorldFile::example()
    };
    let world = Arc::new(World::new(&file, hosts).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let control = directory.path().join("control.sock");
    let (quit, asked) = std::sync::mpsc::channel();
    let server = ControlServer::start(&control, world.clone(), move || quit.send(()).unwrap()).unwrap();
    assert!(ControlServer::start(&control, world.clone(), || ()).is_err());
    let name = || "key".to_owned();
    let say = |request: Request| ask(&control, &request);

    let mut device = std::thread::scope(|scope| {
        let device = scope.spawn(|| daemon.accept(Frame::Welcome(br#"{"device":"3"}"#.to_vec())));
        assert_eq!(
            say(Request::Plug { name: name() }).unwrap()["ids"],
            serde_json::json!(["3"])
        );
        device.join().unwrap()
    });
    device.open();
    let frames = say(Request::Frames { name: name() }).unwrap();
    assert_eq!(
        (&frames["count"], &frames["directions"]),
        (&2.into(), &serde_json::json!(["out", "in"]))
    );
    let fault = Request::Fault {
        name: name(),
        kind: "drop".into(),
        frame: 1,
        direction: None,
        delay_ms: 0,
    };
    say(Request::Record { name: name() }).unwrap();
    say(fault).unwrap();
    device.message(device.channel, 0x10, &[4]);
    device
        .stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(device.report().is_err());
    let faults = say(Request::Faults {
        name: Some(name()),
        clear: false,
    })
    .unwrap();
    assert_eq!(faults["faults"]["key"][0]["struck"], 1);

    let fob = || "fob".to_owned();
    let code = |at| {
        say(Request::Code { name: fob(), at }).unwrap()["code"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(code(None), code(Some(1_800_000_000)));
    let slow = code(None);
    say(Request::Drift {
        name: fob(),
        offset_s: 0.0,
        ppm: 0.0,
    })
    .unwrap();
    assert_eq!(code(Some(1_800_000_000 - 540)), slow);
    assert_ne!(code(None), slow);
    let seed = say(Request::Seed { name: fob() }).unwrap()["seed"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(seed.len(), 40);

    assert!(
        say(Request::Touch {
            name: name(),
            wait_s: 0
        })
        .unwrap_err()
        .to_string()
        .contains("did not ask")
    );
    assert!(
        say(Request::Unplug { name: "nobody".into() })
            .unwrap_err()
            .to_string()
            .contains("nobody")
    );
    say(Request::Unplug { name: name() }).unwrap();
    assert_eq!(device.read().unwrap(), None);
    let listed = say(Request::List).unwrap();
    assert_eq!(listed["tokens"].as_array().unwrap().len(), 3);
    say(Request::Quit).unwrap();
    asked.recv_timeout(PATIENCE).unwrap();
    drop(server);
    assert!(!control.exists());
}
