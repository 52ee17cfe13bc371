//! Guards: what is held, for how long it is sure to be held, and how it is given back.

use std::fmt::Debug;
use std::future::Future;
use std::os::fd::OwnedFd;

use tokio::time::Instant;

use crate::entry::{EntryId, FencingToken};
use crate::error::{Error, Result};
use crate::hold::{Hold, Released};
use crate::loss_signal::{HeldLock, LossSignal};
use crate::name::LockName;
use crate::session::Loss;

/// A held lock. Dropping it gives the lock back in the background; [`release`](Self::release) does so and says
/// whether it was held all the time.
#[must_use = "the lock is given back as soon as its guard is dropped"]
#[derive(Debug)]
#[clippy::has_significant_drop]
pub struct LockGuard {
    hold: Box<dyn Hold>,
}

impl LockGuard {
    /// A guard over this hold, for implementations of [`DistributedLock`](crate::DistributedLock).
    pub fn new(hold: Box<dyn Hold>) -> Self {
        Self { hold }
    }

    /// The lock's name.
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
    /// assert_eq!(guard.name().as_str(), "orders/42");
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(&self) -> &LockName {
        self.hold.name()
    }

    /// Its entry, as the [queue](crate::DistributedLock::queue) shows it to others.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// let lock = locks.exclusive("orders/42")?;
    /// let guard = lock.acquire().await?;
    /// assert_eq!(*guard.id(), lock.queue().await?[0].id);
    /// # drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    pub fn id(&self) -> &EntryId {
        self.hold.id()
    }

    /// A number that grows from guard to guard, for what the lock protects to check.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// let lock = locks.exclusive("orders/42")?;
    /// let first = lock.acquire().await?.fencing_token(); // dropped at once
    /// let second = lock.acquire().await?.fencing_token();
    /// assert!(first < second);
    /// # Ok(())
    /// # }
    /// ```
    pub fn fencing_token(&self) -> FencingToken {
        self.hold.fencing_token()
    }

    /// Whether the lock is still held, computed at the call: right even immediately after a pause of the process.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let guard = locks.exclusive("orders/42")?.acquire().await?;
    /// assert!(guard.is_valid());
    /// locks.close().await?;
    /// assert!(!guard.is_valid());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_valid(&self) -> bool {
        self.hold.loss_signal().loss().is_none()
    }

    /// Until when the lock is sure to be held if nothing more is heard from the server; `None` if there is no such
    /// limit. It moves on while the session is renewed.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let guard = locks.exclusive("orders/42")?.acquire().await?;
    /// if let Some(deadline) = guard.deadline() {
    ///     println!("sure to be held for {:?}", deadline - tokio::time::Instant::now());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        self.hold.loss_signal().remaining().and_then(|remaining| Instant::now().checked_add(remaining))
    }

    /// Returns when the lock is lost, no later than the server may let somebody else in.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let guard = locks.exclusive("orders/42")?.acquire().await?;
    /// # async fn work() {}
    /// tokio::select! {
    ///     () = work() => println!("done"),
    ///     loss = guard.lost() => println!("stopped: {loss}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again.
    pub async fn lost(&self) -> Loss {
        self.hold.loss_signal().lost().await
    }

    /// Returns when the server has not been heard for half of the time between the last renewal and the
    /// [deadline](Self::deadline), while the lock is still held: time to bring the work to a safe point. Also when the lock is lost. If the
    /// server is heard again, the lock is as safe as before, and a later call waits again.
    ///
    /// ```
    /// # use lockcore::LockGuard;
    /// # async fn work(guard: &LockGuard) {
    /// loop {
    ///     tokio::select! {
    ///         () = one_step() => {}
    ///         () = guard.at_risk() => break save().await,
    ///     }
    /// }
    /// # }
    /// # async fn one_step() {}
    /// # async fn save() {}
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again.
    pub async fn at_risk(&self) {
        self.hold.loss_signal().at_risk().await;
    }

    /// A clonable handle that tells of the loss, for other tasks.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let guard = locks.exclusive("orders/42")?.acquire().await?;
    /// let signal = guard.loss_signal();
    /// let other_task = tokio::spawn(async move { signal.lost().await });
    /// locks.close().await?;
    /// assert_eq!(other_task.await.unwrap(), fairlock::Loss::Closed);
    /// # Ok(())
    /// # }
    /// ```
    pub fn loss_signal(&self) -> LossSignal {
        self.hold.loss_signal().clone()
    }

    /// The token and the loss signal, without the power to release.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let guard = locks.exclusive("orders/42")?.acquire().await?;
    /// let held = guard.held(); // for others, who cannot release it
    /// assert_eq!(held.fencing_token(), guard.fencing_token());
    /// # Ok(())
    /// # }
    /// ```
    pub fn held(&self) -> HeldLock {
        HeldLock::new(self.fencing_token(), self.loss_signal())
    }

    /// Asks the server whether the lock is still held.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let guard = locks.exclusive("orders/42")?.acquire().await?;
    /// guard.verify().await?; // the server agrees that it is held
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SessionLost`](crate::ErrorKind::SessionLost) or [`EntryRemoved`](crate::ErrorKind::EntryRemoved) if
    /// it is not; another error if the server could not be asked.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop.
    pub async fn verify(&self) -> Result<()> {
        self.hold.verify().await.map_err(|error| self.doing("verify", error))
    }

    /// An open file for processes that this one starts: the lock stays held as long as any of them has it open, even if
    /// this process dies. To give the lock back frees it all the same. `None` where locks live on a server.
    ///
    /// It is closed in programs that are executed, unless its close-on-exec flag is taken away.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let guard = locks.exclusive("orders/42")?.acquire().await?;
    /// assert!(guard.descriptor()?.is_none(), "it is not in a directory");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What the system says when this process may not have more open files.
    pub fn descriptor(&self) -> Result<Option<OwnedFd>> {
        self.hold.descriptor().map_err(|error| self.doing("take a descriptor of", error))
    }

    /// Runs a future as long as the lock is held: it is dropped when the lock is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::DistributedLockExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let guard = locks.exclusive("orders/42")?.acquire().await?;
    /// let sum = guard.protect(async { 1 + 1 }).await?; // stopped if the lock is lost
    /// assert_eq!(sum, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SessionLost`](crate::ErrorKind::SessionLost) or [`EntryRemoved`](crate::ErrorKind::EntryRemoved) if
    /// the lock was lost before the future was ready.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future; the guard is not touched.
    pub async fn protect<F: Future>(&self, future: F) -> Result<F::Output> {
        let protected = protected(future, self.lost(), || self.hold.loss_signal().loss()).await;
        protected.map_err(|loss| self.doing("work under", Error::lost(loss)))
    }

    fn doing(&self, what: &str, error: Error) -> Error {
        told(what, self.name(), &self.hold.place(), error)
    }

    /// Gives the lock back, and says whether it was held without a gap until then. Never touches anybody else's
    /// entry.
    ///
    /// # Examples
    ///
    /// ```
    /// use fairlock::{DistributedLockExt, Released};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> fairlock::Result<()> {
    /// # let locks = fairlock::connect("memory://").await?;
    /// # let guard = locks.exclusive("orders/42")?.acquire().await?;
    /// match guard.release().await? {
    ///     Released::Held => println!("nobody else held it meanwhile"),
    ///     Released::Lost(loss) => println!("somebody else may have held it as well: {loss}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// With the effect [unknown](crate::Effect::Unknown) when the server refused or made no sense; the entry is then
    /// removed in the background, or ends with the session. While the server is out of reach the release is
    /// repeated, until the lock is lost: then that is the answer.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the release goes on in the background.
    pub async fn release(self) -> Result<Released> {
        self.hold.release().await
    }

    /// Gives the lock back, or says that it had been lost.
    pub(crate) async fn release_held(self) -> Result<()> {
        let (name, place) = (self.name().clone(), self.hold.place());
        match self.release().await? {
            Released::Held => Ok(()),
            Released::Lost(loss) => Err(told("work under", &name, &place, Error::lost(loss))),
        }
    }
}

/// The output of a future, which is dropped when what it stands on is lost; the loss also if it came while the last step was done.
pub(crate) async fn protected<F: Future>(
    future: F,
    lost: impl Future<Output = Loss>,
    loss: impl FnOnce() -> Option<Loss>,
) -> Result<F::Output, Loss> {
    let output = tokio::select! {
        biased;
        loss = lost => return Err(loss),
        output = future => output,
    };
    loss().map_or(Ok(output), Err)
}

fn told(what: &str, name: &LockName, place: &str, error: Error) -> Error {
    error.with_context(format_args!("{what} lock {name:?} ({place})"))
}
