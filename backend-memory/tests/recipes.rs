//! What locks are bought for, in virtual time: what no trial on a real server can see.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backend_memory::Memory;
use lockcore::{DistributedLock, DistributedLockExt, LockService, LockServiceExt, LockSet, Released};

/// Waits for the lock, and writes down that it was had.
fn note(lock: &Arc<dyn DistributedLock>, had: &Arc<Mutex<Vec<String>>>) -> tokio::task::JoinHandle<()> {
    let (lock, had) = (lock.clone(), had.clone());
    tokio::spawn(async move {
        let guard = lock.acquire().await.unwrap();
        had.lock().unwrap().push(guard.name().to_string());
    })
}

#[tokio::test(start_paused = true)]
async fn locks_are_taken_in_order_and_released_in_reverse() {
    let locks = Memory::new().client().connect().await.unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| locks.exclusive(name).unwrap());
    let busy = b.acquire().await.unwrap();
    let set = locks.all([&c, &b, &a]).unwrap();
    let waiting = tokio::spawn(async move { set.acquire().await.unwrap() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!a.acquirable().await.unwrap(), "the first is held while the second is waited for");
    assert!(c.acquirable().await.unwrap(), "the third is not asked for before the second is had");
    drop(busy);
    let guard = waiting.await.unwrap();
    let names: Vec<String> = guard.guards().map(|guard| guard.name().to_string()).collect();
    assert_eq!(names, ["c", "b", "a"], "guards come in the order in which the locks were given");

    let had = Arc::default();
    let waiters = [&a, &b, &c].map(|lock| note(lock, &had));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(guard.release().await.unwrap(), Released::Held);
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert_eq!(*had.lock().unwrap(), ["c", "b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_set_is_released_in_reverse() {
    let locks = Memory::new().client().connect().await.unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| locks.exclusive(name).unwrap());
    let guard = locks.all([&b, &a, &c]).unwrap().acquire().await.unwrap();
    let had = Arc::default();
    let waiters = [&a, &b, &c].map(|lock| note(lock, &had));
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(guard);
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert_eq!(*had.lock().unwrap(), ["c", "b", "a"]);
}

/// Two callers name two services in two orders, each with connections of its own.
#[tokio::test(start_paused = true)]
async fn locks_of_several_services_never_deadlock() {
    let (here, there) = (Memory::new(), Memory::new());
    let mut callers = Vec::new();
    for number in 0..10 {
        let (one, other) = (here.client().connect().await.unwrap(), there.client().connect().await.unwrap());
        callers.push(tokio::spawn(async move {
            // The same name in both services is two locks.
            let (one, other) = (one.exclusive("x").unwrap(), other.exclusive("x").unwrap());
            let given = if number % 2 == 0 { [&one, &other] } else { [&other, &one] };
            for _ in 0..10 {
                let guard = LockSet::new(given).unwrap().acquire().await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
                assert_eq!(guard.release().await.unwrap(), Released::Held);
            }
        }));
    }
    for caller in callers {
        tokio::time::timeout(Duration::from_secs(60), caller)
            .await
            .expect("they wait for each other")
            .unwrap();
    }
}
