//! How long to wait before repeating what failed.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use crate::chance;

/// Doubling pauses with jitter, from 10 ms to a second.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Self::SHORTEST }
    }
}

impl Backoff {
    const SHORTEST: Duration = Duration::from_millis(10);
    pub(super) const LONGEST: Duration = Duration::from_secs(1);

    /// How long to wait now.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next.mul_f64(chance::draw(|rng| rng.random_range(0.5..1.0)));
        self.next = Self::LONGEST.min(self.next * 2);
        pause
    }

    /// Whether so much has failed already that the pauses grow no more: for a second or so.
    pub(super) fn is_longest(&self) -> bool {
        self.next == Self::LONGEST
    }

    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.next()).await;
    }

    /// Something is tried that works for a long time, or does not. While nothing has failed, it does not matter when.
    pub(super) fn begin(&self) -> Option<Instant> {
        (self.next > Self::SHORTEST).then(Instant::now)
    }

    /// It has worked since then: longer than a pause is a new beginning.
    pub(super) fn worked(&mut self, since: Option<Instant>) {
        if since.is_some_and(|since| since.elapsed() > self.next) {
            *self = Self::default();
        }
    }
}
