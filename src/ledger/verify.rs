//! Does the ledger say what we wrote? First the frame (file, schema, notes), then the chain, then the journal played again
//! ([`replay`](super::replay)) against every row. All in one read transaction, while commits go on.

mod bypass;
mod cases;
mod cell;
mod frame;
mod people;
mod tables;
mod tries;

use sqlx::{Connection, SqliteConnection};

use self::cell::{Cell, read};
use super::journal::{self, Chain, Entry, entry_mac, hex};
use super::replay::{Replay, Share};
use super::seal::{Keys, Tag};
use super::sqlite::Place;
use super::{Finding, LedgerError, VerifyReport};
use crate::types::TokenId;

/// Most findings of a report: enough to see the extent, too few to fill the memory.
const FINDING_CAP: usize = 1000;
/// Rows read at a time.
const PAGE: i64 = 256;
/// Tokens replayed in one pass: some 2 MiB.
const SHARE: usize = 4096;

/// What has been found so far.
#[derive(Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, seq: Option<u64>, token: Option<TokenId>, what: impl Into<String>) {
        if self.0.len() < FINDING_CAP {
            let what = what.into();
            self.0.push(Finding { seq, token, what });
        }
    }

    pub(crate) fn entry(&mut self, seq: u64, what: impl Into<String>) {
        self.add(Some(seq), None, what);
    }

    pub(crate) fn token(&mut self, token: TokenId, what: impl Into<String>) {
        self.add(None, Some(token), what);
    }

    pub(crate) fn frame(&mut self, what: impl Into<String>) {
        self.add(None, None, what);
    }
}

/// Everything at hand while verifying.
pub(crate) struct Audit<'a> {
    conn: &'a mut SqliteConnection,
    keys: &'a Keys,
    place: &'a Place,
    findings: Findings,
    entries: u64,
    tokens: u64,
}

/// Verifies the whole ledger.
///
/// # Errors
/// Storage; what is wrong in the content is a finding.
pub(crate) async fn verify(
    conn: &mut SqliteConnection,
    keys: &Keys,
    place: &Place,
) -> Result<VerifyReport, LedgerError> {
    let mut snapshot = conn.begin().await.map_err(|error| place.fault(&error))?;
    let mut audit = Audit {
        conn: &mut snapshot,
        keys,
        place,
        findings: Findings::default(),
        entries: 0,
        tokens: 0,
    };
    let head = match audit.run().await {
        Ok(end) => format!("{}:{}", end.count, hex(&end.last)),
        // A file that SQLite itself cannot read is a finding too, and the last one to be had.
        Err(LedgerError::Damaged(what)) => {
            audit.findings.frame(format!("the rest cannot be read: {what}"));
            String::new()
        }
        Err(fault) => return Err(fault),
    };
    let report = VerifyReport {
        entries: audit.entries,
        tokens: audit.tokens,
        head,
        findings: audit.findings.0,
    };
    snapshot.rollback().await.map_err(|error| place.fault(&error))?;
    Ok(report)
}

impl Audit<'_> {
    /// Returns the end of the chain as it was found.
    async fn run(&mut self) -> Result<Chain, LedgerError> {
        self.file().await?;
        self.schema().await?;
        self.migrations().await?;
        let opening = self.identity().await?;
        let shares = self.tokens_stored().await? / SHARE + 1;
        let mut end = opening;
        for part in 0..shares {
            let mut replay = Replay::new(Share { part, of: shares });
            let walked = self.walk(opening, &mut replay, part == 0).await?;
            if part == 0 {
                end = walked;
                self.head(&end).await?;
            }
            self.compare(replay, Share { part, of: shares }).await?;
        }
        Ok(end)
    }

    /// Reads the journal from one end to the other and plays it; checks numbers and MACs if `chained`.
    async fn walk(&mut self, opening: Chain, replay: &mut Replay, chained: bool) -> Result<Chain, LedgerError> {
        let sql = "SELECT seq, CAST(payload AS BLOB) AS payload, mac FROM journal WHERE seq >= ? ORDER BY seq LIMIT ?";
        let mut chain = opening;
        let mut from = Some(i64::MIN);
        while let Some(start) = from {
            let query = sqlx::query(sql).bind(start).bind(PAGE);
            let rows = query
                .fetch_all(&mut *self.conn)
                .await
                .map_err(|error| self.place.fault(&error))?;
            from = None;
            for row in &rows {
                // The number is SQLite's own row id, so it is always there; without it there would be no going on.
                let Cell::Int(number) = read(row, "seq") else { break };
                // In a damaged file an index can lead back to where we were: that must not keep us here for ever.
                if number < start || from.is_some_and(|from| number < from) {
                    self.findings
                        .frame("the journal's rows are out of order: the database file is damaged");
                    return Ok(chain);
                }
                from = number.checked_add(1);
                let seq = u64::try_from(number).unwrap_or(0);
                let (Cell::Blob(payload), Cell::Blob(mac)) = (read(row, "payload"), read(row, "mac")) else {
                    self.findings.entry(seq, format!("entry {seq} cannot be read"));
                    continue;
                };
                let entry = std::str::from_utf8(&payload)
                    .ok()
                    .and_then(|text| journal::parse(text).ok());
                let mac = Tag::try_from(mac.as_slice()).unwrap_or([0; 32]);
                if chained {
                    self.entries += 1;
                    self.link(&chain, seq, &payload, &mac, entry.as_ref());
                }
                // On from what stands there, so that one bad entry is one finding and not all that follow.
                chain = Chain { count: seq, last: mac };
                if let Some(entry) = entry {
                    self.play(replay, seq, entry);
                }
            }
        }
        Ok(chain)
    }

    fn link(&mut self, before: &Chain, seq: u64, payload: &[u8], mac: &Tag, entry: Option<&Entry>) {
        let due = before.count.saturating_add(1);
        if seq != due {
            self.findings
                .entry(seq, format!("entry {seq} stands where entry {due} should"));
        }
        if entry_mac(self.keys, &before.last, payload) != *mac {
            let what = format!("entry {seq} was changed, or does not follow on from the entry before it");
            self.findings.entry(seq, what);
        }
        match entry {
            None => self.findings.entry(seq, format!("entry {seq} cannot be read")),
            Some(entry) if entry.body.seq != seq => {
                let what = format!("entry {seq} calls itself entry {}", entry.body.seq);
                self.findings.entry(seq, what);
            }
            Some(_) => {}
        }
    }

    fn play(&mut self, replay: &mut Replay, seq: u64, entry: Entry) {
        let at = entry.body.at;
        for mutation in entry.body.mutations {
            if let Err(what) = replay.play(seq, at, mutation) {
                self.findings.entry(seq, format!("entry {seq} {what}"));
            }
        }
    }
}
