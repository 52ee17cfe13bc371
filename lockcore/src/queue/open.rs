//! A session in use, and the places in queues that are taken on it.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::backend::{QueueSession, Removed, Revision};
use crate::entry::{EntryId, LockKey};
use crate::error::{Error, Result};
use crate::queue::janitor::{Removal, tend};
use crate::session::Lease;

/// A session in use, with its janitor.
#[derive(Debug)]
pub(super) struct OpenSession {
    session: Arc<dyn QueueSession>,
    removals: UnboundedSender<Removal>,
}

impl OpenSession {
    /// No watch is trusted for longer than this: servers and client libraries have lost wake-ups
    /// (<https://github.com/etcd-io/etcd/issues/18089>, <https://github.com/python-zk/kazoo/pull/151>).
    const RECHECK: Duration = Duration::from_secs(30);

    /// Starts the janitor of this session, on the current runtime.
    pub(super) fn new(session: Arc<dyn QueueSession>) -> Self {
        let (removals, requests) = unbounded_channel();
        tokio::spawn(tend(session.clone(), requests));
        Self { session, removals }
    }

    pub(super) fn session(&self) -> &dyn QueueSession {
        &*self.session
    }

    pub(super) fn lease(&self) -> &Lease {
        self.session.lease()
    }

    /// The server's answer, or the loss of the session, whichever comes first.
    pub(super) async fn unless_lost<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            answer = answer => answer,
            loss = self.lease().lost() => Err(Error::lost(loss)),
        }
    }

    /// Watches, but not for ever.
    pub(super) async fn watch_a_while(&self, lock: &LockKey, ids: &[EntryId], seen: Revision) -> Result<()> {
        let recheck = Self::RECHECK.mul_f64(rand::rng().random_range(0.8..1.0));
        tokio::time::timeout(recheck, self.session.watch(lock, ids, seen)).await.unwrap_or(Ok(()))
    }
}

/// A place in a queue, or the possibility of one, for which we are responsible: dropped, it is left to the
/// janitor. Made before the entry is sent.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) open: Arc<OpenSession>,
    pub(super) lock: LockKey,
    pub(super) id: EntryId,
    /// Whether there may be an entry.
    pub(super) armed: bool,
}

impl Ticket {
    /// Removes the entry now. If that fails or is dropped, the ticket is as it was.
    pub(super) async fn remove(&mut self) -> Result<Removed> {
        let removed = self.open.session.remove(&self.lock, &self.id).await?;
        self.armed = false;
        Ok(removed)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.armed {
            // Without a janitor the session is over, and the entry with it.
            let _ = self.open.removals.send(Removal { lock: self.lock.clone(), id: self.id.clone() });
        }
    }
}
