//! `org.claviger.Manager1`: the daemon as a whole.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, ObjectPath, Variant, interface};

use super::Desk;
use super::error::BusError;
use super::values::{Dict, Options, Put, Rows, limit, path_of};
use crate::contract::{API_VERSION, ROOT_PATH};
use crate::grant::Object;
use crate::guard::Deed;
use crate::ledger::{Finding, Frozen, JournalEntry};
use crate::lifecycle::alarms::{Consequence, Raised};
use crate::types::{DeviceId, ObligationId, TokenId};

/// The root object.
pub(super) struct Manager {
    desk: Arc<Desk>,
}

impl Manager {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }
}

/// Tells on the bus which devices may owe something. Missed ones are not repeated: `Obligations` lists them all.
pub(super) async fn tell_obligations(connection: Connection, mut seen: broadcast::Receiver<(DeviceId, ObligationId)>) {
    loop {
        let (device, obligation) = match seen.recv().await {
            Ok(pair) => pair,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let Ok(path) = path_of(device) else { continue };
        let sent = match SignalEmitter::new(&connection, ROOT_PATH) {
            Ok(emitter) => Manager::obligation_seen(&emitter, path, &obligation.to_string()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::warn!(%error, "a signal about an obligation could not be sent");
        }
    }
}

/// Ends the sessions of operators whom an alarm is about, and tells on the bus that there was one. Missed ones are not repeated:
/// `Alarms` lists them all, and who is frozen is looked up at every admission.
pub(super) async fn tell_alarms(connection: Connection, desk: Arc<Desk>, mut raised: broadcast::Receiver<Consequence>) {
    loop {
        match raised.recv().await {
            Ok(consequence) if consequence.end_sessions => desk.guard.cases().sessions().end_uid(consequence.operator),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
        let sent = match SignalEmitter::new(&connection, ROOT_PATH) {
            Ok(emitter) => Manager::alarm_raised(&emitter).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::warn!(%error, "a signal about an alarm could not be sent");
        }
    }
}

/// Tells on the bus which revoked keys were plugged in. Missed ones are not repeated: the journal has them all.
pub(super) async fn tell_revoked(connection: Connection, mut seen: broadcast::Receiver<(DeviceId, TokenId)>) {
    loop {
        let (device, token) = match seen.recv().await {
            Ok(pair) => pair,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let Ok(path) = path_of(device) else { continue };
        let sent = match SignalEmitter::new(&connection, ROOT_PATH) {
            Ok(emitter) => Manager::revoked_seen(&emitter, path, &token.to_string()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::warn!(%error, "a signal about a revoked key could not be sent");
        }
    }
}

#[interface(name = "org.claviger.Manager1")]
impl Manager {
    /// Version of this interface; rises when something is added.
    #[zbus(property(emits_changed_signal = "const"))]
    fn api_version(&self) -> u32 {
        API_VERSION
    }

    /// Version of the program.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    /// `system` (system bus, polkit) or `session` (one person's bus; only the daemon's own uid is admitted).
    #[zbus(property(emits_changed_signal = "const"))]
    fn mode(&self) -> &str {
        self.desk.guard.mode().as_str()
    }

    /// False from the moment the name is owned until recovery is over and every device present has been looked at.
    #[zbus(property)]
    fn ready(&self) -> bool {
        self.desk.ready.load(Ordering::SeqCst)
    }

    /// State of the host as the daemon sees it, for `claviger doctor`. [inspect]
    /// status: card-service (b), clock-synchronised (b), devices (u), unresponsive (u), virtual-link (b), ledger (s),
    /// journal-head (s), open-operations (u), open-obligations (u), untold (u: letters to people that wait), hook-failing (u: of
    /// these, such that failed), hook-failure (s: why the last one did), polkit (b), policy (s: “off”, “shipped”, or the file),
    /// policy-refused (s: why the file was not taken when it was last read anew; the policy before it is in force),
    /// cases-demanded (b), sessions (u).
    #[zbus(out_args("status"))]
    async fn status(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Dict, BusError> {
        let case = Options::new(options, &[])?.case()?;
        self.desk.guard.admit(&header, Deed::on(Object::Whole, case)).await?;
        let now = self.desk.verbs.status().await;
        let mut status = Dict::new();
        status.put("card-service", now.card_service);
        status.put("clock-synchronised", now.clock_synchronised);
        status.put("devices", now.devices);
        status.put("unresponsive", now.unresponsive);
        status.put("virtual-link", now.virtual_link);
        status.put("ledger", now.ledger);
        status.put_some("journal-head", now.journal_head);
        status.put("open-operations", now.open_operations);
        status.put("open-obligations", now.open_obligations);
        status.put("untold", now.telling.waiting);
        status.put("hook-failing", now.telling.failing);
        status.put_some("hook-failure", now.telling.why);
        status.put("polkit", self.desk.guard.polkit_answers().await);
        let policy = self.desk.guard.cases().law().state();
        status.put("policy", policy.origin);
        status.put("cases-demanded", self.desk.guard.cases().law().demands_cases());
        status.put_some("policy-refused", policy.refused);
        let sessions = self.desk.guard.cases().sessions().count();
        status.put("sessions", u32::try_from(sessions).unwrap_or(u32::MAX));
        Ok(status)
    }

    /// Reads the policy anew. A policy that is refused leaves the one before it in force. [configure]
    /// Errors: PolicyRefused, with what is wrong by line.
    async fn reload(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<(), BusError> {
        Options::filter(options, &[])?;
        self.desk.guard.admit(&header, Deed::on(Object::Whole, None)).await?;
        Ok(self.desk.guard.cases().law().reload()?)
    }

    /// Recomputes the journal's chain and replays it against the rows. [audit]
    /// report: entries (t), tokens (t), head (s), findings (aa{sv}: seq t, token s, what s).
    #[zbus(out_args("intact", "report"))]
    async fn verify_journal(
        &self,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(bool, Dict), BusError> {
        let case = Options::new(options, &[])?.case()?;
        self.desk.guard.admit(&header, Deed::on(Object::Whole, case)).await?;
        let found = self.desk.verbs.ledger().verify().await?;
        let findings: Vec<Dict> = found.findings.iter().map(finding).collect();
        let mut report = Dict::new();
        report.put("entries", found.entries);
        report.put("tokens", found.tokens);
        report.put("head", found.head);
        report.put("findings", findings.into_iter().map(Variant::from).collect::<Vec<_>>());
        Ok((found.findings.is_empty(), report))
    }

    /// Journal entries after `after`, at most `limit` (1 to 1000). [audit]
    /// Each: seq (t), at-ms (x), name (s), uid (u, absent for the daemon itself), action (s), token (s), operation (s),
    /// payload (s, canonical JSON as chained).
    #[zbus(out_args("entries"))]
    async fn read_journal(
        &self,
        after: u64,
        limit: u32,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Rows<JournalEntry>, BusError> {
        let limit = self::limit(limit)?;
        let case = Options::new(options, &[])?.case()?;
        self.desk.guard.admit(&header, Deed::on(Object::Whole, case)).await?;
        let entries = self.desk.verbs.ledger().journal(after, limit).await?;
        Ok(Rows::new(entries, entry))
    }

    /// What was out of the ordinary, the newest first: before entry `before` of the journal (0: from its end), at most `limit` (1 to
    /// 1000). [audit]
    /// Each: seq (t), at-ms (x), kind (s), operator (u: uid), token (s).
    #[zbus(out_args("alarms"))]
    async fn alarms(
        &self,
        before: u64,
        limit: u32,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Rows<Raised>, BusError> {
        let limit = self::limit(limit)?;
        let case = Options::new(options, &[])?.case()?;
        let grant = self.desk.guard.admit(&header, Deed::on(Object::Whole, case)).await?;
        let before = if before == 0 { u64::MAX } else { before };
        let alarms = self.desk.verbs.alarms_before(&grant, before, limit).await?;
        Ok(Rows::new(alarms, alarm))
    }

    /// Operators whose authority is frozen. [audit]
    /// Each: operator (u: uid), since-ms (x), why (s: the kind of alarm).
    #[zbus(out_args("frozen"))]
    async fn frozen(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Rows<Frozen>, BusError> {
        let case = Options::new(options, &[])?.case()?;
        let grant = self.desk.guard.admit(&header, Deed::on(Object::Whole, case)).await?;
        Ok(Rows::new(self.desk.verbs.frozen(&grant).await?, frozen))
    }

    /// Gives a frozen operator their authority back; journalled. Another human must do so: the uid, the login uid and the logind session
    /// of the caller must agree, root is nobody, and accounts that the policy calls one human's are one. [approve]
    /// Errors: Frozen for the operator, and for whoever is frozen too; NotHuman; InvalidArgument when they are not frozen.
    async fn thaw(&self, operator: u32, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<(), BusError> {
        let case = Options::new(options, &[])?.case()?;
        let grant = self.desk.guard.admit(&header, Deed::on(Object::Whole, case)).await?;
        self.desk.require_ready()?;
        self.desk.guard.another_human(&header, operator).await?;
        Ok(self.desk.verbs.thaw(&grant, operator).await?)
    }

    /// Something out of the ordinary happened; ask Alarms what. Carries nothing.
    #[zbus(signal)]
    async fn alarm_raised(emitter: &SignalEmitter<'_>) -> zbus::Result<()>;

    /// A device that may owe something was plugged in; ask Tokens1.Obligations what. Carries no serial and no person.
    #[zbus(signal)]
    async fn obligation_seen(emitter: &SignalEmitter<'_>, device: ObjectPath<'_>, obligation: &str)
    -> zbus::Result<()>;

    /// A revoked key was plugged in, once for each plug; the journal has it, too. Carries no serial and no person: ask Tokens1.Get.
    #[zbus(signal)]
    async fn revoked_seen(emitter: &SignalEmitter<'_>, device: ObjectPath<'_>, token: &str) -> zbus::Result<()>;
}

fn alarm(raised: &Raised) -> Dict {
    let mut told = Dict::new();
    told.put("seq", raised.seq);
    told.put("at-ms", raised.at.0);
    told.put("kind", raised.kind.as_str());
    told.put("operator", raised.operator);
    told.put_some("token", raised.token.map(|id| id.to_string()));
    told
}

fn frozen(frozen: &Frozen) -> Dict {
    let mut told = Dict::new();
    told.put("operator", frozen.operator);
    told.put("since-ms", frozen.since.0);
    told.put("why", frozen.why.as_str());
    told
}

fn finding(found: &Finding) -> Dict {
    let mut told = Dict::new();
    told.put_some("seq", found.seq);
    told.put_some("token", found.token.map(|id| id.to_string()));
    told.put("what", found.what.as_str());
    told
}

fn entry(entry: &JournalEntry) -> Dict {
    let mut told = Dict::new();
    told.put("seq", entry.seq);
    told.put("at-ms", entry.at.0);
    told.put("name", entry.name.as_str());
    told.put_some("uid", entry.uid);
    let action = entry.action.polkit_id();
    told.put("action", action.strip_prefix("org.claviger.").unwrap_or(action));
    told.put_some("token", entry.token.map(|id| id.to_string()));
    told.put_some("operation", entry.operation.map(|id| id.to_string()));
    told.put("payload", entry.payload.to_string());
    told
}
