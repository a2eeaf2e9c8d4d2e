//! Verification by several callers and in bulk, which a test on a session bus cannot have: there every caller is one uid.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hw_fixtures::oath::{Hash, totp};

use super::*;
use crate::codec::oath::COMPUTED;
use crate::device::Deadlines;
use crate::device::registry::{DeviceConfig, Registry};
use crate::grant::{Caller, Origin, Tier};
use crate::ledger::{
    BypassFilter, BypassRecord, CasePersonal, KeySource, NewBypass, NewCase, OpenOptions, Personal, SqliteLedger,
};
use crate::lifecycle::organisation::{Organisation, Watchman};
use crate::lifecycle::{Settings, drift};
use crate::types::cases::{BypassEnd, CaseKind, Channel, FoundAgain, Step};
use crate::types::stamp::{Moment, Reading, Stamp};
use crate::types::{CaseId, Clock};

/// A second in the middle of a step.
const NOON: i64 = 1_800_000_015;
const MINUTE: i64 = 60;
/// The log-in of the house, and somebody else's program.
const LOGIN: u32 = 0;
const MALLORY: u32 = 1001;

struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst) * 1000)
    }

    fn synchronised(&self) -> bool {
        true
    }
}

struct Desk {
    house: Arc<Lifecycle>,
    clock: Arc<Hand>,
}

impl Desk {
    async fn open(directory: &Path) -> Self {
        let options = OpenOptions {
            directory: directory.join("state"),
            key: KeySource::File(directory.join("key")),
        };
        let ledger = Arc::new(SqliteLedger::open(options).await.expect("a ledger"));
        let deadlines = Deadlines {
            exchange: Duration::from_secs(1),
            touch: Duration::from_secs(1),
            lock: Duration::from_secs(1),
            grace: Duration::from_secs(1),
        };
        let devices = DeviceConfig {
            deadlines,
            virtual_socket: None,
            hid: false,
            cards: false,
            max_quarantined: 1,
        };
        let clock = Arc::new(Hand(AtomicI64::new(NOON)));
        let settings = Settings {
            deadlines,
            rp_id: "claviger.example".to_owned(),
            virtual_link: false,
            ledger_place: String::new(),
            drift: drift::Settings::default(),
            resyncs_in_vain: 5,
        };
        let devices = Registry::start(&devices, Vec::new());
        let house = Lifecycle::new(ledger, devices, Arc::<Hand>::clone(&clock), settings);
        let hand = Arc::clone(&clock);
        house.belongs_to(Organisation {
            watchman: Some(Watchman {
                time: Arc::new(move || moment(hand.now())),
                grant: grant(LOGIN, Action::Audit, Object::Whole),
            }),
            ..Organisation::default()
        });
        Self { house, clock }
    }

    fn now(&self) -> i64 {
        self.clock.0.load(Ordering::SeqCst)
    }

    fn wait(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }

    /// An active app of `subject` with a seed of this byte, changed by `change`.
    async fn app(&self, subject: &str, seed: u8, change: impl FnOnce(&mut TokenRecord)) -> TokenId {
        let personal = Personal {
            subject: Some(subject.to_owned()),
            ..Personal::default()
        };
        let mut record = fresh(TokenId::generate(), TokenKind::App, Reality::Hardware, personal);
        record.binding = Binding::App {
            algorithm: OathAlgorithm::Sha1,
            digits: 6,
            period_s: 30,
        };
        record.state = TokenState::Active;
        record.last_seen = Some(UnixMillis(NOON * 1000));
        change(&mut record);
        let id = record.id;
        let insert = Mutation::Insert {
            record: Box::new(record),
            seed: Some(Secret::new(vec![seed; 20])),
            unique: None,
        };
        self.write(vec![insert]).await;
        id
    }

    /// A sheet of one recovery code: the code as it is typed.
    async fn sheet(&self, subject: &str) -> String {
        let code = recovery::encode(&[7; RANDOM]);
        let typed = recovery::grouped(&code).to_string();
        let personal = Personal {
            subject: Some(subject.to_owned()),
            ..Personal::default()
        };
        let mut record = fresh(
            TokenId::generate(),
            TokenKind::RecoveryCodes,
            Reality::Hardware,
            personal,
        );
        record.binding = Binding::RecoveryCodes { count: 1 };
        record.state = TokenState::Active;
        let keep = Mutation::KeepCodes {
            token: record.id,
            codes: vec![code],
        };
        let insert = Mutation::Insert {
            record: Box::new(record),
            seed: None,
            unique: None,
        };
        self.write(vec![insert, keep]).await;
        typed
    }

    /// A bypass of this many uses, good for an hour: the case, and the code as it is typed.
    async fn bypass(&self, subject: &str, uses: u32, found_again: FoundAgain) -> (CaseId, String) {
        let code = recovery::encode(&[9; RANDOM]);
        let typed = recovery::grouped(&code).to_string();
        let case = CaseId::generate();
        let now = moment(self.clock.now());
        let opened = Mutation::OpenCase(Box::new(NewCase {
            id: case,
            kind: CaseKind::Recovery,
            channel: Channel::Phone,
            opener: MALLORY,
            opened: now.stamp,
            step: Step::Act,
            within_ms: 1,
            personal: CasePersonal {
                subject: Some(subject.to_owned()),
                ..CasePersonal::default()
            },
        }));
        let issue = Mutation::IssueBypass(Box::new(NewBypass {
            case,
            by: MALLORY,
            issued: now.stamp,
            lasts_ms: 3_600_000,
            uses,
            found_again,
            code,
        }));
        self.write(vec![opened, issue]).await;
        (case, typed)
    }

    async fn write(&self, changes: Vec<Mutation>) {
        let event = Event {
            name: "token.registered",
            authority: grant(LOGIN, Action::Register, Object::NewFob).authority(None),
            token: None,
            at: self.clock.now(),
            detail: Facts::new(),
        };
        self.house.ledger().commit(event, changes).await.expect("written");
    }

    async fn try_code(&self, caller: u32, subject: &str, code: &str) -> Result<bool, Refusal> {
        let grant = grant(caller, Action::Verify, Object::Subject(subject.to_owned()));
        let code = Secret::new(code.as_bytes().to_vec());
        let verified = verify(&self.house, &grant, subject, &code, true).await?;
        Ok(verified.accepted())
    }

    /// So many wrong tries, each as soon as it is admitted.
    async fn miss(&self, caller: u32, subject: &str, times: u32) {
        for _ in 0..times {
            loop {
                match self.try_code(caller, subject, "000000").await {
                    Ok(passed) => break assert!(!passed, "a wrong code passed"),
                    Err(Refusal::TryLater { wait_s }) => self.wait(i64::from(wait_s)),
                    Err(other) => panic!("kept out: {other}"),
                }
            }
        }
    }

    fn entries(&self) -> u64 {
        self.house.ledger().head().expect("a head").0
    }
}

/// Both counts go by the hand's clock.
fn moment(at: UnixMillis) -> Moment {
    let ms = u64::try_from(at.0).expect("after 1970");
    Moment {
        reading: Reading {
            wall: at,
            boot_ms: ms,
            boot: 1,
        },
        stamp: Stamp {
            most_ms: ms,
            least_ms: ms,
        },
    }
}

fn grant(caller: u32, action: Action, object: Object) -> Grant {
    let caller = Caller {
        name: format!(":1.{caller}"),
        uid: caller,
    };
    Grant::mint(Origin::Polkit(caller), action, object, None, Tier::Test, None)
}

/// What the app with a seed of this byte shows.
fn shown(seed: u8, unix_s: i64) -> String {
    totp(Hash::Sha1, &[seed; 20], unix_s, 30, 6)
}

/// Counted are the HMACs over seeds (steps whose codes are compared) and the entries of the journal, which are commits: the same
/// for a right code of the first token, of the second, a wrong one, a used one and a recovery code.
#[tokio::test]
async fn the_work_does_not_depend_on_the_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let desk = Desk::open(dir.path()).await;
    for seed in [1, 2] {
        desk.app("ada", seed, |_| ()).await;
    }
    desk.app("bob", 3, |_| ()).await;
    let recovery = desk.sheet("ada").await;
    desk.wait(MINUTE);
    let (first, second) = (shown(1, desk.now()), shown(2, desk.now()));
    let cost = async |subject: &str, code: &str| {
        let before = (COMPUTED.get(), desk.entries());
        let passed = desk.try_code(LOGIN, subject, code).await.expect("looked at");
        (passed, COMPUTED.get() - before.0, desk.entries() - before.1)
    };
    let (passed, hmacs, commits) = cost("ada", "000000").await;
    assert!(!passed && hmacs >= 2, "{hmacs}");
    assert_eq!(commits, 1);
    for (what, code, right) in [
        ("right, of the first", first.as_str(), true),
        ("used", first.as_str(), false),
        ("right, of the second", second.as_str(), true),
        ("of eight digits", "12345678", false),
        ("recovery code", recovery.as_str(), true),
        ("used recovery code", recovery.as_str(), false),
    ] {
        assert_eq!(cost("ada", code).await, (right, hmacs, 1), "{what}");
    }
    // Nobody costs what somebody with one app costs.
    let of_one = cost("bob", "000000").await;
    assert_eq!(cost("nobody", "000000").await, of_one);
    println!("two apps: {hmacs} HMACs, one app or nobody: {}", of_one.1);
    // Kept out is kept out before anything is computed or written.
    desk.miss(LOGIN, "bob", 3).await;
    let before = (COMPUTED.get(), desk.entries());
    let kept_out = desk.try_code(LOGIN, "bob", &shown(3, desk.now())).await;
    assert!(matches!(kept_out, Err(Refusal::TryLater { .. })), "{kept_out:?}");
    assert_eq!((COMPUTED.get(), desk.entries()), before);
}

#[tokio::test]
async fn papers_that_have_ended_or_not_begun_are_no_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let desk = Desk::open(dir.path()).await;
    let noon = UnixMillis(NOON * 1000);
    desk.app("ada", 1, |record| record.valid_until = Some(noon)).await;
    desk.app("bob", 2, |record| {
        record.valid_from = Some(noon.plus_ms(MINUTE * 2_000))
    })
    .await;
    desk.app("eve", 3, |record| record.reality = Reality::Virtual).await;
    assert!(desk.try_code(LOGIN, "ada", &shown(1, NOON)).await.expect("looked at"));
    desk.wait(MINUTE);
    for (subject, seed) in [("ada", 1), ("bob", 2), ("eve", 3)] {
        let code = shown(seed, desk.now());
        assert!(
            !desk.try_code(LOGIN, subject, &code).await.expect("looked at"),
            "{subject}"
        );
    }
    desk.wait(MINUTE);
    let code = shown(2, desk.now());
    assert!(desk.try_code(LOGIN, "bob", &code).await.expect("looked at"));
}

/// Whoever wants somebody locked out locks out himself.
#[tokio::test]
async fn locking_out_on_purpose_does_not_pay() {
    let dir = tempfile::tempdir().expect("a directory");
    let desk = Desk::open(dir.path()).await;
    desk.app("ada", 1, |_| ()).await;
    desk.miss(MALLORY, "ada", 10).await;
    let code = shown(1, desk.now());
    let mallory = desk.try_code(MALLORY, "ada", &code).await;
    assert!(
        matches!(mallory, Err(Refusal::SoftLocked { wait_s: 900 })),
        "{mallory:?}"
    );
    assert!(desk.try_code(LOGIN, "ada", &code).await.expect("looked at"));
    // Her pass is not his.
    desk.wait(MINUTE);
    let mallory = desk.try_code(MALLORY, "ada", &shown(1, desk.now())).await;
    assert!(matches!(mallory, Err(Refusal::SoftLocked { .. })), "{mallory:?}");
}

/// Several callers are no way around the limit; then it takes two to lock, and a person unlocks.
#[tokio::test]
async fn two_guessers_are_one_guesser_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let desk = Desk::open(dir.path()).await;
    desk.app("ada", 1, |_| ()).await;
    desk.miss(MALLORY, "ada", 10).await;
    desk.miss(MALLORY + 1, "ada", 10).await;
    let code = shown(1, desk.now());
    for caller in [MALLORY, MALLORY + 1, MALLORY + 2, LOGIN] {
        let kept_out = desk.try_code(caller, "ada", &code).await;
        assert!(
            matches!(kept_out, Err(Refusal::SoftLocked { .. })),
            "{caller}: {kept_out:?}"
        );
    }
    let ada = Object::Subject("ada".to_owned());
    let stands = standing(&desk.house, &grant(LOGIN, Action::Inspect, ada.clone()), "ada").await;
    let stands = stands.expect("a standing");
    assert_eq!((stands.standing.run(), stands.state.as_str()), (20, "soft-locked"));
    unlock(&desk.house, &grant(LOGIN, Action::Suspend, ada), "ada")
        .await
        .expect("unlocked");
    assert!(desk.try_code(LOGIN, "ada", &code).await.expect("looked at"));
}

/// Made at once, guesses are guesses made one after the other, and one code passes once.
#[tokio::test]
async fn a_burst_is_a_row() {
    let dir = tempfile::tempdir().expect("a directory");
    let desk = Desk::open(dir.path()).await;
    for seed in [1, 2] {
        desk.app("ada", seed, |_| ()).await;
    }
    let burst = async |code: &str| {
        let all = (0..20).map(|_| desk.try_code(LOGIN, "ada", code));
        let told = futures_util::future::join_all(all).await;
        let passed = told.iter().filter(|told| matches!(told, Ok(true))).count();
        let missed = told.iter().filter(|told| matches!(told, Ok(false))).count();
        (passed, missed)
    };
    // After the third wrong one in a row nothing more is free, and the fourth makes the next wait.
    assert_eq!(burst("000000").await, (0, 4));
    desk.wait(MINUTE);
    let code = shown(1, desk.now());
    assert_eq!(burst(&code).await, (1, 4), "one passes, and ends the row");
}

/// As above, for somebody who has a bypass on hand besides an app: a code of either, a wrong one, a used one and one of the wrong form
/// cost the same HMACs and one commit. So do they for somebody who has a bypass and nothing else, as for a name that nobody has.
#[tokio::test]
async fn a_bypass_changes_nothing_of_what_an_answer_costs() {
    let dir = tempfile::tempdir().expect("a directory");
    let desk = Desk::open(dir.path()).await;
    desk.app("ada", 1, |_| ()).await;
    let (_, code) = desk.bypass("ada", 1, FoundAgain::Keep).await;
    let (_, alone) = desk.bypass("bob", 2, FoundAgain::End).await;
    desk.wait(MINUTE);
    let shown = shown(1, desk.now());
    let cost = async |subject: &str, code: &str| {
        let before = (COMPUTED.get(), desk.entries());
        let passed = desk.try_code(LOGIN, subject, code).await.expect("looked at");
        (passed, COMPUTED.get() - before.0, desk.entries() - before.1)
    };
    let (passed, hmacs, commits) = cost("ada", "000000").await;
    assert!(!passed && hmacs >= 1 && commits == 1, "{hmacs} {commits}");
    for (what, code, right) in [
        ("the bypass", code.as_str(), true),
        ("the bypass, used up", code.as_str(), false),
        ("of the app", shown.as_str(), true),
        ("of somebody else", "2222-2222-2222-2222-C", false),
    ] {
        let code = match what {
            "of somebody else" => recovery::grouped(&recovery::encode(&[2; RANDOM])).to_string(),
            _ => code.to_owned(),
        };
        assert_eq!(cost("ada", &code).await, (right, hmacs, 1), "{what}");
    }
    let of_nobody = cost("nobody", &code).await;
    assert_eq!(cost("bob", "000000").await, of_nobody);
    assert_eq!(cost("bob", &alone).await, (true, of_nobody.1, 1));
    let report = desk.house.ledger().verify().await.expect("a report");
    assert_eq!(report.findings, []);
}

async fn bypass_of(desk: &Desk, case: CaseId) -> BypassRecord {
    let of = BypassFilter {
        case: Some(case),
        ..BypassFilter::default()
    };
    let mut found = desk.house.ledger().bypasses(&of, None, 1).await.expect("found").items;
    found.pop().expect("one")
}

/// A guess at a bypass is a guess, whoever has how many other codes.
#[tokio::test]
async fn wrong_codes_of_a_bypass_draw_on_the_one_budget() {
    let dir = tempfile::tempdir().expect("a directory");
    let desk = Desk::open(dir.path()).await;
    let (case, code) = desk.bypass("ada", 3, FoundAgain::End).await;
    desk.miss(MALLORY, "ada", 10).await;
    let kept_out = desk.try_code(MALLORY, "ada", &code).await;
    assert!(matches!(kept_out, Err(Refusal::SoftLocked { .. })), "{kept_out:?}");
    let after = bypass_of(&desk, case).await;
    assert_eq!(
        (after.used, after.wrong),
        (0, 10),
        "what is not looked at is not counted"
    );
    assert!(desk.try_code(LOGIN, "ada", &code).await.expect("looked at"));
}

#[tokio::test]
async fn a_bypass_ends_with_its_time_and_with_the_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let desk = Desk::open(dir.path()).await;
    for seed in [1, 2] {
        let subject = ["ada", "bob"][usize::from(seed) - 1];
        desk.app(subject, seed, |_| ()).await;
    }
    let (ends, code) = desk.bypass("ada", 9, FoundAgain::End).await;
    let (keeps, kept) = desk.bypass("bob", 9, FoundAgain::Keep).await;
    let mut news = desk.house.bypasses().subscribe();
    desk.wait(MINUTE);
    for (subject, seed) in [("ada", 1), ("bob", 2)] {
        assert!(
            desk.try_code(LOGIN, subject, &shown(seed, desk.now()))
                .await
                .expect("looked at")
        );
    }
    let told = news.try_recv().expect("news");
    assert_eq!((told.case, told.what), (ends, "ended"));
    assert_eq!(
        bypass_of(&desk, ends).await.ended.map(|(_, why)| why),
        Some(BypassEnd::FoundAgain)
    );
    assert!(!desk.try_code(LOGIN, "ada", &code).await.expect("looked at"));
    assert!(desk.try_code(LOGIN, "bob", &kept).await.expect("looked at"));
    // Issued a minute ago and good for an hour.
    desk.wait(3_600 - MINUTE - 1);
    assert!(desk.try_code(LOGIN, "bob", &kept).await.expect("looked at"));
    desk.wait(1);
    assert!(!desk.try_code(LOGIN, "bob", &kept).await.expect("looked at"));
    assert_eq!(bypass_of(&desk, keeps).await.used, 2);
}
