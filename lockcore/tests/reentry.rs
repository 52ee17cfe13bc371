//! Who waits for what the same service holds is told: it may be one task, which then waits for itself.

mod fixture;

use std::sync::Arc;
use std::time::Duration;

use fixture::{LONG, Server, exclusive, service, soon, warnings};
use lockcore::{AcquireOptions, DistributedLock, DistributedLockExt, LockGuard, LockService};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

async fn labelled(lock: &dyn DistributedLock, label: &str) -> LockGuard {
    let options = AcquireOptions::new().with_label(label);
    lock.acquire_with(&options).await.expect("the server answers").expect("it waits")
}

/// A task that waits for the lock, and then holds it for this long.
fn task(lock: &Arc<dyn DistributedLock>, label: &'static str, hold: Duration) -> JoinHandle<()> {
    let lock = lock.clone();
    tokio::spawn(async move {
        let _guard = labelled(&*lock, label).await;
        sleep(hold).await;
    })
}

/// How often it was told that a service waits for itself.
fn told(said: &str) -> usize {
    said.matches("holds itself").count()
}

#[tokio::test(start_paused = true)]
async fn a_second_acquire_in_one_task_is_told_after_ten_seconds() {
    for (patience, expected) in [(9, 0), (12, 1), (3600, 1)] {
        let server = Server::new(None);
        let (locks, lock) = exclusive(&server).await;
        let (_, said) = warnings(async {
            let _guard = labelled(&*lock, "outer").await;
            let again = locks.exclusive("a").unwrap();
            let waited = timeout(patience * SECOND, labelled(&*again, "inner")).await;
            assert!(waited.is_err(), "locks are not re-entrant");
        })
        .await;
        assert_eq!(told(&said), expected, "after {patience} s: {said}");
        let fields = ["name=a ", "holder=\"outer\"", "waiter=\"inner\""];
        assert!(fields.iter().all(|field| said.contains(field)) || expected == 0, "{said}");
    }
}

/// Behind one's own exclusive hold everybody waits, and that others stand between does not help.
#[tokio::test(start_paused = true)]
async fn it_does_not_matter_how_one_waits_for_oneself() {
    let server = Server::new(None);
    let (locks, lock) = exclusive(&server).await;
    let (_others, other) = exclusive(&server).await;
    let (_, said) = warnings(async {
        let _guard = labelled(&*lock, "outer").await;
        let between = task(&other, "between", SECOND);
        server.until_entries(2).await;
        let shared = locks.shared("a").unwrap();
        assert!(timeout(12 * SECOND, labelled(&*shared, "inner")).await.is_err());
        between.abort();
    })
    .await;
    assert_eq!(told(&said), 1, "{said}");
    assert!(said.contains("waiter=\"inner\""), "the other service does not wait for itself: {said}");
}

/// Whoever stands between leaves, one each second: the waiter is woken, and has to wait on.
#[tokio::test(start_paused = true)]
async fn wake_ups_do_not_postpone_it() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let (_others, other) = exclusive(&server).await;
    let (_, said) = warnings(async {
        let _guard = labelled(&*lock, "outer").await;
        let mut between = Vec::new();
        for number in 0..12 {
            between.push(task(&other, "between", SECOND));
            server.until_entries(2 + number).await;
        }
        let waiting = task(&lock, "inner", SECOND);
        server.until_entries(14).await;
        let watches = server.watches();
        for nearest in between.iter().rev() {
            sleep(SECOND).await;
            nearest.abort();
        }
        sleep(SECOND).await;
        assert!(server.watches() >= watches + 12, "it was not woken");
        waiting.abort();
    })
    .await;
    assert_eq!(told(&said), 1, "{said}");
}

#[tokio::test(start_paused = true)]
async fn each_hold_is_told_once_however_many_wait() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let (_, said) = warnings(async {
        let guard = labelled(&*lock, "first").await;
        let waiting: Vec<_> = (0..5).map(|_| task(&lock, "next", 60 * SECOND)).collect();
        server.until_entries(6).await;
        sleep(LONG).await;
        drop(guard);
        for next in waiting {
            soon("it is granted", next).await.unwrap();
        }
    })
    .await;
    // The last one holds with nobody behind it.
    assert_eq!(told(&said), 5, "{said}");
}

/// Tasks of one service that take turns: everybody waits for long, nobody holds for long.
#[tokio::test(start_paused = true)]
async fn a_long_queue_is_nothing_to_tell() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let (_, said) = warnings(async {
        let tasks: Vec<_> = (0..20).map(|_| task(&lock, "one of many", 8 * SECOND)).collect();
        for task in tasks {
            soon("it is granted", task).await.unwrap();
        }
    })
    .await;
    assert_eq!(told(&said), 0, "{said}");
}

#[tokio::test(start_paused = true)]
async fn other_locks_other_services_and_permits_are_nothing_to_tell() {
    let server = Server::new(None);
    let (locks, lock) = exclusive(&server).await;
    let stranger = service(&server).await.exclusive("a").unwrap();
    let permit = locks.semaphore("a", 1).unwrap();
    let (reader, writer) = (locks.shared("b").unwrap(), locks.exclusive("b").unwrap());
    let (_, said) = warnings(async {
        let _held =
            (labelled(&*lock, "1").await, labelled(&*permit, "2").await, labelled(&*reader, "3").await);
        let waiting = [(&stranger, "4"), (&permit, "5"), (&writer, "6")];
        let waiting = waiting.map(|(lock, label)| task(lock, label, SECOND));
        server.until_entries(6).await;
        sleep(LONG).await;
        waiting.iter().for_each(JoinHandle::abort);
    })
    .await;
    assert_eq!(told(&said), 0, "{said}");
}

/// The hold was removed by hand, and somebody else let in: nobody waits for himself.
#[tokio::test(start_paused = true)]
async fn a_hold_that_is_lost_is_nothing_to_tell() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let (_, said) = warnings(async {
        let guard = labelled(&*lock, "outer").await;
        sleep(5 * SECOND).await;
        server.wipe();
        soon("the loss is told", guard.lost()).await;
        let (_strangers, stranger) = exclusive(&server).await;
        let _other = stranger.acquire().await.unwrap();
        assert!(timeout(LONG, labelled(&*lock, "inner")).await.is_err());
        drop(guard);
    })
    .await;
    assert_eq!(told(&said), 0, "{said}");
}

/// Whatever the server tells of it, and however late.
#[tokio::test(start_paused = true)]
async fn a_hold_that_was_given_back_is_nothing_to_tell() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let (_, said) = warnings(async {
        server.mood().wakes_nobody = true;
        let guard = labelled(&*lock, "outer").await;
        sleep(12 * SECOND).await;
        drop(guard);
        server.until_entries(0).await;
        let (_strangers, stranger) = exclusive(&server).await;
        let _other = stranger.acquire().await.unwrap();
        assert!(timeout(12 * SECOND, labelled(&*lock, "inner")).await.is_err());
    })
    .await;
    assert_eq!(told(&said), 0, "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_was_given_back_is_forgotten() {
    let server = Server::new(None);
    let (_locks, lock) = exclusive(&server).await;
    let label: Arc<str> = "mine".into();
    let mut options = AcquireOptions::new();
    options.label = Some(label.clone());
    let guard = lock.acquire_with(&options).await.unwrap();
    drop(options);
    sleep(LONG).await;
    drop(guard);
    server.until_entries(0).await;
    sleep(60 * SECOND).await;
    assert!(server.entries().is_empty());
    // The server of the tests keeps it in its rows, which are gone.
    assert_eq!(Arc::strong_count(&label), 1);
}
