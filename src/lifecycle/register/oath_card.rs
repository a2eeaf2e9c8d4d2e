//! Registering an OATH card: the seed is made here, put on the card, and computed back from it.

use serde_json::json;

use crate::codec::oath::OathParameters;
use crate::codec::ykoath::{CredentialType, Properties};
use crate::device::session::Session;
use crate::grant::{Action, Object};
use crate::ledger::{IntentEnd, Mutation, Personal};
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::card::{CardBody, managing, prove, prove_event, with_applet};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::recover::phase;
use crate::lifecycle::register::{checked_parameters, fresh, still_pending};
use crate::lifecycle::{OathOptions, Refusal};
use crate::types::{DeviceId, OathAlgorithm, Secret, TokenId, TokenKind, TokenState};

/// Registers the card in `device`.
///
/// # Errors
/// The card's own ([`Refusal::Device`]); [`Refusal::Unverified`] when it does not compute what was put on it. Nothing is
/// left behind, or an obligation says what.
pub async fn register(act: &Act, device: DeviceId, subject: String, options: OathOptions) -> Result<Outcome, Refusal> {
    act.require(Action::Register, &Object::Device(device))?;
    act.house.may_activate(Some(&subject)).await?;
    let handle = act.house.devices().get(device).ok_or(Refusal::UnknownDevice)?;
    let parameters = checked_parameters(options.algorithm, options.digits, options.period_s)?;
    if options.event && (options.only_increasing || options.period_s.is_some()) {
        return Err(Refusal::Invalid(
            "a credential that counts has no time: “event” goes neither with “only-increasing” nor with “period-s”"
                .into(),
        ));
    }
    let info = handle.info();
    let seed = fresh_seed(parameters.algorithm())?;
    let copy = Secret::new(seed.expose().to_vec());
    let id = TokenId::generate();
    let body = CardBody {
        name: credential_name(id, &parameters),
        device_id: String::new(),
        parameters,
        event: options.event,
        only_increasing: options.only_increasing,
    };

    // The seed is sealed before it reaches the card: whatever happens then, we can prove and delete what is on the card.
    let mut record = fresh(
        id,
        TokenKind::OathCard,
        info.reality,
        Personal {
            subject: Some(subject),
            serial: options.serial.or(info.serial),
            label: options.label,
        },
    );
    record.model = info.name;
    record.binding = body.binding();
    let begin = act.intent(id, phase::BEGUN, json!({}));
    act.commit(
        "token.register-begun",
        Some(id),
        facts([("kind", json!(TokenKind::OathCard)), ("reality", json!(info.reality))]),
        vec![
            Mutation::Insert {
                record: Box::new(record),
                seed: Some(copy),
                unique: None,
            },
            Mutation::Begin(begin),
        ],
    )
    .await?;

    let work = Work {
        id,
        body: body.clone(),
        seed,
        password: options.password,
        touch: options.touch,
        device,
    };
    let done = act
        .in_lane(&handle, act.budget(8, 2), move |session, act| work.run(session, act))
        .await;
    if let Err(refusal) = done
        && !act.conclude_registration(id).await?
    {
        return Err(refusal);
    }
    Ok(Outcome::Done(Details {
        token: Some(id),
        oath_name: Some(body.name),
        ..Details::default()
    }))
}

/// What the lane takes with it.
struct Work {
    id: TokenId,
    body: CardBody,
    seed: Secret,
    password: Option<Secret>,
    touch: bool,
    device: DeviceId,
}

impl Work {
    fn run(mut self, session: &mut Session, act: &Act) -> Result<(), Refusal> {
        act.phase(Phase::Identifying, 10);
        let password = self.password.take();
        with_applet(session, &act.house, password.as_ref(), |applet| {
            self.body.device_id = applet.applet().device_id();
            let name = self.body.credential()?;
            if applet.list()?.iter().any(|listed| listed.name == name) {
                return Err(Refusal::Internal("the card holds a credential of this new name"));
            }
            // From here on the card may hold our credential; the record says so first.
            let bind = Mutation::Bind {
                token: self.id,
                binding: self.body.binding(),
                unique: None,
            };
            act.commit_in_lane(
                "token.writing",
                Some(self.id),
                facts([]),
                vec![still_pending(self.id), bind, act.moved_to(phase::CREATING)],
            )?;
            act.phase(Phase::Writing, 40);
            let properties = Properties {
                touch: self.touch,
                only_increasing: self.body.only_increasing,
                initial_counter: None,
            };
            let kind = match self.body.event {
                true => CredentialType::Hotp,
                false => CredentialType::Totp,
            };
            managing(act, applet, self.device, |applet| {
                applet.put(&name, &self.body.parameters, kind, &self.seed, properties)
            })?;
            act.phase(Phase::Proving, 60);
            let proved = if self.body.event {
                prove_event(act, applet, &self.body, &self.seed, (0, self.device)).map(Some)
            } else {
                prove(act, applet, &self.body, &self.seed, self.device).map(|()| None)
            };
            let proved = proved.and_then(|counter| self.commit(act, counter));
            if proved.is_err() {
                applet.insist();
            }
            if proved.is_err() && applet.delete(&name).is_ok() {
                // Taken off again; if this cannot be noted, the obligation that follows finds nothing to delete.
                act.commit_in_lane(
                    "token.undone",
                    Some(self.id),
                    facts([]),
                    vec![act.moved_to(phase::UNDONE)],
                )?;
            }
            proved
        })
    }

    fn commit(&self, act: &Act, counter: Option<u64>) -> Result<(), Refusal> {
        act.phase(Phase::Committing, 90);
        act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
        let now = act.house.clock().now();
        act.commit_in_lane(
            "token.registered",
            Some(self.id),
            facts([("kind", json!(TokenKind::OathCard))]),
            vec![
                Mutation::Transition {
                    token: self.id,
                    from: &[TokenState::Pending],
                    to: TokenState::Active,
                    reason: None,
                },
                match counter {
                    Some(to) => Mutation::Advance {
                        token: self.id,
                        to,
                        offset_ms: 0,
                        seen: now,
                        source: None,
                    },
                    None => Mutation::Seen {
                        token: self.id,
                        seen: now,
                    },
                },
                act.end(IntentEnd::Completed),
            ],
        )?;
        Ok(())
    }
}

/// A name that says whose it is without naming a person: it stands in the journal. Periods other than 30 s go in front, as
/// the applet's other users expect.
fn credential_name(id: TokenId, parameters: &OathParameters) -> String {
    let short: String = id
        .simple()
        .chars()
        .rev()
        .take(12)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    match parameters.period_s() {
        30 => format!("Claviger:{short}"),
        period => format!("{period}/Claviger:{short}"),
    }
}

/// A seed as long as the hash (RFC 4226 section 4 R6 recommends 160 bits; RFC 6238 section 3 R6 the length of the HMAC).
///
/// # Errors
/// [`Refusal::Internal`] for a host without random numbers.
pub fn fresh_seed(algorithm: OathAlgorithm) -> Result<Secret, Refusal> {
    let mut seed = vec![
        0;
        match algorithm {
            OathAlgorithm::Sha1 => 20,
            OathAlgorithm::Sha256 => 32,
            OathAlgorithm::Sha512 => 64,
        }
    ];
    getrandom::fill(&mut seed).map_err(|_| Refusal::Internal("the host has no random numbers"))?;
    Ok(Secret::new(seed))
}
