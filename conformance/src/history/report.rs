//! What a history shows.

use std::fmt;

/// What was counted, and what was found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Guards that were had.
    pub grants: usize,
    /// Acquisitions that ended without one.
    pub ungranted: usize,
    /// Guards that were lost.
    pub losses: usize,
    /// Writes that were refused because of their token.
    pub refused: usize,
    /// The longest that a lock was kept from somebody while nothing happened to it and nothing was broken.
    pub longest_handover: std::time::Duration,
    /// The promises that were broken.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { grants, ungranted, losses, refused, longest_handover, violations } = self;
        write!(f, "{grants} grants, {ungranted} without, {losses} lost, {refused} writes refused, ")?;
        write!(f, "longest hand-over {longest_handover:.1?}, {} violations", violations.len())?;
        violations.iter().take(SHOWN).try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}

/// How many violations are printed: the first ones tell most.
const SHOWN: usize = 20;

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// How, with the numbers of the acquisitions.
    pub how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.how)
    }
}

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Promise {
    /// Guards that the rule excludes are not valid together.
    Exclusion,
    /// Grants follow the queue, and tokens rise along it.
    Order,
    /// A free lock is handed over soon.
    HandOver,
    /// Nothing is left behind.
    NoLeftover,
    /// Whoever asks is answered.
    Answer,
    /// A loss is told by its deadline, and for ever.
    LossIsTold,
    /// Old tokens are refused.
    Fencing,
    /// The history itself makes sense: an acquisition is asked for first, granted once, and so on.
    Sense,
}
