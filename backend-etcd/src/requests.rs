//! What a session needs for its requests to queues, and the requests of which those are made.

use std::future::Future;
use std::sync::Arc;

use etcd_client::{GetOptions, GetResponse, Txn, TxnResponse};
use lockcore::session::Loss;
use lockcore::{EntryId, Error, ErrorKind, LockKey, Result};

use crate::layout::{Stay, lock_prefix};
use crate::lease::SessionLease;
use crate::own_entries::OwnEntries;
use crate::turns::Turns;
use crate::watches::Watches;

/// The requests of one session. Those to queues are in `queue.rs`, those of waiters in `wait.rs`.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) lease: SessionLease,
    pub(crate) root: String,
    pub(crate) own_entries: Arc<OwnEntries>,
    pub(crate) watches: Watches,
    pub(crate) turns: Turns,
}

impl Requests {
    /// The answer to a request; none for a lost session.
    pub(crate) async fn unless_lost<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        if let Some(loss) = self.lease.local.loss() {
            return Err(Error::lost(loss));
        }
        let answer = answer.await;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::SessionLost) {
            self.lease.local.end(Loss::Expired);
        }
        answer
    }

    pub(crate) async fn txn(&self, txn: Txn) -> Result<TxnResponse> {
        self.unless_lost(self.lease.connection.txn(txn)).await
    }

    /// All keys that begin like this, as far as the options ask for them.
    pub(crate) async fn get(&self, prefix: &str, options: GetOptions) -> Result<GetResponse> {
        self.unless_lost(self.lease.connection.get(prefix, options.with_prefix())).await
    }

    pub(crate) fn lock_prefix(&self, lock: &LockKey) -> String {
        lock_prefix(&self.root, lock)
    }

    /// The stay of an entry of ours, or of one that an answer of ours named.
    pub(crate) fn stay(&self, lock: &LockKey, id: &EntryId) -> Option<Stay> {
        let prefix = self.lock_prefix(lock);
        match self.own_entries.get(id) {
            Some(own) => Some(Stay { key: own.slot.key(&prefix), created: own.created? }),
            None => Stay::of(id, &prefix),
        }
    }
}
