//! Runs simulated tokens and commands them.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use hw_fixtures::control::{ControlServer, Request, ask};
use hw_fixtures::fault::Direction;
use hw_fixtures::fob::Mishap;
use hw_fixtures::front::{Gadgets, Testbed};
use hw_fixtures::oath::{self, Hash};
use hw_fixtures::session::{Session, SessionSetup};
use hw_fixtures::world::{Front, Hosts, World, WorldFile};
use hw_fixtures::{Profile, SimError, TouchMode, crypto};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Simulated hardware tokens for Claviger: FIDO2 keys, OATH cards and clock fobs.
///
/// `claviger-sim up -- COMMAND` is all a test job needs: it brings up a private bus, the daemon in session mode and one
/// token of each kind, runs COMMAND among them and takes everything down again. The other commands speak to a running
/// simulator over its control socket.
#[derive(Parser)]
#[command(name = "claviger-sim", version)]
struct Cli {
    /// The control socket of a running simulator.
    #[arg(long, global = true, env = "CLAVIGER_SIM_CONTROL", value_name = "SOCKET")]
    control: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring up a bus, the daemon and tokens; run COMMAND among them or wait for Ctrl-C.
    Up(UpArgs),
    /// Serve a world of tokens to daemons and readers that run already.
    Serve(ServeArgs),
    /// Plug a token in.
    Plug { name: String },
    /// Pull a token out.
    Unplug { name: String },
    /// Wait until a token asks for the person, then touch it.
    Touch {
        name: String,
        /// How long to wait for the question.
        #[arg(long, default_value_t = 10)]
        wait_s: u64,
    },
    /// Have a token touched at once, on command, or never.
    TouchMode { name: String, mode: TouchMode },
    /// Print what a fob's window shows.
    Code {
        fob: String,
        /// The true time to read it at, in seconds since 1970.
        #[arg(long, value_name = "UNIX")]
        at: Option<i64>,
    },
    /// Press a fob's button and print its code: a counter fob moves on, an NFC fob is switched on.
    Press { fob: String },
    /// Print a fob's secret in hexadecimal. For tests and demonstrations only.
    Seed { fob: String },
    /// Set a fob's clock wrong from now on.
    Drift {
        fob: String,
        /// Seconds it is ahead; negative is slow.
        #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
        offset_s: f64,
        /// Parts per million it gains.
        #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
        ppm: f64,
    },
    /// Have something befall a fob: its battery dies, it gets a new one, it is set by local time, its clock jumps.
    Mishap {
        fob: String,
        #[arg(value_parser = ["battery-dies", "new-battery", "local-time", "step"])]
        kind: String,
        /// For `local-time` the offset from UTC, for `step` how far it jumps.
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        seconds: i32,
        /// For `new-battery`: the time was lost, and so was the counter.
        #[arg(long)]
        factory: bool,
    },
    /// Have something go wrong with a token's frame.
    Fault {
        name: String,
        /// unplug, drop, stall, delay, garbage, wrong-channel, wrong-sequence, false-length, endless-keepalive,
        /// truncated or oversized.
        kind: String,
        /// The frame's number since the token was plugged in or `record`; the first is 1.
        #[arg(long)]
        frame: u64,
        /// Strike the first frame from that number on that goes this way: `out` is to the token, `in` to the host.
        #[arg(long, value_parser = direction)]
        direction: Option<Direction>,
        /// For `delay`.
        #[arg(long, default_value_t = 1000)]
        delay_ms: u64,
    },
    /// Show armed faults, or disarm them with `clear`.
    Faults {
        #[arg(value_parser = ["show", "clear"], default_value = "show")]
        action: String,
        /// One token only.
        name: Option<String>,
    },
    /// Count a token's frames from 1 again.
    Record { name: String },
    /// Print how many frames have passed and which way each went.
    Frames { name: String },
    /// List tokens and fobs.
    List,
    /// Take a token's power away and give it back without unplugging it.
    PowerCycle { name: String },
    /// Make time pass for one token: its reset window closes, its PIN tokens run out, a wait for a touch ends.
    Advance {
        name: String,
        #[arg(long)]
        ms: u64,
    },
    /// Make a new token; plug it in afterwards.
    New {
        name: String,
        #[arg(long)]
        profile: String,
        #[arg(long)]
        front: Option<Front>,
        #[arg(long)]
        serial: Option<String>,
    },
    /// Make the keys of a simulator elsewhere USB gadgets of this machine: STREAM leads there.
    Gadget {
        /// A character device, such as a virtual machine's serial port.
        #[arg(value_name = "STREAM")]
        stream: PathBuf,
    },
    /// End the simulator.
    Quit,
    /// Compute a one-time code without any simulator.
    Fob(FobArgs),
    /// List the embedded profiles.
    Profiles,
    /// Print the manual page.
    #[command(hide = true)]
    Man,
}

#[derive(Args)]
struct UpArgs {
    /// Keep everything here; by default a fresh directory that is removed in the end.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The tokens; by default a FIDO2 key, an OATH card and a fob that is nine minutes slow.
    #[arg(long, value_name = "FILE")]
    world: Option<PathBuf>,
    /// The daemon; by default the one beside this program, else the one on PATH.
    #[arg(long, value_name = "PATH")]
    clavigerd: Option<PathBuf>,
    /// What to run among them. Without it, the environment is printed and Ctrl-C ends everything.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Args)]
struct ServeArgs {
    /// The tokens; by default a FIDO2 key, an OATH card and a fob.
    #[arg(long, value_name = "FILE")]
    world: Option<PathBuf>,
    /// The socket of the daemon's virtual link.
    #[arg(long = "virtual", value_name = "SOCKET")]
    virtual_socket: Option<PathBuf>,
    /// The first reader of a vpcd driver; further cards take further ports.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    vpcd: Option<(String, u16)>,
    /// Make hidraw nodes by umockdev, with the testbed under DIR or, for `auto`, in the temporary directory.
    #[arg(long, value_name = "DIR|auto")]
    umockdev: Option<String>,
    /// Be USB gadgets of this machine's own device controllers.
    #[arg(long)]
    gadget: bool,
    /// Milliseconds every response of a card in a reader takes.
    #[arg(long)]
    apdu_delay_ms: Option<u64>,
}

#[derive(Args)]
struct FobArgs {
    /// The secret in hexadecimal.
    #[arg(long)]
    seed: String,
    /// sha1, sha256 or sha512.
    #[arg(long, default_value = "sha1", value_parser = hash)]
    hash: Hash,
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(4..=10))]
    digits: u8,
    /// The step in seconds.
    #[arg(long, default_value_t = 30)]
    period: u32,
    /// The time in seconds since 1970; by default now.
    #[arg(long, value_name = "UNIX")]
    at: Option<i64>,
    /// A counter instead of the time.
    #[arg(long, conflicts_with = "at")]
    counter: Option<u64>,
}

fn direction(text: &str) -> Result<Direction, String> {
    match text {
        "in" => Ok(Direction::In),
        "out" => Ok(Direction::Out),
        other => Err(format!("{other:?} is neither in nor out")),
    }
}

fn hash(text: &str) -> Result<Hash, String> {
    match text {
        "sha1" => Ok(Hash::Sha1),
        "sha256" => Ok(Hash::Sha256),
        "sha512" => Ok(Hash::Sha512),
        other => Err(format!("{other:?} is not one of sha1, sha256, sha512")),
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("HOST:PORT has a colon in it")?;
    Ok((
        host.to_owned(),
        port.parse().map_err(|error| format!("port {port:?}: {error}"))?,
    ))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("claviger-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, SimError> {
    let control = cli.control.as_deref();
    let request = match cli.verb {
        Verb::Up(args) => return up(args),
        Verb::Serve(args) => return serve(args, control),
        Verb::Gadget { stream } => return gadget(&stream),
        Verb::Fob(args) => return fob(&args),
        Verb::Profiles => return profiles(),
        Verb::Man => return man(),
        Verb::Plug { name } => Request::Plug { name },
        Verb::Unplug { name } => Request::Unplug { name },
        Verb::Touch { name, wait_s } => Request::Touch { name, wait_s },
        Verb::TouchMode { name, mode } => Request::TouchMode { name, mode },
        Verb::Code { fob, at } => Request::Code { name: fob, at },
        Verb::Press { fob } => Request::Press { name: fob },
        Verb::Seed { fob } => Request::Seed { name: fob },
        Verb::Drift { fob, offset_s, ppm } => Request::Drift {
            name: fob,
            offset_s,
            ppm,
        },
        Verb::Mishap {
            fob,
            kind,
            seconds,
            factory,
        } => Request::Mishap {
            name: fob,
            mishap: match kind.as_str() {
                "battery-dies" => Mishap::BatteryDies,
                "new-battery" => Mishap::NewBattery { factory },
                "local-time" => Mishap::LocalTime { seconds },
                _ => Mishap::Step { seconds },
            },
        },
        Verb::Fault {
            name,
            kind,
            frame,
            direction,
            delay_ms,
        } => Request::Fault {
            name,
            kind,
            frame,
            direction,
            delay_ms,
        },
        Verb::Faults { action, name } => Request::Faults {
            name,
            clear: action == "clear",
        },
        Verb::Record { name } => Request::Record { name },
        Verb::Frames { name } => Request::Frames { name },
        Verb::List => Request::List,
        Verb::PowerCycle { name } => Request::PowerCycle { name },
        Verb::Advance { name, ms } => Request::Advance { name, ms },
        Verb::New {
            name,
            profile,
            front,
            serial,
        } => Request::New {
            name,
            profile,
            front,
            serial,
        },
        Verb::Quit => Request::Quit,
    };
    let socket = control
        .ok_or_else(|| SimError::Invalid("which simulator? Say --control SOCKET or set CLAVIGER_SIM_CONTROL".into()))?;
    show(&ask(socket, &request)?);
    Ok(ExitCode::SUCCESS)
}

/// Prints the one thing a script wants, or the whole answer.
fn show(answer: &Value) {
    let Value::Object(fields) = answer else { return };
    for plain in ["code", "seed"] {
        if let Some(text) = fields.get(plain).and_then(Value::as_str) {
            return println!("{text}");
        }
    }
    let mut rest = fields.clone();
    rest.remove("ok");
    if !rest.is_empty() {
        println!("{}", serde_json::to_string_pretty(&rest).unwrap_or_default());
    }
}

fn world_file(path: Option<&Path>) -> Result<WorldFile, SimError> {
    let Some(path) = path else {
        return Ok(WorldFile::example());
    };
    let text = std::fs::read_to_string(path).map_err(|source| SimError::Io {
        what: format!("reading {}", path.display()),
        source,
    })?;
    WorldFile::parse(&text)
}

/// Signals and the end of the simulator by command arrive here.
fn endings() -> Result<(Sender<()>, Receiver<()>), SimError> {
    let (sender, receiver) = channel();
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(|source| SimError::Io {
        what: "catching signals".into(),
        source,
    })?;
    let from_signal = sender.clone();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            // The receiver is gone only when everything is over anyway.
            let _ = from_signal.send(());
        }
    });
    Ok((sender, receiver))
}

fn serve(args: ServeArgs, control: Option<&Path>) -> Result<ExitCode, SimError> {
    let socket = control.ok_or_else(|| SimError::Invalid("serve needs --control SOCKET to be commanded by".into()))?;
    let (sender, ended) = endings()?;
    let mut file = world_file(args.world.as_deref())?;
    if let Some(delay) = args.apdu_delay_ms {
        file.apdu_delay_ms = delay;
    }
    let testbed = match args.umockdev.as_deref() {
        None => None,
        Some("auto") => Some(Testbed::start(None)?),
        Some(directory) => Some(Testbed::start(Some(Path::new(directory)))?),
    };
    let gadgets = args.gadget.then(Gadgets::local).transpose()?.map(Arc::new);
    let hosts = Hosts {
        virtual_socket: args.virtual_socket,
        vpcd: args.vpcd,
        testbed: testbed.clone(),
        gadgets,
    };
    let world = Arc::new(World::new(&file, hosts)?);
    world.plug_all(&file)?;
    let server = ControlServer::start(socket, world.clone(), move || {
        let _ = sender.send(());
    })?;
    println!("CLAVIGER_SIM_CONTROL={}", socket.display());
    for (key, value) in testbed.iter().flat_map(|testbed| testbed.environment()) {
        println!("{key}={value}");
    }
    println!("ready");
    // Either a signal or `quit`; an error would mean that both are gone.
    let _ = ended.recv();
    drop(server);
    world.unplug_all();
    Ok(ExitCode::SUCCESS)
}

fn gadget(stream: &Path) -> Result<ExitCode, SimError> {
    let failed = |source| SimError::Io {
        what: format!("opening {}", stream.display()),
        source,
    };
    let output = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(stream)
        .map_err(failed)?;
    // The same descriptor for both ways: a serial port may be opened once.
    let input = output.try_clone().map_err(failed)?;
    hw_fixtures::front::gadget::serve(input, output)?;
    Ok(ExitCode::SUCCESS)
}

fn up(args: UpArgs) -> Result<ExitCode, SimError> {
    let (sender, ended) = endings()?;
    let setup = SessionSetup {
        directory: args.dir,
        world: world_file(args.world.as_deref())?,
        daemon: args.clavigerd.unwrap_or_else(find_daemon),
    };
    let mut session = Session::start(&setup, move || {
        let _ = sender.send(());
    })?;
    let Some((program, arguments)) = args.command.split_first() else {
        for (key, value) in session.environment() {
            println!("export {key}='{value}'");
        }
        println!("# ready; Ctrl-C ends it");
        while ended.recv_timeout(Duration::from_millis(200)).is_err() {
            if let Some(status) = session.daemon_ended() {
                return Err(SimError::Peer(format!("the daemon ended: {status}")));
            }
        }
        return Ok(ExitCode::SUCCESS);
    };
    let mut child = Command::new(program)
        .args(arguments)
        .envs(session.environment().iter().cloned())
        .spawn()
        .map_err(|source| SimError::Io {
            what: format!("starting {program}"),
            source,
        })?;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            return Ok(ExitCode::from(code));
        }
        if ended.recv_timeout(Duration::from_millis(20)).is_ok() {
            end(&mut child);
            return Ok(ExitCode::from(130));
        }
    }
}

/// Asks a command to end, and insists after a while. It may have ended by the same Ctrl-C.
fn end(child: &mut std::process::Child) {
    use nix::sys::signal::{Signal, kill};

    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM);
    }
    for _ in 0..250 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn find_daemon() -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|path| Some(path.parent()?.join("clavigerd")));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from("clavigerd"))
}

fn fob(args: &FobArgs) -> Result<ExitCode, SimError> {
    let seed = crypto::from_hex(&args.seed)
        .ok_or_else(|| SimError::Invalid("--seed is not an even number of hexadecimal digits".into()))?;
    let counter = args.counter.unwrap_or_else(|| {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let now = args
            .at
            .unwrap_or_else(|| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        oath::step(now, args.period)
    });
    println!("{}", oath::hotp(args.hash, &seed, counter, args.digits));
    Ok(ExitCode::SUCCESS)
}

fn profiles() -> Result<ExitCode, SimError> {
    for name in Profile::names() {
        let profile = Profile::named(name)?;
        println!("{name:<19} {} {}", profile.manufacturer, profile.product);
    }
    Ok(ExitCode::SUCCESS)
}

fn man() -> Result<ExitCode, SimError> {
    clap_mangen::Man::new(Cli::command())
        .render(&mut std::io::stdout())
        .map_err(|source| SimError::Io {
            what: "printing the manual page".into(),
            source,
        })?;
    Ok(ExitCode::SUCCESS)
}
