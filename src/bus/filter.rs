//! Which tokens are meant: the filter and the cursor of every method that lists.

use super::error::BusError;
use super::values::{Dict, Options, TextRule};
use crate::ledger::Filter;

/// Members of a filter.
pub(super) const MEMBERS: [&str; 7] = ["kind", "state", "subject", "serial", "maker", "model", "batch"];

/// A dictionary that is a filter and nothing else.
pub(super) fn filter(given: Dict) -> Result<Filter, BusError> {
    among(&mut Options::filter(given, &MEMBERS)?)
}

/// The members of a filter among the options.
pub(super) fn among(given: &mut Options) -> Result<Filter, BusError> {
    Ok(Filter {
        kind: given.name("kind")?,
        state: given.name("state")?,
        subject: given.text("subject", TextRule::SUBJECT)?,
        serial: given.text("serial", TextRule::SERIAL)?,
        maker: given.text("maker", TextRule::MODEL)?,
        model: given.text("model", TextRule::MODEL)?,
        batch: given.text("batch", TextRule::LABEL)?,
        ..Filter::default()
    })
}

/// A cursor: empty means the beginning.
pub(super) fn cursor(cursor: String) -> Result<Option<String>, BusError> {
    let cursor = TextRule::CURSOR.check("cursor", cursor)?;
    Ok(Some(cursor).filter(|cursor| !cursor.is_empty()))
}
