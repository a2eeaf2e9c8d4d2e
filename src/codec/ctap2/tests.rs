mod administration;
mod commands;
mod pin;
mod recorded;
mod webauthn;

use data_encoding::HEXLOWER;

pub(super) fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}
