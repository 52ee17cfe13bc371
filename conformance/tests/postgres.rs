//! The PostgreSQL servers that the suite starts.

use conformance::server::{PgBouncer, Postgres, PostgresPair};

#[tokio::test]
async fn a_killed_server_comes_back_with_its_data() {
    let server = Postgres::start().await.unwrap();
    server.sql("CREATE TABLE kept (what text); INSERT INTO kept VALUES ('data')").await.unwrap();
    server.kill().unwrap();
    assert!(server.sql("SELECT 1").await.is_err());
    server.restart().await.unwrap();
    assert_eq!(server.sql("SELECT what FROM kept").await.unwrap(), "data");
    server.stop("fast").await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(server.sql("SELECT what FROM kept").await.unwrap(), "data");
}

#[tokio::test]
async fn a_standby_follows_and_becomes_a_primary() {
    let pair = PostgresPair::start(true).await.unwrap();
    pair.primary
        .sql("SET synchronous_commit = remote_apply; CREATE TABLE kept AS SELECT 7 AS number")
        .await
        .unwrap();
    assert_eq!(pair.standby.sql("SELECT number, pg_is_in_recovery() FROM kept").await.unwrap(), "7|t");
    pair.primary.kill().unwrap();
    pair.promote().await.unwrap();
    assert_eq!(pair.standby.sql("SELECT pg_is_in_recovery()").await.unwrap(), "f");
}

#[tokio::test]
async fn a_pooler_starts() {
    let server = Postgres::start().await.unwrap();
    PgBouncer::start(&server, "transaction").await.unwrap();
}
