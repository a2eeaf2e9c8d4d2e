//! The front for real hidapi and real udev: hidraw nodes made by umockdev.
//!
//! umockdev has no Rust binding, so a Python bridge (`umockdev/bridge.py`, embedded here) owns the testbed and passes
//! 64-byte reports between each node's pseudo terminal and this process. Programs that shall see the keys run with the
//! environment of [`Testbed::environment`].

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Plugged, Port, Pump, spawn};
use crate::SimError;
use crate::fido::ctaphid::Report;
use crate::token::{Event, Faces, Token};

const BRIDGE: &str = include_str!("../../umockdev/bridge.py");
const SHIM: &str = include_str!("../../umockdev/nodeshim.c");

/// How long the bridge may take for one order.
const PATIENCE: Duration = Duration::from_secs(20);

const ADD: u8 = 0x01;
const REMOVE: u8 = 0x02;
const TO_HOST: u8 = 0x11;
const READY: u8 = 0x81;
const ADDED: u8 = 0x82;
const REMOVED: u8 = 0x83;
const FROM_HOST: u8 = 0x84;

/// A testbed with any number of keys; dropping it takes it down.
pub struct Testbed {
    shared: Arc<Shared>,
    child: Mutex<Child>,
    root: PathBuf,
    shim: Option<PathBuf>,
    scratch: PathBuf,
}

struct Shared {
    input: Mutex<Option<ChildStdin>>,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    next: u16,
    pumps: BTreeMap<u16, Sender<Event>>,
    /// Who waits for the answer to an order.
    orders: BTreeMap<u16, Sender<Message>>,
}

struct Message {
    kind: u8,
    key: u16,
    payload: Vec<u8>,
}

impl Testbed {
    /// Starts a testbed whose files lie under `under`, or under the system's temporary directory.
    ///
    /// # Errors
    /// When umockdev, its introspection data or Python's gi are not installed; the bridge's own words are on stderr.
    pub fn start(under: Option<&Path>) -> Result<Arc<Self>, SimError> {
        let base = under.map_or_else(std::env::temp_dir, Path::to_path_buf);
        std::fs::create_dir_all(&base).map_err(SimError::io(format!("making {}", base.display())))?;
        let scratch = scratch_directory(&base)?;
        let script = scratch.join("bridge.py");
        std::fs::write(&script, BRIDGE).map_err(SimError::io("writing the umockdev bridge"))?;
        let mut child = Command::new("umockdev-wrapper")
            .arg("/usr/bin/python3")
            .arg(&script)
            .env("TMPDIR", &base)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(SimError::io(
                "starting umockdev-wrapper (Debian: umockdev, gir1.2-umockdev-1.0, python3-gi)",
            ))?;
        let (Some(input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(SimError::Invalid("the umockdev bridge has no pipes".into()));
        };
        let ready = Message::read(&mut output).map_err(SimError::io("waiting for the umockdev bridge"))?;
        let root = serde_json::from_slice::<serde_json::Value>(&ready.payload).ok();
        let root = root
            .as_ref()
            .and_then(|json| json.get("dir")?.as_str())
            .filter(|_| ready.kind == READY);
        let root = PathBuf::from(root.ok_or_else(|| SimError::Peer("the umockdev bridge did not start".into()))?);
        let shared = Arc::new(Shared {
            input: Mutex::new(Some(input)),
            keys: Mutex::new(Keys::default()),
        });
        let reading = shared.clone();
        spawn("umockdev-read", move || reading.read_all(output))?;
        let shim = build_shim(&scratch);
        Ok(Arc::new(Self {
            shared,
            child: Mutex::new(child),
            root,
            shim,
            scratch,
        }))
    }

    /// The testbed's directory, for `UMOCKDEV_DIR`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What a program needs in its environment to see the keys. Without a C compiler the shim is left out, and
    /// `fstat` on a node then tells the numbers of a pseudo terminal.
    pub fn environment(&self) -> Vec<(String, String)> {
        let preload = match &self.shim {
            Some(shim) => format!("{} libumockdev-preload.so.0", shim.display()),
            None => "libumockdev-preload.so.0".to_owned(),
        };
        vec![
            ("UMOCKDEV_DIR".into(), self.root.display().to_string()),
            ("LD_PRELOAD".into(), preload),
        ]
    }

    /// Whether the shim could be built.
    pub fn has_shim(&self) -> bool {
        self.shim.is_some()
    }

    /// Plugs `token` in as a hidraw node with a number of its own; [`Plugged::id`] is the node's path.
    ///
    /// # Errors
    /// When the token has no HID face or the bridge refuses.
    pub fn plug(self: &Arc<Self>, token: &Token) -> Result<Plugged, SimError> {
        let profile = token.profile();
        if !profile.has_hid() {
            return Err(SimError::Invalid(format!(
                "{} has no HID face to plug in",
                token.name()
            )));
        }
        let (events, receiver) = Pump::channel();
        let number = {
            let mut keys = self.shared.keys();
            let number = keys.next;
            keys.next = number.saturating_add(1);
            keys.pumps.insert(number, events.clone());
            number
        };
        token.attach(events.clone());
        let about = serde_json::json!({
            "vendor_id": profile.vendor_id,
            "product_id": profile.product_id,
            "manufacturer": profile.manufacturer,
            "product": profile.product,
            "serial": token.serial().unwrap_or_default(),
        });
        let answer = self.shared.order(ADD, number, about.to_string().as_bytes())?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)
            .map_err(|error| SimError::Peer(format!("the umockdev bridge answered nonsense: {error}")))?;
        let node = answer
            .get("node")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let gone = Arc::new(AtomicBool::new(false));
        let pump = Pump {
            token: token.clone(),
            faces: Faces { hid: true, card: false },
            events: receiver,
            gone: gone.clone(),
        };
        let bed = self.clone();
        let threads = vec![spawn("umockdev-pump", move || {
            pump.run(&mut Node {
                shared: bed.shared.clone(),
                number,
            });
            pump.gone.store(true, Ordering::SeqCst);
            bed.shared.keys().pumps.remove(&number);
            // The bridge may be gone already; then so is the node.
            let _ = bed.shared.order(REMOVE, number, &[]);
        })?];
        Ok(Plugged {
            token: token.clone(),
            id: node,
            events,
            gone,
            hang_up: Box::new(|| {}),
            threads,
        })
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        // The end of its input is how the bridge is told to take the testbed down.
        *self.shared.input.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.wait();
        for left in [&self.scratch, &self.root] {
            // The bridge removes its own unless something killed it.
            let _ = std::fs::remove_dir_all(left);
        }
    }
}

impl Shared {
    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, kind: u8, key: u16, payload: &[u8]) -> io::Result<()> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(input) = &mut *input else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Message {
            kind,
            key,
            payload: payload.to_vec(),
        }
        .write(input)
    }

    /// Gives an order and waits for its answer.
    fn order(&self, kind: u8, key: u16, payload: &[u8]) -> Result<Vec<u8>, SimError> {
        let (sender, receiver): (_, Receiver<Message>) = channel();
        self.keys().orders.insert(key, sender);
        self.say(kind, key, payload)
            .map_err(SimError::io("giving the umockdev bridge an order"))?;
        let answer = receiver
            .recv_timeout(PATIENCE)
            .map_err(|_| SimError::Peer("the umockdev bridge does not answer".into()))?;
        match answer.kind {
            ADDED | REMOVED => Ok(answer.payload),
            _ => Err(SimError::Peer(format!(
                "umockdev: {}",
                String::from_utf8_lossy(&answer.payload)
            ))),
        }
    }

    fn read_all(&self, mut output: ChildStdout) {
        while let Ok(message) = Message::read(&mut output) {
            let mut keys = self.keys();
            if message.kind == FROM_HOST {
                if let (Some(pump), Ok(report)) = (keys.pumps.get(&message.key), Report::try_from(message.payload)) {
                    // A pump that ended has no use for it.
                    let _ = pump.send(Event::Report(report));
                }
            } else if let Some(waiting) = keys.orders.remove(&message.key) {
                let _ = waiting.send(message);
            }
        }
        for pump in self.keys().pumps.values() {
            let _ = pump.send(Event::HostGone);
        }
    }
}

impl Message {
    fn read(input: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 7];
        input.read_exact(&mut head)?;
        let [l0, l1, l2, l3, kind, k0, k1] = head;
        let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if !(3..=65_536).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut payload = vec![0; length - 3];
        input.read_exact(&mut payload)?;
        Ok(Self {
            kind,
            key: u16::from_be_bytes([k0, k1]),
            payload,
        })
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let length = u32::try_from(self.payload.len() + 3).unwrap_or(u32::MAX);
        let head = [&length.to_be_bytes()[..], &[self.kind], &self.key.to_be_bytes()].concat();
        out.write_all(&[head, self.payload.clone()].concat())?;
        out.flush()
    }
}

struct Node {
    shared: Arc<Shared>,
    number: u16,
}

impl Port for Node {
    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.shared.say(TO_HOST, self.number, report)
    }

    fn atr(&mut self, _atr: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn response(&mut self, _response: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// A directory of our own that other users may read.
fn scratch_directory(base: &Path) -> Result<PathBuf, SimError> {
    let name = crate::crypto::to_hex(&crate::entropy::Entropy::system().bytes::<6>());
    let scratch = base.join(format!("claviger-sim-{name}"));
    std::fs::create_dir(&scratch).map_err(SimError::io(format!("making {}", scratch.display())))?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&scratch, readable).map_err(SimError::io(format!("opening {}", scratch.display())))?;
    Ok(scratch)
}

fn build_shim(scratch: &Path) -> Option<PathBuf> {
    let source = scratch.join("nodeshim.c");
    let shim = scratch.join("nodeshim.so");
    std::fs::write(&source, SHIM).ok()?;
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&shim)
        .arg(&source)
        .arg("-ldl")
        .status();
    built.is_ok_and(|status| status.success()).then_some(shim)
}
