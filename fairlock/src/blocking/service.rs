//! Where blocking code gets its locks.

use std::sync::Arc;
use std::time::Duration;

use lockcore::{Capabilities, Config, LockKey, LockPart, LockService, LockServiceExt, Result, SessionState};

use super::election::Election;
use super::lock::Lock;
use super::once::Once;
use super::runtime::wait;
use super::set::LockSet;

/// A connection to where locks live, for blocking code. Clones share it.
#[derive(Debug, Clone)]
pub struct Locks {
    service: Arc<dyn LockService>,
}

/// Connects to where the URL (or other [configuration](Config)) says that the locks live.
///
/// # Errors
///
/// Those of [`fairlock::connect`](crate::connect), and of everything in this module that waits:
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
pub fn connect(config: impl Into<Config>) -> Result<Locks> {
    Locks::open(crate::connect(config))
}

impl Locks {
    /// The service that this future opens, on the library's own thread, such as that of a test in memory.
    ///
    /// # Errors
    ///
    /// Those of the future; [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use fairlock::{LockService, blocking::Locks};
    ///
    /// let client = backend_memory::Memory::new().client();
    /// let locks = Locks::open(async { Ok(Arc::new(client.connect().await?) as Arc<dyn LockService>) })?;
    /// let guard = locks.exclusive("orders/42")?.acquire()?;
    /// client.expire(); // what a server does when it has not heard of a client
    /// assert!(!guard.is_valid());
    /// # Ok::<_, fairlock::Error>(())
    /// ```
    pub fn open(service: impl Future<Output = Result<Arc<dyn LockService>>>) -> Result<Self> {
        Ok(Self { service: wait(service)?? })
    }

    /// The exclusive lock of this name.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name.
    pub fn exclusive(&self, name: &str) -> Result<Lock> {
        self.service.exclusive(name).map(Lock::new)
    }

    /// The shared lock of this name: it stands in the same queue as the exclusive one.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name.
    pub fn shared(&self, name: &str) -> Result<Lock> {
        self.service.shared(name).map(Lock::new)
    }

    /// The semaphore of this name, which has `limit` permits.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name or limit.
    pub fn semaphore(&self, name: &str, limit: u32) -> Result<Lock> {
        self.service.semaphore(name, limit).map(Lock::new)
    }

    /// Several locks that are taken together: see [`LockServiceExt::all`].
    ///
    /// # Errors
    ///
    /// Those of [`lockcore::LockSet::new`](crate::LockSet::new).
    pub fn all<P: Into<LockPart>>(&self, locks: impl IntoIterator<Item = P>) -> Result<LockSet> {
        LockSet::new(locks)
    }

    /// The election of this name: see [`LockServiceExt::election`].
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name.
    pub fn election(&self, name: &str) -> Result<Election> {
        self.service.election(name).map(Election::new)
    }

    /// The job of this name, which runs at most once in a period: see [`LockServiceExt::once`].
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name, or a period of nothing.
    pub fn once(&self, name: &str, period: Duration) -> Result<Once> {
        self.service.once(name, period).map(Once::new)
    }

    /// The locks that anybody holds, waits for, or left traces of.
    ///
    /// # Errors
    ///
    /// Those of the backend; [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    pub fn names(&self) -> Result<Vec<LockKey>> {
        wait(self.service.names())?
    }

    /// Removes what unused locks left on the server, and says how many there were.
    ///
    /// # Errors
    ///
    /// Those of the backend; [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    pub fn cleanup(&self) -> Result<u64> {
        wait(self.service.cleanup())?
    }

    /// What the backend can promise.
    pub fn capabilities(&self) -> Capabilities {
        self.service.capabilities()
    }

    /// Whether everything that is held now is sure to be held, by the current session.
    pub fn session(&self) -> SessionState {
        self.service.session()
    }

    /// How long the server lets the current session live after a renewal; `None` if it lasts until it is ended.
    pub fn session_time(&self) -> Option<Duration> {
        self.service.session_time()
    }

    /// Gives everything back and ends the session; idempotent.
    ///
    /// # Errors
    ///
    /// Those of the backend; [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    pub fn close(&self) -> Result<()> {
        wait(self.service.close())?
    }
}
