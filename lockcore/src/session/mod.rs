//! Sessions: whether what we hold at the server is still ours.

mod events;
mod keep_alive;
mod lease;
mod moment;

use std::fmt;
use std::future::poll_fn;
use std::mem::discriminant;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

pub(crate) use events::EventSender;
pub use events::{SessionEvent, SessionEvents};
pub use keep_alive::{KeepAlive, keep_alive};
pub use lease::{LeaseClock, LeaseState};
pub use moment::{Clock, Moment};

/// What is known of a session. Displayed, it is one line for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionState {
    /// No session has been opened yet. The service goes on trying.
    Connecting,
    /// It lives.
    Live,
    /// The connection is down or does not answer. Everything is still held, at least until then.
    Doubtful {
        /// When it will count as lost if nothing is heard; `None` where a session has no such limit.
        ///
        /// Computed at the call. On Linux an [`Instant`] stands still while the machine sleeps, which sessions do not: after such a
        /// sleep the session is lost earlier than this says. Ask again then, or wait with [`LossSignal::lost`](crate::LossSignal::lost),
        /// which counts the sleep.
        until: Option<Instant>,
    },
    /// It is over, and with it everything that was held.
    Lost(Loss),
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionState::Connecting => f.write_str("connecting"),
            SessionState::Live => f.write_str("live"),
            SessionState::Doubtful { until: None } => f.write_str("in doubt: the server does not answer"),
            SessionState::Doubtful { until: Some(until) } => {
                let left = until.saturating_duration_since(tokio::time::Instant::now().into_std());
                write!(f, "in doubt: the server does not answer; lost in {left:.1?} if that stays so")
            }
            SessionState::Lost(loss) => write!(f, "lost: {loss}"),
        }
    }
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
    /// What the lease says of its end, in nanoseconds, for those who only want to know that it is not there yet.
    end: AtomicU64,
    /// Poked when the state or the granted time changes, not at each renewal.
    changed: Notify,
}

impl Lease {
    /// The longest sleep before the clock is asked again: a timer stands still while the machine sleeps.
    const SUSPEND_CHECK: Duration = Duration::from_secs(1);

    /// A session that was granted for `granted` (`None`: until it is ended), asked for at `sent`.
    pub fn new(clock: Clock, granted: Option<Duration>, sent: Moment) -> Self {
        let lease = LeaseClock::new(granted, sent);
        let end = AtomicU64::new(end(&lease));
        let shared = Shared { clock, lease: Mutex::new(lease), end, changed: Notify::new() };
        Self { shared: Arc::new(shared) }
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

    fn last_renewal(&self) -> Moment {
        self.lock().last_renewal()
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
        self.shared.changed.notify_waiters();
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
        self.shared.end.store(end(&lease), Ordering::Release);
        drop(lease);
        if before != after {
            self.shared.changed.notify_waiters();
        }
    }

    /// What is known now, computed at the call.
    pub fn state(&self) -> SessionState {
        let now = self.now();
        // Of tokio's clock, which tests pause: it is that of the system otherwise.
        let instant = |moment| tokio::time::Instant::now().into_std().checked_add(now.until(moment));
        match self.lock().state(now) {
            LeaseState::Live => SessionState::Live,
            LeaseState::Doubtful { until } => SessionState::Doubtful { until: until.and_then(instant) },
            LeaseState::Lost(loss) => SessionState::Lost(loss),
        }
    }

    /// Why the session is lost, if it is.
    pub fn loss(&self) -> Option<Loss> {
        let end = self.shared.end.load(Ordering::Acquire);
        if end == NEVER || self.now().nanoseconds() < end {
            return None;
        }
        let now = self.now();
        match self.lock().state(now) {
            LeaseState::Lost(loss) => Some(loss),
            LeaseState::Live | LeaseState::Doubtful { .. } => None,
        }
    }

    /// For how long the session is sure to live if nothing more is heard; `None` if it lasts until it is ended.
    pub fn remaining(&self) -> Option<Duration> {
        if self.loss().is_some() {
            return Some(Duration::ZERO);
        }
        let deadline = self.lock().deadline()?;
        Some(self.now().until(deadline))
    }

    /// Returns when the session is lost, by the local clock at the latest.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again.
    pub async fn lost(&self) -> Loss {
        loop {
            // Before the state is asked for: whatever changes from here on is heard.
            let changed = self.shared.changed.notified();
            if let Some(loss) = self.loss() {
                return loss;
            }
            match self.remaining() {
                // Changed or not, the state is asked for again.
                Some(left) => drop(timeout(left.min(Self::SUSPEND_CHECK), changed).await),
                None => changed.await,
            }
        }
    }

    /// Returns when nothing has been heard for half of the time between the last acknowledged renewal and the deadline, or when the
    /// session is lost. Where it has no deadline, only then.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again.
    pub async fn at_risk(&self) {
        loop {
            let changed = self.shared.changed.notified();
            if self.loss().is_some() {
                return;
            }
            let risk = self.lock().risk();
            match risk.map(|risk| self.now().until(risk)) {
                Some(Duration::ZERO) => return,
                // Renewals tell nobody; they only put off what is asked for again.
                Some(left) => drop(timeout(left.min(Self::SUSPEND_CHECK), changed).await),
                None => changed.await,
            }
        }
    }

    /// The output of the future, or the loss of the session, whichever comes first. Only a future that is not ready at once
    /// costs a subscription.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future.
    pub(crate) async fn outlive<F: Future>(&self, future: F) -> Result<F::Output, Loss> {
        tokio::select! {
            biased;
            // First, so that nothing more is asked for with a lost session.
            loss = poll_fn(|_| self.loss().map_or(Poll::Pending, Poll::Ready)) => Err(loss),
            output = future => Ok(output),
            loss = self.lost() => Err(loss),
        }
    }

    /// The state, once it is of another kind than `before`.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again.
    pub async fn left(&self, before: SessionState) -> SessionState {
        loop {
            let changed = self.shared.changed.notified();
            let state = self.state();
            if discriminant(&state) != discriminant(&before) {
                return state;
            }
            match self.remaining() {
                Some(left) => drop(timeout(left.min(Self::SUSPEND_CHECK), changed).await),
                None => changed.await,
            }
        }
    }
}

const NEVER: u64 = u64::MAX;

/// When the lease ends if nothing more is heard.
fn end(lease: &LeaseClock) -> u64 {
    match lease.loss() {
        Some(_) => 0,
        None => lease.deadline().map_or(NEVER, Moment::nanoseconds),
    }
}
