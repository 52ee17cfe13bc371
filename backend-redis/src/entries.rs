//! What a session knows of its own entries: which to renew, and who sleeps on which.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockcore::{Entry, EntryId, EntryKind, LockKey};
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
}

#[derive(Debug)]
struct Own {
    lock: LockKey,
    kind: EntryKind,
    /// 0 until it is known.
    ticket: u64,
    /// Requests to make the entry, and how many of them were answered.
    asked: u32,
    answered: u32,
    /// Rounds of renewals that went on without the entry, because it had not been made as far as we know.
    missed: u32,
    leaving: bool,
    refused: bool,
    woken: Arc<Notify>,
    /// When somebody ahead may have died silently.
    recheck: Option<Instant>,
    /// Whether somebody has slept since that was learnt.
    slept: bool,
}

/// What a look needs to know of an entry.
pub(crate) struct Known {
    pub(crate) kind: EntryKind,
    pub(crate) ticket: u64,
    /// The server does not renew it.
    pub(crate) refused: bool,
}

/// Entries of one lock with their tickets.
pub(crate) type Renewal = (LockKey, Vec<(EntryId, u64)>);

impl Entries {
    /// How many entries one script renews.
    const AT_ONCE: usize = 50;

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request to make the entry is about to be sent. How many rounds of renewals it has missed.
    pub(crate) fn asking(&self, lock: &LockKey, entry: &Entry) -> u32 {
        let mut state = self.lock();
        let own = state.entries.entry(entry.id.clone()).or_insert_with(|| Own {
            lock: lock.clone(),
            kind: entry.kind,
            ticket: 0,
            asked: 0,
            answered: 0,
            missed: 0,
            leaving: false,
            refused: false,
            woken: Arc::default(),
            recheck: None,
            slept: false,
        });
        own.asked += 1;
        own.missed
    }

    /// The request was never executed.
    pub(crate) fn not_executed(&self, id: &EntryId) {
        self.lock().entries.get_mut(id).into_iter().for_each(|own| own.answered += 1);
    }

    /// The request has been answered. Whether the server counts the life of the entry from no earlier than we do: not if a round
    /// of renewals has been completed without it since it was sent.
    pub(crate) fn made(&self, id: &EntryId, ticket: u64, missed: u32) -> bool {
        self.lock().entries.get_mut(id).is_none_or(|own| {
            own.answered += 1;
            let counts = own.missed == missed;
            if counts {
                own.ticket = ticket;
            }
            counts
        })
    }

    pub(crate) fn known(&self, id: &EntryId) -> Option<Known> {
        let state = self.lock();
        let own = state.entries.get(id)?;
        Some(Known { kind: own.kind, ticket: own.ticket, refused: own.refused })
    }

    /// Somebody ahead of the entry may be dead at `recheck`.
    pub(crate) fn saw(&self, id: &EntryId, recheck: Option<Instant>) {
        if let Some(own) = self.lock().entries.get_mut(id) {
            (own.recheck, own.slept) = (recheck, false);
        }
    }

    /// What wakes the waiter: a message, or time. The owner of a held entry watches that alone. Nobody sleeps twice on the
    /// same look: another is as cheap as to ask whether those are still there.
    pub(crate) fn sleeper(
        &self,
        waiter: &EntryId,
        ids: &[EntryId],
    ) -> Option<(Arc<Notify>, Option<Instant>)> {
        let mut state = self.lock();
        let own = state.entries.get_mut(waiter)?;
        if ids == [waiter.clone()] {
            return Some((own.woken.clone(), None));
        }
        let slept = std::mem::replace(&mut own.slept, true);
        (!slept).then(|| (own.woken.clone(), own.recheck))
    }

    /// Wakes whoever sleeps for this entry, or will.
    pub(crate) fn wake(&self, id: &EntryId) {
        self.lock().entries.get(id).into_iter().for_each(|own| own.woken.notify_one());
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        self.lock().entries.values().for_each(|own| own.woken.notify_one());
    }

    /// The server will not renew these: they are as good as gone.
    pub(crate) fn refuse(&self, refused: &[(EntryId, u64)]) {
        let mut state = self.lock();
        for (id, _) in refused {
            let Some(own) = state.entries.get_mut(id) else { continue };
            own.refused = true;
            own.woken.notify_one();
        }
    }

    /// A round of renewals goes on without these, if none of them has been made as far as we know.
    pub(crate) fn go_on_without(&self, missing: &[(EntryId, u64)]) -> bool {
        let mut state = self.lock();
        let made = |id| state.entries.get(id).is_some_and(|own| own.ticket != 0);
        if missing.iter().any(|(id, _)| made(id)) {
            return false;
        }
        for (id, _) in missing {
            state.entries.get_mut(id).into_iter().for_each(|own| own.missed += 1);
        }
        true
    }

    /// A request to remove the entry is about to be sent: from here on nothing renews it. Its ticket, and whether a request
    /// to make it may still be on its way.
    pub(crate) fn leaving(&self, id: &EntryId) -> (u64, bool) {
        self.lock().entries.get_mut(id).map_or((0, false), |own| {
            own.leaving = true;
            (own.ticket, own.asked != own.answered)
        })
    }

    /// The entry is gone.
    pub(crate) fn forget(&self, id: &EntryId) {
        self.lock().entries.remove(id);
    }

    /// The entries to renew, some of one lock at a time. They include those that are being made, or the server could count the
    /// time of such an entry from before the renewal that does not mention it.
    pub(crate) fn to_renew(&self) -> Vec<Renewal> {
        let mut locks: HashMap<LockKey, Vec<(EntryId, u64)>> = HashMap::new();
        for (id, own) in self.lock().entries.iter().filter(|(_, own)| !own.leaving && !own.refused) {
            locks.entry(own.lock.clone()).or_default().push((id.clone(), own.ticket));
        }
        let parts = |(lock, ids): (LockKey, Vec<_>)| {
            ids.chunks(Self::AT_ONCE).map(|part| (lock.clone(), part.to_vec())).collect::<Vec<_>>()
        };
        locks.into_iter().flat_map(parts).collect()
    }

    /// All entries.
    pub(crate) fn all(&self) -> Vec<(LockKey, EntryId)> {
        self.lock().entries.iter().map(|(id, own)| (own.lock.clone(), id.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use lockcore::{Family, LockName};

    use super::*;

    fn asked(entries: &Entries) -> (LockKey, Entry, u32) {
        let lock = LockKey { family: Family::Lock, name: LockName::new("l").unwrap() };
        let entry = Entry { id: EntryId::random(), kind: EntryKind::Exclusive, label: String::new() };
        let missed = entries.asking(&lock, &entry);
        (lock, entry, missed)
    }

    /// The server may have counted the life of the entry from before the round that went on without it.
    #[test]
    fn an_answer_from_before_a_missed_renewal_does_not_count() {
        let entries = Entries::default();
        let (lock, entry, missed) = asked(&entries);
        let unmade = [(entry.id.clone(), 0)];
        assert!(entries.go_on_without(&unmade));
        assert!(!entries.made(&entry.id, 7, missed));
        let missed = entries.asking(&lock, &entry);
        assert!(entries.made(&entry.id, 7, missed));
        assert!(!entries.go_on_without(&unmade), "it is there now");
    }

    #[test]
    fn nobody_sleeps_twice_on_one_look() {
        let entries = Entries::default();
        let (_, entry, _) = asked(&entries);
        for _ in 0..2 {
            entries.saw(&entry.id, None);
            assert!(entries.sleeper(&entry.id, &[]).is_some());
            assert!(entries.sleeper(&entry.id, &[]).is_none());
        }
    }
}
