//! What a session knows of its own entries: which to renew, and who sleeps on which.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockcore::{EntryId, LockKey, Revision};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The entries that this session may have in queues, from before the first request to make them until the
/// first request to remove them has been answered.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<EntryId, Own>,
    /// Which entry has which [number](Own::number).
    ids: HashMap<u64, EntryId>,
    last: u64,
}

#[derive(Debug)]
struct Own {
    lock: LockKey,
    /// Tells the entries of this session apart: it goes through the core as the revision of what a waiter saw, and comes
    /// back when it wants to sleep.
    number: u64,
    /// Requests to make the entry, and how many of them were answered.
    asked: u32,
    answered: u32,
    leaving: bool,
    woken: Arc<Notify>,
    /// When somebody ahead may have died silently.
    recheck: Option<Instant>,
}

impl Entries {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request to make the entry is about to be sent.
    pub(crate) fn asking(&self, lock: &LockKey, id: &EntryId) {
        let state = &mut *self.lock();
        let own = state.entries.entry(id.clone()).or_insert_with(|| {
            state.last += 1;
            state.ids.insert(state.last, id.clone());
            Own {
                lock: lock.clone(),
                number: state.last,
                asked: 0,
                answered: 0,
                leaving: false,
                woken: Arc::default(),
                recheck: None,
            }
        });
        own.asked += 1;
    }

    /// It has been answered, or was never executed.
    pub(crate) fn answered(&self, id: &EntryId) {
        self.lock().entries.get_mut(id).into_iter().for_each(|own| own.answered += 1);
    }

    /// Somebody ahead of the entry may be dead at `recheck`. The revision to [sleep](Self::sleeper) with.
    pub(crate) fn saw(&self, id: &EntryId, recheck: Option<Instant>) -> Revision {
        let mut state = self.lock();
        let Some(own) = state.entries.get_mut(id) else { return Revision::default() };
        own.recheck = recheck;
        Revision(own.number)
    }

    /// What wakes whoever saw this: a message, or time. Without a revision it is the owner of one of the entries.
    pub(crate) fn sleeper(&self, ids: &[EntryId], seen: Revision) -> Option<(Arc<Notify>, Option<Instant>)> {
        let state = self.lock();
        let waiter = state.ids.get(&seen.0).and_then(|id| state.entries.get(id));
        if let Some(waiter) = waiter {
            return Some((waiter.woken.clone(), waiter.recheck));
        }
        ids.iter().find_map(|id| state.entries.get(id)).map(|own| (own.woken.clone(), None))
    }

    /// Wakes whoever sleeps for this entry, or will.
    pub(crate) fn wake(&self, id: &EntryId) {
        self.lock().entries.get(id).into_iter().for_each(|own| own.woken.notify_one());
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        self.lock().entries.values().for_each(|own| own.woken.notify_one());
    }

    /// A request to remove the entry is about to be sent: from here on nothing renews it. Whether a request to make it
    /// may still be on its way.
    pub(crate) fn leaving(&self, id: &EntryId) -> bool {
        self.lock().entries.get_mut(id).is_some_and(|own| {
            own.leaving = true;
            own.asked != own.answered
        })
    }

    /// The entry is gone.
    pub(crate) fn forget(&self, id: &EntryId) {
        let mut state = self.lock();
        if let Some(own) = state.entries.remove(id) {
            state.ids.remove(&own.number);
        }
    }

    /// The entries to renew, lock by lock. They include those that are being made, or the server could count the time
    /// of such an entry from before the renewal that does not mention it.
    pub(crate) fn to_renew(&self) -> HashMap<LockKey, Vec<EntryId>> {
        let mut locks: HashMap<LockKey, Vec<EntryId>> = HashMap::new();
        for (id, own) in self.lock().entries.iter().filter(|(_, own)| !own.leaving) {
            locks.entry(own.lock.clone()).or_default().push(id.clone());
        }
        locks
    }

    /// All entries.
    pub(crate) fn all(&self) -> Vec<(LockKey, EntryId)> {
        self.lock().entries.iter().map(|(id, own)| (own.lock.clone(), id.clone())).collect()
    }
}
