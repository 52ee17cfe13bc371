//! What happened to the acquisitions of a run, and whether the guarantees allow it.
//!
//! Whoever takes locks writes down an [`Event`] whenever something happens to one of his acquisitions: when
//! it is asked for, when a guard is had, what the guard says of itself, how it ends. [`History::check`] looks at all of them
//! together, in O(n log n), and names every promise that was broken:
//!
//! 1. valid guards of one lock respect the [rule](lockcore::queue::rule). A guard is valid from the moment it is had until its
//!    loss is told, it is given back, its process is killed, or the deadline that it last gave has passed;
//! 2. whoever cannot hold together is granted in the order of the tokens, which is the order of the queue; no two guards of a
//!    lock have the same one;
//! 3. nobody waits for longer than [`Conditions::handover`] for a lock on which nothing happens;
//! 4. what is over leaves no entry: neither who gave back, nor who gave up, nor who was told that he does not have it;
//! 5. a guard that is not given back tells of its loss, by its deadline, and is not valid afterwards;
//! 6. what the lock protects took no write with a token below one that it had taken before.
//!
//! ```
//! use std::time::Duration;
//!
//! use conformance::history::{Conditions, Event, History, What};
//!
//! let at = Duration::from_millis;
//! let mut history = History::default();
//! for acquisition in [1, 2] {
//!     let asked = What::Asked { lock: "a".to_owned(), weight: u32::MAX, limit: u32::MAX };
//!     history.push(Event { at: at(0), acquisition, what: asked });
//!     let granted = What::Granted { token: acquisition, until: None };
//!     history.push(Event { at: at(acquisition), acquisition, what: granted });
//! }
//! for acquisition in [1, 2] {
//!     history.push(Event { at: at(9), acquisition, what: What::Over });
//! }
//! let violations = history.check(&Conditions::default()).violations;
//! assert_eq!(violations.len(), 1); // both hold from 2 to 9
//! ```

mod check;
mod life;
mod recorder;
mod report;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use recorder::{Holding, Recorder};
pub use report::{Promise, Report, Violation};

/// Something that happened to one acquisition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, on a clock that all events of the history share.
    pub at: Duration,
    /// Which acquisition, by a number that no other one has.
    pub acquisition: u64,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Somebody asks for a lock: what it is called, and the weight and the limit of the entry.
    Asked {
        /// What the lock is called.
        lock: String,
        /// What the entry weighs.
        weight: u32,
        /// How much may be held together.
        limit: u32,
    },
    /// There is a guard.
    Granted {
        /// Its token.
        token: u64,
        /// Until when it is sure to last; `None` if it has no such limit.
        until: Option<Duration>,
    },
    /// The guard says that it is valid.
    Valid {
        /// Until when now.
        until: Option<Duration>,
    },
    /// The guard tells of its loss.
    Lost,
    /// The guard is being given back. From here on nothing is protected.
    Releases,
    /// It is over for its owner: given back, or given up, or refused. The entry should be gone soon.
    Over,
    /// Its process was killed. The entry goes with the session.
    Killed,
    /// Its entry was seen in the queue.
    Seen,
    /// What the lock protects was written with the token of the guard.
    Wrote {
        /// Whether the write was taken.
        accepted: bool,
    },
}

/// What may be asked of a history.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// For how long a lock may be kept from somebody who waits for it when nothing happens to it; `None` is not judged.
    pub handover: Option<Duration>,
    /// For how long an entry may be there after its acquisition is over; `None` is not judged.
    pub leftover: Option<Duration>,
    /// How much later than the last deadline that was recorded its loss may be told: as often as its guard is looked at.
    pub told: Duration,
    /// When something was broken: from, to. Whoever waits meanwhile waits for that, and so does whatever has to go. A process
    /// that is killed breaks something for as long as its session lasts.
    pub disturbed: Vec<(Duration, Duration)>,
    /// Whether a write has to have been refused: else a pause of a holder has shown nothing.
    pub must_refuse: bool,
}

/// Everything that happened. Events at the same time stand in the order in which they happened.
#[derive(Debug, Clone, Default)]
pub struct History {
    events: Vec<Event>,
}

impl History {
    /// One more event.
    pub fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Everything, in the order in which it was pushed.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Judges the history by these conditions.
    pub fn check(&self, conditions: &Conditions) -> Report {
        check::check(&self.events, conditions)
    }
}

impl Extend<Event> for History {
    fn extend<T: IntoIterator<Item = Event>>(&mut self, events: T) {
        self.events.extend(events);
    }
}
