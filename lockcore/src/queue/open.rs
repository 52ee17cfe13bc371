//! A session in use, and the places in queues that are taken on it.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::backend::{QueueSession, Removed, Revision};
use crate::chance;
use crate::entry::{EntryId, LockKey};
use crate::error::{Error, Result};
use crate::queue::held::{Unwatched, watch_held};
use crate::queue::janitor::{Removal, tend};
use crate::queue::standing::Standing;
use crate::session::Lease;

/// A session in use, with what removes and what watches its entries.
#[derive(Debug)]
pub(super) struct OpenSession {
    session: Arc<dyn QueueSession>,
    removals: UnboundedSender<Removal>,
    unwatched: Arc<Unwatched>,
}

impl OpenSession {
    /// Starts the janitor and the watcher of this session, on the current runtime.
    pub(super) fn new(session: Arc<dyn QueueSession>) -> Self {
        let (removals, requests) = unbounded_channel();
        let unwatched = Arc::<Unwatched>::default();
        let watcher = watch_held(session.clone(), unwatched.clone());
        tokio::spawn(tend(session.clone(), requests, watcher));
        Self { session, removals, unwatched }
    }

    pub(super) fn session(&self) -> &dyn QueueSession {
        &*self.session
    }

    pub(super) fn lease(&self) -> &Lease {
        self.session.lease()
    }

    /// What is held, until it is watched.
    pub(super) fn unwatched(&self) -> &Unwatched {
        &self.unwatched
    }

    /// The server's answer, or the loss of the session, whichever comes first.
    pub(super) async fn unless_lost<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            answer = answer => answer,
            loss = self.lease().lost() => Err(Error::lost(loss)),
        }
    }
}

/// Watches until one of the entries has left, or without reason; the waiter's own joins them when the watch is set again.
///
/// No watch is trusted for long: servers and client libraries have lost wake-ups
/// (<https://github.com/etcd-io/etcd/issues/18089>, <https://github.com/python-zk/kazoo/pull/151>). Setting it again
/// finds out who is not there any more, without a listing of the whole queue or the history since they were seen.
pub(super) async fn watch(
    session: &dyn QueueSession,
    lock: &LockKey,
    waiter: &EntryId,
    mut ids: Vec<EntryId>,
    mut seen: Revision,
) -> Result<Option<Standing>> {
    const TRUSTED: Duration = Duration::from_secs(30);
    loop {
        let trusted = TRUSTED.mul_f64(chance::draw(|rng| rng.random_range(0.8..1.0)));
        let watched = session.watch(lock, waiter, &ids, seen);
        if let Ok(returned) = tokio::time::timeout(trusted, watched).await {
            return returned;
        }
        if !ids.contains(waiter) {
            ids.push(waiter.clone());
        }
        seen = Revision::default();
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
    /// Waits until one of these may have left, or our own entry, if only after a while.
    pub(super) fn watch(
        &self,
        wake: Vec<EntryId>,
        seen: Revision,
    ) -> impl Future<Output = Result<Option<Standing>>> {
        watch(self.open.session(), &self.lock, &self.id, wake, seen)
    }

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
