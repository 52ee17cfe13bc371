//! Queues as applications see them.

use std::ops::Deref;

use crate::entry::{EntryId, EntryKind, FencingToken};
use crate::label::decode;
use crate::lock_kind::LockKind;
use crate::queue::rule::{UNBOUNDED, holders};
use crate::queue::standing::known_limit;
use crate::snapshot::EntryDetails;

/// A [queue](crate::DistributedLock::queue) as it was in one moment: a list of its entries, in order, which it dereferences to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueueView {
    /// Holders and waiters, in order.
    pub entries: Vec<QueueEntry>,
    /// How many permits nobody holds, of a semaphore. They may be spoken for: whoever comes now waits behind all who wait.
    pub free_permits: Option<u32>,
}

/// One line of a [queue view](QueueView).
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
    /// The host from which it was asked for, as that calls itself; `None` if other software did not say.
    pub host: Option<String>,
    /// The process there.
    pub pid: Option<u32>,
    /// What it says beside the label, to programs; `None` but for candidates of an [election](crate::Election).
    pub value: Option<String>,
    /// When the server accepted it, where known.
    pub since: Option<std::time::SystemTime>,
}

impl QueueView {
    /// The view of these entries, which are in the order of the queue, for a lock of this kind.
    pub fn new(entries: Vec<EntryDetails>, kind: LockKind) -> Self {
        let known = known_limit(entries.iter().map(|entry| entry.kind));
        let limit = known.unwrap_or(match kind {
            LockKind::Exclusive | LockKind::Shared => UNBOUNDED,
            LockKind::Semaphore { limit } => limit,
        });
        let weights = || entries.iter().map(|entry| entry.kind.weight());
        let holding = holders(limit, weights());
        let held = weights().take(holding).fold(0, u32::saturating_add);
        let free_permits = matches!(kind, LockKind::Semaphore { .. }).then(|| limit.saturating_sub(held));
        let entry = |(position, details)| QueueEntry::new(position, position < holding, details);
        Self { entries: entries.into_iter().enumerate().map(entry).collect(), free_permits }
    }
}

impl QueueEntry {
    fn new(position: usize, holds: bool, details: EntryDetails) -> Self {
        let EntryDetails { id, kind, token, label, since } = details;
        let text = decode(&label);
        let (host, pid) = text.origin.map_or((None, None), |(host, pid)| (Some(host.to_owned()), Some(pid)));
        let (label, value) = (text.label.to_owned(), text.value.map(str::to_owned));
        Self { position, holds, id, kind, token, label, host, pid, value, since }
    }
}

impl Deref for QueueView {
    type Target = [QueueEntry];

    fn deref(&self) -> &[QueueEntry] {
        &self.entries
    }
}

impl IntoIterator for QueueView {
    type Item = QueueEntry;
    type IntoIter = std::vec::IntoIter<QueueEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'v> IntoIterator for &'v QueueView {
    type Item = &'v QueueEntry;
    type IntoIter = std::slice::Iter<'v, QueueEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}
