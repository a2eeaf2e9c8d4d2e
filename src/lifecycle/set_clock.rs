//! Setting a fob's clock over NFC. Most models forget their seed over it, so they get a new one in the same operation.
//!
//! What a crash leaves: before the fob has taken the key nothing is changed, neither here nor there. Then the new seed is sealed and
//! the token pending, in one commit, before the first byte is written; a pending token accepts nobody until it has shown a code of
//! the new seed. If the fob did not get it, the same operation gives it to it.

use serde_json::json;

use crate::device::clock_fob::{self, ClockFob, FobFace};
use crate::device::session::Session;
use crate::grant::{Action, Object};
use crate::ledger::{IntentEnd, Mutation};
use crate::lifecycle::Refusal;
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::nfc_fob::{self, FobBody, USABLE, authenticate, with_fob};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::recover::phase;
use crate::lifecycle::register::oath_card::fresh_seed;
use crate::types::{DeviceId, DriftSource, Secret, TokenId, TokenState};

/// A clock that was just set is not further off: it counts whole seconds, and the exchange takes its time.
const CLOSE_MS: i64 = 2_500;

/// What the caller says.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// Give the fob a new seed.
    pub reseed: bool,
    /// Set it although the host clock is not synchronised.
    pub unsynchronised: bool,
}

/// Sets the clock of `token` to the host's.
///
/// # Errors
/// [`Refusal::ClockWipesSeed`] unless `reseed` was said or the model is known to keep its seed; [`Refusal::ClockUnsynchronised`];
/// [`Refusal::Unverified`] when the clock does not tell what was written; the fob's own.
pub async fn set_clock(act: &Act, token: TokenId, device: Option<DeviceId>, words: Words) -> Result<Outcome, Refusal> {
    act.require(Action::Resync, &Object::Token(token))?;
    let record = act.token(token).await?;
    let body = FobBody::of(&record, "set")?;
    if body.clock_wipes_seed != Some(false) && !words.reseed {
        return Err(Refusal::ClockWipesSeed);
    }
    if !act.house.clock().synchronised() && !words.unsynchronised {
        return Err(Refusal::ClockUnsynchronised);
    }
    let seed = match words.reseed {
        true => Some(fresh_seed(body.setting.algorithm)?),
        false => None,
    };
    if let Some(seed) = &seed {
        clock_fob::can_be_set(body.setting, seed)?;
    }
    act.phase(Phase::Identifying, 10);
    let handle = nfc_fob::find(act, device, &record, &body.serial).await?;
    let work = Work { token, body, seed };
    let done = act
        .in_lane(&handle, act.budget(10, 0), move |session, act| work.run(session, act))
        .await;
    let face = match done {
        Ok(face) => face,
        Err(refusal) => {
            act.conclude().await?;
            return Err(match refusal {
                Refusal::NotTheSameDevice if device.is_none() => Refusal::DeviceAbsent,
                other => other,
            });
        }
    };
    Ok(Outcome::Done(Details {
        token: Some(token),
        offset_s: Some(face.offset_ms.div_euclid(1000)),
        shift_s: Some(face.offset_ms.saturating_sub(record.offset_ms).div_euclid(1000)),
        ..Details::default()
    }))
}

/// What the lane takes with it.
struct Work {
    token: TokenId,
    body: FobBody,
    seed: Option<Secret>,
}

impl Work {
    fn run(self, session: &mut Session, act: &Act) -> Result<FobFace, Refusal> {
        let clock = std::sync::Arc::clone(act.house.clock());
        with_fob(session, clock.as_ref(), |fob, face| {
            if face.serial != self.body.serial {
                return Err(Refusal::NotTheSameDevice);
            }
            act.phase(Phase::Writing, 40);
            authenticate(act, fob, &self.body.serial)?;
            act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
            self.begin(act)?;
            fob.write_setting(self.body.setting, &|| clock.now())?;
            if let Some(seed) = &self.seed {
                fob.write_seed(seed)?;
            }
            act.phase(Phase::Committing, 80);
            self.end(act, fob)
        })
    }

    /// Durable before the fob is changed: that its clock is about to be, and the seed it is about to get.
    fn begin(&self, act: &Act) -> Result<(), Refusal> {
        let begin = Mutation::Begin(act.intent(self.token, phase::CREATING, json!({})));
        let (name, changes) = match &self.seed {
            None => {
                let usable = Mutation::Require {
                    token: self.token,
                    states: USABLE,
                };
                ("clock.setting", vec![usable, begin])
            }
            Some(seed) => (
                "fob.reseeding",
                vec![
                    Mutation::Transition {
                        token: self.token,
                        from: USABLE,
                        to: TokenState::Pending,
                        reason: None,
                    },
                    Mutation::ReplaceSeed {
                        token: self.token,
                        seed: Secret::new(seed.expose().to_vec()),
                    },
                    begin,
                ],
            ),
        };
        Ok(act.commit_in_lane(name, Some(self.token), facts([]), changes)?)
    }

    fn end(&self, act: &Act, fob: &mut ClockFob<'_>) -> Result<FobFace, Refusal> {
        let clock = act.house.clock();
        let face = fob.look(&|| clock.now())?;
        if face.serial != self.body.serial {
            return Err(Refusal::NotTheSameDevice);
        }
        if face.offset_ms.saturating_abs() > CLOSE_MS {
            return Err(Refusal::Unverified(
                "the fob's clock does not tell the time that was written",
            ));
        }
        // Read here: a test may have moved it since the operation began.
        let before = act.house.runtime().block_on(act.token(self.token))?;
        let detail = facts([
            ("offset_before_ms", json!(before.offset_ms)),
            ("offset_after_ms", json!(face.offset_ms)),
            ("reseeded", json!(self.seed.is_some())),
        ]);
        let changes = vec![
            Mutation::Require {
                token: self.token,
                states: USABLE,
            },
            Mutation::Correct {
                token: self.token,
                expect_ms: before.offset_ms,
                offset_ms: face.offset_ms,
                seen: Some(clock.now()),
                source: DriftSource::ClockSet,
            },
            act.end(IntentEnd::Completed),
        ];
        act.commit_in_lane("clock.set", Some(self.token), detail, changes)?;
        Ok(face)
    }
}
