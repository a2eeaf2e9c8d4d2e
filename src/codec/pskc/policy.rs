//! `Policy` of a key (RFC 6030 section 5). A recipient that does not understand an element of it must not use the key.

use roxmltree::Node;

use super::NAMESPACE;
use super::package::{children, content, is};
use crate::codec::delivery::{Flaw, date};
use crate::types::UnixMillis;

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUsage {
    /// One-time passwords.
    Otp,
    /// Challenge and response.
    Cr,
    /// Encryption.
    Encrypt,
    /// MACs.
    Integrity,
    /// Verification of codes that others make.
    Verify,
    /// Unlocking a device.
    Unlock,
    /// Decryption.
    Decrypt,
    /// Key wrapping.
    KeyWrap,
    /// Key unwrapping.
    Unwrap,
    /// Key derivation.
    Derive,
    /// Key generation.
    Generate,
}

impl KeyUsage {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "OTP" => Self::Otp,
            "CR" => Self::Cr,
            "Encrypt" => Self::Encrypt,
            "Integrity" => Self::Integrity,
            "Verify" => Self::Verify,
            "Unlock" => Self::Unlock,
            "Decrypt" => Self::Decrypt,
            "KeyWrap" => Self::KeyWrap,
            "Unwrap" => Self::Unwrap,
            "Derive" => Self::Derive,
            "Generate" => Self::Generate,
            _ => return None,
        })
    }
}

/// Where a PIN comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinUsage {
    /// On the device.
    Local,
    /// Before the code.
    Prepend,
    /// After the code.
    Append,
    /// Into the computation.
    Algorithmic,
}

/// `PINPolicy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PinPolicy {
    /// `PINKeyId`: the key package that holds the PIN.
    pub key_id: Option<String>,
    /// `PINUsageMode`.
    pub usage: Option<PinUsage>,
    /// `MaxFailedAttempts`.
    pub max_failed: Option<u64>,
    /// `MinLength`.
    pub min_length: Option<u64>,
    /// `MaxLength`.
    pub max_length: Option<u64>,
}

/// `Policy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// `StartDate`.
    pub start: Option<UnixMillis>,
    /// `ExpiryDate`.
    pub expiry: Option<UnixMillis>,
    /// `NumberOfTransactions`.
    pub transactions: Option<u64>,
    /// `KeyUsage`, all of them; none means any.
    pub usage: Vec<KeyUsage>,
    /// `PINPolicy`.
    pub pin: Option<PinPolicy>,
    /// Something in it is not known: the key must not be used.
    pub unknown: bool,
}

impl Policy {
    /// Whether the key may make one-time passwords here; else why not.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn permits_otp(&self) -> Result<(), &'static str> {
        if self.unknown {
            return Err("something in it is not known to us (RFC 6030 section 5: then the key must not be used)");
        }
        if !self.usage.is_empty() && !self.usage.iter().any(|usage| matches!(usage, KeyUsage::Otp)) {
            return Err("the key is not for one-time passwords");
        }
        if self.transactions.is_some() {
            return Err("it limits the number of uses, which is not counted");
        }
        match self.pin.as_ref().map(|pin| pin.usage) {
            None | Some(None | Some(PinUsage::Local)) => Ok(()),
            Some(Some(_)) => Err("a PIN is part of the code"),
        }
    }
}

/// Reads `Policy`.
pub fn read(node: Option<Node<'_, '_>>) -> Result<Policy, Flaw> {
    let mut policy = Policy::default();
    for element in node.into_iter().flat_map(children) {
        let known = element
            .tag_name()
            .namespace()
            .is_none_or(|uri| uri.starts_with(NAMESPACE));
        match element.tag_name().name() {
            "StartDate" if known => policy.start = date("start date", Some(content(element)))?,
            "ExpiryDate" if known => policy.expiry = date("expiry date", Some(content(element)))?,
            "NumberOfTransactions" if known => match content(element).trim().parse() {
                Ok(count) => policy.transactions = Some(count),
                Err(_) => policy.unknown = true,
            },
            "KeyUsage" if known => match KeyUsage::parse(content(element).trim()) {
                Some(usage) if policy.usage.len() < 16 => policy.usage.push(usage),
                _ => policy.unknown = true,
            },
            "PINPolicy" if known => {
                let pin = pin_policy(element, &mut policy.unknown);
                policy.pin = Some(pin);
            }
            _ => policy.unknown = true,
        }
    }
    Ok(policy)
}

fn pin_policy(element: Node<'_, '_>, unknown: &mut bool) -> PinPolicy {
    let mut pin = PinPolicy::default();
    for attribute in element.attributes() {
        let value = attribute.value();
        let mut count = || {
            let number = value.trim().parse().ok();
            *unknown |= number.is_none();
            number
        };
        match attribute.name() {
            "PINKeyId" => pin.key_id = Some(value.chars().take(256).collect()),
            "MaxFailedAttempts" => pin.max_failed = count(),
            "MinLength" => pin.min_length = count(),
            "MaxLength" => pin.max_length = count(),
            "PINEncoding" | "Encoding" => {}
            "PINUsageMode" => {
                pin.usage = match value {
                    "Local" => Some(PinUsage::Local),
                    "Prepend" => Some(PinUsage::Prepend),
                    "Append" => Some(PinUsage::Append),
                    "Algorithmic" => Some(PinUsage::Algorithmic),
                    _ => {
                        *unknown = true;
                        None
                    }
                }
            }
            _ => *unknown = true,
        }
    }
    *unknown |= children(element).any(|child| !is(child, ""));
    pin
}
