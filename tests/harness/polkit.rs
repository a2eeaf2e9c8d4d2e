//! A polkit that says what the test wants, at the place where the real one is asked: so that the code which asks is the one
//! that ships.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use zbus::{Connection, OwnedVariant, interface};

use super::bus::PrivateBus;

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    /// Authorised.
    Yes,
    /// Not authorised, and nothing helps.
    No,
    /// Authentication is needed.
    Challenge,
    /// Somebody closed the dialog.
    Dismissed,
    /// An error.
    Broken,
    /// No answer until the check is cancelled.
    Silent,
}

/// What it was asked.
#[derive(Debug, Clone)]
pub struct Question {
    pub kind: String,
    pub name: String,
    pub action: String,
    pub details: HashMap<String, String>,
    pub interactive: bool,
    pub cancellation: String,
}

#[derive(Default)]
struct Heard {
    questions: Mutex<Vec<Question>>,
    cancelled: Mutex<Vec<String>>,
    asked: Notify,
    stopped: Notify,
}

/// The fake.
pub struct FakePolkit {
    heard: Arc<Heard>,
    temper: Arc<Mutex<Temper>>,
    _connection: Connection,
}

impl FakePolkit {
    pub async fn start(bus: &PrivateBus, temper: Temper) -> Self {
        let heard = Arc::new(Heard::default());
        let temper = Arc::new(Mutex::new(temper));
        let authority = Authority {
            heard: heard.clone(),
            temper: temper.clone(),
        };
        // Served from the start: a connection that is given its first object later may lose the first call.
        let connection = zbus::connection::Builder::address(bus.address())
            .serve_at("/org/freedesktop/PolicyKit1/Authority", authority)
            .build()
            .await
            .expect("a connection to the private bus");
        connection
            .request_name("org.freedesktop.PolicyKit1")
            .await
            .expect("its name");
        Self {
            heard,
            temper,
            _connection: connection,
        }
    }

    pub fn set(&self, temper: Temper) {
        *self.temper.lock().unwrap() = temper;
    }

    pub fn questions(&self) -> Vec<Question> {
        self.heard.questions.lock().unwrap().clone()
    }

    pub fn cancelled(&self) -> Vec<String> {
        self.heard.cancelled.lock().unwrap().clone()
    }

    /// Waits for the next question.
    pub async fn asked(&self) {
        self.heard.asked.notified().await;
    }

    /// Waits for the next cancellation.
    pub async fn stopped(&self) {
        self.heard.stopped.notified().await;
    }
}

struct Authority {
    heard: Arc<Heard>,
    temper: Arc<Mutex<Temper>>,
}

type Answer = (bool, bool, HashMap<String, String>);

#[interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl Authority {
    async fn check_authorization(
        &self,
        subject: (String, HashMap<String, OwnedVariant>),
        action: String,
        details: HashMap<String, String>,
        flags: u32,
        cancellation: String,
    ) -> zbus::fdo::Result<(Answer,)> {
        let name = subject
            .1
            .get("name")
            .and_then(|v| <&str>::try_from(v).ok())
            .unwrap_or_default();
        self.heard.questions.lock().unwrap().push(Question {
            kind: subject.0.clone(),
            name: name.to_owned(),
            action,
            details,
            interactive: flags & 1 == 1,
            cancellation,
        });
        self.heard.asked.notify_one();
        let temper = *self.temper.lock().unwrap();
        let answer = match temper {
            Temper::Yes => (true, false, HashMap::new()),
            Temper::No => (false, false, HashMap::new()),
            Temper::Challenge => (false, true, HashMap::new()),
            Temper::Dismissed => (
                false,
                false,
                HashMap::from([("polkit.dismissed".to_owned(), "true".to_owned())]),
            ),
            Temper::Broken => return Err(zbus::fdo::Error::Failed("broken".to_owned())),
            Temper::Silent => std::future::pending().await,
        };
        Ok((answer,))
    }

    async fn cancel_check_authorization(&self, cancellation: String) {
        self.heard.cancelled.lock().unwrap().push(cancellation);
        self.heard.stopped.notify_one();
    }

    #[zbus(property)]
    fn backend_name(&self) -> String {
        "fake".to_owned()
    }
}
