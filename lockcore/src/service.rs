//! The service: where an application gets its locks.

use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::capabilities::Capabilities;
use crate::entry::LockKey;
use crate::error::Result;
use crate::lock::DistributedLock;
use crate::session::{SessionEvents, SessionState};

/// A connection to where locks live. It keeps one session; when that is lost, it opens a new one in the background, and guards of the
/// old one stay lost.
///
/// Displayed, it says where its locks live, such as `etcd at etcd1:2379,etcd2:2379`, without credentials.
#[async_trait]
pub trait LockService: Debug + Display + Send + Sync + 'static {
    /// The exclusive lock of this name.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// let lock = locks.exclusive("orders/42")?; // no I/O
    /// let guard = lock.acquire().await?;
    /// # drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name.
    fn exclusive(&self, name: &str) -> Result<Arc<dyn DistributedLock>>;

    /// The shared lock of this name: it stands in the same queue as the exclusive one.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// let readers = (locks.shared("report")?.acquire().await?, locks.shared("report")?.acquire().await?);
    /// assert!(locks.exclusive("report")?.try_acquire().await?.is_none());
    /// # drop(readers);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name.
    fn shared(&self, name: &str) -> Result<Arc<dyn DistributedLock>>;

    /// The semaphore of this name, which has `limit` permits. Semaphores and locks of one name are unrelated.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// let gpu = locks.semaphore("gpu", 2)?;
    /// let both = (gpu.acquire().await?, gpu.acquire().await?);
    /// assert!(gpu.try_acquire().await?.is_none());
    /// # drop(both);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid name or limit: 1 to `u32::MAX - 1`.
    fn semaphore(&self, name: &str, limit: u32) -> Result<Arc<dyn DistributedLock>>;

    /// The locks that anybody holds, waits for, or left traces of.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// let guard = locks.exclusive("orders/42")?.acquire().await?;
    /// assert_eq!(locks.names().await?[0].to_string(), "lock \"orders/42\"");
    /// # drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the server, and [`Closed`](crate::ErrorKind::Closed). While there is no session they are those of connecting, such as
    /// [`Unreachable`](crate::ErrorKind::Unreachable).
    ///
    /// # Cancel safety
    ///
    /// Safe to drop: it changes nothing.
    async fn names(&self) -> Result<Vec<LockKey>>;

    /// Removes what unused locks left on the server, beside used ones, and says how many there were.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// println!("{} unused locks removed", locks.cleanup().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the server, and [`Closed`](crate::ErrorKind::Closed). While there is no session they are those of connecting, such as
    /// [`Unreachable`](crate::ErrorKind::Unreachable).
    ///
    /// # Cancel safety
    ///
    /// Safe to drop: some leftovers may stay.
    async fn cleanup(&self) -> Result<u64>;

    /// What the backend can promise.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// assert!(locks.capabilities().fair);
    /// println!("{locks} offers: {}", locks.capabilities());
    /// # Ok(())
    /// # }
    /// ```
    fn capabilities(&self) -> Capabilities;

    /// Whether everything that is held now is sure to be held, by the current session.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::SessionState;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// match locks.session() {
    ///     SessionState::Lost(loss) => println!("what was held is lost: {loss}"),
    ///     state => println!("{state}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn session(&self) -> SessionState;

    /// What becomes of the session from here on: that it is in doubt, recovers, is lost, and that the next one is open. Any number may
    /// subscribe. Who is slow loses the oldest events, and [is told so](crate::SessionEvent::Missed).
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::SessionEvent;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// let locks = fairlock::connect_lazy("memory://")?;
    /// let mut events = locks.events();
    /// assert_eq!(events.next().await, Some(SessionEvent::Connected));
    /// # Ok(())
    /// # }
    /// ```
    fn events(&self) -> SessionEvents;

    /// Returns when there is a session, for which it waits as long as one attempt to open it takes: for readiness probes, and after
    /// [connecting lazily](crate::Registry::connect_lazy).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// let locks = fairlock::connect_lazy("memory://")?; // the server need not be there yet
    /// locks.ready().await?; // now it is
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Why none could be opened, such as [`Unreachable`](crate::ErrorKind::Unreachable); [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Cancel safety
    ///
    /// Safe to drop: the session is opened in the background.
    async fn ready(&self) -> Result<()>;

    /// How long the server lets the current session live after a renewal; `None` if it lasts until it is ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// assert_eq!(locks.session_time(), None, "memory ends no session by itself");
    /// # Ok(())
    /// # }
    /// ```
    fn session_time(&self) -> Option<Duration>;

    /// Gives everything back and ends the session; idempotent. Guards are lost, waiting acquisitions and later
    /// calls fail with [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// locks.close().await?;
    /// let error = locks.exclusive("orders/42")?.acquire().await.unwrap_err();
    /// assert_eq!(error.kind(), fairlock::ErrorKind::Closed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the server could not be told; the service is closed all the same, and the session ends there when its time is over.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the service is closed for this process; if dropped, the server may learn of it only when the
    /// session expires.
    async fn close(&self) -> Result<()>;
}
