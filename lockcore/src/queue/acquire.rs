//! Runs an [`Attempt`]: the sessions, the requests, the clock.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::coop::consume_budget;
use tokio::time::Instant;

use crate::backend::Removed;
use crate::entry::{Entry, EntryId, EntryKind, FencingToken, LockKey};
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::options::Wait;
use crate::queue::attempt::{Attempt, End, Event, Failure, Next, Step, Turn};
use crate::queue::backoff::Backoff;
use crate::queue::open::Ticket;
use crate::queue::reentry::LongWait;
use crate::queue::sessions::Sessions;
use crate::queue::standing::Standing;
use crate::session::Loss;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) lock: &'a LockKey,
    pub(super) kind: EntryKind,
    pub(super) label: Arc<str>,
    pub(super) patience: Patience,
    /// Whether to queue again when the session is lost.
    pub(super) requeues: bool,
    /// Behind how many to wait at most.
    pub(super) max_ahead: Option<usize>,
}

/// When to give up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    waits: bool,
    /// For how long, and until when.
    limit: Option<(Duration, Instant)>,
}

impl Patience {
    /// A wait as the caller wants it; whoever only tries waits for answers, for as long as connecting may take.
    pub(super) fn new(wait: Wait, connect_timeout: Duration) -> Self {
        let (waits, limit) = match wait {
            Wait::Never | Wait::For(Duration::ZERO) => (false, Some(connect_timeout)),
            Wait::For(duration) => (true, Some(duration)),
            Wait::Forever => (true, None),
        };
        let until = |limit| Instant::now().checked_add(limit).map(|deadline| (limit, deadline));
        Self { waits, limit: limit.and_then(until) }
    }

    /// The output of the future, or `None` if time runs out first.
    async fn limit<F: Future>(&self, future: F) -> Option<F::Output> {
        match self.limit {
            Some((_, deadline)) => tokio::time::timeout_at(deadline, future).await.ok(),
            None => Some(future.await),
        }
    }

    /// Until when the end of an attempt waits for its entry to be gone before it leaves that to the janitor. A try has
    /// no more time than it has.
    fn removal_deadline(&self) -> Instant {
        const PATIENCE: Duration = Duration::from_millis(500);
        let usual = Instant::now() + PATIENCE;
        self.limit.filter(|_| !self.waits).map_or(usual, |(_, deadline)| usual.min(deadline))
    }
}

/// A granted entry.
pub(super) struct Grant {
    pub(super) ticket: Ticket,
    pub(super) entry: Entry,
    pub(super) token: FencingToken,
}

/// Waits for the lock; `None` if it was not had in time. Dropped, or ended without the lock, it leaves nothing behind.
pub(super) async fn acquire(sessions: &Arc<Sessions>, request: &Request<'_>) -> Result<Option<Grant>> {
    let attempt = Attempt::new(request.patience.waits, request.requeues);
    let (backoff, wait) = (Backoff::default(), LongWait::default());
    let mut run = Run { sessions, request, attempt, backoff, wait, place: None, error: None };
    let mut next = run.attempt.begin();
    loop {
        let event = match next {
            Next::Do(step) => run.perform(step).await,
            Next::Grant(token) => return Ok(run.grant(token)),
            Next::End(end) => return run.end(end).await,
        };
        next = run.on(event);
    }
}

struct Run<'a> {
    sessions: &'a Arc<Sessions>,
    request: &'a Request<'a>,
    attempt: Attempt,
    backoff: Backoff,
    wait: LongWait,
    place: Option<Place>,
    error: Option<Error>,
}

/// Our entry, or what will be one, in a session.
struct Place {
    ticket: Ticket,
    entry: Entry,
}

impl Run<'_> {
    fn on(&mut self, event: Event) -> Next {
        let loss = self.place.as_ref().and_then(|place| place.ticket.open.lease().loss());
        let Turn { next, left, armed } = self.attempt.on(event, loss);
        if let Some(place) = &mut self.place {
            // Before anything is sent: whoever drops this from here on leaves the entry to the janitor.
            place.ticket.armed = armed;
        }
        if let Some(loss) = left {
            self.leave(loss);
        }
        next
    }

    /// The place is lost with its session.
    fn leave(&mut self, loss: Loss) {
        self.place = None;
        self.error = Some(Error::lost(loss));
        let name = &self.request.lock.name;
        tracing::debug!(%name, %loss, "session lost while waiting: queueing again, behind all others");
    }

    /// Does what the step says, unless time runs out or the session is lost meanwhile.
    async fn perform(&mut self, step: Step) -> Event {
        let patience = self.request.patience;
        let done = match &mut self.place {
            None => patience.limit(pin!(self.prepare(step))).await,
            Some(Place { ticket, entry }) => {
                let max_ahead = self.request.max_ahead;
                let asked = pin!(ask(step, ticket, entry, max_ahead, (&mut self.backoff, &mut self.wait)));
                let within = pin!(patience.limit(asked));
                ticket.open.lease().outlive(within).await.unwrap_or(Some(Ok(Event::Woken)))
            }
        };
        match done {
            Some(Ok(event)) => event,
            Some(Err(error)) => self.failed(error),
            None => Event::OutOfTime,
        }
    }

    /// The steps without a place.
    async fn prepare(&mut self, step: Step) -> Result<Event> {
        if step == Step::Pause {
            self.backoff.pause().await;
            return Ok(Event::Woken);
        }
        // Some drivers answer at once. Who takes one free lock after another lets other tasks of the thread in from time to time, as
        // tokio's own locks do.
        consume_budget().await;
        let open = self.sessions.current().await?;
        let Request { lock, kind, ref label, .. } = *self.request;
        let entry = Entry { id: EntryId::random(), kind, label: label.clone() };
        let ticket = Ticket { open, lock: lock.clone(), id: entry.id.clone(), armed: false };
        self.place = Some(Place { ticket, entry });
        Ok(Event::Opened)
    }

    fn failed(&mut self, error: Error) -> Event {
        let name = &self.request.lock.name;
        tracing::debug!(%name, %error, "request failed");
        if self.backoff.is_longest() && !is_outage(&error) {
            self.sessions.tell_failure(name, &error);
        }
        let failure = Failure::from(&error);
        self.error = Some(error);
        Event::Failed(failure)
    }

    /// Nothing is granted without a place.
    fn grant(self, token: FencingToken) -> Option<Grant> {
        self.place.map(|Place { ticket, entry }| Grant { ticket, entry, token })
    }

    async fn end(mut self, end: End) -> Result<Option<Grant>> {
        let removed = self.remove().await;
        match end {
            End::NotInTime => Ok(None),
            End::NotHeard => self.not_heard(removed),
            End::SessionLost(loss) => Err(Error::lost(loss)),
            End::EntryRemoved => Err(Error::lost(Loss::Removed)),
            End::LimitMismatch { theirs } => Err(mismatch(self.request.kind.limit(), theirs)),
            End::Failed => Err(self.error.unwrap_or(Error::lost(Loss::Expired))),
        }
    }

    /// What the server says to the removal of the entry. What cannot be removed now is the janitor's.
    async fn remove(&mut self) -> Option<Removed> {
        let deadline = self.request.patience.removal_deadline();
        let place = self.place.as_mut().filter(|place| place.ticket.armed)?;
        tokio::time::timeout_at(deadline, place.ticket.remove()).await.ok()?.ok()
    }

    /// At the end of its time nothing was known of our entry. Whoever only tries has no time to ask then.
    fn not_heard(self, removed: Option<Removed>) -> Result<Option<Grant>> {
        let tries = !self.request.patience.waits;
        match (removed, self.error) {
            // It answers, but not as it should.
            (Some(Removed::Absent), Some(error)) if !is_outage(&error) => Err(error),
            (None, Some(error)) if tries && !is_outage(&error) => Err(error),
            // It was in the queue, or only the time for the first answer was too short.
            (Some(_), _) => Ok(None),
            (None, last) => {
                let limit = self.request.patience.limit.map_or(Duration::MAX, |(limit, _)| limit);
                let message = format!(
                    "no answer within {limit:.1?}: see whether the server runs and can be reached, or wait longer"
                );
                let effect = self.place.map_or(Effect::None, |_| Effect::Unknown);
                let unreachable = Error::new(ErrorKind::Unreachable, message).with_effect(effect);
                Err(match last {
                    Some(last) => unreachable.with_source(last),
                    None => unreachable,
                })
            }
        }
    }
}

/// Whether it tells that nobody could be asked.
fn is_outage(error: &Error) -> bool {
    [ErrorKind::Unreachable, ErrorKind::SessionLost].contains(&error.kind())
}

/// The steps with a place. What takes long has memory of its own, so that whoever gets the lock at once needs less.
async fn ask(
    step: Step,
    ticket: &Ticket,
    entry: &Entry,
    max_ahead: Option<usize>,
    (backoff, wait): (&mut Backoff, &mut LongWait),
) -> Result<Event> {
    let session = ticket.open.session();
    match step {
        // There is a place already.
        Step::Open => Ok(Event::Opened),
        Step::Enqueue => {
            let enqueued = session.enqueue(&ticket.lock, entry).await?;
            match (max_ahead, &enqueued.standing) {
                (Some(most), Standing::Waits { .. }) if ahead(ticket, enqueued.token).await? > most => {
                    Ok(Event::TooManyAhead)
                }
                _ => Ok(Event::Enqueued(enqueued)),
            }
        }
        Step::Look => session.look(&ticket.lock, &ticket.id).await.map(Event::Stands),
        Step::Watch { wake, seen } => {
            let begun = backoff.begin();
            let watched =
                wait.watch(ticket.open.long_holds(), &ticket.lock, &entry.label, ticket.watch(wake, seen));
            let watched = Box::pin(watched).await;
            backoff.worked(begun);
            watched.map(|standing| standing.map_or(Event::Woken, Event::Stands))
        }
        Step::Pause => {
            Box::pin(backoff.pause()).await;
            Ok(Event::Woken)
        }
    }
}

/// How many entries are in front of the one with this token, by which they are all called alike.
async fn ahead(ticket: &Ticket, token: FencingToken) -> Result<usize> {
    let queue = ticket.open.session().describe(&ticket.lock).await?;
    Ok(queue.iter().filter(|entry| entry.token < token).count())
}

fn mismatch(ours: u32, theirs: u32) -> Error {
    let message = format!(
        "it is in use with {theirs} permits, not {ours}: all who use it have to agree on their number"
    );
    Error::new(ErrorKind::LimitMismatch, message)
}
