//! The simulated driver: it keeps the contract over a network that does what networks do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lockcore::queue::Standing;
use lockcore::session::{Clock, Lease};
use lockcore::{
    Capabilities, Enqueued, Entry, EntryDetails, EntryId, Error, ErrorKind, LockKey, Loss, QueueBackend,
    QueueSession, Removed, Result, Revision, Snapshot,
};
use rand::RngExt;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::server::{Mistake, SESSION, Server, State};

/// How long a request waits for its answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Longer than any simulation.
const FOR_EVER: Duration = Duration::from_secs(1_000_000);

/// One client's way to the server.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) server: Server,
    cut: Arc<AtomicBool>,
    clock: Clock,
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Served,
    Lost,
    /// Executed, and the answer lost.
    Unanswered,
    /// Executed long after its caller was told that it had failed.
    Late(Duration),
    /// The answer takes long.
    Slow,
    /// Executed twice.
    Doubled(Duration),
}

impl Network {
    pub(super) fn new(server: Server, clock: Clock) -> Self {
        Self { server, cut: Arc::default(), clock }
    }

    /// Nothing passes until it is healed.
    pub(super) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Release);
        self.server.changed.notify_waiters();
    }

    fn passes(&self) -> bool {
        !self.cut.load(Ordering::Acquire) && !self.server.lock().is_down()
    }

    fn fate(&self, renews: bool) -> (Fate, Duration, Duration, bool) {
        let mut state = self.server.lock();
        let most = if state.noisy { 40 } else { 5 };
        let (to, back) = (state.rng.random_range(0..=most), state.rng.random_range(0..=most));
        let after = Duration::from_millis(state.rng.random_range(0..4000));
        let slow = state.rng.random_range(0..1900);
        let drawn = if state.noisy { state.rng.random_range(0..100) } else { 99 };
        // A lease that counts from the answer is wrong only if that takes long.
        let drawn = if renews && state.chance(0.6) { 13 } else { drawn };
        let fate = match drawn {
            0..3 => Fate::Lost,
            3..6 => Fate::Unanswered,
            6..8 => Fate::Late(after),
            8..11 => Fate::Doubled(after),
            11..14 => Fate::Slow,
            _ => Fate::Served,
        };
        if fate != Fate::Served {
            state.happened(match fate {
                Fate::Lost => "lost requests",
                Fate::Unanswered => "lost replies",
                Fate::Late(_) => "late requests",
                Fate::Slow => "slow replies",
                _ => "doubled requests",
            });
        }
        // A connection that ends tells at once, one that is silent never.
        let silent = state.rng.random_bool(0.3);
        let back = if fate == Fate::Slow { slow } else { back };
        (fate, Duration::from_millis(to), Duration::from_millis(back), silent)
    }

    /// Sends a request, which goes its way whether anybody waits for the answer or not.
    async fn ask<T: Send + 'static>(
        &self,
        renews: bool,
        request: impl Fn(&mut State) -> T + Send + Sync + 'static,
    ) -> Result<T> {
        let (fate, to, back, silent) = self.fate(renews);
        let (sender, answer) = oneshot::channel();
        let network = self.clone();
        tokio::spawn(async move {
            sleep(to).await;
            let answered = network.carry(fate, back, request).await;
            match answered {
                Some(answer) => drop(sender.send(answer)),
                None if silent => sleep(ANSWER).await,
                None => {}
            }
        });
        match timeout(ANSWER, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(Error::new(ErrorKind::Unreachable, "the simulated server did not answer")),
        }
    }

    async fn carry<T>(
        &self,
        fate: Fate,
        back: Duration,
        request: impl Fn(&mut State) -> T + Send + Sync,
    ) -> Option<T> {
        match fate {
            Fate::Lost => return None,
            // The connection on which it was sent may be gone by then.
            Fate::Late(after) => sleep(ANSWER + after).await,
            _ if !self.passes() => return None,
            _ => {}
        }
        let answer = self.server.execute(&request);
        if let Fate::Doubled(after) = fate {
            sleep(after).await;
            drop(self.server.execute(&request));
            return Some(answer);
        }
        sleep(back).await;
        (matches!(fate, Fate::Served | Fate::Slow) && self.passes()).then_some(answer)
    }
}

#[async_trait]
impl QueueBackend for Network {
    fn capabilities(&self) -> Capabilities {
        Capabilities::strict()
    }

    fn place(&self) -> String {
        "the simulated server".to_owned()
    }

    async fn open_session(&self) -> Result<Arc<dyn QueueSession>> {
        let sent = self.clock.now();
        let id = self.server.lock().rng.random();
        self.ask(false, move |state| state.open(id)).await?;
        let lease = Lease::new(self.clock, Some(SESSION), sent);
        let session =
            Session { id, network: self.clone(), lease, seen: Arc::default(), closed: Arc::default() };
        tokio::spawn(session.clone().renew());
        Ok(Arc::new(session))
    }
}

#[derive(Clone)]
struct Session {
    id: u64,
    network: Network,
    lease: Lease,
    /// Up to which change each queue has been seen: nobody is shown an older one.
    seen: Arc<Mutex<BTreeMap<LockKey, u64>>>,
    closed: Arc<AtomicBool>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Session {
    async fn renew(self) {
        let interval = self.lease.renewal_interval().expect("sessions have a time");
        while self.lease.loss().is_none() && !self.closed.load(Ordering::Acquire) {
            sleep(interval).await;
            let (id, sent) = (self.id, self.lease.now());
            match self.network.ask(true, move |state| state.renew(id)).await {
                Ok(Ok(())) => {
                    let late = self.network.server.mistake == Mistake::CountsFromReceipt;
                    self.lease.renewed(if late { self.lease.now() } else { sent });
                }
                Ok(Err(_)) => self.lease.end(Loss::Expired),
                Err(_) => self.lease.doubt(),
            }
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        request: impl Fn(&mut State) -> Result<T> + Send + Sync + 'static,
    ) -> Result<T> {
        if let Some(loss) = self.lease.loss() {
            return Err(Error::lost(loss));
        }
        let answer = self.network.ask(false, request).await?;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::SessionLost) {
            self.lease.end(Loss::Expired);
        }
        answer
    }

    fn saw(&self, lock: &LockKey, change: u64) {
        let mut seen = self.seen.lock().expect("nothing panics while it is held");
        let seen = seen.entry(lock.clone()).or_default();
        *seen = change.max(*seen);
    }

    fn seen(&self, lock: &LockKey) -> u64 {
        self.seen.lock().expect("nothing panics while it is held").get(lock).copied().unwrap_or_default()
    }

    /// Which state of the queue a read shows: a server may lag, but not behind what this session has seen.
    fn shown(mistake: Mistake, state: &mut State, lock: &LockKey, seen: u64) -> u64 {
        let now = state.now(lock);
        let from = if mistake == Mistake::LooksTooFarBack { 0 } else { seen.min(now) };
        if !state.chance(0.3) {
            return now;
        }
        state.happened("reads of the past");
        state.rng.random_range(from..=now)
    }
}

#[async_trait]
impl QueueSession for Session {
    fn lease(&self) -> &Lease {
        &self.lease
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        let (id, key, entry) = (self.id, lock.clone(), entry.clone());
        let (enqueued, change) = self.ask(move |state| state.enqueue(id, &key, &entry)).await?;
        self.saw(lock, change);
        Ok(enqueued)
    }

    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        let (key, seen, mistake) = (lock.clone(), self.seen(lock), self.network.server.mistake);
        let read = move |state: &mut State| {
            let change = Self::shown(mistake, state, &key, seen);
            Ok((state.at(&key, change), change))
        };
        let (entries, change) = self.ask(read).await?;
        self.saw(lock, change);
        Ok(Snapshot { entries, revision: Revision(change) })
    }

    async fn watch(
        &self,
        lock: &LockKey,
        waiter: &EntryId,
        ids: &[EntryId],
        _since: Revision,
    ) -> Result<Option<Standing>> {
        let server = &self.network.server;
        let (starts, delay) = {
            let mut state = server.lock();
            (state.starts, state.rng.random_range(0..10))
        };
        sleep(Duration::from_millis(delay)).await;
        let there = |id: &EntryId, state: &State| {
            state.at(lock, state.now(lock)).iter().any(|queued| queued.id == *id)
        };
        let mut ids = ids.to_vec();
        if server.mistake == Mistake::WatchMissesThePast {
            let state = server.lock();
            ids.retain(|id| there(id, &state));
        }
        let (nothing, after) = {
            let mut state = server.lock();
            (state.chance(0.1), Duration::from_millis(state.rng.random_range(0..5000)))
        };
        loop {
            let changed = server.changed.notified();
            let pending = {
                let state = server.lock();
                ids.iter().all(|id| there(id, &state)) && state.starts == starts
            };
            if !pending && self.network.passes() {
                break;
            }
            match timeout(if nothing { after } else { FOR_EVER }, changed).await {
                Ok(()) => {}
                Err(_) => {
                    server.lock().happened("wake-ups for nothing");
                    return Ok(None);
                }
            }
        }
        let delay = server.lock().rng.random_range(0..20);
        sleep(Duration::from_millis(delay)).await;
        let mut state = server.lock();
        let change = state.now(lock);
        let tells = state.rng.random_bool(0.5);
        self.saw(lock, change);
        Ok(tells.then(|| state.standing(lock, waiter, change)))
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let (session, lock, id) = (self.id, lock.clone(), id.clone());
        self.ask(move |state| state.remove(session, &lock, &id)).await
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        let lock = lock.clone();
        self.ask(move |state| Ok(state.describe(&lock))).await
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        self.ask(|state| Ok(state.names())).await
    }

    async fn cleanup(&self) -> Result<u64> {
        self.ask(|_| Ok(0)).await
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.lease.end(Loss::Closed);
        let id = self.id;
        self.network.ask(false, move |state| state.end(id)).await
    }
}
