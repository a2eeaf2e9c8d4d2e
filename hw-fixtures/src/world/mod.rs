//! Many tokens under names: what a world file lists and the control socket commands.

mod file;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::entropy::Entropy;
use crate::fob::{Fob, Moving};
use crate::front::{Gadgets, Plugged, Testbed, VpcdSetup, plug_virtual, plug_vpcd};
use crate::profile::{FobProfile, Profile};
use crate::token::{Token, TokenSetup};
use crate::{SimError, crypto};
pub use file::{Front, TokenSpec, WorldFile};

/// Where the fronts lead.
#[derive(Clone, Default)]
pub struct Hosts {
    /// The daemon's virtual link.
    pub virtual_socket: Option<PathBuf>,
    /// Host and first port of vpcd; further cards take further ports.
    pub vpcd: Option<(String, u16)>,
    /// The umockdev testbed.
    pub testbed: Option<Arc<Testbed>>,
    /// USB device controllers.
    pub gadgets: Option<Arc<Gadgets>>,
}

struct Entry {
    token: Token,
    fronts: Vec<Front>,
    plugged: Vec<Plugged>,
    reader: Option<u16>,
}

#[derive(Default)]
struct Inside {
    tokens: BTreeMap<String, Entry>,
    fobs: BTreeMap<String, Fob>,
}

/// A world of tokens.
pub struct World {
    hosts: Hosts,
    seed: Option<u64>,
    clock_unix_s: Option<i64>,
    apdu_delay_ms: u64,
    inside: Mutex<Inside>,
}

/// What `list` tells of one token.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its profile.
    pub profile: String,
    /// `token` or `fob`.
    pub kind: &'static str,
    /// Serial number, where it has one.
    pub serial: Option<String>,
    /// Where it goes when plugged in.
    pub fronts: Vec<Front>,
    /// What the hosts call it now; empty when it is not plugged in.
    pub plugged: Vec<String>,
    /// Whether a request waits for the person.
    pub wants_touch: bool,
    /// Frames since it was plugged in or recording began.
    pub frames: usize,
}

impl World {
    /// The world of a file; its tokens are not plugged in yet.
    ///
    /// # Errors
    /// When a token's profile or seed is not what it should be, or a name is used twice.
    pub fn new(file: &WorldFile, hosts: Hosts) -> Result<Self, SimError> {
        let world = Self {
            hosts,
            seed: file.seed,
            clock_unix_s: file.clock_unix_s,
            apdu_delay_ms: file.apdu_delay_ms,
            inside: Mutex::new(Inside::default()),
        };
        for spec in &file.token {
            world.add(spec)?;
        }
        Ok(world)
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time fobs are read by, in seconds since 1970.
    pub fn unix_s(&self) -> i64 {
        self.clock_unix_s.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
    }

    /// Adds a token or fob without plugging it in.
    ///
    /// # Errors
    /// As [`World::new`].
    pub fn add(&self, spec: &TokenSpec) -> Result<(), SimError> {
        let profile = Profile::named(&spec.profile)?;
        let mut inside = self.inside();
        if inside.tokens.contains_key(&spec.name) || inside.fobs.contains_key(&spec.name) {
            return Err(SimError::Invalid(format!(
                "there is a token called {} already",
                spec.name
            )));
        }
        if let (Some(make), None) = (&profile.fob, &profile.nfc) {
            let fob = self.make_fob(spec, make)?;
            inside.fobs.insert(spec.name.clone(), fob);
            return Ok(());
        }
        let setup = TokenSetup {
            name: spec.name.clone(),
            serial: spec.serial.clone(),
            seed: self.seed,
            touch: spec.touch,
            clock_unix_s: self.clock_unix_s,
        };
        let token = Token::new(&profile, setup)?;
        if profile.nfc.is_some() {
            let seed = seed_of(spec)?;
            let now = self.unix_s();
            token.with_nfc_fob(|nfc| {
                let fob = nfc.fob_mut();
                fob.seed = seed.unwrap_or_else(|| std::mem::take(&mut fob.seed));
                fob.drift(spec.offset_s, spec.ppm, now);
            });
        }
        inside.tokens.insert(
            spec.name.clone(),
            Entry {
                token,
                fronts: spec.fronts(),
                plugged: Vec::new(),
                reader: None,
            },
        );
        Ok(())
    }

    fn make_fob(&self, spec: &TokenSpec, make: &FobProfile) -> Result<Fob, SimError> {
        let moving = match make.period_s {
            Some(period_s) => Moving::Totp { period_s },
            None => Moving::Hotp { counter: spec.counter },
        };
        let mut entropy = match self.seed {
            Some(seed) => Entropy::seeded(seed, &format!("{}/fob", spec.name)),
            None => Entropy::system(),
        };
        let number = u32::from_be_bytes(entropy.bytes()) % 100_000_000;
        let serial = spec.serial.clone().unwrap_or_else(|| format!("{number:08}"));
        let mut fob = Fob::new(serial, make.hash, make.digits, moving, &mut entropy);
        if let Some(seed) = seed_of(spec)? {
            fob.seed = seed;
        }
        fob.counts_first = make.counts_first;
        fob.factory_unix_s = make.factory_unix_s;
        fob.drift(spec.offset_s, spec.ppm, self.unix_s());
        Ok(fob)
    }

    /// The token called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn token(&self, name: &str) -> Result<Token, SimError> {
        self.inside()
            .tokens
            .get(name)
            .map(|entry| entry.token.clone())
            .ok_or_else(|| unknown("token", name))
    }

    /// Works on the fob called `name`, also on the one inside an NFC fob.
    ///
    /// # Errors
    /// When there is none.
    pub fn with_fob<T>(&self, name: &str, work: impl FnOnce(&mut Fob) -> T) -> Result<T, SimError> {
        let mut inside = self.inside();
        if let Some(fob) = inside.fobs.get_mut(name) {
            return Ok(work(fob));
        }
        let token = inside.tokens.get(name).map(|entry| entry.token.clone());
        drop(inside);
        token
            .and_then(|token| token.with_nfc_fob(|nfc| work(nfc.fob_mut())))
            .ok_or_else(|| unknown("fob", name))
    }

    /// Presses a fob's button and answers what its window shows; an NFC fob is switched on by it.
    ///
    /// # Errors
    /// When there is no such fob.
    pub fn press(&self, name: &str) -> Result<String, SimError> {
        if let Ok(token) = self.token(name) {
            token.touch();
        }
        let now = self.unix_s();
        self.with_fob(name, |fob| fob.press(now))
    }

    /// Plugs a token in at all its fronts. What was plugged in already is pulled out first.
    ///
    /// # Errors
    /// When a front's host is not configured or does not take it.
    pub fn plug(&self, name: &str) -> Result<Vec<String>, SimError> {
        self.unplug(name)?;
        let (token, fronts, reader) = {
            let mut inside = self.inside();
            let taken: Vec<u16> = inside.tokens.values().filter_map(|entry| entry.reader).collect();
            let free = (0..u16::MAX).find(|port| !taken.contains(port)).unwrap_or(0);
            let entry = inside.tokens.get_mut(name).ok_or_else(|| unknown("token", name))?;
            if entry.fronts.contains(&Front::Vpcd) {
                entry.reader = Some(free);
            }
            (entry.token.clone(), entry.fronts.clone(), free)
        };
        // Hosts may take their time; other commands go on meanwhile.
        let plugged: Vec<Plugged> = fronts
            .iter()
            .map(|front| self.plug_at(*front, &token, reader))
            .collect::<Result<_, _>>()?;
        let ids = plugged.iter().map(|plugged| plugged.id().to_owned()).collect();
        if let Some(entry) = self.inside().tokens.get_mut(name) {
            entry.plugged = plugged;
        }
        Ok(ids)
    }

    fn plug_at(&self, front: Front, token: &Token, reader: u16) -> Result<Plugged, SimError> {
        let missing = |what: &str| SimError::Invalid(format!("{} needs {what}", token.name()));
        match front {
            Front::Virtual => {
                let socket = self
                    .hosts
                    .virtual_socket
                    .as_ref()
                    .ok_or_else(|| missing("--virtual SOCKET"))?;
                plug_virtual(socket, token)
            }
            Front::Vpcd => {
                let (host, port) = self.hosts.vpcd.as_ref().ok_or_else(|| missing("--vpcd HOST:PORT"))?;
                let address = format!("{host}:{}", port.saturating_add(reader));
                plug_vpcd(
                    &VpcdSetup {
                        address,
                        apdu_delay_ms: self.apdu_delay_ms,
                    },
                    token,
                )
            }
            Front::Umockdev => self
                .hosts
                .testbed
                .as_ref()
                .ok_or_else(|| missing("--umockdev DIR|auto"))?
                .plug(token),
            Front::Gadget => self
                .hosts
                .gadgets
                .as_ref()
                .ok_or_else(|| missing("--gadget"))?
                .plug(token),
        }
    }

    /// Plugs in every token whose spec says so.
    ///
    /// # Errors
    /// At the first that fails.
    pub fn plug_all(&self, file: &WorldFile) -> Result<(), SimError> {
        for spec in file.token.iter().filter(|spec| spec.plugged) {
            let known = self.inside().tokens.contains_key(&spec.name);
            if known {
                self.plug(&spec.name)?;
            }
        }
        Ok(())
    }

    /// Pulls a token out; without effect when it is out.
    ///
    /// # Errors
    /// When there is no such token.
    pub fn unplug(&self, name: &str) -> Result<(), SimError> {
        let plugged = {
            let mut inside = self.inside();
            let entry = inside.tokens.get_mut(name).ok_or_else(|| unknown("token", name))?;
            entry.reader = None;
            std::mem::take(&mut entry.plugged)
        };
        drop(plugged);
        Ok(())
    }

    /// Pulls everything out.
    pub fn unplug_all(&self) {
        let names: Vec<String> = self.inside().tokens.keys().cloned().collect();
        for name in names {
            // The names were taken from the world itself.
            let _ = self.unplug(&name);
        }
    }

    /// Every token and fob.
    pub fn list(&self) -> Vec<Listed> {
        let inside = self.inside();
        let tokens = inside.tokens.iter().map(|(name, entry)| Listed {
            name: name.clone(),
            profile: entry.token.profile().name.clone(),
            kind: "token",
            serial: entry
                .token
                .with_nfc_fob(|nfc| nfc.fob().serial.clone())
                .or_else(|| entry.token.serial()),
            fronts: entry.fronts.clone(),
            plugged: entry
                .plugged
                .iter()
                .filter(|one| one.is_plugged())
                .map(|one| one.id().to_owned())
                .collect(),
            wants_touch: entry.token.wants_touch(),
            frames: entry.token.frames().len(),
        });
        let fobs = inside.fobs.iter().map(|(name, fob)| Listed {
            name: name.clone(),
            profile: format!("{:?}, {} digits", fob.hash, fob.digits).to_lowercase(),
            kind: "fob",
            serial: Some(fob.serial.clone()),
            fronts: Vec::new(),
            plugged: Vec::new(),
            wants_touch: false,
            frames: 0,
        });
        tokens.chain(fobs).collect()
    }
}

fn seed_of(spec: &TokenSpec) -> Result<Option<Vec<u8>>, SimError> {
    let Some(hex) = &spec.seed_hex else { return Ok(None) };
    match crypto::from_hex(hex).filter(|seed| !seed.is_empty()) {
        Some(seed) => Ok(Some(seed)),
        None => Err(SimError::Invalid(format!(
            "the `seed_hex` of {} is not hexadecimal",
            spec.name
        ))),
    }
}

fn unknown(what: &str, name: &str) -> SimError {
    SimError::Invalid(format!("there is no {what} called {name:?}; `list` names them all"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_world_holds_one_of_each() {
        let file = WorldFile::example();
        let world = World::new(&file, Hosts::default()).unwrap();
        let kinds: Vec<&str> = world.list().iter().map(|listed| listed.kind).collect();
        assert_eq!(kinds, ["token", "token", "fob"]);
        let (slow, right) = world
            .with_fob("fob", |fob| (fob.clock.shows(1_800_000_000), fob.clock.since_unix_s))
            .unwrap();
        assert_eq!(slow, 1_800_000_000 - 540);
        assert!(right > 1_600_000_000);
    }

    #[test]
    fn a_world_says_what_is_wrong_with_it() {
        let message = |text: &str| match WorldFile::parse(text).and_then(|file| World::new(&file, Hosts::default())) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert!(message("nonsense = 1").contains("nonsense"));
        assert!(message("[[token]]\nname = 'a'\nprofile = 'none'").contains("no profile"));
        let twice = "[[token]]\nname = 'a'\nprofile = 'fido20'\n".repeat(2);
        assert!(message(&twice).contains("already"));
        assert!(message("[[token]]\nname = 'f'\nprofile = 'fob-sha1'\nseed_hex = 'xy'").contains("hexadecimal"));
        let world = World::new(&WorldFile::example(), Hosts::default()).unwrap();
        assert!(world.plug("key").unwrap_err().to_string().contains("--virtual"));
        assert!(world.plug("nobody").unwrap_err().to_string().contains("nobody"));
    }
}
