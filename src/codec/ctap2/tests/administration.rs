//! Configuration, fingerprints, large blobs and what credential management changes: requests byte for byte. The proofs were
//! computed with an unrelated implementation (Python's `hmac`).

use super::super::bio_enrollment::{self as bio, Sample, SampleStatus, SensorInfo, Template};
use super::super::client_pin::{self, Permissions};
use super::super::config::{self, Subcommand};
use super::super::credential_management as management;
use super::super::large_blobs as blobs;
use super::super::pin_protocol::{PinProtocol, PinUvAuthToken};
use super::{hex, unhex};
use crate::types::Secret;

fn token(protocol: PinProtocol) -> PinUvAuthToken {
    PinUvAuthToken::new(protocol, Secret::new(vec![7; 32])).unwrap()
}

#[test]
fn a_configuration_proves_what_it_asks() {
    let rp_ids = ["a.b".to_owned()];
    let lengthen = Subcommand::SetMinPinLength {
        length: Some(8),
        rp_ids: &rp_ids,
        force_change: true,
    };
    let request = config::request(lengthen, Some(&token(PinProtocol::Two))).unwrap();
    assert_eq!(
        hex(&request),
        concat!(
            "0da4010302a30108028163612e6203f503020458209832c28ab334c8350c5c7b84ef1aaf9f7875b66c0f9e0314",
            "ba65e3849d259b05"
        )
    );
    let request = config::request(Subcommand::ToggleAlwaysUv, Some(&token(PinProtocol::One))).unwrap();
    assert_eq!(hex(&request), "0da301020301045012ce5c61722f9e67962b9f143ef47504");
    let request = config::request(Subcommand::EnableLongTouchForReset, None).unwrap();
    assert_eq!(hex(&request), "0da10104", "a key without a PIN takes it unproven");
    let force = Subcommand::SetMinPinLength {
        length: None,
        rp_ids: &[],
        force_change: true,
    };
    let request = config::request(force, None).unwrap();
    assert_eq!(hex(&request), "0da2010302a103f5", "nothing that was not asked for");
}

#[test]
fn fingers_are_managed_byte_by_byte() {
    let two = token(PinProtocol::Two);
    let request = bio::request(
        bio::Dialect::Standard,
        bio::Subcommand::EnumerateEnrollments,
        Some(&two),
    )
    .unwrap();
    assert_eq!(
        hex(&request),
        "09a401010204040205582085c917abe24ee8a86676532b9f2368700a1d03ea155c09d01b13a95a279069cf"
    );
    let next = bio::Subcommand::EnrollCaptureNextSample {
        template_id: &[9],
        timeout_ms: 5_000,
    };
    let request = bio::request(bio::Dialect::Preview, next, Some(&token(PinProtocol::One))).unwrap();
    assert_eq!(
        hex(&request),
        "40a50101020203a201410903191388040105506086c798f14daeba11073ec07373f777"
    );
    let name = bio::Subcommand::SetFriendlyName {
        template_id: &[9],
        name: "abc",
    };
    let request = bio::request(bio::Dialect::Standard, name, Some(&two)).unwrap();
    assert_eq!(
        hex(&request),
        concat!(
            "09a50101020503a201410902636162630402055820115d6f34ba19090dca",
            "b064e00411f4836747f16aa7a3c15e13d530115c62bdd8"
        )
    );
    for open in [
        bio::Subcommand::GetFingerprintSensorInfo,
        bio::Subcommand::CancelCurrentEnrollment,
    ] {
        let request = bio::request(bio::Dialect::Standard, open, Some(&two)).unwrap();
        assert_eq!(request.len(), 6, "neither needs proof");
    }
}

#[test]
fn what_is_told_of_fingers_is_read() {
    assert_eq!(
        Sample::parse(&unhex("00a304410905060603")).unwrap(),
        Sample {
            template_id: Some(vec![9]),
            status: SampleStatus::TooSlow,
            remaining: 3,
        }
    );
    assert_eq!(
        Sample::parse(&unhex("00a2050c0600")).unwrap().status,
        SampleStatus::Other(12)
    );
    assert!(
        Sample::parse(&unhex("00a204400500")).is_err(),
        "a template without an id"
    );
    let listed = bio::parse_templates(&unhex("00a10782a20141010263616263a1014102")).unwrap();
    let named = |id: u8, name: Option<&str>| Template {
        id: vec![id],
        name: name.map(str::to_owned),
    };
    assert_eq!(listed, [named(1, Some("abc")), named(2, None)]);
    assert_eq!(
        SensorInfo::parse(&unhex("00a302010304080f")).unwrap(),
        SensorInfo {
            kind: Some(1),
            max_samples: Some(4),
            max_name: Some(15),
        }
    );
}

/// The empty array is spelt out in CTAP 2.1 section 6.10.
#[test]
fn large_blobs_are_cleared_by_the_array_that_the_standard_spells_out() {
    assert_eq!(hex(&blobs::empty_array()), "8076be8b528d0075f7aae98d6fa57a6d3c");
    let request = blobs::set_request(&blobs::empty_array(), Some(&token(PinProtocol::Two))).unwrap();
    assert_eq!(
        hex(&request),
        concat!(
            "0ca502518076be8b528d0075f7aae98d6fa57a6d3c030004110558208e96",
            "434622bc96950d58992524fddf905dd0cae60f89f21ad15480237236f0240602"
        )
    );
    assert_eq!(hex(&blobs::get_request(960, 960)), "0ca2011903c0031903c0");
    assert_eq!(blobs::entries(&blobs::empty_array()), Some(0));
    let mut damaged = blobs::empty_array();
    damaged[0] = 0x81;
    assert_eq!(blobs::entries(&damaged), None);
    assert_eq!(blobs::entries(&[0x80]), None);
    assert_eq!(blobs::fragment(Some(1200)), 1136);
    assert_eq!(blobs::fragment(Some(10)), 1, "never nothing");
}

#[test]
fn an_account_is_renamed_byte_by_byte() {
    let rename = management::Subcommand::UpdateUserInformation {
        credential_id: &[9],
        user_id: &[1, 2],
        name: Some("a"),
        display_name: None,
    };
    let request = management::request(management::Dialect::Standard, rename, &token(PinProtocol::Two)).unwrap();
    assert_eq!(
        hex(&request),
        concat!(
            "0aa4010702a202a2626964410964747970656a7075626c69632d6b657903a2626964420102646e616d6561",
            "61030204582015b6063759e58660acd9e66a2d92d81c709f530bdcefe98ac9ba5c7f3ca92d48"
        )
    );
}

#[test]
fn tries_of_a_finger_are_asked_for_and_read() {
    assert_eq!(hex(&client_pin::uv_retries_request()), "06a10207");
    assert_eq!(client_pin::parse_uv_retries(&unhex("00a10503")), Ok(3));
    assert!(client_pin::parse_uv_retries(&unhex("00a10303")).is_err());
    let shared = super::pin::agree(PinProtocol::Two);
    let permissions = Permissions::CREDENTIAL_MANAGEMENT | Permissions::BIO_ENROLLMENT;
    let request = client_pin::uv_token_request(&shared, permissions, Some("a.b"));
    let told = hex(&request);
    assert!(
        told.starts_with("06a501020206") && told.ends_with("090c0a63612e62"),
        "{told}"
    );
}
