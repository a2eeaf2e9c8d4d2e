//! `claviger register app` and `claviger register recovery-codes`: what is made by the daemon and shown once.

use std::fs::File;
use std::io::Seek;
use std::os::fd::OwnedFd;

use nix::sys::memfd::{MFdFlags, memfd_create};
use zbus::Variant;
use zeroize::Zeroizing;

use crate::client::arguments::{RegisterApp, RegisterRecoveryCodes};
use crate::client::failure::Failure;
use crate::client::qr::{Picture, write_private};
use crate::client::register::{compact, insert_text, oath_options};
use crate::client::render::clean;
use crate::client::session::Session;
use crate::client::{follow, secret};
use crate::contract::options;
use crate::contract::proxy::Options;
use crate::types::secret_buffer::SecretBuffer;

/// Most bytes that the daemon hands out.
const LONGEST: usize = 8192;

/// Registers an app: shows the QR code and asks for the first code.
pub async fn app(session: &Session, args: &RegisterApp) -> Result<u8, Failure> {
    let mut options = oath_options(&args.oath);
    insert_text(&mut options, options::LABEL, args.label.as_deref());
    insert_text(&mut options, options::ISSUER, args.issuer.as_deref());
    insert_text(&mut options, options::ACCOUNT, args.account.as_deref());
    let tokens = session.tokens().await?;
    let (mut ours, theirs) = letter()?;
    let ended = follow::run(
        session,
        tokens.register_app(&args.subject, zbus::Fd::from(theirs), &options),
    )
    .await?;
    let token = ended.text("token");
    let uri = read(&mut ours)?;
    let picture = Picture::of(&uri)?;
    if let Some(path) = &args.png {
        write_private(path, &picture.png()?)?;
    }
    if let Some(path) = &args.svg {
        write_private(path, picture.svg().as_bytes())?;
    }
    if args.png.is_none() && args.svg.is_none() {
        secret::tell(&picture.text())?;
        secret::tell(&Zeroizing::new(format!(
            "To type it instead: {}\n",
            &*pairing_code(&uri)
        )))?;
    }
    let code = match args.no_code {
        true => None,
        false => Some(compact(&secret::ask_line(
            "Type the code the app shows now: ",
            "--no-code",
        )?)),
    };
    let Some(code) = code else {
        let sentence = format!(
            "Registered app {token} for {}. It is pending until “claviger test {token}” passes.",
            clean(&args.subject)
        );
        return ended.report(session, "register", &sentence);
    };
    let mut options = Options::new();
    options.insert(options::CODE, Variant::from(code.as_str()));
    follow::run(session, tokens.test(&token, &options)).await?;
    let sentence = format!(
        "Registered app {token} for {}; its first code passed.",
        clean(&args.subject)
    );
    ended.report(session, "register", &sentence)
}

/// Makes a sheet of recovery codes and writes it to the terminal or to a file.
pub async fn recovery_codes(session: &Session, args: &RegisterRecoveryCodes) -> Result<u8, Failure> {
    let mut options = Options::new();
    if let Some(count) = args.count {
        options.insert(options::COUNT, Variant::U32(count));
    }
    let tokens = session.tokens().await?;
    let (mut ours, theirs) = letter()?;
    let call = tokens.register_recovery_codes(&args.subject, zbus::Fd::from(theirs), &options);
    let ended = follow::run(session, call).await?;
    let codes = read(&mut ours)?;
    match &args.file {
        Some(path) => write_private(path, codes.as_bytes())?,
        None => secret::tell(&codes)?,
    }
    let sentence = format!(
        "Made recovery codes {} for {}. They are shown this once; each is good once.",
        ended.text("token"),
        clean(&args.subject)
    );
    ended.report(session, "register", &sentence)
}

/// A memory file: our end, and the one that the daemon writes to.
fn letter() -> Result<(File, OwnedFd), Failure> {
    let failed = |error: std::io::Error| Failure::local(format!("cannot take a secret: {error}"));
    let fd = memfd_create(c"claviger", MFdFlags::MFD_CLOEXEC).map_err(|error| failed(error.into()))?;
    let ours = File::from(fd);
    let theirs = ours.try_clone().map_err(failed)?;
    Ok((ours, theirs.into()))
}

/// What the daemon wrote to the memory file.
fn read(file: &mut File) -> Result<Zeroizing<String>, Failure> {
    let failed = |error: std::io::Error| Failure::local(format!("cannot take a secret: {error}"));
    file.rewind().map_err(failed)?;
    let mut buffer = SecretBuffer::new(LONGEST);
    buffer.fill(file).map_err(failed)?;
    let written = buffer.into_secret();
    let text = std::str::from_utf8(written.expose()).map_err(|_| failed(std::io::ErrorKind::InvalidData.into()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The secret of the URI in groups of four.
fn pairing_code(uri: &str) -> Zeroizing<String> {
    let secret = uri.split(['?', '&']).find_map(|part| part.strip_prefix("secret="));
    let secret = secret.unwrap_or_default();
    // Room for all of it: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(secret.len() + secret.len() / 4));
    for (at, symbol) in secret.chars().enumerate() {
        if at > 0 && at % 4 == 0 {
            text.push(' ');
        }
        text.push(symbol);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pairing_code_is_the_secret_in_groups() {
        let uri = "otpauth://totp/a:b?secret=GEZDGNBVGY&issuer=a";
        assert_eq!(&*pairing_code(uri), "GEZD GNBV GY");
    }
}
