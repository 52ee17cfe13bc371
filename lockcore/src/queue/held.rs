//! Watches the entries that are held: somebody may remove one by hand, or the server lose it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use slab::Slab;
use tokio::sync::Notify;

use crate::backend::QueueSession;
use crate::entry::{Entry, EntryKind, LockKey};
use crate::loss_signal::LossSignal;
use crate::queue::Standing;
use crate::queue::backoff::Backoff;
use crate::queue::reentry::LongHolds;
use crate::queue::watch::watch;
use crate::snapshot::Revision;

/// How long a period is, and so how long an entry has been held at least when it begins to be watched: short holds cost the
/// server nothing.
const PERIOD: Duration = Duration::from_secs(1);

/// What is held on one session, and not watched yet because it has only just been taken. Short holds come and go here without
/// waking the watcher, which looks once in a period.
#[derive(Debug, Default)]
pub(super) struct Unwatched {
    state: Mutex<State>,
    /// The watcher sleeps until there is one again.
    first: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: Slab<HeldEntry>,
    /// The number of the period.
    period: u64,
    /// Whether the watcher looks when this period ends; otherwise the next entry begins a new one.
    runs: bool,
}

/// An entry that is held.
#[derive(Debug)]
struct HeldEntry {
    lock: LockKey,
    entry: Entry,
    signal: LossSignal,
    /// In which period it was added; it is watched when a later one ends.
    period: u64,
}

impl Unwatched {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry is held from now on; the signal will be told if it is found to be gone. Returns the key for
    /// [`forget`](Self::forget).
    pub(super) fn add(&self, lock: LockKey, entry: Entry, signal: LossSignal) -> usize {
        let mut state = self.lock();
        let State { entries, period, runs } = &mut *state;
        let key = entries.insert(HeldEntry { lock, entry, signal, period: *period });
        if !*runs {
            (*period, *runs) = (*period + 1, true);
            self.first.notify_one();
        }
        key
    }

    /// The entry is being given back: from here on it is no loss that it is gone.
    pub(super) fn forget(&self, key: usize, signal: &LossSignal) {
        let mut state = self.lock();
        // The watcher may have taken it, and another have come to its place.
        if state.entries.get(key).is_some_and(|entry| entry.signal.is_of(signal)) {
            state.entries.remove(key);
        } else {
            signal.tell_released();
        }
    }

    /// Ends a period, and takes the entries that were added before it.
    fn take_due(&self) -> Vec<HeldEntry> {
        let mut state = self.lock();
        let State { entries, period, runs } = &mut *state;
        let due = entries.iter().filter(|(_, entry)| entry.period < *period).map(|(key, _)| key);
        let due: Vec<usize> = due.collect();
        let due = due.into_iter().map(|key| entries.remove(key)).collect();
        (*period, *runs) = (*period + 1, !entries.is_empty());
        if entries.is_empty() {
            // How many there were once costs nothing later.
            *entries = Slab::new();
        }
        due
    }

    /// Returns when the next period ends; one begins when something is held.
    async fn period(&self) {
        if !self.lock().runs {
            self.first.notified().await;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Watches what is held on a session for longer than a short time, where the session runs. Never returns.
pub(super) async fn watch_held(
    session: Arc<dyn QueueSession>,
    unwatched: Arc<Unwatched>,
    long_holds: Arc<LongHolds>,
) {
    let mut watches = FuturesUnordered::new();
    let mut period = std::pin::pin!(unwatched.period());
    loop {
        tokio::select! {
            biased;
            () = &mut period => {
                let due = unwatched.take_due().into_iter();
                watches.extend(due.map(|entry| watch_long_hold(&*session, &long_holds, entry)));
                period.set(unwatched.period());
            }
            Some(()) = watches.next() => {}
        }
    }
}

/// Watches an entry that is held for longer than a short time, and lets others find it meanwhile.
async fn watch_long_hold(session: &dyn QueueSession, long_holds: &LongHolds, held: HeldEntry) {
    let HeldEntry { lock, entry, signal, .. } = &held;
    if entry.kind == EntryKind::Exclusive {
        long_holds.add(lock.clone(), entry.label.clone(), signal.clone(), PERIOD);
    }
    watch_one(session, &held).await;
    long_holds.remove(lock, signal);
}

/// Returns when the entry is not there any more, for whatever reason; tells its owner, unless he is giving it back.
async fn watch_one(session: &dyn QueueSession, HeldEntry { lock, entry, signal, .. }: &HeldEntry) {
    let id = &entry.id;
    let mut backoff = Backoff::default();
    loop {
        let watched = watch(session, lock, id, vec![id.clone()], Revision::default()).await;
        if signal.is_over() {
            return;
        }
        let standing = match watched {
            Ok(Some(standing)) => Ok(standing),
            Ok(None) => session.look(lock, id).await,
            Err(error) => Err(error),
        };
        match standing {
            Ok(Standing::Holds) => backoff = Backoff::default(),
            Ok(_) => break,
            Err(_) => backoff.pause().await,
        }
    }
    // An entry goes with its session, and that is the loss then.
    if session.lease().loss().is_none() && signal.tell_removed() {
        tracing::warn!(name = %lock.name, %id, "entry of a held lock was removed");
    }
}
