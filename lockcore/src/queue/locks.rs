//! A lock service over any [`QueueBackend`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::backend::QueueBackend;
use crate::capabilities::Capabilities;
use crate::entry::LockKey;
use crate::error::Result;
use crate::lock::DistributedLock;
use crate::lock_kind::LockKind;
use crate::queue::lock::QueueLock;
use crate::queue::sessions::{Sessions, doing};
use crate::service::LockService;
use crate::session::{SessionEvents, SessionState};

/// The lock service over a backend: all that a driver does not have to write.
#[derive(Debug)]
pub struct QueueLocks {
    sessions: Arc<Sessions>,
}

impl QueueLocks {
    /// The locks of this backend. It begins to connect in the background, where this is called within a runtime; otherwise the first
    /// acquisition does. No server need be there: what is asked for waits for one as it does during an outage.
    pub fn new(backend: impl QueueBackend) -> Self {
        Self { sessions: Sessions::new(Arc::new(backend)) }
    }

    /// The locks of this backend, with a session. It lives on this runtime; if that ends before the service does, the session is
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
        let locks = Self::new(backend);
        locks.sessions.current().await?;
        Ok(locks)
    }

    fn lock(&self, name: &str, kind: LockKind) -> Result<Arc<dyn DistributedLock>> {
        Ok(Arc::new(QueueLock::new(self.sessions.clone(), name, kind)?))
    }
}

impl fmt::Display for QueueLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sessions.place())
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
        self.sessions.ask("list all locks", None, |open| async move { open.session().names().await }).await
    }

    async fn cleanup(&self) -> Result<u64> {
        self.sessions.ask("clean up", None, |open| async move { open.session().cleanup().await }).await
    }

    fn capabilities(&self) -> Capabilities {
        self.sessions.capabilities()
    }

    fn session(&self) -> SessionState {
        self.sessions.session()
    }

    fn session_time(&self) -> Option<Duration> {
        self.sessions.session_time()
    }

    fn events(&self) -> SessionEvents {
        self.sessions.events()
    }

    async fn ready(&self) -> Result<()> {
        self.sessions.current().await.map(drop)
    }

    async fn close(&self) -> Result<()> {
        let Some(last) = self.sessions.close() else { return Ok(()) };
        last.session().close().await.map_err(doing("close the session", None, last.place()))
    }
}
