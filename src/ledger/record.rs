//! What the ledger holds: tokens, what ties them to a device, what is still owed, what is under way.

use serde::{Deserialize, Serialize};

use crate::types::{
    Confidence, DriftSource, OathAlgorithm, ObligationId, OperationId, Reality, RevokeReason, TokenId, TokenKind,
    TokenState, UnixMillis,
};

/// Personal data of a token. Stands outside the chained entries; the chain holds a keyed tag of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    /// Who it is for, as the organisation names people.
    pub subject: Option<String>,
    /// Serial printed on or read from the device.
    pub serial: Option<String>,
    /// Free text of the bench.
    pub label: Option<String>,
}

/// What ties the record to the body of a device. Public values only; a seed is sealed apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Binding {
    /// Nothing yet.
    None,
    /// One FIDO2 credential.
    Fido2 {
        /// Relying party id the credential is scoped to.
        rp_id: String,
        /// Credential id, base64url without padding.
        credential_id: String,
        /// COSE_Key as received, base64url without padding.
        public_key: String,
        /// AAGUID, hyphenated.
        aaguid: String,
        /// Whether the credential is discoverable.
        discoverable: bool,
        /// Who the key said it was when it was registered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identity: Option<Box<KeyIdentity>>,
        /// Whether the key is the organisation's: only then it is ever reset.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        organisation: bool,
    },
    /// One credential of a YKOATH applet.
    OathCard {
        /// Credential name on the card.
        name: String,
        /// Applet's device id; changes when the applet is reset.
        device_id: String,
        /// Hash.
        algorithm: OathAlgorithm,
        /// Digits shown.
        digits: u8,
        /// Time step in seconds.
        period_s: u32,
        /// Whether the card takes increasing challenges only: then it is never asked for a step ahead of time.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        only_increasing: bool,
    },
    /// A display fob.
    Fob {
        /// Hash.
        algorithm: OathAlgorithm,
        /// Digits shown.
        digits: u8,
        /// Time step in seconds.
        period_s: u32,
    },
    /// A display fob that counts presses (RFC 4226).
    EventFob {
        /// Hash.
        algorithm: OathAlgorithm,
        /// Digits shown.
        digits: u8,
    },
    /// One credential of a YKOATH applet that counts (RFC 4226).
    EventCard {
        /// Credential name on the card.
        name: String,
        /// Applet's device id; changes when the applet is reset.
        device_id: String,
        /// Hash.
        algorithm: OathAlgorithm,
        /// Digits shown.
        digits: u8,
    },
    /// A display fob whose serial and clock can be read over NFC, and whose seed and clock can be written.
    NfcFob {
        /// Whose interface it speaks: “token2”.
        maker: String,
        /// Hash.
        algorithm: OathAlgorithm,
        /// Digits shown.
        digits: u8,
        /// Time step in seconds.
        period_s: u32,
        /// Whether writing the clock wipes the seed; `None` when that is not known of the model.
        clock_wipes_seed: Option<bool>,
    },
    /// A software authenticator on somebody's phone.
    App {
        /// Hash.
        algorithm: OathAlgorithm,
        /// Digits shown.
        digits: u8,
        /// Time step in seconds.
        period_s: u32,
    },
    /// A sheet of recovery codes (NIST SP 800-63B-4 section 4.2.1.1).
    RecoveryCodes {
        /// How many were handed out.
        count: u16,
    },
}

/// Who a key was when it was registered, beside its credential, which alone proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyIdentity {
    /// How sure it was.
    pub confidence: Confidence,
    /// Over what getInfo says of model and firmware, hexadecimal.
    pub fingerprint: Option<String>,
    /// SHA-256 of its attestation certificate, sixteen hexadecimal digits: keys of one batch share it.
    pub attestation: Option<String>,
}

impl Binding {
    /// What the codes of this token are computed by; `None` for what has no OATH codes.
    #[must_use]
    pub const fn oath(&self) -> Option<Oath> {
        let (algorithm, digits, factor) = match *self {
            Self::Fob {
                algorithm,
                digits,
                period_s,
            }
            | Self::App {
                algorithm,
                digits,
                period_s,
            }
            | Self::NfcFob {
                algorithm,
                digits,
                period_s,
                ..
            }
            | Self::OathCard {
                algorithm,
                digits,
                period_s,
                ..
            } => (algorithm, digits, Factor::Time { period_s }),
            Self::EventFob { algorithm, digits } | Self::EventCard { algorithm, digits, .. } => {
                (algorithm, digits, Factor::Event)
            }
            Self::None | Self::Fido2 { .. } | Self::RecoveryCodes { .. } => return None,
        };
        Some(Oath {
            algorithm,
            digits,
            factor,
        })
    }
}

/// What an OATH code is computed by, besides the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oath {
    /// Hash.
    pub algorithm: OathAlgorithm,
    /// Digits shown.
    pub digits: u8,
    /// What moves on.
    pub factor: Factor,
}

/// The moving factor (RFC 4226 section 5.1, RFC 6238 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    /// Time.
    Time {
        /// Time step in seconds.
        period_s: u32,
    },
    /// A counter of presses.
    Event,
}

/// A token as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its id.
    pub id: TokenId,
    /// Its kind.
    pub kind: TokenKind,
    /// Its state.
    pub state: TokenState,
    /// Why it died, once it has.
    pub revoke_reason: Option<RevokeReason>,
    /// Matter or not. Fixed at insertion.
    pub reality: Reality,
    /// Model name, not personal.
    pub model: String,
    /// Manufacturer, where it is known.
    pub maker: Option<String>,
    /// The delivery or import it came with: what tokens that may share a fault have in common.
    pub batch: Option<String>,
    /// Not to be used before, by its papers (RFC 6030 sections 4.2 and 5).
    pub valid_from: Option<UnixMillis>,
    /// Not to be used after, by its papers.
    pub valid_until: Option<UnixMillis>,
    /// What ties it to a device.
    pub binding: Binding,
    /// Whether a sealed seed is stored.
    pub has_seed: bool,
    /// Token clock minus true time, in milliseconds, as last learned.
    pub offset_ms: i64,
    /// Last used time step, or of an event token the last used counter: nothing at or below it is accepted. Never goes down.
    pub watermark: Option<u64>,
    /// Last signature counter seen (WebAuthn section 6.1.1).
    pub sign_count: u32,
    /// When it last proved itself.
    pub last_seen: Option<UnixMillis>,
    /// Wrong codes in a row.
    pub failures: u32,
    /// Personal data.
    pub personal: Personal,
    /// When it was inserted.
    pub created: UnixMillis,
    /// When it last changed.
    pub updated: UnixMillis,
}

/// What is to be done to a device when it is next seen. It prompts; it never acts unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obligation {
    /// Its id.
    pub id: ObligationId,
    /// The token that was revoked.
    pub token: TokenId,
    /// What is to be done.
    pub duty: Duty,
    /// Matter or not: a virtual device never discharges a real obligation.
    pub reality: Reality,
    /// Since when.
    pub created: UnixMillis,
    /// When a device proved that it is the one, just before what is owed was begun on it. After that the proof itself may be
    /// gone with the credential.
    pub proven: Option<UnixMillis>,
    /// When it was discharged, if it was.
    pub discharged: Option<UnixMillis>,
}

/// The deed, with what proves that a device is the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "duty", rename_all = "kebab-case")]
pub enum Duty {
    /// Delete our credential; proof: an assertion by it.
    DeleteCredential {
        /// Relying party id.
        rp_id: String,
        /// Credential id, base64url.
        credential_id: String,
        /// COSE_Key, base64url.
        public_key: String,
    },
    /// `authenticatorReset`, asked for by name; proof as above, taken before the reset.
    ResetKey {
        /// Relying party id.
        rp_id: String,
        /// Credential id, base64url.
        credential_id: String,
        /// COSE_Key, base64url.
        public_key: String,
    },
    /// Delete a credential whose id we never learned, because we were stopped while the key made it; proof: the key lists
    /// it under the random user id that was minted for that one registration.
    DeleteOrphan {
        /// Relying party id.
        rp_id: String,
        /// User id, hex.
        user_id: String,
    },
    /// Delete an OATH credential; proof: the card computes the right codes for challenges that were chosen at random and
    /// computed here before the seed was destroyed, so that the proof outlives the seed.
    DeleteOath {
        /// Credential name.
        name: String,
        /// Applet's device id.
        device_id: String,
        /// Random challenges with the codes the card must answer; each code is one chance in 10^digits.
        proofs: Vec<(u64, String)>,
        /// Whether the credential counts: then the proofs are its next codes in order, of which the card must show two.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        event: bool,
    },
    /// Overwrite the seed of a fob over NFC; it is known by the serial that it tells, which stands in its token's record.
    OverwriteSeed {
        /// Whose interface it speaks.
        maker: String,
    },
    /// A fob with no interface: collect and destroy it; discharged by a person's word.
    CollectFob,
}

/// An operation that was begun: written before the first act on hardware, closed with its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The operation.
    pub operation: OperationId,
    /// Its verb, `register` and so on.
    pub verb: String,
    /// The token it is about.
    pub token: Option<TokenId>,
    /// How far it got; names are the verb's own. Recovery after a restart decides by it.
    pub phase: String,
    /// What recovery needs to know, no secrets. May name a person: the chain holds a keyed tag of it only. Whole numbers only.
    pub detail: serde_json::Value,
    /// When it began.
    pub started: UnixMillis,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IntentEnd {
    /// Done.
    Completed,
    /// Undone: nothing of it remains.
    RolledBack,
    /// What could not be done now is an obligation.
    Obliged,
}

/// One change of what is believed about a token's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftPoint {
    /// Journal entry that tells it.
    pub seq: u64,
    /// When it was measured.
    pub at: UnixMillis,
    /// By what.
    pub source: DriftSource,
    /// Offset before, in milliseconds; `None` when none had been measured.
    pub before_ms: Option<i64>,
    /// Offset since, in milliseconds.
    pub after_ms: i64,
    /// When the token had been seen last before.
    pub seen_before: Option<UnixMillis>,
}

/// Of rows that tests left, one in this time is kept besides the newest, in milliseconds: 20 hours.
const DRIFT_SPACING_MS: i64 = 20 * 3_600_000;

impl DriftPoint {
    /// Whether this row, the newest so far, goes when `next` comes: tests at every door of a day say no more about a clock than
    /// one. `before` is the row before this one.
    pub(crate) fn yields(&self, before: Option<(DriftSource, UnixMillis)>, next: DriftSource) -> bool {
        let Some((DriftSource::Test, earlier)) = before else {
            return false;
        };
        self.source == DriftSource::Test
            && next == DriftSource::Test
            && self.at.0.saturating_sub(earlier.0) < DRIFT_SPACING_MS
    }
}
