//! What the tests against real servers have in common.

pub(crate) use conformance::deadline::{eventually, repeat, within};
use std::future::Future;
use std::sync::Arc;

use backend_etcd::{Etcd, EtcdOptions};
use conformance::proxy::Proxy;
use conformance::server;
use etcd_client::{Client, GetOptions, KeyValue};
use lockcore::queue::Standing;
use lockcore::{
    Effect, Enqueued, Entry, EntryId, EntryKind, Family, LockKey, LockName, QueueBackend, QueueSession,
    Revision,
};

pub(crate) type Session = Arc<dyn QueueSession>;

/// A server, and a client that sees it without our driver.
pub(crate) struct Bed {
    pub(crate) server: server::Etcd,
    pub(crate) admin: Client,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        Self::on(server::Etcd::start().await.unwrap()).await
    }

    pub(crate) async fn on(server: server::Etcd) -> Self {
        let admin = Client::connect([server.address()], None).await.unwrap();
        Self { server, admin }
    }

    pub(crate) fn options(&self) -> EtcdOptions {
        EtcdOptions::new([self.server.address()])
    }

    /// A session that hears all messages from its beginning: until its inbox is watched, it is woken up for nothing.
    pub(crate) async fn session(&self) -> Session {
        // Counts what it says about watches. There is no such metric before it says something.
        const SAID: &str = "grpc_server_msg_sent_total{grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"}";
        let said = async || self.server.metric(SAID).await.unwrap_or_default();
        let before = said().await;
        let session = open(self.options()).await;
        eventually("an inbox", || async { said().await > before }).await;
        session
    }

    pub(crate) async fn proxy(&self) -> Proxy {
        Proxy::start(self.server.address()).await.unwrap()
    }

    /// The keys that begin like this.
    pub(crate) async fn under(&self, prefix: &str) -> Vec<KeyValue> {
        let options = GetOptions::new().with_prefix();
        self.admin.kv_client().get(prefix, Some(options)).await.unwrap().take_kvs()
    }

    /// The keys of the entries of the locks.
    pub(crate) async fn entries(&self) -> Vec<String> {
        self.under("/fairlock/lock/").await.iter().map(|key| key.key_str().unwrap().to_owned()).collect()
    }

    /// The key of an entry, if it is there.
    pub(crate) async fn find(&self, id: &EntryId) -> Option<KeyValue> {
        let entries = self.under("/fairlock/").await;
        entries.into_iter().find(|key| key.value_str().is_ok_and(|value| value.starts_with(id.as_str())))
    }

    /// What a waiter calls an entry that it has to wait for.
    pub(crate) async fn place(&self, id: &EntryId) -> EntryId {
        let entry = self.find(id).await.unwrap();
        let slot = entry.key_str().unwrap().rsplit_once('/').unwrap().1;
        EntryId::from(&*format!("{slot}@{}", entry.create_revision()))
    }

    pub(crate) async fn put(&self, key: &str, value: &str) {
        self.admin.kv_client().put(key, value, None).await.unwrap();
    }

    pub(crate) async fn delete(&self, key: &str) {
        self.admin.kv_client().delete(key, None).await.unwrap();
    }

    /// Delivers a late request, and waits until the server has executed it.
    pub(crate) async fn deliver(&self, proxy: &Proxy) {
        let executed = async || self.metric("etcd_server_proposals_committed_total").await;
        let before = executed().await;
        proxy.deliver();
        eventually("it is executed", || async { executed().await > before }).await;
    }

    pub(crate) async fn metric(&self, name: &str) -> f64 {
        self.server.metric(name).await.unwrap()
    }

    /// How many bytes the server has sent.
    pub(crate) async fn sent(&self) -> f64 {
        self.metric("etcd_network_client_grpc_sent_bytes_total").await
    }

    /// How many writes it has executed.
    pub(crate) async fn writes(&self) -> f64 {
        self.metric("etcd_server_proposals_applied_total").await
    }

    /// The number of the session that has this entry, in whose inbox messages about it are put.
    pub(crate) async fn inbox(&self, id: &EntryId) -> String {
        let entry = self.find(id).await.unwrap();
        let slot = entry.key_str().unwrap().rsplit_once('/').unwrap().1;
        let session = slot.rsplit('-').nth(1).unwrap();
        format!("/fairlock/inbox/{session}")
    }

    /// How many watches the server has; one of each session is always there.
    pub(crate) async fn watches(&self) -> f64 {
        self.metric("etcd_debugging_mvcc_watcher_total").await
    }
}

pub(crate) async fn open(options: EtcdOptions) -> Session {
    Etcd::new(options).open_session().await.unwrap()
}

pub(crate) async fn through(proxy: &Proxy) -> Session {
    open(EtcdOptions::new([proxy.address().to_string()])).await
}

pub(crate) fn key(family: Family, name: &str) -> LockKey {
    LockKey { family, name: LockName::new(name).unwrap() }
}

pub(crate) fn lock(name: &str) -> LockKey {
    key(Family::Lock, name)
}

pub(crate) fn entry(kind: EntryKind) -> Entry {
    Entry { id: EntryId::random(), kind, label: "quirks é".into() }
}

pub(crate) fn exclusive() -> Entry {
    entry(EntryKind::Exclusive)
}

/// An entry that makes requests large.
pub(crate) fn long() -> Entry {
    Entry { label: "x".repeat(Entry::MAX_LABEL).into(), ..exclusive() }
}

/// Whom this entry waits for, and since when.
pub(crate) async fn waits(session: &Session, lock: &LockKey, entry: &Entry) -> (Vec<EntryId>, Revision) {
    match enqueue(session, lock, entry).await.standing {
        Standing::Waits { wake, seen } => (wake, seen),
        standing => panic!("{standing:?}"),
    }
}

/// Whom this entry waits for now.
pub(crate) async fn wake(session: &Session, lock: &LockKey, entry: &Entry) -> Vec<EntryId> {
    match session.look(lock, &entry.id).await.unwrap() {
        Standing::Waits { wake, .. } => wake,
        standing => panic!("{standing:?}"),
    }
}

/// Waits with this entry, as the core does, until it holds.
pub(crate) async fn hold(session: &Session, lock: &LockKey, entry: &Entry, mut standing: Standing) {
    let all = async {
        while let Standing::Waits { wake, seen } = standing {
            let news = repeat("a watch", || session.watch(lock, &entry.id, &wake, seen)).await;
            standing = match news {
                Some(standing) => standing,
                None => repeat("a look", || session.look(lock, &entry.id)).await,
            };
        }
        assert_eq!(standing, Standing::Holds);
    };
    within("its turn", all).await;
}

/// Makes a request, larger than this, that reaches the server only when the proxy delivers it.
pub(crate) async fn late<T>(
    session: &Session,
    proxy: &Proxy,
    size: usize,
    request: impl Future<Output = lockcore::Result<T>> + Send,
) where
    T: std::fmt::Debug + Send,
{
    repeat("a connection", || session.names()).await;
    proxy.hold();
    let held = proxy.held();
    let abandon = async {
        // A renewal is shorter than this.
        eventually("a request", || async { proxy.held() > held + size }).await;
        proxy.abandon();
    };
    let lost = within("the lost attempt", async { tokio::join!(request, abandon).0 }).await;
    assert_eq!(lost.unwrap_err().effect(), Effect::Unknown);
}

pub(crate) async fn enqueue(session: &Session, lock: &LockKey, entry: &Entry) -> Enqueued {
    repeat("enqueue", || session.enqueue(lock, entry)).await
}

/// Appends an entry, but the answer is lost.
pub(crate) async fn enqueue_unanswered(
    bed: &Bed,
    session: &Session,
    proxy: &Proxy,
    lock: &LockKey,
    entry: &Entry,
) {
    proxy.mute();
    let lost = async {
        eventually("an entry", || async { bed.find(&entry.id).await.is_some() }).await;
        proxy.cut();
    };
    let answer =
        within("the lost attempt", async { tokio::join!(session.enqueue(lock, entry), lost).0 }).await;
    assert_eq!(answer.unwrap_err().effect(), Effect::Unknown);
    proxy.heal();
}
