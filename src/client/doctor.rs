//! `claviger doctor`: what is missing on this host, each finding with the command that mends it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::arguments::{DoctorArgs, Global, exit};
use crate::client::failure::Failure;
use crate::client::render::{Output, clean};
use crate::client::session::{Bus, Session};
use crate::client::{doctor_compare, doctor_daemon, doctor_host};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Does not apply here.
    Skip,
    /// Works, or may not matter here.
    Warn,
    /// Something will not work.
    Fail,
}

impl Grade {
    /// The word in both forms of output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Skip => "SKIP",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub about: &'static str,
    /// How it is.
    pub grade: Grade,
    /// What was found, a sentence.
    pub finding: String,
    /// What mends it: a command, or a sentence where no command does. Empty when nothing needs mending.
    pub mend: String,
}

impl Check {
    /// All is well.
    pub fn ok(about: &'static str, finding: impl Into<String>) -> Self {
        Self::new(about, Grade::Ok, finding, "")
    }

    /// Does not apply here.
    pub fn skip(about: &'static str, finding: impl Into<String>) -> Self {
        Self::new(about, Grade::Skip, finding, "")
    }

    /// Works, or may not matter.
    pub fn warn(about: &'static str, finding: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(about, Grade::Warn, finding, mend)
    }

    /// Will not work.
    pub fn fail(about: &'static str, finding: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(about, Grade::Fail, finding, mend)
    }

    fn new(about: &'static str, grade: Grade, finding: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            about,
            grade,
            finding: finding.into(),
            mend: mend.into(),
        }
    }

    fn object(&self) -> Value {
        let mend = if self.mend.is_empty() {
            Value::Null
        } else {
            json!(self.mend)
        };
        json!({ "about": self.about, "grade": self.grade.as_str(), "finding": self.finding, "mend": mend })
    }

    fn text(&self) -> String {
        let line = format!("{:<4}  {}: {}", self.grade.as_str(), self.about, clean(&self.finding));
        if self.mend.is_empty() {
            line
        } else {
            format!("{line}\n      → {}", clean(&self.mend))
        }
    }
}

/// Looks at everything and reports. A daemon that does not answer is a finding, not a failure of the doctor.
pub async fn run(global: &Global, args: &DoctorArgs) -> Result<u8, Failure> {
    let output = Output {
        json: global.json,
        quiet: global.quiet,
    };
    let bus = Bus::choose(global.bus.as_deref());
    // The doctor is for hosts where something hangs: no call of its may take long.
    let mut global = global.clone();
    global.timeout = Some(global.timeout.unwrap_or(20));
    let timeout = global.timeout.map(Duration::from_secs);

    let opened = Session::open(&global).await;
    let mut checks = Vec::new();
    let mut status = Value::Null;
    let system = match &opened {
        Ok(session) => {
            let (found, mode, told) = doctor_daemon::reachable(session).await;
            checks.extend(found);
            status = told;
            mode != "session"
        }
        Err(failure) => {
            checks.push(doctor_daemon::unreachable(&bus, failure).await);
            bus == Bus::System
        }
    };
    checks.extend(doctor_daemon::polkit(system, timeout).await);
    checks.extend(
        tokio::task::spawn_blocking(move || doctor_host::checks(system))
            .await
            .unwrap_or_default(),
    );
    if let Some(device) = &args.second_opinion {
        checks.extend(match &opened {
            Ok(session) => match doctor_compare::run(session, device).await {
                Ok(found) => found,
                Err(failure @ Failure::Usage(_)) => return Err(failure),
                Err(failure) => vec![Check::fail("second opinion", failure.to_string(), "")],
            },
            Err(_) => vec![Check::skip("second opinion", "needs a daemon to compare with")],
        });
    }
    report(output, &checks, &status)
}

fn report(output: Output, checks: &[Check], status: &Value) -> Result<u8, Failure> {
    let worst = checks
        .iter()
        .map(|check| check.grade)
        .filter(|g| *g != Grade::Skip)
        .max()
        .unwrap_or(Grade::Ok);
    output.object(&json!({
        "checks": checks.iter().map(Check::object).collect::<Vec<_>>(),
        "worst": worst.as_str(),
        "status": status,
    }))?;
    for check in checks.iter().filter(|check| !output.quiet || check.grade > Grade::Skip) {
        output.text(&check.text())?;
    }
    Ok(if worst == Grade::Ok { exit::DONE } else { exit::FINDINGS })
}
