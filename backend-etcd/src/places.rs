//! What a session knows of its own entries, and the slots that they use.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lockcore::queue::Standing;
use lockcore::{Entry, EntryId, EntryKind, LockKey};

use crate::layout::{Slot, value};

/// What is known of one entry.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) slot: Slot,
    /// What the key of the entry holds.
    pub(crate) value: String,
    /// The revision of its creation, once that is known.
    pub(crate) created: Option<i64>,
    /// Where it stood, as long as it and all that it waits for stay.
    pub(crate) stood: Option<Standing>,
    /// The requests to create it that may still be executed.
    pub(crate) unheard: Vec<u64>,
}

/// The own entries of a session, their slots, and the numbers of the requests that created them.
#[derive(Debug)]
pub(crate) struct Places {
    session: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    requests: u64,
    own: HashMap<EntryId, Place>,
    slots: HashMap<(LockKey, EntryKind), Slots>,
}

/// The slots for entries of one kind in one queue.
#[derive(Debug, Default)]
struct Slots {
    made: u64,
    free: Vec<u64>,
}

impl State {
    fn free_slot(&mut self, session: u64, lock: &LockKey, kind: EntryKind) -> Slot {
        let slots = self.slots.entry((lock.clone(), kind)).or_default();
        let number = slots.free.pop().unwrap_or_else(|| {
            slots.made += 1;
            slots.made - 1
        });
        Slot { session, number, kind }
    }
}

impl Places {
    pub(crate) fn new(session: u64) -> Self {
        Self { session, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request to create the entry is about to be sent: its number, and what is known of the entry.
    pub(crate) fn trying(&self, lock: &LockKey, entry: &Entry) -> (u64, Place) {
        let mut state = self.lock();
        state.requests += 1;
        let request = state.requests;
        let place = match state.own.remove(&entry.id) {
            Some(place) => place,
            None => {
                let slot = state.free_slot(self.session, lock, entry.kind);
                Place { slot, value: value(entry), created: None, stood: None, unheard: Vec::new() }
            }
        };
        let place = state.own.entry(entry.id.clone()).or_insert(place);
        place.unheard.push(request);
        (request, place.clone())
    }

    /// The request was answered: it is not executed later.
    pub(crate) fn heard(&self, id: &EntryId, request: u64) {
        self.change(id, |place| place.unheard.retain(|other| *other != request));
    }

    /// The entry was created at this revision, by a request after which no earlier one is executed any more.
    pub(crate) fn appended(&self, id: &EntryId, created: i64) {
        self.change(id, |place| {
            place.created = Some(created);
            place.unheard.clear();
        });
    }

    /// The entry was found, created at this revision by one of the requests that were not answered.
    pub(crate) fn found(&self, id: &EntryId, created: i64) {
        self.change(id, |place| {
            place.created = Some(created);
            if place.unheard.len() == 1 {
                place.unheard.clear();
            }
        });
    }

    /// Somebody else is in the slot of the entry: it takes another one.
    pub(crate) fn elsewhere(&self, lock: &LockKey, id: &EntryId, kind: EntryKind) {
        let mut state = self.lock();
        let slot = state.free_slot(self.session, lock, kind);
        if let Some(place) = state.own.get_mut(id) {
            place.slot = slot;
        }
    }

    /// This is where the entry stands.
    pub(crate) fn stands(&self, id: &EntryId, standing: &Standing) {
        self.change(id, |place| place.stood = Some(standing.clone()));
    }

    fn change(&self, id: &EntryId, change: impl FnOnce(&mut Place)) {
        self.lock().own.get_mut(id).map(change);
    }

    pub(crate) fn get(&self, id: &EntryId) -> Option<Place> {
        self.lock().own.get(id).cloned()
    }

    /// The entry is gone for good: its slot is free for another.
    pub(crate) fn forget(&self, lock: &LockKey, id: &EntryId) {
        let mut state = self.lock();
        let Some(Place { slot, .. }) = state.own.remove(id) else { return };
        let key = (lock.clone(), slot.kind);
        if let Some(slots) = state.slots.get_mut(&key) {
            slots.free.push(slot.number);
            if slots.free.len() as u64 == slots.made {
                state.slots.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lockcore::{Family, LockName};

    use super::*;

    fn lock() -> LockKey {
        LockKey { family: Family::Lock, name: LockName::new("a").unwrap() }
    }

    fn entry(kind: EntryKind) -> Entry {
        Entry { id: EntryId::random(), kind, label: String::new() }
    }

    #[test]
    fn a_slot_is_used_by_one_entry_at_a_time_and_then_again() {
        let (places, lock) = (Places::new(5), lock());
        let entries = [EntryKind::Exclusive, EntryKind::Exclusive, EntryKind::Shared].map(entry);
        let slots = || entries.each_ref().map(|entry| places.trying(&lock, entry).1.slot.to_string());
        assert_eq!(slots(), ["5-0-ex", "5-1-ex", "5-0-sh"]);
        assert_eq!(slots(), ["5-0-ex", "5-1-ex", "5-0-sh"]);
        places.forget(&lock, &entries[0].id);
        places.forget(&lock, &entries[0].id);
        assert_eq!(places.trying(&lock, &entry(EntryKind::Exclusive)).1.slot.to_string(), "5-0-ex");
        assert_eq!(places.trying(&lock, &entry(EntryKind::Exclusive)).1.slot.to_string(), "5-2-ex");
    }

    #[test]
    fn a_slot_with_somebody_else_in_it_is_not_used_again() {
        let (places, lock, [ours, next]) =
            (Places::new(5), lock(), [(); 2].map(|()| entry(EntryKind::Exclusive)));
        places.trying(&lock, &ours);
        places.elsewhere(&lock, &ours.id, ours.kind);
        assert_eq!(places.get(&ours.id).unwrap().slot.number, 1);
        places.forget(&lock, &ours.id);
        assert_eq!(places.trying(&lock, &next).1.slot.number, 1);
    }

    #[test]
    fn nothing_is_left_of_an_entry_that_is_gone() {
        let (places, lock, entry) = (Places::new(5), lock(), entry(EntryKind::Exclusive));
        places.trying(&lock, &entry);
        places.forget(&lock, &entry.id);
        let state = places.lock();
        assert!(state.own.is_empty() && state.slots.is_empty());
    }

    #[test]
    fn what_may_still_be_executed() {
        let (places, lock, entry) = (Places::new(5), lock(), entry(EntryKind::Exclusive));
        let unheard = || places.get(&entry.id).unwrap().unheard;
        let [first, second, third] = [(); 3].map(|()| places.trying(&lock, &entry).0);
        assert!(first < second && second < third);
        places.heard(&entry.id, third);
        assert_eq!(unheard(), [first, second]);
        // One of the two created it, the other may still come.
        places.found(&entry.id, 9);
        assert_eq!(unheard(), [first, second]);
        places.heard(&entry.id, second);
        places.found(&entry.id, 9);
        assert_eq!(unheard(), []);
        places.trying(&lock, &entry);
        places.appended(&entry.id, 10);
        assert_eq!(unheard(), []);
    }
}
