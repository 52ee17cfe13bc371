//! What a session knows of its own entries, and of the queues they stand in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockcore::{EntryId, FencingToken, LockKey};

use crate::layout::Node;

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

#[derive(Debug, Default)]
pub(crate) struct Places {
    locks: Mutex<HashMap<LockKey, Lock>>,
}

#[derive(Debug, Default)]
struct Lock {
    own: HashMap<EntryId, Known>,
    /// As last seen.
    queue: Arc<Vec<Node>>,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, HashMap<LockKey, Lock>> {
        // Nothing panics while it is held.
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn known(&self, lock: &LockKey, id: &EntryId) -> Known {
        self.lock().get(lock).and_then(|lock| lock.own.get(id)).cloned().unwrap_or(Known::Nothing)
    }

    /// A request to make the entry is about to be sent.
    pub(crate) fn trying(&self, lock: &LockKey, id: &EntryId) {
        self.lock().entry(lock.clone()).or_default().own.insert(id.clone(), Known::Tried);
    }

    /// The entry is here.
    pub(crate) fn found(&self, lock: &LockKey, id: &EntryId, place: Place) {
        if let Some(known) = self.lock().get_mut(lock).and_then(|lock| lock.own.get_mut(id)) {
            *known = Known::At(place);
        }
    }

    /// The entry is gone, or was never made.
    pub(crate) fn forget(&self, lock: &LockKey, id: &EntryId) {
        let mut locks = self.lock();
        if let Some(known) = locks.get_mut(lock) {
            known.own.remove(id);
            if known.own.is_empty() {
                locks.remove(lock);
            }
        }
    }

    /// Keeps the queue while one of our entries stands in it.
    pub(crate) fn saw(&self, lock: &LockKey, queue: &Arc<Vec<Node>>) {
        if let Some(lock) = self.lock().get_mut(lock) {
            lock.queue = queue.clone();
        }
    }

    /// The queue as last seen, if one of our entries stands in it.
    pub(crate) fn seen(&self, lock: &LockKey) -> Option<Arc<Vec<Node>>> {
        self.lock().get(lock).map(|lock| lock.queue.clone())
    }
}
