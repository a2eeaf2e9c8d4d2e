//! Ring 2: an operator who turns bad is stopped. The real polkitd, the real logind, people under uids and log-ins of their own; the
//! alarm is heard by everybody and told to those who may know, the freeze holds through a restart, and only another human lifts it.
#[path = "harness/host/mod.rs"]
mod host;

use std::collections::HashMap;
use std::io::Write;

use claviger::contract::{ROOT_PATH, TOKENS_PATH, VERIFY_PATH};
use futures_util::StreamExt;
use host::daemon::{Daemon, manager, standing};
use host::logind::{Chair, Logind};
use host::people::{Caller, Refused, call};
use host::{Host, Person, within};
use zbus::{Message, Variant};

const OPERATOR: Person = Person::HelpDesk;
const WATCHER: Person = Person::Allowed;

const APPROVE: &str = "polkit.addRule(function (action, subject) {
    if (action.id === 'org.claviger.approve') { return polkit.Result.YES; }
    return polkit.Result.NOT_HANDLED;
});";

/// The shipped policy, but wrong codes freeze whoever has them tried.
fn policy(host: &Host) -> String {
    let shipped = include_str!("../policy/policy.toml");
    let rule = "[anomalies.failed-verification]\ncount = 5\nwithin = \"1h\"\nend-sessions = true\n";
    assert!(shipped.contains(rule), "the shipped policy has another rule");
    let strict = shipped.replace(
        rule,
        "[anomalies.failed-verification]\ncount = 5\nwithin = \"1h\"\nfreeze = true\n",
    );
    let path = host.dir().join("policy.toml");
    std::fs::write(&path, strict).expect("a policy");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("permissions");
    format!(
        "[authority]\npolicy = {:?}\n[devices]\nhid = false\ncards = false\n",
        path.display()
    )
}

async fn verify(caller: &Caller, subject: &str) -> Result<Message, Refused> {
    let options = HashMap::<&str, Variant<'_>>::new();
    let target = (VERIFY_PATH, "org.claviger.Verify1", "Verify");
    call(&caller.connection, target, Some(&(subject, "000000", options)), false).await
}

/// The error that a change by this caller ends with: nobody has the case it names.
async fn change(caller: &Caller) -> String {
    let case = "0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000";
    let options = HashMap::from([("case", Variant::from(case))]);
    let target = (TOKENS_PATH, "org.claviger.Tokens1", "Suspend");
    let refused = call(&caller.connection, target, Some(&(case, options)), false).await;
    refused.expect_err("no such case").name
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_turns_bad_is_frozen_until_another_human_lifts_it() {
    if let Some(what) = Logind::absent() {
        let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false" && ci != "0");
        assert!(!ci, "ring2_alarms: no {what}, and on CI nothing may be skipped");
        let _ = writeln!(std::io::stderr().lock(), "ring2_alarms: skipped, no {what}");
        return;
    }
    let Some(mut host) = Host::open(&[]).await else { return };
    // Whoever is frozen shall be stopped by that, not by polkit.
    let rules = host.dir().join("rules/45-approve.rules");
    std::fs::write(&rules, APPROVE).expect("a rule");
    std::fs::set_permissions(&rules, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("permissions");
    host.kill_polkitd().await;
    host.start_polkitd().await;
    let (operator_chair, watcher_chair) = (Chair::take(&host, OPERATOR, "7"), Chair::take(&host, WATCHER, "8"));
    let _logind = Logind::start(&host, &[operator_chair.session(), watcher_chair.session()]).await;
    let sections = policy(&host);
    let mut daemon = Daemon::start(&host, &sections, &[]);
    let operator = host.connect(OPERATOR).await;
    let mut heard = manager(&host).await.receive_alarm_raised().await.expect("signals");

    assert_eq!(
        change(&operator).await,
        "org.claviger.Error.UnknownCase",
        "not frozen yet"
    );
    for subject in ["arthur", "ford", "zaphod", "marvin", "slartibartfast"] {
        verify(&operator, subject).await.expect("looked at");
    }
    within("the alarm", heard.next()).await.expect("a signal");

    // Everybody hears that there was one; what it was is told to those who may know.
    let told = watcher_chair.claviger(&host, &["alarms"]).done();
    assert_eq!(told.said["alarms"][0]["kind"], "failed-verification");
    assert_eq!(told.said["alarms"][0]["operator"], OPERATOR.uid());
    assert_eq!(told.said["frozen"][0]["operator"], OPERATOR.uid());
    host.claviger(Person::Stranger, &["alarms"], "").refused("AccessDenied");

    assert_eq!(change(&operator).await, "org.claviger.Error.Frozen");
    // Looking is free, and codes of other people can still be told right from wrong at the door.
    daemon.process.end(nix::sys::signal::Signal::SIGKILL);
    drop(daemon);
    let _daemon = Daemon::start(&host, &sections, &[]);
    assert_eq!(
        change(&operator).await,
        "org.claviger.Error.Frozen",
        "a restart lifts nothing"
    );

    let uid = OPERATOR.uid().to_string();
    // Root is nobody; somebody without a log-in of their own is nobody; the operator is not another.
    let thaw = (OPERATOR.uid(), HashMap::<&str, Variant<'_>>::new());
    let root = call(
        &host.root,
        (ROOT_PATH, "org.claviger.Manager1", "Thaw"),
        Some(&thaw),
        false,
    );
    assert_eq!(root.await.expect_err("root").name, "org.claviger.Error.NotHuman");
    host.claviger(WATCHER, &["thaw", &uid], "").refused("NotHuman");
    operator_chair.claviger(&host, &["thaw", &uid]).refused("AccessDenied");
    assert_eq!(change(&operator).await, "org.claviger.Error.Frozen");
    watcher_chair.claviger(&host, &["thaw", &uid]).done();
    assert_eq!(change(&operator).await, "org.claviger.Error.UnknownCase", "thawed");
    watcher_chair
        .claviger(&host, &["thaw", &uid])
        .refused("InvalidArgument");
    println!("{}", standing(&host).await);
}
