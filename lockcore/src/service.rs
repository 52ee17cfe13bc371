//! The service: where an application gets its locks.

use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::capabilities::Capabilities;
use crate::entry::LockKey;
use crate::error::Result;
use crate::lock::DistributedLock;
use crate::session::SessionState;

/// A connection to where locks live. It keeps one session; when that is lost, the next acquisition opens a new
/// one, and guards of the old one stay lost.
///
/// Displayed, it says where its locks live, such as `etcd at etcd1:2379,etcd2:2379`, without credentials.
#[async_trait]
pub trait LockService: Debug + Display + Send + Sync + 'static {
    /// The exclusive lock of this name.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name.
    fn exclusive(&self, name: &str) -> Result<Arc<dyn DistributedLock>>;

    /// The shared lock of this name: it stands in the same queue as the exclusive one.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name.
    fn shared(&self, name: &str) -> Result<Arc<dyn DistributedLock>>;

    /// The semaphore of this name, which has `limit` permits. Semaphores and locks of one name are unrelated.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name or limit: 1 to `u32::MAX - 1`.
    fn semaphore(&self, name: &str, limit: u32) -> Result<Arc<dyn DistributedLock>>;

    /// The locks that anybody holds, waits for, or left traces of.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop: it changes nothing.
    async fn names(&self) -> Result<Vec<LockKey>>;

    /// Removes what unused locks left on the server, beside used ones, and says how many there were.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop: some leftovers may stay.
    async fn cleanup(&self) -> Result<u64>;

    /// What the backend can promise.
    fn capabilities(&self) -> Capabilities;

    /// Whether everything that is held now is sure to be held, by the current session.
    fn session(&self) -> SessionState;

    /// How long the server lets the current session live after a renewal; `None` if it lasts until it is ended.
    fn session_time(&self) -> Option<Duration>;

    /// Gives everything back and ends the session; idempotent. Guards are lost, waiting acquisitions and later
    /// calls fail with [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Cancel safety
    ///
    /// Once polled, the service is closed for this process; if dropped, the server may learn of it only when the
    /// session expires.
    async fn close(&self) -> Result<()>;
}
