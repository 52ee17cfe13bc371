//! Waiting in tests: for a condition, never for time, and never for ever.

use std::time::Duration;

use lockcore::Result;
use tokio::time::{sleep, timeout};

/// How long anything may take that has to happen: on a slow machine too, so nobody waits for it in a test that passes.
const LONGEST: Duration = Duration::from_secs(40);

/// How long to wait before a condition is tried again.
const PAUSE: Duration = Duration::from_millis(10);

/// The output of the future.
///
/// # Panics
///
/// If it takes longer than forty seconds.
///
/// # Cancel safety
///
/// Dropping it drops the future.
pub async fn within<T>(what: &str, future: impl Future<Output = T> + Send) -> T {
    timeout(LONGEST, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Returns when the condition is true.
///
/// # Panics
///
/// If that takes longer than forty seconds.
///
/// # Cancel safety
///
/// Safe to drop.
pub async fn eventually<F: Future<Output = bool> + Send>(
    what: &str,
    condition: impl Fn() -> F + Send + Sync,
) {
    let all = async {
        while !condition().await {
            sleep(PAUSE).await;
        }
    };
    within(what, all).await;
}

/// The answer to a request, which is repeated as long as it fails and is [worth that](lockcore::Error::is_retryable), as the core
/// repeats it.
///
/// # Panics
///
/// If it fails otherwise, or for longer than forty seconds.
///
/// # Cancel safety
///
/// Dropping it drops the request.
pub async fn repeat<T, F>(what: &str, request: impl Fn() -> F + Send + Sync) -> T
where
    T: Send,
    F: Future<Output = Result<T>> + Send,
{
    let all = async {
        loop {
            match request().await {
                Ok(answer) => return answer,
                Err(error) => assert!(error.is_retryable(), "{what}: {error:?}"),
            }
            sleep(PAUSE).await;
        }
    };
    within(what, all).await
}
