//! Writing a container: encrypted to a passphrase, with a MAC, by algorithms that other programs read.

use std::fmt::Write as _;

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeEncrypt, KeyIvInit};
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::codec::delivery::Moving;
use crate::types::{OathAlgorithm, Secret, UnixMillis};

/// Rounds of PBKDF2-HMAC-SHA-256 (OWASP's figure of 2023).
pub const EXPORT_ITERATIONS: u32 = 600_000;
const IV_LEN: usize = 16;
const SALT_LEN: usize = 16;
const MAC_KEY_LEN: usize = 32;

/// A token as it is written.
pub struct Outgoing<'a> {
    /// `Key/@Id`, unique in the file.
    pub id: &'a str,
    /// What moves it.
    pub moving: Moving,
    /// Hash.
    pub algorithm: OathAlgorithm,
    /// Digits shown.
    pub digits: u8,
    /// Its seed.
    pub seed: &'a Secret,
    /// Serial on its back.
    pub serial: Option<&'a str>,
    /// Its maker.
    pub maker: Option<&'a str>,
    /// Its model.
    pub model: Option<&'a str>,
    /// Whose it is.
    pub subject: Option<&'a str>,
    /// Not to be used before.
    pub valid_from: Option<UnixMillis>,
    /// Not to be used after.
    pub valid_until: Option<UnixMillis>,
}

/// How many random bytes [`write`] needs for so many tokens.
#[must_use]
pub const fn randomness_needed(tokens: usize) -> usize {
    SALT_LEN + MAC_KEY_LEN + IV_LEN * (tokens + 1)
}

/// Writes a container: AES-256-CBC, HMAC-SHA-256, the key derived by PBKDF2-HMAC-SHA-256 with `iterations` rounds. `randomness` is
/// fresh and used nowhere else; with fewer bytes than [`randomness_needed`] there is no answer.
#[must_use]
pub fn write(tokens: &[Outgoing<'_>], passphrase: &Secret, iterations: u32, randomness: &[u8]) -> Option<Secret> {
    let (salt, randomness) = randomness.split_at_checked(SALT_LEN)?;
    let (mac_key, randomness) = randomness.split_at_checked(MAC_KEY_LEN)?;
    let mut ivs = randomness.chunks_exact(IV_LEN);
    let mut key = Zeroizing::new([0; 32]);
    // Exposed to derive the key.
    pbkdf2::pbkdf2_hmac::<Sha256>(passphrase.expose(), salt, iterations, key.as_mut_slice());
    let seal = |iv: &[u8], plain: &[u8]| {
        let cipher = cbc::Encryptor::<Aes256>::new_from_slices(key.as_slice(), iv).ok()?;
        let mut sealed = iv.to_vec();
        sealed.extend(cipher.encrypt_padded_vec::<Pkcs7>(plain));
        Some(sealed)
    };
    let mut out = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc" xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" xmlns:xenc11="http://www.w3.org/2009/xmlenc11#" xmlns:pkcs5="http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#">
<EncryptionKey><xenc11:DerivedKey><xenc11:KeyDerivationMethod Algorithm="http://www.rsasecurity.com/rsalabs/pkcs/schemas/pkcs-5v2-0#pbkdf2"><pkcs5:PBKDF2-params><Salt><Specified>{salt}</Specified></Salt><IterationCount>{iterations}</IterationCount><KeyLength>32</KeyLength><PRF Algorithm="http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"/></pkcs5:PBKDF2-params></xenc11:KeyDerivationMethod></xenc11:DerivedKey></EncryptionKey>
<MACMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"><MACKey>{mac_key}</MACKey></MACMethod>
"#,
        salt = BASE64.encode(salt),
        mac_key = encrypted(&seal(ivs.next()?, mac_key)?),
    );
    for token in tokens {
        // Exposed to encrypt it.
        let sealed = seal(ivs.next()?, token.seed.expose())?;
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(mac_key).ok()?;
        mac.update(&sealed);
        let mac = BASE64.encode(&mac.finalize().into_bytes());
        package(&mut out, token, &encrypted(&sealed), &mac).ok()?;
    }
    out.push_str("</KeyContainer>\n");
    Some(Secret::new(out.into_bytes()))
}

fn encrypted(sealed: &[u8]) -> String {
    format!(
        r#"<xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes256-cbc"/><xenc:CipherData><xenc:CipherValue>{}</xenc:CipherValue></xenc:CipherData>"#,
        BASE64.encode(sealed)
    )
}

fn package(out: &mut String, token: &Outgoing<'_>, value: &str, mac: &str) -> std::fmt::Result {
    out.push_str("<KeyPackage><DeviceInfo>");
    // Manufacturer and serial are required in this order by the schema, where there is a DeviceInfo at all.
    element(out, "Manufacturer", Some(token.maker.unwrap_or("unknown")))?;
    element(out, "SerialNo", Some(token.serial.unwrap_or(token.id)))?;
    element(out, "Model", token.model)?;
    out.push_str("</DeviceInfo>");
    let algorithm = match token.moving {
        Moving::Time { .. } => "totp",
        Moving::Event { .. } => "hotp",
    };
    let suite = match token.algorithm {
        OathAlgorithm::Sha1 => "HMAC-SHA1",
        OathAlgorithm::Sha256 => "HMAC-SHA256",
        OathAlgorithm::Sha512 => "HMAC-SHA512",
    };
    write!(
        out,
        r#"<Key Id="{}" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:{algorithm}"><AlgorithmParameters><Suite>{suite}</Suite><ResponseFormat Length="{}" Encoding="DECIMAL"/></AlgorithmParameters><Data><Secret><EncryptedValue>{value}</EncryptedValue><ValueMAC>{mac}</ValueMAC></Secret>"#,
        escape(token.id),
        token.digits,
    )?;
    match token.moving {
        Moving::Event { counter } => plain(out, "Counter", &counter.to_string())?,
        Moving::Time { period_s, drift_steps } => {
            plain(out, "Time", "0")?;
            plain(out, "TimeInterval", &period_s.to_string())?;
            plain(out, "TimeDrift", &drift_steps.to_string())?;
        }
    }
    out.push_str("</Data>");
    element(out, "UserId", token.subject)?;
    out.push_str("<Policy>");
    let date = |at: UnixMillis| jiff::Timestamp::from_second(at.seconds()).map(|at| at.to_string()).ok();
    element(out, "StartDate", token.valid_from.and_then(date).as_deref())?;
    element(out, "ExpiryDate", token.valid_until.and_then(date).as_deref())?;
    out.push_str("<KeyUsage>OTP</KeyUsage></Policy></Key></KeyPackage>\n");
    Ok(())
}

fn plain(out: &mut String, name: &str, value: &str) -> std::fmt::Result {
    write!(out, "<{name}><PlainValue>{value}</PlainValue></{name}>")
}

fn element(out: &mut String, name: &str, value: Option<&str>) -> std::fmt::Result {
    value.map_or(Ok(()), |value| write!(out, "<{name}>{}</{name}>", escape(value)))
}

/// Text of an element or attribute. Characters that XML cannot hold are left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => {}
            other => escaped.push(other),
        }
    }
    escaped
}
