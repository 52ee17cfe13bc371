//! What locks are bought for, over any [`LockService`]: elections, several locks at once, scheduled work.

mod election;
mod set;

pub use election::{Election, Leader, Leadership};
pub use set::{LockPart, LockSet, SetGuard};

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
