//! The front for real USB: keys as gadgets of a USB device controller (Linux's configfs and `usb_f_hid`).
//!
//! Two sides, which may be two machines: [`Gadgets`] has the tokens, [`serve`] has the controllers and knows nothing of tokens.
//! With a controller on a cable (a small board with a USB device port) the key is plugged into another computer; with the
//! kernel's `dummy_hcd` into the machine itself.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;
use serde_json::json;

use super::bridge::{ADD, ADDED, Bridge, FAILED, FROM_HOST, Message, REMOVE, REMOVED, TO_HOST};
use super::{Plugged, spawn};
use crate::SimError;
use crate::token::Token;

const CONFIGFS: &str = "/sys/kernel/config/usb_gadget";
const CONTROLLERS: &str = "/sys/class/udc";
const REPORT: usize = 64;
/// How long a host may leave a report lying before it is lost, in milliseconds.
const PATIENCE_MS: u16 = 2_000;

/// HID 1.11 report descriptor of a FIDO device (CTAP 2.1 section 11.2.8.1): usage page F1D0, 64 bytes in, 64 bytes out.
const FIDO: &[u8] = &[
    0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, 0x09, 0x20, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x81,
    0x02, 0x09, 0x21, 0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40, 0x91, 0x02, 0xc0,
];

/// A keyboard of eight-byte reports: a modifier byte, a reserved one, six keys (HID 1.11 appendix B.1, without the lights).
const KEYBOARD: &[u8] = &[
    0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, 0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7, 0x15, 0x00, 0x25, 0x01, 0x75, 0x01, 0x95,
    0x08, 0x81, 0x02, 0x95, 0x01, 0x75, 0x08, 0x81, 0x01, 0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x25, 0x65, 0x05, 0x07,
    0x19, 0x00, 0x29, 0x65, 0x81, 0x00, 0xc0,
];

/// The side that has the tokens.
pub struct Gadgets {
    bridge: Bridge,
}

impl Gadgets {
    /// Plugs keys into the machine that serves the other end of this stream.
    ///
    /// # Errors
    /// When the stream cannot be cloned or no thread started.
    pub fn over(stream: UnixStream) -> Result<Self, SimError> {
        let reading = stream.try_clone().map_err(SimError::io("cloning a stream"))?;
        Ok(Self {
            bridge: Bridge::open("the gadget side", stream, reading)?,
        })
    }

    /// Plugs keys into this machine's own controllers. Needs root.
    ///
    /// # Errors
    /// As [`Self::over`].
    pub fn local() -> Result<Self, SimError> {
        let (ours, theirs) = UnixStream::pair().map_err(SimError::io("making a stream"))?;
        let reading = theirs.try_clone().map_err(SimError::io("cloning a stream"))?;
        spawn("gadget-serve", move || {
            // It ends with our end of the stream.
            let _ = serve(reading, theirs);
        })?;
        Self::over(ours)
    }

    /// Plugs `token` into the first free controller; [`Plugged::id`] is that controller's name.
    ///
    /// # Errors
    /// When the token has no HID face, or the other side cannot make a gadget: its words say why.
    pub fn plug(&self, token: &Token) -> Result<Plugged, SimError> {
        self.bridge.plug(token, &[])
    }

    /// Plugs it into a controller by its place in the alphabet, from 0. With `keyboard` it is a keyboard as well, which is the
    /// first interface then.
    ///
    /// # Errors
    /// As [`Self::plug`]; also when there are not so many controllers or this one is taken.
    pub fn plug_at(&self, token: &Token, controller: usize, keyboard: bool) -> Result<Plugged, SimError> {
        let more = [("controller", controller.into()), ("keyboard", keyboard.into())];
        self.bridge.plug(token, &more)
    }
}

/// What is to be plugged in.
#[derive(Deserialize)]
struct About {
    vendor_id: u16,
    product_id: u16,
    manufacturer: String,
    product: String,
    serial: String,
    controller: Option<usize>,
    #[serde(default)]
    keyboard: bool,
}

type Output = Arc<Mutex<dyn Write + Send>>;

/// Serves this machine's controllers to the other end of a stream, until that end hangs up.
///
/// # Errors
/// When the stream breaks other than by hanging up.
pub fn serve(mut input: impl Read, output: impl Write + Send + 'static) -> Result<(), SimError> {
    let output: Output = Arc::new(Mutex::new(output));
    let mut gadgets: BTreeMap<u16, Gadget> = BTreeMap::new();
    loop {
        let message = match Message::read(&mut input) {
            Ok(message) => message,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(source) => {
                return Err(SimError::Io {
                    what: "reading orders".into(),
                    source,
                });
            }
        };
        let key = message.key;
        match message.kind {
            ADD => {
                let taken: Vec<&str> = gadgets.values().map(|gadget| gadget.controller.as_str()).collect();
                match Gadget::add(key, &message.payload, &taken, &output) {
                    Ok(gadget) => {
                        let about = json!({ "node": gadget.controller }).to_string();
                        gadgets.insert(key, gadget);
                        say(&output, ADDED, key, about.as_bytes());
                    }
                    Err(error) => say(&output, FAILED, key, error.to_string().as_bytes()),
                }
            }
            REMOVE => {
                drop(gadgets.remove(&key));
                say(&output, REMOVED, key, &[]);
            }
            TO_HOST => {
                if let Some(gadget) = gadgets.get(&key) {
                    gadget.send(message.payload);
                }
            }
            _ => {}
        }
    }
}

fn say(output: &Output, kind: u8, key: u16, payload: &[u8]) {
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    let message = Message {
        kind,
        key,
        payload: payload.to_vec(),
    };
    // Nobody listens: then the reading side has ended, or will in a moment.
    let _ = message.write(&mut *output);
}

/// One gadget on the bus; dropping it pulls it out.
struct Gadget {
    directory: PathBuf,
    controller: String,
    /// Reports for the host.
    reports: Option<Sender<Vec<u8>>>,
    /// Its other end tells the threads to stop.
    running: Option<PipeWriter>,
    threads: Vec<JoinHandle<()>>,
}

impl Gadget {
    fn add(key: u16, about: &[u8], taken: &[&str], output: &Output) -> Result<Self, SimError> {
        let about: About = serde_json::from_slice(about)
            .map_err(|error| SimError::Invalid(format!("what is to be plugged in: {error}")))?;
        let controller = choose(about.controller, taken)?;
        let directory = Path::new(CONFIGFS).join(format!("claviger-{}-{key}", std::process::id()));
        // From here on dropping it takes away again what was made.
        let mut gadget = Self {
            directory,
            controller,
            reports: None,
            running: None,
            threads: Vec::new(),
        };
        gadget
            .describe(&about)
            .map_err(SimError::io(format!("making a gadget in {CONFIGFS}")))?;
        gadget
            .attach(key, output)
            .map_err(SimError::io(format!("attaching a gadget to {}", gadget.controller)))?;
        Ok(gadget)
    }

    fn describe(&self, about: &About) -> io::Result<()> {
        let at = |name: &str| self.directory.join(name);
        fs::create_dir(&self.directory)?;
        fs::write(at("idVendor"), format!("{:#06x}", about.vendor_id))?;
        fs::write(at("idProduct"), format!("{:#06x}", about.product_id))?;
        fs::write(at("bcdUSB"), "0x0200")?;
        fs::create_dir(at("strings/0x409"))?;
        fs::write(at("strings/0x409/manufacturer"), &about.manufacturer)?;
        fs::write(at("strings/0x409/product"), &about.product)?;
        if !about.serial.is_empty() {
            fs::write(at("strings/0x409/serialnumber"), &about.serial)?;
        }
        fs::create_dir(at("configs/c.1"))?;
        if about.keyboard {
            self.function("hid.keyboard", 1, 8, KEYBOARD)?;
        }
        self.function("hid.key", 0, REPORT, FIDO)
    }

    /// An interface. Its subclass is “boot” exactly when it has a protocol (HID 1.11 sections 4.2 and 4.3).
    fn function(&self, name: &str, protocol: u8, length: usize, descriptor: &[u8]) -> io::Result<()> {
        let at = self.directory.join("functions").join(name);
        fs::create_dir(&at)?;
        fs::write(at.join("protocol"), protocol.to_string())?;
        fs::write(at.join("subclass"), protocol.min(1).to_string())?;
        fs::write(at.join("report_length"), length.to_string())?;
        fs::write(at.join("report_desc"), descriptor)?;
        symlink(&at, self.directory.join("configs/c.1").join(name))
    }

    fn attach(&mut self, key: u16, output: &Output) -> io::Result<()> {
        fs::write(self.directory.join("UDC"), &self.controller)?;
        let node = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(self.node()?)?;
        let node = Arc::new(node);
        let (stop, running) = io::pipe()?;
        let (reports, to_send) = channel();
        let spawned =
            |name: &str, work: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name.into()).spawn(work);
        let (reading, told, stopped) = (node.clone(), output.clone(), stop.try_clone()?);
        self.threads.push(spawned(
            "gadget-read",
            Box::new(move || read_reports(&reading, &stopped, key, &told)),
        )?);
        self.threads.push(spawned(
            "gadget-write",
            Box::new(move || write_reports(&node, &stop, &to_send)),
        )?);
        self.reports = Some(reports);
        self.running = Some(running);
        Ok(())
    }

    /// The character device of the key's interface; it is there as soon as the gadget has its controller.
    fn node(&self) -> io::Result<PathBuf> {
        let number = fs::read_to_string(self.directory.join("functions/hid.key/dev"))?;
        let device = fs::canonicalize(Path::new("/sys/dev/char").join(number.trim()))?;
        let name = device.file_name().ok_or(io::ErrorKind::NotFound)?;
        Ok(Path::new("/dev").join(name))
    }

    fn send(&self, report: Vec<u8>) {
        if let Some(reports) = &self.reports {
            // The writer has ended only when the gadget is going.
            let _ = reports.send(report);
        }
    }
}

impl Drop for Gadget {
    fn drop(&mut self) {
        // Off the bus first: that is what a host sees of a key being pulled. Everything else is tidying, and what was never made
        // cannot be removed.
        let at = |name: &str| self.directory.join(name);
        let _ = fs::write(at("UDC"), "\n");
        drop(self.running.take());
        drop(self.reports.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        for function in ["hid.keyboard", "hid.key"] {
            let _ = fs::remove_file(at("configs/c.1").join(function));
            let _ = fs::remove_dir(at("functions").join(function));
        }
        for made in ["configs/c.1", "strings/0x409", ""] {
            let _ = fs::remove_dir(at(made));
        }
    }
}

fn choose(wanted: Option<usize>, taken: &[&str]) -> Result<String, SimError> {
    let listed =
        fs::read_dir(CONTROLLERS).map_err(SimError::io(format!("looking for controllers in {CONTROLLERS}")))?;
    let mut names: Vec<String> = listed
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let count = names.len();
    let free = |name: &String| !taken.contains(&name.as_str());
    let chosen = match wanted {
        Some(place) => names.into_iter().nth(place).filter(free),
        None => names.into_iter().find(free),
    };
    chosen.ok_or_else(|| SimError::Invalid(format!("of {count} USB device controllers none is free for this")))
}

/// Waits for one of these on the node; false when the gadget is to stop. `patience_ms` of `None` is without end.
fn ready(node: &File, stop: &PipeReader, wanted: PollFlags, patience_ms: Option<u16>) -> io::Result<bool> {
    let mut fds = [
        PollFd::new(node.as_fd(), wanted),
        PollFd::new(stop.as_fd(), PollFlags::POLLIN),
    ];
    let patience = patience_ms.map_or(PollTimeout::NONE, PollTimeout::from);
    match poll(&mut fds, patience) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let stopped = fds
        .get(1)
        .and_then(PollFd::revents)
        .is_some_and(|seen| !seen.is_empty());
    Ok(!stopped)
}

fn read_reports(node: &File, stop: &PipeReader, key: u16, output: &Output) {
    let mut node_reading = node;
    let mut report = [0; REPORT];
    while let Ok(true) = ready(node, stop, PollFlags::POLLIN, None) {
        // Nothing there yet, or the host has just let go of it: the next wait tells.
        if let Ok(REPORT) = node_reading.read(&mut report) {
            say(output, FROM_HOST, key, &report);
        }
    }
}

fn write_reports(node: &File, stop: &PipeReader, reports: &Receiver<Vec<u8>>) {
    let mut node_writing = node;
    while let Ok(report) = reports.recv() {
        // A host that does not fetch a report loses it, as with any other device.
        match ready(node, stop, PollFlags::POLLOUT, Some(PATIENCE_MS)) {
            Ok(true) => drop(node_writing.write(&report)),
            _ => return,
        }
    }
}
