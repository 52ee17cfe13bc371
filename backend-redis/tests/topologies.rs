//! Redis under sentinels and in a cluster.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use backend_redis::{Redis, RedisFactory, RedisOptions, SCHEMES};
use conformance::deadline::{eventually, within};
use conformance::server::{self, RedisCluster, RedisSentinel};
use lockcore::queue::QueueLocks;
use lockcore::{
    DistributedLockExt, Effect, Entry, EntryId, EntryKind, ErrorKind, Family, LockGuard, LockKey, LockName,
    LockService, Loss, QueueBackend, Registry, Released, Removed,
};

const SHORT: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(60);

async fn connect(options: RedisOptions) -> QueueLocks {
    QueueLocks::connect(Redis::new(options)).await.unwrap()
}

async fn held(guard: &LockGuard) {
    eventually("the server confirms the hold", || async { guard.verify().await.is_ok() }).await;
    assert!(guard.is_valid());
}

fn at(servers: &RedisSentinel) -> RedisOptions {
    RedisOptions::sentinel([servers.address()], servers.name()).with_session_timeout(LONG)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_keeps_what_the_replica_has() {
    let servers = RedisSentinel::start().await.unwrap();
    let locks = connect(at(&servers).with_wait_replicas(1)).await;
    let guard = locks.exclusive("l").unwrap().acquire().await.unwrap();
    servers.nodes()[0].kill().unwrap();
    servers.until_failed_over().await.unwrap();
    held(&guard).await;
    assert_eq!(within("release", guard.release()).await.unwrap(), Released::Held);
}

/// The documented exception: what the master acknowledged and the replica does not have is lost. Its owner is told, and
/// tokens rise nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_loses_what_the_replica_has_not() {
    let servers = RedisSentinel::start().await.unwrap();
    let locks = connect(at(&servers)).await;
    let [master, replica] = servers.nodes();
    // It may not have the entry, but without the mark of the session all of that would be lost.
    eventually("the replica has the session", || async { replica.cli(&["dbsize"]).await.unwrap() == "1" })
        .await;
    // What is in its socket already would still arrive.
    replica.pause().unwrap();
    master.cli(&["client", "kill", "type", "replica"]).await.unwrap();
    let guard = locks.exclusive("l").unwrap().acquire().await.unwrap();
    master.kill().unwrap();
    replica.resume().unwrap();
    servers.until_failed_over().await.unwrap();
    let other = within("the sentinel trusts the new master", async {
        loop {
            match QueueLocks::connect(Redis::new(at(&servers))).await {
                Ok(locks) => break locks,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
        }
    });
    let other = other.await;
    let next = within("another holder", other.exclusive("l").unwrap().acquire()).await.unwrap();
    assert!(next.fencing_token() > guard.fencing_token());
    assert_eq!(within("the holder is told", guard.lost()).await, Loss::Removed);
    assert_eq!(guard.release().await.unwrap(), Released::Lost(Loss::Removed));
    held(&next).await;
}

/// Any sentinel may be silent, the first in the list as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_sentinel_is_not_waited_for() {
    let servers = RedisSentinel::start().await.unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [&*silent.local_addr().unwrap().to_string(), servers.address()];
    let options = RedisOptions::sentinel(addresses, servers.name()).with_session_timeout(SHORT);
    let locks = connect(options).await;
    let guard = locks.exclusive("l").unwrap().acquire().await.unwrap();
    for _ in 0..3 {
        servers.nodes()[0].cli(&["client", "kill", "type", "normal", "skipme", "yes"]).await.unwrap();
        servers.nodes()[0].cli(&["client", "kill", "type", "pubsub"]).await.unwrap();
        held(&guard).await;
        tokio::time::sleep(SHORT / 2).await;
    }
    assert_eq!(within("release", guard.release()).await.unwrap(), Released::Held);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_replicas_nothing_is_granted() {
    let server = server::Redis::start().await.unwrap();
    let options = RedisOptions::new(server.address()).with_session_timeout(SHORT).with_wait_replicas(1);
    let session = Redis::new(options.clone()).open_session().await.unwrap();
    let lock = LockKey { family: Family::Lock, name: LockName::new("l").unwrap() };
    let entry = Entry { id: EntryId::random(), kind: EntryKind::Exclusive, label: "".into() };
    let error = session.enqueue(&lock, &entry).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unreachable, Effect::Unknown));
    assert!(error.is_retryable());
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
    let locks = connect(options).await;
    assert!(locks.exclusive("l").unwrap().acquire_timeout(SHORT / 2).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_a_cluster_are_removed_once() {
    let cluster = RedisCluster::start().await.unwrap();
    // May do what the documentation says.
    let rules = [
        "acl",
        "setuser",
        "least",
        "on",
        ">least",
        "~fairlock:*",
        "&fairlock:*",
        "-@all",
        "+@scripting",
        "+@read",
        "+@write",
        "+@pubsub",
        "+time",
        "+ping",
        "+info",
        "+cluster",
    ];
    for node in cluster.nodes() {
        node.cli(&rules).await.unwrap();
    }
    let options = RedisOptions::cluster(cluster.addresses()).with_credentials("least", "least");
    let session = Redis::new(options).open_session().await.unwrap();
    let mut names = Vec::new();
    for number in 0..20 {
        let lock = LockKey { family: Family::Lock, name: LockName::new(&format!("l{number}")).unwrap() };
        let entry = Entry { id: EntryId::random(), kind: EntryKind::Exclusive, label: "".into() };
        session.enqueue(&lock, &entry).await.unwrap();
        if number % 2 == 0 {
            assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
            assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Absent);
        } else {
            names.push(lock);
        }
    }
    names.sort();
    assert_eq!(session.names().await.unwrap(), names);
    session.close().await.unwrap();
}

/// A session is one: with a part of its entries it loses all, at the latest by the local clock.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_of_a_cluster_ends_the_sessions_that_need_it() {
    let cluster = RedisCluster::start().await.unwrap();
    let options = RedisOptions::cluster(cluster.addresses()).with_session_timeout(SHORT);
    let (locks, name) = (connect(options).await, "l");
    let guard = locks.exclusive(name).unwrap().acquire().await.unwrap();
    let node = cluster.node_of(&format!("fairlock:{{lock:{name}}}:queue")).await.unwrap();
    node.kill().unwrap();
    assert_eq!(within("the loss", guard.lost()).await, Loss::Deadline);
    node.restart().await.unwrap();
    let next = within("the cluster recovers", async {
        loop {
            match locks.exclusive(name).unwrap().acquire().await {
                Ok(guard) => break guard,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
        }
    });
    assert!(next.await.fencing_token() > guard.fencing_token());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_cluster_is_no_server() {
    let cluster = RedisCluster::start().await.unwrap();
    let error = Redis::new(RedisOptions::new(cluster.addresses()[0])).open_session().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("redis+cluster://"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_cannot_promise_is_refused() {
    let server = server::Redis::start().await.unwrap();
    let registry =
        SCHEMES.into_iter().fold(Registry::new(), |known, scheme| known.with(scheme, RedisFactory));
    for requirement in ["strict-fencing", "failover", "no-time-of-day"] {
        let url = format!("redis://{}?require={requirement}", server.address());
        let refused = registry.connect_url(url.parse().unwrap()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidConfig);
    }
    let url = format!("redis://{}?require=fair,loss-detection,interprocess", server.address());
    registry.connect_url(url.parse().unwrap()).await.unwrap();
}
