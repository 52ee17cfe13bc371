//! One queue: entries in order, and the rule asked about one of them without copying the others.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use lockcore::queue::Standing;
use lockcore::queue::rule::{Verdict, verdict};
use lockcore::{Entry, EntryDetails, EntryId, Family, FencingToken, QueuedEntry, Revision};
use tokio::sync::watch;

/// An entry, at the place that is also its token.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) entry: Entry,
    pub(crate) session: u64,
    since: SystemTime,
    /// Dropped with the entry, which is how watchers learn that it left; made for the first of them.
    departure: Option<watch::Sender<()>>,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: BTreeMap<u64, Stored>,
    places: HashMap<EntryId, u64>,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn place(&self, id: &EntryId) -> Option<u64> {
        self.places.get(id).copied()
    }

    pub(crate) fn append(&mut self, place: u64, session: u64, entry: Entry) {
        self.places.insert(entry.id.clone(), place);
        let stored = Stored { entry, session, since: SystemTime::now(), departure: None };
        self.entries.insert(place, stored);
    }

    pub(crate) fn remove(&mut self, id: &EntryId) -> Option<Stored> {
        self.entries.remove(&self.places.remove(id)?)
    }

    pub(crate) fn remove_session(&mut self, session: u64) {
        self.entries.retain(|_, stored| stored.session != session);
        self.places.retain(|_, place| self.entries.contains_key(place));
    }

    /// The rule for one entry. Looks only at as many others as the rule needs.
    pub(crate) fn standing(&self, id: &EntryId) -> Standing {
        let Some(place) = self.place(id) else { return Standing::Absent };
        let kind = self.entries[&place].entry.kind;
        let ahead = || self.entries.range(..place).rev().map(|(_, stored)| &stored.entry);
        // Locks have one limit: looking for another would cost an exclusive waiter a walk through the queue.
        let disagreed = |entry: &Entry| Some(entry.kind.limit()).filter(|theirs| *theirs != kind.limit());
        if kind.family() == Family::Semaphore
            && let Some(theirs) = ahead().filter_map(disagreed).next_back()
        {
            return Standing::LimitMismatch { theirs };
        }
        match verdict(kind.limit(), kind.weight(), ahead().map(|entry| entry.kind.weight())) {
            Verdict::Holds => Standing::Holds,
            Verdict::WaitsFor(distances) => {
                let wake = distances.into_iter().filter_map(|distance| ahead().nth(distance));
                Standing::Waits {
                    wake: wake.map(|entry| entry.id.clone()).collect(),
                    seen: Revision::default(),
                }
            }
        }
    }

    /// Ends when the entry leaves; `None` if it has left.
    pub(crate) fn departure(&mut self, id: &EntryId) -> Option<watch::Receiver<()>> {
        let stored = self.entries.get_mut(&self.place(id)?)?;
        Some(stored.departure.get_or_insert_with(|| watch::Sender::new(())).subscribe())
    }

    pub(crate) fn list(&self) -> Vec<QueuedEntry> {
        let entries = self.entries.values().map(|stored| &stored.entry);
        entries.map(|Entry { id, kind, .. }| QueuedEntry { id: id.clone(), kind: *kind }).collect()
    }

    pub(crate) fn describe(&self) -> Vec<EntryDetails> {
        let details = |(place, Stored { entry, since, .. }): (&u64, &Stored)| EntryDetails {
            id: entry.id.clone(),
            kind: entry.kind,
            token: FencingToken::new(*place),
            label: entry.label.clone(),
            since: Some(*since),
        };
        self.entries.iter().map(details).collect()
    }
}
