//! How long to wait before repeating what failed.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

/// Doubling pauses with jitter, from 10 ms to a second.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    /// When the last pause was over.
    paused: Option<Instant>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Duration::from_millis(10), paused: None }
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

    /// Pauses. What has taken longer than a pause since the last one is a new beginning.
    pub(super) async fn pause(&mut self) {
        if self.paused.is_some_and(|paused| paused.elapsed() > self.next) {
            *self = Self::default();
        }
        tokio::time::sleep(self.next()).await;
        self.paused = Some(Instant::now());
    }
}
