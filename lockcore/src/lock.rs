//! Locks as applications see them.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::backend::{UNWATCHED, evicts_nobody};
use crate::error::Result;
use crate::guard::LockGuard;
use crate::lock_kind::LockKind;
use crate::loss_signal::HeldLock;
use crate::name::LockName;
use crate::options::{AcquireOptions, Wait};
use crate::queue_view::QueueView;
use crate::queue_watch::QueueWatch;
use crate::record::{Recorded, no_records};
use crate::{EntryId, Error, ErrorKind, FencingToken};

/// A lock: exclusive, shared or semaphore, on any backend. Making one costs no I/O.
///
/// The conveniences are in [`DistributedLockExt`].
#[async_trait]
pub trait DistributedLock: Debug + Send + Sync + 'static {
    /// Its name.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// assert_eq!(locks.shared("orders/42")?.name().as_str(), "orders/42");
    /// # Ok(())
    /// # }
    /// ```
    fn name(&self) -> &LockName;

    /// Its kind.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// assert_eq!(locks.semaphore("gpu", 4)?.kind(), fairlock::LockKind::Semaphore { limit: 4 });
    /// # Ok(())
    /// # }
    /// ```
    fn kind(&self) -> LockKind;

    /// How its [conveniences](DistributedLockExt) acquire it, where they do not say otherwise.
    fn options(&self) -> &AcquireOptions;

    /// The same lock, whose [conveniences](DistributedLockExt) acquire it with these options: a handle that knows its label, how many
    /// permits it takes, and how long it waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use fairlock::{AcquireOptions, DistributedLockExt, ErrorKind, Wait};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// let options = AcquireOptions::new().with_permits(3).with_wait(Wait::For(Duration::from_millis(20)));
    /// let gpus = locks.semaphore("gpu", 4)?.with_options(options.with_label("training"));
    /// let guard = gpus.acquire().await?;
    /// let second = gpus.acquire().await.unwrap_err(); // only one is left
    /// assert_eq!(second.kind(), ErrorKind::NotInTime);
    /// # drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    fn with_options(&self, options: AcquireOptions) -> Arc<dyn DistributedLock>;

    /// Waits in the queue as the options say; `None` if the lock was not had in time.
    ///
    /// Locks are not re-entrant: whoever holds one and acquires it again, in the same task or through another handle,
    /// waits for himself, and a wait without limit never ends. So does the reader that wants to become a writer, and whoever
    /// needs the permits that he has himself. What a service holds exclusively and itself waits for, both for more than ten
    /// seconds, is logged once for each hold (`tracing`, level `WARN`, with both labels): it may be one task, or two of which one
    /// takes long, which only the program can know.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use fairlock::{AcquireOptions, Wait};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// let options = AcquireOptions::new().with_wait(Wait::For(Duration::from_secs(3))).with_label("night run");
    /// match locks.exclusive("orders/42")?.acquire_with(&options).await? {
    ///     Some(guard) => println!("{}", guard.fencing_token()),
    ///     None => println!("not in time"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A wait ends early only with what waiting cannot cure: [`EntryRemoved`](crate::ErrorKind::EntryRemoved) if
    /// somebody removed the entry, [`LimitMismatch`](crate::ErrorKind::LimitMismatch) if others use the semaphore with
    /// another limit, [`PermissionDenied`](crate::ErrorKind::PermissionDenied), [`Closed`](crate::ErrorKind::Closed),
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for wrong options, what the backend says is not worth repeating;
    /// and [`SessionLost`](crate::ErrorKind::SessionLost) if the options say not to [queue
    /// again](AcquireOptions::requeue). A wait with a limit, or a try, ends with
    /// [`Unreachable`](crate::ErrorKind::Unreachable) if no server could be asked.
    ///
    /// # Cancel safety
    ///
    /// Nothing happens before the first poll. When the future is dropped, the place in the queue is given up and
    /// the entry is removed in the background.
    async fn acquire_with(&self, options: &AcquireOptions) -> Result<Option<LockGuard>>;

    /// Holders and waiters, in order. A view, true when it was taken.
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
    /// for entry in lock.queue().await? {
    ///     println!("{} {} {}", entry.position, entry.label, if entry.holds { "holds" } else { "waits" });
    /// }
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
    async fn queue(&self) -> Result<QueueView>;

    /// Returns when the first entry of the [queue](Self::queue) may be another than this one (`None`: when there may be one): woken by the
    /// server where the backend can be, else after a second. It may return without reason.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop: it changes nothing.
    async fn head_changed(&self, _head: Option<&EntryId>) -> Result<()> {
        tokio::time::sleep(UNWATCHED).await;
        Ok(())
    }

    /// Takes somebody's place away, by the [id](crate::QueueEntry::id) that the queue shows; whether it was there. For operators, where the owner
    /// cannot be asked: a holder is told by its [loss](crate::LossSignal), a waiter by an error, but each only when it looks, and whoever is
    /// next may hold before that.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::{DistributedLockExt, Loss, Released};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// let lock = locks.exclusive("orders/42")?;
    /// let guard = lock.acquire().await?;
    /// assert!(lock.evict(&lock.queue().await?[0].id).await?);
    /// assert_eq!(guard.release().await?, Released::Lost(Loss::Removed));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the server, whose effect may be unknown: it can be repeated. [`Backend`](crate::ErrorKind::Backend) if the backend cannot do it.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the entry may be removed or not.
    async fn evict(&self, _id: &EntryId) -> Result<bool> {
        Err(evicts_nobody())
    }

    /// What is recorded about the lock, and what time it is where it lives.
    ///
    /// # Errors
    ///
    /// Those of the backend, such as [`Unreachable`](crate::ErrorKind::Unreachable); [`Backend`](crate::ErrorKind::Backend) if it keeps no
    /// records.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop: it changes nothing.
    async fn record(&self) -> Result<Recorded> {
        Err(no_records())
    }

    /// Records a text about the lock, of at most [`Record::MAX`](crate::Record::MAX) bytes, in the name of the holder with this token. It outlives
    /// the hold, all sessions, and a cleanup. Says whether it did: not if the record is of a later holder.
    ///
    /// # Errors
    ///
    /// Those of [`record`](Self::record), whose effect may be unknown: it can be repeated.
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a text that is too long.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the text may be recorded or not.
    async fn set_record(&self, _token: FencingToken, _text: &str) -> Result<bool> {
        Err(no_records())
    }

    /// Where the lock lives, as all programs call it that use it: what several locks [at once](crate::LockSet) are ordered by before
    /// their names.
    fn place(&self) -> String {
        String::new()
    }

    /// Whether an acquisition would succeed at once. Advice, no more: others may be faster.
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
    /// assert!(lock.acquirable().await?);
    /// let guard = lock.acquire().await?;
    /// assert!(!lock.acquirable().await?);
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
    async fn acquirable(&self) -> Result<bool>;
}

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
