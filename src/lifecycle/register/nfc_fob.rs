//! Registering a fob over NFC: seed and time are written to it, and its clock is read back. It is active once it has shown a code.

use serde_json::json;

use crate::device::clock_fob::{self, ClockFob, FobFace, Setting};
use crate::device::session::Session;
use crate::grant::{Action, Object};
use crate::ledger::{Binding, IntentEnd, Mutation, Personal, Unique};
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::nfc_fob::{authenticate, with_fob};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::recover::phase;
use crate::lifecycle::register::oath_card::fresh_seed;
use crate::lifecycle::register::{checked_parameters, fresh, still_pending};
use crate::lifecycle::{NfcFobOptions, Refusal};
use crate::types::{DeviceId, DriftSource, Reality, Secret, TokenId, TokenKind, TokenState};

/// Digits that these fobs show; there is no setting for it.
const DIGITS: u8 = 6;

/// Registers the fob in `device`. Its seed is made here unless one is given.
///
/// # Errors
/// The fob's own; [`Refusal::Ledger`] with `Duplicate` for a live fob of the same serial; [`Refusal::ClockUnsynchronised`]. Nothing
/// is left behind, or an obligation says what.
pub async fn register(
    act: &Act,
    device: DeviceId,
    subject: String,
    seed: Option<Secret>,
    options: NfcFobOptions,
) -> Result<Outcome, Refusal> {
    act.require(Action::Register, &Object::Device(device))?;
    let parameters = checked_parameters(options.algorithm, Some(DIGITS), options.period_s)?;
    let setting = Setting {
        algorithm: parameters.algorithm(),
        period_s: parameters.period_s(),
    };
    let seed = match seed {
        Some(seed) => seed,
        None => fresh_seed(parameters.algorithm())?,
    };
    clock_fob::can_be_set(setting, &seed)?;
    if !act.house.clock().synchronised() && !options.unsynchronised {
        return Err(Refusal::ClockUnsynchronised);
    }
    let handle = act.house.devices().get(device).ok_or(Refusal::UnknownDevice)?;
    let id = TokenId::generate();
    let work = Work {
        id,
        reality: handle.info().reality,
        subject,
        label: options.label,
        setting,
        seed,
    };
    let done = act
        .in_lane(&handle, act.budget(10, 0), move |session, act| work.run(session, act))
        .await;
    let offset_s = match done {
        Ok(offset_ms) => Some(offset_ms.div_euclid(1000)),
        Err(refusal) => {
            act.conclude().await?;
            // A lane that was given up as stuck may have come to its end all the same.
            match act.house.ledger().token(id).await? {
                Some(record) if record.state == TokenState::Pending => None,
                _ => return Err(refusal),
            }
        }
    };
    Ok(Outcome::Done(Details {
        token: Some(id),
        offset_s,
        ..Details::default()
    }))
}

/// What the lane takes with it.
struct Work {
    id: TokenId,
    reality: Reality,
    subject: String,
    label: Option<String>,
    setting: Setting,
    seed: Secret,
}

impl Work {
    fn run(self, session: &mut Session, act: &Act) -> Result<i64, Refusal> {
        act.phase(Phase::Identifying, 10);
        let clock = std::sync::Arc::clone(act.house.clock());
        with_fob(session, clock.as_ref(), |fob, face| {
            self.begin(act, &face)?;
            act.phase(Phase::Writing, 40);
            authenticate(act, fob, &face.serial)?;
            act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
            // From here on the fob may hold our seed; the record says so first.
            let writing = vec![still_pending(self.id), act.moved_to(phase::CREATING)];
            act.commit_in_lane("fob.writing", Some(self.id), facts([]), writing)?;
            fob.write_setting(self.setting, &|| clock.now())?;
            fob.write_seed(&self.seed)?;
            act.phase(Phase::Committing, 80);
            self.end(act, fob, &face.serial)
        })
    }

    /// The record, with the seed sealed in it before it reaches the fob.
    fn begin(&self, act: &Act, face: &FobFace) -> Result<(), Refusal> {
        let mut record = fresh(
            self.id,
            TokenKind::NfcFob,
            self.reality,
            Personal {
                subject: Some(self.subject.clone()),
                serial: Some(face.serial.clone()),
                label: self.label.clone(),
            },
        );
        record.model = face.model.unwrap_or("display fob with NFC").to_owned();
        record.maker = Some(face.maker.to_owned());
        record.binding = Binding::NfcFob {
            maker: face.maker.to_owned(),
            algorithm: self.setting.algorithm,
            digits: DIGITS,
            period_s: self.setting.period_s,
            clock_wipes_seed: face.clock_wipes_seed,
        };
        let insert = Mutation::Insert {
            record: Box::new(record),
            seed: Some(Secret::new(self.seed.expose().to_vec())),
            // As “register fob” holds it: the same fob is not registered a second time by its papers.
            unique: Some(Unique::Fob {
                manufacturer: None,
                serial: face.serial.clone(),
            }),
        };
        let detail = facts([("kind", json!(TokenKind::NfcFob)), ("reality", json!(self.reality))]);
        let begin = Mutation::Begin(act.intent(self.id, phase::BEGUN, json!({})));
        Ok(act.commit_in_lane("token.register-begun", Some(self.id), detail, vec![insert, begin])?)
    }

    /// Reads the clock that was just set; what it is off by then is the beginning of its history.
    fn end(&self, act: &Act, fob: &mut ClockFob<'_>, serial: &str) -> Result<i64, Refusal> {
        let clock = act.house.clock();
        let face = fob.look(&|| clock.now())?;
        if face.serial != serial {
            return Err(Refusal::NotTheSameDevice);
        }
        let correct = Mutation::Correct {
            token: self.id,
            expect_ms: 0,
            offset_ms: face.offset_ms,
            seen: Some(clock.now()),
            source: DriftSource::ClockSet,
        };
        let changes = vec![still_pending(self.id), correct, act.end(IntentEnd::Completed)];
        let detail = facts([("offset_ms", json!(face.offset_ms))]);
        act.commit_in_lane("fob.registered", Some(self.id), detail, changes)?;
        Ok(face.offset_ms)
    }
}
