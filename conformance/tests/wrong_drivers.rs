//! The suite is worth something only if wrong drivers fail it: each of these makes one mistake, and must fail the
//! trial that is meant for it, which the honest driver passes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backend_memory::{Memory, MemoryClient};
use conformance::{Client, Fixture, Network, Outcome, trials};
use lockcore::queue::{QueueLocks, Standing, standing};
use lockcore::session::{Clock, Lease};
use lockcore::{
    Capabilities, Enqueued, Entry, EntryDetails, EntryId, EntryKind, Error, FencingToken, LockKey, LockName,
    QueueBackend, QueueSession, Removed, Result, Revision, Snapshot,
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    GrantsOnAnyWakeUp,
    WatchesOneHolderOnly,
    SharedPassesAWaitingWriter,
    ForgetsCancelledEntries,
    ResetsTokens,
    RemovesByPosition,
    AdoptsAnotherSessionsEntry,
    SleepsThroughDepartures,
    NeverTellsOfLoss,
    ConfusesNames,
    IgnoresLimits,
    EnqueuesAgainAfterALostReply,
    TakesAnOutageForTheEnd,
}

#[derive(Debug)]
struct Driver {
    client: MemoryClient,
    mistake: Mistake,
}

#[derive(Debug)]
struct Session {
    honest: Arc<dyn QueueSession>,
    mistake: Mistake,
    carefree: Lease,
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
        let carefree = Lease::new(clock, None, clock.now());
        let taken = |error: Error| error.with_retryable(self.mistake != Mistake::TakesAnOutageForTheEnd);
        let honest = self.client.open_session().await.map_err(taken)?;
        Ok(Arc::new(Session { honest, mistake: self.mistake, carefree }))
    }
}

impl Session {
    /// What the driver makes of an honest answer.
    async fn distort(&self, lock: &LockKey, id: &EntryId, honest: Standing) -> Result<Standing> {
        Ok(match (self.mistake, honest) {
            (Mistake::WatchesOneHolderOnly, Standing::Waits { wake, seen }) => {
                Standing::Waits { wake: wake.into_iter().take(1).collect(), seen }
            }
            (Mistake::SharedPassesAWaitingWriter, Standing::Waits { .. }) => {
                let mut entries = self.honest.list(lock).await?.entries;
                let head = entries.remove(0);
                entries.retain(|entry| entry.id == *id || entry.kind != EntryKind::Exclusive);
                entries.insert(0, head);
                standing(&entries, id, Revision::default())
            }
            (Mistake::IgnoresLimits, Standing::LimitMismatch { .. }) => Standing::Holds,
            (_, honest) => honest,
        })
    }

    fn lock(&self, lock: &LockKey) -> LockKey {
        let confused = lock.name.as_str().replace('/', "__");
        match LockName::new(&confused) {
            Ok(name) if self.mistake == Mistake::ConfusesNames => LockKey { name, ..lock.clone() },
            _ => lock.clone(),
        }
    }
}

#[async_trait]
impl QueueSession for Session {
    fn lease(&self) -> &Lease {
        if self.mistake == Mistake::NeverTellsOfLoss { &self.carefree } else { self.honest.lease() }
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        let lock = &self.lock(lock);
        if self.mistake == Mistake::AdoptsAnotherSessionsEntry {
            let queue = self.honest.describe(lock).await?;
            if let Some(other) = queue.into_iter().find(|other| other.label == entry.label) {
                return Ok(Enqueued { token: other.token, standing: Standing::Holds });
            }
        }
        let mut entry = entry.clone();
        if self.mistake == Mistake::EnqueuesAgainAfterALostReply {
            let first = self.honest.enqueue(lock, &entry).await;
            if first.is_ok() {
                return first;
            }
            entry.id = EntryId::random();
        }
        let Enqueued { mut token, standing } = self.honest.enqueue(lock, &entry).await?;
        if self.mistake == Mistake::ResetsTokens {
            token = FencingToken::new(self.honest.list(lock).await?.entries.len() as u64);
        }
        Ok(Enqueued { token, standing: self.distort(lock, &entry.id, standing).await? })
    }

    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        self.honest.list(&self.lock(lock)).await
    }

    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        if self.mistake == Mistake::GrantsOnAnyWakeUp {
            return Ok(Standing::Holds);
        }
        let lock = &self.lock(lock);
        let honest = self.honest.look(lock, id).await?;
        self.distort(lock, id, honest).await
    }

    async fn watch(
        &self,
        lock: &LockKey,
        _: &EntryId,
        ids: &[EntryId],
        _: Revision,
    ) -> Result<Option<Standing>> {
        if self.mistake == Mistake::SleepsThroughDepartures {
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

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let lock = &self.lock(lock);
        let entries = self.honest.list(lock).await?.entries;
        match self.mistake {
            Mistake::ForgetsCancelledEntries if self.honest.look(lock, id).await? != Standing::Holds => {
                Ok(Removed::Now)
            }
            Mistake::RemovesByPosition if !entries.is_empty() => {
                self.honest.remove(lock, &entries[0].id).await
            }
            _ => self.honest.remove(lock, id).await,
        }
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        self.honest.describe(&self.lock(lock)).await
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        self.honest.names().await
    }

    async fn cleanup(&self) -> Result<u64> {
        self.honest.cleanup().await
    }

    async fn close(&self) -> Result<()> {
        self.honest.close().await
    }
}

#[derive(Debug)]
struct Place {
    memory: Memory,
    mistake: Mistake,
}

#[derive(Debug)]
struct Link(MemoryClient);

#[async_trait]
impl Fixture for Place {
    async fn client(&self) -> Result<Client> {
        let client = self.memory.client();
        let driver = Driver { client: client.clone(), mistake: self.mistake };
        let locks = Arc::new(QueueLocks::connect(driver).await?);
        Ok(Client { locks, network: Some(Box::new(Link(client))) })
    }

    fn session_timeout(&self) -> Duration {
        MemoryClient::SESSION_TIMEOUT
    }

    fn has_network(&self) -> bool {
        true
    }

    fn runtime(&self) -> std::io::Result<tokio::runtime::Runtime> {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()
    }
}

impl Network for Link {
    fn cut(&self) {
        self.0.disconnect();
    }

    fn mute(&self) {
        self.0.mute();
    }

    fn heal(&self) {
        self.0.reconnect();
    }
}

fn run(trial: &str, mistake: Mistake) -> Outcome {
    let fixture: Arc<dyn Fixture> = Arc::new(Place { memory: Memory::new(), mistake });
    let trial = trials().into_iter().find(|known| known.name() == trial);
    trial.expect("the suite has this trial").run(&fixture)
}

#[track_caller]
fn fails(mistake: Mistake, trial: &str) {
    let honest = run(trial, Mistake::None);
    assert!(matches!(honest, Outcome::Passed), "the honest driver: {honest:?}");
    let wrong = run(trial, mistake);
    assert!(matches!(wrong, Outcome::Failed(_)), "{mistake:?} passes {trial}: {wrong:?}");
}

#[test]
fn granting_on_any_wake_up_fails() {
    fails(Mistake::GrantsOnAnyWakeUp, "fairness/departure_of_a_waiter_lets_nobody_in");
}

#[test]
fn watching_one_semaphore_holder_fails() {
    fails(Mistake::WatchesOneHolderOnly, "semaphore/departure_of_any_holder_lets_the_next_in");
}

#[test]
fn letting_readers_pass_a_waiting_writer_fails() {
    fails(Mistake::SharedPassesAWaitingWriter, "shared/reader_behind_a_waiting_writer_waits");
}

#[test]
fn forgetting_cancelled_entries_fails() {
    fails(Mistake::ForgetsCancelledEntries, "timeout/timeout_leaves_nothing");
}

#[test]
fn resetting_tokens_fails() {
    fails(Mistake::ResetsTokens, "fencing/tokens_rise_from_guard_to_guard");
}

#[test]
fn removing_by_position_fails() {
    fails(Mistake::RemovesByPosition, "release/a_late_release_of_one_hold_leaves_the_next_alone");
}

#[test]
fn adopting_another_sessions_entry_fails() {
    fails(Mistake::AdoptsAnotherSessionsEntry, "exclusion/one_label_is_not_one_owner");
}

#[test]
fn sleeping_through_departures_fails() {
    fails(Mistake::SleepsThroughDepartures, "fairness/grants_follow_the_queue");
}

#[test]
fn never_telling_of_loss_fails() {
    fails(Mistake::NeverTellsOfLoss, "loss/a_holder_that_is_cut_off_is_told_before_the_next_is_let_in");
}

#[test]
fn confusing_names_fails() {
    fails(Mistake::ConfusesNames, "names/every_name_is_a_lock_of_its_own");
}

#[test]
fn ignoring_limits_fails() {
    fails(Mistake::IgnoresLimits, "semaphore/disagreement_about_the_limit_is_an_error");
}

#[test]
fn enqueueing_again_after_a_lost_reply_fails() {
    fails(Mistake::EnqueuesAgainAfterALostReply, "disconnect/a_lost_reply_to_the_enqueue_leaves_one_entry");
}

#[test]
fn taking_an_outage_for_the_end_fails() {
    fails(Mistake::TakesAnOutageForTheEnd, "outage/a_wait_that_begins_while_cut_off_goes_on");
}
