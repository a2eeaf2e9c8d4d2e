//! OATH card sessions.
