//! The queue operations of one session.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lockcore::queue::Standing;
use lockcore::session::{Clock, Lease, Loss};
use lockcore::{
    Effect, Enqueued, Entry, EntryDetails, EntryId, Error, ErrorKind, FencingToken, LockKey, QueueSession,
    Recorded, Removed, Result, Revision, Snapshot, watches_held,
};
use tokio::sync::OwnedMutexGuard;
use tokio::task::AbortHandle;

use crate::layout::{LockDirectory, entries};
use crate::leftovers::{Left, Remains};
use crate::own::{Heard, Own, OwnFile, Watched};
use crate::queue::lives_at;
use crate::root::{Appended, Cleaned, Root};
use crate::turn::Turn;

/// A session: the open files of its entries. It ends with the process.
#[derive(Debug)]
pub(crate) struct FileSession {
    entries: Arc<Entries>,
    /// Ends the session with the runtime.
    tie: AbortHandle,
    /// Those of one session do not get into one another's way, and are accepted in the order of their calls.
    appending: tokio::sync::Mutex<()>,
    /// Whoever closes a session that somebody else is closing waits until that is done.
    closing: tokio::sync::Mutex<()>,
    /// Whether the directory is in memory.
    pub(crate) in_memory: bool,
}

/// The entries of a session, and whether they count.
#[derive(Debug)]
struct Entries {
    root: Root,
    lease: Lease,
    places: Mutex<Places>,
    left: Left,
}

/// One place is used by one request at a time, to the end, even if nobody waits for that any more: so a removal is
/// never overtaken by the making.
pub(crate) type Places = HashMap<(LockKey, EntryId), Place>;
pub(crate) type Place = Arc<tokio::sync::Mutex<Option<Own>>>;
type Taken = OwnedMutexGuard<Option<Own>>;

/// How often to make a directory that others remove at once.
const ATTEMPTS: usize = 16;

/// After what time an entry asks whether something has changed of which nobody tells: a file that is removed by hand, or a directory that it
/// lies in. One that is held does so for as long as it is held, one that waits ever more seldom, until the core sets its watch again, and
/// then as often as that does: a thousand processes that wait cost little more than nothing.
const RECHECK: Duration = Duration::from_secs(2);
/// The same where nothing wakes.
const UNTOLD: Duration = Duration::from_millis(50);
/// The first pause before something is tried again; the next ones double.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
/// Of the pauses before a session that ends tries again to remove directories. They are not worth more time.
const LONGEST_END: Duration = Duration::from_millis(100);

impl Entries {
    fn places(&self) -> MutexGuard<'_, Places> {
        // Nothing panics while it is held.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the lease, then takes what has to go. A request that is under way has its place, and the entry that
    /// it makes goes when it ends.
    fn end(&self, loss: Loss) -> Remains {
        self.lease.end(loss);
        let places = std::mem::take(&mut *self.places());
        places.keys().for_each(|(lock, _)| self.left.add(lock));
        Remains { places, locks: self.left.take(), root: self.root.clone() }
    }
}

/// Dropped when nothing runs any more that could tell of a loss.
struct Tie(Arc<Entries>);

impl Drop for Tie {
    fn drop(&mut self) {
        self.0.end(Loss::Abandoned).remove();
    }
}

impl FileSession {
    /// A session that lives as long as the current runtime, at most.
    pub(crate) fn new(root: Root) -> Self {
        let lease = Lease::new(Clock::Boot, None, Clock::Boot.now());
        let entries = Arc::new(Entries { root, lease, places: Mutex::default(), left: Left::default() });
        let tie = Tie(entries.clone());
        let tied = async move {
            let Entries { root, left, .. } = &*tie.0;
            left.remove_directories(root).await;
        };
        Self {
            entries,
            tie: tokio::spawn(tied).abort_handle(),
            appending: tokio::sync::Mutex::default(),
            closing: tokio::sync::Mutex::default(),
            in_memory: false,
        }
    }

    fn live(&self) -> Result<()> {
        self.lease().loss().map_or(Ok(()), |loss| Err(Error::lost(loss)))
    }

    /// Does work that blocks for a moment.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.live()?;
        self.elsewhere(work).await?
    }

    /// Does work on a thread that may block, whether the session lives or not.
    async fn elsewhere<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root) -> T + Send + 'static,
    ) -> Result<T> {
        let root = self.entries.root.clone();
        tokio::task::spawn_blocking(move || work(&root)).await.map_err(runtime_ends)
    }

    /// The same for a few steps with one entry. A file system in memory keeps nobody waiting: there they are faster than the way to another
    /// thread and back.
    async fn briefly<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if !self.in_memory {
            return self.blocking(work).await;
        }
        self.live()?;
        work(&self.entries.root)
    }

    /// The place of an entry, for one request.
    async fn take(&self, lock: &LockKey, id: &EntryId) -> Result<Taken> {
        let place = {
            let mut places = self.entries.places();
            // A session that is closed has no places any more.
            self.live()?;
            places.entry((lock.clone(), id.clone())).or_default().clone()
        };
        Ok(place.lock_owned().await)
    }

    /// Makes the entry, and says where it stands.
    async fn append(&self, mut place: Taken, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        let _turn = self.appending.lock().await;
        let (mut prepared, mut gone) = (None, 0);
        let mut turn = Turn::new(self, lock.family, LockDirectory::of(&lock.name).as_str());
        while gone < ATTEMPTS {
            let (lock, entry) = (lock.clone(), entry.clone());
            let attempt = move |root: &Root| attempt(root, place, &lock, &entry, prepared);
            match self.briefly(attempt).await? {
                Attempted::Done(enqueued) => return Ok(enqueued),
                Attempted::Busy(taken, file) => {
                    (place, prepared) = (taken, Some(file));
                    turn.wait().await?;
                }
                Attempted::Gone(taken) => {
                    (place, prepared) = (taken, None);
                    gone += 1;
                }
            }
        }
        let message =
            format!("the directory of {:?} was changed {ATTEMPTS} times in a row: try again", lock.name);
        Err(Error::new(ErrorKind::Backend, message).with_effect(Effect::None).with_retryable(true))
    }

    /// Where an entry of this session stands now; `None` if it still waits for these.
    async fn stands_now(&self, lock: &LockKey, ids: &[EntryId], place: Place) -> Result<Option<Standing>> {
        let (lock, ids, mut place) = (lock.clone(), ids.to_vec(), place.lock_owned().await);
        let stands = move |root: &Root| {
            place.as_mut().map_or(Ok(Some(Standing::Absent)), |own| root.stands_now(&lock, &ids, own))
        };
        self.briefly(stands).await
    }

    /// Where an entry of this session stands now; `None` if it still waits for these. Others are asked only if it has heard that
    /// something has changed.
    async fn hear(&self, lock: &LockKey, ids: &[EntryId], place: &Place) -> Result<Option<Standing>> {
        let heard = place.lock().await.as_mut().map_or(Heard::Unclear, Own::hear);
        match heard {
            Heard::Nothing => Ok(None),
            Heard::Holds => Ok(Some(Standing::Holds)),
            Heard::Unclear => self.stands_now(lock, ids, place.clone()).await,
        }
    }

    /// Returns when an entry that is held is gone. Nobody removes it but by hand.
    async fn watch_held(&self, lock: &LockKey, id: &EntryId) -> Result<()> {
        let (lock, id) = (lock.clone(), id.clone());
        let Some(path) = self.blocking(move |root| root.path(&lock, &id)).await? else { return Ok(()) };
        while lives_at(&path)? {
            tokio::time::sleep(RECHECK).await;
        }
        Ok(())
    }
}

/// How an attempt to make an entry ended, with the place that is still to be filled.
enum Attempted {
    Done(Enqueued),
    Busy(Taken, OwnFile),
    Gone(Taken),
}

/// One attempt to make an entry.
fn attempt(
    root: &Root,
    mut place: Taken,
    lock: &LockKey,
    entry: &Entry,
    prepared: Option<OwnFile>,
) -> Result<Attempted> {
    Ok(match root.append(lock, entry, prepared)? {
        Appended::Done(own, standing) => {
            let token = place.insert(own).token();
            Attempted::Done(Enqueued { token, standing })
        }
        Appended::Busy(file) => Attempted::Busy(place, file),
        Appended::Gone => Attempted::Gone(place),
    })
}

#[async_trait]
impl QueueSession for FileSession {
    fn lease(&self) -> &Lease {
        &self.entries.lease
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        let place = self.take(lock, &entry.id).await?;
        match place.as_ref().map(Own::token) {
            Some(token) => Ok(Enqueued { token, standing: self.look(lock, &entry.id).await? }),
            None => self.append(place, lock, entry).await,
        }
    }

    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        let lock = lock.clone();
        let living = move |root: &Root| root.queue(&lock)?.map_or(Ok(Vec::new()), |queue| queue.living());
        let entries = entries(&self.blocking(living).await?).collect();
        Ok(Snapshot { entries, revision: Revision::default() })
    }

    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        let (lock, id) = (lock.clone(), id.clone());
        self.blocking(move |root| root.standing(&lock, &id)).await
    }

    async fn watch(
        &self,
        lock: &LockKey,
        waiter: &EntryId,
        ids: &[EntryId],
        _since: Revision,
    ) -> Result<Option<Standing>> {
        if watches_held(waiter, ids) {
            return self.watch_held(lock, waiter).await.map(|()| None);
        }
        let place = self.entries.places().get(&(lock.clone(), waiter.clone())).cloned();
        let Some(place) = place else { return Ok(None) };
        let watched = place.lock().await.as_ref().and_then(|own| own.watched(ids));
        let Some(watched) = watched else { return self.stands_now(lock, ids, place).await };
        let told = watched.iter().all(Watched::can_wake);
        // Whoever sets a watch again has waited for long, and will set it again.
        let again = told && ids.contains(waiter);
        let (mut pause, mut longest) = match (told, again) {
            (true, false) => (RECHECK, Duration::MAX),
            (true, true) => (Duration::MAX, Duration::MAX),
            (false, _) => (UNTOLD, UNTOLD),
        };
        let (mut wakers, mut asks) = (&watched[..], again);
        loop {
            if asks && let Some(standing) = self.hear(lock, ids, &place).await? {
                return Ok(Some(standing));
            }
            asks = true;
            tokio::select! {
                // What has woken wrongly once would do so for ever.
                () = Watched::any(wakers) => (wakers, pause, longest) = (&[], SHORTEST, RECHECK.min(longest)),
                () = tokio::time::sleep(pause) => pause = longest.min(pause.saturating_mul(2)),
            }
        }
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        self.live()?;
        let Some(place) = self.entries.places().remove(&(lock.clone(), id.clone())) else {
            return Ok(Removed::Absent);
        };
        // When this is dropped, the entry goes with its place.
        let own = place.lock_owned().await.take();
        self.entries.left.add(lock);
        let removed = self.briefly(move |_| Ok(own.is_some_and(Own::remove))).await?;
        Ok(Removed::from(removed))
    }

    async fn evict(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let (lock, id) = (lock.clone(), id.clone());
        let evicted = move |root: &Root| root.queue(&lock)?.map_or(Ok(false), |queue| queue.evict(&id));
        Ok(Removed::from(self.blocking(evicted).await?))
    }

    fn descriptor(&self, lock: &LockKey, id: &EntryId) -> Result<Option<OwnedFd>> {
        let place = self.entries.places().get(&(lock.clone(), id.clone())).cloned();
        // No request uses the place of an entry that holds, but the one that removes it.
        let own = place.as_ref().and_then(|place| place.try_lock().ok());
        own.as_ref().and_then(|own| own.as_ref()).map(Own::descriptor).transpose()
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        let lock = lock.clone();
        self.blocking(move |root| root.queue(&lock)?.map_or(Ok(Vec::new()), |queue| queue.details())).await
    }

    async fn record(&self, lock: &LockKey) -> Result<Recorded> {
        self.read_record(lock).await
    }

    async fn set_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        self.write_record(lock, token, text).await
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        self.blocking(Root::names).await
    }

    async fn cleanup(&self) -> Result<u64> {
        let mut removed = 0;
        self.blocking(Root::sweep).await?;
        for (family, directory) in self.blocking(Root::directories).await? {
            let mut turn = Turn::new(self, family, &directory);
            let directory = Arc::new(directory);
            loop {
                let directory = directory.clone();
                match self.blocking(move |root| root.clean(family, &directory)).await? {
                    Cleaned::Removed => removed += 1,
                    Cleaned::Kept => {}
                    Cleaned::Busy => {
                        turn.wait().await?;
                        continue;
                    }
                }
                break;
            }
        }
        Ok(removed)
    }

    async fn close(&self) -> Result<()> {
        let _closing = self.closing.lock().await;
        let remains = self.entries.end(Loss::Closed);
        let mut busy = self.elsewhere(|_| remains.remove()).await?;
        let mut pause = SHORTEST;
        while !busy.is_empty() && pause < LONGEST_END {
            tokio::time::sleep(pause).await;
            pause *= 2;
            busy = self.elsewhere(|root| root.remove_unused(busy, Duration::ZERO)).await?;
        }
        Ok(())
    }
}

impl Drop for FileSession {
    fn drop(&mut self) {
        self.entries.end(Loss::Closed).remove();
        self.tie.abort();
    }
}

fn runtime_ends(error: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Backend, "the runtime ends, and its threads with it: use one that goes on running")
        .with_source(error)
}

#[cfg(test)]
mod tests;
