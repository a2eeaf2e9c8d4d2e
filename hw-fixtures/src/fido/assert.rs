//! `authenticatorGetAssertion` and `authenticatorGetNextAssertion` (CTAP 2.1 sections 6.2 and 6.3).

use ciborium::Value;

use super::cbor::{self, Params};
use super::clientpin::ASSERT;
use super::credential::{Candidate, descriptor};
use super::make::{FLAG_USER_PRESENT, FLAG_USER_VERIFIED};
use super::{Answer, Authenticator, Moment, Status};
use crate::{Millis, crypto};

/// How long the rest of a list can be asked for.
const NEXT_MS: Millis = 30_000;

/// Credentials that a platform may still ask for one by one.
pub(super) struct Remaining {
    hash: Vec<u8>,
    rp_hash: [u8; 32],
    flags: u8,
    candidates: Vec<Candidate>,
    since: Millis,
}

impl Authenticator {
    pub(super) fn get_assertion(&mut self, params: &Params, moment: Moment) -> Answer {
        let rp_id = params.text(0x01)?.ok_or(Status::MissingParameter)?.to_owned();
        let hash = params.bytes(0x02)?.ok_or(Status::MissingParameter)?;
        let options = self.options_of(params, 0x05)?;
        if options.resident {
            return Err(Status::UnsupportedOption.into());
        }
        let verified = self.user_verified(params.bytes(0x06)?, params.uint(0x07)?, hash, ASSERT, &rp_id, moment)?;
        if !verified && self.memory.always_uv && options.presence {
            return Err(Status::PuatRequired.into());
        }
        let rp_hash = crypto::sha256(rp_id.as_bytes());
        // An empty list means no list (section 6.2.2).
        let allow = self.read_credentials(params, 0x03)?.filter(|list| !list.is_empty());
        let mut candidates = self.candidates(&rp_hash, allow.as_deref());
        if allow.is_some() {
            candidates.truncate(1);
        }
        let total = candidates.len();
        if total == 0 {
            return Err(Status::NoCredentials.into());
        }
        let mut flags = if verified { FLAG_USER_VERIFIED } else { 0 };
        if options.presence {
            moment.touched()?;
            self.spend_tokens();
            flags |= FLAG_USER_PRESENT;
        }
        let first = candidates.remove(0);
        let answer = self.assertion(&first, &rp_hash, flags, hash, total);
        if !candidates.is_empty() {
            let hash = hash.to_vec();
            self.session.next_assertions = Some(Remaining {
                hash,
                rp_hash,
                flags,
                candidates,
                since: moment.now,
            });
        }
        Ok(Some(answer))
    }

    pub(super) fn next_assertion(&mut self, now: Millis) -> Answer {
        let mut rest = self.session.next_assertions.take().ok_or(Status::NotAllowed)?;
        if now.saturating_sub(rest.since) > NEXT_MS || rest.candidates.is_empty() {
            return Err(Status::NotAllowed.into());
        }
        let candidate = rest.candidates.remove(0);
        let mut answer = self.assertion(&candidate, &rest.rp_hash, rest.flags, &rest.hash, 2);
        if let Value::Map(entries) = &mut answer {
            // Only the first answer counts the credentials.
            entries.retain(|(key, _)| *key != Value::from(0x05));
        }
        rest.since = now;
        self.session.next_assertions = Some(rest);
        Ok(Some(answer))
    }

    fn assertion(&mut self, candidate: &Candidate, rp_hash: &[u8; 32], flags: u8, hash: &[u8], total: usize) -> Value {
        let data = self.authenticator_data(rp_hash, flags);
        let signature = self.sign(&candidate.id, &[data.as_slice(), hash].concat());
        let names = total > 1 && flags & FLAG_USER_VERIFIED != 0;
        cbor::int_map([
            (0x01, Some(descriptor(&candidate.id))),
            (0x02, Some(Value::Bytes(data))),
            (0x03, Some(Value::Bytes(signature))),
            (0x04, candidate.user.as_ref().map(|user| user.describe(names))),
            (0x05, if total > 1 { cbor::uint(total as u64) } else { None }),
        ])
    }
}
