//! Rust hosts as judges under umockdev: `ctap-hid-fido2` over the real hidapi, and the `udev` crate's monitor.
//!
//! A preloaded library must be there when a process starts, so each test runs this binary again, once for the part
//! that sees the testbed.

mod judge;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use hw_fixtures::Token;
use hw_fixtures::front::Testbed;
use hw_fixtures::token::TokenSetup;
use judge::testbed;

fn inside(bed: &Testbed, part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([part, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .envs(bed.environment());
    command
}

fn key(profile: &str) -> Token {
    Token::of_profile(profile, TokenSetup::named(profile)).unwrap()
}

#[test]
fn ctap_hid_fido2_registers_and_verifies() {
    let Some(bed) = testbed("ctap-hid-fido2") else { return };
    for profile in ["nitrokey-3", "yubikey-5", "solo-2", "fido20"] {
        let token = key(profile);
        let plugged = bed.plug(&token).unwrap();
        let status = inside(&bed, "part_of_ctap_hid_fido2").status().unwrap();
        assert!(status.success(), "{profile}");
        assert!(plugged.frames().len() > 20);
    }
}

#[test]
#[ignore = "runs inside the testbed, started by ctap_hid_fido2_registers_and_verifies"]
fn part_of_ctap_hid_fido2() {
    use ctap_hid_fido2::fidokey::{GetAssertionArgsBuilder, MakeCredentialArgsBuilder};
    use ctap_hid_fido2::{Cfg, FidoKeyHidFactory, verifier};

    let mut configuration = Cfg::init();
    configuration.keep_alive_msg.clear();
    let device = FidoKeyHidFactory::create(&configuration).unwrap();
    assert_eq!(device.get_pin_retries().unwrap(), 8);
    device.set_new_pin("1234").unwrap();
    device.change_pin("1234", "123456").unwrap();
    assert!(
        device
            .make_credential("example.org", &verifier::create_challenge(), Some("0000"))
            .is_err()
    );
    assert_eq!(device.get_pin_retries().unwrap(), 7);
    let challenge = verifier::create_challenge();
    let request = MakeCredentialArgsBuilder::new("example.org", &challenge)
        .pin("123456")
        .build();
    let attestation = device.make_credential_with_args(&request).unwrap();
    // The crate cannot read self attestation: it reaches for a certificate that is not there.
    if !attestation.attstmt_x5c.is_empty() {
        let checked = verifier::verify_attestation("example.org", &challenge, &attestation);
        assert!(checked.is_success, "attestation");
    }
    let challenge = verifier::create_challenge();
    let request = GetAssertionArgsBuilder::new("example.org", &challenge)
        .pin("123456")
        .credential_id(&attestation.credential_descriptor.id)
        .build();
    let assertions = device.get_assertion_with_args(&request).unwrap();
    assert!(verifier::verify_assertion(
        "example.org",
        &attestation.credential_publickey,
        &challenge,
        &assertions[0]
    ));
}

#[test]
fn udev_sees_keys_come_and_go_under_new_numbers() {
    let Some(bed) = testbed("udev monitor") else { return };
    let token = key("nitrokey-3");
    let mut child = inside(&bed, "part_of_udev_monitor")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(|line| line.unwrap());
    let mut expect = |wanted: String| {
        // The test harness prints lines of its own in between, some without an end.
        let found = lines.find(|line| line.contains("udev:")).unwrap_or_default();
        assert!(found.ends_with(&wanted), "{found:?} is not {wanted:?}");
    };
    expect("udev: listening".into());
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let plugged = bed.plug(&token).unwrap();
        let node = plugged.id().to_owned();
        expect(format!("udev: add {node} readable"));
        // What was opened there must see the end of the device, not silence.
        plugged.unplug();
        expect(format!("udev: remove {node}"));
        expect("udev: closed".into());
        nodes.push(node);
    }
    nodes.dedup();
    assert_eq!(nodes.len(), 3);
    assert!(child.wait().unwrap().success());
}

#[test]
#[ignore = "runs inside the testbed, started by udev_sees_keys_come_and_go_under_new_numbers"]
fn part_of_udev_monitor() {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;

    let monitor = udev::MonitorBuilder::new()
        .unwrap()
        .match_subsystem("hidraw")
        .unwrap()
        .listen()
        .unwrap();
    println!("udev: listening");
    let mut open = None;
    let mut removed = 0;
    while removed < 3 {
        let mut waiting = [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)];
        assert!(
            poll(&mut waiting, PollTimeout::from(10_000_u16)).unwrap() > 0,
            "no event"
        );
        for event in monitor.iter() {
            let node = event
                .devnode()
                .map(|node| node.display().to_string())
                .unwrap_or_default();
            if event.event_type() == udev::EventType::Add {
                let usb = event
                    .parent_with_subsystem_devtype("usb", "usb_device")
                    .unwrap()
                    .unwrap();
                assert_eq!(usb.attribute_value("idVendor").unwrap(), "20a0");
                assert_eq!(usb.attribute_value("serial").unwrap(), "SIM-nitrokey-3");
                let api = hidapi::HidApi::new().unwrap();
                let path = std::ffi::CString::new(node.clone()).unwrap();
                let known = api
                    .device_list()
                    .any(|device| device.path() == path.as_c_str() && device.usage_page() == 0xf1d0);
                assert!(known, "hidapi does not list {node}");
                let device = api.open_path(&path).unwrap();
                let ping = hw_fixtures::fido::ctaphid::fragment(0xffff_ffff, 0x06, &[7; 8]);
                device.write(&[&[0][..], &ping[0]].concat()).unwrap();
                let mut answer = [0; 64];
                assert_eq!(device.read_timeout(&mut answer, 5_000).unwrap(), 64);
                assert_eq!(answer[7..15], [7; 8]);
                open = Some(device);
                println!("udev: add {node} readable");
            } else if event.event_type() == udev::EventType::Remove {
                println!("udev: remove {node}");
                removed += 1;
                let device = open.take().unwrap();
                assert!(device.read_timeout(&mut [0; 64], 5_000).is_err());
                println!("udev: closed");
            }
        }
    }
}

#[test]
fn the_shim_tells_the_nodes_own_numbers() {
    let Some(bed) = testbed("umockdev shim") else { return };
    assert!(bed.has_shim());
    let plugged = bed.plug(&key("fido20")).unwrap();
    let script = "import os, sys\n\
        node = sys.argv[1]\n\
        fd = os.open(node, os.O_RDWR | os.O_NOFOLLOW)\n\
        again = os.open('/proc/self/fd/%d' % fd, os.O_RDWR)\n\
        numbers = {(os.major(st.st_rdev), os.minor(st.st_rdev)) for st in map(os.fstat, (fd, again))}\n\
        print(numbers == {(240, int(node[len('/dev/hidraw'):]))})\n";
    let output = judge::among(&bed, "/usr/bin/python3")
        .args(["-c", script, plugged.id()])
        .output()
        .unwrap();
    assert_eq!(judge::told("python3", &[], &output).trim(), "True");
}
