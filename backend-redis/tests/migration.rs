//! A cluster that changes: slots that move, and nodes that go.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use backend_redis::{Redis, RedisOptions};
use bed::{MINUTES, SHORT, enqueue, entry, open};
use conformance::deadline::{eventually, within};
use conformance::server::{self, RedisCluster};
use futures::future::{join_all, try_join_all};
use lockcore::queue::{QueueLocks, Standing};
use lockcore::{
    DistributedLockExt, EntryKind, ErrorKind, Family, LockGuard, LockKey, LockName, LockService, Removed,
};
use tokio::time::sleep;

async fn cli(node: &server::Redis, arguments: &[&str]) -> String {
    node.cli(arguments).await.unwrap()
}

fn queue(name: &str) -> String {
    format!("fairlock:{{lock:{name}}}:queue")
}

/// A slot, and the two nodes between which it moves.
struct Slot<'c> {
    number: String,
    nodes: Vec<&'c server::Redis>,
    from: &'c server::Redis,
    to: &'c server::Redis,
}

impl<'c> Slot<'c> {
    async fn of(cluster: &'c RedisCluster, key: &str, to: &'c server::Redis) -> Self {
        let nodes = cluster.nodes().iter().chain([to]).collect();
        let from = cluster.node_of(key).await.unwrap();
        let number = cli(from, &["cluster", "keyslot", key]).await;
        Self { number, nodes, from, to }
    }

    /// From here on keys that are not on the old node are asked for on the new one.
    async fn begin(&self) {
        let (from, to) =
            (cli(self.from, &["cluster", "myid"]).await, cli(self.to, &["cluster", "myid"]).await);
        cli(self.to, &["cluster", "setslot", &self.number, "importing", &from]).await;
        cli(self.from, &["cluster", "setslot", &self.number, "migrating", &to]).await;
    }

    /// As many keys of the slot as there are, but at most so many.
    async fn move_keys(&self, count: usize) -> usize {
        let keys = cli(self.from, &["cluster", "getkeysinslot", &self.number, &count.to_string()]).await;
        let (host, port) = self.to.address().rsplit_once(':').unwrap();
        for key in keys.lines() {
            cli(self.from, &["migrate", host, port, key, "0", "5000"]).await;
        }
        keys.lines().count()
    }

    async fn end(self) -> Self {
        while self.move_keys(100).await > 0 {}
        let to = cli(self.to, &["cluster", "myid"]).await;
        for node in [self.to, self.from].iter().chain(&self.nodes) {
            cli(node, &["cluster", "setslot", &self.number, "node", &to]).await;
        }
        Self { from: self.to, to: self.from, ..self }
    }
}

/// Locks whose keys are in one slot.
const TOGETHER: [&str; 4] = ["l0", "l77", "l707", "l2775"];
/// A semaphore in the same slot.
const SEMAPHORE: &str = "l20316";
/// A lock in another.
const ELSEWHERE: &str = "l1";

/// Contends for a lock, and counts how often it had it.
async fn contend(locks: Arc<QueueLocks>, name: &str, busy: &AtomicBool, grants: &AtomicU64) {
    let lock = locks.exclusive(name).unwrap();
    loop {
        let guard = lock.acquire().await.unwrap();
        assert!(!busy.swap(true, Ordering::SeqCst), "two hold {name}");
        tokio::task::yield_now().await;
        busy.store(false, Ordering::SeqCst);
        let _ = guard.release().await.unwrap();
        grants.fetch_add(1, Ordering::SeqCst);
    }
}

async fn all_hold(guards: &[LockGuard]) {
    eventually("an answer about all locks", || async {
        let verified = try_join_all(guards.iter().map(LockGuard::verify)).await;
        // On a busy machine an answer may come too late, which is no loss.
        let late = verified.is_err_and(|error| {
            assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
            true
        });
        !late
    })
    .await;
    assert!(guards.iter().all(LockGuard::is_valid));
}

/// A slot moves there and back under load: nobody loses a lock, in it or elsewhere, and whoever wants one gets it at every moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_costs_nobody_a_lock() {
    let cluster = RedisCluster::start().await.unwrap();
    let fourth = cluster.join().await.unwrap();
    let options = RedisOptions::cluster(cluster.addresses()).with_session_timeout(SHORT);
    let connect = async || Arc::new(QueueLocks::connect(Redis::new(options.clone())).await.unwrap());
    let (holder, busy, grants) = (connect().await, AtomicBool::new(false), AtomicU64::new(0));
    let semaphore = holder.semaphore(SEMAPHORE, 50).unwrap();
    let mut held = try_join_all((0..50).map(|_| semaphore.acquire())).await.unwrap();
    held.push(holder.exclusive(ELSEWHERE).unwrap().acquire().await.unwrap());
    let contenders = [connect().await, connect().await];
    let load = join_all(contenders.map(|locks| contend(locks, TOGETHER[0], &busy, &grants)));
    let progress = async |what: &str| {
        let before = grants.load(Ordering::SeqCst);
        eventually(what, || async { grants.load(Ordering::SeqCst) > before + 10 }).await;
    };
    let moves = async {
        // To a node that had none: no client knows of it.
        let mut slot = Slot::of(&cluster, &queue(TOGETHER[0]), &fourth).await;
        for name in &TOGETHER[1..] {
            slot.begin().await;
            // Longer than a session lives, before the first key has moved.
            sleep(2 * SHORT).await;
            all_hold(&held).await;
            progress("load on a slot that will move").await;
            held.push(within("a new lock", holder.exclusive(name).unwrap().acquire()).await.unwrap());
            while slot.move_keys(1).await > 0 {
                progress("load between two keys").await;
                all_hold(&held).await;
            }
            slot = slot.end().await;
            progress("load on a slot that has moved").await;
            all_hold(&held).await;
        }
    };
    tokio::select! {
        () = moves => {}
        _ = load => unreachable!("they contend for ever"),
    }
}

/// The owner of a slot is dead. Whoever holds a lock elsewhere and merely wants one there keeps what it has.
#[tokio::test(flavor = "multi_thread")]
async fn to_want_a_lock_of_a_dead_node_costs_no_other() {
    let cluster = RedisCluster::start().await.unwrap();
    for node in cluster.nodes() {
        cli(node, &["config", "set", "cluster-require-full-coverage", "no"]).await;
    }
    let options = RedisOptions::cluster(cluster.addresses()).with_session_timeout(SHORT);
    let locks = QueueLocks::connect(Redis::new(options)).await.unwrap();
    let dead = cluster.node_of(&queue(TOGETHER[0])).await.unwrap();
    let mut elsewhere = None;
    for name in ["l1", "l2", "l3", "l4", "l5", "l6"] {
        if cluster.node_of(&queue(name)).await.unwrap().address() != dead.address() {
            elsewhere = Some(name);
        }
    }
    let held = locks.exclusive(elsewhere.unwrap()).unwrap().acquire().await.unwrap();
    dead.kill().unwrap();
    let wanted = locks.exclusive(TOGETHER[0]).unwrap().acquire_timeout(3 * SHORT).await;
    assert_eq!(wanted.unwrap_err().kind(), ErrorKind::Unreachable);
    held.verify().await.unwrap();
}

/// A node that has left its cluster still answers, but nobody tells it anything any more.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_heard_although_the_node_that_passed_them_on_has_left() {
    let cluster = RedisCluster::start().await.unwrap();
    let fourth = cluster.join().await.unwrap();
    let options = RedisOptions::cluster([fourth.address()])
        .with_session_timeout(MINUTES)
        .with_connect_timeout(Duration::from_secs(2));
    let (waits, holds) = (open(options.clone()).await, open(options).await);
    let (first, second) = (entry(EntryKind::Exclusive), entry(EntryKind::Exclusive));
    enqueue(&holds, &first).await;
    let Standing::Waits { wake, seen } = enqueue(&waits, &second).await.standing else {
        panic!("two hold");
    };
    let left = cli(&fourth, &["cluster", "myid"]).await;
    cli(&fourth, &["cluster", "reset", "hard"]).await;
    for node in cluster.nodes() {
        cli(node, &["cluster", "forget", &left]).await;
    }
    let lock = LockKey { family: Family::Lock, name: LockName::new("l").unwrap() };
    // The first return may be that of a new subscription.
    let woken = async {
        eventually("the hand-over", || async { waits.watch(&lock, &second.id, &wake, seen).await.is_ok() })
            .await;
    };
    assert_eq!(holds.remove(&lock, &first.id).await.unwrap(), Removed::Now);
    within("the news", woken).await;
    assert_eq!(waits.look(&lock, &second.id).await.unwrap(), Standing::Holds);
}

/// What a node does not know it is told; nobody else is.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_sent_to_the_node_that_lacks_it() {
    let cluster = RedisCluster::start().await.unwrap();
    let locks = QueueLocks::connect(Redis::new(RedisOptions::cluster(cluster.addresses()))).await.unwrap();
    let guard = locks.exclusive(TOGETHER[0]).unwrap().acquire().await.unwrap();
    let _ = guard.release().await.unwrap();
    let owner = cluster.node_of(&queue(TOGETHER[0])).await.unwrap();
    for node in cluster.nodes() {
        let stats = cli(node, &["info", "commandstats"]).await;
        assert!(!stats.contains("cmdstat_script|load"), "{stats}");
        assert_eq!(stats.contains("cmdstat_eval:"), node.address() == owner.address());
    }
}

/// How often all nodes together have executed this.
async fn calls(cluster: &RedisCluster, command: &str) -> u64 {
    let mut sum = 0;
    for node in cluster.nodes() {
        let stats = cli(node, &["info", "commandstats"]).await;
        let calls = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        sum += calls.map_or(0, |calls| calls.split(',').next().unwrap().parse::<u64>().unwrap());
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_one_slot_is_renewed_together() {
    let cluster = RedisCluster::start().await.unwrap();
    let options = RedisOptions::cluster(cluster.addresses()).with_session_timeout(SHORT);
    let locks = QueueLocks::connect(Redis::new(options)).await.unwrap();
    let held = TOGETHER.iter().chain([&ELSEWHERE]).map(|name| locks.exclusive(name).unwrap());
    let held = try_join_all(held.map(|lock| async move { lock.acquire().await })).await.unwrap();
    // Whatever is renewed for the first time asks for the script.
    let renewed = calls(&cluster, "zadd").await;
    eventually("two rounds", || async { calls(&cluster, "zadd").await >= renewed + 10 }).await;
    let (renewed, scripts) = (calls(&cluster, "zadd").await, calls(&cluster, "evalsha").await);
    eventually("six rounds", || async { calls(&cluster, "zadd").await >= renewed + 30 }).await;
    let (renewed, scripts) =
        (calls(&cluster, "zadd").await - renewed, calls(&cluster, "evalsha").await - scripts);
    // Two for five locks. Rounds may be counted in part.
    assert!(scripts <= renewed / 5 * 2 + 4, "{scripts} scripts renewed {renewed} entries");
    all_hold(&held).await;
}
