//! What stands behind guards, and how it ends.

use std::fmt::{self, Debug};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;

use crate::entry::{EntryId, FencingToken};
use crate::error::Result;
use crate::loss_signal::LossSignal;
use crate::name::LockName;
use crate::session::Loss;

/// What stands behind a [`LockGuard`](crate::LockGuard). Dropping it must give the lock back without blocking, without panicking,
/// and outside a runtime as well.
#[async_trait]
pub trait Hold: Debug + Send + Sync + 'static {
    /// The lock's name.
    fn name(&self) -> &LockName;
    /// Its entry, as the [queue](crate::DistributedLock::queue) shows it.
    fn id(&self) -> &EntryId;
    /// The token of this hold.
    fn fencing_token(&self) -> FencingToken;
    /// Tells whether it is lost.
    fn loss_signal(&self) -> &LossSignal;
    /// What errors call the place where it is held, without credentials.
    fn place(&self) -> Arc<str>;
    /// Asks the server whether it still holds.
    ///
    /// # Errors
    ///
    /// [`Error::lost`](crate::Error::lost) if it does not; another error if nobody could be asked.
    async fn verify(&self) -> Result<()>;
    /// An open file that keeps it held, where there is such.
    ///
    /// # Errors
    ///
    /// What the system says when this process may not have more open files.
    fn descriptor(&self) -> Result<Option<OwnedFd>> {
        Ok(None)
    }
    /// Gives it back, also when the future is dropped.
    ///
    /// # Errors
    ///
    /// Those of [`LockGuard::release`](crate::LockGuard::release), which say what was being done, with which lock and where.
    async fn release(self: Box<Self>) -> Result<Released>;
}

/// How a hold ended: with a gap or without, there is no third way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a lock that was lost did not protect what was done under it"]
pub enum Released {
    /// It was held without a gap until it was given back.
    Held,
    /// It had been lost before.
    Lost(Loss),
}

impl fmt::Display for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Released::Held => f.write_str("held until it was given back"),
            Released::Lost(loss) => write!(f, "lost: {loss}"),
        }
    }
}
