//! The OATH card against Yubico's command reference, APDU by APDU.

use hw_fixtures::entropy::Entropy;
use hw_fixtures::oath::{Hash, hotp, totp};
use hw_fixtures::ykoath::{AID, OathCard, Reply, tlv};
use hw_fixtures::{Profile, TouchMode, crypto};
use proptest::prelude::*;

const SECRET: &[u8] = b"12345678901234567890";

fn card_of(change: impl FnOnce(&mut hw_fixtures::profile::OathProfile), mode: TouchMode) -> OathCard {
    let mut profile = Profile::named("oath-card").unwrap().oath.unwrap();
    change(&mut profile);
    let mut card = OathCard::new(&profile, false, Entropy::seeded(3, "card"), mode);
    assert_eq!(send(&mut card, 0xa4, 4, 0, AID).1, 0x9000);
    card
}

fn card() -> OathCard {
    card_of(|_| (), TouchMode::Auto)
}

fn split(response: &[u8]) -> (Vec<u8>, u16) {
    let (body, status) = response.split_at(response.len() - 2);
    (body.to_vec(), u16::from_be_bytes([status[0], status[1]]))
}

fn send(card: &mut OathCard, ins: u8, p1: u8, p2: u8, data: &[u8]) -> (Vec<u8>, u16) {
    let mut apdu = vec![0, ins, p1, p2];
    if !data.is_empty() {
        apdu.push(u8::try_from(data.len()).unwrap());
        apdu.extend(data);
    }
    match card.command(&apdu, 0) {
        Reply::Response(response) => split(&response),
        other => panic!("{other:?}"),
    }
}

fn elements(parts: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, value) in parts {
        tlv::push(&mut out, *tag, value);
    }
    out
}

fn put(card: &mut OathCard, name: &[u8], kind: u8, digits: u8, extra: &[u8]) -> u16 {
    let key = [&[kind, digits][..], SECRET].concat();
    let data = [elements(&[(0x71, name), (0x73, &key)]), extra.to_vec()].concat();
    send(card, 0x01, 0, 0, &data).1
}

fn calculate(card: &mut OathCard, name: &[u8], challenge: &[u8]) -> (Vec<u8>, u16) {
    send(card, 0xa2, 0, 1, &elements(&[(0x71, name), (0x74, challenge)]))
}

/// A truncated answer as a display would show it.
fn code(answer: &[u8]) -> String {
    let mut rest = answer;
    let (0x76, [digits, word @ ..]) = tlv::take(&mut rest).unwrap() else {
        panic!("{answer:?}")
    };
    let value = u32::from_be_bytes(word.try_into().unwrap());
    format!(
        "{:0width$}",
        value % 10_u32.pow(u32::from(*digits)),
        width = usize::from(*digits)
    )
}

#[test]
fn nothing_else_lives_on_the_card() {
    let mut card = card();
    for aid in [
        &[0xa0, 0, 0, 6, 0x47, 0x2f, 0, 1][..],
        &[0xa0, 0, 0, 5, 0x27, 0x47, 0x11, 0x17],
        &[0xa0],
    ] {
        assert_eq!(send(&mut card, 0xa4, 4, 0, aid).1, 0x6a82);
        assert_eq!(send(&mut card, 0xa1, 0, 0, &[]).1, 0x6d00);
    }
    let (body, status) = send(&mut card, 0xa4, 4, 0, AID);
    assert_eq!((status, &body[..5]), (0x9000, &[0x79, 3, 5, 4, 3][..]));
    assert_eq!(body.len(), 5 + 10);
    assert_eq!(send(&mut card, 0x77, 0, 0, &[]).1, 0x6d00);
}

#[test]
fn totp_and_hotp_come_out_as_the_rfcs_say() {
    let mut card = card();
    assert_eq!(put(&mut card, b"t", 0x21, 8, &[]), 0x9000);
    assert_eq!(put(&mut card, b"h", 0x11, 6, &[0x7a, 4, 0, 0, 0, 5]), 0x9000);
    let (answer, status) = calculate(&mut card, b"t", &1_u64.to_be_bytes());
    assert_eq!((status, code(&answer)), (0x9000, "94287082".to_owned()));
    assert_eq!(code(&answer), totp(Hash::Sha1, SECRET, 59, 30, 8));
    for counter in 5..8 {
        assert_eq!(
            code(&calculate(&mut card, b"h", &[]).0),
            hotp(Hash::Sha1, SECRET, counter, 6)
        );
    }
    // The whole HMAC, when truncation is not asked for.
    let (full, _) = send(
        &mut card,
        0xa2,
        0,
        0,
        &elements(&[(0x71, b"t"), (0x74, &1_u64.to_be_bytes())]),
    );
    assert_eq!(full[3..], crypto::hmac_sha1(SECRET, &1_u64.to_be_bytes()));
    let (all, status) = send(&mut card, 0xa4, 0, 1, &elements(&[(0x74, &1_u64.to_be_bytes())]));
    assert_eq!(status, 0x9000);
    let mut rest = all.as_slice();
    assert_eq!(tlv::take(&mut rest), Some((0x71, &b"t"[..])));
    assert_eq!(tlv::take(&mut rest).map(|(tag, _)| tag), Some(0x76));
    assert_eq!(tlv::take(&mut rest), Some((0x71, &b"h"[..])));
    assert_eq!(tlv::take(&mut rest), Some((0x77, &[6][..])));
}

#[test]
fn credentials_are_replaced_renamed_listed_and_deleted() {
    let mut card = card();
    assert_eq!(put(&mut card, b"a", 0x21, 6, &[]), 0x9000);
    assert_eq!(put(&mut card, b"a", 0x22, 8, &[]), 0x9000);
    assert_eq!(send(&mut card, 0xa1, 0, 0, &[]).0, [0x72, 2, 0x22, b'a']);
    assert_eq!(
        send(&mut card, 0x05, 0, 0, &elements(&[(0x71, b"a"), (0x71, b"b")])).1,
        0x9000
    );
    assert_eq!(send(&mut card, 0x02, 0, 0, &elements(&[(0x71, b"a")])).1, 0x6984);
    assert_eq!(calculate(&mut card, b"a", &[0; 8]).1, 0x6984);
    assert_eq!(send(&mut card, 0x02, 0, 0, &elements(&[(0x71, b"b")])).1, 0x9000);
    assert_eq!(card.credential_count(), 0);
}

#[test]
fn bad_data_is_refused_and_a_full_card_says_so() {
    let mut card = card();
    assert_eq!(put(&mut card, b"", 0x21, 6, &[]), 0x6a80);
    assert_eq!(put(&mut card, &[b'n'; 65], 0x21, 6, &[]), 0x6a80);
    assert_eq!(put(&mut card, b"n", 0x31, 6, &[]), 0x6a80);
    assert_eq!(put(&mut card, b"n", 0x24, 6, &[]), 0x6a80);
    assert_eq!(put(&mut card, b"n", 0x21, 3, &[]), 0x6a80);
    assert_eq!(put(&mut card, b"n", 0x21, 6, &[0x7a, 3, 0, 0, 0]), 0x6a80);
    assert_eq!(send(&mut card, 0x01, 0, 0, &[0x71, 200, 1]).1, 0x6a80);
    for number in 0..32 {
        assert_eq!(put(&mut card, &[number + 1], 0x21, 6, &[]), 0x9000);
    }
    assert_eq!(put(&mut card, b"zz", 0x21, 6, &[]), 0x6a84);
    assert_eq!(send(&mut card, 0x04, 0, 0, &[]).1, 0x6a86);
    assert_eq!(send(&mut card, 0x04, 0xde, 0xad, &[]).1, 0x9000);
    assert_eq!(card.credential_count(), 0);
}

#[test]
fn a_long_list_comes_in_pieces() {
    let mut card = card();
    for number in 0..20_u8 {
        assert_eq!(
            put(
                &mut card,
                &[[b'x'; 40].as_slice(), &[b'a' + number]].concat(),
                0x21,
                6,
                &[]
            ),
            0x9000
        );
    }
    let (mut list, mut status) = send(&mut card, 0xa1, 0, 0, &[]);
    let mut pieces = 1;
    while status >> 8 == 0x61 {
        let (more, next) = send(&mut card, 0xa5, 0, 0, &[]);
        list.extend(more);
        status = next;
        pieces += 1;
    }
    assert_eq!((status, list.len(), pieces), (0x9000, 20 * 44, 4));
}

#[test]
fn a_password_shuts_the_applet() {
    let mut card = card();
    assert_eq!(put(&mut card, b"a", 0x21, 6, &[]), 0x9000);
    let key = [9_u8; 16];
    let proof = crypto::hmac_sha1(&key, &[5; 8]);
    let coded = [&[0x21][..], &key].concat();
    assert_eq!(
        send(
            &mut card,
            0x03,
            0,
            0,
            &elements(&[(0x73, &coded), (0x74, &[5; 8]), (0x75, &[0; 20])])
        )
        .1,
        0x6a80
    );
    assert_eq!(
        send(
            &mut card,
            0x03,
            0,
            0,
            &elements(&[(0x73, &coded), (0x74, &[5; 8]), (0x75, &proof)])
        )
        .1,
        0x9000
    );
    assert_eq!(send(&mut card, 0xa1, 0, 0, &[]).1, 0x9000);

    let (hello, _) = send(&mut card, 0xa4, 4, 0, AID);
    let mut rest = hello.as_slice();
    tlv::take(&mut rest);
    tlv::take(&mut rest);
    let challenge = tlv::expect(&mut rest, 0x74).unwrap().to_vec();
    assert_eq!(send(&mut card, 0xa1, 0, 0, &[]).1, 0x6982);
    assert_eq!(calculate(&mut card, b"a", &[0; 8]).1, 0x6982);
    let wrong = elements(&[(0x75, &[0; 20]), (0x74, &[6; 8])]);
    assert_eq!(send(&mut card, 0xa3, 0, 0, &wrong).1, 0x6a80);
    let right = elements(&[(0x75, &crypto::hmac_sha1(&key, &challenge)), (0x74, &[6; 8])]);
    let (answer, status) = send(&mut card, 0xa3, 0, 0, &right);
    assert_eq!(
        (status, &answer[2..]),
        (0x9000, crypto::hmac_sha1(&key, &[6; 8]).as_slice())
    );
    assert_eq!(send(&mut card, 0xa1, 0, 0, &[]).1, 0x9000);
    // The power takes the validation away; a reset takes the password.
    card.power_cycle();
    send(&mut card, 0xa4, 4, 0, AID);
    assert_eq!(send(&mut card, 0xa1, 0, 0, &[]).1, 0x6982);
    assert_eq!(send(&mut card, 0x04, 0xde, 0xad, &[]).1, 0x9000);
    assert_eq!(send(&mut card, 0xa1, 0, 0, &[]).1, 0x9000);
}

#[test]
fn a_touch_credential_waits() {
    let mut card = card_of(|_| (), TouchMode::Manual);
    assert_eq!(put(&mut card, b"t", 0x21, 6, &[0x78, 0x02]), 0x9000);
    let (all, _) = send(&mut card, 0xa4, 0, 1, &elements(&[(0x74, &[0; 8])]));
    assert_eq!(all, [0x71, 1, b't', 0x7c, 1, 6]);
    let apdu = [
        &[0, 0xa2, 0, 1, 13][..],
        &elements(&[(0x71, b"t"), (0x74, &1_u64.to_be_bytes())]),
    ]
    .concat();
    assert_eq!(card.command(&apdu, 1_000), Reply::NeedsTouch);
    assert!(card.wants_touch());
    let (answer, status) = split(&card.touch().unwrap());
    assert_eq!((status, code(&answer)), (0x9000, "287082".to_owned()));
    assert_eq!(card.command(&apdu, 1_000), Reply::NeedsTouch);
    assert_eq!(card.tick(15_999), None);
    assert_eq!(card.tick(16_000), Some(vec![0x69, 0x82]));
}

#[test]
fn canokey_has_its_own_ways() {
    let mut card = card_of(
        |profile| profile.dialect = hw_fixtures::profile::Dialect::Canokey,
        TouchMode::Auto,
    );
    assert_eq!(put(&mut card, b"h", 0x11, 6, &[0x7a, 4, 0, 0, 0, 5]), 0x9000);
    assert_eq!(put(&mut card, b"h", 0x11, 6, &[]), 0x6985);
    assert_eq!(code(&calculate(&mut card, b"h", &[]).0), hotp(Hash::Sha1, SECRET, 6, 6));
    assert_eq!(send(&mut card, 0x04, 0xde, 0xad, &[]).1, 0x6d00);
}

#[test]
fn old_firmware_lacks_what_came_later() {
    let mut card = card_of(|profile| profile.version = [4, 2, 3], TouchMode::Auto);
    assert_eq!(put(&mut card, b"a", 0x23, 6, &[]), 0x6a80);
    assert_eq!(put(&mut card, b"a", 0x21, 6, &[0x78, 0x02]), 0x6a80);
    assert_eq!(put(&mut card, b"a", 0x22, 6, &[]), 0x9000);
    assert_eq!(
        send(&mut card, 0x05, 0, 0, &elements(&[(0x71, b"a"), (0x71, b"b")])).1,
        0x6d00
    );
}

#[test]
fn each_model_has_its_room_and_its_lacks() {
    let of = |name: &str| Profile::named(name).unwrap().oath.unwrap();
    for (name, slots, sha512, rename, touch) in [
        ("yubikey-neo", 32, 0x6a80, 0x6d00, 0x6a80),
        ("yubikey-4", 32, 0x9000, 0x6d00, 0x9000),
        ("yubikey-5", 32, 0x9000, 0x9000, 0x9000),
        ("yubikey-5-7", 64, 0x9000, 0x9000, 0x9000),
        ("solo-2-oath", 50, 0x6a80, 0x6d00, 0x9000),
        ("canokey", 100, 0x9000, 0x9000, 0x9000),
        ("nitrokey-3-secrets", 50, 0x6a80, 0x6d00, 0x9000),
    ] {
        let mut card = card_of(|profile| *profile = of(name), TouchMode::Auto);
        assert_eq!(put(&mut card, b"l", 0x23, 6, &[]), sha512, "{name}");
        assert_eq!(put(&mut card, b"t", 0x21, 6, &[0x78, 2]), touch, "{name}");
        assert_eq!(put(&mut card, b"a", 0x21, 6, &[]), 0x9000, "{name}");
        let renamed = send(&mut card, 0x05, 0, 0, &elements(&[(0x71, b"a"), (0x71, b"b")]));
        assert_eq!(renamed.1, rename, "{name}");
        let mut number = 0_u8;
        while card.credential_count() < slots {
            number += 1;
            assert_eq!(put(&mut card, &[b'#', number], 0x21, 6, &[]), 0x9000, "{name}");
        }
        assert_eq!(put(&mut card, b"zz", 0x21, 6, &[]), 0x6a84, "{name}");
    }
}

#[test]
fn the_neo_takes_short_apdus_and_asks_for_its_new_password() {
    let of = Profile::named("yubikey-neo").unwrap().oath.unwrap();
    let mut card = card_of(|profile| *profile = of, TouchMode::Auto);
    let extended = [0, 0xa4, 4, 0, 0, 0, 7, 0xa0, 0, 0, 5, 0x27, 0x21, 1];
    assert_eq!(card.command(&extended, 0), Reply::Response(vec![0x67, 0]));
    let key = [9_u8; 16];
    let proof = crypto::hmac_sha1(&key, &[5; 8]);
    let code = elements(&[(0x73, &[&[0x21][..], &key].concat()), (0x74, &[5; 8]), (0x75, &proof)]);
    assert_eq!(send(&mut card, 0x03, 0, 0, &code).1, 0x9000);
    assert_eq!(send(&mut card, 0xa1, 0, 0, &[]).1, 0x6982);
}

#[test]
fn only_increasing_challenges_are_computed() {
    let mut card = card();
    assert_eq!(put(&mut card, b"i", 0x21, 6, &[0x78, 0x01]), 0x9000);
    assert_eq!(calculate(&mut card, b"i", &5_u64.to_be_bytes()).1, 0x9000);
    assert_eq!(calculate(&mut card, b"i", &4_u64.to_be_bytes()).1, 0x6985);
    assert_eq!(calculate(&mut card, b"i", &5_u64.to_be_bytes()).1, 0x9000);
    assert_eq!(calculate(&mut card, b"i", &6_u64.to_be_bytes()).1, 0x9000);
}

#[test]
fn a_reset_makes_another_device_of_it() {
    let mut card = card();
    let salt = |card: &mut OathCard| send(card, 0xa4, 4, 0, AID).0[7..15].to_vec();
    let before = salt(&mut card);
    assert_eq!(salt(&mut card), before);
    assert_eq!(send(&mut card, 0x04, 0xde, 0xad, &[]).1, 0x9000);
    assert_ne!(salt(&mut card), before);
}

#[test]
fn a_hostile_listing_has_no_end() {
    let mut card = card_of(|profile| profile.endless_listing = true, TouchMode::Auto);
    assert_eq!(send(&mut card, 0xa1, 0, 0, &[]).1 >> 8, 0x61);
    for _ in 0..10_000 {
        let (piece, status) = send(&mut card, 0xa5, 0, 0, &[]);
        assert_eq!((piece.len(), status >> 8), (256, 0x61));
    }
    // Any other command ends it.
    assert_eq!(send(&mut card, 0xa4, 4, 0, AID).1, 0x9000);
}

/// Sends, and touches where the card waits for it.
fn touched(card: &mut OathCard, ins: u8, data: &[u8]) -> u16 {
    let apdu = [&[0, ins, 0, 0, u8::try_from(data.len()).unwrap()], data].concat();
    assert_eq!(card.command(&apdu, 0), Reply::NeedsTouch, "{ins:02x}");
    split(&card.touch().unwrap()).1
}

#[test]
fn nitrokey_asks_for_touches_and_its_own_pin() {
    let of = Profile::named("nitrokey-3-secrets").unwrap().oath.unwrap();
    let mut card = card_of(|profile| *profile = of, TouchMode::Manual);
    let put = |name: &[u8], property: u8| {
        let key = [&[0x21, 6][..], SECRET].concat();
        [elements(&[(0x71, name), (0x73, &key)]), vec![0x78, property]].concat()
    };
    // No password, and no PIN yet.
    for absent in [0x03, 0xa3, 0x05, 0x55] {
        assert_eq!(send(&mut card, absent, 0, 0, &[]).1, 0x6d00);
    }
    assert_eq!(send(&mut card, 0xb2, 0, 0, &elements(&[(0x80, b"1")])).1, 0x6985);
    assert_eq!(touched(&mut card, 0x01, &put(b"open", 0)), 0x9000);
    assert_eq!(send(&mut card, 0x01, 0, 0, &put(b"open", 0)).1, 0x6983);
    assert_eq!(send(&mut card, 0x01, 0, 0, &put(b"shut", 4)).1, 0x6982);
    assert_eq!(touched(&mut card, 0xb4, &elements(&[(0x80, b"1234")])), 0x9000);
    let pin = elements(&[(0x80, b"1234")]);
    assert_eq!(send(&mut card, 0xb2, 0, 0, &pin).1, 0x9000);
    assert_eq!(touched(&mut card, 0x01, &put(b"shut", 4)), 0x9000);
    // What is behind the PIN is not there, until the command after it was verified.
    let open = [&[0x72, 5, 0x21][..], b"open"].concat();
    assert_eq!(send(&mut card, 0xa1, 0, 0, &[]).0, open);
    let challenge = 1_u64.to_be_bytes();
    assert_eq!(calculate(&mut card, b"shut", &challenge).1, 0x6a82);
    assert_eq!(send(&mut card, 0xb2, 0, 0, &pin).1, 0x9000);
    let (answer, status) = calculate(&mut card, b"shut", &challenge);
    assert_eq!((status, code(&answer)), (0x9000, "287082".to_owned()));
    assert_eq!(calculate(&mut card, b"shut", &challenge).1, 0x6a82);
    assert_eq!(send(&mut card, 0xb2, 0, 0, &pin).1, 0x9000);
    let (listed, _) = send(&mut card, 0xa1, 0, 0, &[1]);
    assert_eq!(
        listed,
        [&[0x72, 6, 0x21][..], b"open\x00", &[0x72, 6, 0x21], b"shut\x04"].concat()
    );
    // Eight tries; SELECT tells what is left; a reset is all that helps then.
    for left in (0..8).rev() {
        assert_eq!(send(&mut card, 0xb2, 0, 0, &elements(&[(0x80, b"0000")])).1, 0x6300);
        let (hello, _) = send(&mut card, 0xa4, 4, 0, AID);
        assert_eq!(hello[15..18], [0x82, 1, left]);
    }
    assert_eq!(send(&mut card, 0xb2, 0, 0, &pin).1, 0x6983);
    assert_eq!(touched(&mut card, 0x02, &elements(&[(0x71, b"open")])), 0x9000);
    assert_eq!(send(&mut card, 0x02, 0, 0, &elements(&[(0x71, b"open")])).1, 0x6a82);
    assert_eq!(card.command(&[0, 0x04, 0xde, 0xad], 0), Reply::NeedsTouch);
    assert_eq!(split(&card.touch().unwrap()).1, 0x9000);
    assert_eq!(card.credential_count(), 0);
    assert_eq!(card.command(&[0, 0x04, 0xde, 0xad], 0), Reply::NeedsTouch);
    assert_eq!(card.tick(14_999), None);
    assert_eq!(card.tick(15_000), Some(vec![0x69, 0x82]));
}

#[test]
fn nitrokey_keeps_passwords_and_checks_codes() {
    let of = Profile::named("nitrokey-3-secrets").unwrap().oath.unwrap();
    let mut card = card_of(|profile| *profile = of, TouchMode::Auto);
    let entry = elements(&[(0x71, b"web"), (0x83, b"alice"), (0x84, b"secret")]);
    assert_eq!(send(&mut card, 0x01, 0, 0, &entry).1, 0x9000);
    let update = elements(&[(0x71, b"web"), (0x71, b"shop"), (0x85, b"note")]);
    assert_eq!(send(&mut card, 0xb7, 0, 0, &update).1, 0x9000);
    let (read, status) = send(&mut card, 0xb5, 0, 0, &elements(&[(0x71, b"shop")]));
    let expected = elements(&[
        (0x71, b"shop"),
        (0x83, b"alice"),
        (0x84, b"secret"),
        (0x85, b"note"),
        (0x78, &[0]),
    ]);
    assert_eq!((status, read), (0x9000, expected));
    assert_eq!(put(&mut card, b"r", 0x31, 6, &[]), 0x9000);
    assert_eq!(calculate(&mut card, b"r", &[]).1, 0x6985);
    let verify = |card: &mut OathCard, counter: u64| {
        let code: u32 = hotp(Hash::Sha1, SECRET, counter, 6).parse().unwrap();
        send(
            card,
            0xb1,
            0,
            0,
            &elements(&[(0x71, b"r"), (0x75, &code.to_be_bytes())]),
        )
        .1
    };
    assert_eq!(verify(&mut card, 9), 0x6300);
    assert_eq!(verify(&mut card, 8), 0x9000);
    assert_eq!(verify(&mut card, 8), 0x6300);
}

/// Sequences of commands of one length byte each, as another applet's fuzzer left them, against every model.
#[test]
fn another_applets_fuzz_corpus_is_answered() {
    let shared = std::env::var_os("CLAVIGER_SHARED_DATA").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        std::path::PathBuf::from,
    );
    let place = shared.join("fuzz-seeds/oath");
    let Ok(files) = std::fs::read_dir(&place) else {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "OATH fuzz seeds: skipped, no {}", place.display());
        return;
    };
    let models = Profile::names()
        .filter_map(|name| Profile::named(name).unwrap().oath)
        .collect::<Vec<_>>();
    let (mut read, mut answered) = (0, 0_u64);
    for file in files {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        read += 1;
        for model in &models {
            let mut card = card_of(|profile| *profile = model.clone(), TouchMode::Auto);
            let mut rest = bytes.as_slice();
            while let Some((length, tail)) = rest.split_first() {
                let (apdu, tail) = tail.split_at(tail.len().min(usize::from(*length)));
                rest = tail;
                let mut reply = card.command(apdu, 0);
                // What is left is fetched to its end, which only the hostile card withholds.
                for _ in 0..1_000 {
                    answered += 1;
                    match reply {
                        Reply::Response(response) if response[response.len() - 2] == 0x61 => {
                            assert!(response.len() <= 258);
                            reply = card.command(&[0, 0xa5, 0, 0], 0);
                        }
                        Reply::Response(response) => {
                            assert!(response.len() >= 2);
                            break;
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            assert!(card.credential_count() <= model.slots);
        }
    }
    assert!(read > 100, "{read} files");
    assert!(answered > 10_000, "{answered} commands");
}

#[test]
fn command_chaining_joins_its_parts() {
    let mut card = card();
    let key = [&[0x21, 6][..], SECRET].concat();
    let data = elements(&[(0x71, b"chained"), (0x73, &key)]);
    let (first, second) = data.split_at(10);
    let part = |class: u8, part: &[u8]| [&[class, 0x01, 0, 0, u8::try_from(part.len()).unwrap()], part].concat();
    assert_eq!(card.command(&part(0x10, first), 0), Reply::Response(vec![0x90, 0]));
    assert_eq!(card.command(&part(0x00, second), 0), Reply::Response(vec![0x90, 0]));
    assert_eq!(
        send(&mut card, 0xa1, 0, 0, &[]).0,
        [&[0x72, 8, 0x21][..], b"chained"].concat()
    );
}

proptest! {
    #[test]
    fn any_apdu_is_answered(apdu in proptest::collection::vec(any::<u8>(), 0..80), ins in any::<u8>()) {
        let mut card = card();
        put(&mut card, b"a", 0x21, 6, &[]);
        for apdu in [apdu.clone(), [&[0, ins, 0, 0][..], &apdu].concat()] {
            if let Reply::Response(response) = card.command(&apdu, 0) {
                prop_assert!(response.len() >= 2);
            }
        }
    }
}
