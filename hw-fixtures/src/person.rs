//! The person at the key: touches at once, when told to, or never.

use serde::{Deserialize, Serialize};

/// How a token's person behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TouchMode {
    /// Touches the moment the token asks.
    #[default]
    Auto,
    /// Touches when the control socket or the test says so.
    Manual,
    /// Never touches.
    Never,
}

impl std::str::FromStr for TouchMode {
    type Err = crate::SimError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "manual" => Ok(Self::Manual),
            "never" => Ok(Self::Never),
            other => Err(crate::SimError::Invalid(format!(
                "touch mode {other:?} is not one of auto, manual, never"
            ))),
        }
    }
}

/// Whether the person is touching while a model runs a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A finger is on the key; one request consumes it.
    Touching,
    /// Nobody yet: a request that needs a touch must wait.
    Absent,
}
