//! What the verbs do to a fob whose clock and seed are reached over NFC, seen from its lane.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::device::DeviceError;
use crate::device::clock_fob::{ClockFob, FobFace, Now, Setting};
use crate::device::handle::DeviceHandle;
use crate::device::session::Session;
use crate::ledger::{Binding, LedgerError, Obligation, TokenRecord};
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::operation::Phase;
use crate::lifecycle::settle::note_proof;
use crate::lifecycle::{Refusal, locate};
use crate::types::{Clock, DeviceId, Secret, TokenKind, TokenState};

/// States in which a fob's clock is read and set.
pub const USABLE: &[TokenState] = &[TokenState::Active, TokenState::Pending];

/// Most fobs that are remembered.
const MOST: usize = 4_096;

/// Serials of fobs that did not take the published key, for as long as the daemon runs: some lock themselves over wrong keys, so none
/// is tried a second time.
#[derive(Debug, Default)]
pub struct Refusers(Mutex<HashSet<String>>);

impl Refusers {
    fn know(&self, serial: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(serial)
    }

    fn note(&self, serial: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MOST {
            all.insert(serial.to_owned());
        }
    }
}

/// Connects to the fob and hands it over with what it tells. Held for the whole of `work`.
///
/// # Errors
/// [`Refusal::Device`]; what `work` says.
pub fn with_fob<T>(
    session: &mut Session,
    clock: &dyn Clock,
    work: impl FnOnce(&mut ClockFob<'_>, FobFace) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let (deadline, cancel) = (session.deadline(), session.cancel().clone());
    let now: Now<'_> = &|| clock.now();
    let mut link = session.open_card()?;
    let (mut fob, face) = ClockFob::open(link.as_mut(), now, deadline, &cancel)?;
    work(&mut fob, face)
}

/// Proves the published key, at most once for each fob.
///
/// # Errors
/// [`DeviceError::KeyRefused`], also for a fob that refused it before and is not asked again.
pub fn authenticate(act: &Act, fob: &mut ClockFob<'_>, serial: &str) -> Result<(), Refusal> {
    let refusers = &act.house.refusers;
    if refusers.know(serial) {
        return Err(DeviceError::KeyRefused.into());
    }
    let proved = fob.authenticate();
    if proved == Err(DeviceError::KeyRefused) {
        refusers.note(serial);
        act.commit_in_lane("fob.key-refused", None, facts([]), Vec::new())?;
    }
    Ok(proved?)
}

/// What such a fob tells, for `Describe`.
#[must_use]
pub fn to_json(face: &FobFace) -> Value {
    json!({
        "maker": face.maker,
        "serial": face.serial,
        "model": face.model,
        "clock": face.clock_s,
        "offsetSeconds": face.offset_ms.div_euclid(1000),
        "clockWipesSeed": face.clock_wipes_seed,
    })
}

/// The public half of a fob.
pub struct FobBody {
    /// Serial that it tells.
    pub serial: String,
    /// What is written beside the seed.
    pub setting: Setting,
    /// Whether writing the clock wipes the seed.
    pub clock_wipes_seed: Option<bool>,
}

impl FobBody {
    /// Out of a record.
    ///
    /// # Errors
    /// [`Refusal::WrongKind`] when it is none of such a fob, [`Refusal::Ledger`] with `WrongState` unless the token is active or
    /// pending.
    pub fn of(record: &TokenRecord, verb: &'static str) -> Result<Self, Refusal> {
        let (
            TokenKind::NfcFob,
            Binding::NfcFob {
                algorithm,
                period_s,
                clock_wipes_seed,
                ..
            },
            Some(serial),
        ) = (record.kind, &record.binding, &record.personal.serial)
        else {
            return Err(Refusal::WrongKind {
                kind: record.kind,
                verb,
            });
        };
        if !USABLE.contains(&record.state) {
            return Err(LedgerError::WrongState {
                is: record.state,
                needs: "active or pending".to_owned(),
            }
            .into());
        }
        Ok(Self {
            serial: serial.clone(),
            setting: Setting {
                algorithm: *algorithm,
                period_s: *period_s,
            },
            clock_wipes_seed: *clock_wipes_seed,
        })
    }
}

/// The device that is this fob: the one named, else the one that tells this serial.
///
/// # Errors
/// As [`locate::key`].
pub async fn find(
    act: &Act,
    named: Option<DeviceId>,
    record: &TokenRecord,
    serial: &str,
) -> Result<DeviceHandle, Refusal> {
    locate::fob(act, named, record.reality, serial).await
}

/// What is owed to a revoked fob: random bytes in the place of its seed. The fob is known by the serial that it tells.
///
/// # Errors
/// [`Refusal::NotTheSameDevice`], [`Refusal::DeviceAbsent`]; the fob's own.
pub async fn overwrite(act: &Act, obligation: &Obligation, named: Option<DeviceId>) -> Result<(), Refusal> {
    let record = act.token(obligation.token).await?;
    let serial = record.personal.serial.clone().ok_or(Refusal::NotTheSameDevice)?;
    let handle = find(act, named, &record, &serial).await?;
    act.phase(Phase::Writing, 60);
    let obligation = obligation.clone();
    act.in_lane(&handle, act.budget(6, 0), move |session, act| {
        with_fob(session, act.house.clock().as_ref(), |fob, face| {
            if face.serial != serial {
                return Err(Refusal::NotTheSameDevice);
            }
            let noise = random_seed()?;
            authenticate(act, fob, &serial)?;
            note_proof(act, &obligation)?;
            Ok(fob.write_seed(&noise)?)
        })
    })
    .await
}

fn random_seed() -> Result<Secret, Refusal> {
    let mut noise = vec![0; 20];
    getrandom::fill(&mut noise).map_err(|_| Refusal::Internal("the host has no random numbers"))?;
    Ok(Secret::new(noise))
}
