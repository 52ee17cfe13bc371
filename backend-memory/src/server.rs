//! The "server": queues that several clients share.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use lockcore::queue::Standing;
use lockcore::{
    Enqueued, Entry, EntryDetails, EntryId, Error, FencingToken, LockKey, Loss, QueuedEntry, Removed, Result,
};

use crate::client::MemoryClient;
use crate::queue::Queue;

/// A place in memory where locks live. Clones are the same place.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The last place, token or session number that was given away.
    last: u64,
    queues: HashMap<LockKey, Queue>,
    sessions: Vec<u64>,
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

    /// A client of this place, as another process would be.
    pub fn client(&self) -> MemoryClient {
        MemoryClient::new(self.clone())
    }

    /// Removes an entry, as an administrator might; whether it was there.
    pub fn remove_entry(&self, lock: &LockKey, id: &EntryId) -> bool {
        self.remove(lock, id) == Removed::Now
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
        state.sessions.push(session);
        session
    }

    /// Ends a session, and with it its entries.
    pub(crate) fn end_session(&self, session: u64) {
        let mut state = self.lock();
        state.sessions.retain(|live| *live != session);
        for queue in state.queues.values_mut() {
            queue.remove_session(session);
        }
        state.queues.retain(|_, queue| !queue.is_empty());
    }

    pub(crate) fn enqueue(&self, session: u64, lock: &LockKey, entry: Entry) -> Result<Enqueued> {
        let mut state = self.lock();
        if !state.sessions.contains(&session) {
            return Err(Error::lost(Loss::Expired));
        }
        let next = state.next();
        let queue = state.queues.entry(lock.clone()).or_default();
        let id = entry.id.clone();
        let place = queue.place(&id).unwrap_or_else(|| {
            queue.append(next, session, entry);
            next
        });
        Ok(Enqueued { token: FencingToken::new(place), standing: queue.standing(&id) })
    }

    pub(crate) fn standing(&self, lock: &LockKey, id: &EntryId) -> Standing {
        self.lock().queues.get(lock).map_or(Standing::Absent, |queue| queue.standing(id))
    }

    pub(crate) fn list(&self, lock: &LockKey) -> Vec<QueuedEntry> {
        self.read(lock, Queue::list)
    }

    pub(crate) fn describe(&self, lock: &LockKey) -> Vec<EntryDetails> {
        self.read(lock, Queue::describe)
    }

    pub(crate) fn names(&self) -> Vec<LockKey> {
        let mut names: Vec<LockKey> = self.lock().queues.keys().cloned().collect();
        names.sort();
        names
    }

    pub(crate) fn remove(&self, lock: &LockKey, id: &EntryId) -> Removed {
        let mut state = self.lock();
        let Some(queue) = state.queues.get_mut(lock) else { return Removed::Absent };
        let removed = queue.remove(id).map_or(Removed::Absent, |_| Removed::Now);
        if queue.is_empty() {
            state.queues.remove(lock);
        }
        removed
    }

    /// Ready when the first of these entries leaves, or has left.
    pub(crate) fn departure(&self, lock: &LockKey, ids: &[EntryId]) -> BoxFuture<'static, ()> {
        let mut state = self.lock();
        let queue = state.queues.get_mut(lock);
        let departures: Option<Vec<_>> =
            queue.and_then(|queue| ids.iter().map(|id| queue.departure(id)).collect());
        let Some(departures) = departures.filter(|departures| !departures.is_empty()) else {
            return std::future::ready(()).boxed();
        };
        // Nothing is ever sent: a change is the end of the sender, and of its entry.
        let departed = |mut departure: tokio::sync::watch::Receiver<()>| {
            async move { departure.changed().await.unwrap_or_default() }.boxed()
        };
        futures::future::select_all(departures.into_iter().map(departed)).map(|_| ()).boxed()
    }
}
