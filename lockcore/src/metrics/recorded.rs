//! Counts for the recorder that is installed.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Label, SharedString, counter, gauge, histogram};
use tokio::time::Instant;

use crate::entry::LockKey;
use crate::lock_kind::LockKind;
use crate::metrics::{Outcome, names};
use crate::name::LockName;
use crate::session::{Loss, SessionEvent};

type LockLabel = dyn Fn(&LockName) -> Option<SharedString> + Send + Sync;

/// What the label `lock` says of a lock.
static LOCK_LABEL: OnceLock<Box<LockLabel>> = OnceLock::new();

/// Gives the metrics of locks a label `lock` with what the function makes of the lock's name; none where it makes none. Names may be without
/// bound, and a series for each can be too much for whoever stores them: map them to few. Says whether it is used from here on: the first
/// function of a process stays.
pub fn label_locks(label: impl Fn(&LockName) -> Option<SharedString> + Send + Sync + 'static) -> bool {
    LOCK_LABEL.set(Box::new(label)).is_ok()
}

/// Counts for one service.
#[derive(Debug, Clone)]
pub(crate) struct Counting {
    backend: SharedString,
}

impl Counting {
    pub(crate) fn new(place: &Arc<str>) -> Self {
        Self { backend: place.clone().into() }
    }

    /// An acquisition begins.
    pub(crate) fn waiting(&self, lock: &LockKey, kind: LockKind) -> Waiting {
        let kind = match kind {
            LockKind::Exclusive => "exclusive",
            LockKind::Shared => "shared",
            LockKind::Semaphore { .. } => "semaphore",
        };
        let mut labels = vec![self.label(), Label::from_static_parts("kind", kind)];
        if let Some(label) = LOCK_LABEL.get().and_then(|label| label(&lock.name)) {
            labels.push(Label::new("lock", label));
        }
        gauge!(names::WAITERS, labels.clone()).increment(1.0);
        Waiting { labels, since: Instant::now(), outcome: "cancelled" }
    }

    /// Something became of the session.
    pub(crate) fn session(&self, event: SessionEvent) {
        let state = match event {
            SessionEvent::Connected | SessionEvent::Recovered { .. } | SessionEvent::Reopened { .. } => 2.0,
            SessionEvent::Doubtful { .. } => 1.0,
            SessionEvent::Lost { loss, .. } => {
                let reason = Label::from_static_parts("reason", reason(loss));
                counter!(names::LOST_SESSIONS, vec![self.label(), reason]).increment(1);
                0.0
            }
            SessionEvent::Missed(_) => return,
        };
        gauge!(names::SESSION_STATE, vec![self.label()]).set(state);
    }

    /// The server answered, or not.
    pub(super) fn request(&self, operation: &'static str, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        let (operation, outcome) =
            (Label::from_static_parts("operation", operation), Label::from_static_parts("outcome", outcome));
        counter!(names::REQUESTS, vec![self.label(), operation, outcome]).increment(1);
    }

    fn label(&self) -> Label {
        Label::new("backend", self.backend.clone())
    }
}

fn reason(loss: Loss) -> &'static str {
    match loss {
        Loss::Expired => "expired",
        Loss::Deadline => "deadline",
        Loss::Removed => "removed",
        Loss::Closed => "closed",
        Loss::Abandoned => "abandoned",
    }
}

/// An acquisition that is under way.
pub(crate) struct Waiting {
    labels: Vec<Label>,
    since: Instant,
    outcome: &'static str,
}

impl Waiting {
    /// It is over; what is held if it was granted.
    pub(crate) fn ends(mut self, outcome: Outcome) -> Held {
        self.outcome = match outcome {
            Outcome::Granted => "granted",
            Outcome::NotInTime => "not_in_time",
            Outcome::Failed => "failed",
        };
        let granted = matches!(outcome, Outcome::Granted);
        if granted {
            gauge!(names::HOLDERS, self.labels.clone()).increment(1.0);
        }
        Held { labels: granted.then(|| self.labels.clone()), since: Instant::now() }
    }
}

impl Drop for Waiting {
    /// Also when it is cancelled.
    fn drop(&mut self) {
        gauge!(names::WAITERS, self.labels.clone()).decrement(1.0);
        let mut labels = self.labels.clone();
        labels.push(Label::from_static_parts("outcome", self.outcome));
        histogram!(names::WAIT, labels.clone()).record(self.since.elapsed());
        counter!(names::ACQUISITIONS, labels).increment(1);
    }
}

/// A lock that is held.
pub(crate) struct Held {
    /// Until it is given back.
    labels: Option<Vec<Label>>,
    since: Instant,
}

impl Held {
    /// It is given back, lost or not.
    pub(crate) fn ends(&mut self, loss: Option<Loss>) {
        let Some(mut labels) = self.labels.take() else { return };
        gauge!(names::HOLDERS, labels.clone()).decrement(1.0);
        histogram!(names::HOLD, labels.clone()).record(self.since.elapsed());
        if let Some(loss) = loss {
            labels.push(Label::from_static_parts("reason", reason(loss)));
            counter!(names::LOST_HOLDS, labels).increment(1);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

/// A renewal was sent so much later than planned.
pub(crate) fn renewed_late(delay: Duration) {
    histogram!(names::LATENESS).record(delay);
}
