//! One authenticator: firmware on two threads, a wire of reports, a finger.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::card::{self, Field, Reader};
use claviger::device::DeviceError;
use claviger::device::fido::Entropy;
use claviger::link::{CardLink, HidLink, LinkError, REPORT_LEN};
use ctaphid_dispatch::{Channel, DEFAULT_MESSAGE_SIZE, Dispatch};
use fido_authenticator::{Authenticator, Config, Conforming};
use sha2::{Digest, Sha256};
use trussed::backend::BackendId;
use trussed::platform::{Platform as _, UserInterface};
use trussed::types::ui::Status;
use trussed::virt::{self, StoreConfig, UptimeOffset};
use trussed_core::types::consent::Level;
use trussed_staging::virt::{BackendIds, Dispatcher};
use usb_device::UsbDirection;
use usb_device::bus::{PollResult, UsbBus, UsbBusAllocator};
use usb_device::class::UsbClass as _;
use usb_device::device::{UsbDeviceBuilder, UsbVidPid};
use usb_device::endpoint::{EndpointAddress, EndpointType};
use usbd_ctaphid::CtapHid;
use usbd_ctaphid::types::Status as KeepAliveDue;

type Report = [u8; REPORT_LEN];

/// How long the key itself waits for a touch. The standard says ten seconds at least; tests have no time for that.
const KEY_TOUCH_TIMEOUT_MS: u32 = 1500;

/// What the person does.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Finger {
    Away = 0,
    Touch = 1,
}

/// Reports under way. Every reader gets every report, as with hidraw.
#[derive(Default)]
struct Wire {
    state: Mutex<WireState>,
    changed: Condvar,
}

#[derive(Default)]
struct WireState {
    to_key: VecDeque<Report>,
    readers: Vec<VecDeque<Report>>,
}

/// The key as a test sees it.
pub struct Key {
    wire: Arc<Wire>,
    finger: Arc<AtomicU8>,
    uptime: UptimeOffset,
    reader: Mutex<Option<Reader>>,
}

impl Key {
    /// Opens the key once more.
    pub fn link(&self) -> Box<dyn HidLink> {
        let mut state = self.wire.state.lock().unwrap();
        state.readers.push(VecDeque::new());
        Box::new(WireLink {
            wire: self.wire.clone(),
            reader: state.readers.len() - 1,
        })
    }

    /// The reader it lies on, for the one who opens it first.
    pub fn card(&self) -> Box<dyn CardLink> {
        Box::new(
            self.reader
                .lock()
                .unwrap()
                .take()
                .expect("a key on a reader, opened once"),
        )
    }

    pub fn put_finger(&self, finger: Finger) {
        self.finger.store(finger as u8, Ordering::SeqCst);
    }

    /// Moves the key's uptime forward.
    pub fn let_time_pass(&self, by: Duration) {
        self.uptime.add(by);
    }
}

struct WireLink {
    wire: Arc<Wire>,
    reader: usize,
}

impl HidLink for WireLink {
    fn write_report(&mut self, report: &Report) -> Result<(), LinkError> {
        self.wire.state.lock().unwrap().to_key.push_back(*report);
        self.wire.changed.notify_all();
        Ok(())
    }

    fn read_report(&mut self, timeout: Duration) -> Result<Option<Report>, LinkError> {
        let state = self.wire.state.lock().unwrap();
        let nothing = |state: &mut WireState| state.readers[self.reader].is_empty();
        let (mut state, _) = self.wire.changed.wait_timeout_while(state, timeout, nothing).unwrap();
        Ok(state.readers[self.reader].pop_front())
    }
}

/// The USB peripheral the firmware's driver believes in: endpoints are queues, and enumeration never happens.
struct WireBus {
    wire: Arc<Wire>,
    endpoints: usize,
}

impl UsbBus for WireBus {
    fn alloc_ep(
        &mut self,
        direction: UsbDirection,
        address: Option<EndpointAddress>,
        _kind: EndpointType,
        _size: u16,
        _interval: u8,
    ) -> usb_device::Result<EndpointAddress> {
        Ok(address.unwrap_or_else(|| {
            self.endpoints += 1;
            EndpointAddress::from_parts(self.endpoints, direction)
        }))
    }

    fn enable(&mut self) {}
    fn reset(&self) {}
    fn set_device_address(&self, _address: u8) {}

    fn write(&self, _endpoint: EndpointAddress, packet: &[u8]) -> usb_device::Result<usize> {
        let report: Report = packet.try_into().map_err(|_| usb_device::UsbError::BufferOverflow)?;
        for reader in &mut self.wire.state.lock().unwrap().readers {
            reader.push_back(report);
        }
        self.wire.changed.notify_all();
        Ok(packet.len())
    }

    fn read(&self, _endpoint: EndpointAddress, buffer: &mut [u8]) -> usb_device::Result<usize> {
        let report = self
            .wire
            .state
            .lock()
            .unwrap()
            .to_key
            .pop_front()
            .ok_or(usb_device::UsbError::WouldBlock)?;
        buffer.copy_from_slice(&report);
        Ok(report.len())
    }

    fn set_stalled(&self, _endpoint: EndpointAddress, _stalled: bool) {}
    fn is_stalled(&self, _endpoint: EndpointAddress) -> bool {
        false
    }
    fn suspend(&self) {}
    fn resume(&self) {}
    fn poll(&self) -> PollResult {
        PollResult::None
    }
}

/// The key's button and light.
struct Front {
    finger: Arc<AtomicU8>,
    waiting: Arc<AtomicBool>,
}

impl UserInterface for Front {
    fn check_user_presence(&mut self) -> Level {
        match self.finger.load(Ordering::SeqCst) {
            0 => Level::None,
            _ => Level::Normal,
        }
    }

    fn set_status(&mut self, status: Status) {
        self.waiting
            .store(status == Status::WaitingForUserPresence, Ordering::SeqCst);
    }
}

/// Plugs a fresh key in, runs `test` on it and unplugs it.
pub fn with_key(test: impl FnOnce(&Key) + Send) {
    run(None, test);
}

/// Lays a fresh key on a reader, runs `test` on it and takes it away.
pub fn with_card(test: impl FnOnce(&Key) + Send) {
    run(Some(card::reader()), test);
}

fn run(lies_on: Option<(Reader, Field)>, test: impl FnOnce(&Key) + Send) {
    let (reader, field) = lies_on.unzip();
    virt::with_platform(StoreConfig::ram(), |mut platform| {
        let key = Key {
            wire: Arc::default(),
            finger: Arc::default(),
            uptime: platform.user_interface().uptime_offset(),
            reader: Mutex::new(reader),
        };
        let waiting = Arc::new(AtomicBool::new(false));
        platform.user_interface().set_inner(Box::new(Front {
            finger: key.finger.clone(),
            waiting: waiting.clone(),
        }));
        let backends = &[BackendId::Custom(BackendIds::StagingBackend), BackendId::Core];
        platform.run_client_with_backends("fido", Dispatcher::default(), backends, |client| {
            let mut config = Config::new(DEFAULT_MESSAGE_SIZE);
            config.fido2_up_timeout = Some(KEY_TOUCH_TIMEOUT_MS);
            config.max_resident_credential_count = Some(10);
            let mut authenticator = Authenticator::new(client, Conforming {}, config);
            let pipe = Channel::<DEFAULT_MESSAGE_SIZE>::new();
            let (requester, responder) = pipe.split().unwrap();
            let unplugged = AtomicBool::new(false);
            thread::scope(|scope| {
                if let Some(field) = field {
                    let (authenticator, unplugged) = (&mut authenticator, &unplugged);
                    scope.spawn(move || card::serve(authenticator, &field, unplugged));
                    let _away = Unplug(unplugged);
                    return test(&key);
                }
                scope.spawn(|| {
                    let mut dispatch = Dispatch::new(responder);
                    while !unplugged.load(Ordering::SeqCst) {
                        dispatch.poll(&mut [&mut authenticator]);
                        thread::sleep(Duration::from_millis(1));
                    }
                });
                scope.spawn(|| {
                    let allocator = UsbBusAllocator::new(WireBus {
                        wire: key.wire.clone(),
                        endpoints: 0,
                    });
                    let class = CtapHid::new(&allocator, requester, 0)
                        .implements_ctap1()
                        .implements_ctap2();
                    // Building the device freezes the allocator, which is what makes the class's endpoints work.
                    let _device = UsbDeviceBuilder::new(&allocator, UsbVidPid(0x1209, 0x0001)).build();
                    run_usb_side(class, &key.wire, &waiting, &unplugged);
                });
                let _unplug = Unplug(&unplugged);
                test(&key);
            });
        });
    });
}

/// Lets the firmware's threads end also when the test panics.
struct Unplug<'a>(&'a AtomicBool);

impl Drop for Unplug<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The USB interrupt handler and the timer of a real key.
fn run_usb_side<const N: usize>(
    mut class: CtapHid<'_, '_, '_, WireBus, N>,
    wire: &Wire,
    waiting: &AtomicBool,
    unplugged: &AtomicBool,
) {
    let read_address = class.pipe().read_address();
    let mut keep_alive_at = None;
    let due = |status| match status {
        KeepAliveDue::ReceivedData(after) => Some(Instant::now() + Duration::from_millis(after.0.into())),
        KeepAliveDue::Idle => None,
    };
    while !unplugged.load(Ordering::SeqCst) {
        let state = wire.state.lock().unwrap();
        let nothing = |state: &mut WireState| state.to_key.is_empty();
        let (state, _) = wire
            .changed
            .wait_timeout_while(state, Duration::from_millis(1), nothing)
            .unwrap();
        let pending = !state.to_key.is_empty();
        drop(state);
        if pending {
            class.endpoint_out(read_address);
        }
        class.poll();
        keep_alive_at = due(class.did_start_processing()).or(keep_alive_at);
        if keep_alive_at.is_some_and(|at| at <= Instant::now()) {
            keep_alive_at = due(class.send_keepalive(waiting.load(Ordering::SeqCst)));
        }
    }
}

/// Reproducible random bytes: SHA-256 of seed and counter.
pub struct SeededEntropy {
    seed: u64,
    drawn: u64,
}

impl SeededEntropy {
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), DeviceError> {
        for chunk in buffer.chunks_mut(32) {
            let block = Sha256::digest([self.seed.to_be_bytes(), self.drawn.to_be_bytes()].concat());
            chunk.copy_from_slice(&block[..chunk.len()]);
            self.drawn += 1;
        }
        Ok(())
    }
}
