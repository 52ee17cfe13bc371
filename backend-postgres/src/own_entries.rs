//! What a session knows of its own entries, and who of them waits.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockcore::queue::Standing;
use lockcore::{Entry, EntryId, EntryKind, Family, LockKey};
use tokio::sync::Notify;

use crate::layout::{Next, Seen};

/// What is known of one entry.
#[derive(Debug, Clone)]
pub(crate) struct OwnEntry {
    pub(crate) kind: EntryKind,
    /// Its token, once that is known; 0 before.
    pub(crate) token: i64,
    /// Whom it waits for, when it was last seen.
    pub(crate) next: Option<Next>,
    /// Notified when there may be news of it.
    pub(crate) news: Arc<Notify>,
    /// A request to make it has been sent before.
    pub(crate) again: bool,
    /// It is to hold an advisory lock.
    pub(crate) rings: bool,
    /// A renewal did not find it.
    pub(crate) absent: bool,
}

/// The own entries of a session.
#[derive(Debug, Default)]
pub(crate) struct OwnEntries {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    own: HashMap<EntryId, OwnEntry>,
    tokens: HashMap<i64, EntryId>,
    /// Of each lock, those that wait: by their tokens, in the order of the queue.
    waiting: HashMap<LockKey, BTreeMap<i64, Arc<Notify>>>,
    /// Of locks of which an entry of ours was the first: its token.
    lows: HashMap<LockKey, i64>,
    /// How many hold advisory locks.
    ringing: usize,
    /// How many entries of semaphores wait.
    semaphores: usize,
    /// Those that are held, and watched: by their tokens.
    held: BTreeMap<i64, LockKey>,
}

/// How many entries of one session hold advisory locks at a time. The server keeps them in memory of a fixed size, in which each of its
/// connections may take 64 (`max_locks_per_transaction`).
const RINGING: usize = 48;

/// Of how many locks we remember where their queues begin.
const LOWS: usize = 4096;

/// How many entries one renewal asks for.
const CHECKED: usize = 500;

impl State {
    fn wake_first(&self, lock: &LockKey) {
        if let Some((_, news)) = self.waiting.get(lock).and_then(|waiting| waiting.first_key_value()) {
            news.notify_one();
        }
    }

    fn waits_no_more(&mut self, lock: &LockKey, token: i64) {
        let Some(waiting) = self.waiting.get_mut(lock) else { return };
        if waiting.remove(&token).is_some() {
            self.semaphores -= usize::from(lock.family == Family::Semaphore);
        }
        if waiting.is_empty() {
            self.waiting.remove(lock);
        }
    }
}

impl OwnEntries {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request to make the entry is about to be sent: what is known of the entry.
    pub(crate) fn asking(&self, entry: &Entry) -> OwnEntry {
        let mut state = self.lock();
        if let Some(place) = state.own.get_mut(&entry.id) {
            place.again = true;
            return place.clone();
        }
        let rings = state.ringing < RINGING;
        state.ringing += usize::from(rings);
        let place = OwnEntry {
            kind: entry.kind,
            token: 0,
            next: None,
            news: Arc::default(),
            again: false,
            rings,
            absent: false,
        };
        state.own.insert(entry.id.clone(), place.clone());
        place
    }

    /// This is what the entry sees.
    pub(crate) fn sees(&self, lock: &LockKey, id: &EntryId, seen: &Seen) {
        let mut state = self.lock();
        let Some(place) = state.own.get_mut(id) else { return };
        (place.token, place.next) = (seen.token, seen.next);
        let (news, kind) = (place.news.clone(), place.kind);
        state.tokens.insert(seen.token, id.clone());
        if let Standing::Waits { .. } = seen.standing {
            let waiting = state.waiting.entry(lock.clone()).or_default();
            if waiting.insert(seen.token, news).is_none() {
                state.semaphores += usize::from(lock.family == Family::Semaphore);
            }
            return;
        }
        state.waits_no_more(lock, seen.token);
        if kind == EntryKind::Exclusive && seen.standing == Standing::Holds {
            if state.lows.len() >= LOWS {
                state.lows.clear();
            }
            state.lows.insert(lock.clone(), seen.token);
        }
        // Of those behind, one is now the first of ours that waits.
        state.wake_first(lock);
    }

    /// A token below which nobody is in the queue.
    pub(crate) fn low(&self, lock: &LockKey) -> i64 {
        self.lock().lows.get(lock).copied().unwrap_or_default()
    }

    /// Whether none of ours waits before this one: while one does, this one waits too.
    pub(crate) fn is_first(&self, lock: &LockKey, token: i64) -> bool {
        let state = self.lock();
        let first = state.waiting.get(lock).and_then(|waiting| waiting.first_key_value());
        first.is_none_or(|(first, _)| *first >= token)
    }

    pub(crate) fn get(&self, id: &EntryId) -> Option<OwnEntry> {
        self.lock().own.get(id).cloned()
    }

    /// All entries that may be there.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.lock().own.keys().map(ToString::to_string).collect()
    }

    /// Whether the entry with this token is ours.
    pub(crate) fn has(&self, token: i64) -> bool {
        self.lock().tokens.contains_key(&token)
    }

    /// The entry with this token was let in, as somebody says.
    pub(crate) fn told(&self, token: i64) {
        let state = self.lock();
        if let Some(place) = state.tokens.get(&token).and_then(|id| state.own.get(id)) {
            place.news.notify_one();
        }
    }

    /// Whether one of a semaphore waits.
    pub(crate) fn waits_for_semaphores(&self) -> bool {
        self.lock().semaphores > 0
    }

    /// The entry is held, and its owner wants to know when it is gone.
    pub(crate) fn watch_held(&self, lock: &LockKey, token: i64) {
        self.lock().held.insert(token, lock.clone());
    }

    /// Of the entries that are held and watched, those with tokens above this one, as many as one renewal asks for.
    pub(crate) fn held_after(&self, token: i64) -> Vec<(i64, LockKey)> {
        let state = self.lock();
        let after = state.held.range(token + 1..);
        after.take(CHECKED).map(|(token, lock)| (*token, lock.clone())).collect()
    }

    /// The entry with this token is not there any more. Its id, unless it has been forgotten.
    pub(crate) fn is_absent(&self, token: i64) -> Option<EntryId> {
        let mut state = self.lock();
        let id = state.tokens.get(&token)?.clone();
        let place = state.own.get_mut(&id)?;
        place.absent = true;
        place.news.notify_one();
        Some(id)
    }

    /// The entry is gone for good.
    pub(crate) fn forget(&self, lock: &LockKey, id: &EntryId) {
        let mut state = self.lock();
        let Some(place) = state.own.remove(id) else { return };
        state.ringing -= usize::from(place.rings);
        state.tokens.remove(&place.token);
        state.held.remove(&place.token);
        state.waits_no_more(lock, place.token);
        state.wake_first(lock);
    }
}
