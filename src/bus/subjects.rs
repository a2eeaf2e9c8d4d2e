//! `org.claviger.Subjects1`: whom tokens are for, and what is required of them.

use std::sync::Arc;

use zbus::message::Header;
use zbus::{Variant, interface};

use super::Desk;
use super::error::BusError;
use super::values::{Dict, Options, Put, TextRule};
use crate::grant::Object;
use crate::guard::Deed;
use crate::lifecycle::subjects::{Coverage, SubjectStatus};

/// The object of subjects.
pub(super) struct Subjects {
    desk: Arc<Desk>,
}

impl Subjects {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }
}

#[interface(name = "org.claviger.Subjects1")]
impl Subjects {
    /// For an application that lets somebody in: is a second factor required of them, by when, may they say “later”? [verify]
    /// Somebody nobody knows is an answer: known is false and nothing is required.
    /// enforcement: known, required, may-defer, blocked (b: required, none active, and “later” helps no more), status (s: off, pending,
    /// on), ground (s: everybody, role, exempt, from, nothing), day (s: of the ground, YYYY-MM-DD), from (s: the day from which it is
    /// required), deferrals-left (u), obstacle (s: what keeps a token from becoming active), sentence (s).
    #[zbus(out_args("enforcement"))]
    async fn enforcement_for(
        &self,
        subject: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Dict, BusError> {
        let subject = TextRule::SUBJECT.check("subject", subject)?;
        let case = Options::new(options, &[])?.case()?;
        let deed = Deed::on(Object::Subject(subject.clone()), case);
        let grant = self.desk.guard.admit(&header, deed).await?;
        Ok(enforced(&self.desk.verbs.enforcement_for(&grant, &subject).await?))
    }

    /// Says “later” once for somebody, which uses one up for good; journalled. Returns what EnforcementFor would now. [verify]
    /// Errors: UnknownSubject; NoLater when it would not help.
    #[zbus(out_args("enforcement"))]
    async fn defer(
        &self,
        subject: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Dict, BusError> {
        let subject = TextRule::SUBJECT.check("subject", subject)?;
        let case = Options::new(options, &[])?.case()?;
        let deed = Deed::on(Object::Subject(subject.clone()), case);
        let grant = self.desk.guard.admit(&header, deed).await?;
        self.desk.require_ready()?;
        Ok(enforced(&self.desk.verbs.defer(&grant, &subject).await?))
    }

    /// Who somebody is and how far they have come. [inspect]
    /// status: what EnforcementFor tells, and subject, role, privilege (s: ordinary, privileged), account (s), contact (s: none,
    /// unverified, verified), contact-verified (s: day), active, pending, deferred (u).
    #[zbus(out_args("status"))]
    async fn status(
        &self,
        subject: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Dict, BusError> {
        let subject = TextRule::SUBJECT.check("subject", subject)?;
        let case = Options::new(options, &[])?.case()?;
        let deed = Deed::on(Object::Subject(subject.clone()), case);
        let grant = self.desk.guard.admit(&header, deed).await?;
        Ok(told(&self.desk.verbs.subject_status(&grant, &subject).await?))
    }

    /// How all who stand in the file of subjects have come along. [inspect]
    /// report: roles (aa{sv}: role (s; empty where nobody knows it), subjects, off, pending, on, required, lacking (u)), lacking (as: of
    /// whom a second factor is required today and who have none active, 1000 at most).
    #[zbus(out_args("report"))]
    async fn coverage(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Dict, BusError> {
        let case = Options::new(options, &[])?.case()?;
        let grant = self.desk.guard.admit(&header, Deed::on(Object::Whole, case)).await?;
        Ok(reported(self.desk.verbs.coverage(&grant).await?))
    }
}

fn enforced(status: &SubjectStatus) -> Dict {
    let mut enforcement = Dict::new();
    enforcement.put("known", status.enforcement.is_some());
    let Some(it) = &status.enforcement else {
        enforcement.put("required", false);
        enforcement.put("may-defer", false);
        enforcement.put("blocked", false);
        return enforcement;
    };
    enforcement.put("required", it.required);
    enforcement.put("may-defer", it.may_defer);
    enforcement.put("blocked", it.blocked());
    enforcement.put("status", it.status.as_str());
    enforcement.put("ground", it.ground.name());
    enforcement.put_some("day", it.ground.day().map(|day| day.to_string()));
    enforcement.put_some("from", it.from.map(|day| day.to_string()));
    enforcement.put("deferrals-left", it.deferrals_left);
    enforcement.put_some("obstacle", it.obstacle.map(|obstacle| obstacle.to_string()));
    enforcement.put("sentence", it.to_string());
    enforcement
}

fn told(status: &SubjectStatus) -> Dict {
    let mut told = enforced(status);
    told.put("subject", status.name.as_str());
    told.put_some("role", status.role.clone());
    told.put_some("privilege", status.privilege.map(|privilege| privilege.as_str()));
    told.put_some("account", status.account.clone());
    let contact = match status.contact {
        None => "none",
        Some(None) => "unverified",
        Some(Some(_)) => "verified",
    };
    told.put("contact", contact);
    told.put_some("contact-verified", status.contact.flatten().map(|day| day.to_string()));
    told.put("active", status.active);
    told.put("pending", status.pending);
    told.put("deferred", status.deferred);
    told
}

fn reported(coverage: Coverage) -> Dict {
    let roles: Vec<Variant<'static>> = coverage
        .roles
        .into_iter()
        .map(|(role, of)| {
            let mut row = Dict::new();
            row.put("role", role);
            row.put("subjects", of.subjects);
            row.put("off", of.off);
            row.put("pending", of.pending);
            row.put("on", of.on);
            row.put("required", of.required);
            row.put("lacking", of.lacking);
            Variant::from(row)
        })
        .collect();
    let mut report = Dict::new();
    report.put("roles", roles);
    report.put("lacking", coverage.lacking);
    report
}
