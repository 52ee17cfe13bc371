//! Watches over the entries that are held: somebody may remove one by hand, or the server lose it.

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
pub(super) struct Holds {
    state: Mutex<State>,
    /// Somebody came who is not watched yet.
    came: Notify,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    held: HashMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    lock: LockKey,
    id: EntryId,
    since: Instant,
    watched: bool,
    removed: watch::Sender<bool>,
}

/// One of the [`Holds`], until it is dropped.
#[derive(Debug)]
pub(super) struct Registered {
    holds: Arc<Holds>,
    number: u64,
}

impl Holds {
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
    ) -> Registered {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        let held = Held { lock, id, since: Instant::now(), watched: false, removed };
        state.held.insert(number, held);
        drop(state);
        self.came.notify_one();
        Registered { holds: self.clone(), number }
    }

    /// Those who are to be watched from now on; the others are too young.
    fn grown(&self) -> Vec<(u64, LockKey, EntryId)> {
        let mut state = self.lock();
        let grown = state.held.iter_mut().filter(|(_, held)| !held.watched && held.since.elapsed() >= GRACE);
        grown
            .map(|(number, held)| {
                held.watched = true;
                (*number, held.lock.clone(), held.id.clone())
            })
            .collect()
    }

    fn has(&self, number: u64) -> bool {
        self.lock().held.contains_key(&number)
    }

    /// Tells the owner, unless it is giving the lock back.
    fn gone(&self, number: u64) {
        if let Some(held) = self.lock().held.get(&number) {
            tracing::warn!(name = %held.lock.name, id = %held.id, "entry of a held lock was removed");
            held.removed.send_replace(true);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.holds.lock().held.remove(&self.number);
    }
}

/// Short holds cost the server nothing.
const GRACE: Duration = Duration::from_secs(1);

/// The sentry of one session: watches over all that is held on it, where the session runs. Never returns.
pub(super) async fn keep_watch(session: Arc<dyn QueueSession>, holds: Arc<Holds>) {
    let mut watches = FuturesUnordered::new();
    let mut round = std::pin::pin!(grow(&holds));
    loop {
        tokio::select! {
            () = &mut round => {
                let grown = holds.grown().into_iter();
                watches.extend(grown.map(|(number, lock, id)| gone(&*session, &holds, number, lock, id)));
                round.set(grow(&holds));
            }
            // An entry goes with its session, and that is the loss then.
            Some(number) = watches.next() => if session.lease().loss().is_none() {
                holds.gone(number);
            }
        }
    }
}

/// Returns when somebody came, and has grown up since.
async fn grow(holds: &Holds) {
    holds.came.notified().await;
    tokio::time::sleep(GRACE).await;
}

/// Returns the number when the entry is not there any more, for whatever reason.
async fn gone(session: &dyn QueueSession, holds: &Holds, number: u64, lock: LockKey, id: EntryId) -> u64 {
    let mut backoff = Backoff::default();
    loop {
        let watched = watch(session, &lock, vec![id.clone()], Revision::default(), None).await;
        if !holds.has(number) {
            return number;
        }
        let standing = match watched {
            Ok(()) => session.look(&lock, &id).await,
            Err(error) => Err(error),
        };
        match standing {
            Ok(Standing::Holds) => backoff = Backoff::default(),
            Ok(_) => return number,
            Err(_) => backoff.pause().await,
        }
    }
}
