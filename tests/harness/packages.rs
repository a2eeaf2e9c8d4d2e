//! The Debian packages that `make deb` left, and whether they are of what is here.
#![allow(dead_code, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What the packages are built from.
const SOURCES: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "dbus",
    "debian",
    "examples",
    "hw-fixtures/src",
    "mk",
    "polkit",
    "src",
    "systemd",
    "udev",
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The packages, the daemon's first; empty before `make deb`.
pub fn built() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(repository().join("target/debian"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    // “claviger_…” and “claviger-sim_…”.
    found.sort_by_key(|path| path.to_string_lossy().contains("claviger-sim_"));
    found
}

/// A package older than what it is built from would have the tests judge what is no more: which source is newer than which
/// package, if one is.
pub fn stale() -> Option<(PathBuf, PathBuf)> {
    let mut found = None;
    for source in SOURCES {
        newest(&repository().join(source), &mut found);
    }
    let (changed, source) = found?;
    let old = |package: &PathBuf| fs::metadata(package).and_then(|meta| meta.modified()).ok() < Some(changed);
    Some((source, built().into_iter().find(old)?))
}

fn newest(path: &Path, found: &mut Option<(SystemTime, PathBuf)>) {
    // What the package's build itself leaves there.
    if ["debian/claviger", "debian/claviger-sim", "debian/.debhelper"]
        .iter()
        .any(|end| path.ends_with(end))
    {
        return;
    }
    let meta = fs::symlink_metadata(path).expect("a source");
    if meta.is_dir() {
        for entry in fs::read_dir(path).expect("a directory").flatten() {
            newest(&entry.path(), found);
        }
    } else if !path.to_string_lossy().contains(".debhelper") && path.extension().is_none_or(|e| e != "substvars") {
        let changed = meta.modified().expect("a time");
        if found.as_ref().is_none_or(|(known, _)| changed > *known) {
            *found = Some((changed, path.to_owned()));
        }
    }
}
