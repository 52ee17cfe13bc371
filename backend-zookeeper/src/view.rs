//! The queue, for those who have no entry in it.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use futures::stream::{self, StreamExt, TryStreamExt};
use lockcore::queue::rule::{UNBOUNDED, holders};
use lockcore::{EntryDetails, EntryId, LockKey, QueuedEntry, Result, UNWATCHED};
use zookeeper_client::Error as ClientError;

use crate::connection::Connection;
use crate::layout::{Node, adopt_limit, from_head, is_stray, read_data};
use crate::session::{AT_ONCE, ZooKeeperSession, stat, token};

impl ZooKeeperSession {
    /// The entries, ours by their ids, others by the names of their nodes.
    ///
    /// A node that no session holds is known only when it is looked at. That is done with those who hold and the first who
    /// waits: behind them everybody waits, whoever stands there.
    pub(crate) async fn entries(&self, lock: &LockKey) -> Result<Vec<QueuedEntry>> {
        let (queue, connection) = (self.queue(lock).await?, self.link.connection().await?);
        let mut nodes = from_head(&queue.nodes);
        adopt_limit(nodes.iter_mut().map(|node| &mut node.kind));
        loop {
            let limit = nodes.first().map_or(UNBOUNDED, |node| node.kind.limit());
            let first = nodes.len().min(holders(limit, nodes.iter().map(|node| node.kind.weight())) + 1);
            let rest = nodes.split_off(first);
            let looks: Vec<_> = nodes.iter().map(|node| self.is_entry(&connection, lock, node)).collect();
            let real: Vec<bool> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
            let mut reals = real.iter();
            nodes.retain(|_| reals.next().is_some_and(|real| *real));
            nodes.extend(rest);
            if real.iter().all(|real| *real) {
                break;
            }
        }
        let own = self.own_entries.own(lock).into_iter().filter(|(_, place)| queue.is_home_of(place.token));
        let own: HashMap<EntryId, EntryId> = own.map(|(id, place)| (place.node, id)).collect();
        let entries = nodes.into_iter().map(|node| {
            let id = own.get(&node.name).unwrap_or(&node.name);
            QueuedEntry { id: id.clone(), kind: node.kind }
        });
        Ok(entries.collect())
    }

    /// Whether there is an entry in this node.
    async fn is_entry(&self, connection: &Connection, lock: &LockKey, node: &Node) -> Result<bool> {
        let stat = stat(connection, &self.path(lock, &node.name)).await?;
        Ok(stat.is_some_and(|stat| !is_stray(&stat)))
    }

    /// What is known of the entries, in the order in which the server made them: there may be none of ours from which
    /// to count.
    pub(crate) async fn details(&self, lock: &LockKey) -> Result<Vec<(Node, EntryDetails)>> {
        let (queue, connection) = (self.queue(lock).await?, self.link.connection().await?);
        let details: Vec<_> = queue.nodes.iter().map(|node| self.detail(&connection, lock, node)).collect();
        let details: Vec<_> = stream::iter(details).buffer_unordered(AT_ONCE).try_collect().await?;
        let mut details: Vec<_> = details.into_iter().flatten().collect();
        details.sort_by_key(|(_, entry)| entry.token);
        adopt_limit(details.iter_mut().map(|(_, entry)| &mut entry.kind));
        Ok(details)
    }

    /// Returns when the first entry may be another than this one; where there is none, after a while.
    pub(crate) async fn head_change(&self, lock: &LockKey, head: Option<&EntryId>) -> Result<()> {
        match self.details(lock).await?.first() {
            None if head.is_none() => tokio::time::sleep(UNWATCHED).await,
            Some((node, entry)) if head == Some(&entry.id) => {
                let (connection, path) = (self.link.connection().await?, self.path(lock, &node.name));
                let watched = connection.watch(&path).await;
                if let Some((_, watcher)) =
                    watched.map_err(|source| connection.error("watch", &path, source))?
                {
                    watcher.changed().await;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What is known of an entry; `None` if it is none, or gone.
    async fn detail(
        &self,
        connection: &Connection,
        lock: &LockKey,
        node: &Node,
    ) -> Result<Option<(Node, EntryDetails)>> {
        let path = self.path(lock, &node.name);
        let (data, stat) = match connection.client().get_data(&path).await {
            Ok((data, stat)) => (data, Some(stat)),
            // Its owner keeps the label secret.
            Err(ClientError::NoAuth) => (Vec::new(), stat(connection, &path).await?),
            Err(ClientError::NoNode) => (Vec::new(), None),
            Err(source) => return Err(connection.error("read", &path, source)),
        };
        let Some(stat) = stat.filter(|stat| !is_stray(stat)) else { return Ok(None) };
        let (id, label) = read_data(&data);
        let entry = EntryDetails {
            id: id.unwrap_or_else(|| node.name.clone()),
            kind: node.kind,
            token: token(&stat)?,
            label,
            since: u64::try_from(stat.ctime).ok().map(|ctime| UNIX_EPOCH + Duration::from_millis(ctime)),
        };
        Ok(Some((node.clone(), entry)))
    }
}
