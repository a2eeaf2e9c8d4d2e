//! Who vouches: the simulated models' authority, one that vouches for nothing, and a metadata service.

use std::path::{Path, PathBuf};

use data_encoding::{BASE64, BASE64_MIME, BASE64URL_NOPAD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SigningKey as _,
};
use serde_json::{Value, json};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key")
}

fn issuer(name: &str) -> Issuer {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, key()).expect("an authority")
}

fn pem(der: &[u8]) -> String {
    format!(
        "-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n",
        BASE64_MIME.encode(der).replace('\r', "")
    )
}

/// Files in a directory of their own.
pub struct Files {
    directory: tempfile::TempDir,
    service: Issuer,
}

impl Files {
    pub fn new() -> Self {
        let files = Self {
            directory: tempfile::tempdir().expect("a directory"),
            service: issuer("Metadata Root"),
        };
        let models = pem(&hw_fixtures::fido::attestation_authority());
        std::fs::write(files.path("models.pem"), models).expect("written");
        std::fs::write(files.path("stranger.pem"), pem(issuer("Stranger").der())).expect("written");
        std::fs::write(files.path("service.pem"), pem(files.service.der())).expect("written");
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn quoted(&self, name: &str) -> String {
        format!("{:?}", self.path(name))
    }

    /// `[trust]` with one authority.
    pub fn authority(&self, name: &str) -> String {
        format!(
            "[trust]\nattestation-required = true\nauthorities = [{}]\n",
            self.quoted(name)
        )
    }

    /// `[trust]` with metadata in which the model has these reports.
    pub fn metadata(&self, model: &str, reports: Value) -> String {
        std::fs::write(self.path("blob.jwt"), self.blob(model, reports)).expect("written");
        format!(
            "[trust]\nattestation-required = true\nmetadata = {}\nmetadata-roots = [{}]\n",
            self.quoted("blob.jwt"),
            self.quoted("service.pem")
        )
    }

    fn blob(&self, model: &str, reports: Value) -> String {
        let signer = key();
        let leaf = params("Metadata")
            .signed_by(&signer, &self.service)
            .expect("a certificate");
        let root = BASE64.encode(&hw_fixtures::fido::attestation_authority());
        let header = json!({"alg": "EdDSA", "typ": "JWT", "x5c": [BASE64.encode(leaf.der())]});
        let payload = json!({
            "no": 41, "nextUpdate": "2089-12-31", "unheardOf": {},
            "entries": [{
                "aaguid": model, "statusReports": reports,
                "metadataStatement": {"description": "Simulated Key", "attestationRootCertificates": [root]},
            }],
        });
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(&payload));
        let signature = signer.sign(signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}

/// Breaks one byte in the middle of a file.
pub fn spoil(path: &Path) {
    let mut bytes = std::fs::read(path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] = if bytes[middle] == b'A' { b'B' } else { b'A' };
    std::fs::write(path, bytes).expect("written");
}
