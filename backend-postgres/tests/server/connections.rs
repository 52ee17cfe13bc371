//! Poolers, and servers that have no connection left.

use std::net::Ipv6Addr;

use backend_postgres::PostgresOptions;
use conformance::proxy::Proxy;
use conformance::server::{PgBouncer, Postgres};
use lockcore::{DistributedLockExt, ErrorKind};

use crate::bed::{LONG, as_user, connect, enqueue, give_back, granted, options};

fn behind(pooler: &PgBouncer) -> PostgresOptions {
    as_user(PostgresOptions::new([pooler.address()]), "postgres").with_session_timeout(LONG)
}

#[tokio::test]
async fn a_pool_of_transactions_or_statements_is_refused() {
    let server = Postgres::start().await.unwrap();
    for mode in ["transaction", "statement"] {
        let pooler = PgBouncer::start(&server, mode).await.unwrap();
        for _ in 0..3 {
            let error = connect(behind(&pooler)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{mode}: {error}");
            assert!(error.to_string().contains("pool_mode = session"), "{mode}: {error}");
        }
    }
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'fairlock'";
    assert_eq!(server.sql(schemas).await.unwrap(), "0", "it left something behind");
}

#[tokio::test]
async fn a_pool_of_sessions_will_do() {
    let server = Postgres::start().await.unwrap();
    let pooler = PgBouncer::start(&server, "session").await.unwrap();
    let (alice, bob) = (connect(behind(&pooler)).await.unwrap(), connect(behind(&pooler)).await.unwrap());
    let guard = alice.exclusive("a").unwrap().acquire().await.unwrap();
    let waiting = enqueue(&bob.exclusive("a").unwrap(), 1).await;
    drop(guard);
    drop(granted(waiting).await);
}

/// Each needs two; to wait without asking again and again takes one more.
#[tokio::test]
async fn who_gets_no_connection_to_wait_on_gets_the_lock_all_the_same() {
    let settings = ["max_connections=6", "superuser_reserved_connections=0", "max_wal_senders=0"];
    let server = Postgres::start_with(&settings).await.unwrap();
    let mut services = Vec::new();
    for _ in 0..3 {
        services.push(connect(options(&server)).await.unwrap());
    }
    let brief = options(&server).with_connect_timeout(std::time::Duration::from_secs(1));
    let error = connect(brief).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let said = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let said: Vec<String> = said.map(ToString::to_string).collect();
    assert!(said.iter().any(|said| said.contains("max_connections")), "{said:?}");
    let [a, b, c] = [0, 1, 2].map(|index: usize| services[index].exclusive("a").unwrap());
    let guard = a.acquire().await.unwrap();
    let (second, third) = (enqueue(&b, 1).await, enqueue(&c, 2).await);
    drop(guard);
    drop(granted(second).await);
    drop(granted(third).await);
}

#[tokio::test]
async fn servers_may_have_ipv6_addresses() {
    let server = Postgres::start().await.unwrap();
    let proxy = Proxy::start_on(Ipv6Addr::LOCALHOST.into(), server.address()).await.unwrap();
    let url = format!("postgres://postgres@[::1]:1,{}/postgres", proxy.address()).parse().unwrap();
    let locks = connect(PostgresOptions::from_url(&url).unwrap()).await.unwrap();
    give_back(locks.exclusive("a").unwrap().acquire().await.unwrap()).await;
}
