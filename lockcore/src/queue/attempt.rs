//! PURE: one acquisition as a state machine. Events go in, the next step comes out; whoever runs it does the I/O.

use crate::backend::Revision;
use crate::entry::EntryId;
use crate::error::Error;
use crate::queue::standing::Standing;

/// One acquisition, from the first request to the grant or the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    patient: bool,
    phase: Phase,
    residue: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// The entry is not known to be in the queue.
    Enqueueing,
    /// The entry has been seen in the queue.
    Queued,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The server answered an [`Enqueue`](Step::Enqueue) or a [`Look`](Step::Look).
    Stands(Standing),
    /// A [`Watch`](Step::Watch) returned, rightly or not, or a [`Pause`](Step::Pause) is over.
    Woken,
    /// The request of the last step failed.
    Failed(Failure),
    /// The time for waiting is over.
    OutOfTime,
    /// The session is lost.
    SessionLost,
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
    /// The entry holds.
    Grant,
    /// The attempt is over, without the lock.
    End(End),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
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
    /// The session was lost, and the entry with it.
    SessionLost,
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
    /// An attempt that waits its turn (`patient`), or only takes what is free.
    pub fn new(patient: bool) -> Self {
        Self { patient, phase: Phase::Enqueueing, residue: false }
    }

    /// The first step.
    pub fn begin(&mut self) -> Next {
        self.enqueue()
    }

    /// What comes after this event.
    pub fn on(&mut self, event: Event) -> Next {
        match event {
            Event::Stands(standing) => self.stands(standing),
            Event::Woken => match self.phase {
                Phase::Enqueueing => self.enqueue(),
                Phase::Queued => Next::Do(Step::Look),
            },
            Event::Failed(failure) => self.failed(failure),
            Event::OutOfTime => Next::End(End::NotInTime),
            Event::SessionLost => {
                self.residue = false;
                Next::End(End::SessionLost)
            }
        }
    }

    /// Whether the entry may be in the queue, or may still get there: if the attempt ends now, in whatever way
    /// but by a grant, the entry has to be removed.
    pub fn may_have_entry(&self) -> bool {
        self.residue
    }

    fn enqueue(&mut self) -> Next {
        self.residue = true;
        Next::Do(Step::Enqueue)
    }

    fn stands(&mut self, standing: Standing) -> Next {
        self.phase = Phase::Queued;
        match standing {
            Standing::Holds => Next::Grant,
            Standing::Waits { wake, seen } if self.patient => Next::Do(Step::Watch { wake, seen }),
            Standing::Waits { .. } => Next::End(End::NotInTime),
            Standing::LimitMismatch { theirs } => Next::End(End::LimitMismatch { theirs }),
            // Removed by somebody; but an enqueue whose outcome was unknown may still be under way.
            Standing::Absent => Next::End(End::EntryRemoved),
        }
    }

    fn failed(&mut self, failure: Failure) -> Next {
        // Whoever only tries does not want to wait for the network either.
        if failure.retryable && self.patient { Next::Do(Step::Pause) } else { Next::End(End::Failed) }
    }
}
