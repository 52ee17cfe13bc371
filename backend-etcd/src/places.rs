//! What a session knows of its own entries.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lockcore::{EntryId, EntryKind};

/// What is known of one entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) kind: EntryKind,
    /// The revision of its creation, once that is known.
    pub(crate) created: Option<i64>,
    /// The largest number of a request to create it that may still be executed.
    pub(crate) unheard: Option<u64>,
}

/// The own entries of a session, and the numbers of the requests that created them.
#[derive(Debug, Default)]
pub(crate) struct Places {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    requests: u64,
    own: HashMap<EntryId, Place>,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request to create the entry is about to be sent: its number, and what was unheard before.
    pub(crate) fn trying(&self, id: &EntryId, kind: EntryKind) -> (u64, Option<u64>) {
        let mut state = self.lock();
        state.requests += 1;
        let number = state.requests;
        let place = state.own.entry(id.clone()).or_insert(Place { kind, created: None, unheard: None });
        (number, place.unheard.replace(number))
    }

    /// The request was answered.
    pub(crate) fn heard(&self, id: &EntryId, unheard_before: Option<u64>) {
        self.change(id, |place| place.unheard = unheard_before);
    }

    /// The entry was created at this revision.
    pub(crate) fn found(&self, id: &EntryId, created: i64) {
        self.change(id, |place| place.created = Some(created));
    }

    fn change(&self, id: &EntryId, change: impl FnOnce(&mut Place)) {
        self.lock().own.get_mut(id).map(change);
    }

    pub(crate) fn get(&self, id: &EntryId) -> Option<Place> {
        self.lock().own.get(id).copied()
    }

    /// The entry is gone for good.
    pub(crate) fn forget(&self, id: &EntryId) {
        self.lock().own.remove(id);
    }
}
