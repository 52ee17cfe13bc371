//! Scheduled work, for blocking code.

use std::fmt::Display;
use std::time::Duration;

use lockcore::{HeldLock, LastRun, LockName, Result, Turn};

use super::runtime::wait;

/// A job that runs at most once in a period: see [`Once`](crate::Once).
#[derive(Debug, Clone)]
#[must_use = "nothing is run before run() is called"]
pub struct Once {
    once: lockcore::Once,
}

impl Once {
    pub(super) fn new(once: lockcore::Once) -> Self {
        Self { once }
    }

    /// See [`Once::with_tolerance`](crate::Once::with_tolerance).
    pub fn with_tolerance(self, tolerance: Duration) -> Self {
        Self { once: self.once.with_tolerance(tolerance) }
    }

    /// See [`Once::hold_at_least`](crate::Once::hold_at_least).
    pub fn hold_at_least(self, duration: Duration) -> Self {
        Self { once: self.once.hold_at_least(duration) }
    }

    /// See [`Once::again_if_unfinished`](crate::Once::again_if_unfinished).
    pub fn again_if_unfinished(self) -> Self {
        Self { once: self.once.again_if_unfinished() }
    }

    /// See [`Once::again_if_failed`](crate::Once::again_if_failed).
    pub fn again_if_failed(self) -> Self {
        Self { once: self.once.again_if_failed() }
    }

    /// See [`Once::with_label`](crate::Once::with_label).
    pub fn with_label(self, label: impl AsRef<str>) -> Self {
        Self { once: self.once.with_label(label) }
    }

    /// Its name.
    pub fn name(&self) -> &LockName {
        self.once.name()
    }

    /// When it ran last, who ran it, and how that ended; `None` if it never did.
    ///
    /// # Errors
    ///
    /// Those of [`Once::last_run`](crate::Once::last_run); [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    pub fn last_run(&self) -> Result<Option<LastRun>> {
        wait(self.once.last_run())?
    }

    /// Runs the job if it is due and nobody else is at it. It runs to its end even if the lock is lost meanwhile; it can ask
    /// [`held`](HeldLock::loss_signal).
    ///
    /// # Errors
    ///
    /// Those of [`Once::run`](crate::Once::run); [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use fairlock::Turn;
    ///
    /// let locks = fairlock::blocking::connect("memory://")?;
    /// let job = locks.once("nightly", Duration::from_secs(24 * 3600))?;
    /// assert_eq!(job.run(|_held| Ok::<_, String>(17))?, Turn::Ran(Ok(17)));
    /// assert!(matches!(job.run(|_held| Ok::<_, String>(17))?, Turn::NotDue(_)));
    /// # Ok::<_, fairlock::Error>(())
    /// ```
    pub fn run<T, E>(&self, work: impl FnOnce(&HeldLock) -> Result<T, E> + Send) -> Result<Turn<Result<T, E>>>
    where
        T: Send,
        E: Display + Send,
    {
        // The work may block, and use other locks.
        let work = |held| async move { tokio::task::block_in_place(|| work(&held)) };
        wait(self.once.run(work))?
    }
}
