//! A standby takes over.

use backend_postgres::PostgresOptions;
use conformance::server::PostgresPair;
use lockcore::{DistributedLockExt, Released};

use crate::bed::{DEADLINE, LONG, as_user, connect, enqueue, granted, start, until, until_sql};

fn options(pair: &PostgresPair) -> PostgresOptions {
    let servers = [pair.primary.address(), pair.standby.address()];
    as_user(PostgresOptions::new(servers), "postgres").with_session_timeout(LONG)
}

#[tokio::test]
async fn with_synchronous_replication_a_promotion_is_no_loss() {
    let pair = PostgresPair::start(true).await.unwrap();
    let (alice, bob) = (connect(options(&pair)).await.unwrap(), connect(options(&pair)).await.unwrap());
    let (a, b) = (alice.exclusive("a").unwrap(), bob.exclusive("a").unwrap());
    let guard = a.acquire().await.unwrap();
    let waiting = enqueue(&b, 1).await;
    let before = a.queue().await.unwrap();
    pair.primary.kill().unwrap();
    pair.promote().await.unwrap();
    // Now it is alone.
    pair.standby.sql("ALTER SYSTEM SET synchronous_standby_names = ''").await.unwrap();
    pair.standby.sql("SELECT pg_reload_conf()").await.unwrap();
    until("the new primary confirms the hold", async || guard.verify().await.is_ok()).await;
    assert!(!waiting.is_finished());
    assert_eq!(guard.release().await.unwrap(), Released::Held);
    let next = granted(waiting).await;
    assert_eq!(next.fencing_token(), before[1].token);
    drop(next);
    let third = a.acquire().await.unwrap();
    assert!(third.fencing_token() > before[1].token);
}

/// The standby knows all that has been, and nothing of what comes.
async fn cut_off(pair: &PostgresPair) {
    let caught_up = "SELECT replay_lsn = pg_current_wal_lsn() FROM pg_stat_replication";
    until_sql(&pair.primary, caught_up, "t").await;
    pair.standby.sql("ALTER SYSTEM SET primary_conninfo = ''").await.unwrap();
    pair.standby.sql("SELECT pg_reload_conf()").await.unwrap();
    until_sql(&pair.primary, "SELECT count(*) FROM pg_stat_replication", "0").await;
}

/// What was acknowledged before is not there any more: somebody else is let in, with a larger token, and the holder is told.
#[tokio::test]
async fn with_asynchronous_replication_a_promotion_loses_what_the_standby_has_not() {
    let pair = PostgresPair::start(false).await.unwrap();
    let alice = connect(options(&pair)).await.unwrap();
    let (lock, other) = (alice.exclusive("a").unwrap(), alice.exclusive("b").unwrap());
    for _ in 0..40 {
        crate::bed::give_back(lock.acquire().await.unwrap()).await;
    }
    cut_off(&pair).await;
    for _ in 0..100 {
        crate::bed::give_back(other.acquire().await.unwrap()).await;
    }
    let guard = lock.acquire().await.unwrap();
    pair.primary.kill().unwrap();
    pair.promote().await.unwrap();
    let bob = connect(options(&pair)).await.unwrap();
    let next = bob.exclusive("a").unwrap().acquire().await.unwrap();
    assert!(guard.is_valid(), "the exception that is shown here did not happen");
    assert!(next.fencing_token() > guard.fencing_token(), "tokens fell");
    tokio::time::timeout(DEADLINE, guard.lost()).await.expect("the holder is not told");
    next.verify().await.unwrap();
}

/// The new primary still has the entry.
#[tokio::test]
async fn what_was_given_back_before_a_promotion_does_not_stay_in_the_way() {
    let pair = PostgresPair::start(false).await.unwrap();
    let alice = connect(options(&pair)).await.unwrap();
    let guard = alice.exclusive("a").unwrap().acquire().await.unwrap();
    cut_off(&pair).await;
    crate::bed::give_back(guard).await;
    pair.primary.kill().unwrap();
    pair.promote().await.unwrap();
    assert_eq!(pair.standby.sql("SELECT count(*) FROM fairlock.entry").await.unwrap(), "1");
    let bob = connect(options(&pair)).await.unwrap();
    let waiting = start(&bob.exclusive("a").unwrap());
    // Long before Alice's session would end, if she did not come.
    until("she comes", async || alice.exclusive("b").unwrap().try_acquire().await.is_ok()).await;
    drop(granted(waiting).await);
}

/// Somebody cancels what waits for the standby: PostgreSQL then says that it is done, and warns.
#[tokio::test]
async fn what_no_standby_has_is_not_believed() {
    let pair = PostgresPair::start(true).await.unwrap();
    let alice = connect(options(&pair)).await.unwrap();
    let lock = alice.exclusive("a").unwrap();
    crate::bed::give_back(lock.acquire().await.unwrap()).await;
    pair.standby.stop("fast").await.unwrap();
    let waiting = start(&lock);
    let waits = "SELECT min(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name LIKE 'fairlock%' AND application_name NOT LIKE '%renewals'";
    let mut processes = Vec::new();
    while processes.len() < 3 {
        assert!(!waiting.is_finished(), "it believes what only one server has");
        let process = pair.primary.sql(waits).await.unwrap();
        if !process.is_empty() && !processes.contains(&process) {
            pair.primary.sql(&format!("SELECT pg_cancel_backend({process})")).await.unwrap();
            processes.push(process);
        }
    }
    pair.standby.restart().await.unwrap();
    let guard = granted(waiting).await;
    assert_eq!(lock.queue().await.unwrap().len(), 1);
    assert_eq!(guard.release().await.unwrap(), Released::Held);
}
