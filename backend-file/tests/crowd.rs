//! Many who wait: nobody looks again and again, and each is let in by the one before.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::Instant;

use futures::future::join_all;
use lockcore::{DistributedLockExt, LockService, Released};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Handle;

use support::{connect, directory, in_time, lock, until_queue};

/// More than the system gives a user instances of inotify.
const SESSIONS: usize = 300;
const WAITERS: usize = 1050;

#[tokio::test]
async fn a_thousand_wait_at_rest_and_are_let_in_one_after_the_other() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let (_directory, root) = directory();
    let first = lock(&root).await;
    let held = first.acquire().await.unwrap();
    let services = join_all((0..SESSIONS).map(|_| connect(&root))).await;
    let mut waiting = Vec::new();
    for number in 0..WAITERS {
        let lock = services[number % SESSIONS].as_ref().unwrap().exclusive("x").unwrap();
        waiting.push(tokio::spawn(async move {
            let guard = lock.acquire().await.unwrap();
            let token = guard.fencing_token();
            assert_eq!(guard.release().await.unwrap(), Released::Held);
            token
        }));
    }
    until_queue(&first, 1 + WAITERS).await;

    // Each looks again once in a second, for which this thread wakes three times at most: for the timer, for the work that
    // is done elsewhere, and for its end. Who looks twenty times is found out.
    let (metrics, start) = (Handle::current().metrics(), Instant::now());
    let before = metrics.worker_park_count(0);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let (woken, elapsed) = (metrics.worker_park_count(0) - before, start.elapsed().as_secs_f64());
    let at_rest = WAITERS as f64 * (elapsed + 1.0) * 3.0;
    assert!((woken as f64) < at_rest, "woken {woken} times in {elapsed:.1} s");

    assert_eq!(held.release().await.unwrap(), Released::Held);
    let tokens: Vec<_> = in_time("all are let in", join_all(waiting)).await;
    let mut tokens: Vec<_> = tokens.into_iter().map(Result::unwrap).collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), WAITERS);
}
