//! Locks as applications see them.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::backend::{UNWATCHED, evicts_nobody};
use crate::entry::{EntryId, FencingToken};
use crate::error::Result;
use crate::guard::LockGuard;
use crate::lock_kind::LockKind;
use crate::name::LockName;
use crate::options::AcquireOptions;
use crate::queue_view::QueueView;
use crate::record::{Recorded, no_records};

/// A lock: exclusive, shared or semaphore, on any backend. Making one costs no I/O.
///
/// The conveniences are in [`DistributedLockExt`](crate::DistributedLockExt).
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

    /// How its [conveniences](crate::DistributedLockExt) acquire it, where they do not say otherwise.
    fn options(&self) -> &AcquireOptions;

    /// The same lock, whose [conveniences](crate::DistributedLockExt) acquire it with these options: a handle that knows its label, how many
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
