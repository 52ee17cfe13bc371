//! The blocking locks, at every place where locks live.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use backend_memory::{Memory, MemoryClient};
use conformance::server::{Etcd, Redis, ZooKeeper};
use fairlock::blocking::{Locks, connect};
use fairlock::{DistributedLockExt, ErrorKind, LockService, Loss, Released, RunEnd, Turn};
use tokio::runtime::Runtime;

/// Short enough to wait for.
const SESSION: Duration = Duration::from_secs(2);

/// A URL for each backend, and what has to live as long.
fn places() -> Vec<(String, Box<dyn Debug>)> {
    let runtime = Runtime::new().unwrap();
    let redis = runtime.block_on(Redis::given_or_start()).unwrap();
    let etcd = runtime.block_on(Etcd::given_or_start()).unwrap();
    let zookeeper = runtime.block_on(ZooKeeper::given_or_start()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let session = format!("session_timeout={}s", SESSION.as_secs());
    vec![
        (format!("memory://blocking-{}", std::process::id()), Box::new(())),
        (format!("file://{}", directory.path().join("locks").display()), Box::new(directory)),
        (format!("redis://{}/0?{session}&prefix=blocking:", redis.address()), Box::new(redis)),
        (format!("etcd://{}/blocking?{session}", etcd.address()), Box::new(etcd)),
        (format!("zookeeper://{}/blocking?{session}", zookeeper.address()), Box::new(zookeeper)),
    ]
}

/// On all places at once, each on a thread of its own.
fn everywhere(test: impl Fn(&str) + Sync) {
    let places = places();
    std::thread::scope(|scope| {
        for (url, _) in &places {
            scope.spawn(|| test(url));
        }
    });
}

fn memory(client: &MemoryClient) -> Locks {
    Locks::open(async { Ok(Arc::new(client.connect().await?) as Arc<dyn LockService>) }).unwrap()
}

#[test]
fn a_thread_that_never_yields_keeps_its_locks() {
    everywhere(|url| {
        let (ours, theirs) = (connect(url).unwrap(), connect(url).unwrap());
        let guard = ours.exclusive("computing").unwrap().acquire().unwrap();
        // No future of ours is polled meanwhile.
        std::thread::sleep(SESSION + SESSION / 2);
        assert!(guard.is_valid(), "{url}");
        assert!(theirs.exclusive("computing").unwrap().try_acquire().unwrap().is_none(), "{url}");
        guard.verify().unwrap();
        assert_eq!(guard.release().unwrap(), Released::Held, "{url}");
    });
}

/// What the documentation warns of: why this module has a thread of its own.
#[test]
fn a_runtime_that_only_runs_during_calls_loses_its_locks() {
    let redis = Runtime::new().unwrap().block_on(Redis::given_or_start()).unwrap();
    let url = format!("redis://{}/0?session_timeout={}s&prefix=starved:", redis.address(), SESSION.as_secs());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let locks = runtime.block_on(fairlock::connect(&*url)).unwrap();
    let guard = runtime.block_on(locks.exclusive("computing").unwrap().acquire()).unwrap();
    std::thread::sleep(SESSION);
    assert!(!guard.is_valid());
    assert_eq!(guard.loss_signal().loss(), Some(Loss::Deadline));
}

#[test]
fn a_dropped_guard_is_free_at_once() {
    everywhere(|url| {
        let (ours, theirs) = (connect(url).unwrap(), connect(url).unwrap());
        let (a, b) = (ours.exclusive("a").unwrap(), ours.semaphore("b", 2).unwrap());
        let theirs = [theirs.exclusive("a").unwrap(), theirs.semaphore("b", 2).unwrap()];
        for _ in 0..5 {
            drop(a.acquire().unwrap());
            assert!(theirs[0].try_acquire().unwrap().is_some(), "{url}");
            drop(ours.all([b.permits(2), (&a).into()]).unwrap().acquire().unwrap());
            assert!(theirs[1].try_acquire().unwrap().is_some(), "{url}");
            drop(ours.election("a").unwrap().campaign("us").unwrap());
            assert!(theirs[0].try_acquire().unwrap().is_some(), "{url}");
        }
        ours.close().unwrap();
        assert_eq!(a.acquire().unwrap_err().kind(), ErrorKind::Closed, "{url}");
    });
}

#[test]
fn threads_take_turns() {
    everywhere(|url| {
        let locks = connect(url).unwrap();
        let count = std::sync::Mutex::new((0, 0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let lock = locks.exclusive("turns").unwrap();
                    for _ in 0..5 {
                        lock.with(|held| {
                            assert!(held.loss_signal().loss().is_none());
                            let before = count.try_lock().expect("nobody else holds").0;
                            std::thread::yield_now();
                            *count.try_lock().expect("nobody else holds") =
                                (before + 1, held.fencing_token().get());
                        })
                        .unwrap();
                    }
                });
            }
        });
        assert_eq!(count.into_inner().unwrap().0, 20, "{url}");
    });
}

fn is_refused(locks: &Locks) {
    let refused = locks.exclusive("x").unwrap().acquire().map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.to_string().contains("inside an async context"), "{refused}");
}

#[test]
fn an_async_context_is_told_so() {
    let locks = memory(&Memory::new().client());
    let single = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for runtime in [single, Runtime::new().unwrap()] {
        runtime.block_on(async { is_refused(&locks) });
        let theirs = locks.clone();
        runtime.block_on(async move { tokio::spawn(async move { is_refused(&theirs) }).await.unwrap() });
        // After so much has been asked for, a task must yield.
        runtime.block_on(async {
            for _ in 0..1000 {
                tokio::task::coop::consume_budget().await;
            }
            is_refused(&locks);
        });
    }
}

#[test]
fn threads_for_blocking_may_block() {
    let locks = memory(&Memory::new().client());
    let runtime = Runtime::new().unwrap();
    let theirs = locks.clone();
    let acquired = runtime.spawn_blocking(move || theirs.exclusive("x").unwrap().acquire().map(drop));
    runtime.block_on(acquired).unwrap().unwrap();
    let acquired = runtime.spawn(async move {
        tokio::task::block_in_place(|| locks.exclusive("x").unwrap().acquire().map(drop))
    });
    runtime.block_on(acquired).unwrap().unwrap();
}

#[test]
fn a_guard_that_is_dropped_in_an_async_context_is_given_back_in_the_background() {
    let locks = memory(&Memory::new().client());
    let lock = locks.exclusive("x").unwrap();
    let guard = lock.acquire().unwrap();
    Runtime::new().unwrap().block_on(async move { drop(guard) });
    let next = lock.acquire_timeout(Duration::from_secs(10)).unwrap();
    assert!(next.is_some());
}

#[test]
fn a_loss_is_told_to_other_threads() {
    let client = Memory::new().client();
    let locks = memory(&client);
    let guard = locks.exclusive("x").unwrap().acquire().unwrap();
    let signal = guard.loss_signal();
    assert_eq!(signal.wait(Duration::from_millis(10)).unwrap(), None);
    assert!(!signal.wait_at_risk(Duration::from_millis(10)).unwrap());
    let told = std::thread::spawn(move || signal.wait(Duration::from_secs(60)).unwrap());
    client.expire();
    assert_eq!(told.join().unwrap(), Some(Loss::Expired));
    assert_eq!(guard.release().unwrap(), Released::Lost(Loss::Expired));
    let ended = locks.exclusive("y").unwrap().with(|_| client.expire());
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::SessionLost);
}

#[test]
fn leaders_are_observed() {
    let memory_place = Memory::new();
    let (ours, theirs) = (memory(&memory_place.client()), memory(&memory_place.client()));
    let mut leaders = theirs.election("scheduler").unwrap().observe();
    assert!(leaders.next().unwrap().unwrap().is_none());
    let election = ours.election("scheduler").unwrap();
    let leadership = election.campaign("us").unwrap();
    let leader = leaders.next().unwrap().unwrap().unwrap();
    assert_eq!((leader.value.as_str(), leader.term), ("us", leadership.term()));
    assert!(election.campaign_timeout("they", Duration::from_millis(10)).unwrap().is_none());
    assert_eq!(leadership.resign().unwrap(), Released::Held);
    assert!(leaders.next().unwrap().unwrap().is_none());
    assert!(election.leader().unwrap().is_none());
}

/// A job may use other locks: it does not run inside an async context.
#[test]
fn jobs_run_once() {
    let locks = memory(&Memory::new().client());
    let job = locks.once("nightly", Duration::from_secs(3600)).unwrap();
    let work = || job.run(|_| locks.exclusive("other").unwrap().acquire().map(drop));
    assert!(matches!(work().unwrap(), Turn::Ran(Ok(()))));
    assert!(matches!(work().unwrap(), Turn::NotDue(_)));
    assert_eq!(job.last_run().unwrap().unwrap().end, RunEnd::Succeeded);
}
