//! Time that goes on while the machine sleeps.

use std::ops::Add;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A point in time, on the clock of the [`Clock`] that it came from; by default its zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// In nanoseconds; the longest time that there is, for all that is later.
    pub(super) fn nanoseconds(self) -> u64 {
        self.0.as_nanos().try_into().unwrap_or(u64::MAX)
    }

    /// How long from `self` until `later`; zero if that has passed.
    pub fn until(self, later: Moment) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(duration))
    }
}

/// Where a session's time comes from.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The machine's clock since boot, which counts suspend: a laptop that wakes up after an hour knows that
    /// its sessions are over. `std::time::Instant` stands still meanwhile on Linux.
    Boot,
    /// Tokio's clock, which tests can pause, counted from this instant.
    Tokio(tokio::time::Instant),
}

impl Clock {
    /// Tokio's clock, counted from now.
    pub fn tokio() -> Self {
        Clock::Tokio(tokio::time::Instant::now())
    }

    /// The present.
    pub fn now(&self) -> Moment {
        match self {
            Clock::Boot => {
                let time = clock_gettime(BOOT);
                // Both are positive: the clock starts at boot.
                Moment(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
            }
            Clock::Tokio(origin) => Moment(origin.elapsed()),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT: ClockId = ClockId::Boottime;
/// Elsewhere (macOS, the BSDs) the monotonic clock counts suspend.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT: ClockId = ClockId::Monotonic;
