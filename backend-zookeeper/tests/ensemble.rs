//! Three servers, of which some fail.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(clippy::future_not_send, reason = "a test runs on one thread")]

use std::sync::Arc;
use std::time::Duration;

use backend_zookeeper::{SCHEME, ZooKeeperFactory};
use conformance::proxy::Proxy;
use conformance::server::Ensemble;
use lockcore::{DistributedLock, DistributedLockExt, LockGuard, LockService, Registry, Released};
use tokio::time::{Instant, sleep, timeout};

/// Longer than an election takes, and than a session lasts.
const LONG: Duration = Duration::from_secs(60);

struct Bed {
    servers: Ensemble,
    registry: Registry,
}

impl Bed {
    async fn new() -> Self {
        Self::with(Ensemble::start().await.unwrap())
    }

    fn with(servers: Ensemble) -> Self {
        Self { servers, registry: Registry::new().with(SCHEME, ZooKeeperFactory) }
    }

    /// A client that knows all servers, with a session of this length.
    async fn client(&self, session_timeout: &str) -> Arc<dyn LockService> {
        self.client_of(&self.servers.addresses().join(","), session_timeout).await
    }

    /// A client that knows these servers.
    async fn client_of(&self, servers: &str, session_timeout: &str) -> Arc<dyn LockService> {
        let url = format!("{SCHEME}://{servers}/app?session_timeout={session_timeout}&connect_timeout=30s");
        self.registry.connect(&url.as_str().into()).await.unwrap()
    }
}

async fn enqueued(lock: &Arc<dyn DistributedLock>) -> tokio::task::JoinHandle<lockcore::Result<LockGuard>> {
    let before = lock.queue().await.unwrap().len();
    let waiting = {
        let lock = lock.clone();
        tokio::spawn(async move { lock.acquire().await })
    };
    until("the waiter is in the queue", async || lock.queue().await.is_ok_and(|queue| queue.len() > before))
        .await;
    waiting
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, wait).await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_the_leader_costs_neither_lock_nor_place() {
    let bed = Bed::new().await;
    let (alice, bob) = (bed.client("10s").await, bed.client("10s").await);
    let (a, b) = (alice.exclusive("lock").unwrap(), bob.exclusive("lock").unwrap());
    let guard = a.acquire().await.unwrap();
    let waiting = enqueued(&b).await;
    let before = a.queue().await.unwrap();
    bed.servers.nodes()[bed.servers.leader().await.unwrap()].kill().unwrap();
    until("the hold is confirmed by the others", async || guard.verify().await.is_ok()).await;
    assert_eq!(guard.release().await.unwrap(), Released::Held);
    let next = timeout(LONG, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(next.fencing_token(), before[1].token, "the waiter lost its place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_leader_that_comes_back_lets_nobody_in_beside_the_holder() {
    let bed = Bed::new().await;
    let (alice, bob) = (bed.client("4s").await, bed.client("4s").await);
    let (a, b) = (alice.exclusive("lock").unwrap(), bob.exclusive("lock").unwrap());
    let guard = a.acquire().await.unwrap();
    let signal = guard.loss_signal();
    let told = tokio::spawn(async move { (signal.lost().await, Instant::now()).1 });
    let waiting = enqueued(&b).await;
    let let_in = tokio::spawn(async move { (waiting.await.unwrap(), Instant::now()) });
    let leader = &bed.servers.nodes()[bed.servers.leader().await.unwrap()];
    leader.pause().unwrap();
    // Whether a session survives depends on who was connected to the leader, and on the election.
    let settled = async || guard.verify().await.is_ok() || !guard.is_valid();
    until("somebody serves again, or the lock is lost", settled).await;
    leader.resume().unwrap();
    let released = timeout(LONG, guard.release()).await.unwrap().unwrap();
    let (next, let_in) = timeout(LONG, let_in).await.unwrap().unwrap();
    if let (Released::Lost(_), Ok(_)) = (released, &next) {
        assert!(told.await.unwrap() <= let_in, "two holders");
    }
    // A waiter whose session was lost is told, and can come again.
    let next = match next {
        Ok(guard) => guard,
        Err(error) if error.is_retryable() => timeout(LONG, b.acquire()).await.unwrap().unwrap(),
        Err(error) => panic!("{error:?}"),
    };
    next.verify().await.unwrap();
}

/// A leader that was stopped, and replaced meanwhile, goes on for a moment as if nothing had happened. Whatever it says
/// then says nothing about the session, which its successor counts from its own start.
#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_renews_nothing() {
    let bed = Bed::with(Ensemble::start_with(&["syncLimit=2"]).await.unwrap());
    let deposed = bed.servers.leader().await.unwrap();
    let (old, other) = (&bed.servers.nodes()[deposed], &bed.servers.nodes()[(deposed + 1) % 3]);
    let way = Proxy::start(old.address()).await.unwrap();
    let alice = bed.client_of(&way.address().to_string(), "6s").await;
    let bob = bed.client_of(other.address(), "20s").await;
    let (a, b) = (alice.exclusive("lock").unwrap(), bob.exclusive("lock").unwrap());
    let guard = a.acquire().await.unwrap();
    let waiting = enqueued(&b).await;
    old.pause().unwrap();
    // As late as it can still do harm.
    let last_second =
        || guard.deadline().is_some_and(|deadline| deadline < Instant::now() + Duration::from_secs(1));
    until("the lock is about to be lost", async || last_second()).await;
    old.resume().unwrap();
    until("the old leader has noticed", async || {
        !old.four_letter("srvr").await.is_ok_and(|answer| answer.contains("Mode: leader"))
    })
    .await;
    way.cut();
    let next = timeout(LONG, waiting).await.unwrap().unwrap().unwrap();
    assert!(!guard.is_valid(), "two holders, the first until {:?}", guard.deadline());
    assert!(next.is_valid());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_the_holder_is_told_and_afterwards_the_next_is_let_in() {
    let bed = Bed::new().await;
    let (alice, bob) = (bed.client("4s").await, bed.client("4s").await);
    let (a, b) = (alice.exclusive("lock").unwrap(), bob.exclusive("lock").unwrap());
    let guard = a.acquire().await.unwrap();
    let token = guard.fencing_token();
    let (one, other) = (&bed.servers.nodes()[0], &bed.servers.nodes()[1]);
    one.kill().unwrap();
    other.kill().unwrap();
    timeout(LONG, guard.lost()).await.unwrap();
    assert!(!guard.is_valid());
    let (one, other) = tokio::join!(one.restart(), other.restart());
    one.and(other).unwrap();
    let next = timeout(LONG, b.acquire()).await.unwrap();
    let next = match next {
        Ok(guard) => guard,
        Err(error) if error.is_retryable() => timeout(LONG, b.acquire()).await.unwrap().unwrap(),
        Err(error) => panic!("{error:?}"),
    };
    assert!(next.fencing_token() > token);
    assert!(matches!(guard.release().await.unwrap(), Released::Lost(_)));
}
