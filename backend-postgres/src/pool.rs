//! Connections on which waiters block.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::connection::Ready;

/// The connections that are free, and how many there are.
#[derive(Default)]
pub(crate) struct Pool {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free: Vec<(Instant, Arc<Ready>)>,
    /// With those on which somebody blocks.
    all: usize,
}

/// How many locks of one session are waited for in this way at a time; behind others somebody looks again and again.
const MOST: usize = 8;

/// How long a connection is kept that nobody needs.
const KEPT: Duration = Duration::from_secs(10);

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free one, or the right to make one (`Some(None)`); none if there are as many as there may be. Either is counted until it is
    /// given [back](Self::give_back) or [up](Self::give_up).
    pub(crate) fn take(&self) -> Option<Option<Arc<Ready>>> {
        let mut state = self.lock();
        let free = state.free.pop().map(|(_, ready)| ready);
        if free.is_none() && state.all >= MOST {
            return None;
        }
        state.all += usize::from(free.is_none());
        Some(free)
    }

    /// It is free again.
    pub(crate) fn give_back(&self, ready: Arc<Ready>) {
        self.lock().free.push((Instant::now(), ready));
    }

    /// It is not there any more.
    pub(crate) fn give_up(&self) {
        self.lock().all -= 1;
    }

    /// Ends those that nobody has needed for a while.
    pub(crate) fn trim(&self) {
        let mut state = self.lock();
        let before = state.free.len();
        state.free.retain(|(since, _)| since.elapsed() < KEPT);
        let ended = before - state.free.len();
        state.all -= ended;
    }

    /// Ends all that are free.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        let ended = std::mem::take(&mut state.free).len();
        state.all -= ended;
    }
}
