//! What a program runs under: a lock, several of them, or the lock of a job.

use std::os::fd::OwnedFd;
use std::time::Duration;

use fairlock::{LockGuard, Loss, Released, Result, Run, RunEnd, SetGuard};

#[derive(Debug)]
pub(crate) enum Held {
    Lock(LockGuard),
    /// The first is that of the name that was given first.
    Several(SetGuard),
    Job(Run),
}

impl Held {
    /// That of the lock of the name that was given first comes first.
    pub(crate) fn guards(&self) -> Vec<&LockGuard> {
        match self {
            Held::Lock(guard) => vec![guard],
            Held::Several(set) => set.guards().collect(),
            Held::Job(run) => vec![run.guard()],
        }
    }

    /// Open files that keep the locks, where there are such.
    pub(crate) fn descriptors(&self) -> Result<Vec<OwnedFd>> {
        self.guards().into_iter().filter_map(|guard| guard.descriptor().transpose()).collect()
    }

    /// Returns when any lock is lost.
    pub(crate) async fn lost(&self) -> Loss {
        match self {
            Held::Lock(guard) => guard.lost().await,
            Held::Several(set) => set.lost().await,
            Held::Job(run) => run.guard().lost().await,
        }
    }

    /// For how long all are sure to be held.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.guards().into_iter().filter_map(|guard| guard.loss_signal().remaining()).min()
    }

    /// The program has ended: how, is recorded for a job.
    pub(crate) async fn ended(&mut self, end: RunEnd) {
        if let Held::Job(run) = self {
            run.ended(end).await;
        }
    }

    pub(crate) async fn release(self) -> Result<Released> {
        match self {
            Held::Lock(guard) => guard.release().await,
            Held::Several(set) => set.release().await,
            Held::Job(run) => run.into_guard().release().await,
        }
    }
}
