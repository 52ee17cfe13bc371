//! Elections, for blocking code.

use std::fmt;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::BoxStream;
use lockcore::{AcquireOptions, FencingToken, HeldLock, Leader, LockName, Released, Result, Wait};

use super::guard::LossSignal;
use super::owned::Owned;
use super::runtime::wait;

/// An election: see [`Election`](crate::Election).
#[derive(Debug, Clone)]
pub struct Election {
    election: lockcore::Election,
}

impl Election {
    pub(super) fn new(election: lockcore::Election) -> Self {
        Self { election }
    }

    /// Its name.
    pub fn name(&self) -> &LockName {
        self.election.name()
    }

    /// Waits until it is our turn to lead, for ever. Others see the value.
    ///
    /// # Errors
    ///
    /// Those of [`Election::campaign`](crate::Election::campaign); [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    pub fn campaign(&self, value: impl AsRef<str>) -> Result<Leadership> {
        wait(self.election.campaign(value))?.map(Leadership::new)
    }

    /// Waits until it is our turn to lead, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// Those of [`campaign`](Self::campaign).
    pub fn campaign_timeout(&self, value: impl AsRef<str>, timeout: Duration) -> Result<Option<Leadership>> {
        let options = AcquireOptions::new().with_wait(Wait::For(timeout));
        Ok(wait(self.election.campaign_with(value, &options))??.map(Leadership::new))
    }

    /// Who leads now; `None` if nobody does.
    ///
    /// # Errors
    ///
    /// Those of [`Election::leader`](crate::Election::leader); [`InvalidInput`](crate::ErrorKind::InvalidInput) inside an async context.
    pub fn leader(&self) -> Result<Option<Leader>> {
        wait(self.election.leader())?
    }

    /// Who leads, now and whenever that changes: each step waits for the next change. See [`Election::observe`](crate::Election::observe).
    pub fn observe(&self) -> Leaders {
        Leaders { leaders: self.election.observe() }
    }
}

/// The leaders of an election, one after another.
pub struct Leaders {
    leaders: BoxStream<'static, Result<Option<Leader>>>,
}

impl fmt::Debug for Leaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaders").finish_non_exhaustive()
    }
}

impl Iterator for Leaders {
    type Item = Result<Option<Leader>>;

    fn next(&mut self) -> Option<Self::Item> {
        wait(self.leaders.next()).unwrap_or_else(|error| Some(Err(error)))
    }
}

/// Held leadership: see [`Leadership`](crate::Leadership). Dropping it resigns, as dropping a [`LockGuard`](super::LockGuard) releases.
#[must_use = "whoever drops a leadership resigns"]
#[derive(Debug)]
#[clippy::has_significant_drop]
pub struct Leadership {
    leadership: Owned<lockcore::Leadership>,
}

impl Leadership {
    fn new(leadership: lockcore::Leadership) -> Self {
        Self { leadership: Owned::new(leadership) }
    }

    /// A number that grows from leader to leader: its fencing token.
    pub fn term(&self) -> FencingToken {
        self.leadership.term()
    }

    /// Whether we still lead, computed at the call.
    pub fn is_valid(&self) -> bool {
        self.leadership.is_valid()
    }

    /// Until when we are sure to lead if nothing more is heard; `None` if there is no such limit.
    pub fn deadline(&self) -> Option<Instant> {
        self.leadership.deadline().map(Into::into)
    }

    /// Tells whether the leadership is lost; for other threads.
    pub fn loss_signal(&self) -> LossSignal {
        LossSignal::new(self.leadership.guard().loss_signal())
    }

    /// The term and the loss signal, without the power to resign.
    pub fn held(&self) -> HeldLock {
        self.leadership.held()
    }

    /// Gives the leadership up, and says whether it was held without a gap until then.
    ///
    /// # Errors
    ///
    /// Those of [`LockGuard::release`](super::LockGuard::release).
    pub fn resign(self) -> Result<Released> {
        self.leadership.give_back()
    }
}
