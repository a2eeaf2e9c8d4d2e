//! Administration of a device's OATH applet: what is on it, its password, names, and wiping it.
//!
//! Names may name a person: they stand in no journal entry, only, tagged, in the intent.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use crate::codec::ykoath::{CredentialName, CredentialType};
use crate::device::DeviceError;
use crate::device::oath::OathSession;
use crate::device::session::Session;
use crate::grant::{Action, Grant, Object};
use crate::ledger::{Duty, Filter, Intent, IntentEnd, Mutation, ObligationFilter, TokenRecord};
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::card::{CardBody, managing, with_applet};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::recover::{kill, phase};
use crate::lifecycle::request::OathDeed;
use crate::lifecycle::{Lifecycle, Refusal, settle};
use crate::types::{Cancel, DeviceId, OathAlgorithm, ObligationId, Secret, TokenId, UnixMillis};

/// How many tokens one applet can be the body of: more than any holds.
const MOST: u32 = 1_000;
/// Longest password that is set: what the client reads at most is more.
const MAX_PASSWORD: usize = 127;

/// A credential of an applet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OathCredential {
    /// Its name; may name a person. Bytes that are not UTF-8 are shown as replacement characters.
    pub name: String,
    /// Whether it counts.
    pub event: bool,
    /// Hash.
    pub algorithm: OathAlgorithm,
    /// Time step in seconds, as its name tells; none for one that counts.
    pub period_s: Option<u32>,
    /// The live token it is the body of.
    pub token: Option<TokenId>,
}

impl Lifecycle {
    /// What is on the applet of a device. Wants no touch and changes nothing.
    ///
    /// # Errors
    /// [`Refusal::UnknownDevice`], [`Refusal::PasswordThrottled`]; the card's own.
    pub async fn oath_credentials(
        self: &Arc<Self>,
        grant: &Grant,
        device: DeviceId,
        password: Option<Secret>,
    ) -> Result<Vec<OathCredential>, Refusal> {
        grant.require(Action::Inspect, &Object::Device(device))?;
        let handle = self.devices().get(device).ok_or(Refusal::UnknownDevice)?;
        let figures = self.settings().deadlines;
        let deadline = Instant::now() + figures.lock + figures.exchange * 6;
        let house = Arc::clone(self);
        let (device_id, listed) = handle
            .run(deadline, Cancel::new(), move |session| {
                Ok(with_applet(session, &house, password.as_ref(), |applet| {
                    Ok((applet.applet().device_id(), applet.list()?))
                }))
            })
            .await??;
        let ours = self.bodies(&device_id).await?;
        let credentials = listed.into_iter().map(|one| {
            let event = one.kind == CredentialType::Hotp;
            let token = ours.iter().find(|(body, _)| is_named(body, &one.name));
            OathCredential {
                token: token.map(|(_, record)| record.id),
                period_s: (!event).then(|| one.name.period_s()),
                name: one.name.display(),
                event,
                algorithm: one.algorithm,
            }
        });
        Ok(credentials.collect())
    }

    /// The live tokens whose credentials are on the applet.
    async fn bodies(&self, device_id: &str) -> Result<Vec<(CardBody, TokenRecord)>, Refusal> {
        let filter = Filter {
            alive: true,
            body: Some(device_id.to_owned()),
            ..Filter::default()
        };
        let page = self.ledger().find(&filter, None, MOST).await?;
        let bodies = page.items.into_iter().filter_map(|record| {
            let body = CardBody::of(&record.binding).ok()?;
            Some((body, record))
        });
        Ok(bodies.collect())
    }
}

fn is_named(body: &CardBody, name: &CredentialName) -> bool {
    body.name.as_bytes() == name.as_bytes()
}

/// Changes the applet of `device`.
///
/// # Errors
/// [`Refusal::LooksAlike`] for what destroys something;
/// [`Refusal::Invalid`] for what would touch the body of a token by the back door; [`Refusal::PasswordThrottled`]; the card's own.
pub async fn administer(
    act: &Act,
    (device, place): (DeviceId, Option<String>),
    deed: OathDeed,
    password: Option<Secret>,
) -> Result<Outcome, Refusal> {
    let action = match deed {
        OathDeed::SetPassword(_) | OathDeed::RemovePassword | OathDeed::Rename { .. } => Action::Configure,
        OathDeed::Delete { .. } | OathDeed::Reset { .. } => Action::Revoke,
    };
    act.require(action, &Object::Device(device))?;
    check(&deed)?;
    let handle = act.house.devices().get(device).ok_or(Refusal::UnknownDevice)?;
    act.phase(Phase::Identifying, 10);
    if action == Action::Revoke {
        let cancel = act.step.cancel_flag();
        act.house.unambiguous(&handle, place.as_deref(), cancel).await?;
    }
    let done = act
        .in_lane(&handle, act.budget(10, 1), move |session, act| {
            let job = Job { act, device };
            job.run(session, deed, password.as_ref())
        })
        .await;
    match done {
        Ok(token) => Ok(Outcome::Done(Details {
            token,
            ..Details::default()
        })),
        Err(refusal) => {
            act.conclude().await?;
            Err(refusal)
        }
    }
}

/// What can be said without the card.
fn check(deed: &OathDeed) -> Result<(), Refusal> {
    match deed {
        OathDeed::SetPassword(new) if !(1..=MAX_PASSWORD).contains(&new.len()) => Err(Refusal::Invalid(format!(
            "a password has 1 to {MAX_PASSWORD} bytes; to have none, remove it"
        ))),
        OathDeed::Rename { from, to } => {
            credential(from)?;
            credential(to)?;
            if from == to {
                return Err(Refusal::Invalid("that is its name already".into()));
            }
            Ok(())
        }
        OathDeed::Delete { name } => credential(name).map(drop),
        _ => Ok(()),
    }
}

fn credential(name: &str) -> Result<CredentialName, Refusal> {
    CredentialName::new(name.as_bytes()).map_err(|error| Refusal::Invalid(error.to_string()))
}

/// One deed, in its lane.
struct Job<'a> {
    act: &'a Act,
    device: DeviceId,
}

impl Job<'_> {
    fn run(
        &self,
        session: &mut Session,
        deed: OathDeed,
        password: Option<&Secret>,
    ) -> Result<Option<TokenId>, Refusal> {
        // A reset needs no password: it is what is left when the password is forgotten.
        if let OathDeed::Reset { confirmed } = deed {
            return self.reset(session, confirmed, password).map(|()| None);
        }
        let act = self.act;
        with_applet(session, &act.house, password, |applet| match &deed {
            OathDeed::SetPassword(new) => {
                self.begin("password-set", None, phase::BEGUN, Vec::new())?;
                applet.set_password(password, new)?;
                self.end("password-set", None, Vec::new())
            }
            OathDeed::RemovePassword => {
                self.begin("password-removed", None, phase::BEGUN, Vec::new())?;
                applet.remove_password()?;
                self.end("password-removed", None, Vec::new())
            }
            OathDeed::Rename { from, to } => self.rename(applet, from, to),
            OathDeed::Delete { name } => self.delete(applet, name),
            OathDeed::Reset { .. } => Err(Refusal::Internal("a reset is done elsewhere")),
        })
    }

    /// The binding of a token of ours follows. Should we be stopped in between, the token's next test finds its credential again by
    /// its codes; one that counts cannot be found so, and is not renamed.
    fn rename(&self, applet: &mut OathSession<'_>, from: &str, to: &str) -> Result<Option<TokenId>, Refusal> {
        let (old, new) = (credential(from)?, credential(to)?);
        if !applet.habits().renames {
            return Err(DeviceError::Unsupported("renaming a credential").into());
        }
        let listed = applet.list()?;
        if !listed.iter().any(|one| one.name == old) {
            return Err(DeviceError::NoCredential.into());
        }
        if listed.iter().any(|one| one.name == new) {
            return Err(Refusal::Invalid("another credential has that name".into()));
        }
        let ours = self.body(applet, &old)?;
        if ours.as_ref().is_some_and(|(body, _)| body.event) {
            return Err(Refusal::Invalid(
                "a credential that counts is not renamed while it is the body of a token: revoke the token and register the card anew"
                    .into(),
            ));
        }
        let token = ours.as_ref().map(|(_, record)| record.id);
        self.begin("renamed", token, phase::CREATING, Vec::new())?;
        let renamed = managing(self.act, applet, self.device, |applet| applet.rename(&old, &new));
        if let Err(error) = renamed {
            // The answer may have been lost after the deed.
            applet.insist();
            if !applet
                .list()
                .is_ok_and(|listed| listed.iter().any(|one| one.name == new))
            {
                return Err(error.into());
            }
        }
        let bind = ours.map(|(body, record)| Mutation::Bind {
            token: record.id,
            binding: CardBody {
                name: to.to_owned(),
                ..body
            }
            .binding(),
            unique: None,
        });
        self.end("renamed", token, bind.into_iter().collect())
    }

    fn delete(&self, applet: &mut OathSession<'_>, name: &str) -> Result<Option<TokenId>, Refusal> {
        let name = credential(name)?;
        if !applet.list()?.iter().any(|one| one.name == name) {
            return Err(DeviceError::NoCredential.into());
        }
        if let Some((_, record)) = self.body(applet, &name)? {
            return Err(Refusal::Invalid(format!(
                "this credential is the body of token {}: revoke that token, which deletes it",
                record.id
            )));
        }
        self.begin("deleted", None, phase::CREATING, Vec::new())?;
        match managing(self.act, applet, self.device, |applet| applet.delete(&name)) {
            Ok(()) | Err(DeviceError::NoCredential) => {}
            Err(error) => return Err(error.into()),
        }
        if applet.list()?.iter().any(|one| one.name == name) {
            return Err(DeviceError::Protocol("it still lists the credential that it said it had deleted").into());
        }
        self.end("deleted", None, Vec::new())
    }

    /// The tokens die first, each with the obligation that stands if the card does not do it; then the applet is wiped, and all
    /// that was owed to it is settled with that.
    fn reset(&self, session: &mut Session, confirmed: bool, password: Option<&Secret>) -> Result<(), Refusal> {
        let act = self.act;
        let (deadline, cancel) = (session.deadline(), session.cancel().clone());
        let hints = crate::device::oath::maker::Hints::of(session.faces());
        let mut link = session.open_card()?;
        let mut applet = OathSession::open(link.as_mut(), &hints, deadline, &cancel)?;
        if !applet.habits().resets {
            return Err(DeviceError::Unsupported("resetting its OATH applet").into());
        }
        let device_id = applet.applet().device_id();
        let bodies = act.house.runtime().block_on(act.house.bodies(&device_id))?;
        if !confirmed {
            let count = match applet.is_locked() {
                true => None,
                false => Some(applet.list()?.len()),
            };
            return Err(Refusal::Invalid(what_is_lost(count, &bodies)));
        }
        // Not needed, and so not looked at.
        let _ = password;
        act.phase(Phase::Resetting, 40);
        act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
        let now = act.house.clock().now();
        let mut owed = act.house.runtime().block_on(owed_to(&act.house, &device_id))?;
        let mut changes = Vec::new();
        for (_, record) in &bodies {
            let obligation = act.house.runtime().block_on(self.kill(record, now, &mut changes))?;
            owed.extend(obligation);
        }
        self.begin("reset", None, phase::DEAD, changes)?;
        managing(act, &mut applet, self.device, OathSession::reset)?;
        let settled = owed.into_iter().map(|id| Mutation::Discharge {
            id,
            at: act.house.clock().now(),
        });
        self.end("reset", None, settled.collect()).map(drop)
    }

    async fn kill(
        &self,
        record: &TokenRecord,
        now: UnixMillis,
        changes: &mut Vec<Mutation>,
    ) -> Result<Option<ObligationId>, Refusal> {
        let duty = settle::duty_of(&self.act.house, record, false).await?;
        Ok(kill(record, duty, now, changes))
    }

    /// The live token whose credential has this name on this applet.
    fn body(
        &self,
        applet: &OathSession<'_>,
        name: &CredentialName,
    ) -> Result<Option<(CardBody, TokenRecord)>, Refusal> {
        let house = &self.act.house;
        let bodies = house.runtime().block_on(house.bodies(&applet.applet().device_id()))?;
        Ok(bodies.into_iter().find(|(body, _)| is_named(body, name)))
    }

    fn begin(
        &self,
        what: &'static str,
        token: Option<TokenId>,
        phase: &str,
        mut changes: Vec<Mutation>,
    ) -> Result<(), Refusal> {
        let act = self.act;
        let intent = Intent {
            token,
            ..act.device_intent(phase, json!({"what": what}))
        };
        changes.push(Mutation::Begin(intent));
        Ok(act.commit_in_lane("oath.begun", token, facts([("what", json!(what))]), changes)?)
    }

    fn end(
        &self,
        what: &'static str,
        token: Option<TokenId>,
        mut changes: Vec<Mutation>,
    ) -> Result<Option<TokenId>, Refusal> {
        let act = self.act;
        act.phase(Phase::Committing, 90);
        changes.push(act.end(IntentEnd::Completed));
        act.commit_in_lane("oath.done", token, facts([("what", json!(what))]), changes)?;
        Ok(token)
    }
}

/// Open obligations to delete a credential from this applet.
async fn owed_to(house: &Lifecycle, device_id: &str) -> Result<Vec<ObligationId>, Refusal> {
    let open = ObligationFilter {
        open: true,
        ..ObligationFilter::default()
    };
    let mut owed = Vec::new();
    let mut cursor = None;
    loop {
        let page = house.ledger().obligations(open, cursor.as_deref(), MOST).await?;
        owed.extend(page.items.iter().filter_map(|obligation| match &obligation.duty {
            Duty::DeleteOath { device_id: of, .. } if of == device_id => Some(obligation.id),
            _ => None,
        }));
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(owed),
        }
    }
}

/// What a reset takes with it, for a person to read before it is confirmed. Ids of tokens name nobody.
fn what_is_lost(count: Option<usize>, bodies: &[(CardBody, TokenRecord)]) -> String {
    let all = match count {
        Some(count) => format!("all {count} credentials on the applet and its password"),
        None => "all credentials on the applet and its password".to_owned(),
    };
    let ours = match bodies {
        [] => "none of them is a token of ours".to_owned(),
        bodies => {
            let ids: Vec<String> = bodies.iter().map(|(_, record)| record.id.to_string()).collect();
            format!("with them these tokens are revoked for good: {}", ids.join(", "))
        }
    };
    format!("a reset deletes {all}; {ours}. To do it, say “reset”")
}
