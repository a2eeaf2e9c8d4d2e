//! The cells: who calls what with which arguments, what comes and what is due.

use std::cell::Cell as Counter;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use claviger::contract::error::ACCESS_DENIED;
use claviger::contract::{
    BYPASSES_PATH, CASES_PATH, DEVICES_PATH, DRIFT_PATH, ROOT_PATH, SUBJECTS_PATH, TOKENS_PATH, VERIFY_PATH,
};
use claviger::grant::{Action, Tier};
use claviger::guard::action::{self, Rule, Scope};
use zbus::wire::StructureBuilder;
use zbus::{Connection, Fd, ObjectPath, OwnedObjectPath, Variant};

use super::contract::{self, Method, NOBODYS_TOKEN};
use super::host::people::{Caller, Refused, call};
use super::host::{Person, within};
use super::law::{Law, State};
use super::{OPENER, World};

/// How often polkitd may fail to answer in the whole table.
const MOST_SILENCES: usize = 20;

/// What becomes of a call at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// Admitted, whatever came of it.
    In,
    /// polkit said no.
    Polkit,
    /// It wants a case.
    NoCase,
    /// The caller has no session in it.
    NotAttached,
    /// The case is about something else.
    Elsewhere,
    /// Something is missing in it.
    Missing,
}

impl Answer {
    fn of(refused: &Refused) -> Self {
        if refused.name == ACCESS_DENIED {
            return Self::Polkit;
        }
        match refused.name.rsplit('.').next().expect("a name") {
            "CaseRequired" => Self::NoCase,
            "NotAttached" => Self::NotAttached,
            "CaseMismatch" => Self::Elsewhere,
            "CaseClosed" | "CaseDenied" | "OperatorFrozen" | "PolicyDenies" | "EvidenceMissing" | "ApprovalMissing"
            | "MustWait" => Self::Missing,
            _ => Self::In,
        }
    }
}

/// A method that draws on a case.
pub struct Drawing {
    pub interface: String,
    pub method: Method,
    pub action: Action,
    pub tier: Tier,
    pub scope: Scope,
}

/// All of them, by the contract and the guard's table.
pub fn methods() -> Vec<Drawing> {
    let contract = contract::contract();
    let all = contract.into_values().flat_map(|interface| {
        interface
            .methods
            .into_iter()
            .map(move |method| (interface.name.clone(), method))
    });
    all.filter_map(|(interface, method)| match action::rule(&interface, &method.name) {
        Some(Rule::Guarded { action, tier, scope }) if tier > Tier::Look => Some(Drawing {
            interface,
            method,
            action,
            tier,
            scope,
        }),
        _ => None,
    })
    .collect()
}

/// Person and method, and whether polkit lets that person call it.
pub type Given = HashMap<(&'static str, String), bool>;

/// Asks polkitd itself.
pub async fn polkit_gives(root: &Connection, people: &[(Person, Caller)], methods: &[Drawing]) -> Given {
    let mut given = Given::new();
    for (who, caller) in people {
        let name = caller.connection.unique_name().expect("a name").to_string();
        for drawing in methods {
            let subject = (
                "system-bus-name",
                HashMap::from([("name", Variant::from(name.as_str()))]),
            );
            let details = HashMap::from([("verb", drawing.method.name.as_str())]);
            let question = (subject, drawing.action.polkit_id(), details, 0_u32, "");
            let asked = root.call_method(
                Some("org.freedesktop.PolicyKit1"),
                "/org/freedesktop/PolicyKit1/Authority",
                Some("org.freedesktop.PolicyKit1.Authority"),
                "CheckAuthorization",
                &question,
            );
            let reply = within("polkit's answer", asked).await.expect("an answer");
            let ((authorized, _, _),) = reply
                .body()
                .deserialize::<((bool, bool, HashMap<String, String>),)>()
                .expect("its body");
            given.insert((who.user(), drawing.method.name.clone()), authorized);
        }
    }
    given
}

/// Whose a token is, or will be whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Whom the case is about.
    Theirs,
    /// Somebody else's, and in use.
    Others,
    /// Nobody's.
    Nobodys,
    /// At the bench: somebody's who has nothing yet, and is privileged or not.
    New { privileged: bool },
}

/// Tokens that were delivered: for each subject one, for somebody who is no cell's subject one in use, and many of nobody.
pub struct Tokens {
    theirs: BTreeMap<String, String>,
    in_use: String,
    nobodys: Vec<String>,
    next: Counter<usize>,
    newcomers: Counter<usize>,
    /// The object path of a key that is plugged in.
    device: String,
}

/// Has a token in use, and no case.
const SOMEBODY: &str = "somebody";
/// People who come to the bench.
pub const NEWCOMERS: usize = 2_000;

/// The name of one of them.
pub fn newcomer(number: usize, privileged: bool) -> String {
    format!("{}-{number}", if privileged { "officer" } else { "novice" })
}

impl Tokens {
    pub fn delivered(world: &World, subjects: usize) -> Self {
        let mut file = "upn,serial number,secret key,time interval,manufacturer,model\n".to_owned();
        let mut row = |upn: &str, number: usize| {
            let seed = data_encoding::BASE32_NOPAD.encode(format!("{number:020}").as_bytes());
            file += &format!("{upn},8{number:08},{seed},30,Contoso,C1\n");
        };
        let names = (0..subjects).flat_map(|number| [super::subject(number, false), super::subject(number, true)]);
        let names: Vec<String> = names.chain([OPENER.user().to_owned()]).collect();
        for (number, name) in names.iter().enumerate() {
            row(name, number);
        }
        for number in 0..3 * subjects + 100 {
            row("", names.len() + number);
        }
        let path = super::readable(&world.host, "delivery.csv", &file);
        let bench = world.says(OPENER, &["case", "open", "bench"]).done();
        let import = ["--case", bench.text("case"), "import", path.to_str().expect("a path")];
        world.says(OPENER, &import).done();
        let drop_box = world.host.dir().join("drop");
        std::fs::create_dir(&drop_box).expect("a directory");
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&drop_box, all).expect("permissions");
        let file = drop_box.join("sheet").display().to_string();
        let sheet = ["register", "recovery-codes", SOMEBODY, "--file", &file];
        let in_use = world
            .says(OPENER, &[&["--case", bench.text("case")], &sheet[..]].concat())
            .done()
            .text("token")
            .to_owned();
        let devices = world.says(OPENER, &["devices"]).done();
        let mut tokens = Self {
            theirs: BTreeMap::new(),
            in_use,
            nobodys: Vec::new(),
            next: Counter::new(0),
            newcomers: Counter::new(0),
            device: devices.said["devices"][0]["path"].as_str().expect("a path").to_owned(),
        };
        let listed = world.says(OPENER, &["tokens", "--kind", "fob"]).done();
        for token in listed.said["tokens"].as_array().expect("tokens") {
            let id = token["id"].as_str().expect("an id").to_owned();
            match token["subject"].as_str() {
                Some(name) => drop(tokens.theirs.insert(name.to_owned(), id)),
                None => tokens.nobodys.push(id),
            }
        }
        assert!(
            tokens.theirs.len() > 2 * subjects && !tokens.in_use.is_empty(),
            "{}",
            listed.said
        );
        tokens
    }

    /// One of nobody's that no cell had, where somebody may come who can make it somebody's.
    fn nobodys(&self, who: Person, becomes_theirs: bool) -> String {
        let at = if becomes_theirs && who == OPENER {
            self.next.get()
        } else {
            0
        };
        self.next.set(self.next.get().max(at + usize::from(becomes_theirs)));
        self.nobodys.get(at).expect("more tokens of nobody's").clone()
    }

    fn newcomer(&self, privileged: bool) -> String {
        let number = self.newcomers.get();
        assert!(number < NEWCOMERS, "more newcomers");
        self.newcomers.set(number + 1);
        newcomer(number, privileged)
    }
}

/// One call.
pub struct Cell<'b> {
    pub who: Person,
    drawing: &'b Drawing,
    state: Option<State>,
    case: String,
    /// Whose the token is that it names.
    token: Option<(Whose, String)>,
    /// Whom it names.
    subject: Option<(Whose, String)>,
    device: String,
    /// What polkitd said.
    given: bool,
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = |named: &Option<(Whose, String)>| named.as_ref().map(|(whose, _)| *whose);
        write!(
            f,
            "{} by {} with token {:?} and subject {:?} in {:?}",
            self.drawing.method.name,
            self.who.user(),
            whose(&self.token),
            whose(&self.subject),
            self.state
        )
    }
}

/// What cells are made of.
pub struct Bench<'b> {
    pub methods: &'b [Drawing],
    pub given: &'b Given,
    pub tokens: &'b Tokens,
}

impl<'b> Bench<'b> {
    /// All cells of one case, or of none.
    pub fn cells(&self, state: Option<State>, about: &str, case: &str) -> Vec<Cell<'b>> {
        let mut cells = Vec::new();
        for drawing in self.methods {
            for token in whose(drawing, "token", state, &[Whose::Nobodys]) {
                let new = [Whose::New { privileged: false }, Whose::New { privileged: true }];
                for subject in whose(drawing, "subject", state, &new) {
                    for who in Person::ALL {
                        cells.push(Cell {
                            who: *who,
                            drawing,
                            state,
                            case: case.to_owned(),
                            token: token.map(|whose| (whose, self.token(whose, about, *who, subject.is_some()))),
                            subject: subject.map(|whose| (whose, self.subject(whose, about))),
                            device: self.tokens.device.clone(),
                            given: self.given[&(who.user(), drawing.method.name.clone())],
                        });
                    }
                }
            }
        }
        cells
    }

    fn token(&self, whose: Whose, about: &str, who: Person, becomes_theirs: bool) -> String {
        match whose {
            Whose::Theirs => self.tokens.theirs[about].clone(),
            Whose::Others => self.tokens.in_use.clone(),
            Whose::Nobodys | Whose::New { .. } => self.tokens.nobodys(who, becomes_theirs),
        }
    }

    fn subject(&self, whose: Whose, about: &str) -> String {
        match whose {
            Whose::Theirs => about.to_owned(),
            Whose::Others | Whose::Nobodys => SOMEBODY.to_owned(),
            Whose::New { privileged } => self.tokens.newcomer(privileged),
        }
    }
}

/// Whose an argument is, one after the other: where there is a case about somebody also theirs, at the bench what is `there`.
fn whose(drawing: &Drawing, argument: &str, state: Option<State>, there: &[Whose]) -> Vec<Option<Whose>> {
    if !drawing.method.input.iter().any(|(name, _)| name == argument) {
        return vec![None];
    }
    let mut all = vec![Some(Whose::Others)];
    match state {
        Some(state) if state.kind != "bench" => {
            all.push(Some(Whose::Theirs));
            if argument == "token" {
                all.push(Some(Whose::Nobodys));
            }
        }
        Some(_) => all.extend(there.iter().copied().map(Some)),
        None => {}
    }
    all
}

impl Cell<'_> {
    /// What must come: polkit's word, then what the case is about, then the policy.
    pub fn due(&self, law: &Law) -> Answer {
        let Some(state) = &self.state else {
            return Answer::NoCase;
        };
        if !self.given {
            return Answer::Polkit;
        }
        if !self.covered(state) {
            return Answer::Elsewhere;
        }
        let privileged = match self.subject {
            Some((Whose::New { privileged }, _)) => privileged,
            _ => state.privileged,
        };
        if law.lets(self.drawing.tier.as_str(), state, self.who, OPENER, privileged) {
            Answer::In
        } else {
            Answer::Missing
        }
    }

    /// Whether the case is about this: docs/manual/cases.md.
    fn covered(&self, state: &State) -> bool {
        let whose = |named: &Option<(Whose, String)>| named.as_ref().map(|(whose, _)| *whose);
        let (token, subject) = (whose(&self.token), whose(&self.subject));
        if state.kind == "self-service" && self.who != OPENER {
            return false;
        }
        if state.kind == "bench" {
            return match self.drawing.scope {
                _ if subject == Some(Whose::Others) => false,
                Scope::Subject => false,
                Scope::Token => token != Some(Whose::Others),
                _ => true,
            };
        }
        if subject == Some(Whose::Others) {
            return false;
        }
        match self.drawing.scope {
            Scope::Token => token == Some(Whose::Theirs) || (token == Some(Whose::Nobodys) && subject.is_some()),
            Scope::Device | Scope::NewFob | Scope::Subject => subject.is_some(),
            Scope::Whole => false,
            Scope::Obligation | Scope::Case => true,
        }
    }

    /// Calls it. A polkitd that does not answer in time on a busy machine is a denial, too, but not the one the table is about: it is
    /// asked again, and how often that was is counted.
    pub async fn call(&self, caller: &Caller, silences: &AtomicUsize) -> (Answer, String) {
        loop {
            let (answer, sentence) = self.once(caller).await;
            if !sentence.contains("polkit did not answer") {
                return (answer, sentence);
            }
            assert!(silences.fetch_add(1, Ordering::Relaxed) < MOST_SILENCES, "{sentence}");
        }
    }

    /// What it began and waits for a person is cancelled.
    async fn once(&self, caller: &Caller) -> (Answer, String) {
        let path = match self.drawing.interface.as_str() {
            "org.claviger.Manager1" => ROOT_PATH.to_owned(),
            "org.claviger.Tokens1" => TOKENS_PATH.to_owned(),
            "org.claviger.Drift1" => DRIFT_PATH.to_owned(),
            "org.claviger.Verify1" => VERIFY_PATH.to_owned(),
            "org.claviger.Subjects1" => SUBJECTS_PATH.to_owned(),
            "org.claviger.Bypasses1" => BYPASSES_PATH.to_owned(),
            "org.claviger.Device1" | "org.claviger.Fido1" => self.device.clone(),
            "org.claviger.Case1" => format!("{CASES_PATH}/{}", self.case.replace('-', "")),
            other => panic!("where are objects with {other}?"),
        };
        let mut builder = StructureBuilder::new();
        for (name, signature) in &self.drawing.method.input {
            builder = builder.append_field(self.argument(name, signature));
        }
        let body = builder.build().expect("arguments");
        let target = (
            path.as_str(),
            self.drawing.interface.as_str(),
            self.drawing.method.name.as_str(),
        );
        match call(&caller.connection, target, Some(&body), false).await {
            Ok(reply) => {
                if let Ok(operation) = reply.body().deserialize::<OwnedObjectPath>() {
                    let cancel = (operation.as_str(), "org.claviger.Operation1", "Cancel");
                    // It may be over already.
                    let _ = call::<()>(&caller.connection, cancel, None, false).await;
                }
                (Answer::In, String::new())
            }
            Err(refused) => (Answer::of(&refused), format!("{}: {}", refused.name, refused.sentence)),
        }
    }

    /// A sound argument by name and type; the token and the person are the cell's, the device and the obligation nobody's.
    fn argument(&self, name: &str, signature: &str) -> Variant<'static> {
        match (name, signature) {
            ("token", "s") => self.token.as_ref().expect("a token").1.clone().into(),
            ("subject", "s") => self.subject.as_ref().expect("a subject").1.clone().into(),
            ("obligation", "s") => NOBODYS_TOKEN.into(),
            ("reason", "s") => "lost".into(),
            ("format", "s") => "entra".into(),
            ("credential", "s") => "AAECAw".into(),
            ("fingerprint", "s") => "00ff".into(),
            (_, "s") => "https://login.example".into(),
            ("codes", "as") => vec!["123456", "654321"].into(),
            ("length" | "lasts" | "uses", "u") => 10_u32.into(),
            (_, "b") => true.into(),
            ("device", "o") => {
                let path = format!("{DEVICES_PATH}/4711");
                ObjectPath::try_from(path).expect("a path").into()
            }
            (_, "h") => Variant::Fd(Fd::from(contract::descriptor(b"271828"))),
            ("options", "a{sv}") => {
                let case = (!self.case.is_empty()).then(|| ("case".to_owned(), Variant::from(self.case.clone())));
                case.into_iter().collect::<HashMap<String, Variant<'static>>>().into()
            }
            (name, signature) => panic!("no example for argument {name} of type {signature}: add one"),
        }
    }
}
