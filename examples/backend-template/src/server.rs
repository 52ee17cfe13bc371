//! The server: queues of entries, in the order in which they came.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockcore::queue::{Standing, standing};
use lockcore::{Entry, EntryDetails, EntryId, FencingToken, LockKey, QueuedEntry, Record, Revision};
use tokio::sync::Notify;
use tokio::time::Instant;

/// A server that all sessions of this process share.
#[derive(Debug, Default)]
pub(crate) struct Server {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The last number that was given to a session or an entry. It never falls, or tokens would.
    last: u64,
    /// Until when each session lives if it is not renewed.
    sessions: HashMap<u64, Instant>,
    rows: Vec<Row>,
    records: HashMap<LockKey, Record>,
}

#[derive(Debug)]
struct Row {
    lock: LockKey,
    entry: Entry,
    token: FencingToken,
    session: u64,
}

static NAMED: LazyLock<Mutex<HashMap<String, Arc<Server>>>> = LazyLock::new(Mutex::default);

impl Server {
    /// The server of this name.
    pub(crate) fn named(name: &str) -> Arc<Self> {
        NAMED.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone()
    }

    /// Every request begins here: sessions whose time is over are ended, whoever asks.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let before = state.sessions.len();
        state.sessions.retain(|_, until| *until > now);
        if state.sessions.len() < before {
            state.drop_entries();
            self.changed.notify_waiters();
        }
        state
    }

    pub(crate) fn open_session(&self, lives: Duration) -> u64 {
        let mut state = self.lock();
        state.last += 1;
        let session = state.last;
        state.sessions.insert(session, Instant::now() + lives);
        session
    }

    /// Whether the session was still there.
    pub(crate) fn renew(&self, session: u64, lives: Duration) -> bool {
        let renewed = self.lock().sessions.get_mut(&session).map(|until| *until = Instant::now() + lives);
        renewed.is_some()
    }

    pub(crate) fn end_session(&self, session: u64) {
        let mut state = self.lock();
        state.sessions.remove(&session);
        state.drop_entries();
        self.changed.notify_waiters();
    }

    /// Appends the entry, unless it is there already; its token, and where it stands. `None` if the session is over.
    pub(crate) fn append(
        &self,
        session: u64,
        lock: &LockKey,
        entry: &Entry,
    ) -> Option<(FencingToken, Standing)> {
        let mut state = self.lock();
        state.sessions.get(&session)?;
        let known = state.rows.iter().find(|row| row.entry.id == entry.id).map(|row| row.token);
        let token = known.unwrap_or_else(|| {
            state.last += 1;
            let token = FencingToken::new(state.last);
            state.rows.push(Row { lock: lock.clone(), entry: entry.clone(), token, session });
            token
        });
        Some((token, standing(state.queue(lock), &entry.id, Revision::default())))
    }

    pub(crate) fn queue(&self, lock: &LockKey) -> Vec<QueuedEntry> {
        self.lock().queue(lock)
    }

    /// Whether the entry was there.
    pub(crate) fn remove(&self, lock: &LockKey, id: &EntryId) -> bool {
        let mut state = self.lock();
        let before = state.rows.len();
        state.rows.retain(|row| row.lock != *lock || row.entry.id != *id);
        self.changed.notify_waiters();
        state.rows.len() < before
    }

    /// Returns when one of these is not in the queue (any more).
    pub(crate) async fn departure(&self, lock: &LockKey, ids: &[EntryId]) {
        /// How often to look whether somebody has died without saying so.
        const JUDGED: Duration = Duration::from_millis(100);
        loop {
            // Before the queue is looked at: whatever changes from here on is noticed.
            let changed = self.changed.notified();
            let queue = self.queue(lock);
            if !ids.iter().all(|id| queue.iter().any(|queued| queued.id == *id)) {
                return;
            }
            let _ = tokio::time::timeout(JUDGED, changed).await;
        }
    }

    pub(crate) fn details(&self, lock: &LockKey) -> Vec<EntryDetails> {
        let details = |row: &Row| EntryDetails {
            id: row.entry.id.clone(),
            kind: row.entry.kind,
            token: row.token,
            label: row.entry.label.to_string(),
            since: None,
        };
        self.lock().rows.iter().filter(|row| row.lock == *lock).map(details).collect()
    }

    pub(crate) fn record(&self, lock: &LockKey) -> Option<Record> {
        self.lock().records.get(lock).cloned()
    }

    /// Whether it was set: not if the record is of a later holder.
    pub(crate) fn set_record(&self, lock: &LockKey, record: Record) -> bool {
        let mut state = self.lock();
        let later = state.records.get(lock).is_some_and(|present| present.token > record.token);
        if !later {
            state.records.insert(lock.clone(), record);
        }
        !later
    }

    pub(crate) fn names(&self) -> BTreeSet<LockKey> {
        self.lock().rows.iter().map(|row| row.lock.clone()).collect()
    }
}

impl State {
    fn queue(&self, lock: &LockKey) -> Vec<QueuedEntry> {
        let rows = self.rows.iter().filter(|row| row.lock == *lock);
        rows.map(|row| QueuedEntry { id: row.entry.id.clone(), kind: row.entry.kind }).collect()
    }

    /// Drops the entries of sessions that are over.
    fn drop_entries(&mut self) {
        let Self { sessions, rows, .. } = self;
        rows.retain(|row| sessions.contains_key(&row.session));
    }
}
