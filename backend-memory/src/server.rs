//! The "server": queues that several clients share.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use lockcore::queue::Standing;
use lockcore::{
    Enqueued, Entry, EntryDetails, EntryId, Error, FencingToken, LockKey, Loss, QueuedEntry, Record,
    Recorded, Removed, Result,
};
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::queue::Queue;

/// A place in memory where locks live. Clones are the same place.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    /// Told whenever the first entry of any queue may be another.
    heads: Arc<Notify>,
    /// A point in time on both clocks, from which tokio's is told as the time of day: tests can pause it.
    origin: Arc<OnceLock<(SystemTime, Instant)>>,
}

#[derive(Debug, Default)]
struct State {
    /// The last place, token or session number that was given away.
    last: u64,
    queues: FxHashMap<LockKey, Queue>,
    /// One that is in use no more: its memory serves the next.
    spare: Queue,
    sessions: FxHashSet<u64>,
    records: FxHashMap<LockKey, Record>,
}

impl State {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

static NAMED: LazyLock<Mutex<HashMap<String, Memory>>> = LazyLock::new(Mutex::default);

impl Memory {
    /// A new, empty place.
    pub fn new() -> Self {
        Self::default()
    }

    /// The place of this name: the same one everywhere in this process, until it ends.
    pub fn named(name: &str) -> Self {
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        named.entry(name.to_owned()).or_default().clone()
    }

    /// Removes an entry, as an administrator might; whether it was there.
    pub fn remove_entry(&self, lock: &LockKey, id: &EntryId) -> bool {
        self.remove(lock.clone(), id) == Removed::Now
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T: Default>(&self, lock: &LockKey, read: impl FnOnce(&Queue) -> T) -> T {
        self.lock().queues.get(lock).map(read).unwrap_or_default()
    }

    pub(crate) fn open_session(&self) -> u64 {
        let mut state = self.lock();
        let session = state.next();
        state.sessions.insert(session);
        session
    }

    /// Ends a session, and with it its entries.
    pub(crate) fn end_session(&self, session: u64) {
        let mut state = self.lock();
        state.sessions.remove(&session);
        for queue in state.queues.values_mut() {
            queue.remove_session(session);
        }
        state.queues.retain(|_, queue| !queue.is_empty());
        self.heads.notify_waiters();
    }

    pub(crate) fn enqueue(&self, session: u64, lock: LockKey, entry: Entry) -> Result<Enqueued> {
        let mut state = self.lock();
        if !state.sessions.contains(&session) {
            return Err(Error::lost(Loss::Expired));
        }
        let next = state.next();
        let State { queues, spare, .. } = &mut *state;
        let queue = queues.entry(lock).or_insert_with(|| std::mem::take(spare));
        let (place, standing) = queue.append(next, session, entry);
        self.heads.notify_waiters();
        Ok(Enqueued { token: FencingToken::new(place), standing })
    }

    pub(crate) fn standing(&self, lock: &LockKey, id: &EntryId) -> Standing {
        self.lock().queues.get(lock).map_or(Standing::Absent, |queue| queue.standing(id))
    }

    pub(crate) fn list(&self, lock: &LockKey) -> Vec<QueuedEntry> {
        self.read(lock, Queue::list)
    }

    /// Returns when the first entry of the queue is another.
    pub(crate) async fn head_changed(&self, lock: &LockKey, head: Option<&EntryId>) {
        loop {
            // Before it is looked at: whatever changes from here on is heard.
            let told = self.heads.notified();
            if self.read(lock, Queue::head).as_ref() != head {
                return;
            }
            told.await;
        }
    }

    pub(crate) fn record(&self, lock: &LockKey) -> Recorded {
        let (time, instant) = *self.origin.get_or_init(|| (SystemTime::now(), Instant::now()));
        Recorded { record: self.lock().records.get(lock).cloned(), now: time + instant.elapsed() }
    }

    pub(crate) fn set_record(&self, lock: LockKey, record: Record) -> bool {
        let mut state = self.lock();
        let newer = state.records.get(&lock).is_some_and(|known| known.token > record.token);
        if !newer {
            state.records.insert(lock, record);
        }
        !newer
    }

    /// What tells this place from others.
    pub(crate) fn number(&self) -> usize {
        Arc::as_ptr(&self.state).addr()
    }

    pub(crate) fn describe(&self, lock: &LockKey) -> Vec<EntryDetails> {
        self.read(lock, Queue::describe)
    }

    pub(crate) fn names(&self) -> Vec<LockKey> {
        let mut names: Vec<LockKey> = self.lock().queues.keys().cloned().collect();
        names.sort();
        names
    }

    pub(crate) fn remove(&self, lock: LockKey, id: &EntryId) -> Removed {
        let mut state = self.lock();
        let Slot::Occupied(mut queue) = state.queues.entry(lock) else { return Removed::Absent };
        let removed = queue.get_mut().remove(id);
        if queue.get().is_empty() {
            state.spare = queue.remove();
        }
        self.heads.notify_waiters();
        Removed::from(removed)
    }

    /// Where the entry stands when it holds, or has left. To whoever holds already, only that it has left is news.
    pub(crate) fn watch(
        &self,
        lock: &LockKey,
        id: &EntryId,
        holds: bool,
    ) -> Result<oneshot::Receiver<Standing>, Standing> {
        self.lock().queues.get_mut(lock).ok_or(Standing::Absent)?.watch(id, holds)
    }
}
