//! What the tests against real servers have in common.

use std::sync::Arc;
use std::time::Duration;

use backend_postgres::{Postgres, PostgresOptions};
use conformance::server;
use lockcore::queue::QueueLocks;
use lockcore::{DistributedLock, DistributedLockExt, LockGuard, LockService, Released, Result};
use tokio::task::JoinHandle;

/// However slow the machine is.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Long enough for a server to be started again.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Short enough to be waited for.
pub(crate) const SHORT: Duration = Duration::from_secs(3);

pub(crate) fn options(server: &server::Postgres) -> PostgresOptions {
    as_user(PostgresOptions::new([server.address()]), "postgres").with_session_timeout(LONG)
}

pub(crate) fn as_user(options: PostgresOptions, user: &str) -> PostgresOptions {
    options.with_user(user, None).with_database("postgres")
}

pub(crate) async fn connect(options: PostgresOptions) -> Result<Arc<dyn LockService>> {
    Ok(Arc::new(QueueLocks::connect(Postgres::new(options)).await?))
}

pub(crate) async fn locks(server: &server::Postgres) -> Arc<dyn LockService> {
    connect(options(server)).await.unwrap()
}

pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

/// Waits until the server answers so.
pub(crate) async fn until_sql(server: &server::Postgres, question: &str, answer: &str) {
    until(&format!("{answer} to {question}"), async || {
        server.sql(question).await.is_ok_and(|said| said == answer)
    })
    .await;
}

pub(crate) type Waiting = JoinHandle<Result<LockGuard>>;

/// An acquisition that goes on by itself.
pub(crate) fn start(lock: &Arc<dyn DistributedLock>) -> Waiting {
    let lock = lock.clone();
    tokio::spawn(async move { lock.acquire().await })
}

/// Puts an acquisition into the queue, behind `ahead` others.
pub(crate) async fn enqueue(lock: &Arc<dyn DistributedLock>, ahead: usize) -> Waiting {
    let waiting = start(lock);
    until("it is in the queue", async || lock.queue().await.is_ok_and(|queue| queue.len() > ahead)).await;
    waiting
}

pub(crate) async fn granted(waiting: Waiting) -> LockGuard {
    tokio::time::timeout(DEADLINE, waiting).await.expect("it is not let in").unwrap().unwrap()
}

/// Gives it back, held until then.
pub(crate) async fn give_back(guard: LockGuard) {
    assert_eq!(guard.release().await.unwrap(), Released::Held);
}
