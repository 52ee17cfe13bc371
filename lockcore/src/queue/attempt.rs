//! PURE: one acquisition as a state machine. Events go in, the next step comes out; whoever runs it does the I/O.

use crate::backend::Enqueued;
use crate::entry::{EntryId, FencingToken};
use crate::error::Error;
use crate::queue::standing::Standing;
use crate::session::Loss;
use crate::snapshot::Revision;

/// One acquisition, from the first request to the grant or the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    patient: bool,
    requeues: bool,
    phase: Phase,
    residue: bool,
    /// A session that was lost with an entry of ours, which may still be in the queue.
    lost: Option<Loss>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// There is no session yet, or none any more.
    Opening,
    /// The entry is not known to be in the queue.
    Enqueueing,
    /// The entry has been seen in the queue, with this token.
    Queued(FencingToken),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There is a [session](Step::Open), and a new entry for it.
    Opened,
    /// The server answered an [`Enqueue`](Step::Enqueue).
    Enqueued(Enqueued),
    /// The server answered a [`Look`](Step::Look), or a [`Watch`](Step::Watch) told.
    Stands(Standing),
    /// A [`Watch`](Step::Watch) returned, rightly or not, and told no more, or a [`Pause`](Step::Pause) is over.
    Woken,
    /// The request of the last step failed.
    Failed(Failure),
    /// The entry is in the queue, behind more than it is meant to wait for.
    TooManyAhead,
    /// The time for waiting is over.
    OutOfTime,
}

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Whether it is worth repeating.
    pub retryable: bool,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { retryable: error.is_retryable() }
    }
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Do this, and report what happened.
    Do(Step),
    /// The entry holds, and this is its token.
    Grant(FencingToken),
    /// The attempt is over, without the lock.
    End(End),
}

/// What an event makes of an acquisition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What comes next.
    pub next: Next,
    /// The place is lost with its session: what comes next does without it.
    pub left: Option<Loss>,
    /// Whether there may be an entry that has to be removed, should the acquisition end now. Whoever has a guard has one.
    pub armed: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Take the session in use, or open the next one; make a new entry.
    Open,
    /// Append the entry, or find the one appended before.
    Enqueue,
    /// Ask where the entry stands.
    Look,
    /// Wait until one of these has left.
    Watch {
        /// Whom to watch.
        wake: Vec<EntryId>,
        /// When they were seen.
        seen: Revision,
    },
    /// Wait a little before repeating what failed.
    Pause,
}

/// Why an attempt ended without the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Others were there first, for longer than the attempt could wait.
    NotInTime,
    /// When time was over, nothing had been heard of our entry, if there was one.
    NotHeard,
    /// The session was lost, and the entry with it.
    SessionLost(Loss),
    /// Somebody removed the entry.
    EntryRemoved,
    /// An entry ahead thinks that the semaphore has this many permits.
    LimitMismatch {
        /// Its limit.
        theirs: u32,
    },
    /// The request of the last step failed for good.
    Failed,
}

impl Attempt {
    /// An attempt that waits its turn (`patient`), or only takes what is free; and that goes to the end of the queue
    /// when its session is lost (`requeues`), or ends then.
    pub fn new(patient: bool, requeues: bool) -> Self {
        Self { patient, requeues, phase: Phase::Opening, residue: false, lost: None }
    }

    /// The first step.
    pub fn begin(&mut self) -> Next {
        Next::Do(Step::Open)
    }

    /// What comes after this event: the one decision whether there is a guard. `loss` is what the lease of the session says once
    /// the event is known, so that nothing is granted with a lost session; `None` without a place.
    pub fn on(&mut self, event: Event, loss: Option<Loss>) -> Turn {
        let next = match loss {
            Some(loss) => self.lost(loss),
            None => self.next(event),
        };
        let left = loss.filter(|_| matches!(next, Next::Do(_)));
        Turn { next, left, armed: self.residue }
    }

    fn next(&mut self, event: Event) -> Next {
        match event {
            Event::Opened => self.enqueue(),
            Event::Enqueued(Enqueued { token, standing }) => self.stands(token, standing),
            Event::Stands(standing) => match self.phase {
                Phase::Queued(token) => self.stands(token, standing),
                // Told of an entry of which the server has said nothing yet.
                Phase::Opening | Phase::Enqueueing => self.repeat(),
            },
            Event::Woken => self.repeat(),
            Event::TooManyAhead => Next::End(self.gives_up()),
            Event::Failed(Failure { retryable: true }) => Next::Do(Step::Pause),
            Event::Failed(Failure { retryable: false }) => Next::End(End::Failed),
            Event::OutOfTime => Next::End(self.out_of_time()),
        }
    }

    fn repeat(&mut self) -> Next {
        match self.phase {
            Phase::Opening => Next::Do(Step::Open),
            Phase::Enqueueing => self.enqueue(),
            Phase::Queued(_) => Next::Do(Step::Look),
        }
    }

    fn enqueue(&mut self) -> Next {
        self.phase = Phase::Enqueueing;
        self.residue = true;
        Next::Do(Step::Enqueue)
    }

    fn stands(&mut self, token: FencingToken, standing: Standing) -> Next {
        self.phase = Phase::Queued(token);
        match standing {
            Standing::Holds => Next::Grant(token),
            Standing::Waits { wake, seen } if self.patient => Next::Do(Step::Watch { wake, seen }),
            Standing::Waits { .. } => Next::End(self.gives_up()),
            Standing::LimitMismatch { theirs } => Next::End(End::LimitMismatch { theirs }),
            // Removed by somebody; but an enqueue whose outcome was unknown may still be under way.
            Standing::Absent => Next::End(End::EntryRemoved),
        }
    }

    /// Others are first; after a loss perhaps nobody but ourselves.
    fn gives_up(&self) -> End {
        self.lost.map_or(End::NotInTime, End::SessionLost)
    }

    /// The entry goes with its session. A pause comes first: a server may end each session as soon as it is opened.
    fn lost(&mut self, loss: Loss) -> Next {
        self.lost = self.lost.or(self.residue.then_some(loss));
        self.residue = false;
        self.phase = Phase::Opening;
        match loss {
            Loss::Closed => Next::End(End::SessionLost(loss)),
            _ if !self.requeues => Next::End(End::SessionLost(loss)),
            _ => Next::Do(Step::Pause),
        }
    }

    fn out_of_time(&self) -> End {
        match self.phase {
            Phase::Queued(_) => End::NotInTime,
            Phase::Opening | Phase::Enqueueing => End::NotHeard,
        }
    }
}
