//! A session of a client with the server.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, Ready, ready};
use lockcore::queue::Standing;
use lockcore::session::{Clock, Lease};
use lockcore::{
    Enqueued, Entry, EntryDetails, EntryId, Error, FencingToken, LockKey, Loss, QueueSession, Record,
    Recorded, Removed, Result, Revision, Snapshot, watches_held,
};
use tokio::sync::{mpsc, oneshot};

use crate::link::Link;
use crate::server::Memory;

/// What the hooks of the client need of a session.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) memory: Memory,
    pub(crate) number: u64,
    pub(crate) lease: Lease,
    pub(crate) closed: AtomicBool,
}

impl Drop for Shared {
    /// The process is gone.
    fn drop(&mut self) {
        self.memory.end_session(self.number);
    }
}

pub(crate) struct Session {
    shared: Arc<Shared>,
    link: Arc<Link>,
    /// Requests that are under way or held up, in order; later ones must not overtake them.
    requests: mpsc::UnboundedSender<BoxFuture<'static, ()>>,
    under_way: Arc<AtomicUsize>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("number", &self.shared.number).finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn open(memory: Memory, link: Arc<Link>) -> (Self, Arc<Shared>) {
        let clock = Clock::tokio();
        let lease = Lease::new(clock, None, clock.now());
        let number = memory.open_session();
        let shared = Arc::new(Shared { memory, number, lease, closed: AtomicBool::new(false) });
        let (requests, mut queue) = mpsc::unbounded_channel::<BoxFuture<'static, ()>>();
        tokio::spawn(async move {
            while let Some(request) = queue.recv().await {
                request.await;
            }
        });
        (Self { shared: shared.clone(), link, requests, under_way: Arc::default() }, shared)
    }

    /// Asks the server: at once while nothing goes wrong, else in order behind the requests under way. Once asked,
    /// it happens even if the caller is gone.
    fn request<T: Send + 'static>(
        &self,
        request: impl FnOnce(&Memory) -> Result<T> + Send + 'static,
    ) -> Either<Ready<Result<T>>, BoxFuture<'static, Result<T>>> {
        let answered = |answer| Either::Left(ready(answer));
        if self.shared.closed.load(Ordering::Acquire) {
            return answered(Err(Error::lost(self.shared.lease.loss().unwrap_or(Loss::Closed))));
        }
        if self.link.is_healthy() && self.under_way.load(Ordering::Acquire) == 0 {
            return answered(request(&self.shared.memory));
        }
        let (sender, reply) = oneshot::channel();
        let (link, under_way, shared) = (self.link.clone(), self.under_way.clone(), self.shared.clone());
        self.under_way.fetch_add(1, Ordering::AcqRel);
        let carried = async move {
            let result = link.carry(|| request(&shared.memory)).await;
            under_way.fetch_sub(1, Ordering::AcqRel);
            // The caller may be gone.
            let _ = sender.send(result);
        };
        // If nobody carries it, there is no reply.
        let _ = self.requests.send(carried.boxed());
        Either::Right(reply.map(|reply| reply.unwrap_or_else(|_| Err(Error::lost(Loss::Closed)))).boxed())
    }
}

#[async_trait]
impl QueueSession for Session {
    fn lease(&self) -> &Lease {
        &self.shared.lease
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        let (number, lock, entry) = (self.shared.number, lock.clone(), entry.clone());
        self.request(move |memory| memory.enqueue(number, lock, entry)).await
    }

    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        let lock = lock.clone();
        let entries = self.request(move |memory| Ok(memory.list(&lock))).await?;
        Ok(Snapshot { entries, revision: Revision::default() })
    }

    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        let (lock, id) = (lock.clone(), id.clone());
        self.request(move |memory| Ok(memory.standing(&lock, &id))).await
    }

    async fn watch(
        &self,
        lock: &LockKey,
        waiter: &EntryId,
        ids: &[EntryId],
        _since: Revision,
    ) -> Result<Option<Standing>> {
        let holds = watches_held(waiter, ids);
        let told = match self.shared.memory.watch(lock, waiter, holds) {
            // Another watch may have taken the place of this one.
            Ok(told) => told.await.ok(),
            Err(standing) => Some(standing),
        };
        if self.link.is_healthy() {
            return Ok(told);
        }
        // Whatever was true then: whoever hears of it late looks again.
        self.link.wake_up().await;
        Ok(None)
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let (lock, id) = (lock.clone(), id.clone());
        self.request(move |memory| Ok(memory.remove(lock, &id))).await
    }

    async fn evict(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        self.remove(lock, id).await
    }

    async fn head_changed(&self, lock: &LockKey, head: Option<&EntryId>) -> Result<()> {
        self.shared.memory.head_changed(lock, head).await;
        if !self.link.is_healthy() {
            self.link.wake_up().await;
        }
        Ok(())
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        let lock = lock.clone();
        self.request(move |memory| Ok(memory.describe(&lock))).await
    }

    async fn record(&self, lock: &LockKey) -> Result<Recorded> {
        let lock = lock.clone();
        self.request(move |memory| Ok(memory.record(&lock))).await
    }

    async fn set_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        let (lock, record) = (lock.clone(), Record { token, text: text.to_owned() });
        self.request(move |memory| Ok(memory.set_record(lock, record))).await
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        self.request(|memory| Ok(memory.names())).await
    }

    /// Unused locks leave nothing behind.
    async fn cleanup(&self) -> Result<u64> {
        self.request(|_| Ok(0)).await
    }

    async fn close(&self) -> Result<()> {
        self.shared.closed.store(true, Ordering::Release);
        if self.link.is_connected() {
            self.shared.memory.end_session(self.shared.number);
        }
        // Otherwise the server learns of it when the connection is back, or expires the session.
        Ok(())
    }
}
