//! What a client may ask for, once admitted and parsed.

use tokio::sync::oneshot;

use std::time::Duration;

use crate::codec::pskc::{Integrity, Unlock};
use crate::codec::seed_file::Format;
use crate::ledger::Filter;
use crate::lifecycle::operation::Verb;
use crate::lifecycle::{Allowances, Refusal};
use crate::types::{
    DeviceId, ExportFormat, FactorKind, OathAlgorithm, ObligationId, Provider, RevokeReason, Secret, TokenId,
};

/// What a client may ask for, once admitted and parsed. Secrets are owned and wiped.
pub enum Request {
    /// Register a FIDO2 key.
    RegisterFido2 {
        /// The device.
        device: DeviceId,
        /// Who it is for.
        subject: String,
        /// The PIN to set or verify.
        pin: Secret,
        /// More.
        options: Fido2Options,
    },
    /// Register a FIDO2 key on behalf of an identity provider.
    RegisterForProvider {
        /// The device.
        device: DeviceId,
        /// The PIN to set or verify.
        pin: Secret,
        /// For whom, and what was asked.
        commission: Box<Commission>,
    },
    /// Register an OATH card.
    RegisterOathCard {
        /// The device.
        device: DeviceId,
        /// Who it is for.
        subject: String,
        /// More.
        options: OathOptions,
    },
    /// Register a display fob.
    RegisterFob {
        /// Who it is for.
        subject: String,
        /// Serial on its back.
        serial: String,
        /// Its seed, decoded.
        seed: Secret,
        /// Codes read off the display, in order.
        codes: Vec<String>,
        /// More.
        options: FobOptions,
    },
    /// Register a software authenticator.
    RegisterApp {
        /// Who it is for.
        subject: String,
        /// Takes the `otpauth` URI to the caller.
        pairing: Delivery,
        /// More.
        options: AppOptions,
    },
    /// Make a sheet of recovery codes.
    RegisterRecoveryCodes {
        /// Who it is for.
        subject: String,
        /// Takes the codes to the caller, a line each.
        sheet: Delivery,
        /// How many.
        count: Option<u16>,
    },
    /// Take a seed file in.
    Import {
        /// The file.
        file: Secret,
        /// More.
        options: Box<ImportOptions>,
    },
    /// The same as the request in it, and another program that has the device is waited for so long: not at all when zero.
    Patient {
        /// What is to be done.
        request: Box<Request>,
        /// How long.
        wait: Duration,
    },
    /// The same as the request in it, which puts a token in somebody's hands: it takes the place of another.
    Replacing {
        /// What is to be done.
        request: Box<Request>,
        /// The token whose place is taken.
        old: TokenId,
    },
    /// Have a token replaced, or not replaced after all.
    Replace {
        /// The token.
        token: TokenId,
        /// It is lost: out of use at once.
        lost: bool,
        /// It is not to be replaced after all.
        withdraw: bool,
    },
    /// Give a token of the inventory to a person.
    Assign {
        /// The token.
        token: TokenId,
        /// Who it is for.
        subject: String,
    },
    /// Say whose key it is.
    Mark {
        /// The token.
        token: TokenId,
        /// The organisation's, or the person's own.
        organisation: bool,
    },
    /// Hand seeds out.
    Export {
        /// As what.
        format: ExportFormat,
        /// Of which live tokens.
        filter: Box<Filter>,
        /// What a PSKC file is encrypted to.
        passphrase: Option<Secret>,
        /// With which relying party keys must be registered.
        rp_id: Option<String>,
        /// Where to.
        into: Delivery,
    },
    /// Register a fob whose clock and seed are written over NFC.
    RegisterNfcFob {
        /// The device.
        device: DeviceId,
        /// Who it is for.
        subject: String,
        /// Its seed, decoded; made here when absent.
        seed: Option<Secret>,
        /// More.
        options: NfcFobOptions,
    },
    /// Read a fob's clock over NFC.
    ReadClock {
        /// The token.
        token: TokenId,
        /// The device, when named.
        device: Option<DeviceId>,
        /// What the caller allows beyond the ordinary.
        allowances: Allowances,
    },
    /// Write a fob's clock over NFC.
    SetClock {
        /// The token.
        token: TokenId,
        /// The device, when named.
        device: Option<DeviceId>,
        /// Give it a new seed, too: most models lose the old one.
        reseed: bool,
        /// Set it although the host clock is not synchronised.
        unsynchronised: bool,
    },
    /// Change the OATH applet of a device.
    Oath {
        /// The device.
        device: DeviceId,
        /// What to do.
        deed: OathDeed,
        /// Password of the applet, when it has one.
        password: Option<Secret>,
        /// Where the device is, when a person has looked.
        place: Option<String>,
    },
    /// Look after the FIDO2 application of a device.
    Fido {
        /// The device.
        device: DeviceId,
        /// What to do.
        deed: FidoDeed,
        /// What opens it.
        with: Unlocking,
    },
    /// Test a token.
    Test {
        /// The token.
        token: TokenId,
        /// Code read off a fob.
        code: Option<String>,
        /// Where and with what.
        at: Presence,
    },
    /// Test a FIDO2 key by what an identity provider asks.
    TestForProvider {
        /// The token.
        token: TokenId,
        /// Where and with what.
        at: Presence,
        /// What was asked.
        query: Box<Query>,
    },
    /// Resync a token, or preview it.
    Resync {
        /// The token.
        token: TokenId,
        /// Consecutive codes, in order.
        codes: Vec<String>,
        /// Whether only to preview, and what is allowed beyond the ordinary.
        allowances: Allowances,
    },
    /// Take back what the last resync taught.
    UndoResync(TokenId),
    /// Suspend a token.
    Suspend(TokenId),
    /// Report it lost.
    Lost(TokenId),
    /// Put it back in use.
    Resume(TokenId),
    /// Revoke a token.
    Revoke {
        /// The token.
        token: TokenId,
        /// Why.
        reason: RevokeReason,
        /// Where and with what.
        at: Presence,
        /// `authenticatorReset`, asked for by name.
        reset: bool,
        /// Do not look for the device.
        absent: bool,
    },
    /// Settle an obligation.
    Discharge {
        /// Which.
        obligation: ObligationId,
        /// Where and with what.
        at: Presence,
        /// The device was collected and destroyed: a person's word.
        collected: bool,
        /// Reset the key, by name, where that is what is owed.
        reset: bool,
    },
}

/// The device to talk to and what opens it.
#[derive(Default)]
pub struct Presence {
    /// The device, when named.
    pub device: Option<DeviceId>,
    /// PIN of a FIDO2 key.
    pub pin: Option<Secret>,
    /// Password of an OATH card.
    pub password: Option<Secret>,
    /// One of the last two tries of the PIN may be used.
    pub last_tries: bool,
}

/// What opens the FIDO2 application of a key.
#[derive(Default)]
pub struct Unlocking {
    /// Its PIN.
    pub pin: Option<Secret>,
    /// Ask for a finger first, where the key has a sensor; the PIN is for when that fails.
    pub finger: bool,
    /// One of the last two tries of the PIN may be used.
    pub last_tries: bool,
}

/// What is done to the FIDO2 application of a key.
pub enum FidoDeed {
    /// Set the first PIN.
    SetPin(Secret),
    /// Change the PIN.
    ChangePin(Secret),
    /// Draw a PIN, hand it out once and set it.
    RandomPin {
        /// Takes it to the caller.
        letter: Delivery,
        /// Characters; what the key wants, and six at least, when absent.
        length: Option<u8>,
        /// Letters and digits instead of digits alone.
        letters: bool,
        /// Have the key want it changed before it is used, where it can.
        force_change: bool,
    },
    /// Change a setting.
    Set(FidoSetting),
    /// List the discoverable credentials.
    Credentials,
    /// Delete one that is no token's body.
    DeleteCredential(Vec<u8>),
    /// Give the account of one other names.
    RenameCredential {
        /// Its id.
        id: Vec<u8>,
        /// Account name.
        name: String,
        /// Name for people.
        display_name: Option<String>,
    },
    /// List the fingers it knows.
    Fingerprints,
    /// Learn a finger.
    EnrolFingerprint {
        /// Its name.
        name: Option<String>,
    },
    /// Name a finger.
    RenameFingerprint {
        /// Its id.
        id: Vec<u8>,
        /// Its name.
        name: String,
    },
    /// Remove a finger.
    RemoveFingerprint(Vec<u8>),
    /// Measure the large blobs.
    LargeBlobs,
    /// Clear them.
    ClearLargeBlobs,
    /// Have the key show which one it is.
    Wink,
    /// Wait until somebody touches it.
    AwaitTouch,
    /// Wipe it.
    Reset {
        /// The word was said. Without it the operation tells what would be lost.
        confirmed: bool,
        /// Where the key is, when another one cannot be told from it.
        place: Option<String>,
    },
}

/// A setting of a FIDO2 application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FidoSetting {
    /// Least length of a PIN, in code points; relying parties that are told it.
    MinPinLength {
        /// The length.
        length: u8,
        /// RP IDs.
        rp_ids: Vec<String>,
        /// The PIN must be changed before it is used.
        force_change: bool,
    },
    /// The PIN must be changed before it is used.
    ForcePinChange,
    /// Verification for every use.
    AlwaysUv(bool),
    /// Enterprise attestation; for good, until a reset.
    EnterpriseAttestation,
    /// A reset wants a long touch; for good, until a reset.
    LongTouchForReset,
}

impl FidoDeed {
    const fn verb(&self) -> Verb {
        match self {
            Self::Credentials | Self::Fingerprints | Self::LargeBlobs | Self::Wink | Self::AwaitTouch => Verb::Inspect,
            Self::SetPin(_)
            | Self::ChangePin(_)
            | Self::RandomPin { .. }
            | Self::Set(_)
            | Self::RenameCredential { .. }
            | Self::EnrolFingerprint { .. }
            | Self::RenameFingerprint { .. } => Verb::Configure,
            Self::DeleteCredential(_) | Self::RemoveFingerprint(_) | Self::ClearLargeBlobs | Self::Reset { .. } => {
                Verb::Erase
            }
        }
    }
}

/// A secret on its way out, and where to say what became of it.
pub struct Letter {
    /// What is to be delivered.
    pub secret: Secret,
    /// Whether it was, or why not.
    pub receipt: oneshot::Sender<Result<(), String>>,
}

/// A way to hand one secret to the caller, who waits for it with an open descriptor. Whoever holds the other end writes it.
pub struct Delivery(oneshot::Sender<Letter>);

impl Delivery {
    /// The way, and its other end.
    #[must_use]
    pub fn open() -> (Self, oneshot::Receiver<Letter>) {
        let (way, end) = oneshot::channel();
        (Self(way), end)
    }

    /// Delivers, and waits until it has been.
    ///
    /// # Errors
    /// [`Refusal::Undelivered`].
    pub(crate) async fn deliver(self, secret: Secret) -> Result<(), Refusal> {
        let (receipt, delivered) = oneshot::channel();
        let gone = || Refusal::Undelivered("nobody waits for it any more".to_owned());
        self.0.send(Letter { secret, receipt }).map_err(|_| gone())?;
        delivered.await.map_err(|_| gone())?.map_err(Refusal::Undelivered)
    }
}

/// Options of [`Request::Import`].
#[derive(Default)]
pub struct ImportOptions {
    /// Its format; detected when absent.
    pub format: Option<Format>,
    /// What opens it.
    pub unlock: Unlock,
    /// What is demanded of encrypted seeds.
    pub integrity: Integrity,
    /// Name of the delivery; the day when absent.
    pub batch: Option<String>,
    /// Look, and write nothing.
    pub dry_run: bool,
    /// Takes the file of what was left to the caller.
    pub left: Option<Delivery>,
}

/// Options of [`Request::RegisterApp`].
#[derive(Default)]
pub struct AppOptions {
    /// Free text.
    pub label: Option<String>,
    /// Who issues the codes, as the app shows it.
    pub issuer: Option<String>,
    /// Account name as the app shows it; the subject when absent.
    pub account: Option<String>,
    /// Hash; SHA1 when absent, which is all that some apps can.
    pub algorithm: Option<OathAlgorithm>,
    /// Digits; 6 when absent.
    pub digits: Option<u8>,
    /// Time step in seconds; 30 when absent.
    pub period_s: Option<u32>,
}

/// Options of [`Request::RegisterFido2`].
#[derive(Default)]
pub struct Fido2Options {
    /// Free text.
    pub label: Option<String>,
    /// Serial, when the key does not tell it.
    pub serial: Option<String>,
    /// Relying party id; the configured one when absent.
    pub rp_id: Option<String>,
    /// Name shown on the key for the account; the subject when absent.
    pub user_name: Option<String>,
    /// Discoverable credential or not; the key decides when absent.
    pub discoverable: Option<bool>,
    /// One of the last two tries of the PIN may be used.
    pub last_tries: bool,
    /// The key is the organisation's.
    pub organisation: bool,
}

/// A registration on behalf of an identity provider.
pub struct Commission {
    /// Who it is for.
    pub subject: String,
    /// Whose shapes options and response have.
    pub provider: Provider,
    /// Origin of the page that the provider would have asked from.
    pub origin: String,
    /// The provider's creation options, JSON.
    pub creation: Secret,
    /// Takes the response to the caller.
    pub response: Delivery,
    /// Free text; also what the provider's administrators see.
    pub label: Option<String>,
    /// Serial, when the key does not tell it.
    pub serial: Option<String>,
}

/// An assertion that an identity provider asks for.
pub struct Query {
    /// Origin of the page that the provider would have asked from.
    pub origin: String,
    /// The provider's request options, JSON.
    pub request: Secret,
    /// Takes the response to the caller.
    pub response: Delivery,
}

/// What is done to an OATH applet.
pub enum OathDeed {
    /// Set or change its password.
    SetPassword(Secret),
    /// Remove its password.
    RemovePassword,
    /// Rename a credential.
    Rename {
        /// Its name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// Delete a credential that is no token's body.
    Delete {
        /// Its name.
        name: String,
    },
    /// Wipe the applet.
    Reset {
        /// The word was said. Without it the operation tells what would be lost.
        confirmed: bool,
    },
}

impl OathDeed {
    const fn verb(&self) -> Verb {
        match self {
            Self::SetPassword(_) | Self::RemovePassword | Self::Rename { .. } => Verb::Configure,
            Self::Delete { .. } | Self::Reset { .. } => Verb::Erase,
        }
    }
}

/// Options of [`Request::RegisterNfcFob`].
#[derive(Default)]
pub struct NfcFobOptions {
    /// Free text.
    pub label: Option<String>,
    /// Hash; SHA1 when absent.
    pub algorithm: Option<OathAlgorithm>,
    /// Time step in seconds; 30 when absent.
    pub period_s: Option<u32>,
    /// Set the clock although the host's is not synchronised.
    pub unsynchronised: bool,
}

/// Options of [`Request::RegisterOathCard`].
#[derive(Default)]
pub struct OathOptions {
    /// Free text.
    pub label: Option<String>,
    /// Serial printed on the card.
    pub serial: Option<String>,
    /// Hash; SHA1 when absent.
    pub algorithm: Option<OathAlgorithm>,
    /// Digits; 6 when absent.
    pub digits: Option<u8>,
    /// Time step in seconds; 30 when absent.
    pub period_s: Option<u32>,
    /// Whether the card shall want a touch for each code.
    pub touch: bool,
    /// Whether the card shall take increasing challenges only.
    pub only_increasing: bool,
    /// Whether the credential shall count (RFC 4226) rather than follow the time.
    pub event: bool,
    /// Password of the applet.
    pub password: Option<Secret>,
}

/// Options of [`Request::RegisterFob`].
#[derive(Default)]
pub struct FobOptions {
    /// Free text.
    pub label: Option<String>,
    /// Model name.
    pub model: Option<String>,
    /// Hash; SHA1 when absent.
    pub algorithm: Option<OathAlgorithm>,
    /// Digits; 6 when absent.
    pub digits: Option<u8>,
    /// Time step in seconds; 30 when absent.
    pub period_s: Option<u32>,
    /// Manufacturer: serials are unique to theirs only.
    pub maker: Option<String>,
    /// What moves the codes on; time when absent.
    pub factor: Option<FactorKind>,
    /// Counter of the next code of an event fob; 0 when absent.
    pub counter: Option<u64>,
}

impl Request {
    /// Whether the caller said that one of the last tries of a PIN may be used.
    #[must_use]
    pub fn last_tries(&self) -> bool {
        match self {
            Self::RegisterFido2 { options, .. } => options.last_tries,
            Self::Patient { request, .. } | Self::Replacing { request, .. } => request.last_tries(),
            Self::Fido { with, .. } => with.last_tries,
            Self::Test { at, .. }
            | Self::TestForProvider { at, .. }
            | Self::Revoke { at, .. }
            | Self::Discharge { at, .. } => at.last_tries,
            _ => false,
        }
    }

    /// What is to be done, and how long another program is waited for when the caller said so.
    #[must_use]
    pub fn patience(self) -> (Self, Option<Duration>) {
        match self {
            Self::Patient { request, wait } => (*request, Some(wait)),
            other => (other, None),
        }
    }

    /// What is to be done, and the token whose place is taken by it.
    #[must_use]
    pub fn replaced(self) -> (Self, Option<TokenId>) {
        match self {
            Self::Replacing { request, old } => (*request, Some(old)),
            other => (other, None),
        }
    }

    /// The same, by which a token takes the place of another. Goes inside of [`Request::waiting`].
    #[must_use]
    pub fn replacing(self, old: Option<TokenId>) -> Self {
        match old {
            Some(old) => Self::Replacing {
                request: Box::new(self),
                old,
            },
            None => self,
        }
    }

    /// The same with a wait.
    #[must_use]
    pub fn waiting(self, wait: Option<Duration>) -> Self {
        match wait {
            Some(wait) => Self::Patient {
                request: Box::new(self),
                wait,
            },
            None => self,
        }
    }

    /// The verb it stands for.
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Self::RegisterFido2 { .. }
            | Self::RegisterForProvider { .. }
            | Self::RegisterOathCard { .. }
            | Self::RegisterFob { .. }
            | Self::RegisterNfcFob { .. }
            | Self::RegisterApp { .. }
            | Self::RegisterRecoveryCodes { .. } => Verb::Register,
            Self::ReadClock { .. } => Verb::Resync,
            Self::SetClock { .. } => Verb::SetClock,
            Self::Oath { deed, .. } => deed.verb(),
            Self::Test { .. } | Self::TestForProvider { .. } => Verb::Test,
            Self::Fido { deed, .. } => deed.verb(),
            Self::Resync { .. } | Self::UndoResync(_) => Verb::Resync,
            Self::Suspend(_) => Verb::Suspend,
            Self::Lost(_) => Verb::Lost,
            Self::Resume(_) => Verb::Resume,
            Self::Revoke { .. } => Verb::Revoke,
            Self::Discharge { .. } => Verb::Discharge,
            Self::Import { .. } => Verb::Import,
            Self::Patient { request, .. } | Self::Replacing { request, .. } => request.verb(),
            Self::Replace { .. } => Verb::Replace,
            Self::Assign { .. } => Verb::Assign,
            Self::Mark { .. } => Verb::Configure,
            Self::Export { .. } => Verb::Export,
        }
    }
}
