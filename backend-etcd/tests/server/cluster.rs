//! Locks on three servers, of which some fail.

use std::sync::Arc;
use std::time::Duration;

use backend_etcd::{Etcd, EtcdOptions};
use conformance::proxy::Proxy;
use conformance::server::EtcdCluster;
use etcd_client::{Client, GetOptions};
use lockcore::queue::QueueLocks;
use lockcore::{
    DistributedLock, DistributedLockExt, LockGuard, LockService, Loss, Released, Removed, SessionState,
};
use tokio::task::JoinHandle;

use crate::bed::{eventually, late, lock, long, open, repeat, within};

async fn service(cluster: &EtcdCluster, session_timeout: Duration) -> QueueLocks {
    let options = EtcdOptions::new(cluster.addresses()).with_session_timeout(session_timeout);
    QueueLocks::connect(Etcd::new(options)).await.unwrap()
}

/// An acquisition that goes on by itself, once it is in the queue.
async fn waiting(lock: &Arc<dyn DistributedLock>) -> JoinHandle<lockcore::Result<LockGuard>> {
    let before = lock.queue().await.unwrap().len();
    let acquiring = lock.clone();
    let waiting = tokio::spawn(async move { acquiring.acquire().await });
    eventually("a waiter", || async { lock.queue().await.unwrap().len() > before }).await;
    waiting
}

async fn alive(services: &[&QueueLocks]) {
    let live = || async { services.iter().all(|service| service.session() == SessionState::Live) };
    eventually("life", live).await;
}

/// A holder and a waiter live through what happens to the cluster, and then the lock goes on.
async fn survive(cluster: &EtcdCluster, happens: impl AsyncFnOnce()) {
    let (a, b) = (service(cluster, SESSION).await, service(cluster, SESSION).await);
    let (ours, theirs) = (a.exclusive("a").unwrap(), b.exclusive("a").unwrap());
    let guard = ours.acquire().await.unwrap();
    let waiter = waiting(&theirs).await;
    happens().await;
    alive(&[&a, &b]).await;
    assert!(guard.is_valid() && !waiter.is_finished());
    repeat("verification", || guard.verify()).await;
    let token = guard.fencing_token();
    assert_eq!(within("the release", guard.release()).await.unwrap(), Released::Held);
    let next = within("the hand-over", waiter).await.unwrap().unwrap();
    assert!(next.fencing_token() > token);
    assert_eq!(within("the release", next.release()).await.unwrap(), Released::Held);
    assert!(repeat("a look", || ours.queue()).await.is_empty());
    a.close().await.unwrap();
    b.close().await.unwrap();
}

/// Longer than an election.
const SESSION: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed_and_comes_back() {
    let cluster = EtcdCluster::start().await.unwrap();
    let leader = cluster.leader().await.unwrap();
    survive(&cluster, async || {
        cluster.nodes()[leader].kill().unwrap();
        cluster.leader().await.unwrap();
    })
    .await;
    survive(&cluster, async || cluster.nodes()[leader].restart().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_server_stops_for_a_while() {
    let cluster = EtcdCluster::start().await.unwrap();
    for node in cluster.nodes() {
        survive(&cluster, async || {
            node.pause().unwrap();
            let another = service(&cluster, SESSION).await;
            let lock = another.exclusive("b").unwrap();
            drop(within("another lock", lock.acquire()).await.unwrap());
            node.resume().unwrap();
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_are_restarted_one_after_the_other() {
    let cluster = EtcdCluster::start().await.unwrap();
    survive(&cluster, async || {
        for node in cluster.nodes() {
            node.restart().await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_sessions_are_lost_in_time() {
    let cluster = EtcdCluster::start().await.unwrap();
    let (a, b) =
        (service(&cluster, Duration::from_secs(3)).await, service(&cluster, Duration::from_secs(3)).await);
    let (ours, theirs) = (a.exclusive("a").unwrap(), b.exclusive("a").unwrap());
    let old = ours.acquire().await.unwrap();
    for node in &cluster.nodes()[1..] {
        node.pause().unwrap();
    }
    assert_eq!(within("the loss", old.lost()).await, Loss::Deadline);
    eventually("the other loss", || async { b.session() == SessionState::Lost(Loss::Deadline) }).await;
    for node in &cluster.nodes()[1..] {
        node.resume().unwrap();
    }
    let new = repeat("a new session", || theirs.acquire()).await;
    assert!(new.fencing_token() > old.fencing_token());
    assert!(!old.is_valid() && new.is_valid());
    assert_eq!(within("the release", old.release()).await.unwrap(), Released::Lost(Loss::Deadline));
    repeat("verification", || new.verify()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_may_be_checkpointed() {
    let arguments = ["--experimental-enable-lease-checkpoint".to_owned()];
    let cluster = EtcdCluster::start_with_arguments(&arguments).await.unwrap();
    survive(&cluster, async || {
        let leader = cluster.leader().await.unwrap();
        cluster.nodes()[leader].kill().unwrap();
        cluster.leader().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_removed_from_the_cluster() {
    let cluster = EtcdCluster::start().await.unwrap();
    survive(&cluster, async || {
        let leader = cluster.leader().await.unwrap();
        let admin = Client::connect([cluster.addresses()[leader]], None).await.unwrap();
        let members = admin.cluster_client();
        let url = format!("http://{}", cluster.addresses()[leader]);
        let listed = members.clone().member_list().await.unwrap();
        let member = listed.members().iter().find(|member| member.client_urls().contains(&url)).unwrap();
        // Only from a cluster whose servers have known one another for some seconds.
        eventually("removal", || async { members.clone().member_remove(member.id()).await.is_ok() }).await;
        cluster.leader().await.unwrap();
    })
    .await;
}

/// The removal, and what it refuses, go through another server than the request, which was there first.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_arrives_after_its_removal_through_another_server_leaves_nothing() {
    let cluster = EtcdCluster::start().await.unwrap();
    let leader = cluster.leader().await.unwrap();
    let addresses = cluster.addresses();
    let (follower, other) = (addresses[(leader + 1) % 3], addresses[(leader + 2) % 3]);
    let (first, second) = (Proxy::start(follower).await.unwrap(), Proxy::start(other).await.unwrap());
    let admin = Client::connect([addresses[leader]], None).await.unwrap();
    second.cut();
    let servers = [&first, &second].map(|proxy| proxy.address().to_string());
    let session = open(EtcdOptions::new(servers)).await;
    let (lock, removed, kept) = (lock("a"), long(), long());
    let entries = async || {
        let prefix = Some(GetOptions::new().with_prefix());
        admin.kv_client().get("/fairlock/lock/", prefix).await.unwrap().take_kvs()
    };
    for entry in [&removed, &kept] {
        late(&session, &first, entry.label.len(), session.enqueue(&lock, entry)).await;
        if *entry == removed {
            second.heal();
            first.hold();
            let removal = repeat("removal", || session.remove(&lock, &entry.id)).await;
            assert_eq!((removal, entries().await.len()), (Removed::Absent, 0));
            first.heal();
            second.cut();
        }
        first.deliver();
        if *entry == kept {
            eventually("an entry", || async { entries().await.len() == 1 }).await;
        }
    }
    assert!(entries().await[0].value_str().unwrap().starts_with(kept.id.as_str()));
}
