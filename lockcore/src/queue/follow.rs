//! Follows the sessions of a service: tells what becomes of each, and opens the next one when it is lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::time::{Instant, sleep};

use crate::error::Error;
use crate::metrics::Counting;
use crate::name::LockName;
use crate::queue::backoff::Backoff;
use crate::queue::sessions::Sessions;
use crate::seldom::Seldom;
use crate::session::{EventSender, Lease, Loss, SessionEvent, SessionEvents, SessionState};

/// Tells what becomes of the sessions of one service: to its subscribers each event, to the log what operators have to know.
#[derive(Debug)]
pub(super) struct Reports {
    place: Arc<str>,
    counting: Counting,
    events: EventSender,
    logged: Mutex<Logged>,
}

/// Each is logged seldom.
#[derive(Debug, Default)]
struct Logged {
    doubts: Seldom,
    losses: Seldom,
    ends: Seldom,
    failures: Seldom,
}

impl Reports {
    pub(super) fn new(place: Arc<str>) -> Self {
        let counting = Counting::new(&place);
        Self { place, counting, events: EventSender::default(), logged: Mutex::default() }
    }

    pub(super) fn counting(&self) -> &Counting {
        &self.counting
    }

    pub(super) fn subscribe(&self) -> SessionEvents {
        self.events.subscribe()
    }

    fn logged(&self) -> MutexGuard<'_, Logged> {
        // Nothing panics while it is held.
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is asked for a lock fails again and again, though the server can be reached. The wait goes on: whatever it is may pass.
    pub(super) fn tell_failure(&self, name: &LockName, error: &Error) {
        if self.logged().failures.is_due() {
            let (place, error) = (&*self.place, error as &dyn std::error::Error);
            tracing::warn!(server = place, %name, error, "a lock is waited for in vain, as requests fail again and again");
        }
    }

    pub(super) fn tell(&self, event: SessionEvent, held: usize) {
        self.events.send(event);
        self.counting.session(event);
        let mut logged = self.logged();
        let Logged { doubts, losses, ends, .. } = &mut *logged;
        let place = &*self.place;
        match event {
            SessionEvent::Doubtful { .. } if doubts.is_due() => {
                tracing::warn!(server = place, held, "{event}; what is held is still held");
            }
            SessionEvent::Lost { loss, .. } if loss != Loss::Closed && losses.is_due() => {
                tracing::warn!(server = place, held, %loss, "session lost, and with it everything that was held");
            }
            SessionEvent::Recovered { .. } | SessionEvent::Reopened { .. } if ends.is_due() => {
                tracing::info!(server = place, held, "{event}");
            }
            _ => {}
        }
    }
}

/// Opens sessions until there is one, as long as anybody uses the service.
pub(super) async fn open_next(sessions: Weak<Sessions>) {
    loop {
        // Not longer than for one attempt: nobody else may use the service any more.
        let Some(sessions) = sessions.upgrade() else { return };
        match sessions.current().await {
            Ok(_) => return,
            Err(error) if error.loss() == Some(Loss::Closed) => return,
            Err(error) => pause_after(&error).await,
        }
    }
}

/// What is worth repeating was followed by a pause already; the rest may be cured as well, but by people.
async fn pause_after(error: &Error) {
    tracing::debug!(%error, "no session could be opened");
    if !error.is_retryable() {
        sleep(Backoff::LONGEST).await;
    }
}

/// What is told of one session.
#[derive(Debug)]
pub(super) struct Followed {
    lease: Lease,
    reports: Arc<Reports>,
    /// How many locks are held on it.
    held: AtomicUsize,
    /// When its loss was told.
    lost: OnceLock<Instant>,
}

impl Followed {
    pub(super) fn new(lease: Lease, reports: Arc<Reports>) -> Self {
        Self { lease, reports, held: AtomicUsize::new(0), lost: OnceLock::new() }
    }

    /// A lock is held on the session from now on.
    pub(super) fn holds(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    /// One of those locks is being given back.
    pub(super) fn gives_back(&self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
    }

    fn tell(&self, event: SessionEvent) {
        self.reports.tell(event, self.held.load(Ordering::Relaxed));
    }

    /// Tells that it is lost, unless that was told before, and says when it was; `None` if it is not lost.
    pub(super) fn tell_loss(&self) -> Option<Instant> {
        let loss = self.lease.loss()?;
        let tell = || {
            self.tell(SessionEvent::Lost { loss, held: self.held.load(Ordering::Relaxed) });
            Instant::now()
        };
        Some(*self.lost.get_or_init(tell))
    }

    /// Tells what becomes of it, until it is lost; why it is.
    async fn follow(&self) -> Loss {
        let (mut state, mut since) = (SessionState::Live, Instant::now());
        loop {
            state = self.lease.left(state).await;
            match state {
                SessionState::Lost(loss) => return loss,
                SessionState::Doubtful { until } => self.tell(SessionEvent::Doubtful { until }),
                _ => self.tell(SessionEvent::Recovered { after: since.elapsed() }),
            }
            since = Instant::now();
        }
    }
}

/// Tells what becomes of a session that has just been opened, and opens the next one when it is lost. It keeps neither the session nor
/// the service alive.
pub(super) async fn follow(session: Arc<Followed>, sessions: Weak<Sessions>) {
    let loss = session.follow().await;
    session.tell_loss();
    drop(session);
    if loss != Loss::Closed {
        open_next(sessions).await;
    }
}
