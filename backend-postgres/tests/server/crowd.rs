//! Many who wait.

use std::sync::{Arc, Mutex};

use conformance::server::Postgres;
use lockcore::DistributedLockExt;

use crate::bed::{DEADLINE, locks, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_waiters_of_ten_services_take_their_turns() {
    let server = Postgres::start().await.unwrap();
    let grants = Arc::new(Mutex::new(Vec::new()));
    let mut services = Vec::new();
    for _ in 0..10 {
        services.push(locks(&server).await);
    }
    let first = services[0].exclusive("a").unwrap();
    let guard = first.acquire().await.unwrap();
    let mut waiting = Vec::new();
    for number in 0..1000 {
        let (lock, grants) = (services[number % 10].exclusive("a").unwrap(), grants.clone());
        waiting.push(tokio::spawn(async move {
            let guard = lock.acquire().await.unwrap();
            grants.lock().unwrap().push(guard.fencing_token());
            crate::bed::give_back(guard).await;
        }));
    }
    until("all are in the queue", async || first.queue().await.is_ok_and(|queue| queue.len() == 1001)).await;
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'fairlock%'";
    let connections: u32 = server.sql(connections).await.unwrap().parse().unwrap();
    // Two each, and one for the first of each that waits; or some more, where one that came later was first to hear of its place.
    assert!(connections <= 50, "{connections} connections");
    crate::bed::give_back(guard).await;
    for waiting in waiting {
        tokio::time::timeout(DEADLINE, waiting).await.expect("it is not let in").unwrap();
    }
    let grants = std::mem::take(&mut *grants.lock().unwrap());
    assert_eq!(grants.len(), 1000);
    assert!(grants.is_sorted(), "not in the order of the queue");
    until("nothing is left", async || {
        server.sql("SELECT count(*) FROM fairlock.entry").await.unwrap() == "0"
    })
    .await;
}

/// More than wait on connections of their own at a time.
#[tokio::test]
async fn one_service_waits_for_many_locks() {
    let server = Postgres::start().await.unwrap();
    let (alice, bob) = (locks(&server).await, locks(&server).await);
    let (mut guards, mut waiting) = (Vec::new(), Vec::new());
    for number in 0..100 {
        let name = format!("many/{number}");
        guards.push(alice.exclusive(&name).unwrap().acquire().await.unwrap());
        waiting.push(crate::bed::start(&bob.exclusive(&name).unwrap()));
    }
    until("all wait", async || server.sql("SELECT count(*) FROM fairlock.entry").await.unwrap() == "200")
        .await;
    drop(guards);
    for waiting in waiting {
        drop(crate::bed::granted(waiting).await);
    }
}

#[tokio::test]
async fn a_semaphore_lets_in_whoever_fits() {
    let server = Postgres::start().await.unwrap();
    let mut services = Vec::new();
    for _ in 0..5 {
        services.push(locks(&server).await);
    }
    let semaphores: Vec<_> = services.iter().map(|service| service.semaphore("s", 2).unwrap()).collect();
    let (one, two) = (semaphores[0].acquire().await.unwrap(), semaphores[1].acquire().await.unwrap());
    let third = crate::bed::enqueue(&semaphores[2], 2).await;
    let fourth = crate::bed::enqueue(&semaphores[3], 3).await;
    let fifth = crate::bed::enqueue(&semaphores[4], 4).await;
    // Not the one directly ahead.
    drop(one);
    let third = crate::bed::granted(third).await;
    assert!(!fourth.is_finished());
    drop(two);
    let fourth = crate::bed::granted(fourth).await;
    drop(fourth);
    drop(crate::bed::granted(fifth).await);
    drop(third);
}

/// How many transactions the server makes of so many grants to each of `n` services that contend for one lock.
async fn transactions(server: &Postgres, n: u32, grants: u32) -> i64 {
    let count = async || {
        let count = "SELECT pg_stat_force_next_flush(); SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'postgres'";
        server.sql(count).await.unwrap().trim().parse::<i64>().unwrap()
    };
    let before = count().await;
    let mut services = Vec::new();
    for _ in 0..n {
        services.push(locks(server).await);
    }
    let tasks = services.iter().map(|locks| {
        let lock = locks.exclusive("a").unwrap();
        tokio::spawn(async move {
            for _ in 0..grants {
                crate::bed::give_back(lock.acquire().await.unwrap()).await;
            }
        })
    });
    futures::future::try_join_all(tasks.collect::<Vec<_>>()).await.unwrap();
    for locks in services {
        locks.close().await.unwrap();
    }
    // They tell what they have done when they end.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'fairlock%'";
    crate::bed::until_sql(server, left, "0").await;
    count().await - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_takes_three_transactions_however_many_wait() {
    let server = Postgres::start().await.unwrap();
    transactions(&server, 1, 1).await;
    for n in [2, 20] {
        let (few, many) = (transactions(&server, n, 10).await, transactions(&server, n, 110).await);
        let each = (many - few) as f64 / f64::from(n * 100);
        println!("{n} contenders: {each:.2} transactions for each grant");
        assert!(each < 3.7, "{each} for each grant of {n}");
    }
}
