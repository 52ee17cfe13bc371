//! Thousands of waiters and of locks in one process.

use backend_memory::Memory;
use lockcore::{DistributedLockExt, Family, LockKey, LockService, Loss, Released};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};

const MANY: usize = 10_000;

/// Nothing in memory is waited for.
#[tokio::test]
async fn whoever_takes_a_free_lock_again_and_again_lets_other_tasks_in() {
    let locks = Memory::new().client().connect().await.unwrap();
    let lock = locks.exclusive("lock").unwrap();
    let other = tokio::spawn(async {});
    for _ in 0..MANY {
        assert_eq!(lock.acquire().await.unwrap().release().await.unwrap(), Released::Held);
        if other.is_finished() {
            return;
        }
    }
    panic!("{MANY} turns, and nobody else had one");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_waiters_are_served_in_order() {
    let locks = Memory::new().client().connect().await.unwrap();
    let lock = locks.exclusive("lock").unwrap();
    let mut last = lock.acquire().await.unwrap();
    let mut waiters = JoinSet::new();
    for _ in 0..MANY {
        let lock = lock.clone();
        waiters.spawn(async move { lock.acquire().await.unwrap() });
    }
    while lock.queue().await.unwrap().len() <= MANY {
        tokio::task::yield_now().await;
    }
    for _ in 0..MANY {
        let token = last.fencing_token();
        assert_eq!(last.release().await.unwrap(), Released::Held);
        last = waiters.join_next().await.unwrap().unwrap();
        assert!(last.fencing_token() > token);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_holds_are_all_watched() {
    let memory = Memory::new();
    let locks = memory.client().connect().await.unwrap();
    let mut held = Vec::new();
    for number in 0..MANY {
        let lock = locks.exclusive(&number.to_string()).unwrap();
        held.push((lock.acquire().await.unwrap(), lock));
    }
    sleep(Duration::from_secs(3)).await;
    for (guard, lock) in held {
        let key = LockKey { family: Family::Lock, name: lock.name().clone() };
        assert!(memory.remove_entry(&key, &lock.queue().await.unwrap()[0].id));
        let told = timeout(Duration::from_secs(1), guard.lost()).await;
        assert_eq!(told, Ok(Loss::Removed), "{key:?} is not watched");
    }
}
