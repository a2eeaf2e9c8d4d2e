//! Display fobs whose serial and clock are read over NFC, and whose clock and seed are written: what they have in common, and
//! who is asked how. One maker's so far; another is a variant of [`ClockFob`], a file for its session and a line in
//! [`ClockFob::open`].

use std::time::Instant;

use crate::codec::iso7816::{Command, FetchRest, Response, StatusWord};
use crate::codec::vendor::token2::{self, ClockSync, Config, DisplayTime, Info, KEY_REFUSED, PUBLIC_KEY, Token2Error};
use crate::device::DeviceError;
use crate::device::card_pump::CardPump;
use crate::link::CardLink;
use crate::types::{Cancel, OathAlgorithm, Secret, UnixMillis};

/// What [`DeviceError::Unsupported`] names when nothing of the sort is there.
const CLOCK: &str = "a clock that can be read";

impl From<Token2Error> for DeviceError {
    fn from(error: Token2Error) -> Self {
        match error {
            Token2Error::Truncated | Token2Error::Serial | Token2Error::Challenge => Self::Protocol(error.as_str()),
            Token2Error::Seed | Token2Error::Algorithm | Token2Error::Period | Token2Error::Time => {
                Self::Unsupported(error.as_str())
            }
        }
    }
}

/// What a fob tells anybody, without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FobFace {
    /// Who made it, for the ledger: `token2`.
    pub maker: &'static str,
    /// Serial, as printed on its back.
    pub serial: String,
    /// Model, where the serial tells.
    pub model: Option<&'static str>,
    /// Its clock, whole seconds.
    pub clock_s: i64,
    /// Clock of the fob minus time of the host, in milliseconds, to about half a second: the fob tells whole seconds.
    pub offset_ms: i64,
    /// Whether writing the clock wipes the seed; `None` when that is not known, and then it is to be expected.
    pub clock_wipes_seed: Option<bool>,
}

/// What is to be written beside the seed.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Hash.
    pub algorithm: OathAlgorithm,
    /// Time step in seconds.
    pub period_s: u32,
}

/// The host's clock, read at the moment of an exchange.
pub type Now<'a> = &'a dyn Fn() -> UnixMillis;

/// A fob of one of the makers, held by its reader.
pub enum ClockFob<'a> {
    /// The Token2 family with one profile.
    Token2(Token2<'a>),
}

impl<'a> ClockFob<'a> {
    /// Looks what is there. Sends one command, which reads and needs no key.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] for anything that is no such fob; the link's own.
    pub fn open(
        link: &'a mut dyn CardLink,
        now: Now<'_>,
        deadline: Instant,
        cancel: &'a Cancel,
    ) -> Result<(Self, FobFace), DeviceError> {
        let mut fob = Token2 {
            pump: CardPump::new(link, FetchRest::GET_RESPONSE, deadline, cancel),
        };
        let face = fob.look(now)?;
        Ok((Self::Token2(fob), face))
    }

    /// Reads serial and clock once more. One APDU.
    ///
    /// # Errors
    /// As [`ClockFob::open`].
    pub fn look(&mut self, now: Now<'_>) -> Result<FobFace, DeviceError> {
        match self {
            Self::Token2(fob) => fob.look(now),
        }
    }

    /// Writes configuration and the host's time, then the seed if one is given. Four APDUs without a seed, five with one. The documented key is
    /// tried once. Once the fob has taken it, the cancel flag is not looked at: in between it may be without a seed.
    ///
    /// # Errors
    /// [`DeviceError::KeyRefused`], and then nothing was written; [`DeviceError::Unsupported`] for what the fob cannot be set to,
    /// before anything is sent. After any other error the fob may have the new seed, the old one, or none.
    pub fn write(&mut self, setting: Setting, seed: Option<&Secret>, now: Now<'_>) -> Result<(), DeviceError> {
        match self {
            Self::Token2(fob) => fob.write(setting, seed, now),
        }
    }
}

/// A fob of the Token2 family.
pub struct Token2<'a> {
    pump: CardPump<'a>,
}

impl Token2<'_> {
    fn look(&mut self, now: Now<'_>) -> Result<FobFace, DeviceError> {
        let before = now();
        let response = self.pump.run(&token2::info())?;
        let after = now();
        if !response.status.is_success() {
            return Err(DeviceError::Unsupported(CLOCK));
        }
        // Another card may take the command for one of its own, and answer something.
        let Ok(Info { serial, utc_s }) = Info::parse(&response.data) else {
            return Err(DeviceError::Unsupported(CLOCK));
        };
        let model = token2::model_of(&serial);
        let clock_s = i64::from(utc_s);
        // The middle of the second it told, against the middle of the exchange.
        let host_ms = before.0.midpoint(after.0);
        Ok(FobFace {
            maker: "token2",
            model: model.map(|model| model.name),
            clock_s,
            offset_ms: clock_s.saturating_mul(1000).saturating_add(500).saturating_sub(host_ms),
            clock_wipes_seed: model.and_then(|model| match model.clock_sync {
                ClockSync::Free => Some(false),
                ClockSync::Restricted => Some(true),
                ClockSync::Unknown => None,
            }),
            serial,
        })
    }

    fn write(&mut self, setting: Setting, seed: Option<&Secret>, now: Now<'_>) -> Result<(), DeviceError> {
        // Made beforehand, so that nothing is sent when the fob cannot be set to it.
        let config = |at: UnixMillis| {
            // Half a second of an exchange is on its way before the fob takes it.
            let utc_s = u32::try_from(at.plus_ms(500).seconds()).map_err(|_| Token2Error::Time)?;
            let config = Config {
                display: DisplayTime::default(),
                utc_s,
                algorithm: setting.algorithm,
                period_s: setting.period_s,
            };
            token2::write_config(&PUBLIC_KEY, &config)
        };
        config(now())?;
        let write_seed = seed.map(|seed| token2::write_seed(&PUBLIC_KEY, seed)).transpose()?;
        self.authenticate()?;
        self.pump.insist();
        done(&self.pump.run(&config(now())?)?)?;
        if let Some(write_seed) = write_seed {
            done(&self.pump.run(&write_seed)?)?;
        }
        Ok(())
    }

    /// Proves the published key, once: a fob with a key of its own may count wrong ones, and some lock themselves for good.
    fn authenticate(&mut self) -> Result<(), DeviceError> {
        let challenge = self.challenge()?;
        let command = token2::authenticate(&PUBLIC_KEY, &challenge.data)?;
        let response = self.pump.run(&command)?;
        let [sw1, _] = response.status.0.to_be_bytes();
        match response.status {
            StatusWord::SUCCESS => Ok(()),
            KEY_REFUSED | StatusWord::SECURITY | StatusWord::WRONG_DATA => Err(DeviceError::KeyRefused),
            _ if sw1 == 0x63 => Err(DeviceError::KeyRefused),
            other => Err(DeviceError::Status(other.0)),
        }
    }

    fn challenge(&mut self) -> Result<Response, DeviceError> {
        let response = self.pump.run(&token2::challenge())?;
        if response.status.is_success() {
            return Ok(response);
        }
        // A challenge costs nothing, so the other form may be tried.
        let response = self.ask(&token2::challenge_without_body())?;
        Ok(response)
    }

    fn ask(&mut self, command: &Command) -> Result<Response, DeviceError> {
        let response = self.pump.run(command)?;
        done(&response)?;
        Ok(response)
    }
}

fn done(response: &Response) -> Result<(), DeviceError> {
    match response.status {
        StatusWord::SUCCESS => Ok(()),
        KEY_REFUSED => Err(DeviceError::KeyRefused),
        other => Err(DeviceError::Status(other.0)),
    }
}

#[cfg(test)]
#[path = "clock_fob_tests.rs"]
mod tests;
