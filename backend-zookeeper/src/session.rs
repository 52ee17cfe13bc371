//! The queue operations of one session.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use futures::future::{TryFutureExt, join};
use futures::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use lockcore::queue::{Standing, standing};
use lockcore::session::{Lease, Loss};
use lockcore::{
    Enqueued, Entry, EntryDetails, EntryId, Error, ErrorKind, Family, FencingToken, LockKey, LockName,
    QueueSession, Recorded, Removed, Result, Revision, Snapshot,
};
use zookeeper_client::{Acls, Error as ClientError, Stat};

use crate::connection::Connection;
use crate::keep_alive::Link;
use crate::layout::{Listing, ahead, family_path, lock_path, queued};
use crate::options::ZooKeeperOptions;
use crate::own_entries::{EntryNode, Known, Outlook, OwnEntries};
use crate::watches::{Presence, Seen, Watches};

/// A session with ZooKeeper.
#[derive(Debug)]
pub(crate) struct ZooKeeperSession {
    pub(crate) link: Link,
    servers: String,
    pub(crate) root: String,
    pub(crate) acls: Acls<'static>,
    pub(crate) ancestor_acls: Acls<'static>,
    /// Whether the server knows nodes that vanish when they are empty.
    pub(crate) containers: AtomicBool,
    pub(crate) watches: Watches,
    pub(crate) own_entries: OwnEntries,
}

/// How many requests of one operation are under way at once.
pub(crate) const AT_ONCE: usize = 64;

impl ZooKeeperSession {
    pub(crate) async fn open(options: &ZooKeeperOptions) -> Result<Self> {
        let session = Self {
            link: Link::open(options).await?,
            servers: options.servers().join(","),
            root: options.root().to_owned(),
            acls: options.acls(),
            ancestor_acls: options.ancestor_acls(),
            containers: AtomicBool::new(true),
            watches: Watches::default(),
            own_entries: OwnEntries::default(),
        };
        session.check_access().await?;
        Ok(session)
    }

    /// Fails if we may not even read what lies there.
    async fn check_access(&self) -> Result<()> {
        let (connection, path) = (self.link.connection().await?, family_path(&self.root, Family::Lock));
        match connection.client().get_data(&path).await {
            Ok(_) | Err(ClientError::NoNode) => Ok(()),
            Err(source) => Err(connection.error("read", &path, source)),
        }
    }

    pub(crate) fn path(&self, lock: &LockKey, node: &EntryId) -> String {
        format!("{}/{node}", lock_path(&self.root, lock))
    }

    /// The queue, as it is after all requests that have been sent before this call. Polled once, it is sent.
    pub(crate) async fn queue(&self, lock: &LockKey) -> Result<Arc<Listing>> {
        let (link, directory, family) = (self.link.clone(), lock_path(&self.root, lock), lock.family);
        let list = async move {
            let (children, since) = children(&*link.connection().await?, &directory).await?;
            Ok(Arc::new(Listing::new(family, &children, since)))
        };
        self.own_entries.listing(lock, list).await
    }

    /// Where the entry of ours stands whose place this is. Of what comes next, as much is kept as saves a listing.
    pub(crate) fn standing(
        &self,
        lock: &LockKey,
        id: &EntryId,
        place: &EntryNode,
        queue: &Listing,
    ) -> Standing {
        let own = queue.named(lock.family, &place.node).filter(|_| queue.is_home_of(place.token));
        let Some(own) = own else {
            self.own_entries.forget(lock, id);
            return Standing::Absent;
        };
        let foreign_nodes = self.own_entries.foreign_nodes(lock);
        let is_stray = |name| foreign_nodes.get(name).is_some_and(|czxid| *czxid > queue.since);
        let ahead = ahead(&queue.nodes, own).filter(|node| !is_stray(&node.name));
        let without = |gone: Option<&EntryId>| {
            let staying = ahead.clone().filter(move |node| Some(&node.name) != gone);
            standing(staying.chain([own]).map(|node| queued(node, own, id)), id, Revision::default())
        };
        let standing = without(None);
        let outlook = match &standing {
            Standing::Holds => Outlook::Holds,
            Standing::Waits { wake, .. } => match &wake[..] {
                [next] if without(Some(next)) == Standing::Holds => Outlook::Next(next.clone()),
                _ => Outlook::Open,
            },
            Standing::Absent | Standing::LimitMismatch { .. } => Outlook::Open,
        };
        self.own_entries.expect(lock, id, outlook);
        standing
    }

    /// Whether the entry of ours whose place this is is still there.
    pub(crate) async fn is_there(&self, lock: &LockKey, place: &EntryNode) -> Result<bool> {
        let connection = self.link.connection().await?;
        let stat = stat(&connection, &self.path(lock, &place.node)).await?;
        Ok(stat.is_some_and(|stat| place.is_of(stat.czxid)))
    }

    /// Watches the entry of ours, if it holds when one other has left, so that it need not be looked at then. Whatever
    /// goes wrong here, it is looked at.
    async fn watch_own(&self, lock: &LockKey, id: &EntryId) {
        let Known::At(place) = self.own_entries.known(lock, id) else { return };
        if !matches!(self.own_entries.outlook(lock, id), Outlook::Next(_)) {
            return;
        }
        let Ok(connection) = self.link.connection().await else { return };
        match connection.watch(&self.path(lock, &place.node)).await {
            Ok(Some((stat, watcher))) if place.is_of(stat.czxid) => {
                self.own_entries.present(lock, id, Presence::new(watcher));
            }
            _ => {}
        }
    }

    /// The name of an entry's node: others' entries go by it.
    fn node(&self, lock: &LockKey, id: &EntryId) -> EntryId {
        match self.own_entries.known(lock, id) {
            Known::At(place) => place.node,
            Known::Nothing | Known::Tried => id.clone(),
        }
    }
}

#[async_trait]
impl QueueSession for ZooKeeperSession {
    fn lease(&self) -> &Lease {
        self.link.lease()
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        let place = match self.own_entries.known(lock, &entry.id) {
            Known::Nothing => None,
            Known::Tried => self.find(lock, &entry.id).await?,
            Known::At(place) => Some(place),
        };
        match place {
            Some(EntryNode { token, .. }) => {
                Ok(Enqueued { token, standing: self.look(lock, &entry.id).await? })
            }
            None => self.append(lock, entry).await,
        }
    }

    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        let entries = self.entries(lock).await?;
        Ok(Snapshot { entries, revision: Revision::default() })
    }

    /// Those ahead can only leave: who was seen to hold, or saw the last one leave for whom it waited, holds if it is
    /// still there. All others read the queue.
    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        let Known::At(place) = self.own_entries.known(lock, id) else { return Ok(Standing::Absent) };
        if matches!(self.own_entries.outlook(lock, id), Outlook::Open | Outlook::Next(_)) {
            let queue = self.queue(lock).await?;
            return Ok(self.standing(lock, id, &place, &queue));
        }
        if self.is_there(lock, &place).await? {
            self.own_entries.expect(lock, id, Outlook::Holds);
            return Ok(Standing::Holds);
        }
        self.own_entries.forget(lock, id);
        Ok(Standing::Absent)
    }

    async fn watch(
        &self,
        lock: &LockKey,
        waiter: &EntryId,
        ids: &[EntryId],
        _since: Revision,
    ) -> Result<Option<Standing>> {
        let watches = ids.iter().map(|id| {
            let name = self.node(lock, id);
            let watch = self.watches.watch(&self.link, self.path(lock, &name));
            watch.fires().map_ok(move |seen| (id, name, seen))
        });
        let mut watches: FuturesUnordered<_> = watches.collect();
        self.own_entries.keep(lock, waiter, None);
        // They are sent together. If the other has left before our own was answered for, that answer is worth a look.
        let (fired, ()) = join(watches.try_next(), self.watch_own(lock, waiter)).await;
        match fired? {
            Some((id, _, Seen::Gone(_))) if id == waiter => {
                self.own_entries.forget(lock, id);
                return Ok(Some(Standing::Absent));
            }
            Some((_, name, Seen::Gone(czxid))) => self.own_entries.advance(lock, waiter, &name, czxid),
            Some((_, name, Seen::Stray(czxid))) => {
                self.own_entries.advance(lock, waiter, &name, None);
                self.own_entries.foreign_node(lock, name, czxid);
            }
            Some((_, _, Seen::Changed)) | None => {}
        }
        // That the other has left is told after whatever happened to our own before.
        let enters = self.own_entries.outlook(lock, waiter) == Outlook::Unhindered
            && self.own_entries.is_present(lock, waiter);
        if enters {
            self.own_entries.expect(lock, waiter, Outlook::Holds);
        }
        Ok(enters.then_some(Standing::Holds))
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let removed = match self.to_remove(lock, id).await? {
            Some(place) => delete(&*self.link.connection().await?, &self.path(lock, &place.node)).await?,
            None => false,
        };
        self.own_entries.forget(lock, id);
        Ok(Removed::from(removed))
    }

    async fn evict(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let found = self.details(lock).await?.into_iter().find(|(_, entry)| entry.id == *id);
        let Some((node, _)) = found else { return Ok(Removed::Absent) };
        let removed = delete(&*self.link.connection().await?, &self.path(lock, &node.name)).await?;
        Ok(Removed::from(removed))
    }

    async fn head_changed(&self, lock: &LockKey, head: Option<&EntryId>) -> Result<()> {
        self.head_change(lock, head).await
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        Ok(self.details(lock).await?.into_iter().map(|(_, entry)| entry).collect())
    }

    async fn record(&self, lock: &LockKey) -> Result<Recorded> {
        self.read_record(lock).await
    }

    async fn set_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        self.write_record(lock, token, text).await
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        let connection = self.link.connection().await?;
        let mut names = Vec::new();
        for family in [Family::Lock, Family::Semaphore] {
            let (children, _) = children(&connection, &family_path(&self.root, family)).await?;
            let decoded = children.into_iter().filter_map(|name| LockName::decode(&name));
            names.extend(decoded.map(|name| LockKey { family, name }));
        }
        Ok(names)
    }

    async fn cleanup(&self) -> Result<u64> {
        let (names, connection) = (self.names().await?, self.link.connection().await?);
        let removals = stream::iter(names).map(async |lock| {
            let path = lock_path(&self.root, &lock);
            match connection.client().delete(&path, None).await {
                Ok(()) => Ok(1),
                Err(ClientError::NoNode | ClientError::NotEmpty) => Ok(0),
                Err(source) => Err(connection.error("remove", &path, source)),
            }
        });
        removals.buffer_unordered(AT_ONCE).try_fold(0, async |sum, one| Ok(sum + one)).await
    }

    async fn close(&self) -> Result<()> {
        self.own_entries.close();
        if self.link.close().await {
            return Ok(());
        }
        let message = format!(
            "ZooKeeper at {} could not be told of the end of the session, which will expire",
            self.servers
        );
        Err(Error::new(ErrorKind::Unreachable, message))
    }
}

impl Drop for ZooKeeperSession {
    fn drop(&mut self) {
        self.lease().end(Loss::Closed);
    }
}

/// The children of this node, and the id of its creation; none if it is not there.
pub(crate) async fn children(connection: &Connection, path: &str) -> Result<(Vec<String>, i64)> {
    match connection.client().get_children(path).await {
        Ok((children, stat)) => Ok((children, stat.czxid)),
        Err(ClientError::NoNode) => Ok((Vec::new(), 0)),
        Err(source) => Err(connection.error("list", path, source)),
    }
}

pub(crate) async fn stat(connection: &Connection, path: &str) -> Result<Option<Stat>> {
    let stat = connection.client().check_stat(path).await;
    stat.map_err(|source| connection.error("look for", path, source))
}

/// Says whether the node was there.
async fn delete(connection: &Connection, path: &str) -> Result<bool> {
    match connection.client().delete(path, None).await {
        Ok(()) => Ok(true),
        Err(ClientError::NoNode) => Ok(false),
        Err(source) => Err(connection.error("remove", path, source)),
    }
}

/// The zxid of the node's creation: it grows over the whole ensemble, also when the directory, and with it the
/// count of the sequence, starts anew.
pub(crate) fn token(stat: &Stat) -> Result<FencingToken> {
    match u64::try_from(stat.czxid) {
        Ok(czxid) => Ok(FencingToken::new(czxid)),
        Err(_) => Err(Error::new(
            ErrorKind::Backend,
            "ZooKeeper told no creation id of a node: is this a ZooKeeper server?",
        )
        .with_retryable(true)),
    }
}
