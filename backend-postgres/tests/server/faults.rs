//! Faults of the server, and of others who use it.

use std::sync::Arc;

use conformance::server::Postgres;
use futures::future::join_all;
use lockcore::{DistributedLockExt, ErrorKind, Released};

use crate::bed::{DEADLINE, connect, enqueue, granted, locks, options, start, until, until_sql};

/// The server goes away and comes back while one holds and one waits.
async fn keeps_everything(server: &Postgres, trouble: impl AsyncFnOnce()) {
    let (alice, bob) = (locks(server).await, locks(server).await);
    let (a, b) = (alice.exclusive("a").unwrap(), bob.exclusive("a").unwrap());
    let guard = a.acquire().await.unwrap();
    let waiting = enqueue(&b, 1).await;
    let before = a.queue().await.unwrap();
    trouble().await;
    until("the server confirms the hold", async || guard.verify().await.is_ok()).await;
    assert!(guard.is_valid() && !waiting.is_finished());
    let tokens = |queue: lockcore::QueueView| queue.iter().map(|entry| entry.token).collect::<Vec<_>>();
    until("both are where they were", async || {
        a.queue().await.is_ok_and(|queue| tokens(queue) == tokens(before.clone()))
    })
    .await;
    assert_eq!(guard.release().await.unwrap(), Released::Held);
    let next = granted(waiting).await;
    assert_eq!(next.fencing_token(), before[1].token);
    drop(next);
    let third = a.acquire().await.unwrap();
    assert!(third.fencing_token() > before[1].token);
}

#[tokio::test]
async fn a_restart_is_no_loss() {
    let server = Postgres::start().await.unwrap();
    keeps_everything(&server, async || {
        server.stop("fast").await.unwrap();
        server.restart().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_crash_is_no_loss() {
    let server = Postgres::start_with(&["synchronous_commit=off"]).await.unwrap();
    keeps_everything(&server, async || {
        server.kill().unwrap();
        server.restart().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn ended_connections_are_no_loss() {
    let server = Postgres::start().await.unwrap();
    keeps_everything(&server, async || {
        let ended = "SELECT count(pg_terminate_backend(pid)) >= 5 FROM pg_stat_activity WHERE application_name LIKE 'fairlock%'";
        assert_eq!(server.sql(ended).await.unwrap(), "t");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defaults_of_the_database_change_nothing() {
    defaults_change_nothing("repeatable read").await;
}

/// Requests that are refused because they cannot be serialized would be repeated; none is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serializable_default_changes_nothing() {
    defaults_change_nothing("serializable").await;
}

async fn defaults_change_nothing(isolation: &str) {
    let server = Postgres::start_with(&["log_min_messages=error"]).await.unwrap();
    for setting in [
        &*format!("default_transaction_isolation = '{isolation}'"),
        "statement_timeout = '100ms'",
        "lock_timeout = '1ms'",
        "idle_session_timeout = '500ms'",
        "search_path = 'nowhere'",
        "client_min_messages = 'error'",
    ] {
        server.sql(&format!("ALTER DATABASE postgres SET {setting}")).await.unwrap();
    }
    let (alice, bob) = (locks(&server).await, locks(&server).await);
    let (a, b) = (alice.exclusive("a").unwrap(), bob.exclusive("a").unwrap());
    for _ in 0..3 {
        let guard = a.acquire().await.unwrap();
        let waiting = enqueue(&b, 1).await;
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        assert!(!waiting.is_finished());
        crate::bed::give_back(guard).await;
        let guard = granted(waiting).await;
        assert_eq!(guard.release().await.unwrap(), Released::Held);
    }
    let mut crowd = Vec::new();
    for _ in 0..8 {
        crowd.push(locks(&server).await);
    }
    // Whoever does not see who has just come takes what is not free.
    for round in 0..100 {
        let tries = crowd.iter().map(|locks| {
            let lock = locks.exclusive(&format!("free/{round}")).unwrap();
            tokio::spawn(async move { lock.try_acquire().await.unwrap() })
        });
        let tries = join_all(tries.collect::<Vec<_>>()).await;
        let had: Vec<_> = tries.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(had.len(), 1, "round {round}");
    }
    let data = server.sql("SHOW data_directory").await.unwrap();
    let log = std::fs::read_to_string(std::path::Path::new(&data).with_file_name("log")).unwrap();
    assert!(!log.contains("could not serialize"), "{log}");
}

#[tokio::test]
async fn an_open_deletion_by_hand_holds_up_that_lock_alone() {
    let server = Arc::new(Postgres::start().await.unwrap());
    let alice = locks(&server).await;
    let guard = alice.exclusive("a").unwrap().acquire().await.unwrap();
    let operator = tokio::spawn({
        let server = server.clone();
        async move {
            // psql makes one transaction of it.
            server.sql("BEGIN; DELETE FROM fairlock.entry; SELECT pg_sleep(8); ROLLBACK").await
        }
    });
    until_sql(&server, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "1").await;
    let released = tokio::spawn(guard.release());
    until_sql(&server, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted", "t").await;
    for number in 0..20 {
        let other = alice.exclusive(&format!("other/{number}")).unwrap().acquire().await.unwrap();
        crate::bed::give_back(other).await;
    }
    assert!(!operator.is_finished(), "other locks waited for the operator");
    assert!(!released.is_finished());
    operator.await.unwrap().unwrap();
    let released = tokio::time::timeout(DEADLINE, released).await.unwrap().unwrap().unwrap();
    assert_eq!(released, Released::Held);
}

#[tokio::test]
async fn waits_outlast_a_server_that_is_read_only() {
    let server = Postgres::start().await.unwrap();
    let alice = locks(&server).await;
    let lock = alice.exclusive("a").unwrap();
    crate::bed::give_back(lock.acquire().await.unwrap()).await;
    let switch = async |to: &str| {
        server.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {to}")).await.unwrap();
        server.sql("SELECT pg_reload_conf()").await.unwrap();
    };
    switch("on").await;
    // The processes of the server are told one by one, and later: perhaps between a grant and its release, which then is the janitor's.
    let error = tokio::time::timeout(DEADLINE, async {
        loop {
            match lock.try_acquire().await {
                Ok(Some(guard)) => drop(guard.release().await),
                Ok(None) => {}
                Err(error) => break error,
            }
        }
    });
    let error = error.await.unwrap();
    let waiting = start(&lock);
    let said = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let said: Vec<String> = said.map(ToString::to_string).collect();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{said:?}");
    assert!(said.iter().any(|said| said.contains("read-only")), "{said:?}");
    assert!(!waiting.is_finished());
    switch("off").await;
    crate::bed::give_back(granted(waiting).await).await;
}

#[tokio::test]
async fn an_entry_that_was_removed_by_hand_is_told_to_its_holder() {
    let server = Postgres::start().await.unwrap();
    let (alice, bob) = (locks(&server).await, locks(&server).await);
    let guard = alice.exclusive("a").unwrap().acquire().await.unwrap();
    let waiting = enqueue(&bob.exclusive("a").unwrap(), 1).await;
    server.sql("DELETE FROM fairlock.entry WHERE token = 1").await.unwrap();
    let next = granted(waiting).await;
    assert_eq!(tokio::time::timeout(DEADLINE, guard.lost()).await.unwrap(), lockcore::Loss::Removed);
    next.verify().await.unwrap();
}

#[tokio::test]
async fn a_session_that_was_removed_by_hand_takes_its_entries_along() {
    let server = Postgres::start().await.unwrap();
    let alice = connect(options(&server)).await.unwrap();
    let lock = alice.exclusive("a").unwrap();
    let guard = lock.acquire().await.unwrap();
    server.sql("DELETE FROM fairlock.session").await.unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM fairlock.entry").await.unwrap(), "0");
    let loss = tokio::time::timeout(DEADLINE, guard.lost()).await.unwrap();
    assert!(matches!(loss, lockcore::Loss::Expired | lockcore::Loss::Removed), "{loss}");
    until("a new session serves", async || lock.try_acquire().await.is_ok_and(|guard| guard.is_some())).await;
}
