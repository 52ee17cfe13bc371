//! A session, and what the core asks of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use lockcore::queue::Standing;
use lockcore::session::{Clock, Lease, keep_alive};
use lockcore::{
    Enqueued, Entry, EntryDetails, EntryId, Error, FencingToken, LockKey, Loss, QueueSession, Record,
    Recorded, Removed, Result, Revision, Snapshot,
};

use crate::keep_alive::Renewals;
use crate::server::Server;

/// One session with the server.
#[derive(Debug)]
pub(crate) struct TemplateSession {
    server: Arc<Server>,
    number: u64,
    lease: Lease,
}

impl TemplateSession {
    /// Opens a session that lives for so long after a renewal, and keeps it alive.
    pub(crate) fn open(server: Arc<Server>, lives: Duration) -> Self {
        // Before anything is sent: the server may count from any moment after this.
        let sent = Clock::Boot.now();
        let number = server.open_session(lives);
        let lease = Lease::new(Clock::Boot, Some(lives), sent);
        let (kept, mut renewals) =
            (lease.clone(), Renewals { server: server.clone(), session: number, lives });
        tokio::spawn(async move { keep_alive(&kept, &mut renewals).await });
        Self { server, number, lease }
    }

    /// The server, unless the session is lost.
    fn server(&self) -> Result<&Server> {
        match self.lease.loss() {
            Some(loss) => Err(Error::lost(loss)),
            None => Ok(&self.server),
        }
    }
}

#[async_trait]
impl QueueSession for TemplateSession {
    fn lease(&self) -> &Lease {
        &self.lease
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        let appended = self.server()?.append(self.number, lock, entry);
        let (token, standing) = appended.ok_or_else(|| {
            self.lease.end(Loss::Expired);
            Error::lost(Loss::Expired)
        })?;
        Ok(Enqueued { token, standing })
    }

    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        Ok(Snapshot { entries: self.server()?.queue(lock), revision: Revision::default() })
    }

    async fn watch(
        &self,
        lock: &LockKey,
        _waiter: &EntryId,
        ids: &[EntryId],
        _since: Revision,
    ) -> Result<Option<Standing>> {
        self.server()?.departure(lock, ids).await;
        Ok(None)
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        Ok(Removed::from(self.server()?.remove(lock, id)))
    }

    async fn evict(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        self.remove(lock, id).await
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        Ok(self.server()?.details(lock))
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        Ok(self.server()?.names().into_iter().collect())
    }

    async fn record(&self, lock: &LockKey) -> Result<Recorded> {
        Ok(Recorded { record: self.server()?.record(lock), now: SystemTime::now() })
    }

    async fn set_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        Ok(self.server()?.set_record(lock, Record { token, text: text.to_owned() }))
    }

    /// Nothing is left of a queue without entries.
    async fn cleanup(&self) -> Result<u64> {
        self.server().map(|_| 0)
    }

    async fn close(&self) -> Result<()> {
        self.lease.end(Loss::Closed);
        self.server.end_session(self.number);
        Ok(())
    }
}

impl Drop for TemplateSession {
    /// Nothing renews it any more, so it expires.
    fn drop(&mut self) {
        self.lease.end(Loss::Closed);
    }
}
