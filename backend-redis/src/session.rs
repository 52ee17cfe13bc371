//! A session, and what the core asks of it.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, StreamExt, TryStreamExt};
use lockcore::queue::Standing;
use lockcore::session::{Lease, Loss};
use lockcore::{
    Effect, Enqueued, Entry, EntryDetails, EntryId, Error, ErrorKind, FencingToken, LockKey, QueueSession,
    Recorded, Removed, Result, Revision, Snapshot, watches_held,
};
use tokio::time::{Instant, sleep_until, timeout};

use crate::layout::{described, queued, record};
use crate::own_entries::Written;
use crate::queue::{AT_ONCE, Shared, milliseconds};

/// A session with Redis, which knows nothing of it but a mark: it is the entries that are renewed.
#[derive(Debug)]
pub(crate) struct RedisSession {
    shared: Arc<Shared>,
}

impl RedisSession {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What the session shares, unless it is lost.
    fn alive(&self) -> Result<&Shared> {
        match self.shared.lease.loss() {
            Some(loss) => Err(Error::lost(loss)),
            None => Ok(&self.shared),
        }
    }
}

#[async_trait]
impl QueueSession for RedisSession {
    fn lease(&self) -> &Lease {
        &self.shared.lease
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        let shared = self.alive()?;
        let record = record(entry, milliseconds(shared.session_timeout), &shared.id);
        let written = Arc::new(Written { key: shared.layout.key(lock), record });
        let missed = shared.entries.asking(lock, entry, &written);
        let seen = match shared.append(lock, entry, &written).await {
            Err(error) if error.effect() == Effect::None => {
                shared.entries.not_executed(&entry.id);
                return Err(error);
            }
            seen => seen?,
        };
        let ticket = u64::try_from(seen.ticket).unwrap_or_default();
        if !shared.entries.made(&entry.id, ticket, missed) {
            return Err(Error::new(ErrorKind::Unreachable, "the entry was not renewed while it was made"));
        }
        let standing = shared.standing(&entry.id, entry.kind, &seen);
        Ok(Enqueued { token: FencingToken::new(ticket), standing })
    }

    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        let rows = self.alive()?.rows(lock).await?;
        let entries = rows.iter().filter_map(queued).collect();
        Ok(Snapshot { entries, revision: Revision::default() })
    }

    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        let shared = self.alive()?;
        match shared.entries.known(id) {
            Some(known) if !known.refused => shared.look(lock, id, &known).await,
            Some(_) | None => Ok(Standing::Absent),
        }
    }

    async fn watch(
        &self,
        _lock: &LockKey,
        waiter: &EntryId,
        ids: &[EntryId],
        _since: Revision,
    ) -> Result<Option<Standing>> {
        let shared = self.alive()?;
        let Some((woken, recheck)) = shared.entries.sleeper(waiter, ids) else { return Ok(None) };
        tokio::select! {
            () = woken.notified() => {}
            () = sleep_until(recheck.unwrap_or_else(Instant::now)), if recheck.is_some() => {}
        }
        // What was told of one that holds may be older than its end.
        let held = watches_held(waiter, ids);
        Ok(if held { None } else { shared.entries.told(waiter) })
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        self.alive()?.remove(lock, id).await
    }

    async fn evict(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        self.alive()?.evict(lock, id).await
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        Ok(self.alive()?.rows(lock).await?.iter().filter_map(described).collect())
    }

    async fn record(&self, lock: &LockKey) -> Result<Recorded> {
        self.alive()?.record(lock).await
    }

    async fn set_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        self.alive()?.set_record(lock, token, text).await
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        self.alive()?.names().await
    }

    async fn cleanup(&self) -> Result<u64> {
        let shared = self.alive()?;
        let names = shared.names().await?;
        let renewals = stream::iter(names).map(async |lock| shared.renew(&[(lock, Vec::new())]).await);
        let swept = renewals.buffer_unordered(AT_ONCE).map_ok(|locks| locks.into_iter().flatten());
        swept.try_fold(0, async |sum, locks| Ok(sum + locks.map(|(dead, _)| dead.min(1)).sum::<u64>())).await
    }

    async fn close(&self) -> Result<()> {
        self.shared.lease.end(Loss::Closed);
        timeout(self.shared.connect_timeout, self.shared.remove_all()).await.unwrap_or_else(|_| {
            // Its entries will expire.
            Err(self.shared.servers.silent("end of the session"))
        })
    }
}

impl Drop for RedisSession {
    fn drop(&mut self) {
        // Ends the tasks.
        self.shared.lease.end(Loss::Closed);
    }
}
