//! Runs an [`Attempt`] against a session: the requests, the clock, the loss of the session.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::entry::{Entry, FencingToken, LockKey};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::Wait;
use crate::queue::attempt::{Attempt, End, Event, Failure, Next, Step};
use crate::queue::backoff::Backoff;
use crate::queue::open::{OpenSession, Ticket};
use crate::session::Loss;

/// When to give up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    waits: bool,
    deadline: Option<Instant>,
}

impl From<Wait> for Patience {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Never | Wait::For(Duration::ZERO) => Self { waits: false, deadline: None },
            Wait::For(duration) => Self { waits: true, deadline: Instant::now().checked_add(duration) },
            Wait::Forever => Self { waits: true, deadline: None },
        }
    }
}

impl Patience {
    /// The output of the future, or `None` if time runs out first.
    pub(super) async fn limit<F: Future>(&self, future: F) -> Option<F::Output> {
        match self.deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, future).await.ok(),
            None => Some(future.await),
        }
    }
}

/// A granted entry.
pub(super) struct Grant {
    pub(super) ticket: Ticket,
    pub(super) token: FencingToken,
}

/// How long the end of an attempt waits for its entry to be gone before it leaves that to the janitor.
const REMOVAL_PATIENCE: Duration = Duration::from_millis(500);

/// Waits for the lock with this entry; `None` if it was not had in time. Dropped, or ended without the lock, it
/// leaves nothing behind.
pub(super) async fn acquire(
    open: Arc<OpenSession>,
    lock: &LockKey,
    entry: Entry,
    patience: Patience,
) -> Result<Option<Grant>> {
    let ticket = Ticket { open, lock: lock.clone(), id: entry.id.clone(), armed: false };
    let attempt = Attempt::new(patience.waits);
    let mut run =
        Run { ticket, entry, patience, attempt, backoff: Backoff::default(), token: None, error: None };
    let mut next = run.attempt.begin();
    loop {
        run.ticket.armed = run.attempt.may_have_entry();
        let event = match next {
            Next::Do(step) => run.perform(step).await,
            Next::Grant => return run.grant().map(Some),
            Next::End(end) => return run.end(end).await,
        };
        next = run.attempt.on(event);
    }
}

struct Run {
    ticket: Ticket,
    entry: Entry,
    patience: Patience,
    attempt: Attempt,
    backoff: Backoff,
    token: Option<FencingToken>,
    error: Option<Error>,
}

impl Run {
    /// Does what the step says, unless time runs out or the session is lost meanwhile.
    async fn perform(&mut self, step: Step) -> Event {
        let (open, patience) = (self.ticket.open.clone(), self.patience);
        tokio::select! {
            biased;
            // First, so that nothing more is asked for with a lost session.
            _ = open.lease().lost() => Event::SessionLost,
            event = patience.limit(self.request(step)) => event.unwrap_or(Event::OutOfTime),
        }
    }

    async fn request(&mut self, step: Step) -> Event {
        let Ticket { open, lock, id, .. } = &self.ticket;
        let stands = match step {
            Step::Enqueue => open.session().enqueue(lock, &self.entry).await.map(|enqueued| {
                self.token = Some(enqueued.token);
                enqueued.standing
            }),
            Step::Look => open.session().look(lock, id).await,
            Step::Watch { wake, seen } => match open.watch_a_while(lock, &wake, seen).await {
                Ok(()) => return Event::Woken,
                Err(error) => Err(error),
            },
            Step::Pause => {
                self.backoff.pause().await;
                return Event::Woken;
            }
        };
        match stands {
            Ok(standing) => {
                self.backoff = Backoff::default();
                Event::Stands(standing)
            }
            Err(error) => self.failed(error),
        }
    }

    fn failed(&mut self, error: Error) -> Event {
        tracing::debug!(name = %self.ticket.lock.name, id = %self.entry.id, %error, "request failed");
        let failure = Failure::from(&error);
        self.error = Some(error);
        Event::Failed(failure)
    }

    /// The guard's beginnings, unless the session was lost while the answer was under way.
    fn grant(self) -> Result<Grant> {
        match (self.ticket.open.lease().loss(), self.token) {
            (Some(loss), _) => Err(Error::lost(loss)),
            (None, Some(token)) => Ok(Grant { ticket: self.ticket, token }),
            (None, None) => Err(Error::new(ErrorKind::Backend, "the entry holds but never had a token")),
        }
    }

    async fn end(mut self, end: End) -> Result<Option<Grant>> {
        if self.ticket.armed {
            // What cannot be removed now is the janitor's.
            let _ = tokio::time::timeout(REMOVAL_PATIENCE, self.ticket.remove()).await;
        }
        let loss = self.ticket.open.lease().loss();
        match end {
            End::NotInTime => Ok(None),
            End::SessionLost => Err(Error::lost(loss.unwrap_or(Loss::Expired))),
            End::EntryRemoved => Err(Error::lost(loss.unwrap_or(Loss::Removed))),
            End::LimitMismatch { theirs } => {
                Err(mismatch(&self.ticket.lock, self.entry.kind.limit(), theirs))
            }
            End::Failed => Err(loss.map(Error::lost).or(self.error).unwrap_or(Error::lost(Loss::Expired))),
        }
    }
}

fn mismatch(lock: &LockKey, ours: u32, theirs: u32) -> Error {
    let message = format!("semaphore {:?} is in use with {theirs} permits, not {ours}", lock.name);
    Error::new(ErrorKind::LimitMismatch, message)
}
