//! The queue operations of one session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use futures::future::{Either, TryFutureExt, try_join};
use futures::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use lockcore::queue::{Standing, standing};
use lockcore::session::{Lease, Loss};
use lockcore::{
    Effect, Enqueued, Entry, EntryDetails, EntryId, Error, ErrorKind, Family, FencingToken, LockKey,
    LockName, QueueSession, QueuedEntry, Removed, Result, Revision, Snapshot,
};
use zookeeper_client::{Acls, CreateMode, Error as ClientError, Stat};

use crate::connection::Connection;
use crate::keeper::Link;
use crate::layout::{
    Node, adopt_limit, ahead, family_path, is_stray, lock_path, named, nodes, prefix, queued,
};
use crate::options::ZooKeeperOptions;
use crate::places::{Known, Place, Places, Queue};
use crate::watches::{Seen, Watches};

/// A session with ZooKeeper.
#[derive(Debug)]
pub(crate) struct ZooKeeperSession {
    link: Link,
    servers: String,
    root: String,
    acls: Acls<'static>,
    ancestor_acls: Acls<'static>,
    /// Whether the server knows nodes that vanish when they are empty.
    containers: AtomicBool,
    watches: Watches,
    places: Places,
}

/// How many requests of one operation are under way at once.
const AT_ONCE: usize = 64;

/// How often to make a directory that others remove at once.
const ATTEMPTS: usize = 16;

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
            places: Places::default(),
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

    fn path(&self, lock: &LockKey, node: &str) -> String {
        format!("{}/{node}", lock_path(&self.root, lock))
    }

    /// The queue, as it is after all requests that have been sent before this call. Polled once, it is sent.
    async fn queue(&self, lock: &LockKey) -> Result<Queue> {
        let (link, directory, family) = (self.link.clone(), lock_path(&self.root, lock), lock.family);
        let list = async move {
            let children = children(&*link.connection().await?, &directory).await?;
            Ok(Arc::new(nodes(family, &children)))
        };
        self.places.listing(lock, list).await
    }

    /// Makes the entry, and the directory for it if that is missing, although others may remove it again.
    async fn append(&self, lock: &LockKey, entry: &Entry) -> Result<(Place, Queue)> {
        for _ in 0..ATTEMPTS {
            let connection = self.link.connection().await?;
            if let Some(made) = self.create(&connection, lock, entry).await? {
                return Ok(made);
            }
            self.make_directory(&connection, lock).await?;
        }
        let directory = lock_path(&self.root, lock);
        let message = format!("{directory} was removed {ATTEMPTS} times in a row");
        Err(Error::new(ErrorKind::Backend, message).with_effect(Effect::None).with_retryable(true))
    }

    /// Makes the entry, and reads the queue in the same go; `None` if there is no directory for it.
    async fn create(
        &self,
        connection: &Connection,
        lock: &LockKey,
        entry: &Entry,
    ) -> Result<Option<(Place, Queue)>> {
        let (directory, prefix) = (lock_path(&self.root, lock), prefix(entry));
        let path = format!("{directory}/{prefix}");
        let options = CreateMode::EphemeralSequential.with_acls(self.acls);
        self.places.trying(lock, &entry.id);
        let created = connection.client().create(&path, entry.label.as_bytes(), &options);
        let created = created.map_ok(|(stat, sequence)| {
            let node = format!("{prefix}{:010}", sequence.into_i64());
            let place = token(&stat).map(|token| Place { node, token });
            place.inspect(|place| self.places.found(lock, &entry.id, place.clone()))
        });
        let both = try_join(created.map_err(Either::Left), self.queue(lock).map_err(Either::Right));
        let source = match both.await {
            Ok((place, queue)) => return Ok(Some((place?, queue))),
            Err(Either::Left(source)) => source,
            Err(Either::Right(failure)) => return Err(failure),
        };
        let missing = source == ClientError::NoNode;
        let failure = connection.error("create an entry in", &directory, source);
        if failure.effect() == Effect::None {
            self.places.forget(lock, &entry.id);
        }
        if missing { Ok(None) } else { Err(failure) }
    }

    /// Gets nearer to a directory for the lock's entries; some may be missing still.
    async fn make_directory(&self, connection: &Connection, lock: &LockKey) -> Result<()> {
        let containers = self.containers.load(Ordering::Relaxed);
        let mode = if containers { CreateMode::Container } else { CreateMode::Persistent };
        let (client, path) = (connection.client(), lock_path(&self.root, lock));
        match client.create(&path, b"", &mode.with_acls(self.acls)).await {
            Ok(_) | Err(ClientError::NodeExists) => Ok(()),
            Err(ClientError::NoNode) => {
                let ancestors = family_path(&self.root, lock.family);
                let persistent = CreateMode::Persistent.with_acls(self.ancestor_acls);
                let made = client.mkdir(&ancestors, &persistent).await;
                made.map_err(|source| connection.error("create", &ancestors, source))
            }
            Err(
                ClientError::Unimplemented | ClientError::BadArguments(_) | ClientError::MarshallingError,
            ) if containers => {
                self.containers.store(false, Ordering::Relaxed);
                Ok(())
            }
            Err(source) => Err(connection.error("create", &path, source)),
        }
    }

    /// Where this session's entry is, if an earlier request of unknown outcome made it.
    ///
    /// The answer is final. Requests on one connection are executed in order. A request that was written to an
    /// earlier connection was executed before a majority confirmed this one, or never: when a session comes back, a
    /// server closes the connection that it had with it, and the leader refuses what other servers still pass on for
    /// it (SessionMoved). And the server to which we are connected knew all that had been executed by then.
    async fn find(&self, lock: &LockKey, id: &EntryId) -> Result<Option<Place>> {
        let queue = self.queue(lock).await?;
        let connection = self.link.connection().await?;
        for node in queue.iter().filter(|node| node.id == *id) {
            match stat(&connection, &self.path(lock, node.name.as_str())).await? {
                Some(stat) if stat.ephemeral_owner == connection.client().session_id().0 => {
                    let place = Place { node: node.name.to_string(), token: token(&stat)? };
                    self.places.found(lock, id, place.clone());
                    return Ok(Some(place));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Where the entry of ours stands whose place this is.
    fn standing(&self, lock: &LockKey, queue: &[Node], place: &Place) -> Standing {
        let Some(own) = named(queue, lock.family, &place.node) else { return Standing::Absent };
        let strays = self.places.strays(lock);
        let ahead = ahead(queue, own).filter(|node| !strays.contains(node.name.as_str()));
        let entries = ahead.chain([own]).map(|node| queued(node, own));
        standing(entries, &queued(own, own).id, Revision::default())
    }

    /// What is known of the entries, in the order in which the server made them: there may be none of ours from which
    /// to count.
    async fn details(&self, lock: &LockKey) -> Result<Vec<(Node, EntryDetails)>> {
        let (queue, connection) = (self.queue(lock).await?, self.link.connection().await?);
        let details: Vec<_> = queue.iter().map(|node| self.detail(&connection, lock, node)).collect();
        let details: Vec<_> = stream::iter(details).buffer_unordered(AT_ONCE).try_collect().await?;
        let mut details: Vec<_> = details.into_iter().flatten().collect();
        details.sort_by_key(|(_, entry)| entry.token);
        adopt_limit(details.iter_mut().map(|(_, entry)| &mut entry.kind));
        Ok(details)
    }

    /// What is known of an entry; `None` if it is none, or gone.
    async fn detail(
        &self,
        connection: &Connection,
        lock: &LockKey,
        node: &Node,
    ) -> Result<Option<(Node, EntryDetails)>> {
        let path = self.path(lock, node.name.as_str());
        let (data, stat) = match connection.client().get_data(&path).await {
            Ok((data, stat)) => (data, Some(stat)),
            // Its owner keeps the label secret.
            Err(ClientError::NoAuth) => (Vec::new(), stat(connection, &path).await?),
            Err(ClientError::NoNode) => (Vec::new(), None),
            Err(source) => return Err(connection.error("read", &path, source)),
        };
        let Some(stat) = stat.filter(|stat| !is_stray(stat)) else { return Ok(None) };
        let entry = EntryDetails {
            id: node.id.clone(),
            kind: node.kind,
            token: token(&stat)?,
            label: String::from_utf8_lossy(&data).into_owned(),
            since: u64::try_from(stat.ctime).ok().map(|ctime| UNIX_EPOCH + Duration::from_millis(ctime)),
        };
        Ok(Some((node.clone(), entry)))
    }

    /// Whether this is the node of an entry of ours.
    fn is_own(&self, lock: &LockKey, node: &Node) -> bool {
        matches!(self.places.known(lock, &node.id), Known::At(place) if place.node == node.name.as_str())
    }
}

#[async_trait]
impl QueueSession for ZooKeeperSession {
    fn lease(&self) -> &Lease {
        self.link.lease()
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        let place = match self.places.known(lock, &entry.id) {
            Known::Nothing => None,
            Known::Tried => self.find(lock, &entry.id).await?,
            Known::At(place) => Some(place),
        };
        let (place, queue) = match place {
            Some(place) => (place, self.queue(lock).await?),
            None => self.append(lock, entry).await?,
        };
        let standing = self.standing(lock, &queue, &place);
        Ok(Enqueued { token: place.token, standing })
    }

    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        let entries = self.details(lock).await?.into_iter().map(|(node, entry)| {
            let id = if self.is_own(lock, &node) { node.id } else { node.name };
            QueuedEntry { id, kind: entry.kind }
        });
        let entries = entries.collect();
        Ok(Snapshot { entries, revision: Revision::default() })
    }

    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        let queue = self.queue(lock).await?;
        Ok(match self.places.known(lock, id) {
            Known::At(place) => self.standing(lock, &queue, &place),
            Known::Nothing | Known::Tried => Standing::Absent,
        })
    }

    async fn watch(
        &self,
        lock: &LockKey,
        _waiter: &EntryId,
        ids: &[EntryId],
        _since: Revision,
    ) -> Result<Option<Standing>> {
        let watches = ids.iter().map(|id| {
            // Others' entries go by the names of their nodes.
            let name = match self.places.known(lock, id) {
                Known::At(place) => place.node,
                Known::Nothing | Known::Tried => id.to_string(),
            };
            let watch = self.watches.watch(&self.link, self.path(lock, &name));
            watch.map_ok(|seen| (name, seen))
        });
        if let Some((name, Seen::Stray)) = watches.collect::<FuturesUnordered<_>>().try_next().await? {
            self.places.stray(lock, name);
        }
        Ok(None)
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let place = match self.places.known(lock, id) {
            Known::Nothing => None,
            Known::Tried => self.find(lock, id).await?,
            Known::At(place) => Some(place),
        };
        let removed = match place {
            None => false,
            Some(place) => delete(&*self.link.connection().await?, &self.path(lock, &place.node)).await?,
        };
        self.places.forget(lock, id);
        Ok(if removed { Removed::Now } else { Removed::Absent })
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        Ok(self.details(lock).await?.into_iter().map(|(_, entry)| entry).collect())
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        let connection = self.link.connection().await?;
        let mut names = Vec::new();
        for family in [Family::Lock, Family::Semaphore] {
            let children = children(&connection, &family_path(&self.root, family)).await?;
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
        self.places.close();
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

/// The children of this node; none if it is not there.
async fn children(connection: &Connection, path: &str) -> Result<Vec<String>> {
    match connection.client().list_children(path).await {
        Err(ClientError::NoNode) => Ok(Vec::new()),
        children => children.map_err(|source| connection.error("list", path, source)),
    }
}

async fn stat(connection: &Connection, path: &str) -> Result<Option<Stat>> {
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
fn token(stat: &Stat) -> Result<FencingToken> {
    match u64::try_from(stat.czxid) {
        Ok(czxid) => Ok(FencingToken::new(czxid)),
        Err(_) => {
            Err(Error::new(ErrorKind::Backend, "ZooKeeper told no creation id of a node")
                .with_retryable(true))
        }
    }
}
