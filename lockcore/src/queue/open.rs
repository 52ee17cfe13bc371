//! A session in use, and the places in queues that are taken on it.

use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::backend::{QueueSession, Removed};
use crate::entry::{EntryId, LockKey};
use crate::error::{Error, Result};
use crate::queue::follow::Followed;
use crate::queue::held::{Unwatched, watch_held};
use crate::queue::janitor::{Removal, remove_dropped};
use crate::queue::reentry::LongHolds;
use crate::queue::standing::Standing;
use crate::queue::watch::watch;
use crate::session::Lease;
use crate::snapshot::Revision;

/// A session in use, with what removes and what watches its entries.
#[derive(Debug)]
pub(super) struct OpenSession {
    session: Arc<dyn QueueSession>,
    /// What errors call the place where it is.
    place: Arc<str>,
    removals: UnboundedSender<Removal>,
    unwatched: Arc<Unwatched>,
    long_holds: Arc<LongHolds>,
    followed: Arc<Followed>,
}

impl OpenSession {
    /// Starts the janitor and the watcher of this session, on the current runtime.
    pub(super) fn new(session: Arc<dyn QueueSession>, place: Arc<str>, followed: Arc<Followed>) -> Self {
        let (removals, requests) = unbounded_channel();
        let unwatched = Arc::<Unwatched>::default();
        let long_holds = Arc::<LongHolds>::default();
        let watcher = watch_held(session.clone(), unwatched.clone(), long_holds.clone());
        tokio::spawn(remove_dropped(session.clone(), requests, watcher));
        Self { session, place, removals, unwatched, long_holds, followed }
    }

    pub(super) fn session(&self) -> &dyn QueueSession {
        &*self.session
    }

    pub(super) fn place(&self) -> &Arc<str> {
        &self.place
    }

    pub(super) fn lease(&self) -> &Lease {
        self.session.lease()
    }

    /// What is held, until it is watched.
    pub(super) fn unwatched(&self) -> &Unwatched {
        &self.unwatched
    }

    /// What is held exclusively, and not only for a moment.
    pub(super) fn long_holds(&self) -> &LongHolds {
        &self.long_holds
    }

    /// What is told of it.
    pub(super) fn followed(&self) -> &Followed {
        &self.followed
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
