//! All that a client needs.
