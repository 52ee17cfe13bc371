//! Counts nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::QueueSession;
use crate::entry::LockKey;
use crate::lock_kind::LockKind;
use crate::metrics::Outcome;
use crate::session::{Loss, SessionEvent};

/// Counts for one service.
#[derive(Debug, Clone)]
pub(crate) struct Counting;

impl Counting {
    pub(crate) fn new(_place: &Arc<str>) -> Self {
        Self
    }

    pub(crate) fn waiting(&self, _lock: &LockKey, _kind: LockKind) -> Waiting {
        Waiting
    }

    pub(crate) fn session(&self, _event: SessionEvent) {}
}

/// An acquisition that is under way.
pub(crate) struct Waiting;

impl Waiting {
    pub(crate) fn ends(self, _outcome: Outcome) -> Held {
        Held
    }
}

/// A lock that is held.
#[derive(Debug)]
pub(crate) struct Held;

impl Held {
    pub(crate) fn ends(&mut self, _loss: Option<Loss>) {}
}

pub(crate) fn renewed_late(_delay: Duration) {}

pub(crate) fn counted(session: Arc<dyn QueueSession>, _counting: &Counting) -> Arc<dyn QueueSession> {
    session
}
