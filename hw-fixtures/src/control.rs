//! The control socket: one JSON object a line, one answer a line.
//!
//! A request is `{"do": VERB, ...}`, an answer `{"ok": true, ...}` or `{"ok": false, "error": SENTENCE}`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::fault::{Direction, Fault, FaultKind};
use crate::fob::Mishap;
use crate::front::spawn;
use crate::person::TouchMode;
use crate::world::{Front, TokenSpec, World};
use crate::{SimError, crypto};

/// Longest request line in bytes.
const MAX_LINE: usize = 65_536;

/// What the control socket understands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the fields are the commands' own, documented in docs/simulator.md"
)]
pub enum Request {
    /// Plugs a token in; answers `ids`.
    Plug { name: String },
    /// Pulls a token out.
    Unplug { name: String },
    /// Waits until the token asks for the person, then touches.
    Touch {
        name: String,
        #[serde(default = "ten")]
        wait_s: u64,
    },
    /// How the token's person behaves.
    TouchMode { name: String, mode: TouchMode },
    /// What a fob's window shows; answers `code` and, for TOTP, `changes_in_s`.
    Code { name: String, at: Option<i64> },
    /// Lets something befall a fob: battery, clock set by the wall, jump.
    Mishap { name: String, mishap: Mishap },
    /// Presses a fob's button, which moves a HOTP fob on and switches an NFC fob on; answers `code`.
    Press { name: String },
    /// A fob's secret; answers `seed` in hexadecimal. For tests and demonstrations only.
    Seed { name: String },
    /// Sets a fob's clock wrong from now on.
    Drift {
        name: String,
        #[serde(default)]
        offset_s: f64,
        #[serde(default)]
        ppm: f64,
    },
    /// Arms a fault.
    Fault {
        name: String,
        kind: String,
        frame: u64,
        direction: Option<Direction>,
        #[serde(default = "second")]
        delay_ms: u64,
    },
    /// Armed faults of one token and which of them struck; with `clear`, disarms them first.
    Faults {
        name: Option<String>,
        #[serde(default)]
        clear: bool,
    },
    /// Counts a token's frames from 1 again.
    Record { name: String },
    /// How many frames have passed, and which way each went.
    Frames { name: String },
    /// Everything there is.
    List,
    /// Power off and on without unplugging.
    PowerCycle { name: String },
    /// Makes time pass for one token.
    Advance { name: String, ms: u64 },
    /// A new token; `plug` it in afterwards.
    New {
        name: String,
        profile: String,
        front: Option<Front>,
        serial: Option<String>,
    },
    /// Ends the simulator.
    Quit,
}

fn ten() -> u64 {
    10
}

fn second() -> u64 {
    1000
}

/// Carries a request out; the answer lacks `ok`.
///
/// # Errors
/// Whatever the world says.
pub fn obey(world: &World, request: Request) -> Result<Value, SimError> {
    let done = json!({});
    match request {
        Request::Plug { name } => Ok(json!({ "ids": world.plug(&name)? })),
        Request::Unplug { name } => world.unplug(&name).map(|()| done),
        Request::Touch { name, wait_s } => {
            let token = world.token(&name)?;
            if token.touch_when_asked(Duration::from_secs(wait_s)) {
                return Ok(done);
            }
            Err(SimError::Invalid(format!(
                "{name} did not ask for a touch within {wait_s} s"
            )))
        }
        Request::TouchMode { name, mode } => {
            world.token(&name)?.set_touch_mode(mode);
            Ok(done)
        }
        Request::Code { name, at } => {
            let now = at.unwrap_or_else(|| world.unix_s());
            world.with_fob(
                &name,
                |fob| json!({ "code": fob.code(now), "changes_in_s": fob.changes_in_s(now) }),
            )
        }
        Request::Press { name } => Ok(json!({ "code": world.press(&name)? })),
        Request::Mishap { name, mishap } => {
            let now = world.unix_s();
            world.with_fob(&name, |fob| fob.suffer(mishap, now)).map(|()| done)
        }
        Request::Seed { name } => world.with_fob(
            &name,
            |fob| json!({ "seed": crypto::to_hex(&fob.seed), "serial": fob.serial }),
        ),
        Request::Drift { name, offset_s, ppm } => {
            let now = world.unix_s();
            world
                .with_fob(&name, |fob| fob.drift(offset_s, ppm, now))
                .map(|()| done)
        }
        Request::Fault {
            name,
            kind,
            frame,
            direction,
            delay_ms,
        } => {
            let kind = FaultKind::named(&kind, delay_ms)?;
            world.token(&name)?.inject(Fault { kind, frame, direction });
            Ok(done)
        }
        Request::Faults { name, clear } => faults(world, name, clear),
        Request::Record { name } => {
            world.token(&name)?.record();
            Ok(done)
        }
        Request::Frames { name } => {
            let frames = world.token(&name)?.frames();
            Ok(json!({ "count": frames.len(), "directions": frames }))
        }
        Request::List => Ok(json!({ "tokens": world.list() })),
        Request::PowerCycle { name } => {
            world.token(&name)?.power_cycle();
            Ok(done)
        }
        Request::New {
            name,
            profile,
            front,
            serial,
        } => {
            let mut spec = TokenSpec::new(&name, &profile);
            spec.serial = serial;
            if let Some(front) = front {
                spec = spec.at(vec![front]);
            }
            world.add(&spec).map(|()| done)
        }
        Request::Advance { name, ms } => {
            world.token(&name)?.advance(Duration::from_millis(ms));
            Ok(done)
        }
        Request::Quit => Ok(done),
    }
}

fn faults(world: &World, name: Option<String>, clear: bool) -> Result<Value, SimError> {
    let names = match name {
        Some(name) => vec![name],
        None => world
            .list()
            .into_iter()
            .filter(|listed| listed.kind == "token")
            .map(|listed| listed.name)
            .collect(),
    };
    let mut all = serde_json::Map::new();
    for name in names {
        let token = world.token(&name)?;
        if clear {
            token.clear_faults();
        }
        all.insert(name, json!(token.faults()));
    }
    Ok(json!({ "faults": all }))
}

/// A control socket that is being served; dropping it ends the service and removes the socket.
pub struct ControlServer {
    path: PathBuf,
    stop: Arc<AtomicBool>,
}

impl ControlServer {
    /// Serves `world` on a socket at `path`; `on_quit` runs when a client asks for the end.
    ///
    /// # Errors
    /// When the socket cannot be made; a stale one is replaced, one that somebody serves is not.
    pub fn start(path: &Path, world: Arc<World>, on_quit: impl Fn() + Send + Sync + 'static) -> Result<Self, SimError> {
        if UnixStream::connect(path).is_ok() {
            return Err(SimError::Invalid(format!(
                "another simulator serves {} already",
                path.display()
            )));
        }
        // It may well not be there.
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).map_err(SimError::io(format!("listening on {}", path.display())))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let on_quit: Arc<dyn Fn() + Send + Sync> = Arc::new(on_quit);
        spawn("control", move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let (world, on_quit) = (world.clone(), on_quit.clone());
                // Without a thread the client is dropped, and sees it.
                let _ = spawn("control-client", move || serve(client, &world, on_quit.as_ref()));
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            stop,
        })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener so that it sees the flag.
        let _ = UnixStream::connect(&self.path);
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(client: UnixStream, world: &World, on_quit: &(dyn Fn() + Send + Sync)) {
    let Ok(mut writer) = client.try_clone() else { return };
    let mut reader = BufReader::new(client);
    loop {
        let mut line = Vec::new();
        let mut limited = std::io::Read::take(&mut reader, MAX_LINE as u64);
        if limited.read_until(b'\n', &mut line).is_err() || !line.ends_with(b"\n") {
            return;
        }
        let parsed = serde_json::from_slice::<Request>(&line)
            .map_err(|error| SimError::Invalid(format!("that is no request: {error}")));
        let quit = matches!(parsed, Ok(Request::Quit));
        let answer = match parsed.and_then(|request| obey(world, request)) {
            Ok(mut answer) => {
                if let Value::Object(fields) = &mut answer {
                    fields.insert("ok".into(), true.into());
                }
                answer
            }
            Err(error) => json!({ "ok": false, "error": error.to_string() }),
        };
        if writeln!(writer, "{answer}").is_err() {
            return;
        }
        if quit {
            return on_quit();
        }
    }
}

/// Sends one request to a running simulator.
///
/// # Errors
/// When nobody serves `path`, or the answer is a refusal; the error then carries its sentence.
pub fn ask(path: &Path, request: &Request) -> Result<Value, SimError> {
    let what = format!("asking the simulator at {}", path.display());
    let mut stream = UnixStream::connect(path).map_err(SimError::io(&what))?;
    let line = serde_json::to_string(request).map_err(|error| SimError::Invalid(error.to_string()))?;
    writeln!(stream, "{line}").map_err(SimError::io(&what))?;
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .map_err(SimError::io(&what))?;
    let answer: Value =
        serde_json::from_str(&answer).map_err(|_| SimError::Peer(format!("{what}: no answer; did it end?")))?;
    if answer.get("ok") == Some(&Value::Bool(true)) {
        return Ok(answer);
    }
    let sentence = answer
        .get("error")
        .and_then(Value::as_str)
        .unwrap_or("refused without a word");
    Err(SimError::Peer(sentence.to_owned()))
}
