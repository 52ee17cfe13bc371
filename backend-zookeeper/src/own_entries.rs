//! What a session knows of its own entries, and of the queues in which they stand.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use lockcore::{EntryId, FencingToken, LockKey, Result};

use crate::layout::{Listing, exclusive_before};
use crate::rounds::{Round, Rounds};
use crate::watches::{Presence, Watch};

/// Where an entry of ours stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryNode {
    /// The name of its node.
    pub(crate) node: EntryId,
    pub(crate) token: FencingToken,
}

impl EntryNode {
    /// Whether its node was created with this id, and is not another one of the same name.
    pub(crate) fn is_of(&self, czxid: i64) -> bool {
        u64::try_from(czxid) == Ok(self.token.get())
    }
}

/// What is known of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// This session has not tried to make it, or it is gone for good.
    Nothing,
    /// This session tried to make it and did not hear how that ended.
    Tried,
    /// It is, or was, there.
    At(EntryNode),
}

/// What has to happen before an entry holds. Those ahead can only leave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Outlook {
    /// That is seen when the queue is looked at the next time.
    #[default]
    Open,
    /// The entry in this node leaves.
    Next(EntryId),
    /// Nothing, if it is still there.
    Unhindered,
    /// Nothing: it was seen to hold, and does as long as it is there.
    Holds,
}

/// The entries of this session that were found on the server, by their ids.
pub(crate) type Found = Arc<HashMap<EntryId, EntryNode>>;

#[derive(Debug)]
pub(crate) struct OwnEntries {
    /// None when the session is closed: a request that nobody completes would keep the connection.
    locks: Mutex<Option<HashMap<LockKey, Lock>>>,
    /// Locks on which more than one was ahead of the last exclusive entry of ours.
    contended: Mutex<HashSet<LockKey>>,
}

impl Default for OwnEntries {
    fn default() -> Self {
        Self { locks: Mutex::new(Some(HashMap::new())), contended: Mutex::default() }
    }
}

#[derive(Debug, Default)]
struct Lock {
    own: HashMap<EntryId, Own>,
    /// Nodes that look like entries and are none, with the ids of their creation. One that was found ahead of an entry of
    /// ours stays that: what the server makes later stands behind.
    foreign_nodes: HashMap<EntryId, i64>,
    /// The last entry of ours that was seen to hold.
    holder: Option<EntryNode>,
    listings: Rounds<Arc<Listing>>,
    searches: Rounds<Found>,
}

#[derive(Debug)]
struct Own {
    known: Known,
    outlook: Outlook,
    /// Whether a request to remove it may have been sent.
    leaving: bool,
    /// Keeps the watch that was set when it was made, until it is waited for.
    watch: Option<Watch>,
    /// That it is there, if its node is watched for that. Stays until the entry is removed: then it has told that, and need
    /// not be taken back from the server.
    presence: Option<Presence>,
}

/// How many locks are known to be contended at most.
const CONTENDED: usize = 1024;

impl OwnEntries {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<LockKey, Lock>>> {
        // Nothing panics while it is held.
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `f` says of a lock in which there is an entry of ours.
    fn with<T>(&self, lock: &LockKey, f: impl FnOnce(&mut Lock) -> T) -> Option<T> {
        self.lock().as_mut()?.get_mut(lock).map(f)
    }

    /// What `f` says of an entry of ours.
    fn with_own<T>(&self, lock: &LockKey, id: &EntryId, f: impl FnOnce(&mut Own) -> T) -> Option<T> {
        self.with(lock, |lock| lock.own.get_mut(id).map(f)).flatten()
    }

    pub(crate) fn known(&self, lock: &LockKey, id: &EntryId) -> Known {
        self.with_own(lock, id, |own| own.known.clone()).unwrap_or(Known::Nothing)
    }

    /// A request to make the entry is about to be sent.
    pub(crate) fn trying(&self, lock: &LockKey, id: &EntryId) {
        let (known, outlook) = (Known::Tried, Outlook::Open);
        let own = Own { known, outlook, leaving: false, watch: None, presence: None };
        if let Some(locks) = &mut *self.lock() {
            locks.entry(lock.clone()).or_default().own.insert(id.clone(), own);
        }
    }

    /// The entry is here.
    pub(crate) fn found(&self, lock: &LockKey, id: &EntryId, place: EntryNode) {
        self.with_own(lock, id, |own| own.known = Known::At(place));
    }

    /// The entry is gone, or was never made.
    pub(crate) fn forget(&self, lock: &LockKey, id: &EntryId) {
        if let Some(locks) = &mut *self.lock()
            && let Some(known) = locks.get_mut(lock)
        {
            known.own.remove(id);
            if known.own.is_empty() {
                locks.remove(lock);
            }
        }
    }

    /// Our entries, also those whose directory was removed before that was noticed.
    pub(crate) fn own(&self, lock: &LockKey) -> Vec<(EntryId, EntryNode)> {
        let own = self.with(lock, |lock| {
            let own_entries = lock.own.iter().filter_map(|(id, own)| match &own.known {
                Known::At(place) => Some((id.clone(), place.clone())),
                Known::Nothing | Known::Tried => None,
            });
            own_entries.collect()
        });
        own.unwrap_or_default()
    }

    pub(crate) fn outlook(&self, lock: &LockKey, id: &EntryId) -> Outlook {
        self.with_own(lock, id, |own| own.outlook.clone()).unwrap_or_default()
    }

    pub(crate) fn expect(&self, lock: &LockKey, id: &EntryId, outlook: Outlook) {
        self.with(lock, |lock| lock.expect(id, outlook));
    }

    /// The entry in the node `gone`, for which our entry waited, is there no more; `czxid` if it was seen there.
    pub(crate) fn advance(&self, lock: &LockKey, id: &EntryId, gone: &EntryId, czxid: Option<i64>) {
        let family = lock.family;
        self.with(lock, |lock| {
            let Some(Own { known: Known::At(place), outlook, .. }) = lock.own.get(id) else { return };
            // It had nobody ahead when it held, and nobody stands between it and ours.
            let followed = || {
                let held = |czxid| lock.holder.as_ref().is_some_and(|holder| holder.is_of(czxid));
                czxid.is_some_and(held) && exclusive_before(family, &place.node).as_ref() == Some(gone)
            };
            if matches!(outlook, Outlook::Next(next) if next == gone) || followed() {
                lock.expect(id, Outlook::Unhindered);
            }
        });
    }

    /// The entry was seen to be there, and is watched.
    pub(crate) fn present(&self, lock: &LockKey, id: &EntryId, presence: Presence) {
        self.with_own(lock, id, |own| own.presence = Some(presence));
    }

    /// Whether the entry is known to be there, without a question. If that was so, and is no more, it is not believed to
    /// hold either until it is seen again.
    pub(crate) fn is_present(&self, lock: &LockKey, id: &EntryId) -> bool {
        let lasts = |own: &mut Own| {
            let Some(presence) = own.presence.take() else { return false };
            own.presence = presence.lasting();
            if own.presence.is_none() && own.outlook == Outlook::Holds {
                own.outlook = Outlook::Unhindered;
            }
            own.presence.is_some()
        };
        self.with_own(lock, id, lasts).unwrap_or_default()
    }

    /// The entry is about to be removed; says whether that was so before.
    pub(crate) fn leaving(&self, lock: &LockKey, id: &EntryId) -> bool {
        self.with_own(lock, id, |own| std::mem::replace(&mut own.leaving, true)).unwrap_or_default()
    }

    /// Keeps a watch for this entry, or lets the last one go.
    pub(crate) fn keep(&self, lock: &LockKey, id: &EntryId, watch: Option<Watch>) {
        // What is let go may be the last of its kind, and ends outside of the table.
        let _previous = self.with_own(lock, id, |own| std::mem::replace(&mut own.watch, watch));
    }

    /// A node that looks like an entry is none.
    pub(crate) fn foreign_node(&self, lock: &LockKey, name: EntryId, czxid: i64) {
        self.with(lock, |lock| lock.foreign_nodes.insert(name, czxid));
    }

    /// Which nodes look like entries and are none, as far as one of our entries met them.
    pub(crate) fn foreign_nodes(&self, lock: &LockKey) -> HashMap<EntryId, i64> {
        self.with(lock, |lock| lock.foreign_nodes.clone()).unwrap_or_default()
    }

    /// Whether more than one was ahead of the last exclusive entry of ours.
    pub(crate) fn is_contended(&self, lock: &LockKey) -> bool {
        self.contended().contains(lock)
    }

    pub(crate) fn contend(&self, lock: &LockKey, contended: bool) {
        let mut locks = self.contended();
        if locks.len() == CONTENDED {
            locks.clear();
        }
        if contended {
            locks.insert(lock.clone());
        } else {
            locks.remove(lock);
        }
    }

    fn contended(&self) -> MutexGuard<'_, HashSet<LockKey>> {
        self.contended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session is closed.
    pub(crate) fn close(&self) {
        self.lock().take();
    }

    /// The queue, by a request that is sent after this call.
    pub(crate) fn listing(
        &self,
        lock: &LockKey,
        list: impl Future<Output = Result<Arc<Listing>>> + Send + 'static,
    ) -> Round<Arc<Listing>> {
        let list = list.boxed();
        match self.lock().as_mut().and_then(|locks| locks.get_mut(lock)) {
            Some(lock) => lock.listings.join(list),
            None => list.shared(),
        }
    }

    /// Our entries in a queue, by requests that are sent after this call.
    pub(crate) fn search(
        &self,
        lock: &LockKey,
        search: impl Future<Output = Result<Found>> + Send + 'static,
    ) -> Round<Found> {
        let search = search.boxed();
        match self.lock().as_mut().and_then(|locks| locks.get_mut(lock)) {
            Some(lock) => lock.searches.join(search),
            None => search.shared(),
        }
    }
}

impl Lock {
    fn expect(&mut self, id: &EntryId, outlook: Outlook) {
        let Some(own) = self.own.get_mut(id) else { return };
        if let (Known::At(place), Outlook::Holds) = (&own.known, &outlook) {
            self.holder = Some(place.clone());
        }
        own.outlook = outlook;
    }
}
