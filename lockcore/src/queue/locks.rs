//! A lock service over any [`QueueBackend`], and the sessions that it opens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::watch;

use crate::backend::QueueBackend;
use crate::capabilities::Capabilities;
use crate::entry::LockKey;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{DistributedLock, LockKind};
use crate::queue::backoff::Backoff;
use crate::queue::lock::QueueLock;
use crate::queue::open::OpenSession;
use crate::service::LockService;
use crate::session::{Loss, SessionState};

/// The lock service over a backend: all that a driver does not have to write.
#[derive(Debug)]
pub struct QueueLocks {
    sessions: Arc<Sessions>,
}

impl QueueLocks {
    /// Opens the first session. It lives on this runtime; if that ends before the service does, the session is
    /// lost, and the next acquisition opens one on its own runtime.
    ///
    /// # Errors
    ///
    /// Those of [`QueueBackend::open_session`].
    ///
    /// # Cancel safety
    ///
    /// When dropped, a session that was being opened ends by itself.
    pub async fn connect(backend: impl QueueBackend) -> Result<Self> {
        let first = Arc::new(OpenSession::new(backend.open_session().await?));
        let state = Mutex::new(State { last: first, opening: None, pauses: Backoff::default() });
        let sessions = Sessions { backend: Arc::new(backend), state, closed: watch::Sender::new(false) };
        Ok(Self { sessions: Arc::new(sessions) })
    }

    fn lock(&self, name: &str, kind: LockKind) -> Result<Arc<dyn DistributedLock>> {
        Ok(Arc::new(QueueLock::new(self.sessions.clone(), name, kind)?))
    }
}

#[async_trait]
impl LockService for QueueLocks {
    fn exclusive(&self, name: &str) -> Result<Arc<dyn DistributedLock>> {
        self.lock(name, LockKind::Exclusive)
    }

    fn shared(&self, name: &str) -> Result<Arc<dyn DistributedLock>> {
        self.lock(name, LockKind::Shared)
    }

    fn semaphore(&self, name: &str, limit: u32) -> Result<Arc<dyn DistributedLock>> {
        self.lock(name, LockKind::Semaphore { limit })
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        let open = self.sessions.current().await?;
        open.unless_lost(open.session().names()).await
    }

    async fn cleanup(&self) -> Result<u64> {
        let open = self.sessions.current().await?;
        open.unless_lost(open.session().cleanup()).await
    }

    fn capabilities(&self) -> Capabilities {
        self.sessions.backend.capabilities()
    }

    fn session(&self) -> SessionState {
        self.sessions.lock().last.lease().state()
    }

    fn session_time(&self) -> Option<Duration> {
        self.sessions.lock().last.lease().granted()
    }

    async fn close(&self) -> Result<()> {
        let last = {
            let state = self.sessions.lock();
            self.sessions.closed.send_replace(true);
            state.last.clone()
        };
        last.lease().end(Loss::Closed);
        last.session().close().await
    }
}

/// The current session of a service, replaced when it is lost.
#[derive(Debug)]
pub(super) struct Sessions {
    backend: Arc<dyn QueueBackend>,
    state: Mutex<State>,
    /// Changes while the state is locked.
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    last: Arc<OpenSession>,
    opening: Option<Opening>,
    /// Between attempts to open one that fail, however many need one.
    pauses: Backoff,
}

/// Everybody who needs the next session waits for one attempt to open it.
type Opening = Shared<BoxFuture<'static, Result<Arc<OpenSession>>>>;

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What errors call the place where the locks live.
    pub(super) fn place(&self) -> String {
        self.backend.place()
    }

    /// How long connecting may take.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.backend.connect_timeout()
    }

    /// The current session, or a new one if that is lost.
    pub(super) async fn current(self: &Arc<Self>) -> Result<Arc<OpenSession>> {
        let opening = {
            let mut state = self.lock();
            if state.last.lease().loss().is_none() {
                return Ok(state.last.clone());
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

    /// What comes of an opening.
    async fn opened_by(&self, opening: Opening) -> Result<Arc<OpenSession>> {
        let mut closed = self.closed.subscribe();
        // It may run on a runtime that nobody drives any more, and whose clock stands still.
        let longest = 2 * self.connect_timeout() + Backoff::LONGEST;
        tokio::select! {
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
            sessions.opened(opened.map(|session| Arc::new(OpenSession::new(session))))
        });
        opening
            .map(|opened| opened.unwrap_or_else(|error| Err(broke_off().with_source(error))))
            .boxed()
            .shared()
    }

    fn opened(&self, opened: Result<Arc<OpenSession>>) -> Result<Arc<OpenSession>> {
        let mut state = self.lock();
        state.opening = None;
        let open = opened?;
        state.pauses = Backoff::default();
        if *self.closed.borrow() {
            // Nobody uses the session, so it ends.
            return Err(Error::lost(Loss::Closed));
        }
        state.last = open.clone();
        Ok(open)
    }
}

/// Its runtime ended, or stands still; the next who needs a session opens one himself.
fn broke_off() -> Error {
    Error::new(ErrorKind::Backend, "opening a session broke off").with_retryable(true)
}
