//! What drivers tell of a queue.

use std::time::SystemTime;

use crate::entry::{EntryId, EntryKind, FencingToken};

/// The driver's own mark of what was seen, such as a point in the history of the server: what a look returned comes
/// back with the watch that follows. 0 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// A queue, as much of it as the rule needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All entries, first in the queue first.
    pub entries: Vec<QueuedEntry>,
    /// When this was so.
    pub revision: Revision,
}

/// One entry of a [`Snapshot`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedEntry {
    /// Its identity.
    pub id: EntryId,
    /// What it asks for.
    pub kind: EntryKind,
}

/// One entry of a [described](crate::QueueSession::describe) queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryDetails {
    /// Its identity.
    pub id: EntryId,
    /// What it asks for.
    pub kind: EntryKind,
    /// The token that its guard has or will have.
    pub token: FencingToken,
    /// The label that its owner gave; empty for entries of other software.
    pub label: String,
    /// When the server accepted it, by the server's clock, where known.
    pub since: Option<SystemTime>,
}
