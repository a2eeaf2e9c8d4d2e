//! The one table of who needs what: every method on the bus has a row here or is denied.
//!
//! `tests/guard_table.rs` walks `dbus/*.xml` and fails when a method has no row or a row has no method.

use crate::grant::{Action, Object, Tier};

/// How the object of a call is found, so that a grant asked for one object cannot be minted for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The daemon or the ledger as a whole.
    Whole,
    /// A device: the object path called, or the argument `device`.
    Device,
    /// A token: the argument `token`.
    Token,
    /// A token that is not in the ledger yet and is no device: a fob, an app, a sheet of recovery codes.
    NewFob,
    /// An obligation: the argument `obligation`.
    Obligation,
    /// A person: the argument `subject`.
    Subject,
    /// A case: the object path called, or the argument `case`.
    Case,
}

impl Scope {
    /// Whether an object is of this sort.
    #[must_use]
    pub const fn covers(self, object: &Object) -> bool {
        matches!(
            (self, object),
            (Self::Whole, Object::Whole)
                | (Self::Device, Object::Device(_))
                | (Self::Token, Object::Token(_))
                | (Self::NewFob, Object::NewFob)
                | (Self::Obligation, Object::Obligation(_))
                | (Self::Subject, Object::Subject(_))
                | (Self::Case, Object::Case(_))
        )
    }
}

/// What a method wants of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// polkit's yes to an action (in session mode: the daemon's own uid).
    Guarded {
        /// The action.
        action: Action,
        /// How far it reaches.
        tier: Tier,
        /// How its object is found.
        scope: Scope,
    },
    /// To be the caller that started the operation.
    Owner,
    /// Nothing: the standard interfaces, which tell what introspection and properties tell, and those carry neither person
    /// nor serial.
    Open,
}

/// One method and its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Interface name.
    pub interface: &'static str,
    /// Method name.
    pub member: &'static str,
    /// What it wants.
    pub rule: Rule,
}

const MANAGER: &str = "org.claviger.Manager1";
const DEVICE: &str = "org.claviger.Device1";
const FIDO: &str = "org.claviger.Fido1";
const TOKENS: &str = "org.claviger.Tokens1";
const VERIFY: &str = "org.claviger.Verify1";
const SUBJECTS: &str = "org.claviger.Subjects1";
const DRIFT: &str = "org.claviger.Drift1";
const CASES: &str = "org.claviger.Cases1";
const CASE: &str = "org.claviger.Case1";
const BYPASSES: &str = "org.claviger.Bypasses1";
const OPERATION: &str = "org.claviger.Operation1";

const fn guarded(interface: &'static str, member: &'static str, action: Action, tier: Tier, scope: Scope) -> Row {
    Row {
        interface,
        member,
        rule: Rule::Guarded { action, tier, scope },
    }
}

const fn owner(member: &'static str) -> Row {
    Row {
        interface: OPERATION,
        member,
        rule: Rule::Owner,
    }
}

const fn open(interface: &'static str, member: &'static str) -> Row {
    Row {
        interface,
        member,
        rule: Rule::Open,
    }
}

/// Every method there is.
pub const TABLE: &[Row] = &[
    guarded(MANAGER, "Status", Action::Inspect, Tier::Look, Scope::Whole),
    guarded(MANAGER, "VerifyJournal", Action::Audit, Tier::Look, Scope::Whole),
    guarded(MANAGER, "ReadJournal", Action::Audit, Tier::Look, Scope::Whole),
    guarded(MANAGER, "Reload", Action::Configure, Tier::Look, Scope::Whole),
    // What is done to a case draws on none: it is how authority comes about.
    guarded(CASES, "Open", Action::Case, Tier::Look, Scope::Whole),
    guarded(CASES, "Find", Action::Inspect, Tier::Look, Scope::Whole),
    guarded(CASES, "Get", Action::Inspect, Tier::Look, Scope::Case),
    guarded(CASE, "Describe", Action::Inspect, Tier::Look, Scope::Case),
    guarded(CASE, "Needs", Action::Inspect, Tier::Look, Scope::Case),
    guarded(CASE, "Attach", Action::Case, Tier::Look, Scope::Case),
    guarded(CASE, "AddEvidence", Action::Case, Tier::Look, Scope::Case),
    guarded(CASE, "Approve", Action::Approve, Tier::Look, Scope::Case),
    guarded(CASE, "Deny", Action::Approve, Tier::Look, Scope::Case),
    guarded(CASE, "Close", Action::Case, Tier::Look, Scope::Case),
    guarded(BYPASSES, "Issue", Action::Bypass, Tier::Bypass, Scope::Subject),
    // It gives nothing to anybody, and must not wait for evidence.
    guarded(BYPASSES, "End", Action::Suspend, Tier::Look, Scope::Case),
    guarded(BYPASSES, "Review", Action::Approve, Tier::Look, Scope::Case),
    guarded(BYPASSES, "Find", Action::Inspect, Tier::Look, Scope::Whole),
    guarded(MANAGER, "Alarms", Action::Audit, Tier::Look, Scope::Whole),
    guarded(MANAGER, "Frozen", Action::Audit, Tier::Look, Scope::Whole),
    // Draws on no case: it is how authority comes back. Whoever is frozen is refused by the verb.
    guarded(MANAGER, "Thaw", Action::Approve, Tier::Look, Scope::Whole),
    guarded(DEVICE, "Describe", Action::Inspect, Tier::Look, Scope::Device),
    guarded(
        DEVICE,
        "ListOathCredentials",
        Action::Inspect,
        Tier::Look,
        Scope::Device,
    ),
    guarded(
        DEVICE,
        "SetOathPassword",
        Action::Configure,
        Tier::Register,
        Scope::Device,
    ),
    guarded(
        DEVICE,
        "RemoveOathPassword",
        Action::Configure,
        Tier::Register,
        Scope::Device,
    ),
    guarded(
        DEVICE,
        "RenameOathCredential",
        Action::Configure,
        Tier::Register,
        Scope::Device,
    ),
    guarded(
        DEVICE,
        "DeleteOathCredential",
        Action::Revoke,
        Tier::Revoke,
        Scope::Device,
    ),
    guarded(DEVICE, "ResetOath", Action::Revoke, Tier::Revoke, Scope::Device),
    // Looking takes a touch or a PIN, and changes nothing.
    guarded(FIDO, "PinStatus", Action::Inspect, Tier::Look, Scope::Device),
    guarded(FIDO, "ListCredentials", Action::Inspect, Tier::Look, Scope::Device),
    guarded(FIDO, "ListFingerprints", Action::Inspect, Tier::Look, Scope::Device),
    guarded(FIDO, "MeasureLargeBlobs", Action::Inspect, Tier::Look, Scope::Device),
    guarded(FIDO, "Wink", Action::Inspect, Tier::Look, Scope::Device),
    guarded(FIDO, "AwaitTouch", Action::Inspect, Tier::Look, Scope::Device),
    // What can be undone, or does no more than make the key stricter.
    guarded(FIDO, "SetPin", Action::Configure, Tier::Register, Scope::Device),
    guarded(FIDO, "ChangePin", Action::Configure, Tier::Register, Scope::Device),
    guarded(FIDO, "DrawPin", Action::Configure, Tier::Register, Scope::Device),
    guarded(
        FIDO,
        "SetMinPinLength",
        Action::Configure,
        Tier::Register,
        Scope::Device,
    ),
    guarded(
        FIDO,
        "RequirePinChange",
        Action::Configure,
        Tier::Register,
        Scope::Device,
    ),
    guarded(FIDO, "SetAlwaysUv", Action::Configure, Tier::Register, Scope::Device),
    guarded(
        FIDO,
        "EnableEnterpriseAttestation",
        Action::Configure,
        Tier::Register,
        Scope::Device,
    ),
    guarded(
        FIDO,
        "EnableLongTouchForReset",
        Action::Configure,
        Tier::Register,
        Scope::Device,
    ),
    guarded(
        FIDO,
        "RenameCredential",
        Action::Configure,
        Tier::Register,
        Scope::Device,
    ),
    guarded(
        FIDO,
        "EnrolFingerprint",
        Action::Configure,
        Tier::Register,
        Scope::Device,
    ),
    guarded(
        FIDO,
        "RenameFingerprint",
        Action::Configure,
        Tier::Register,
        Scope::Device,
    ),
    // What deletes.
    guarded(FIDO, "DeleteCredential", Action::Revoke, Tier::Revoke, Scope::Device),
    guarded(FIDO, "RemoveFingerprint", Action::Revoke, Tier::Revoke, Scope::Device),
    guarded(FIDO, "ClearLargeBlobs", Action::Revoke, Tier::Revoke, Scope::Device),
    guarded(FIDO, "Reset", Action::Revoke, Tier::Revoke, Scope::Device),
    guarded(TOKENS, "Get", Action::Inspect, Tier::Look, Scope::Token),
    guarded(TOKENS, "Find", Action::Inspect, Tier::Look, Scope::Whole),
    guarded(TOKENS, "Obligations", Action::Inspect, Tier::Look, Scope::Whole),
    guarded(TOKENS, "RegisterFido2", Action::Register, Tier::Register, Scope::Device),
    guarded(
        TOKENS,
        "RegisterForProvider",
        Action::Register,
        Tier::Register,
        Scope::Device,
    ),
    guarded(
        TOKENS,
        "RegisterOathCard",
        Action::Register,
        Tier::Register,
        Scope::Device,
    ),
    guarded(TOKENS, "RegisterFob", Action::Register, Tier::Register, Scope::NewFob),
    guarded(TOKENS, "RegisterApp", Action::Register, Tier::Register, Scope::NewFob),
    guarded(
        TOKENS,
        "RegisterRecoveryCodes",
        Action::Register,
        Tier::Register,
        Scope::NewFob,
    ),
    // What it changes is chosen by the code and not by who asks, and every door asks it: no case is demanded. In a case, a recovery
    // code that passes is evidence.
    guarded(VERIFY, "Verify", Action::Verify, Tier::Look, Scope::Subject),
    guarded(VERIFY, "Standing", Action::Inspect, Tier::Look, Scope::Subject),
    // Lifting a lock hands tries out again, as resuming a token hands authority out.
    guarded(VERIFY, "Unlock", Action::Suspend, Tier::Register, Scope::Subject),
    // It is what a reset, with all that goes with it, depends on.
    guarded(
        TOKENS,
        "MarkOrganisation",
        Action::Configure,
        Tier::Revoke,
        Scope::Token,
    ),
    // Asked by what lets people in, as Verify is: no case is open then. “Later” takes something away from somebody and gives nothing.
    guarded(SUBJECTS, "EnforcementFor", Action::Verify, Tier::Look, Scope::Subject),
    guarded(SUBJECTS, "Defer", Action::Verify, Tier::Look, Scope::Subject),
    guarded(SUBJECTS, "Status", Action::Inspect, Tier::Look, Scope::Subject),
    guarded(SUBJECTS, "Coverage", Action::Inspect, Tier::Look, Scope::Whole),
    guarded(TOKENS, "Assign", Action::Register, Tier::Register, Scope::Token),
    guarded(TOKENS, "Import", Action::Register, Tier::Register, Scope::Whole),
    // Whoever has the file can compute every code in it.
    guarded(TOKENS, "Export", Action::Configure, Tier::Revoke, Scope::Whole),
    guarded(
        TOKENS,
        "RegisterNfcFob",
        Action::Register,
        Tier::Register,
        Scope::Device,
    ),
    // Its answer logs the person in with the provider, once: more than a test.
    guarded(
        TOKENS,
        "TestForProvider",
        Action::Register,
        Tier::Register,
        Scope::Token,
    ),
    guarded(TOKENS, "Test", Action::Test, Tier::Test, Scope::Token),
    guarded(TOKENS, "Resync", Action::Resync, Tier::Test, Scope::Token),
    // It may give the fob a new seed.
    guarded(TOKENS, "SetClock", Action::Resync, Tier::Register, Scope::Token),
    guarded(TOKENS, "PreviewResync", Action::Resync, Tier::Test, Scope::Token),
    guarded(TOKENS, "UndoResync", Action::Resync, Tier::Test, Scope::Token),
    // Taking a token out of use does no lasting harm; putting it back hands authority out again.
    guarded(TOKENS, "Suspend", Action::Suspend, Tier::Test, Scope::Token),
    guarded(TOKENS, "ReportLost", Action::Suspend, Tier::Test, Scope::Token),
    guarded(TOKENS, "Resume", Action::Suspend, Tier::Register, Scope::Token),
    // What kills the old one is asked for here; what completes it later, a passed test, needs no more than a test does.
    guarded(TOKENS, "Replace", Action::Revoke, Tier::Revoke, Scope::Token),
    guarded(TOKENS, "Revoke", Action::Revoke, Tier::Revoke, Scope::Token),
    guarded(TOKENS, "Discharge", Action::Revoke, Tier::Revoke, Scope::Obligation),
    guarded(DRIFT, "History", Action::Inspect, Tier::Look, Scope::Token),
    guarded(DRIFT, "Forecast", Action::Inspect, Tier::Look, Scope::Token),
    guarded(DRIFT, "Fleet", Action::Inspect, Tier::Look, Scope::Whole),
    guarded(DRIFT, "Groups", Action::Inspect, Tier::Look, Scope::Whole),
    owner("Cancel"),
    owner("Result"),
    open("org.freedesktop.DBus.Introspectable", "Introspect"),
    open("org.freedesktop.DBus.ObjectManager", "GetManagedObjects"),
    open("org.freedesktop.DBus.Peer", "GetMachineId"),
    open("org.freedesktop.DBus.Peer", "Ping"),
    open("org.freedesktop.DBus.Properties", "Get"),
    open("org.freedesktop.DBus.Properties", "GetAll"),
    open("org.freedesktop.DBus.Properties", "Set"),
];

/// The rule of a method; `None` means denied.
#[must_use]
pub fn rule(interface: &str, member: &str) -> Option<Rule> {
    TABLE
        .iter()
        .find(|row| row.interface == interface && row.member == member)
        .map(|row| row.rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_unique() {
        for (i, a) in TABLE.iter().enumerate() {
            for b in &TABLE[i + 1..] {
                assert!(
                    (a.interface, a.member) != (b.interface, b.member),
                    "{}.{} has two rows",
                    a.interface,
                    a.member
                );
            }
        }
    }

    #[test]
    fn what_is_not_in_the_table_has_no_rule() {
        assert_eq!(rule(TOKENS, "Wipe"), None);
        assert_eq!(rule("org.claviger.Other1", "Get"), None);
    }
}
