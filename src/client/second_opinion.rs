//! stub
use crate::client::arguments::SecondOpinionArgs;
use crate::client::failure::Failure;
/// stub
pub fn run(_args: &SecondOpinionArgs) -> Result<u8, Failure> {
    Ok(0)
}
