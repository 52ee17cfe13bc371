//! Who is told of a loss: handles that may outlive the guard, and cannot release it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SetOnce;

use crate::entry::FencingToken;
use crate::session::{Lease, Loss};

/// Tells whether a hold is lost. Clones may outlive the guard; a release is not a loss.
#[derive(Debug, Clone)]
pub struct LossSignal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    lease: Lease,
    entry: SetOnce<EntryEnd>,
}

/// How the entry behind a hold came to its end: whichever was first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntryEnd {
    /// It was found to be gone.
    Removed,
    /// It is being given back: from then on it is no loss that it is gone.
    Released,
}

impl LossSignal {
    /// A hold that is lost with `lease`.
    pub fn new(lease: Lease) -> Self {
        Self { shared: Arc::new(Shared { lease, entry: SetOnce::new() }) }
    }

    /// The entry is not there any more; whether that is news, and a loss.
    pub(crate) fn tell_removed(&self) -> bool {
        self.shared.entry.set(EntryEnd::Removed).is_ok()
    }

    /// The entry is being given back; if it was lost before, it stays lost.
    pub(crate) fn tell_released(&self) {
        let _ = self.shared.entry.set(EntryEnd::Released);
    }

    /// Whether both tell of the same hold.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether the entry is known to be gone, or is being given back.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.entry.initialized()
    }

    fn is_removed(&self) -> bool {
        self.shared.entry.get() == Some(&EntryEnd::Removed)
    }

    /// Why the hold is lost, if it is; computed at the call, by the clock.
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
    /// # let signal = guard.loss_signal();
    /// assert_eq!(signal.loss(), None);
    /// locks.close().await?;
    /// assert_eq!(signal.loss(), Some(fairlock::Loss::Closed));
    /// # Ok(())
    /// # }
    /// ```
    pub fn loss(&self) -> Option<Loss> {
        if self.is_removed() { Some(Loss::Removed) } else { self.shared.lease.loss() }
    }

    /// Returns when the hold is lost, by the local clock at the latest.
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
    /// # let signal = guard.loss_signal();
    /// locks.close().await?;
    /// assert_eq!(signal.lost().await, fairlock::Loss::Closed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again.
    pub async fn lost(&self) -> Loss {
        tokio::select! {
            biased;
            loss = self.shared.lease.lost() => loss,
            EntryEnd::Removed = self.shared.entry.wait() => Loss::Removed,
        }
    }

    /// Returns when nothing has been heard for half of the time that is left to the hold, or when it is lost: see
    /// [`LockGuard::at_risk`](crate::LockGuard::at_risk).
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again.
    pub async fn at_risk(&self) {
        tokio::select! {
            () = self.shared.lease.at_risk() => {}
            EntryEnd::Removed = self.shared.entry.wait() => {}
        }
    }

    /// For how long the hold is sure to last if nothing more is heard; `None` if it has no such limit.
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
    /// # let signal = guard.loss_signal();
    /// assert_eq!(signal.remaining(), None); // memory ends no session by itself
    /// # Ok(())
    /// # }
    /// ```
    pub fn remaining(&self) -> Option<Duration> {
        if self.is_removed() { Some(Duration::ZERO) } else { self.shared.lease.remaining() }
    }
}

/// What the work under a lock may know of it; see [`DistributedLockExt::with`](crate::DistributedLockExt::with).
#[derive(Debug, Clone)]
pub struct HeldLock {
    fencing_token: FencingToken,
    loss_signal: LossSignal,
}

impl HeldLock {
    pub(crate) fn new(fencing_token: FencingToken, loss_signal: LossSignal) -> Self {
        Self { fencing_token, loss_signal }
    }

    /// The token of the guard.
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
    /// let token = lock.with(|held| async move { held.fencing_token() }).await?;
    /// println!("written with {token}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn fencing_token(&self) -> FencingToken {
        self.fencing_token
    }

    /// Tells whether the lock is lost.
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
    /// let lost = lock.with(|held| async move { held.loss_signal().loss() }).await?;
    /// assert_eq!(lost, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn loss_signal(&self) -> &LossSignal {
        &self.loss_signal
    }
}
