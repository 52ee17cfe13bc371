//! What the driver itself does, on one Redis server.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backend_redis::{Redis, RedisOptions};
use conformance::proxy::Proxy;
use conformance::server;
use lockcore::queue::Standing;
use lockcore::{
    Effect, Enqueued, Entry, EntryId, EntryKind, ErrorKind, Family, LockKey, LockName, QueueBackend,
    QueueSession, Removed, Revision,
};

type Session = Arc<dyn QueueSession>;

const QUEUE: &str = "fairlock:{lock:l}:queue";

struct Bed {
    server: server::Redis,
}

impl Bed {
    async fn new() -> Self {
        Self { server: server::Redis::start().await.unwrap() }
    }

    async fn session(&self) -> Session {
        open(RedisOptions::new(self.server.address())).await
    }

    async fn cli(&self, arguments: &[&str]) -> String {
        self.server.cli(arguments).await.unwrap()
    }

    async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.cli(&["keys", "*"]).await.lines().map(str::to_owned).collect();
        keys.sort();
        keys
    }

    /// How many commands of ours the server has executed.
    async fn scripts_run(&self) -> u64 {
        let stats = self.cli(&["info", "commandstats"]).await;
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
        line.split(',').next().unwrap().parse().unwrap()
    }
}

async fn open(options: RedisOptions) -> Session {
    Redis::new(options).open_session().await.unwrap()
}

fn key(family: Family) -> LockKey {
    LockKey { family, name: LockName::new("l").unwrap() }
}

fn lock() -> LockKey {
    key(Family::Lock)
}

fn entry(kind: EntryKind) -> Entry {
    Entry { id: EntryId::random(), kind, label: "a label".to_owned() }
}

async fn enqueue(session: &Session, entry: &Entry) -> Enqueued {
    session.enqueue(&key(entry.kind.family()), entry).await.unwrap()
}

async fn within<T>(what: &str, future: impl Future<Output = T> + Send) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

async fn eventually<F: Future<Output = bool> + Send>(what: &str, condition: impl Fn() -> F + Send + Sync) {
    let all = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(what, all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_made_once() {
    let bed = Bed::new().await;
    let (session, other, entry) = (bed.session().await, bed.session().await, entry(EntryKind::Exclusive));
    let first = enqueue(&session, &entry).await;
    assert_eq!(enqueue(&session, &entry).await, first);
    assert_eq!(session.list(&lock()).await.unwrap().entries.len(), 1);
    let refused = other.enqueue(&lock(), &entry).await.unwrap_err();
    assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Backend, Effect::None));
    assert_eq!(other.look(&lock(), &entry.id).await.unwrap(), Standing::Absent);
    assert_eq!(other.remove(&lock(), &entry.id).await.unwrap(), Removed::Absent);
    assert_eq!(session.look(&lock(), &entry.id).await.unwrap(), Standing::Holds);
    assert_eq!(session.remove(&lock(), &entry.id).await.unwrap(), Removed::Now);
    assert_eq!(session.remove(&lock(), &entry.id).await.unwrap(), Removed::Absent);
}

/// A request to make an entry arrives after its client gave up and removed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_request_brings_nothing_back() {
    let bed = Bed::new().await;
    let proxy = Proxy::start(bed.server.address()).await.unwrap();
    let session = open(RedisOptions::new(proxy.address().to_string())).await;
    // The script must be known, or what is late would be the request to load it.
    enqueue(&bed.session().await, &entry(EntryKind::Exclusive)).await;
    let entry = entry(EntryKind::Exclusive);
    proxy.hold();
    let late = tokio::spawn({
        let (session, entry) = (session.clone(), entry.clone());
        async move { session.enqueue(&lock(), &entry).await }
    });
    eventually("the request is on its way", || async { proxy.held() > 0 }).await;
    late.abort();
    proxy.abandon();
    eventually("the removal", || async { session.remove(&lock(), &entry.id).await.is_ok() }).await;
    let before = bed.scripts_run().await;
    proxy.deliver();
    eventually("the late request", || async { bed.scripts_run().await > before }).await;
    assert!(!bed.cli(&["zrange", QUEUE, "0", "-1"]).await.contains(entry.id.as_str()));
    let refused = session.enqueue(&lock(), &entry).await.unwrap_err();
    assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::EntryRemoved, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_exact_up_to_the_last() {
    let bed = Bed::new().await;
    let session = bed.session().await;
    let last = (1u64 << 53) - 1;
    bed.cli(&["set", "fairlock:{lock:l}:token", &(last - 3).to_string()]).await;
    for token in [last - 2, last - 1, last] {
        let entry = entry(EntryKind::Shared);
        assert_eq!(enqueue(&session, &entry).await.token.get(), token);
        let details = session.describe(&lock()).await.unwrap();
        assert_eq!(details.last().map(|details| details.token.get()), Some(token));
    }
    let refused = session.enqueue(&lock(), &entry(EntryKind::Shared)).await.unwrap_err();
    assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Backend, Effect::None));
    assert_eq!(session.list(&lock()).await.unwrap().entries.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counter_outlives_its_use_and_then_goes() {
    let bed = Bed::new().await;
    let session = bed.session().await;
    for kind in [EntryKind::Exclusive, EntryKind::Shared, EntryKind::Permits { permits: 1, limit: 2 }] {
        let entry = entry(kind);
        enqueue(&session, &entry).await;
        session.remove(&key(kind.family()), &entry.id).await.unwrap();
    }
    let counters = ["fairlock:{lock:l}:token", "fairlock:{semaphore:l}:token"];
    assert_eq!(bed.keys().await, counters);
    for counter in counters {
        let left: u64 = bed.cli(&["ttl", counter]).await.parse().unwrap();
        assert!((1..=24 * 60 * 60).contains(&left), "{left}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_entries_go_wherever_they_stand() {
    let bed = Bed::new().await;
    let (session, other) = (bed.session().await, bed.session().await);
    let entries = [EntryKind::Exclusive; 4].map(entry);
    for (entry, owner) in entries.iter().zip([&session, &other, &session, &other]) {
        enqueue(owner, entry).await;
    }
    for dead in [0, 2] {
        bed.cli(&["zadd", "fairlock:{lock:l}:deadlines", "1", entries[dead].id.as_str()]).await;
    }
    assert_eq!(other.look(&lock(), &entries[1].id).await.unwrap(), Standing::Holds);
    let listed = other.list(&lock()).await.unwrap().entries;
    assert_eq!(listed.iter().map(|entry| &entry.id).collect::<Vec<_>>(), [&entries[1].id, &entries[3].id]);
    // Its owner is told, by a message, that it is not there any more.
    within("the news", session.watch(&lock(), &[entries[0].id.clone()], Revision::default())).await.unwrap();
    assert_eq!(session.look(&lock(), &entries[0].id).await.unwrap(), Standing::Absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn cleaning_up_counts_locks_of_the_dead() {
    let bed = Bed::new().await;
    let session = bed.session().await;
    for kind in [EntryKind::Exclusive, EntryKind::Permits { permits: 1, limit: 2 }] {
        enqueue(&session, &entry(kind)).await;
    }
    assert_eq!((session.cleanup().await.unwrap(), session.names().await.unwrap().len()), (0, 2));
    let dead = bed.cli(&["zrange", QUEUE, "0", "-1"]).await;
    bed.cli(&["zadd", "fairlock:{lock:l}:deadlines", "1", &dead]).await;
    assert_eq!((session.cleanup().await.unwrap(), session.names().await.unwrap().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_lets_nobody_in() {
    let bed = Bed::new().await;
    let session = bed.session().await;
    bed.cli(&["zadd", QUEUE, "1", "stranger"]).await;
    let refused = session.enqueue(&lock(), &entry(EntryKind::Exclusive)).await.unwrap_err();
    assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::Backend, false));
}

/// The cost of a hand-over: one request to release, one to look; not more with more waiters.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_costs_the_same_however_many_wait() {
    let bed = Bed::new().await;
    let (session, first) = (bed.session().await, entry(EntryKind::Exclusive));
    enqueue(&session, &first).await;
    // The first calls load their scripts.
    session.look(&lock(), &first.id).await.unwrap();
    session.remove(&lock(), &first.id).await.unwrap();
    session.close().await.unwrap();
    for (waiters, kind) in [
        (2, EntryKind::Exclusive),
        (300, EntryKind::Exclusive),
        (300, EntryKind::Permits { permits: 1, limit: 1 }),
    ] {
        // No renewal comes between.
        let session = open(
            RedisOptions::new(bed.server.address())
                .with_session_timeout(Duration::from_secs(600))
                .with_connect_timeout(Duration::from_secs(20)),
        )
        .await;
        let lock = key(kind.family());
        let entries: Vec<Entry> = (0..waiters).map(|_| entry(kind)).collect();
        let mut asleep = Vec::new();
        for entry in &entries {
            let standing = enqueue(&session, entry).await.standing;
            let Standing::Waits { wake, seen } = standing else { continue };
            let (session, lock) = (session.clone(), lock.clone());
            asleep.push(tokio::spawn(async move { session.watch(&lock, &wake, seen).await }));
        }
        let before = bed.scripts_run().await;
        assert_eq!(session.remove(&lock, &entries[0].id).await.unwrap(), Removed::Now);
        within("the next wakes", asleep.remove(0)).await.unwrap().unwrap();
        assert_eq!(session.look(&lock, &entries[1].id).await.unwrap(), Standing::Holds);
        assert_eq!(bed.scripts_run().await - before, 2);
        assert!(asleep.iter().all(|waiter| !waiter.is_finished()), "more than one woke");
        asleep.iter().for_each(tokio::task::JoinHandle::abort);
        session.close().await.unwrap();
    }
}
