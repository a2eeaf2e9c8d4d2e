//! The NFC fob, command by command, from a host's side.

use std::time::Duration;

use hw_fixtures::entropy::Entropy;
use hw_fixtures::nfc_fob::{KEY, NfcFob};
use hw_fixtures::oath::{Hash, totp};
use hw_fixtures::world::{Hosts, WorldFile};
use hw_fixtures::ykoath::Reply;
use hw_fixtures::{Profile, TouchMode, World, crypto};
use proptest::prelude::*;

const NOW: i64 = 1_800_000_000;
const SEED: &[u8] = b"12345678901234567890";

fn fob_of(profile: &str, mode: TouchMode) -> NfcFob {
    let profile = Profile::named(profile).unwrap();
    let (nfc, make) = (profile.nfc.unwrap(), profile.fob.unwrap());
    NfcFob::new(&nfc, &make, None, Entropy::seeded(1, "fob"), mode)
}

fn fob(profile: &str) -> NfcFob {
    fob_of(profile, TouchMode::Auto)
}

fn send(fob: &mut NfcFob, apdu: &[u8]) -> (Vec<u8>, u16) {
    let Reply::Response(mut response) = fob.command(apdu, 0, NOW) else {
        panic!("silence")
    };
    let status = response.split_off(response.len() - 2);
    (response, u16::from_be_bytes([status[0], status[1]]))
}

/// `Lc` and data.
fn with(header: [u8; 4], data: &[u8]) -> Vec<u8> {
    [&header[..], &[u8::try_from(data.len()).unwrap()], data].concat()
}

fn encrypted(plain: &[u8]) -> Vec<u8> {
    let blocks = plain.as_chunks::<16>().0;
    blocks
        .iter()
        .flat_map(|block| crypto::sm4_encrypt_block(&KEY, block))
        .collect()
}

/// A command under the MAC: its header goes in with class 80 and the length without the MAC.
fn protected(ins: u8, p1: u8, body: &[u8]) -> Vec<u8> {
    let mut message = with([0x80, ins, p1, 0], body);
    if !message.len().is_multiple_of(16) {
        message.push(0x80);
        message.resize(message.len().next_multiple_of(16), 0);
    }
    let mac = message.as_chunks::<16>().0.iter().fold([0; 16], |state, block| {
        let mixed: [u8; 16] = std::array::from_fn(|at| state[at] ^ block[at]);
        crypto::sm4_encrypt_block(&KEY, &mixed)
    });
    with([0x84, ins, p1, 0], &[body, &mac[..4]].concat())
}

fn seed_command(seed: &[u8]) -> Vec<u8> {
    let mut plain = [seed, &[0x80]].concat();
    plain.resize(plain.len().next_multiple_of(16), 0);
    protected(0xc5, 1, &encrypted(&plain))
}

fn config_command(clock: i64, algorithm: u8, step: u8) -> Vec<u8> {
    let clock = u32::try_from(clock).unwrap().to_be_bytes();
    let body = [
        &[0x81, 0x11, 0x1f, 1, 2, 0x0f, 4][..],
        &clock,
        &[0x86, 6, 0x0a, 1, algorithm, 0x0d, 1, step],
    ]
    .concat();
    protected(0xd4, 0, &body)
}

fn authenticate(fob: &mut NfcFob) -> u16 {
    let (challenge, status) = send(fob, &[0x80, 0x4b, 0x08, 0, 0]);
    assert_eq!((status, challenge.len()), (0x9000, 8));
    let proof = encrypted(&[challenge, vec![0; 8]].concat());
    send(fob, &with([0x80, 0xce, 0, 0], &proof)).1
}

fn read(fob: &mut NfcFob) -> (String, i64) {
    let (answer, status) = send(fob, &[0x80, 0x41, 0, 0, 2, 2, 0x11]);
    assert_eq!(status, 0x9000);
    let (serial, rest) = answer[4..].split_at(usize::from(answer[3]));
    let clock = u32::from_be_bytes(rest[2..].try_into().unwrap());
    (String::from_utf8(serial.to_vec()).unwrap(), i64::from(clock))
}

#[test]
fn serial_and_clock_are_there_for_everyone() {
    for (profile, prefix) in [
        ("token2-c301", "8659610"),
        ("token2-c302", "8659632"),
        ("token2-miniotp-2", "8659600"),
    ] {
        let mut fob = fob(profile);
        fob.fob_mut().drift(-97.0, 0.0, NOW);
        let (serial, clock) = read(&mut fob);
        assert!(serial.starts_with(prefix) && serial.len() == 13, "{serial}");
        assert_eq!(clock, NOW - 97);
        assert_eq!(serial, fob.fob().serial);
    }
}

#[test]
fn a_seed_of_any_length_is_written_and_shown() {
    let mut fob = fob("token2-c302");
    assert_eq!(authenticate(&mut fob), 0x9000);
    for (length, lc) in [(20, 0x24), (32, 0x34), (1, 0x14), (63, 0x44)] {
        let seed: Vec<u8> = SEED.iter().cycle().take(length).copied().collect();
        let command = seed_command(&seed);
        assert_eq!(command[4], lc);
        assert_eq!(send(&mut fob, &command), (vec![], 0x9000));
        assert_eq!(fob.fob().code(NOW), totp(Hash::Sha1, &seed, NOW, 30, 6));
    }
    // Neither nothing nor 64 bytes.
    assert_eq!(send(&mut fob, &seed_command(&[])).1, 0x6a80);
    assert_eq!(send(&mut fob, &seed_command(&[1; 64])).1, 0x6a80);
}

#[test]
fn the_clock_is_set_and_a_restricted_fob_forgets_its_seed_by_it() {
    for (profile, keeps) in [("token2-c302", true), ("token2-c301", false)] {
        let mut fob = fob(profile);
        fob.fob_mut().drift(-600.0, 20.0, NOW);
        authenticate(&mut fob);
        assert_eq!(send(&mut fob, &seed_command(SEED)).1, 0x9000);
        let command = config_command(NOW + 5, 2, 60);
        assert_eq!(command[4], 0x17);
        assert_eq!(send(&mut fob, &command), (vec![], 0x9000));
        assert_eq!(read(&mut fob).1, NOW + 5);
        assert_eq!((fob.display(), fob.fob().clock.ppm), (2, 20.0));
        let shown = fob.fob().code(NOW);
        if keeps {
            assert_eq!(shown, totp(Hash::Sha256, SEED, NOW + 5, 60, 6));
        } else {
            assert_eq!(shown, "------");
            assert_eq!(send(&mut fob, &seed_command(SEED)).1, 0x9000);
            assert_eq!(fob.fob().code(NOW), totp(Hash::Sha256, SEED, NOW + 5, 60, 6));
        }
    }
}

#[test]
fn nothing_is_written_without_the_key_and_an_intact_command() {
    let mut fob = fob("token2-c302");
    let before = fob.fob().code(NOW);
    assert_eq!(send(&mut fob, &seed_command(SEED)).1, 0x6983);
    authenticate(&mut fob);
    for at in 5..seed_command(SEED).len() {
        let mut broken = seed_command(SEED);
        broken[at] ^= 1;
        assert_eq!(send(&mut fob, &broken).1, 0x6983, "byte {at}");
    }
    assert_eq!(send(&mut fob, &with([0x84, 0xc5, 1, 0], &[1, 2])).1, 0x6700);
    for (algorithm, step) in [(0, 30), (3, 30), (1, 31)] {
        assert_eq!(send(&mut fob, &config_command(NOW, algorithm, step)).1, 0x6a80);
    }
    assert_eq!(fob.fob().code(NOW), before);
    // Another challenge ends the authentication, and so does leaving the field.
    send(&mut fob, &[0x80, 0x4b, 0x08, 0, 1, 0]);
    assert_eq!(send(&mut fob, &seed_command(SEED)).1, 0x6983);
    authenticate(&mut fob);
    fob.power_cycle();
    assert_eq!(send(&mut fob, &seed_command(SEED)).1, 0x6983);
}

#[test]
fn old_firmware_locks_for_good() {
    let mut old = fob("token2-miniotp-2");
    let wrong = with([0x80, 0xce, 0, 0], &[7; 16]);
    for _ in 0..5 {
        assert!(!old.is_locked());
        send(&mut old, &[0x80, 0x4b, 0x08, 0, 0]);
        assert_eq!(send(&mut old, &wrong).1, 0x6983);
    }
    assert!(old.is_locked());
    assert_eq!(authenticate(&mut old), 0x6983);
    old.power_cycle();
    assert_eq!(authenticate(&mut old), 0x6983);
    assert_eq!(read(&mut old).1, NOW);
    let mut new = fob("token2-c301");
    for _ in 0..100 {
        assert_eq!(send(&mut new, &wrong).1, 0x6983);
    }
    assert_eq!(authenticate(&mut new), 0x9000);
}

#[test]
fn it_must_be_switched_on() {
    let info = [0x80, 0x41, 0, 0, 2, 2, 0x11];
    let mut fob = fob_of("token2-c301", TouchMode::Manual);
    assert_eq!(fob.command(&info, 0, NOW), Reply::Silence);
    assert!(fob.wants_touch());
    assert!(fob.press(1_000));
    assert!(matches!(fob.command(&info, 30_999, NOW), Reply::Response(_)));
    assert_eq!(fob.command(&info, 31_000, NOW), Reply::Silence);
    fob.set_touch_mode(TouchMode::Auto);
    assert!(matches!(fob.command(&info, 31_000, NOW), Reply::Response(_)));
    fob.fob_mut().suffer(hw_fixtures::fob::Mishap::BatteryDies, NOW);
    assert_eq!(fob.command(&info, 31_000, NOW), Reply::Silence);
}

#[test]
fn t0_tells_lengths() {
    let mut fob = fob("token2-t0");
    let (empty, status) = send(&mut fob, &[0x80, 0x41, 0, 0, 2, 2, 0x11]);
    assert_eq!((empty.len(), status >> 8), (0, 0x61));
    let length = u8::try_from(status & 0xff).unwrap();
    assert_eq!(
        send(&mut fob, &[0, 0xc0, 0, 0, 0]),
        (vec![], 0x6c00 | u16::from(length))
    );
    let (part, status) = send(&mut fob, &[0, 0xc0, 0, 0, 4]);
    assert_eq!((part.len(), status), (4, 0x6100 | u16::from(length - 4)));
    let (rest, status) = send(&mut fob, &[0, 0xc0, 0, 0, length - 4]);
    assert_eq!((rest.len(), status), (usize::from(length - 4), 0x9000));
    assert_eq!(send(&mut fob, &[0, 0xc0, 0, 0, 1]).1, 0x6985);
    assert_eq!(send(&mut fob, &[0x80, 0x4b, 0x08, 0, 0]), (vec![], 0x6c08));
    let (challenge, status) = send(&mut fob, &[0x80, 0x4b, 0x08, 0, 8]);
    assert_eq!(status, 0x9000);
    let proof = encrypted(&[challenge, vec![0; 8]].concat());
    assert_eq!(send(&mut fob, &with([0x80, 0xce, 0, 0], &proof)), (vec![], 0x9000));
    assert_eq!(send(&mut fob, &seed_command(SEED)), (vec![], 0x9000));
}

#[test]
fn other_commands_are_refused_by_their_reason() {
    let mut fob = fob("token2-c301");
    for (apdu, status) in [
        (&[0x00, 0xa4, 4, 0, 2, 0xa0, 0][..], 0x6e00),
        (&[0x80, 0x42, 0, 0, 0], 0x6d00),
        (&[0x80, 0x41, 0, 1, 2, 2, 0x11], 0x6a86),
        (&[0x80, 0x41, 0, 0, 2, 2, 0x12], 0x6a80),
        (&[0x80, 0x41, 0, 0, 0], 0x6700),
        (&[0x80, 0xce, 0, 0, 1, 0], 0x6700),
        (&[0x80], 0x6700),
    ] {
        assert_eq!(send(&mut fob, apdu), (vec![], status), "{apdu:02x?}");
    }
}

#[test]
fn a_world_has_them_with_clocks_of_their_own() {
    let text = format!(
        "seed = 1\nclock_unix_s = {NOW}\n[[token]]\nname = 'f'\nprofile = 'token2-c301'\nserial = '8659610000001'\n\
         touch = 'manual'\noffset_s = 90.0\nppm = 5.0\nseed_hex = '{}'\n",
        crypto::to_hex(SEED)
    );
    let world = World::new(&WorldFile::parse(&text).unwrap(), Hosts::default()).unwrap();
    let listed = world.list().remove(0);
    assert_eq!(
        (listed.kind, listed.serial.as_deref()),
        ("token", Some("8659610000001"))
    );
    let shown = totp(Hash::Sha1, SEED, NOW + 90, 30, 6);
    assert_eq!(world.press("f").unwrap(), shown);
    assert_eq!(world.with_fob("f", |fob| fob.code(NOW)).unwrap(), shown);
    let token = world.token("f").unwrap();
    assert_eq!(token.unix_s(), NOW);
    token.advance(Duration::from_secs(60));
    assert_eq!(token.unix_s(), NOW);
}

proptest! {
    #[test]
    fn any_apdu_is_answered(apdu in proptest::collection::vec(any::<u8>(), 0..80), head in 0_usize..6) {
        let heads = [&[0x80, 0x41, 0, 0][..], &[0x80, 0x4b, 8, 0], &[0x80, 0xce, 0, 0], &[0x84, 0xc5, 1, 0], &[0x84, 0xd4, 0, 0], &[]];
        for profile in ["token2-c301", "token2-t0"] {
            let mut fob = fob(profile);
            let (challenge, _) = send(&mut fob, &[0x80, 0x4b, 0x08, 0, 8]);
            send(&mut fob, &with([0x80, 0xce, 0, 0], &encrypted(&[challenge, vec![0; 8]].concat())));
            send(&mut fob, &[heads[head], &apdu].concat());
            let body = apdu.get(..apdu.len() & 0x30).unwrap_or_default();
            send(&mut fob, &protected(if head & 1 == 0 { 0xc5 } else { 0xd4 }, u8::from(head & 1 == 0), body));
            fob.fob().code(NOW);
        }
    }
}
