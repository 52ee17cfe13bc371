//! What locks leave behind that nobody uses any more: nothing, after a moment.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lockcore::{DistributedLockExt, LockService, Released};

use support::{connect, directory, entries, files, in_time, lock, until_queue, until_removed, wait};

#[tokio::test]
async fn names_that_were_used_once_leave_no_directory() {
    const NAMES: usize = 300;
    let (_directory, root) = directory();
    let locks = connect(&root).await.unwrap();
    let long = "long".repeat(100);
    for name in (0..NAMES).map(|number| format!("{number}")).chain([long]) {
        let guard = locks.exclusive(&name).unwrap().acquire().await.unwrap();
        assert!(locks.shared(&name).unwrap().try_acquire().await.unwrap().is_none());
        assert_eq!(guard.release().await.unwrap(), Released::Held);
        drop(locks.semaphore(&name, 2).unwrap().acquire().await.unwrap());
    }
    let gone = async {
        while ["locks", "semaphores"].iter().any(|family| !files(root.join(family)).is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    in_time("the directories are removed", gone).await;
    assert_eq!(files(&root), ["counter", "locks", "semaphores"]);
}

#[tokio::test]
async fn a_session_that_ends_leaves_no_directory() {
    let (_directory, root) = directory();
    let locks = connect(&root).await.unwrap();
    let (left, held) = (locks.exclusive("left").unwrap(), locks.exclusive("held").unwrap());
    let guard = held.acquire().await.unwrap();
    assert_eq!(left.acquire().await.unwrap().release().await.unwrap(), Released::Held);
    locks.close().await.unwrap();
    until_removed(root.join("locks/left")).await;
    until_removed(root.join("locks/held")).await;
    drop(guard);
}

#[test]
fn a_runtime_that_ends_leaves_no_directory() {
    let (_directory, root) = directory();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let guard = runtime.block_on(async {
        let locks = connect(&root).await.unwrap();
        let left = locks.exclusive("left").unwrap().acquire().await.unwrap();
        assert_eq!(left.release().await.unwrap(), Released::Held);
        locks.exclusive("held").unwrap().acquire().await.unwrap()
    });
    drop(runtime);
    assert_eq!(files(root.join("locks")), [""; 0]);
    drop(guard);
}

#[tokio::test]
async fn the_last_to_leave_removes_the_directory_and_nobody_else() {
    let (_directory, root) = directory();
    let (one, two) = (connect(&root).await.unwrap(), connect(&root).await.unwrap());
    let (first, second) = (one.exclusive("x").unwrap(), two.exclusive("x").unwrap());
    let held = first.acquire().await.unwrap();
    let waiting = wait(&second, 2).await;
    assert_eq!(held.release().await.unwrap(), Released::Held);
    let held = in_time("the hand-over", waiting).await.unwrap().unwrap();
    let third = wait(&first, 2).await;

    // They have left it, or tried, and it is used.
    third.abort();
    until_queue(&first, 1).await;
    one.close().await.unwrap();
    held.verify().await.unwrap();
    assert_eq!(entries(root.join("locks/x")).len(), 1);
    assert_eq!(held.release().await.unwrap(), Released::Held);
    until_removed(root.join("locks/x")).await;
}

#[tokio::test]
async fn what_strangers_put_into_a_directory_stays() {
    let (_directory, root) = directory();
    let locks = connect(&root).await.unwrap();
    let lock = locks.exclusive("x").unwrap();
    let guard = lock.acquire().await.unwrap();
    fs::write(root.join("locks/x/notes.txt"), "").unwrap();
    assert_eq!(guard.release().await.unwrap(), Released::Held);
    locks.close().await.unwrap();
    assert_eq!(entries(root.join("locks/x")), ["notes.txt"]);
}

/// Sessions that come and go, each of which removes the directory when it finds nobody else there.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_comes_and_goes_lets_in_one_at_a_time_with_rising_tokens() {
    const CONTENDERS: usize = 4;
    const TURNS: usize = 60;
    let (_directory, root) = directory();
    let (held, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let contend = |_| {
        let (root, held, last) = (root.clone(), held.clone(), last.clone());
        tokio::spawn(async move {
            for _ in 0..TURNS {
                let locks = connect(&root).await.unwrap();
                let guard = locks.exclusive("x").unwrap().acquire().await.unwrap();
                assert!(!held.swap(true, Ordering::SeqCst), "two hold");
                let token = guard.fencing_token().get();
                assert!(last.swap(token, Ordering::SeqCst) < token, "the token fell");
                held.store(false, Ordering::SeqCst);
                assert_eq!(guard.release().await.unwrap(), Released::Held);
                locks.close().await.unwrap();
            }
        })
    };
    let ended = futures::future::join_all((0..CONTENDERS).map(contend));
    in_time("all turns", ended).await.into_iter().for_each(Result::unwrap);
    assert_eq!(files(root.join("locks")), [""; 0]);
}

#[tokio::test]
async fn tokens_rise_although_the_directory_goes_while_the_clock_is_behind() {
    // Far from now: a clock that was set back has the same effect.
    const FUTURE: u64 = 4_000_000_000_000_000;
    let (_directory, root) = directory();
    let keeper = lock(&root).await;
    let guard = keeper.acquire().await.unwrap();
    fs::write(root.join("locks/x/counter"), format!("{FUTURE:020}\n")).unwrap();
    drop(guard);
    for turn in 1..=3 {
        let locks = connect(&root).await.unwrap();
        let guard = locks.exclusive("x").unwrap().acquire().await.unwrap();
        assert_eq!(guard.fencing_token().get(), FUTURE + turn);
        assert_eq!(guard.release().await.unwrap(), Released::Held);
        locks.close().await.unwrap();
        until_removed(root.join("locks/x")).await;
    }
}
