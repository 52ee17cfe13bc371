//! One queue: entries in order, who of them holds, and who waits to be told.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry as Slot;
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use lockcore::queue::rule::holders;
use lockcore::queue::{Standing, standing};
use lockcore::{Entry, EntryDetails, EntryId, FencingToken, QueuedEntry, Revision};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

/// An entry, at the place that is also its token.
#[derive(Debug)]
struct Stored {
    queued: QueuedEntry,
    label: Arc<str>,
    session: u64,
    since: SystemTime,
    /// Is told when the entry holds, or has left.
    watcher: Option<oneshot::Sender<Standing>>,
}

impl Stored {
    fn tell(&mut self, standing: Standing) {
        // Whoever has watched may be gone.
        let _ = self.watcher.take().map(|watcher| watcher.send(standing));
    }
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: BTreeMap<u64, Stored>,
    places: FxHashMap<EntryId, u64>,
    /// The place of the last entry that holds: all before it do as well.
    last_holder: u64,
    /// The weight of those that hold.
    held: u32,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends the entry at this place, unless it has one already; where it is, and where it stands.
    pub(crate) fn append(&mut self, place: u64, session: u64, entry: Entry) -> (u64, Standing) {
        let Entry { id, kind, label } = entry;
        let place = match self.places.entry(id.clone()) {
            Slot::Occupied(known) => *known.get(),
            Slot::Vacant(slot) => {
                slot.insert(place);
                let queued = QueuedEntry { id: id.clone(), kind };
                let stored = Stored { queued, label, session, since: SystemTime::now(), watcher: None };
                self.entries.insert(place, stored);
                self.let_in();
                place
            }
        };
        (place, self.standing_at(place, &id))
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, id: &EntryId) -> bool {
        let place = self.places.remove(id);
        let Some((place, mut left)) = place.and_then(|place| self.entries.remove_entry(&place)) else {
            return false;
        };
        if place <= self.last_holder {
            self.held -= left.queued.kind.weight();
        }
        self.let_in();
        left.tell(Standing::Absent);
        true
    }

    pub(crate) fn remove_session(&mut self, session: u64) {
        let own = self.entries.values().filter(|stored| stored.session == session);
        let own: Vec<EntryId> = own.map(|stored| stored.queued.id.clone()).collect();
        for id in own {
            self.remove(&id);
        }
    }

    /// Asks the rule who holds now behind those who do already, and tells them.
    fn let_in(&mut self) {
        let Some(head) = self.entries.values().next() else { return };
        let limit = head.queued.kind.limit();
        let waiting = (Bound::Excluded(self.last_holder), Bound::Unbounded);
        for (place, stored) in self.entries.range_mut(waiting) {
            let kind = stored.queued.kind;
            // Nobody holds who disagrees about the limit with those ahead.
            if kind.limit() != limit || holders(limit - self.held, [kind.weight()]) == 0 {
                return;
            }
            self.last_holder = *place;
            self.held += kind.weight();
            stored.tell(Standing::Holds);
        }
    }

    /// Where an entry stands. Looks only at as many others as the rule needs.
    pub(crate) fn standing(&self, id: &EntryId) -> Standing {
        self.places.get(id).map_or(Standing::Absent, |place| self.standing_at(*place, id))
    }

    fn standing_at(&self, place: u64, id: &EntryId) -> Standing {
        if place <= self.last_holder {
            return Standing::Holds;
        }
        let until_own = self.entries.range(..=place).map(|(_, stored)| &stored.queued);
        standing(until_own, id, Revision::default())
    }

    /// Will be told when the entry holds or has left; if it `holds`, only when it has left. At once, where it stands, if that
    /// is so already.
    pub(crate) fn watch(
        &mut self,
        id: &EntryId,
        holds: bool,
    ) -> Result<oneshot::Receiver<Standing>, Standing> {
        let place = self.places.get(id).ok_or(Standing::Absent)?;
        if !holds && *place <= self.last_holder {
            return Err(Standing::Holds);
        }
        let stored = self.entries.get_mut(place).ok_or(Standing::Absent)?;
        let (watcher, told) = oneshot::channel();
        stored.watcher = Some(watcher);
        Ok(told)
    }

    /// The first entry.
    pub(crate) fn head(&self) -> Option<EntryId> {
        self.entries.values().next().map(|stored| stored.queued.id.clone())
    }

    pub(crate) fn list(&self) -> Vec<QueuedEntry> {
        self.entries.values().map(|stored| stored.queued.clone()).collect()
    }

    pub(crate) fn describe(&self) -> Vec<EntryDetails> {
        let details = |(place, Stored { queued, label, since, .. }): (&u64, &Stored)| EntryDetails {
            id: queued.id.clone(),
            kind: queued.kind,
            token: FencingToken::new(*place),
            label: label.to_string(),
            since: Some(*since),
        };
        self.entries.iter().map(details).collect()
    }
}
