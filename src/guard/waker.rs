//! Waits until authority's time may have reached a deadline: nothing is asked while nothing is due.
//!
//! The boot clock's timer counts what a suspended host slept through; the other fires when somebody sets the wall clock
//! (`TFD_TIMER_CANCEL_ON_SET`), by which more time may have passed than the boot clock knows of. Both only wake: what time it is says
//! the [timepiece](super::time::Timepiece).

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::net::unix::pipe::Receiver;

/// When the timer would expire that waits for the clock to be set, in seconds since 1970: never, as far as we are concerned.
const NEVER_S: i64 = 1 << 40;

/// A timer, and its descriptor once more, as tokio waits for one: it reads eight bytes from it as from a pipe.
struct Timer {
    timer: TimerFd,
    fires: Receiver,
}

impl Timer {
    fn new(clock: ClockId) -> io::Result<Self> {
        let timer = TimerFd::new(clock, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        let fires = Receiver::from_owned_fd_unchecked(timer.as_fd().try_clone_to_owned()?)?;
        Ok(Self { timer, fires })
    }

    /// Waits until it has expired, or was cancelled since the clock was set.
    async fn fired(&self) -> io::Result<()> {
        loop {
            self.fires.readable().await?;
            match self.fires.try_read(&mut [0; 8]) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.raw_os_error() == Some(Errno::ECANCELED as i32) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Two timers of the kernel's.
pub struct Waker {
    passed: Timer,
    set: Timer,
}

impl Waker {
    /// Makes the timers. Inside a tokio runtime.
    ///
    /// # Errors
    /// The kernel's: no descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            passed: Timer::new(ClockId::CLOCK_BOOTTIME)?,
            set: Timer::new(ClockId::CLOCK_REALTIME)?,
        })
    }

    /// Waits for so long, or for ever; less when the wall clock is set meanwhile.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn wait(&mut self, left: Option<Duration>) -> io::Result<()> {
        let never = TimeSpec::new(NEVER_S, 0);
        self.set.timer.set(
            Expiration::OneShot(never),
            TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET,
        )?;
        match left {
            // A timer of zero is a timer that is off.
            Some(left) => self.passed.timer.set(
                Expiration::OneShot(TimeSpec::from_duration(left.max(Duration::from_millis(1)))),
                TimerSetTimeFlags::empty(),
            )?,
            None => self.passed.timer.unset()?,
        }
        tokio::select! {
            passed = self.passed.fired() => passed,
            set = self.set.fired() => set,
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
