//! Proxies: the interfaces of `dbus/*.xml` as a client calls them. Types and order of arguments are the contract's; the
//! documentation of each member is in those files.
//!
//! Guarded methods carry `ALLOW_INTERACTIVE_AUTHORIZATION`, so that polkit may ask the person in front of the client.

use std::collections::HashMap;

use zbus::{Fd, ObjectPath, OwnedObjectPath, OwnedVariant, Variant};

/// An `options a{sv}` argument; keys are in [`crate::contract::options`].
pub type Options<'a> = HashMap<&'a str, Variant<'a>>;

/// An `a{sv}` that came from the daemon.
pub type Record = HashMap<String, OwnedVariant>;

/// `org.claviger.Manager1`: the daemon as a whole.
#[zbus::proxy(
    interface = "org.claviger.Manager1",
    default_service = "org.claviger.Claviger1",
    default_path = "/org/claviger/Claviger1"
)]
pub trait Manager1 {
    /// Version of the interface.
    #[zbus(property(emits_changed_signal = "const"))]
    fn api_version(&self) -> zbus::Result<u32>;
    /// Version of the program.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> zbus::Result<String>;
    /// `system` or `session`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn mode(&self) -> zbus::Result<String>;
    /// Whether recovery is over and every device present was looked at.
    #[zbus(property)]
    fn ready(&self) -> zbus::Result<bool>;
    /// State of the host as the daemon sees it.
    #[zbus(allow_interactive_auth)]
    fn status(&self, options: &Options<'_>) -> zbus::Result<Record>;
    /// Recomputes the journal's chain and replays it against the rows.
    #[zbus(allow_interactive_auth)]
    fn verify_journal(&self, options: &Options<'_>) -> zbus::Result<(bool, Record)>;
    /// Journal entries after `after`.
    #[zbus(allow_interactive_auth)]
    fn read_journal(&self, after: u64, limit: u32, options: &Options<'_>) -> zbus::Result<Vec<Record>>;
    /// Reads the policy anew.
    #[zbus(allow_interactive_auth)]
    fn reload(&self, options: &Options<'_>) -> zbus::Result<()>;
    /// What was out of the ordinary, the newest first.
    #[zbus(allow_interactive_auth)]
    fn alarms(&self, before: u64, limit: u32, options: &Options<'_>) -> zbus::Result<Vec<Record>>;
    /// Operators whose authority is frozen.
    #[zbus(allow_interactive_auth)]
    fn frozen(&self, options: &Options<'_>) -> zbus::Result<Vec<Record>>;
    /// Gives a frozen operator their authority back.
    #[zbus(allow_interactive_auth)]
    fn thaw(&self, operator: u32, options: &Options<'_>) -> zbus::Result<()>;
    /// Something out of the ordinary happened.
    #[zbus(signal)]
    fn alarm_raised(&self) -> zbus::Result<()>;
    /// A device that may owe something was plugged in.
    #[zbus(signal)]
    fn obligation_seen(&self, device: ObjectPath<'_>, obligation: &str) -> zbus::Result<()>;
    /// A revoked key was plugged in.
    #[zbus(signal)]
    fn revoked_seen(&self, device: ObjectPath<'_>, token: &str) -> zbus::Result<()>;
}

/// `org.claviger.Device1`: hardware that is plugged in now.
#[zbus::proxy(interface = "org.claviger.Device1", default_service = "org.claviger.Claviger1")]
pub trait Device1 {
    /// Product name as the device tells it.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> zbus::Result<String>;
    /// Where a person finds it.
    #[zbus(property)]
    fn place(&self) -> zbus::Result<String>;
    /// USB idVendor, 0 when unknown.
    #[zbus(property)]
    fn vendor_id(&self) -> zbus::Result<u16>;
    /// USB idProduct, 0 when unknown.
    #[zbus(property)]
    fn product_id(&self) -> zbus::Result<u16>;
    /// Ways in: `hid`, `card`.
    #[zbus(property)]
    fn faces(&self) -> zbus::Result<Vec<String>>;
    /// `hardware` or `virtual`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn reality(&self) -> zbus::Result<String>;
    /// `ready`, `busy` or `unresponsive`.
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;
    /// Asks the device what it is and what it can do.
    #[zbus(allow_interactive_auth)]
    fn describe(&self, options: &Options<'_>) -> zbus::Result<Record>;
    /// What is on the device's OATH applet.
    #[zbus(allow_interactive_auth)]
    fn list_oath_credentials(&self, options: &Options<'_>) -> zbus::Result<Vec<Record>>;
    /// Sets or changes the password of the applet.
    #[zbus(allow_interactive_auth)]
    fn set_oath_password(&self, new_password: Fd<'_>, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Removes the password of the applet.
    #[zbus(allow_interactive_auth)]
    fn remove_oath_password(&self, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Renames a credential of the applet.
    #[zbus(allow_interactive_auth)]
    fn rename_oath_credential(&self, from: &str, to: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Deletes a credential that is no token's body.
    #[zbus(allow_interactive_auth)]
    fn delete_oath_credential(&self, name: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Wipes the applet.
    #[zbus(allow_interactive_auth)]
    fn reset_oath(&self, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
}

/// `org.claviger.Fido1`: the FIDO2 application of a device that is plugged in now.
#[zbus::proxy(interface = "org.claviger.Fido1", default_service = "org.claviger.Claviger1")]
pub trait Fido1 {
    /// Asks how the PIN stands.
    #[zbus(allow_interactive_auth)]
    fn pin_status(&self, options: &Options<'_>) -> zbus::Result<Record>;

    /// Sets the first PIN.
    #[zbus(allow_interactive_auth)]
    fn set_pin(&self, new_pin: Fd<'_>, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Changes the PIN.
    #[zbus(allow_interactive_auth)]
    fn change_pin(&self, new_pin: Fd<'_>, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Draws a PIN within the key's rules, writes it to the descriptor once, then sets it.
    #[zbus(allow_interactive_auth)]
    fn draw_pin(&self, letter: Fd<'_>, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Raises the least length of a PIN, in code points.
    #[zbus(allow_interactive_auth)]
    fn set_min_pin_length(&self, length: u32, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Has the key want its PIN changed before it is used.
    #[zbus(allow_interactive_auth)]
    fn require_pin_change(&self, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Has the key want the PIN or a finger for every use, or no longer.
    #[zbus(allow_interactive_auth)]
    fn set_always_uv(&self, on: bool, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Lets the key tell who it is to those relying parties that may ask.
    #[zbus(allow_interactive_auth)]
    fn enable_enterprise_attestation(&self, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Has a reset want a touch of five seconds.
    #[zbus(allow_interactive_auth)]
    fn enable_long_touch_for_reset(&self, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Lists the passkeys on the key by relying party, and how much room is left.
    #[zbus(allow_interactive_auth)]
    fn list_credentials(&self, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Gives the account of a passkey another name.
    #[zbus(allow_interactive_auth)]
    fn rename_credential(&self, credential: &str, name: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Deletes a passkey that is no token's body.
    #[zbus(allow_interactive_auth)]
    fn delete_credential(&self, credential: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Lists the fingers that the key knows.
    #[zbus(allow_interactive_auth)]
    fn list_fingerprints(&self, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Learns a finger.
    #[zbus(allow_interactive_auth)]
    fn enrol_fingerprint(&self, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Names a finger.
    #[zbus(allow_interactive_auth)]
    fn rename_fingerprint(&self, fingerprint: &str, name: &str, options: &Options<'_>)
    -> zbus::Result<OwnedObjectPath>;

    /// Has the key forget a finger.
    #[zbus(allow_interactive_auth)]
    fn remove_fingerprint(&self, fingerprint: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Measures what programs stored on the key.
    #[zbus(allow_interactive_auth)]
    fn measure_large_blobs(&self, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Deletes all of it.
    #[zbus(allow_interactive_auth)]
    fn clear_large_blobs(&self, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Has the key blink.
    #[zbus(allow_interactive_auth)]
    fn wink(&self, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Blinks and waits until somebody touches the key: by asking all of them at once, the one in hand is found.
    #[zbus(allow_interactive_auth)]
    fn await_touch(&self, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Wipes the key's FIDO2 application, other services' passkeys too.
    #[zbus(allow_interactive_auth)]
    fn reset(&self, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
}

/// `org.claviger.Drift1`: what is known and foreseen of clocks.
#[zbus::proxy(
    interface = "org.claviger.Drift1",
    default_service = "org.claviger.Claviger1",
    default_path = "/org/claviger/Claviger1/drift"
)]
pub trait Drift1 {
    /// What was measured of a token's clock.
    #[zbus(allow_interactive_auth)]
    fn history(&self, token: &str, options: &Options<'_>) -> zbus::Result<Vec<Record>>;
    /// What is foreseen of a token.
    #[zbus(allow_interactive_auth)]
    fn forecast(&self, token: &str, options: &Options<'_>) -> zbus::Result<Record>;
    /// The same for many, a page at a time.
    #[zbus(allow_interactive_auth)]
    fn fleet(&self, filter: &Options<'_>, cursor: &str, limit: u32) -> zbus::Result<(Vec<Record>, String)>;
    /// By model or delivery.
    #[zbus(allow_interactive_auth)]
    fn groups(&self, by: &str, filter: &Options<'_>) -> zbus::Result<(Vec<Record>, u32, bool)>;
}

/// `org.claviger.Tokens1`: the ledger of tokens handed out.
#[zbus::proxy(
    interface = "org.claviger.Tokens1",
    default_service = "org.claviger.Claviger1",
    default_path = "/org/claviger/Claviger1/tokens"
)]
pub trait Tokens1 {
    /// One token.
    #[zbus(allow_interactive_auth)]
    fn get(&self, token: &str, options: &Options<'_>) -> zbus::Result<Record>;
    /// Tokens by filter, a page at a time.
    #[zbus(allow_interactive_auth)]
    fn find(&self, filter: &Options<'_>, cursor: &str, limit: u32) -> zbus::Result<(Vec<Record>, String)>;
    /// What is still owed to devices of revoked tokens.
    #[zbus(allow_interactive_auth)]
    fn obligations(&self, cursor: &str, limit: u32, options: &Options<'_>) -> zbus::Result<(Vec<Record>, String)>;
    /// Registers a FIDO2 key.
    #[zbus(allow_interactive_auth)]
    fn register_fido2(
        &self,
        device: &ObjectPath<'_>,
        subject: &str,
        pin: Fd<'_>,
        options: &Options<'_>,
    ) -> zbus::Result<OwnedObjectPath>;
    /// Registers a FIDO2 key on behalf of an identity provider.
    #[zbus(allow_interactive_auth)]
    #[allow(clippy::too_many_arguments, reason = "the contract's")]
    fn register_for_provider(
        &self,
        device: &ObjectPath<'_>,
        subject: &str,
        origin: &str,
        pin: Fd<'_>,
        creation: Fd<'_>,
        response: Fd<'_>,
        options: &Options<'_>,
    ) -> zbus::Result<OwnedObjectPath>;
    /// Registers an OATH card.
    #[zbus(allow_interactive_auth)]
    fn register_oath_card(
        &self,
        device: &ObjectPath<'_>,
        subject: &str,
        options: &Options<'_>,
    ) -> zbus::Result<OwnedObjectPath>;
    /// Registers a display fob.
    #[zbus(allow_interactive_auth)]
    fn register_fob(
        &self,
        subject: &str,
        serial: &str,
        seed: Fd<'_>,
        codes: &[&str],
        options: &Options<'_>,
    ) -> zbus::Result<OwnedObjectPath>;
    /// Registers a software authenticator.
    #[zbus(allow_interactive_auth)]
    fn register_app(&self, subject: &str, pairing: Fd<'_>, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Makes a sheet of recovery codes.
    #[zbus(allow_interactive_auth)]
    fn register_recovery_codes(
        &self,
        subject: &str,
        codes: Fd<'_>,
        options: &Options<'_>,
    ) -> zbus::Result<OwnedObjectPath>;
    /// Takes a seed file in.
    #[zbus(allow_interactive_auth)]
    fn import(&self, file: Fd<'_>, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Says whose key it is.
    #[zbus(allow_interactive_auth)]
    fn mark_organisation(
        &self,
        token: &str,
        organisation: bool,
        options: &Options<'_>,
    ) -> zbus::Result<OwnedObjectPath>;
    /// Gives a token of the inventory to a person.
    #[zbus(allow_interactive_auth)]
    fn assign(&self, token: &str, subject: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Hands seeds out.
    #[zbus(allow_interactive_auth)]
    fn export(&self, format: &str, into: Fd<'_>, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Registers a display fob over NFC.
    #[zbus(allow_interactive_auth)]
    fn register_nfc_fob(
        &self,
        device: &ObjectPath<'_>,
        subject: &str,
        options: &Options<'_>,
    ) -> zbus::Result<OwnedObjectPath>;
    /// Tests a token.
    #[zbus(allow_interactive_auth)]
    fn test(&self, token: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Tests a FIDO2 key by what an identity provider asks.
    #[zbus(allow_interactive_auth)]
    fn test_for_provider(
        &self,
        token: &str,
        origin: &str,
        request: Fd<'_>,
        response: Fd<'_>,
        options: &Options<'_>,
    ) -> zbus::Result<OwnedObjectPath>;
    /// Corrects what is believed about a fob's clock.
    #[zbus(allow_interactive_auth)]
    fn resync(&self, token: &str, codes: &[&str], options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Sets the clock of a fob over NFC.
    #[zbus(allow_interactive_auth)]
    fn set_clock(&self, token: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Says what a resync would change.
    #[zbus(allow_interactive_auth)]
    fn preview_resync(&self, token: &str, codes: &[&str], options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Takes back what the last resync taught.
    #[zbus(allow_interactive_auth)]
    fn undo_resync(&self, token: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Takes a token out of use for a while.
    #[zbus(allow_interactive_auth)]
    fn suspend(&self, token: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Notes that a token is lost.
    #[zbus(allow_interactive_auth)]
    fn report_lost(&self, token: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Puts a suspended or lost token back in use.
    #[zbus(allow_interactive_auth)]
    fn resume(&self, token: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Has a token replaced.
    #[zbus(allow_interactive_auth)]
    fn replace(&self, token: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Revokes a token, for good.
    #[zbus(allow_interactive_auth)]
    fn revoke(&self, token: &str, reason: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    /// Settles an obligation.
    #[zbus(allow_interactive_auth)]
    fn discharge(&self, obligation: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
}

/// `org.claviger.Verify1`: is this code one of a person's?
#[zbus::proxy(
    interface = "org.claviger.Verify1",
    default_service = "org.claviger.Claviger1",
    default_path = "/org/claviger/Claviger1/verify"
)]
pub trait Verify1 {
    /// Checks a code against all of a person's tokens that show codes.
    #[zbus(allow_interactive_auth)]
    fn verify(&self, subject: &str, code: &str, options: &Options<'_>) -> zbus::Result<(bool, Record)>;
    /// Wrong tries and locks of a person.
    #[zbus(allow_interactive_auth)]
    fn standing(&self, subject: &str, options: &Options<'_>) -> zbus::Result<Record>;
    /// Lifts the locks of a person.
    #[zbus(allow_interactive_auth)]
    fn unlock(&self, subject: &str, options: &Options<'_>) -> zbus::Result<()>;
}

/// `org.claviger.Subjects1`: whom tokens are for, and what is required of them.
#[zbus::proxy(
    interface = "org.claviger.Subjects1",
    default_service = "org.claviger.Claviger1",
    default_path = "/org/claviger/Claviger1/subjects"
)]
pub trait Subjects1 {
    /// What is required of somebody, for an application that lets them in.
    #[zbus(allow_interactive_auth)]
    fn enforcement_for(&self, subject: &str, options: &Options<'_>) -> zbus::Result<Record>;
    /// Says “later” once for somebody.
    #[zbus(allow_interactive_auth)]
    fn defer(&self, subject: &str, options: &Options<'_>) -> zbus::Result<Record>;
    /// Who somebody is and how far they have come.
    #[zbus(allow_interactive_auth)]
    fn status(&self, subject: &str, options: &Options<'_>) -> zbus::Result<Record>;
    /// How everybody has come along.
    #[zbus(allow_interactive_auth)]
    fn coverage(&self, options: &Options<'_>) -> zbus::Result<Record>;
}

/// `org.claviger.Cases1`: cases are opened and found.
#[zbus::proxy(
    interface = "org.claviger.Cases1",
    default_service = "org.claviger.Claviger1",
    default_path = "/org/claviger/Claviger1/cases"
)]
pub trait Cases1 {
    /// Opens a case.
    #[zbus(allow_interactive_auth)]
    fn open(&self, kind: &str, channel: &str, options: &Options<'_>) -> zbus::Result<(String, OwnedObjectPath)>;
    /// Cases by filter, a page at a time.
    #[zbus(allow_interactive_auth)]
    fn find(&self, filter: &Options<'_>, cursor: &str, limit: u32) -> zbus::Result<(Vec<Record>, String)>;
    /// One case, open or closed.
    #[zbus(allow_interactive_auth)]
    fn get(&self, case: &str, options: &Options<'_>) -> zbus::Result<Record>;
}

/// `org.claviger.Case1`: one open case.
#[zbus::proxy(interface = "org.claviger.Case1", default_service = "org.claviger.Claviger1")]
pub trait Case1 {
    /// What it is about.
    #[zbus(property(emits_changed_signal = "const"))]
    fn kind(&self) -> zbus::Result<String>;
    /// What it waits for.
    #[zbus(property)]
    fn step(&self) -> zbus::Result<String>;
    /// Whether it has waited for too long.
    #[zbus(property)]
    fn overdue(&self) -> zbus::Result<bool>;
    /// The whole case.
    #[zbus(allow_interactive_auth)]
    fn describe(&self, options: &Options<'_>) -> zbus::Result<Record>;
    /// What is still missing before a tier.
    #[zbus(allow_interactive_auth)]
    fn needs(&self, options: &Options<'_>) -> zbus::Result<(bool, Record)>;
    /// Begins a session.
    #[zbus(allow_interactive_auth)]
    fn attach(&self, options: &Options<'_>) -> zbus::Result<(zbus::OwnedFd, Record)>;
    /// Adds evidence that the caller vouches for.
    #[zbus(allow_interactive_auth)]
    fn add_evidence(&self, method: &str, reference: &str, options: &Options<'_>) -> zbus::Result<()>;
    /// Yes, as the second person.
    #[zbus(allow_interactive_auth)]
    fn approve(&self, options: &Options<'_>) -> zbus::Result<()>;
    /// No, as the second person.
    #[zbus(allow_interactive_auth)]
    fn deny(&self, options: &Options<'_>) -> zbus::Result<()>;
    /// Closes the case for good.
    #[zbus(allow_interactive_auth)]
    fn close(&self, outcome: &str, checks: &[&str], options: &Options<'_>) -> zbus::Result<()>;
}

/// `org.claviger.Bypasses1`: emergency codes.
#[zbus::proxy(
    interface = "org.claviger.Bypasses1",
    default_service = "org.claviger.Claviger1",
    default_path = "/org/claviger/Claviger1/bypasses"
)]
pub trait Bypasses1 {
    /// Issues the bypass of a case; its code is written to a descriptor.
    #[zbus(allow_interactive_auth)]
    fn issue(&self, subject: &str, code: zbus::Fd<'_>, options: &Options<'_>) -> zbus::Result<Record>;
    /// Ends a bypass before its time.
    #[zbus(allow_interactive_auth)]
    fn end(&self, case: &str, options: &Options<'_>) -> zbus::Result<()>;
    /// Records what somebody found who looked back at a bypass.
    #[zbus(allow_interactive_auth)]
    fn review(&self, case: &str, found: &str, options: &Options<'_>) -> zbus::Result<()>;
    /// Bypasses by filter, a page at a time.
    #[zbus(allow_interactive_auth)]
    fn find(&self, filter: &Options<'_>, cursor: &str, limit: u32) -> zbus::Result<(Vec<Record>, String)>;
    /// Something became of a bypass.
    #[zbus(signal)]
    fn changed(&self, case: &str, what: &str) -> zbus::Result<()>;
}

/// `org.claviger.Operation1`: one run of one verb.
#[zbus::proxy(interface = "org.claviger.Operation1", default_service = "org.claviger.Claviger1")]
pub trait Operation1 {
    /// Which verb.
    #[zbus(property(emits_changed_signal = "const"))]
    fn verb(&self) -> zbus::Result<String>;
    /// What it is doing.
    #[zbus(property(emits_changed_signal = "false"))]
    fn phase(&self) -> zbus::Result<String>;
    /// Percent, 0 to 100.
    #[zbus(property(emits_changed_signal = "false"))]
    fn progress(&self) -> zbus::Result<u32>;
    /// Whether `Cancel` still has an effect.
    #[zbus(property(emits_changed_signal = "false"))]
    fn cancellable(&self) -> zbus::Result<bool>;
    /// What a person must do now; empty when nothing.
    #[zbus(property(emits_changed_signal = "false"))]
    fn user_action(&self) -> zbus::Result<Record>;
    /// Ends the operation if it has not passed its point of no return.
    fn cancel(&self) -> zbus::Result<()>;
    /// The result again, for a minute after `Completed`.
    fn result(&self) -> zbus::Result<(String, Record)>;
    /// Phase, progress or what a person must do has changed.
    #[zbus(signal)]
    fn progressed(&self, phase: &str, progress: u32, user_action: Record) -> zbus::Result<()>;
    /// It is over.
    #[zbus(signal)]
    fn completed(&self, outcome: &str, details: Record) -> zbus::Result<()>;
}
