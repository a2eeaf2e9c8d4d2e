//! The virtual link: a Unix socket where simulated tokens connect, one connection for each physical device.
//!
//! `virtual_/wire.rs` tells the frames. Closing the connection is pulling the plug. A frame over [`MAX_FRAME`] bytes, of an unknown kind or of the wrong length
//! closes it too. What comes in here is marked [`crate::types::Reality::Virtual`] and stays so.

mod connection;
mod wire;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use self::connection::{Connection, VirtualCard, VirtualHid};
pub use self::wire::{MAX_FRAME, MAX_HELLO};
use super::watch::{Sink, Source, Stop, next_attachment};
use super::{CardLink, Face, FaceHandle, HidLink, LinkError, LinkEvent, Opener};

/// Most simulated devices at a time.
pub const MAX_CONNECTIONS: usize = 64;

/// The listening socket and what is connected to it.
pub struct VirtualSource {
    shared: Arc<Shared>,
    listener: Mutex<Option<UnixListener>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    path: PathBuf,
    stop: Stop,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    /// Connections, those that have not greeted yet included.
    open: AtomicUsize,
}

impl VirtualSource {
    /// Opens the socket at `path`, mode 0600. A socket file that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// [`LinkError::Io`] with a sentence: the directory can be written by others, the path is something else than a
    /// socket, or another program listens there.
    pub fn bind(path: &Path) -> Result<Self, LinkError> {
        let listener = listen(path)?;
        let shared = Shared {
            path: path.to_owned(),
            stop: Stop::new()?,
            connections: Mutex::default(),
            open: AtomicUsize::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
            listener: Mutex::new(Some(listener)),
            thread: Mutex::new(None),
        })
    }

    fn connection(&self, face: &Face) -> Result<Arc<Connection>, LinkError> {
        let FaceHandle::Virtual { connection } = face.handle else {
            return Err(LinkError::NotTheSame);
        };
        let connections = self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.get(&connection).cloned().ok_or(LinkError::Gone)
    }
}

impl Opener for VirtualSource {
    fn open_hid(&self, face: &Face, patience: Duration) -> Result<Box<dyn HidLink>, LinkError> {
        Ok(Box::new(VirtualHid::open(self.connection(face)?, patience)?))
    }

    fn open_card(&self, face: &Face, patience: Duration) -> Result<Box<dyn CardLink>, LinkError> {
        Ok(Box::new(VirtualCard::open(self.connection(face)?, patience)?))
    }
}

impl Source for VirtualSource {
    fn name(&self) -> &'static str {
        "virtual"
    }

    fn start(&self, sink: Sink) -> Result<(), LinkError> {
        let Some(listener) = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        sink(LinkEvent::Settled);
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name("link-virtual".into())
            .spawn(move || accept(&listener, &shared, &sink))
            .map_err(|error| LinkError::Io(error.to_string()))?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    fn stop(&self) {
        if !self.shared.stop.is_stopped() {
            self.shared.stop.stop();
            let _ = fs::remove_file(&self.shared.path);
        }
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
        for connection in self
            .shared
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            connection.hang_up();
        }
    }
}

impl Drop for VirtualSource {
    fn drop(&mut self) {
        self.stop();
    }
}

fn io_error(what: &str, path: &Path, error: &io::Error) -> LinkError {
    LinkError::Io(format!("{what} {}: {error}", path.display()))
}

fn listen(path: &Path) -> Result<UnixListener, LinkError> {
    check_directory(path)?;
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            UnixListener::bind(path)
        }
        other => other,
    }
    .map_err(|error| io_error("cannot listen on", path, &error))?;
    // Until here the umask alone guards the file; SO_PEERCRED guards the connections in any case.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(|error| io_error("cannot set the mode of", path, &error))?;
    listener
        .set_nonblocking(true)
        .map_err(|error| io_error("cannot use", path, &error))?;
    Ok(listener)
}

/// The directory must belong to us or to root, and nobody else may write there: who can swap the socket file can pose as
/// the daemon.
fn check_directory(path: &Path) -> Result<(), LinkError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let meta = fs::metadata(parent).map_err(|error| io_error("cannot use the directory", parent, &error))?;
    let ours = meta.uid() == nix::unistd::geteuid().as_raw() || meta.uid() == 0;
    // In a sticky directory (/tmp) others cannot remove our file.
    let guarded = meta.mode() & 0o022 == 0 || meta.mode() & 0o1000 != 0;
    if ours && guarded {
        return Ok(());
    }
    let reason = format!(
        "the directory {} must belong to the daemon's user or root and be writable by nobody else",
        parent.display()
    );
    Err(LinkError::Io(reason))
}

fn remove_stale(path: &Path) -> Result<(), LinkError> {
    let meta = fs::symlink_metadata(path).map_err(|error| io_error("cannot look at", path, &error))?;
    if !meta.file_type().is_socket() {
        return Err(LinkError::Io(format!("{} exists and is not a socket", path.display())));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| io_error("cannot remove", path, &error))
        }
        _ => Err(LinkError::Io(format!("another program listens on {}", path.display()))),
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>, sink: &Sink) {
    loop {
        let mut fds = [
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(shared.stop.as_fd(), PollFlags::POLLIN),
        ];
        let polled = poll(&mut fds, PollTimeout::NONE);
        if shared.stop.is_stopped() {
            return;
        }
        if polled.is_err() {
            continue;
        }
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => {
                // Out of descriptors: the connection stays pending and poll would return at once for ever.
                tracing::warn!(%error, "cannot accept a simulated token");
                thread::sleep(Duration::from_millis(200));
                continue;
            }
        };
        let place = Place::take(Arc::clone(shared));
        let (shared, sink) = (Arc::clone(shared), Arc::clone(sink));
        let spawned = thread::Builder::new().name("link-virtual-peer".into()).spawn(move || {
            if let Err(reason) = serve(stream, &shared, &sink, &place) {
                tracing::warn!(%reason, "a simulated token was refused");
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for a simulated token");
        }
    }
}

/// One of the [`MAX_CONNECTIONS`] places; free again when dropped.
struct Place {
    shared: Arc<Shared>,
    in_excess: bool,
}

impl Place {
    fn take(shared: Arc<Shared>) -> Self {
        let in_excess = shared.open.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS;
        Self { shared, in_excess }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One connection from greeting to unplugging.
fn serve(stream: UnixStream, shared: &Shared, sink: &Sink, place: &Place) -> Result<(), String> {
    let broken = |error: io::Error| error.to_string();
    stream.set_nonblocking(false).map_err(broken)?;
    let reader = stream.try_clone().map_err(broken)?;
    let number = next_attachment();
    let connection = Arc::new(Connection::new(stream).map_err(broken)?);
    let refuse = |reason: &str| {
        let _ = connection.send(wire::REFUSED, reason.as_bytes());
        connection.hang_up();
        Err(reason.to_owned())
    };
    if place.in_excess {
        return refuse("too many simulated tokens are connected");
    }
    if !peer_is_ours(&reader) {
        return refuse("only the user that runs the daemon may connect simulated tokens");
    }
    let hello = match wire::greet(&reader) {
        Ok(hello) => hello,
        Err(reason) => return refuse(&reason),
    };
    let faces = wire::faces(number, &hello);
    if !shared.admit(number, &connection) {
        return refuse("the daemon is shutting down");
    }
    // The answer must be the first frame the simulator sees, even if a job opens a face at once.
    let device = connection.announce(|| {
        let arrive = |device, face: &Face| sink(LinkEvent::Arrived(face.clone())).or(device);
        faces.iter().fold(None, arrive)
    });
    let outcome = match device {
        Some(device) => {
            let reason = connection.pump(&reader);
            tracing::info!(%device, %reason, "simulated token unplugged");
            Ok(())
        }
        None => refuse("too many devices are stuck"),
    };
    connection.hang_up();
    shared
        .connections
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&number);
    for face in faces {
        sink(LinkEvent::Left(face.key));
    }
    outcome
}

impl Shared {
    /// Lists the connection, unless the source is stopping.
    fn admit(&self, number: u64, connection: &Arc<Connection>) -> bool {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stop.is_stopped() {
            return false;
        }
        connections.insert(number, Arc::clone(connection));
        true
    }
}

/// Only the daemon's own user and root may plug things in (`SO_PEERCRED`, unix(7)).
fn peer_is_ours(stream: &UnixStream) -> bool {
    getsockopt(stream, PeerCredentials)
        .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw())
}

#[cfg(test)]
mod tests;
