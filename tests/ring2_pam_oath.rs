//! Ring 2: the file that `claviger export users-oath` writes, in the hands of the real `pam_oath`: a fob's code opens the door,
//! and no longer once the fob is revoked and the file written anew.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use house::{Figures, House, fob, now_s, text};

const SERVICE: &str = "claviger-test";
const SUBJECT: &str = "trillian";

/// What this host lacks.
fn absent() -> Option<&'static str> {
    let runs = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status()
    };
    if runs("pamtester", &[]).is_err() {
        return Some("pamtester (Debian: pamtester)");
    }
    let module = |directory: std::io::Result<std::fs::DirEntry>| {
        directory.is_ok_and(|directory| directory.path().join("security/pam_oath.so").exists())
    };
    if !std::fs::read_dir("/usr/lib").is_ok_and(|mut entries| entries.any(module)) {
        return Some("pam_oath (Debian: libpam-oath)");
    }
    if !runs("unshare", &["-m", "true"]).is_ok_and(|status| status.success()) {
        return Some("mount namespaces (the container forbids them)");
    }
    None
}

/// A door of its own: `/etc/pam.d` in a mount namespace holds one service, whose one module is `pam_oath`.
struct Door {
    services: PathBuf,
}

impl Door {
    fn build(directory: &Path, users: &Path) -> Self {
        let services = directory.join("pam.d");
        std::fs::create_dir(&services).expect("a directory");
        let stack = format!(
            "auth required pam_oath.so usersfile={} window=20 digits=6\naccount required pam_permit.so\n",
            users.display()
        );
        std::fs::write(services.join(SERVICE), stack).expect("a service");
        Self { services }
    }

    /// Whether the code is accepted.
    fn opens(&self, code: &str) -> bool {
        let script = "mount --bind \"$1\" /etc/pam.d && exec pamtester \"$2\" \"$3\" authenticate";
        let mut child = Command::new("unshare")
            .args(["-m", "sh", "-c", script, "sh"])
            .arg(&self.services)
            .args([SERVICE, SUBJECT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut input = child.stdin.take().expect("its input");
        writeln!(input, "{code}").expect("room in the pipe");
        drop(input);
        let output = child.wait_with_output().expect("its end");
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(
            told.contains("successfully authenticated") == output.status.success(),
            "{told}"
        );
        assert!(!told.contains("mount:"), "{told}");
        output.status.success()
    }
}

async fn export(house: &House, to: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
    command.args(["--bus", house.bus().address(), "export", "users-oath", "--file"]);
    command.arg(to);
    let output = tokio::task::spawn_blocking(move || command.output().expect("claviger")).await;
    let output = output.expect("its end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn a_fobs_code_opens_the_door_until_it_is_revoked() {
    if let Some(what) = absent() {
        let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false" && ci != "0");
        assert!(!ci, "ring 2: no {what}, and on CI nothing may be skipped");
        let _ = writeln!(std::io::stderr().lock(), "ring 2: skipped, no {what}");
        return;
    }
    let house = House::start(&Figures::default()).await;
    let fob = fob("F-1", 7, 0.0);
    let made = house.register_fob(&fob, SUBJECT).await.done();
    let users = house.path().join("users.oath");
    let told = export(&house, &users).await;
    assert!(told.contains("Exported 1 tokens"), "{told}");
    let door = Door::build(house.path(), &users);

    assert!(!door.opens("000000") || !door.opens("000001"), "a guess");
    let now = now_s();
    assert!(door.opens(&fob.code(now)), "the code on the display");
    assert!(!door.opens(&fob.code(now)), "the same code again");

    let before = std::fs::read(&users).expect("the file with the fob");
    house.revoke(&text(&made, "token")).await.expect("obliged");
    let told = export(&house, &users).await;
    assert!(told.contains("Exported 0 tokens"), "{told}");
    let next = fob.code(now + 60);
    assert!(!door.opens(&next), "a revoked fob");
    // That it was the file and not the code: with the old one it opens.
    std::fs::write(&users, before).expect("the old file");
    assert!(door.opens(&next));
    house.assert_intact().await;
}
