//! The schema comes with the first who needs it.

use backend_postgres::schema_sql;
use conformance::server::Postgres;
use futures::future::try_join_all;
use lockcore::{DistributedLockExt, ErrorKind};

use crate::bed::{DEADLINE, as_user, connect, options};

#[tokio::test]
async fn a_hundred_that_come_at_once_find_one_schema() {
    let server = Postgres::start().await.unwrap();
    let hundred = (0..100).map(|_| async {
        let patient = options(&server).with_connect_timeout(DEADLINE);
        let locks = connect(patient).await?;
        crate::bed::give_back(locks.exclusive("a")?.acquire().await?).await;
        locks.close().await
    });
    try_join_all(hundred).await.unwrap();
    assert_eq!(server.sql("SELECT count(*), max(version) FROM fairlock.place").await.unwrap(), "1|1");
    assert_eq!(server.sql("SELECT last_value FROM fairlock.token").await.unwrap(), "100");
}

#[tokio::test]
async fn whoever_may_not_make_it_is_told_what_to_do_and_needs_few_rights() {
    let server = Postgres::start().await.unwrap();
    server.sql("CREATE ROLE app LOGIN; REVOKE CREATE ON DATABASE postgres FROM PUBLIC").await.unwrap();
    let app = || as_user(options(&server), "app");
    let error = connect(app()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert!(error.to_string().contains("fairlock schema postgres --schema fairlock"), "{error}");
    let sql = schema_sql("fairlock").unwrap();
    server.sql(&sql).await.unwrap();
    let error = connect(app()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    // The rights that stand in the comment.
    for grant in sql.lines().filter_map(|line| line.trim_start().strip_prefix("--   ")) {
        server.sql(&grant.replace("somebody", "app")).await.unwrap();
    }
    let (alice, bob) = (connect(app()).await.unwrap(), connect(app()).await.unwrap());
    let guard = alice.exclusive("a").unwrap().acquire().await.unwrap();
    let waiting = crate::bed::enqueue(&bob.exclusive("a").unwrap(), 1).await;
    drop(guard);
    drop(crate::bed::granted(waiting).await);
    alice.close().await.unwrap();
}

#[tokio::test]
async fn a_schema_of_another_version_is_refused() {
    let server = Postgres::start().await.unwrap();
    connect(options(&server)).await.unwrap();
    server.sql("UPDATE fairlock.place SET version = 7").await.unwrap();
    let error = connect(options(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("version 7"), "{error}");
}

#[tokio::test]
async fn schemas_do_not_disturb_each_other() {
    let server = Postgres::start().await.unwrap();
    let (one, other) = (options(&server), options(&server).with_schema("other").unwrap());
    let (one, other) = (connect(one).await.unwrap(), connect(other).await.unwrap());
    let held = one.exclusive("a").unwrap().acquire().await.unwrap();
    assert!(other.exclusive("a").unwrap().try_acquire().await.unwrap().is_some());
    held.verify().await.unwrap();
}
