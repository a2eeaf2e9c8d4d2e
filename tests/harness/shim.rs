//! Steers `tests/shim/daemon_shim.c`, which is preloaded into the daemon of a house.
#![allow(dead_code, missing_docs)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::house::House;

/// When, at a write, the daemon dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    Before,
    Middle,
    After,
}

/// The page that daemon and test share.
pub struct Shim {
    page: File,
}

const MODE: u64 = 0;
const NTH: u64 = 8;
const COUNT: u64 = 16;
const CLOCK: u64 = 24;
const BOOT: u64 = 32;

impl Shim {
    /// Has the daemons that this house starts from now on carry the shim.
    pub fn into(house: &mut House) -> Self {
        let path = house.path().join("page");
        let shim = Self::on(&path);
        house.with_environment("LD_PRELOAD", &library().display().to_string());
        house.with_environment("CLAVIGER_SHIM_PAGE", &path.display().to_string());
        let state = house.state().display().to_string();
        house.with_environment("CLAVIGER_SHIM_STATE", &state);
        shim
    }

    /// A page of its own, for a daemon that is started otherwise.
    pub fn on(path: &Path) -> Self {
        std::fs::write(path, [0; 40]).expect("a page");
        let page = File::options().read(true).write(true).open(path).expect("the page");
        Self { page }
    }

    fn set(&self, at: u64, value: u64) {
        self.page.write_all_at(&value.to_ne_bytes(), at).expect("the page");
    }

    /// Counts writes from now on.
    pub fn count_from_here(&self) {
        self.set(COUNT, 0);
        self.set(MODE, 1);
    }

    /// Writes since counting began.
    pub fn counted(&self) -> u64 {
        let mut value = [0; 8];
        self.page.read_exact_at(&mut value, COUNT).expect("the page");
        u64::from_ne_bytes(value)
    }

    /// The daemon dies at the write of this number, counted from now.
    pub fn arm(&self, nth: u64, moment: Moment) {
        self.set(COUNT, 0);
        self.set(NTH, nth);
        self.set(
            MODE,
            match moment {
                Moment::Before => 2,
                Moment::After => 3,
                Moment::Middle => 4,
            },
        );
    }

    pub fn disarm(&self) {
        self.set(MODE, 0);
    }

    /// The daemon's clock stands still at this second.
    pub fn set_clock(&self, unix_s: i64) {
        self.set(CLOCK, u64::try_from(unix_s * 1000).expect("after 1970"));
    }

    /// So does the clock that nobody can set: this many seconds since boot.
    pub fn set_boot(&self, seconds: u64) {
        self.set(BOOT, seconds * 1000);
    }
}

/// The shim, compiled once for each test program.
pub fn library() -> PathBuf {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = dir.path().join("daemon_shim.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shim/daemon_shim.c");
        let status = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(&path)
            .args([source, "-ldl"])
            .status()
            .expect("cc is installed (Debian: gcc)");
        assert!(status.success(), "the shim does not compile");
        (dir, path)
    });
    path.clone()
}
