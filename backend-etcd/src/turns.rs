//! Lets the waiters of one session to whom nobody says anything read queues, one after the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::sleep;

/// A reading that takes no longer is that of a short queue, and needs no pause.
const QUICK: Duration = Duration::from_millis(2);

/// How much longer the pause before the next one is than what a reading takes beyond that.
const PAUSE: u32 = 8;

/// And how long at most: a reading takes longer too when the server has no leader.
const LONGEST: Duration = Duration::from_secs(1);

/// Whose turn it is. What a reading takes the server grows with the queue, and a crowd of which all read would leave it no time to let anybody in.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    next: Mutex<()>,
    /// How long the last reading took, in microseconds.
    took: AtomicU64,
}

impl Turns {
    /// Returns when the caller may read. Dropped, it leaves the turn to the next one.
    pub(crate) async fn turn(&self) {
        let _next = self.next.lock().await;
        let took = Duration::from_micros(self.took.load(Ordering::Relaxed));
        sleep(took.saturating_sub(QUICK).saturating_mul(PAUSE).min(LONGEST)).await;
    }

    /// A reading took so long.
    pub(crate) fn took(&self, took: Duration) {
        self.took.store(took.as_micros().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::join_all;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn long_readings_are_far_between() {
        let turns = Turns::default();
        turns.turn().now_or_never().expect("nobody has read yet");
        turns.took(QUICK);
        turns.turn().now_or_never().expect("short queues need no pause");
        turns.took(Duration::from_millis(12));
        // Whoever gives up in the middle of its turn holds up nobody.
        assert_eq!(turns.turn().now_or_never(), None);
        let start = Instant::now();
        let took = |_| async {
            turns.turn().await;
            start.elapsed().as_millis()
        };
        assert_eq!(join_all((0..3).map(took)).await, [80, 160, 240]);
        turns.took(Duration::MAX);
        assert_eq!(join_all((0..2).map(took)).await, [1240, 2240]);
    }
}
