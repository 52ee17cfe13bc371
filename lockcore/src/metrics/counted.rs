//! Counts the operations that a session is asked for.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;

use crate::backend::{Enqueued, QueueSession, Removed};
use crate::entry::{Entry, EntryId, FencingToken, LockKey};
use crate::error::Result;
use crate::metrics::Counting;
use crate::queue::Standing;
use crate::record::Recorded;
use crate::session::Lease;
use crate::snapshot::{EntryDetails, Revision, Snapshot};

/// The same session, whose operations are counted.
pub(crate) fn counted(session: Arc<dyn QueueSession>, counting: &Counting) -> Arc<dyn QueueSession> {
    Arc::new(Counted { session, counting: counting.clone() })
}

#[derive(Debug)]
struct Counted {
    session: Arc<dyn QueueSession>,
    counting: Counting,
}

impl Counted {
    async fn count<T>(&self, operation: &'static str, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = answer.await;
        self.counting.request(operation, answer.is_ok());
        answer
    }
}

#[async_trait]
impl QueueSession for Counted {
    fn lease(&self) -> &Lease {
        self.session.lease()
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        self.count("enqueue", self.session.enqueue(lock, entry)).await
    }

    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        self.count("list", self.session.list(lock)).await
    }

    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        self.count("look", self.session.look(lock, id)).await
    }

    async fn watch(
        &self,
        lock: &LockKey,
        waiter: &EntryId,
        ids: &[EntryId],
        since: Revision,
    ) -> Result<Option<Standing>> {
        self.count("watch", self.session.watch(lock, waiter, ids, since)).await
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        self.count("remove", self.session.remove(lock, id)).await
    }

    async fn evict(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        self.count("evict", self.session.evict(lock, id)).await
    }

    fn descriptor(&self, lock: &LockKey, id: &EntryId) -> Result<Option<OwnedFd>> {
        self.session.descriptor(lock, id)
    }

    async fn head_changed(&self, lock: &LockKey, head: Option<&EntryId>) -> Result<()> {
        self.session.head_changed(lock, head).await
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        self.count("describe", self.session.describe(lock)).await
    }

    async fn record(&self, lock: &LockKey) -> Result<Recorded> {
        self.count("record", self.session.record(lock)).await
    }

    async fn set_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        self.count("set_record", self.session.set_record(lock, token, text)).await
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        self.count("names", self.session.names()).await
    }

    async fn cleanup(&self) -> Result<u64> {
        self.count("cleanup", self.session.cleanup()).await
    }

    async fn close(&self) -> Result<()> {
        self.count("close", self.session.close()).await
    }
}
