//! What happened, and whether the rule allows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockcore::queue::rule::UNBOUNDED;
use lockcore::{FencingToken, LockGuard, LockKind};

use crate::failure::{Failure, Verdict, check};

/// The grants of one lock, in the order in which they were seen.
#[derive(Debug, Default)]
pub(crate) struct History {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The permits that are held now.
    held: u64,
    grants: Vec<Grant>,
    faults: Vec<String>,
}

#[derive(Debug)]
struct Grant {
    token: FencingToken,
    weight: u32,
    limit: u32,
    /// How many grants had been seen when this one ended.
    ended_at: Option<usize>,
}

/// A grant that has not ended.
#[derive(Debug)]
pub(crate) struct Holding {
    history: Arc<History>,
    number: usize,
}

impl History {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody was granted.
    pub(crate) fn granted(self: &Arc<Self>, kind: LockKind, permits: u32, guard: &LockGuard) -> Holding {
        let (weight, limit) = match kind {
            LockKind::Exclusive => (UNBOUNDED, UNBOUNDED),
            LockKind::Shared => (1, UNBOUNDED),
            LockKind::Semaphore { limit } => (permits, limit),
        };
        let mut state = self.lock();
        let number = state.grants.len();
        state.held += u64::from(weight);
        if state.held > u64::from(limit) {
            let fault = format!("grant {number} ({kind}): {} permits of {limit} are held", state.held);
            state.faults.push(fault);
        }
        state.grants.push(Grant { token: guard.fencing_token(), weight, limit, ended_at: None });
        Holding { history: self.clone(), number }
    }

    /// Fails if too much was held at once, or if anybody was granted, and left, before somebody ahead of him was
    /// granted with whom he cannot hold together. Tokens tell who was ahead.
    pub(crate) fn check(&self) -> Verdict {
        let state = self.lock();
        if let Some(fault) = state.faults.first() {
            return Err(Failure::new(fault));
        }
        for (number, grant) in state.grants.iter().enumerate() {
            let after_its_end = &state.grants[grant.ended_at.unwrap_or(state.grants.len())..];
            let overtaken = after_its_end.iter().find(|later| {
                let together = u64::from(later.weight) + u64::from(grant.weight);
                later.token <= grant.token && together > u64::from(grant.limit)
            });
            let token = grant.token;
            check!(overtaken.is_none(), "grant {number} with token {token} overtook {overtaken:?}");
        }
        Ok(())
    }
}

impl Holding {
    /// The hold ends now. It must have been valid.
    pub(crate) fn ends(self, valid: bool) {
        let mut state = self.history.lock();
        let seen = state.grants.len();
        let grant = &mut state.grants[self.number];
        grant.ended_at = Some(seen);
        state.held -= u64::from(state.grants[self.number].weight);
        if !valid {
            state.faults.push(format!("grant {} was lost", self.number));
        }
    }
}
