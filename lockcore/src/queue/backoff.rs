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
    const LONGEST: Duration = Duration::from_secs(1);

    pub(super) async fn pause(&mut self) {
        let pause = self.next.mul_f64(rand::rng().random_range(0.5..1.0));
        self.next = Self::LONGEST.min(self.next * 2);
        tokio::time::sleep(pause).await;
    }
}
