//! The queue operations of one session.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt, TryStreamExt};
use lockcore::queue::Standing;
use lockcore::session::{Lease, Loss};
use lockcore::{
    Effect, Enqueued, Entry, EntryDetails, EntryId, EntryKind, Error, ErrorKind, FencingToken, LockKey,
    QueueSession, Recorded, Removed, Result, Revision, Snapshot, watches_held,
};
use redis::{ToRedisArgs, cmd};
use tokio::time::{Instant, sleep_until, timeout};

use crate::connection::{Connection, Purpose};
use crate::entries::{Entries, Known, Leaving, Written};
use crate::error::is_overwritten;
use crate::layout::{Layout, Row, described, life, queued, record};
use crate::options::RedisOptions;
use crate::scripts::{Call, SCRIPTS, Script};
use crate::seen::Seen;
use crate::servers::Servers;

/// How many requests of one operation are under way at once.
pub(crate) const AT_ONCE: usize = 64;

/// How many entries one script lists.
const PAGE: usize = 256;

/// A session with Redis, which knows nothing of it but a mark: it is the entries that are renewed.
#[derive(Debug)]
pub(crate) struct RedisSession {
    shared: Arc<Shared>,
}

/// What a session shares with its tasks.
pub(crate) struct Shared {
    pub(crate) servers: Arc<Servers>,
    pub(crate) connection: Connection,
    /// On which entries are made that replicas have to confirm: a connection stands still meanwhile.
    replicated: Connection,
    pub(crate) lease: Lease,
    pub(crate) entries: Entries,
    id: EntryId,
    pub(crate) layout: Layout,
    session_timeout: Duration,
    connect_timeout: Duration,
    wait_replicas: u32,
}

impl Shared {
    pub(crate) fn new(
        id: EntryId,
        connection: Connection,
        servers: Arc<Servers>,
        lease: Lease,
        options: &RedisOptions,
    ) -> Self {
        Self {
            connection,
            replicated: Connection::new(servers.clone(), options.patience()),
            servers,
            lease,
            entries: Entries::default(),
            id,
            layout: Layout::new(&options.prefix),
            session_timeout: options.session_timeout,
            connect_timeout: options.connect_timeout,
            wait_replicas: options.wait_replicas,
        }
    }

    pub(crate) fn call(&self, script: &'static Script, keys: &[impl ToRedisArgs]) -> Call {
        let mut call = script.on(keys);
        call.arg(self.layout.sessions()).arg(self.id.as_str());
        call
    }

    async fn append(&self, lock: &LockKey, entry: &Entry, Written { key, record }: &Written) -> Result<Seen> {
        let purpose = Purpose { operation: "enqueue", lock: Some(lock) };
        let mut call = self.call(&SCRIPTS.enqueue, &[key]);
        call.arg(entry.id.as_str()).arg(entry.kind.weight()).arg(entry.kind.limit());
        call.arg(milliseconds(self.session_timeout)).arg(record);
        match self.wait_replicas {
            0 => self.connection.run(purpose, &call).await,
            replicas => self.replicated.run_replicated(purpose, &call, key, replicas).await,
        }
    }

    fn standing(&self, id: &EntryId, kind: EntryKind, seen: &Seen) -> Standing {
        self.entries.saw(id, seen.recheck().map(|left| Instant::now() + left));
        seen.standing(id, kind)
    }

    async fn look(&self, lock: &LockKey, id: &EntryId, known: &Known) -> Result<Standing> {
        let purpose = Purpose { operation: "look", lock: Some(lock) };
        let mut call = self.call(&SCRIPTS.look, &[self.layout.key(lock)]);
        call.arg(id.as_str()).arg(known.ticket);
        let seen: Seen = match self.connection.run(purpose, &call).await {
            Err(error) if is_overwritten(&error) => return Ok(Standing::Absent),
            seen => seen?,
        };
        match seen.ticket {
            1.. => Ok(self.standing(id, known.kind, &seen)),
            ticket if self.is_gone(ticket < 0).await? => {
                self.lease.end(Loss::Expired);
                Err(Error::lost(Loss::Expired))
            }
            _ => Ok(Standing::Absent),
        }
    }

    /// Whether the server has lost the whole session, and not only an entry of it. In a cluster no node can say that for all
    /// others; there it is so when the entry is gone with everything else of its lock.
    async fn is_gone(&self, with_its_lock: bool) -> Result<bool> {
        if self.servers.are_cluster() { Ok(with_its_lock) } else { Ok(!self.mark(false).await?) }
    }

    /// Leaves the mark of the session.
    pub(crate) async fn begin(&self) -> Result<()> {
        if self.servers.are_cluster() { Ok(()) } else { self.mark(true).await.map(drop) }
    }

    /// Makes the mark of the session, or renews it. Whether it is there.
    pub(crate) async fn mark(&self, make: bool) -> Result<bool> {
        let mut call = SCRIPTS.mark.on(&[format!("{}{}", self.layout.sessions(), self.id)]);
        // It may go no sooner than the entries.
        call.arg(2 * milliseconds(self.session_timeout)).arg(u8::from(make));
        self.connection.run(Purpose { operation: "session", lock: None }, &call).await
    }

    /// The whole queue, read in parts: entries only leave, or come at the end.
    async fn rows(&self, lock: &LockKey) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut from = 0;
        loop {
            let mut call = self.call(&SCRIPTS.list, &[self.layout.key(lock)]);
            call.arg(from).arg(PAGE);
            let purpose = Purpose { operation: "list", lock: Some(lock) };
            let (part, next): (Vec<Row>, u64) = self.connection.run(purpose, &call).await?;
            rows.extend(part);
            match next {
                0 => return Ok(rows),
                next => from = next,
            }
        }
    }

    fn removal(&self, script: &'static Script, key: &str, id: &EntryId, ticket: u64, lease: u64) -> Call {
        let mut call = self.call(script, &[key]);
        call.arg(id.as_str()).arg(ticket).arg(lease);
        call
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        // After a session an entry that comes late is nobody's, and goes after as long again.
        let lease = milliseconds(self.session_timeout);
        let call = match self.entries.leaving(id) {
            None => self.removal(&SCRIPTS.remove, &self.layout.key(lock), id, 0, lease),
            Some(Leaving { ticket, written, kind, unsure }) => {
                let script = if unsure { &SCRIPTS.remove_unmade } else { &SCRIPTS.remove };
                let mut call = self.removal(script, &written.key, id, ticket, lease);
                if ticket != 0 {
                    call.arg(&written.record).arg(life(id, ticket, kind, lease, &self.id));
                }
                call
            }
        };
        let removed = self.connection.run(Purpose { operation: "removal", lock: Some(lock) }, &call).await;
        let there = match removed {
            Err(error) if is_overwritten(&error) => false,
            there => there?,
        };
        self.entries.forget(id);
        Ok(if there { Removed::Now } else { Removed::Absent })
    }

    async fn remove_all(&self) -> Result<()> {
        let entries = self.entries.all();
        let removals = stream::iter(entries).map(async |(lock, id)| self.remove(&lock, &id).await);
        let results: Vec<_> = removals.buffer_unordered(AT_ONCE).collect().await;
        results.into_iter().try_for_each(|removed| removed.map(drop))
    }

    /// The locks in which somebody stands.
    async fn names(&self) -> Result<Vec<LockKey>> {
        let keys = self.connection.scan(&self.layout.pattern()).await?;
        // A key may come more than once.
        let locks: std::collections::BTreeSet<LockKey> =
            keys.iter().filter_map(|key| self.layout.lock(key)).collect();
        let in_use = stream::iter(locks).map(async |lock| {
            let mut count = cmd("ZCOUNT");
            count.arg(self.layout.key(&lock)).arg("-inf").arg("(0");
            let purpose = Purpose { operation: "names", lock: Some(&lock) };
            match self.connection.ask::<u64>(purpose, &count).await {
                Ok(count) => Ok((count > 0).then_some(lock)),
                Err(error) if is_overwritten(&error) => Ok(None),
                Err(error) => Err(error),
            }
        });
        in_use.buffered(AT_ONCE).try_filter_map(async |lock| Ok(lock)).try_collect().await
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

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("id", &self.id)
            .field("lease", &self.lease)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}
