//! Several locks at once: taken in one order, whatever order they were given in.

use std::sync::Arc;

use futures::future::select_all;
use tokio::time::Instant;

use crate::entry::{Family, FencingToken};
use crate::error::{Error, Result, invalid_input};
use crate::guard::{LockGuard, protected};
use crate::hold::Released;
use crate::lock::DistributedLock;
use crate::lock_kind::LockKind;
use crate::name::LockName;
use crate::options::{AcquireOptions, Wait};
use crate::session::Loss;

/// Several locks, of any kinds, names and services, that are held together or not at all.
///
/// They are taken one after another, in an order that is the same for everybody: by the place where they live, exclusive and shared
/// ones before semaphores, by name. So two callers never wait for each other, whatever order they give. The locks that come first
/// are held while the later ones are waited for.
///
/// # Examples
///
/// ```
/// use lockcore::{FencingToken, LockService, LockServiceExt};
///
/// async fn transfer(locks: &dyn LockService) -> lockcore::Result<()> {
///     let (from, to) = (locks.exclusive("account/7")?, locks.exclusive("account/3")?);
///     let rates = locks.shared("rates")?;
///     let guard = locks.all([&from, &to, &rates])?.acquire().await?;
///     let [from, to, _] = guard.fencing_tokens()[..] else { unreachable!("one token for each lock") };
///     guard.protect(book(from, to)).await?;
///     guard.release().await.map(drop)
/// }
/// # async fn book(_from: FencingToken, _to: FencingToken) {}
/// ```
#[derive(Debug)]
pub struct LockSet {
    /// As they were given.
    parts: Vec<LockPart>,
    /// Their positions, in the order in which they are taken.
    order: Vec<usize>,
}

/// One of the locks of a [`LockSet`]. Permits of a semaphore are asked for with a pair: `(&gpu, 2)`.
#[derive(Debug, Clone)]
pub struct LockPart {
    lock: Arc<dyn DistributedLock>,
    permits: u32,
}

impl From<&Arc<dyn DistributedLock>> for LockPart {
    fn from(lock: &Arc<dyn DistributedLock>) -> Self {
        (lock, 1).into()
    }
}

impl From<(&Arc<dyn DistributedLock>, u32)> for LockPart {
    fn from((lock, permits): (&Arc<dyn DistributedLock>, u32)) -> Self {
        Self { lock: lock.clone(), permits }
    }
}

impl LockPart {
    /// What the locks are ordered by: the queue, as all programs call it.
    fn key(&self) -> (String, Family, LockName) {
        let family = match self.lock.kind() {
            LockKind::Exclusive | LockKind::Shared => Family::Lock,
            LockKind::Semaphore { .. } => Family::Semaphore,
        };
        (self.lock.place(), family, self.lock.name().clone())
    }
}

/// How one go at all the locks ended.
enum Go {
    Had(SetGuard),
    NotInTime,
    /// One was lost while others were waited for.
    Lost(Loss),
}

impl LockSet {
    /// These locks, together. Their tokens and guards come in the order in which they are given here.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is none, or if two of them stand in one queue, where the second would wait for
    /// the first.
    pub fn new<P: Into<LockPart>>(locks: impl IntoIterator<Item = P>) -> Result<Self> {
        let parts: Vec<LockPart> = locks.into_iter().map(Into::into).collect();
        if parts.is_empty() {
            return Err(invalid_input("a set of locks has at least one"));
        }
        let mut keys: Vec<_> = parts.iter().map(LockPart::key).enumerate().collect();
        keys.sort_by(|(_, one), (_, next)| one.cmp(next));
        if let Some(twice) = keys.windows(2).find(|pair| pair[0].1 == pair[1].1) {
            let (first, second) = (&parts[twice[0].0].lock, &parts[twice[1].0].lock);
            let message = format!(
                "lock {:?} is asked for twice, as {} and as {}: one of them would wait for the other",
                first.name(),
                first.kind(),
                second.kind()
            );
            return Err(invalid_input(message));
        }
        let order = keys.into_iter().map(|(position, _)| position).collect();
        Ok(Self { parts, order })
    }

    /// Waits until all are had, for ever.
    ///
    /// # Errors
    ///
    /// Those of [`acquire_with`](Self::acquire_with).
    ///
    /// # Cancel safety
    ///
    /// That of [`acquire_with`](Self::acquire_with).
    pub async fn acquire(&self) -> Result<SetGuard> {
        self.acquire_with(&AcquireOptions::new()).await?.ok_or_else(|| {
            Error::new(crate::ErrorKind::Backend, "a wait without limit ended without the locks")
        })
    }

    /// Takes all if each is free now.
    ///
    /// # Errors
    ///
    /// Those of [`acquire_with`](Self::acquire_with).
    ///
    /// # Cancel safety
    ///
    /// That of [`acquire_with`](Self::acquire_with).
    pub async fn try_acquire(&self) -> Result<Option<SetGuard>> {
        self.acquire_with(&AcquireOptions::new().with_wait(Wait::Never)).await
    }

    /// Waits until all are had, at most for `timeout`, however many they are.
    ///
    /// # Errors
    ///
    /// Those of [`acquire_with`](Self::acquire_with).
    ///
    /// # Cancel safety
    ///
    /// That of [`acquire_with`](Self::acquire_with).
    pub async fn acquire_timeout(&self, timeout: std::time::Duration) -> Result<Option<SetGuard>> {
        self.acquire_with(&AcquireOptions::new().with_wait(Wait::For(timeout))).await
    }

    /// Waits for all as the options say; `None` if one of them was not had in time: then none is held. The limit of the wait is one for
    /// all. A try asks one lock after another, and each has its connect timeout.
    ///
    /// Those that are held are lost with their session like any other. If that happens while others are waited for, all are given
    /// back, and the wait begins anew, behind all others, unless the options say not to [queue again](AcquireOptions::requeue).
    ///
    /// # Errors
    ///
    /// Those of [`DistributedLock::acquire_with`], which also ends early when somebody removes the entry of a lock that is held already;
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the options ask for permits, which belong to each lock of the set.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives back what is held and leaves all queues.
    pub async fn acquire_with(&self, options: &AcquireOptions) -> Result<Option<SetGuard>> {
        if options.permits != 1 {
            return Err(invalid_input(
                "permits are asked for with each lock of a set: (&semaphore, permits)",
            ));
        }
        let deadline = match options.wait {
            Wait::For(limit) if !limit.is_zero() => Instant::now().checked_add(limit),
            Wait::For(_) | Wait::Forever | Wait::Never => None,
        };
        loop {
            let loss = match self.go(options, deadline).await? {
                Go::Had(guard) => return Ok(Some(guard)),
                Go::NotInTime => return Ok(None),
                Go::Lost(loss) => loss,
            };
            let waits = deadline.is_some() || options.wait == Wait::Forever;
            if !waits || !options.requeue || matches!(loss, Loss::Removed | Loss::Closed) {
                return Err(Error::lost(loss));
            }
            tracing::debug!(%loss, "lock lost while others were waited for: taking all of them anew");
        }
    }

    /// Takes one after another.
    async fn go(&self, options: &AcquireOptions, deadline: Option<Instant>) -> Result<Go> {
        let mut held = Held::default();
        for position in &self.order {
            let LockPart { lock, permits } = &self.parts[*position];
            let mut options = options.clone().with_permits(*permits);
            if let Some(deadline) = deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(Go::NotInTime);
                }
                options.wait = Wait::For(left);
            }
            let acquired = tokio::select! {
                biased;
                loss = held.lost(), if !held.0.is_empty() => return Ok(Go::Lost(loss)),
                acquired = lock.acquire_with(&options) => acquired?,
            };
            match acquired {
                Some(guard) => held.0.push(guard),
                None => return Ok(Go::NotInTime),
            }
        }
        Ok(held.loss().map_or_else(|| Go::Had(SetGuard { given: self.given(), held }), Go::Lost))
    }

    /// For each lock, as they were given, which in the order of taking it is.
    fn given(&self) -> Vec<usize> {
        let mut given = vec![0; self.order.len()];
        for (taken, position) in self.order.iter().enumerate() {
            given[*position] = taken;
        }
        given
    }
}

/// What is held, in the order in which it was taken.
#[derive(Debug, Default)]
struct Held(Vec<LockGuard>);

impl Held {
    fn loss(&self) -> Option<Loss> {
        self.0.iter().find_map(|guard| guard.loss_signal().loss())
    }

    /// The first loss. Never returns if nothing is held.
    async fn lost(&self) -> Loss {
        if self.0.is_empty() {
            std::future::pending::<()>().await;
        }
        select_all(self.0.iter().map(|guard| Box::pin(guard.lost()))).await.0
    }
}

impl Drop for Held {
    /// In reverse.
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

/// Several held locks. It is lost when any of them is. Dropping it gives all back in the background, in the reverse of the order in
/// which they were taken.
#[must_use = "the locks are given back as soon as their guard is dropped"]
#[derive(Debug)]
#[clippy::has_significant_drop]
pub struct SetGuard {
    held: Held,
    /// For each lock, as they were given, which in the order of taking it is.
    given: Vec<usize>,
}

impl SetGuard {
    /// The guard of each lock, in the order in which they were given.
    pub fn guards(&self) -> impl ExactSizeIterator<Item = &LockGuard> {
        self.given.iter().map(|taken| &self.held.0[*taken])
    }

    /// The token of each lock, in the order in which they were given. Tokens of different locks have nothing to do with each other.
    pub fn fencing_tokens(&self) -> Vec<FencingToken> {
        self.guards().map(LockGuard::fencing_token).collect()
    }

    /// Whether all are still held, computed at the call.
    pub fn is_valid(&self) -> bool {
        self.held.loss().is_none()
    }

    /// Until when all are sure to be held if nothing more is heard; `None` if there is no such limit.
    pub fn deadline(&self) -> Option<Instant> {
        self.held.0.iter().filter_map(LockGuard::deadline).min()
    }

    /// Returns when any of the locks is lost.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again.
    pub async fn lost(&self) -> Loss {
        self.held.lost().await
    }

    /// Returns when any of the locks is [at risk](LockGuard::at_risk).
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again.
    pub async fn at_risk(&self) {
        select_all(self.held.0.iter().map(|guard| Box::pin(guard.at_risk()))).await;
    }

    /// Asks the servers whether all are still held.
    ///
    /// # Errors
    ///
    /// Those of [`LockGuard::verify`], for the first lock that is not.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop.
    pub async fn verify(&self) -> Result<()> {
        for guard in &self.held.0 {
            guard.verify().await?;
        }
        Ok(())
    }

    /// Runs a future as long as all are held: it is dropped when any is lost.
    ///
    /// # Errors
    ///
    /// Those of [`LockGuard::protect`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future; the guard is not touched.
    pub async fn protect<F: Future>(&self, future: F) -> Result<F::Output> {
        protected(future, self.lost(), || self.held.loss()).await.map_err(Error::lost)
    }

    /// Gives all back, in the reverse of the order in which they were taken, and says whether all were held without a gap until their
    /// turn came.
    ///
    /// # Errors
    ///
    /// Those of [`LockGuard::release`], for the first that failed; the others are given back all the same.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the rest is given back in the background.
    pub async fn release(mut self) -> Result<Released> {
        let mut outcome = Ok(Released::Held);
        while let Some(guard) = self.held.0.pop() {
            let released = guard.release().await;
            if matches!(outcome, Ok(Released::Held)) {
                outcome = released;
            }
        }
        outcome
    }
}
