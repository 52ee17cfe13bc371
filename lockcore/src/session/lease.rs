//! PURE: how long a session is sure to live, by our own clock.

use std::time::Duration;

use crate::session::{Loss, Moment};

/// What is known of a lease at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseState {
    /// The session lives.
    Live,
    /// The session may be over, but not before this moment; `None` where it lasts until it is ended.
    Doubtful {
        /// When it will count as lost if nothing is heard.
        until: Option<Moment>,
    },
    /// The session is over.
    Lost(Loss),
}

/// Counts the life of a session from the *sending* of the last acknowledged renewal, the only moment of which
/// we know that the server cannot have counted from an earlier one.
///
/// A part of the granted time is kept back as a margin: for the drift of clocks, for expiry that a server does in
/// ticks, and for servers that pass a renewal on to their leader a moment later. It is longer than the interval
/// between renewals, so that even the renewal *before* the last acknowledged one keeps the session alive until we
/// have declared it lost.
///
/// The rule is that of Chubby's jeopardy (Burrows, OSDI 2006, section 2.8) with the client's lease counted
/// conservatively.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeaseClock {
    granted: Option<Duration>,
    renewed: Moment,
    in_doubt: bool,
    loss: Option<Loss>,
}

impl LeaseClock {
    /// The part of the granted time that is kept back: a fifth.
    const MARGIN: u32 = 5;
    /// Renewals in one granted time.
    const RENEWALS: u32 = 6;

    /// A session that the server granted for `granted` after the last renewal, asked for at `sent`.
    /// `None` is a session that lasts until it is ended.
    pub fn new(granted: Option<Duration>, sent: Moment) -> Self {
        Self { granted, renewed: sent, in_doubt: false, loss: None }
    }

    /// How long the server lets the session live after a renewal; `None` if it lasts until it is ended.
    pub fn granted(&self) -> Option<Duration> {
        self.granted
    }

    /// How often to renew.
    pub fn renewal_interval(&self) -> Option<Duration> {
        self.granted.map(|granted| granted / Self::RENEWALS)
    }

    /// A renewal that was sent at `sent` has been acknowledged. It comes too late for a lost session.
    pub fn renewed(&mut self, sent: Moment) {
        self.renewed = self.renewed.max(sent);
        self.in_doubt = false;
    }

    /// The connection is down, or a renewal failed: the session may still be alive.
    pub fn doubt(&mut self) {
        self.in_doubt = true;
    }

    /// From now on the session lasts for `granted` after the last acknowledged renewal.
    pub fn grant(&mut self, granted: Option<Duration>) {
        self.granted = granted;
    }

    /// The session is over, for this reason. The first reason stays.
    pub fn end(&mut self, loss: Loss) {
        self.loss.get_or_insert(loss);
    }

    /// Why it is over, as far as has been found out.
    pub(super) fn loss(&self) -> Option<Loss> {
        self.loss
    }

    /// When the last acknowledged renewal was sent.
    pub(super) fn last_renewal(&self) -> Moment {
        self.renewed
    }

    /// Until when the session is sure to live if nothing more is heard.
    pub fn deadline(&self) -> Option<Moment> {
        self.granted.map(|granted| self.renewed + (granted - granted / Self::MARGIN))
    }

    /// From when on half of the time that the last acknowledged renewal gave has passed in silence.
    pub fn risk(&self) -> Option<Moment> {
        self.granted.map(|granted| self.renewed + (granted - granted / Self::MARGIN) / 2)
    }

    /// What is known at `now`. Once lost stays lost.
    pub fn state(&mut self, now: Moment) -> LeaseState {
        let deadline = self.deadline();
        if deadline.is_some_and(|deadline| now >= deadline) {
            self.end(Loss::Deadline);
        }
        match (self.loss, self.in_doubt) {
            (Some(loss), _) => LeaseState::Lost(loss),
            (None, true) => LeaseState::Doubtful { until: deadline },
            (None, false) => LeaseState::Live,
        }
    }
}
