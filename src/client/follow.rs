//! Runs an operation to its end: starts it, tells what it does and what a person must do, cancels it on Ctrl-C.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Map, Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use zbus::fdo::DBusProxy;
use zbus::names::OwnedUniqueName;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant, message};

use crate::client::arguments::exit;
use crate::client::failure::Failure;
use crate::client::progress::Progress;
use crate::client::render;
use crate::client::session::Session;
use crate::contract::OPERATIONS_PATH;
use crate::contract::error::ErrorName;
use crate::contract::proxy::{Operation1Proxy, Record};

/// Signals that may wait for us while we wait for the reply that names the operation.
const SIGNAL_QUEUE: usize = 1024;

/// How an operation ended well: the other outcomes are a [`Failure`].
#[derive(Debug)]
pub struct Ended {
    /// Its object path.
    pub operation: OwnedObjectPath,
    /// Whether an obligation remains.
    pub obliged: bool,
    /// Facts about what was done.
    pub details: Record,
}

impl Ended {
    /// A fact as text; empty when absent.
    #[must_use]
    pub fn text(&self, key: &str) -> String {
        render::cell(&self.details, key)
    }

    /// A whole number; none when absent.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<i64> {
        render::variant(self.details.get(key)?).as_i64()
    }

    /// Shows the sentence or the JSON object and gives the exit code.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn report(&self, session: &Session, verb: &str, sentence: &str) -> Result<u8, Failure> {
        let mut object = Map::new();
        object.insert(
            "outcome".to_owned(),
            json!(if self.obliged { "obliged" } else { "done" }),
        );
        object.insert("verb".to_owned(), json!(verb));
        object.insert("operation".to_owned(), json!(self.operation.as_str()));
        for (key, value) in &self.details {
            object.entry(key.clone()).or_insert_with(|| render::variant(value));
        }
        session.output.object(&Value::Object(object))?;
        session.output.say(sentence)?;
        if !self.obliged {
            return Ok(exit::DONE);
        }
        let obligation = self.text("obligation");
        session.output.say(&format!(
            "Something is left to do on the token itself (“claviger obligations” tells what). Once it is at hand: \
             claviger discharge {obligation}"
        ))?;
        Ok(exit::OBLIGED)
    }
}

/// Starts an operation by the call given and stays with it until it is over.
///
/// Signals are subscribed to before the call, and the result is asked for once after it, so that neither a fast operation
/// nor a late subscription loses the end.
///
/// # Errors
/// The refusal of the call or of the operation, [`Failure::Cancelled`], [`Failure::Unreachable`] when the daemon goes away.
pub async fn run<F>(session: &Session, start: F) -> Result<Ended, Failure>
where
    F: Future<Output = zbus::Result<OwnedObjectPath>>,
{
    let mut signals = operation_signals(&session.connection, &session.daemon).await?;
    let bus = DBusProxy::new(&session.connection).await?;
    let mut gone = bus
        .receive_name_owner_changed_with_args(&[(0, session.daemon.as_str())])
        .await?;
    let mut interrupts = Interrupts::new(session.timeout)?;

    let mut start = pin!(start);
    let path = tokio::select! {
        started = &mut start => started?,
        reason = interrupts.next() => return Err(Failure::Cancelled(reason.sentence("before it began"))),
    };
    let operation = session.operation(&path).await?;
    let mut progress = Progress::new(session.output.quiet);
    if let Some((outcome, details)) = result_now(&operation).await? {
        return ended(path, &outcome, details, &interrupts);
    }

    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            message = signals.next() => match message {
                Some(message) => match Event::read(&message?, &path) {
                    Some(Event::Progressed(phase, percent, action)) => progress.show(&phase, percent, &action),
                    Some(Event::Completed(outcome, details)) => {
                        progress.end();
                        return ended(path, &outcome, details, &interrupts);
                    }
                    None => {}
                },
                None => return Err(lost()),
            },
            _ = gone.next() => return Err(lost()),
            reason = interrupts.next() => {
                if interrupts.count > 1 {
                    return Err(Failure::Cancelled("left while it was still running; “claviger tokens” tells what came of it".to_owned()));
                }
                progress.end();
                cancel(&operation, reason).await?;
            }
            _ = tick.tick() => progress.tick(),
        }
    }
}

/// Asks the operation to end. That it is too late is no failure: its outcome follows either way.
async fn cancel(operation: &Operation1Proxy<'_>, reason: Reason) -> Result<(), Failure> {
    match operation.cancel().await.map_err(Failure::from) {
        Ok(()) => render::warn(&reason.sentence("cancelling it")),
        Err(Failure::Refused { name, .. }) if name == ErrorName::TooLate.as_str() => render::warn(
            "it is past the point where it can be cancelled; waiting for its end (Ctrl-C again leaves it alone)",
        ),
        Err(Failure::Unreachable(_)) => return Err(lost()),
        Err(other) => return Err(other),
    }
    Ok(())
}

/// The result when the operation is over already.
async fn result_now(operation: &Operation1Proxy<'_>) -> Result<Option<(String, Record)>, Failure> {
    match operation.result().await.map_err(Failure::from) {
        Ok(result) => Ok(Some(result)),
        Err(Failure::Refused { name, .. }) if name == ErrorName::NotCompleted.as_str() => Ok(None),
        Err(Failure::Unreachable(_)) => Err(lost()),
        Err(other) => Err(other),
    }
}

async fn operation_signals(connection: &Connection, daemon: &OwnedUniqueName) -> Result<MessageStream, Failure> {
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .sender(daemon.as_str().to_owned())
        .interface("org.claviger.Operation1")
        .path_namespace(OPERATIONS_PATH)
        .build()?;
    Ok(MessageStream::for_match_rule(rule, connection, std::num::NonZeroUsize::new(SIGNAL_QUEUE)).await?)
}

fn ended(
    operation: OwnedObjectPath,
    outcome: &str,
    mut details: Record,
    interrupts: &Interrupts,
) -> Result<Ended, Failure> {
    match outcome {
        "done" | "obliged" => Ok(Ended {
            operation,
            obliged: outcome == "obliged",
            details,
        }),
        "cancelled" if interrupts.timed_out => Err(Failure::Cancelled(
            "the time was up; cancelled, nothing was done".to_owned(),
        )),
        "cancelled" => Err(Failure::Cancelled("cancelled; nothing was done".to_owned())),
        _ => {
            let name = details
                .remove("error")
                .and_then(|v| String::try_from(v).ok())
                .unwrap_or_default();
            let message = details
                .remove("message")
                .and_then(|v| String::try_from(v).ok())
                .unwrap_or_default();
            details.insert(
                "outcome".to_owned(),
                OwnedVariant::from(zbus::Str::from_static("refused")),
            );
            Err(Failure::Refused {
                message: with_tries(message, &details),
                name,
                data: details,
            })
        }
    }
}

/// The sentence with the tries that are left, where it does not say so itself.
fn with_tries(message: String, details: &Record) -> String {
    match details.get("tries-left").map(|value| render::variant(value)) {
        Some(tries) if !message.contains("left") => format!("{message} (tries left: {tries})"),
        _ => message,
    }
}

fn lost() -> Failure {
    Failure::Unreachable("it stopped while the operation ran; once it is back, “claviger tokens” and “claviger obligations” tell what came of it".to_owned())
}

/// What the operation said.
enum Event {
    Progressed(String, u32, Record),
    Completed(String, Record),
}

impl Event {
    /// Reads a signal of this operation; none for another one's and for members we do not know.
    fn read(message: &Message, operation: &OwnedObjectPath) -> Option<Self> {
        let header = message.header();
        if header.path()?.as_str() != operation.as_str() {
            return None;
        }
        match header.member()?.as_str() {
            "Progressed" => message
                .body()
                .deserialize()
                .ok()
                .map(|(p, n, a)| Self::Progressed(p, n, a)),
            "Completed" => message.body().deserialize().ok().map(|(o, d)| Self::Completed(o, d)),
            _ => None,
        }
    }
}

/// Why we want it to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Signal,
    Timeout,
}

impl Reason {
    fn sentence(self, what: &str) -> String {
        match self {
            Self::Signal => format!("interrupted: {what}"),
            Self::Timeout => format!("the time is up: {what}"),
        }
    }
}

/// Ctrl-C, SIGTERM and `--timeout`.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    deadline: Option<Instant>,
    timed_out: bool,
    count: u32,
}

impl Interrupts {
    fn new(timeout: Option<Duration>) -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::local(format!("cannot listen to signals: {e}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            timed_out: false,
            count: 0,
        })
    }

    /// Waits for the next reason to end. Safe to drop and call again.
    async fn next(&mut self) -> Reason {
        let deadline = self.deadline;
        let time_is_up = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let reason = tokio::select! {
            _ = self.interrupt.recv() => Reason::Signal,
            _ = self.terminate.recv() => Reason::Signal,
            () = time_is_up => Reason::Timeout,
        };
        self.count = self.count.saturating_add(1);
        if reason == Reason::Timeout {
            self.deadline = None;
            self.timed_out = true;
        }
        reason
    }
}
