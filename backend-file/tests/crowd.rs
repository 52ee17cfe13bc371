//! Many who wait, on sessions of their own: more than the system gives a user instances of inotify.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::sync::{Arc, Mutex};

use futures::future::join_all;
use lockcore::{DistributedLockExt, LockService, Released};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use support::{connect, directory, in_time, lock, until_queue};

#[tokio::test]
async fn a_thousand_waiters_are_let_in_one_after_the_other() {
    const SESSIONS: usize = 300;
    const WAITERS: usize = 1050;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let (_directory, root) = directory();
    let first = lock(&root).await;
    let held = first.acquire().await.unwrap();
    let services = join_all((0..SESSIONS).map(|_| connect(&root))).await;
    let granted = Arc::<Mutex<Vec<_>>>::default();
    let waiting = (0..WAITERS).map(|number| {
        let lock = services[number % SESSIONS].as_ref().unwrap().exclusive("x").unwrap();
        let granted = granted.clone();
        tokio::spawn(async move {
            let guard = lock.acquire().await.unwrap();
            granted.lock().unwrap().push(guard.fencing_token());
            assert_eq!(guard.release().await.unwrap(), Released::Held);
        })
    });
    let waiting: Vec<_> = waiting.collect();
    until_queue(&first, 1 + WAITERS).await;

    assert_eq!(held.release().await.unwrap(), Released::Held);
    let ended = in_time("all are let in", join_all(waiting)).await;
    ended.into_iter().for_each(Result::unwrap);
    let granted = granted.lock().unwrap();
    assert!(granted.len() == WAITERS && granted.is_sorted_by(|one, next| one < next));
}
