//! What an identity provider asks, from a file, and the response for it, into a file that is there whole or not at all.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use zbus::{Fd, ObjectPath, Variant};

use crate::client::arguments::{ExchangeArgs, PresenceArgs};
use crate::client::failure::Failure;
use crate::client::new_file::NewFile;
use crate::client::presence::Presence;
use crate::client::register::registered_key;
use crate::client::session::Session;
use crate::client::{follow, secret};
use crate::contract::options;
use crate::contract::proxy::Options;
use crate::types::{Provider, Secret};

/// Where Entra's pages are, which nobody need type.
const ENTRA_ORIGIN: &str = "https://login.microsoft.com";

/// Options of a provider, and the file under way for the response.
pub struct Exchange {
    provider: Option<String>,
    asked: PathBuf,
    origin: String,
    place: PathBuf,
    response: NewFile,
}

impl Exchange {
    /// Begins one, if options of a provider were given.
    ///
    /// # Errors
    /// [`Failure::Usage`] without an origin, [`Failure::Local`] when a file cannot be made.
    pub fn begin(args: &ExchangeArgs, provider: Option<&str>) -> Result<Option<Self>, Failure> {
        let (Some(asked), Some(place)) = (&args.options, &args.response) else {
            return Ok(None);
        };
        let entra = provider == Some(Provider::Entra.as_str());
        let origin = args
            .origin
            .clone()
            .or_else(|| entra.then(|| ENTRA_ORIGIN.to_owned()))
            .ok_or_else(|| Failure::usage("--origin is needed: the page that the provider would have asked from"))?;
        Ok(Some(Self {
            provider: provider.map(str::to_owned),
            asked: asked.clone(),
            origin,
            place: place.clone(),
            response: NewFile::begin(place)?,
        }))
    }

    /// Registers the key of that path, whose PIN this is.
    ///
    /// # Errors
    /// As every operation.
    pub async fn register(
        self,
        session: &Session,
        device: &ObjectPath<'_>,
        subject: &str,
        pin: &Secret,
        mut options: Options<'_>,
    ) -> Result<u8, Failure> {
        if let Some(provider) = self.provider.as_deref() {
            options.insert(options::PROVIDER, Variant::from(provider));
        }
        let tokens = session.tokens().await?;
        let (pin, asked) = (Fd::from(secret::sealed(pin)?), opened(&self.asked)?);
        let response = self.response.descriptor()?;
        let call = tokens.register_for_provider(device, subject, &self.origin, pin, asked, response, &options);
        let ended = follow::run(session, call).await?;
        self.response.keep()?;
        let sentence = format!(
            "{} The response for the provider is in {}.",
            registered_key(&ended, subject),
            self.place.display()
        );
        ended.report(session, "register", &sentence)
    }

    /// Tests the token.
    ///
    /// # Errors
    /// As every operation.
    pub async fn test(self, session: &Session, token: &str, at: &PresenceArgs) -> Result<u8, Failure> {
        let tokens = session.tokens().await?;
        let mut presence = Presence::gather(at)?;
        let ended = loop {
            let mut options = Options::new();
            presence.insert_into(&mut options)?;
            let (asked, response) = (opened(&self.asked)?, self.response.descriptor()?);
            let call = tokens.test_for_provider(token, &self.origin, asked, response, &options);
            match follow::run(session, call).await {
                Ok(ended) => break ended,
                Err(refusal) => presence.supply(refusal)?,
            }
        };
        self.response.keep()?;
        let sentence = format!(
            "Test passed: token {token}. The response for the provider is in {}.",
            self.place.display()
        );
        ended.report(session, "test", &sentence)
    }
}

fn opened(path: &Path) -> Result<Fd<'static>, Failure> {
    let file = File::open(path).map_err(|why| Failure::local(format!("cannot open {}: {why}", path.display())))?;
    Ok(Fd::from(OwnedFd::from(file)))
}
