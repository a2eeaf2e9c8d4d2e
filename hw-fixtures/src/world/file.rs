//! The world file: tokens, their models, fronts and clocks.

use serde::{Deserialize, Serialize};

use crate::SimError;
use crate::person::TouchMode;

/// The ways a token can be plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Front {
    /// The daemon's virtual link.
    Virtual,
    /// A reader of `pcscd`, by vpcd.
    Vpcd,
    /// A hidraw node, by umockdev.
    Umockdev,
    /// A USB device controller of this machine, as a gadget.
    Gadget,
}

impl std::str::FromStr for Front {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "virtual" => Ok(Self::Virtual),
            "vpcd" => Ok(Self::Vpcd),
            "umockdev" => Ok(Self::Umockdev),
            "gadget" => Ok(Self::Gadget),
            other => Err(SimError::Invalid(format!(
                "front {other:?} is not one of virtual, vpcd, umockdev, gadget"
            ))),
        }
    }
}

/// One front or several: a device with two faces may show one by umockdev and the other by vpcd.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum FrontList {
    One(Front),
    Several(Vec<Front>),
}

/// A token of a world file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// Its name in every command.
    pub name: String,
    /// An embedded profile, or the path of a profile file.
    pub profile: String,
    /// Where it is plugged in; by default the virtual link.
    front: Option<FrontList>,
    /// Its serial number.
    pub serial: Option<String>,
    /// How its person behaves.
    #[serde(default)]
    pub touch: TouchMode,
    /// Whether it is plugged in from the start.
    #[serde(default = "yes")]
    pub plugged: bool,
    /// A fob's seed in hexadecimal; by default drawn from the world's seed and its name.
    pub seed_hex: Option<String>,
    /// How many seconds a fob's clock is ahead.
    #[serde(default)]
    pub offset_s: f64,
    /// How many parts per million a fob's clock gains.
    #[serde(default)]
    pub ppm: f64,
    /// A HOTP fob's counter.
    #[serde(default)]
    pub counter: u64,
}

impl TokenSpec {
    /// A token on the virtual link with defaults for everything else.
    pub fn new(name: &str, profile: &str) -> Self {
        Self {
            name: name.to_owned(),
            profile: profile.to_owned(),
            front: None,
            serial: None,
            touch: TouchMode::Auto,
            plugged: true,
            seed_hex: None,
            offset_s: 0.0,
            ppm: 0.0,
            counter: 0,
        }
    }

    /// The same token at these fronts.
    pub fn at(mut self, fronts: Vec<Front>) -> Self {
        self.front = Some(FrontList::Several(fronts));
        self
    }

    pub(super) fn fronts(&self) -> Vec<Front> {
        match &self.front {
            None => vec![Front::Virtual],
            Some(FrontList::One(front)) => vec![*front],
            Some(FrontList::Several(fronts)) => fronts.clone(),
        }
    }
}

fn yes() -> bool {
    true
}

/// A world file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldFile {
    /// Fixes every token's random bytes.
    pub seed: Option<u64>,
    /// Stops the clock that fobs are read by, in seconds since 1970.
    pub clock_unix_s: Option<i64>,
    /// Milliseconds every response of a card in a reader takes.
    #[serde(default)]
    pub apdu_delay_ms: u64,
    /// The tokens.
    #[serde(default)]
    pub token: Vec<TokenSpec>,
}

impl WorldFile {
    /// Reads a world file's text.
    ///
    /// # Errors
    /// When it is not what [`WorldFile`] says; the error names the line.
    pub fn parse(text: &str) -> Result<Self, SimError> {
        toml::from_str(text).map_err(|error| SimError::Invalid(format!("world file: {error}")))
    }

    /// One key with two faces, one plain card and one fob that is nine minutes slow.
    pub fn example() -> Self {
        Self::parse(include_str!("../../worlds/example.toml")).unwrap_or_default()
    }
}
