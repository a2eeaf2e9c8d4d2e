//! `org.claviger.Tokens1`: the ledger of tokens handed out, and the verbs that change it.
//!
//! Every method goes the same way: measure the arguments, be admitted, look or [launch](super::call::Call::launch) the verb. What
//! is measured of whom is said in a module a group of verbs.

mod presence;
mod provider;
mod register;
mod resync;
mod seed_files;

use std::sync::Arc;

use zbus::message::Header;
use zbus::{ObjectPath, interface};

use super::Desk;
use super::error::BusError;
use super::filter;
use super::operation::Accepted;
use super::record;
use super::values::{Dict, Options, Put, Rows, limit, parse};
use crate::grant::Object;
use crate::guard::Deed;
use crate::ledger::{ObligationFilter, TokenRecord};
use crate::lifecycle::{Refusal, Request};
use crate::types::TokenId;

/// The tokens object.
pub(super) struct Tokens {
    desk: Arc<Desk>,
}

impl Tokens {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }
}

#[interface(name = "org.claviger.Tokens1")]
impl Tokens {
    /// One token. [inspect]
    /// token: id, kind, state, reality, model, maker, batch, subject, serial, label (s each), revoke-reason (s, once revoked),
    /// offset-ms (x), watermark (t: last used time step or counter), sign-count (u), failures (u), last-seen-ms, created-ms,
    /// updated-ms, valid-from-ms, valid-until-ms (x), rp-id, credential-id, aaguid, oath-name, algorithm (s), digits (u),
    /// factor (s: time, event), period-s (u), clock-wipes-seed (b), count (u), organisation (b: a key of the organisation's),
    /// confidence (s: serial, model, place), fingerprint, attestation-certificate (s: of the key when it was registered),
    /// attestation (s: what it was worth), attested-model (s), attested-serial (b), trusted-by (as: relying parties that accept the
    /// key), untold (u: letters to the person about it that could not be delivered so far) as far as they apply.
    /// Errors: UnknownToken.
    #[zbus(out_args("record"))]
    async fn get(&self, token: &str, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Dict, BusError> {
        let id = parse::<TokenId>("token", token)?;
        let case = Options::new(options, &[])?.case()?;
        self.desk
            .guard
            .admit(&header, Deed::on(Object::Token(id), case))
            .await?;
        match self.desk.verbs.ledger().token(id).await? {
            Some(token) => {
                let mut told = record::token(&token);
                let parties = self.desk.verbs.trusted_by(&token).await?;
                if !parties.is_empty() {
                    told.put("trusted-by", parties);
                }
                // The person was to be told of something, and the hook failed: its affair is the help desk's.
                told.put_some(
                    "untold",
                    Some(self.desk.verbs.untold_of(id)).filter(|untold| *untold > 0),
                );
                Ok(told)
            }
            None => Err(Refusal::UnknownToken.into()),
        }
    }

    /// Tokens by filter (kind, state, subject, serial, maker, model, batch: s each, all optional), at most `limit` (1 to 1000)
    /// in order of id. `cursor` is empty at first, then what came back as `next`; `next` is empty at the end. [inspect]
    #[zbus(out_args("records", "next"))]
    async fn find(
        &self,
        filter: Dict,
        cursor: String,
        limit: u32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Rows<TokenRecord>, String), BusError> {
        let filter = filter::filter(filter)?;
        let cursor = filter::cursor(cursor)?;
        let limit = self::limit(limit)?;
        self.desk.guard.admit(&header, Deed::on(Object::Whole, None)).await?;
        let page = self.desk.verbs.ledger().find(&filter, cursor.as_deref(), limit).await?;
        Ok((Rows::new(page.items, record::token), page.next.unwrap_or_default()))
    }

    /// What is still owed to devices of revoked tokens, open ones first to last. [inspect]
    /// Each: id, token, duty, reality (s), created-ms (x), device (o, when the device is plugged in now).
    #[zbus(out_args("obligations", "next"))]
    async fn obligations(
        &self,
        cursor: String,
        limit: u32,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Vec<Dict>, String), BusError> {
        let cursor = filter::cursor(cursor)?;
        let limit = self::limit(limit)?;
        let case = Options::new(options, &[])?.case()?;
        self.desk.guard.admit(&header, Deed::on(Object::Whole, case)).await?;
        let ledger = self.desk.verbs.ledger();
        let open = ObligationFilter {
            open: true,
            ..ObligationFilter::default()
        };
        let page = ledger.obligations(open, cursor.as_deref(), limit).await?;
        let told = page
            .items
            .iter()
            .map(|item| record::obligation(item, self.desk.verbs.device_of(item.id)))
            .collect();
        Ok((told, page.next.unwrap_or_default()))
    }

    /// Registers a FIDO2 key: getInfo, PIN set (when the key has none) or verified, makeCredential, then an assertion; only
    /// then is the token active. [register]
    /// pin: descriptor; a key of U2F alone knows none, and it is not used. options: label (s), serial (s, when the key does not
    /// tell it), rp-id (s), last-tries (b), user-name (s), discoverable (b, default true when the key can), organisation (b: the
    /// key is the organisation's, so that it may be reset), wait-s (u: how long another program that has the key is waited for, 0
    /// to 600), replaces (s: the token whose place it takes, see Replace), case (s).
    /// Details on success: token (s), sign-count (u), pin-set (b); where rules of trust ask: attestation (s: none, self, unanchored,
    /// authority, metadata), attested-model (s). Errors: Untrusted (reason, s: model-denied, model-not-allowed, firmware-too-old,
    /// option-missing, model-mismatch, attestation-invalid, not-attested, chain-untrusted, model-compromised, serial-missing,
    /// metadata-unusable), CredentialExcluded.
    #[zbus(out_args("operation"))]
    async fn register_fido2(
        &self,
        device: ObjectPath<'_>,
        subject: String,
        pin: zbus::OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        register::fido2(&device, subject, pin.into(), options)?
            .launch(&self.desk, &header)
            .await
    }

    /// Registers a FIDO2 key on behalf of an identity provider: its WebAuthn creation options in, the response for it out, which goes to
    /// the descriptor (writing end of a pipe, memfd or file) before the token is active; what nobody takes is taken off the key again.
    /// [register]
    /// origin: of the page that would have asked (https://login.example.org); the options' relying party must be its host or a domain
    /// above it that is no public suffix. creation: descriptor with JSON, at most 1 MiB. options: provider (s: webauthn (default),
    /// entra, okta, keycloak, privacyidea; whose shapes creation and response have), label (s, also what the provider's
    /// administrators see), serial (s), replaces (s), case (s).
    /// Details on success: as RegisterFido2. Errors: Untrusted, CredentialExcluded, SecretUnwritable, VerificationFailed.
    #[zbus(out_args("operation"))]
    #[allow(clippy::too_many_arguments, reason = "the contract's")]
    async fn register_for_provider(
        &self,
        device: ObjectPath<'_>,
        subject: String,
        origin: String,
        pin: zbus::OwnedFd,
        creation: zbus::OwnedFd,
        response: zbus::OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let sent = provider::Sent {
            json: creation.into(),
            response: response.into(),
        };
        provider::register(&device, subject, origin, pin.into(), sent, options)?
            .launch(&self.desk, &header)
            .await
    }

    /// Registers an OATH card: a seed is made here, put on the card, and computed back from it. [register]
    /// options: label, serial (s), algorithm (s: SHA1, SHA256, SHA512), digits (u: 6 to 8), period-s (u), touch (b),
    /// only-increasing (b: the card takes increasing challenges only), event (b: a credential that counts, RFC 4226),
    /// password (h), replaces (s), case (s). Details on success: token (s), oath-name (s).
    #[zbus(out_args("operation"))]
    async fn register_oath_card(
        &self,
        device: ObjectPath<'_>,
        subject: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        register::oath_card(&device, subject, options)?
            .launch(&self.desk, &header)
            .await
    }

    /// Registers a display fob from serial and seed with two codes read off the display one after the other. Without codes (the
    /// fob is not at hand) it is pending, and becomes active by a Resync with its first two. [register]
    /// seed: descriptor. options: encoding (s: base32 (default), hex, raw), label (s), algorithm (s), digits (u), period-s (u),
    /// model, maker (s), factor (s: time (default), event), counter (t: of the next code of an event fob, default 0), replaces (s), case
    /// (s).
    /// Details on success: token (s), and offset-s (x) or counter (t: of the last code).
    /// Errors: Duplicate, CodeRejected.
    #[zbus(out_args("operation"))]
    async fn register_fob(
        &self,
        subject: String,
        serial: String,
        seed: zbus::OwnedFd,
        codes: Vec<String>,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        register::fob(subject, serial, seed.into(), codes, options)?
            .launch(&self.desk, &header)
            .await
    }

    /// Registers a software authenticator: the seed is made here and written, as an `otpauth` URI, to the descriptor (writing end
    /// of a pipe, memfd or file) before anything is recorded. The app is pending until a Test with its first code. [register]
    /// options: label, issuer, account (s), algorithm (s), digits (u), period-s (u), replaces (s), case (s). Details on success: token
    /// (s).
    /// Errors: SecretUnwritable.
    #[zbus(out_args("operation"))]
    async fn register_app(
        &self,
        subject: String,
        pairing: zbus::OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        register::app(subject, pairing.into(), options)?
            .launch(&self.desk, &header)
            .await
    }

    /// Registers a display fob whose clock and seed are written over NFC (Token2 family): a seed is made here, or taken from the
    /// descriptor, and written together with the time; the clock is read back. The fob is pending until it has shown a code, to Test or
    /// Resync. [register]
    /// options: seed (h), encoding (s: base32 (default), hex, raw), label (s), algorithm (s: SHA1, SHA256), period-s (u: 30 or 60),
    /// unsynchronised (b: set the clock although the host's is not synchronised), replaces (s), case (s). Details on success: token (s),
    /// offset-s (x).
    /// Errors: Duplicate, KeyRefused (the fob does not take its maker's published key; it is tried once).
    #[zbus(out_args("operation"))]
    async fn register_nfc_fob(
        &self,
        device: ObjectPath<'_>,
        subject: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        register::nfc_fob(&device, subject, options)?
            .launch(&self.desk, &header)
            .await
    }

    /// Makes a sheet of recovery codes, each good once, and writes them, a line each, to the descriptor (writing end of a pipe, memfd
    /// or file) before anything is recorded. The sheets that the person had are revoked with that. [register]
    /// options: count (u: 1 to 32, default 10), case (s). Details on success: token (s).
    /// Errors: SecretUnwritable.
    #[zbus(out_args("operation"))]
    async fn register_recovery_codes(
        &self,
        subject: String,
        codes: zbus::OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        register::recovery_codes(subject, codes.into(), options)?
            .launch(&self.desk, &header)
            .await
    }

    /// Takes a file of seeds into the ledger: all that can be read of it in one transaction, or nothing. A token that the file gives
    /// to a person is pending, the others are in the inventory. The file (pipe, memfd or file; 64 MiB, 10 s) is read after admission.
    /// [register]
    /// options: format (s: pskc, otpauth, entra, yubico, privacyidea, privacyidea2, linotp, multiotp; detected when it is clear),
    /// map (s: which column holds what, instead of a format), passphrase (h), key (h: a pre-shared key, its bytes), integrity (s: strict
    /// (default), lax: seeds encrypted without a MAC are taken), batch (s: name of the delivery, by default the day), dry-run (b: look and
    /// write nothing), left (h: descriptor for the file of what was left, when something was, in the format it came in), case (s).
    /// Details on success: format (s), imported, rejected (t), rejected-lines (as: at most 100, each with its line and why),
    /// protection (s: how the seeds were protected on their way).
    /// Errors: FormatUnclear, KeyRequired, IntegrityFailed, SeedFileInvalid, Duplicate, SecretUnreadable, SecretUnwritable.
    #[zbus(out_args("operation"))]
    async fn import(
        &self,
        file: zbus::OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        seed_files::import(file.into(), options)?
            .launch(&self.desk, &header)
            .await
    }

    /// Says whose key it is. Only one that is marked as the organisation's is ever reset. [configure]
    /// organisation: whether it is the organisation's, else the person's own. options: case (s). Details on success: token (s).
    /// Errors: WrongKind, WrongState.
    #[zbus(out_args("operation"))]
    async fn mark_organisation(
        &self,
        token: &str,
        organisation: bool,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        presence::alone(token, options, |token| Request::Mark { token, organisation })?
            .launch(&self.desk, &header)
            .await
    }

    /// Gives a token of the inventory to a person. It is pending then, and becomes active by a Resync with its first two codes.
    /// [register]
    /// options: case (s). Details on success: token (s). Errors: WrongState, Expired.
    #[zbus(out_args("operation"))]
    async fn assign(
        &self,
        token: &str,
        subject: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        presence::assign(token, subject, options)?
            .launch(&self.desk, &header)
            .await
    }

    /// Writes the seeds of live display fobs and apps, as many as the filter finds (as in Find), to a descriptor (writing end of a
    /// pipe that is being read, memfd or empty file). Each is journalled before it goes. [configure]
    /// format: pskc (RFC 6030, encrypted to the passphrase), entra (values), users-oath (active tokens alone, for pam_oath); of active
    /// FIDO2 keys, which have no seed, pam-u2f (the mapping file) and sssd-passkey (account, tabulator, passkey string; a line a key).
    /// options: kind, state, subject, serial, maker, model, batch (s), rp-id (s, needed for formats of keys: those registered with it),
    /// passphrase (h), case (s).
    /// Details on success: exported, left-out (t: tokens found that the format has no words for). Errors: SecretUnwritable.
    #[zbus(out_args("operation"))]
    async fn export(
        &self,
        format: &str,
        into: zbus::OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        seed_files::export(format, into.into(), options)?
            .launch(&self.desk, &header)
            .await
    }

    /// Tests an active (or pending) token. [test]
    /// options: code (s, fob), pin (h, FIDO2 key that wants one), last-tries (b), device (o, when more than one could be meant), password (h,
    /// protected card), case (s). A FIDO2 key and a card are found among the devices plugged in.
    /// Details on success: token (s), and sign-count (u) or offset-s (x). A failed test is outcome `refused` with its error.
    /// Errors of the dates in its papers, before any code is looked at: NotYetValid, Expired.
    #[zbus(out_args("operation"))]
    async fn test(&self, token: &str, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Accepted, BusError> {
        presence::test(token, options)?.launch(&self.desk, &header).await
    }

    /// Tests an active FIDO2 key by what an identity provider asks: its WebAuthn request options in, the authentication response out,
    /// which goes to the descriptor once the test has passed. It logs the person in, so it wants more than Test. [register]
    /// origin: as RegisterForProvider. request: descriptor with JSON, at most 1 MiB. options: pin (h; needed where the options require
    /// user verification), last-tries (b), device (o, when more than one could be meant), case (s).
    /// Details on success: token (s), sign-count (u). Errors: CounterWentBack (reason: clone-suspected), VerificationFailed.
    #[zbus(out_args("operation"))]
    async fn test_for_provider(
        &self,
        token: &str,
        origin: String,
        request: zbus::OwnedFd,
        response: zbus::OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let sent = provider::Sent {
            json: request.into(),
            response: response.into(),
        };
        provider::test(token, origin, sent, options)?
            .launch(&self.desk, &header)
            .await
    }

    /// Corrects what is believed about where a token's clock or counter stands, from two to four consecutive codes, searched
    /// jointly: two where a clock may well stand, three where it hardly does. Codes that were previewed count as given then.
    /// So many tries in vain within 24 hours as the configuration allows. Without codes the clock of a fob that has such an
    /// interface is read over NFC. [resync]
    /// options: beyond-bound (b: accept an offset no clock drifts to), unsynchronised (b: measure although the host clock is
    /// not synchronised; journalled), device (o, to read the clock of, when more than one could be meant), case (s).
    /// Details on success: token (s); of a clock shift-s, offset-s, offset-before-s (x); of a counter skipped (t).
    /// Errors: CodeRejected and OffsetImplausible, with details advice (as: names), advice-desk and advice-subject (as:
    /// sentences, for the help desk and for the person) where something was found out; ClockUnsynchronised, TooManyAttempts,
    /// NotYetValid, Expired (by the dates in the token's papers; no option lifts them).
    #[zbus(out_args("operation"))]
    async fn resync(
        &self,
        token: &str,
        codes: Vec<String>,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        resync::resync(token, codes, options)?.launch(&self.desk, &header).await
    }

    /// Says what a Resync with these codes would change, and changes nothing. In vain it counts as one in vain. [resync]
    /// options, details and errors: as Resync.
    #[zbus(out_args("operation"))]
    async fn preview_resync(
        &self,
        token: &str,
        codes: Vec<String>,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        resync::preview(token, codes, options)?
            .launch(&self.desk, &header)
            .await
    }

    /// Takes back what the last resync taught, unless something was learned since: the offset before it counts again, and used
    /// codes stay used. options: case (s). [resync]
    /// Details on success: token (s), shift-s, offset-s (x). Errors: NothingToUndo.
    #[zbus(out_args("operation"))]
    async fn undo_resync(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        presence::alone(token, options, Request::UndoResync)?
            .launch(&self.desk, &header)
            .await
    }

    /// Sets the clock of a fob over NFC to the host's. Most models forget their seed over it: unless the model is known to keep it, the
    /// option reseed must be said, and then the fob gets a new seed in the same operation and is pending until it has shown a code.
    /// [resync]
    /// options: reseed (b), device (o, when more than one could be meant), unsynchronised (b), case (s).
    /// Details on success: token (s), offset-s, shift-s (x). Errors: ClockWipesSeed, KeyRefused, ClockUnsynchronised.
    #[zbus(out_args("operation"))]
    async fn set_clock(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        resync::set_clock(token, options)?.launch(&self.desk, &header).await
    }

    /// Takes an active token out of use for a while. options: case (s). [suspend]
    #[zbus(out_args("operation"))]
    async fn suspend(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        presence::alone(token, options, Request::Suspend)?
            .launch(&self.desk, &header)
            .await
    }

    /// Notes that a token is lost; it stops being accepted at once. options: case (s). [suspend]
    #[zbus(out_args("operation"))]
    async fn report_lost(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        presence::alone(token, options, Request::Lost)?
            .launch(&self.desk, &header)
            .await
    }

    /// Puts a suspended or lost token back in use. options: case (s). [suspend]
    #[zbus(out_args("operation"))]
    async fn resume(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        presence::alone(token, options, Request::Resume)?
            .launch(&self.desk, &header)
            .await
    }

    /// Has a token replaced, in a case of kind replacement, support or recovery. It stays in use until another has taken its place:
    /// until one that was registered, or assigned, with option replaces has become active by its first passed test. It dies in that very
    /// transaction, as replaced. The case cannot be closed as done before. [revoke]
    /// options: lost (b: it is lost and stops being accepted at once), withdraw (b: it is not replaced after all; what is lost stays
    /// lost), case (s). Details: token (s). Errors: ReplacementOpen (in another case), NotBeingReplaced (nothing to withdraw), WrongKind,
    /// WrongState.
    #[zbus(out_args("operation"))]
    async fn replace(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        presence::replace(token, options)?.launch(&self.desk, &header).await
    }

    /// Revokes a token, for good. The binding dies first and durably; then, if the device is here, our credential is deleted
    /// from it; else that becomes an obligation. [revoke]
    /// reason: lost, damaged, compromised, replaced, leaver, abandoned, other. options: device (o), pin (h), last-tries (b), password (h),
    /// reset (b: authenticatorReset instead, which takes every other passkey on the key with it), absent (b: do not look for the
    /// device), wait-s (u: how long another program that has it is waited for, 0 to 600), case (s).
    /// Details: token (s), obligation (s, when something is left to do), trusted-by (as: relying parties that still accept the key, when
    /// there are any). Errors: PersonalKey (a reset of a key that is not marked as the organisation's).
    #[zbus(out_args("operation"))]
    async fn revoke(
        &self,
        token: &str,
        reason: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        presence::revoke(token, reason, options)?
            .launch(&self.desk, &header)
            .await
    }

    /// Settles an obligation on the device that is plugged in now, after proof that it is the same one. [revoke]
    /// options: device (o), pin (h), last-tries (b), password (h), collected (b: the device was collected and destroyed; a word, for what
    /// cannot prove itself any more), reset (b: needed where a reset is owed), case (s).
    #[zbus(out_args("operation"))]
    async fn discharge(
        &self,
        obligation: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        presence::discharge(obligation, options)?
            .launch(&self.desk, &header)
            .await
    }
}
