//! `org.claviger.Verify1`: is this code one of a person's? And what wrong tries came to.
//!
//! Answered directly, without an operation: log-in programs wait for it.

use std::sync::Arc;

use zbus::interface;
use zbus::message::Header;

use super::Desk;
use super::cases::told::seconds;
use super::error::BusError;
use super::values::{Dict, Options, Put, TextRule};
use crate::contract::options as key;
use crate::grant::Object;
use crate::guard::Deed;
use crate::lifecycle::verify::{AccountStanding, Verified};
use crate::types::Secret;

/// Longest text that is taken as a code.
const LONGEST_CODE: usize = 64;

/// The verifying object.
pub(super) struct Verify {
    desk: Arc<Desk>,
}

impl Verify {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }
}

#[interface(name = "org.claviger.Verify1")]
impl Verify {
    /// Checks a code against all active tokens of a person that show codes (fobs, apps, recovery codes), and against the bypass they
    /// have, and uses it up. [verify]
    /// options: real-only (b, default true: leave virtual tokens out), case (s).
    /// details when accepted: token, kind, reality (s), recovery-left (u, of recovery codes), wrong-before (u: wrong tries since
    /// anybody last passed); of a bypass: kind (s: “bypass”), case (s), uses-left, left-s (u), wrong-before; when not: next-code (b: a
    /// token was not seen for so long that its next code decides).
    /// Errors: TryLater, SoftLocked (each with a second argument a{sv}: wait-s (u)), Locked: the code was not looked at.
    /// InvalidArgument for a text that is no code, which costs no try.
    #[zbus(out_args("accepted", "details"))]
    async fn verify(
        &self,
        subject: String,
        code: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(bool, Dict), BusError> {
        let code = Secret::new(code.into_bytes());
        let subject = TextRule::SUBJECT.check("subject", subject)?;
        if code.len() > LONGEST_CODE {
            return Err(BusError::invalid(format!(
                "“code” has {} bytes; it must have {LONGEST_CODE} at most",
                code.len()
            )));
        }
        let mut given = Options::new(options, &[key::REAL_ONLY])?;
        let real_only = given.choice(key::REAL_ONLY)?.unwrap_or(true);
        let deed = Deed::on(Object::Subject(subject.clone()), given.case()?);
        let grant = self.desk.guard.admit(&header, deed).await?;
        self.desk.require_ready()?;
        let verified = self.desk.verbs.verify(&grant, &subject, &code, real_only).await?;
        Ok((verified.accepted(), told(&verified)))
    }

    /// Wrong tries and locks of a person; one that nobody has stands like one who never mistyped. [inspect]
    /// standing: state (s: open, waiting, soft-locked, locked), wait-s (u), failures (u: in a row, by all callers), in-hand (u: wrong
    /// tries left, of which one grows again in 8 hours), callers (aa{sv}: uid, failures, wait-s (u), state (s), last-ms (x)).
    #[zbus(out_args("standing"))]
    async fn standing(
        &self,
        subject: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Dict, BusError> {
        let subject = TextRule::SUBJECT.check("subject", subject)?;
        let case = Options::new(options, &[])?.case()?;
        let deed = Deed::on(Object::Subject(subject.clone()), case);
        let grant = self.desk.guard.admit(&header, deed).await?;
        let standing = self.desk.verbs.standing(&grant, &subject).await?;
        Ok(stood(&standing))
    }

    /// Lifts every lock on a person's account, after somebody has looked into it; journalled. [suspend]
    /// Errors: InvalidArgument when there was no wrong try.
    async fn unlock(&self, subject: String, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<(), BusError> {
        let subject = TextRule::SUBJECT.check("subject", subject)?;
        let case = Options::new(options, &[])?.case()?;
        let deed = Deed::on(Object::Subject(subject.clone()), case);
        let grant = self.desk.guard.admit(&header, deed).await?;
        self.desk.require_ready()?;
        Ok(self.desk.verbs.unlock(&grant, &subject).await?)
    }
}

fn told(verified: &Verified) -> Dict {
    let mut details = Dict::new();
    if let Some(used) = verified.bypass {
        details.put("kind", "bypass");
        details.put("case", used.case.to_string());
        details.put("uses-left", used.uses_left);
        details.put("left-s", seconds(used.left));
        details.put("wrong-before", verified.wrong_before);
    }
    match verified.token {
        Some((token, kind, reality)) => {
            details.put("token", token.to_string());
            details.put("kind", kind.as_str());
            details.put("reality", reality.as_str());
            details.put("wrong-before", verified.wrong_before);
            details.put_some("recovery-left", verified.recovery_left);
        }
        None if verified.next_code => details.put("next-code", true),
        None => {}
    }
    details
}

fn stood(account: &AccountStanding) -> Dict {
    let mut standing = Dict::new();
    standing.put("state", account.state.as_str());
    standing.put("wait-s", account.state.wait_s());
    standing.put("failures", account.standing.run());
    standing.put("in-hand", account.in_hand);
    let tries = account.standing.callers.iter().zip(&account.callers);
    let callers: Vec<Dict> = tries
        .map(|(tries, (uid, admission))| {
            let mut caller = Dict::new();
            caller.put("uid", *uid);
            caller.put("failures", tries.count);
            caller.put("state", admission.as_str());
            caller.put("wait-s", admission.wait_s());
            caller.put("last-ms", tries.last.0);
            caller
        })
        .collect();
    standing.put("callers", callers);
    standing
}
