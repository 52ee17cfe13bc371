//! Commands that start on a new PostgreSQL.

#![cfg(feature = "postgres")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use conformance::server::Postgres;
use futures::future::join_all;

use support::{Place, in_time};

/// Each of them may be the one that makes the schema.
#[tokio::test]
async fn a_hundred_processes_that_start_at_once_find_one_schema() {
    let server = Postgres::start().await.unwrap();
    let url = format!("postgres://postgres@{}/postgres?connect_timeout=60s", server.address());
    let place = Place { kept: server, url };
    let commands = (0..100).map(|_| place.command(&["run", "x", "--", "true"]).output());
    for output in in_time("the commands end", join_all(commands)).await {
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let said = async |question: &str| place.kept.sql(question).await.unwrap();
    assert_eq!(said("SELECT count(*), max(version) FROM fairlock.place").await, "1|1");
    assert_eq!(said("SELECT last_value FROM fairlock.token").await, "100");
    assert_eq!(said("SELECT count(*) FROM fairlock.entry").await, "0");
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'";
    assert_eq!(said(deadlocks).await, "0");
}
