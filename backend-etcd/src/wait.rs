//! How an entry waits: for a message of whoever lets it in, and where none comes, for a departure.

use std::time::Duration;

use etcd_client::{GetOptions, SortOrder, SortTarget};
use lockcore::queue::Standing;
use lockcore::{EntryId, LockKey, Result, Revision, UNWATCHED, watches_held};
use tokio::time::sleep;

use crate::own_entries::OwnEntry;
use crate::queue::created;
use crate::requests::Requests;

/// How long to wait for a message before a watch is set, which costs the server three messages and would not be
/// faster: most waits are over before.
const QUIET: Duration = Duration::from_millis(30);

/// How much longer for each entry that stands ahead.
const QUIET_EACH: Duration = Duration::from_millis(10);

impl Requests {
    /// Returns when there may be news of the waiter; that it holds, if that was said.
    pub(crate) async fn news(
        &self,
        lock: &LockKey,
        waiter: &EntryId,
        ids: &[EntryId],
        since: Revision,
    ) -> Result<Option<Standing>> {
        let holds = watches_held(waiter, ids);
        let Some(place) = self.own_entries.get(waiter).filter(|_| !holds) else {
            // Nobody tells a holder anything.
            return self.departure(lock, ids, since).await.map(|()| None);
        };
        if place.admitted.is_none() {
            tokio::select! {
                () = place.news.notified() => {}
                departed = self.without_message(lock, &place, ids, since) => departed?,
            }
        }
        let admitted = self.own_entries.get(waiter).is_some_and(|place| place.admitted.is_some());
        Ok(admitted.then_some(Standing::Holds))
    }

    /// What a waiter does to whom nobody says anything.
    async fn without_message(
        &self,
        lock: &LockKey,
        place: &OwnEntry,
        ids: &[EntryId],
        since: Revision,
    ) -> Result<()> {
        let (knows_the_next, is_new) = (place.ahead == 0, since != Revision(0));
        // When a watch is set again, the wait is an old one.
        if is_new {
            sleep(QUIET + QUIET_EACH * place.ahead).await;
        }
        if knows_the_next || !is_new {
            self.departure(lock, ids, since).await?;
        }
        if !knows_the_next {
            // It is time to read which of them is the next.
            self.turns.turn().await;
        }
        Ok(())
    }

    /// Returns when the first entry may be another than this one. Whoever leads is watched like any entry ahead; where there is none, it is
    /// time that wakes.
    pub(crate) async fn head_changed(&self, lock: &LockKey, head: Option<&EntryId>) -> Result<()> {
        let first = GetOptions::new().with_sort(SortTarget::Create, SortOrder::Ascend).with_limit(1);
        let view = self.view(lock, first).await?;
        match view.queue.first() {
            None if head.is_none() => sleep(UNWATCHED).await,
            Some(first) if head == Some(&first.id_and_label().0) => {
                let stay = first.position.stay(&self.lock_prefix(lock));
                self.watches.one_of_them_leaves(vec![stay], created(view.revision)).await;
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns when one of these entries may have left since that revision.
    async fn departure(&self, lock: &LockKey, ids: &[EntryId], since: Revision) -> Result<()> {
        let Some(stays) = ids.iter().map(|id| self.stay(lock, id)).collect::<Option<Vec<_>>>() else {
            return Ok(());
        };
        let since = match since {
            Revision(0) => self.present(&stays).await?,
            since => Some(since),
        };
        if let Some(since) = since {
            self.watches.one_of_them_leaves(stays, created(since)).await;
        }
        Ok(())
    }
}
