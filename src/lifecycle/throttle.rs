//! How often a card's password may be guessed. The applet does not count wrong ones, so somebody who may have a card tested could
//! try a dictionary on it; here each wrong password of one applet doubles the wait before the next.
//!
//! Kept by device id (which a reset draws anew) for as long as the daemon runs. A try is counted before it is made and forgiven
//! when it was right, so that tries made at once count like tries made one after the other.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong passwords that cost nothing: people mistype.
const FREE: u32 = 3;
/// The first wait.
const FIRST: Duration = Duration::from_secs(2);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(3_600);
/// Most applets that are remembered. One that is forgotten is the one whose wait ends first.
const MOST: usize = 1_024;

#[derive(Debug, Clone, Copy)]
struct Tries {
    wrong: u32,
    until: Instant,
}

/// Wrong passwords, by applet.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<HashMap<String, Tries>>);

/// Why no password may be tried now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Duration);

impl Throttle {
    /// Counts a try as wrong until [`Throttle::forgive`] says otherwise.
    ///
    /// # Errors
    /// [`Wait`] while the last ones still cost.
    pub fn begin(&self, device_id: &str, now: Instant) -> Result<(), Wait> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = match all.get(device_id) {
            Some(tries) if tries.until > now => return Err(Wait(tries.until - now)),
            Some(tries) => tries.wrong.saturating_add(1),
            None => 1,
        };
        if all.len() >= MOST && !all.contains_key(device_id) {
            let soonest = all
                .iter()
                .min_by_key(|(_, tries)| tries.until)
                .map(|(id, _)| id.clone());
            soonest.map(|id| all.remove(&id));
        }
        let until = now + after(wrong);
        all.insert(device_id.to_owned(), Tries { wrong, until });
        Ok(())
    }

    /// The password was right, or the card was never asked.
    pub fn forgive(&self, device_id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(device_id);
    }
}

/// The wait after so many wrong ones in a row.
fn after(wrong: u32) -> Duration {
    match wrong.checked_sub(FREE) {
        None | Some(0) => Duration::ZERO,
        Some(over) => FIRST
            .saturating_mul(1_u32.checked_shl(over - 1).unwrap_or(u32::MAX))
            .min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_password_doubles_the_wait() {
        let throttle = Throttle::default();
        let mut now = Instant::now();
        for _ in 0..=FREE {
            assert_eq!(throttle.begin("a", now), Ok(()));
        }
        for wait in [2, 4, 8, 16] {
            let wait = Duration::from_secs(wait);
            assert_eq!(throttle.begin("a", now), Err(Wait(wait)));
            assert_eq!(throttle.begin("b", now), Ok(()), "another card is another matter");
            throttle.forgive("b");
            now += wait;
            assert_eq!(throttle.begin("a", now), Ok(()));
        }
        throttle.forgive("a");
        assert_eq!(throttle.begin("a", now), Ok(()));
    }

    #[test]
    fn the_wait_has_an_end_and_the_memory_a_limit() {
        assert_eq!(after(1_000), LONGEST);
        assert_eq!(after(u32::MAX), LONGEST);
        let throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..2 * MOST {
            assert_eq!(throttle.begin(&n.to_string(), now), Ok(()));
        }
        assert_eq!(throttle.0.lock().unwrap().len(), MOST);
    }
}
