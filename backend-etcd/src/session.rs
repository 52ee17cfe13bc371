//! The queue operations of one session.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, DeleteResponse, Error as ClientError, GetOptions, GetResponse,
    KvClient, PutOptions, ResponseHeader, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use lockcore::queue::{Standing, standing};
use lockcore::session::{Clock, Lease, Loss};
use lockcore::{
    Effect, Enqueued, Entry, EntryDetails, EntryId, EntryKind, Error, ErrorKind, Family, FencingToken,
    LockKey, QueueSession, Removed, Result, Revision, Snapshot,
};

use crate::connection::Connection;
use crate::handover::{GLANCE, hand_over};
use crate::heartbeat::Heart;
use crate::layout::{
    Seen, entries, entry_key, entry_prefix, family_prefix, lock_name, lock_prefix, ordered, queue,
    session_key,
};
use crate::options::EtcdOptions;
use crate::places::{Place, Places};
use crate::wake::{Bells, Ringer};

/// A session with etcd: a lease, and keys on it.
#[derive(Debug)]
pub(crate) struct EtcdSession {
    heart: Heart,
    root: String,
    places: Places,
    bells: Bells,
}

impl EtcdSession {
    /// Opens a session, and keeps it alive.
    pub(crate) async fn open(options: EtcdOptions) -> Result<Self> {
        let (ttl, root) = (options.ttl(), options.root().to_owned());
        let connection = Arc::new(Connection::new(options));
        // A server may be slow to connect to; the lease counts from here.
        connection.link().await?;
        let sent = Clock::Boot.now();
        let granted =
            connection.call(|client| async move { client.lease_client().grant(ttl, None).await }).await?;
        let (id, ttl) = (granted.id(), u64::try_from(granted.ttl()).unwrap_or_default());
        let lease = Lease::new(Clock::Boot, Some(Duration::from_secs(ttl)), sent);
        let key = session_key(&root, id);
        let put = PutOptions::new().with_lease(id);
        let made = connection.call(|client| async move { kv(&client).put(key, ordered(0), Some(put)).await });
        made.await?;
        let (ringer, bells) = Ringer::new(connection.clone(), id);
        let heart = Heart { connection, lease, id };
        tokio::spawn(live(heart.clone(), ringer));
        Ok(Self { heart, root, places: Places::default(), bells })
    }

    /// The answer to a request; none for a lost session.
    async fn call<T, F>(&self, request: impl FnOnce(Client) -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T, ClientError>> + Send,
    {
        if let Some(loss) = self.heart.lease.loss() {
            return Err(Error::lost(loss));
        }
        let answer = self.heart.connection.call(request).await;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::SessionLost) {
            self.heart.lease.end(Loss::Expired);
        }
        answer
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse> {
        self.call(|client| async move { kv(&client).txn(txn).await }).await
    }

    async fn get(&self, prefix: String, options: GetOptions) -> Result<GetResponse> {
        self.call(|client| async move { kv(&client).get(prefix, Some(options.with_prefix())).await }).await
    }

    /// The part of the queue that the options ask for.
    async fn view(&self, lock: &LockKey, options: GetOptions) -> Result<View> {
        let prefix = lock_prefix(&self.root, lock);
        let got = self.get(prefix.clone(), options).await?;
        let queue = queue(&prefix, lock.family, got.kvs());
        Ok(View { strangers: queue.len() < got.kvs().len(), queue, revision: revision(got.header()) })
    }

    /// The queue up to this entry of ours, or as much of it as decides where the entry stands.
    async fn up_to(&self, lock: &LockKey, id: &EntryId) -> Result<View> {
        let keys = GetOptions::new().with_keys_only();
        let Some(Place { kind, created: Some(created), .. }) = self.places.get(id) else {
            return self.view(lock, keys).await;
        };
        let ahead = keys.with_max_create_revision(created);
        if kind == EntryKind::Exclusive {
            // It waits for the nearest entry ahead, whatever that is.
            let nearest = ahead.clone().with_sort(SortTarget::Create, SortOrder::Descend).with_limit(2);
            let view = self.view(lock, nearest).await?;
            if !view.strangers {
                return Ok(view);
            }
        }
        self.view(lock, ahead).await
    }

    /// When all of these entries were seen; `None` if one is not there.
    async fn present(&self, keys: &[String]) -> Result<Option<Revision>> {
        let mut seen = None;
        for key in keys {
            let got = self.get(key.clone(), GetOptions::new().with_count_only()).await?;
            if got.count() == 0 {
                return Ok(None);
            }
            seen = seen.or_else(|| Some(revision(got.header())));
        }
        Ok(seen)
    }

    /// Appends the entry if it is not there and no removal was faster, and glances at the queue.
    fn append(&self, lock: &LockKey, entry: &Entry, number: u64) -> Txn {
        let key = entry_key(&self.root, lock, entry);
        let session = session_key(&self.root, self.heart.id);
        let own = entry_prefix(&self.root, lock, &entry.id);
        let put = PutOptions::new().with_lease(self.heart.id);
        Txn::new()
            .when([
                Compare::create_revision(&*key, CompareOp::Equal, 0),
                Compare::value(session, CompareOp::Less, ordered(number)),
            ])
            .and_then([TxnOp::put(key, &*entry.label, Some(put)), self.glance(lock)])
            .or_else([TxnOp::get(own, Some(GetOptions::new().with_prefix().with_keys_only()))])
    }

    fn glance(&self, lock: &LockKey) -> TxnOp {
        let options = GetOptions::new().with_prefix().with_keys_only().with_limit(GLANCE);
        TxnOp::get(lock_prefix(&self.root, lock), Some(options))
    }

    /// What the answer says of a new entry.
    async fn appended(&self, lock: &LockKey, entry: &Entry, answer: &TxnResponse) -> Result<Enqueued> {
        let glance = range(answer, 1)?;
        let seen = revision(answer.header());
        self.places.found(&entry.id, created(seen));
        let prefix = lock_prefix(&self.root, lock);
        let standing = if glance.more() {
            self.look(lock, &entry.id).await?
        } else {
            standing(&entries(&queue(&prefix, lock.family, glance.kvs())), &entry.id, seen)
        };
        Ok(Enqueued { token: FencingToken::new(seen.0), standing })
    }

    /// What the answer says of an entry that was not appended: an earlier request did it, or a removal was faster.
    async fn found(&self, lock: &LockKey, entry: &Entry, answer: &TxnResponse) -> Result<Enqueued> {
        let prefix = lock_prefix(&self.root, lock);
        let own = queue(&prefix, lock.family, range(answer, 0)?.kvs());
        match own.first() {
            Some(seen) if seen.lease == self.heart.id => {
                self.places.found(&entry.id, seen.created);
                Ok(Enqueued { token: token(seen.created), standing: self.look(lock, &entry.id).await? })
            }
            Some(_) => Err(refused("another session has an entry with this id")),
            None => {
                self.heart.confirm(&self.heart.connection.link().await?).await?;
                Err(refused("the request came after that of a later removal").with_retryable(true))
            }
        }
    }

    /// Makes sure that no request to append with this number or a smaller one is executed from here on.
    async fn refuse(&self, number: u64) -> Result<()> {
        let (key, number) = (session_key(&self.root, self.heart.id), ordered(number));
        let raise = TxnOp::put(&*key, &*number, Some(PutOptions::new().with_lease(self.heart.id)));
        let smaller = Compare::value(key, CompareOp::Less, number);
        self.txn(Txn::new().when([smaller]).and_then([raise])).await.map(drop)
    }
}

/// Whatever comes first ends all: nothing renews a lost session.
async fn live(heart: Heart, ringer: Ringer) {
    let lease = heart.lease.clone();
    tokio::select! {
        _ = lease.lost() => {}
        () = heart.beat() => {}
        () = ringer.ring() => {}
    }
}

#[async_trait]
impl QueueSession for EtcdSession {
    fn lease(&self) -> &Lease {
        &self.heart.lease
    }

    async fn enqueue(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        let (number, unheard) = self.places.trying(&entry.id, entry.kind);
        let answer = self.txn(self.append(lock, entry, number)).await;
        if answer.as_ref().map_or_else(|error| error.effect() == Effect::None, |_| true) {
            self.places.heard(&entry.id, unheard);
        }
        let answer = answer?;
        if answer.succeeded() {
            self.appended(lock, entry, &answer).await
        } else {
            self.found(lock, entry, &answer).await
        }
    }

    async fn list(&self, lock: &LockKey) -> Result<Snapshot> {
        let view = self.view(lock, GetOptions::new().with_keys_only()).await?;
        Ok(Snapshot { entries: entries(&view.queue), revision: view.revision })
    }

    async fn look(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        let view = self.up_to(lock, id).await?;
        let standing = standing(&entries(&view.queue), id, view.revision);
        if standing == Standing::Absent {
            self.heart.confirm(&self.heart.connection.link().await?).await?;
            // Nobody removes what is not there, but a late request may still bring it back.
            self.remove(lock, id).await?;
        }
        Ok(standing)
    }

    async fn watch(&self, lock: &LockKey, ids: &[EntryId], since: Revision) -> Result<()> {
        let keys: Vec<String> = ids.iter().map(|id| entry_prefix(&self.root, lock, id)).collect();
        let since = if since == Revision::default() { self.present(&keys).await? } else { Some(since) };
        if let Some(since) = since {
            self.bells.one_of_them_leaves(keys, created(since)).await;
        }
        Ok(())
    }

    async fn remove(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        if let Some(number) = self.places.get(id).and_then(|place| place.unheard) {
            self.refuse(number).await?;
        }
        let key = entry_prefix(&self.root, lock, id);
        let ours = Compare::lease(&*key, CompareOp::Equal, self.heart.id).with_prefix();
        let delete = TxnOp::delete(key, Some(DeleteOptions::new().with_prefix().with_prev_key()));
        let answer = self.txn(Txn::new().when([ours]).and_then([delete, self.glance(lock)])).await?;
        self.places.forget(id);
        if !answer.succeeded() {
            return Ok(Removed::Absent);
        }
        let left = removed(&answer)?;
        let left = queue(&lock_prefix(&self.root, lock), lock.family, left.prev_kvs()).pop();
        if let Some(left) = left {
            let (heart, bells) = (self.heart.clone(), self.bells.clone());
            tokio::spawn(hand_over(heart, bells, lock.clone(), left, range(&answer, 1)?));
        }
        Ok(Removed::Now)
    }

    async fn describe(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        let view = self.view(lock, GetOptions::new()).await?;
        let details = |Seen { id, kind, created, label, .. }| EntryDetails {
            id,
            kind,
            token: token(created),
            label,
            since: None,
        };
        Ok(view.queue.into_iter().map(details).collect())
    }

    async fn names(&self) -> Result<Vec<LockKey>> {
        let mut names = BTreeSet::new();
        for family in [Family::Lock, Family::Semaphore] {
            let prefix = family_prefix(&self.root, family);
            let got = self.get(prefix.clone(), GetOptions::new().with_keys_only()).await?;
            let decoded = got.kvs().iter().filter_map(|key| lock_name(&prefix, key.key()));
            names.extend(decoded.map(|name| LockKey { family, name }));
        }
        Ok(names.into_iter().collect())
    }

    /// All keys are on the leases of sessions: nothing is left of those that are dead.
    async fn cleanup(&self) -> Result<u64> {
        Ok(0)
    }

    async fn close(&self) -> Result<()> {
        self.heart.lease.end(Loss::Closed);
        match self.heart.stop().await {
            Err(error) if error.kind() != ErrorKind::SessionLost => Err(error),
            _ => Ok(()),
        }
    }
}

/// A part of a queue.
struct View {
    queue: Vec<Seen>,
    /// Whether there are keys that are no entries.
    strangers: bool,
    revision: Revision,
}

impl Drop for EtcdSession {
    fn drop(&mut self) {
        // Ends what keeps the session alive.
        self.heart.lease.end(Loss::Closed);
    }
}

/// A queue may be longer than the library's limit for an answer.
pub(crate) fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(usize::MAX)
}

fn revision(header: Option<&ResponseHeader>) -> Revision {
    Revision(header.and_then(|header| u64::try_from(header.revision()).ok()).unwrap_or_default())
}

/// A revision as etcd counts it.
fn created(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

fn token(created: i64) -> FencingToken {
    FencingToken::new(u64::try_from(created).unwrap_or_default())
}

/// The answer to the read that a transaction made as its operation of this number.
fn range(answer: &TxnResponse, number: usize) -> Result<GetResponse> {
    match answer.op_responses().into_iter().nth(number) {
        Some(TxnOpResponse::Get(got)) => Ok(got),
        _ => Err(nonsense()),
    }
}

/// The answer to the deletion with which a transaction began.
fn removed(answer: &TxnResponse) -> Result<DeleteResponse> {
    match answer.op_responses().into_iter().next() {
        Some(TxnOpResponse::Delete(removed)) => Ok(removed),
        _ => Err(nonsense()),
    }
}

fn nonsense() -> Error {
    Error::new(ErrorKind::Backend, "the answer of etcd makes no sense").with_retryable(true)
}

fn refused(message: &'static str) -> Error {
    Error::new(ErrorKind::Backend, message).with_effect(Effect::None)
}
