//! Keys of the `options` dictionaries, once for daemon and client.

/// Reserved on every method.
pub const CASE: &str = "case";
/// The token whose place is taken by the one that is registered (s).
pub const REPLACES: &str = "replaces";
/// The token is lost (b).
pub const LOST: &str = "lost";
/// Not after all (b).
pub const WITHDRAW: &str = "withdraw";
/// Free text of the bench (s).
pub const LABEL: &str = "label";
/// Most rows of an answer (u).
pub const LIMIT: &str = "limit";
/// Serial (s).
pub const SERIAL: &str = "serial";
/// Relying party id (s).
pub const RP_ID: &str = "rp-id";
/// Whose shapes options and response have (s).
pub const PROVIDER: &str = "provider";
/// Account name shown on the key (s).
pub const USER_NAME: &str = "user-name";
/// Discoverable credential (b).
pub const DISCOVERABLE: &str = "discoverable";
/// The key is the organisation's (b).
pub const ORGANISATION: &str = "organisation";
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
/// Increasing challenges only (b).
pub const ONLY_INCREASING: &str = "only-increasing";
/// A credential that counts (b).
pub const EVENT: &str = "event";
/// Descriptor with a seed (h).
pub const SEED: &str = "seed";
/// A new seed with the clock (b).
pub const RESEED: &str = "reseed";
/// Descriptor with the PIN (h).
pub const PIN: &str = "pin";
/// Descriptor with the passphrase of a file (h).
pub const PASSPHRASE: &str = "passphrase";
/// Seeds go out: no option, a word that polkit's rules see.
pub const EXPORT: &str = "export";
/// Seeds come in: no option, a word that polkit's rules see.
pub const IMPORT: &str = "import";
/// Format of a seed file (s).
pub const FORMAT: &str = "format";
/// Descriptor with the pre-shared key of a file (h).
pub const KEY: &str = "key";
/// What is demanded of encrypted seeds: `strict` or `lax` (s).
pub const INTEGRITY: &str = "integrity";
/// Which column of a file holds what (s).
pub const MAP: &str = "map";
/// Name of a delivery (s).
pub const BATCH: &str = "batch";
/// Look, and write nothing (b).
pub const DRY_RUN: &str = "dry-run";
/// Descriptor for the file of what was left (h).
pub const LEFT: &str = "left";
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
/// Seconds that another program which has the device is waited for; 0 refuses at once (u).
pub const WAIT_S: &str = "wait-s";
/// Where the device is that is meant, as `Device1.Place` has it (s).
pub const PLACE: &str = "place";
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
/// One of the last two tries of a PIN may be used (b).
pub const LAST_TRIES: &str = "last-tries";
/// Ask for a finger before the PIN (b).
pub const FINGER: &str = "finger";
/// Characters of a PIN that is drawn (u).
pub const LENGTH: &str = "length";
/// Letters and digits instead of digits alone (b).
pub const LETTERS: &str = "letters";
/// The PIN must be changed before it is used (b).
pub const FORCE_CHANGE: &str = "force-change";
/// Relying parties (as).
pub const RP_IDS: &str = "rp-ids";
/// Name for people (s).
pub const DISPLAY_NAME: &str = "display-name";
/// Name of a finger (s).
pub const NAME: &str = "name";
/// Whom a case is about (s).
pub const SUBJECT: &str = "subject";
/// The help desk's own number (s).
pub const TICKET: &str = "ticket";
/// What the matter is (s).
pub const REASON: &str = "reason";
/// How far something reaches (s).
pub const TIER: &str = "tier";
/// How long a bypass is good, in seconds (u).
pub const LASTS_S: &str = "lasts-s";
/// How often a bypass may be used (u).
pub const USES: &str = "uses";
/// What becomes of a bypass when the token is found again (s).
pub const FOUND_AGAIN: &str = "found-again";
/// What the second person says to it (s).
pub const REMARK: &str = "remark";
