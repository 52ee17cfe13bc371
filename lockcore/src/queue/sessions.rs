//! The sessions of a service, one at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::backend::{QueueBackend, QueueSession};
use crate::capabilities::Capabilities;
use crate::entry::LockKey;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Counting, counted};
use crate::name::LockName;
use crate::queue::backoff::Backoff;
use crate::queue::follow::{Followed, Reports, follow, open_next};
use crate::queue::open::OpenSession;
use crate::session::{Loss, SessionEvent, SessionEvents, SessionState};

/// The current session of a service, replaced when it is lost.
#[derive(Debug)]
pub(super) struct Sessions {
    backend: Arc<dyn QueueBackend>,
    /// What errors call it.
    place: Arc<str>,
    reports: Arc<Reports>,
    state: Mutex<State>,
    /// Changes while the state is locked.
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    /// None before the first.
    last: Option<Arc<OpenSession>>,
    opening: Option<Opening>,
    /// Between attempts to open one that fail, however many need one.
    pauses: Backoff,
}

/// Everybody who needs the next session waits for one attempt to open it.
type Opening = Shared<BoxFuture<'static, Result<Arc<OpenSession>>>>;

impl Sessions {
    /// Begins to open the first session, on the current runtime if there is one.
    pub(super) fn new(backend: Arc<dyn QueueBackend>) -> Arc<Self> {
        let place: Arc<str> = backend.place().into();
        let reports = Arc::new(Reports::new(place.clone()));
        let pauses = Backoff::default();
        let state = Mutex::new(State { last: None, opening: None, pauses });
        let sessions = Arc::new(Self { backend, place, reports, state, closed: watch::Sender::new(false) });
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(open_next(Arc::downgrade(&sessions)));
        }
        sessions
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the last session that was opened.
    pub(super) fn session(&self) -> SessionState {
        match &self.lock().last {
            Some(last) => last.lease().state(),
            None if *self.closed.borrow() => SessionState::Lost(Loss::Closed),
            None => SessionState::Connecting,
        }
    }

    /// How long the server lets that session live after a renewal, if it has a limit.
    pub(super) fn session_time(&self) -> Option<Duration> {
        self.lock().last.as_ref()?.lease().granted()
    }

    /// What becomes of the sessions from here on.
    pub(super) fn events(&self) -> SessionEvents {
        self.reports.subscribe()
    }

    /// Ends the last session, and opens no other. Its server is left to be told.
    pub(super) fn close(&self) -> Option<Arc<OpenSession>> {
        let state = self.lock();
        let again = self.closed.send_replace(true);
        match &state.last {
            Some(last) => last.lease().end(Loss::Closed),
            None if again => {}
            None => self.reports.tell(SessionEvent::Lost { loss: Loss::Closed, held: 0 }, 0),
        }
        state.last.clone()
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    /// What errors call the place where the locks live.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// What all programs call that place.
    pub(super) fn identity(&self) -> String {
        self.backend.identity()
    }

    /// Tells that what is asked for this lock fails again and again.
    pub(super) fn tell_failure(&self, name: &LockName, error: &Error) {
        self.reports.tell_failure(name, error);
    }

    /// Counts what becomes of its locks and sessions.
    pub(super) fn counting(&self) -> &Counting {
        self.reports.counting()
    }

    /// How long connecting may take.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.backend.connect_timeout()
    }

    /// The current session, or a new one if that is lost.
    pub(super) async fn current(self: &Arc<Self>) -> Result<Arc<OpenSession>> {
        let opening = {
            let mut state = self.lock();
            if let Some(last) = state.last.as_ref().filter(|last| last.lease().loss().is_none()) {
                return Ok(last.clone());
            }
            if *self.closed.borrow() {
                return Err(Error::lost(Loss::Closed));
            }
            // One that is over and still here broke off.
            state.opening.take_if(|opening| opening.peek().is_some());
            state.opening.get_or_insert_with(|| self.open()).clone()
        };
        // In memory of its own: few have to wait for it.
        Box::pin(self.opened_by(opening)).await
    }

    /// What the current session answers, unless it is lost; an error tells what was asked for, of which lock.
    pub(super) async fn ask<T, F: Future<Output = Result<T>>>(
        self: &Arc<Self>,
        what: &str,
        lock: Option<&LockKey>,
        request: impl FnOnce(Arc<OpenSession>) -> F,
    ) -> Result<T> {
        let answer = async {
            let open = self.current().await?;
            open.unless_lost(request(open.clone())).await
        };
        answer.await.map_err(doing(what, lock, &self.place))
    }

    /// What comes of an opening.
    async fn opened_by(&self, opening: Opening) -> Result<Arc<OpenSession>> {
        let mut closed = self.closed.subscribe();
        // It may run on a runtime that nobody drives any more, and whose clock stands still.
        let longest = 2 * self.connect_timeout() + Backoff::LONGEST;
        tokio::select! {
            biased;
            opened = opening.clone() => opened,
            _ = closed.wait_for(|closed| *closed) => Err(Error::lost(Loss::Closed)),
            () = tokio::time::sleep(longest) => {
                self.lock().opening.take_if(|current| current.ptr_eq(&opening));
                Err(broke_off())
            }
        }
    }

    /// Opens the next session in a task of its own, so that it does not matter who of those who wait for it goes
    /// on waiting.
    fn open(self: &Arc<Self>) -> Opening {
        let sessions = self.clone();
        let opening = tokio::spawn(async move {
            let opened = sessions.backend.open_session().await;
            if opened.as_ref().is_err_and(Error::is_retryable) {
                let pause = sessions.lock().pauses.next();
                tokio::time::sleep(pause).await;
            }
            sessions.opened(opened)
        });
        opening
            .map(|opened| opened.unwrap_or_else(|error| Err(broke_off().with_source(error))))
            .boxed()
            .shared()
    }

    fn opened(self: &Arc<Self>, opened: Result<Arc<dyn QueueSession>>) -> Result<Arc<OpenSession>> {
        let mut state = self.lock();
        state.opening = None;
        let session = counted(opened?, self.counting());
        let followed = Arc::new(Followed::new(session.lease().clone(), self.reports.clone()));
        let open = Arc::new(OpenSession::new(session, self.place.clone(), followed.clone()));
        state.pauses = Backoff::default();
        if *self.closed.borrow() {
            // Nobody uses the session, so it ends.
            return Err(Error::lost(Loss::Closed));
        }
        let before = state.last.replace(open.clone());
        let event = match before.and_then(|before| before.followed().tell_loss()) {
            Some(lost) => SessionEvent::Reopened { after: lost.elapsed() },
            None => SessionEvent::Connected,
        };
        self.reports.tell(event, 0);
        tokio::spawn(follow(followed, Arc::downgrade(self)));
        Ok(open)
    }
}

/// Makes an error tell first what was being done, with which lock and where.
pub(super) fn doing(what: &str, lock: Option<&LockKey>, place: &str) -> impl FnOnce(Error) -> Error {
    move |error| match lock {
        Some(lock) => error.with_context(format_args!("{what} {lock} ({place})")),
        None => error.with_context(format_args!("{what} ({place})")),
    }
}

/// Its runtime ended, or stands still; the next who needs a session opens one himself.
fn broke_off() -> Error {
    let message = "opening a session broke off, because its runtime ended or stands still: try again";
    Error::new(ErrorKind::Backend, message).with_retryable(true)
}
