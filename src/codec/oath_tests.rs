//! RFC 4226 appendix D and RFC 6238 appendix B in full, and the edges.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

fn parameters(algorithm: OathAlgorithm, digits: u8) -> OathParameters {
    OathParameters::new(algorithm, digits, 30).unwrap()
}

/// The ASCII digits 1 to 0 repeated: the secret of both standards (RFC 6238 errata 2866 for the longer hashes).
fn standard_seed(length: usize) -> Secret {
    Secret::new(b"1234567890".iter().copied().cycle().take(length).collect())
}

#[test]
fn rfc_4226_appendix_d() {
    // Count, truncated decimal value, HOTP.
    let table: [(u64, u32, &str); 10] = [
        (0, 1_284_755_224, "755224"),
        (1, 1_094_287_082, "287082"),
        (2, 137_359_152, "359152"),
        (3, 1_726_969_429, "969429"),
        (4, 1_640_338_314, "338314"),
        (5, 868_254_676, "254676"),
        (6, 1_918_287_922, "287922"),
        (7, 82_162_583, "162583"),
        (8, 673_399_871, "399871"),
        (9, 645_520_489, "520489"),
    ];
    for (count, truncated, expected) in table {
        let code = code_at_step(&standard_seed(20), &OathParameters::default(), count).unwrap();
        assert_eq!(code.expose(), expected, "count {count}");
        assert_eq!(
            Code::from_truncated(truncated, 6).unwrap().expose(),
            expected,
            "count {count}"
        );
        // Bit 31 is cut off by the standard.
        assert!(Code::from_truncated(truncated | 0x8000_0000, 6).unwrap() == code);
    }
}

#[test]
fn rfc_6238_appendix_b() {
    // Seconds since the epoch, SHA-1, SHA-256, SHA-512; eight digits, 30 s.
    let table = [
        (59, "94287082", "46119246", "90693936"),
        (1_111_111_109, "07081804", "68084774", "25091201"),
        (1_111_111_111, "14050471", "67062674", "99943326"),
        (1_234_567_890, "89005924", "91819424", "93441116"),
        (2_000_000_000, "69279037", "90698825", "38618901"),
        (20_000_000_000, "65353130", "77737706", "47863826"),
    ];
    for (seconds, sha1, sha256, sha512) in table {
        let time = UnixMillis(seconds * 1000);
        for (algorithm, length, expected) in [
            (OathAlgorithm::Sha1, 20, sha1),
            (OathAlgorithm::Sha256, 32, sha256),
            (OathAlgorithm::Sha512, 64, sha512),
        ] {
            let parameters = parameters(algorithm, 8);
            let code = code_at_step(&standard_seed(length), &parameters, parameters.step_at(time)).unwrap();
            assert_eq!(code.expose(), expected, "{algorithm} at {seconds}");
        }
    }
}

#[test]
fn steps_and_times() {
    let parameters = OathParameters::default();
    assert_eq!(parameters.step_at(UnixMillis(59_999)), 1);
    assert_eq!(parameters.step_at(UnixMillis(60_000)), 2);
    assert_eq!(parameters.step_at(UnixMillis(-1)), 0);
    assert_eq!(parameters.start_of(2), UnixMillis(60_000));
    assert_eq!(parameters.middle_of(2), UnixMillis(75_000));
    assert_eq!(parameters.middle_of(u64::MAX).0, i64::MAX);
    assert_eq!(
        OathParameters::new(OathAlgorithm::Sha1, 6, 1).unwrap().middle_of(7),
        UnixMillis(7_500)
    );
}

#[test]
fn parameters_are_checked() {
    for digits in [0, 5, 9, 10, 255] {
        assert_eq!(
            OathParameters::new(OathAlgorithm::Sha1, digits, 30),
            Err(OathError::Digits(digits))
        );
        assert_eq!(Code::from_truncated(1, digits).unwrap_err(), OathError::Digits(digits));
    }
    for period in [0, MAX_PERIOD_S + 1, u32::MAX] {
        assert_eq!(
            OathParameters::new(OathAlgorithm::Sha1, 6, period),
            Err(OathError::Period(period))
        );
    }
    for length in [0, MIN_SEED_LEN - 1, MAX_SEED_LEN + 1] {
        let made = Generator::new(&Secret::new(vec![7; length]), OathParameters::default());
        assert_eq!(made.err(), Some(OathError::SeedLength(length)));
    }
    // Ten-byte seeds are in use, whatever RFC 4226 wishes.
    assert!(Generator::new(&Secret::new(vec![7; 10]), OathParameters::default()).is_ok());
}

#[test]
fn codes_as_people_type_them() {
    assert_eq!(Code::parse("123456").unwrap().expose(), "123456");
    assert_eq!(Code::parse(" 012 345 ").unwrap().expose(), "012345");
    assert_eq!(Code::parse("0123-4567").unwrap().expose(), "01234567");
    for wrong in [
        "",
        "12345",
        "123456789",
        "12345a",
        "+12345",
        "１２３４５６",
        "12\u{0}456",
        &"1".repeat(1000),
        &" ".repeat(40),
    ] {
        assert_eq!(Code::parse(wrong).unwrap_err(), OathError::Malformed, "{wrong:?}");
    }
}

#[test]
fn codes_compare_whole_and_never_print() {
    let code = Code::parse("123456").unwrap();
    assert!(code == Code::parse("123 456").unwrap());
    assert!(code != Code::parse("123457").unwrap());
    assert!(code != Code::parse("1234560").unwrap(), "a prefix is another code");
    assert_eq!(format!("{code:?}"), "Code(6 digits)");
}

#[test]
fn a_generator_counts_its_work() {
    let generator = Generator::new(&standard_seed(20), OathParameters::default()).unwrap();
    assert_eq!(generator.computed(), 0);
    assert_eq!(generator.code(1).expose(), "287082");
    assert_eq!(generator.code(u64::MAX).digits(), 6);
    assert_eq!(generator.computed(), 2);
}

proptest! {
    #![proptest_config(Config { rng_seed: RngSeed::Fixed(0x4226), failure_persistence: None, ..Config::default() })]

    #[test]
    fn parsing_keeps_the_digits(text in "[0-9 -]{0,40}") {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let fits = (6..=8).contains(&digits.len()) && text.len() <= 32;
        prop_assert_eq!(Code::parse(&text).ok().map(|code| code.expose().to_owned()), fits.then_some(digits));
    }

    #[test]
    fn parsing_never_panics(text in ".*") {
        let _ = Code::parse(&text);
    }

    /// The other implementation there is, under keys of every length and on any counter.
    #[test]
    fn codes_are_those_of_totp_rs(
        seed in prop::collection::vec(any::<u8>(), MIN_SEED_LEN..=MAX_SEED_LEN),
        step: u64,
        digits in 6_u8..=8,
        algorithm in prop::sample::select(vec![OathAlgorithm::Sha1, OathAlgorithm::Sha256, OathAlgorithm::Sha512]),
    ) {
        let theirs = totp_rs::Builder::new()
            .with_algorithm(match algorithm {
                OathAlgorithm::Sha1 => totp_rs::Algorithm::SHA1,
                OathAlgorithm::Sha256 => totp_rs::Algorithm::SHA256,
                OathAlgorithm::Sha512 => totp_rs::Algorithm::SHA512,
            })
            .with_digits(digits)
            // A second a step: then its time is the moving factor itself.
            .with_step_duration(1)
            .with_secret(seed.clone())
            .build_noncompliant()
            .generate(step);
        let ours = Generator::new(&Secret::new(seed), parameters(algorithm, digits)).unwrap();
        let code = ours.code(step);
        prop_assert_eq!(code.expose(), theirs.to_string());
    }

    #[test]
    fn a_step_shows_its_code_and_no_other(step: u64, digits in 6_u8..=8, other: u32) {
        let generator = Generator::new(&standard_seed(20), parameters(OathAlgorithm::Sha1, digits)).unwrap();
        let code = generator.code(step);
        let others = (6..=8).map(|digits| Code::from_truncated(other, digits).unwrap());
        let codes: Vec<Code> = others.chain([code]).collect();
        let numbers: Vec<Number> = codes.iter().map(Number::from).collect();
        let shown = generator.code(step);
        let expected = codes.iter().enumerate().fold(0, |bits, (at, code)| bits | u8::from(*code == shown) << at);
        prop_assert_eq!(generator.shows(step, &numbers), expected);
        prop_assert_eq!(generator.computed(), 3);
    }

    #[test]
    fn every_code_has_its_length(value: u32, digits in 6_u8..=8) {
        let code = Code::from_truncated(value, digits).unwrap();
        prop_assert_eq!(code.expose().len(), usize::from(digits));
        prop_assert_eq!(code.expose().parse::<u32>().unwrap(), (value & 0x7FFF_FFFF) % 10_u32.pow(digits.into()));
    }
}
