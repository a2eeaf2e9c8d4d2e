//! Seeds by the file: in and out.

use std::os::fd::OwnedFd;

use crate::bus::call::Call;
use crate::bus::error::BusError;
use crate::bus::filter;
use crate::bus::sealed::{Sealed, required};
use crate::bus::values::{Dict, Options, TextRule, parse};
use crate::codec::seed_file::{Format, Integrity, SeedFileError, Unlock};
use crate::contract::options as key;
use crate::grant::Object;
use crate::guard::Deed;
use crate::lifecycle::{ImportOptions, Request};
use crate::types::ExportFormat;

/// Takes a file in.
pub(super) fn import(file: OwnedFd, options: Dict) -> Result<Call, BusError> {
    let known = [
        key::FORMAT,
        key::MAP,
        key::PASSPHRASE,
        key::KEY,
        key::INTEGRITY,
        key::BATCH,
        key::DRY_RUN,
        key::LEFT,
    ];
    let mut given = Options::new(options, &known)?;
    let integrity = integrity(given.string(key::INTEGRITY)?.as_deref())?;
    let mut options = ImportOptions {
        format: format(given.string(key::FORMAT)?, given.string(key::MAP)?)?,
        integrity,
        batch: given.text(key::BATCH, TextRule::LABEL)?,
        dry_run: given.flag(key::DRY_RUN)?,
        ..ImportOptions::default()
    };
    let sealed = Sealed {
        file: Some(file),
        out: given.descriptor(key::LEFT)?,
        passphrase: given.descriptor(key::PASSPHRASE)?,
        key: given.descriptor(key::KEY)?,
        ..Sealed::default()
    };
    let deed = Deed::on(Object::Whole, given.case()?)
        .with(key::IMPORT, true)
        .with("lax", integrity == Integrity::Lax);
    Ok(Call::new(deed, sealed, move |opened| {
        options.unlock = Unlock {
            key: opened.key,
            passphrase: opened.passphrase,
        };
        options.left = opened.out;
        Ok(Request::Import {
            file: required(opened.file)?,
            options: Box::new(options),
        })
    }))
}

/// Hands seeds out through `into`.
pub(super) fn export(format: &str, into: OwnedFd, options: Dict) -> Result<Call, BusError> {
    let format = parse::<ExportFormat>("format", format)?;
    let mut known = filter::MEMBERS.to_vec();
    known.extend([key::PASSPHRASE, key::RP_ID]);
    let mut given = Options::new(options, &known)?;
    let filter = filter::among(&mut given)?;
    let rp_id = given.text(key::RP_ID, TextRule::RP_ID)?;
    let deed = Deed::on(Object::Whole, given.case()?).with(key::EXPORT, true);
    let sealed = Sealed {
        passphrase: given.descriptor(key::PASSPHRASE)?,
        out: Some(into),
        ..Sealed::default()
    };
    Ok(Call::new(deed, sealed, move |opened| {
        Ok(Request::Export {
            format,
            filter: Box::new(filter),
            passphrase: opened.passphrase,
            rp_id,
            into: required(opened.out)?,
        })
    }))
}

/// What is demanded of encrypted seeds.
fn integrity(name: Option<&str>) -> Result<Integrity, BusError> {
    match name {
        None | Some("strict") => Ok(Integrity::Strict),
        Some("lax") => Ok(Integrity::Lax),
        Some(_) => Err(BusError::invalid(format!(
            "option “{}” must be strict or lax",
            key::INTEGRITY
        ))),
    }
}

/// The format of a seed file by its name or by a column map; none when it is to be detected.
fn format(name: Option<String>, map: Option<String>) -> Result<Option<Format>, BusError> {
    let unknown = |error: SeedFileError| BusError::invalid(error.to_string());
    match (name, map) {
        (Some(_), Some(_)) => Err(BusError::invalid(format!(
            "“{}” says what the format is: leave “{}” out",
            key::MAP,
            key::FORMAT
        ))),
        (Some(name), None) => name.parse().map(Some).map_err(unknown),
        (None, Some(map)) => Format::by_map(&map).map(Some).map_err(unknown),
        (None, None) => Ok(None),
    }
}
