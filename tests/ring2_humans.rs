//! Ring 2: which human calls, read from real processes of several people with login uids of their own, from the real logind and over
//! a real system bus, by a reader under the service's user who has no privilege.
#[path = "harness/host/mod.rs"]
mod host;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use claviger::guard::human;
use host::logind::{Logind, Placed, Session};
use host::people::{Caller, LoginUid};
use host::{Host, Person};
use zbus::names::UniqueName;

const READER: &str = "CLAVIGER_TEST_READER";

/// The reader: this program again, under the service's user. Reads unique names, says which human each is.
#[test]
fn reader() {
    let Ok(address) = std::env::var(READER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let builder = zbus::connection::Builder::address(address.as_str());
        let bus = builder.build().await.expect("the bus");
        for name in std::io::stdin().lines() {
            let name = UniqueName::try_from(name.expect("a line")).expect("a unique name");
            match human::of_sender(&bus, &name).await {
                Ok(human) => println!(
                    "= human {} {} {} {} {}",
                    human.uid, human.login, human.session, human.session_uid, human.account
                ),
                Err(error) => println!("= {} {error}", error.name()),
            }
        }
    });
}

struct Reader {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Reader {
    fn start(host: &Host, through: Option<&str>) -> Self {
        let program = host.dir().join("bin/reader");
        if !program.exists() {
            std::fs::copy(std::env::current_exe().expect("this program"), &program).expect("a copy");
        }
        let environment = [(READER.to_owned(), host.address().to_owned())];
        let plain = host.command_as(Person::Service.user(), &environment, &program);
        let mut command = match through {
            None => plain,
            Some(script) => {
                // In a namespace below the host's.
                let arguments: Vec<_> = plain.get_args().collect();
                let setpriv = arguments.iter().position(|word| *word == "setpriv").expect("setpriv");
                let (enter, run) = arguments.split_at(setpriv);
                let mut command = Command::new(plain.get_program());
                command
                    .args(enter)
                    .args(["unshare", "--mount", "sh", "-c", script, "sh"])
                    .args(run);
                command
            }
        };
        let mut child = command
            .args(["--exact", "reader", "--nocapture", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the reader");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, lines }
    }

    /// What it says of a caller.
    fn asks(&mut self, caller: &Caller) -> String {
        let name = caller.connection.unique_name().expect("a name").to_string();
        self.asks_name(&name)
    }

    fn asks_name(&mut self, name: &str) -> String {
        writeln!(self.child.stdin.as_mut().expect("its input"), "{name}").expect("asked");
        for line in self.lines.by_ref() {
            // The test framework says something, too.
            if let Some((_, said)) = line.expect("a line").split_once("= ") {
                println!("{name}: {said}");
                return said.to_owned();
            }
        }
        panic!("the reader has ended");
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn open() -> Option<Host> {
    if let Some(what) = Logind::absent() {
        let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false" && ci != "0");
        assert!(!ci, "ring2_humans: no {what}, and on CI nothing may be skipped");
        let _ = writeln!(std::io::stderr().lock(), "ring2_humans: skipped, no {what}");
        return None;
    }
    Host::open(&[]).await
}

const ANNA: Person = Person::Allowed;
const BERT: Person = Person::HelpDesk;
/// Has no session at all.
const CARL: Person = Person::Stranger;

fn name_of(said: &str) -> &str {
    said.split(' ').next().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logged_in_as_themselves_is_known_and_nobody_else_is() {
    let Some(host) = open().await else { return };
    let anna = host.connect_logged_in(ANNA, LoginUid::Set(ANNA.uid())).await;
    let bert = host.connect_logged_in(BERT, LoginUid::Set(BERT.uid())).await;
    // Anna, who became Bert (su): her log-in, her session, his uid.
    let anna_as_bert = host.connect_logged_in(BERT, LoginUid::Set(ANNA.uid())).await;
    // Bert's log-in and uid, in Anna's session: what a process left behind by Bert would be.
    let in_annas = host.connect_logged_in(BERT, LoginUid::Set(BERT.uid())).await;
    let service = host.connect_logged_in(BERT, LoginUid::Unset).await;
    let forged = host.connect_logged_in(BERT, LoginUid::Own(BERT.uid())).await;
    let began_without = host.connect_logged_in(BERT, LoginUid::Unset).await;
    let forged_as_anna = host.connect_logged_in(ANNA, LoginUid::Own(ANNA.uid())).await;
    let nowhere = host.connect_logged_in(BERT, LoginUid::Set(BERT.uid())).await;
    let timer = host.connect_logged_in(BERT, LoginUid::Set(BERT.uid())).await;
    let root_behind = host.connect_logged_in(BERT, LoginUid::Set(0)).await;
    let desktop = host.connect_logged_in(ANNA, LoginUid::Set(ANNA.uid())).await;
    let without_screen = host.connect_logged_in(CARL, LoginUid::Set(CARL.uid())).await;

    let annas = Session::of("7", &anna);
    let sessions = [
        Session {
            display: true,
            ..annas.clone()
        },
        Session::of("8", &bert),
        Session {
            id: "9",
            leader: Some(anna_as_bert.pid()),
            ..annas.clone()
        },
        Session {
            id: "10",
            leader: Some(in_annas.pid()),
            ..annas.clone()
        },
        Session::of("11", &service),
        // The session began with no log-in; the process in it gave itself one.
        Session::of("12", &began_without),
        Session {
            class: "background",
            ..Session::of("13", &timer)
        },
        Session::of("14", &root_behind),
    ];
    let logind = Logind::start(&host, &sessions).await;
    // A terminal of a desktop runs below its user's own manager, in no session.
    let _desktop = Placed::new(
        desktop.pid(),
        ANNA.uid(),
        &format!("user@{}.service/claviger-test", ANNA.uid()),
    );
    let _without = Placed::new(
        without_screen.pid(),
        CARL.uid(),
        &format!("user@{}.service/claviger-test", CARL.uid()),
    );
    let _forged = Placed::new(forged.pid(), BERT.uid(), "session-12.scope");
    let _nowhere = Placed::new(nowhere.pid(), 0, "claviger-test");
    let mut reader = Reader::start(&host, None);

    let uid = ANNA.uid();
    assert_eq!(reader.asks(&anna), format!("human {uid} {uid} 7 {uid} {}", ANNA.user()));
    let uid = BERT.uid();
    assert_eq!(reader.asks(&bert), format!("human {uid} {uid} 8 {uid} {}", BERT.user()));
    let uid = ANNA.uid();
    assert_eq!(
        reader.asks(&desktop),
        format!("human {uid} {uid} 7 {uid} {}", ANNA.user())
    );
    for (caller, name) in [
        (&anna_as_bert, "login-differs"),
        (&in_annas, "session-differs"),
        (&service, "login-unset"),
        (&forged, "audit-differs"),
        (&timer, "nobody-there"),
        (&root_behind, "root"),
        (&nowhere, "no-session"),
        (&without_screen, "no-session"),
    ] {
        assert_eq!(name_of(&reader.asks(caller)), name);
    }
    // In no session of logind's at all, a login uid of one's own making does not help.
    assert_eq!(name_of(&reader.asks(&forged_as_anna)), "no-session");
    // Root needs no session to be refused.
    let root = host.root.unique_name().expect("a name").to_string();
    assert_eq!(name_of(&reader.asks_name(&root)), "root");

    // Without logind nobody is known.
    logind.stop(&host).await;
    assert_eq!(name_of(&reader.asks(&anna)), "logind-unreachable");
    println!("humans: 3 known, 11 refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_has_ended_is_nobody() {
    let Some(host) = open().await else { return };
    let mut anna = host.connect_logged_in(ANNA, LoginUid::Set(ANNA.uid())).await;
    let _logind = Logind::start(&host, &[Session::of("7", &anna)]).await;
    let mut reader = Reader::start(&host, None);
    assert_eq!(name_of(&reader.asks(&anna)), "human");
    // The connection lives on with us; the process that made it does not.
    anna.end();
    assert_eq!(name_of(&reader.asks(&anna)), "process-gone");
    let name = anna.connection.unique_name().expect("a name").to_string();
    anna.connection.clone().close().await.expect("closed");
    let said = reader.asks_name(&name);
    assert!(["bus", "process-gone"].contains(&name_of(&said)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_proc_hides_processes_nobody_is_known() {
    let Some(host) = open().await else { return };
    let anna = host.connect_logged_in(ANNA, LoginUid::Set(ANNA.uid())).await;
    let _logind = Logind::start(&host, &[Session::of("7", &anna)]).await;
    for (hidepid, seen) in [
        ("invisible", "process-hidden"),
        ("noaccess", "process-hidden"),
        ("off", "human"),
    ] {
        let hide = format!("mount -t proc -o hidepid={hidepid} proc /proc && exec \"$@\"");
        let mut reader = Reader::start(&host, Some(&hide));
        assert_eq!(name_of(&reader.asks(&anna)), seen, "hidepid={hidepid}");
    }
}
