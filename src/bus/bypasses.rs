//! `org.claviger.Bypasses1`: emergency codes are issued, ended, looked back at and found.
//!
//! The signal names a case and nobody: who may look is told by `Find`.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, interface};

use super::cases::told::seconds;
use super::error::BusError;
use super::values::{Dict, Options, Put, TextRule, limit, parse};
use super::{Desk, cases, filter, secret_out};
use crate::contract::{BYPASSES_PATH, options as key};
use crate::grant::Object;
use crate::guard::Deed;
use crate::ledger::{BypassFilter, BypassRecord, BypassState};
use crate::lifecycle::bypass::{BypassNews, BypassWish};
use crate::types::CaseId;

/// The object at which bypasses are issued and found.
pub(super) struct Bypasses {
    desk: Arc<Desk>,
}

impl Bypasses {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }

    fn told(&self, bypass: &BypassRecord) -> Dict {
        let people = self.desk.guard.cases().people();
        let mut told = Dict::new();
        told.put("case", bypass.case.to_string());
        told.put_some("subject", bypass.subject.as_deref());
        told.put("by", bypass.by);
        told.put_some("account", people.account(bypass.by));
        told.put("issued-ms", bypass.issued_at.0);
        told.put("lasts-s", seconds(Duration::from_millis(bypass.lasts_ms)));
        told.put("uses", bypass.uses);
        told.put("used", bypass.used);
        told.put("wrong", bypass.wrong);
        told.put("found-again", bypass.found_again.as_str());
        told.put_some("last-used-ms", bypass.last_used.map(|at| at.0));
        let state = bypass.state(self.desk.guard.cases().time().now().stamp);
        told.put("state", state.as_str());
        if let BypassState::Live(left) = state {
            told.put("left-s", seconds(left));
        }
        if let Some((at, why)) = bypass.ended {
            told.put("ended-ms", at.0);
            told.put("why", why.as_str());
        }
        if let Some((at, by)) = bypass.reviewed {
            told.put("reviewed-ms", at.0);
            told.put("reviewed-by", by);
            told.put_some("reviewed-account", people.account(by));
        }
        told
    }
}

/// Tells on the bus what becomes of bypasses, and shows what their cases wait for then. Missed ones are not repeated: the journal has
/// them all.
pub(super) async fn tell_news(connection: Connection, mut news: broadcast::Receiver<BypassNews>) {
    loop {
        let BypassNews { case, what } = match news.recv().await {
            Ok(news) => news,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let sent = match SignalEmitter::new(&connection, BYPASSES_PATH) {
            Ok(emitter) => Bypasses::changed(&emitter, &case.to_string(), what).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::warn!(%error, %case, "a signal about a bypass could not be sent");
        }
        if let Err(error) = cases::refresh(&connection, case).await {
            tracing::warn!(%error, %case, "what a case waits for could not be shown");
        }
    }
}

#[interface(name = "org.claviger.Bypasses1")]
impl Bypasses {
    /// Issues the bypass of a case: a code that Verify accepts in place of a token's, for a while and a few uses. It is written to
    /// `code` as one line, once; it is kept hashed. Takes another person's yes whatever the policy says, and a case has one at most. [bypass]
    /// options: case (s: must be there), lasts-s, uses (u: at most as the policy says, which is the default), found-again (s: end or
    /// keep; never laxer than the policy).
    /// terms: case, found-again (s), lasts-s, uses (u).
    /// Errors: PolicyDenies, ReviewMissing (an earlier one waits for it), SecretUnwritable.
    #[zbus(out_args("terms"))]
    async fn issue(
        &self,
        subject: String,
        code: zbus::OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Dict, BusError> {
        let subject = TextRule::SUBJECT.check("subject", subject)?;
        let mut given = Options::new(options, &[key::LASTS_S, key::USES, key::FOUND_AGAIN])?;
        let wish = BypassWish {
            lasts: given
                .number(key::LASTS_S, 1..=u32::MAX)?
                .map(|seconds| Duration::from_secs(u64::from(seconds))),
            uses: given.number(key::USES, 1..=u32::MAX)?,
            found_again: given.name(key::FOUND_AGAIN)?,
        };
        let deed = Deed::on(Object::Subject(subject.clone()), given.case()?);
        let grant = self.desk.guard.admit(&header, deed).await?;
        self.desk.require_ready()?;
        let way = secret_out::into(OwnedFd::from(code), &self.desk.file_reads);
        let issued = self.desk.verbs.issue_bypass(&grant, &subject, wish, way).await?;
        let mut terms = Dict::new();
        terms.put("case", issued.case.to_string());
        terms.put("lasts-s", seconds(issued.lasts));
        terms.put("uses", issued.uses);
        terms.put("found-again", issued.found_again.as_str());
        Ok(terms)
    }

    /// Ends the bypass of a case before its time, at once and without evidence. [suspend]
    /// Errors: NoBypass.
    async fn end(&self, case: &str, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<(), BusError> {
        let case: CaseId = parse("case", case)?;
        Options::filter(options, &[])?;
        let deed = Deed::on(Object::Case(case), None);
        let grant = self.desk.guard.admit(&header, deed).await?;
        self.desk.require_ready()?;
        Ok(self.desk.verbs.end_bypass(&grant, case).await?)
    }

    /// Records what somebody found who looked back at a bypass that is over: before that its case is not closed, and the person gets no
    /// other. The caller is one who could have said yes to it: neither who opened the case nor who worked in it nor whom it is about. [approve]
    /// Errors: NotSecondPerson, NoBypass, BypassLive.
    async fn review(
        &self,
        case: &str,
        found: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), BusError> {
        let case: CaseId = parse("case", case)?;
        let found = TextRule::LABEL.check("found", found)?;
        Options::filter(options, &[])?;
        let deed = Deed::on(Object::Case(case), None);
        let grant = self.desk.guard.admit(&header, deed).await?;
        self.desk.require_ready()?;
        let human = self.desk.guard.second_person(&header).await?;
        self.desk.guard.cases().review_bypass(&grant, &human, found).await?;
        if let Err(error) = Self::changed(&emitter, &case.to_string(), "reviewed").await {
            tracing::warn!(%error, %case, "a signal about a bypass could not be sent");
        }
        cases::refresh(connection, case).await
    }

    /// Bypasses by filter (subject, case (s), unreviewed (b), all optional), at most `limit` (1 to 1000) in the order of their cases.
    /// `cursor` is empty at first, then what came back as `next`; `next` is empty at the end. [inspect]
    /// Each: case, subject, account (s), by (u: uid that issued it), issued-ms (x), lasts-s, uses, used (u), wrong (u: wrong codes for
    /// the person meanwhile), found-again (s), state (s: live, used-up, expired, ended), left-s (u: while it is live), last-used-ms (x),
    /// ended-ms (x) and why (s: by-hand, found-again, leaver, frozen) when it was ended, reviewed-ms (x), reviewed-by (u) and
    /// reviewed-account (s) once it was reviewed.
    #[zbus(out_args("bypasses", "next"))]
    async fn find(
        &self,
        filter: Dict,
        cursor: String,
        limit: u32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Vec<Dict>, String), BusError> {
        let mut given = Options::filter(filter, &[key::SUBJECT, key::CASE, "unreviewed"])?;
        let filter = BypassFilter {
            subject: given.text(key::SUBJECT, TextRule::SUBJECT)?,
            case: given.name(key::CASE)?,
            unreviewed: given.flag("unreviewed")?,
            by: None,
        };
        let cursor = filter::cursor(cursor)?;
        let limit = self::limit(limit)?;
        self.desk.guard.admit(&header, Deed::on(Object::Whole, None)).await?;
        let ledger = self.desk.verbs.ledger();
        let page = ledger.bypasses(&filter, cursor.as_deref(), limit).await?;
        let told = page.items.iter().map(|bypass| self.told(bypass)).collect();
        Ok((told, page.next.unwrap_or_default()))
    }

    /// Something became of the bypass of a case. Carries nothing that names anybody.
    /// what: issued, used, ended, reviewed. That its time is over is told by its case, which then waits for the review.
    #[zbus(signal)]
    async fn changed(emitter: &SignalEmitter<'_>, case: &str, what: &str) -> zbus::Result<()>;
}
