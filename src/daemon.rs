//! The composition root: the only file that chooses concretes. Reads the configuration, opens the ledger, takes the bus,
//! serves, and ends in order.
//!
//! *Started* is when the bus name is owned: reading is answered from then on. *Ready* is when what the last run left open has
//! been brought to an end and every device present has been looked at: only then anything is changed, and only then systemd is
//! told.

mod organisation;
mod people;
mod trust;
mod verbs;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use futures_util::StreamExt;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use zbus::Connection;

use crate::bus::{self, NameError};
use crate::clock::{self, HostClock};
use crate::config::{Config, ConfigError, LogTarget};
use crate::device::registry::{self, DeviceConfig, Registry};
use crate::directory::local::LocalDirectory;
use crate::grant::{Action, Object, Tier};
use crate::guard::cases::Cases;
use crate::guard::law::{Law, PolicyError, PolicySource};
use crate::guard::time::Timepiece;
use crate::guard::{Guard, ModeError, PolkitDeadlines, standing};
use crate::ledger::{KeySource, Ledger, LedgerError, OpenOptions, SqliteLedger};
use crate::lifecycle::{Lifecycle, Refusal, Settings};
use crate::link::LinkError;
use crate::link::trace::{Trace, Traced};
use crate::link::watch::Source;
use crate::trust::{Metadata, Rules};
use crate::types::{Mode, UnixMillis};

/// Name of the systemd credential with the sealing key.
const CREDENTIAL: &str = "claviger.key";
/// Name of the key file in the state directory, where there is no credential.
const KEY_FILE: &str = "sealing.key";

/// Registers, tests, resyncs and revokes hardware security tokens, over D-Bus.
#[derive(Debug, Parser)]
#[command(
    name = "clavigerd",
    version,
    about,
    after_help = "\
Exit status: 0 after an orderly end; 1 when something it needs failed; 2 for wrong arguments; 78 for a wrong configuration."
)]
pub struct Arguments {
    /// Configuration file [default: /etc/claviger/clavigerd.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which bus, and who is admitted; overrides the configuration
    #[arg(long, value_name = "system|session")]
    pub mode: Option<Mode>,
    /// Read the configuration, say whether it is valid, and exit
    #[arg(long)]
    pub check: bool,
}

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Metadata, when only the configuration is checked.
    #[error("trust.metadata cannot be used, so no key would be registered: {0}")]
    Metadata(String),
    /// Log.
    #[error("cannot write the log: {0}")]
    Log(String),
    /// Threads.
    #[error("cannot start threads: {0}")]
    Runtime(std::io::Error),
    /// Ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Bus.
    #[error("cannot reach the {mode} bus: {source}")]
    Bus {
        /// Which.
        mode: &'static str,
        /// Why.
        source: zbus::Error,
    },
    /// Name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Mode.
    #[error(transparent)]
    Mode(#[from] ModeError),
    /// Links.
    #[error("cannot look for devices: {0}")]
    Link(#[from] LinkError),
    /// Recorder.
    #[error("cannot record: {0}")]
    Trace(String),
    /// Who people are.
    #[error(transparent)]
    Subjects(#[from] organisation::DirectorySetup),
    /// Recovery.
    #[error("cannot bring to an end what the last run left open: {0}")]
    Recovery(Refusal),
    /// The bus went away while we served.
    #[error("the bus closed the connection")]
    BusLost,
    /// Somebody took the name.
    #[error("the bus took the name away from us")]
    NameLost,
}

/// What `main` does. Everything that goes wrong is told in one sentence on standard error.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clavigerd: {error}");
            // sysexits(3) EX_CONFIG: systemd need not try again.
            let wrong = matches!(
                error,
                StartError::Config(_) | StartError::Metadata(_) | StartError::Policy(_) | StartError::Subjects(_)
            );
            ExitCode::from(if wrong { 78 } else { 1 })
        }
    }
}

fn start(arguments: Arguments) -> Result<(), StartError> {
    let config = Config::load(arguments.config.as_deref(), arguments.mode)?;
    let rules = trust::rules(&config)?;
    // Read before anything is opened: a wrong one is a wrong configuration.
    let law = Law::read(policy_source(&config), config.authority.demand_cases)?;
    let directory = organisation::directory(&config, law.policy().as_deref())?;
    if arguments.check {
        if let Metadata::Unusable(why) = &rules.metadata {
            return Err(StartError::Metadata(why.clone()));
        }
        println!("the configuration is valid");
        return Ok(());
    }
    // Whatever we create is ours alone.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    // Nor is anything that we start to gain what we lack. Before there are threads, for it is a thread's own attribute.
    rustix::thread::set_no_new_privs(true).map_err(|error| StartError::Runtime(error.into()))?;
    start_log(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("clavigerd")
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    let source = trust::Source {
        path: arguments.config,
        mode: arguments.mode,
    };
    let served = runtime.block_on(serve(config, law, directory, (rules, source)));
    // A lane that is stuck in the kernel must not keep us from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

fn start_log(config: &Config) -> Result<(), StartError> {
    let filter = EnvFilter::try_new(&config.log.filter).map_err(|error| StartError::Log(error.to_string()))?;
    // It would write down entries of people, and what it warns of comes as an error anyway.
    let quiet = "ldap3=off".parse();
    let filter = filter.add_directive(quiet.map_err(|_| StartError::Log("no filter".to_owned()))?);
    let journald = match config.log.target {
        LogTarget::Auto => std::env::var_os("JOURNAL_STREAM").is_some(),
        LogTarget::Journald => true,
        LogTarget::Stderr => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let started = if journald {
        let layer = tracing_journald::layer().map_err(|error| StartError::Log(error.to_string()))?;
        registry.with(layer).try_init()
    } else {
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_target(false)
            .with_ansi(false);
        registry.with(layer).try_init()
    };
    started.map_err(|error| StartError::Log(error.to_string()))
}

async fn serve(
    config: Config,
    law: Law,
    directory: Option<Arc<LocalDirectory>>,
    (rules, source): (Rules, trust::Source),
) -> Result<(), StartError> {
    // Signals first: one that comes while we start is an orderly end too.
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Runtime)?;
    // Each of the two that read something anew hears every one.
    let hangup = signal(SignalKind::hangup()).map_err(StartError::Runtime)?;
    let trust_hangup = signal(SignalKind::hangup()).map_err(StartError::Runtime)?;

    let ledger = open_ledger(&config).await?;
    let time = Timepiece::new(Box::new(clock::reading), ledger.kept_time().await?);
    let people = Box::new(people::Accounts {
        roles: config.authority.roles.clone(),
        role: config.authority.role.clone(),
        directory: directory.clone(),
    });
    let cases = Arc::new(Cases::new(Arc::clone(&ledger), law, time, people));
    let connection = connect(config.mode).await?;
    let guard = Arc::new(match config.mode {
        Mode::System => Guard::system(&connection, PolkitDeadlines::default(), Arc::clone(&cases))
            .await
            .map_err(|source| StartError::Bus {
                mode: config.mode.as_str(),
                source,
            })?,
        Mode::Session => Guard::session(&connection, Arc::clone(&cases)).await?,
    });
    let devices = watch_devices(&config)?;
    let lifecycle = Lifecycle::new(
        Arc::clone(&ledger),
        devices.clone(),
        Arc::new(HostClock {
            trusted: config.clock.kept_from_outside,
        }),
        settings(&config),
    );
    trust::tell(&rules);
    lifecycle.go_by(rules);
    let trust_reloads = tokio::spawn(trust::reload(trust_hangup, source, Arc::clone(&lifecycle)));
    lifecycle.belongs_to(organisation::organisation(&config, directory.clone(), &cases));
    let lost = |source| StartError::Bus {
        mode: config.mode.as_str(),
        source,
    };
    let verbs = verbs::House::new(Arc::clone(&lifecycle));
    let served = bus::serve(&connection, verbs, guard, limits(&config))
        .await
        .map_err(lost)?;
    bus::own_name(&connection).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        mode = config.mode.as_str(),
        "started"
    );

    let kept = tokio::spawn(keep_time(Arc::clone(&cases)));
    let reloads = tokio::spawn(reload_on(hangup, Arc::clone(&cases), directory));
    let ended = tokio::select! {
        ended = run(&config, &connection, &lifecycle, &devices, &served) => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };

    notify(&[NotifyState::Stopping]);
    tracing::info!("stopping");
    // Whether the bus still hears it does not matter now.
    let _ = served.set_ready(false).await;
    let grace = Duration::from_millis(config.operations.stop_grace);
    lifecycle.stop(grace).await;
    // Those who wait for the end of an operation hear it before the connection closes.
    if tokio::time::timeout(grace, served.drained()).await.is_err() {
        tracing::warn!(
            open = served.open_operations(),
            "stopping without having told the end of every operation"
        );
    }
    kept.abort();
    reloads.abort();
    trust_reloads.abort();
    devices.shutdown(grace).await;
    if let Ok((seq, mac)) = ledger.head() {
        tracing::info!(seq, mac, "journal head");
    }
    ledger.close().await;
    ended
}

/// From started to ready, and then until the bus is lost.
async fn run(
    config: &Config,
    connection: &Connection,
    lifecycle: &Arc<Lifecycle>,
    devices: &Registry,
    served: &bus::Served,
) -> Result<(), StartError> {
    let lost = |source| StartError::Bus {
        mode: config.mode.as_str(),
        source,
    };
    let driver = zbus::fdo::DBusProxy::new(connection).await.map_err(lost)?;
    let mut names_lost = driver.receive_name_lost().await.map_err(lost)?;

    let recovering = standing(Action::Revoke, Object::Whole, Tier::Revoke, "the daemon was restarted");
    lifecycle.recover(&recovering).await.map_err(StartError::Recovery)?;
    lifecycle.recall().await.map_err(StartError::Recovery)?;
    devices.settled().await;
    served.devices_shown().await;
    served.set_ready(true).await.map_err(lost)?;
    notify(&[NotifyState::Ready, NotifyState::Status("ready")]);
    // The head in the log is a witness outside the ledger: a ledger that is put back whole no longer agrees with it.
    if let Ok((seq, mac)) = lifecycle.ledger().head() {
        tracing::info!(seq, mac, "ready; journal head");
    }
    let alive = sd_notify::watchdog_enabled().map(|limit| tokio::spawn(tell_alive(limit / 3)));
    let watching = standing(Action::Inspect, Object::Whole, Tier::Look, "a device was plugged in");
    let prompts = tokio::spawn(Arc::clone(lifecycle).watch_obligations(watching));
    let teller = self::standing(
        Action::Case,
        Object::Whole,
        Tier::Look,
        "people are told what happened to their tokens",
    );
    let teller = tokio::spawn(Arc::clone(lifecycle).tell(teller));
    let end = match names_lost.next().await {
        Some(_) => StartError::NameLost,
        None => StartError::BusLost,
    };
    prompts.abort();
    teller.abort();
    if let Some(alive) = alive {
        alive.abort();
    }
    Err(end)
}

fn policy_source(config: &Config) -> PolicySource {
    match config.authority.policy_file(config.mode) {
        Some((path, optional)) => PolicySource::File { path, optional },
        None => PolicySource::Off,
    }
}

/// How often the clocks are read while nothing else reads them: a clock that was set back and a reboot, both between two readings,
/// cannot be told.
const READ_CLOCKS: Duration = Duration::from_secs(60);

/// Reads the clocks now and then.
async fn keep_time(cases: Arc<Cases>) {
    let mut ticks = tokio::time::interval(READ_CLOCKS);
    loop {
        ticks.tick().await;
        cases.time().now();
    }
}

/// Reads the policy anew when somebody says so. One that is refused leaves the one before it in force.
async fn reload_on(mut hangup: tokio::signal::unix::Signal, cases: Arc<Cases>, directory: Option<Arc<LocalDirectory>>) {
    while hangup.recv().await.is_some() {
        match cases.law().reload() {
            Ok(()) => tracing::info!("the policy was read anew"),
            Err(error) => tracing::error!(%error, "the policy was not taken; the one before it stays in force"),
        }
        let (Some(directory), Some(policy)) = (&directory, cases.law().policy()) else {
            continue;
        };
        match directory.reload(&policy) {
            Ok(()) => tracing::info!("the file of subjects was read anew"),
            Err(error) => {
                tracing::error!(%error, "the file of subjects was not taken; what it said before stays in force")
            }
        }
    }
}

async fn open_ledger(config: &Config) -> Result<Arc<dyn Ledger>, StartError> {
    let directory = config.state.directory.clone();
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY").map(|at| PathBuf::from(at).join(CREDENTIAL));
    let key = match credential.filter(|path| path.exists()) {
        Some(path) => KeySource::Credential(path),
        None => KeySource::File(
            config
                .state
                .key_file
                .clone()
                .unwrap_or_else(|| directory.join(KEY_FILE)),
        ),
    };
    Ok(Arc::new(SqliteLedger::open(OpenOptions { directory, key }).await?))
}

async fn connect(mode: Mode) -> Result<Connection, StartError> {
    let builder = match mode {
        Mode::System => zbus::connection::Builder::system(),
        Mode::Session => zbus::connection::Builder::session(),
    };
    bus::connect(builder).await.map_err(|source| StartError::Bus {
        mode: mode.as_str(),
        source,
    })
}

fn watch_devices(config: &Config) -> Result<Registry, StartError> {
    let device_config = DeviceConfig {
        deadlines: config.deadlines.into(),
        virtual_socket: config.virtual_link.socket.clone(),
        hid: config.devices.hid,
        cards: config.devices.cards,
        max_quarantined: config.devices.max_quarantined,
    };
    let mut sources = registry::sources(&device_config)?;
    if let Some(directory) = &config.trace.directory {
        let trace = begin_trace(directory)?;
        sources = sources
            .into_iter()
            .map(|source| Arc::new(Traced::new(source, Arc::clone(&trace))) as Arc<dyn Source>)
            .collect();
    }
    Ok(Registry::start(&device_config, sources))
}

/// Begins the recording of this run.
fn begin_trace(directory: &Path) -> Result<Arc<Trace>, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Trace(error.to_string());
    std::fs::create_dir_all(directory).map_err(|error| failed(&format!("{}: {error}", directory.display())))?;
    let name = format!("{}-{}.jsonl", UnixMillis::now().0, std::process::id());
    Trace::create(&directory.join(name)).map_err(|error| failed(&error))
}

fn settings(config: &Config) -> Settings {
    Settings {
        deadlines: config.deadlines.into(),
        rp_id: config.fido2.rp_id.clone(),
        virtual_link: config.virtual_link.socket.is_some(),
        ledger_place: config.state.directory.display().to_string(),
        drift: crate::lifecycle::drift::Settings {
            fit: config.drift.forecast,
            battery_days: config.drift.battery_days,
            battery_days_of: config.drift.battery_days_of.clone(),
        },
        resyncs_in_vain: config.resync.tries_in_vain,
    }
}

fn limits(config: &Config) -> bus::Limits {
    bus::Limits {
        linger: Duration::from_millis(config.operations.keep),
        ..bus::Limits::default()
    }
}

/// Tells systemd's watchdog that the threads that serve the bus still run. A file descriptor on a file system that never answers
/// can hold such a thread in the kernel when it is closed, and nothing in the process can free it: then systemd restarts us, and
/// the next start brings to an end what was under way.
async fn tell_alive(every: Duration) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

/// The line that `systemctl status` shows.
fn tell_status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// Tells systemd; without systemd nobody listens.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
