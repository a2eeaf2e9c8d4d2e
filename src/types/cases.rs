//! The closed words of cases and policy: what a case is about, how a person was reached, what makes an identity believed.
//!
//! A person who is asked on the phone may be an attacker, so nothing here is open: what a policy file, a client or a row of the
//! ledger names is one of these or refused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ParseNameError;

named_enum!(
    /// How far authority reaches. Ordered: who may do more may do less.
    Tier, "tier (look, test, register, revoke, bypass)" {
        /// Look.
        Look = "look",
        /// Test and resync.
        Test = "test",
        /// Register.
        Register = "register",
        /// Revoke and replace.
        Revoke = "revoke",
        /// Issue an emergency bypass.
        Bypass = "bypass",
    }
);

named_enum!(
    /// What a case is about.
    CaseKind, "kind of case" {
        /// Something does not work.
        Support = "support",
        /// Tokens are made ready at the bench, for nobody in particular.
        Bench = "bench",
        /// A person with a token of their own, at their own session.
        SelfService = "self-service",
        /// All tokens are out of reach.
        Recovery = "recovery",
        /// A token takes the place of another.
        Replacement = "replacement",
        /// The person leaves.
        Leaver = "leaver",
    }
);

impl CaseKind {
    /// Whether somebody says to be somebody, and has to be believed. At the bench nobody is spoken for; in self-service the
    /// session has said who it is.
    #[must_use]
    pub const fn about_a_claim(self) -> bool {
        !matches!(self, Self::Bench | Self::SelfService)
    }
}

named_enum!(
    /// How the person reached the help desk.
    Channel, "channel" {
        /// Standing in front of it.
        Desk = "desk",
        /// On the phone.
        Phone = "phone",
        /// In a video call.
        Video = "video",
        /// In a chat.
        Chat = "chat",
        /// By mail.
        Mail = "mail",
        /// Nobody was asked: the caller is the person.
        Own = "own",
    }
);

impl Channel {
    /// Whether the person is somewhere else.
    #[must_use]
    pub const fn remote(self) -> bool {
        !matches!(self, Self::Desk | Self::Own)
    }
}

named_enum!(
    /// How somebody was believed to be who they say. What an attacker can look up is not among them.
    Method, "method of evidence" {
        /// Called back at the number on record.
        CallBack = "call-back",
        /// In person, with an identity document.
        InPerson = "in-person",
        /// Live video, with an identity document.
        LiveVideo = "live-video",
        /// The manager vouches.
        Manager = "manager",
        /// The personnel department vouches.
        Hr = "hr",
        /// Another active token of the person passed a test.
        TokenTest = "token-test",
        /// A recovery code.
        RecoveryCode = "recovery-code",
        /// A code sent by the configured hook came back.
        SentCode = "sent-code",
    }
);

impl Method {
    /// Whether it shows that somebody holds a device, and no more than that: who holds a stolen key passes a test with it.
    #[must_use]
    pub const fn is_possession_of_a_device(self) -> bool {
        matches!(self, Self::TokenTest)
    }

    /// What was done, for sentences: “… was done”.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::CallBack => "a call back to the number on record",
            Self::InPerson => "a look at the person and an identity document",
            Self::LiveVideo => "live video with an identity document",
            Self::Manager => "the word of the manager",
            Self::Hr => "the word of the personnel department",
            Self::TokenTest => "a passed test of another active token",
            Self::RecoveryCode => "a recovery code",
            Self::SentCode => "a code that was sent and read back",
        }
    }
}

named_enum!(
    /// How much harm a person's account can do. Ordered.
    Privilege, "privilege (ordinary, privileged)" {
        /// Like most.
        Ordinary = "ordinary",
        /// Administrators and whoever attackers look for.
        Privileged = "privileged",
    }
);

named_enum!(
    /// Office hours or not.
    Hours, "hours (office, odd)" {
        /// Within the policy's office hours.
        Office = "office",
        /// Outside of them.
        Odd = "odd",
    }
);

named_enum!(
    /// What in a person's recent past makes one look twice.
    Mark, "mark of history" {
        /// Many cases.
        Cases = "many-cases",
        /// Many failed verifications.
        Failures = "many-failures",
        /// An approver said no.
        Denied = "denied",
    }
);

named_enum!(
    /// A word in a request that makes it weightier.
    Weighty, "word that makes a request weightier" {
        /// Take an offset no clock drifts to.
        BeyondBound = "beyond-bound",
        /// Reset the whole device, with every passkey on it.
        Reset = "reset",
    }
);

named_enum!(
    /// What is out of the ordinary.
    Anomaly, "anomaly" {
        /// One operator changes much in little time.
        OperatorBurst = "operator-burst",
        /// An enrolment soon after a reset.
        ResetThenEnrol = "reset-then-enrol",
        /// One serial for two people.
        SharedSerial = "shared-serial",
        /// A change outside office hours.
        OddHours = "odd-hours",
        /// A change for a privileged person.
        PrivilegedSubject = "privileged-subject",
        /// Verification failed again and again.
        FailedVerification = "failed-verification",
        /// An offset no clock drifts to.
        ImplausibleOffset = "implausible-offset",
        /// An approver said no.
        DeniedByApprover = "denied-by-approver",
    }
);

named_enum!(
    /// What becomes of a bypass when the token is found again. Chosen beforehand, so that nobody has to think of it then.
    FoundAgain, "choice for a token that is found again" {
        /// The bypass ends as soon as the token is back in use.
        End = "end",
        /// It runs until its end.
        Keep = "keep",
    }
);

named_enum!(
    /// Why a bypass ended before its time.
    BypassEnd, "end of a bypass" {
        /// Somebody ended it.
        ByHand = "by-hand",
        /// The token is back in use.
        FoundAgain = "found-again",
        /// The person leaves.
        Leaver = "leaver",
        /// The authority of the operator who issued it was frozen.
        Frozen = "frozen",
    }
);

named_enum!(
    /// How far somebody has come with a second factor.
    Enrolment, "status (off, pending, on)" {
        /// They have none.
        Off = "off",
        /// A token was handed out to them and never passed a test.
        Pending = "pending",
        /// They have an active token.
        On = "on",
    }
);

named_enum!(
    /// What a case waits for. Each has its deadline in the policy; a missed one escalates.
    Step, "step of a case" {
        /// Until somebody is believed.
        Identity = "identity",
        /// Until the second person has answered.
        Approval = "approval",
        /// Until the act is done.
        Act = "act",
        /// Until what was lost or lent is back, or revoked.
        Returned = "returned",
        /// Until a review is recorded.
        Review = "review",
    }
);

named_enum!(
    /// How a case ended.
    Outcome, "outcome of a case (done, refused, withdrawn)" {
        /// What was asked for was done.
        Done = "done",
        /// It was not done: the person was not believed, or a second person said no.
        Refused = "refused",
        /// Nobody wants it any more.
        Withdrawn = "withdrawn",
    }
);

named_enum!(
    /// A line of the checklist with which a case is closed.
    Check, "line of the checklist" {
        /// The person can sign in: a test passed, or they said so.
        Works = "works",
        /// The person was told what was done.
        Told = "told",
        /// What was replaced or lost can do nothing any more, or somebody owes it.
        Settled = "settled",
    }
);

impl Check {
    /// The question, for whoever closes a case.
    #[must_use]
    pub const fn question(self) -> &'static str {
        match self {
            Self::Works => "Can the person sign in now?",
            Self::Told => "Was the person told what was done?",
            Self::Settled => "Can what was lost, replaced or taken back do nothing any more?",
        }
    }
}

impl CaseKind {
    /// How far a case of this kind usually has to reach: what it waits for is told of this tier.
    #[must_use]
    pub const fn aims_at(self) -> Tier {
        match self {
            Self::Support | Self::SelfService => Tier::Test,
            Self::Bench | Self::Recovery => Tier::Register,
            Self::Replacement | Self::Leaver => Tier::Revoke,
        }
    }

    /// What has to be answered before a case of this kind is closed as done.
    #[must_use]
    pub const fn checklist(self) -> &'static [Check] {
        match self {
            Self::Bench => &[],
            Self::SelfService => &[Check::Works],
            Self::Support => &[Check::Works, Check::Told],
            Self::Recovery | Self::Replacement => &[Check::Works, Check::Told, Check::Settled],
            Self::Leaver => &[Check::Settled],
        }
    }
}
