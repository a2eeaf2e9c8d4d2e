//! CTAPHID over hidraw: the only file that names `hidapi`.
//!
//! Finding is udev's (coldplug and hotplug in one thread), reading and writing are hidapi's. hidapi hides its descriptor, so
//! the node is opened twice: first by us, to lock it as libfido2 does and to see that it is still the device that was found;
//! while our descriptor is open the kernel gives that minor to nobody else, and hidapi opens the same path.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hidapi::{HidApi, HidDevice};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use udev::{Device, Enumerator, EventType, MonitorBuilder, MonitorSocket};

use super::watch::{Sink, Source, Stop, clean, next_attachment, usb_body};
use super::{CardLink, Face, FaceHandle, FaceKind, HidLink, LinkError, LinkEvent, Opener, REPORT_LEN, UsbIds};
use super::{descriptor, holder};
use crate::types::Reality;

/// How often a lock that somebody else has is tried again.
const LOCK_GLANCE: Duration = Duration::from_millis(20);

/// The FIDO interfaces among the hidraw nodes.
pub struct HidSource {
    stop: Arc<Stop>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// hidapi keeps the last error of an open in one place for all threads: one open at a time.
    api: Mutex<Option<HidApi>>,
}

impl HidSource {
    /// A source that has not been started.
    ///
    /// # Errors
    /// [`LinkError::Io`] when the process is out of descriptors.
    pub fn new() -> Result<Self, LinkError> {
        Ok(Self {
            stop: Arc::new(Stop::new()?),
            thread: Mutex::default(),
            api: Mutex::default(),
        })
    }

    fn open_with_hidapi(&self, node: &Path) -> Result<HidDevice, LinkError> {
        let failed = |error: hidapi::HidError| LinkError::Io(error.to_string());
        let path = CString::new(node.as_os_str().as_bytes()).map_err(|_| LinkError::NotTheSame)?;
        let mut api = self.api.lock().unwrap_or_else(PoisonError::into_inner);
        let api = match &mut *api {
            Some(api) => api,
            none => {
                let mut fresh = HidApi::new().map_err(failed)?;
                // It lists all devices with their serials; we need none of that.
                fresh.reset_devices().map_err(failed)?;
                none.insert(fresh)
            }
        };
        api.open_path(&path).map_err(failed)
    }
}

impl Source for HidSource {
    fn name(&self) -> &'static str {
        "hid"
    }

    fn start(&self, sink: Sink) -> Result<(), LinkError> {
        let stop = Arc::clone(&self.stop);
        let thread = thread::Builder::new()
            .name("link-hid".into())
            .spawn(move || {
                let mut watcher = Watcher {
                    sink,
                    stop,
                    told: HashMap::new(),
                    settled: false,
                };
                if let Err(error) = watcher.run() {
                    tracing::error!(%error, "udev cannot be used: security keys will not be seen");
                }
                watcher.settle();
            })
            .map_err(|error| LinkError::Io(error.to_string()))?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    fn stop(&self) {
        self.stop.stop();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

impl Drop for HidSource {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What udev told, by syspath.
struct Watcher {
    sink: Sink,
    stop: Arc<Stop>,
    told: HashMap<PathBuf, Told>,
    settled: bool,
}

struct Told {
    key: String,
    body: String,
    rdev: u64,
}

impl Watcher {
    /// Listens first and lists then, so that nothing falls between.
    fn run(&mut self) -> io::Result<()> {
        let monitor = MonitorBuilder::new()?.match_subsystem("hidraw")?.listen()?;
        self.list()?;
        self.settle();
        while self.sleep(&monitor)? {
            let mut lost = true;
            for event in monitor.iter() {
                lost = false;
                match event.event_type() {
                    EventType::Add => self.added(&event),
                    EventType::Remove => self.removed(event.syspath()),
                    _ => {}
                }
            }
            // Something woke us and nothing could be read: the kernel dropped events (ENOBUFS).
            if lost {
                self.list()?;
            }
        }
        Ok(())
    }

    /// Sleeps until udev tells something; false when the source stops.
    fn sleep(&self, monitor: &MonitorSocket) -> io::Result<bool> {
        let mut fds = [
            PollFd::new(monitor.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let hung_up = fds
            .first()
            .and_then(PollFd::revents)
            .is_some_and(|events| events.intersects(PollFlags::POLLHUP | PollFlags::POLLNVAL));
        if hung_up && !self.stop.is_stopped() {
            return Err(io::Error::other("the connection to udev broke"));
        }
        Ok(!self.stop.is_stopped())
    }

    fn settle(&mut self) {
        if !std::mem::replace(&mut self.settled, true) {
            (self.sink)(LinkEvent::Settled);
        }
    }

    /// Compares what is there with what was told.
    fn list(&mut self) -> io::Result<()> {
        let mut enumerator = Enumerator::new()?;
        enumerator.match_subsystem("hidraw")?;
        let present: Vec<Device> = enumerator.scan_devices()?.collect();
        let gone: Vec<PathBuf> = self
            .told
            .keys()
            .filter(|path| !present.iter().any(|device| device.syspath() == **path))
            .cloned()
            .collect();
        gone.iter().for_each(|path| self.removed(path));
        present.iter().for_each(|device| self.added(device));
        Ok(())
    }

    fn added(&mut self, device: &Device) {
        let Some((face, rdev)) = face_of(device) else { return };
        let path = device.syspath().to_owned();
        if let Some(told) = self.told.get(&path) {
            // Listed and announced: the same plug, unless we missed its leaving.
            if told.rdev == rdev && told.body == face.body {
                return;
            }
            self.removed(&path);
        }
        self.told.insert(
            path,
            Told {
                key: face.key.clone(),
                body: face.body.clone(),
                rdev,
            },
        );
        (self.sink)(LinkEvent::Arrived(face));
    }

    fn removed(&mut self, path: &Path) {
        if let Some(told) = self.told.remove(path) {
            (self.sink)(LinkEvent::Left(told.key));
        }
    }
}

/// The face of a hidraw device and its device number, if it is a FIDO interface.
fn face_of(device: &Device) -> Option<(Face, u64)> {
    let (node, rdev) = (device.devnode()?.to_owned(), device.devnum()?);
    let hid = device.parent_with_subsystem("hid").ok()??;
    if !descriptor::is_fido(&report_descriptor(hid.syspath()).ok()?) {
        return None;
    }
    let usb = device.parent_with_subsystem_devtype("usb", "usb_device").ok().flatten();
    let usb = usb.as_ref();
    let path = device.syspath().display();
    let key = format!("hid:{path}#{}", next_attachment());
    let body = usb
        .and_then(usb_place)
        .map_or_else(|| key.clone(), |(bus, number)| usb_body(bus, number));
    let face = Face {
        kind: FaceKind::Hid,
        body,
        place: usb.map_or_else(
            || clean(&node.to_string_lossy(), 64),
            |usb| format!("USB port {}", clean(&usb.sysname().to_string_lossy(), 32)),
        ),
        name: product_name(usb, &hid),
        usb: usb_ids(usb, &hid),
        serial: usb
            .and_then(|usb| attribute(usb, "serial"))
            .or_else(|| property(&hid, "HID_UNIQ")),
        contactless: false,
        reality: Reality::Hardware,
        handle: FaceHandle::Hidraw { node, rdev },
        key,
    };
    Some((face, rdev))
}

fn report_descriptor(hid: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(descriptor::LONGEST).unwrap_or(u64::MAX);
    File::open(hid.join("report_descriptor"))?
        .take(most)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn attribute(device: &Device, name: &str) -> Option<String> {
    Some(clean(&device.attribute_value(name)?.to_string_lossy(), 128)).filter(|text| !text.is_empty())
}

fn property(device: &Device, name: &str) -> Option<String> {
    Some(clean(&device.property_value(name)?.to_string_lossy(), 128)).filter(|text| !text.is_empty())
}

fn usb_place(usb: &Device) -> Option<(u32, u32)> {
    Some((
        attribute(usb, "busnum")?.parse().ok()?,
        attribute(usb, "devnum")?.parse().ok()?,
    ))
}

fn product_name(usb: Option<&Device>, hid: &Device) -> String {
    let maker = usb.and_then(|usb| attribute(usb, "manufacturer"));
    let product = usb.and_then(|usb| attribute(usb, "product"));
    match (maker, product) {
        (Some(maker), Some(product)) if !product.starts_with(&maker) => format!("{maker} {product}"),
        (_, Some(product)) => product,
        (Some(maker), None) => format!("{maker} security key"),
        (None, None) => property(hid, "HID_NAME").unwrap_or_else(|| "security key".into()),
    }
}

/// From the USB device, or from the hid device's `HID_ID=0003:00001050:00000407` (bus, vendor, product).
fn usb_ids(usb: Option<&Device>, hid: &Device) -> Option<UsbIds> {
    let hex = |text: &str| u16::from_str_radix(text, 16).ok();
    if let Some(usb) = usb {
        return Some(UsbIds {
            vendor: hex(&attribute(usb, "idVendor")?)?,
            product: hex(&attribute(usb, "idProduct")?)?,
        });
    }
    let id = property(hid, "HID_ID")?;
    let mut parts = id.split(':').skip(1).map(|part| part.get(4..).and_then(hex));
    Some(UsbIds {
        vendor: parts.next()??,
        product: parts.next()??,
    })
}

impl Opener for HidSource {
    fn open_hid(&self, face: &Face, patience: Duration) -> Result<Box<dyn HidLink>, LinkError> {
        let FaceHandle::Hidraw { node, rdev } = &face.handle else {
            return Err(LinkError::NotTheSame);
        };
        let held = hold(node, *rdev, patience)?;
        let device = self.open_with_hidapi(node)?;
        Ok(Box::new(OpenHid { device, held }))
    }

    fn open_card(&self, _: &Face, _: Duration) -> Result<Box<dyn CardLink>, LinkError> {
        Err(LinkError::NotTheSame)
    }
}

/// Opens and locks the node, and makes sure that it is still the device that was found.
fn hold(node: &Path, rdev: u64, patience: Duration) -> Result<Flock<File>, LinkError> {
    let flags = (OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(node);
    let mut file = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENXIO | Errno::ENODEV | Errno::EIO) => LinkError::Gone,
        Some(Errno::EACCES | Errno::EPERM) => LinkError::Permission {
            node: node.display().to_string(),
        },
        Some(Errno::ELOOP) => LinkError::NotTheSame,
        _ => LinkError::Io(format!("{}: {error}", node.display())),
    })?;
    let stat = nix::sys::stat::fstat(&file).map_err(|error| LinkError::Io(error.to_string()))?;
    if stat.st_rdev != rdev {
        return Err(LinkError::NotTheSame);
    }
    let begun = Instant::now();
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => return Ok(held),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
            Err((_, error)) => return Err(LinkError::Io(format!("cannot lock {}: {error}", node.display()))),
        };
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(LinkError::Busy {
                holder: holder::find(node, &stat),
            });
        }
        thread::sleep(left.min(LOCK_GLANCE));
    }
}

/// What the kernel answers when the device has left. Between the unplugging and the hub's word about it a transfer fails by
/// EPROTO, EILSEQ or ETIME, and after that by ESHUTDOWN (the kernel's documentation, `driver-api/usb/error-codes`).
const LEAVING: [Errno; 6] = [
    Errno::EIO,
    Errno::ENODEV,
    Errno::EPROTO,
    Errno::EILSEQ,
    Errno::ETIME,
    Errno::ESHUTDOWN,
];

/// Whether hidapi's text tells of a device that has left: it has the C library's words, which are not `Errno::desc`'s.
fn says_gone(text: &str) -> bool {
    LEAVING.iter().any(|errno| {
        let told = std::io::Error::from(*errno).to_string();
        told.split(" (os error")
            .next()
            .is_some_and(|words| text.contains(words))
    })
}

struct OpenHid {
    device: HidDevice,
    /// Our own descriptor: it has the lock and keeps the minor from being given away.
    held: Flock<File>,
}

impl OpenHid {
    /// hidapi's errors are only text; the kernel says plainly whether the device is still there (`hidraw_poll`).
    fn explain(&self, error: &hidapi::HidError) -> LinkError {
        let mut fds = [PollFd::new(self.held.as_fd(), PollFlags::empty())];
        let gone = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
        let text = error.to_string();
        if gone || says_gone(&text) {
            LinkError::Gone
        } else {
            LinkError::Io(text)
        }
    }
}

impl HidLink for OpenHid {
    fn write_report(&mut self, report: &[u8; REPORT_LEN]) -> Result<(), LinkError> {
        // The report id comes first; CTAPHID has none (0).
        let mut frame = zeroize::Zeroizing::new([0; REPORT_LEN + 1]);
        for (to, from) in frame.iter_mut().skip(1).zip(report) {
            *to = *from;
        }
        let written = self
            .device
            .write(frame.as_slice())
            .map_err(|error| self.explain(&error))?;
        if written < REPORT_LEN {
            Err(LinkError::Io("the report was cut short".into()))
        } else {
            Ok(())
        }
    }

    fn read_report(&mut self, timeout: Duration) -> Result<Option<[u8; REPORT_LEN]>, LinkError> {
        let mut report = [0; REPORT_LEN];
        // At least a millisecond, or a caller with a little time left would spin.
        let timeout = i32::try_from(timeout.as_millis().max(u128::from(!timeout.is_zero()))).unwrap_or(i32::MAX);
        match self.device.read_timeout(&mut report, timeout) {
            Ok(0) => Ok(None),
            // A short report reads as if padded, as the standard pads (CTAP 2.1 section 11.2.4).
            Ok(_) => Ok(Some(report)),
            Err(error) => Err(self.explain(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::says_gone;

    #[test]
    fn a_device_that_leaves_is_known_by_the_words_of_the_c_library() {
        for words in [
            "Protocol error",
            "Input/output error",
            "No such device",
            "Cannot send after transport endpoint shutdown",
        ] {
            assert!(says_gone(&format!("hidapi error: {words}")), "{words}");
        }
        for words in ["Broken pipe", "Permission denied", "Connection timed out"] {
            assert!(!says_gone(&format!("hidapi error: {words}")), "{words}");
        }
    }
}
