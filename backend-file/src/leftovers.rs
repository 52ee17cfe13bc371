//! Directories of locks that nobody uses any more. Whoever left a lock last removes its directory: a moment later, so that
//! whoever takes it again and again finds it, or when the session ends.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockcore::LockKey;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::root::Root;
use crate::session::Places;

/// For how long a lock has to be left alone.
const IDLE: Duration = Duration::from_secs(1);

/// The locks that a session has left, and when.
#[derive(Debug, Default)]
pub(crate) struct Left {
    locks: Mutex<HashMap<LockKey, Instant>>,
    first: Notify,
}

impl Left {
    fn lock(&self) -> MutexGuard<'_, HashMap<LockKey, Instant>> {
        // Nothing panics while it is held.
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry of this session has left.
    pub(crate) fn add(&self, lock: &LockKey) {
        let mut locks = self.lock();
        if locks.is_empty() {
            self.first.notify_one();
        }
        locks.insert(lock.clone(), Instant::now());
    }

    /// Those that were left at any time.
    pub(crate) fn take(&self) -> Vec<LockKey> {
        std::mem::take(&mut *self.lock()).into_keys().collect()
    }

    fn take_idle(&self) -> Vec<LockKey> {
        let now = Instant::now();
        let mut locks = self.lock();
        locks.extract_if(|_, left| *left + IDLE <= now).map(|(lock, _)| lock).collect()
    }

    /// Removes the directories of those that were left alone, as long as the session lives. While there is nothing to remove, it sleeps.
    pub(crate) async fn remove_directories(&self, root: &Root) {
        loop {
            if self.lock().is_empty() {
                self.first.notified().await;
            }
            tokio::time::sleep(IDLE).await;
            let (idle, root) = (self.take_idle(), root.clone());
            let busy = tokio::task::spawn_blocking(move || root.remove_unused(idle, IDLE)).await;
            busy.iter().flatten().for_each(|lock| self.add(lock));
        }
    }
}

/// What has to go with a session.
pub(crate) struct Remains {
    pub(crate) places: Places,
    /// Whose directories may be unused now.
    pub(crate) locks: Vec<LockKey>,
    pub(crate) root: Root,
}

impl Remains {
    /// Removes the entries, and the directories that nobody uses. Returns those of which that is not known yet.
    pub(crate) fn remove(self) -> Vec<LockKey> {
        drop(self.places);
        self.root.remove_unused(self.locks, Duration::ZERO)
    }
}
