//! Models that never were, with authorities of their own; every key is made for the run.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SigningKey as _,
};
use serde_json::{Value as Json, json};

use super::metadata::{Blob, Compromise, MetadataError};
use super::policy::{Distrust, Policy, judge};
use super::registration::{self, Expected, RegistrationError};
use super::statement::{Kind, StatementError};
use crate::codec::cbor::{self, Map, Value};
use crate::codec::ctap2::get_info::GetInfo;
use crate::codec::ctap2::{make_credential, sha256};
use crate::codec::webauthn::WebauthnError;
use crate::codec::webauthn::attestation_object::AttestationObject;
use crate::codec::webauthn::client_data::{Ceremony, serialize};
use crate::codec::webauthn::response::RegistrationResponse;
use crate::trust::chain::{self, ChainError};
use crate::trust::statement::Attested;
use crate::types::{UnixMillis, Worth};

const MODEL: [u8; 16] = [7; 16];
const RP: &str = "login.example.org";
const ORIGIN: &str = "https://login.example.org";
const CHALLENGE: &[u8] = b"sixteen bytes ok";
/// 2026-01-01.
const NOW: UnixMillis = UnixMillis(1_767_225_600_000);

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn key(algorithm: i64) -> KeyPair {
    match algorithm {
        -7 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
        -35 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
        -8 => KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
        _ => {
            let made = std::process::Command::new("openssl")
                .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
                .output()
                .unwrap();
            // PEM, because its PKCS#8 is what ring reads; in DER openssl writes the older PKCS#1.
            let pem = String::from_utf8(made.stdout).unwrap();
            let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            let der = BASE64.decode(base64.as_bytes()).unwrap();
            KeyPair::from_pkcs8_der_and_sign_algo(&der.as_slice().into(), &rcgen::PKCS_RSA_SHA256).unwrap()
        }
    }
}

fn dated(mut params: CertificateParams) -> CertificateParams {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    params
}

fn authority(path_length: u8) -> Issuer {
    let mut params = dated(CertificateParams::new(Vec::new()).unwrap());
    params.distinguished_name.push(DnType::CommonName, "Attestation Root");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, key(-7)).unwrap()
}

fn octets(value: &[u8]) -> Vec<u8> {
    [&[4, u8::try_from(value.len()).unwrap()], value].concat()
}

fn extension(last: u64, value: &[u8]) -> CustomExtension {
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 45724, 1, 1, last], octets(value))
}

fn leaf_params() -> CertificateParams {
    let mut params = dated(CertificateParams::new(Vec::new()).unwrap());
    let name = &mut params.distinguished_name;
    name.remove(DnType::CommonName);
    name.push(DnType::CountryName, "ZZ");
    name.push(DnType::OrganizationName, "Maker");
    name.push(DnType::OrganizationalUnitName, "Authenticator Attestation");
    name.push(DnType::CommonName, "Maker Key");
    params.is_ca = IsCa::ExplicitNoCa;
    params.custom_extensions = vec![extension(4, &MODEL)];
    params
}

fn cose(key: &KeyPair, algorithm: i64) -> Vec<u8> {
    let raw = key.public_key_raw();
    let map = match algorithm {
        -8 => Map::from_iter([
            (1, Value::from(1)),
            (3, Value::from(-8)),
            (-1, Value::from(6)),
            (-2, raw.into()),
        ]),
        -257 => {
            // SEQUENCE { INTEGER n, INTEGER e } with 2048 bits: 30 82 .. .. 02 82 01 01 00 n 02 03 01 00 01.
            let n = &raw[9..9 + 256];
            let e: &[u8] = &[1, 0, 1];
            Map::from_iter([
                (1, Value::from(3)),
                (3, Value::from(-257)),
                (-1, n.into()),
                (-2, e.into()),
            ])
        }
        _ => {
            let half = raw.len() / 2;
            Map::from_iter([
                (1, Value::from(2)),
                (3, Value::from(algorithm)),
                (-1, Value::from(if algorithm == -7 { 1 } else { 2 })),
                (-2, raw[1..=half].into()),
                (-3, raw[half + 1..].into()),
            ])
        }
    };
    cbor::encode(&map.into())
}

/// One registration, in its parts.
struct Made {
    format: &'static str,
    statement: Map,
    auth_data: Vec<u8>,
    client_data: Vec<u8>,
}

fn auth_data(aaguid: [u8; 16], key: &[u8]) -> Vec<u8> {
    [
        &sha256(RP.as_bytes())[..],
        &[0x45],
        &[0; 4],
        &aaguid,
        &[0, 16],
        &[9; 16],
        key,
    ]
    .concat()
}

fn client_data() -> Vec<u8> {
    serialize(Ceremony::Create, CHALLENGE, ORIGIN)
}

fn signed(algorithm: i64, key: &KeyPair, chain: &[Vec<u8>], auth_data: Vec<u8>) -> Made {
    let client_data = client_data();
    let message = [&auth_data[..], &sha256(&client_data)].concat();
    let mut statement = Map::new();
    statement.insert("alg", algorithm);
    statement.insert("sig", key.sign(&message).unwrap());
    if !chain.is_empty() {
        let chain: Vec<Value> = chain.iter().map(|der| Value::from(der.clone())).collect();
        statement.insert("x5c", chain);
    }
    Made {
        format: "packed",
        statement,
        auth_data,
        client_data,
    }
}

/// A packed attestation with a certificate that `issuer` signed.
fn packed(algorithm: i64, issuer: &Issuer, params: &CertificateParams) -> Made {
    let attestation = key(algorithm);
    let leaf = params.signed_by(&attestation, issuer).unwrap();
    let credential = cose(&key(-7), -7);
    signed(
        algorithm,
        &attestation,
        &[leaf.der().to_vec()],
        auth_data(MODEL, &credential),
    )
}

impl Made {
    fn object(&self) -> Vec<u8> {
        cbor::encode(&Value::Map(Map::from_iter([
            ("fmt", Value::from(self.format)),
            ("attStmt", self.statement.clone().into()),
            ("authData", self.auth_data.clone().into()),
        ])))
    }

    fn response(&self) -> RegistrationResponse {
        RegistrationResponse {
            id: vec![9; 16],
            client_data_json: self.client_data.clone(),
            attestation_object: self.object(),
            transports: vec!["usb".to_owned()],
            public_key: None,
            algorithm: None,
            extensions: serde_json::Map::new(),
        }
    }

    fn verify(&self) -> Result<super::statement::Statement, RegistrationError> {
        check(&self.response())
    }

    fn judge(&self, policy: &Policy, blob: Option<&Blob>) -> Result<super::Verdict, Distrust> {
        let object = AttestationObject::parse(&self.object()).unwrap();
        let attested = Attested {
            format: &object.format,
            auth_data: &object.auth_data,
            statement: &object.statement,
            client_data_hash: &sha256(&self.client_data),
        };
        let info = GetInfo {
            aaguid: object.auth_data.attested.as_ref().unwrap().aaguid,
            firmware_version: Some(5),
            options: [("rk".to_owned(), true)].into(),
            ..GetInfo::default()
        };
        judge(&attested, &info, policy, blob, NOW)
    }

    fn without(mut self, member: &str) -> Self {
        self.statement.take(member).unwrap();
        self
    }

    fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        let _ = self.statement.take(member);
        self.statement.insert(member, value);
        self
    }
}

fn check(response: &RegistrationResponse) -> Result<super::statement::Statement, RegistrationError> {
    registration::verify(
        response,
        &Expected {
            rp_id: RP,
            origin: ORIGIN,
            challenge: CHALLENGE,
            algorithms: &[-7, -35, -8, -257],
            user_verification: true,
        },
    )
}

#[test]
fn every_algorithm_verifies_with_a_certificate_and_by_itself() {
    let root = authority(1);
    for algorithm in [-7, -35, -8, -257] {
        let statement = packed(algorithm, &root, &leaf_params()).verify().unwrap();
        assert_eq!(statement.kind, Kind::Certified, "{algorithm}");
        assert_eq!(chain::verify(&statement.chain, &[root.der().to_vec()], NOW), Ok(()));
        let own = key(algorithm);
        let data = auth_data(MODEL, &cose(&own, algorithm));
        let statement = signed(algorithm, &own, &[], data).verify().unwrap();
        assert_eq!(statement.kind, Kind::SelfSigned, "{algorithm}");
    }
}

#[test]
fn a_statement_of_each_fault_is_refused_with_its_reason() {
    use StatementError as E;
    let root = authority(1);
    let good = || packed(-7, &root, &leaf_params());
    let with = |change: fn(&mut CertificateParams)| {
        let mut params = leaf_params();
        change(&mut params);
        packed(-7, &root, &params)
    };
    let own = key(-35);
    let of_another = signed(-7, &key(-7), &[], auth_data(MODEL, &cose(&own, -35)));
    let cases: Vec<(Made, StatementError)> = vec![
        (
            Made {
                format: "tpm",
                ..good()
            },
            E::Format,
        ),
        (
            Made {
                format: "none",
                ..good()
            },
            E::NotNone,
        ),
        (good().without("sig"), E::Malformed),
        (good().without("alg"), E::Malformed),
        (good().with("x5c", "text"), E::Malformed),
        (good().with("x5c", Vec::<Value>::new()), E::Malformed),
        (good().with("alg", -37), E::Algorithm(-37)),
        (good().with("alg", -35), E::KeyType),
        (good().with("sig", vec![0x30, 0]), E::Signature),
        (good().without("x5c"), E::Signature),
        (good().with("x5c", vec![Value::from(vec![1])]), E::CertificateMalformed),
        (of_another, E::SelfAlgorithm),
        (
            with(|p| {
                p.distinguished_name
                    .remove(DnType::OrganizationName)
                    .then_some(())
                    .unwrap()
            }),
            E::CertificateSubject,
        ),
        (
            with(|p| p.distinguished_name.push(DnType::OrganizationalUnitName, "Sales")),
            E::CertificateSubjectUnit,
        ),
        (with(|p| p.is_ca = IsCa::NoCa), E::CertificateBasicConstraints),
        (
            with(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            E::CertificateBasicConstraints,
        ),
        (
            with(|p| p.custom_extensions = vec![extension(4, &[8; 16])]),
            E::AaguidMismatch,
        ),
        (
            with(|p| p.custom_extensions = vec![extension(4, &[7; 3])]),
            E::AaguidExtension,
        ),
        (
            with(|p| p.custom_extensions[0].set_criticality(true)),
            E::AaguidExtension,
        ),
        (
            with(|p| p.custom_extensions.push(extension(2, &[]))),
            E::SerialExtension,
        ),
    ];
    for (index, (made, reason)) in cases.into_iter().enumerate() {
        assert_eq!(made.verify(), Err(RegistrationError::Statement(reason)), "case {index}");
    }
}

#[test]
fn u2f_attestations_sign_their_own_message() {
    let root = authority(1);
    let (attestation, credential) = (key(-7), key(-7));
    let leaf = leaf_params().signed_by(&attestation, &root).unwrap().der().to_vec();
    let made = |aaguid: [u8; 16], certificates: usize| {
        let client_data = client_data();
        let message = [
            &[0][..],
            &sha256(RP.as_bytes()),
            &sha256(&client_data),
            &[9; 16],
            credential.public_key_raw(),
        ]
        .concat();
        let mut statement = Map::new();
        statement.insert("sig", attestation.sign(&message).unwrap());
        statement.insert("x5c", vec![Value::from(leaf.clone()); certificates]);
        Made {
            format: "fido-u2f",
            statement,
            auth_data: auth_data(aaguid, &cose(&credential, -7)),
            client_data,
        }
    };
    let statement = made([0; 16], 1).verify().unwrap();
    assert_eq!((statement.kind, statement.key_identifiers.len()), (Kind::Certified, 1));
    let refused = |made: Made| made.verify().unwrap_err();
    assert_eq!(refused(made([0; 16], 2)), StatementError::CertificateCount.into());
    assert_eq!(refused(made(MODEL, 1)), StatementError::AaguidNotZero.into());
    assert_eq!(
        refused(made([0; 16], 1).with("sig", vec![1])),
        StatementError::Signature.into()
    );
}

/// Each field in turn, in JSON as a browser would send it.
#[test]
fn a_registration_in_json_with_any_field_tampered_is_refused_with_the_right_reason() {
    use RegistrationError as E;
    let made = packed(-7, &authority(1), &leaf_params());
    let json = serde_json::to_vec(&made.response().to_json()).unwrap();
    assert!(check(&RegistrationResponse::from_json(&json).unwrap()).is_ok());
    let client = |from: &str, to: &str| {
        let text = String::from_utf8(made.client_data.clone()).unwrap();
        assert!(text.contains(from));
        Json::from(BASE64URL_NOPAD.encode(text.replace(from, to).as_bytes()))
    };
    let in_data = |at: usize, to: u8| {
        let mut data = made.auth_data.clone();
        data[at] = to;
        let object = Made {
            auth_data: data,
            statement: made.statement.clone(),
            client_data: Vec::new(),
            format: made.format,
        };
        Json::from(BASE64URL_NOPAD.encode(&object.object()))
    };
    let data = "clientDataJSON";
    let object = "attestationObject";
    let signature = || E::Statement(StatementError::Signature);
    let cases = [
        ("/type", Json::from("password"), WebauthnError::Member("type").into()),
        ("/rawId", Json::from("AAAA"), WebauthnError::Member("rawId").into()),
        ("/response/clientDataJSON", client("create", "get"), E::Ceremony),
        ("/response/clientDataJSON", client("c2l4", "c2l5"), E::Challenge),
        ("/response/clientDataJSON", client("login.", "evil."), E::Origin),
        ("/response/clientDataJSON", client("false", "true"), E::CrossOrigin),
        // What the checks by name pass over is under the signature.
        (
            "/response/clientDataJSON",
            client("false", "false,\"x\":1"),
            signature(),
        ),
        (
            "/response/clientDataJSON",
            Json::from("?"),
            WebauthnError::Base64(data).into(),
        ),
        (
            "/response/attestationObject",
            Json::from("?"),
            WebauthnError::Base64(object).into(),
        ),
        (
            "/response/attestationObject",
            Json::from("AAAA"),
            WebauthnError::AttestationObject.into(),
        ),
        ("/response/attestationObject", in_data(0, 0), E::RpId),
        ("/response/attestationObject", in_data(32, 0x44), E::NotPresent),
        ("/response/attestationObject", in_data(32, 0x41), E::NotVerified),
        ("/response/attestationObject", in_data(36, 1), signature()),
        ("/response/attestationObject", in_data(37, 1), signature()),
        ("/response/attestationObject", in_data(55, 1), E::CredentialId),
    ];
    for (index, (pointer, value, reason)) in cases.into_iter().enumerate() {
        let mut tampered: Json = serde_json::from_slice(&json).unwrap();
        *tampered.pointer_mut(pointer).unwrap() = value;
        let read = RegistrationResponse::from_json(&serde_json::to_vec(&tampered).unwrap());
        let told = read.map_err(E::from).and_then(|response| check(&response));
        assert_eq!(told, Err(reason), "case {index}: {pointer}");
    }
}

/// Every single byte of what a key answers in CBOR.
#[test]
fn a_registration_in_cbor_with_any_byte_tampered_is_refused() {
    let made = packed(-7, &authority(1), &leaf_params());
    let mut map = Map::new();
    map.insert(1, made.format);
    map.insert(2, made.auth_data.clone());
    map.insert(3, made.statement.clone());
    let answer = [&[0][..], &cbor::encode(&map.into())].concat();
    let read = |bytes: &[u8]| {
        let response = make_credential::Response::parse(bytes).ok()?;
        let mut whole = made.response();
        whole.attestation_object = AttestationObject::from(&response).encode();
        check(&whole).ok()
    };
    let good = read(&answer).unwrap();
    let root_signed = good.chain[0].clone();
    for at in 0..answer.len() {
        let mut tampered = answer.clone();
        tampered[at] ^= 1;
        // The certificate's own signature is for the chain to look at; nothing else may be changed.
        if let Some(statement) = read(&tampered) {
            assert_ne!(statement.chain[0], root_signed, "byte {at}");
        }
    }
}

#[test]
fn chains_hold_to_the_rules_of_rfc_5280() {
    let root = authority(0);
    let anchors = [root.der().to_vec()];
    let chain_of = |params: &CertificateParams| vec![params.signed_by(&key(-7), &root).unwrap().der().to_vec()];
    let good = chain_of(&leaf_params());
    assert_eq!(chain::verify(&good, &anchors, NOW), Ok(()));
    assert_eq!(chain::verify(&good, &good, NOW), Ok(()), "an anchor of its own");
    assert!(chain::verify(&good, &[authority(0).der().to_vec()], NOW).is_err());
    assert_eq!(chain::verify(&good, &[], NOW), Err(ChainError::UnknownIssuer));
    assert_eq!(chain::verify(&[], &anchors, NOW), Err(ChainError::Length));
    assert_eq!(
        chain::verify(&vec![good[0].clone(); 9], &anchors, NOW),
        Err(ChainError::Length)
    );
    assert_eq!(
        chain::verify(&good, &anchors, UnixMillis(0)),
        Err(ChainError::NotYetValid)
    );
    let later = UnixMillis(4_102_444_800_000);
    assert_eq!(chain::verify(&good, &anchors, later), Err(ChainError::Expired));
    assert_eq!(chain::verify(&good, &good, later), Err(ChainError::Expired));
    let mut critical = leaf_params();
    critical.custom_extensions[0].set_criticality(true);
    assert_eq!(
        chain::verify(&chain_of(&critical), &anchors, NOW),
        Err(ChainError::CriticalExtension)
    );
    // An authority's own constraint holds for those below it; an anchor is a name and a key (RFC 5280 section 6.1.1).
    let below = |name: &str, usage: Vec<KeyUsagePurpose>, issuer: &Issuer| {
        let mut params = dated(CertificateParams::new(Vec::new()).unwrap());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = usage;
        CertifiedIssuer::signed_by(params, key(-7), issuer).unwrap()
    };
    let under = |issuers: &[&Issuer]| {
        let leaf = leaf_params().signed_by(&key(-7), issuers[0]).unwrap().der().to_vec();
        let issuers = issuers.iter().map(|issuer| issuer.der().to_vec());
        std::iter::once(leaf).chain(issuers).collect::<Vec<_>>()
    };
    let batch = below("Batch", vec![KeyUsagePurpose::KeyCertSign], &root);
    assert_eq!(chain::verify(&under(&[&batch]), &anchors, NOW), Ok(()));
    let part = below("Part", vec![KeyUsagePurpose::KeyCertSign], &batch);
    assert_eq!(
        chain::verify(&under(&[&part, &batch]), &anchors, NOW),
        Err(ChainError::PathLength)
    );
    let no_signer = below("Batch", vec![KeyUsagePurpose::DigitalSignature], &root);
    assert_eq!(
        chain::verify(&under(&[&no_signer]), &anchors, NOW),
        Err(ChainError::Usage)
    );
}

/// A BLOB that we sign ourselves.
fn blob(root: &Issuer, vouches: &Issuer, reports: Json) -> Vec<u8> {
    let mut params = dated(CertificateParams::new(Vec::new()).unwrap());
    params.distinguished_name.push(DnType::CommonName, "Metadata");
    let signer = key(-257);
    let leaf = params.signed_by(&signer, root).unwrap();
    let header = json!({"alg": "RS256", "typ": "JWT", "x5c": [BASE64.encode(leaf.der())]});
    let payload = json!({
        "legalHeader": "nobody reads this", "no": 12, "nextUpdate": "2026-02-01", "later": {"member": 1},
        "entries": [{
            "aaguid": "07070707-0707-0707-0707-070707070707",
            "metadataStatement": {"description": "Maker Key 1", "icon": "data:", "attestationRootCertificates": [BASE64.encode(vouches.der())]},
            "statusReports": reports, "timeOfLastStatusChange": "2025-01-01", "unheardOf": null,
        }],
    });
    let part = |value: &Json| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&header), part(&payload));
    let signature = signer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}\n", BASE64URL_NOPAD.encode(&signature)).into_bytes()
}

#[test]
fn a_blob_vouches_and_warns_once_its_own_signature_holds() {
    let (service, maker) = (authority(1), authority(1));
    let bytes = blob(
        &service,
        &maker,
        json!([{"status": "FIDO_CERTIFIED"}, {"status": "NEVER_HEARD_OF"}]),
    );
    let roots = [service.der().to_vec()];
    let read = Blob::read(&bytes, &roots, NOW).unwrap();
    assert_eq!((read.number, read.len(), read.overdue(NOW)), (12, 1, false));
    assert!(read.overdue(UnixMillis(1_769_990_400_000)), "on 2026-02-02");
    assert!(!read.overdue(UnixMillis(1_769_900_000_000)), "on 2026-01-31");
    let made = packed(-8, &maker, &leaf_params());
    let policy = Policy {
        attestation_required: true,
        ..Policy::default()
    };
    let verdict = made.judge(&policy, Some(&read)).unwrap();
    assert_eq!(
        (verdict.worth, verdict.model.as_deref()),
        (Worth::Metadata, Some("Maker Key 1"))
    );
    let stranger = packed(-8, &authority(1), &leaf_params());
    assert!(matches!(stranger.judge(&policy, Some(&read)), Err(Distrust::Chain(_))));
    for compromise in Compromise::ALL {
        let bytes = blob(
            &service,
            &maker,
            json!([{"status": compromise.name(), "effectiveDate": "2024-09-03"}, {"status": "UPDATE_AVAILABLE"}]),
        );
        let read = Blob::read(&bytes, &roots, NOW).unwrap();
        let refused = made.judge(&Policy::default(), Some(&read)).unwrap_err().to_string();
        assert!(
            refused.contains(compromise.name()) && refused.contains("since 2024-09-03"),
            "{refused}"
        );
    }

    let told = |bytes: &[u8], roots: &[Vec<u8>]| Blob::read(bytes, roots, NOW).unwrap_err();
    assert!(matches!(
        told(&bytes, &[maker.der().to_vec()]),
        MetadataError::Signer(_)
    ));
    assert_eq!(told(b"no", &roots), MetadataError::NotJws);
    let text = String::from_utf8(bytes).unwrap();
    let parts: Vec<&str> = text.split('.').collect();
    let header = |json: Json| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
    let forged = format!("{}.{}.{}", header(json!({"alg": "none"})), parts[1], parts[2]);
    assert_eq!(told(forged.as_bytes(), &roots), MetadataError::Algorithm);
    let bare = format!("{}.{}.{}", header(json!({"alg": "RS256"})), parts[1], parts[2]);
    assert_eq!(told(bare.as_bytes(), &roots), MetadataError::NoCertificates);
    let other = format!(
        "{}.{}.{}",
        parts[0],
        header(json!({"no": 13, "nextUpdate": "2027-01-01", "entries": []})),
        parts[2]
    );
    assert_eq!(told(other.as_bytes(), &roots), MetadataError::Signature);
}

#[test]
fn each_rule_of_the_policy_refuses_with_its_reason() {
    let root = authority(1);
    let made = packed(-7, &root, &leaf_params());
    let trusting = || Policy {
        attestation_required: true,
        authorities: vec![root.der().to_vec()],
        ..Policy::default()
    };
    assert_eq!(made.judge(&trusting(), None).unwrap().worth, Worth::Authority);
    assert_eq!(made.judge(&Policy::default(), None).unwrap().worth, Worth::Unanchored);
    let model = uuid::Uuid::from_bytes(MODEL);
    let cases = [
        (
            Policy {
                deny: [MODEL].into(),
                ..trusting()
            },
            Distrust::Denied(model),
        ),
        (
            Policy {
                allow: [[8; 16]].into(),
                ..trusting()
            },
            Distrust::NotAllowed(model),
        ),
        (
            Policy {
                least_firmware: [(MODEL, 6)].into(),
                ..trusting()
            },
            Distrust::Firmware {
                found: Some(5),
                least: 6,
            },
        ),
        (
            Policy {
                required_options: vec!["rk".into(), "alwaysUv".into()],
                ..trusting()
            },
            Distrust::Option("alwaysUv".into()),
        ),
        (
            Policy {
                serial_required: true,
                ..trusting()
            },
            Distrust::NoSerial,
        ),
    ];
    for (policy, reason) in cases {
        assert_eq!(made.judge(&policy, None), Err(reason));
    }
    let mut params = leaf_params();
    params.custom_extensions.push(extension(2, b"A1234"));
    let policy = Policy {
        serial_required: true,
        ..trusting()
    };
    let verdict = packed(-7, &root, &params).judge(&policy, None).unwrap();
    assert_eq!(verdict.serial.as_deref(), Some("A1234"));
    let own = key(-7);
    let itself = signed(-7, &own, &[], auth_data(MODEL, &cose(&own, -7)));
    assert_eq!(itself.judge(&trusting(), None), Err(Distrust::NotAttested("self")));
}
