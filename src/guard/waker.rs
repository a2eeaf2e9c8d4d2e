//! Waits until authority's time may have reached a deadline: nothing is asked while nothing is due.
//!
//! The boot clock's timer counts what a suspended host slept through; the other fires when somebody sets the wall clock
//! (`TFD_TIMER_CANCEL_ON_SET`), by which more time may have passed than the boot clock knows of. Both only wake: what time it is says
//! the [timepiece](super::time::Timepiece).

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

/// When the timer would expire that waits for the clock to be set, in seconds since 1970: never, as far as we are concerned.
const NEVER_S: i64 = 1 << 40;

/// A timer, as tokio waits for it.
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Two timers of the kernel's.
pub struct Waker {
    passed: AsyncFd<Timer>,
    set: AsyncFd<Timer>,
}

impl Waker {
    /// Makes the timers. Inside a tokio runtime.
    ///
    /// # Errors
    /// The kernel's: no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let timer = |clock| TimerFd::new(clock, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC).map(Timer);
        Ok(Self {
            passed: registered(timer(ClockId::CLOCK_BOOTTIME)?)?,
            set: registered(timer(ClockId::CLOCK_REALTIME)?)?,
        })
    }

    /// Waits for so long, or for ever; less when the wall clock is set meanwhile.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn wait(&mut self, left: Option<Duration>) -> io::Result<()> {
        let never = TimeSpec::new(NEVER_S, 0);
        self.set.get_ref().0.set(
            Expiration::OneShot(never),
            TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET,
        )?;
        match left {
            // A timer of zero is a timer that is off.
            Some(left) => self.passed.get_ref().0.set(
                Expiration::OneShot(TimeSpec::from_duration(left.max(Duration::from_millis(1)))),
                TimerSetTimeFlags::empty(),
            )?,
            None => self.passed.get_ref().0.unset()?,
        }
        tokio::select! {
            passed = fired(&self.passed) => passed,
            set = fired(&self.set) => set,
        }
    }
}

#[allow(
    unsafe_code,
    reason = "tokio has no safe way to register a descriptor of a kind it does not know"
)]
fn registered(timer: Timer) -> io::Result<AsyncFd<Timer>> {
    // SAFETY: a `Timer` owns its descriptor, gives out no other, and keeps it open until it is dropped.
    unsafe { AsyncFd::register(timer) }.map_err(Into::into)
}

async fn fired(timer: &AsyncFd<Timer>) -> io::Result<()> {
    loop {
        let mut ready = timer.readable().await?;
        match timer.get_ref().0.wait() {
            // Nobody has set the clock, and it has not expired.
            Err(Errno::EAGAIN) => ready.clear_ready(),
            // It was set.
            Ok(()) | Err(Errno::ECANCELED) => {
                ready.clear_ready();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_its_time_has_passed() {
        let mut waker = Waker::new().expect("timers");
        waker.wait(Some(Duration::ZERO)).await.expect("woken");
        waker.wait(Some(Duration::from_millis(5))).await.expect("woken again");
        let for_ever = waker.wait(None);
        let none = tokio::time::timeout(Duration::from_millis(20), for_ever).await;
        assert!(none.is_err(), "nothing is due");
    }
}
