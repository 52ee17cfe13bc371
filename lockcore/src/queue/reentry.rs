//! Locks are not re-entrant: a task that acquires what it holds waits for itself. Whether it is one task cannot be seen from here;
//! that a service has waited long for what it has held long itself can, and is told once for each hold.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::entry::LockKey;
use crate::label::decode;
use crate::loss_signal::LossSignal;

/// A wait, or a hold, of more than this is long.
const LONG: Duration = Duration::from_secs(10);

/// What one session holds exclusively, and not only for a moment: whoever holds for a short time is never here.
#[derive(Debug, Default)]
pub(super) struct LongHolds {
    holds: Mutex<HashMap<LockKey, LongHold>>,
}

#[derive(Debug)]
struct LongHold {
    label: Arc<str>,
    signal: LossSignal,
    /// When it will have been held for long.
    long_at: Instant,
    told: bool,
}

impl LongHolds {
    fn lock(&self) -> MutexGuard<'_, HashMap<LockKey, LongHold>> {
        // Nothing panics while it is held.
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock is held exclusively, and has been for this time at least.
    pub(super) fn add(&self, lock: LockKey, label: Arc<str>, signal: LossSignal, held_for: Duration) {
        let long_at = Instant::now() + LONG.saturating_sub(held_for);
        self.lock().insert(lock, LongHold { label, signal, long_at, told: false });
    }

    /// That hold is over.
    pub(super) fn remove(&self, lock: &LockKey, signal: &LossSignal) {
        let mut holds = self.lock();
        if holds.get(lock).is_some_and(|hold| hold.signal.is_of(signal)) {
            holds.remove(lock);
        }
    }

    /// Who holds the lock, if that has to be told now; and when to ask again.
    fn holder(&self, lock: &LockKey) -> (Option<Arc<str>>, Instant) {
        let now = Instant::now();
        match self.lock().get_mut(lock).filter(|hold| !hold.signal.is_over()) {
            Some(hold) if now < hold.long_at => (None, hold.long_at),
            Some(hold) if !hold.told => {
                hold.told = true;
                (Some(hold.label.clone()), now + LONG)
            }
            _ => (None, now + LONG),
        }
    }
}

/// How long an acquisition has been waiting.
#[derive(Debug, Default)]
pub(super) struct LongWait {
    /// When to ask who holds the lock; from the first wait on.
    next: Option<Instant>,
}

impl LongWait {
    /// The output of the future. If it takes long, and the lock is held by the same session, that is told.
    pub(super) async fn watch<F: Future>(
        &mut self,
        holds: &LongHolds,
        lock: &LockKey,
        label: &str,
        watched: F,
    ) -> F::Output {
        let mut watched = pin!(watched);
        loop {
            let next = *self.next.get_or_insert_with(|| Instant::now() + LONG);
            if let Ok(output) = timeout_at(next, watched.as_mut()).await {
                return output;
            }
            let (holder, next) = holds.holder(lock);
            self.next = Some(next);
            if let Some(holder) = holder {
                warn(lock, &holder, label);
            }
        }
    }
}

fn warn(lock: &LockKey, holder: &str, waiter: &str) {
    let [holder, waiter] = [holder, waiter].map(|text| decode(text).label);
    let name = &lock.name;
    tracing::warn!(
        %name, holder, waiter,
        "this service has waited for more than ten seconds for a lock that it holds itself: if one task does both, it waits for \
         ever, because locks are not re-entrant; if another task holds it, that only takes long"
    );
}
