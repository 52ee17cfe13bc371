//! A lock service over any [`QueueBackend`], and the sessions that it opens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::backend::QueueBackend;
use crate::capabilities::Capabilities;
use crate::entry::LockKey;
use crate::error::{Error, Result};
use crate::lock::{DistributedLock, LockKind};
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
    /// Opens the first session.
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
        let state = State { last: first, opening: None, closed: false };
        Ok(Self { sessions: Arc::new(Sessions { backend: Arc::new(backend), state: Mutex::new(state) }) })
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

    async fn close(&self) -> Result<()> {
        let last = {
            let mut state = self.sessions.lock();
            state.closed = true;
            state.opening = None;
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
}

#[derive(Debug)]
struct State {
    last: Arc<OpenSession>,
    opening: Option<Opening>,
    closed: bool,
}

/// Everybody who needs the next session waits for one attempt to open it.
type Opening = Shared<BoxFuture<'static, Result<Arc<OpenSession>>>>;

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current session, or a new one if that is lost.
    pub(super) async fn current(&self) -> Result<Arc<OpenSession>> {
        let opening = {
            let mut state = self.lock();
            if state.closed {
                return Err(Error::lost(Loss::Closed));
            }
            if state.last.lease().loss().is_none() {
                return Ok(state.last.clone());
            }
            state.opening.get_or_insert_with(|| self.open()).clone()
        };
        let opened = opening.clone().await;
        let mut state = self.lock();
        if state.closed {
            opened.iter().for_each(|open| open.lease().end(Loss::Closed));
            return Err(Error::lost(Loss::Closed));
        }
        if state.opening.as_ref().is_some_and(|current| current.ptr_eq(&opening)) {
            state.opening = None;
            opened.iter().for_each(|open| state.last = open.clone());
        }
        opened
    }

    fn open(&self) -> Opening {
        let backend = self.backend.clone();
        async move { Ok(Arc::new(OpenSession::new(backend.open_session().await?))) }.boxed().shared()
    }
}
