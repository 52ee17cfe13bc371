//! Watches, many of them.

use std::sync::Arc;
use std::time::Instant;

use backend_zookeeper::ZooKeeper;
use futures::FutureExt;
use futures::future::join_all;
use futures::stream::{self, FuturesUnordered, StreamExt};
use lockcore::queue::{QueueLocks, Standing};
use lockcore::{DistributedLockExt, Entry, EntryKind, Family, LockGuard, LockService, Removed, Revision};
use tokio::task::JoinSet;

use crate::bed::{Bed, doubts, enqueue, entry, eventually, exclusive, key, lock, through, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_watch_leaves_nothing_on_the_server() {
    let bed = Bed::new().await;
    let (session, lock, first) = (bed.session().await, lock("a"), exclusive());
    session.enqueue(&lock, &first).await.unwrap();
    let ids = [first.id];
    let (one, two) =
        (session.watch(&lock, &ids[0], &ids, Revision(0)), session.watch(&lock, &ids[0], &ids, Revision(0)));
    tokio::select! {
        _ = one => panic!("the entry has not left"),
        _ = two => panic!("the entry has not left"),
        () = eventually("a watch", || async { bed.watches().await == 1 }) => {}
    }
    eventually("no watch", || async { bed.watches().await == 0 }).await;
    drop(session.watch(&lock, &ids[0], &ids, Revision(0)).now_or_never());
    session.remove(&lock, &ids[0]).await.unwrap();
    within("the watch on nothing", session.watch(&lock, &ids[0], &ids, Revision(0))).await.unwrap();
    eventually("no watch", || async { bed.watches().await == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_list_shows_can_be_watched() {
    let bed = Bed::new().await;
    let (session, other, lock, entry) = (bed.session().await, bed.session().await, lock("a"), exclusive());
    enqueue(&session, &lock, &entry).await;
    for watcher in [&session, &other] {
        let listed = [watcher.list(&lock).await.unwrap().entries.remove(0).id];
        tokio::select! {
            fired = watcher.watch(&lock, &entry.id, &listed, Revision(0)) => panic!("the entry has not left: {fired:?}"),
            () = eventually("a watch", || async { bed.watches().await == 1 }) => {}
        }
        eventually("no watch", || async { bed.watches().await == 0 }).await;
    }
}

/// The library itself loses count when it repeats paths of more than 128 KiB.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_watches_survive_a_reconnect() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, lock) = (through(&proxy).await, lock("a-name-of-some-length"));
    let entries: Vec<Entry> = std::iter::repeat_with(exclusive).take(2000).collect();
    join_all(entries.iter().map(|entry| enqueue(&session, &lock, entry))).await;
    let watches = entries
        .iter()
        .map(|entry| session.watch(&lock, &entry.id, std::slice::from_ref(&entry.id), Revision(0)));
    let mut watches: FuturesUnordered<_> = watches.collect();
    let armed = || eventually("all watches", || async { bed.watches().await == 2000 });
    tokio::select! {
        fired = watches.next() => panic!("no entry has left: {fired:?}"),
        () = armed() => {}
    }
    proxy.cut();
    doubts(&session).await;
    eventually("no watch", || async { bed.watches().await == 0 }).await;
    proxy.heal();
    tokio::select! {
        fired = watches.next() => panic!("no entry has left: {fired:?}"),
        () = armed() => {}
    }
    assert_eq!(session.remove(&lock, &entries[1000].id).await.unwrap(), Removed::Now);
    within("the watch fires", watches.next()).await.unwrap().unwrap();
}

/// Together the wake sets here have 10,000 members and the paths of each 160 kB.
#[tokio::test(flavor = "multi_thread")]
async fn wake_sets_of_any_size_are_watched_and_share_their_watches() {
    let bed = Bed::new().await;
    let (session, gpus) = (bed.session().await, key(Family::Semaphore, &"é".repeat(256)));
    let one = || entry(EntryKind::Permits { permits: 1, limit: 100 });
    let holders: Vec<Entry> = std::iter::repeat_with(one).take(100).collect();
    join_all(holders.iter().map(|entry| enqueue(&session, &gpus, entry))).await;
    let mut watches = FuturesUnordered::new();
    for waiter in std::iter::repeat_with(one).take(100) {
        let Standing::Waits { wake, seen } = enqueue(&session, &gpus, &waiter).await.standing else {
            panic!("more holders than permits")
        };
        assert_eq!(wake.len(), 100);
        let (session, gpus) = (session.clone(), gpus.clone());
        watches.push(async move { session.watch(&gpus, &waiter.id, &wake, seen).await.map(|_| waiter.id) });
    }
    let before = bed.requests().await;
    let armed = eventually("one watch for each node", || async { bed.watches().await == 199 });
    tokio::select! {
        fired = watches.next() => panic!("no entry has left: {fired:?}"),
        () = armed => {}
    }
    let requests = bed.requests().await - before;
    assert!(requests < 1000, "{requests} requests to set 199 watches");
    let queue = session.describe(&gpus).await.unwrap();
    session.remove(&gpus, &queue[0].id).await.unwrap();
    let woken = within("the watch fires", watches.next()).await.unwrap().unwrap();
    assert_eq!(woken, queue[100].id);
    assert!(watches.next().now_or_never().is_none(), "more woken than let in");
}

/// `cargo test --release -p fairlock-backend-zookeeper --test server -- --ignored --nocapture hand_over`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn hand_over_among_a_thousand_waiters_beside_ten_thousand_held_locks() {
    let bed = Bed::new().await;
    let locks = Arc::new(QueueLocks::connect(ZooKeeper::new(bed.options())).await.unwrap());
    let held = stream::iter(0..10_000).map(|number| {
        let lock = locks.exclusive(&format!("held-{number}")).unwrap();
        async move { lock.acquire().await.unwrap() }
    });
    let held: Vec<_> = held.buffer_unordered(64).collect().await;
    let busy = locks.exclusive("busy").unwrap();
    let first = busy.acquire().await.unwrap();
    let mut waiters = JoinSet::new();
    for _ in 0..1000 {
        let busy = busy.clone();
        waiters.spawn(async move {
            let guard = busy.acquire().await.unwrap();
            let granted = Instant::now();
            let _ = guard.release().await.unwrap();
            granted
        });
    }
    eventually("all watches", || async { bed.watches().await > 10_900 }).await;
    let released = Instant::now();
    let _ = first.release().await.unwrap();
    let mut grants = waiters.join_all().await;
    grants.push(released);
    grants.sort();
    let mut gaps: Vec<_> = grants.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort();
    println!("hand-over: median {:?}, 99 % {:?}, longest {:?}", gaps[500], gaps[990], gaps[999]);
    assert!(held.iter().all(LockGuard::is_valid));
}
