//! `claviger register app` and `claviger register recovery-codes`: what is made by the daemon and shown once.

use std::fs::File;
use std::io::Seek;
use std::os::fd::OwnedFd;

use nix::sys::memfd::{MFdFlags, memfd_create};
use zbus::Variant;
use zeroize::Zeroizing;

use crate::client::arguments::{RegisterApp, RegisterRecoveryCodes};
use crate::client::failure::Failure;
use crate::client::qr::{Picture, PrivateFile};
use crate::client::register::{compact, insert_text, oath_options};
use crate::client::render::clean;
use crate::client::session::Session;
use crate::client::{follow, replace, secret};
use crate::contract::options;
use crate::contract::proxy::Tokens1Proxy;
use crate::types::secret_buffer::SecretBuffer;

/// Most bytes that the daemon hands out.
const LONGEST: usize = 8192;

/// Times that the first code is asked for: it is easily mistyped, and an app whose first code never passed is of no use.
const FIRST_CODES: u32 = 3;

/// Registers an app: shows the QR code and asks for the first code.
pub async fn app(session: &Session, args: &RegisterApp) -> Result<u8, Failure> {
    let mut options = oath_options(session, &args.oath);
    insert_text(&mut options, options::LABEL, args.label.as_deref());
    insert_text(&mut options, options::ISSUER, args.issuer.as_deref());
    insert_text(&mut options, options::ACCOUNT, args.account.as_deref());
    replace::insert(session, &mut options, &args.place).await?;
    // Before anything is made: the seed is handed out once.
    let png = args.png.as_deref().map(PrivateFile::begin).transpose()?;
    let svg = args.svg.as_deref().map(PrivateFile::begin).transpose()?;
    let shown = png.is_none() && svg.is_none();
    secret::need_terminal(shown, "a file (--png, --svg)")?;
    secret::need_terminal(!args.no_code, "--no-code")?;

    let tokens = session.tokens().await?;
    let (mut ours, theirs) = letter()?;
    let call = tokens.register_app(&args.subject, zbus::Fd::from(theirs), &options);
    let ended = follow::run(session, call).await?;
    let token = ended.text("token");
    let uri = read(&mut ours)?;
    let picture = Picture::of(&uri)?;
    if let Some(file) = png {
        file.write(&picture.png()?)?;
    }
    if let Some(file) = svg {
        file.write(picture.svg().as_bytes())?;
    }
    if shown {
        show(&picture, &uri)?;
    }
    let subject = clean(&args.subject);
    if args.no_code {
        let sentence =
            format!("Registered app {token} for {subject}. It is pending until “claviger test {token}” passes.");
        return ended.report(session, "register", &sentence);
    }
    let passed = first_code(session, &tokens, &token).await?;
    let sentence = format!("Registered app {token} for {subject}; its first code passed.") + &replace::told(&passed);
    ended.report(session, "register", &sentence)
}

/// The QR code, if it fits, and the seed to type.
fn show(picture: &Picture, uri: &str) -> Result<(), Failure> {
    match secret::columns().is_none_or(|columns| picture.columns() <= columns) {
        true => secret::tell(&picture.text())?,
        // A line that wraps spoils the picture.
        false => secret::tell(&format!(
            "The QR code needs {} columns and this terminal has fewer: widen it, or use --png next time.\n",
            picture.columns()
        ))?,
    }
    let text = Zeroizing::new(format!("To type it instead: {}\n", &*pairing_code(uri)));
    secret::tell(&text)
}

/// Asks for the app's first code until one passes.
async fn first_code(session: &Session, tokens: &Tokens1Proxy<'_>, token: &str) -> Result<follow::Ended, Failure> {
    for left in (0..FIRST_CODES).rev() {
        let failure = match try_first_code(session, tokens, token).await {
            Ok(passed) => return Ok(passed),
            Err(failure) => failure,
        };
        if left > 0 && matches!(failure, Failure::Refused { .. }) {
            secret::tell(&format!("{failure}. Try the next code.\n"))?;
            continue;
        }
        secret::tell(&format!(
            "\nThe app is registered as {token} and pending until “claviger test {token}” passes.\n"
        ))?;
        return Err(failure);
    }
    Err(Failure::local("no code was asked for"))
}

async fn try_first_code(session: &Session, tokens: &Tokens1Proxy<'_>, token: &str) -> Result<follow::Ended, Failure> {
    let asked = secret::ask_line_unless_interrupted("Type the code the app shows now: ", "--no-code");
    let code = compact(&asked.await?);
    let mut options = session.options();
    options.insert(options::CODE, Variant::from(code.as_str()));
    follow::run(session, tokens.test(token, &options)).await
}

/// Makes a sheet of recovery codes and writes it to the terminal or to a file.
pub async fn recovery_codes(session: &Session, args: &RegisterRecoveryCodes) -> Result<u8, Failure> {
    let mut options = session.options();
    if let Some(count) = args.count {
        options.insert(options::COUNT, Variant::U32(count));
    }
    // Before anything is made: it revokes the earlier sheet, and this one is handed out once.
    let file = args.file.as_deref().map(PrivateFile::begin).transpose()?;
    secret::need_terminal(file.is_none(), "a file (--file)")?;
    let tokens = session.tokens().await?;
    let (mut ours, theirs) = letter()?;
    let call = tokens.register_recovery_codes(&args.subject, zbus::Fd::from(theirs), &options);
    let ended = follow::run(session, call).await?;
    let codes = read(&mut ours)?;
    match file {
        Some(file) => file.write(codes.as_bytes())?,
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
pub(super) fn letter() -> Result<(File, OwnedFd), Failure> {
    let failed = |error: std::io::Error| Failure::local(format!("cannot take a secret: {error}"));
    let fd = memfd_create(c"claviger", MFdFlags::MFD_CLOEXEC).map_err(|error| failed(error.into()))?;
    let ours = File::from(fd);
    let theirs = ours.try_clone().map_err(failed)?;
    Ok((ours, theirs.into()))
}

/// What the daemon wrote to the memory file.
pub(super) fn read(file: &mut File) -> Result<Zeroizing<String>, Failure> {
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
