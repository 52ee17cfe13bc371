//! The simulated server: queues, sessions and their history, in one place and one order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lockcore::queue::{Standing, standing};
use lockcore::{
    Enqueued, Entry, EntryDetails, EntryId, Error, FencingToken, LockKey, Loss, QueuedEntry, Removed, Result,
    Revision,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::time::Instant;

/// For how long the server grants a session.
pub(super) const SESSION: Duration = Duration::from_secs(5);

/// A mistake in the driver or the server, for the simulation to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mistake {
    None,
    /// A request to append that comes after the removal makes the entry anew.
    NoTombstones,
    /// The answer to a renewal is taken for one that was sent just then.
    CountsFromReceipt,
    /// The server ends sessions long before it said.
    ExpiresTooEarly,
    /// A watch says nothing of who left before it was set.
    WatchMissesThePast,
    /// A repeated request to append makes a second entry.
    AppendsTwice,
    /// A look shows a queue from before the own entry was in it.
    LooksTooFarBack,
    /// Tokens begin anew when the server does.
    ForgetsTokens,
}

/// The server, in this process. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Server {
    state: Arc<Mutex<State>>,
    pub(super) changed: Arc<Notify>,
    pub(super) mistake: Mistake,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) rng: StdRng,
    mistake: Mistake,
    sessions: BTreeMap<u64, Instant>,
    queues: BTreeMap<LockKey, Vec<Row>>,
    /// What each queue has been, from its first change to its last.
    past: BTreeMap<LockKey, Vec<Vec<QueuedEntry>>>,
    removed: BTreeSet<EntryId>,
    last: u64,
    changes: u64,
    /// Whether anything goes wrong.
    pub(super) noisy: bool,
    pub(super) down_until: Instant,
    /// How often it was started.
    pub(super) starts: u64,
    pub(super) faults: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Clone)]
struct Row {
    queued: QueuedEntry,
    token: u64,
    session: u64,
    label: Arc<str>,
}

impl Server {
    pub(super) fn new(seed: u64, mistake: Mistake) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            mistake,
            sessions: BTreeMap::new(),
            queues: BTreeMap::new(),
            past: BTreeMap::new(),
            removed: BTreeSet::new(),
            last: 0,
            changes: 0,
            noisy: true,
            down_until: Instant::now(),
            starts: 0,
            faults: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::default(), mistake }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }

    /// Ends the sessions whose time is over, and tells of that and of its own return, for as long as it is polled.
    pub(super) async fn run(self) {
        let mut was_down = false;
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let (swept, is_down) = {
                let mut state = self.lock();
                (state.sweep(), state.is_down())
            };
            if swept || (was_down && !is_down) {
                self.changed.notify_waiters();
            }
            was_down = is_down;
        }
    }

    /// Executes something, and wakes those who watch.
    pub(super) fn execute<T>(&self, request: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let before = state.changes;
        let answer = request(&mut state);
        if state.changes != before {
            self.changed.notify_waiters();
        }
        answer
    }
}

impl State {
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.noisy && self.rng.random_bool(probability)
    }

    pub(super) fn happened(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(super) fn is_down(&self) -> bool {
        Instant::now() < self.down_until
    }

    /// Nobody is served for a while; what is on disk stays, and every session gets its time anew.
    pub(super) fn restart(&mut self, downtime: Duration) {
        self.starts += 1;
        self.changes += 1;
        self.down_until = Instant::now() + downtime;
        let until = self.down_until + SESSION;
        self.sessions.values_mut().for_each(|deadline| *deadline = until);
        if self.mistake == Mistake::ForgetsTokens {
            self.last = 0;
        }
    }

    /// The server's clock is set back: sessions live longer.
    pub(super) fn set_clock_back(&mut self, by: Duration) {
        self.sessions.values_mut().for_each(|deadline| *deadline += by);
    }

    /// Ends the sessions whose time is over; whether there were any.
    fn sweep(&mut self) -> bool {
        let early = if self.mistake == Mistake::ExpiresTooEarly { SESSION / 2 } else { Duration::ZERO };
        let now = Instant::now() + early;
        let over: Vec<u64> =
            self.sessions.iter().filter(|(_, until)| **until <= now).map(|(id, _)| *id).collect();
        over.iter().for_each(|session| self.end(*session));
        !over.is_empty() && !self.is_down()
    }

    pub(super) fn end(&mut self, session: u64) {
        self.sessions.remove(&session);
        let own: Vec<LockKey> = self.queues.keys().cloned().collect();
        for lock in own {
            self.change(&lock, |rows| rows.retain(|row| row.session != session));
        }
    }

    fn change(&mut self, lock: &LockKey, change: impl FnOnce(&mut Vec<Row>)) {
        let rows = self.queues.entry(lock.clone()).or_default();
        let before = rows.len();
        change(rows);
        if rows.len() != before {
            self.changes += 1;
            let now = rows.iter().map(|row| row.queued.clone()).collect();
            self.past.entry(lock.clone()).or_insert_with(|| vec![Vec::new()]).push(now);
        }
    }

    pub(super) fn open(&mut self, session: u64) {
        self.sessions.insert(session, Instant::now() + SESSION);
    }

    pub(super) fn renew(&mut self, session: u64) -> Result<()> {
        let until = self.sessions.get_mut(&session).ok_or_else(|| Error::lost(Loss::Expired))?;
        *until = (*until).max(Instant::now() + SESSION);
        Ok(())
    }

    fn alive(&self, session: u64) -> Result<()> {
        self.sessions.contains_key(&session).then_some(()).ok_or_else(|| Error::lost(Loss::Expired))
    }

    pub(super) fn enqueue(&mut self, session: u64, lock: &LockKey, entry: &Entry) -> Result<(Enqueued, u64)> {
        self.alive(session)?;
        let known = self.queues.get(lock).and_then(|rows| rows.iter().find(|row| row.queued.id == entry.id));
        let (known, removed) = (known.map(|row| row.token), self.removed.contains(&entry.id));
        let again = self.mistake == Mistake::AppendsTwice && known.is_some();
        if (known.is_none() && (!removed || self.mistake == Mistake::NoTombstones)) || again {
            self.last += 1;
            let queued = QueuedEntry { id: entry.id.clone(), kind: entry.kind };
            let row = Row { queued, token: self.last, session, label: entry.label.clone() };
            self.change(lock, |rows| rows.push(row));
        }
        let token = FencingToken::new(known.unwrap_or(self.last));
        Ok((Enqueued { token, standing: self.standing(lock, &entry.id, self.now(lock)) }, self.now(lock)))
    }

    /// The number of the queue's last change.
    pub(super) fn now(&self, lock: &LockKey) -> u64 {
        self.past.get(lock).map_or(0, |past| past.len() as u64 - 1)
    }

    /// What the queue was after this change.
    pub(super) fn at(&self, lock: &LockKey, change: u64) -> Vec<QueuedEntry> {
        self.past.get(lock).map_or_else(Vec::new, |past| past[change as usize].clone())
    }

    pub(super) fn standing(&self, lock: &LockKey, id: &EntryId, change: u64) -> Standing {
        standing(self.at(lock, change), id, Revision(change))
    }

    pub(super) fn remove(&mut self, session: u64, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        self.alive(session)?;
        self.removed.insert(id.clone());
        let before = self.now(lock);
        self.change(lock, |rows| rows.retain(|row| row.queued.id != *id));
        Ok(Removed::from(self.now(lock) > before))
    }

    pub(super) fn describe(&self, lock: &LockKey) -> Vec<EntryDetails> {
        let details = |row: &Row| EntryDetails {
            id: row.queued.id.clone(),
            kind: row.queued.kind,
            token: FencingToken::new(row.token),
            label: row.label.to_string(),
            since: None,
        };
        self.queues.get(lock).into_iter().flatten().map(details).collect()
    }

    /// The labels of all entries.
    pub(super) fn labels(&self) -> Vec<Arc<str>> {
        self.queues.values().flatten().map(|row| row.label.clone()).collect()
    }

    pub(super) fn names(&self) -> Vec<LockKey> {
        self.queues.iter().filter(|(_, rows)| !rows.is_empty()).map(|(lock, _)| lock.clone()).collect()
    }
}
