//! Clocks and counters: learned from codes, read over NFC, set over NFC.

use crate::bus::call::Call;
use crate::bus::error::BusError;
use crate::bus::values::{Dict, Options, codes, parse};
use crate::contract::options as key;
use crate::grant::Object;
use crate::guard::Deed;
use crate::lifecycle::{Allowances, Request};
use crate::types::TokenId;

/// Learns from codes; without any, from the clock itself.
pub(super) fn resync(token: &str, codes: Vec<String>, options: Dict) -> Result<Call, BusError> {
    if codes.is_empty() {
        read_clock(token, options)
    } else {
        by_codes(token, codes, options, false)
    }
}

/// Says what would be learned.
pub(super) fn preview(token: &str, codes: Vec<String>, options: Dict) -> Result<Call, BusError> {
    by_codes(token, codes, options, true)
}

fn by_codes(token: &str, codes: Vec<String>, options: Dict, preview: bool) -> Result<Call, BusError> {
    let token = parse::<TokenId>("token", token)?;
    let codes = self::codes(codes)?;
    let mut given = Options::new(options, &[key::BEYOND_BOUND, key::UNSYNCHRONISED])?;
    let (deed, allowances) = allowed(token, &mut given, preview)?;
    let request = Request::Resync {
        token,
        codes,
        allowances,
    };
    Ok(Call::plain(deed, request))
}

fn read_clock(token: &str, options: Dict) -> Result<Call, BusError> {
    let token = parse::<TokenId>("token", token)?;
    let mut given = Options::new(options, &[key::BEYOND_BOUND, key::UNSYNCHRONISED, key::DEVICE])?;
    let device = given.device()?;
    let (deed, allowances) = allowed(token, &mut given, false)?;
    let request = Request::ReadClock {
        token,
        device,
        allowances,
    };
    Ok(Call::plain(deed, request))
}

/// What is allowed beyond the ordinary, which whoever admits is told.
fn allowed(token: TokenId, given: &mut Options, preview: bool) -> Result<(Deed, Allowances), BusError> {
    let allowances = Allowances {
        preview,
        beyond_bound: given.flag(key::BEYOND_BOUND)?,
        unsynchronised: given.flag(key::UNSYNCHRONISED)?,
    };
    let deed = Deed::on(Object::Token(token), given.case()?)
        .with(key::BEYOND_BOUND, allowances.beyond_bound)
        .with(key::UNSYNCHRONISED, allowances.unsynchronised);
    Ok((deed, allowances))
}

/// Sets the clock of a fob over NFC.
pub(super) fn set_clock(token: &str, options: Dict) -> Result<Call, BusError> {
    let token = parse::<TokenId>("token", token)?;
    let mut given = Options::new(options, &[key::RESEED, key::DEVICE, key::UNSYNCHRONISED])?;
    let device = given.device()?;
    let reseed = given.flag(key::RESEED)?;
    let unsynchronised = given.flag(key::UNSYNCHRONISED)?;
    let deed = Deed::on(Object::Token(token), given.case()?)
        .with(key::RESEED, reseed)
        .with(key::UNSYNCHRONISED, unsynchronised);
    let request = Request::SetClock {
        token,
        device,
        reseed,
        unsynchronised,
    };
    Ok(Call::plain(deed, request))
}
