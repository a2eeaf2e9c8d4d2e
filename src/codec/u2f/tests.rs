use data_encoding::HEXLOWER;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::ctap2::{self, Wanted};
use super::*;
use crate::codec::ctap2::assertion::{self, Expected};
use crate::codec::ctap2::cose::CoseKey;
use crate::codec::ctap2::get_info::GetInfo;
use crate::codec::ctap2::status::Status;
use crate::codec::ctap2::{get_assertion, make_credential, sha256};
use crate::codec::iso7816::Encoding;

/// “FIDO U2F Raw Message Formats” 1.2, section 8.1: the answer to a registration.
const REGISTERED: &str = "0504b174bc49c7ca254b70d2e5c207cee9cf174820ebd77ea3c65508c26da51b657c1cc6b952f8621697936482da0a6d3d3826a59095daf6cd7c03e2e60385d2f6d9402a552dfdb7477ed65fd84133f86196010b2215b57da75d315b7b9e8fe2e3925a6019551bab61d16591659cbaf00b4950f7abfe6660e2e006f76868b772d70c253082013c3081e4a003020102020a47901280001155957352300a06082a8648ce3d0403023017311530130603550403130c476e756262792050696c6f74301e170d3132303831343138323933325a170d3133303831343138323933325a3031312f302d0603550403132650696c6f74476e756262792d302e342e312d34373930313238303030313135353935373335323059301306072a8648ce3d020106082a8648ce3d030107034200048d617e65c9508e64bcc5673ac82a6799da3c1446682c258c463fffdf58dfd2fa3e6c378b53d795c4a4dffb4199edd7862f23abaf0203b4b8911ba0569994e101300a06082a8648ce3d0403020347003044022060cdb6061e9c22262d1aac1d96d8c70829b2366531dda268832cb836bcd30dfa0220631b1459f09e6330055722c8d89b7f48883b9089b88d60d1d9795902b30410df304502201471899bcc3987e62e8202c9b39c33c19033f7340352dba80fcab017db9230e402210082677d673d891933ade6f617e5dbde2e247e70423fd5ad7804a6d3d3961ef871";
const REGISTER_CHALLENGE: &str = "4142d21c00d94ffb9d504ada8f99b721f4b191ae4e37ca0140f696b6983cfacb";
const REGISTER_APPLICATION: &str = "f0e6a6a97042a4f1f1c87f5f7d44315b2d852c2df5c7991cc66241bf7072d1c4";
/// The key in the certificate of that example.
const ATTESTATION_KEY: &str = "048d617e65c9508e64bcc5673ac82a6799da3c1446682c258c463fffdf58dfd2fa3e6c378b53d795c4a4dffb4199edd7862f23abaf0203b4b8911ba0569994e101";
/// Section 8.2: an authentication.
const AUTHENTICATED: &str = "0100000001304402204b5f0cd17534cedd8c34ee09570ef542a353df4436030ce43d406de870b847780220267bb998fac9b7266eb60e7cb0b5eabdfd5ba9614f53c7b22272ec10047a923f";
const AUTHENTICATE_CHALLENGE: &str = "ccd6ee2e47baef244d49a222db496bad0ef5b6f93aa7cc4d30c4821b3b9dbc57";
const AUTHENTICATE_APPLICATION: &str = "4b0be934baebb5d12d26011b69227fa5e86df94e7d94aa2949a89f2d493992ca";
const CREDENTIAL_KEY: &str = "04d368f1b665bade3c33a20f1e429c7750d5033660c019119d29aa4ba7abc04aa7c80a46bbe11ca8cb5674d74f31f8a903f6bad105fb6ab74aefef4db8b0025e1d";

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn hash(hex: &str) -> [u8; HASH_LEN] {
    bytes(hex).try_into().unwrap()
}

fn key(point: &str) -> CoseKey {
    CoseKey::parse(&cose(&bytes(point)).unwrap()).unwrap()
}

#[test]
fn the_registration_of_the_standard_is_read_and_its_signature_holds() {
    let told = bytes(REGISTERED);
    let registered = parse_registered(&told).unwrap();
    assert_eq!(registered.credential_id.len(), 64);
    assert_eq!(registered.certificate.len(), 4 + 0x13c);
    let signed = [
        &[0][..],
        &hash(REGISTER_APPLICATION),
        &hash(REGISTER_CHALLENGE),
        &registered.credential_id,
        &told[1..66],
    ]
    .concat();
    assert_eq!(key(ATTESTATION_KEY).verify(&signed, &registered.signature), Ok(()));
    for end in 0..told.len() - 1 {
        // Cut anywhere it is no answer; cut in the signature it is one that does not verify.
        if let Ok(cut) = parse_registered(&told[..end]) {
            assert!(key(ATTESTATION_KEY).verify(&signed, &cut.signature).is_err(), "{end}");
        }
    }
    let mut wrong = told.clone();
    wrong[0] = 4;
    assert_eq!(parse_registered(&wrong), Err(U2fError::Malformed));
    wrong[0] = 5;
    wrong[1] = 3;
    assert_eq!(
        parse_registered(&wrong),
        Err(U2fError::Malformed),
        "a point that is compressed"
    );
}

#[test]
fn the_authentication_of_the_standard_is_an_assertion() {
    let application = hash(AUTHENTICATE_APPLICATION);
    let authenticated = parse_authenticated(&application, &bytes(AUTHENTICATED)).unwrap();
    let response = get_assertion::Response::parse(&ctap2::asserted(b"handle", &authenticated)).unwrap();
    assert_eq!(response.auth_data.sign_count, 1);
    // The application of the example is no hash of a domain's name that we know, so the judge of assertions is asked about a
    // signature alone.
    let signed = [response.auth_data.raw(), &hash(AUTHENTICATE_CHALLENGE)].concat();
    assert_eq!(key(CREDENTIAL_KEY).verify(&signed, &response.signature), Ok(()));
    let other = [response.auth_data.raw(), &hash(REGISTER_CHALLENGE)].concat();
    assert!(key(CREDENTIAL_KEY).verify(&other, &response.signature).is_err());
    let expected = Expected {
        rp_id: "example.com",
        credential_id: b"handle",
        public_key: &key(CREDENTIAL_KEY),
        client_data_hash: &hash(AUTHENTICATE_CHALLENGE),
        user_verification: false,
        last_sign_count: 0,
    };
    assert!(matches!(
        assertion::verify(&response, &expected),
        Err(assertion::AssertionError::OtherRelyingParty)
    ));
    for end in 0..=5 {
        assert_eq!(
            parse_authenticated(&application, &bytes(AUTHENTICATED)[..end]),
            Err(U2fError::Truncated)
        );
    }
}

#[test]
fn the_commands_are_those_of_the_standard() {
    let frames = |command: &Command, encoding| -> Vec<Vec<u8>> {
        command
            .frames(encoding)
            .unwrap()
            .iter()
            .map(|frame| frame.to_vec())
            .collect()
    };
    let (challenge, application) = ([1; 32], [2; 32]);
    let [register_long] = frames(&register(&challenge, &application), Encoding::AlwaysExtended)
        .try_into()
        .unwrap();
    assert_eq!(register_long[..7], [0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x40]);
    assert_eq!(register_long[7..71], [[1; 32], [2; 32]].concat()[..]);
    assert_eq!(register_long[71..], [0x00, 0x00]);
    let check = authenticate(Control::CheckOnly, &challenge, &application, b"abc").unwrap();
    let [short] = frames(&check, Encoding::Short).try_into().unwrap();
    assert_eq!(short[..5], [0x00, 0x02, 0x07, 0x00, 68]);
    assert_eq!(short[69..73], *b"\x03abc");
    assert_eq!(frames(&version(), Encoding::Short), [b"\x00\x03\x00\x00\x00"]);
    assert!(authenticate(Control::Touch, &challenge, &application, &[0; 256]).is_none());
    let told = |status, data: &[u8]| Response {
        data: Zeroizing::new(data.to_vec()),
        status: StatusWord(status),
    };
    assert!(is_u2f(&told(0x9000, b"U2F_V2")) && !is_u2f(&told(0x9000, b"U2F_V1")) && !is_u2f(&told(0x6D00, b"U2F_V2")));
    for (status, expected) in [
        (0x9000, Verdict::Done),
        (0x6985, Verdict::TouchNeeded),
        (0x6A80, Verdict::Unknown),
        (0x6D00, Verdict::Unsupported),
        (0x6E00, Verdict::Unsupported),
        (0x6700, Verdict::Other(StatusWord(0x6700))),
    ] {
        assert_eq!(verdict(StatusWord(status)), expected);
    }
}

#[test]
fn requests_of_ctap2_say_what_is_wanted_or_that_it_cannot_be() {
    let request = make_credential::Request {
        client_data_hash: &[7; 32],
        rp_id: "example.com",
        rp_name: "Example",
        user_id: b"1",
        user_name: "alice",
        exclude: &[b"old".to_vec()],
        resident: false,
        auth: None,
        particulars: make_credential::Particulars::default(),
    };
    assert_eq!(
        ctap2::read(&request.encode()),
        Ok(Wanted::Register {
            challenge: [7; 32],
            application: sha256(b"example.com"),
            exclude: vec![b"old".to_vec()],
        })
    );
    let resident = make_credential::Request {
        resident: true,
        ..request
    };
    assert_eq!(ctap2::read(&resident.encode()), Err(Status::UNSUPPORTED_OPTION));
    let request = get_assertion::Request {
        rp_id: "example.com",
        client_data_hash: &[8; 32],
        allow: &[b"one".to_vec()],
        user_presence: false,
        auth: None,
    };
    assert_eq!(
        ctap2::read(&request.encode()),
        Ok(Wanted::Authenticate {
            challenge: [8; 32],
            application: sha256(b"example.com"),
            allow: vec![b"one".to_vec()],
            touch: false,
        })
    );
    assert_eq!(ctap2::read(&[0x04]), Ok(Wanted::Info));
    for other in [&[][..], &[0x06, 0xA0], &[0x07], &[0x0A, 0xA0]] {
        assert_eq!(ctap2::read(other), Err(Status::INVALID_COMMAND));
    }
    assert_eq!(ctap2::read(&[0x01, 0xA0]), Err(Status::MISSING_PARAMETER));
    let info = GetInfo::parse(&ctap2::info()).unwrap();
    assert!(info.speaks("U2F_V2") && info.option("clientPin").is_none());
}

#[test]
fn a_made_credential_reads_as_one_of_ctap2() {
    let registered = parse_registered(&bytes(REGISTERED)).unwrap();
    let application = sha256(b"example.com");
    let made = make_credential::Response::parse(&ctap2::made(&application, &registered).unwrap()).unwrap();
    let attested = made.auth_data.attested.as_ref().unwrap();
    assert_eq!(made.format, "fido-u2f");
    assert_eq!(made.auth_data.rp_id_hash, application);
    assert!(made.auth_data.flags.user_present() && !made.auth_data.flags.user_verified());
    assert_eq!(attested.credential_id, registered.credential_id);
    assert_eq!(attested.aaguid, [0; 16]);
    assert_eq!(attested.public_key.encoded(), registered.public_key);
}

proptest! {
    #[test]
    fn no_answer_and_no_request_panics(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_registered(&data);
        let _ = parse_authenticated(&[0; 32], &data);
        let _ = ctap2::read(&data);
    }
}
