use super::creation::{CreationOptions, CredentialProtection, Residency};
use super::origin::{OriginError, rp_id};
use super::request::RequestOptions;
use super::*;
use crate::codec::webauthn::client_data::{Ceremony, ClientData, serialize};

/// As Microsoft Entra answers, by the facts of its documentation.
const ENTRA: &str = r#"{"challengeTimeoutDateTime":"2026-01-01T00:00:00Z","publicKey":{"challenge":"AAECAwQFBgcICQoLDA0ODw==","timeout":0,
 "attestation":"direct","rp":{"id":"login.microsoft.com","name":"Microsoft"},"user":{"id":"T0ZGSUNF","displayName":"Ada","name":"ada@example.org"},
 "pubKeyCredParams":[{"type":"public-key","alg":-7},{"type":"public-key","alg":-257},{"type":"other","alg":1}],
 "excludeCredentials":[{"id":"AAECAwQFBgcICQoLDA0ODw2","type":"public-key","transports":[]}],
 "authenticatorSelection":{"authenticatorAttachment":"cross-platform","requireResidentKey":true,"userVerification":"required"},
 "extensions":{"hmacCreateSecret":true,"enforceCredentialProtectionPolicy":true,"credentialProtectionPolicy":"userVerificationOptional"}}}"#;

#[test]
fn entra_s_options_are_read_with_their_padding() {
    let options = CreationOptions::parse(ENTRA.as_bytes()).unwrap();
    let sixteen: Vec<u8> = (0..16).collect();
    assert_eq!(options.challenge, sixteen);
    assert_eq!(options.exclude, [sixteen]);
    assert_eq!(options.algorithms, [-7, -257]);
    assert_eq!(
        (options.residency, options.verification),
        (Residency::Required, Verification::Required)
    );
    assert_eq!(options.protection, Some((CredentialProtection::Optional, true)));
    assert!(options.hmac_secret && !options.credential_properties);
}

#[test]
fn a_credential_id_is_read_however_it_is_padded() {
    for length in 1..70 {
        let id: Vec<u8> = (0..length).collect();
        let plain = BASE64URL_NOPAD.encode(&id);
        let padded = data_encoding::BASE64URL.encode(&id);
        let entra = format!("{plain}{}", padded.len() - plain.len());
        for text in [&plain, &padded, &entra] {
            assert!(credential_ids(text, "id").unwrap().contains(&id), "{text}");
        }
    }
    assert!(credential_ids("", "id").is_err() && credential_ids("*", "id").is_err());
}

#[test]
fn what_is_too_long_or_missing_is_named() {
    let member = |from: &str, to: &str| CreationOptions::parse(ENTRA.replace(from, to).as_bytes()).unwrap_err();
    assert_eq!(member("T0ZGSUNF", ""), WebauthnError::Member("user.id"));
    assert_eq!(member("T0ZGSUNF", &"AAAA".repeat(22)), WebauthnError::Member("user.id"));
    assert_eq!(
        member("AAECAwQFBgcICQoLDA0ODw==", "?"),
        WebauthnError::Base64("challenge")
    );
    assert_eq!(
        member("userVerificationOptional\"", "x\""),
        WebauthnError::Member("credentialProtectionPolicy")
    );
    assert!(matches!(CreationOptions::parse(b"{}"), Err(WebauthnError::Json { .. })));
    assert_eq!(
        CreationOptions::parse(&vec![b' '; MAX_JSON + 1]),
        Err(WebauthnError::TooLong)
    );
    assert_eq!(name(&"é".repeat(40)).len(), 64);
    assert_eq!(name(&format!("a{}", "é".repeat(40))).len(), 63);
}

#[test]
fn client_data_are_byte_for_byte_as_the_standard_serializes_them() {
    let json = serialize(Ceremony::Create, &[0xfb, 0xff], "https://a.example");
    let written = r#"{"type":"webauthn.create","challenge":"-_8","origin":"https://a.example","crossOrigin":false}"#;
    assert_eq!(json, written.as_bytes());
    let odd = "https://\"\\\u{1}é";
    let json = serialize(Ceremony::Get, b"", odd);
    assert!(String::from_utf8_lossy(&json).contains(r#""https://\"\\\u0001é""#));
    let read = ClientData::parse(&json).unwrap();
    assert_eq!((read.ceremony, read.origin.as_str()), (Some(Ceremony::Get), odd));
}

#[test]
fn an_origin_uses_its_own_domain_only() {
    let entra = "https://login.microsoft.com";
    assert_eq!(rp_id(entra, None).unwrap(), "login.microsoft.com");
    assert_eq!(rp_id(entra, Some("microsoft.com")).unwrap(), "microsoft.com");
    for (origin, wanted, error) in [
        (entra, "com", OriginError::PublicSuffix),
        ("https://a.example.co.uk", "co.uk", OriginError::PublicSuffix),
        ("https://a.b.corp", "corp", OriginError::PublicSuffix),
        (entra, "example.org", OriginError::OtherDomain),
        (entra, "soft.com", OriginError::OtherDomain),
        (entra, "a.login.microsoft.com", OriginError::OtherDomain),
        (entra, "Microsoft.com", OriginError::RpId),
        (entra, "", OriginError::RpId),
        (
            "http://login.microsoft.com",
            "login.microsoft.com",
            OriginError::Malformed,
        ),
        ("https://login.microsoft.com/", "microsoft.com", OriginError::Malformed),
        (
            "https://user@login.microsoft.com",
            "microsoft.com",
            OriginError::Malformed,
        ),
        (
            "https://login.microsoft.com:443",
            "microsoft.com",
            OriginError::Malformed,
        ),
        ("https://192.0.2.1", "192.0.2.1", OriginError::RpId),
        ("https://[2001:db8::1]", "example.org", OriginError::Address),
    ] {
        let told = rp_id(origin, Some(wanted));
        if error == OriginError::RpId {
            assert!(told.is_err(), "{origin} {wanted}");
        } else {
            assert_eq!(told, Err(error), "{origin} {wanted}");
        }
    }
    assert_eq!(rp_id("https://192.0.2.1", None), Err(OriginError::Address));
    assert_eq!(rp_id("http://localhost:8080", None).unwrap(), "localhost");
    assert!(rp_id("https://sso.example.org:8443", Some("example.org")).is_ok());
}

#[test]
fn request_options_are_read_bare_and_wrapped() {
    let bare =
        br#"{"challenge":"AAAA","rpId":"example.org","allowCredentials":[{"id":"AQID","type":"public-key"}],"x":1}"#;
    let wrapped = [&b"{\"publicKey\":"[..], bare, b"}"].concat();
    let options = RequestOptions::parse(bare).unwrap();
    assert_eq!(RequestOptions::parse(&wrapped).unwrap(), options);
    assert_eq!(
        (options.allow, options.verification),
        (vec![vec![1, 2, 3]], Verification::Preferred)
    );
}
