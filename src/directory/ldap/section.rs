//! `[subjects.ldap]`: which server, how it is asked, and what its attributes mean.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// What stands for the subject's name in a filter.
pub(super) const PLACE: &str = "{subject}";

/// The section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Section {
    /// `ldapi://%2Frun%2Fslapd%2Fldapi`, `ldaps://HOST`, or `ldap://HOST` with `start-tls`.
    pub uri: String,
    /// Below which entry people are looked for.
    pub base: String,
    /// Filter (RFC 4515) that fits one person's entry; `{subject}` stands for the name, which is escaped.
    pub filter: String,
    /// Ask for TLS before anything else.
    #[serde(default)]
    pub start_tls: bool,
    /// Speak `ldap://` without TLS to another host. Whoever is between says then who is privileged.
    #[serde(default)]
    pub cleartext: bool,
    /// PEM file of the authorities whose certificates are believed.
    #[serde(default = "bundle")]
    pub ca_file: PathBuf,
    /// As whom to ask; left out: as nobody.
    pub bind_dn: Option<String>,
    /// File with that one's password, mode 0600.
    pub password_file: Option<PathBuf>,
    /// How long a whole look-up may take, in milliseconds.
    #[serde(default = "timeout")]
    pub timeout: u64,
    /// Role of whoever has an entry whose attribute gives no other.
    pub role: Option<String>,
    /// Attribute that roles are read from: `memberOf`.
    pub role_attribute: Option<String>,
    /// Which of its values gives which role; the first that fits counts.
    #[serde(default)]
    pub roles: Vec<Gives>,
    /// Attribute that privilege is read from.
    pub privilege_attribute: Option<String>,
    /// Values that say `privileged`.
    #[serde(default)]
    pub privileged: Vec<String>,
    /// Attribute with the name of the account on this host.
    pub account_attribute: Option<String>,
    /// Attribute with the contact.
    pub contact_attribute: Option<String>,
    /// What is put in front of it.
    #[serde(default = "mailto")]
    pub contact_prefix: String,
}

/// A value, and the role it gives.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gives {
    /// Of the attribute; compared without regard to case.
    pub value: String,
    /// By the policy's name.
    pub role: String,
}

fn bundle() -> PathBuf {
    PathBuf::from("/etc/ssl/certs/ca-certificates.crt")
}

const fn timeout() -> u64 {
    3_000
}

fn mailto() -> String {
    "mailto:".to_owned()
}

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Server {
    /// A Unix socket.
    Socket(PathBuf),
    /// TCP.
    Host {
        /// Name or address.
        name: String,
        /// Port.
        port: u16,
        /// How it is spoken to.
        tls: Tls,
    },
}

/// Transport layer security.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    /// From the first byte.
    AtOnce,
    /// After `StartTLS`.
    Asked,
    /// Never.
    Without,
}

impl Section {
    /// Whether it can be used, as far as nothing has to be asked or read for that.
    ///
    /// # Errors
    /// What is wrong, beginning with the key.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |key: &str, what: &str| Err(format!("subjects.ldap.{key} {what}"));
        self.server()?;
        if self.base.trim().is_empty() {
            return wrong("base", "must name the entry below which people are");
        }
        if !self.filter.contains(PLACE) {
            return wrong("filter", "must hold {subject}, or everybody would be the same person");
        }
        if ldap3::parse_filter(self.filter.replace(PLACE, "x")).is_err() {
            return wrong("filter", "is no filter (RFC 4515)");
        }
        match (&self.bind_dn, &self.password_file) {
            (None, None) => {}
            (Some(dn), Some(_)) if dn.trim().is_empty() => return wrong("bind-dn", "is empty"),
            (Some(_), Some(path)) if !path.is_absolute() => return wrong("password-file", "must be an absolute path"),
            (Some(_), Some(_)) => {}
            (None, Some(_)) => return wrong("password-file", "wants bind-dn, whose password it holds"),
            (Some(_), None) => {
                return wrong(
                    "bind-dn",
                    "wants password-file: a bind without a password proves nothing",
                );
            }
        }
        if !self.ca_file.is_absolute() {
            return wrong("ca-file", "must be an absolute path");
        }
        if !(100..=4_000).contains(&self.timeout) {
            return wrong(
                "timeout",
                &format!("is {} ms; it must be from 100 to 4000", self.timeout),
            );
        }
        if self.role_attribute.is_some() == self.roles.is_empty() {
            return wrong("roles", "and subjects.ldap.role-attribute go together");
        }
        if self.role.is_none() && self.roles.is_empty() {
            return wrong(
                "role",
                "is left out, and so is roles: then LDAP would give nobody a role",
            );
        }
        if self.privilege_attribute.is_some() == self.privileged.is_empty() {
            return wrong("privileged", "and subjects.ldap.privilege-attribute go together");
        }
        Ok(())
    }

    /// Every role it gives.
    pub(super) fn given(&self) -> impl Iterator<Item = &str> {
        let by_value = self.roles.iter().map(|gives| gives.role.as_str());
        by_value.chain(self.role.as_deref())
    }

    /// Attributes that are asked for; never none, which would mean all.
    pub(super) fn attributes(&self) -> Vec<&str> {
        let named = [
            &self.role_attribute,
            &self.privilege_attribute,
            &self.account_attribute,
            &self.contact_attribute,
        ];
        let mut named: Vec<&str> = named.into_iter().flatten().map(String::as_str).collect();
        if named.is_empty() {
            // No attributes at all (RFC 4511, 4.5.1.8).
            named.push("1.1");
        }
        named
    }

    /// Where the server is and how it is spoken to.
    pub(super) fn server(&self) -> Result<Server, String> {
        let wrong = |what: &str| format!("subjects.ldap.uri {what}");
        let (scheme, rest) = self
            .uri
            .split_once("://")
            .ok_or_else(|| wrong("must begin with ldapi://, ldaps:// or ldap://"))?;
        let place = rest.strip_suffix('/').unwrap_or(rest);
        if place.is_empty() || place.contains(['/', '?', '#', '@']) || place.contains(char::is_whitespace) {
            return Err(wrong("names a server and nothing else"));
        }
        let (tls, port) = match (scheme, self.start_tls) {
            ("ldapi" | "ldaps", true) => {
                return Err("subjects.ldap.start-tls is for ldap:// alone".to_owned());
            }
            ("ldapi", false) => {
                let path = percent_decode_str(place).decode_utf8();
                let path = path.map_err(|_| wrong("names no path"))?;
                return match Path::new(path.as_ref()) {
                    path if path.is_absolute() => Ok(Server::Socket(path.to_owned())),
                    _ => Err(wrong("must name an absolute path, with %2F for each slash")),
                };
            }
            ("ldaps", false) => (Tls::AtOnce, 636),
            ("ldap", true) => (Tls::Asked, 389),
            ("ldap", false) => (Tls::Without, 389),
            _ => return Err(wrong("must begin with ldapi://, ldaps:// or ldap://")),
        };
        let (name, port) = host_and_port(place, port).ok_or_else(|| wrong("names no host and port"))?;
        if tls == Tls::Without && !self.cleartext && !is_here(&name) {
            return Err(wrong(
                "would ask another host without TLS, and whoever is between would say who is privileged: use ldaps://, \
                 start-tls = true, or say cleartext = true",
            ));
        }
        Ok(Server::Host { name, port, tls })
    }
}

/// `HOST`, `HOST:PORT`, `[ADDRESS]`, `[ADDRESS]:PORT`.
fn host_and_port(place: &str, usual: u16) -> Option<(String, u16)> {
    let (name, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (name, after) = rest.split_once(']')?;
            name.parse::<IpAddr>().ok()?;
            match after.strip_prefix(':') {
                Some(port) => (name, Some(port)),
                None if after.is_empty() => (name, None),
                None => return None,
            }
        }
        None => match place.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (place, None),
        },
    };
    let port = port.map_or(Some(usual), |port| port.parse().ok())?;
    (!name.is_empty() && port != 0).then(|| (name.to_owned(), port))
}

/// This very host, whatever a resolver says.
fn is_here(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(more: &str) -> Section {
        let text = format!("base = \"dc=example\"\nfilter = \"(uid={{subject}})\"\n{more}");
        toml::from_str(&text).unwrap()
    }

    fn server(more: &str) -> Result<Server, String> {
        section(more).server()
    }

    #[test]
    fn where_the_server_is_and_how_it_is_spoken_to() {
        let host = |name: &str, port, tls| {
            Ok(Server::Host {
                name: name.to_owned(),
                port,
                tls,
            })
        };
        assert_eq!(
            server("uri = \"ldapi://%2Frun%2Fslapd%2Fldapi/\""),
            Ok(Server::Socket(PathBuf::from("/run/slapd/ldapi")))
        );
        assert_eq!(
            server("uri = \"ldaps://ldap.example\""),
            host("ldap.example", 636, Tls::AtOnce)
        );
        assert_eq!(
            server("uri = \"ldaps://[2001:db8::1]:1636\""),
            host("2001:db8::1", 1636, Tls::AtOnce)
        );
        assert_eq!(
            server("uri = \"ldap://ldap.example\"\nstart-tls = true"),
            host("ldap.example", 389, Tls::Asked)
        );
        assert_eq!(
            server("uri = \"ldap://127.0.0.1:3890\""),
            host("127.0.0.1", 3890, Tls::Without)
        );
        assert_eq!(server("uri = \"ldap://[::1]\""), host("::1", 389, Tls::Without));
        assert_eq!(
            server("uri = \"ldap://ldap.example\"\ncleartext = true"),
            host("ldap.example", 389, Tls::Without)
        );
    }

    #[test]
    fn what_is_no_server_and_what_is_not_safe_is_refused() {
        for uri in [
            "ldap.example",
            "http://ldap.example",
            "ldap:",
            "ldaps://",
            "ldaps://a/dc=example",
            "ldaps://me@a",
            "ldaps://a:b",
            "ldaps://a:0",
            "ldaps://[a]",
            "ldapi://run",
            "ldapi://%ff",
            // Whatever a resolver makes of these.
            "ldap://localhost",
            "ldap://127.0.0.1.example",
            "ldap://10.0.0.1",
        ] {
            let told = server(&format!("uri = {uri:?}")).unwrap_err();
            assert!(told.starts_with("subjects.ldap.uri "), "{uri}: {told}");
        }
        let told = server("uri = \"ldaps://a\"\nstart-tls = true").unwrap_err();
        assert!(told.contains("start-tls"), "{told}");
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_key() {
        let begin = "uri = \"ldaps://a\"\n";
        for (more, key) in [
            ("", "role"),
            ("role = \"staff\"\nrole-attribute = \"memberOf\"", "roles"),
            ("roles = [{ value = \"a\", role = \"b\" }]", "roles"),
            ("role = \"staff\"\nprivileged = [\"yes\"]", "privileged"),
            ("role = \"staff\"\nbind-dn = \"cn=a\"", "bind-dn"),
            ("role = \"staff\"\npassword-file = \"/a\"", "password-file"),
            (
                "role = \"staff\"\nbind-dn = \"cn=a\"\npassword-file = \"a\"",
                "password-file",
            ),
            ("role = \"staff\"\ntimeout = 5000", "timeout"),
            ("role = \"staff\"\nca-file = \"here\"", "ca-file"),
        ] {
            let told = section(&format!("{begin}{more}")).check().unwrap_err();
            assert!(told.starts_with(&format!("subjects.ldap.{key} ")), "{more}: {told}");
        }
        assert_eq!(section(&format!("{begin}role = \"staff\"")).check(), Ok(()));
        for filter in ["(uid=arthur)", "(uid={subject}"] {
            let mut section = section(&format!("{begin}role = \"staff\""));
            section.filter = filter.to_owned();
            assert!(section.check().is_err_and(|told| told.contains("filter")), "{filter}");
        }
    }
}
