//! What every lock can do beside its operations: the conveniences that applications mostly use.

use std::future::Future;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::guard::LockGuard;
use crate::lock::DistributedLock;
use crate::loss_signal::HeldLock;
use crate::name::LockName;
use crate::options::Wait;
use crate::queue_watch::QueueWatch;

/// Conveniences over every [`DistributedLock`]. Not for implementing.
///
/// Locks are not re-entrant: a task that acquires what it holds [waits for itself](DistributedLock::acquire_with), also within
/// [`with`](Self::with).
pub trait DistributedLockExt: DistributedLock {
    /// Waits its turn, for ever, unless the [handle](DistributedLock::with_options) says otherwise. A task that holds the lock already waits for itself: locks are [not
    /// re-entrant](DistributedLock::acquire_with).
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let lock = locks.exclusive("orders/42")?;
    /// let guard = lock.acquire().await?;
    /// let _ = guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`acquire_with`](DistributedLock::acquire_with); [`NotInTime`](crate::ErrorKind::NotInTime) if the handle's wait has a
    /// limit.
    ///
    /// # Cancel safety
    ///
    /// That of [`acquire_with`](DistributedLock::acquire_with).
    fn acquire(&self) -> impl Future<Output = Result<LockGuard>> + Send {
        async {
            let guard = self.acquire_with(self.options()).await?;
            guard.ok_or_else(|| not_in_time(self.name()))
        }
    }

    /// Takes the lock if it is free now and nobody waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let lock = locks.exclusive("orders/42")?;
    /// let guard = lock.try_acquire().await?;
    /// assert!(guard.is_some());
    /// assert!(lock.try_acquire().await?.is_none(), "it is held");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`acquire_with`](DistributedLock::acquire_with).
    ///
    /// # Cancel safety
    ///
    /// That of [`acquire_with`](DistributedLock::acquire_with).
    fn try_acquire(&self) -> impl Future<Output = Result<Option<LockGuard>>> + Send {
        async { self.acquire_with(&self.options().clone().with_wait(Wait::Never)).await }
    }

    /// Waits its turn, at most for `timeout`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let lock = locks.exclusive("orders/42")?;
    /// let guard = lock.acquire_timeout(Duration::from_secs(3)).await?;
    /// assert!(guard.is_some());
    /// let second = lock.acquire_timeout(Duration::from_millis(20)).await?;
    /// assert!(second.is_none(), "not in time, and nothing was left in the queue");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`acquire_with`](DistributedLock::acquire_with).
    ///
    /// # Cancel safety
    ///
    /// That of [`acquire_with`](DistributedLock::acquire_with).
    fn acquire_timeout(&self, timeout: Duration) -> impl Future<Output = Result<Option<LockGuard>>> + Send {
        async move { self.acquire_with(&self.options().clone().with_wait(Wait::For(timeout))).await }
    }

    /// Runs a closure under the lock: waits its turn, runs the closure's future, gives the lock back. The
    /// future is dropped when the lock is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let lock = locks.exclusive("orders/42")?;
    /// let token = lock.with(|held| async move { held.fencing_token() }).await?;
    /// assert!(lock.acquirable().await?, "it was given back");
    /// println!("written with {token}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`acquire_with`](DistributedLock::acquire_with);
    /// [`SessionLost`](crate::ErrorKind::SessionLost) or [`EntryRemoved`](crate::ErrorKind::EntryRemoved) if
    /// the lock was lost before the end, even if only the release found out.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the closure's future and gives the lock back.
    fn with<T, F, Fut>(&self, f: F) -> impl Future<Output = Result<T>> + Send
    where
        T: Send,
        F: FnOnce(HeldLock) -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        async move { under(self.acquire().await?, f).await }
    }

    /// Runs a closure under the lock, as [`with`](Self::with) does, if it is free now and nobody waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let lock = locks.exclusive("orders/42")?;
    /// match lock.try_with(|_| async { "done" }).await? {
    ///     Some(done) => println!("{done}"),
    ///     None => println!("somebody else is at it"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`with`](Self::with).
    ///
    /// # Cancel safety
    ///
    /// That of [`with`](Self::with).
    fn try_with<T, F, Fut>(&self, f: F) -> impl Future<Output = Result<Option<T>>> + Send
    where
        T: Send,
        F: FnOnce(HeldLock) -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        async move { under_if_had(self.try_acquire().await?, f).await }
    }

    /// Runs a closure under the lock, as [`with`](Self::with) does, if it is had within `timeout`. The limit is for the wait, not for
    /// the closure.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let lock = locks.exclusive("orders/42")?;
    /// let done = lock.with_timeout(Duration::from_secs(3), |_| async { "done" }).await?;
    /// assert_eq!(done, Some("done"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`with`](Self::with).
    ///
    /// # Cancel safety
    ///
    /// That of [`with`](Self::with).
    fn with_timeout<T, F, Fut>(
        &self,
        timeout: Duration,
        f: F,
    ) -> impl Future<Output = Result<Option<T>>> + Send
    where
        T: Send,
        F: FnOnce(HeldLock) -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        async move { under_if_had(self.acquire_timeout(timeout).await?, f).await }
    }

    /// Follows the queue: a stream of [views](DistributedLock::queue), each as soon as it is another than the one before.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let lock = locks.exclusive("orders/42")?;
    /// let mut queue = lock.watch_queue();
    /// assert!(queue.next().await?.is_empty());
    /// let guard = lock.acquire().await?;
    /// assert_eq!(queue.next().await?[0].token, guard.fencing_token());
    /// # Ok(())
    /// # }
    /// ```
    fn watch_queue(&self) -> QueueWatch {
        QueueWatch::new(self.with_options(self.options().clone()))
    }
}

/// Runs the closure under the guard, and gives the lock back.
async fn under<T, F, Fut>(guard: LockGuard, f: F) -> Result<T>
where
    F: FnOnce(HeldLock) -> Fut,
    Fut: Future<Output = T>,
{
    let output = guard.protect(f(guard.held())).await?;
    guard.release_held().await?;
    Ok(output)
}

async fn under_if_had<T, F, Fut>(guard: Option<LockGuard>, f: F) -> Result<Option<T>>
where
    F: FnOnce(HeldLock) -> Fut,
    Fut: Future<Output = T>,
{
    match guard {
        Some(guard) => under(guard, f).await.map(Some),
        None => Ok(None),
    }
}

fn not_in_time(name: &LockName) -> Error {
    let message =
        format!("acquire lock {name:?}: others were first for longer than this handle waits: wait longer");
    Error::new(ErrorKind::NotInTime, message)
}

impl<L: DistributedLock + ?Sized> DistributedLockExt for L {}
