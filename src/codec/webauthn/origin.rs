//! Which RP IDs an origin may use (section 5.1.3, steps 6 to 8): its own host, or a domain above it that somebody can own.
//!
//! A browser takes the origin from the page; we are told it, so it is measured here before any key signs for it.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest origin.
const MAX_ORIGIN: usize = 300;

/// Why an origin cannot be used, or not with this RP ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Not `https://host` or `https://host:port` in lower case, and not `http://localhost`.
    #[error("the origin must be “https://” and a host name in lower case, with a port at most, and nothing after it")]
    Malformed,
    /// An address has no domain.
    #[error("the origin's host is an address; WebAuthn works with names only")]
    Address,
    /// The RP ID is no domain name.
    #[error("the relying party's id is not a domain name")]
    RpId,
    /// The RP ID is neither the host nor above it.
    #[error("the relying party's id is neither the origin's host nor a domain above it")]
    OtherDomain,
    /// Under this RP ID anybody can register names.
    #[error("the relying party's id is a public suffix, under which anybody can have a name")]
    PublicSuffix,
}

/// The RP ID for an origin: the one wanted if the origin may use it, else the origin's host.
///
/// # Errors
/// [`OriginError`].
pub fn rp_id(origin: &str, wanted: Option<&str>) -> Result<String, OriginError> {
    let host = host(origin)?;
    let Some(wanted) = wanted else {
        return Ok(host.to_owned());
    };
    if !is_domain(wanted) {
        return Err(OriginError::RpId);
    }
    if wanted == host {
        return Ok(wanted.to_owned());
    }
    if !host.strip_suffix(wanted).is_some_and(|below| below.ends_with('.')) {
        return Err(OriginError::OtherDomain);
    }
    // A domain that equals its own suffix is nobody's. Unknown top-level domains are suffixes, too, so `corp` is one and
    // `example.corp` is not.
    if psl::domain_str(wanted).is_none() {
        return Err(OriginError::PublicSuffix);
    }
    Ok(wanted.to_owned())
}

fn host(origin: &str) -> Result<&str, OriginError> {
    if origin.len() > MAX_ORIGIN {
        return Err(OriginError::Malformed);
    }
    let (secure, rest) = match (origin.strip_prefix("https://"), origin.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(OriginError::Malformed),
    };
    if rest.starts_with('[') {
        return Err(OriginError::Address);
    }
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    // An origin as browsers write it: no leading zeros, and no port that the scheme implies (WHATWG URL, serializing).
    let default = if secure { 443 } else { 80 };
    let port_is_fine = port.is_none_or(|port| {
        let number = port.parse::<u16>();
        number.is_ok_and(|number| number != 0 && number != default && number.to_string() == port)
    });
    if host.parse::<Ipv4Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok() {
        return Err(OriginError::Address);
    }
    let local = host == "localhost" || host.ends_with(".localhost");
    if !port_is_fine || !is_domain(host) || !(secure || local) {
        return Err(OriginError::Malformed);
    }
    Ok(host)
}

/// A domain name in the form that goes over the wire: letters in lower case, digits, hyphens; names in other scripts as `xn--`.
fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    // A last label of digits alone would be read as an address.
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}
