//! Ring 2: people from LDAP. The shipped daemon asks a real slapd, over its socket and over TLS, and nobody becomes ordinary because it is silent.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[allow(missing_docs)]
#[path = "ring2_ldap/directory.rs"]
mod directory;
#[path = "harness/house.rs"]
mod house;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use bus::within;
use claviger::contract::proxy::{Case1Proxy, Cases1Proxy, Options, Record, Subjects1Proxy};
use directory::{PASSWORD, Server};
use house::{Figures, House, none, text};
use zbus::Variant;
use zbus::proxy::CacheProperties;

const ARTHUR: &str = "arthur@example.org";
const TRILLIAN: &str = "trillian@example.org";
const FORD: &str = "ford@example.org";
/// Two entries have this address.
const TWINS: &str = "marvin@example.org";
/// Stands in the file, with a role.
const SLARTI: &str = "slarti@example.org";

/// A daemon that asks a server. `[subjects.ldap]` is a table of its own, so it comes last.
fn figures(server: &Server, uri: &str, more: &str) -> Figures {
    let subjects = server.path("subjects.toml");
    fs::write(
        &subjects,
        format!("form = 1\n[[subject]]\nname = {SLARTI:?}\nrole = \"administrator\"\n"),
    )
    .expect("a file");
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/policy/policy.toml");
    let filter = "(&(objectClass=inetOrgPerson)(|(mail={subject})(uid={subject})))";
    Figures {
        more: format!(
            "[authority]\npolicy = {policy:?}\ndemand-cases = false\nrole = \"staff\"\n[subjects]\nfile = {subjects:?}\n\
             [subjects.ldap]\nuri = {uri:?}\nbase = \"ou=people,dc=example,dc=org\"\nfilter = {filter:?}\n\
             bind-dn = \"cn=claviger,dc=example,dc=org\"\npassword-file = {:?}\nca-file = {:?}\ntimeout = 4000\n\
             role-attribute = \"employeeType\"\nroles = [{{ value = \"Chief\", role = \"administrator\" }}, {{ value = \"clerk\", role = \"staff\" }}]\n\
             privilege-attribute = \"businessCategory\"\nprivileged = [\"privileged\"]\naccount-attribute = \"departmentNumber\"\n\
             contact-attribute = \"mobile\"\ncontact-prefix = \"sms:\"\n{more}",
            server.path("password"),
            server.path("ca.pem"),
        ),
        ..Figures::default()
    }
}

async fn status(house: &House, subject: &str) -> zbus::Result<Record> {
    let builder = Subjects1Proxy::builder(&house.client).cache_properties(CacheProperties::No);
    let subjects = builder.build().await.expect("a proxy");
    within("an answer", subjects.status(subject, &none())).await
}

async fn known(house: &House, subject: &str) -> [String; 3] {
    let told = status(house, subject).await.expect("known");
    ["role", "privilege", "contact"].map(|key| text(&told, key))
}

/// The sentence with which somebody could not be looked up.
async fn silence(house: &House, subject: &str) -> String {
    let told = status(house, subject).await.expect_err("nobody can say").to_string();
    assert!(told.contains("DirectoryUnavailable"), "{told}");
    println!("{subject}: {told}");
    told
}

/// What a case about somebody wants before a change, or why nobody can say.
async fn needs(house: &House, subject: &str) -> Result<String, String> {
    let cases = Cases1Proxy::new(&house.client).await.expect("a proxy");
    let about = Options::from([
        ("subject", Variant::from(subject)),
        ("reason", Variant::from("locked out")),
    ]);
    let (_, path) = within("a case", cases.open("support", "phone", &about))
        .await
        .expect("opened");
    let case = Case1Proxy::builder(&house.client)
        .path(path)
        .cache_properties(CacheProperties::No)
        .build()
        .await
        .expect("a proxy");
    let tier = Options::from([("tier", Variant::from("register"))]);
    match within("an answer", case.needs(&tier)).await {
        Ok((_, told)) => Ok(format!("{told:?}")),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn role_privilege_and_contact_come_from_the_server() {
    let Some(server) = Server::start("role_privilege_and_contact_come_from_the_server") else {
        return;
    };
    let of = |role: &str, privilege: &str, contact: &str| [role, privilege, contact].map(str::to_owned);
    for (uri, more) in [
        (server.ldapi(), ""),
        (server.ldaps(), ""),
        (server.ldap(), "start-tls = true\n"),
        (server.ldap(), ""),
    ] {
        let house = House::start(&figures(&server, &uri, more)).await;
        println!("{uri} {more}");
        assert_eq!(known(&house, ARTHUR).await, of("staff", "ordinary", "unverified"));
        assert_eq!(known(&house, TRILLIAN).await, of("administrator", "privileged", "none"));
        // One role with a privilege that is not the role's.
        assert_eq!(known(&house, FORD).await, of("staff", "privileged", "none"));
        assert_eq!(known(&house, SLARTI).await, of("administrator", "privileged", "none"));
        // A stranger is an answer.
        let stranger = status(&house, "zaphod@example.org").await.expect("an answer");
        assert!(!stranger.contains_key("role"), "{stranger:?}");
    }
    // The account that the entry names is this host's.
    let house = House::start(&figures(&server, &server.ldapi(), "")).await;
    let trillian = status(&house, TRILLIAN).await.expect("known");
    assert_eq!(text(&trillian, "account"), "root");
    // What a case wants follows from it: who has much to lose is seen.
    let rule = "whoever has much to lose is seen";
    let ordinary = needs(&house, ARTHUR).await.expect("an answer");
    let privileged = needs(&house, FORD).await.expect("an answer");
    assert!(
        !ordinary.contains(rule) && privileged.contains(rule),
        "{ordinary}\n{privileged}"
    );
}

#[tokio::test]
async fn a_server_that_is_silent_makes_nobody_ordinary() {
    let Some(mut server) = Server::start("a_server_that_is_silent_makes_nobody_ordinary") else {
        return;
    };
    let house = House::start(&figures(&server, &server.ldapi(), "")).await;
    assert_eq!(known(&house, FORD).await[1], "privileged");
    server.stop();
    for _ in 0..2 {
        let told = silence(&house, FORD).await;
        assert!(
            told.contains("cannot be reached") && told.contains("ldapi://"),
            "{told}"
        );
        // Not even what everybody is by the configuration.
        let told = needs(&house, FORD).await.expect_err("nobody can say");
        assert!(
            told.contains("DirectoryUnavailable") && told.contains("nothing can be drawn"),
            "{told}"
        );
    }
    // Whom the file gives a role needs no server.
    assert_eq!(known(&house, SLARTI).await[0], "administrator");
    server.restart();
    assert_eq!(known(&house, FORD).await[1], "privileged");

    // One that listens and says nothing.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let uri = format!("ldap://{}", deaf.local_addr().expect("an address"));
    let figures = figures(&server, &uri, "");
    let more = figures.more.replace("timeout = 4000", "timeout = 300");
    let house = House::start(&Figures { more, ..figures }).await;
    let told = silence(&house, FORD).await;
    assert!(told.contains("did not answer within 300 ms"), "{told}");
    // One that says what is no LDAP.
    let babbler = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let uri = format!("ldap://{}", babbler.local_addr().expect("an address"));
    std::thread::spawn(move || {
        use std::io::Write as _;
        // As long a message as can be announced; a tower of sequences; a message without an operation; a greeting.
        let tower = [&[0x30, 0x83, 3, 0xd0, 0x90][..], &[0x30, 0x80].repeat(125_000)].concat();
        let mut kept = Vec::new();
        for said in [
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff][..],
            &tower,
            &[0x30, 3, 2, 1, 1],
            b"220 smtp\r\n",
        ] {
            if let Ok((mut asked, _)) = babbler.accept() {
                let _ = asked.write_all(said);
                kept.push(asked);
            }
        }
        // A connection that ends takes with it what was said in it last.
        loop {
            std::thread::park();
        }
    });
    let house = House::start(&self::figures(&server, &uri, "")).await;
    for _ in 0..4 {
        let told = silence(&house, FORD).await;
        assert!(told.contains("not LDAP as we asked"), "{told}");
    }
}

#[tokio::test]
async fn a_name_is_never_a_filter_and_two_entries_are_nobody() {
    let Some(server) = Server::start("a_name_is_never_a_filter_and_two_entries_are_nobody") else {
        return;
    };
    let house = House::start(&figures(&server, &server.ldapi(), "")).await;
    // Each of them would fit somebody, were it not escaped.
    for hostile in [
        "*)(uid=*",
        "trillian*",
        "*",
        "trillian@example.org)(objectClass=*",
        "\\2a",
        "x)(|(uid=ford",
    ] {
        let told = status(&house, hostile)
            .await
            .expect("an answer: there is no such person");
        assert!(!told.contains_key("role"), "{hostile}: {told:?}");
    }
    // One whose name is such: found by it, and nobody else is.
    assert_eq!(known(&house, "odd*(name)").await[0], "administrator");
    let told = silence(&house, TWINS).await;
    assert!(told.contains("several entries fit"), "{told}");
    let told = silence(&house, "two-accounts").await;
    assert!(told.contains("departmentNumber"), "{told}");
}

#[tokio::test]
async fn who_is_not_let_in_and_who_is_not_believed_is_no_answer() {
    let Some(server) = Server::start("who_is_not_let_in_and_who_is_not_believed_is_no_answer") else {
        return;
    };
    // Another password than the server's, first by the socket and then in the middle of a day.
    let mut house = House::start(&figures(&server, &server.ldapi(), "")).await;
    assert_eq!(known(&house, ARTHUR).await[0], "staff");
    fs::write(server.path("password"), "not-the-word\n").expect("written");
    let told = silence(&house, ARTHUR).await;
    assert!(
        told.contains("LDAP result 49") && !told.contains("not-the-word"),
        "{told}"
    );
    fs::write(server.path("password"), format!("{PASSWORD}\n")).expect("written");
    assert_eq!(known(&house, ARTHUR).await[0], "staff");
    assert!(!house.log().contains(PASSWORD), "the log has the password");
    assert!(!house.log().contains("Trillian"), "the log has an entry");

    // A file that others may read keeps the daemon from starting, and is no answer later.
    let mode = |mode| fs::set_permissions(server.path("password"), fs::Permissions::from_mode(mode)).expect("a mode");
    mode(0o644);
    let told = silence(&house, ARTHUR).await;
    assert!(told.contains("others may look at it"), "{told}");
    house.stop();
    let status = house.try_start().expect_err("refused");
    assert_eq!(status.code(), Some(78), "{}", house.log());
    assert!(house.log().contains("make it 0600"), "{}", house.log());
    mode(0o600);

    // An authority that has not signed it; a name that is not its own.
    for (uri, more) in [(server.ldaps(), ""), (server.ldap(), "start-tls = true\n")] {
        let figures = figures(&server, &uri, more);
        let stranger = figures.more.replace("ca.pem", "stranger.pem");
        let house = House::start(&Figures {
            more: stranger,
            ..figures
        })
        .await;
        let told = silence(&house, ARTHUR).await;
        assert!(told.contains("its certificate is not believed"), "{told}");
    }
    let by_name = server.ldaps().replace("127.0.0.1", "localhost");
    let house = House::start(&figures(&server, &by_name, "")).await;
    let told = silence(&house, ARTHUR).await;
    assert!(told.contains("another name"), "{told}");
    // TLS where there is none.
    let house = House::start(&figures(&server, &server.ldap().replace("ldap:", "ldaps:"), "")).await;
    let told = silence(&house, ARTHUR).await;
    assert!(
        told.contains("no TLS comes about") || told.contains("closed the connection"),
        "{told}"
    );
    // A base that is not there is a wrong configuration, not a world without people.
    let figures = figures(&server, &server.ldapi(), "");
    let elsewhere = figures.more.replace("ou=people,", "ou=nowhere,");
    let house = House::start(&Figures {
        more: elsewhere,
        ..figures
    })
    .await;
    let told = silence(&house, ARTHUR).await;
    assert!(told.contains("LDAP result 32"), "{told}");
}

#[tokio::test]
async fn what_cannot_be_meant_keeps_the_daemon_from_starting() {
    let Some(server) = Server::start("what_cannot_be_meant_keeps_the_daemon_from_starting") else {
        return;
    };
    let good = figures(&server, &server.ldapi(), "");
    for (from, to, told) in [
        ("ldapi://", "ldap://ldap.example.org/", "subjects.ldap.uri"),
        (
            "role = \"administrator\" }",
            "role = \"chief\" }",
            "which the policy does not know",
        ),
        ("{subject}", "arthur", "must hold {subject}"),
        ("bind-dn = \"cn=claviger,dc=example,dc=org\"\n", "", "bind-dn"),
    ] {
        let bus = std::sync::Arc::new(bus::PrivateBus::start());
        let more = good.more.replace(from, to);
        assert_ne!(more, good.more, "{from}");
        let mut house = House::unstarted(bus, &Figures { more, ..good.clone() }).await;
        let status = house.try_start().expect_err("refused");
        assert_eq!(status.code(), Some(78), "{}", house.log());
        assert!(house.log().contains(told), "{told}: {}", house.log());
    }
}
