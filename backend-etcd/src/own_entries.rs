//! What a session knows of its own entries, and the slots that they use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockcore::queue::Standing;
use lockcore::{Entry, EntryId, EntryKind, LockKey};
use tokio::sync::Notify;

use crate::layout::{Position, Slot, value};
use crate::message::Message;

/// What is known of one entry.
#[derive(Debug, Clone)]
pub(crate) struct OwnEntry {
    pub(crate) slot: Slot,
    /// What the key of the entry holds.
    pub(crate) value: String,
    /// The revision of its creation, once that is known.
    pub(crate) created: Option<i64>,
    /// Where it stood, as long as it and all that it waits for stay.
    pub(crate) stood: Option<Standing>,
    /// How many stood ahead of it, where no more is known than that some of them did.
    pub(crate) ahead: u32,
    /// That it holds, as a [message](Message) said; and who stands behind, as far as that said it.
    pub(crate) admitted: Option<Vec<Position>>,
    /// Notified when there is news of it.
    pub(crate) news: Arc<Notify>,
    /// The requests to create it that may still be executed.
    pub(crate) unanswered: Vec<u64>,
}

/// The own entries of a session, their slots, and the numbers of the requests that created them.
#[derive(Debug)]
pub(crate) struct OwnEntries {
    session: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    requests: u64,
    own: HashMap<EntryId, OwnEntry>,
    /// Those of the entries whose revision is known.
    created: HashMap<i64, EntryId>,
    /// What messages said of entries whose revision may not be known yet.
    early: HashMap<i64, Vec<Position>>,
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

    /// The entry was created at this revision.
    fn created(&mut self, id: &EntryId, created: i64) {
        let Some(place) = self.own.get_mut(id) else { return };
        if let Some(other) = place.created.replace(created) {
            self.created.remove(&other);
        }
        self.created.insert(created, id.clone());
        if let Some(behind) = self.early.remove(&created) {
            self.admitted(created, behind);
        }
        self.drop_early();
    }

    /// The entry that was created at this revision holds. Whoever waits for that is woken up.
    fn admitted(&mut self, created: i64, behind: Vec<Position>) {
        if let Some(place) = self.created.get(&created).and_then(|id| self.own.get_mut(id)) {
            (place.stood, place.admitted) = (Some(Standing::Holds), Some(behind));
            place.news.notify_one();
        } else if self.created.len() < self.own.len() {
            self.early.insert(created, behind);
        }
    }

    /// When the revisions of all entries are known, the other messages were for entries that are gone.
    fn drop_early(&mut self) {
        if self.created.len() == self.own.len() {
            self.early.clear();
        }
    }
}

impl OwnEntries {
    pub(crate) fn new(session: u64) -> Self {
        Self { session, state: Mutex::default() }
    }

    /// The number of the session.
    pub(crate) fn session(&self) -> u64 {
        self.session
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request to create the entry is about to be sent: its number, and what is known of the entry.
    pub(crate) fn trying(&self, lock: &LockKey, entry: &Entry) -> (u64, OwnEntry) {
        let mut state = self.lock();
        state.requests += 1;
        let request = state.requests;
        let place = match state.own.remove(&entry.id) {
            Some(place) => place,
            None => {
                let slot = state.free_slot(self.session, lock, entry.kind);
                OwnEntry {
                    slot,
                    value: value(entry),
                    created: None,
                    stood: None,
                    ahead: 0,
                    admitted: None,
                    news: Arc::default(),
                    unanswered: Vec::new(),
                }
            }
        };
        let place = state.own.entry(entry.id.clone()).or_insert(place);
        place.unanswered.push(request);
        (request, place.clone())
    }

    /// The request was answered: it is not executed later.
    pub(crate) fn answered(&self, id: &EntryId, request: u64) {
        self.change(id, |place| place.unanswered.retain(|other| *other != request));
    }

    /// The entry was created at this revision, by a request after which no earlier one is executed any more.
    pub(crate) fn appended(&self, id: &EntryId, created: i64) {
        self.lock().created(id, created);
        self.change(id, |place| place.unanswered.clear());
    }

    /// The entry was found, created at this revision by one of the requests that were not answered.
    pub(crate) fn found(&self, id: &EntryId, created: i64) {
        self.lock().created(id, created);
        self.change(id, |place| {
            if place.unanswered.len() == 1 {
                place.unanswered.clear();
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
        self.change(id, |place| (place.stood, place.ahead) = (Some(standing.clone()), 0));
    }

    /// So many stand ahead of the entry that it cannot hold; which of them is the next, was not read.
    pub(crate) fn stands_behind(&self, id: &EntryId, ahead: u32) {
        self.change(id, |place| (place.stood, place.ahead) = (None, ahead));
    }

    /// A message has come.
    pub(crate) fn received(&self, Message { holders, behind }: Message) {
        let mut state = self.lock();
        for created in holders {
            state.admitted(created, behind.clone());
        }
    }

    /// Messages up to this revision may not have come: wakes up those whom they may have been about.
    pub(crate) fn missed_until(&self, revision: i64) {
        let state = self.lock();
        let about =
            state.own.values().filter(|place| place.created.is_none_or(|created| created <= revision));
        about.for_each(|place| place.news.notify_one());
    }

    fn change(&self, id: &EntryId, change: impl FnOnce(&mut OwnEntry)) {
        self.lock().own.get_mut(id).map(change);
    }

    pub(crate) fn get(&self, id: &EntryId) -> Option<OwnEntry> {
        self.lock().own.get(id).cloned()
    }

    /// The entry is gone for good: its slot is free for another.
    pub(crate) fn forget(&self, lock: &LockKey, id: &EntryId) {
        let mut state = self.lock();
        let Some(OwnEntry { slot, created, .. }) = state.own.remove(id) else { return };
        created.map(|created| state.created.remove(&created));
        state.drop_early();
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
        Entry { id: EntryId::random(), kind, label: "".into() }
    }

    #[test]
    fn a_slot_is_used_by_one_entry_at_a_time_and_then_again() {
        let (own_entries, lock) = (OwnEntries::new(5), lock());
        let entries = [EntryKind::Exclusive, EntryKind::Exclusive, EntryKind::Shared].map(entry);
        let slots = || entries.each_ref().map(|entry| own_entries.trying(&lock, entry).1.slot.to_string());
        assert_eq!(slots(), ["ex-5-0", "ex-5-1", "sh-5-0"]);
        assert_eq!(slots(), ["ex-5-0", "ex-5-1", "sh-5-0"]);
        own_entries.forget(&lock, &entries[0].id);
        own_entries.forget(&lock, &entries[0].id);
        assert_eq!(own_entries.trying(&lock, &entry(EntryKind::Exclusive)).1.slot.to_string(), "ex-5-0");
        assert_eq!(own_entries.trying(&lock, &entry(EntryKind::Exclusive)).1.slot.to_string(), "ex-5-2");
    }

    #[test]
    fn a_slot_with_somebody_else_in_it_is_not_used_again() {
        let (own_entries, lock, [ours, next]) =
            (OwnEntries::new(5), lock(), [(); 2].map(|()| entry(EntryKind::Exclusive)));
        own_entries.trying(&lock, &ours);
        own_entries.elsewhere(&lock, &ours.id, ours.kind);
        assert_eq!(own_entries.get(&ours.id).unwrap().slot.number, 1);
        own_entries.forget(&lock, &ours.id);
        assert_eq!(own_entries.trying(&lock, &next).1.slot.number, 1);
    }

    #[test]
    fn nothing_is_left_of_an_entry_that_is_gone() {
        let (own_entries, lock, entry) = (OwnEntries::new(5), lock(), entry(EntryKind::Exclusive));
        own_entries.trying(&lock, &entry);
        own_entries.forget(&lock, &entry.id);
        let state = own_entries.lock();
        assert!(state.own.is_empty() && state.slots.is_empty());
    }

    #[test]
    fn a_message_finds_the_entry_whose_revision_is_not_known_yet_and_no_other() {
        let (own_entries, lock) = (OwnEntries::new(5), lock());
        let [first, second] = [(); 2].map(|()| entry(EntryKind::Exclusive));
        let next = Position { slot: Slot { session: 6, number: 0, kind: EntryKind::Exclusive }, created: 30 };
        let told = |holder| own_entries.received(Message { holders: vec![holder], behind: vec![next] });
        let admitted = |entry: &Entry| own_entries.get(&entry.id).unwrap().admitted;
        told(10);
        own_entries.trying(&lock, &first);
        own_entries.appended(&first.id, 10);
        assert_eq!(admitted(&first), None, "it was told before it was sent");
        own_entries.trying(&lock, &second);
        told(20);
        told(21);
        assert_eq!(admitted(&second), None);
        own_entries.appended(&second.id, 20);
        assert_eq!((admitted(&first), admitted(&second)), (None, Some(vec![next])));
        told(10);
        assert_eq!(admitted(&first), Some(vec![next]));
        for entry in [&first, &second] {
            own_entries.forget(&lock, &entry.id);
        }
        told(10);
        let state = own_entries.lock();
        assert!(state.created.is_empty() && state.early.is_empty());
    }

    #[test]
    fn what_may_still_be_executed() {
        let (own_entries, lock, entry) = (OwnEntries::new(5), lock(), entry(EntryKind::Exclusive));
        let unanswered = || own_entries.get(&entry.id).unwrap().unanswered;
        let [first, second, third] = [(); 3].map(|()| own_entries.trying(&lock, &entry).0);
        assert!(first < second && second < third);
        own_entries.answered(&entry.id, third);
        assert_eq!(unanswered(), [first, second]);
        // One of the two created it, the other may still come.
        own_entries.found(&entry.id, 9);
        assert_eq!(unanswered(), [first, second]);
        own_entries.answered(&entry.id, second);
        own_entries.found(&entry.id, 9);
        assert_eq!(unanswered(), [0_u64; 0]);
        own_entries.trying(&lock, &entry);
        own_entries.appended(&entry.id, 10);
        assert_eq!(unanswered(), [0_u64; 0]);
    }
}
