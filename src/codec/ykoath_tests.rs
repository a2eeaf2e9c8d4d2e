//! Commands byte for byte; responses good, bad and random. Expected keys and proofs were computed with Python's `hashlib`.

use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;
use crate::codec::iso7816::Command;
use crate::codec::oath::OathParameters;

fn name(text: &str) -> CredentialName {
    CredentialName::new(text).unwrap()
}

fn parameters(algorithm: OathAlgorithm) -> OathParameters {
    OathParameters::new(algorithm, 6, 30).unwrap()
}

fn sent(command: &Command) -> Vec<u8> {
    [&[command.cla, command.ins, command.p1, command.p2][..], &command.data].concat()
}

fn put_data(algorithm: OathAlgorithm, seed: &[u8], properties: Properties) -> Vec<u8> {
    let seed = Secret::new(seed.to_vec());
    put(
        &name("a"),
        CredentialType::Totp,
        &parameters(algorithm),
        &seed,
        properties,
    )
    .unwrap()
    .data
    .to_vec()
}

const LOCKED: &[u8] = &[
    0x79, 3, 5, 4, 3, 0x71, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x74, 8, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x7B,
    1, 1,
];
const PROOF_OF_ELEVENS: &str = "32239dda42792ffc30cd2ee37c524052ae7fa0a2";
const PROOF_OF_COUNT: &str = "bb8b96b3ba3e2080087e12f66ced7c410a8f3b87";

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

#[test]
fn commands_without_a_key() {
    assert_eq!(sent(&select()), [0, 0xA4, 4, 0, 0xA0, 0, 0, 5, 0x27, 0x21, 1]);
    assert_eq!(sent(&delete(&name("ab"))), [0, 2, 0, 0, 0x71, 2, b'a', b'b']);
    assert_eq!(
        sent(&rename(&name("a"), &name("b"))),
        [0, 5, 0, 0, 0x71, 1, b'a', 0x71, 1, b'b']
    );
    assert_eq!(sent(&list()), [0, 0xA1, 0, 0]);
    assert_eq!(sent(&reset()), [0, 4, 0xDE, 0xAD]);
    assert_eq!(sent(&clear_code()), [0, 3, 0, 0, 0x73, 0]);
    let step = [0x74, 8, 0, 0, 0, 0, 0x03, 0x57, 0x13, 0x71];
    let challenge = 0x0357_1371;
    assert_eq!(
        sent(&calculate(&name("a"), challenge, true)),
        [&[0, 0xA2, 0, 1, 0x71, 1, b'a'][..], &step].concat()
    );
    assert_eq!(
        sent(&calculate(&name("a"), challenge, false)),
        [&[0, 0xA2, 0, 0, 0x71, 1, b'a'][..], &step].concat()
    );
    assert_eq!(
        sent(&calculate_next(&name("a"))),
        [0, 0xA2, 0, 1, 0x71, 1, b'a', 0x74, 0]
    );
    assert_eq!(sent(&calculate_all(challenge)), [&[0, 0xA4, 0, 1][..], &step].concat());
}

#[test]
fn put_writes_name_key_property_and_counter() {
    let plain = put_data(OathAlgorithm::Sha1, &[9; 20], Properties::default());
    assert_eq!(plain, [&[0x71, 1, b'a', 0x73, 22, 0x21, 6][..], &[9; 20]].concat());
    let touch = Properties {
        touch: true,
        ..Properties::default()
    };
    // The property has no length byte.
    assert_eq!(
        put_data(OathAlgorithm::Sha1, &[9; 20], touch),
        [&plain[..], &[0x78, 2]].concat()
    );
    let all = Properties {
        touch: true,
        only_increasing: true,
        initial_counter: Some(258),
    };
    let tail = [0x78, 3, 0x7A, 4, 0, 0, 1, 2];
    assert_eq!(
        put_data(OathAlgorithm::Sha1, &[9; 20], all),
        [&plain[..], &tail].concat()
    );
    let seed = Secret::new(vec![9; 20]);
    let eight = OathParameters::new(OathAlgorithm::Sha512, 8, 60).unwrap();
    let hotp = put(&name("a"), CredentialType::Hotp, &eight, &seed, Properties::default()).unwrap();
    assert_eq!(hotp.data[3..7], [0x73, 22, 0x13, 8]);
}

#[test]
fn put_pads_short_keys_and_hashes_long_ones() {
    let key = |algorithm, seed: &[u8]| put_data(algorithm, seed, Properties::default())[7..].to_vec();
    assert_eq!(key(OathAlgorithm::Sha1, &[9; 10]), [&[9; 10][..], &[0; 4]].concat());
    assert_eq!(key(OathAlgorithm::Sha1, &[5; 64]), [5; 64]);
    assert_eq!(
        key(OathAlgorithm::Sha1, &[5; 65]),
        hex("dec3f1f10434d312bd8c2334867b746ef7e838b3")
    );
    assert_eq!(
        key(OathAlgorithm::Sha256, &[5; 65]),
        hex("71b7cb495ae12bb24a3be3c1a884f4d4a16e83330495fce32c768d11b0ffa40c")
    );
    // 128 bytes are one block of SHA-512; the length needs the long form.
    let long = put_data(OathAlgorithm::Sha512, &[5; 128], Properties::default());
    assert_eq!(
        long,
        [&[0x71, 1, b'a', 0x73, 0x81, 130, 0x23, 6][..], &[5; 128]].concat()
    );
    for length in [0, 129] {
        let seed = Secret::new(vec![1; length]);
        let parameters = parameters(OathAlgorithm::Sha1);
        let refused = put(
            &name("a"),
            CredentialType::Totp,
            &parameters,
            &seed,
            Properties::default(),
        );
        assert_eq!(refused.err(), Some(YkoathError::Seed));
    }
}

#[test]
fn names() {
    assert_eq!(
        CredentialName::totp(Some("Claviger"), "x", 30).unwrap(),
        name("Claviger:x")
    );
    assert_eq!(CredentialName::totp(None, "x", 60).unwrap(), name("60/x"));
    assert_eq!(CredentialName::new(vec![b'n'; 64]).unwrap().as_bytes().len(), 64);
    assert_eq!(CredentialName::new(vec![b'n'; 65]), Err(YkoathError::Name));
    assert_eq!(CredentialName::new(""), Err(YkoathError::Name));
    assert_eq!(CredentialName::new([0xFF]).unwrap().display(), "\u{FFFD}");
}

#[test]
fn select_tells_version_salt_and_lock() {
    let applet = Applet::parse(LOCKED).unwrap();
    assert_eq!(
        (applet.version, applet.salt.as_slice()),
        ([5, 4, 3], &[1, 2, 3, 4, 5, 6, 7, 8][..])
    );
    assert_eq!(applet.challenge.as_deref(), Some(&[0x11; 8][..]));
    assert!(applet.is_locked());
    assert_eq!(applet.device_id(), "ZoQN2hVOihE8Md0K0y9/Og");
    assert!(!Applet::parse(&LOCKED[..15]).unwrap().is_locked());
    // Unknown fields are skipped: a Nitrokey adds its serial.
    assert!(Applet::parse(&[LOCKED, &[0x8F, 4, 0, 0, 0, 1]].concat()).is_ok());
}

#[test]
fn select_that_is_none() {
    let cases: [(&[u8], YkoathError); 8] = [
        (&[], YkoathError::Missing("a version")),
        (&LOCKED[..5], YkoathError::Missing("a salt")),
        (&LOCKED[5..], YkoathError::Missing("a version")),
        (&LOCKED[..10], YkoathError::Truncated),
        (&[0x79], YkoathError::Truncated),
        (&[0x79, 2, 5, 4], YkoathError::Invalid("version")),
        (&[0x79, 3, 5, 4, 3, 0x71, 0], YkoathError::Invalid("salt")),
        (&[0x7B, 1, 2], YkoathError::Invalid("algorithm")),
    ];
    for (data, expected) in cases {
        assert_eq!(Applet::parse(data), Err(expected), "{data:02X?}");
    }
}

#[test]
fn password_proofs() {
    let applet = Applet::parse(LOCKED).unwrap();
    let key = AccessKey::derive(&Secret::new(b"correct horse".to_vec()), &applet);
    assert_eq!(*key.0, *hex("49561f12fb17065dd680fc5a61d740a6"));
    let ours = [0, 1, 2, 3, 4, 5, 6, 7];
    let validate = validate(&key, applet.challenge.as_deref().unwrap(), &ours);
    let expected = [
        &[0, 0xA3, 0, 0, 0x75, 20][..],
        &hex(PROOF_OF_ELEVENS),
        &[0x74, 8],
        &ours,
    ]
    .concat();
    assert_eq!(sent(&validate), expected);
    let mut answer = [&[0x75, 20][..], &hex(PROOF_OF_COUNT)].concat();
    assert!(card_is_genuine(&key, &ours, &answer));
    answer[21] ^= 1;
    assert!(!card_is_genuine(&key, &ours, &answer));
    for wrong in [&[][..], &[0x75, 0], &[0x75, 20, 1], &[0x74, 0]] {
        assert!(!card_is_genuine(&key, &ours, wrong));
    }
    let set = set_code(&key, &ours);
    let head = [
        &[0, 3, 0, 0, 0x73, 17, 0x21][..],
        &hex("49561f12fb17065dd680fc5a61d740a6"),
        &[0x74, 8],
        &ours,
        &[0x75, 20],
    ]
    .concat();
    assert_eq!(sent(&set), [head, hex(PROOF_OF_COUNT)].concat());
}

#[test]
fn listings() {
    let data = [0x72, 2, 0x21, b'a', 0x72, 3, 0x13, b'b', b'c', 0x72, 2, 0x41, b'x'];
    let listed = parse_list(&data).unwrap();
    let expected = [
        Listed {
            name: name("a"),
            kind: CredentialType::Totp,
            algorithm: OathAlgorithm::Sha1,
        },
        Listed {
            name: name("bc"),
            kind: CredentialType::Hotp,
            algorithm: OathAlgorithm::Sha512,
        },
    ];
    assert_eq!(listed, expected);
    assert_eq!(parse_list(&[]).unwrap(), []);
    assert_eq!(parse_list(&[0x72, 0]), Err(YkoathError::Invalid("listing")));
    assert_eq!(parse_list(&[0x72, 1, 0x21]), Err(YkoathError::Invalid("name")));
    assert_eq!(parse_list(&[0x72, 5, 0x21]), Err(YkoathError::Truncated));
    assert_eq!(
        parse_list(&[0x72, 2, 0x21, b'a'].repeat(MAX_CREDENTIALS))
            .unwrap()
            .len(),
        MAX_CREDENTIALS
    );
    assert_eq!(
        parse_list(&[0x72, 2, 0x21, b'a'].repeat(MAX_CREDENTIALS + 1)),
        Err(YkoathError::TooMany)
    );
}

fn code(calculated: Result<Calculated, YkoathError>) -> Result<String, YkoathError> {
    match calculated? {
        Calculated::Code(code) => Ok(code.expose().to_owned()),
        _ => Err(YkoathError::Missing("a code")),
    }
}

#[test]
fn calculated_codes() {
    // RFC 4226 appendix D, count 0: 4C93CF18 truncated.
    assert_eq!(
        code(parse_calculated(&[0x76, 5, 6, 0x4C, 0x93, 0xCF, 0x18])),
        Ok("755224".into())
    );
    assert_eq!(
        code(parse_calculated(&[0x76, 5, 8, 0xCC, 0x93, 0xCF, 0x18])),
        Ok("84755224".into())
    );
    assert!(matches!(
        parse_calculated(&[&[0x75, 21, 6][..], &[1; 20]].concat()),
        Ok(Calculated::Full { digits: 6, .. })
    ));
    assert!(matches!(parse_calculated(&[0x7C, 1, 6]), Ok(Calculated::TouchRequired)));
    let cases: [(&[u8], YkoathError); 6] = [
        (&[], YkoathError::Missing("a code")),
        (&[0x76, 4, 6, 1, 2, 3], YkoathError::Invalid("code")),
        (&[0x76, 5, 5, 1, 2, 3, 4], YkoathError::Invalid("number of digits")),
        (&[0x76, 5, 9, 1, 2, 3, 4], YkoathError::Invalid("number of digits")),
        (&[0x75, 2, 6, 1], YkoathError::Invalid("HMAC")),
        (&[0x76, 200, 6], YkoathError::Truncated),
    ];
    for (data, expected) in cases {
        assert_eq!(parse_calculated(data).err(), Some(expected), "{data:02X?}");
    }
}

#[test]
fn calculated_all() {
    let data = [
        0x71, 1, b'a', 0x76, 5, 6, 0x4C, 0x93, 0xCF, 0x18, 0x71, 1, b'b', 0x77, 1, 6, 0x71, 1, b'c', 0x7C, 1, 6,
    ];
    let all = parse_calculated_all(&data).unwrap();
    assert_eq!(all.iter().map(|(name, _)| name.display()).collect::<String>(), "abc");
    assert!(matches!(all[1].1, Calculated::Hotp));
    assert!(matches!(all[2].1, Calculated::TouchRequired));
    assert_eq!(
        parse_calculated_all(&data[3..]).err(),
        Some(YkoathError::Missing("a name"))
    );
    let many = [0x71, 1, b'b', 0x77, 1, 6].repeat(MAX_CREDENTIALS + 1);
    assert_eq!(parse_calculated_all(&many).err(), Some(YkoathError::TooMany));
}

#[test]
fn status_words_have_meanings() {
    assert_eq!(Refusal::from_status(StatusWord(0x9000)), None);
    for (word, meaning) in [
        (0x6982, Refusal::AuthenticationRequired),
        (0x6984, Refusal::NoSuchObject),
        (0x6A80, Refusal::WrongData),
        (0x6A82, Refusal::NotFound),
        (0x6A84, Refusal::NoSpace),
        (0x6985, Refusal::Conditions),
        (0x6D00, Refusal::NotSupported),
        (0x6E00, Refusal::NotSupported),
        (0x6581, Refusal::Memory),
        (0x6F00, Refusal::Other(StatusWord(0x6F00))),
    ] {
        assert_eq!(Refusal::from_status(StatusWord(word)), Some(meaning), "{word:04X}");
    }
}

/// Runs every decoder of a response over the bytes; none may panic, all must end.
fn decode_everything(data: &[u8]) {
    let _ = Applet::parse(data);
    let _ = parse_list(data);
    let _ = parse_calculated(data);
    let _ = parse_calculated_all(data);
    let applet = Applet {
        version: [5, 4, 3],
        salt: vec![1; 8],
        challenge: None,
        pin_tries: None,
        tells_serial: false,
    };
    thread_local!(static KEY: std::cell::OnceCell<AccessKey> = const { std::cell::OnceCell::new() });
    KEY.with(|key| {
        let key = key.get_or_init(|| AccessKey::derive(&Secret::new(vec![1]), &applet));
        assert!(!card_is_genuine(key, &[1; 8], data));
    });
}

proptest! {
    #![proptest_config(Config { cases: 4_096, rng_seed: RngSeed::Fixed(0x7816), failure_persistence: None, ..Config::default() })]

    #[test]
    fn random_bytes(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode_everything(&data);
    }

    /// Random bytes rarely get past the first field; these do.
    #[test]
    fn random_fields(
        fields in proptest::collection::vec(
            (0x6F_u8..0x80, proptest::collection::vec(any::<u8>(), 0..24), prop_oneof![9 => Just(0_i16), 1 => -3_i16..200]),
            0..20,
        ),
    ) {
        let mut data = Vec::new();
        for (tag, value, lie) in fields {
            data.push(tag);
            data.push(u8::try_from(i16::try_from(value.len()).unwrap() + lie).unwrap_or(0));
            data.extend(value);
        }
        decode_everything(&data);
    }
}

/// Sequences of APDUs that other people's fuzzers found interesting. They are commands, but a hostile card may answer with
/// anything.
#[test]
fn fuzz_seeds() {
    let shared = std::env::var_os("CLAVIGER_SHARED_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let folder = shared.join("fuzz-seeds/oath");
    let Ok(files) = std::fs::read_dir(&folder) else {
        eprintln!(
            "SKIPPED: no fuzz seeds at {}; the random tests cover the same decoders",
            folder.display()
        );
        return;
    };
    let mut decoded = 0;
    for file in files {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        decode_everything(&bytes);
        // Not only from the start: the sequences hold tag-length-value runs at any offset.
        for start in 0..bytes.len().min(1_024) {
            decode_everything(&bytes[start..bytes.len().min(start + 300)]);
            decoded += 1;
        }
    }
    assert!(decoded > 0, "the folder of fuzz seeds is empty");
    eprintln!("decoded {decoded} pieces of fuzz seeds");
}
