//! What is renewed, what is not, and what the client makes of it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bed;

use std::time::Duration;

use backend_redis::{Redis, RedisOptions};
use bed::*;
use conformance::deadline::{eventually, within};
use conformance::proxy::Proxy;
use conformance::server::RedisSentinel;
use lockcore::queue::{QueueLocks, Standing};
use lockcore::session::SessionState;
use lockcore::{
    DistributedLockExt, Entry, EntryId, EntryKind, LockKey, LockName, LockService, Loss, Released, Revision,
};
use tokio::time::{Instant, sleep};

fn at(address: impl Into<String>, session_timeout: Duration) -> RedisOptions {
    RedisOptions::new(address).with_session_timeout(session_timeout)
}

/// Until when the entry lives, as the server has it.
async fn deadline(bed: &Bed, id: &EntryId) -> u64 {
    match bed.lives(QUEUE, &[id]).await.first() {
        Some(life) => bed.cli(&["zscore", QUEUE, life]).await.parse().unwrap(),
        None => 0,
    }
}

/// The server may have executed a renewal as soon as it was sent, and counts from there.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_counts_from_the_sending_of_a_renewal() {
    let bed = Bed::new().await;
    let proxy = Proxy::start(bed.server.address()).await.unwrap();
    let timeout = Duration::from_secs(12);
    let session = open(at(proxy.address().to_string(), timeout)).await;
    enqueue(&session, &entry(EntryKind::Exclusive)).await;
    proxy.hold();
    eventually("a renewal is sent", || async { proxy.held() > 0 }).await;
    let sent = Instant::now();
    sleep(Duration::from_secs(1)).await;
    let before = session.lease().remaining().unwrap();
    proxy.heal();
    eventually("it is acknowledged", || async { session.lease().remaining().unwrap() > before }).await;
    let lost = Instant::now() + session.lease().remaining().unwrap();
    assert!(lost < sent + timeout * 4 / 5 + Duration::from_millis(500), "{:?}", lost - sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_fails_makes_the_session_doubtful() {
    let bed = Bed::new().await;
    let session = open(at(bed.server.address(), Duration::from_secs(20))).await;
    bed.server.pause().unwrap();
    eventually("doubt", || async { matches!(session.lease().state(), SessionState::Doubtful { .. }) }).await;
    bed.server.resume().unwrap();
    eventually("certainty", || async { session.lease().state() == SessionState::Live }).await;
}

/// Nobody knows yet whether the entry was made; the session goes on, and so must the entry.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_which_nothing_was_heard_is_renewed() {
    let bed = Bed::new().await;
    let proxy = Proxy::start(bed.server.address()).await.unwrap();
    let session = open(at(proxy.address().to_string(), SHORT)).await;
    // The script must be known, or what is executed unheard would be a refusal.
    enqueue(&bed.session().await, &entry(EntryKind::Exclusive)).await;
    let entry = entry(EntryKind::Exclusive);
    proxy.mute();
    let unheard = tokio::spawn({
        let (session, entry) = (session.clone(), entry.clone());
        async move { session.enqueue(&lock(), &entry).await }
    });
    eventually("it is made", || async { deadline(&bed, &entry.id).await > 0 }).await;
    proxy.heal();
    unheard.await.unwrap().unwrap_err();
    let made = deadline(&bed, &entry.id).await;
    eventually("it is renewed", || async { deadline(&bed, &entry.id).await > made }).await;
}

/// What a session costs at rest does not grow with each of its locks, and none of them is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn many_locks_are_renewed_together() {
    let bed = Bed::new().await;
    let session = open(at(bed.server.address(), SHORT)).await;
    let names = (0..120).map(|number| format!("l{number}"));
    let locks: Vec<LockKey> =
        names.map(|name| LockKey { name: LockName::new(&name).unwrap(), ..lock() }).collect();
    let entries: Vec<Entry> = locks.iter().map(|_| entry(EntryKind::Exclusive)).collect();
    for (lock, entry) in locks.iter().zip(&entries) {
        session.enqueue(lock, entry).await.unwrap();
    }
    // Each round ends with the mark of the session, the life of which is renewed with another command than that of a lock.
    let (rounds, scripts) = (bed.calls("pexpire").await, bed.scripts_run().await);
    eventually("six rounds", || async { bed.calls("pexpire").await >= rounds + 6 }).await;
    let scripts = bed.scripts_run().await - scripts;
    let rounds = bed.calls("pexpire").await - rounds;
    // 50 entries at a time, and the mark.
    assert!(scripts <= (rounds + 1) * 4, "{scripts} scripts in {rounds} rounds");
    // Longer than they live without.
    sleep(SHORT).await;
    for (lock, entry) in locks.iter().zip(&entries) {
        assert_eq!(session.look(lock, &entry.id).await.unwrap(), Standing::Holds);
    }
}

/// What is to go goes, if nothing else then with time.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_leaves_is_not_renewed() {
    let bed = Bed::new().await;
    let proxy = Proxy::start(bed.server.address()).await.unwrap();
    let session = open(at(proxy.address().to_string(), SHORT)).await;
    let (leaves, stays) = (entry(EntryKind::Shared), entry(EntryKind::Shared));
    enqueue(&session, &leaves).await;
    enqueue(&session, &stays).await;
    let held = proxy.held();
    proxy.hold();
    let removal = tokio::spawn({
        let (session, id) = (session.clone(), leaves.id.clone());
        async move { session.remove(&lock(), &id).await }
    });
    eventually("the removal is on its way", || async { proxy.held() > held }).await;
    proxy.abandon();
    removal.await.unwrap().unwrap_err();
    eventually("it goes", || async {
        let listed = session.list(&lock()).await.map_or(Vec::new(), |listed| listed.entries);
        listed.len() == 1 && listed[0].id == stays.id
    })
    .await;
    assert_eq!(session.lease().loss(), None);
}

/// What is wrong with one lock is the loss of its entries, told at once; everything else goes on.
async fn is_lost_alone(bed: &Bed, options: RedisOptions, spoil: impl AsyncFnOnce(&Bed)) {
    let locks = QueueLocks::connect(Redis::new(options)).await.unwrap();
    let spoilt = locks.exclusive("l").unwrap();
    let lost = spoilt.acquire().await.unwrap();
    let held = locks.exclusive("m").unwrap().acquire().await.unwrap();
    spoil(bed).await;
    let started = Instant::now();
    assert_eq!(within("it is told", lost.lost()).await, Loss::Removed);
    assert_eq!(lost.release().await.unwrap(), Released::Lost(Loss::Removed));
    let refused = spoilt.acquire().await.unwrap_err();
    assert!(!refused.is_retryable(), "{refused:?}");
    assert!(refused.to_string().contains("\"l\""), "{refused}");
    while started.elapsed() < 2 * SHORT {
        sleep(SHORT / 10).await;
        held.verify().await.unwrap();
    }
    assert_eq!(held.release().await.unwrap(), Released::Held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_overwritten_is_lost_alone() {
    let bed = Bed::new().await;
    let spoil = async |bed: &Bed| drop(bed.cli(&["set", QUEUE, "something else"]).await);
    is_lost_alone(&bed, at(bed.server.address(), SHORT), spoil).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_forbidden_is_lost_alone() {
    let bed = Bed::new().await;
    bed.cli(&["acl", "setuser", "guest", "on", ">secret", "allkeys", "allchannels", "+@all"]).await;
    let spoil = async |bed: &Bed| {
        let rest = ["~fairlock:{lock:m}:queue", "~fairlock:session:*"];
        bed.cli(&[&["acl", "setuser", "guest", "resetkeys"], &rest[..]].concat()).await;
    };
    let options = at(bed.server.address(), SHORT).with_credentials("guest", "secret");
    is_lost_alone(&bed, options, spoil).await;
}

/// Neither is it the end of the session, nor of what else it holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_deleted_is_lost_alone() {
    let bed = Bed::new().await;
    let session = open(at(bed.server.address(), SHORT)).await;
    let (deleted, held) = (entry(EntryKind::Exclusive), entry(EntryKind::Permits { permits: 1, limit: 1 }));
    enqueue(&session, &deleted).await;
    enqueue(&session, &held).await;
    bed.cli(&["del", QUEUE]).await;
    let (lock, own) = (lock(), [deleted.id.clone()]);
    within("the news", session.watch(&lock, &own[0], &own, Revision::default())).await.unwrap();
    assert_eq!(session.look(&lock, &deleted.id).await.unwrap(), Standing::Absent);
    let other = key(held.kind.family());
    assert_eq!(session.look(&other, &held.id).await.unwrap(), Standing::Holds);
}

/// A replica that does not confirm keeps nobody from renewing.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_replicas_holds_up_no_renewal() {
    let servers = RedisSentinel::start().await.unwrap();
    let [master, replica] = servers.nodes();
    let locks = QueueLocks::connect(Redis::new(at(master.address(), SHORT).with_wait_replicas(1)));
    let locks = locks.await.unwrap();
    let guard = locks.exclusive("held").unwrap().acquire().await.unwrap();
    replica.pause().unwrap();
    let wanted: Vec<_> =
        (0..10).map(|number| locks.exclusive(&format!("wanted {number}")).unwrap()).collect();
    let wanting = wanted.iter().map(|lock| lock.acquire_timeout(3 * SHORT));
    for wanted in futures::future::join_all(wanting).await {
        assert!(wanted.unwrap().is_none());
    }
    guard.verify().await.unwrap();
    assert_eq!(guard.release().await.unwrap(), Released::Held);
}
