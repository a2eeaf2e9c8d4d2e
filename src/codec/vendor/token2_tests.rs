//! SM4 against GM/T 0002-2012; the commands against bytes computed by an implementation that is not ours (the Python package
//! `cryptography`, which uses OpenSSL's SM4).

use proptest::prelude::*;

use super::*;
use crate::codec::iso7816::Encoding;

fn bytes(hex: &str) -> Vec<u8> {
    data_encoding::HEXUPPER_PERMISSIVE
        .decode(hex.replace(' ', "").as_bytes())
        .unwrap()
}

/// The one frame of a command.
fn frame(command: &Command) -> Vec<u8> {
    let mut frames = command.frames(Encoding::Short).unwrap();
    assert_eq!(frames.len(), 1);
    frames.pop_front().unwrap().to_vec()
}

#[test]
fn sm4_known_answers() {
    let key: [u8; 16] = bytes("0123456789ABCDEFFEDCBA9876543210").try_into().unwrap();
    let cipher = Sm4::new(&key.into());
    let mut block = Block::<Sm4>::from(key);
    cipher.encrypt_block(&mut block);
    assert_eq!(block.to_vec(), bytes("681EDF34D206965E86B3E94F536E4246"));
    for _ in 1..1_000_000 {
        cipher.encrypt_block(&mut block);
    }
    assert_eq!(block.to_vec(), bytes("595298C7C6FD271F0402F804C33D3F66"));
}

#[test]
fn plain_commands() {
    assert_eq!(frame(&info()), bytes("80 41 00 00 02 02 11"));
    assert_eq!(frame(&challenge()), bytes("80 4B 08 00 01 00"));
    assert_eq!(frame(&challenge_without_body()), bytes("80 4B 08 00 00"));
}

#[test]
fn authentication() {
    let command = authenticate(&PUBLIC_KEY, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    assert_eq!(frame(&command), bytes("80CE000010C1CD2CF40D508CEDC1274FF1AE4C19F1"));
    assert!(matches!(
        authenticate(&PUBLIC_KEY, &[1; 7]),
        Err(Token2Error::Challenge)
    ));
}

#[test]
fn seeds() {
    let twenty = Secret::new((0..20).collect());
    assert_eq!(
        frame(&write_seed(&PUBLIC_KEY, &twenty).unwrap()),
        bytes("84C5010024B766BFF098C4EB0D7F67AB23463F6F12EF0A21F8A77A897A967A57D05C97E0892BCE0B83")
    );
    // A seed of two whole blocks is followed by a block of padding.
    let thirty_two = Secret::new((0..32).collect());
    let written = frame(&write_seed(&PUBLIC_KEY, &thirty_two).unwrap());
    assert_eq!(written[..5], bytes("84 C5 01 00 34"));
    assert_eq!(
        written,
        bytes(
            "84C5010034B766BFF098C4EB0D7F67AB23463F6F12B830899CFE9DE292CD26D3C7439215CED219EFC9972FED9191DF027FD36A80B0B79E11E8"
        )
    );
    for wrong in [0, 9, 64, 200] {
        assert!(matches!(
            write_seed(&PUBLIC_KEY, &Secret::new(vec![1; wrong])),
            Err(Token2Error::Seed)
        ));
    }
}

#[test]
fn configuration() {
    let config = Config {
        display: DisplayTime::Half,
        utc_s: 1_800_000_000,
        algorithm: OathAlgorithm::Sha1,
        period_s: 30,
    };
    let written = frame(&write_config(&PUBLIC_KEY, &config).unwrap());
    assert_eq!(
        written[..24],
        bytes("84 D4 00 00 17 81 11 1F 01 01 0F 04 6B 49 D2 00 86 06 0A 01 01 0D 01 1E")
    );
    assert_eq!(
        written,
        bytes("84D400001781111F01010F046B49D20086060A01010D011E312AC85D")
    );
    let other = Config {
        display: DisplayTime::Two,
        algorithm: OathAlgorithm::Sha256,
        period_s: 60,
        ..config
    };
    let written = frame(&write_config(&PUBLIC_KEY, &other).unwrap());
    assert_eq!(
        (written[9], written[20], written[23]),
        (3, 2, 0x3C),
        "display, hash, period"
    );
    for (algorithm, period_s, error) in [
        (OathAlgorithm::Sha512, 30, Token2Error::Algorithm),
        (OathAlgorithm::Sha1, 45, Token2Error::Period),
    ] {
        let config = Config {
            algorithm,
            period_s,
            ..config
        };
        assert_eq!(write_config(&PUBLIC_KEY, &config).err(), Some(error));
    }
}

#[test]
fn answers() {
    let mut data = vec![0xAA, 0xBB, 0xCC, 13];
    data.extend_from_slice(b"8659622000001");
    data.extend_from_slice(&[0, 0, 0x6B, 0x49, 0xD2, 0x00]);
    let info = Info::parse(&data).unwrap();
    assert_eq!((info.serial.as_str(), info.utc_s), ("8659622000001", 1_800_000_000));
    assert_eq!(model_of(&info.serial).map(|model| model.name), Some("Token2 OTPC-P2-i"));
    for short in 0..data.len() {
        assert!(Info::parse(&data[..short]).is_err(), "{short} bytes");
    }
    for serial in [&b""[..], b"86 59", b"8659\n", &[b'1'; 33]] {
        let mut data = vec![0, 0, 0, u8::try_from(serial.len()).unwrap()];
        data.extend_from_slice(serial);
        data.extend_from_slice(&[0; 6]);
        assert_eq!(Info::parse(&data), Err(Token2Error::Serial));
    }
}

#[test]
fn models_by_serial() {
    assert_eq!(model_of("8659632123456").map(|m| m.clock_sync), Some(ClockSync::Free));
    assert_eq!(
        model_of("8659600123456").map(|m| m.clock_sync),
        Some(ClockSync::Restricted)
    );
    assert_eq!(model_of("1234567"), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Info::parse(&data);
        let _ = authenticate(&PUBLIC_KEY, &data);
    }
}
