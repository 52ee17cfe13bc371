//! Tickets, which make the order and are the tokens: a counter that somebody damaged, or that a stopped process keeps.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs::{self, File};
use std::path::Path;

use lockcore::{DistributedLockExt, ErrorKind, LockGuard, LockService, Result};

use support::{connect, directory, directory_of, entries, in_time, lock, until_queue, wait};

/// Far from now: a clock that was set back has the same effect.
const FUTURE: u64 = 4_000_000_000_000_000;

fn set_counter(root: &Path, ticket: u64) {
    fs::write(directory_of(root, "locks/x").join("counter"), format!("{ticket:020}\n")).unwrap();
}

#[track_caller]
fn assert_counter_is_named(refused: Result<Option<LockGuard>>, root: &Path) {
    let error = refused.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Backend, "{error}");
    let message = error.to_string();
    assert!(
        message.contains(root.join("locks/x/counter").to_str().unwrap()) && message.contains("remove it"),
        "{error}"
    );
}

#[tokio::test]
async fn a_counter_that_cannot_grow_lets_nobody_in() {
    let (_directory, root) = directory();
    let lock = lock(&root).await;
    drop(lock.acquire().await.unwrap());
    until_queue(&lock, 0).await;
    set_counter(&root, u64::MAX);
    for _ in 0..8 {
        assert_counter_is_named(lock.try_acquire().await, &root);
        // Nobody uses it, but it is not removed: its end would be that of all locks.
        connect(&root).await.unwrap().cleanup().await.unwrap();
    }
    assert_eq!(entries(root.join("locks/x")), Vec::<String>::new(), "nothing is left");

    fs::remove_file(root.join("locks/x/counter")).unwrap();
    let guard = lock.try_acquire().await.unwrap().expect("as it said");
    set_counter(&root, u64::MAX - 1);
    let waiting = wait(&lock, 2).await;
    assert_counter_is_named(lock.try_acquire().await, &root);
    drop(guard);
    let last = in_time("those who have a ticket go on", waiting).await.unwrap().unwrap();
    assert_eq!(last.fencing_token().get(), u64::MAX);
}

#[tokio::test]
async fn a_damaged_counter_lets_nobody_in() {
    let (_directory, root) = directory();
    let lock = lock(&root).await;
    let guard = lock.acquire().await.unwrap();
    fs::write(root.join("locks/x/counter"), "garbage").unwrap();
    assert_counter_is_named(lock.try_acquire().await, &root);
    guard.verify().await.unwrap();
    fs::remove_file(root.join("locks/x/counter")).unwrap();
    assert!(lock.try_acquire().await.unwrap().is_none(), "as it said, nobody came before the holder");
    guard.verify().await.unwrap();
}

#[tokio::test]
async fn a_counter_lost_while_the_clock_is_behind_lets_nobody_pass_the_holder() {
    for lose in [(|counter| fs::remove_file(counter).unwrap()) as fn(&Path), |counter| {
        fs::write(counter, "").unwrap()
    }] {
        let (_directory, root) = directory();
        let lock = lock(&root).await;
        drop(lock.acquire().await.unwrap());
        set_counter(&root, FUTURE);
        let guard = lock.acquire().await.unwrap();
        assert_eq!(guard.fencing_token().get(), FUTURE + 1);

        lose(&root.join("locks/x/counter"));
        assert!(lock.try_acquire().await.unwrap().is_none(), "a second holder");
        guard.verify().await.unwrap();
        let waiting = wait(&lock, 2).await;
        drop(guard);
        let next = in_time("the hand-over", waiting).await.unwrap().unwrap();
        assert!(next.fencing_token().get() > FUTURE + 1, "the token fell");
    }
}

#[tokio::test]
async fn a_directory_that_is_cleaned_up_while_the_clock_is_behind_keeps_its_tokens() {
    let (_directory, root) = directory();
    let locks = connect(&root).await.unwrap();
    let lock = locks.exclusive("x").unwrap();
    drop(lock.acquire().await.unwrap());
    until_queue(&lock, 0).await;
    set_counter(&root, FUTURE);
    drop(lock.acquire().await.unwrap());
    until_queue(&lock, 0).await;
    // Unless the session was faster.
    assert!(locks.cleanup().await.unwrap() <= 1);
    assert!(!root.join("locks/x").exists());
    assert_eq!(lock.acquire().await.unwrap().fencing_token().get(), FUTURE + 2);
}

#[tokio::test]
async fn a_process_stopped_while_it_adds_an_entry_holds_up_nobody() {
    let (_directory, root) = directory();
    let (one, two) = (lock(&root).await, lock(&root).await);
    let guard = one.acquire().await.unwrap();
    let waiting = wait(&two, 2).await;

    // As such a process has it.
    let counter = File::open(root.join("locks/x/counter")).unwrap();
    counter.try_lock().expect("nobody adds an entry now");
    assert!(in_time("an answer", two.try_acquire()).await.unwrap().is_none());
    drop(guard);
    let second = in_time("the hand-over", waiting).await.unwrap().unwrap();
    let newcomer = wait(&one, 2).await;
    drop(second);
    drop(in_time("the newcomer", newcomer).await.unwrap().unwrap());
    counter.try_lock_shared().expect("it had it all the time");
}
