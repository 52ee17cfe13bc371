//! Nobody's time of day decides, and the dead are judged by whoever lives, however shortly.

use std::time::{Duration, Instant};

use conformance::server::Postgres;
use lockcore::{DistributedLockExt, Released};

use crate::bed::{SHORT, connect, enqueue, granted, options, until};

/// A session that nobody renews, with an entry.
const DEAD: &str = "INSERT INTO fairlock.session SELECT 7, last_value, 3000, 1 FROM fairlock.clock; \
    INSERT INTO fairlock.entry VALUES (nextval('fairlock.token'), 7, 4294967295, 4294967295, now(), 0, 'la', 'dead', '')";

async fn clock(server: &Postgres) -> u64 {
    server.sql("SELECT last_value FROM fairlock.clock").await.unwrap().parse().unwrap()
}

#[tokio::test]
async fn lives_that_are_too_short_to_judge_add_up() {
    let server = Postgres::start().await.unwrap();
    let short = || options(&server).with_session_timeout(SHORT);
    connect(short()).await.unwrap().close().await.unwrap();
    server.sql(DEAD).await.unwrap();
    let begun = Instant::now();
    loop {
        let locks = connect(short()).await.unwrap();
        let had = locks.exclusive("a").unwrap().try_acquire().await.unwrap();
        if had.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1200)).await;
        locks.close().await.unwrap();
        assert!(begun.elapsed() < crate::bed::DEADLINE, "nobody judges the dead");
    }
    assert!(begun.elapsed() >= SHORT, "judged too early");
}

#[tokio::test]
async fn many_do_not_make_the_clock_run_faster() {
    let server = Postgres::start().await.unwrap();
    let mut services = Vec::new();
    for _ in 0..8 {
        services.push(connect(options(&server).with_session_timeout(SHORT)).await.unwrap());
    }
    let (begun, from) = (Instant::now(), clock(&server).await);
    until("the clock goes on", async || clock(&server).await > from + 4000).await;
    let advanced = clock(&server).await - from;
    // What was seen before we looked may count.
    let most = begun.elapsed() + Duration::from_secs(1);
    assert!(u128::from(advanced) <= most.as_millis(), "{advanced} ms in {most:?}");
}

#[tokio::test]
async fn the_time_of_day_does_not_matter() {
    let (server, time) = Postgres::start_with_clock().await.unwrap();
    let short = || options(&server).with_session_timeout(SHORT);
    let (alice, bob) = (connect(short()).await.unwrap(), connect(short()).await.unwrap());
    let (a, b) = (alice.exclusive("a").unwrap(), bob.exclusive("a").unwrap());
    let mut token = 0;
    for days in [2, -2] {
        let guard = a.acquire().await.unwrap();
        let waiting = enqueue(&b, 1).await;
        let before: i64 = server
            .sql("SELECT extract(epoch FROM clock_timestamp())::bigint")
            .await
            .unwrap()
            .parse()
            .unwrap();
        time.set_days(days).unwrap();
        until("the server believes it", async || {
            let now: i64 = server
                .sql("SELECT extract(epoch FROM clock_timestamp())::bigint")
                .await
                .unwrap()
                .parse()
                .unwrap();
            (now - before).abs() > 86_400
        })
        .await;
        let from = clock(&server).await;
        until("two lives have passed", async || clock(&server).await > from + 6000).await;
        assert!(!waiting.is_finished() && guard.is_valid());
        guard.verify().await.unwrap();
        assert_eq!(guard.release().await.unwrap(), Released::Held);
        let next = granted(waiting).await;
        assert!(next.fencing_token().get() > token);
        token = next.fencing_token().get();
        crate::bed::give_back(next).await;
    }
}
