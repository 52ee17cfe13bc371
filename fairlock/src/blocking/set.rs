//! Several locks at once, for blocking code.

use std::time::{Duration, Instant};

use lockcore::{AcquireOptions, FencingToken, LockPart, Released, Result, Wait};

use super::owned::Owned;
use super::runtime::wait;

/// Several locks that are held together or not at all: see [`LockSet`](crate::LockSet).
#[derive(Debug)]
pub struct LockSet {
    set: lockcore::LockSet,
}

impl LockSet {
    /// These locks, together.
    ///
    /// # Errors
    ///
    /// Those of [`LockSet::new`](crate::LockSet::new).
    pub fn new<P: Into<LockPart>>(locks: impl IntoIterator<Item = P>) -> Result<Self> {
        lockcore::LockSet::new(locks).map(|set| Self { set })
    }

    /// Waits until all are had, for ever.
    ///
    /// # Errors
    ///
    /// Those of [`LockSet::acquire_with`](crate::LockSet::acquire_with); [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async
    /// context.
    pub fn acquire(&self) -> Result<SetGuard> {
        wait(self.set.acquire())?.map(SetGuard::new)
    }

    /// Takes all if each is free now.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire).
    pub fn try_acquire(&self) -> Result<Option<SetGuard>> {
        self.acquire_with(&AcquireOptions::new().with_wait(Wait::Never))
    }

    /// Waits until all are had, at most for `timeout`, however many they are.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire).
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<SetGuard>> {
        self.acquire_with(&AcquireOptions::new().with_wait(Wait::For(timeout)))
    }

    /// Waits for all as the options say; `None` if one of them was not had in time.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire).
    pub fn acquire_with(&self, options: &AcquireOptions) -> Result<Option<SetGuard>> {
        Ok(wait(self.set.acquire_with(options))??.map(SetGuard::new))
    }
}

/// Several held locks: see [`SetGuard`](crate::SetGuard). Dropping it gives all back, as dropping a [`LockGuard`](super::LockGuard)
/// does with one.
#[must_use = "the locks are given back as soon as their guard is dropped"]
#[derive(Debug)]
#[clippy::has_significant_drop]
pub struct SetGuard {
    guard: Owned<lockcore::SetGuard>,
}

impl SetGuard {
    fn new(guard: lockcore::SetGuard) -> Self {
        Self { guard: Owned::new(guard) }
    }

    /// The token of each lock, in the order in which they were given.
    pub fn fencing_tokens(&self) -> Vec<FencingToken> {
        self.guard.fencing_tokens()
    }

    /// Whether all are still held, computed at the call.
    pub fn is_valid(&self) -> bool {
        self.guard.is_valid()
    }

    /// Until when all are sure to be held if nothing more is heard; `None` if there is no such limit.
    pub fn deadline(&self) -> Option<Instant> {
        self.guard.deadline().map(Into::into)
    }

    /// Asks the servers whether all are still held.
    ///
    /// # Errors
    ///
    /// Those of [`SetGuard::verify`](crate::SetGuard::verify); [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    pub fn verify(&self) -> Result<()> {
        wait(self.guard.verify())?
    }

    /// Gives all back, and says whether all were held without a gap until then.
    ///
    /// # Errors
    ///
    /// Those of [`SetGuard::release`](crate::SetGuard::release); [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context, where they
    /// are given back in the background.
    pub fn release(self) -> Result<Released> {
        self.guard.give_back()
    }
}
