//! A session, and what the core asks of it.

use std::sync::Arc;

use async_trait::async_trait;
use lockcore::queue::Standing;
use lockcore::session::{Clock, Lease, Loss, keep_alive};
use lockcore::{
    Enqueued, Entry, EntryDetails, EntryId, Error, ErrorKind, FencingToken, LockKey, QueueSession, Recorded,
    Removed, Result, Revision, Snapshot,
};

use crate::connection::{Connection, two_links};
use crate::judge::judge;
use crate::keep_alive::Renewals;
use crate::link::Use;
use crate::options::PostgresOptions;
use crate::own_entries::OwnEntries;
use crate::pool::Pool;
use crate::requests::Shared;

/// A session: a row, and connections.
pub(crate) struct PostgresSession {
    shared: Arc<Shared>,
}

impl PostgresSession {
    /// Opens a session, and keeps it alive.
    pub(crate) async fn open(options: PostgresOptions) -> Result<Self> {
        let own_entries = Arc::<OwnEntries>::default();
        let [one, other] = two_links(&options, &own_entries).await?;
        let id = rand::random::<i64>() & i64::MAX;
        let sent = Clock::Boot.now();
        let connection = |used, link| Connection::new(&options, id, used, &own_entries, Some(link));
        let shared = Shared {
            id,
            lease: Lease::new(Clock::Boot, Some(options.session_timeout()), sent),
            requests: connection(Use::Requests, one),
            renewals: connection(Use::Renewals, other),
            own_entries,
            pool: Pool::default(),
            options,
        };
        shared.requests.ready().await?;
        shared.renewals.ready().await?;
        let shared = Arc::new(shared);
        tokio::spawn(live(shared.clone()));
        Ok(Self { shared })
    }
}

/// Whatever comes first ends both: nothing renews a lost session.
async fn live(shared: Arc<Shared>) {
    let mut renewals = Renewals(shared.clone());
    tokio::select! {
        _ = keep_alive(&shared.lease, &mut renewals) => {}
        () = judge(&shared) => {}
    }
}

/// Makes an error tell what was being done, and with which lock.
fn doing(what: &'static str, lock: &LockKey) -> impl FnOnce(Error) -> Error {
    move |error| error.with_context(format!("{what} {} {:?}", lock.family, lock.name))
}

#[async_trait]
impl QueueSession for PostgresSession {
    fn lease(&self) -> &Lease {
        &self.shared.lease
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        let appended = self.shared.unless_lost(self.shared.append(lock, entry));
        appended.await.map_err(doing("append to the queue of", lock))
    }

    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        let entries = self.shared.entries(lock).await.map_err(doing("list the queue of", lock))?;
        Ok(Snapshot { entries, revision: Revision::default() })
    }

    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        self.shared.standing(lock, id).await.map_err(doing("look at the queue of", lock))
    }

    async fn watch(
        &self,
        lock: &LockKey,
        waiter: &EntryId,
        ids: &[EntryId],
        _since: Revision,
    ) -> Result<Option<Standing>> {
        if let Some(loss) = self.shared.lease.loss() {
            return Err(Error::lost(loss));
        }
        self.shared.news(lock, waiter, ids).await.map_err(doing("watch the queue of", lock))
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let removed = self.shared.clear(lock, id).await.map_err(doing("remove from the queue of", lock))?;
        self.shared.own_entries.forget(lock, id);
        Ok(removed)
    }

    async fn evict(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        self.shared.evict(lock, id).await.map_err(doing("remove an entry from the queue of", lock))
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        self.shared.details(lock).await.map_err(doing("describe the queue of", lock))
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        self.shared.locks().await.map_err(|error| error.with_context("list all locks"))
    }

    async fn record(&self, lock: &LockKey) -> Result<Recorded> {
        self.shared.record(lock).await.map_err(doing("read the record of", lock))
    }

    async fn set_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        self.shared.set_record(lock, token, text).await.map_err(doing("set the record of", lock))
    }

    /// All entries go with their sessions: nothing is left of those that are dead.
    async fn cleanup(&self) -> Result<u64> {
        Ok(0)
    }

    async fn close(&self) -> Result<()> {
        self.shared.lease.end(Loss::Closed);
        let call = format!("SELECT {}.close({})", self.shared.options.schema(), self.shared.id);
        let closed =
            self.shared.requests.request(async |ready| ready.link.client().batch_execute(&call).await);
        let closed = closed.await;
        self.shared.end();
        match closed {
            Err(error) if error.kind() != ErrorKind::SessionLost => {
                Err(error.with_context("close the session"))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for PostgresSession {
    fn drop(&mut self) {
        // Ends what keeps the session alive.
        self.shared.lease.end(Loss::Closed);
        self.shared.end();
    }
}

impl std::fmt::Debug for PostgresSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shared { id, options, lease, .. } = &*self.shared;
        f.debug_struct("PostgresSession")
            .field("id", id)
            .field("options", options)
            .field("lease", lease)
            .finish_non_exhaustive()
    }
}
