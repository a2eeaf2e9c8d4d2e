//! What taking a delivery in costs beyond reading its file.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use claviger::codec::delivery::Moving;
use claviger::codec::pskc::{Integrity, Outgoing, Unlock, randomness_needed, write};
use claviger::codec::seed_file::Format;
use claviger::types::{OathAlgorithm, Secret};

use crate::daemon::{Daemon, Setup, state_directory};
use crate::part::{PASSPHRASE, Player};
use crate::report::{Measured, median, quantile};
use crate::stage::Stage;

const TOKENS: usize = 10_000;
const ROUNDS: usize = 7;
/// Rounds of PBKDF2 that the file was made with: what makers and RFC 6030's own example take. With more, reading takes longer,
/// and the ratio would say less.
const ITERATIONS: u32 = 1_000;

/// `import_10k_over_parse`: the verb `Import` as an unprivileged caller sees it, from the call to `Completed`, over reading the
/// same file alone.
pub async fn ratio() -> Result<Measured, String> {
    let stage = Stage::system().await?;
    let pskc = pskc()?;
    let csv = csv();
    let (mut imports, mut parses, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let parse = parse(&pskc)?;
        let import = import(&stage, &pskc).await;
        imports.push(import);
        parses.push(parse);
        ratios.push(import / parse);
    }
    let (csv_import, csv_parse) = (import(&stage, &csv).await, parse(&csv)?);
    Ok(Measured {
        value: median(&ratios),
        notes: vec![
            format!(
                "import {:.0} ms (slowest {:.0}), reading {:.0} ms; {ROUNDS} rounds, each into an empty ledger",
                median(&imports),
                quantile(&imports, 1.0),
                median(&parses)
            ),
            format!(
                "PSKC of {:.1} MB, AES-256-CBC, a MAC for each seed, PBKDF2 of {ITERATIONS} rounds; of a CSV of {:.1} MB: import \
                 {csv_import:.0} ms, reading {csv_parse:.0} ms",
                megabytes(&pskc),
                megabytes(&csv)
            ),
        ],
    })
}

#[allow(clippy::cast_precision_loss)]
fn megabytes(file: &[u8]) -> f64 {
    file.len() as f64 / 1e6
}

/// Reading as the daemon does it, in milliseconds.
fn parse(file: &[u8]) -> Result<f64, String> {
    let unlock = Unlock {
        key: None,
        passphrase: Some(Secret::new(PASSPHRASE.as_bytes().to_vec())),
    };
    let begun = Instant::now();
    let format = Format::detect(file).map_err(|error| error.to_string())?;
    let delivery = format.read(file, &unlock, Integrity::Strict);
    let delivery = delivery.map_err(|error| error.to_string())?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    match delivery.tokens.len() {
        TOKENS => Ok(took),
        other => Err(format!("{other} tokens of {TOKENS} were read")),
    }
}

/// The verb on an empty ledger, in milliseconds.
async fn import(stage: &Stage, file: &[u8]) -> f64 {
    let state = state_directory();
    let path = stage.directory().join("delivery");
    std::fs::write(&path, file).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("its mode");
    let daemon = Daemon::start(stage, state.path(), &Setup::default()).await;
    let took = told(stage, &path);
    daemon.stop().await;
    took
}

fn told(stage: &Stage, path: &Path) -> f64 {
    let mut person = Player::person(stage);
    let answer = person.ask(&format!("import {}", path.display()));
    let (took, imported) = answer.split_once(' ').expect("a time and a number");
    assert_eq!(imported.parse(), Ok(TOKENS), "all of them");
    took.parse().expect("a number")
}

fn serial(n: usize) -> String {
    format!("8{n:08}")
}

/// Twenty bytes, of which no two tokens have the same.
fn seed(n: usize) -> Secret {
    Secret::new(format!("{n:020}").into_bytes())
}

fn pskc() -> Result<Vec<u8>, String> {
    let named: Vec<(String, Secret)> = (0..TOKENS).map(|n| (serial(n), seed(n))).collect();
    let tokens: Vec<Outgoing<'_>> = named
        .iter()
        .map(|(serial, seed)| Outgoing {
            id: serial,
            moving: Moving::Time {
                period_s: 30,
                drift_steps: 0,
            },
            algorithm: OathAlgorithm::Sha1,
            digits: 6,
            seed,
            serial: Some(serial),
            maker: Some("Contoso"),
            model: Some("C1"),
            subject: None,
            valid_from: None,
            valid_until: None,
        })
        .collect();
    let passphrase = Secret::new(PASSPHRASE.as_bytes().to_vec());
    let mut randomness = vec![0; randomness_needed(TOKENS)];
    getrandom::fill(&mut randomness).map_err(|error| error.to_string())?;
    let file = write(&tokens, &passphrase, ITERATIONS, &randomness).ok_or("no file")?;
    Ok(file.expose().to_vec())
}

fn csv() -> Vec<u8> {
    let mut rows = "upn,serial number,secret key,time interval,manufacturer,model\n".to_owned();
    for n in 0..TOKENS {
        let seed = data_encoding::BASE32_NOPAD.encode(seed(n).expose());
        writeln!(rows, ",{},{seed},30,Contoso,C1", serial(n)).expect("text");
    }
    rows.into_bytes()
}
