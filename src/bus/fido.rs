//! `org.claviger.Fido1`: the FIDO2 application of a device, beside `Device1` on the same object.

use std::sync::Arc;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use zbus::message::Header;
use zbus::{OwnedFd, interface};

use super::Desk;
use super::call::Call;
use super::error::BusError;
use super::operation::Accepted;
use super::sealed::{Opened, Sealed, required};
use super::values::{Dict, Options, Put, TextRule};
use crate::contract::options as key;
use crate::grant::Object;
use crate::guard::Deed;
use crate::lifecycle::operation::{FidoReport, Fingerprint, StoredPasskey};
use crate::lifecycle::{FidoDeed, FidoSetting, Request, Unlocking};
use crate::types::DeviceId;
use crate::types::shown::printable;

/// Longest credential id in base64url: 1023 bytes (WebAuthn section 4).
const MAX_CREDENTIAL: usize = 1364;
/// Longest template id in hexadecimal.
const MAX_FINGERPRINT: usize = 128;
/// Most relying parties in one call.
const MAX_RP_IDS: usize = 64;
/// Options of whatever takes a PIN.
const OPENS: [&str; 3] = [key::PIN, key::FINGER, key::LAST_TRIES];

/// The FIDO2 application of a device, on the bus.
pub(super) struct FidoObject {
    id: DeviceId,
    desk: Arc<Desk>,
}

#[interface(name = "org.claviger.Fido1")]
impl FidoObject {
    /// Asks how the PIN stands; costs no try and needs no touch. [inspect]
    /// options: case (s).
    /// status: state (s: ready, not-set, last-tries, change-forced, replug, blocked, unsupported), advice (s), tries-left (u), min-length,
    /// max-length (u), uv-tries-left (u), reset-over (as), long-touch (b).
    #[zbus(out_args("status"))]
    async fn pin_status(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Dict, BusError> {
        let case = Options::new(options, &[])?.case()?;
        let deed = Deed::on(Object::Device(self.id), case);
        let grant = self.desk.guard.admit(&header, deed).await?;
        let stands = self.desk.verbs.pin_status(&grant, self.id).await?;
        let mut told = Dict::new();
        told.put("state", stands.state);
        told.put("advice", stands.advice);
        told.put_some("tries-left", stands.tries_left.map(u32::from));
        told.put("min-length", u32::from(stands.min_length));
        told.put("max-length", u32::from(stands.max_length));
        told.put_some("uv-tries-left", stands.uv_tries_left.map(u32::from));
        let over: Vec<String> = stands.reset_over.iter().map(|name| printable(name)).collect();
        told.put("reset-over", over);
        told.put("long-touch", stands.long_touch);
        Ok(told)
    }

    /// Sets the first PIN. [configure]
    /// new_pin: descriptor, UTF-8 in form C. options: case (s). Details on success: tries-left (u). Errors: PinPolicy, InvalidArgument.
    #[zbus(out_args("operation"))]
    async fn set_pin(
        &self,
        new_pin: OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let sealed = Sealed {
            new_pin: Some(new_pin.into()),
            ..Sealed::default()
        };
        self.launch(&header, Options::new(options, &[])?, sealed, |opened| {
            Ok(FidoDeed::SetPin(required(opened.new_pin.take())?))
        })
        .await
    }

    /// Changes the PIN; the present one costs a try. [configure]
    /// new_pin: descriptor. options: pin (h: the present one), last-tries (b), case (s). Details on success: tries-left (u).
    /// Errors: PinInvalid, LastTries, SoftBlocked, PinBlocked, PinPolicy.
    #[zbus(out_args("operation"))]
    async fn change_pin(
        &self,
        new_pin: OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let sealed = Sealed {
            new_pin: Some(new_pin.into()),
            ..Sealed::default()
        };
        let given = Options::new(options, &[key::PIN, key::LAST_TRIES])?;
        self.launch(&header, given, sealed, |opened| {
            Ok(FidoDeed::ChangePin(required(opened.new_pin.take())?))
        })
        .await
    }

    /// Draws a PIN within the key's rules, writes it to the descriptor once, then sets it; where the key can, it then wants the PIN
    /// changed before it is used. Should the operation be refused after the writing, what was written is worth nothing. [configure]
    /// letter: the writing end of a pipe, or a memfd. options: pin (h: the present one, if any), length (u), letters (b), force-change
    /// (b, default true), last-tries (b), case (s). Details on success: tries-left (u), change-forced (b). Errors: SecretUnwritable.
    #[zbus(out_args("operation"))]
    async fn draw_pin(
        &self,
        letter: OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let known = [key::PIN, key::LAST_TRIES, key::LENGTH, key::LETTERS, key::FORCE_CHANGE];
        let mut given = Options::new(options, &known)?;
        let length = given.number(key::LENGTH, 4..=63)?.and_then(|n| u8::try_from(n).ok());
        let letters = given.flag(key::LETTERS)?;
        let force_change = given.choice(key::FORCE_CHANGE)?.unwrap_or(true);
        let sealed = Sealed {
            out: Some(letter.into()),
            ..Sealed::default()
        };
        self.launch(&header, given, sealed, move |opened| {
            Ok(FidoDeed::RandomPin {
                letter: required(opened.out.take())?,
                length,
                letters,
                force_change,
            })
        })
        .await
    }

    /// Raises the least length of a PIN, in code points; it cannot fall until a reset. A shorter PIN must be changed. [configure]
    /// options: rp-ids (as: relying parties that are told it, in the place of those before), force-change (b), pin (h), finger (b),
    /// last-tries (b), case (s). Details on success: change-forced (b), tries-left (u). Errors: InvalidArgument, Unsupported.
    #[zbus(out_args("operation"))]
    async fn set_min_pin_length(
        &self,
        length: u32,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let known = [OPENS.as_slice(), &[key::RP_IDS, key::FORCE_CHANGE]].concat();
        let mut given = Options::new(options, &known)?;
        let length = u8::try_from(length).ok().filter(|length| (4..=63).contains(length));
        let length = length.ok_or_else(|| BusError::invalid("“length” must be 4 to 63"))?;
        let rp_ids = given.texts(key::RP_IDS, TextRule::RP_ID, MAX_RP_IDS)?;
        let force_change = given.flag(key::FORCE_CHANGE)?;
        let setting = FidoSetting::MinPinLength {
            length,
            rp_ids,
            force_change,
        };
        self.launch(&header, given, Sealed::default(), |_| Ok(FidoDeed::Set(setting)))
            .await
    }

    /// Has the key want its PIN changed before it is used. [configure]
    /// options: pin (h), finger (b), last-tries (b), case (s). Details on success: change-forced (b), tries-left (u).
    #[zbus(out_args("operation"))]
    async fn require_pin_change(
        &self,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        self.plain(&header, options, FidoDeed::Set(FidoSetting::ForcePinChange))
            .await
    }

    /// Lets the key tell who it is to those relying parties that may ask; only a reset takes it back. [configure]
    /// options: pin (h), finger (b), last-tries (b), case (s). Details on success: tries-left (u).
    #[zbus(out_args("operation"))]
    async fn enable_enterprise_attestation(
        &self,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        self.plain(&header, options, FidoDeed::Set(FidoSetting::EnterpriseAttestation))
            .await
    }

    /// Has a reset want a touch of five seconds; only a reset takes it back. [configure]
    /// options: pin (h), finger (b), last-tries (b), case (s). Details on success: tries-left (u).
    #[zbus(out_args("operation"))]
    async fn enable_long_touch_for_reset(
        &self,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        self.plain(&header, options, FidoDeed::Set(FidoSetting::LongTouchForReset))
            .await
    }

    /// Has the key want the PIN or a finger for every use, or no longer. [configure]
    /// options: pin (h), finger (b), last-tries (b), case (s). Details on success: tries-left (u).
    #[zbus(out_args("operation"))]
    async fn set_always_uv(
        &self,
        on: bool,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        self.plain(&header, options, FidoDeed::Set(FidoSetting::AlwaysUv(on)))
            .await
    }

    /// Lists the passkeys on the key by relying party, and how much room is left. [inspect]
    /// options: pin (h), finger (b: ask for a finger first), last-tries (b), case (s).
    /// Details on success: credentials (aa{sv}: rp-id, id, user-name, display-name (s), protection (u), token (s, when it is the body of
    /// a live token)), remaining (t), tries-left (u). They may name persons.
    #[zbus(out_args("operation"))]
    async fn list_credentials(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Accepted, BusError> {
        self.plain(&header, options, FidoDeed::Credentials).await
    }

    /// Gives the account of a passkey another name. [configure]
    /// credential: its id, base64url. options: display-name (s; kept when absent), pin (h), finger (b), last-tries (b), case (s).
    /// Details on success: token (s, if it is one's body), tries-left (u). Errors: NoCredential, Unsupported.
    #[zbus(out_args("operation"))]
    async fn rename_credential(
        &self,
        credential: String,
        name: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let id = credential_id(&credential)?;
        let name = TextRule::USER_NAME.check("name", name)?;
        let known = [OPENS.as_slice(), &[key::DISPLAY_NAME]].concat();
        let mut given = Options::new(options, &known)?;
        let display_name = given.text(key::DISPLAY_NAME, TextRule::USER_NAME)?;
        self.launch(&header, given, Sealed::default(), |_| {
            Ok(FidoDeed::RenameCredential { id, name, display_name })
        })
        .await
    }

    /// Deletes a passkey that is no token's body; what is a token's body is deleted by revoking that token. What was owed to the key
    /// for it is settled. [revoke]
    /// credential: its id, base64url. options: pin (h), finger (b), last-tries (b), case (s). Errors: NoCredential, InvalidArgument.
    #[zbus(out_args("operation"))]
    async fn delete_credential(
        &self,
        credential: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let id = credential_id(&credential)?;
        self.plain(&header, options, FidoDeed::DeleteCredential(id)).await
    }

    /// Lists the fingers that the key knows. [inspect]
    /// options: pin (h), finger (b), last-tries (b), case (s).
    /// Details on success: fingerprints (aa{sv}: id, name (s)), samples (u: that a new one takes), sensor (s: touch, swipe), tries-left (u).
    #[zbus(out_args("operation"))]
    async fn list_fingerprints(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Accepted, BusError> {
        self.plain(&header, options, FidoDeed::Fingerprints).await
    }

    /// Learns a finger; what a person must do tells after each sample how it came out. [configure]
    /// options: name (s), pin (h), finger (b), last-tries (b), case (s). Details on success: fingerprint (s), tries-left (u).
    /// Errors: StorageFull, TouchTimeout.
    #[zbus(out_args("operation"))]
    async fn enrol_fingerprint(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Accepted, BusError> {
        let known = [OPENS.as_slice(), &[key::NAME]].concat();
        let mut given = Options::new(options, &known)?;
        let name = given.text(key::NAME, TextRule::USER_NAME)?;
        self.launch(&header, given, Sealed::default(), |_| {
            Ok(FidoDeed::EnrolFingerprint { name })
        })
        .await
    }

    /// Names a finger. [configure]
    /// fingerprint: its id, hexadecimal. options: pin (h), finger (b), last-tries (b), case (s). Error: NoCredential.
    #[zbus(out_args("operation"))]
    async fn rename_fingerprint(
        &self,
        fingerprint: String,
        name: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let id = template_id(&fingerprint)?;
        let name = TextRule::USER_NAME.check("name", name)?;
        self.plain(&header, options, FidoDeed::RenameFingerprint { id, name })
            .await
    }

    /// Has the key forget a finger. [revoke]
    /// fingerprint: its id, hexadecimal. options: pin (h), finger (b), last-tries (b), case (s). Error: NoCredential.
    #[zbus(out_args("operation"))]
    async fn remove_fingerprint(
        &self,
        fingerprint: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let id = template_id(&fingerprint)?;
        self.plain(&header, options, FidoDeed::RemoveFingerprint(id)).await
    }

    /// Measures what programs stored on the key; needs neither PIN nor touch. [inspect]
    /// options: case (s). Details on success: blobs-size (u, bytes), blobs-room (t, bytes), blobs-entries (u; absent when damaged).
    #[zbus(out_args("operation"))]
    async fn measure_large_blobs(
        &self,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let given = Options::new(options, &[])?;
        self.launch(&header, given, Sealed::default(), |_| Ok(FidoDeed::LargeBlobs))
            .await
    }

    /// Has the key blink. [inspect]
    /// options: case (s). Details on success: winked (b: false when it cannot).
    #[zbus(out_args("operation"))]
    async fn wink(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Accepted, BusError> {
        let given = Options::new(options, &[])?;
        self.launch(&header, given, Sealed::default(), |_| Ok(FidoDeed::Wink))
            .await
    }

    /// Blinks and waits until somebody touches the key: by asking all of them at once, the one in hand is found. [inspect]
    /// options: case (s). Errors: TouchTimeout, Cancelled.
    #[zbus(out_args("operation"))]
    async fn await_touch(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Accepted, BusError> {
        let given = Options::new(options, &[])?;
        self.launch(&header, given, Sealed::default(), |_| Ok(FidoDeed::AwaitTouch))
            .await
    }

    /// Deletes all of it. [revoke]
    /// options: pin (h), finger (b), last-tries (b), case (s). Details on success: as MeasureLargeBlobs, and tries-left (u).
    #[zbus(out_args("operation"))]
    async fn clear_large_blobs(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Accepted, BusError> {
        self.plain(&header, options, FidoDeed::ClearLargeBlobs).await
    }

    /// Wipes the key's FIDO2 application, other services' passkeys too. Without the option reset nothing is done, and the operation is
    /// refused with a sentence that tells what would be lost. It asks for a replug, proves that the same key came back, and wipes it
    /// within the ten seconds that the standard allows; tokens on it are revoked, and what was owed to it is settled. Tokens on it must be
    /// marked as the organisation's (Tokens1.MarkOrganisation). [revoke]
    /// options: reset (b), place (s: where the device is, when another one cannot be told from it), case (s). Details on success: proof
    /// (s: assertion, or appearance for a key that cannot sign without its PIN), revoked (as, tokens). Errors: PersonalKey,
    /// DeviceAmbiguous, ResetTooLate, ResetNotAllowedHere, DeviceMismatch, DeviceAbsent, TouchTimeout.
    #[zbus(out_args("operation"))]
    async fn reset(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Accepted, BusError> {
        let mut given = Options::new(options, &[key::RESET, key::PLACE])?;
        let confirmed = given.flag(key::RESET)?;
        let place = given.text(key::PLACE, TextRule::PLACE)?;
        let deed = Deed::on(Object::Device(self.id), given.case()?).with(key::RESET, confirmed);
        let request = Request::Fido {
            device: self.id,
            deed: FidoDeed::Reset { confirmed, place },
            with: Unlocking::default(),
        };
        Call::plain(deed, request).launch(&self.desk, &header).await
    }
}

impl FidoObject {
    pub(super) fn new(id: DeviceId, desk: Arc<Desk>) -> Self {
        Self { id, desk }
    }

    /// A deed that takes nothing but what opens the key.
    async fn plain(&self, header: &Header<'_>, options: Dict, deed: FidoDeed) -> Result<Accepted, BusError> {
        let given = Options::new(options, &OPENS)?;
        self.launch(header, given, Sealed::default(), |_| Ok(deed)).await
    }

    /// A deed whose own options have been taken.
    async fn launch(
        &self,
        header: &Header<'_>,
        mut given: Options,
        more: Sealed,
        deed: impl FnOnce(&mut Opened) -> Result<FidoDeed, BusError> + Send + 'static,
    ) -> Result<Accepted, BusError> {
        let sealed = Sealed {
            pin: given.descriptor(key::PIN)?,
            ..more
        };
        let finger = given.flag(key::FINGER)?;
        let last_tries = given.flag(key::LAST_TRIES)?;
        let asked = Deed::on(Object::Device(self.id), given.case()?).with(key::LAST_TRIES, last_tries);
        let device = self.id;
        Call::new(asked, sealed, move |mut opened| {
            Ok(Request::Fido {
                device,
                deed: deed(&mut opened)?,
                with: Unlocking {
                    pin: opened.pin,
                    finger,
                    last_tries,
                },
            })
        })
        .launch(&self.desk, header)
        .await
    }
}

fn credential_id(text: &str) -> Result<Vec<u8>, BusError> {
    let id = BASE64URL_NOPAD.decode(text.trim_end_matches('=').as_bytes());
    let fits = id.ok().filter(|id| !id.is_empty() && text.len() <= MAX_CREDENTIAL);
    fits.ok_or_else(|| BusError::invalid("“credential” must be a credential id in base64url, as the listing shows it"))
}

fn template_id(text: &str) -> Result<Vec<u8>, BusError> {
    let id = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
    let fits = id.ok().filter(|id| !id.is_empty() && text.len() <= MAX_FINGERPRINT);
    fits.ok_or_else(|| BusError::invalid("“fingerprint” must be an id in hexadecimal, as the listing shows it"))
}

/// What was done or found, among the details of its operation.
pub(super) fn tell(report: &FidoReport, told: &mut Dict) {
    // Taken apart by name, so that a new member does not compile until it is told.
    let FidoReport {
        tries_left,
        change_forced,
        credentials,
        remaining,
        fingerprints,
        fingerprint,
        samples,
        sensor,
        blobs,
        winked,
        proof,
        revoked,
    } = report;
    told.put_some("tries-left", tries_left.map(u32::from));
    told.put_some("change-forced", *change_forced);
    if let Some(credentials) = credentials {
        told.put("credentials", credentials.iter().map(passkey).collect::<Vec<_>>());
    }
    told.put_some("remaining", *remaining);
    if let Some(fingerprints) = fingerprints {
        told.put("fingerprints", fingerprints.iter().map(finger).collect::<Vec<_>>());
    }
    told.put_some("fingerprint", fingerprint.clone());
    told.put_some("samples", samples.map(u32::from));
    told.put_some("sensor", *sensor);
    if let Some(blobs) = blobs {
        told.put("blobs-size", u32::try_from(blobs.size).unwrap_or(u32::MAX));
        told.put_some("blobs-room", blobs.room);
        let entries = blobs.entries.map(|entries| u32::try_from(entries).unwrap_or(u32::MAX));
        told.put_some("blobs-entries", entries);
    }
    told.put_some("winked", *winked);
    told.put_some("proof", *proof);
    if !revoked.is_empty() {
        let ids: Vec<String> = revoked.iter().map(ToString::to_string).collect();
        told.put("revoked", ids);
    }
}

fn passkey(one: &StoredPasskey) -> Dict {
    let mut told = Dict::new();
    told.put("rp-id", printable(&one.rp_id));
    told.put("id", BASE64URL_NOPAD.encode(&one.id));
    told.put_some("user-name", one.user_name.as_deref().map(printable));
    told.put_some("display-name", one.display_name.as_deref().map(printable));
    let protection = one.protection.and_then(|level| u32::try_from(level).ok());
    told.put_some("protection", protection);
    told.put_some("token", one.token.map(|id| id.to_string()));
    told
}

fn finger(one: &Fingerprint) -> Dict {
    let mut told = Dict::new();
    told.put("id", one.id.as_str());
    told.put_some("name", one.name.as_deref().map(printable));
    told
}
