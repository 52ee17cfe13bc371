//! Watches the entries that are held: somebody may remove one by hand, or the server lose it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::backend::{QueueSession, Revision};
use crate::entry::{EntryId, LockKey};
use crate::queue::Standing;
use crate::queue::backoff::Backoff;
use crate::queue::open::watch;

/// What is held on one session.
#[derive(Debug, Default)]
pub(super) struct HeldEntries {
    state: Mutex<State>,
    /// There may be one that is not watched yet.
    added: Notify,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    entries: HashMap<u64, HeldEntry>,
}

#[derive(Debug)]
struct HeldEntry {
    lock: LockKey,
    id: EntryId,
    since: Instant,
    watched: bool,
    removed: watch::Sender<bool>,
}

/// One of the [`HeldEntries`], until it is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    held: Arc<HeldEntries>,
    number: u64,
}

impl HeldEntries {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry is held from now on; `removed` becomes true when it is found to be gone.
    pub(super) fn register(
        self: &Arc<Self>,
        lock: LockKey,
        id: EntryId,
        removed: watch::Sender<bool>,
    ) -> Registration {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        let entry = HeldEntry { lock, id, since: Instant::now(), watched: false, removed };
        state.entries.insert(number, entry);
        drop(state);
        self.added.notify_one();
        Registration { held: self.clone(), number }
    }

    /// Those that are to be watched from now on: held for long enough, and not watched yet.
    fn take_due(&self) -> Vec<(u64, LockKey, EntryId)> {
        let mut state = self.lock();
        let unwatched = state.entries.iter_mut().filter(|(_, entry)| !entry.watched);
        unwatched
            .filter(|(_, entry)| entry.since.elapsed() >= GRACE)
            .map(|(number, entry)| {
                entry.watched = true;
                (*number, entry.lock.clone(), entry.id.clone())
            })
            .collect()
    }

    fn has(&self, number: u64) -> bool {
        self.lock().entries.contains_key(&number)
    }

    /// Tells the owner, unless it is giving the lock back.
    fn gone(&self, number: u64) {
        let told = |entry: &HeldEntry| (entry.removed.clone(), entry.lock.name.clone(), entry.id.clone());
        let entry = self.lock().entries.get(&number).map(told);
        // Not while it is locked: whoever hears of it may drop a guard at once.
        if let Some((removed, name, id)) = entry {
            removed.send_replace(true);
            tracing::warn!(%name, %id, "entry of a held lock was removed");
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.held.lock().entries.remove(&self.number);
    }
}

/// Short holds cost the server nothing.
const GRACE: Duration = Duration::from_secs(1);

/// Watches all that is held on a session, where the session runs. Never returns.
pub(super) async fn watch_held(session: Arc<dyn QueueSession>, held: Arc<HeldEntries>) {
    let mut watches = FuturesUnordered::new();
    let mut round = std::pin::pin!(next_due(&held));
    loop {
        tokio::select! {
            () = &mut round => {
                let due = held.take_due().into_iter();
                watches.extend(due.map(|(number, lock, id)| gone(&*session, &held, number, lock, id)));
                round.set(next_due(&held));
            }
            // An entry goes with its session, and that is the loss then.
            Some(number) = watches.next() => if session.lease().loss().is_none() {
                held.gone(number);
            }
        }
    }
}

/// Returns when some may be due.
async fn next_due(held: &HeldEntries) {
    held.added.notified().await;
    tokio::time::sleep(GRACE).await;
}

/// Returns the number when the entry is not there any more, for whatever reason.
async fn gone(
    session: &dyn QueueSession,
    held: &HeldEntries,
    number: u64,
    lock: LockKey,
    id: EntryId,
) -> u64 {
    let mut backoff = Backoff::default();
    loop {
        let watched = watch(session, &lock, &id, vec![id.clone()], Revision::default()).await;
        if !held.has(number) {
            return number;
        }
        let standing = match watched {
            Ok(Some(standing)) => Ok(standing),
            Ok(None) => session.look(&lock, &id).await,
            Err(error) => Err(error),
        };
        match standing {
            Ok(Standing::Holds) => backoff = Backoff::default(),
            Ok(_) => return number,
            Err(_) => backoff.pause().await,
        }
    }
}
