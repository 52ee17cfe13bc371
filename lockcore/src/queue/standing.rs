//! Where one entry stands in a queue: the rule, applied to entries.

use crate::backend::{QueuedEntry, Revision};
use crate::entry::EntryId;
use crate::queue::rule::{Verdict, verdict};

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
    /// The entry at the head of the queue thinks that the semaphore has this many permits, ours does not.
    LimitMismatch {
        /// The head's idea of the limit.
        theirs: u32,
    },
}

/// Where the entry `id` stands in the queue `entries`, as seen at `seen`.
///
/// The head of the queue decides what the limit of a semaphore is: whoever disagrees with it cannot hold.
pub fn standing(entries: &[QueuedEntry], id: &EntryId, seen: Revision) -> Standing {
    let Some(position) = entries.iter().position(|entry| entry.id == *id) else {
        return Standing::Absent;
    };
    let (own, ahead) = (&entries[position], &entries[..position]);
    let theirs = entries[0].kind.limit();
    if theirs != own.kind.limit() {
        return Standing::LimitMismatch { theirs };
    }
    let nearest_first = || ahead.iter().rev();
    match verdict(theirs, own.kind.weight(), nearest_first().map(|entry| entry.kind.weight())) {
        Verdict::Holds => Standing::Holds,
        Verdict::WaitsFor(distances) => {
            let wake =
                distances.into_iter().map(|distance| ahead[position - 1 - distance].id.clone()).collect();
            Standing::Waits { wake, seen }
        }
    }
}
