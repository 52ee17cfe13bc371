//! Sessions: whether what we hold at the server is still ours.

mod lease;
mod moment;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

pub use lease::LeaseClock;
pub use moment::{Clock, Moment};

/// What is known of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// It lives.
    Live,
    /// The connection is down or does not answer. Everything is still held, at least until then.
    Doubtful {
        /// When it will count as lost if nothing is heard; `None` where a session has no such limit.
        until: Option<Moment>,
    },
    /// It is over, and with it everything that was held.
    Lost(Loss),
}

/// Why something is no longer held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// The server said that the session is over.
    Expired,
    /// The server was not heard for so long that it may have ended the session.
    Deadline,
    /// Somebody removed the entry.
    Removed,
    /// The service was closed.
    Closed,
    /// The runtime on which the session was kept alive is gone.
    Abandoned,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loss::Expired => "the server ended the session",
            Loss::Deadline => "the server was out of reach for longer than the session lasts",
            Loss::Removed => "the entry was removed from the queue",
            Loss::Closed => "the service was closed",
            Loss::Abandoned => "the runtime that kept the session alive is gone",
        })
    }
}

/// The lease of one session: the driver reports what it hears, everybody else asks. Clones share it.
#[derive(Debug, Clone)]
pub struct Lease {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    lease: Mutex<LeaseClock>,
    /// Poked when the state or the granted time changes, not at each renewal.
    changed: watch::Sender<()>,
}

impl Lease {
    /// The longest sleep before the clock is asked again: a timer stands still while the machine sleeps.
    const SUSPEND_CHECK: Duration = Duration::from_secs(1);

    /// A session that was granted for `granted` (`None`: until it is ended), asked for at `sent`.
    pub fn new(clock: Clock, granted: Option<Duration>, sent: Moment) -> Self {
        let lease = Mutex::new(LeaseClock::new(granted, sent));
        Self { shared: Arc::new(Shared { clock, lease, changed: watch::Sender::new(()) }) }
    }

    fn lock(&self) -> MutexGuard<'_, LeaseClock> {
        // Nothing panics while the lock is held, and the clock's fields are consistent after each assignment.
        self.shared.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present, on this lease's clock: take it before a renewal is sent.
    pub fn now(&self) -> Moment {
        self.shared.clock.now()
    }

    /// How long the server lets the session live after a renewal; `None` if it lasts until it is ended.
    pub fn granted(&self) -> Option<Duration> {
        self.lock().granted()
    }

    /// How often the driver should renew.
    pub fn renewal_interval(&self) -> Option<Duration> {
        self.lock().renewal_interval()
    }

    /// The driver heard the answer to a renewal that it had sent at `sent`.
    pub fn renewed(&self, sent: Moment) {
        self.update(|lease| lease.renewed(sent));
    }

    /// The driver lost its connection, or a renewal failed.
    pub fn doubt(&self) {
        self.update(LeaseClock::doubt);
    }

    /// From now on the server lets the session last for `granted` after a renewal (`None`: until it is ended).
    pub fn grant(&self, granted: Option<Duration>) {
        self.update(|lease| lease.grant(granted));
        // Whoever sleeps until the deadline may have to sleep less.
        self.shared.changed.send_replace(());
    }

    /// The session is over.
    pub fn end(&self, loss: Loss) {
        self.update(|lease| lease.end(loss));
    }

    fn update(&self, change: impl FnOnce(&mut LeaseClock)) {
        let now = self.now();
        let mut lease = self.lock();
        let before = lease.state(now);
        change(&mut lease);
        let after = lease.state(now);
        drop(lease);
        if before != after {
            self.shared.changed.send_replace(());
        }
    }

    /// What is known now, computed at the call.
    pub fn state(&self) -> SessionState {
        let now = self.now();
        self.lock().state(now)
    }

    /// Why the session is lost, if it is.
    pub fn loss(&self) -> Option<Loss> {
        match self.state() {
            SessionState::Lost(loss) => Some(loss),
            SessionState::Live | SessionState::Doubtful { .. } => None,
        }
    }

    /// For how long the session is sure to live if nothing more is heard; `None` if it lasts until it is ended.
    pub fn remaining(&self) -> Option<Duration> {
        let now = self.now();
        let mut lease = self.lock();
        match lease.state(now) {
            SessionState::Lost(_) => Some(Duration::ZERO),
            SessionState::Live | SessionState::Doubtful { .. } => {
                lease.deadline().map(|deadline| now.until(deadline))
            }
        }
    }

    /// Returns when the session is lost, by the local clock at the latest.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again.
    pub async fn lost(&self) -> Loss {
        let mut changed = self.shared.changed.subscribe();
        loop {
            if let Some(loss) = self.loss() {
                return loss;
            }
            let remaining = self.remaining().map(|left| left.min(Self::SUSPEND_CHECK));
            tokio::select! {
                // The sender lives as long as `self`: this cannot fail.
                _ = changed.changed() => {}
                _ = tokio::time::sleep(remaining.unwrap_or_default()), if remaining.is_some() => {}
            }
        }
    }

    /// Returns when [`state`](Self::state) may have changed.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again; a change between two calls is not seen.
    pub async fn changed(&self) {
        let mut changed = self.shared.changed.subscribe();
        tokio::select! {
            _ = changed.changed() => {}
            _ = self.lost(), if self.loss().is_none() => {}
        }
    }
}
