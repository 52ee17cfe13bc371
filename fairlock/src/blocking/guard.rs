//! Guards, for blocking code.

use std::time::{Duration, Instant};

use lockcore::{FencingToken, HeldLock, LockName, Loss, Released, Result};

use super::owned::Owned;
use super::runtime::{wait, wait_for};

/// A held lock. Dropping it gives the lock back: it waits half a second for that at most, then, and inside an async context, it goes on in the
/// background. [`release`](Self::release) waits as long as it takes and says whether the lock was held all the time.
#[must_use = "the lock is given back as soon as its guard is dropped"]
#[derive(Debug)]
#[clippy::has_significant_drop]
pub struct LockGuard {
    guard: Owned<lockcore::LockGuard>,
}

impl LockGuard {
    pub(super) fn new(guard: lockcore::LockGuard) -> Self {
        Self { guard: Owned::new(guard) }
    }

    /// The lock's name.
    pub fn name(&self) -> &LockName {
        self.guard.name()
    }

    /// A number that grows from guard to guard, for what the lock protects to check.
    pub fn fencing_token(&self) -> FencingToken {
        self.guard.fencing_token()
    }

    /// Whether the lock is still held, computed at the call: right even immediately after a pause of the process.
    pub fn is_valid(&self) -> bool {
        self.guard.is_valid()
    }

    /// Until when the lock is sure to be held if nothing more is heard from the server; `None` if there is no such limit. It moves on
    /// while the session is renewed.
    pub fn deadline(&self) -> Option<Instant> {
        self.guard.deadline().map(Into::into)
    }

    /// Tells whether the lock is lost; for other threads.
    pub fn loss_signal(&self) -> LossSignal {
        LossSignal::new(self.guard.loss_signal())
    }

    /// The token and the loss signal, without the power to release.
    pub fn held(&self) -> HeldLock {
        self.guard.held()
    }

    /// Asks the server whether the lock is still held.
    ///
    /// # Errors
    ///
    /// Those of [`LockGuard::verify`](crate::LockGuard::verify); [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    pub fn verify(&self) -> Result<()> {
        wait(self.guard.verify())?
    }

    /// Gives the lock back, and says whether it was held without a gap until then.
    ///
    /// # Errors
    ///
    /// Those of [`LockGuard::release`](crate::LockGuard::release); [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context, where it
    /// is given back in the background.
    pub fn release(self) -> Result<Released> {
        self.guard.give_back()
    }
}

/// Tells whether a hold is lost, on any thread. Clones may outlive the guard; a release is not a loss.
#[derive(Debug, Clone)]
pub struct LossSignal {
    signal: lockcore::LossSignal,
}

impl LossSignal {
    pub(super) fn new(signal: lockcore::LossSignal) -> Self {
        Self { signal }
    }

    /// Why the hold is lost, if it is; computed at the call, by the clock.
    pub fn loss(&self) -> Option<Loss> {
        self.signal.loss()
    }

    /// Waits for the loss, at most for `timeout`; `None` if it did not come.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    pub fn wait(&self, timeout: Duration) -> Result<Option<Loss>> {
        wait_for(timeout, self.signal.lost())
    }

    /// Waits until the hold is [at risk](crate::LockGuard::at_risk), at most for `timeout`; whether it is.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    pub fn wait_at_risk(&self, timeout: Duration) -> Result<bool> {
        Ok(wait_for(timeout, self.signal.at_risk())?.is_some())
    }
}
