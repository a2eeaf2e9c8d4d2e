//! All devices that are plugged in now.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use super::Deadlines;
use super::handle::DeviceHandle;
use super::lane::{Lane, Shared};
use super::session::Attached;
use super::wards::Wards;
use crate::link::card::CardSource;
use crate::link::hid::HidSource;
use crate::link::virtual_::VirtualSource;
use crate::link::watch::Source;
use crate::link::{Face, LinkError, LinkEvent};
use crate::types::{DeviceEvent, DeviceId};

/// Events a slow receiver may fall behind before it must read everything anew.
const EVENT_BACKLOG: usize = 256;
/// How long the sources are given to end their threads.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Which links the daemon uses, and how patient it is.
#[derive(Debug, Clone)]
pub struct DeviceConfig {
    /// Deadlines for every device.
    pub deadlines: Deadlines,
    /// Where simulated tokens may connect. Off unless configured.
    pub virtual_socket: Option<PathBuf>,
    /// Whether to use hidraw nodes.
    pub hid: bool,
    /// Whether to use pcscd.
    pub cards: bool,
    /// How many device threads may be stuck before new devices are refused.
    pub max_quarantined: usize,
}

/// The devices, and who tells about them. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Shared,
    sources: Vec<Arc<dyn Source>>,
    state: Mutex<State>,
    settled: watch::Sender<bool>,
    card_service: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// Devices so far; the last one has this number.
    attachments: u64,
    devices: BTreeMap<DeviceId, DeviceHandle>,
    /// Faces that came while too many devices were stuck, with the number of their source.
    refused: Vec<(usize, Face)>,
    /// Sources that have not told everything yet.
    unsettled: HashSet<usize>,
    closing: bool,
}

impl Registry {
    /// Starts the sources and keeps the books of what they tell.
    ///
    /// A source that cannot start is logged and counts as having nothing: a machine without udev can still use cards.
    #[must_use]
    pub fn start(config: &DeviceConfig, sources: Vec<Arc<dyn Source>>) -> Self {
        let (events, _) = broadcast::channel(EVENT_BACKLOG);
        let inner = Arc::new_cyclic(|weak: &Weak<Inner>| {
            let registry = Weak::clone(weak);
            let freed = move || {
                if let Some(inner) = registry.upgrade() {
                    inner.take_refused();
                }
            };
            Inner {
                shared: Shared {
                    deadlines: config.deadlines,
                    events,
                    wards: Arc::new(Wards::new(config.max_quarantined, freed)),
                },
                state: Mutex::new(State {
                    unsettled: (0..sources.len()).collect(),
                    ..State::default()
                }),
                settled: watch::Sender::new(sources.is_empty()),
                card_service: watch::Sender::new(false),
                sources,
            }
        });
        for (index, source) in inner.sources.iter().enumerate() {
            let registry = Arc::downgrade(&inner);
            let sink = Arc::new(move |event| registry.upgrade().and_then(|inner| inner.take(index, event)));
            if let Err(error) = source.start(sink) {
                tracing::error!(link = source.name(), %error, "this kind of device cannot be used");
                inner.take(index, LinkEvent::Settled);
            }
        }
        Self { inner }
    }

    /// All devices, oldest first.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceHandle> {
        self.inner.state().devices.values().cloned().collect()
    }

    /// The device with this number, if it is still plugged in.
    #[must_use]
    pub fn get(&self, id: DeviceId) -> Option<DeviceHandle> {
        self.inner.state().devices.get(&id).cloned()
    }

    /// What happens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<DeviceEvent> {
        self.inner.shared.events.subscribe()
    }

    /// Whether cards are looked for and pcscd does not answer: then no card that is absent can be told from one that is there.
    #[must_use]
    pub fn lacks_card_service(&self) -> bool {
        !self.card_service() && self.inner.sources.iter().any(|source| source.name() == "card")
    }

    /// Whether pcscd answers.
    #[must_use]
    pub fn card_service(&self) -> bool {
        *self.inner.card_service.borrow()
    }

    /// Waits until every source has told what was there at the start.
    pub async fn settled(&self) {
        // An error would mean that the registry is gone, but we hold it.
        let _ = self.inner.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// Ends: no new jobs and devices, running jobs may finish until `grace` is over, then they are cancelled, then left
    /// behind. Returns at the latest after `grace`, the configured [`Deadlines::grace`] and two seconds.
    pub async fn shutdown(&self, grace: Duration) {
        let lanes: Vec<Arc<Lane>> = {
            let mut state = self.inner.state();
            state.closing = true;
            state.devices.values().map(|device| Arc::clone(device.lane())).collect()
        };
        for lane in &lanes {
            lane.close();
        }
        let all_idle = async || {
            for lane in &lanes {
                lane.idle().await;
            }
        };
        if tokio::time::timeout(grace, all_idle()).await.is_err() {
            for lane in &lanes {
                lane.cancel_running();
            }
            if tokio::time::timeout(self.inner.shared.deadlines.grace, all_idle())
                .await
                .is_err()
            {
                tracing::warn!("a device operation did not end in time and was left behind");
            }
        }
        let sources = self.inner.sources.clone();
        let stop = tokio::task::spawn_blocking(move || sources.iter().for_each(|source| source.stop()));
        let _ = tokio::time::timeout(STOP_PATIENCE, stop).await;
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, source: usize, event: LinkEvent) -> Option<DeviceId> {
        let mut state = self.state();
        match event {
            LinkEvent::Arrived(_) if state.closing => None,
            LinkEvent::Arrived(face) => self.arrive(&mut state, source, face),
            LinkEvent::Left(key) => {
                leave(&mut state, &key);
                None
            }
            LinkEvent::Settled => {
                state.unsettled.remove(&source);
                if state.unsettled.is_empty() {
                    self.settled.send_replace(true);
                }
                None
            }
            LinkEvent::CardService { running } => {
                self.card_service
                    .send_if_modified(|now| std::mem::replace(now, running) != running);
                None
            }
        }
    }

    fn arrive(&self, state: &mut State, source: usize, face: Face) -> Option<DeviceId> {
        let opener = Arc::clone(self.sources.get(source)?);
        if let Some(device) = state.devices.values().find(|device| device.lane().has_body_of(&face)) {
            device.lane().attach(Attached::new(face, opener));
            return Some(device.id());
        }
        if !self.shared.wards.has_room() {
            tracing::error!(place = %face.place, name = %face.name, "refused: too many devices are stuck");
            state.refused.push((source, face));
            return None;
        }
        let id = DeviceId(state.attachments + 1);
        match Lane::start(id, Attached::new(face, opener), &self.shared) {
            Ok(lane) => {
                state.attachments = id.0;
                let handle = DeviceHandle::new(lane);
                let shown = handle.info();
                state.devices.insert(id, handle);
                tracing::info!(device = %id, name = shown.name, place = shown.place, "device arrived");
                // No receiver is not an error: nobody watches.
                let _ = self.shared.events.send(DeviceEvent::Arrived(id));
                Some(id)
            }
            Err(error) => {
                tracing::error!(%error, "refused: no thread for the device");
                None
            }
        }
    }

    /// A stuck call came back: there may be room now.
    fn take_refused(&self) {
        let mut state = self.state();
        if state.closing || !self.shared.wards.has_room() {
            return;
        }
        for (source, face) in std::mem::take(&mut state.refused) {
            self.arrive(&mut state, source, face);
        }
    }
}

fn leave(state: &mut State, key: &str) {
    state.refused.retain(|(_, face)| face.key != key);
    let Some((id, last)) = state
        .devices
        .iter()
        .find_map(|(id, device)| Some((*id, device.lane().detach(key)?)))
    else {
        return;
    };
    if last && let Some(device) = state.devices.remove(&id) {
        tracing::info!(device = %id, "device left");
        device.lane().remove();
    }
}

/// The links a configuration asks for.
///
/// # Errors
/// When the virtual socket cannot be opened: whoever configured it wants to know at once.
pub fn sources(config: &DeviceConfig) -> Result<Vec<Arc<dyn Source>>, LinkError> {
    let mut sources: Vec<Arc<dyn Source>> = Vec::new();
    if config.hid {
        sources.push(Arc::new(HidSource::new()?));
    }
    if config.cards {
        sources.push(Arc::new(CardSource::new()?));
    }
    if let Some(path) = &config.virtual_socket {
        sources.push(Arc::new(VirtualSource::bind(path)?));
    }
    Ok(sources)
}

#[cfg(test)]
mod tests;
