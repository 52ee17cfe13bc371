//! The requests to queues, as scripts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use lockcore::queue::Standing;
use lockcore::session::{Lease, Loss};
use lockcore::{Entry, EntryId, EntryKind, Error, LockKey, Removed, Result};
use redis::{ToRedisArgs, cmd};
use tokio::time::Instant;

use crate::connection::{Connection, Purpose};
use crate::error::is_overwritten;
use crate::layout::{Layout, Row, life};
use crate::options::RedisOptions;
use crate::own_entries::{Known, Leaving, OwnEntries, Written};
use crate::scripts::{Call, SCRIPTS, Script};
use crate::seen::Seen;
use crate::servers::Servers;

/// How many requests of one operation are under way at once.
pub(crate) const AT_ONCE: usize = 64;

/// How many entries one script lists.
const PAGE: usize = 256;

/// What a session shares with its tasks.
pub(crate) struct Shared {
    pub(crate) servers: Arc<Servers>,
    pub(crate) connection: Connection,
    /// On which entries are made that replicas have to confirm: a connection stands still meanwhile.
    replicated: Connection,
    pub(crate) lease: Lease,
    pub(crate) entries: OwnEntries,
    pub(crate) id: EntryId,
    pub(crate) layout: Layout,
    pub(crate) session_timeout: Duration,
    pub(crate) connect_timeout: Duration,
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
            entries: OwnEntries::default(),
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

    pub(crate) async fn append(
        &self,
        lock: &LockKey,
        entry: &Entry,
        Written { key, record }: &Written,
    ) -> Result<Seen> {
        let purpose = Purpose { operation: "enqueue", lock: Some(lock) };
        let mut call = self.call(&SCRIPTS.enqueue, &[key]);
        call.arg(entry.id.as_str()).arg(entry.kind.weight()).arg(entry.kind.limit());
        call.arg(milliseconds(self.session_timeout)).arg(record);
        match self.wait_replicas {
            0 => self.connection.run(purpose, &call).await,
            replicas => self.replicated.run_replicated(purpose, &call, key, replicas).await,
        }
    }

    pub(crate) fn standing(&self, id: &EntryId, kind: EntryKind, seen: &Seen) -> Standing {
        self.entries.saw(id, seen.recheck().map(|left| Instant::now() + left));
        seen.standing(id, kind)
    }

    pub(crate) async fn look(&self, lock: &LockKey, id: &EntryId, known: &Known) -> Result<Standing> {
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
    pub(crate) async fn rows(&self, lock: &LockKey) -> Result<Vec<Row>> {
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

    pub(crate) async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
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
        Ok(Removed::from(there))
    }

    /// Removes the entry of another session. Whoever waits looks by himself, and removes what is left of it.
    pub(crate) async fn evict(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let mut call = cmd("ZREM");
        call.arg(self.layout.key(lock)).arg(id.as_str());
        let removed =
            self.connection.ask::<u64>(Purpose { operation: "removal", lock: Some(lock) }, &call).await;
        match removed {
            Err(error) if is_overwritten(&error) => Ok(Removed::Absent),
            removed => Ok(Removed::from(removed? > 0)),
        }
    }

    pub(crate) async fn remove_all(&self) -> Result<()> {
        let entries = self.entries.all();
        let removals = stream::iter(entries).map(async |(lock, id)| self.remove(&lock, &id).await);
        let results: Vec<_> = removals.buffer_unordered(AT_ONCE).collect().await;
        results.into_iter().try_for_each(|removed| removed.map(drop))
    }

    /// The locks in which somebody stands.
    pub(crate) async fn names(&self) -> Result<Vec<LockKey>> {
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

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("id", &self.id)
            .field("lease", &self.lease)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}
