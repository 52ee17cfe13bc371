//! Where one entry stands in a queue: the rule, applied to entries.

use crate::backend::{QueuedEntry, Revision};
use crate::entry::{EntryId, EntryKind};
use crate::queue::rule::{UNBOUNDED, Verdict, verdict};

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

/// Where the entry `id` stands in the queue `entries`, as seen at `seen`.
///
/// About the limit of a semaphore those ahead are right: whoever disagrees with any of them cannot hold, and so
/// nobody's arrival or departure takes a hold away.
pub fn standing(entries: &[QueuedEntry], id: &EntryId, seen: Revision) -> Standing {
    let Some(position) = entries.iter().position(|entry| entry.id == *id) else {
        return Standing::Absent;
    };
    let (own, ahead) = (entries[position].kind, &entries[..position]);
    let others = ahead.iter().map(|entry| entry.kind).filter(|kind| kind.limit() != own.limit());
    if let Some(theirs) = known_limit(others) {
        return Standing::LimitMismatch { theirs };
    }
    let nearest_first = || ahead.iter().rev();
    match verdict(own.limit(), own.weight(), nearest_first().map(|entry| entry.kind.weight())) {
        Verdict::Holds => Standing::Holds,
        Verdict::WaitsFor(distances) => {
            let wake =
                distances.into_iter().map(|distance| ahead[position - 1 - distance].id.clone()).collect();
            Standing::Waits { wake, seen }
        }
    }
}
