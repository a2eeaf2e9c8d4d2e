//! What a case is about, and what it is not: a case about one person gives nothing over what is another's.

use super::Cases;
use crate::grant::{Caller, Object};
use crate::guard::{Deed, Denied};
use crate::ledger::{CaseRecord, TokenRecord};
use crate::types::cases::{CaseKind, Tier};
use crate::types::{TokenId, TokenState};

impl Cases {
    /// Whether a case covers a deed.
    ///
    /// # Errors
    /// [`Denied::OutOfScope`] with what is wrong, in words; [`Denied::Ledger`].
    pub(super) async fn covers(
        &self,
        case: &CaseRecord,
        tier: Tier,
        deed: &Deed,
        caller: &Caller,
    ) -> Result<(), Denied> {
        let out = |what: &'static str| Err(Denied::OutOfScope { case: case.id, what });
        // Looking draws on nothing. A code that is verified is another matter: what passes becomes evidence about its person.
        if tier == Tier::Look && !matches!(deed.object, Object::Subject(_)) {
            return Ok(());
        }
        if case.kind == CaseKind::SelfService {
            let own = self.people.account(caller.uid);
            if case.opener != caller.uid || own.is_none() || own != case.personal.subject {
                return out("it is somebody's own, and nobody else can draw on it");
            }
        }
        match (&case.personal.subject, case.kind) {
            (Some(subject), _) => self.covers_person(case, deed, subject).await,
            (None, CaseKind::Bench) => self.covers_bench(case, tier, deed).await,
            (None, _) => out("it says of nobody whom it is about"),
        }
    }

    /// A case about a person: that person's tokens, and what becomes theirs.
    async fn covers_person(&self, case: &CaseRecord, deed: &Deed, subject: &str) -> Result<(), Denied> {
        let out = |what: &'static str| Err(Denied::OutOfScope { case: case.id, what });
        if deed.subject.as_deref().is_some_and(|named| named != subject) {
            return out("it is about another person");
        }
        match &deed.object {
            Object::Subject(named) if named == subject => Ok(()),
            Object::Subject(_) => out("it is about another person"),
            Object::Token(id) => self.covers_token(case, deed, *id, subject).await,
            Object::Obligation(id) => {
                let owed = self.ledger.obligation(*id).await.map_err(Denied::Ledger)?;
                match owed {
                    Some(owed) => self.covers_token(case, deed, owed.token, subject).await,
                    None => Ok(()),
                }
            }
            Object::Device(_) | Object::NewFob if deed.subject.is_some() => Ok(()),
            // Whose applet it is, no device tells.
            Object::Device(_) | Object::NewFob => {
                out("the device may be anybody's: this is done in a case of the bench")
            }
            Object::Whole => out("it is about one person, and this is about all: it is done in a case of the bench"),
            Object::Case(_) => Ok(()),
        }
    }

    async fn covers_token(&self, case: &CaseRecord, deed: &Deed, id: TokenId, subject: &str) -> Result<(), Denied> {
        let Some(token) = self.ledger.token(id).await.map_err(Denied::Ledger)? else {
            // The verb says that there is none.
            return Ok(());
        };
        match token.personal.subject.as_deref() {
            Some(owner) if owner == subject => Ok(()),
            // One of the inventory that becomes theirs.
            None if deed.subject.as_deref() == Some(subject) => Ok(()),
            _ => Err(Denied::OutOfScope {
                case: case.id,
                what: "the token is not that person's",
            }),
        }
    }

    /// At the bench nobody is spoken for: what is nobody's, what was handed out and never used, and first tokens of people who
    /// never had one in use. Whoever lost theirs, or had it reset, is no newcomer: they show who they are, and wait if they are not here.
    async fn covers_bench(&self, case: &CaseRecord, tier: Tier, deed: &Deed) -> Result<(), Denied> {
        let out = |what: &'static str| Err(Denied::OutOfScope { case: case.id, what });
        let another = "the person has or had a token in use, so another is no matter of the bench";
        if let Some(subject) = &deed.subject
            && self.was_enrolled(subject).await.map_err(Denied::Ledger)?
        {
            return out(another);
        }
        match &deed.object {
            Object::Token(id) => match self.ledger.token(*id).await.map_err(Denied::Ledger)? {
                Some(token) if !at_bench(&token) => out("the token is somebody's, and in use"),
                // What a file named for somebody becomes theirs by a first test.
                Some(token) if matches!(tier, Tier::Test | Tier::Register) => match &token.personal.subject {
                    Some(owner) if self.was_enrolled(owner).await.map_err(Denied::Ledger)? => out(another),
                    _ => Ok(()),
                },
                _ => Ok(()),
            },
            Object::Subject(_) => out("it is about nobody, and this is about a person"),
            Object::Device(_) | Object::NewFob | Object::Whole | Object::Obligation(_) | Object::Case(_) => Ok(()),
        }
    }
}

/// Nobody's, or not yet in use.
fn at_bench(token: &TokenRecord) -> bool {
    token.personal.subject.is_none() || matches!(token.state, TokenState::Inventory | TokenState::Pending)
}
