//! What locks are bought for, over any [`LockService`]: elections, several locks at once, scheduled work.

mod election;
mod leadership;
mod once;
mod run;
mod set;

pub use election::{Election, Leader};
pub use leadership::Leadership;
pub use once::{Once, Run, Turn};
pub use run::{LastRun, RunEnd};
pub use set::{LockPart, LockSet, SetGuard};

use std::time::Duration;

use crate::error::Result;
use crate::service::LockService;

/// What every [`LockService`] offers beside single locks. Not for implementing.
pub trait LockServiceExt: LockService {
    /// The election of this name: its candidates stand in the queue of the exclusive lock of that name.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name.
    fn election(&self, name: &str) -> Result<Election> {
        self.exclusive(name).map(Election::new)
    }

    /// The job of this name, which runs at most once in a period: under the exclusive lock of that name, beside which the last run
    /// is recorded.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name, or a period of nothing.
    fn once(&self, name: &str, period: Duration) -> Result<Once> {
        Once::new(self.exclusive(name)?, period)
    }

    /// Several locks that are taken together. They may be of this service and of others.
    ///
    /// # Errors
    ///
    /// Those of [`LockSet::new`].
    fn all<P: Into<LockPart>>(&self, locks: impl IntoIterator<Item = P>) -> Result<LockSet> {
        LockSet::new(locks)
    }
}

impl<S: LockService + ?Sized> LockServiceExt for S {}
