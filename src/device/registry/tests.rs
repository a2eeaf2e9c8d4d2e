//! Lanes and books, driven by a fake source whose links do what a test wants.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::*;
use crate::device::DeviceError;
use crate::device::handle::DeviceState;
use crate::device::session::Session;
use crate::link::watch::Sink;
use crate::link::{CardLink, FaceHandle, FaceKind, HidLink, Opener, REPORT_LEN};
use crate::types::{Cancel, Reality};

const SOON: Duration = Duration::from_secs(5);
const DEADLINES: Deadlines = Deadlines {
    exchange: Duration::from_millis(200),
    touch: Duration::from_secs(1),
    lock: Duration::from_millis(250),
    grace: Duration::from_millis(150),
};

/// A source whose events a test tells, and whose links never answer.
#[derive(Default)]
struct Fake {
    sink: Mutex<Option<Sink>>,
    busy: AtomicBool,
    opened: AtomicUsize,
}

impl Fake {
    fn tell(&self, event: LinkEvent) -> Option<DeviceId> {
        let sink = self.sink.lock().unwrap().clone().expect("started");
        sink(event)
    }

    fn plug(&self, key: &str, kind: FaceKind, body: &str) -> Option<DeviceId> {
        self.tell(LinkEvent::Arrived(face(key, kind, body)))
    }

    fn unplug(&self, key: &str) {
        self.tell(LinkEvent::Left(key.into()));
    }
}

fn face(key: &str, kind: FaceKind, body: &str) -> Face {
    Face {
        key: key.into(),
        kind,
        body: body.into(),
        place: format!("place of {body}"),
        name: "Fake".into(),
        usb: None,
        serial: None,
        contactless: false,
        reality: Reality::Hardware,
        handle: FaceHandle::Virtual { connection: 0 },
    }
}

struct Silent;

impl HidLink for Silent {
    fn write_report(&mut self, _: &[u8; REPORT_LEN]) -> Result<(), LinkError> {
        Ok(())
    }
    fn read_report(&mut self, timeout: Duration) -> Result<Option<[u8; REPORT_LEN]>, LinkError> {
        std::thread::sleep(timeout);
        Ok(None)
    }
}

impl Opener for Fake {
    fn open_hid(&self, _: &Face, patience: Duration) -> Result<Box<dyn HidLink>, LinkError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        assert!(patience <= DEADLINES.lock);
        if self.busy.load(Ordering::SeqCst) {
            Err(LinkError::Busy { holder: None })
        } else {
            Ok(Box::new(Silent))
        }
    }
    fn open_card(&self, _: &Face, _: Duration) -> Result<Box<dyn CardLink>, LinkError> {
        Err(LinkError::NoService)
    }
}

impl Source for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn start(&self, sink: Sink) -> Result<(), LinkError> {
        *self.sink.lock().unwrap() = Some(sink);
        Ok(())
    }
    fn stop(&self) {}
}

fn begin(max_quarantined: usize, fake: Fake) -> (Registry, Arc<Fake>) {
    let fake = Arc::new(fake);
    let config = DeviceConfig {
        deadlines: DEADLINES,
        virtual_socket: None,
        hid: false,
        cards: false,
        max_quarantined,
    };
    (
        Registry::start(&config, vec![Arc::clone(&fake) as Arc<dyn Source>]),
        fake,
    )
}

fn one_device(registry: &Registry, fake: &Fake) -> DeviceHandle {
    let id = fake.plug("k", FaceKind::Hid, "b").expect("taken");
    registry.get(id).expect("listed")
}

fn within(time: Duration) -> Instant {
    Instant::now() + time
}

#[tokio::test]
async fn faces_of_one_body_are_one_device_until_the_last_leaves() {
    let (registry, fake) = begin(2, Fake::default());
    let mut events = registry.subscribe();
    let hid = fake.plug("h", FaceKind::Hid, "b").expect("taken");
    assert_eq!(fake.plug("c", FaceKind::Card, "b"), Some(hid));
    let other = fake.plug("x", FaceKind::Hid, "other").expect("taken");
    assert_ne!(hid, other);
    assert_eq!(
        registry.get(hid).expect("there").info().faces,
        [FaceKind::Hid, FaceKind::Card]
    );
    fake.unplug("h");
    assert_eq!(registry.get(hid).expect("there").info().faces, [FaceKind::Card]);
    fake.unplug("c");
    assert!(registry.get(hid).is_none());
    let again = fake.plug("h2", FaceKind::Hid, "b").expect("taken");
    assert!(again > other, "a number is never used again");
    let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    use DeviceEvent::{Arrived, Faces, Left};
    assert_eq!(
        told,
        [
            Arrived(hid),
            Faces(hid),
            Arrived(other),
            Faces(hid),
            Left(hid),
            Arrived(again)
        ]
    );
}

#[tokio::test]
async fn a_job_and_a_second_face_are_told_apart() {
    use DeviceEvent::{Arrived, Faces, State};
    let (registry, fake) = begin(2, Fake::default());
    let mut events = registry.subscribe();
    let device = one_device(&registry, &fake);
    let id = device.id();
    assert_eq!(device.run(within(SOON), Cancel::new(), |_| Ok(1)).await, Ok(1));
    // The applet of the same body comes when pcscd has found it: later than the key itself.
    assert_eq!(fake.plug("c", FaceKind::Card, "b"), Some(id));
    let mut told = Vec::new();
    while told.len() < 4 {
        told.push(
            tokio::time::timeout(SOON, events.recv())
                .await
                .expect("told")
                .expect("open"),
        );
    }
    assert_eq!(told, [Arrived(id), State(id), State(id), Faces(id)]);
}

#[tokio::test]
async fn settled_waits_for_every_source() {
    let (registry, fake) = begin(2, Fake::default());
    assert!(
        tokio::time::timeout(Duration::from_millis(30), registry.settled())
            .await
            .is_err()
    );
    fake.tell(LinkEvent::Settled);
    tokio::time::timeout(SOON, registry.settled()).await.expect("settled");
    assert!(!registry.card_service());
    fake.tell(LinkEvent::CardService { running: true });
    assert!(registry.card_service());
}

/// A job that says when it runs and then waits, deaf to its cancel flag, until the test lets it go.
fn blocking_job() -> (
    impl FnOnce(&mut Session) -> Result<(), DeviceError> + Send,
    oneshot::Receiver<()>,
    mpsc::Sender<()>,
) {
    let (running, runs) = oneshot::channel();
    let (release, gate) = mpsc::channel();
    let job = move |_: &mut Session| {
        let _ = running.send(());
        let _ = gate.recv();
        Ok(())
    };
    (job, runs, release)
}

#[tokio::test]
async fn jobs_run_one_at_a_time_in_the_order_they_came() {
    let (registry, fake) = begin(2, Fake::default());
    let device = one_device(&registry, &fake);
    let (job, runs, release) = blocking_job();
    let first = tokio::spawn({
        let device = device.clone();
        async move { device.run(within(SOON), Cancel::new(), job).await }
    });
    runs.await.expect("runs");
    assert_eq!(device.info().state, DeviceState::Busy);
    let order = Arc::new(Mutex::new(Vec::new()));
    let queued: Vec<_> = (0..8)
        .map(|number| {
            let (device, order) = (device.clone(), Arc::clone(&order));
            tokio::spawn(async move {
                device
                    .run(within(SOON), Cancel::new(), move |_| {
                        order.lock().unwrap().push(number);
                        Ok(number)
                    })
                    .await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(order.lock().unwrap().is_empty());
    release.send(()).unwrap();
    assert_eq!(first.await.unwrap(), Ok(()));
    for (number, job) in queued.into_iter().enumerate() {
        assert_eq!(job.await.unwrap(), Ok(number));
    }
    assert_eq!(*order.lock().unwrap(), (0..8).collect::<Vec<_>>());
    assert_eq!(
        device.info().state,
        DeviceState::Ready,
        "in order before the caller is answered"
    );
}

#[tokio::test]
async fn another_program_is_waited_for_as_long_as_was_said_and_that_is_told() {
    let fake = Fake {
        busy: AtomicBool::new(true),
        ..Fake::default()
    };
    let (registry, fake) = begin(2, fake);
    let device = one_device(&registry, &fake);
    let told = Arc::new(Mutex::new(Vec::new()));
    let wait = |patience: Duration, lets_go: bool| {
        let (told, fake) = (Arc::clone(&told), Arc::clone(&fake));
        device.run(within(SOON), Cancel::new(), move |session| {
            let waits = move |waits| {
                told.lock().unwrap().push(waits);
                // The other program lets go once it is seen to be waited for.
                fake.busy.store(!lets_go, Ordering::SeqCst);
            };
            session.wait_for_others(Some(patience), Box::new(waits));
            session.open_hid().map(drop)
        })
    };
    assert_eq!(
        wait(Duration::ZERO, true).await,
        Err(DeviceError::Busy(None)),
        "not at all"
    );
    assert!(told.lock().unwrap().is_empty());
    assert_eq!(wait(SOON, true).await, Ok(()));
    assert_eq!(*told.lock().unwrap(), [true, false]);
}

#[tokio::test]
async fn callers_take_turns_and_none_takes_all_places() {
    let (registry, fake) = begin(2, Fake::default());
    let device = one_device(&registry, &fake);
    let (job, runs, release) = blocking_job();
    let first = tokio::spawn({
        let device = device.clone();
        async move { device.run_for(Some(1), within(SOON), Cancel::new(), job).await }
    });
    runs.await.expect("runs");
    let order = Arc::new(Mutex::new(Vec::new()));
    let queue = |caller: u32, number: u32| {
        let (device, order) = (device.clone(), Arc::clone(&order));
        tokio::spawn(async move {
            let job = move |_: &mut Session| {
                order.lock().unwrap().push((caller, number));
                Ok(())
            };
            device.run_for(Some(caller), within(SOON), Cancel::new(), job).await
        })
    };
    // One caller fills its places, and is told so; the others come after it.
    let mut queued: Vec<_> = (0..16).map(|number| queue(1, number)).collect();
    tokio::task::yield_now().await;
    assert_eq!(queue(1, 16).await.unwrap(), Err(DeviceError::Busy(None)));
    for (caller, number) in [(2, 0), (2, 1), (3, 0)] {
        queued.push(queue(caller, number));
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    assert_eq!(first.await.unwrap(), Ok(()));
    for job in queued {
        assert_eq!(job.await.unwrap(), Ok(()));
    }
    let order = order.lock().unwrap().clone();
    // The one who had the device last waits for one job of each other caller.
    assert_eq!(order[..5], [(2, 0), (3, 0), (1, 0), (2, 1), (1, 1)]);
    assert_eq!(order.iter().filter(|(caller, _)| *caller == 1).count(), 16);
}

#[tokio::test]
async fn a_stuck_job_makes_the_device_unresponsive_at_deadline_plus_grace() {
    let (registry, fake) = begin(2, Fake::default());
    let device = one_device(&registry, &fake);
    let (job, runs, release) = blocking_job();
    let cancel = Cancel::new();
    let begun = Instant::now();
    let stuck = tokio::spawn({
        let (device, cancel) = (device.clone(), cancel.clone());
        async move { device.run(within(Duration::from_millis(300)), cancel, job).await }
    });
    runs.await.expect("runs");
    let queued = tokio::spawn({
        let device = device.clone();
        async move { device.run(within(SOON), Cancel::new(), |_| Ok(())).await }
    });
    assert_eq!(stuck.await.unwrap(), Err(DeviceError::Unresponsive));
    let took = begun.elapsed();
    assert!((440..2500).contains(&took.as_millis()), "{took:?}");
    assert!(cancel.is_cancelled());
    assert_eq!(
        queued.await.unwrap(),
        Err(DeviceError::Unresponsive),
        "those behind it are answered too"
    );
    assert_eq!(device.info().state, DeviceState::Unresponsive);
    assert_eq!(
        device.run(within(SOON), Cancel::new(), |_| Ok(())).await,
        Err(DeviceError::Unresponsive)
    );

    // The call coming back does not heal the device; unplugging does.
    let wards = Arc::clone(&registry.inner.shared.wards);
    assert_eq!(wards.count(), 1);
    release.send(()).unwrap();
    device.lane().idle().await;
    wait_until(|| wards.count() == 0).await;
    assert_eq!(device.info().state, DeviceState::Unresponsive);
    fake.unplug("k");
    assert_eq!(
        device.run(within(SOON), Cancel::new(), |_| Ok(())).await,
        Err(DeviceError::Gone)
    );
    let fresh = one_device(&registry, &fake);
    assert_eq!(fresh.run(within(SOON), Cancel::new(), |_| Ok(7)).await, Ok(7));
}

#[tokio::test]
async fn who_waits_for_a_device_to_be_idle_learns_that_its_job_was_given_up() {
    let (registry, fake) = begin(2, Fake::default());
    let device = one_device(&registry, &fake);
    let (job, runs, _release) = blocking_job();
    let stuck = device.run(within(Duration::from_millis(100)), Cancel::new(), job);
    let idle = async {
        runs.await.expect("runs");
        tokio::time::timeout(SOON, device.lane().idle()).await
    };
    let (stuck, idle) = tokio::join!(stuck, idle);
    assert_eq!(stuck, Err(DeviceError::Unresponsive));
    assert!(idle.is_ok(), "waited although the job was given up");
}

async fn wait_until(mut reached: impl FnMut() -> bool) {
    let poll = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, poll).await.expect("reached in time");
}

#[tokio::test]
async fn beyond_the_cap_new_devices_wait_until_a_stuck_call_returns() {
    let (registry, fake) = begin(1, Fake::default());
    let device = one_device(&registry, &fake);
    let (job, _runs, release) = blocking_job();
    let stuck = device.run(within(Duration::from_millis(300)), Cancel::new(), job).await;
    assert_eq!(stuck, Err(DeviceError::Unresponsive));
    assert_eq!(fake.plug("k2", FaceKind::Hid, "b2"), None);
    assert_eq!(fake.plug("k3", FaceKind::Hid, "b3"), None);
    fake.unplug("k2");
    fake.unplug("k");
    assert!(
        registry.devices().is_empty(),
        "unplugging alone does not free the thread"
    );
    release.send(()).unwrap();
    wait_until(|| registry.devices().len() == 1).await;
    assert_eq!(registry.devices().first().expect("one").info().place, "place of b3");
}

#[tokio::test]
async fn a_queued_job_ends_by_its_own_deadline_and_cancel() {
    let (registry, fake) = begin(2, Fake::default());
    let device = one_device(&registry, &fake);
    let (job, runs, release) = blocking_job();
    let long = tokio::spawn({
        let device = device.clone();
        async move { device.run(within(SOON), Cancel::new(), job).await }
    });
    runs.await.expect("runs");
    let never = |_: &mut Session| -> Result<(), DeviceError> { panic!("must not begin") };
    assert_eq!(
        device
            .run(within(Duration::from_millis(30)), Cancel::new(), never)
            .await,
        Err(DeviceError::Deadline)
    );
    let cancel = Cancel::new();
    cancel.cancel();
    assert_eq!(
        device.run(within(SOON), cancel, never).await,
        Err(DeviceError::Cancelled)
    );
    assert_eq!(device.info().state, DeviceState::Busy, "the long job is not to blame");
    release.send(()).unwrap();
    assert_eq!(long.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_removal_ends_the_running_read_and_the_queue() {
    let (registry, fake) = begin(2, Fake::default());
    let device = one_device(&registry, &fake);
    let (running, runs) = oneshot::channel();
    let reader = tokio::spawn({
        let device = device.clone();
        async move {
            let job = move |session: &mut Session| -> Result<(), DeviceError> {
                let mut link = session.open_hid()?;
                let _ = running.send(());
                // A link that never wakes by itself.
                Ok(link.read_report(Duration::from_secs(60)).map(drop)?)
            };
            device.run(within(Duration::from_secs(60)), Cancel::new(), job).await
        }
    });
    runs.await.expect("runs");
    let queued = tokio::spawn({
        let device = device.clone();
        async move { device.run(within(SOON), Cancel::new(), |_| Ok(())).await }
    });
    tokio::task::yield_now().await;
    let begun = Instant::now();
    fake.unplug("k");
    assert_eq!(queued.await.unwrap(), Err(DeviceError::Gone));
    assert_eq!(reader.await.unwrap(), Err(DeviceError::Gone));
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(registry.inner.shared.wards.count(), 0);
}

#[tokio::test]
async fn a_removal_answers_the_caller_of_a_deaf_job_after_the_grace() {
    let (registry, fake) = begin(2, Fake::default());
    let device = one_device(&registry, &fake);
    let (job, runs, release) = blocking_job();
    let deaf = tokio::spawn(async move { device.run(within(Duration::from_secs(60)), Cancel::new(), job).await });
    runs.await.expect("runs");
    fake.unplug("k");
    assert_eq!(
        tokio::time::timeout(SOON, deaf).await.expect("answered").unwrap(),
        Err(DeviceError::Gone)
    );
    assert_eq!(registry.inner.shared.wards.count(), 1, "its thread still counts");
    release.send(()).unwrap();
    wait_until(|| registry.inner.shared.wards.count() == 0).await;
}

#[tokio::test]
async fn a_dropped_caller_raises_the_cancel_flag_and_a_stuck_job_is_still_noticed() {
    let (registry, fake) = begin(2, Fake::default());
    let device = one_device(&registry, &fake);
    let (job, runs, _release) = blocking_job();
    let cancel = Cancel::new();
    let caller = tokio::spawn({
        let (device, cancel) = (device.clone(), cancel.clone());
        async move { device.run(within(Duration::from_millis(300)), cancel, job).await }
    });
    runs.await.expect("runs");
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    assert!(cancel.is_cancelled());
    wait_until(|| device.info().state == DeviceState::Unresponsive).await;
}

#[tokio::test]
async fn a_panicking_job_is_reported_and_the_lane_lives_on() {
    let (registry, fake) = begin(2, Fake::default());
    let device = one_device(&registry, &fake);
    let panics = |_: &mut Session| -> Result<(), DeviceError> { panic!("on purpose") };
    let result = device.run(within(SOON), Cancel::new(), panics).await;
    assert_eq!(result, Err(DeviceError::Protocol("the operation broke off")));
    assert_eq!(device.run(within(SOON), Cancel::new(), |_| Ok(1)).await, Ok(1));
}

#[tokio::test]
async fn the_lock_is_waited_for_and_no_longer_than_configured() {
    let (registry, fake) = begin(
        2,
        Fake {
            busy: AtomicBool::new(true),
            ..Fake::default()
        },
    );
    let device = one_device(&registry, &fake);
    let begun = Instant::now();
    let result = device
        .run(within(SOON), Cancel::new(), |session| session.open_hid().map(drop))
        .await;
    assert_eq!(result, Err(DeviceError::Busy(None)));
    assert!(begun.elapsed() >= DEADLINES.lock && begun.elapsed() < SOON);
    assert!(
        fake.opened.load(Ordering::SeqCst) < 10,
        "an opener that does not wait is not asked in a hurry"
    );
    let missing = device
        .run(within(SOON), Cancel::new(), |session| session.open_card().map(drop))
        .await;
    assert_eq!(missing, Err(DeviceError::Unsupported("smart card commands")));
}

#[tokio::test]
async fn shutdown_lets_jobs_end_then_cancels_them() {
    let (registry, fake) = begin(2, Fake::default());
    let device = one_device(&registry, &fake);
    let (running, runs) = oneshot::channel();
    let job = move |session: &mut Session| -> Result<(), DeviceError> {
        let _ = running.send(());
        while !session.cancel().is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(DeviceError::Cancelled)
    };
    let caller = tokio::spawn({
        let device = device.clone();
        async move { device.run(within(Duration::from_secs(60)), Cancel::new(), job).await }
    });
    runs.await.expect("runs");
    let begun = Instant::now();
    registry.shutdown(Duration::from_millis(100)).await;
    assert!(begun.elapsed() >= Duration::from_millis(100), "it had its grace");
    assert_eq!(caller.await.unwrap(), Err(DeviceError::Cancelled));
    assert_eq!(
        device.run(within(SOON), Cancel::new(), |_| Ok(())).await,
        Err(DeviceError::Cancelled)
    );
    assert_eq!(fake.plug("k2", FaceKind::Hid, "b2"), None);
}

/// Sends one frame of the virtual link.
fn frame(stream: &mut UnixStream, kind: u8, payload: &[u8]) {
    let length = u32::try_from(payload.len() + 1).expect("short").to_be_bytes();
    stream
        .write_all(&[&length[..], &[kind], payload].concat())
        .expect("write");
}

fn next_frame(stream: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("length");
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).expect("frame");
    (frame.remove(0), frame)
}

#[tokio::test]
async fn a_simulated_token_goes_all_the_way() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("sim.sock");
    let config = DeviceConfig {
        deadlines: DEADLINES,
        virtual_socket: Some(path.clone()),
        hid: false,
        cards: false,
        max_quarantined: 2,
    };
    let registry = Registry::start(&config, sources(&config).expect("sources"));
    let mut events = registry.subscribe();
    tokio::time::timeout(SOON, registry.settled()).await.expect("settled");
    let simulator = std::thread::spawn(move || {
        let mut stream = UnixStream::connect(path).expect("connect");
        let hello =
            br#"{"protocol":1,"name":"Key","vendor_id":1,"product_id":2,"place":"sim-1","faces":["hid","card"]}"#;
        frame(&mut stream, 0x01, hello);
        let welcome = next_frame(&mut stream);
        assert_eq!(next_frame(&mut stream).0, 0x10);
        let (kind, report) = next_frame(&mut stream);
        assert_eq!(kind, 0x11);
        frame(&mut stream, 0x12, &report);
        assert_eq!(next_frame(&mut stream).0, 0x13);
        assert_eq!(next_frame(&mut stream).0, 0x20);
        // Unplugged in the middle of a connect.
        welcome
    });
    let Ok(DeviceEvent::Arrived(id)) = events.recv().await else {
        panic!("no arrival")
    };
    assert_eq!(events.recv().await, Ok(DeviceEvent::Faces(id)), "the second face");
    let device = registry.get(id).expect("there");
    assert_eq!(device.info().faces, [FaceKind::Hid, FaceKind::Card]);
    assert_eq!(device.info().reality, Reality::Virtual);
    let echo = device.run(within(SOON), Cancel::new(), |session| {
        let mut link = session.open_hid()?;
        link.write_report(&[9; REPORT_LEN])?;
        Ok(link.read_report(SOON)?)
    });
    assert_eq!(echo.await, Ok(Some([9; REPORT_LEN])));
    let card = device.run(within(SOON), Cancel::new(), |session| session.open_card().map(drop));
    assert_eq!(card.await, Err(DeviceError::Gone));
    let (kind, welcome) = simulator.join().expect("simulator");
    assert_eq!(
        (kind, String::from_utf8(welcome).expect("text")),
        (0x02, format!(r#"{{"device":"{id}"}}"#))
    );
    wait_until(|| registry.devices().is_empty()).await;
    registry.shutdown(Duration::from_secs(1)).await;
}
