//! Keys, modes, destroyed seeds, full and read-only disks.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use claviger::ledger::{KeySource, Ledger, LedgerError, Mutation, OpenOptions, SqliteLedger};
use claviger::types::UnixMillis;
use sqlx::{Connection, Row};

use crate::desk::{Dice, SEED, by_hand, event, fob, insert, open, stranger};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

async fn key_refusal(directory: &Path) -> String {
    match open(directory).await.err() {
        Some(LedgerError::Key(sentence)) => sentence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn everything_is_ours_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    ledger.commit(event(1), vec![insert(&fob("S-1"), None)]).await.unwrap();
    assert_eq!(mode(&dir.path().join("claviger.key")), 0o600);
    assert_eq!(mode(&dir.path().join("state")), 0o700);
    let files: Vec<_> = fs::read_dir(dir.path().join("state"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        2,
        "no draft of the key is left"
    );
}

#[tokio::test]
async fn a_bad_key_is_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("claviger.key");
    open(dir.path()).await.unwrap().close().await;
    let good = fs::read(&key).unwrap();
    assert_eq!(good.len(), 32);

    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(
        key_refusal(dir.path())
            .await
            .ends_with("has mode 0640; nobody else may read it: chmod 0600")
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    for (wrong, found) in [
        (&good[..31], "31"),
        (&[good.clone(), vec![10]].concat(), "more"),
        (&[], "0"),
    ] {
        fs::write(&key, wrong).unwrap();
        let sentence = key_refusal(dir.path()).await;
        assert!(
            sentence.ends_with(&format!("must hold exactly 32 bytes; it holds {found}")),
            "{sentence}"
        );
    }
    let mut other = good.clone();
    other[0] ^= 1;
    fs::write(&key, &other).unwrap();
    assert!(
        key_refusal(dir.path())
            .await
            .contains("not the key the ledger was sealed with")
    );
    fs::remove_file(&key).unwrap();
    assert!(key_refusal(dir.path()).await.contains("restore it from the backup"));
    assert!(!key.exists(), "no new key for an old ledger");
    std::os::unix::fs::symlink("/dev/zero", &key).unwrap();
    assert!(key_refusal(dir.path()).await.contains("cannot be read"));
    fs::remove_file(&key).unwrap();
    if nix::unistd::geteuid().is_root() {
        fs::write(&key, &good).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&key, Some(65534), None).unwrap();
        assert!(key_refusal(dir.path()).await.contains("belongs to uid 65534"));
        fs::remove_file(&key).unwrap();
    } else {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("a key of another owner: skipped, needs root\n"),
        );
    }
    // A credential's mode is systemd's affair.
    fs::write(&key, &good).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o440)).unwrap();
    let options = |path| OpenOptions {
        directory: dir.path().join("state"),
        key: KeySource::Credential(path),
    };
    SqliteLedger::open(options(key.clone())).await.unwrap().close().await;
    fs::remove_file(&key).unwrap();
    assert!(matches!(
        SqliteLedger::open(options(key)).await.err(),
        Some(LedgerError::Key(_))
    ));
}

#[tokio::test]
async fn a_newer_or_foreign_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.unwrap().close().await;
    let later = "INSERT INTO _sqlx_migrations VALUES (99, 'later', '2030-01-01', TRUE, x'00', 1)";
    by_hand(dir.path(), later).await.unwrap();
    assert_eq!(open(dir.path()).await.err(), Some(LedgerError::Newer));
    fs::write(
        dir.path().join("state/ledger.db"),
        "This is no database, whatever its name says.".repeat(200),
    )
    .unwrap();
    assert!(matches!(open(dir.path()).await.err(), Some(LedgerError::Damaged(_))));
}

/// Which of these byte strings some file of the state directory holds, by their first eight bytes.
fn lingering(directory: &Path, needles: &[Vec<u8>]) -> BTreeSet<usize> {
    let starts: HashMap<&[u8], usize> = needles
        .iter()
        .enumerate()
        .map(|(at, needle)| (&needle[..8], at))
        .collect();
    assert_eq!(starts.len(), needles.len());
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory.join("state")).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        found.extend(bytes.windows(8).filter_map(|window| starts.get(window)));
    }
    found
}

#[tokio::test]
async fn a_destroyed_seed_is_in_no_file() {
    const SEEDS: usize = 150;
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    // Inserted in no order, so that pages are split and cells move about.
    let mut tokens: Vec<_> = (0..SEEDS).map(|n| fob(&format!("S-{n}"))).collect();
    let mut dice = Dice(3);
    tokens.sort_by_cached_key(|_| dice.roll(u64::MAX));
    for token in &tokens {
        ledger.commit(event(1), vec![insert(token, None)]).await.unwrap();
    }
    let mut conn = stranger(dir.path()).await;
    let mut needles = vec![SEED.to_vec()];
    for token in &tokens {
        let query = sqlx::query("SELECT sealed, nonce FROM seeds WHERE token = ?").bind(token.id.to_string());
        let row = query.fetch_one(&mut conn).await.unwrap();
        needles.extend([row.get(0), row.get(1)]);
    }
    let due = |destroyed: usize| (1 + 2 * destroyed..=2 * SEEDS).collect::<BTreeSet<_>>();
    assert_eq!(lingering(dir.path(), &needles), due(0), "all sealed, none in the clear");
    for (destroyed, token) in (1..).zip(&tokens) {
        ledger
            .commit(event(2), vec![Mutation::DestroySeed { token: token.id }])
            .await
            .unwrap();
        assert!(matches!(
            ledger.seed(token.id).await,
            Err(LedgerError::NotFound("seed"))
        ));
        if destroyed % 10 == 0 {
            assert_eq!(lingering(dir.path(), &needles), due(destroyed), "{destroyed} destroyed");
        }
    }
    assert_eq!(ledger.verify().await.unwrap().findings, []);
}

#[tokio::test]
async fn a_reader_delays_the_wiping_but_not_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let token = fob("S-1");
    ledger.commit(event(3), vec![insert(&token, None)]).await.unwrap();
    let mut conn = stranger(dir.path()).await;
    let mut reader = conn.begin().await.unwrap();
    let sealed: Vec<u8> = sqlx::query_scalar("SELECT sealed FROM seeds")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    let needles = [sealed];
    let begun = Instant::now();
    ledger
        .commit(event(4), vec![Mutation::DestroySeed { token: token.id }])
        .await
        .unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "answered without waiting for the reader"
    );
    assert!(
        !lingering(dir.path(), &needles).is_empty(),
        "the reader's snapshot still has it"
    );
    reader.rollback().await.unwrap();
    let patience = Instant::now() + Duration::from_secs(100);
    while !lingering(dir.path(), &needles).is_empty() {
        assert!(Instant::now() < patience, "still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A small file system of its own, unmounted at the end.
struct Mount(tempfile::TempDir);

impl Mount {
    fn small() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("full and read-only disk: skipped, needs root\n"),
            );
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(dir.path())
            .status();
        if !done.is_ok_and(|status| status.success()) {
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("full and read-only disk: skipped, mount is not permitted\n"),
            );
            return None;
        }
        Some(Self(dir))
    }

    fn remount(&self, how: &str) {
        let how = format!("remount,{how}");
        assert!(
            Command::new("mount")
                .args(["-o", &how])
                .arg(self.0.path())
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_survived() {
    let Some(mount) = Mount::small() else { return };
    let ledger = open(mount.0.path()).await.unwrap();
    let place = mount.0.path().join("state").display().to_string();
    let (mut kept, mut last) = (Vec::new(), None);
    // Records of growing size, so that the end comes at different places of a commit.
    for number in 0..4000_usize {
        let mut token = fob(&format!("S-{number}"));
        token.model = "m".repeat(1 + number * 7 % 3000);
        match ledger.commit(event(1), vec![insert(&token, None)]).await {
            Ok(_) => kept.push(token.id),
            Err(refusal) => {
                assert_eq!(refusal, LedgerError::Full(place.clone()));
                last = Some(token.id);
                break;
            }
        }
    }
    let last = last.expect("one megabyte is full some day");
    assert_eq!(ledger.token(last).await.unwrap(), None, "nothing is half done");
    assert_eq!(ledger.head().unwrap().0, kept.len() as u64);
    for _ in 0..5 {
        let refused = ledger.commit(event(1), vec![insert(&fob("again"), None)]).await;
        assert!(matches!(refused, Err(LedgerError::Full(_)) | Ok(_)), "{refused:?}");
    }
    mount.remount("size=8m");
    let count = ledger.head().unwrap().0;
    assert_eq!(
        ledger.commit(event(2), vec![insert(&fob("S-more"), None)]).await,
        Ok(count + 1)
    );
    assert_eq!(ledger.verify().await.unwrap().findings, []);
    for id in kept {
        assert!(ledger.token(id).await.unwrap().is_some());
    }
    ledger.close().await;
}

#[tokio::test]
async fn a_new_ledger_on_a_full_disk_is_refused_and_comes_up_later() {
    let Some(mount) = Mount::small() else { return };
    let filler = mount.0.path().join("filler");
    // From no room at all to nearly enough: every step of the opening is the one that fails.
    let mut refused = 0;
    for pages in 0..60_usize {
        let _ = fs::write(&filler, vec![1; 2 << 20]);
        let full = fs::metadata(&filler).unwrap().len();
        fs::File::options()
            .write(true)
            .open(&filler)
            .unwrap()
            .set_len(full - 4096 * pages as u64)
            .unwrap();
        match open(mount.0.path()).await {
            Ok(ledger) => {
                ledger.close().await;
                break;
            }
            Err(refusal) => {
                assert!(matches!(refusal, LedgerError::Full(_)), "{pages} pages: {refusal:?}");
                refused += 1;
            }
        }
    }
    println!("{refused} amounts of room were too little");
    assert!((1..60).contains(&refused));
    fs::remove_file(filler).unwrap();
    let ledger = open(mount.0.path()).await.unwrap();
    ledger.commit(event(1), vec![insert(&fob("S-1"), None)]).await.unwrap();
    assert_eq!(ledger.verify().await.unwrap().findings, []);
    ledger.close().await;
}

#[tokio::test]
async fn a_read_only_directory_is_said() {
    let Some(mount) = Mount::small() else { return };
    let token = fob("S-1");
    let ledger = open(mount.0.path()).await.unwrap();
    ledger.commit(event(1), vec![insert(&token, None)]).await.unwrap();
    ledger.close().await;
    mount.remount("ro");
    let place = mount.0.path().join("state").display().to_string();
    assert_eq!(open(mount.0.path()).await.err(), Some(LedgerError::ReadOnly(place)));
    mount.remount("rw");
    let ledger = open(mount.0.path()).await.unwrap();
    assert_eq!(ledger.token(token.id).await.unwrap().unwrap().created, UnixMillis(1));
    ledger.close().await;
}
