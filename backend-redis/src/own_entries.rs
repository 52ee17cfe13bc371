//! What a session knows of its own entries: which to renew, and who sleeps on which.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockcore::queue::Standing;
use lockcore::{Entry, EntryId, EntryKind, LockKey, watches_held};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::seen::Seen;

/// The entries that this session may have in queues, from before the first request to make them until the
/// first request to remove them has been answered.
#[derive(Debug, Default)]
pub(crate) struct OwnEntries {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<EntryId, OwnEntry>,
}

#[derive(Debug)]
struct OwnEntry {
    lock: LockKey,
    kind: EntryKind,
    written: Arc<Written>,
    /// 0 until it is known.
    ticket: u64,
    /// Requests to make the entry, and how many of them were answered.
    asked: u32,
    answered: u32,
    /// Rounds of renewals that went on without the entry, because it had not been made as far as we know.
    missed: u32,
    leaving: bool,
    refused: bool,
    /// A renewal did not find it any more.
    absent: bool,
    woken: Arc<Notify>,
    /// What the last message told of it.
    told: Option<Seen>,
    /// When somebody ahead may have died silently.
    recheck: Option<Instant>,
    /// Whether somebody has slept since that was learnt.
    slept: bool,
}

/// How an entry is written: the key of its lock, and its record there.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) key: String,
    pub(crate) record: String,
}

/// What a look needs to know of an entry.
pub(crate) struct Known {
    pub(crate) kind: EntryKind,
    pub(crate) ticket: u64,
    /// The server does not renew it.
    pub(crate) refused: bool,
}

/// What has to be known of an entry to remove it.
pub(crate) struct Leaving {
    pub(crate) ticket: u64,
    pub(crate) written: Arc<Written>,
    pub(crate) kind: EntryKind,
    /// A request to make the entry may still be on its way.
    pub(crate) unsure: bool,
}

/// Entries of one lock with their tickets.
pub(crate) type Renewal = (LockKey, Vec<(EntryId, u64)>);

/// What one script renews.
pub(crate) type Round = Vec<Renewal>;

impl OwnEntries {
    /// How many entries one script renews.
    const AT_ONCE: usize = 50;

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request to make the entry is about to be sent. How many rounds of renewals it has missed.
    pub(crate) fn asking(&self, lock: &LockKey, entry: &Entry, written: &Arc<Written>) -> u32 {
        let mut state = self.lock();
        let own = state.entries.entry(entry.id.clone()).or_insert_with(|| OwnEntry {
            lock: lock.clone(),
            kind: entry.kind,
            written: written.clone(),
            ticket: 0,
            asked: 0,
            answered: 0,
            missed: 0,
            leaving: false,
            refused: false,
            absent: false,
            woken: Arc::default(),
            told: None,
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
        if watches_held(waiter, ids) {
            return Some((own.woken.clone(), None));
        }
        let slept = std::mem::replace(&mut own.slept, true);
        (!slept).then(|| (own.woken.clone(), own.recheck))
    }

    /// A message came for these entries: it wakes whoever sleeps for them, or will. The last word of each counts, and who is woken
    /// by an earlier one sees it as well.
    pub(crate) fn receive(&self, words: impl IntoIterator<Item = (EntryId, Option<Seen>)>) {
        let mut state = self.lock();
        for (id, told) in words {
            if let Some(own) = state.entries.get_mut(&id) {
                own.told = told;
                own.woken.notify_one();
            }
        }
    }

    /// Where the waiter stands, if a message told that it holds. What is believed is as sure as what a look shows, because an entry that
    /// holds does so until it leaves; so nothing else is believed, nor what comes late of one that has left.
    pub(crate) fn told(&self, id: &EntryId) -> Option<Standing> {
        let mut state = self.lock();
        let own = state.entries.get_mut(id)?;
        let seen = own.told.take()?;
        let current = u64::try_from(seen.ticket) == Ok(own.ticket) && !own.refused && !own.absent;
        Some(seen.standing(id, own.kind)).filter(|standing| current && *standing == Standing::Holds)
    }

    /// Messages may have been missed: everybody looks.
    pub(crate) fn wake_all(&self) {
        for own in self.lock().entries.values_mut() {
            own.told = None;
            own.woken.notify_one();
        }
    }

    /// A renewal did not find these.
    pub(crate) fn absent(&self, ids: &[EntryId]) {
        let mut state = self.lock();
        for id in ids {
            let Some(own) = state.entries.get_mut(id) else { continue };
            own.absent = own.ticket != 0;
            own.woken.notify_one();
        }
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

    /// A request to remove the entry is about to be sent: from here on nothing renews it.
    pub(crate) fn leaving(&self, id: &EntryId) -> Option<Leaving> {
        let mut state = self.lock();
        let own = state.entries.get_mut(id)?;
        own.leaving = true;
        let unsure = own.asked != own.answered;
        Some(Leaving { ticket: own.ticket, written: own.written.clone(), kind: own.kind, unsure })
    }

    /// The entry is gone.
    pub(crate) fn forget(&self, id: &EntryId) {
        self.lock().entries.remove(id);
    }

    /// The entries to renew, those of one group together but not too many at a time. They include those that are being made, or the server
    /// could count the time of such an entry from before the renewal that does not mention it.
    pub(crate) fn to_renew<G: Eq + Hash>(&self, group: impl Fn(&LockKey) -> G) -> Vec<Round> {
        let mut locks: HashMap<LockKey, Vec<(EntryId, u64)>> = HashMap::new();
        for (id, own) in self.lock().entries.iter().filter(|(_, own)| !own.leaving && !own.refused) {
            locks.entry(own.lock.clone()).or_default().push((id.clone(), own.ticket));
        }
        let mut groups: HashMap<G, Vec<Round>> = HashMap::new();
        for (lock, entries) in locks {
            let rounds = groups.entry(group(&lock)).or_default();
            for part in entries.chunks(Self::AT_ONCE) {
                let room = |round: &&mut Round| count(round) + part.len() <= Self::AT_ONCE;
                let renewal = (lock.clone(), part.to_vec());
                match rounds.last_mut().filter(room) {
                    Some(round) => round.push(renewal),
                    None => rounds.push(vec![renewal]),
                }
            }
        }
        groups.into_values().flatten().collect()
    }

    /// All entries.
    pub(crate) fn all(&self) -> Vec<(LockKey, EntryId)> {
        self.lock().entries.iter().map(|(id, own)| (own.lock.clone(), id.clone())).collect()
    }
}

fn count(round: &Round) -> usize {
    round.iter().map(|(_, entries)| entries.len()).sum()
}

#[cfg(test)]
mod tests {
    use lockcore::{Family, LockName};

    use super::*;

    fn asked(entries: &OwnEntries) -> (LockKey, Entry, u32) {
        asked_of(entries, "l")
    }

    fn asked_of(entries: &OwnEntries, name: &str) -> (LockKey, Entry, u32) {
        let lock = LockKey { family: Family::Lock, name: LockName::new(name).unwrap() };
        let entry = Entry { id: EntryId::random(), kind: EntryKind::Exclusive, label: "".into() };
        let missed = entries.asking(&lock, &entry, &Arc::default());
        (lock, entry, missed)
    }

    /// The server may have counted the life of the entry from before the round that went on without it.
    #[test]
    fn an_answer_from_before_a_missed_renewal_does_not_count() {
        let entries = OwnEntries::default();
        let (lock, entry, missed) = asked(&entries);
        let unmade = [(entry.id.clone(), 0)];
        assert!(entries.go_on_without(&unmade));
        assert!(!entries.made(&entry.id, 7, missed));
        let missed = entries.asking(&lock, &entry, &Arc::default());
        assert!(entries.made(&entry.id, 7, missed));
        assert!(!entries.go_on_without(&unmade), "it is there now");
    }

    #[test]
    fn nobody_sleeps_twice_on_one_look() {
        let entries = OwnEntries::default();
        let (_, entry, _) = asked(&entries);
        for _ in 0..2 {
            entries.saw(&entry.id, None);
            assert!(entries.sleeper(&entry.id, &[]).is_some());
            assert!(entries.sleeper(&entry.id, &[]).is_none());
        }
    }

    /// Also what was told before the answer to the request that made the entry.
    #[test]
    fn what_was_told_is_believed_of_an_entry_that_is_there() {
        let told = |then: fn(&OwnEntries, &EntryId)| {
            let entries = OwnEntries::default();
            let (_, Entry { id, .. }, missed) = asked(&entries);
            entries.receive([(id.clone(), Seen::in_message("id:7:0").1)]);
            assert!(entries.made(&id, 7, missed));
            then(&entries, &id);
            entries.told(&id)
        };
        assert_eq!(told(|_, _| {}), Some(Standing::Holds));
        assert_eq!(told(|entries, id| drop(entries.told(id))), None, "it is told once");
        assert_eq!(told(|entries, id| entries.receive([(id.clone(), None)])), None);
        assert_eq!(told(|entries, _| entries.wake_all()), None);
        assert_eq!(told(|entries, id| entries.absent(std::slice::from_ref(id))), None);
        assert_eq!(told(|entries, id| entries.refuse(&[(id.clone(), 7)])), None);
    }

    #[test]
    fn a_round_is_of_one_group_and_not_too_large() {
        let entries = OwnEntries::default();
        for number in 0..400 {
            // The first lock has a hundred, the others two each.
            let lock = if number < 100 { 0 } else { number / 2 };
            asked_of(&entries, &format!("{lock}"));
        }
        let group = |lock: &LockKey| lock.name.as_str().parse::<u32>().unwrap() % 2;
        let rounds = entries.to_renew(group);
        assert_eq!(rounds.iter().map(count).sum::<usize>(), 400);
        for round in &rounds {
            assert!(count(round) <= OwnEntries::AT_ONCE);
            assert!(round.iter().all(|(lock, _)| group(lock) == group(&round[0].0)));
        }
        // None could be put into another one.
        assert!(rounds.len() <= 400 / OwnEntries::AT_ONCE + 2, "{} rounds", rounds.len());
    }
}
