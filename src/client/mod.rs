//! The command-line client: one file per verb.
