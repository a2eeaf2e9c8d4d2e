//! The front for real hidapi and real udev: hidraw nodes made by umockdev.
//!
//! umockdev has no Rust binding, so a Python bridge (`umockdev/bridge.py`, embedded here) owns the testbed and passes
//! 64-byte reports between each node's pseudo terminal and this process. Programs that shall see the keys run with the
//! environment of [`Testbed::environment`].

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use super::Plugged;
use super::bridge::{Bridge, Message, READY};
use crate::SimError;
use crate::token::Token;

const BRIDGE: &str = include_str!("../../umockdev/bridge.py");
const SHIM: &str = include_str!("../../umockdev/nodeshim.c");

/// A testbed with any number of keys; dropping it takes it down.
pub struct Testbed {
    bridge: Bridge,
    child: Mutex<Child>,
    root: PathBuf,
    shim: Option<PathBuf>,
    scratch: PathBuf,
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
        let bridge = Bridge::open("the umockdev bridge", input, output)?;
        let shim = build_shim(&scratch);
        Ok(Arc::new(Self {
            bridge,
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
    pub fn plug(&self, token: &Token) -> Result<Plugged, SimError> {
        self.bridge.plug(token, &[])
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        // The end of its input is how the bridge is told to take the testbed down.
        self.bridge.close();
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.wait();
        for left in [&self.scratch, &self.root] {
            // The bridge removes its own unless something killed it.
            let _ = std::fs::remove_dir_all(left);
        }
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
