//! How long to wait before repeating what failed.

use std::time::Duration;

use rand::RngExt;

/// Doubling pauses with jitter, from 10 ms to a second.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Duration::from_millis(10) }
    }
}

impl Backoff {
    pub(super) const LONGEST: Duration = Duration::from_secs(1);

    /// How long to wait now.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next.mul_f64(rand::rng().random_range(0.5..1.0));
        self.next = Self::LONGEST.min(self.next * 2);
        pause
    }

    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.next()).await;
    }

    /// Something has worked for so long: longer than a pause is a new beginning.
    pub(super) fn worked(&mut self, time: Duration) {
        if time > self.next {
            *self = Self::default();
        }
    }
}
