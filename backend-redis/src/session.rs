//! The queue operations of one session.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt, TryStreamExt};
use lockcore::queue::{Standing, standing};
use lockcore::session::{Lease, Loss};
use lockcore::{
    Effect, Enqueued, Entry, EntryDetails, EntryId, Error, ErrorKind, FencingToken, LockKey, QueueSession,
    Removed, Result, Revision, Snapshot,
};
use redis::{Script, ScriptInvocation};
use tokio::time::{Instant, sleep_until, timeout};

use crate::connection::{Connection, SCRIPTS};
use crate::entries::Entries;
use crate::layout::{Layout, Row, described, queued, written};
use crate::options::RedisOptions;

/// How long the counter of a lock outlives its last use. The server's clock keeps tokens rising afterwards.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How many requests of one operation are under way at once.
const AT_ONCE: usize = 64;

/// A session with Redis, which knows nothing of it: it is the entries that are renewed.
#[derive(Debug)]
pub(crate) struct RedisSession {
    shared: Arc<Shared>,
}

/// What a session shares with its tasks.
pub(crate) struct Shared {
    pub(crate) connection: Connection,
    pub(crate) lease: Lease,
    pub(crate) entries: Entries,
    id: EntryId,
    layout: Layout,
    session_timeout: Duration,
    connect_timeout: Duration,
    wait_replicas: u32,
    /// Whether the client library may repeat requests without our knowing.
    repeats: bool,
    removals: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        id: EntryId,
        connection: Connection,
        lease: Lease,
        repeats: bool,
        options: &RedisOptions,
    ) -> Self {
        Self {
            connection,
            lease,
            entries: Entries::default(),
            id,
            layout: Layout::new(&options.prefix),
            session_timeout: options.session_timeout,
            connect_timeout: options.connect_timeout,
            wait_replicas: options.wait_replicas,
            repeats,
            removals: AtomicU64::default(),
        }
    }

    fn call(&self, script: &'static Script, lock: &LockKey) -> ScriptInvocation<'static> {
        let mut call = script.prepare_invoke();
        call.key(&self.layout.keys(lock)).arg(self.layout.channels()).arg(self.id.as_str());
        call
    }

    async fn append(&self, lock: &LockKey, entry: &Entry) -> Result<(i64, Vec<Row>)> {
        let (letter, weight, limit) = written(entry.kind);
        let tombstone = self.layout.tombstone(lock, &entry.id);
        let mut call = self.call(&SCRIPTS.enqueue, lock);
        call.key(&tombstone).arg(entry.id.as_str()).arg(microseconds(self.session_timeout));
        call.arg(letter.to_string()).arg(weight).arg(limit).arg(&entry.label).arg(milliseconds(TOKEN_LIFE));
        match self.wait_replicas {
            0 => self.connection.run(&call).await,
            replicas => self.connection.run_replicated(&call, &tombstone, replicas).await,
        }
    }

    /// The rule, applied to what a script showed of the queue.
    fn standing(&self, id: &EntryId, (remaining, rows): &(i64, Vec<Row>)) -> Result<Standing> {
        let entries = rows.iter().map(queued).collect::<Result<Vec<_>>>()?;
        // A millisecond more, or rounding could bring us there too early.
        let recheck = u64::try_from(*remaining).ok().map(|left| Duration::from_millis(left + 1));
        let seen = self.entries.saw(id, recheck.map(|left| Instant::now() + left));
        Ok(standing(&entries, id, seen))
    }

    /// Renews these entries of one lock, and wakes those who sleep for one that is not there any more. How many dead
    /// ones were found.
    async fn renew(&self, lock: &LockKey, ids: &[EntryId]) -> Result<u64> {
        let mut call = self.call(&SCRIPTS.renew, lock);
        call.arg(microseconds(self.session_timeout)).arg(milliseconds(TOKEN_LIFE));
        ids.iter().for_each(|id| _ = call.arg(id.as_str()));
        let (dead, absent): (u64, Vec<String>) = self.connection.run(&call).await?;
        absent.iter().for_each(|id| self.entries.wake(&EntryId::from(&**id)));
        Ok(dead)
    }

    /// Renews everything; without entries, the hope that some could be made.
    pub(crate) async fn renew_all(&self) -> Result<()> {
        let sent = self.lease.now();
        let locks = self.entries.to_renew();
        if locks.is_empty() {
            self.connection.ask_any::<String>(redis::cmd("PING")).await?;
        }
        let renewals = stream::iter(locks).map(async |(lock, ids)| self.renew(&lock, &ids).await);
        renewals.buffer_unordered(AT_ONCE).try_for_each(async |_| Ok(())).await?;
        self.lease.renewed(sent);
        Ok(())
    }

    async fn rows(&self, lock: &LockKey) -> Result<Vec<Row>> {
        self.connection.run(&self.call(&SCRIPTS.list, lock)).await
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let unsure = self.entries.leaving(id) || self.repeats;
        let number = self.removals.fetch_add(1, Ordering::Relaxed);
        let mut call = self.call(&SCRIPTS.remove, lock);
        call.key(self.layout.tombstone(lock, id)).arg(id.as_str()).arg(number);
        // After this long an entry that comes late is nobody's, and goes after as long again.
        call.arg(if unsure { milliseconds(self.session_timeout) } else { 0 });
        let there: bool = self.connection.run(&call).await?;
        self.entries.forget(id);
        Ok(if there { Removed::Now } else { Removed::Absent })
    }

    async fn remove_all(&self) -> Result<()> {
        let entries = self.entries.all();
        let removals = stream::iter(entries).map(async |(lock, id)| self.remove(&lock, &id).await);
        removals.buffer_unordered(AT_ONCE).try_for_each(async |_| Ok(())).await
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        let keys = self.connection.scan(&self.layout.pattern()).await?;
        // A key may come more than once.
        let names: std::collections::BTreeSet<LockKey> =
            keys.iter().filter_map(|key| self.layout.lock(key)).collect();
        Ok(names.into_iter().collect())
    }
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
        shared.entries.asking(lock, &entry.id);
        let seen = shared.append(lock, entry).await;
        if seen.as_ref().err().is_none_or(|error| error.effect() == Effect::None) {
            shared.entries.answered(&entry.id);
        }
        let seen = seen?;
        let Some((_, ticket, _)) = seen.1.last() else {
            return Err(Error::new(ErrorKind::Backend, "Redis did not show the entry that it made"));
        };
        Ok(Enqueued { token: FencingToken::new(*ticket), standing: shared.standing(&entry.id, &seen)? })
    }

    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        let rows = self.alive()?.rows(lock).await?;
        let entries = rows.iter().map(queued).collect::<Result<Vec<_>>>()?;
        Ok(Snapshot { entries, revision: Revision::default() })
    }

    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        let shared = self.alive()?;
        let mut call = shared.call(&SCRIPTS.look, lock);
        call.arg(id.as_str());
        let standing = shared.standing(id, &shared.connection.run(&call).await?)?;
        if standing == Standing::Absent {
            shared.entries.forget(id);
        }
        Ok(standing)
    }

    async fn watch(&self, _lock: &LockKey, ids: &[EntryId], since: Revision) -> Result<()> {
        let Some((woken, recheck)) = self.alive()?.entries.sleeper(ids, since) else { return Ok(()) };
        tokio::select! {
            () = woken.notified() => {}
            () = sleep_until(recheck.unwrap_or_else(Instant::now)), if recheck.is_some() => {}
        }
        Ok(())
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        self.alive()?.remove(lock, id).await
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        self.alive()?.rows(lock).await?.iter().map(described).collect()
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        self.alive()?.names().await
    }

    async fn cleanup(&self) -> Result<u64> {
        let shared = self.alive()?;
        let names = shared.names().await?;
        let renewals = stream::iter(names).map(async |lock| shared.renew(&lock, &[]).await);
        renewals.buffer_unordered(AT_ONCE).try_fold(0, async |sum, dead| Ok(sum + dead.min(1))).await
    }

    async fn close(&self) -> Result<()> {
        self.shared.lease.end(Loss::Closed);
        timeout(self.shared.connect_timeout, self.shared.remove_all()).await.unwrap_or_else(|_| {
            let message = "Redis could not be told of the end of the session, whose entries will expire";
            Err(Error::new(ErrorKind::Unreachable, message))
        })
    }
}

impl Drop for RedisSession {
    fn drop(&mut self) {
        // Ends the tasks.
        self.shared.lease.end(Loss::Closed);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("id", &self.id)
            .field("lease", &self.lease)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
