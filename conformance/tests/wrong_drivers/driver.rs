//! A driver that asks an honest one, and makes one mistake.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use backend_memory::MemoryClient;
use lockcore::queue::{Standing, standing};
use lockcore::session::{Clock, Lease};
use lockcore::{
    Capabilities, Enqueued, Entry, EntryDetails, EntryId, EntryKind, Error, ErrorKind, FencingToken, LockKey,
    LockName, Loss, QueueBackend, QueueSession, QueuedEntry, Record, Recorded, Removed, Result, Revision,
    Snapshot, watches_held,
};

use crate::mistake::Mistake;

#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) client: MemoryClient,
    pub(crate) mistake: Mistake,
    pub(crate) used: UsedLocks,
    pub(crate) late: LateRequests,
    /// The last token that was given.
    pub(crate) last: Arc<AtomicU64>,
}

/// All locks that ever had an entry.
pub(crate) type UsedLocks = Arc<Mutex<Vec<LockKey>>>;

/// Requests that were given up before they came to the server, and where they would come.
pub(crate) type LateRequests = Arc<Mutex<Vec<(Arc<dyn QueueSession>, LockKey, Entry)>>>;

#[derive(Debug)]
struct Session {
    honest: Arc<dyn QueueSession>,
    mistake: Mistake,
    /// What the driver believes, if it does not know better.
    believed: Lease,
    /// The first token that was given on this session.
    first: OnceLock<u64>,
    used: UsedLocks,
    late: LateRequests,
    last: Arc<AtomicU64>,
    client: MemoryClient,
    /// What was recorded on this session.
    recorded: Mutex<Vec<Record>>,
}

#[async_trait]
impl QueueBackend for Driver {
    fn capabilities(&self) -> Capabilities {
        self.client.capabilities()
    }

    fn place(&self) -> String {
        self.client.place()
    }

    async fn open_session(&self) -> Result<Arc<dyn QueueSession>> {
        let clock = Clock::tokio();
        let counts = self.mistake == Mistake::CountsTheSessionFromTheAnswer;
        let believed = Lease::new(clock, counts.then_some(MemoryClient::SESSION_TIMEOUT), clock.now());
        let taken = |error: Error| error.with_retryable(self.mistake != Mistake::TakesAnOutageForTheEnd);
        let honest = self.client.open_session().await.map_err(taken)?;
        if counts {
            tokio::spawn(renew(honest.clone(), believed.clone()));
        }
        let first = OnceLock::new();
        let (used, late, client) = (self.used.clone(), self.late.clone(), self.client.clone());
        let (last, recorded, mistake) = (self.last.clone(), Mutex::default(), self.mistake);
        Ok(Arc::new(Session { honest, mistake, believed, first, used, late, last, client, recorded }))
    }
}

/// Takes every answer for a renewal that was sent when the answer came.
async fn renew(session: Arc<dyn QueueSession>, believed: Lease) {
    while believed.loss().is_none() {
        if session.names().await.is_ok() {
            believed.renewed(believed.now());
        }
        tokio::time::sleep(MemoryClient::SESSION_TIMEOUT / 10).await;
    }
}

async fn append_in_any_case(
    session: Arc<dyn QueueSession>,
    client: MemoryClient,
    lock: &LockKey,
    entry: &Entry,
) -> Result<Enqueued> {
    match session.enqueue(lock, entry).await {
        Err(error) if error.kind() == ErrorKind::SessionLost => {
            let nobodys = client.open_session().await?;
            let enqueued = nobodys.enqueue(lock, entry).await;
            std::mem::forget(nobodys);
            enqueued
        }
        answer => answer,
    }
}

impl Session {
    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == mistake
    }

    /// What the driver makes of an honest answer.
    async fn distort(&self, lock: &LockKey, id: &EntryId, honest: Standing) -> Result<Standing> {
        Ok(match (self.mistake, honest) {
            (Mistake::WatchesOneHolderOnly, Standing::Waits { wake, seen }) => {
                Standing::Waits { wake: wake.into_iter().take(1).collect(), seen }
            }
            (Mistake::SharedPassesAWaitingWriter, Standing::Waits { .. }) => {
                self.passing(lock, id, |waiting| waiting == EntryKind::Exclusive).await?
            }
            (Mistake::SmallRequestPassesALargeOne, Standing::Waits { .. }) => {
                self.passing(lock, id, |waiting| waiting.weight() > 1).await?
            }
            (Mistake::NeverSeesThatItsEntryIsGone, Standing::Absent)
            | (Mistake::IgnoresLimits, Standing::LimitMismatch { .. }) => Standing::Holds,
            (_, honest) => honest,
        })
    }

    /// Where an entry would stand if it could pass some of those who wait.
    async fn passing(&self, lock: &LockKey, id: &EntryId, passed: fn(EntryKind) -> bool) -> Result<Standing> {
        let mut entries = self.honest.list(lock).await?.entries;
        let head = entries.remove(0);
        entries.retain(|entry| entry.id == *id || !passed(entry.kind));
        entries.insert(0, head);
        Ok(standing(&entries, id, Revision::default()))
    }

    /// The lock that the driver takes this one for.
    fn lock(&self, lock: &LockKey) -> LockKey {
        let name = lock.name.as_str();
        let name = match self.mistake {
            Mistake::ConfusesNames => name.replace('/', "__"),
            Mistake::IgnoresCase => name.to_ascii_lowercase(),
            _ => name.to_owned(),
        };
        LockName::new(&name).map_or_else(|_| lock.clone(), |name| LockKey { name, ..lock.clone() })
    }

    async fn append(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        match self.mistake {
            Mistake::EnqueuesForAnEndedSession => {
                let (session, client) = (self.honest.clone(), self.client.clone());
                let (lock, entry) = (lock.clone(), entry.clone());
                // Requests go on although whoever sent them is gone.
                tokio::spawn(async move { append_in_any_case(session, client, &lock, &entry).await })
                    .await
                    .unwrap()
            }
            Mistake::ExecutesLateRequests => {
                let late = |_: &Error| {
                    self.late.lock().unwrap().push((self.honest.clone(), lock.clone(), entry.clone()));
                };
                self.honest.enqueue(lock, entry).await.inspect_err(late)
            }
            _ => self.honest.enqueue(lock, entry).await,
        }
    }

    /// A token that is given before the place in the queue is, some later than others.
    async fn takes_token_first(&self) -> Option<FencingToken> {
        if !self.makes(Mistake::TakesItsTokenBeforeItsPlace) {
            return None;
        }
        let last = self.last.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10 - last % 10)).await;
        Some(FencingToken::new(last))
    }

    async fn token(&self, lock: &LockKey, honest: FencingToken) -> Result<FencingToken> {
        Ok(match self.mistake {
            Mistake::ResetsTokens => FencingToken::new(self.honest.list(lock).await?.entries.len() as u64),
            Mistake::StartsTokensAnewWithEachSession => {
                FencingToken::new(honest.get() - self.first.get_or_init(|| honest.get()))
            }
            _ => honest,
        })
    }

    /// What an operator would do by hand.
    async fn remove_all(&self) -> Result<()> {
        for lock in self.honest.names().await? {
            for QueuedEntry { id, .. } in self.honest.list(&lock).await?.entries {
                self.honest.remove(&lock, &id).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl QueueSession for Session {
    fn lease(&self) -> &Lease {
        match self.mistake {
            Mistake::NeverTellsOfLoss | Mistake::CountsTheSessionFromTheAnswer => &self.believed,
            _ => self.honest.lease(),
        }
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        let lock = &self.lock(lock);
        if self.makes(Mistake::KeepsNamesOfUnusedLocks) {
            self.used.lock().unwrap().push(lock.clone());
        }
        if self.makes(Mistake::AdoptsAnotherSessionsEntry) {
            let queue = self.honest.describe(lock).await?;
            if let Some(other) = queue.into_iter().find(|other| *other.label == *entry.label) {
                return Ok(Enqueued { token: other.token, standing: Standing::Holds });
            }
        }
        let mut entry = entry.clone();
        if let (Mistake::AsksForOnePermit, EntryKind::Permits { permits, .. }) =
            (self.mistake, &mut entry.kind)
        {
            *permits = 1;
        }
        if self.makes(Mistake::EnqueuesAgainAfterALostReply) {
            let first = self.honest.enqueue(lock, &entry).await;
            if first.is_ok() {
                return first;
            }
            let again = Entry { id: EntryId::random(), ..entry.clone() };
            self.honest.enqueue(lock, &again).await?;
        }
        let taken = self.takes_token_first().await;
        let Enqueued { token, standing } = self.append(lock, &entry).await?;
        let token = taken.unwrap_or(self.token(lock, token).await?);
        Ok(Enqueued { token, standing: self.distort(lock, &entry.id, standing).await? })
    }

    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        if self.makes(Mistake::ListsNobody) {
            return Ok(Snapshot::default());
        }
        self.honest.list(&self.lock(lock)).await
    }

    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        if self.makes(Mistake::GrantsOnAnyWakeUp) {
            return Ok(Standing::Holds);
        }
        let lock = &self.lock(lock);
        let honest = self.honest.look(lock, id).await?;
        self.distort(lock, id, honest).await
    }

    async fn watch(
        &self,
        lock: &LockKey,
        waiter: &EntryId,
        ids: &[EntryId],
        _: Revision,
    ) -> Result<Option<Standing>> {
        let own = watches_held(waiter, ids);
        if self.makes(Mistake::SleepsThroughDepartures)
            || own && self.makes(Mistake::NeverSeesThatItsEntryIsGone)
        {
            std::future::pending::<()>().await;
        }
        // The honest driver knows by itself whom a departure lets in; here it matters who is watched.
        let lock = &self.lock(lock);
        loop {
            let entries = self.honest.list(lock).await?.entries;
            if !ids.iter().all(|id| entries.iter().any(|entry| entry.id == *id)) {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn head_changed(&self, lock: &LockKey, head: Option<&EntryId>) -> Result<()> {
        if self.makes(Mistake::SleepsThroughChangesOfTheHead) {
            std::future::pending::<()>().await;
        }
        self.honest.head_changed(&self.lock(lock), head).await
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let lock = &self.lock(lock);
        let removed = match self.mistake {
            Mistake::RemovesNothing => Removed::Now,
            Mistake::ForgetsCancelledEntries if self.honest.look(lock, id).await? != Standing::Holds => {
                Removed::Now
            }
            Mistake::RemovesByPosition => {
                let first = self.honest.list(lock).await?.entries.into_iter().next();
                self.honest.remove(lock, &first.map_or(id.clone(), |first| first.id)).await?
            }
            Mistake::LosesItsSessionWithAReply => {
                let lost = |_: &Error| self.honest.lease().end(Loss::Expired);
                self.honest.remove(lock, id).await.inspect_err(lost)?
            }
            _ => self.honest.remove(lock, id).await?,
        };
        Ok(match self.mistake {
            Mistake::SaysOfEveryEntryThatItWasThere => Removed::Now,
            Mistake::SaysOfNoEntryThatItWasThere => Removed::Absent,
            _ => removed,
        })
    }

    async fn evict(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        if self.makes(Mistake::EvictsNobody) {
            return Ok(Removed::Now);
        }
        self.honest.evict(&self.lock(lock), id).await
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        let mut entries = self.honest.describe(&self.lock(lock)).await?;
        if self.makes(Mistake::ShowsTheQueueBackwards) {
            entries.reverse();
        }
        for entry in &mut entries {
            match (self.mistake, &mut entry.kind) {
                (Mistake::ForgetsLabels, _) => entry.label.clear(),
                (Mistake::ShowsOtherTokens, _) => entry.token = FencingToken::new(entry.token.get() + 1),
                (Mistake::ShowsOnePermit, EntryKind::Permits { permits, .. }) => *permits = 1,
                _ => {}
            }
        }
        Ok(entries)
    }

    async fn record(&self, lock: &LockKey) -> Result<Recorded> {
        let mut recorded = self.honest.record(&self.lock(lock)).await?;
        if self.makes(Mistake::ForgetsRecordsWithTheSession) {
            recorded.record = recorded.record.filter(|record| self.recorded.lock().unwrap().contains(record));
        }
        Ok(recorded)
    }

    async fn set_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        let lock = &self.lock(lock);
        self.recorded.lock().unwrap().push(Record { token, text: text.to_owned() });
        if self.makes(Mistake::RecordsWhateverComesLast) {
            let known = self.honest.record(lock).await?.record;
            let largest = known.map_or(token, |known| known.token.max(token));
            return self.honest.set_record(lock, largest, text).await;
        }
        self.honest.set_record(lock, token, text).await
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        let mut names = self.honest.names().await?;
        match self.mistake {
            Mistake::HidesNames => names.clear(),
            Mistake::KeepsNamesOfUnusedLocks => names.extend(self.used.lock().unwrap().iter().cloned()),
            _ => {}
        }
        Ok(names)
    }

    async fn cleanup(&self) -> Result<u64> {
        if self.makes(Mistake::CleansUpLiveLocks) {
            self.remove_all().await?;
        }
        self.honest.cleanup().await
    }

    async fn close(&self) -> Result<()> {
        if self.makes(Mistake::EndsNoEntriesWithItsSession) {
            return Ok(());
        }
        self.honest.close().await
    }
}
