//! HOTP (RFC 4226) and TOTP (RFC 6238) values.

use serde::{Deserialize, Serialize};

use crate::crypto;

/// The hash under the HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// HMAC-SHA-1, RFC 4226.
    #[default]
    Sha1,
    /// HMAC-SHA-256, RFC 6238.
    Sha256,
    /// HMAC-SHA-512, RFC 6238.
    Sha512,
}

impl Hash {
    /// The HMAC of `message`.
    pub fn hmac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => crypto::hmac_sha1(key, message),
            Self::Sha256 => crypto::hmac_sha256(key, &[message]).to_vec(),
            Self::Sha512 => crypto::hmac_sha512(key, message),
        }
    }
}

/// Dynamic truncation to 31 bits, RFC 4226 section 5.3.
pub fn truncate(mac: &[u8]) -> u32 {
    let offset = usize::from(mac.last().copied().unwrap_or(0) & 0x0f);
    let word = mac
        .get(offset..offset + 4)
        .and_then(|word| word.try_into().ok())
        .unwrap_or([0; 4]);
    u32::from_be_bytes(word) & 0x7fff_ffff
}

/// The HOTP value of `counter`, as shown on a display: `digits` decimal places with leading zeros.
pub fn hotp(hash: Hash, key: &[u8], counter: u64, digits: u8) -> String {
    let value = u64::from(truncate(&hash.hmac(key, &counter.to_be_bytes())));
    let modulus = 10_u64.saturating_pow(u32::from(digits));
    format!("{:0width$}", value % modulus, width = usize::from(digits))
}

/// The TOTP value at `unix_s` seconds for steps of `period_s` seconds counted from the epoch.
pub fn totp(hash: Hash, key: &[u8], unix_s: i64, period_s: u32, digits: u8) -> String {
    hotp(hash, key, step(unix_s, period_s), digits)
}

/// The time step that `unix_s` falls into; times before the epoch count as its first step.
pub fn step(unix_s: i64, period_s: u32) -> u64 {
    u64::try_from(unix_s.div_euclid(i64::from(period_s.max(1)))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4226_appendix_d() {
        let expected = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489",
        ];
        for (counter, code) in expected.iter().enumerate() {
            assert_eq!(hotp(Hash::Sha1, b"12345678901234567890", counter as u64, 6), *code);
        }
    }

    #[test]
    fn rfc_6238_appendix_b() {
        let digits = b"1234567890";
        let key = |len: usize| digits.iter().cycle().take(len).copied().collect::<Vec<u8>>();
        let rows: [(i64, &str, &str, &str); 6] = [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_111_111_111, "14050471", "67062674", "99943326"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (2_000_000_000, "69279037", "90698825", "38618901"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ];
        for (time, sha1, sha256, sha512) in rows {
            assert_eq!(totp(Hash::Sha1, &key(20), time, 30, 8), sha1);
            assert_eq!(totp(Hash::Sha256, &key(32), time, 30, 8), sha256);
            assert_eq!(totp(Hash::Sha512, &key(64), time, 30, 8), sha512);
        }
    }
}
