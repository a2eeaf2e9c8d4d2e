//! The decision; the reading is held by `tests/ring2_humans.rs`, with processes of several people.

use super::*;

const ANNA: u32 = 1_000;
const BERT: u32 = 1_001;

fn anna() -> Traces {
    Traces {
        bus: ANNA,
        login: Login {
            uids: [ANNA; 4],
            login: ANNA,
            audit: 7,
        },
        seat: Seat {
            id: "7".to_owned(),
            uid: ANNA,
            class: "user".to_owned(),
            closing: false,
            audit: Some(7),
        },
        account: Some("anna".to_owned()),
    }
}

fn refused(change: impl FnOnce(&mut Traces)) -> &'static str {
    let mut traces = anna();
    change(&mut traces);
    traces.human().map(|human| human.session).unwrap_err().name()
}

#[test]
fn who_logged_in_as_themselves_is_known() {
    let human = anna().human().unwrap();
    assert_eq!((human.uid, human.login, human.session.as_str()), (ANNA, ANNA, "7"));
    assert_eq!(human.account, "anna");
    let caller = human.caller();
    assert_eq!((caller.login, caller.session), (Some(ANNA), Some(ANNA)));
}

#[test]
fn a_terminal_of_a_desktop_is_in_no_session_of_its_own() {
    let mut traces = anna();
    traces.seat.audit = None;
    traces.login.audit = 9;
    assert!(traces.human().is_ok());
}

#[test]
fn whatever_does_not_agree_is_refused() {
    assert_eq!(refused(|it| it.login.login = BERT), "login-differs");
    assert_eq!(refused(|it| it.seat.uid = BERT), "session-differs");
    assert_eq!(refused(|it| it.login.uids[1] = BERT), "process-changed");
    assert_eq!(refused(|it| it.login.uids[2] = 0), "process-changed");
    assert_eq!(refused(|it| it.bus = BERT), "process-changed");
    assert_eq!(refused(|it| it.login.audit = 9), "audit-differs");
    assert_eq!(refused(|it| it.account = None), "no-account");
}

#[test]
fn an_unset_login_is_refused_even_with_a_session() {
    assert_eq!(refused(|it| it.login.login = UNSET), "login-unset");
    assert_eq!(refused(|it| it.login.audit = UNSET), "login-unset");
}

#[test]
fn root_is_nobody_wherever_it_stands() {
    assert_eq!(refused(|it| it.bus = 0), "root");
    assert_eq!(refused(|it| it.login.login = 0), "root");
    assert_eq!(refused(|it| it.seat.uid = 0), "root");
}

#[test]
fn a_session_without_a_person_is_none() {
    for class in ["background", "greeter", "lock-screen", "manager", "userland", ""] {
        assert_eq!(
            refused(|it| it.seat.class = class.to_owned()),
            "nobody-there",
            "{class}"
        );
    }
    assert_eq!(refused(|it| it.seat.closing = true), "nobody-there");
    for class in ["user", "user-light", "user-early"] {
        let mut traces = anna();
        traces.seat.class = class.to_owned();
        assert!(traces.human().is_ok(), "{class}");
    }
}
