//! A model's attestation key and its certificate, made on the spot (WebAuthn section 8.2.1, X.509 in RFC 5280).

use p256::ecdsa::SigningKey;
use p256::elliptic_curve::sec1::ToSec1Point;

use crate::crypto;
use crate::entropy::Entropy;

/// Signs attestations.
pub(super) struct Attestor {
    key: SigningKey,
    certificate: Vec<u8>,
}

/// ecdsa-with-SHA256, 1.2.840.10045.4.3.2.
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// id-ecPublicKey, 1.2.840.10045.2.1.
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// prime256v1, 1.2.840.10045.3.1.7.
const PRIME256V1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// id-fido-gen-ce-aaguid, 1.3.6.1.4.1.45724.1.1.4.
const FIDO_AAGUID: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0xe5, 0x1c, 0x01, 0x01, 0x04];
/// id-fido-gen-ce-sernum, 1.3.6.1.4.1.45724.1.1.2.
const FIDO_SERIAL: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0xe5, 0x1c, 0x01, 0x01, 0x02];
/// keyUsage, 2.5.29.15.
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// basicConstraints, 2.5.29.19.
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

const AUTHORITY_NAME: &str = "Simulated Attestation CA";
const COMMON_NAME: &str = "Simulated Attestation";

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const BIT_STRING: u8 = 0x03;

/// Names whose the certificate is.
pub(super) struct Subject<'a> {
    pub aaguid: [u8; 16],
    /// Of the one device: an enterprise attestation.
    pub serial: Option<&'a str>,
}

impl Attestor {
    pub(super) fn new(entropy: &mut Entropy, subject: &Subject<'_>) -> Self {
        let secret = entropy.p256();
        let key = SigningKey::from(&secret);
        let point = secret.public_key().to_sec1_point(false).as_bytes().to_vec();
        let body = to_be_signed(&point, entropy.bytes(), COMMON_NAME, &extensions(subject));
        let certificate = signed(&authority_key(), &body);
        Self { key, certificate }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        crypto::es256_sign(&self.key, message)
    }

    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }
}

/// The authority that issues the attestation certificates of every simulated model: its own certificate, in DER. Its key is known
/// to everybody, so it vouches for nothing outside of tests.
pub fn authority() -> Vec<u8> {
    let key = authority_key();
    let point = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
    let constraints = tlv(SEQUENCE, &[&[0x01, 0x01, 0xff]]);
    // Bit 5, keyCertSign.
    let usage = tlv(BIT_STRING, &[&[0x02, 0x04]]);
    let extensions = [
        extension(BASIC_CONSTRAINTS, true, &constraints),
        extension(KEY_USAGE, true, &usage),
    ]
    .concat();
    signed(&key, &to_be_signed(&point, [7; 8], AUTHORITY_NAME, &extensions))
}

fn authority_key() -> SigningKey {
    let mut entropy = Entropy::seeded(0, "attestation authority");
    SigningKey::from(&entropy.p256())
}

fn signed(key: &SigningKey, body: &[u8]) -> Vec<u8> {
    let signature = [&[0][..], &crypto::es256_sign(key, body)].concat();
    tlv(SEQUENCE, &[body, &algorithm(), &tlv(BIT_STRING, &[&signature])])
}

/// The extensions of an attestation certificate (WebAuthn section 8.2.1).
fn extensions(subject: &Subject<'_>) -> Vec<u8> {
    let mut extensions = extension(BASIC_CONSTRAINTS, true, &tlv(SEQUENCE, &[]));
    if subject.aaguid != [0; 16] {
        extensions.extend(extension(FIDO_AAGUID, false, &tlv(OCTET_STRING, &[&subject.aaguid])));
    }
    if let Some(serial) = subject.serial {
        extensions.extend(extension(FIDO_SERIAL, false, &tlv(OCTET_STRING, &[serial.as_bytes()])));
    }
    extensions
}

fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
    tlv(
        SEQUENCE,
        &[&tlv(OBJECT_ID, &[oid]), critical, &tlv(OCTET_STRING, &[value])],
    )
}

fn to_be_signed(point: &[u8], serial: [u8; 8], common_name: &str, extensions: &[u8]) -> Vec<u8> {
    let version = tlv(0xa0, &[&tlv(0x02, &[&[2]])]);
    // A leading 01 keeps the serial positive and of fixed length.
    let serial = tlv(0x02, &[&[0x01], &serial]);
    let validity = tlv(
        SEQUENCE,
        &[&tlv(0x17, &[b"200101000000Z"]), &tlv(0x18, &[b"20991231235959Z"])],
    );
    let key_algorithm = tlv(
        SEQUENCE,
        &[&tlv(OBJECT_ID, &[EC_PUBLIC_KEY]), &tlv(OBJECT_ID, &[PRIME256V1])],
    );
    let key = tlv(SEQUENCE, &[&key_algorithm, &tlv(BIT_STRING, &[&[0], point])]);
    tlv(
        SEQUENCE,
        &[
            &version,
            &serial,
            &algorithm(),
            &name(AUTHORITY_NAME),
            &validity,
            &name(common_name),
            &key,
            &tlv(0xa3, &[&tlv(SEQUENCE, &[extensions])]),
        ],
    )
}

fn algorithm() -> Vec<u8> {
    tlv(SEQUENCE, &[&tlv(OBJECT_ID, &[ECDSA_SHA256])])
}

/// Country, organisation, the unit that WebAuthn prescribes, and a common name.
fn name(common: &str) -> Vec<u8> {
    let part = |attribute: u8, kind: u8, text: &str| {
        let pair = tlv(
            SEQUENCE,
            &[
                &tlv(OBJECT_ID, &[&[0x55, 0x04, attribute]]),
                &tlv(kind, &[text.as_bytes()]),
            ],
        );
        tlv(SET, &[&pair])
    };
    tlv(
        SEQUENCE,
        &[
            &part(0x06, 0x13, "ZZ"),
            &part(0x0a, 0x0c, "hw-fixtures"),
            &part(0x0b, 0x0c, "Authenticator Attestation"),
            &part(0x03, 0x0c, common),
        ],
    )
}

/// One DER element. Nothing here reaches 64 KiB.
#[expect(
    clippy::cast_possible_truncation,
    reason = "each cast is guarded by the length it encodes"
)]
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match length {
        0..=0x7f => out.push(length as u8),
        0x80..=0xff => out.extend([0x81, length as u8]),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    for part in parts {
        out.extend(*part);
    }
    out
}
