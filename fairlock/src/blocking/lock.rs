//! A lock, for blocking code.

use std::sync::Arc;
use std::time::Duration;

use lockcore::{
    AcquireOptions, DistributedLock, DistributedLockExt, Error, HeldLock, LockKind, LockName, LockPart,
    QueueView, Released, Result, Wait,
};

use super::guard::LockGuard;
use super::runtime::wait;

/// A lock: exclusive, shared or semaphore, on any backend. Making one costs no I/O. Clones are the same lock.
#[derive(Debug, Clone)]
pub struct Lock {
    lock: Arc<dyn DistributedLock>,
}

impl Lock {
    pub(super) fn new(lock: Arc<dyn DistributedLock>) -> Self {
        Self { lock }
    }

    /// Its name.
    pub fn name(&self) -> &LockName {
        self.lock.name()
    }

    /// Its kind.
    pub fn kind(&self) -> LockKind {
        self.lock.kind()
    }

    /// So many permits of this semaphore, as a part of [several locks](super::Locks::all).
    pub fn permits(&self, permits: u32) -> LockPart {
        (&self.lock, permits).into()
    }

    /// The same lock, which is acquired with these options where nothing else is said.
    #[must_use]
    pub fn with_options(&self, options: AcquireOptions) -> Self {
        Self { lock: self.lock.with_options(options) }
    }

    /// Waits its turn, for ever, unless the [handle](Self::with_options) says otherwise.
    ///
    /// # Errors
    ///
    /// Those of [`DistributedLock::acquire_with`]; [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    pub fn acquire(&self) -> Result<LockGuard> {
        wait(self.lock.acquire())?.map(LockGuard::new)
    }

    /// Takes the lock if it is free now and nobody waits.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire).
    pub fn try_acquire(&self) -> Result<Option<LockGuard>> {
        self.acquire_with(&self.lock.options().clone().with_wait(Wait::Never))
    }

    /// Waits its turn, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire).
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<LockGuard>> {
        self.acquire_with(&self.lock.options().clone().with_wait(Wait::For(timeout)))
    }

    /// Waits in the queue as the options say; `None` if the lock was not had in time.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire).
    pub fn acquire_with(&self, options: &AcquireOptions) -> Result<Option<LockGuard>> {
        Ok(wait(self.lock.acquire_with(options))??.map(LockGuard::new))
    }

    /// Waits its turn, runs the closure, gives the lock back. The closure runs to its end even if the lock is lost meanwhile; it can ask
    /// [`held`](HeldLock::loss_signal).
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire); [`SessionLost`](crate::ErrorKind::SessionLost) or
    /// [`EntryRemoved`](crate::ErrorKind::EntryRemoved) if the lock was lost before the end, even if only the release found out.
    pub fn with<T>(&self, f: impl FnOnce(&HeldLock) -> T) -> Result<T> {
        let guard = self.acquire()?;
        let output = f(&guard.held());
        match guard.release()? {
            Released::Held => Ok(output),
            Released::Lost(loss) => Err(Error::lost(loss)),
        }
    }

    /// Holders and waiters, in order. A view, true when it was taken.
    ///
    /// # Errors
    ///
    /// Those of [`DistributedLock::queue`]; [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    pub fn queue(&self) -> Result<QueueView> {
        wait(self.lock.queue())?
    }

    /// Whether an acquisition would succeed at once. Advice, no more: others may be faster.
    ///
    /// # Errors
    ///
    /// Those of [`DistributedLock::acquirable`]; [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    pub fn acquirable(&self) -> Result<bool> {
        wait(self.lock.acquirable())?
    }
}

impl From<&Lock> for LockPart {
    fn from(lock: &Lock) -> Self {
        (&lock.lock).into()
    }
}
