//! What the guest boots: the kernel and root that `tests/ring4/image` makes once, and the programs under test, each time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};

use super::packages;

/// Ready to boot.
pub struct Image {
    pub kernel: PathBuf,
    /// The root's archive, the programs' archive.
    pub root: PathBuf,
    /// Where the programs came from.
    pub programs: String,
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The build directory: the programs lie in it, two floors down.
fn target() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_clavigerd"));
    program.ancestors().nth(2).expect("a build directory").to_owned()
}

fn there(program: &str) -> bool {
    let system = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from);
    system.iter().any(|directory| directory.join(program).exists())
}

/// Why there can be no guest here, if so.
fn absent(made: bool) -> Option<String> {
    for program in ["qemu-system-x86_64", "mkfs.ext4", "cpio", "setpriv"] {
        if !there(program) {
            return Some(format!("no {program}"));
        }
    }
    if !Path::new(env!("CARGO_BIN_EXE_clavigerd"))
        .with_file_name("claviger-sim")
        .exists()
    {
        return Some("no claviger-sim beside clavigerd (cargo test --workspace builds it)".to_owned());
    }
    if made {
        return None;
    }
    if !there("mmdebstrap") {
        return Some("no mmdebstrap, and no guest was made before".to_owned());
    }
    if !nix::unistd::Uid::effective().is_root() {
        return Some("not root, and no guest was made before".to_owned());
    }
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    (!system.lines().any(|line| line == "ID=debian"))
        .then(|| "the guest is made like its host, which is no Debian".to_owned())
}

impl Image {
    /// Makes what is missing. `None`, after one visible line, where that cannot be; on CI that fails.
    pub fn prepare() -> Option<Self> {
        let directory = target().join("ring4");
        let recipe: String = ["tests/ring4/image", "tests/ring4/furnish"]
            .iter()
            .map(|name| fs::read_to_string(repository(name)).expect("a recipe"))
            .collect();
        let note = directory.join("recipe");
        let made = fs::read_to_string(&note).is_ok_and(|text| text == recipe);
        if let Some(why) = absent(made) {
            let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false" && ci != "0");
            assert!(!ci, "ring 4: {why}, and on CI nothing may be skipped");
            say(&format!("ring 4: skipped, {why}"));
            return None;
        }
        if !made {
            say("ring 4: making the guest, once (kernel and root from the Debian mirror)");
            let making = Command::new(repository("tests/ring4/image")).arg(&directory).status();
            assert!(making.expect("a shell").success(), "the guest could not be made");
            fs::write(&note, recipe).expect("written");
        }
        // Two test programs may do this at once, or boot what this replaces.
        let lock = fs::File::create(directory.join("lock")).expect("a lock");
        let _lock = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .expect("the lock");
        let (tree, programs) = furnish(&directory);
        let ours = directory.join("ours.cpio");
        pack(&tree, &ours);
        // The kernel unpacks several archives in a row, the later over the earlier.
        let root = directory.join("all.cpio");
        let half = root.with_extension("half");
        let whole = Command::new("cat")
            .arg(directory.join("root.cpio"))
            .arg(&ours)
            .stdout(fs::File::create(&half).expect("an archive"))
            .status();
        assert!(whole.expect("cat").success());
        fs::rename(&half, &root).expect("renamed");
        Some(Self {
            kernel: directory.join("vmlinuz"),
            root,
            programs,
        })
    }
}

/// Past the capture of the test program: whoever runs the tests shall see it.
pub fn say(line: &str) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr().lock(), format_args!("{line}\n"));
}

/// A tree with the programs as they are installed, and what the test has in the guest.
fn furnish(directory: &Path) -> (PathBuf, String) {
    let tree = directory.join("tree");
    let _ = fs::remove_dir_all(&tree);
    fs::create_dir_all(tree.join("usr/lib/ring4")).expect("a directory");
    let programs = match current_packages() {
        Some(packages) => {
            for package in &packages {
                succeeds(Command::new("dpkg-deb").arg("-x").arg(package).arg(&tree));
            }
            merge_usr(&tree);
            format!("{} Debian packages", packages.len())
        }
        None => {
            install(directory, &tree);
            "make install".to_owned()
        }
    };
    fs::copy(repository("tests/ring4/init"), tree.join("init")).expect("copied");
    for name in ["agent", "verbs", "clavigerd.toml"] {
        let to = tree.join("usr/lib/ring4").join(name);
        fs::copy(repository("tests/ring4").join(name), to).expect("copied");
    }
    (tree, programs)
}

/// Where the guest has a link, `/lib`, an archive with a directory of that name would put a directory in its place.
fn merge_usr(tree: &Path) {
    if tree.join("lib").is_dir() {
        succeeds(
            Command::new("cp")
                .arg("-a")
                .arg(tree.join("lib/."))
                .arg(tree.join("usr/lib")),
        );
        fs::remove_dir_all(tree.join("lib")).expect("removed");
    }
}

/// The packages of `make deb`, when they are of what is here. The simulator is a package of its own, and the guest needs it.
fn current_packages() -> Option<Vec<PathBuf>> {
    let built = packages::built();
    (built.len() == 2 && packages::stale().is_none()).then_some(built)
}

/// `make install` of what cargo has built, without what only a debugger wants.
fn install(directory: &Path, tree: &Path) {
    let stripped = directory.join("programs");
    let _ = fs::remove_dir_all(&stripped);
    fs::create_dir_all(&stripped).expect("a directory");
    let built = Path::new(env!("CARGO_BIN_EXE_clavigerd"));
    for name in ["claviger", "clavigerd", "claviger-sim"] {
        let (from, to) = (built.with_file_name(name), stripped.join(name));
        let strip = Command::new("strip").arg("-o").arg(&to).arg(&from).status();
        if !strip.is_ok_and(|status| status.success()) {
            fs::copy(&from, &to).expect("copied");
        }
    }
    let mut make = Command::new("make");
    make.current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["-s", "-f", "mk/install.mk", "install", "PREFIX=/usr"])
        .arg(format!("TARGETDIR={}", stripped.display()))
        .arg(format!("DESTDIR={}", tree.display()))
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL");
    succeeds(&mut make);
}

fn pack(tree: &Path, archive: &Path) {
    let script = "cd \"$1\" && find . | cpio -o -H newc --quiet -R 0:0 >\"$2\"";
    succeeds(Command::new("sh").args(["-c", script, "pack"]).arg(tree).arg(archive));
}

fn succeeds(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("a program");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
