//! Seed files in the judgement of programs that share nothing with ours: Debian's `pskctool` and PyPI's `python-pskc`.

#[path = "../hw-fixtures/tests/judge/pypi.rs"]
mod pypi;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use claviger::codec::delivery::{KeyOrigin, Moving};
use claviger::codec::pskc::{Integrity, Outgoing, Unlock, deliver, randomness_needed, write};
use claviger::types::{OathAlgorithm, Secret};

const SEED: &[u8] = b"12345678901234567890";

/// Says in one line that a test is skipped and why, past the test runner. On CI nothing may be skipped.
fn skipped(test: &str, why: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "{test}: {why}, and on CI nothing may be skipped"
    );
    let _ = writeln!(std::io::stderr(), "{test}: skipped, {why}");
}

fn passphrase(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

/// Two tokens as we write them, to the passphrase “correct horse”.
fn ours() -> Vec<u8> {
    let seed = Secret::new(SEED.to_vec());
    let token = |id, moving| Outgoing {
        id,
        moving,
        algorithm: OathAlgorithm::Sha1,
        digits: 6,
        seed: &seed,
        serial: Some(id),
        maker: Some("Contoso"),
        model: None,
        subject: None,
        valid_from: None,
        valid_until: None,
    };
    let time = Moving::Time {
        period_s: 60,
        drift_steps: -2,
    };
    let tokens = [token("S1", time), token("S2", Moving::Event { counter: 7 })];
    let file = write(
        &tokens,
        &passphrase("correct horse"),
        10_000,
        &vec![9; randomness_needed(2)],
    )
    .unwrap();
    file.expose().to_vec()
}

#[test]
fn pskctool_reads_what_we_write() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ours.pskcxml");
    std::fs::write(&file, ours()).unwrap();
    let Ok(read) = Command::new("pskctool").arg("--info").arg(&file).output() else {
        skipped("pskctool_reads_what_we_write", "no pskctool");
        return;
    };
    let told = String::from_utf8_lossy(&read.stdout);
    assert!(read.status.success(), "{told}{}", String::from_utf8_lossy(&read.stderr));
    for line in [
        "SerialNo: S1",
        "SerialNo: S2",
        "Manufacturer: Contoso",
        "Key Counter: 7",
        "Key TimeInterval: 60",
    ] {
        assert!(told.contains(line), "“{line}” in {told}");
    }
}

fn pskctool(words: &[&str], file: &Path) -> Option<(bool, String)> {
    let ran = Command::new("pskctool").args(words).arg(file).output().ok()?;
    let told = [ran.stdout, ran.stderr].concat();
    Some((ran.status.success(), String::from_utf8_lossy(&told).into_owned()))
}

/// By the schema of RFC 6030 section 11, as Debian ships it with libpskc.
#[test]
fn what_we_write_is_valid_by_the_schema() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ours.pskcxml");
    std::fs::write(&file, ours()).unwrap();
    let Some((valid, told)) = pskctool(&["--validate"], &file) else {
        skipped("what_we_write_is_valid_by_the_schema", "no pskctool");
        return;
    };
    assert!(valid && told.lines().any(|line| line == "OK"), "{told}");
}

/// `pskctool --strict` refuses every file that is encrypted, RFC 6030's own figures among them: libpskc knows no `EncryptionKey`,
/// `MACMethod`, `EncryptedValue` and `ValueMAC`. Of ours it complains of those alone, and that our maker is not in OATH's or IANA's
/// list (section 4.3.1), by which it refuses nothing.
#[test]
fn what_a_strict_pskctool_complains_of_is_encryption_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ours.pskcxml");
    std::fs::write(&file, ours()).unwrap();
    let Some((accepted, told)) = pskctool(&["--info", "--strict", "--debug"], &file) else {
        skipped("what_a_strict_pskctool_complains_of_is_encryption_alone", "no pskctool");
        return;
    };
    assert!(
        !accepted,
        "it has learnt to read encrypted files: read ours by it, and its codes"
    );
    let mut complaints: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("debug: ")).collect();
    complaints.sort_unstable();
    complaints.dedup();
    let known = [
        "non-compliant Manufacturer value: Contoso",
        "unknown <KeyContainer> element <EncryptionKey>",
        "unknown <KeyContainer> element <MACMethod>",
        "unknown <Secret> element <EncryptedValue>",
        "unknown <Secret> element <ValueMAC>",
    ];
    assert_eq!(complaints, known);
}

#[test]
fn what_pskctool_signs_we_read() {
    let folder = tempfile::tempdir().unwrap();
    let plain = r#"<?xml version="1.0"?>
<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc"><KeyPackage><DeviceInfo><Manufacturer>Contoso</Manufacturer><SerialNo>S1</SerialNo></DeviceInfo><Key Id="1" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp"><AlgorithmParameters><ResponseFormat Length="8" Encoding="DECIMAL"/></AlgorithmParameters><Data><Secret><PlainValue>MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=</PlainValue></Secret><Counter><PlainValue>3</PlainValue></Counter></Data></Key></KeyPackage></KeyContainer>
"#;
    std::fs::write(folder.path().join("plain"), plain).unwrap();
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out crt -subj /CN=judge 2>/dev/null && exec pskctool --sign --sign-key=key --sign-crt=crt plain";
    let signed = Command::new("sh")
        .args(["-c", script])
        .current_dir(folder.path())
        .output()
        .unwrap();
    if !signed.status.success() {
        skipped("what_pskctool_signs_we_read", "no pskctool or no openssl");
        return;
    }
    let delivery = deliver(&signed.stdout, &Unlock::default(), Integrity::Strict).unwrap();
    assert!(delivery.protection.signed);
    let token = &delivery.tokens[0];
    assert_eq!((token.moving, token.digits), (Moving::Event { counter: 3 }, 8));
    assert_eq!((token.seed.expose(), token.serial.as_deref()), (SEED, Some("S1")));
}

/// Python with `python-pskc`.
fn python() -> Option<PathBuf> {
    let programs = pypi::programs();
    if programs.is_none() {
        skipped("judge_pskc", "PyPI's python-pskc cannot be installed");
    }
    Some(programs?.join("python"))
}

fn run(python: &Path, script: &str, folder: &Path) -> String {
    let ran = Command::new(python)
        .args(["-c", script])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn python_pskc_reads_what_we_write() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ours.pskcxml"), ours()).unwrap();
    let script = "
import pskc
file = pskc.PSKC('ours.pskcxml')
file.encryption.derive_key('correct horse')
for key in file.keys:
    assert key.check()
    print(key.serial, key.manufacturer, key.secret.decode(), key.algorithm.rsplit(':')[-1], key.counter, key.time_interval, key.time_drift, key.response_length)
";
    assert_eq!(
        run(&python, script, folder.path()),
        "S1 Contoso 12345678901234567890 totp None 60 -2 6\nS2 Contoso 12345678901234567890 hotp 7 None None 6\n"
    );
}

/// The sign of `TimeDrift`. Neither python-pskc nor pskctool computes codes by it (and pskctool prints a negative one as a number
/// beyond four thousand million), so three have to agree: RFC 6030's own example (of its element: a device at 8 intervals, a server
/// at 9, drift -1), python-pskc's reading of our file, and oathtool's code for the step that the two together name.
#[test]
fn the_drift_we_write_leads_to_the_code_that_the_fob_shows() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ours.pskcxml"), ours()).unwrap();
    let script = "
import pskc
file = pskc.PSKC('ours.pskcxml')
key = file.keys[0]
print(key.time_drift * key.time_interval)
";
    let drift_s: i64 = run(&python, script, folder.path()).trim().parse().unwrap();
    // Two intervals of a minute behind: at noon its display has the code of two minutes before noon.
    let (noon, shown_since_s) = (1_800_000_000_i64, -120);
    let by_oathtool = |at: i64| {
        let words = ["--totp", "--time-step-size=60s", &format!("--now=@{at}"), "--base32"];
        let seed = data_encoding::BASE32.encode(SEED);
        let ran = Command::new("oathtool").args(words).arg(seed).output().ok()?;
        Some(String::from_utf8_lossy(&ran.stdout).trim_end().to_owned())
    };
    let Some(by_file) = by_oathtool(noon + drift_s) else {
        skipped("the_drift_we_write_leads_to_the_code_that_the_fob_shows", "no oathtool");
        return;
    };
    let seed = Secret::new(SEED.to_vec());
    let parameters = claviger::codec::oath::OathParameters::new(OathAlgorithm::Sha1, 6, 60).unwrap();
    let display = claviger::codec::oath::Generator::new(&seed, parameters).unwrap();
    let shows = display.code(u64::try_from((noon + shown_since_s) / 60).unwrap());
    assert_eq!(by_file, shows.expose());
}

#[test]
fn what_python_pskc_writes_we_read() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = "
import pskc
def made():
    file = pskc.PSKC()
    file.add_key(id='1', serial='S1', manufacturer='Contoso', secret=b'12345678901234567890', algorithm='urn:ietf:params:xml:ns:keyprov:pskc:totp', time_interval=60, time_drift=-2, response_length=8, response_encoding='DECIMAL')
    return file
file = made()
file.write('plain')
for cipher, length in (('aes128-cbc', 16), ('aes192-cbc', 24), ('aes256-cbc', 32), ('tripledes-cbc', 24), ('kw-aes128', 16), ('kw-aes192', 24), ('kw-aes256', 32)):
    file = made()
    file.encryption.setup_preshared_key(key=bytes(range(length)), algorithm=cipher)
    file.write('key.' + cipher)
for prf in ('hmac-sha1', 'hmac-sha256', 'hmac-sha512'):
    file = made()
    file.encryption.setup_pbkdf2('correct horse', iterations=1000, prf=prf)
    file.write('pass.' + prf)
";
    run(&python, script, folder.path());
    let mut read = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let length = match name.split_once('.') {
            Some(("key", "aes128-cbc" | "kw-aes128")) => 16,
            Some(("key", "aes256-cbc" | "kw-aes256")) => 32,
            _ => 24,
        };
        let unlock = Unlock {
            key: name.starts_with("key").then(|| Secret::new((0..length).collect())),
            passphrase: name.starts_with("pass").then(|| passphrase("correct horse")),
        };
        let file = std::fs::read(entry.path()).unwrap();
        let delivery = deliver(&file, &unlock, Integrity::Strict).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(delivery.rejected.is_empty(), "{name}: {:?}", delivery.rejected);
        let token = &delivery.tokens[0];
        let moving = Moving::Time {
            period_s: 60,
            drift_steps: -2,
        };
        assert_eq!((token.moving, token.digits), (moving, 8), "{name}");
        assert_eq!(token.seed.expose(), SEED, "{name}");
        assert_eq!(delivery.protection.key == KeyOrigin::Plain, name == "plain", "{name}");
        if let Some(prf) = name.strip_prefix("pass.") {
            assert!(
                matches!(delivery.protection.key, KeyOrigin::Passphrase { prf: used, iterations: 1000 } if used == prf)
            );
        }
        read += 1;
    }
    assert_eq!(read, 11);
}
