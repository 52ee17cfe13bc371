//! A session, and what the core asks of it.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use etcd_client::{GetOptions, GetResponse, Txn, TxnResponse};
use lockcore::queue::Standing;
use lockcore::session::{Lease, Loss};
use lockcore::{
    Enqueued, Entry, EntryDetails, EntryId, Error, ErrorKind, Family, FencingToken, LockKey, QueueSession,
    Recorded, Removed, Result, Revision, Snapshot,
};

use crate::connection::Connection;
use crate::keep_alive::KeepAlive;
use crate::layout::{Stay, entries, family_prefix, lock_name, lock_prefix};
use crate::options::EtcdOptions;
use crate::places::Places;
use crate::queue::token;
use crate::turns::Turns;
use crate::watches::{Watcher, Watches};

/// A session with etcd: a lease, and keys on it.
#[derive(Debug)]
pub(crate) struct EtcdSession {
    pub(crate) keep_alive: KeepAlive,
    pub(crate) root: String,
    pub(crate) places: Arc<Places>,
    pub(crate) watches: Watches,
    pub(crate) turns: Turns,
}

impl EtcdSession {
    /// Opens a session, and keeps it alive.
    pub(crate) async fn open(options: EtcdOptions) -> Result<Self> {
        let root = options.root().to_owned();
        let keep_alive = KeepAlive::begin(Arc::new(Connection::new(options))).await?;
        let places = Arc::new(Places::new(keep_alive.session));
        let (watcher, watches) = Watcher::new(keep_alive.connection.clone(), places.clone());
        tokio::spawn(live(keep_alive.clone(), watcher));
        Ok(Self { root, places, watches, keep_alive, turns: Turns::default() })
    }

    /// The answer to a request; none for a lost session.
    pub(crate) async fn unless_lost<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        if let Some(loss) = self.keep_alive.lease.loss() {
            return Err(Error::lost(loss));
        }
        let answer = answer.await;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::SessionLost) {
            self.keep_alive.lease.end(Loss::Expired);
        }
        answer
    }

    pub(crate) async fn txn(&self, txn: Txn) -> Result<TxnResponse> {
        self.unless_lost(self.keep_alive.connection.txn(txn)).await
    }

    /// All keys that begin like this, as far as the options ask for them.
    pub(crate) async fn get(&self, prefix: &str, options: GetOptions) -> Result<GetResponse> {
        self.unless_lost(self.keep_alive.connection.get(prefix, options.with_prefix())).await
    }

    pub(crate) fn lock_prefix(&self, lock: &LockKey) -> String {
        lock_prefix(&self.root, lock)
    }

    /// The stay of an entry of ours, or of one that an answer of ours named.
    pub(crate) fn stay(&self, lock: &LockKey, id: &EntryId) -> Option<Stay> {
        let prefix = self.lock_prefix(lock);
        match self.places.get(id) {
            Some(own) => Some(Stay { key: own.slot.key(&prefix), created: own.created? }),
            None => Stay::of(id, &prefix),
        }
    }

    async fn all_names(&self) -> Result<BTreeSet<LockKey>> {
        let mut names = BTreeSet::new();
        for family in [Family::Lock, Family::Semaphore] {
            let prefix = family_prefix(&self.root, family);
            let got = self.get(&prefix, GetOptions::new().with_keys_only()).await?;
            let decoded = got.kvs().iter().filter_map(|key| lock_name(&prefix, key.key()));
            names.extend(decoded.map(|name| LockKey { family, name }));
        }
        Ok(names)
    }
}

/// Whatever comes first ends all: nothing renews a lost session.
async fn live(keep_alive: KeepAlive, watcher: Watcher) {
    let lease = keep_alive.lease.clone();
    tokio::select! {
        _ = lease.lost() => {}
        () = keep_alive.run() => {}
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
        &self.keep_alive.lease
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        self.append(lock, entry).await.map_err(doing("append to the queue of", lock))
    }

    /// The entries are called by their places.
    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        let view = self.view(lock, GetOptions::new().with_keys_only()).await;
        let view = view.map_err(doing("list the queue of", lock))?;
        Ok(Snapshot { entries: entries(view.positions()), revision: view.revision })
    }

    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        self.standing(lock, id).await.map_err(doing("look at the queue of", lock))
    }

    async fn watch(
        &self,
        lock: &LockKey,
        waiter: &EntryId,
        ids: &[EntryId],
        since: Revision,
    ) -> Result<Option<Standing>> {
        self.news(lock, waiter, ids, since).await.map_err(doing("watch the queue of", lock))
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let removed = self.clear(lock, id).await.map_err(doing("remove from the queue of", lock))?;
        self.places.forget(lock, id);
        Ok(removed)
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        let view = self.view(lock, GetOptions::new()).await.map_err(doing("describe the queue of", lock))?;
        let details = view.queue.into_iter().map(|seen| {
            let (id, label) = seen.id_and_label();
            EntryDetails { id, kind: seen.kind(), token: token(seen.position.created), label, since: None }
        });
        Ok(details.collect())
    }

    async fn record(&self, lock: &LockKey) -> Result<Recorded> {
        self.read_record(lock).await.map_err(doing("read the record of", lock))
    }

    async fn set_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        self.write_record(lock, token, text).await.map_err(doing("set the record of", lock))
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
        self.keep_alive.lease.end(Loss::Closed);
        match self.keep_alive.stop().await {
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
        self.keep_alive.lease.end(Loss::Closed);
    }
}
