//! What a trial works with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lockcore::{
    AcquireOptions, DistributedLock, EntryId, EntryKind, Error, ErrorKind, LockGuard, LockKey, LockName,
    LockService, QueueEntry, Result,
};
use tokio::task::JoinHandle;

use crate::failure::{Failure, Verdict};
use crate::fixture::{Client, Fixture, Network};

/// The service under test, and a lock name of the trial's own.
#[derive(Debug, Clone)]
pub struct Context {
    fixture: Arc<dyn Fixture>,
    name: String,
    clients: Arc<AtomicU32>,
}

/// An acquisition that goes on by itself.
pub(crate) type Waiting = JoinHandle<Result<Option<LockGuard>>>;

impl Context {
    pub(crate) fn new(fixture: Arc<dyn Fixture>, trial: &str) -> Self {
        // A service that outlives the run must not bring two runs together.
        let name = format!("{trial}/{}", EntryId::random());
        Self { fixture, name, clients: Arc::default() }
    }

    pub(crate) fn fixture(&self) -> &dyn Fixture {
        &*self.fixture
    }

    /// A lock name that no other trial uses.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Another client.
    pub(crate) async fn client(&self) -> Result<Party> {
        let Client { locks, network } = self.fixture.client().await?;
        let label = format!("client-{}", self.clients.fetch_add(1, Ordering::Relaxed));
        Ok(Party { locks, network, label })
    }

    /// Two other clients: a pair to contend.
    pub(crate) async fn pair(&self) -> Result<(Party, Party)> {
        Ok((self.client().await?, self.client().await?))
    }

    /// How long something may take that has to wait for a session to end.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(20) + 4 * self.fixture.session_timeout()
    }

    /// How long a hand-over may take at most: less than the interval at which the core looks again by itself, so
    /// that a lost wake-up is seen.
    pub(crate) const PROMPT: Duration = Duration::from_secs(15);

    /// Waits until the condition is true.
    #[expect(clippy::future_not_send, reason = "trials stay on the thread that blocks on them")]
    pub(crate) async fn until(&self, what: &str, condition: impl AsyncFn() -> Result<bool>) -> Verdict {
        let wait = async {
            // Until a broken network is mended, questions may fail.
            while !condition().await.unwrap_or(false) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(self.patience(), wait).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Failure::new(format!("never happened: {what}"))),
        }
    }

    /// Waits until the queue of the lock is as wanted.
    #[expect(clippy::future_not_send, reason = "trials stay on the thread that blocks on them")]
    pub(crate) async fn until_queue(
        &self,
        lock: &dyn DistributedLock,
        what: &str,
        wanted: impl Fn(&[QueueEntry]) -> bool,
    ) -> Verdict {
        self.until(what, async || Ok(wanted(&lock.queue().await?))).await
    }

    /// Waits until nobody is in the queue.
    pub(crate) async fn until_empty(&self, lock: &dyn DistributedLock) -> Verdict {
        self.until_queue(lock, "the queue is empty", |queue| queue.is_empty()).await
    }

    /// The result of an acquisition that went on by itself, in reasonable time.
    pub(crate) async fn finished(&self, waiting: Waiting) -> Result<Option<LockGuard>, Failure> {
        match tokio::time::timeout(self.patience(), waiting).await {
            Ok(result) => Ok(result??),
            Err(_) => Err(Failure::new("the acquisition hangs")),
        }
    }

    /// The guard of an acquisition whose turn it is.
    pub(crate) async fn granted(&self, waiting: Waiting) -> Result<LockGuard, Failure> {
        match tokio::time::timeout(Self::PROMPT, self.granted_in_the_end(waiting)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new("it is its turn, but nobody wakes the waiter")),
        }
    }

    /// The guard of an acquisition whose turn comes when a session ends.
    pub(crate) async fn granted_in_the_end(&self, waiting: Waiting) -> Result<LockGuard, Failure> {
        self.finished(waiting).await?.ok_or_else(|| Failure::new("the acquisition ended without the lock"))
    }

    /// The queue in which entries of this kind stand.
    pub(crate) fn key(&self, kind: EntryKind) -> Result<LockKey> {
        Ok(LockKey { family: kind.family(), name: LockName::new(&self.name)? })
    }

    /// Puts an acquisition into the queue, behind `ahead` others, and returns when it is seen there.
    pub(crate) async fn enqueue(
        &self,
        lock: &Arc<dyn DistributedLock>,
        options: AcquireOptions,
        ahead: usize,
    ) -> Result<Waiting, Failure> {
        self.enqueue_unanswered(lock, options, lock, ahead).await
    }

    /// Like [`enqueue`](Self::enqueue) for a client that may hear no answer; `eyes` see the queue.
    pub(crate) async fn enqueue_unanswered(
        &self,
        lock: &Arc<dyn DistributedLock>,
        options: AcquireOptions,
        eyes: &Arc<dyn DistributedLock>,
        ahead: usize,
    ) -> Result<Waiting, Failure> {
        let lock = lock.clone();
        let waiting = tokio::spawn(async move { lock.acquire_with(&options).await });
        let what = format!("{} entries in the queue", ahead + 1);
        self.until_queue(&**eyes, &what, |queue| queue.len() > ahead).await?;
        Ok(waiting)
    }
}

/// One client in a trial.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) locks: Arc<dyn LockService>,
    network: Option<Box<dyn Network>>,
    pub(crate) label: String,
}

impl Party {
    pub(crate) fn network(&self) -> Result<&dyn Network> {
        self.network.as_deref().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "the fixture says that it has a network, but its client has none",
            )
        })
    }

    /// Options with this client's label.
    pub(crate) fn options(&self) -> AcquireOptions {
        AcquireOptions::new().with_label(&self.label)
    }
}
