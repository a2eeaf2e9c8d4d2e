//! Keys of the `options` dictionaries, once for daemon and client.

/// Reserved on every method.
pub const CASE: &str = "case";
/// Free text of the bench (s).
pub const LABEL: &str = "label";
/// Serial (s).
pub const SERIAL: &str = "serial";
/// Relying party id (s).
pub const RP_ID: &str = "rp-id";
/// Account name shown on the key (s).
pub const USER_NAME: &str = "user-name";
/// Discoverable credential (b).
pub const DISCOVERABLE: &str = "discoverable";
/// Hash (s).
pub const ALGORITHM: &str = "algorithm";
/// Digits (u).
pub const DIGITS: &str = "digits";
/// Time step in seconds (u).
pub const PERIOD_S: &str = "period-s";
/// What moves a code on: `time` or `event` (s).
pub const FACTOR: &str = "factor";
/// Counter of the next code of an event token (t).
pub const COUNTER: &str = "counter";
/// Manufacturer (s).
pub const MAKER: &str = "maker";
/// Touch wanted for each code (b).
pub const TOUCH: &str = "touch";
/// Descriptor with the card's password (h).
pub const PASSWORD: &str = "password";
/// Descriptor with the PIN (h).
pub const PIN: &str = "pin";
/// Encoding of a seed (s).
pub const ENCODING: &str = "encoding";
/// Model name (s).
pub const MODEL: &str = "model";
/// Who issues an app's codes (s).
pub const ISSUER: &str = "issuer";
/// Account name that an app shows (s).
pub const ACCOUNT: &str = "account";
/// How many recovery codes (u).
pub const COUNT: &str = "count";
/// Leave virtual tokens out (b, default true).
pub const REAL_ONLY: &str = "real-only";
/// Code read off a display (s).
pub const CODE: &str = "code";
/// Device to use (o).
pub const DEVICE: &str = "device";
/// Accept an offset no clock drifts to (b).
pub const BEYOND_BOUND: &str = "beyond-bound";
/// Measure against an unsynchronised host clock (b).
pub const UNSYNCHRONISED: &str = "unsynchronised";
/// `authenticatorReset`, by name (b).
pub const RESET: &str = "reset";
/// Do not look for the device (b).
pub const ABSENT: &str = "absent";
/// The device was collected and destroyed (b).
pub const COLLECTED: &str = "collected";
