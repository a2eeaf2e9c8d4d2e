//! stub
use crate::client::arguments::{DoctorArgs, Global};
use crate::client::failure::Failure;
pub async fn run(_g: &Global, _a: &DoctorArgs) -> Result<u8, Failure> {
    Ok(0)
}
