//! Queues as applications see them.

use crate::entry::{EntryId, EntryKind, FencingToken};
use crate::label::decode;
use crate::lock_kind::LockKind;
use crate::queue::rule::{UNBOUNDED, holders};
use crate::queue::standing::known_limit;
use crate::snapshot::EntryDetails;

/// One line of a [queue view](crate::DistributedLock::queue).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueEntry {
    /// Place in the queue, from 0.
    pub position: usize,
    /// Whether it holds; otherwise it waits.
    pub holds: bool,
    /// Its identity.
    pub id: EntryId,
    /// What it asks for.
    pub kind: EntryKind,
    /// The token that its guard has, or will have.
    pub token: FencingToken,
    /// Who it is.
    pub label: String,
    /// What it says beside the label, to programs; `None` but for candidates of an [election](crate::Election).
    pub value: Option<String>,
    /// When the server accepted it, where known.
    pub since: Option<std::time::SystemTime>,
}

impl QueueEntry {
    /// The view of these entries, which are in the order of the queue, for a lock of this kind.
    pub fn view(entries: Vec<EntryDetails>, kind: LockKind) -> Vec<Self> {
        let known = known_limit(entries.iter().map(|entry| entry.kind));
        let limit = known.unwrap_or(match kind {
            LockKind::Exclusive | LockKind::Shared => UNBOUNDED,
            LockKind::Semaphore { limit } => limit,
        });
        let holding = holders(limit, entries.iter().map(|entry| entry.kind.weight()));
        let view = |(position, EntryDetails { id, kind, token, label, since })| {
            let (label, value) = decode(&label);
            let (label, value) = (label.to_owned(), value.map(str::to_owned));
            QueueEntry { position, holds: position < holding, id, kind, token, label, value, since }
        };
        entries.into_iter().enumerate().map(view).collect()
    }
}
