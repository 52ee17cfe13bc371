//! A session, and what the core asks of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use etcd_client::GetOptions;
use lockcore::queue::Standing;
use lockcore::session::{Lease, Loss, keep_alive};
use lockcore::{
    Enqueued, Entry, EntryDetails, EntryId, Error, ErrorKind, Family, FencingToken, LockKey, QueueSession,
    Recorded, Removed, Result, Revision, Snapshot,
};

use crate::connection::Connection;
use crate::keep_alive::Renewals;
use crate::layout::{entries, family_prefix, lock_name};
use crate::lease::SessionLease;
use crate::options::EtcdOptions;
use crate::own_entries::OwnEntries;
use crate::queue::token;
use crate::requests::Requests;
use crate::turns::Turns;
use crate::watches::Watcher;

/// A session with etcd: a lease, and keys on it.
#[derive(Debug)]
pub(crate) struct EtcdSession {
    requests: Requests,
}

impl EtcdSession {
    /// Opens a session, and keeps it alive.
    pub(crate) async fn open(options: EtcdOptions) -> Result<Self> {
        let root = options.root().to_owned();
        let lease = SessionLease::begin(Arc::new(Connection::new(options))).await?;
        let own_entries = Arc::new(OwnEntries::new(lease.session));
        let (watcher, watches) = Watcher::new(lease.connection.clone(), own_entries.clone());
        tokio::spawn(live(lease.clone(), watcher));
        Ok(Self { requests: Requests { root, own_entries, watches, lease, turns: Turns::default() } })
    }

    async fn all_names(&self) -> Result<BTreeSet<LockKey>> {
        let mut names = BTreeSet::new();
        for family in [Family::Lock, Family::Semaphore] {
            let prefix = family_prefix(&self.requests.root, family);
            let got = self.requests.get(&prefix, GetOptions::new().with_keys_only()).await?;
            let decoded = got.kvs().iter().filter_map(|key| lock_name(&prefix, key.key()));
            names.extend(decoded.map(|name| LockKey { family, name }));
        }
        Ok(names)
    }
}

/// Whatever comes first ends all: nothing renews a lost session.
async fn live(lease: SessionLease, watcher: Watcher) {
    let (local, mut renewals) = (lease.local.clone(), Renewals::new(lease));
    tokio::select! {
        _ = keep_alive(&local, &mut renewals) => {}
        () = watcher.run() => {}
    }
}

/// Makes an error tell what was being done, and with which lock.
fn doing(what: &'static str, lock: &LockKey) -> impl FnOnce(Error) -> Error {
    move |error| error.with_context(format!("{what} {} {:?}", lock.family, lock.name))
}

#[async_trait]
impl QueueSession for EtcdSession {
    fn lease(&self) -> &Lease {
        &self.requests.lease.local
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        self.requests.append(lock, entry).await.map_err(doing("append to the queue of", lock))
    }

    /// The entries are called by their positions.
    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        let view = self.requests.view(lock, GetOptions::new().with_keys_only()).await;
        let view = view.map_err(doing("list the queue of", lock))?;
        Ok(Snapshot { entries: entries(view.positions()), revision: view.revision })
    }

    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        self.requests.standing(lock, id).await.map_err(doing("look at the queue of", lock))
    }

    async fn watch(
        &self,
        lock: &LockKey,
        waiter: &EntryId,
        ids: &[EntryId],
        since: Revision,
    ) -> Result<Option<Standing>> {
        self.requests.news(lock, waiter, ids, since).await.map_err(doing("watch the queue of", lock))
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let removed = self.requests.clear(lock, id).await.map_err(doing("remove from the queue of", lock))?;
        self.requests.own_entries.forget(lock, id);
        Ok(removed)
    }

    async fn evict(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        self.requests.evict(lock, id).await.map_err(doing("remove an entry from the queue of", lock))
    }

    async fn head_changed(&self, lock: &LockKey, head: Option<&EntryId>) -> Result<()> {
        self.requests.head_changed(lock, head).await.map_err(doing("watch the head of the queue of", lock))
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        let view = self
            .requests
            .view(lock, GetOptions::new())
            .await
            .map_err(doing("describe the queue of", lock))?;
        let details = view.queue.into_iter().map(|seen| {
            let (id, label) = seen.id_and_label();
            EntryDetails { id, kind: seen.kind(), token: token(seen.position.created), label, since: None }
        });
        Ok(details.collect())
    }

    async fn record(&self, lock: &LockKey) -> Result<Recorded> {
        self.requests.read_record(lock).await.map_err(doing("read the record of", lock))
    }

    async fn set_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        self.requests.write_record(lock, token, text).await.map_err(doing("set the record of", lock))
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        let names = self.all_names().await.map_err(|error| error.with_context("list all locks"))?;
        Ok(names.into_iter().collect())
    }

    /// All keys but records are on the leases of sessions: nothing is left of those that are dead.
    async fn cleanup(&self) -> Result<u64> {
        Ok(0)
    }

    async fn close(&self) -> Result<()> {
        self.requests.lease.local.end(Loss::Closed);
        match self.requests.lease.stop().await {
            Err(error) if error.kind() != ErrorKind::SessionLost => {
                Err(error.with_context("close the session"))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for EtcdSession {
    fn drop(&mut self) {
        // Ends what keeps the session alive.
        self.requests.lease.local.end(Loss::Closed);
    }
}
