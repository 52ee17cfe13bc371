//! How an entry waits: for the advisory lock of the one ahead, or for a notification where whoever leaves first makes room.

use std::sync::Arc;
use std::time::Duration;

use lockcore::queue::Standing;
use lockcore::{EntryId, LockKey, Result, watches_held};
use tokio::time::{sleep, timeout};
use tokio_postgres::types::ToSql;

use crate::connection::Call;
use crate::layout::{Next, lock_bytes, numbers};
use crate::own_entries::OwnEntry;
use crate::requests::Shared;

/// How long nobody is asked who should tell, but may have died or have no means to.
const RECHECK: Duration = Duration::from_secs(5);

/// The same where what tells is less sure.
const RECHECK_SEMAPHORE: Duration = Duration::from_secs(1);

/// The first pause before somebody who cannot tell is looked for again.
const PAUSE: Duration = Duration::from_millis(5);

/// The longest.
const LONGEST: Duration = Duration::from_millis(500);

impl Shared {
    /// Returns when the waiter holds or is gone; for a holder, when it is gone.
    pub(crate) async fn news(
        self: &Arc<Self>,
        lock: &LockKey,
        waiter: &EntryId,
        ids: &[EntryId],
    ) -> Result<Option<Standing>> {
        if watches_held(waiter, ids) {
            self.until_absent(lock, waiter).await;
            return Ok(None);
        }
        let mut pause = PAUSE;
        loop {
            let Some(place) = self.own_entries.get(waiter) else { return Ok(Some(Standing::Absent)) };
            let standing = self.step(lock, waiter, &place, &mut pause).await?;
            if let Some(standing) = standing
                && !matches!(standing, Standing::Waits { .. })
            {
                if standing == Standing::Holds && lock.family == lockcore::Family::Semaphore {
                    self.let_go(lock, place.token);
                }
                return Ok(Some(standing));
            }
        }
    }

    /// Returns when a renewal has not found the entry.
    async fn until_absent(&self, lock: &LockKey, id: &EntryId) {
        let Some(place) = self.own_entries.get(id) else { return };
        self.own_entries.watch_held(lock, place.token);
        while self.own_entries.get(id).is_some_and(|place| !place.absent) {
            place.news.notified().await;
        }
    }

    /// Waits once, and looks if there is a reason to.
    async fn step(
        self: &Arc<Self>,
        lock: &LockKey,
        waiter: &EntryId,
        place: &OwnEntry,
        pause: &mut Duration,
    ) -> Result<Option<Standing>> {
        if !self.own_entries.is_first(lock, place.token) {
            // One of ours stands before it, and tells it.
            place.news.notified().await;
            return Ok(None);
        }
        match place.next {
            Some(next) if next.holds => self.until_room(lock, waiter, place).await,
            Some(next) if next.session == self.id => {
                // It may have left before anybody knew that this one waits for it.
                if self.own_entries.has(next.token) {
                    let _ = timeout(RECHECK, place.news.notified()).await;
                }
                self.standing(lock, waiter).await.map(Some)
            }
            Some(next) => self.until_gone(lock, waiter, place, next, pause).await,
            None => self.standing(lock, waiter).await.map(Some),
        }
    }

    /// Waits behind holders of whom any makes room when it leaves. Only who is the first to be let in gets here.
    async fn until_room(
        &self,
        lock: &LockKey,
        waiter: &EntryId,
        place: &OwnEntry,
    ) -> Result<Option<Standing>> {
        let renewals = self.renewals.ready().await?;
        if renewals.link.listens.load(std::sync::atomic::Ordering::Acquire) {
            let _ = timeout(RECHECK_SEMAPHORE, place.news.notified()).await;
        } else {
            // What happens until then is not told: a look follows at once.
            renewals.link.listen(self.id).await?;
        }
        self.standing(lock, waiter).await.map(Some)
    }

    /// Waits for the one ahead, on a connection that does nothing else meanwhile.
    async fn until_gone(
        self: &Arc<Self>,
        lock: &LockKey,
        waiter: &EntryId,
        place: &OwnEntry,
        next: Next,
        pause: &mut Duration,
    ) -> Result<Option<Standing>> {
        let Some(blocked) = self.connection_to_block_on().await else {
            // There are no more connections to be had.
            return self.look_later(lock, waiter, pause).await.map(Some);
        };
        let bytes = lock_bytes(lock);
        let ((weight, limit), low) = (numbers(place.kind), self.own_entries.low(lock));
        let parameters: [&(dyn ToSql + Sync); 7] =
            [&self.id, &bytes, &place.token, &weight, &limit, &low, &next.token];
        let Some(answer) = blocked.call(Call::Wait, &parameters).await? else {
            // It took too long, or was given up by somebody else.
            return self.standing(lock, waiter).await.map(Some);
        };
        let Some(seen) = self.sees(lock, waiter, place.kind, &answer) else {
            return Ok(Some(Standing::Absent));
        };
        if seen.next.is_some_and(|seen| seen.token == next.token) && !seen.next.is_some_and(|seen| seen.holds)
        {
            // It is there, and nobody would tell when it is gone.
            return self.look_later(lock, waiter, pause).await.map(Some);
        }
        *pause = PAUSE;
        Ok(Some(seen.standing))
    }

    async fn look_later(&self, lock: &LockKey, waiter: &EntryId, pause: &mut Duration) -> Result<Standing> {
        sleep(*pause).await;
        *pause = (*pause * 2).min(LONGEST);
        self.standing(lock, waiter).await
    }
}
