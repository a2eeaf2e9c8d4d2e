//! Recovery codes as people write them: 16 symbols of Crockford's base32 and one to check them, in groups.
//!
//! Sixteen symbols are 80 random bits; NIST SP 800-63B-4 section 4.2.1.1 wants 64. The alphabet leaves out `I`, `L`, `O` and `U`;
//! what looks like another symbol is read as it (`O` as 0, `I` and `L` as 1), and case, spaces and hyphens do not count. The check
//! symbol is the number modulo 37 (Crockford's), so that every single mistyped symbol and every swap of neighbours is noticed
//! before a try is spent.

use crate::types::Secret;
use zeroize::Zeroizing;

/// Symbols of a code without its check symbol.
pub const SYMBOLS: usize = 16;
/// Random bytes of a code.
pub const RANDOM: usize = 10;
const ALPHABET: &[u8; 37] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ*~$=U";
/// Longest text that is looked at as a code.
const LONGEST: usize = 64;

/// Why a text is no recovery code. The text itself is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// Too few, too many or other symbols.
    #[error("a recovery code has 17 letters and digits")]
    Malformed,
    /// The check symbol does not fit.
    #[error("the recovery code is mistyped: its letters and digits do not fit together")]
    Mistyped,
}

/// A code of random bytes, in canonical form: 17 symbols.
#[must_use]
pub fn encode(random: &[u8; RANDOM]) -> Secret {
    let mut symbols = Vec::with_capacity(SYMBOLS + 1);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in random {
        bits = (bits << 8) | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            symbols.push(symbol((bits >> held) & 31));
        }
        bits &= (1 << held) - 1;
    }
    symbols.push(symbol(check(&symbols)));
    Secret::new(symbols)
}

/// Reads what a person typed into canonical form.
///
/// # Errors
/// [`RecoveryError`].
pub fn parse(typed: &[u8]) -> Result<Secret, RecoveryError> {
    if typed.len() > LONGEST {
        return Err(RecoveryError::Malformed);
    }
    let mut symbols = Zeroizing::new(Vec::with_capacity(SYMBOLS + 1));
    for byte in typed.iter().filter(|byte| !matches!(byte, b' ' | b'-')) {
        let read = match byte.to_ascii_uppercase() {
            b'O' => b'0',
            b'I' | b'L' => b'1',
            other => other,
        };
        let place = value(read).ok_or(RecoveryError::Malformed)?;
        // The five symbols beyond 31 stand at the end only.
        if symbols.len() > SYMBOLS || (place > 31 && symbols.len() < SYMBOLS) {
            return Err(RecoveryError::Malformed);
        }
        symbols.push(read);
    }
    let (last, rest) = symbols.split_last().ok_or(RecoveryError::Malformed)?;
    if rest.len() != SYMBOLS {
        return Err(RecoveryError::Malformed);
    }
    if *last != symbol(check(rest)) {
        return Err(RecoveryError::Mistyped);
    }
    Ok(Secret::new(std::mem::take(&mut *symbols)))
}

/// A canonical code in groups, as it is printed: `ABCD-EFGH-JKMN-PQRS-T`.
#[must_use]
pub fn grouped(code: &Secret) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(code.len() + code.len() / 4));
    for (at, byte) in code.expose().iter().enumerate() {
        if at > 0 && at % 4 == 0 {
            text.push('-');
        }
        text.push(char::from(*byte));
    }
    text
}

fn symbol(value: u32) -> u8 {
    let at = usize::try_from(value).unwrap_or(0);
    ALPHABET.get(at).copied().unwrap_or(b'0')
}

fn value(symbol: u8) -> Option<u32> {
    let at = ALPHABET.iter().position(|known| *known == symbol)?;
    u32::try_from(at).ok()
}

/// The number modulo 37.
fn check(symbols: &[u8]) -> u32 {
    symbols
        .iter()
        .fold(0, |rest, byte| (rest * 32 + value(*byte).unwrap_or(0)) % 37)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_it_was_printed() {
        for fill in [0_u8, 1, 0x5A, 0xFF] {
            let code = encode(&[fill; RANDOM]);
            assert_eq!(code.len(), SYMBOLS + 1);
            let text = grouped(&code);
            assert_eq!(parse(text.as_bytes()).ok().unwrap().expose(), code.expose());
            let sloppy = text
                .to_lowercase()
                .replace('-', " ")
                .replace('0', "o")
                .replace('1', "l");
            assert_eq!(
                parse(sloppy.as_bytes()).ok().unwrap().expose(),
                code.expose(),
                "{sloppy}"
            );
        }
        // By hand: 80 bits of ones are sixteen times 31; 31 * (32^16 - 1) / 31 mod 37 is 32^16 - 1 mod 37.
        assert_eq!(grouped(&encode(&[0xFF; RANDOM])).as_str(), "ZZZZ-ZZZZ-ZZZZ-ZZZZ-F");
        assert_eq!(grouped(&encode(&[0; RANDOM])).as_str(), "0000-0000-0000-0000-0");
    }

    #[test]
    fn one_wrong_symbol_and_two_swapped_ones_are_noticed() {
        let code = encode(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 0x10, 0x32]);
        let good = code.expose().to_vec();
        for at in 0..SYMBOLS {
            for other in &ALPHABET[..32] {
                let mut bad = good.clone();
                bad[at] = *other;
                let read = parse(&bad).err();
                assert_eq!(read, (bad != good).then_some(RecoveryError::Mistyped));
            }
            let mut bad = good.clone();
            bad.swap(at, at + 1);
            if bad != good && !b"*~$=U".contains(&bad[at]) {
                assert_eq!(parse(&bad).err(), Some(RecoveryError::Mistyped), "swap at {at}");
            }
        }
    }

    #[test]
    fn what_is_no_code_is_said_to_be_none() {
        for bad in ["", "123456", "ABCD-EFGH-JKMN-PQRS", "ABCD-EFGH-JKMN-PQRS-TT", "É"] {
            assert_eq!(parse(bad.as_bytes()).err(), Some(RecoveryError::Malformed), "{bad}");
        }
        assert_eq!(parse(&[b'0'; 1000]).err(), Some(RecoveryError::Malformed));
    }
}
