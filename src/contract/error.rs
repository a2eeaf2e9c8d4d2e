//! Error names a tool can switch on. The list is closed: a name is never removed or given a second meaning.

/// Prefix of all names.
pub const PREFIX: &str = "org.claviger.Error.";

/// The standard name for “polkit said no”.
pub const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";

macro_rules! error_names {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {
        /// One error; its full name is [`PREFIX`] and the variant's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorName { $($(#[$meta])* $name,)+ }

        impl ErrorName {
            /// Every name.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The full D-Bus name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => concat!("org.claviger.Error.", stringify!($name)),)+ }
            }

            /// The name without its prefix.
            #[must_use]
            pub const fn short(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Reads a full D-Bus name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|e| e.as_str() == name)
            }
        }
    };
}

error_names!(
    /// An argument or option has a wrong value; the message says which and what would do.
    InvalidArgument,
    /// `options` has a key that this method does not know.
    UnknownOption,
    /// No token with this id.
    UnknownToken,
    /// No device with this path.
    UnknownDevice,
    /// The directory does not know this subject, or not their role.
    UnknownSubject,
    /// “Later” would not help, or can be said no more.
    NoLater,
    /// The policy lets no token of this person become active now; the message says what is missing.
    NotActivated,
    /// The authority of the one who asks is frozen until somebody else lifts it.
    Frozen,
    /// Nobody can say which human calls; the message says why.
    NotHuman,
    /// Who people are could not be looked up.
    DirectoryUnavailable,
    /// No case with this id.
    UnknownCase,
    /// No open obligation with this id.
    UnknownObligation,
    /// A change wants a case, and none was named.
    CaseRequired,
    /// The caller is not attached to the case, or the session has ended.
    NotAttached,
    /// The case is about another person or another thing.
    CaseMismatch,
    /// The case is closed.
    CaseClosed,
    /// An approver said no in this case, and that stands.
    CaseDenied,
    /// The evidence does not suffice yet (needs).
    EvidenceMissing,
    /// Another person must agree first (needs).
    ApprovalMissing,
    /// It must wait (needs).
    MustWait,
    /// The caller's authority is frozen.
    OperatorFrozen,
    /// The policy never allows it, or does not speak of it (needs).
    PolicyDenies,
    /// The policy file is refused; the one before it is in force.
    PolicyRefused,
    /// What the daemon sees for itself is not taken on anybody's word.
    NotByWord,
    /// The caller cannot be the second person here.
    NotSecondPerson,
    /// Something of the checklist was not answered.
    ChecklistOpen,
    /// A bypass was not reviewed: before that the case is not closed, and the person gets no other.
    ReviewMissing,
    /// The case has no bypass, or none that this can be done to.
    NoBypass,
    /// The bypass is good yet.
    BypassLive,
    /// The token is not in a state that allows this.
    WrongState,
    /// The verb does not go with this kind of token.
    WrongKind,
    /// A live token with this serial or credential exists.
    Duplicate,
    /// The descriptor could not be read to its end in time, or held too much.
    SecretUnreadable,
    /// A descriptor for a secret could not be written to.
    SecretUnwritable,
    /// Which format a seed file has cannot be told: name it.
    FormatUnclear,
    /// The seed file is encrypted, and what opens it was not given.
    KeyRequired,
    /// The seed file's key or passphrase is wrong, it was changed, or it lacks what would show that.
    IntegrityFailed,
    /// The seed file as a whole cannot be read.
    SeedFileInvalid,
    /// Too many operations at once.
    TooManyOperations,
    /// The daemon is starting or stopping.
    NotReady,
    /// The operation is not over yet.
    NotCompleted,
    /// The operation has passed its point of no return.
    TooLate,
    /// Cancelled.
    Cancelled,
    /// The device was unplugged or taken from the reader.
    DeviceGone,
    /// The token's device is not plugged in.
    DeviceAbsent,
    /// More than one device could be meant.
    DeviceAmbiguous,
    /// The device is not the body of this token.
    DeviceMismatch,
    /// Another program is using the device (holder, holder-pid).
    DeviceBusy,
    /// The daemon may not open the device node.
    DevicePermission,
    /// The device does not answer; unplug it.
    DeviceUnresponsive,
    /// The device did not answer in time.
    DeviceTimeout,
    /// The device's bytes break the standard.
    DeviceProtocol,
    /// The device lacks the feature.
    Unsupported,
    /// pcscd is not running.
    CardServiceUnavailable,
    /// Wrong PIN (tries-left).
    PinInvalid,
    /// Three wrong PINs: replug (tries-left).
    SoftBlocked,
    /// The PIN is blocked for good: only a reset helps.
    PinBlocked,
    /// Fingerprint blocked: use the PIN.
    UvBlocked,
    /// The finger was not recognised.
    UvInvalid,
    /// One of the last two tries of the PIN would be used: not without the word “last-tries”.
    LastTries,
    /// The key wants its PIN changed before it is used.
    PinChangeRequired,
    /// A reset did not begin within ten seconds of plugging the key in.
    ResetTooLate,
    /// The key is not reset over this transport.
    ResetNotAllowedHere,
    /// The key has no PIN.
    PinNotSet,
    /// The key wants a PIN.
    PinRequired,
    /// The new PIN breaks the key's rules.
    PinPolicy,
    /// The card's applet is protected by a password, and none was given.
    PasswordRequired,
    /// The password is not the applet's.
    PasswordInvalid,
    /// Too many wrong passwords for this card: the message says how many seconds to wait.
    PasswordThrottled,
    /// The fob does not take its maker's published key; it was tried once.
    KeyRefused,
    /// Setting this fob's clock wipes its seed: say “reseed”.
    ClockWipesSeed,
    /// Nobody touched the key in time.
    TouchTimeout,
    /// Declined on the key.
    Declined,
    /// The key does not allow this now; a reset wants a fresh replug.
    NotAllowed,
    /// The key holds a credential for this subject already.
    CredentialExcluded,
    /// The device holds no such credential.
    NoCredential,
    /// The device is full.
    StorageFull,
    /// Any other refusal of the device.
    DeviceRefused,
    /// Only a key that is marked as the organisation's is reset.
    PersonalKey,
    /// Wrong, used or out of the window; which is not told.
    CodeRejected,
    /// By its papers the token is not valid yet; the message says from when on.
    NotYetValid,
    /// By its papers the token is not valid any more; the message says since when.
    Expired,
    /// As many resyncs of the token were in vain within 24 hours as are allowed.
    TooManyAttempts,
    /// There is no resync to take back.
    NothingToUndo,
    /// A replacement is half done, so what was asked for has to wait.
    ReplacementOpen,
    /// No replacement of this token was begun.
    NotBeingReplaced,
    /// One code is not enough: resync with two.
    NeedsResync,
    /// The codes fit an offset no clock drifts to.
    OffsetImplausible,
    /// The host clock is not synchronised.
    ClockUnsynchronised,
    /// The key is not one that is registered here, or does not prove that it is (reason).
    Untrusted,
    /// The key's signature or data did not verify.
    VerificationFailed,
    /// The signature counter went back: a copy may exist.
    CounterWentBack,
    /// A code was wrong a moment ago; the next one is looked at in “wait-s”.
    TryLater,
    /// Too many wrong codes; the lock ends by itself in “wait-s”.
    SoftLocked,
    /// A hundred wrong codes in a row; a person must lift the lock.
    Locked,
    /// The disk with the ledger is full.
    LedgerFull,
    /// The ledger cannot be written or read.
    LedgerUnavailable,
    /// The ledger is damaged.
    LedgerDamaged,
    /// A fault of ours or of this host, not of the device; the journal and the log have more.
    Internal,
);
