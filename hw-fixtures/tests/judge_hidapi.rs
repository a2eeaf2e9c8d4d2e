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

/// What else the crate can: passkeys, rules for PINs, large blobs, fingers, finding the key. It has no reset.
#[test]
fn ctap_hid_fido2_looks_after_a_key() {
    let Some(bed) = testbed("ctap-hid-fido2, administration") else {
        return;
    };
    for profile in ["fido23", "bio-key", "yubikey-5-7"] {
        let token = key(profile);
        token.with_authenticator(|own| own.set_samples(&[0, 5, 0, 0, 0]));
        let plugged = bed.plug(&token).unwrap();
        let status = inside(&bed, "part_that_looks_after_a_key").status().unwrap();
        assert!(status.success(), "{profile}");
        assert_eq!(
            token.with_authenticator(|own| own.resident_count()),
            Some(1),
            "{profile}"
        );
        plugged.unplug();
    }
}

#[test]
#[ignore = "runs inside the testbed, started by ctap_hid_fido2_looks_after_a_key"]
fn part_that_looks_after_a_key() {
    use ctap_hid_fido2::fidokey::get_info::InfoOption;
    use ctap_hid_fido2::public_key_credential_user_entity::PublicKeyCredentialUserEntity as User;
    use ctap_hid_fido2::{Cfg, FidoKeyHidFactory, verifier};

    let (party, pin) = ("example.org", Some("271828"));
    let mut configuration = Cfg::init();
    configuration.keep_alive_msg.clear();
    configuration.use_pre_bio_enrollment = false;
    configuration.use_pre_credential_management = false;
    let mut device = FidoKeyHidFactory::create(&configuration).unwrap();
    assert!(device.set_pin_uv_auth_protocol_two().unwrap());
    device.set_new_pin("271828").unwrap();
    if device
        .get_info()
        .unwrap()
        .versions
        .iter()
        .any(|version| version == "FIDO_2_1")
    {
        device.selection().unwrap();
    }

    for number in 0..2 {
        let user = User::new(Some(&[number; 16]), Some("alice"), Some("Alice"));
        device
            .make_credential_rk(party, &verifier::create_challenge(), pin, &user)
            .unwrap();
    }
    let count = device.credential_management_get_creds_metadata(pin).unwrap();
    assert_eq!(count.existing_resident_credentials_count, 2);
    let parties = device.credential_management_enumerate_rps(pin).unwrap();
    assert_eq!(parties.len(), 1);
    assert_eq!(parties[0].public_key_credential_rp_entity.id, party);
    let hash = parties[0].rpid_hash.clone();
    let stored = || {
        let all = device.credential_management_enumerate_credentials(pin, &hash).unwrap();
        all.into_iter()
            .map(|one| {
                (
                    one.public_key_credential_descriptor,
                    one.public_key_credential_user_entity,
                )
            })
            .collect::<Vec<_>>()
    };
    let (first, user) = stored().remove(0);
    let renamed = User::new(Some(&user.id), Some("alice-2"), Some("Alice the Second"));
    device
        .credential_management_update_user_information(pin, first, renamed)
        .unwrap();
    assert!(stored().iter().any(|(_, user)| user.name == "alice-2"));
    let (first, _) = stored().remove(0);
    device.credential_management_delete_credential(pin, first).unwrap();
    assert_eq!(stored().len(), 1);

    let has = |option: InfoOption| device.enable_info_option(&option).unwrap();
    if has(InfoOption::LargeBlobs) == Some(true) {
        // An empty array with its hash, as the standard begins (CTAP 2.1 section 6.10.2).
        let blob = device.get_large_blob().unwrap();
        assert_eq!(blob.large_blob_array, [0x80]);
    }
    if has(InfoOption::BioEnroll).is_some() {
        let sensor = device.bio_enrollment_get_fingerprint_sensor_info().unwrap();
        assert_eq!(sensor.max_capture_samples_required_for_enroll, 4);
        let (begun, mut status) = device.bio_enrollment_begin("271828", Some(5_000)).unwrap();
        let mut no_good = 0;
        while !status.is_finish {
            status = device.bio_enrollment_next(&begun, Some(5_000)).unwrap();
            no_good += u32::from(status.status != 0);
        }
        assert_eq!(no_good, 1);
        device
            .bio_enrollment_set_friendly_name("271828", &begun.template_id, "thumb")
            .unwrap();
        let fingers = device.bio_enrollment_enumerate_enrollments("271828").unwrap();
        assert_eq!(fingers.len(), 1);
        assert_eq!(fingers[0].template_friendly_name.as_deref(), Some("thumb"));
        device.bio_enrollment_remove("271828", &begun.template_id).unwrap();
    }
    if has(InfoOption::AuthnrCfg) == Some(true) {
        device.set_min_pin_length(5, pin).unwrap();
        assert_eq!(device.get_info().unwrap().min_pin_length, 5);
        device.toggle_always_uv(pin).unwrap();
        assert_eq!(has(InfoOption::AlwaysUv), Some(true));
        device.toggle_always_uv(pin).unwrap();
        if device.get_info().unwrap().max_rpids_for_set_min_pin_length > 0 {
            device.set_min_pin_length_rpids(vec![party.to_owned()], pin).unwrap();
        }
        device.force_change_pin(pin).unwrap();
        assert!(device.get_info().unwrap().force_pin_change);
        device.change_pin("271828", "314159").unwrap();
        assert!(!device.get_info().unwrap().force_pin_change);
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
