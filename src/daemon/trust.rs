//! The rules of trust: read at start, and again when somebody asks by SIGHUP. A file that is wrong then leaves the old rules in
//! force, and the log says so.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::Signal;

use super::tell_status;
use crate::config::{Config, ConfigError};
use crate::lifecycle::Lifecycle;
use crate::trust::metadata::MAX_BLOB;
use crate::trust::{Metadata, Rules};
use crate::types::{Mode, UnixMillis};

/// Where the configuration is read from again.
pub(super) struct Source {
    pub path: Option<PathBuf>,
    pub mode: Option<Mode>,
}

/// The rules that a configuration makes.
pub(super) fn rules(config: &Config) -> Result<Rules, ConfigError> {
    config.rules(read, UnixMillis::now())
}

/// Reads a file, one byte more than a BLOB may have at most.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_BLOB).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Says in the log what is gone by.
pub(super) fn tell(rules: &Rules) {
    match &rules.metadata {
        Metadata::Unusable(why) => {
            tracing::error!(%why, "the metadata of keys cannot be used: no FIDO2 key is registered until they can");
        }
        Metadata::Blob(blob) => {
            tracing::info!(
                number = blob.number,
                models = blob.len(),
                next_update = blob.next_update,
                overdue = blob.overdue(UnixMillis::now()),
                "keys are judged by metadata"
            );
        }
        Metadata::None if rules.is_idle() => {}
        Metadata::None => tracing::info!("keys are judged by the configuration's rules"),
    }
}

/// Reads the rules again at every SIGHUP; everything else of the configuration waits for the next start.
pub(super) async fn reload(mut hangups: Signal, source: Source, lifecycle: Arc<Lifecycle>) {
    let source = Arc::new(source);
    while hangups.recv().await.is_some() {
        let from = Arc::clone(&source);
        // Files may lie where reading takes long.
        let read = tokio::task::spawn_blocking(move || {
            Config::load(from.path.as_deref(), from.mode).and_then(|config| rules(&config))
        });
        let why = match read.await {
            Ok(Ok(Rules {
                metadata: Metadata::Unusable(why),
                ..
            })) => why,
            Ok(Ok(rules)) => {
                tell(&rules);
                lifecycle.go_by(rules);
                tracing::info!("the rules of trust were read again and are in force");
                tell_status("ready");
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the reader failed".to_owned(),
        };
        tracing::error!(%why, "the rules of trust could not be read again: the old ones stay in force");
        tell_status("ready; the last reload failed, see the log");
    }
}
