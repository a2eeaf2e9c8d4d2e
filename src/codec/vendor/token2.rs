//! Display fobs and cards of the Token2 family with one profile (miniOTP-2/3-i, C301-i, C302-i, OTPC-P1-i, OTPC-P2-i): serial and
//! clock are read without a key, clock and seed are written with a key that is the same for all of them and public.
//!
//! Over NFC or contacts, ISO 7816 short APDUs, no SELECT; a fob answers only while it is switched on. Two commands are secure: they
//! carry four bytes of an SM4-CBC-MAC. What is written cannot be read back; a fob shows its code to a person and to nobody else.

use sm4::Sm4;
use sm4::cipher::{Block, BlockCipherEncrypt, KeyInit};
use zeroize::Zeroizing;

use crate::codec::iso7816::{Command, StatusWord};
use crate::codec::oath::{MAX_SEED_LEN, MIN_SEED_LEN};
use crate::types::{OathAlgorithm, Secret};

/// The key of the whole family. No secret: the maker publishes it, and every fob has it.
pub const PUBLIC_KEY: [u8; 16] = [
    0x8A, 0xD2, 0x06, 0x88, 0x3C, 0xA3, 0x69, 0x48, 0x2A, 0xB2, 0x71, 0x82, 0xB6, 0xE8, 0x32, 0x24,
];
/// `6983`: the fob does not take the key, or takes none any more.
pub const KEY_REFUSED: StatusWord = StatusWord(0x6983);
/// Bytes of a challenge.
pub const CHALLENGE_LEN: usize = 8;
/// Longest seed the fob takes.
pub const MAX_FOB_SEED: usize = 63;
/// Longest serial that is believed. Those known have 13 to 15 digits.
const MAX_SERIAL: usize = 32;
const BLOCK: usize = 16;
const MAC_LEN: usize = 4;

/// Why bytes are none of this family's, or a request cannot be put into its commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Token2Error {
    /// The answer ends before its serial or its time.
    #[error("a fob's answer that ends early")]
    Truncated,
    /// The serial is empty, longer than 32 bytes, or not printable ASCII.
    #[error("a fob's serial that is none")]
    Serial,
    /// A challenge of another length than 8.
    #[error("a fob's challenge without eight bytes")]
    Challenge,
    /// Seeds have 10 to 63 bytes here.
    #[error("a fob of this family takes seeds of 10 to 63 bytes")]
    Seed,
    /// SHA-512 is not among what it knows.
    #[error("a fob of this family computes SHA1 or SHA256 alone")]
    Algorithm,
    /// Only 30 and 60 seconds are.
    #[error("a fob of this family has time steps of 30 or 60 seconds")]
    Period,
    /// Its clock has 32 bits.
    #[error("a time that does not fit the fob's clock")]
    Time,
}

impl Token2Error {
    /// The sentence as a constant, for errors that carry no allocation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "a fob's answer that ends early",
            Self::Serial => "a fob's serial that is none",
            Self::Challenge => "a fob's challenge without eight bytes",
            Self::Seed => "a fob of this family takes seeds of 10 to 63 bytes",
            Self::Algorithm => "a fob of this family computes SHA1 or SHA256 alone",
            Self::Period => "a fob of this family has time steps of 30 or 60 seconds",
            Self::Time => "a time that does not fit the fob's clock",
        }
    }
}

/// What the fob tells anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Serial, as printed on its back.
    pub serial: String,
    /// Its clock: seconds since 1970, UTC.
    pub utc_s: u32,
}

impl Info {
    /// Reads the answer to [`info`]: three bytes of no known meaning, the serial with its length in front, two more, the time.
    ///
    /// # Errors
    /// [`Token2Error::Truncated`], [`Token2Error::Serial`].
    pub fn parse(data: &[u8]) -> Result<Self, Token2Error> {
        let (length, rest) = data
            .get(3..)
            .and_then(<[u8]>::split_first)
            .ok_or(Token2Error::Truncated)?;
        let (serial, rest) = rest
            .split_at_checked(usize::from(*length))
            .ok_or(Token2Error::Truncated)?;
        if !(1..=MAX_SERIAL).contains(&serial.len()) || !serial.iter().all(u8::is_ascii_graphic) {
            return Err(Token2Error::Serial);
        }
        let time = rest.get(2..).and_then(<[u8]>::first_chunk::<4>);
        Ok(Self {
            serial: String::from_utf8_lossy(serial).into_owned(),
            utc_s: u32::from_be_bytes(*time.ok_or(Token2Error::Truncated)?),
        })
    }
}

/// How long the display stays lit after the button.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DisplayTime {
    /// 15 s.
    Quarter,
    /// 30 s.
    #[default]
    Half,
    /// 60 s.
    One,
    /// 120 s.
    Two,
}

/// What is written beside the seed. All of it goes in one command: there is none for the clock alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Display.
    pub display: DisplayTime,
    /// Clock to set: seconds since 1970, UTC.
    pub utc_s: u32,
    /// SHA-1 or SHA-256.
    pub algorithm: OathAlgorithm,
    /// 30 or 60.
    pub period_s: u32,
}

impl Config {
    /// Nineteen bytes, in the clear.
    fn encode(&self) -> Result<[u8; 19], Token2Error> {
        let display = match self.display {
            DisplayTime::Quarter => 0,
            DisplayTime::Half => 1,
            DisplayTime::One => 2,
            DisplayTime::Two => 3,
        };
        let algorithm = match self.algorithm {
            OathAlgorithm::Sha1 => 1,
            OathAlgorithm::Sha256 => 2,
            OathAlgorithm::Sha512 => return Err(Token2Error::Algorithm),
        };
        let period = match self.period_s {
            30 => 0x1E,
            60 => 0x3C,
            _ => return Err(Token2Error::Period),
        };
        let [a, b, c, d] = self.utc_s.to_be_bytes();
        Ok([
            0x81, 0x11, 0x1F, 1, display, 0x0F, 4, a, b, c, d, 0x86, 6, 0x0A, 1, algorithm, 0x0D, 1, period,
        ])
    }
}

/// Reads serial and clock; wants no key. The body has no Le behind it.
#[must_use]
pub fn info() -> Command {
    plain(0x41, 0x00, vec![0x02, 0x11])
}

/// Asks for a challenge, as the maker's own program does: with one byte of body.
#[must_use]
pub fn challenge() -> Command {
    plain(0x4B, 0x08, vec![0x00])
}

/// The same without a body, for firmware that takes the byte for a wrong length.
#[must_use]
pub fn challenge_without_body() -> Command {
    Command {
        expects_data: true,
        ..plain(0x4B, 0x08, Vec::new())
    }
}

/// Proves the key: the challenge and eight zeros, encrypted.
///
/// # Errors
/// [`Token2Error::Challenge`].
pub fn authenticate(key: &[u8; 16], challenge: &[u8]) -> Result<Command, Token2Error> {
    let challenge: [u8; CHALLENGE_LEN] = challenge.try_into().map_err(|_| Token2Error::Challenge)?;
    let mut block = [0; BLOCK];
    block.iter_mut().zip(challenge).for_each(|(place, byte)| *place = byte);
    let mut block = Block::<Sm4>::from(block);
    Sm4::new(key.into()).encrypt_block(&mut block);
    Ok(plain(0xCE, 0x00, block.to_vec()))
}

/// Writes the seed, encrypted.
///
/// # Errors
/// [`Token2Error::Seed`].
pub fn write_seed(key: &[u8; 16], seed: &Secret) -> Result<Command, Token2Error> {
    if !(MIN_SEED_LEN..=MAX_FOB_SEED.min(MAX_SEED_LEN)).contains(&seed.len()) {
        return Err(Token2Error::Seed);
    }
    // Padding is 80 and zeros up to a block; a seed of whole blocks gets a block of padding.
    let mut padded = Zeroizing::new(Vec::with_capacity(MAX_FOB_SEED + 1));
    padded.extend_from_slice(seed.expose());
    padded.push(0x80);
    let whole = padded.len().next_multiple_of(BLOCK);
    padded.resize(whole, 0);
    let cipher = Sm4::new(key.into());
    let mut body = Vec::with_capacity(padded.len() + MAC_LEN);
    for chunk in padded.chunks_exact(BLOCK) {
        let mut block = Block::<Sm4>::default();
        block.iter_mut().zip(chunk).for_each(|(place, byte)| *place = *byte);
        cipher.encrypt_block(&mut block);
        body.extend_from_slice(&block);
    }
    Ok(secure(key, 0xC5, 0x01, body))
}

/// Writes configuration and clock. Models that restrict the setting of the clock forget their seed over it.
///
/// # Errors
/// [`Token2Error::Algorithm`], [`Token2Error::Period`].
pub fn write_config(key: &[u8; 16], config: &Config) -> Result<Command, Token2Error> {
    Ok(secure(key, 0xD4, 0x00, config.encode()?.to_vec()))
}

fn plain(ins: u8, p1: u8, data: Vec<u8>) -> Command {
    Command {
        expects_data: false,
        ..Command::new(0x80, ins, p1, 0x00, data)
    }
}

/// Class 84, the MAC behind the body.
fn secure(key: &[u8; 16], ins: u8, p1: u8, mut body: Vec<u8>) -> Command {
    let mac = mac(key, ins, p1, &body);
    body.extend_from_slice(&mac);
    Command {
        expects_data: false,
        ..Command::new(0x84, ins, p1, 0x00, body)
    }
}

/// The first four bytes of the last block of SM4-CBC (no IV) over header and body. The header has class 80 and the length without
/// MAC; padding is 80 and zeros, and none where the blocks are full.
fn mac(key: &[u8; 16], ins: u8, p1: u8, body: &[u8]) -> [u8; MAC_LEN] {
    // Bodies have at most 64 bytes.
    let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
    let mut input = vec![0x80, ins, p1, 0x00, length];
    input.extend_from_slice(body);
    if !input.len().is_multiple_of(BLOCK) {
        input.push(0x80);
        let whole = input.len().next_multiple_of(BLOCK);
        input.resize(whole, 0);
    }
    let cipher = Sm4::new(key.into());
    let mut state = Block::<Sm4>::default();
    for chunk in input.chunks_exact(BLOCK) {
        state.iter_mut().zip(chunk).for_each(|(place, byte)| *place ^= *byte);
        cipher.encrypt_block(&mut state);
    }
    state.first_chunk().copied().unwrap_or_default()
}

/// What a model does when its clock is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockSync {
    /// Keeps its seed.
    Free,
    /// Forgets its seed.
    Restricted,
    /// Nobody knows: to be treated as restricted.
    Unknown,
}

/// A model of the family, by the first digits of its serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// Name as sold.
    pub name: &'static str,
    /// As the maker sells it. A dealer may have ordered otherwise, and no fob tells.
    pub clock_sync: ClockSync,
}

const MODELS: &[(&str, Model)] = &[
    ("8659600", model("Token2 miniOTP-2-i", ClockSync::Restricted)),
    ("8659601", model("Token2 miniOTP-3-i", ClockSync::Restricted)),
    ("8659609", model("Token2 miniOTP-3-i-NB", ClockSync::Restricted)),
    ("8659610", model("Token2 C301-i", ClockSync::Restricted)),
    ("8659612", model("Token2 OTPC-P1-i", ClockSync::Restricted)),
    ("8659621", model("Token2 OTPC-P2-i-NB", ClockSync::Restricted)),
    ("8659622", model("Token2 OTPC-P2-i", ClockSync::Restricted)),
    ("8659632", model("Token2 C302-i", ClockSync::Free)),
];

const fn model(name: &'static str, clock_sync: ClockSync) -> Model {
    Model { name, clock_sync }
}

/// The model of a serial; `None` for a prefix that is in no list, of a fob that may be of another protocol all the same.
#[must_use]
pub fn model_of(serial: &str) -> Option<Model> {
    MODELS
        .iter()
        .find(|(prefix, _)| serial.starts_with(prefix))
        .map(|(_, model)| *model)
}

#[cfg(test)]
#[path = "token2_tests.rs"]
mod tests;
