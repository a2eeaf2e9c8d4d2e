//! The HID link on the real udev and hidapi, with emulated nodes (umockdev). The test runs itself again inside the bed.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use claviger::link::hid::HidSource;
use claviger::link::watch::Source;
use claviger::link::{Face, FaceHandle, FaceKind, HidLink, LinkError, LinkEvent, Opener, UsbIds};
use claviger::types::{DeviceId, Reality};

/// Far longer than anything here takes, also on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(20);
const INSIDE: &str = "CLAVIGER_TEST_INSIDE_UMOCKDEV";

/// Whether this process is inside the bed; outside, runs `test` inside and passes its verdict on.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !Path::new("/usr/bin/umockdev-wrapper").exists() {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("ring 2, HID: skipped, no umockdev\n"),
        );
        return false;
    }
    let directory = tempfile::tempdir().expect("directory");
    let shim = directory.path().join("node_shim.so");
    let bed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bed");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&shim)
        .arg(bed.join("node_shim.c"))
        .status();
    assert!(compiled.expect("cc").success());
    let output = Command::new("timeout")
        .args(["150", "umockdev-wrapper"])
        .arg("/usr/bin/python3")
        .arg(bed.join("hidraw.py"))
        .arg(&shim)
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output()
        .expect("umockdev-wrapper");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{}",
        output.status
    );
    false
}

fn wish(what: &str) {
    println!("\n@{what}");
    std::io::stdout().flush().expect("flush");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).expect("answer");
    assert_eq!(answer.trim(), "done");
}

/// Reads in slices, as callers do: the pseudo-terminal that plays the node does not always wake who sleeps in it.
fn read(link: &mut dyn HidLink) -> Result<Option<[u8; 64]>, LinkError> {
    let begun = Instant::now();
    loop {
        match link.read_report(Duration::from_millis(100)) {
            Ok(None) if begun.elapsed() < SOON => {}
            other => return other,
        }
    }
}

struct Watched {
    source: HidSource,
    events: mpsc::Receiver<LinkEvent>,
}

impl Watched {
    fn start() -> Self {
        let source = HidSource::new().expect("source");
        let (tell, events) = mpsc::channel();
        let sink = move |event| -> Option<DeviceId> {
            let _ = tell.send(event);
            None
        };
        source.start(Arc::new(sink)).expect("start");
        Self { source, events }
    }

    fn event(&self) -> LinkEvent {
        self.events.recv_timeout(SOON).expect("an event")
    }

    fn arrived(&self) -> Face {
        match self.event() {
            LinkEvent::Arrived(face) => face,
            other => panic!("not an arrival: {other:?}"),
        }
    }

    fn open(&self, face: &Face, patience: Duration) -> Result<Box<dyn HidLink>, LinkError> {
        self.source.open_hid(face, patience)
    }
}

#[test]
fn keys_are_found_opened_and_followed() {
    if !inside("keys_are_found_opened_and_followed") {
        return;
    }
    let world = Watched::start();
    let first = world.arrived();
    assert!(matches!(world.event(), LinkEvent::Settled), "the mouse is no key");
    assert_eq!((first.kind, first.reality), (FaceKind::Hid, Reality::Hardware));
    assert_eq!(
        (first.name.as_str(), first.place.as_str()),
        ("ACME Key 1", "USB port 1-1")
    );
    assert_eq!(
        first.usb,
        Some(UsbIds {
            vendor: 0x1209,
            product: 1
        })
    );
    assert_eq!(first.serial.as_deref(), Some("S1"));
    assert_eq!(first.body, "usb:1:11");

    let mut link = world.open(&first, SOON).expect("open");
    link.write_report(&[7; 64]).expect("write");
    assert_eq!(read(link.as_mut()), Ok(Some([7; 64])));
    assert_eq!(link.read_report(Duration::from_millis(10)), Ok(None));

    // Our own lock keeps us out as it does others.
    let begun = Instant::now();
    let busy = world.open(&first, Duration::from_millis(60)).map(drop);
    assert!(begun.elapsed() >= Duration::from_millis(60));
    assert!(
        matches!(&busy, Err(LinkError::Busy { holder: Some(holder) }) if holder.pid == std::process::id()),
        "{busy:?}"
    );
    drop(link);
    drop(world.open(&first, Duration::ZERO).expect("free again"));

    let mut reused = first.clone();
    reused.handle = FaceHandle::Hidraw {
        node: "/dev/hidraw1".into(),
        rdev: 1,
    };
    assert_eq!(world.open(&reused, SOON).map(drop), Err(LinkError::NotTheSame));

    wish("plug 2");
    let second = world.arrived();
    assert_eq!(second.place, "USB port 1-2");
    let mut link = world.open(&second, SOON).expect("open");
    let reader = std::thread::spawn(move || (read(link.as_mut()), link.write_report(&[0; 64])));
    wish("unplug 2");
    assert!(matches!(world.event(), LinkEvent::Left(key) if key == second.key));
    let (read, written) = reader.join().expect("reader");
    assert_eq!(read, Err(LinkError::Gone));
    assert_eq!(written, Err(LinkError::Gone));
    assert_eq!(world.open(&second, SOON).map(drop), Err(LinkError::Gone));

    wish("plug 3");
    assert_ne!(world.arrived().key, second.key);
    world.source.stop();
    assert!(world.events.try_recv().is_err());
}
