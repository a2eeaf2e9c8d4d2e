//! The host's clock, and whether it may be measured against.

use nix::time::{ClockId, clock_gettime};

use crate::types::stamp::Reading;
use crate::types::{Clock, UnixMillis};

/// The clock of this host.
#[derive(Debug, Clone, Copy)]
pub struct HostClock {
    /// The configuration says that something outside this system keeps the clock right (a hypervisor, a simulated world), so
    /// the kernel's own word is not asked for.
    pub trusted: bool,
}

impl Clock for HostClock {
    fn now(&self) -> UnixMillis {
        UnixMillis::now()
    }

    fn synchronised(&self) -> bool {
        self.trusted || kernel_says_synchronised()
    }
}

/// What the host's clocks say, for authority's time. Where one cannot be read (which no Linux we know of does) it stands still, and
/// the other counts.
#[must_use]
pub fn reading() -> Reading {
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map(std::time::Duration::from);
    let boot_ms = boot.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    Reading {
        wall: UnixMillis::now(),
        boot_ms,
        boot: boot_id(),
    }
}

/// Which boot this is (random(4)). Read once: it does not change while we run.
fn boot_id() -> u128 {
    static ID: std::sync::OnceLock<u128> = std::sync::OnceLock::new();
    *ID.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        u128::from_str_radix(&digits, 16).unwrap_or(0)
    })
}

/// Most error that the kernel may estimate, in microseconds: one second, as drift is told in seconds.
const MAX_ERROR_US: libc::c_long = 1_000_000;

/// Asks the kernel (`adjtimex(2)`, modes 0: read only, no privilege needed).
#[allow(
    unsafe_code,
    reason = "no safe binding of adjtimex is maintained; one call, one plain struct"
)]
fn kernel_says_synchronised() -> bool {
    // SAFETY: `timex` is a plain C struct for which all zeroes is a valid value; `modes` 0 only reads.
    let (state, time) = unsafe {
        let mut time: libc::timex = std::mem::zeroed();
        let state = libc::adjtimex(&raw mut time);
        (state, time)
    };
    state != -1 && state != libc::TIME_ERROR && time.status & libc::STA_UNSYNC == 0 && time.maxerror < MAX_ERROR_US
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_clock_is_not_asked() {
        assert!(HostClock { trusted: true }.synchronised());
    }

    #[test]
    fn the_kernel_can_be_asked() {
        // Either answer is right; what matters is that asking works without privilege.
        let _ = HostClock { trusted: false }.synchronised();
    }
}
