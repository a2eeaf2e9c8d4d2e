//! PINs, passwords and seeds on their way to the daemon: asked for without echo or read from a descriptor, normalised,
//! handed over as a sealed memory file, wiped here. Never from an argument, never from the environment.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::client::arguments::{PassphraseArgs, PasswordArgs, PinArgs};
use crate::client::failure::Failure;
use crate::types::Secret;
use crate::types::secret_buffer::SecretBuffer;

/// The daemon reads no more than this from a descriptor.
const LIMIT: usize = 4096;
/// CTAP 2.1 section 6.5.1: a PIN is at most 63 bytes of UTF-8 …
const PIN_BYTES: usize = 63;
/// … and at least 4 code points, unless the key asks for more.
pub const PIN_CODE_POINTS: usize = 4;

/// The PIN of a key that has one.
///
/// # Errors
/// [`Failure::Local`] when it cannot be read, [`Failure::Usage`] when there is no terminal to ask on.
pub fn pin(from: PinArgs, prompt: &str) -> Result<Secret, Failure> {
    let text = match piped_pin(from)? {
        Some(text) => text,
        None => ask(prompt, "--pin-stdin or --pin-fd")?,
    };
    checked_pin(&text, 1)
}

/// A PIN to be set: asked for twice, at least `min` code points.
///
/// # Errors
/// As [`pin`], and [`Failure::Usage`] when the two differ or the PIN is too short or too long.
pub fn new_pin(from: PinArgs, prompt: &str, min: usize) -> Result<Secret, Failure> {
    if let Some(text) = piped_pin(from)? {
        return checked_pin(&text, min);
    }
    let text = ask(prompt, "--pin-stdin or --pin-fd")?;
    let first = checked_pin(&text, min)?;
    let again = checked_pin(&ask("The same PIN again: ", "--pin-stdin or --pin-fd")?, 1)?;
    if first.expose() == again.expose() {
        Ok(first)
    } else {
        Err(Failure::usage("the two PINs differ; nothing was done"))
    }
}

/// A PIN that the person may decline to give by an empty line.
///
/// # Errors
/// As [`pin`].
pub fn optional_pin(prompt: &str) -> Result<Option<Secret>, Failure> {
    let text = ask(prompt, "--pin-stdin or --pin-fd")?;
    if text.is_empty() {
        Ok(None)
    } else {
        checked_pin(&text, 1).map(Some)
    }
}

/// Whether the PIN comes from somewhere else than the terminal.
#[must_use]
pub fn is_piped(from: PinArgs) -> bool {
    from.pin_stdin || from.pin_fd.is_some()
}

fn piped_pin(from: PinArgs) -> Result<Option<Zeroizing<String>>, Failure> {
    match (from.pin_stdin, from.pin_fd) {
        (true, _) => read_text(&mut io::stdin().lock(), "the PIN").map(Some),
        (false, Some(fd)) => read_text(&mut descriptor(fd)?, "the PIN").map(Some),
        (false, None) => Ok(None),
    }
}

/// The password of a card's applet, when one was announced.
///
/// # Errors
/// As [`pin`].
pub fn password(from: PasswordArgs) -> Result<Option<Secret>, Failure> {
    let text = if from.password_stdin {
        read_text(&mut io::stdin().lock(), "the password")?
    } else if let Some(fd) = from.password_fd {
        read_text(&mut descriptor(fd)?, "the password")?
    } else if from.password {
        ask(
            "Password of the card's OATH applet: ",
            "--password-stdin or --password-fd",
        )?
    } else {
        return Ok(None);
    };
    Ok(Some(normalised(&text)))
}

/// Fewest characters of a passphrase to which seeds are encrypted: whoever has the file may try for ever.
const PASSPHRASE_CHARACTERS: usize = 12;

/// The passphrase of a file to be written: asked for twice.
///
/// # Errors
/// As [`pin`], and [`Failure::Usage`] when the two differ or it is too short.
pub fn new_passphrase(from: PassphraseArgs) -> Result<Secret, Failure> {
    let instead = "--passphrase-stdin or --passphrase-fd";
    let text = match piped_passphrase(from)? {
        Some(text) => text,
        None => {
            let text = ask("Passphrase of the file: ", instead)?;
            if *text != *ask("The same passphrase again: ", instead)? {
                return Err(Failure::usage("the two passphrases differ; nothing was done"));
            }
            text
        }
    };
    if text.chars().count() < PASSPHRASE_CHARACTERS {
        return Err(Failure::usage(format!(
            "the passphrase needs {PASSPHRASE_CHARACTERS} characters or more: whoever has the file may try for ever"
        )));
    }
    Ok(normalised(&text))
}

/// The passphrase of a file to be read, when one was announced.
///
/// # Errors
/// As [`pin`].
pub fn passphrase(ask_for_it: bool, from: PassphraseArgs) -> Result<Option<Secret>, Failure> {
    let text = match piped_passphrase(from)? {
        Some(text) => text,
        None if ask_for_it => ask("Passphrase of the file: ", "--passphrase-stdin or --passphrase-fd")?,
        None => return Ok(None),
    };
    Ok(Some(normalised(&text)))
}

/// A key of raw bytes from a file.
///
/// # Errors
/// As [`pin`].
pub fn key_file(path: &Path) -> Result<Secret, Failure> {
    let mut file = File::open(path).map_err(|e| Failure::local(format!("cannot open {}: {e}", path.display())))?;
    read_bounded(&mut file, "the key")
}

fn piped_passphrase(from: PassphraseArgs) -> Result<Option<Zeroizing<String>>, Failure> {
    match (from.passphrase_stdin, from.passphrase_fd) {
        (true, _) => read_text(&mut io::stdin().lock(), "the passphrase").map(Some),
        (false, Some(fd)) => read_text(&mut descriptor(fd)?, "the passphrase").map(Some),
        (false, None) => Ok(None),
    }
}

/// A new password for a card's applet, typed twice.
///
/// # Errors
/// As [`pin`].
pub fn new_password(from: Option<u32>) -> Result<Secret, Failure> {
    let text = match from {
        Some(fd) => read_text(&mut descriptor(fd)?, "the new password")?,
        None => {
            let first = ask("New password of the card's OATH applet: ", "--new-fd")?;
            let again = ask("The same once more: ", "--new-fd")?;
            if *first != *again {
                return Err(Failure::usage("the two passwords differ; nothing was done"));
            }
            first
        }
    };
    Ok(normalised(&text))
}

/// Where a seed comes from.
pub enum SeedSource<'a> {
    /// A file.
    File(&'a Path),
    /// Standard input.
    Stdin,
    /// The terminal.
    Prompt,
}

/// A seed as it is written; decoding it is the daemon's.
///
/// # Errors
/// As [`pin`].
pub fn seed(source: &SeedSource<'_>) -> Result<Secret, Failure> {
    match source {
        SeedSource::File(path) => {
            let mut file =
                File::open(path).map_err(|e| Failure::local(format!("cannot open {}: {e}", path.display())))?;
            read_bounded(&mut file, "the seed")
        }
        SeedSource::Stdin => read_bounded(&mut io::stdin().lock(), "the seed"),
        SeedSource::Prompt => {
            let text = ask("Seed of the fob: ", "--seed-file or --seed-stdin")?;
            Ok(Secret::new(text.trim().as_bytes().to_vec()))
        }
    }
}

/// A code read off a display. It is worth nothing a minute later, so it is shown as it is typed.
///
/// # Errors
/// [`Failure::Usage`] without a terminal.
pub fn ask_line(prompt: &str, instead: &str) -> Result<String, Failure> {
    let mut tty = terminal(instead)?;
    let mut line = String::new();
    let mut byte = [0u8; 1];
    write!(tty, "{prompt}").map_err(|e| Failure::local(format!("cannot write to the terminal: {e}")))?;
    while line.len() < LIMIT {
        match tty.read(&mut byte) {
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => line.extend(byte.iter().map(|b| char::from(*b)).filter(char::is_ascii)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::local(format!("cannot read from the terminal: {error}"))),
        }
    }
    Ok(line.trim().to_owned())
}

/// [`ask_line`], and Ctrl-C ends the waiting: once an operation was followed the process no longer dies of it.
///
/// # Errors
/// As there; [`Failure::Cancelled`].
pub async fn ask_line_unless_interrupted(prompt: &'static str, instead: &'static str) -> Result<String, Failure> {
    let (sender, answer) = tokio::sync::oneshot::channel();
    // A thread of its own: the runtime would wait for the end of one of its own, which sits in a read.
    std::thread::spawn(move || sender.send(ask_line(prompt, instead)));
    tokio::select! {
        line = answer => line.map_err(|_| Failure::local("nothing could be asked"))?,
        _ = tokio::signal::ctrl_c() => Err(Failure::Cancelled("interrupted".to_owned())),
    }
}

/// A code from standard input.
///
/// # Errors
/// [`Failure::Local`].
pub fn line_from_stdin() -> Result<String, Failure> {
    let bytes = read_bounded(&mut io::stdin().lock(), "the code")?;
    let text = String::from_utf8_lossy(bytes.expose());
    Ok(text.trim().to_owned())
}

/// Shows a secret on the terminal, never on standard output, which may be a file that others read.
///
/// # Errors
/// [`Failure::Usage`] without a terminal.
pub fn tell(secret: &str) -> Result<(), Failure> {
    let mut tty = terminal("a file (--png, --svg, --file)")?;
    write!(tty, "{secret}").map_err(|e| Failure::local(format!("cannot write to the terminal: {e}")))
}

/// Says that there is no terminal before something is begun that needs one.
///
/// # Errors
/// [`Failure::Usage`].
pub fn need_terminal(needed: bool, instead: &str) -> Result<(), Failure> {
    if needed {
        terminal(instead)?;
    }
    Ok(())
}

/// Columns of the terminal, if it tells.
#[must_use]
pub fn columns() -> Option<usize> {
    let tty = terminal("").ok()?;
    let (terminal_size::Width(width), _) = terminal_size::terminal_size_of(tty)?;
    Some(usize::from(width)).filter(|width| *width > 0)
}

/// Whether somebody can be asked.
#[must_use]
pub fn has_terminal() -> bool {
    terminal("").is_ok()
}

fn terminal(instead: &str) -> Result<File, Failure> {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|_| Failure::usage(format!("there is no terminal to ask on: use {instead}")))
}

/// Puts the secret into a sealed memory file that can be passed over D-Bus.
///
/// # Errors
/// [`Failure::Local`] when the kernel gives none.
pub fn sealed(secret: &Secret) -> Result<OwnedFd, Failure> {
    let failed = |e: io::Error| Failure::local(format!("cannot hand over a secret: {e}"));
    let fd =
        memfd_create(c"claviger", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).map_err(|e| failed(e.into()))?;
    let mut file = File::from(fd);
    file.write_all(secret.expose()).map_err(failed)?;
    // The descriptor's offset travels with it: the daemon reads from the beginning.
    file.rewind().map_err(failed)?;
    let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(|e| failed(e.into()))?;
    Ok(file.into())
}

fn ask(prompt: &str, instead: &str) -> Result<Zeroizing<String>, Failure> {
    // The terminal is opened first, so that its absence gets our sentence and not an errno.
    drop(terminal(instead)?);
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => Failure::Cancelled("cancelled; nothing was done".to_owned()),
            _ => Failure::local(format!("cannot read from the terminal: {e}")),
        })
}

/// Opens a descriptor this process was given; `/dev/fd` needs no ownership of the number and works for pipes and files.
fn descriptor(fd: u32) -> Result<File, Failure> {
    File::open(format!("/dev/fd/{fd}")).map_err(|e| Failure::local(format!("cannot read from descriptor {fd}: {e}")))
}

fn read_bounded(from: &mut impl Read, what: &str) -> Result<Secret, Failure> {
    let mut buffer = SecretBuffer::new(LIMIT);
    buffer.fill(from).map_err(|e| match e.kind() {
        io::ErrorKind::FileTooLarge => Failure::usage(format!("{what} is longer than {LIMIT} bytes")),
        _ => Failure::local(format!("cannot read {what}: {e}")),
    })?;
    if buffer.is_empty() {
        return Err(Failure::usage(format!("{what} is empty")));
    }
    Ok(buffer.into_secret())
}

fn read_text(from: &mut impl Read, what: &str) -> Result<Zeroizing<String>, Failure> {
    let secret = read_bounded(from, what)?;
    let text = std::str::from_utf8(secret.expose()).map_err(|_| Failure::usage(format!("{what} is not UTF-8")))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(Zeroizing::new(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}

/// Normalisation form C (CTAP 2.1 section 6.5.1): the same PIN typed on another keyboard gives the same bytes.
fn normalised(text: &str) -> Secret {
    // Form C is at most three times as long in UTF-8 (UAX #15): the vector never grows.
    let mut bytes = Vec::with_capacity(text.len().saturating_mul(3));
    let mut one = Zeroizing::new([0u8; 4]);
    for c in text.nfc() {
        bytes.extend_from_slice(c.encode_utf8(&mut *one).as_bytes());
    }
    Secret::new(bytes)
}

fn checked_pin(text: &str, min: usize) -> Result<Secret, Failure> {
    let pin = normalised(text);
    let code_points = text.nfc().count();
    if code_points < min {
        let wanted = if min == 1 {
            "it is empty".to_owned()
        } else {
            format!("the key wants at least {min} characters")
        };
        return Err(Failure::usage(format!("the PIN is too short: {wanted}")));
    }
    if pin.len() > PIN_BYTES {
        return Err(Failure::usage(format!(
            "the PIN is too long: at most {PIN_BYTES} bytes of UTF-8"
        )));
    }
    Ok(pin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_normalised_to_form_c() {
        // “é” as e and combining acute becomes U+00E9.
        let pin = checked_pin("e\u{301}abc", 4).map(|pin| pin.expose().to_vec());
        assert_eq!(pin.unwrap(), "éabc".as_bytes());
    }

    #[test]
    fn lengths_are_those_of_the_standard() {
        assert!(checked_pin("abc", 4).is_err());
        assert!(checked_pin("abcd", 4).is_ok());
        assert!(checked_pin(&"x".repeat(63), 4).is_ok());
        assert!(checked_pin(&"x".repeat(64), 4).is_err());
    }

    #[test]
    fn a_sealed_secret_reads_from_its_beginning_and_cannot_be_changed() {
        let fd = sealed(&Secret::new(b"1234".to_vec())).unwrap();
        let mut file = File::from(fd);
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "1234");
        assert!(file.write_all(b"x").is_err(), "it does not grow");
        file.rewind().unwrap();
        assert!(file.write_all(b"x").is_err(), "it cannot be overwritten");
        assert!(file.set_len(0).is_err(), "it does not shrink");
    }

    #[test]
    fn input_that_never_ends_is_refused() {
        assert!(read_bounded(&mut io::repeat(b'7'), "the seed").is_err());
        assert_eq!(&*read_text(&mut &b"1234\r\n"[..], "the PIN").unwrap(), "1234");
    }
}
