//! What the guard's decisions add to a test of an OATH card when the help desk has 10,000 cases open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use claviger::ledger::{
    CasePersonal, Event, KeySource, Ledger, Mutation, NewCase, NewNote, OpenOptions, Said, SqliteLedger,
};
use claviger::types::cases::{CaseKind, Channel, Method, Step};
use claviger::types::stamp::Stamp;
use claviger::types::{CaseId, Reality, UnixMillis};
use hw_fixtures::front::Plugged;
use tempfile::TempDir;

use crate::daemon::{Daemon, Setup, state_directory};
use crate::full_ledger::authority;
use crate::part::Player;
use crate::pcscd::{self, CARD_DELAY_MS, Pcscd};
use crate::report::{Measured, median, quantile};
use crate::stage::Stage;

const CASES: usize = 10_000;
/// Not counted: caches fill, the card is powered.
const WARM_UP: usize = 5;
const ROUNDS: usize = 60;
/// Far away: none of them is overdue while we measure.
const WITHIN_MS: u64 = 30 * 86_400_000;
const OPENED: UnixMillis = UnixMillis(1_760_000_000_000);

/// `guard_overhead_ratio`: each round one test in a case where 10,000 are open, and one where no policy is in force, one after the
/// other, so that whatever else the machine does hits both.
pub async fn ratio() -> Result<Measured, String> {
    if let Some(why) = pcscd::missing() {
        return Err(why.to_owned());
    }
    let (guarded, open) = (state_directory(), state_directory());
    fill(guarded.path()).await;
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy/policy.toml");
    let mut guarded = Desk::open(guarded, Some(policy)).await?;
    let mut open = Desk::open(open, None).await?;

    let (mut tests, mut bare) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + ROUNDS {
        // The first of two has the colder caches, so they change places.
        let (one, other) = if round % 2 == 0 {
            let one = guarded.test();
            (one, open.test())
        } else {
            let other = open.test();
            (guarded.test(), other)
        };
        if round >= WARM_UP {
            tests.push(one);
            bare.push(other);
        }
    }
    guarded.close().await;
    open.close().await;

    let (test, without) = (median(&tests), median(&bare));
    let shares: Vec<f64> = tests.iter().zip(&bare).map(|(one, other)| one / other).collect();
    Ok(Measured {
        value: test / without,
        notes: vec![
            format!(
                "in a case {test:.1} ms (nine in ten under {:.1}), without a policy {without:.1} ms ({:.1}); {ROUNDS} rounds, middle of \
                 the rounds' own ratios {:.2}",
                quantile(&tests, 0.9),
                quantile(&bare, 0.9),
                median(&shares)
            ),
            format!(
                "link: vpcd under a private pcscd, {CARD_DELAY_MS} ms an APDU; each test that passes adds its own note to the case"
            ),
        ],
    })
}

/// A daemon of its own, on a bus of its own, with a card and somebody who tests it.
struct Desk {
    // In the order of their end.
    person: Player,
    daemon: Daemon,
    _card: Plugged,
    _pcscd: Pcscd,
    _stage: Stage,
    _state: TempDir,
    /// What the person says to have it tested.
    line: String,
}

impl Desk {
    async fn open(state: TempDir, policy: Option<PathBuf>) -> Result<Self, String> {
        let is_guarded = policy.is_some();
        let stage = Stage::system().await?;
        let pcscd = Pcscd::start();
        let card = pcscd.insert_card();
        let setup = Setup {
            cards: true,
            policy,
            environment: vec![pcscd.variable()],
            ..Setup::default()
        };
        let daemon = Daemon::start(&stage, state.path(), &setup).await;
        let device = stage.device().await;
        let mut person = Player::person(&stage);
        let mut case = |kind: &str| match is_guarded {
            true => format!(" {}", person.ask(&format!("case {kind}"))),
            false => String::new(),
        };
        // A card is made ready at the bench, and tested for somebody who calls.
        let (bench, support) = (case("bench"), case("support"));
        let registered = person.ask(&format!("register {device}{bench}"));
        let (token, _) = registered.split_once(' ').expect("a token and its name");
        Ok(Self {
            line: format!("test {token}{support}"),
            person,
            daemon,
            _card: card,
            _pcscd: pcscd,
            _stage: stage,
            _state: state,
        })
    }

    /// Milliseconds from the call to `Completed`.
    fn test(&mut self) -> f64 {
        self.person.time(&self.line)
    }

    async fn close(self) {
        self.daemon.stop().await;
    }
}

/// Open cases, each about somebody else, with somebody who works in it and evidence.
async fn fill(directory: &Path) {
    let options = OpenOptions {
        directory: directory.to_owned(),
        key: KeySource::File(directory.join("sealing.key")),
    };
    let ledger = SqliteLedger::open(options).await.expect("a ledger");
    let commits: Vec<_> = (0..CASES).map(opened).collect();
    ledger.commit_all(Box::new(commits.into_iter())).await.expect("cases");
    ledger.close().await;
}

fn opened(number: usize) -> (Event, Vec<Mutation>) {
    let case = CaseId::generate();
    let opener = 1000;
    let event = Event {
        name: "case.opened",
        authority: authority(),
        token: None,
        at: OPENED,
        detail: BTreeMap::new(),
    };
    let new = NewCase {
        id: case,
        kind: CaseKind::Support,
        channel: Channel::Phone,
        opener,
        // When the daemon first keeps time, no time has passed.
        opened: Stamp::default(),
        step: Step::Identity,
        within_ms: WITHIN_MS,
        personal: CasePersonal {
            subject: Some(format!("user-{number}@example.org")),
            ticket: Some(format!("T{number:06}")),
            reason: Some("the card is refused at the door".to_owned()),
        },
    };
    let evidence = Said::Evidence {
        method: Method::Manager,
        reality: Reality::Hardware,
        token: None,
    };
    let note = |said, reference: Option<&str>| {
        Mutation::Note(Box::new(NewNote {
            case,
            by: Some(opener),
            stamp: Stamp::default(),
            said,
            reference: reference.map(str::to_owned),
        }))
    };
    let changes = vec![
        Mutation::OpenCase(Box::new(new)),
        note(Said::Worked, None),
        note(evidence, Some("vouched for on the phone")),
    ];
    (event, changes)
}
