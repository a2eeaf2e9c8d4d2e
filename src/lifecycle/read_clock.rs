//! Resync without a code: the fob's clock is read over NFC, and so how far it is off is known to a second.

use serde_json::json;

use crate::grant::{Action, Object};
use crate::ledger::{Mutation, TokenRecord};
use crate::lifecycle::Refusal;
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::nfc_fob::{self, FobBody, USABLE, with_fob};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::resync::Allowances;
use crate::types::{DeviceId, DriftSource, TokenId, UnixMillis};

/// No quartz drifts faster: 100 ppm, in millionths.
const WORST_DRIFT_PPM: i64 = 100;

/// Reads the clock of `token`.
///
/// # Errors
/// [`Refusal::OffsetImplausible`] when the clock has moved further than a clock drifts: somebody set it, and may have read codes
/// ahead of time; [`Refusal::ClockUnsynchronised`], [`Refusal::WrongKind`], [`Refusal::NotTheSameDevice`].
pub async fn read_clock(
    act: &Act,
    token: TokenId,
    device: Option<DeviceId>,
    allowances: Allowances,
) -> Result<Outcome, Refusal> {
    act.require(Action::Resync, &Object::Token(token))?;
    let record = act.token(token).await?;
    let body = FobBody::of(&record, "resynced by its clock")?;
    if !act.house.clock().synchronised() && !allowances.unsynchronised {
        return Err(Refusal::ClockUnsynchronised);
    }
    act.phase(Phase::Identifying, 10);
    let handle = nfc_fob::find(act, device, &record, &body.serial).await?;
    act.phase(Phase::Proving, 40);
    let face = act
        .in_lane(&handle, act.budget(2, 0), move |session, act| {
            with_fob(session, act.house.clock().as_ref(), |_, face| Ok(face))
        })
        .await?;
    if face.serial != body.serial {
        return Err(if device.is_some() {
            Refusal::NotTheSameDevice
        } else {
            Refusal::DeviceAbsent
        });
    }
    let now = act.house.clock().now();
    if !allowances.beyond_bound && !is_drift(&record, face.offset_ms, body.setting.period_s, now) {
        let shift_s = face.offset_ms.saturating_sub(record.offset_ms).div_euclid(1000);
        let detail = facts([("why", json!("implausible")), ("shift_s", json!(shift_s))]);
        act.commit("resync.refused", Some(token), detail, Vec::new()).await?;
        return Err(Refusal::OffsetImplausible);
    }
    act.phase(Phase::Committing, 80);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    let detail = facts([
        ("offset_before_ms", json!(record.offset_ms)),
        ("offset_after_ms", json!(face.offset_ms)),
        ("beyond_bound", json!(allowances.beyond_bound)),
        ("unsynchronised", json!(allowances.unsynchronised)),
    ]);
    let changes = vec![
        Mutation::Require { token, states: USABLE },
        Mutation::Correct {
            token,
            expect_ms: record.offset_ms,
            offset_ms: face.offset_ms,
            seen: Some(now),
            source: DriftSource::ClockRead,
        },
    ];
    act.commit("clock.read", Some(token), detail, changes).await?;
    Ok(Outcome::Done(Details {
        token: Some(token),
        offset_s: Some(face.offset_ms.div_euclid(1000)),
        shift_s: Some(face.offset_ms.saturating_sub(record.offset_ms).div_euclid(1000)),
        ..Details::default()
    }))
}

/// Whether a clock may have come this far by itself since it was seen last: two steps, and 100 ppm of the time between. A clock
/// that was never seen may be anywhere.
fn is_drift(record: &TokenRecord, offset_ms: i64, period_s: u32, now: UnixMillis) -> bool {
    let Some(seen) = record.last_seen else {
        return true;
    };
    let elapsed_ms = now.0.saturating_sub(seen.0).max(0);
    let bound_ms = i64::from(period_s) * 2_000 + elapsed_ms.saturating_mul(WORST_DRIFT_PPM) / 1_000_000;
    offset_ms.saturating_sub(record.offset_ms).saturating_abs() <= bound_ms
}
