//! What a session knows of its own entries, and of the queues in which they stand.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use lockcore::{EntryId, FencingToken, LockKey, Result};

use crate::layout::Node;

/// A lock's entries, sorted by the numbers in their names.
pub(crate) type Queue = Arc<Vec<Node>>;

/// One request for a queue, and all who wait for the answer.
type Listing = Shared<BoxFuture<'static, Result<Queue>>>;

/// Where an entry of ours stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The name of its node.
    pub(crate) node: String,
    pub(crate) token: FencingToken,
}

/// What is known of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// This session has not tried to make it, or removed it for good.
    Nothing,
    /// This session tried to make it and did not hear how that ended.
    Tried,
    /// It is, or was, there.
    At(Place),
}

#[derive(Debug)]
pub(crate) struct Places {
    /// None when the session is closed: a listing that nobody completes would keep the connection.
    locks: Mutex<Option<HashMap<LockKey, Lock>>>,
}

impl Default for Places {
    fn default() -> Self {
        Self { locks: Mutex::new(Some(HashMap::new())) }
    }
}

#[derive(Debug, Default)]
struct Lock {
    own: HashMap<EntryId, Known>,
    /// Nodes that look like entries and are none. One that was found ahead of an entry of ours stays that: what the
    /// server makes later stands behind.
    strays: Arc<HashSet<String>>,
    last: Option<(Arc<AtomicBool>, Listing)>,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<LockKey, Lock>>> {
        // Nothing panics while it is held.
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `f` says of a lock in which there is an entry of ours.
    fn with<T>(&self, lock: &LockKey, f: impl FnOnce(&mut Lock) -> T) -> Option<T> {
        self.lock().as_mut()?.get_mut(lock).map(f)
    }

    pub(crate) fn known(&self, lock: &LockKey, id: &EntryId) -> Known {
        let known = self.with(lock, |lock| lock.own.get(id).cloned()).flatten();
        known.unwrap_or(Known::Nothing)
    }

    /// A request to make the entry is about to be sent.
    pub(crate) fn trying(&self, lock: &LockKey, id: &EntryId) {
        if let Some(locks) = &mut *self.lock() {
            locks.entry(lock.clone()).or_default().own.insert(id.clone(), Known::Tried);
        }
    }

    /// The entry is here.
    pub(crate) fn found(&self, lock: &LockKey, id: &EntryId, place: Place) {
        self.with(lock, |lock| lock.own.get_mut(id).map(|known| *known = Known::At(place)));
    }

    /// The entry is gone, or was never made.
    pub(crate) fn forget(&self, lock: &LockKey, id: &EntryId) {
        if let Some(locks) = &mut *self.lock()
            && let Some(known) = locks.get_mut(lock)
        {
            known.own.remove(id);
            if known.own.is_empty() {
                locks.remove(lock);
            }
        }
    }

    /// A node that looks like an entry is none.
    pub(crate) fn stray(&self, lock: &LockKey, name: String) {
        self.with(lock, |lock| Arc::make_mut(&mut lock.strays).insert(name));
    }

    /// Which nodes look like entries and are none, as far as one of our entries met them.
    pub(crate) fn strays(&self, lock: &LockKey) -> Arc<HashSet<String>> {
        self.with(lock, |lock| lock.strays.clone()).unwrap_or_default()
    }

    /// The session is closed.
    pub(crate) fn close(&self) {
        self.lock().take();
    }

    /// The queue, by a request that is sent after this call: by `list`, or by one that others wait for already. A
    /// thousand waiters that come at once would otherwise read a thousand lists of a thousand names.
    pub(crate) fn listing(
        &self,
        lock: &LockKey,
        list: impl Future<Output = Result<Queue>> + Send + 'static,
    ) -> Listing {
        let list = list.boxed();
        let mut locks = self.lock();
        match locks.as_mut().and_then(|locks| locks.get_mut(lock)) {
            Some(lock) => lock.join(list),
            None => list.shared(),
        }
    }
}

impl Lock {
    fn join(&mut self, list: BoxFuture<'static, Result<Queue>>) -> Listing {
        if let Some((_, listing)) = self.last.as_ref().filter(|(sent, _)| !sent.load(Ordering::SeqCst)) {
            return listing.clone();
        }
        let (previous, sent) = (self.last.take(), Arc::new(AtomicBool::new(false)));
        let sending = sent.clone();
        let listing = async move {
            if let Some((_, previous)) = previous {
                let _ = previous.await;
            }
            sending.store(true, Ordering::SeqCst);
            list.await
        };
        let listing = listing.boxed().shared();
        self.last = Some((sent, listing.clone()));
        listing
    }
}
