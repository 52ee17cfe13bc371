//! Making, finding and removing the entries of a session.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::{Either, TryFutureExt, try_join};
use futures::stream::{self, StreamExt, TryStreamExt};
use lockcore::queue::Standing;
use lockcore::{Effect, Enqueued, Entry, EntryId, EntryKind, Error, ErrorKind, LockKey, Result, Revision};
use zookeeper_client::{CreateMode, Error as ClientError};

use crate::connection::Connection;
use crate::layout::{Listing, data, exclusive_before, family_path, lock_path, prefix, read_data};
use crate::own_entries::{EntryNode, Found, Known, Outlook};
use crate::session::{AT_ONCE, ZooKeeperSession, children, token};
use crate::watches::Seen;

/// How often to make a directory that others remove at once.
const ATTEMPTS: usize = 16;

impl ZooKeeperSession {
    /// Makes the entry, and the directory for it if that is missing, although others may remove it again.
    pub(crate) async fn append(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        for _ in 0..ATTEMPTS {
            let connection = self.link.connection().await?;
            if let Some((place, queue)) = self.create(&connection, lock, entry).await? {
                let standing = match queue {
                    Some(queue) => self.arrive(lock, entry, &place, &queue),
                    None => self.line_up(lock, &entry.id, &place).await?,
                };
                return Ok(Enqueued { token: place.token, standing });
            }
            self.make_directory(&connection, lock).await?;
        }
        let directory = lock_path(&self.root, lock);
        let message = format!(
            "{directory} was removed {ATTEMPTS} times in a row: let nothing but cleanup remove directories of locks"
        );
        Err(Error::new(ErrorKind::Backend, message).with_effect(Effect::None).with_retryable(true))
    }

    /// Makes the entry, and reads the queue in the same go, if that is likely to be of use; `None` if there is no
    /// directory for it.
    async fn create(
        &self,
        connection: &Connection,
        lock: &LockKey,
        entry: &Entry,
    ) -> Result<Option<(EntryNode, Option<Arc<Listing>>)>> {
        let (directory, prefix) = (lock_path(&self.root, lock), prefix(entry.kind));
        let path = format!("{directory}/{prefix}");
        let options = CreateMode::EphemeralSequential.with_acls(self.acls);
        self.own_entries.trying(lock, &entry.id);
        let created = connection.client().create(&path, data(entry).as_bytes(), &options);
        let created = created.map_ok(|(stat, sequence)| {
            let node = EntryId::from(&*format!("{prefix}{:010}", sequence.into_i64()));
            let place = token(&stat).map(|token| EntryNode { node, token });
            place.inspect(|place| self.own_entries.found(lock, &entry.id, place.clone()))
        });
        let queue = async {
            let guess = entry.kind == EntryKind::Exclusive && self.own_entries.is_contended(lock);
            if guess { Ok(None) } else { self.queue(lock).await.map(Some) }
        };
        let both = try_join(created.map_err(Either::Left), queue.map_err(Either::Right));
        let source = match both.await {
            Ok((place, queue)) => return Ok(Some((place?, queue))),
            Err(Either::Left(source)) => source,
            Err(Either::Right(failure)) => return Err(failure),
        };
        let missing = source == ClientError::NoNode;
        let failure = connection.error("create an entry in", &directory, source);
        if failure.effect() == Effect::None {
            self.own_entries.forget(lock, &entry.id);
        }
        if missing { Ok(None) } else { Err(failure) }
    }

    /// Where a new entry stands in this queue.
    fn arrive(&self, lock: &LockKey, entry: &Entry, place: &EntryNode, queue: &Listing) -> Standing {
        let standing = self.standing(lock, &entry.id, place, queue);
        if entry.kind == EntryKind::Exclusive {
            let alone = self.own_entries.outlook(lock, &entry.id) != Outlook::Open;
            self.own_entries.contend(lock, matches!(standing, Standing::Waits { .. }) && !alone);
        }
        standing
    }

    /// Where a new exclusive entry stands, which is likely to have another one directly ahead: that has a name that is
    /// known, and the queue, however long it is, need not be read.
    async fn line_up(&self, lock: &LockKey, id: &EntryId, place: &EntryNode) -> Result<Standing> {
        if let Some(next) = exclusive_before(lock.family, &place.node) {
            let mut watch = self.watches.watch(&self.link, self.path(lock, &next));
            match watch.is_set().await? {
                None => {
                    self.own_entries.keep(lock, id, Some(watch));
                    return Ok(Standing::Waits { wake: vec![next], seen: Revision::default() });
                }
                Some(Seen::Stray(czxid)) => self.own_entries.foreign_node(lock, next, czxid),
                Some(Seen::Gone(_) | Seen::Changed) => {}
            }
        }
        self.own_entries.contend(lock, false);
        let queue = self.queue(lock).await?;
        Ok(self.standing(lock, id, place, &queue))
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
    pub(crate) async fn find(&self, lock: &LockKey, id: &EntryId) -> Result<Option<EntryNode>> {
        let found = self.own_entries.search(lock, self.search(lock)).await?;
        let place = found.get(id).cloned();
        if let Some(place) = &place {
            self.own_entries.found(lock, id, place.clone());
        }
        Ok(place)
    }

    /// Reads which of the entries are ours, but for those that are known.
    fn search(&self, lock: &LockKey) -> impl Future<Output = Result<Found>> + use<> {
        let (link, directory, family) = (self.link.clone(), lock_path(&self.root, lock), lock.family);
        let known = self.own_entries.own(lock);
        async move {
            let connection = link.connection().await?;
            let (children, since) = children(&connection, &directory).await?;
            let queue = Listing::new(family, &children, since);
            let known = known.into_iter().filter(|(_, place)| queue.is_home_of(place.token));
            let known: HashSet<EntryId> = known.map(|(_, place)| place.node).collect();
            let names = queue.nodes.iter().map(|node| node.name.clone());
            let unknown: Vec<EntryId> = names.filter(|name| !known.contains(name)).collect();
            let found = stream::iter(unknown).map(|node| own_entry(&connection, &directory, node));
            let found = found.buffer_unordered(AT_ONCE).try_filter_map(async |found| Ok(found));
            found.try_collect::<HashMap<_, _>>().await.map(Arc::new)
        }
    }

    /// Where the entry is, if it has to be removed.
    ///
    /// Names are used again when the directory has been removed and made anew. So whoever is not known to have been there a
    /// moment ago looks first: who waits, and who may have removed the entry before.
    pub(crate) async fn to_remove(&self, lock: &LockKey, id: &EntryId) -> Result<Option<EntryNode>> {
        match self.own_entries.known(lock, id) {
            Known::Nothing => Ok(None),
            Known::Tried => self.find(lock, id).await,
            Known::At(place) => {
                let again = self.own_entries.leaving(lock, id);
                let present = self.own_entries.is_present(lock, id);
                let sure = !again && (present || self.own_entries.outlook(lock, id) == Outlook::Holds);
                Ok((sure || self.is_there(lock, &place).await?).then_some(place))
            }
        }
    }
}

/// The id and the place of the entry in this node, if it is one of this session.
async fn own_entry(
    connection: &Connection,
    directory: &str,
    node: EntryId,
) -> Result<Option<(EntryId, EntryNode)>> {
    let path = format!("{directory}/{node}");
    match connection.client().get_data(&path).await {
        Ok((data, stat)) if stat.ephemeral_owner == connection.client().session_id().0 => {
            let token = token(&stat)?;
            Ok(read_data(&data).0.map(|id| (id, EntryNode { node, token })))
        }
        // What we may not read is not ours.
        Ok(_) | Err(ClientError::NoNode | ClientError::NoAuth) => Ok(None),
        Err(source) => Err(connection.error("read", &path, source)),
    }
}
