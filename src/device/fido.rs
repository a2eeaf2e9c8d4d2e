//! FIDO2 sessions.
