//! stub
use super::seal::Keys;
use super::sqlite::Place;
use super::{LedgerError, VerifyReport};
pub(crate) async fn verify(
    _c: &mut sqlx::SqliteConnection,
    _k: &Keys,
    _p: &Place,
) -> Result<VerifyReport, LedgerError> {
    Ok(VerifyReport::default())
}
