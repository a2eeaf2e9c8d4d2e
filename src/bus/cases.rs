//! `org.claviger.Cases1`: cases are opened and found; `org.claviger.Case1`: one open case.
//!
//! A case's path, its properties and their signals name nobody: who may look is told by guarded methods alone.

pub(super) mod told;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, ObjectPath, interface};

use super::Desk;
use super::error::BusError;
use super::filter;
use super::values::{Dict, Options, Put, Rows, TextRule, limit, parse};
use crate::contract::error::ErrorName;
use crate::contract::{CASES_PATH, options as key};
use crate::grant::{Action, Grant, Object};
use crate::guard::cases::{CaseError, NewCaseRequest};
use crate::guard::waker::Waker;
use crate::guard::{Deed, standing};
use crate::ledger::{CaseFilter, CasePersonal, CaseRecord};
use crate::types::CaseId;
use crate::types::cases::{CaseKind, Channel, Check, Method, Outcome, Step, Tier, Weighty};

/// The object at which cases are opened and found.
pub(super) struct Cases {
    desk: Arc<Desk>,
}

impl Cases {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }
}

/// Shows every case that is open, so that who starts when we are ready finds them all.
///
/// # Errors
/// The ledger, or the bus.
pub(super) async fn show_open(connection: &Connection, desk: &Arc<Desk>) -> zbus::Result<()> {
    let open = CaseFilter {
        open: true,
        ..CaseFilter::default()
    };
    let mut cursor: Option<String> = None;
    loop {
        let page = desk.verbs.ledger().cases(&open, cursor.as_deref(), 1000).await;
        let page = page.map_err(|error| zbus::Error::Failure(error.to_string()))?;
        for case in &page.items {
            show(connection, desk, case).await?;
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

/// How long it is waited after something went wrong.
const PAUSE: Duration = Duration::from_secs(10);

/// Shows when a case has waited too long, and has those told who look after that, for as long as the objects are served. What fell due
/// while no daemon ran is due when this one is ready.
pub(super) async fn tell_overdue(connection: Connection, desk: Arc<Desk>) {
    let mut waker = match Waker::new() {
        Ok(waker) => waker,
        Err(error) => {
            tracing::error!(%error, "no timer can be had: cases that wait too long escalate at the next start");
            return;
        }
    };
    loop {
        let cases = desk.guard.cases();
        let done = async {
            if desk.require_ready().is_ok() {
                while escalate(&connection, &desk).await? {}
            }
            cases.until_due(&mut waker).await
        };
        if let Err(error) = done.await {
            tracing::warn!(%error, "it could not be looked whether cases have waited too long");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Looks once; whether anything changed, and so more may be due.
async fn escalate(connection: &Connection, desk: &Arc<Desk>) -> Result<bool, CaseError> {
    let standing = standing(Action::Case, Object::Whole, Tier::Look, "a case has waited too long");
    let letter = |case: &CaseRecord| desk.verbs.overdue_letter(case);
    let escalated = desk.guard.cases().overdue(&standing, &letter).await?;
    desk.verbs.post(escalated.letters);
    for id in &escalated.changed {
        tracing::info!(case = %id, "a case has waited too long, or waits for something else now");
        if let Err(error) = refresh(connection, *id).await {
            tracing::warn!(%error, case = %id, "what a case waits for could not be shown");
        }
    }
    Ok(!escalated.changed.is_empty())
}

/// Shows what an open case waits for now.
pub(super) async fn refresh(connection: &Connection, id: CaseId) -> Result<(), BusError> {
    let path = path_of(id).map_err(|error| internal(&error))?;
    let object = connection.object_server().interface::<_, CaseObject>(path).await;
    let object = object.map_err(|error| internal(&error))?;
    object.get().await.refresh(object.signal_emitter()).await
}

async fn show(connection: &Connection, desk: &Arc<Desk>, case: &CaseRecord) -> zbus::Result<()> {
    let object = CaseObject {
        id: case.id,
        kind: case.kind,
        shown: Mutex::new((case.step, case.escalated)),
        desk: Arc::clone(desk),
    };
    connection.object_server().at(path_of(case.id)?, object).await?;
    Ok(())
}

fn path_of(case: CaseId) -> zbus::Result<ObjectPath<'static>> {
    ObjectPath::try_from(format!("{CASES_PATH}/{}", case.simple()))
        .map_err(|error| zbus::Error::Failure(error.to_string()))
}

/// A case as it is described.
async fn whole(desk: &Desk, id: CaseId) -> Result<Dict, BusError> {
    let cases = desk.guard.cases();
    let case = cases.whole(id).await?;
    let half = cases.half_replaced(id).await?;
    Ok(told::whole(cases, &case, &half, desk.verbs.untold_in(id)))
}

fn internal(error: &dyn std::fmt::Display) -> BusError {
    BusError::new(ErrorName::Internal, error.to_string())
}

#[interface(name = "org.claviger.Cases1")]
impl Cases {
    /// Opens a case. [case]
    /// kind: support, bench, self-service, recovery, replacement, leaver. channel: how the person reached you: desk, phone, video,
    /// chat, mail; “own” for self-service, “desk” at the bench.
    /// options: subject (s: whom it is about), ticket (s: the help desk's own number), reason (s: what the matter is). The bench is
    /// about nobody; self-service is about the caller's own account.
    #[zbus(out_args("case", "path"))]
    async fn open(
        &self,
        kind: &str,
        channel: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(String, zbus::OwnedObjectPath), BusError> {
        let kind: CaseKind = parse("kind", kind)?;
        let channel: Channel = parse("channel", channel)?;
        let mut given = Options::filter(options, &[key::SUBJECT, key::TICKET, key::REASON])?;
        let personal = CasePersonal {
            subject: given.text(key::SUBJECT, TextRule::SUBJECT)?,
            ticket: given.text(key::TICKET, TextRule::LABEL)?,
            reason: given.text(key::REASON, TextRule::LABEL)?,
        };
        let wanted = NewCaseRequest {
            kind,
            channel,
            personal,
        };
        let grant = self.desk.guard.admit(&header, Deed::on(Object::Whole, None)).await?;
        self.desk.require_ready()?;
        let id = self.desk.guard.cases().open(&grant, wanted).await?;
        let record = self.desk.guard.cases().whole(id).await?.record;
        let shown = show(connection, &self.desk, &record).await;
        shown.map_err(|error| internal(&error))?;
        let path = path_of(id).map_err(|error| internal(&error))?;
        Ok((id.to_string(), path.into()))
    }

    /// Cases by filter (open (b), subject (s), both optional), at most `limit` (1 to 1000) in the order in which they were opened.
    /// `cursor` is empty at first, then what came back as `next`; `next` is empty at the end. [inspect]
    /// Each: id, kind, channel, subject, ticket, reason (s), opener (u), opened-ms (x), step (s), overdue (b), outcome (s) and
    /// closed-ms (x) once it is closed.
    #[zbus(out_args("cases", "next"))]
    async fn find(
        &self,
        filter: Dict,
        cursor: String,
        limit: u32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Rows<CaseRecord>, String), BusError> {
        let mut given = Options::filter(filter, &["open", "subject"])?;
        let filter = CaseFilter {
            open: given.flag("open")?,
            subject: given.text("subject", TextRule::SUBJECT)?,
            overdue_at: None,
        };
        let cursor = filter::cursor(cursor)?;
        let limit = self::limit(limit)?;
        self.desk.guard.admit(&header, Deed::on(Object::Whole, None)).await?;
        let page = self
            .desk
            .verbs
            .ledger()
            .cases(&filter, cursor.as_deref(), limit)
            .await?;
        Ok((Rows::new(page.items, told::case), page.next.unwrap_or_default()))
    }

    /// One case, open or closed, as Case1.Describe tells it. [inspect]
    /// Errors: UnknownCase.
    #[zbus(out_args("description"))]
    async fn get(&self, case: &str, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Dict, BusError> {
        let id = parse::<CaseId>("case", case)?;
        Options::filter(options, &[])?;
        self.desk.guard.admit(&header, Deed::on(Object::Case(id), None)).await?;
        whole(&self.desk, id).await
    }
}

/// One open case on the bus.
pub(super) struct CaseObject {
    id: CaseId,
    kind: CaseKind,
    /// What it waits for, and whether for too long.
    shown: Mutex<(Step, bool)>,
    desk: Arc<Desk>,
}

impl CaseObject {
    fn shown(&self) -> (Step, bool) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn admit(&self, header: &Header<'_>) -> Result<Grant, BusError> {
        let deed = Deed::on(Object::Case(self.id), None);
        Ok(self.desk.guard.admit(header, deed).await?)
    }

    /// Shows what the case waits for now. Its deadline is another one then, whoever set it.
    async fn refresh(&self, emitter: &SignalEmitter<'_>) -> Result<(), BusError> {
        self.desk.guard.cases().stir();
        let Some(record) = self.desk.verbs.ledger().case(self.id).await? else {
            return Ok(());
        };
        let now = (record.step, record.escalated);
        let before = std::mem::replace(&mut *self.shown.lock().unwrap_or_else(PoisonError::into_inner), now);
        let told = async {
            if before.0 != now.0 {
                self.step_changed(emitter).await?;
            }
            if before.1 != now.1 {
                self.overdue_changed(emitter).await?;
            }
            zbus::Result::Ok(())
        };
        told.await.map_err(|error| internal(&error))
    }
}

#[interface(name = "org.claviger.Case1")]
impl CaseObject {
    /// `support`, `bench`, `self-service`, `recovery`, `replacement`, `leaver`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn kind(&self) -> &str {
        self.kind.as_str()
    }

    /// What it waits for: `identity`, `approval`, `act`, `returned`, `review`. An approver watches for `approval`.
    #[zbus(property)]
    fn step(&self) -> &str {
        self.shown().0.as_str()
    }

    /// Whether it has waited for that longer than the policy lets it.
    #[zbus(property)]
    fn overdue(&self) -> bool {
        self.shown().1
    }

    /// The whole case: what an approver looks at. [inspect]
    /// description: as Cases1.Find tells it, left-s (u: until the step is overdue), replacing (aa{sv}: replacements that are half done:
    /// token (s), lost (b), new (s: once one is to take its place)), untold (u: letters to the person about what was done in the case
    /// that could not be delivered so far), and notes (aa{sv}: what, at-ms (x), by (u: uid), account (s), method, reality, token, new,
    /// tier, role, outcome (s), lost (b), checks (as), reference (s), counts-s (u: for so long it still counts) as far as they apply).
    #[zbus(out_args("description"))]
    async fn describe(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Dict, BusError> {
        Options::filter(options, &[])?;
        self.admit(&header).await?;
        whole(&self.desk, self.id).await
    }

    /// What is still missing before the caller may act at a tier in this case, and why. [inspect]
    /// options: tier (s, default: what such a case is usually for), beyond-bound, reset (b: as in the request).
    /// answer: tier (s), policy (b: false: none is in force and nothing is missing), needs (aa{sv}: need (s), sentence (s), by (as: methods
    /// of evidence that would do)), holds-s (u: when nothing is missing, for so long, if nothing is added; absent: no end but the
    /// session's).
    #[zbus(out_args("allowed", "answer"))]
    async fn needs(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<(bool, Dict), BusError> {
        let mut given = Options::filter(options, &[key::TIER, key::BEYOND_BOUND, key::RESET])?;
        let tier: Option<Tier> = given.name(key::TIER)?;
        let mut words = Vec::new();
        for (word, name) in [(Weighty::BeyondBound, key::BEYOND_BOUND), (Weighty::Reset, key::RESET)] {
            if given.flag(name)? {
                words.push(word);
            }
        }
        let grant = self.admit(&header).await?;
        let cases = self.desk.guard.cases();
        let case = cases.whole(self.id).await?;
        let tier = tier.unwrap_or_else(|| case.record.kind.aims_at());
        let uid = grant.caller().map_or(u32::MAX, |caller| caller.uid);
        let decision = cases.needs(&case, uid, tier, &words).await?;
        Ok(told::needs(tier, decision.as_ref()))
    }

    /// Begins a session in the case for the caller's connection; `options["case"]` of the mutating methods draws on it. It ends when
    /// the last copy of the descriptor is closed, when the caller leaves the bus, when nothing was done for a while, and after a
    /// while in any case. The descriptor alone proves nothing. [case]
    /// terms: idle-s, absolute-s (u).
    #[zbus(out_args("session", "terms"))]
    async fn attach(
        &self,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(zbus::OwnedFd, Dict), BusError> {
        Options::filter(options, &[])?;
        let grant = self.admit(&header).await?;
        self.desk.require_ready()?;
        let attached = self.desk.guard.attach(&header, &grant).await?;
        let mut terms = Dict::new();
        terms.put("idle-s", told::seconds(attached.idle));
        terms.put("absolute-s", told::seconds(attached.absolute));
        Ok((attached.descriptor.into(), terms))
    }

    /// Adds evidence that the caller vouches for. What the daemon sees for itself (a test, a recovery code, a code that was sent) is
    /// not taken on anybody's word. [case]
    /// method: call-back, in-person, live-video, manager, hr. reference: what it rests on: the number that was called, who was asked.
    /// Errors: NotByWord, CaseClosed.
    async fn add_evidence(
        &self,
        method: &str,
        reference: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), BusError> {
        let method: Method = parse("method", method)?;
        let reference = TextRule::LABEL.check("reference", reference)?;
        Options::filter(options, &[])?;
        let grant = self.admit(&header).await?;
        self.desk.require_ready()?;
        self.desk.guard.cases().add_evidence(&grant, method, reference).await?;
        self.refresh(&emitter).await
    }

    /// The caller's yes, as the second person: neither who opened the case nor who worked in it nor whom it is about, and logged in as
    /// themselves. Good for a quarter of an hour at most. [approve]
    /// options: tier (s: up to which, default: what such a case is usually for), remark (s).
    /// Errors: NotSecondPerson.
    async fn approve(
        &self,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), BusError> {
        let mut given = Options::filter(options, &[key::TIER, key::REMARK])?;
        let tier: Option<Tier> = given.name(key::TIER)?;
        let remark = given.text(key::REMARK, TextRule::LABEL)?;
        let grant = self.admit(&header).await?;
        self.desk.require_ready()?;
        let human = self.desk.guard.second_person(&header).await?;
        let tier = tier.unwrap_or_else(|| self.kind.aims_at());
        self.desk.guard.cases().approve(&grant, &human, tier, remark).await?;
        self.refresh(&emitter).await
    }

    /// The caller's no, as the second person. It stands: only another case can begin again. [approve]
    /// options: remark (s). Errors: NotSecondPerson.
    async fn deny(
        &self,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), BusError> {
        let remark =
            Options::filter(options, &[key::REMARK]).and_then(|mut given| given.text(key::REMARK, TextRule::LABEL))?;
        let grant = self.admit(&header).await?;
        self.desk.require_ready()?;
        let human = self.desk.guard.second_person(&header).await?;
        let case = self.desk.guard.cases().deny(&grant, &human, remark).await?;
        self.desk.verbs.was_denied(case.opener, case.personal.subject).await;
        self.refresh(&emitter).await
    }

    /// Closes the case for good; its sessions end. [case]
    /// outcome: done, refused, withdrawn. checks: what can be answered with yes: works, told, settled; as done only with all that such a
    /// case asks, and not while a replacement is half done. Otherwise what is half replaced is not replaced after all.
    /// Errors: ChecklistOpen, ReplacementOpen.
    async fn close(
        &self,
        outcome: &str,
        checks: Vec<String>,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), BusError> {
        let outcome: Outcome = parse("outcome", outcome)?;
        let mut answered = Vec::<Check>::new();
        for check in &checks {
            let check = parse("checks", check)?;
            if !answered.contains(&check) {
                answered.push(check);
            }
        }
        Options::filter(options, &[])?;
        let grant = self.admit(&header).await?;
        self.desk.require_ready()?;
        self.desk.guard.cases().close(&grant, outcome, answered).await?;
        let path = path_of(self.id).map_err(|error| internal(&error))?;
        // The object goes once this call is answered: it cannot be taken away from under its own feet.
        let connection = connection.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.object_server().remove::<Self, _>(path).await {
                tracing::warn!(%error, "a closed case could not be taken off the bus");
            }
        });
        Ok(())
    }
}
