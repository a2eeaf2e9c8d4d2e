//! The daemon's configuration file: TOML, every key optional, defaults that work. Unknown keys are refused, so that a typing
//! error is not taken for a default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::device::Deadlines;
use crate::directory::ldap;
use crate::trust::section::SectionError;
use crate::trust::{Rules, Section};
use crate::types::{Mode, UnixMillis};

/// Default path of the configuration file. It may be absent; a file named on the command line may not.
pub const DEFAULT_PATH: &str = "/etc/claviger/clavigerd.toml";

/// Where the log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogTarget {
    /// journald when started by systemd (`JOURNAL_STREAM`), else standard error.
    Auto,
    /// journald.
    Journald,
    /// Standard error.
    Stderr,
}

/// Why the configuration could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What `[trust]` names is not what it should be; the text names member and file.
    #[error(transparent)]
    Trust(#[from] SectionError),
    /// The file is not what we expect; the text names line and key.
    #[error("the configuration file {path} is not valid:\n{message}")]
    Invalid {
        /// Which.
        path: PathBuf,
        /// Line, column and what was expected.
        message: String,
    },
}

/// All of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// `system` or `session`; the command line's `--mode` wins.
    pub mode: Mode,
    /// Where the ledger lives.
    pub state: State,
    /// What devices are looked for.
    pub devices: Devices,
    /// Simulated tokens.
    #[serde(rename = "virtual")]
    pub virtual_link: VirtualLink,
    /// How long things may take.
    pub deadlines: DeadlinesMs,
    /// The host clock.
    pub clock: ClockTrust,
    /// Our own relying party.
    pub fido2: Fido2,
    /// Which keys are registered.
    pub trust: Section,
    /// What is foreseen of clocks.
    pub drift: Drift,
    /// How often clocks may be set right in vain.
    pub resync: Resync,
    /// What is logged, and where.
    pub log: Log,
    /// How operations are kept and ended.
    pub operations: Operations,
    /// The recorder.
    pub trace: Trace,
    /// Who must be believed how well before what.
    pub authority: Authority,
    /// Whom tokens are for.
    pub subjects: Subjects,
    /// Programs that are called.
    pub hooks: Hooks,
}

/// `[authority]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Authority {
    /// The policy's file; `off`: no case is demanded. Left out: `/etc/claviger/policy.toml` in system mode, and where that is absent
    /// the policy that ships with Claviger; `off` in session mode, where there is one person only.
    pub policy: Option<String>,
    /// Whether a change wants a case that reaches it. `false`, for a time of introduction: the policy says who needs a second factor and
    /// when, and whoever names a case is held to it.
    pub demand_cases: bool,
    /// Role in the policy of subjects that are not named in `roles`; left out: the policy speaks of no others.
    pub role: Option<String>,
    /// Roles in the policy, by subject.
    pub roles: BTreeMap<String, String>,
}

impl Default for Authority {
    fn default() -> Self {
        Self {
            policy: None,
            demand_cases: true,
            role: None,
            roles: BTreeMap::new(),
        }
    }
}

/// Default path of the policy. It may be absent; a file named in the configuration may not.
pub const POLICY_PATH: &str = "/etc/claviger/policy.toml";

/// The word that stands for no policy.
const OFF: &str = "off";

impl Authority {
    /// The policy's file, and whether it may be absent; `None`: no case is demanded.
    #[must_use]
    pub fn policy_file(&self, mode: Mode) -> Option<(PathBuf, bool)> {
        match (self.policy.as_deref(), mode) {
            (Some(OFF), _) | (None, Mode::Session) => None,
            (Some(path), _) => Some((PathBuf::from(path), false)),
            (None, Mode::System) => Some((PathBuf::from(POLICY_PATH), true)),
        }
    }
}

/// `[subjects]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Subjects {
    /// The file. Absent: in system mode `/etc/claviger/subjects.toml`, if it is there; in session mode none.
    pub file: Option<PathBuf>,
    /// A server that is asked about whoever the file gives no role.
    pub ldap: Option<ldap::Section>,
}

/// `[hooks]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hooks {
    /// Executable that tells people what happened to their tokens; absent means that nobody is told.
    pub subject: Option<PathBuf>,
    /// Executable that tells those who look after the help desk that a case has waited too long; absent means that nobody is told.
    pub organisation: Option<PathBuf>,
    /// How long it may take, in milliseconds.
    pub timeout: u64,
}

/// `[state]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct State {
    /// Directory of the ledger, mode 0700.
    pub directory: PathBuf,
    /// File with the sealing key (32 bytes, mode 0600), made when absent. A systemd credential named `claviger.key` wins.
    pub key_file: Option<PathBuf>,
}

/// `[devices]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Devices {
    /// Look for FIDO keys on hidraw.
    pub hid: bool,
    /// Look for cards at pcscd.
    pub cards: bool,
    /// How many stuck lanes are borne before new devices are refused.
    pub max_quarantined: usize,
}

/// `[virtual]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct VirtualLink {
    /// Socket to listen on for simulated tokens; absent means off.
    pub socket: Option<PathBuf>,
}

/// `[deadlines]`, in milliseconds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DeadlinesMs {
    /// One exchange without a person.
    pub exchange: u64,
    /// One exchange that waits for a touch, and every other wait for a person.
    pub touch: u64,
    /// Waiting for another program to let go of a device.
    pub lock: u64,
    /// After an operation's deadline, until its device is declared unresponsive.
    pub grace: u64,
}

/// `[clock]`
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClockTrust {
    /// Something outside this system keeps its clock right (a hypervisor, a simulated world), so the kernel's word is not asked
    /// for. Drift is measured against this clock: set it only if that is true.
    pub kept_from_outside: bool,
}

/// `[fido2]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fido2 {
    /// Relying party id of the credentials made for tests.
    pub rp_id: String,
}

/// `[drift]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Drift {
    /// Fit rates to histories, for forecasts; codes are never accepted by them.
    pub forecast: bool,
    /// How long a battery lasts, in days.
    pub battery_days: u32,
    /// The same for single models, by name.
    pub battery_days_of: BTreeMap<String, u32>,
}

/// `[resync]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Resync {
    /// Resyncs and previews that a token may have in vain in 24 hours.
    pub tries_in_vain: u32,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Log {
    /// Filter in `tracing` syntax: `info`, `claviger=debug`.
    pub filter: String,
    /// Where to.
    pub target: LogTarget,
}

/// `[operations]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Operations {
    /// How long a result stays readable after `Completed`, in milliseconds.
    pub keep: u64,
    /// How long a stopping daemon lets running operations end before it cancels them, in milliseconds.
    pub stop_grace: u64,
}

/// `[trace]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Trace {
    /// Directory for recordings of every frame to and from the devices, one file for each start; absent means off. A recording
    /// is as sensitive as the tokens: a seed that is written to a card is in it.
    pub directory: Option<PathBuf>,
    /// Record in system mode too, where other people's tokens are plugged in.
    pub in_system_mode: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::System,
            state: State::default(),
            devices: Devices::default(),
            virtual_link: VirtualLink::default(),
            deadlines: DeadlinesMs::default(),
            clock: ClockTrust::default(),
            fido2: Fido2::default(),
            trust: Section::default(),
            drift: Drift::default(),
            resync: Resync::default(),
            log: Log::default(),
            operations: Operations::default(),
            trace: Trace::default(),
            authority: Authority::default(),
            subjects: Subjects::default(),
            hooks: Hooks::default(),
        }
    }
}

impl Default for Drift {
    fn default() -> Self {
        Self {
            forecast: true,
            battery_days: 1_826,
            battery_days_of: BTreeMap::new(),
        }
    }
}

impl Default for Resync {
    fn default() -> Self {
        Self { tries_in_vain: 5 }
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/var/lib/claviger"),
            key_file: None,
        }
    }
}

impl Default for Devices {
    fn default() -> Self {
        Self {
            hid: true,
            cards: true,
            max_quarantined: 8,
        }
    }
}

impl Default for DeadlinesMs {
    fn default() -> Self {
        // 30 s for a touch is what authenticators themselves allow (CTAP 2.1 section 6: user action timeout).
        Self {
            exchange: 5_000,
            touch: 30_000,
            lock: 3_000,
            grace: 2_000,
        }
    }
}

impl Default for Fido2 {
    fn default() -> Self {
        Self {
            rp_id: "claviger.invalid".to_owned(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            target: LogTarget::Auto,
        }
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            subject: None,
            organisation: None,
            timeout: 30_000,
        }
    }
}

impl Default for Operations {
    fn default() -> Self {
        Self {
            keep: 60_000,
            stop_grace: 5_000,
        }
    }
}

impl From<DeadlinesMs> for Deadlines {
    fn from(ms: DeadlinesMs) -> Self {
        Self {
            exchange: Duration::from_millis(ms.exchange),
            touch: Duration::from_millis(ms.touch),
            lock: Duration::from_millis(ms.lock),
            grace: Duration::from_millis(ms.grace),
        }
    }
}

impl Config {
    /// Reads a file. With `None` the default path is read if it is there. A `mode` given here wins over the file's.
    ///
    /// # Errors
    /// [`ConfigError`], with the file's name and the line.
    pub fn load(path: Option<&Path>, mode: Option<Mode>) -> Result<Self, ConfigError> {
        let (path, required) = match path {
            Some(path) => (path, true),
            None => (Path::new(DEFAULT_PATH), false),
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if !required && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => {
                return Err(ConfigError::Unreadable {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        Self::parse(&text, mode).map_err(|message| ConfigError::Invalid {
            path: path.to_owned(),
            message,
        })
    }

    /// The rules of trust it makes, at the instant `now`; `reader` reads the files it names.
    ///
    /// # Errors
    /// [`ConfigError::Trust`].
    pub fn rules(
        &self,
        reader: impl Fn(&Path) -> std::io::Result<Vec<u8>>,
        now: UnixMillis,
    ) -> Result<Rules, ConfigError> {
        Ok(self.trust.rules(reader, now)?)
    }

    fn parse(text: &str, mode: Option<Mode>) -> Result<Self, String> {
        let mut config: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        config.mode = mode.unwrap_or(config.mode);
        config.check()?;
        Ok(config)
    }

    /// What the types do not say.
    fn check(&self) -> Result<(), String> {
        let d = &self.deadlines;
        for (name, value) in [
            ("exchange", d.exchange),
            ("touch", d.touch),
            ("lock", d.lock),
            ("grace", d.grace),
        ] {
            if !(1..=600_000).contains(&value) {
                return Err(format!("deadlines.{name} is {value} ms; it must be from 1 to 600000"));
            }
        }
        if self.fido2.rp_id.is_empty() || self.fido2.rp_id.len() > 253 {
            return Err("fido2.rp-id must be a domain name of 1 to 253 characters".to_owned());
        }
        self.trust.check().map_err(|error| error.to_string())?;
        if let Some(ldap) = &self.subjects.ldap {
            ldap.check()?;
        }
        let single = self.drift.battery_days_of.values();
        if let Some(days) = single
            .chain([&self.drift.battery_days])
            .find(|days| !(1..=36_525).contains(*days))
        {
            return Err(format!("drift: a battery of {days} days; it must be from 1 to 36525"));
        }
        if !(1..=100).contains(&self.resync.tries_in_vain) {
            return Err(format!(
                "resync.tries-in-vain is {}; it must be from 1 to 100",
                self.resync.tries_in_vain
            ));
        }
        if !self.state.directory.is_absolute() {
            return Err(format!(
                "state.directory is {}; it must be an absolute path",
                self.state.directory.display()
            ));
        }
        if !(100..=600_000).contains(&self.hooks.timeout) {
            return Err(format!(
                "hooks.timeout is {} ms; it must be from 100 to 600000",
                self.hooks.timeout
            ));
        }
        for (name, path) in [
            ("subjects.file", &self.subjects.file),
            ("hooks.subject", &self.hooks.subject),
            ("hooks.organisation", &self.hooks.organisation),
        ] {
            if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
                return Err(format!("{name} is {}; it must be an absolute path", path.display()));
            }
        }
        if let Some(directory) = &self.trace.directory {
            if !directory.is_absolute() {
                return Err(format!(
                    "trace.directory is {}; it must be an absolute path",
                    directory.display()
                ));
            }
            if self.mode == Mode::System && !self.trace.in_system_mode {
                return Err(
                    "trace.directory would record the secrets of everybody's tokens: in system mode say also \
                     trace.in-system-mode = true"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default() {
        let config = Config::parse("", None).unwrap();
        assert_eq!(config.mode, Mode::System);
        assert_eq!(config.state.directory, Path::new("/var/lib/claviger"));
        assert!(config.virtual_link.socket.is_none());
    }

    #[test]
    fn a_typing_error_is_named_with_its_line() {
        let error = Config::parse("mode = \"system\"\n[deadlines]\nexchagne = 5\n", None).unwrap_err();
        assert!(error.contains("exchagne") && error.contains("line 3"), "{error}");
    }

    #[test]
    fn values_out_of_range_are_refused() {
        assert!(
            Config::parse("[deadlines]\ntouch = 0\n", None)
                .unwrap_err()
                .contains("deadlines.touch")
        );
        assert!(
            Config::parse("[drift]\nbattery-days-of = { \"C301\" = 0 }\n", None)
                .unwrap_err()
                .contains("36525")
        );
        assert!(
            Config::parse("[resync]\ntries-in-vain = 0\n", None)
                .unwrap_err()
                .contains("tries-in-vain")
        );
        assert!(
            Config::parse("[state]\ndirectory = \"here\"\n", None)
                .unwrap_err()
                .contains("absolute")
        );
        assert!(
            Config::parse("[hooks]\nsubject = \"tell\"\n", None)
                .unwrap_err()
                .contains("absolute")
        );
        assert!(
            Config::parse("[hooks]\ntimeout = 5\n", None)
                .unwrap_err()
                .contains("hooks.timeout")
        );
        assert!(
            Config::parse("[fido2]\nrp-id = \"\"\n", None)
                .unwrap_err()
                .contains("rp-id")
        );
        let told = Config::parse("[trust]\nallow = [\n\"d8522d9f\"]\n", None).unwrap_err();
        assert!(told.contains("line 3"), "{told}");
        let told = Config::parse("[trust]\nrequired-options = [\"credMgnt\"]\n", None).unwrap_err();
        assert!(told.contains("credMgnt") && told.contains("credMgmt"), "{told}");
    }

    #[test]
    fn recording_is_off_and_in_system_mode_asked_for_twice() {
        assert_eq!(Config::parse("", None).unwrap().trace.directory, None);
        let traced = "[trace]\ndirectory = \"/var/lib/claviger/traces\"\n";
        assert!(Config::parse(traced, None).unwrap_err().contains("in-system-mode"));
        assert!(Config::parse(traced, Some(Mode::Session)).is_ok());
        let in_session = format!("mode = \"session\"\n{traced}");
        assert!(Config::parse(&in_session, None).is_ok());
        assert!(
            Config::parse(&in_session, Some(Mode::System)).is_err(),
            "the command line's mode counts"
        );
        assert!(Config::parse(&format!("{traced}in-system-mode = true\n"), None).is_ok());
        let relative = "mode = \"session\"\n[trace]\ndirectory = \"here\"\n";
        assert!(Config::parse(relative, None).unwrap_err().contains("absolute"));
    }
}
