//! What the daemon itself saw pass, as evidence in the case it was done in. It is never taken on anybody's word.

use crate::grant::Grant;
use crate::ledger::{Mutation, NewNote, Said};
use crate::types::cases::Method;
use crate::types::{Reality, TokenId};

/// The note on a token that passed, and the time it is kept by; nothing where the act was not done in a case about a person.
pub(super) fn evidence(grant: &Grant, method: Method, token: TokenId, reality: Reality) -> Vec<Mutation> {
    let (Some(case), Some(moment), Some(_)) = (grant.case(), grant.moment(), grant.subject()) else {
        return Vec::new();
    };
    let note = NewNote {
        case,
        by: grant.caller().map(|caller| caller.uid),
        stamp: moment.stamp,
        said: Said::Evidence {
            method,
            reality,
            token: Some(token),
        },
        reference: None,
    };
    vec![
        Mutation::Note(Box::new(note)),
        Mutation::KeepTime {
            reading: moment.reading,
            stamp: moment.stamp,
        },
    ]
}
