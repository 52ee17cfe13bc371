//! Where one entry stands in a queue: the rule, applied to entries.

use std::borrow::Borrow;

use crate::entry::{EntryId, EntryKind};
use crate::queue::rule::{UNBOUNDED, Verdict, verdict};
use crate::snapshot::{QueuedEntry, Revision};

/// Where an entry stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It holds.
    Holds,
    /// It waits until one of the `wake` entries has left.
    Waits {
        /// The [smallest sufficient set](verdict) of entries to watch.
        wake: Vec<EntryId>,
        /// When they were seen.
        seen: Revision,
    },
    /// It is not in the queue.
    Absent,
    /// An entry ahead thinks that the semaphore has this many permits, ours does not.
    LimitMismatch {
        /// Its idea of the limit.
        theirs: u32,
    },
}

/// The limit that the first of these entries knows. Entries of other software may not know the limit of their
/// semaphore, and say [`UNBOUNDED`].
pub(crate) fn known_limit(kinds: impl IntoIterator<Item = EntryKind>) -> Option<u32> {
    kinds.into_iter().map(EntryKind::limit).find(|limit| *limit != UNBOUNDED)
}

/// Where the entry `id` stands in the queue `entries`, as seen at `seen`. It reads the queue from its end, and only as
/// much of it as it needs: an exclusive waiter's own entry and the one ahead.
///
/// About the limit of a semaphore those ahead are right: whoever disagrees with any of them cannot hold, and so
/// nobody's arrival or departure takes a hold away.
pub fn standing<E>(entries: E, id: &EntryId, seen: Revision) -> Standing
where
    E: IntoIterator<Item: Borrow<QueuedEntry>, IntoIter: DoubleEndedIterator + Clone>,
{
    let mut ahead = entries.into_iter();
    let Some(own) = ahead.by_ref().rev().find(|entry| entry.borrow().id == *id) else {
        return Standing::Absent;
    };
    let own = own.borrow().kind;
    if let Some(theirs) = disagreement(own, ahead.clone().map(|entry| entry.borrow().kind)) {
        return Standing::LimitMismatch { theirs };
    }
    let nearest_first = ahead.rev();
    let weights = nearest_first.clone().map(|entry| entry.borrow().kind.weight());
    match verdict(own.limit(), own.weight(), weights) {
        Verdict::Holds => Standing::Holds,
        Verdict::WaitsFor(distances) => {
            let farthest = distances.iter().max().map_or(0, |distance| distance + 1);
            let near: Vec<E::Item> = nearest_first.take(farthest).collect();
            let wake = distances.into_iter().map(|distance| near[distance].borrow().id.clone());
            Standing::Waits { wake: wake.collect(), seen }
        }
    }
}

/// The first limit among those ahead that is not ours. Locks that are no semaphores have one limit, and no need to look.
fn disagreement(own: EntryKind, ahead: impl Iterator<Item = EntryKind>) -> Option<u32> {
    match own {
        EntryKind::Exclusive | EntryKind::Shared => None,
        EntryKind::Permits { limit, .. } => known_limit(ahead.filter(|kind| kind.limit() != limit)),
    }
}
