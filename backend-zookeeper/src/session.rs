//! The queue operations of one session.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use futures::future::{FutureExt, TryFutureExt, join, try_join, try_join_all};
use futures::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use lockcore::queue::{Standing, standing};
use lockcore::session::{Lease, Loss};
use lockcore::{
    Effect, Enqueued, Entry, EntryDetails, EntryId, Error, ErrorKind, Family, FencingToken, LockKey,
    LockName, QueueSession, Removed, Result, Revision, Snapshot,
};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zookeeper_client::{Acls, Client, CreateMode, Error as ClientError, OneshotWatcher, Stat};

use crate::error::error;
use crate::layout::{Node, entries, family_path, lock_path, name_of, prefix, queue};
use crate::options::ZooKeeperOptions;
use crate::places::{Known, Place, Places, Queue};

/// A session with ZooKeeper.
///
/// The client library sends a request when its method is *called*. So requests of one session reach the server in
/// the order of the calls, and a future that is dropped later changes nothing about that.
#[derive(Debug)]
pub(crate) struct ZooKeeperSession {
    /// The library ends the session when the last clone is dropped, so nobody keeps one.
    client: RwLock<Option<Arc<Client>>>,
    lease: Lease,
    root: String,
    acls: Acls<'static>,
    patience: Duration,
    /// Whether the server knows nodes that vanish when they are empty.
    containers: AtomicBool,
    watched: Semaphore,
    places: Places,
}

/// After a reconnect the library repeats all watches. If their paths take more than this many bytes, it does so in
/// several requests with one and the same number, and cannot tell the answers apart (zookeeper-client 0.11.2,
/// `resend_watches`).
const WATCHED_BYTES: usize = 128 * 1024;

/// How many requests of one operation are under way at once.
const AT_ONCE: usize = 64;

/// How often to make a directory that others remove at once.
const ATTEMPTS: usize = 16;

impl ZooKeeperSession {
    pub(crate) fn new(client: Client, lease: Lease, options: &ZooKeeperOptions) -> Self {
        Self {
            client: RwLock::new(Some(Arc::new(client))),
            lease,
            root: options.root().to_owned(),
            acls: options.acls(),
            patience: options.connect_timeout(),
            containers: AtomicBool::new(true),
            watched: Semaphore::new(WATCHED_BYTES),
            places: Places::default(),
        }
    }

    /// The client, for one operation; none for a lost session, or its requests would renew it.
    fn client(&self) -> Result<Arc<Client>> {
        match self.lease.loss() {
            Some(loss) => Err(Error::lost(loss)),
            None => {
                let client = self.client.read().unwrap_or_else(PoisonError::into_inner);
                client.clone().ok_or_else(|| Error::lost(Loss::Closed))
            }
        }
    }

    fn path(&self, lock: &LockKey, node: &str) -> String {
        format!("{}/{node}", lock_path(&self.root, lock))
    }

    /// The queue, as it is after all requests that have been sent before this call. Polled once, it is sent.
    async fn queue(&self, client: &Arc<Client>, lock: &LockKey) -> Result<Queue> {
        let (client, directory, family) = (client.clone(), lock_path(&self.root, lock), lock.family);
        let list = async move {
            let children = absent_is_empty(client.list_children(&directory).await)?;
            Ok(Arc::new(queue(family, children)))
        };
        let queue = self.places.listing(lock, list).await?;
        self.places.saw(lock, &queue);
        Ok(queue)
    }

    /// Makes the entry, and the directory for it if that is missing, although others may remove it again.
    async fn append(&self, client: &Arc<Client>, lock: &LockKey, entry: &Entry) -> Result<(Place, Queue)> {
        for _ in 0..ATTEMPTS {
            if let Some(made) = self.create(client, lock, entry).await? {
                return Ok(made);
            }
            self.make_directory(client, lock).await.map_err(error)?;
        }
        let message = format!("the directory of {:?} was removed {ATTEMPTS} times in a row", lock.name);
        Err(Error::new(ErrorKind::Backend, message).with_effect(Effect::None).with_retryable(true))
    }

    /// Makes the entry, and reads the queue in the same go; `None` if there is no directory for it.
    async fn create(
        &self,
        client: &Arc<Client>,
        lock: &LockKey,
        entry: &Entry,
    ) -> Result<Option<(Place, Queue)>> {
        let (directory, prefix) = (lock_path(&self.root, lock), prefix(entry));
        let path = format!("{directory}/{prefix}");
        let options = CreateMode::EphemeralSequential.with_acls(self.acls);
        self.places.trying(lock, &entry.id);
        let created = client.create(&path, entry.label.as_bytes(), &options).map_ok(|(stat, sequence)| {
            let node = format!("{prefix}{:010}", sequence.into_i64());
            let place = token(&stat).map(|token| Place { node, token });
            place.inspect(|place| self.places.found(lock, &entry.id, place.clone()))
        });
        let source = match join(created, self.queue(client, lock)).await {
            (Ok(place), queue) => return Ok(Some((place?, queue?))),
            (Err(source), _) => source,
        };
        let (missing, failure) = (source == ClientError::NoNode, error(source));
        if failure.effect() == Effect::None {
            self.places.forget(lock, &entry.id);
        }
        if missing { Ok(None) } else { Err(failure) }
    }

    /// Gets nearer to a directory for the lock's entries; some may be missing still.
    async fn make_directory(&self, client: &Client, lock: &LockKey) -> Result<(), ClientError> {
        let containers = self.containers.load(Ordering::Relaxed);
        let mode = if containers { CreateMode::Container } else { CreateMode::Persistent };
        match client.create(&lock_path(&self.root, lock), b"", &mode.with_acls(self.acls)).await {
            Ok(_) | Err(ClientError::NodeExists) => Ok(()),
            Err(ClientError::NoNode) => {
                let persistent = CreateMode::Persistent.with_acls(self.acls);
                client.mkdir(&family_path(&self.root, lock.family), &persistent).await
            }
            Err(
                ClientError::Unimplemented | ClientError::BadArguments(_) | ClientError::MarshallingError,
            ) if containers => {
                self.containers.store(false, Ordering::Relaxed);
                Ok(())
            }
            Err(source) => Err(source),
        }
    }

    /// Where this session's entry is, if an earlier request of unknown outcome made it.
    ///
    /// The answer is final. Requests on one connection are executed in order. A request that was written to an
    /// earlier connection is executed before the `sync`, or never: when a session comes back, a server closes
    /// the connection that it had with it, and the leader refuses what other servers still pass on for it
    /// (SessionMoved). And after the `sync` our server knows all that the leader had executed by then.
    async fn find(&self, client: &Arc<Client>, lock: &LockKey, id: &EntryId) -> Result<Option<Place>> {
        let synced = client.sync("/").map_err(error);
        let ((), queue) = try_join(synced, self.queue(client, lock)).await?;
        for node in queue.iter().filter(|node| node.id == *id) {
            let stat = client.check_stat(&self.path(lock, &node.name)).await.map_err(error)?;
            match stat {
                Some(stat) if stat.ephemeral_owner == client.session_id().0 => {
                    let place = Place { node: node.name.clone(), token: token(&stat)? };
                    self.places.found(lock, id, place.clone());
                    return Ok(Some(place));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn standing(&self, nodes: &[Node], id: &EntryId, own: Option<&Place>) -> Standing {
        let own = own.map(|place| (id, &*place.node));
        standing(&entries(nodes, own), id, Revision::default())
    }

    /// The paths of these entries; `None` if one is not there.
    async fn paths(&self, lock: &LockKey, ids: &[EntryId]) -> Result<Option<Vec<String>>> {
        let paths = |queue: Queue| -> Option<Vec<String>> {
            let node = |id| match self.places.known(lock, id) {
                Known::At(place) => Some(place.node),
                Known::Nothing | Known::Tried => name_of(&queue, id).map(str::to_owned),
            };
            ids.iter().map(|id| Some(self.path(lock, &node(id)?))).collect()
        };
        match self.places.seen(lock).and_then(paths) {
            Some(known) => Ok(Some(known)),
            None => Ok(paths(self.queue(&self.client()?, lock).await?)),
        }
    }

    async fn details(&self, client: &Client, lock: &LockKey, node: &Node) -> Result<Option<EntryDetails>> {
        match client.get_data(&self.path(lock, &node.name)).await {
            Ok((data, stat)) => Ok(Some(EntryDetails {
                id: node.id.clone(),
                kind: node.kind,
                token: token(&stat)?,
                label: String::from_utf8_lossy(&data).into_owned(),
                since: u64::try_from(stat.ctime).ok().map(|ctime| UNIX_EPOCH + Duration::from_millis(ctime)),
            })),
            Err(ClientError::NoNode) => Ok(None),
            Err(source) => Err(error(source)),
        }
    }
}

#[async_trait]
impl QueueSession for ZooKeeperSession {
    fn lease(&self) -> &Lease {
        &self.lease
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        let client = self.client()?;
        let place = match self.places.known(lock, &entry.id) {
            Known::Nothing => None,
            Known::Tried => self.find(&client, lock, &entry.id).await?,
            Known::At(place) => Some(place),
        };
        let (place, nodes) = match place {
            Some(place) => (place, self.queue(&client, lock).await?),
            None => self.append(&client, lock, entry).await?,
        };
        Ok(Enqueued { token: place.token, standing: self.standing(&nodes, &entry.id, Some(&place)) })
    }

    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        let nodes = self.queue(&self.client()?, lock).await?;
        Ok(Snapshot { entries: entries(&nodes, None), revision: Revision::default() })
    }

    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        let nodes = self.queue(&self.client()?, lock).await?;
        let own = match self.places.known(lock, id) {
            Known::At(place) => Some(place),
            Known::Nothing | Known::Tried => None,
        };
        Ok(self.standing(&nodes, id, own.as_ref()))
    }

    async fn watch(&self, lock: &LockKey, ids: &[EntryId], _since: Revision) -> Result<()> {
        let Some(paths) = self.paths(lock, ids).await? else { return Ok(()) };
        let bytes = paths.iter().map(String::len).sum::<usize>();
        // First come, first served: who waits here stands behind others that do have their watches, and the caller
        // looks again after a while.
        let _room = self.watched.acquire_many(u32::try_from(bytes).unwrap_or(u32::MAX)).await;
        let client = self.client()?;
        let watchers = try_join_all(paths.iter().map(|path| arm(&client, path))).await?;
        drop(client);
        if let Some(watchers) = watchers.into_iter().collect::<Option<Vec<_>>>() {
            // The library panics if its task was killed together with the runtime that it ran on.
            let fired = |watcher: OneshotWatcher| AssertUnwindSafe(watcher.changed()).catch_unwind();
            watchers.into_iter().map(fired).collect::<FuturesUnordered<_>>().next().await;
        }
        Ok(())
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let client = self.client()?;
        let place = match self.places.known(lock, id) {
            Known::Nothing => None,
            Known::Tried => self.find(&client, lock, id).await?,
            Known::At(place) => Some(place),
        };
        let removed = match place {
            None => false,
            Some(place) => deleted(&client, &self.path(lock, &place.node)).await?,
        };
        self.places.forget(lock, id);
        Ok(if removed { Removed::Now } else { Removed::Absent })
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        let client = self.client()?;
        let nodes = self.queue(&client, lock).await?;
        let details: Vec<_> = nodes.iter().map(|node| self.details(&client, lock, node)).collect();
        let details: Vec<_> = stream::iter(details).buffered(AT_ONCE).try_collect().await?;
        Ok(details.into_iter().flatten().collect())
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        let client = self.client()?;
        let mut names = Vec::new();
        for family in [Family::Lock, Family::Semaphore] {
            let children = client.list_children(&family_path(&self.root, family)).await;
            let decoded = absent_is_empty(children)?.into_iter().filter_map(|name| LockName::decode(&name));
            names.extend(decoded.map(|name| LockKey { family, name }));
        }
        Ok(names)
    }

    async fn cleanup(&self) -> Result<u64> {
        let (client, names) = (self.client()?, self.names().await?);
        let removals = stream::iter(names).map(async |lock| {
            match client.delete(&lock_path(&self.root, &lock), None).await {
                Ok(()) => Ok(1),
                Err(ClientError::NoNode | ClientError::NotEmpty) => Ok(0),
                Err(source) => Err(error(source)),
            }
        });
        removals.buffer_unordered(AT_ONCE).try_fold(0, async |sum, one| Ok(sum + one)).await
    }

    async fn close(&self) -> Result<()> {
        self.lease.end(Loss::Closed);
        self.places.close();
        let client = self.client.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(client) = client else { return Ok(()) };
        let mut states = client.state_watcher();
        drop(client);
        let ended = async {
            while !states.peek_state().is_terminated() {
                states.changed().await;
            }
        };
        timeout(self.patience, ended).await.map_err(|_| {
            let message = "ZooKeeper could not be told of the end of the session, which will expire";
            Error::new(ErrorKind::Unreachable, message)
        })
    }
}

impl Drop for ZooKeeperSession {
    fn drop(&mut self) {
        // Ends the heartbeat, which has a client too.
        self.lease.end(Loss::Closed);
    }
}

fn absent_is_empty(children: Result<Vec<String>, ClientError>) -> Result<Vec<String>> {
    match children {
        Err(ClientError::NoNode) => Ok(Vec::new()),
        children => children.map_err(error),
    }
}

/// Sets a watch; `None` if the node is not there.
async fn arm(client: &Client, path: &str) -> Result<Option<OneshotWatcher>> {
    match client.get_and_watch_data(path).await {
        Ok((_, _, watcher)) => Ok(Some(watcher)),
        Err(ClientError::NoNode) => Ok(None),
        Err(source) => Err(error(source)),
    }
}

async fn deleted(client: &Client, path: &str) -> Result<bool> {
    match client.delete(path, None).await {
        Ok(()) => Ok(true),
        Err(ClientError::NoNode) => Ok(false),
        Err(source) => Err(error(source)),
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
