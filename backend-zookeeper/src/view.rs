//! The queue, for those who have no entry in it.

use std::time::{Duration, UNIX_EPOCH};

use futures::stream::{self, StreamExt, TryStreamExt};
use lockcore::{EntryDetails, LockKey, QueuedEntry, Result};
use zookeeper_client::Error as ClientError;

use crate::connection::Connection;
use crate::layout::{Node, adopt_limit, is_stray, read_data};
use crate::session::{AT_ONCE, ZooKeeperSession, stat, token};

impl ZooKeeperSession {
    /// The entries, ours by their ids, others by the names of their nodes.
    pub(crate) async fn entries(&self, lock: &LockKey) -> Result<Vec<QueuedEntry>> {
        let (details, own) = (self.details(lock).await?, self.places.own(lock));
        let entries = details.into_iter().map(|(node, entry)| {
            let id = own.get(&node.name).unwrap_or(&node.name);
            QueuedEntry { id: id.clone(), kind: entry.kind }
        });
        Ok(entries.collect())
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
