//! Writes a history down while it happens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockcore::LockGuard;
use lockcore::queue::rule::UNBOUNDED;
use lockcore::{DistributedLock, LockKind};

use super::{Conditions, Event, History, What};
use crate::failure::{Failure, Verdict, check};

/// Writes down what happens in this process, in the order in which it happens. The time is the number of the event: trials on a
/// clock that stands still have an order as well.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    history: History,
    acquisitions: u64,
    lost: Vec<u64>,
}

/// A guard that somebody has.
#[derive(Debug)]
pub(crate) struct Holding {
    recorder: Arc<Recorder>,
    acquisition: u64,
}

/// The weight and the limit of the entry that somebody asks for.
fn weight_and_limit(kind: LockKind, permits: u32) -> (u32, u32) {
    match kind {
        LockKind::Exclusive => (UNBOUNDED, UNBOUNDED),
        LockKind::Shared => (1, UNBOUNDED),
        LockKind::Semaphore { limit } => (permits, limit),
    }
}

impl State {
    fn record(&mut self, acquisition: u64, what: What) {
        let at = Duration::from_nanos(self.history.events().len() as u64);
        self.history.push(Event { at, acquisition, what });
    }
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody has a guard of this lock.
    pub(crate) fn granted(
        self: &Arc<Self>,
        lock: &dyn DistributedLock,
        permits: u32,
        guard: &LockGuard,
    ) -> Holding {
        let (weight, limit) = weight_and_limit(lock.kind(), permits);
        let mut state = self.lock();
        state.acquisitions += 1;
        let acquisition = state.acquisitions;
        state.record(acquisition, What::Asked { lock: lock.name().to_string(), weight, limit });
        state.record(acquisition, What::Granted { token: guard.fencing_token().get(), until: None });
        Holding { recorder: self.clone(), acquisition }
    }

    /// Fails if the history breaks a promise, or a guard was lost.
    pub(crate) fn check(&self) -> Verdict {
        let state = self.lock();
        check!(state.lost.is_empty(), "{:?} lost their guards", state.lost);
        match state.history.check(&Conditions::default()).violations.first() {
            Some(violation) => Err(Failure::new(violation.to_string())),
            None => Ok(()),
        }
    }
}

impl Holding {
    /// The hold ends now. It must have been valid.
    pub(crate) fn ends(self, valid: bool) {
        let mut state = self.recorder.lock();
        state.record(self.acquisition, What::Over);
        if !valid {
            state.lost.push(self.acquisition);
        }
    }
}
