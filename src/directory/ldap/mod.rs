//! People in an LDAP directory: their role, their privilege, their account, how they are told.
//!
//! Each look-up is a connection of its own with one deadline for all of it, and nothing is kept from one to the next: what the server
//! says now is what counts, and a server that says nothing is an error, never somebody unknown. How the crate is kept from bytes that
//! would break it says [`gate`]; why it is this crate, `docs/adr/0015-people-from-ldap.md`.

mod entry;
mod gate;
pub mod section;
mod wire;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchOptions, StdStream, ldap_escape};
use tokio::net::UnixStream;
use tokio_rustls::rustls::ClientConfig;

pub(super) use self::entry::Found;
pub use self::section::Section;
use self::section::{PLACE, Server, Tls};
use super::DirectoryError;
use crate::authority::policy::Policy;
use crate::types::Secret;

/// Longest password, in bytes.
const LONGEST_PASSWORD: u64 = 1024;
/// Longest name that is looked up, in bytes: as on the bus.
const LONGEST_NAME: usize = 256;
/// Entries that are asked for: the second one tells that there are several.
const ENTRIES: i32 = 2;

/// Why the section cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// What it says.
    #[error("{0}")]
    Section(String),
    /// A role that the policy does not know.
    #[error("subjects.ldap gives the role “{role}”, which the policy does not know; it knows {known}")]
    Role {
        /// Which.
        role: String,
        /// Those it knows.
        known: String,
    },
    /// The file of authorities.
    #[error("subjects.ldap.ca-file {path} cannot be used: {why}")]
    Authorities {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The file with the password.
    #[error("subjects.ldap.password-file {path} cannot be used: {why}")]
    Password {
        /// Which.
        path: PathBuf,
        /// Why, without a word of what is in it.
        why: String,
    },
}

/// Why the server did not say who somebody is. What it wrote itself is in none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The deadline.
    #[error("it did not answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// No connection.
    #[error("it cannot be reached ({0})")]
    Unreachable(String),
    /// The end of one.
    #[error("it closed the connection")]
    Closed,
    /// No TLS.
    #[error("no TLS comes about with it")]
    NoTls,
    /// Not who it should be.
    #[error("its certificate is not believed: {0}")]
    Certificate(&'static str),
    /// Bytes that are no answer of ours.
    #[error("what it answered is not LDAP as we asked for it, or too long")]
    Malformed,
    /// The password.
    #[error("{0}")]
    Password(String),
    /// It says no.
    #[error("{} (LDAP result {})", meaning(.0), .0)]
    Refused(u32),
    /// The filter fits several.
    #[error("several entries fit, and nobody can say which of them is meant: see subjects.ldap.filter")]
    Several,
    /// An attribute that cannot be read.
    #[error("the attribute {0} of the entry is not text, or not one value")]
    Attribute(String),
    /// The crate broke off.
    #[error("asking it broke off")]
    Broken,
}

/// RFC 4511, appendix A.
const fn meaning(code: &u32) -> &'static str {
    match code {
        3 => "it gave up for lack of time",
        8 => "it wants stronger authentication",
        10 => "it sends us to another server, where we do not go",
        11 => "it would have to look at more than it may",
        13 => "it wants TLS",
        32 => "it does not have subjects.ldap.base",
        48 => "it does not let us in that way",
        49 => "it does not believe subjects.ldap.bind-dn and its password",
        50 => "we may not look there",
        51 => "it is busy",
        52 => "it is not available",
        53 => "it is unwilling",
        _ => "it refused",
    }
}

/// A server that knows people.
pub struct LdapDirectory {
    section: Section,
    server: Server,
    authorities: Option<Arc<ClientConfig>>,
}

impl std::fmt::Debug for LdapDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LdapDirectory")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl LdapDirectory {
    /// Reads what the section names; the server is not asked yet.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn open(section: &Section, policy: &Policy) -> Result<Self, SetupError> {
        section.check().map_err(SetupError::Section)?;
        let server = section.server().map_err(SetupError::Section)?;
        if let Some(role) = section.given().find(|role| policy.role(role).is_none()) {
            let known: Vec<String> = policy.roles.iter().map(|role| format!("“{}”", role.name)).collect();
            return Err(SetupError::Role {
                role: role.to_owned(),
                known: known.join(", "),
            });
        }
        let wants_tls = matches!(
            server,
            Server::Host {
                tls: Tls::AtOnce | Tls::Asked,
                ..
            }
        );
        let authorities = match wants_tls {
            true => Some(wire::authorities(&section.ca_file)?),
            false => None,
        };
        if let Some(path) = &section.password_file {
            password(path).map_err(|why| SetupError::Password {
                path: path.clone(),
                why,
            })?;
        }
        Ok(Self {
            section: section.clone(),
            server,
            authorities,
        })
    }

    /// Asks who somebody is. Blocks, for as long as the section lets it at most.
    ///
    /// # Errors
    /// [`DirectoryError::Ldap`]; somebody unknown is `None`.
    pub(super) fn find(&self, name: &str) -> Result<Option<Found>, DirectoryError> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Ok(None);
        }
        self.look_up(name).map_err(|fault| DirectoryError::Ldap {
            server: self.section.uri.clone(),
            fault,
        })
    }

    fn look_up(&self, name: &str) -> Result<Option<Found>, Fault> {
        let password = match &self.section.password_file {
            Some(path) => Some(password(path).map_err(|why| Fault::Password(format!("{}: {why}", path.display())))?),
            None => None,
        };
        // A runtime of its own: whoever asks may block, and what is still under way at the deadline ends with it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|_| Fault::Broken)?;
        let patience = Duration::from_millis(self.section.timeout);
        let asked = runtime.block_on(async {
            let answer = tokio::time::timeout(patience, self.ask(name, password.as_ref())).await;
            answer.unwrap_or(Err(Fault::Silent(patience)))
        });
        // A resolver that hangs is not waited for.
        runtime.shutdown_background();
        asked
    }

    async fn ask(&self, name: &str, password: Option<&Secret>) -> Result<Option<Found>, Fault> {
        let stream = wire::connect(&self.server, self.authorities.as_ref()).await?;
        let (ours, theirs) = StdUnixStream::pair().map_err(|_| Fault::Broken)?;
        ours.set_nonblocking(true).map_err(|_| Fault::Broken)?;
        let ours = UnixStream::from_std(ours).map_err(|_| Fault::Broken)?;
        let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs));
        let opened = LdapConnAsync::with_settings(settings, "ldapi:///").await;
        let (connection, mut ldap) = opened.map_err(|_| Fault::Broken)?;
        tokio::spawn(connection.drive());
        let (mut from_server, mut to_server) = tokio::io::split(stream);
        let (mut from_us, mut to_us) = ours.into_split();
        // Until one of the three ends; only the first ends well.
        tokio::select! {
            biased;
            found = self.converse(&mut ldap, name, password) => found,
            stopped = gate::pass(&mut from_server, &mut to_us) => match stopped {
                Err(fault) => Err(fault),
                Ok(never) => match never {},
            },
            Err(_) = tokio::io::copy(&mut from_us, &mut to_server) => Err(Fault::Closed),
        }
    }

    async fn converse(&self, ldap: &mut Ldap, name: &str, password: Option<&Secret>) -> Result<Option<Found>, Fault> {
        let section = &self.section;
        if let (Some(dn), Some(password)) = (&section.bind_dn, password) {
            let password = std::str::from_utf8(password.expose()).map_err(|_| Fault::Broken)?;
            let bound = ldap.simple_bind(dn, password).await.map_err(|error| broken(&error))?;
            if bound.rc != 0 {
                return Err(Fault::Refused(bound.rc));
            }
        }
        let filter = section.filter.replace(PLACE, &ldap_escape(name));
        // The server counts whole seconds; our own deadline comes first.
        let seconds = i32::try_from(section.timeout.div_ceil(1_000)).unwrap_or(1);
        let options = SearchOptions::new().sizelimit(ENTRIES).timelimit(seconds);
        let attributes = section.attributes();
        let mut answers = ldap
            .with_search_options(options)
            .streaming_search(&section.base, Scope::Subtree, &filter, attributes)
            .await
            .map_err(|error| broken(&error))?;
        let mut found = None;
        // As many as the gate lets through.
        while let Some(answer) = answers.next().await.map_err(|error| broken(&error))? {
            // What another server may know is left to the filter's author: we follow nobody.
            if answer.is_ref() || answer.is_intermediate() {
                continue;
            }
            if found.is_some() {
                return Err(Fault::Several);
            }
            found = Some(entry::read(answer, section)?);
        }
        match answers.finish().await.rc {
            0 => Ok(found),
            // More than it should send: sizeLimitExceeded.
            4 => Err(Fault::Several),
            code => Err(Fault::Refused(code)),
        }
    }
}

/// The crate's errors speak of channels and tags; what they come from is told by the gate, where it can be.
fn broken(error: &LdapError) -> Fault {
    match error {
        LdapError::Io { .. } | LdapError::EndOfStream => Fault::Closed,
        _ => Fault::Broken,
    }
}

/// The password, without the end of its line.
fn password(path: &Path) -> Result<Secret, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let about = file.metadata().map_err(|error| error.to_string())?;
    let us = nix::unistd::Uid::effective().as_raw();
    if !about.is_file() {
        return Err("it is no file".to_owned());
    }
    if ![0, us].contains(&about.uid()) {
        return Err(format!("it belongs to uid {}; it must be ours or root's", about.uid()));
    }
    if about.mode() & 0o077 != 0 {
        return Err(format!(
            "others may look at it (mode {:04o}): make it 0600",
            about.mode() & 0o7777
        ));
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(2_048));
    file.take(LONGEST_PASSWORD + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST_PASSWORD {
        return Err(format!("it has more than {LONGEST_PASSWORD} bytes"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not text".to_owned())?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    // A bind with a name and no password succeeds as nobody (RFC 4513, 5.1.2).
    if line.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(Secret::new(line.as_bytes().to_vec()))
}

fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
